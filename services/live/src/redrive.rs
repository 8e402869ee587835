//! Dead letters again: read, told apart, and sent back to the topic that they came from.
//!
//! ```text
//! topic dead-letters ──read to its end──► letters, one for each record that was rejected
//!                                            │ filtered, and not redriven before
//!                                            ├──► the topic it came from, as it was
//!                                            └──► dead-letters: a mark under the letter's key
//! ```
//!
//! A letter's key names the record that it is of, so that a letter that was written twice is sent once. The mark is
//! written once the broker has the record; a crash between the two sends it again, which the event's id tells.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, mpsc},
    time::Duration,
};

use crate::{
    EventSink, EventSource, Message, PartitionOffset, Place, Record, Reject, SendError, SourceError, Topics,
    dead_letters::header, decode_event, decode_item, source::Progress,
};

/// A record that was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where the record was.
    pub place: Place,
    /// How far it came.
    pub stage: String,
    /// Why no further.
    pub reason: String,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// It had a value, which was too large for the topic of dead letters.
    pub omitted: bool,
}

/// Which letters are sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedriveOptions {
    /// Only those that were rejected at this stage: `decode`.
    pub stage: Option<String>,
    /// Only those whose reason holds this text.
    pub reason: Option<String>,
    /// Only those from this topic.
    pub topic: Option<String>,
    /// Only those that would be taken now.
    pub sound_only: bool,
    /// Those that were redriven before, too.
    pub again: bool,
    /// Send nothing.
    pub dry_run: bool,
}

/// What becomes of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was sent, and is here now; where it is not, nothing was to be sent.
    Sent(Option<Place>),
    /// It was redriven before.
    Before,
    /// It is not sent, for this reason.
    Kept(String),
}

/// How many letters there were, of those that the filters let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RedriveReport {
    /// Sent, or to be sent where nothing was to be.
    pub sent: u64,
    /// Redriven before.
    pub before: u64,
    /// Not sent.
    pub kept: u64,
    /// Of those that are sent, how many would be rejected once more.
    pub unsound: u64,
    /// Letters that were written twice.
    pub repeats: u64,
    /// Records of the topic that are no dead letters.
    pub foreign: u64,
}

/// Letters cannot be redriven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedriveError {
    /// The dead letters cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The broker does not take them. Those that it took are marked; it is safe to begin again.
    #[error("{sent} were redriven, then {error}; begin again when it is mended")]
    Send {
        /// How many were sent and marked before.
        sent: u64,
        /// Why no more were.
        error: SendError,
    },
}

/// Marks a letter as redriven; its value is where the record went.
const REDRIVEN: &str = "redriven";
/// Letters on their way at a time.
const BATCH: usize = 500;

