//! What travels through a log: a record as it is read, a message as it is sent, and where it lies.

use std::{fmt, sync::Arc};

use endcap_proto::EventTime;
use serde::{Deserialize, Serialize};

/// A record of one topic, borrowed from the client that fetched it.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// The partition it lies in.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// When it was produced, or appended: which of the two, the topic decides.
    pub timestamp: Option<EventTime>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Name and value, in order.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

/// A message on its way to a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Which topic.
    pub topic: Arc<str>,
    /// The key: what has the same key goes to the same partition, in order.
    pub key: Vec<u8>,
    /// The value; none deletes the key from a compacted topic.
    pub value: Option<Vec<u8>>,
    /// Name and value, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// When it was made; the broker's or the client's clock when absent.
    pub timestamp: Option<EventTime>,
}

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// A point in a partition: the next offset to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionOffset {
    /// The partition.
    pub partition: i32,
    /// The next offset.
    pub offset: i64,
}

// === impl Record ===

impl<'a> Record<'a> {
    /// The last header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

// === impl Message ===

impl Message {
    /// A message with a key and a value.
    pub fn new(topic: impl Into<Arc<str>>, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), key: key.into(), value: Some(value.into()), ..Self::default() }
    }

    /// A message that deletes the key from a compacted topic.
    pub fn tombstone(topic: impl Into<Arc<str>>, key: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), key: key.into(), ..Self::default() }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same, made at `time`.
    #[must_use]
    pub fn at(mut self, time: EventTime) -> Self {
        self.timestamp = Some(time);
        self
    }
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic {}, partition {}, offset {}", self.topic, self.partition, self.offset)
    }
}
