//! Records that cannot be used go to the topic `dead-letters`, whole, with the reason in headers, and
//! the stream goes on.
//!
//! A dead letter is on its way while the consumer is already at the next record. Before the
//! consumer's offsets are made durable it waits for the letters that came before them
//! ([`DeadLetters::settle`]): after a crash a letter may be there twice (its key and headers say which record
//! it was) but never not at all. A letter that the broker does not answer for is sent again until it is
//! there; one that is too large for its topic goes without its value, and says so.
//!
//! Letters on their way are bounded: past a limit they are [`DeadLetters::crowded`], and the consumer pauses.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    EventSink, Message, Place, Record, Reject, SendError, SendFault, redrive::letter_key, trace::TraceContext,
};

/// Takes rejected records. Clones share the sink and the counts.
#[derive(Clone)]
pub struct DeadLetters {
    topic: Arc<str>,
    sink: Arc<dyn EventSink>,
    shared: Arc<Shared>,
}

/// How many dead letters there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeadLetterCounts {
    /// The broker has them.
    pub delivered: u64,
    /// The broker did not take them; the log has the reasons.
    pub lost: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    settled: Condvar,
}

#[derive(Default)]
struct State {
    /// Number of the next letter.
    next: u64,
    on_their_way: BTreeMap<u64, Letter>,
    /// What those hold, in bytes.
    bytes: usize,
    /// Those that the broker did not answer for, to be sent again.
    unanswered: Vec<u64>,
    /// Why, of the newest.
    trouble: Option<String>,
    counts: DeadLetterCounts,
}

struct Letter {
    message: Message,
    place: Place,
}

/// Headers that say where a record was and why it is here. A record's own headers come before them.
pub(crate) mod header {
    pub(crate) const TOPIC: &str = "topic";
    pub(crate) const PARTITION: &str = "partition";
    pub(crate) const OFFSET: &str = "offset";
    pub(crate) const STAGE: &str = "stage";
    pub(crate) const REASON: &str = "reason";
    /// The record's key, where it had one.
    pub(crate) const KEY: &str = "key";
    /// The record's value is not here: how many bytes it had.
    pub(crate) const OMITTED: &str = "value-omitted-bytes";
}

/// Letters on their way past which they are crowded …
const CROWD: usize = 20_000;
/// … and bytes; the client's own queue holds four times as much.
const CROWD_BYTES: usize = 16 << 20;

// === impl DeadLetters ===

impl DeadLetters {
    /// To this topic.
    pub fn new(sink: Arc<dyn EventSink>, topic: impl Into<Arc<str>>) -> Self {
        Self { topic: topic.into(), sink, shared: Arc::default() }
    }

    /// Sends a rejected record off. Does not wait.
    pub fn offer(&self, place: &Place, record: &Record<'_>, reject: &Reject) {
        let trace_id = TraceContext::of(record).map(|trace| trace.trace_id);
        tracing::debug!(%place, trace_id, "rejected: {reject}");
        let Place { topic, partition, offset } = place;
        let mut message = Message {
            topic: self.topic.clone(),
            key: letter_key(place),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
                .collect(),
            timestamp: None,
        }
        .header(header::TOPIC, topic.as_bytes())
        .header(header::PARTITION, partition.to_string())
        .header(header::OFFSET, offset.to_string())
        .header(header::STAGE, reject.stage.as_str())
        .header(header::REASON, reject.reason.as_bytes());
        if let Some(key) = record.key {
            message = message.header(header::KEY, key);
        }
        let number = {
            let mut state = self.shared.lock();
            let number = state.next;
            state.next += 1;
            state.bytes += weight(&message);
            state.on_their_way.insert(number, Letter { message: message.clone(), place: place.clone() });
            number
        };
        self.send(number, message);
    }

    fn send(&self, number: u64, message: Message) {
        let shared = self.shared.clone();
        self.sink.send(message, Box::new(move |result| shared.answered(number, result)));
    }

    /// Sends those again that the broker did not answer for.
    pub fn resend(&self) {
        let again: Vec<_> = {
            let mut state = self.shared.lock();
            let numbers = std::mem::take(&mut state.unanswered);
            let letter = |number| Some((number, state.on_their_way.get(&number)?.message.clone()));
            numbers.into_iter().filter_map(letter).collect()
        };
        for (number, message) in again {
            self.send(number, message);
        }
    }

    /// How many letters were offered so far.
    pub fn offered(&self) -> u64 {
        self.shared.lock().next
    }

    /// Waits until it is known of the first `offered` letters whether the broker has them; false
    /// when it still is not after `within`.
    pub fn settle(&self, offered: u64, within: Duration) -> bool {
        self.resend();
        let deadline = Instant::now() + within;
        let mut state = self.shared.lock();
        while state.on_their_way.first_key_value().is_some_and(|(&oldest, _)| oldest < offered) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) =
                self.shared.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Whether so many are on their way that no more should come; once they were, whether more than half as many
    /// still are.
    pub fn crowded(&self, were: bool) -> bool {
        let state = self.shared.lock();
        let share = if were { 2 } else { 1 };
        state.on_their_way.len() > CROWD / share || state.bytes > CROWD_BYTES / share
    }

