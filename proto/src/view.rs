//! An event read where it lies: the same checks as decoding an [`Event`], without a copy.
//!
//! ```text
//! bytes ──one pass: wire format, UTF-8, the rules of each field──► EventView, borrowed from them
//!    └─ anything wrong ──► decoded again by prost and `Event::try_from`, which say why
//! ```
//!
//! **Law.** `EventView::from_bytes` takes what `v1::Event::decode` and `Event::try_from` take, and nothing
//! else; a property test compares them on mutated bytes. Wire format:
//! <https://protobuf.dev/programming-guides/encoding/>.

use pbjson_types::Timestamp;
use prost::Message as _;

use crate::{
    Event, EventItem, EventKey, EventTime, EventType, FieldError, ItemKey, UserKey, VisitorKey,
    id::is_valid_id, v1,
};

/// What an event says of who, what and when; borrowed from its bytes or from an [`Event`].
#[derive(Debug, Clone, Copy)]
pub struct EventView<'a> {
    /// The client's id.
    pub event_id: &'a str,
    /// What happened.
    pub event_type: EventType,
    /// When, by the client's clock.
    pub time: EventTime,
    /// Whose browser or device.
    pub visitor_id: &'a str,
    /// Whose account, when logged in.
    pub user_id: Option<&'a str>,
    /// The client's session.
    pub session_id: Option<&'a str>,
    /// The shopper agreed to be remembered.
    pub consent: bool,
    items: Items<'a>,
}

/// These bytes are no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// They are no such message.
    #[error("{0}")]
    Decode(String),
    /// A field breaks a rule.
    #[error(transparent)]
    Field(#[from] FieldError),
}

#[derive(Debug, Clone, Copy)]
enum Items<'a> {
    /// The first one's id, and the bytes from behind it to the end of the last one; sound.
    Wire(Option<&'a str>, &'a [u8]),
    Decoded(&'a [EventItem]),
}

// === impl EventView ===

impl<'a> EventView<'a> {
    /// Reads and validates the bytes of an `endcap.v1.Event`.
    ///
    /// # Errors
    /// Where [`Event::try_from`] would refuse the decoded message, or it cannot be decoded; says why.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, EventError> {
        parse(bytes).ok_or_else(|| explain(bytes))
    }

    /// The products concerned, in the event's order.
    pub fn item_ids(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (first, wire, decoded) = match self.items {
            Items::Wire(first, bytes) => (first, bytes, [].as_slice()),
            Items::Decoded(items) => (None, &[] as &[u8], items),
        };
        first.into_iter().chain(ItemIds(Wire(wire))).chain(decoded.iter().map(|item| item.item_id.as_str()))
    }

    /// Key of the client's event id.
    pub fn key(&self) -> EventKey {
        EventKey::of(self.event_id)
    }

    /// Key of the visitor.
    pub fn visitor(&self) -> VisitorKey {
        VisitorKey::of(self.visitor_id)
    }

    /// Key of the user.
    pub fn user(&self) -> Option<UserKey> {
        self.user_id.map(UserKey::of)
    }

    /// Keys of the products concerned, in the event's order.
    pub fn items(&self) -> impl Iterator<Item = ItemKey> + use<'a> {
        self.item_ids().map(ItemKey::of)
    }
}

impl<'a> From<&'a Event> for EventView<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            event_id: event.event_id.as_str(),
            event_type: event.event_type,
            time: event.time,
            visitor_id: event.visitor_id.as_str(),
            user_id: event.user_id.as_ref().map(|id| id.as_str()),
            session_id: event.session_id.as_deref(),
            consent: event.consent,
            items: Items::Decoded(&event.items),
        }
    }
}

/// Why [`parse`] would not have it.
#[cold]
fn explain(bytes: &[u8]) -> EventError {
    match v1::Event::decode(bytes) {
        Err(error) => EventError::Decode(error.to_string()),
        Ok(event) => match Event::try_from(event) {
            Err(error) => error.into(),
            Ok(_) => EventError::Decode("it is malformed".to_owned()),
        },
    }
}

// === the wire ===