/// Sends the dead letters that the topic holds now back to where they came from. Tells `each` what becomes of each that
/// the filters let through. Blocks.
///
/// # Errors
/// When they cannot be read or sent.
pub fn redrive(
    source: &mut dyn EventSource,
    sink: &dyn EventSink,
    topics: &Topics,
    options: &RedriveOptions,
    each: &mut dyn FnMut(&DeadLetter, &Fate),
) -> Result<RedriveReport, RedriveError> {
    let dead_letters = source.topic().clone();
    let mut report = RedriveReport::default();
    let (mut letters, mut known, mut marked) = (Vec::new(), HashSet::new(), HashSet::new());
    read_to_end(source, &mut |record| {
        if record.header(REDRIVEN).is_some() {
            marked.extend(record.key.map(<[u8]>::to_vec));
            return;
        }
        let Some(letter) = DeadLetter::read(record) else {
            report.foreign += 1;
            return;
        };
        if !options.allow(&letter) {
            return;
        }
        if !known.insert(letter.place.clone()) {
            report.repeats += 1;
        } else {
            letters.push(letter);
        }
    })?;
    letters.sort_by(|one, other| one.place.cmp(&other.place));
    for batch in letters.chunks(BATCH) {
        let mut to_send = Vec::new();
        for letter in batch {
            let verdict = letter.verdict(topics);
            let fate = if !options.again && marked.contains(&letter.own_key()) {
                report.before += 1;
                Fate::Before
            } else if let Some(reason) = letter.why_not(topics) {
                Fate::Kept(reason)
            } else if let (true, Err(reject)) = (options.sound_only, &verdict) {
                Fate::Kept(format!("it would be rejected again: {reject}"))
            } else {
                report.unsound += u64::from(verdict.is_err());
                if !options.dry_run {
                    to_send.push(letter);
                    continue;
                }
                report.sent += 1;
                Fate::Sent(None)
            };
            report.kept += u64::from(matches!(fate, Fate::Kept(_)));
            each(letter, &fate);
        }
        let sent = send_all(sink, to_send.iter().map(|letter| letter.message()));
        let mut failed = None;
        let mut marks = Vec::new();
        for (letter, result) in to_send.iter().zip(sent) {
            match result {
                Ok(place) => {
                    marks.push(
                        Message::tombstone(dead_letters.clone(), letter.own_key())
                            .header(REDRIVEN, place.to_string()),
                    );
                    each(letter, &Fate::Sent(Some(place)));
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        for result in send_all(sink, marks.into_iter()) {
            match result {
                Ok(_) => report.sent += 1,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            return Err(RedriveError::Send { sent: report.sent, error });
        }
    }
    Ok(report)
}

/// Hands every record that a topic holds now to `each`. Blocks.
///
/// # Errors
/// When the topic cannot be read.
pub fn read_to_end(
    source: &mut dyn EventSource,
    each: &mut dyn FnMut(&Record<'_>),
) -> Result<(), SourceError> {
    let bounds = source.bounds()?;
    let from: Vec<_> =
        bounds.iter().map(|at| PartitionOffset { partition: at.partition, offset: at.first }).collect();
    let mut progress = Progress::begin(&from, &bounds);
    source.assign(&from)?;
    progress.look(source);
    let ends: HashMap<i32, i64> = bounds.iter().map(|at| (at.partition, at.end)).collect();
    while !progress.caught_up() {
        source.poll(1000, Duration::from_millis(100), &mut |record| {
            let Record { partition, offset, .. } = record;
            // What comes while it is read is left to the next reading.
            if ends.get(&partition).is_some_and(|&end| offset < end) {
                each(&record);
            }
            progress.passed(partition, offset);
        })?;
        progress.look(source);
    }
    Ok(())
}

/// Sends messages and waits for what becomes of each, in their order.
fn send_all(sink: &dyn EventSink, messages: impl Iterator<Item = Message>) -> Vec<Result<Place, SendError>> {
    let (tell, told) = mpsc::channel();
    let mut sent = 0;
    for (number, message) in messages.enumerate() {
        let tell = tell.clone();
        sink.send(message, Box::new(move |result| drop(tell.send((number, result)))));
        sent += 1;
    }
    drop(tell);
    let mut results: Vec<_> = told.iter().take(sent).collect();
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

// === impl DeadLetter ===

impl DeadLetter {
    /// Of a record of the topic of dead letters; none where it is something else.
    pub fn read(record: &Record<'_>) -> Option<Self> {
        // Our own headers stand behind those of the record, which may have any names.
        let begin = record.headers.iter().rposition(|(name, _)| *name == header::TOPIC)?;
        let (own, added) = record.headers.split_at(begin);
        let text = |name: &str| {
            let value = added.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
            value.and_then(|value| std::str::from_utf8(value).ok())
        };
        let bytes = |name: &str| added.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_vec());
        let topic: Arc<str> = text(header::TOPIC)?.into();
        let partition = text(header::PARTITION)?.parse().ok()?;
        let offset = text(header::OFFSET)?.parse().ok()?;
        Some(Self {
            place: Place { topic, partition, offset },
            stage: text(header::STAGE)?.to_owned(),
            reason: String::from_utf8_lossy(&bytes(header::REASON)?).into_owned(),
            key: bytes(header::KEY),
            value: record.value.map(<[u8]>::to_vec),
            headers: own.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect(),
            omitted: bytes(header::OMITTED).is_some(),
        })
    }

    /// The record's message as it was.
    pub fn message(&self) -> Message {
        Message {
            topic: self.place.topic.clone(),
            key: self.key.clone().unwrap_or_default(),
            value: self.value.clone(),
            headers: self.headers.clone(),
            timestamp: None,
        }
    }

    /// What would become of the record now.
    ///
    /// # Errors
    /// Why it would be rejected again.
    pub fn verdict(&self, topics: &Topics) -> Result<(), Reject> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let record = Record {
            partition: self.place.partition,
            offset: self.place.offset,
            timestamp: None,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: headers.collect(),
        };
        if *self.place.topic == *topics.items {
            return decode_item(&record).map(drop);
        }
        decode_event(&record).map(drop)
    }

    /// Why it cannot be sent.
    fn why_not(&self, topics: &Topics) -> Option<String> {
        if self.omitted {
            return Some("its value was too large for the topic of dead letters".to_owned());
        }
        let ours = [&topics.events, &topics.items, &topics.erasures];
        if !ours.iter().any(|topic| ***topic == *self.place.topic) {
            return Some(format!("{} is no topic that is read", self.place.topic));
        }
        None
    }

    fn own_key(&self) -> Vec<u8> {
        letter_key(&self.place)
    }
}

/// The key of the letter that is of the record at a place.
pub(crate) fn letter_key(Place { topic, partition, offset }: &Place) -> Vec<u8> {
    format!("{topic}/{partition}/{offset}").into_bytes()
}

// === impl RedriveOptions ===

impl RedriveOptions {
    fn allow(&self, letter: &DeadLetter) -> bool {
        self.stage.as_ref().is_none_or(|stage| *stage == letter.stage)
            && self.reason.as_ref().is_none_or(|text| letter.reason.contains(text))
            && self.topic.as_ref().is_none_or(|topic| **topic == *letter.place.topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeadLetters, MemoryLog, Stage};

    fn topics() -> MemoryLog {
        MemoryLog::new(&[("events", 1), ("items", 1), ("dead-letters", 3)])
    }

    fn offer(letters: &DeadLetters, topic: &str, offset: i64, value: &[u8], headers: Vec<(&str, &[u8])>) {
        let place = Place { topic: topic.into(), partition: 0, offset };
        let record =
            Record { partition: 0, offset, timestamp: None, key: Some(b"v"), value: Some(value), headers };
        let reject = Reject { stage: Stage::Decode, reason: format!("reason {offset}") };
        letters.offer(&place, &record, &reject);
    }

    fn run(log: &MemoryLog, options: RedriveOptions) -> (RedriveReport, Vec<(i64, Fate)>) {
        let mut fates = Vec::new();
        let report = redrive(
            &mut log.source("dead-letters"),
            log,
            &Topics::default(),
            &options,
            &mut |letter, fate| fates.push((letter.place.offset, fate.clone())),
        );
        (report.unwrap(), fates)
    }

    #[test]
    fn a_letter_goes_back_as_it_was_and_only_once() {
        let log = topics();
        let letters = DeadLetters::new(Arc::new(log.clone()), "dead-letters");
        // Its own headers have the names of ours.
        let headers: Vec<(&str, &[u8])> = vec![("topic", b"shoes"), ("key", b"x"), ("traceparent", b"00-a")];
        offer(&letters, "events", 7, b"poison", headers.clone());
        offer(&letters, "events", 7, b"poison", headers.clone());
        offer(&letters, "events", 8, b"other", vec![]);
        let dry = RedriveOptions { dry_run: true, ..RedriveOptions::default() };
        let (report, fates) = run(&log, dry);
        assert_eq!((report.sent, report.repeats, report.unsound), (2, 1, 2));
        assert_eq!(fates, [(7, Fate::Sent(None)), (8, Fate::Sent(None))]);
        assert!(log.messages("events").is_empty());

        let (report, _) = run(&log, RedriveOptions { reason: Some("reason 7".into()), ..Default::default() });
        assert_eq!((report.sent, report.before), (1, 0));
        let sent = log.messages("events").pop().unwrap();
        assert_eq!((sent.key.as_slice(), sent.value.as_deref()), (&b"v"[..], Some(&b"poison"[..])));
        let expected: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        assert_eq!(sent.headers, expected);

        let (report, fates) = run(&log, RedriveOptions::default());
        assert_eq!((report.sent, report.before), (1, 1));
        assert_eq!(fates[0], (7, Fate::Before));
        assert_eq!(run(&log, RedriveOptions::default()).0.sent, 0);
        assert_eq!(run(&log, RedriveOptions { again: true, ..Default::default() }).0.sent, 2);
        assert_eq!(log.messages("events").len(), 4);
    }

    #[test]
    fn what_would_come_back_or_has_nowhere_to_go_is_kept_where_that_is_asked_for() {
        let log = topics();
        let letters = DeadLetters::new(Arc::new(log.clone()), "dead-letters");
        offer(&letters, "events", 1, b"poison", vec![]);
        offer(&letters, "clicks", 2, b"poison", vec![]);
        log.append(Message::new("dead-letters", "x", "no letter")).unwrap();
        let (report, fates) = run(&log, RedriveOptions { sound_only: true, ..Default::default() });
        assert_eq!((report.sent, report.kept, report.foreign), (0, 2, 1));
        let kept = |at: usize| match &fates[at].1 {
            Fate::Kept(reason) => reason.clone(),
            fate => panic!("{fate:?}"),
        };
        assert!(kept(0).contains("clicks") && kept(1).contains("rejected again"), "{fates:?}");
        let (report, _) = run(&log, RedriveOptions { stage: Some("apply".into()), ..Default::default() });
        assert_eq!(report, RedriveReport { foreign: 1, ..Default::default() });
    }
}