    /// Why letters do not get through, while they do not.
    pub fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble.clone()
    }

    /// How many there were.
    pub fn counts(&self) -> DeadLetterCounts {
        self.shared.lock().counts
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called on the client's own thread.
    fn answered(&self, number: u64, result: Result<Place, SendError>) {
        let mut state = self.lock();
        let Some(letter) = state.on_their_way.get_mut(&number) else { return };
        match result {
            Ok(_) => {
                state.counts.delivered += 1;
                state.trouble = None;
                state.settle(number);
            }
            Err(error) => match error.fault {
                SendFault::TimedOut | SendFault::QueueFull => {
                    state.trouble = Some(error.to_string());
                    state.unanswered.push(number);
                }
                SendFault::TooLarge if letter.message.value.is_some() => {
                    let omitted = letter.omit_value();
                    tracing::warn!(place = %letter.place, "a dead letter goes without its value of {omitted} bytes: {error}");
                    state.bytes = state.bytes.saturating_sub(omitted);
                    state.unanswered.push(number);
                }
                _ => {
                    tracing::error!(place = %letter.place, "a dead letter is lost: {error}");
                    state.counts.lost += 1;
                    state.settle(number);
                }
            },
        }
        drop(state);
        self.settled.notify_all();
    }
}

impl State {
    fn settle(&mut self, number: u64) {
        if let Some(letter) = self.on_their_way.remove(&number) {
            self.bytes = self.bytes.saturating_sub(weight(&letter.message));
        }
    }
}

impl Letter {
    /// Takes the value out, and all headers that it needed; how many bytes it had.
    fn omit_value(&mut self) -> usize {
        let omitted = self.message.value.take().map_or(0, |value| value.len());
        self.message.headers.push((header::OMITTED.to_owned(), omitted.to_string().into_bytes()));
        omitted
    }
}

/// What a letter occupies, roughly.
fn weight(message: &Message) -> usize {
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    message.key.len() + message.value.as_ref().map_or(0, Vec::len) + headers
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("topic", &self.topic).field("counts", &self.counts()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Delivered, MemoryLog, SendError, Stage};

    fn reject() -> Reject {
        Reject { stage: Stage::Validate, reason: "visitor_id: must not be empty".into() }
    }

    fn place() -> Place {
        Place { topic: "events".into(), partition: 3, offset: 42 }
    }

    #[test]
    fn a_letter_holds_the_record_and_says_where_it_was_and_why() {
        let log = MemoryLog::new(&[("dead-letters", 1)]);
        let letters = DeadLetters::new(Arc::new(log.clone()), "dead-letters");
        let headers = vec![("content-type", b"application/json".as_slice())];
        let record = Record {
            partition: 3,
            offset: 42,
            timestamp: None,
            key: Some(b"v"),
            value: Some(b"{}"),
            headers,
        };
        letters.offer(&place(), &record, &reject());
        let letter = log.messages("dead-letters").pop().unwrap();
        assert_eq!(letter.value.as_deref(), Some(b"{}".as_slice()));
        let header =
            |name: &str| letter.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        for (name, value) in [
            ("content-type", "application/json"),
            ("topic", "events"),
            ("partition", "3"),
            ("offset", "42"),
            ("stage", "validate"),
            ("reason", "visitor_id: must not be empty"),
            ("key", "v"),
        ] {
            assert_eq!(header(name), Some(value.as_bytes().to_vec()), "{name}");
        }
        assert_eq!(letters.counts(), DeadLetterCounts { delivered: 1, lost: 0 });
    }

    /// Keeps deliveries back until told.
    #[derive(Default)]
    struct Slow(Mutex<Vec<Delivered>>);

    impl EventSink for Slow {
        fn send(&self, _: Message, delivered: Delivered) {
            self.0.lock().unwrap().push(delivered);
        }
        fn flush(&self, _: Duration) -> Result<(), SendError> {
            Ok(())
        }
    }

    #[test]
    fn settling_waits_for_the_letters_before_and_for_no_other() {
        let slow = Arc::new(Slow::default());
        let letters = DeadLetters::new(slow.clone(), "dead-letters");
        let record =
            Record { partition: 0, offset: 0, timestamp: None, key: None, value: None, headers: vec![] };
        letters.offer(&place(), &record, &reject());
        let before = letters.offered();
        letters.offer(&place(), &record, &reject());
        assert!(!letters.settle(before, Duration::from_millis(1)));
        let first = slow.0.lock().unwrap().remove(0);
        first(Ok(place()));
        assert!(letters.settle(before, Duration::ZERO));
        assert!(!letters.settle(letters.offered(), Duration::ZERO));
    }
}
