//! From the bytes of a record to a validated event, item or impression.
//!
//! ```text
//! content-type ──► protobuf (default) or proto3 JSON ──► endcap.v1 message ──► validated type
//!      └─ Stage::ContentType      └─ Stage::Decode                └─ Stage::Validate
//! ```
//!
//! A value may stand in the frame of Confluent's serialisers ([`unframed`]). An event in protobuf is read where it
//! lies ([`EventView`]), which is what a consumer does a million times; JSON and everything else is decoded whole.

use std::fmt;

use endcap_proto::{Event, EventError, EventTime, EventType, EventView, FieldError, Item, v1};
use prost::Message as _;
use serde::de::DeserializeOwned;

use crate::Record;

/// The content type that we write.
pub(crate) const PROTOBUF: &str = "application/x-protobuf";

/// The header that says how a value is encoded.
pub(crate) const CONTENT_TYPE: &str = "content-type";

/// A record that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{stage}: {reason}")]
pub struct Reject {
    /// How far it came.
    pub stage: Stage,
    /// Why no further, with the field where there is one.
    pub reason: String,
}

/// How far a record came before it was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Its encoding is not known.
    ContentType,
    /// Its bytes are no such message.
    Decode,
    /// A field breaks a rule.
    Validate,
    /// What it says cannot be applied.
    Apply,
}

/// An event, with `EVENT_TYPE_*` or any name that [`EventType`] takes as its type in JSON.
///
/// # Errors
/// When the record is no valid event; says why.
pub fn decode_event(record: &Record<'_>) -> Result<Event, Reject> {
    let (encoding, bytes) = payload(record)?;
    let event = match encoding {
        Encoding::Protobuf => v1::Event::decode(bytes).map_err(|error| decode(error.to_string()))?,
        Encoding::Json => return event_from_json(bytes),
    };
    Event::try_from(event).map_err(validate)
}

/// An event, borrowed from its record where that is possible.
pub(crate) enum DecodedEvent<'a> {
    /// Of protobuf.
    View(EventView<'a>),
    /// Of JSON.
    Whole(Box<Event>),
}

/// An event that does not lie further ahead of its record's own time than `ahead_at_most_ms`: one that
/// does comes from a wrong clock and would make all others late.
pub(crate) fn decode_event_on_time(record: &Record<'_>, ahead_at_most_ms: i64) -> Result<Event, Reject> {
    let event = decode_event(record)?;
    on_time(record, event.time, ahead_at_most_ms)?;
    Ok(event)
}

/// The same, borrowed where that is possible.
pub(crate) fn view_event_on_time<'a>(
    record: &Record<'a>,
    ahead_at_most_ms: i64,
) -> Result<DecodedEvent<'a>, Reject> {
    let (encoding, bytes) = payload(record)?;
    let event = match encoding {
        Encoding::Protobuf => {
            DecodedEvent::View(EventView::from_bytes(bytes).map_err(|error| match error {
                EventError::Decode(reason) => decode(reason),
                EventError::Field(error) => validate(error),
            })?)
        }
        Encoding::Json => DecodedEvent::Whole(Box::new(event_from_json(bytes)?)),
    };
    on_time(record, event.view().time, ahead_at_most_ms)?;
    Ok(event)
}

fn on_time(record: &Record<'_>, time: EventTime, ahead_at_most_ms: i64) -> Result<(), Reject> {
    let ahead = record.timestamp.map_or(0, |timestamp| time.millis_since(timestamp));
    if ahead <= ahead_at_most_ms {
        return Ok(());
    }
    let reason = format!(
        "event_time: must not lie ahead of the record's own time, is {} s ahead; set the clock",
        ahead / 1000
    );
    Err(Reject { stage: Stage::Apply, reason })
}

/// An item. A tombstone is the caller's business.
///
/// # Errors
/// When the record is no valid item, or its key is not the item's id.
pub fn decode_item(record: &Record<'_>) -> Result<Item, Reject> {
    let item = Item::try_from(message::<v1::Item>(record)?).map_err(validate)?;
    // A delete names the key alone, and compaction goes by it.
    if record.key != Some(item.id.as_str().as_bytes()) {
        let key = record.key.map(String::from_utf8_lossy);
        let reason = format!("id: must be the record's key, is {:?} and the key {key:?}", item.id.as_str());
        return Err(Reject { stage: Stage::Validate, reason });
    }
    Ok(item)
}

/// A slate as it was served.
///
/// # Errors
/// When the record is no impression.
pub fn decode_impression(record: &Record<'_>) -> Result<v1::Impression, Reject> {
    message(record)
}

fn message<M: prost::Message + Default + DeserializeOwned>(record: &Record<'_>) -> Result<M, Reject> {
    let (encoding, bytes) = payload(record)?;
    match encoding {
        Encoding::Protobuf => M::decode(bytes).map_err(|error| decode(error.to_string())),
        Encoding::Json => serde_json::from_slice(bytes).map_err(|error| decode(error.to_string())),
    }
}

fn decode(reason: String) -> Reject {
    Reject { stage: Stage::Decode, reason }
}