/// Groups within messages at most this deep, as prost has it.
const DEPTH: u32 = 100;

/// Wire types.
const VARINT: u32 = 0;
const FIXED_64: u32 = 1;
const BYTES: u32 = 2;
const GROUP: u32 = 3;
const END_GROUP: u32 = 4;
const FIXED_32: u32 = 5;

/// Tag and wire type of a field, as they stand before it.
const fn key(tag: u32, wire_type: u32) -> u32 {
    tag << 3 | wire_type
}

/// What of a message has not been read.
#[derive(Clone, Copy)]
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let (&first, rest) = self.0.split_first()?;
        if first < 0x80 {
            self.0 = rest;
            return Some(first.into());
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for (i, &byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.0 = &self.0[i + 1..];
                // The tenth byte has room for one bit.
                return (i < 9 || byte < 2).then_some(value);
            }
        }
        None
    }

    /// Tag and wire type of the next field.
    #[inline]
    fn key(&mut self) -> Option<u32> {
        let key = u32::try_from(self.varint()?).ok()?;
        (key >> 3 != 0 && key & 7 <= FIXED_32).then_some(key)
    }

    #[inline]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// Passes over a text.
    #[inline]
    fn skip_text(&mut self) -> Option<()> {
        let bytes = self.bytes()?;
        (is_ascii(bytes) || std::str::from_utf8(bytes).is_ok()).then_some(())
    }

    #[inline]
    fn message(&mut self) -> Option<Self> {
        self.bytes().map(Wire)
    }

    fn double(&mut self) -> Option<f64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(f64::from_le_bytes(*bytes))
    }

    /// Passes over a field that is not known.
    fn skip(&mut self, key: u32, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let length = match key & 7 {
            VARINT => return self.varint().map(drop),
            FIXED_64 => 8,
            BYTES => usize::try_from(self.varint()?).ok()?,
            GROUP => loop {
                let inner = self.key()?;
                if inner & 7 == END_GROUP {
                    break if inner >> 3 == key >> 3 { 0 } else { return None };
                }
                self.skip(inner, depth)?;
            },
            FIXED_32 => 4,
            _ => return None,
        };
        self.0 = self.0.get(length..)?;
        Some(())
    }
}

/// Eight bytes at a time, without a call: most texts are a few words of ASCII.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks();
    let all = words.iter().fold(0, |all, &word| all | u64::from_le_bytes(word));
    let rest = rest.iter().fold(0, |all, &byte| all | byte);
    (all | u64::from(rest)) & 0x8080_8080_8080_8080 == 0
}

/// A field that is not known is passed over; a known one of another wire type is refused.
macro_rules! otherwise {
    ($wire:ident, $key:ident, $known:expr, $depth:expr) => {
        match $key >> 3 {
            tag if $known.contains(&tag) => return None,
            _ => $wire.skip($key, $depth)?,
        }
    };
}

