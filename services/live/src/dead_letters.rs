//! Records that cannot be used go to the topic `dead-letters`, whole, with the reason in headers, and
//! the stream goes on.
//!
//! A dead letter is on its way while the consumer is already at the next record. Before the
//! consumer's offsets are made durable it waits for the letters that came before them
//! ([`DeadLetters::settle`]): after a crash a letter may be there twice (its headers say which record
//! it was) but never not at all.

use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{EventSink, Message, Place, Record, Reject};

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
    on_their_way: BTreeSet<u64>,
    counts: DeadLetterCounts,
}

// === impl DeadLetters ===

impl DeadLetters {
    /// To this topic.
    pub fn new(sink: Arc<dyn EventSink>, topic: impl Into<Arc<str>>) -> Self {
        Self { topic: topic.into(), sink, shared: Arc::default() }
    }

    /// Sends a rejected record off. Does not wait.
    pub fn offer(&self, place: &Place, record: &Record<'_>, reject: &Reject) {
        tracing::debug!(%place, "rejected: {reject}");
        let Place { topic, partition, offset } = place;
        let mut letter = Message {
            topic: self.topic.clone(),
            key: format!("{topic}/{partition}/{offset}").into_bytes(),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
                .collect(),
            timestamp: None,
        }
        .header("topic", topic.as_bytes())
        .header("partition", partition.to_string())
        .header("offset", offset.to_string())
        .header("stage", reject.stage.as_str())
        .header("reason", reject.reason.as_bytes());
        if let Some(key) = record.key {
            letter = letter.header("key", key);
        }
        let number = {
            let mut state = self.shared.lock();
            let number = state.next;
            state.next += 1;
            state.on_their_way.insert(number);
            number
        };
        let (shared, place) = (self.shared.clone(), place.clone());
        let delivered = move |result: Result<Place, _>| {
            if let Err(error) = &result {
                tracing::error!(%place, "a dead letter is lost: {error}");
            }
            let mut state = shared.lock();
            state.on_their_way.remove(&number);
            match result {
                Ok(_) => state.counts.delivered += 1,
                Err(_) => state.counts.lost += 1,
            }
            drop(state);
            shared.settled.notify_all();
        };
        self.sink.send(letter, Box::new(delivered));
    }

    /// How many letters were offered so far.
    pub fn offered(&self) -> u64 {
        self.shared.lock().next
    }

    /// Waits until it is known of the first `offered` letters whether the broker has them; false
    /// when it still is not after `within`.
    pub fn settle(&self, offered: u64, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut state = self.shared.lock();
        while state.on_their_way.first().is_some_and(|&oldest| oldest < offered) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) =
                self.shared.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        true
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