fn validate(error: FieldError) -> Reject {
    Reject { stage: Stage::Validate, reason: error.to_string() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

/// The bytes of the message, without a frame, and how they are encoded.
fn payload<'a>(record: &Record<'a>) -> Result<(Encoding, &'a [u8]), Reject> {
    let value = record
        .value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| decode("the value is empty".to_owned()))?;
    let encoding = encoding(record)?;
    // No message in protobuf begins with 0 (no field has that number), and no JSON does.
    if value[0] == 0 {
        return unframed(value, encoding);
    }
    Ok((encoding.unwrap_or(Encoding::Protobuf), value))
}

/// What stands in the frame of Confluent's serialisers: a byte 0, the schema's id in four bytes, and for protobuf
/// which message of the schema it is: how many indexes, then each, as zigzag varints; 0 stands for the first message.
/// <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>
///
/// The schema itself is not asked for: a message that is not ours does not pass as one.
fn unframed(value: &[u8], encoding: Option<Encoding>) -> Result<(Encoding, &[u8]), Reject> {
    let cut_off = || decode("the frame (a byte 0 and a schema id) is cut off".to_owned());
    let rest = value.get(5..).ok_or_else(cut_off)?;
    // Read as a number of indexes, a brace would be a negative one.
    let sniffed = if rest.first() == Some(&b'{') { Encoding::Json } else { Encoding::Protobuf };
    let encoding = encoding.unwrap_or(sniffed);
    if encoding == Encoding::Json {
        return Ok((encoding, rest));
    }
    let mut rest = rest;
    let indexes = varint(&mut rest).filter(|number| number % 2 == 0).ok_or_else(|| {
        decode(
            "the frame's message indexes are malformed; is it Avro? Endcap reads protobuf and JSON"
                .to_owned(),
        )
    })?;
    for _ in 0..indexes / 2 {
        varint(&mut rest).ok_or_else(cut_off)?;
    }
    Ok((encoding, rest))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// What the header says; none where there is none.
fn encoding(record: &Record<'_>) -> Result<Option<Encoding>, Reject> {
    let Some(header) = record.header(CONTENT_TYPE) else { return Ok(None) };
    // As we write it ourselves.
    if header == PROTOBUF.as_bytes() {
        return Ok(Some(Encoding::Protobuf));
    }
    let text = String::from_utf8_lossy(header).to_ascii_lowercase();
    match text.split(';').next().unwrap_or_default().trim() {
        "application/json" => Ok(Some(Encoding::Json)),
        PROTOBUF
        | "application/protobuf"
        | "application/vnd.google.protobuf"
        | "application/octet-stream" => Ok(Some(Encoding::Protobuf)),
        _ => {
            let reason = format!("must be application/x-protobuf or application/json, is {text:?}");
            Err(Reject { stage: Stage::ContentType, reason })
        }
    }
}

/// An event of JSON, whose type may have any name that event types have.
pub(crate) fn event_from_json(json: &[u8]) -> Result<Event, Reject> {
    let event = match serde_json::from_slice::<v1::Event>(json) {
        Ok(event) => Ok(event),
        Err(error) => event_with_alias(json).unwrap_or(Err(error)),
    };
    Event::try_from(event.map_err(|error| decode(error.to_string()))?).map_err(validate)
}

/// Tries again with `type` read by any name that event types have; none when that is not the trouble.
fn event_with_alias(json: &[u8]) -> Option<Result<v1::Event, serde_json::Error>> {
    let mut event: serde_json::Value = serde_json::from_slice(json).ok()?;
    let name = event.get_mut("type")?;
    let event_type: EventType = name.as_str()?.parse().ok()?;
    *name = (event_type as i32).into();
    Some(serde_json::from_value(event))
}

// === impl DecodedEvent ===

impl DecodedEvent<'_> {
    pub(crate) fn view(&self) -> EventView<'_> {
        match self {
            Self::View(view) => *view,
            Self::Whole(event) => EventView::from(&**event),
        }
    }
}

// === impl Stage ===

impl Stage {
    /// As in the header of a dead letter: `content_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContentType => "content_type",
            Self::Decode => "decode",
            Self::Validate => "validate",
            Self::Apply => "apply",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record<'a>(value: &'a [u8], content_type: Option<&'a str>) -> Record<'a> {
        let headers = content_type.iter().map(|value| ("Content-Type", value.as_bytes())).collect();
        Record { partition: 0, offset: 0, timestamp: None, key: None, value: Some(value), headers }
    }