fn parse(bytes: &[u8]) -> Option<EventView<'_>> {
    const ID: u32 = key(1, BYTES);
    const TYPE: u32 = key(2, VARINT);
    const TIME: u32 = key(3, BYTES);
    const VISITOR: u32 = key(4, BYTES);
    const USER: u32 = key(5, BYTES);
    const SESSION: u32 = key(6, BYTES);
    const ITEM: u32 = key(7, BYTES);
    const TRANSACTION: u32 = key(8, BYTES);
    const SEARCH_QUERY: u32 = key(9, BYTES);
    const EXPERIMENT_ID: u32 = key(13, BYTES);
    const ATTRIBUTE: u32 = key(14, BYTES);
    const CONSENT: u32 = key(15, VARINT);
    let mut wire = Wire(bytes);
    let (mut event_id, mut visitor_id, mut user_id, mut session_id) = ("", "", "", "");
    let (mut number, mut consent) = (0, false);
    let mut time: Option<Timestamp> = None;
    // The first item, what is behind it, and how much of that is behind the last one.
    let mut first = None;
    let (mut others, mut behind): (&[u8], usize) = (&[], 0);
    // Amounts of the transaction: of a field that comes twice the last one counts.
    let mut amounts = [0.0; 3];
    while !wire.0.is_empty() {
        let field = wire.key()?;
        match field {
            ID => event_id = wire.text()?,
            TYPE => number = wire.varint()? as i32,
            TIME => timestamp(wire.message()?, time.get_or_insert_default())?,
            VISITOR => visitor_id = wire.text()?,
            USER => user_id = wire.text()?,
            SESSION => session_id = wire.text()?,
            ITEM => {
                let id = item(wire.message()?)?;
                if first.is_none() {
                    (first, others) = (Some(id), wire.0);
                }
                behind = wire.0.len();
            }
            TRANSACTION => transaction(wire.message()?, &mut amounts)?,
            CONSENT => consent = wire.varint()? != 0,
            ATTRIBUTE => attribute(wire.message()?)?,
            // Texts that are kept, but say nothing of who, what and when.
            SEARCH_QUERY..=EXPERIMENT_ID if field & 7 == BYTES => wire.skip_text()?,
            _ => otherwise!(wire, field, 1..=15, DEPTH),
        }
    }
    let event_type = u8::try_from(number).ok().and_then(EventType::from_number)?;
    let sound = is_valid_id(event_id)
        && is_valid_id(visitor_id)
        && (user_id.is_empty() || is_valid_id(user_id))
        && (first.is_some() || !event_type.needs_items())
        && amounts.iter().all(|amount| amount.is_finite());
    let present = |text: &'_ str| !text.is_empty();
    sound.then_some(EventView {
        event_id,
        event_type,
        time: EventTime::from_proto("", &time?).ok()?,
        visitor_id,
        user_id: Some(user_id).filter(|id| present(id)),
        session_id: Some(session_id).filter(|id| present(id)),
        consent,
        items: Items::Wire(first, &others[..others.len() - behind]),
    })
}

fn timestamp(mut wire: Wire<'_>, time: &mut Timestamp) -> Option<()> {
    while !wire.0.is_empty() {
        const SECONDS: u32 = key(1, VARINT);
        const NANOS: u32 = key(2, VARINT);
        match wire.key()? {
            SECONDS => time.seconds = wire.varint()? as i64,
            NANOS => time.nanos = wire.varint()? as i32,
            field => otherwise!(wire, field, 1..=2, DEPTH - 1),
        }
    }
    Some(())
}

/// The item's id, where the item is sound.
fn item(mut wire: Wire<'_>) -> Option<&str> {
    let mut id = "";
    let mut price = 0.0;
    while !wire.0.is_empty() {
        const ID: u32 = key(1, BYTES);
        const QUANTITY: u32 = key(2, VARINT);
        const PRICE: u32 = key(3, FIXED_64);
        const POSITION: u32 = key(4, VARINT);
        match wire.key()? {
            ID => id = wire.text()?,
            QUANTITY | POSITION => drop(wire.varint()?),
            PRICE => price = wire.double()?,
            field => otherwise!(wire, field, 1..=4, DEPTH - 1),
        }
    }
    (is_valid_id(id) && price.is_finite()).then_some(id)
}

fn transaction(mut wire: Wire<'_>, amounts: &mut [f64; 3]) -> Option<()> {
    while !wire.0.is_empty() {
        const ID: u32 = key(1, BYTES);
        const REVENUE: u32 = key(2, FIXED_64);
        const TAX: u32 = key(3, FIXED_64);
        const COST: u32 = key(4, FIXED_64);
        const CURRENCY: u32 = key(5, BYTES);
        match wire.key()? {
            ID | CURRENCY => wire.skip_text()?,
            REVENUE => amounts[0] = wire.double()?,
            TAX => amounts[1] = wire.double()?,
            COST => amounts[2] = wire.double()?,
            field => otherwise!(wire, field, 1..=5, DEPTH - 1),
        }
    }
    Some(())
}

/// A name and its value.
fn attribute(mut wire: Wire<'_>) -> Option<()> {
    while !wire.0.is_empty() {
        const NAME: u32 = key(1, BYTES);
        const VALUE: u32 = key(2, BYTES);
        match wire.key()? {
            NAME | VALUE => wire.skip_text()?,
            field => otherwise!(wire, field, 1..=2, DEPTH - 1),
        }
    }
    Some(())
}

/// Ids of the items among the fields of an event that was found sound.
struct ItemIds<'a>(Wire<'a>);

impl<'a> Iterator for ItemIds<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        const ITEM: u32 = key(7, BYTES);
        while !self.0.0.is_empty() {
            match self.0.key()? {
                ITEM => return item(self.0.message()?),
                field => self.0.skip(field, DEPTH)?,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What the slow way makes of the bytes.
    fn decoded(bytes: &[u8]) -> Result<Event, EventError> {
        let event = v1::Event::decode(bytes).map_err(|error| EventError::Decode(error.to_string()))?;
        Ok(Event::try_from(event)?)
    }

    /// The view says what the event says, or both say no for the same reason.
    fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
        match (EventView::from_bytes(bytes), decoded(bytes)) {
            (Err(ours), Err(theirs)) => prop_assert_eq!(ours, theirs),
            (Ok(view), Ok(event)) => same(&view, &event)?,
            (ours, theirs) => prop_assert!(false, "{:?} where prost has {:?}", ours, theirs),
        }
        Ok(())
    }

    fn same(view: &EventView<'_>, event: &Event) -> Result<(), TestCaseError> {
        let borrowed = EventView::from(event);
        prop_assert_eq!(view.item_ids().collect::<Vec<_>>(), borrowed.item_ids().collect::<Vec<_>>());
        let said = |view: &EventView<'_>| format!("{:?}", EventView { items: Items::Decoded(&[]), ..*view });
        prop_assert_eq!(said(view), said(&borrowed));
        prop_assert_eq!(view.key(), event.event_id.key());
        prop_assert_eq!(view.user(), event.user_id.as_ref().map(crate::UserId::key));
        Ok(())
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), "[a-z0-9]{1,12}", "\\PC{0,6}", "[\\x00-\\x7fü\u{85}]{1,4}"]
    }

    fn amount() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![Just(None), any::<f64>().prop_map(Some)]
    }

    prop_compose! {
        fn an_item()(item_id in text(), quantity: Option<u32>, unit_price in amount(), position: Option<u32>)
            -> v1::EventItem {
            v1::EventItem { item_id, quantity, unit_price, position }
        }
    }

    prop_compose! {
        fn paid()(id in text(), revenue in amount(), tax in amount(), cost in amount(), currency in text())
            -> v1::Transaction {
            v1::Transaction { id, revenue, tax, cost, currency }
        }
    }

    prop_compose! {
        fn an_event()(
            ids in (text(), text(), text(), text()),
            r#type in prop_oneof![0..18, any::<i32>()],
            time in proptest::option::weighted(0.9, (0i64..4_000_000_000, 0..1_000_000_000)),
            items in proptest::collection::vec(an_item(), 0..4),
            transaction in proptest::option::of(paid()),
            texts in (text(), proptest::collection::vec(text(), 0..3), text(), text(), proptest::collection::vec(text(), 0..3)),
            attributes in proptest::collection::btree_map(text(), text(), 0..3),
            consent: bool,
        ) -> v1::Event {
            v1::Event {
                event_id: ids.0,
                r#type,
                event_time: time.map(|(seconds, nanos)| Timestamp { seconds, nanos }),
                visitor_id: ids.1,
                user_id: ids.2,
                session_id: ids.3,
                items,
                transaction,
                search_query: texts.0,
                page_categories: texts.1,
                placement: texts.2,
                attribution_token: texts.3,
                experiment_ids: texts.4,
                attributes,
                consent,
            }
        }
    }

    fn view() -> v1::Event {
        v1::Event {
            event_id: "e1".into(),
            r#type: v1::EventType::View.into(),
            event_time: Some(EventTime::clamped(1_700_000_000_123).to_proto()),
            visitor_id: "v1".into(),
            items: vec![
                v1::EventItem { item_id: "shoe".into(), unit_price: Some(9.5), ..Default::default() },
                v1::EventItem { item_id: "hat".into(), ..Default::default() },
            ],
            attributes: BTreeMap::from([("colour".into(), "red".into())]),
            consent: true,
            ..Default::default()
        }
    }

    #[test]
    fn a_view_says_what_the_event_says() {
        let bytes = view().encode_to_vec();
        let view = EventView::from_bytes(&bytes).unwrap();
        assert_eq!((view.event_id, view.visitor_id, view.consent), ("e1", "v1", true));
        assert_eq!(view.item_ids().collect::<Vec<_>>(), ["shoe", "hat"]);
        agree(&bytes).unwrap();
    }

    #[test]
    fn odd_but_legal_bytes_are_read_as_prost_reads_them() {
        let base = view().encode_to_vec();
        let odd: &[(&str, &[u8])] = &[
            ("a timestamp in two pieces", &[0x1a, 2, 0x10, 5]),
            ("an id that comes again", &[0x0a, 2, b'e', b'2']),
            (
                "a type with a long varint",
                &[0x10, 0x83, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            ),
            (
                "a varint of eleven bytes",
                &[0x10, 0x83, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            ),
            ("a varint past 64 bits", &[0x10, 0x83, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02]),
            ("an unknown field", &[0xa0, 0x06, 1]),
            ("an unknown group", &[0xa3, 0x06, 0x08, 1, 0xa4, 0x06]),
            ("a group that another one ends", &[0xa3, 0x06, 0xac, 0x06]),
            ("the end of no group", &[0xa4, 0x06]),
            ("a known field of another type", &[0x08, 1]),
            ("a known field of type 6", &[0x0e, 1]),
            ("tag 0", &[0x02, 0]),
            ("an item without an id", &[0x3a, 0]),
            ("an item whose id comes twice", &[0x3a, 6, 0x0a, 1, b'a', 0x0a, 1, b'b']),
            ("a price that is no number", &[0x3a, 12, 0x0a, 1, b'a', 0x19, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f]),
            ("revenue that is no number", &[0x42, 9, 0x11, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f]),
            (
                "revenue that is no number, and then is",
                &[0x42, 18, 0x11, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f, 0x11, 0, 0, 0, 0, 0, 0, 0, 0],
            ),
            ("a length past the end", &[0x4a, 5, b'a']),
            ("text that is no UTF-8", &[0x6a, 1, 0xff]),
            ("an attribute of numbers", &[0x72, 2, 0x08, 1]),
            ("consent of 2", &[0x78, 2]),
        ];
        for (what, more) in odd {
            let bytes = [&base, *more].concat();
            agree(&bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        for depth in [98, 99, 100, 101, 102] {
            let groups = [[0xa3, 0x06].repeat(depth), [0xa4, 0x06].repeat(depth)].concat();
            agree(&[&base, groups.as_slice()].concat()).unwrap();
            let length = [(groups.len() & 0x7f) as u8 | 0x80, (groups.len() >> 7) as u8];
            agree(&[&base, [0x42].as_slice(), &length, &groups].concat()).unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        #[test]
        fn views_and_decoded_events_agree_on_all_events(event in an_event()) {
            agree(&event.encode_to_vec())?;
        }

        #[test]
        fn views_and_decoded_events_agree_on_mutated_bytes(
            event in an_event(),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), 0u8..4, any::<u8>()), 1..5),
        ) {
            // Half of them sound before they are changed, lest all are refused for what they were.
            let sound = changes.len() % 2 == 0;
            let mut bytes = if sound { v1::Event { items: event.items, ..view() } } else { event }.encode_to_vec();
            for (at, kind, byte) in changes {
                let at = at.index(bytes.len() + 1);
                match kind {
                    0 if at < bytes.len() => bytes[at] = byte,
                    1 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
                    2 => bytes.insert(at, byte),
                    _ => bytes.truncate(at.max(bytes.len() / 2)),
                }
                agree(&bytes)?;
            }
        }

        #[test]
        fn views_and_decoded_events_agree_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            agree(&bytes)?;
        }
    }
}