    fn view() -> v1::Event {
        v1::Event {
            event_id: "e1".into(),
            r#type: v1::EventType::View.into(),
            event_time: Some(endcap_proto::EventTime::clamped(1_700_000_000_000).to_proto()),
            visitor_id: "v1".into(),
            items: vec![v1::EventItem { item_id: "shoe".into(), ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn protobuf_is_the_default_and_json_says_so() {
        let expected = Event::try_from(view()).unwrap();
        assert_eq!(decode_event(&record(&view().encode_to_vec(), None)), Ok(expected.clone()));
        let json = serde_json::to_vec(&view()).unwrap();
        assert_eq!(decode_event(&record(&json, Some("application/json; charset=utf-8"))), Ok(expected));
        let refused = decode_event(&record(&json, Some("text/csv"))).unwrap_err();
        assert_eq!((refused.stage, refused.reason.contains("text/csv")), (Stage::ContentType, true));
    }

    #[test]
    fn json_takes_the_names_of_ga4_segment_and_google() {
        for (name, event_type) in [
            ("view_item", EventType::View),
            ("Product Added", EventType::AddToCart),
            ("purchase-complete", EventType::Purchase),
            ("EVENT_TYPE_CLICK", EventType::Click),
        ] {
            let mut json = serde_json::to_value(view()).unwrap();
            json["type"] = name.into();
            let bytes = serde_json::to_vec(&json).unwrap();
            assert_eq!(
                decode_event(&record(&bytes, Some("application/json"))).unwrap().event_type,
                event_type
            );
        }
        let mut json = serde_json::to_value(view()).unwrap();
        json["type"] = "gaze".into();
        let bytes = serde_json::to_vec(&json).unwrap();
        let error = decode_event(&record(&bytes, Some("application/json"))).unwrap_err();
        assert!(error.stage == Stage::Decode && error.reason.contains("gaze"), "{error}");
    }

    /// As a serialiser of Confluent's frames it: schema 7, and the indexes of the message in it.
    fn framed(indexes: &[u8], bytes: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, 0, 7], indexes, bytes].concat()
    }

    #[test]
    fn the_frame_of_confluent_is_taken_off() {
        let expected = Event::try_from(view()).unwrap();
        let (protobuf, json) = (view().encode_to_vec(), serde_json::to_vec(&view()).unwrap());
        // The first message; the first, written out; the second of the third, in a schema of several.
        for indexes in [&[0][..], &[2, 0], &[4, 4, 2]] {
            let value = framed(indexes, &protobuf);
            assert_eq!(decode_event(&record(&value, None)), Ok(expected.clone()));
            assert_eq!(decode_event(&record(&value, Some(PROTOBUF))), Ok(expected.clone()));
        }
        let value = framed(&[], &json);
        assert_eq!(decode_event(&record(&value, None)), Ok(expected.clone()), "a brace says JSON");
        assert_eq!(decode_event(&record(&value, Some("application/json"))), Ok(expected));
        for (cut, word) in
            [(&[0, 0, 0][..], "cut off"), (&[0, 0, 0, 0, 7], "malformed"), (&[0, 0, 0, 0, 7, 3], "Avro")]
        {
            let reject = decode_event(&record(cut, None)).unwrap_err();
            assert!(reject.stage == Stage::Decode && reject.reason.contains(word), "{reject}");
        }
    }

    #[test]
    fn a_borrowed_event_says_what_a_whole_one_says() {
        for (value, content_type) in [
            (view().encode_to_vec(), None),
            (framed(&[0], &view().encode_to_vec()), None),
            (serde_json::to_vec(&view()).unwrap(), Some("application/json")),
        ] {
            let record = record(&value, content_type);
            let decoded = view_event_on_time(&record, 0).unwrap();
            let whole = decode_event(&record).unwrap();
            let (view, whole) = (decoded.view(), EventView::from(&whole));
            assert_eq!(
                (view.event_id, view.visitor_id, view.time),
                (whole.event_id, whole.visitor_id, whole.time)
            );
            assert!(view.item_ids().eq(whole.item_ids()));
        }
    }

    #[test]
    fn a_reject_says_how_far_the_record_came() {
        let stage = |value: &[u8]| decode_event(&record(value, None)).unwrap_err().stage;
        assert_eq!(stage(b""), Stage::Decode);
        assert_eq!(stage(&[0xff; 7]), Stage::Decode);
        assert_eq!(
            stage(&v1::Event { visitor_id: String::new(), ..view() }.encode_to_vec()),
            Stage::Validate
        );
    }

    #[test]
    fn an_item_must_lie_under_its_own_id() {
        let value = v1::Item { id: "shoe".into(), ..Default::default() }.encode_to_vec();
        let mut record = record(&value, None);
        assert!(decode_item(&record).unwrap_err().reason.contains("must be the record's key"));
        record.key = Some(b"shoe");
        assert_eq!(decode_item(&record).unwrap().id.as_str(), "shoe");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(value in proptest::collection::vec(any::<u8>(), 0..300), json: bool, frame: bool) {
            let value = if frame { framed(&[], &value) } else { value };
            let record = record(&value, json.then_some("application/json"));
            let whole = decode_event(&record);
            let borrowed = view_event_on_time(&record, 0);
            prop_assert_eq!(whole.err(), borrowed.err());
            let _ = decode_item(&record);
            let _ = decode_impression(&record);
        }

        #[test]
        fn cut_or_flipped_events_are_rejected_or_whole(at in 0usize..60, bit in 0u8..8, cut: bool) {
            let mut value = view().encode_to_vec();
            let at = at % value.len();
            if cut { value.truncate(at) } else { value[at] ^= 1 << bit }
            if let Ok(event) = decode_event(&record(&value, None)) {
                prop_assert!(!event.visitor_id.as_str().is_empty());
            }
        }
    }
}
