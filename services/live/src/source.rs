//! The seams to the log: where records come from and where messages go.
//!
//! [`KafkaSource`](crate::KafkaSource) and [`KafkaSink`](crate::KafkaSink) are librdkafka behind
//! these traits, [`MemoryLog`](crate::MemoryLog) is a log in memory; one contract suite holds for both.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures::channel::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{Message, PartitionOffset, Place, Record};

/// One topic, read from offsets that the caller keeps.
///
/// Partitions are assigned by hand ([`Self::assign`]), or dealt out by a consumer group ([`Self::join`]):
/// what the group decides is told by [`Self::rebalance`], and takes effect when the caller has answered with
/// [`Self::take_on`] or [`Self::give_up`].
///
/// All calls block; they belong on a thread of their own.
pub trait EventSource: Send {
    /// The topic.
    fn topic(&self) -> &Arc<str>;

    /// Its partitions and what they hold now.
    ///
    /// # Errors
    /// When the broker cannot be asked, or has no such topic.
    fn bounds(&mut self) -> Result<Vec<PartitionBounds>, SourceError>;

    /// Partitions that the topic has gained since its bounds were asked for, with what they hold; each is told once.
    /// To be asked now and then: most answers cost nothing. None where a group deals partitions out.
    ///
    /// # Errors
    /// When the client cannot go on.
    fn gained(&mut self) -> Result<Vec<PartitionBounds>, SourceError> {
        Ok(Vec::new())
    }

    /// Reads on from these offsets; partitions that are not named are not read.
    ///
    /// # Errors
    /// When the client refuses.
    fn assign(&mut self, from: &[PartitionOffset]) -> Result<(), SourceError>;

    /// Hands up to `limit` records to `each`, in the order of their offsets within a partition:
    /// waits for the first one up to `wait`, for others not at all. Returns how many there were.
    ///
    /// # Errors
    /// When the client cannot go on. An unreachable broker is no error: there is nothing to read,
    /// and [`Self::trouble`] says why.
    fn poll(
        &mut self,
        limit: usize,
        wait: Duration,
        each: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, SourceError>;

    /// Whether it is to join a group rather than to be assigned partitions.
    fn has_group(&self) -> bool {
        false
    }

    /// Joins its group.
    ///
    /// # Errors
    /// When the client refuses.
    fn join(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    /// The oldest decision of the group that was not told yet. Comes while polling, and is to be answered before
    /// the next one is asked for.
    fn rebalance(&mut self) -> Option<Rebalance> {
        None
    }

    /// Answers [`Rebalance::Gained`]: reads these partitions too, from these offsets.
    ///
    /// # Errors
    /// When the client refuses.
    fn take_on(&mut self, from: &[PartitionOffset]) -> Result<(), SourceError> {
        self.assign(from)
    }

    /// Answers [`Rebalance::Revoked`] and [`Rebalance::Lost`]: reads these partitions no more.
    ///
    /// # Errors
    /// When the client refuses.
    fn give_up(&mut self, _partitions: &[i32]) -> Result<(), SourceError> {
        Ok(())
    }

    /// Stops handing out records, or goes on where it stopped. What was fetched ahead is dropped and nothing
    /// more is fetched, while polling keeps the membership of a group alive.
    ///
    /// # Errors
    /// When the client refuses.
    fn pause(&mut self, paused: bool) -> Result<(), SourceError>;

    /// Whether every assigned partition has been read to its end since its last record.
    fn at_end(&self) -> bool;

    /// The newest known end of each assigned partition; may be a second old.
    fn ends(&self) -> Vec<PartitionOffset>;

    /// What stands between this client and its brokers; none when all is well.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// What a consumer group has decided about this member's partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebalance {
    /// They are this member's from now on.
    Gained(Vec<i32>),
    /// They are to be another member's, which waits until they are given up.
    Revoked(Vec<i32>),
    /// They may be another member's already: this one was not heard of for too long.
    Lost(Vec<i32>),
}

/// Takes messages for any topic.
pub trait EventSink: Send + Sync {
    /// Hands a message over without waiting; `delivered` is called once, when the broker has it or
    /// when it is given up.
    fn send(&self, message: Message, delivered: Delivered);

    /// Waits until nothing is on its way any more.
    ///
    /// # Errors
    /// When something still is after `within`.
    fn flush(&self, within: Duration) -> Result<(), SendError>;
}

/// Learns what became of a message. Called on the client's own thread: must not block.
pub type Delivered = Box<dyn FnOnce(Result<Place, SendError>) + Send + Sync>;

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionBounds {
    /// The partition.
    pub partition: i32,
    /// The oldest offset that is still there.
    pub first: i64,
    /// The offset that the next record will get.
    pub end: i64,
}

/// Reading a topic failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The brokers do not answer. They may later.
    #[error("topic {topic}: no answer from the brokers at {brokers}: {reason}")]
    Unreachable {
        /// Which topic.
        topic: Arc<str>,
        /// Which brokers.
        brokers: String,
        /// Why.
        reason: String,
    },
    /// The brokers answer and have no such topic. They may later.
    #[error(
        "topic {topic}: the brokers at {brokers} have no such topic; create it, or allow `create_topics`"
    )]
    NoTopic {
        /// Which topic.
        topic: Arc<str>,
        /// Which brokers.
        brokers: String,
    },
    /// The client cannot go on.
    #[error("topic {topic} at {brokers}: {reason}")]
    Failed {
        /// Which topic.
        topic: Arc<str>,
        /// Which brokers.
        brokers: String,
        /// Why.
        reason: String,
    },
}

/// A message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic {topic} at {brokers}: {fault}: {reason}")]
pub struct SendError {
    /// Which topic.
    pub topic: Arc<str>,
    /// Which brokers.
    pub brokers: String,
    /// What kind of fault.
    pub fault: SendFault,
    /// In the client's words.
    pub reason: String,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SendFault {
    /// The client's queue has no room.
    QueueFull,
    /// The broker did not have it in time.
    TimedOut,
    /// It is larger than the broker takes.
    TooLarge,
    /// There is no such topic.
    NoTopic,
    /// Anything else.
    Refused,
}

/// Where a reader is in a topic, and whether it has come to where the end was when it began.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    next: BTreeMap<i32, i64>,
    goal: BTreeMap<i32, i64>,
    caught_up: bool,
}

impl Progress {
    pub(crate) fn begin(from: &[PartitionOffset], bounds: &[PartitionBounds]) -> Self {
        Self {
            next: from.iter().map(|from| (from.partition, from.offset)).collect(),
            goal: bounds.iter().map(|bounds| (bounds.partition, bounds.end)).collect(),
            caught_up: false,
        }
    }

    /// A partition is new.
    pub(crate) fn gain(&mut self, at: &PartitionBounds) {
        self.next.insert(at.partition, at.first);
    }

    /// The record at an offset was dealt with.
    pub(crate) fn passed(&mut self, partition: i32, offset: i64) {
        self.next.insert(partition, offset + 1);
    }

    /// Looks whether the goal is reached. The last offsets of a partition may hold no record
    /// (transactions): then the source has seen its end all the same.
    pub(crate) fn look(&mut self, source: &dyn EventSource) {
        let reached =
            |(partition, goal): (&i32, &i64)| self.next.get(partition).is_some_and(|next| next >= goal);
        self.caught_up = self.caught_up || self.goal.iter().all(reached) || source.at_end();
    }

    pub(crate) fn caught_up(&self) -> bool {
        self.caught_up
    }

    pub(crate) fn offsets(&self) -> Vec<PartitionOffset> {
        self.next.iter().map(|(&partition, &offset)| PartitionOffset { partition, offset }).collect()
    }
}

/// Asks for a topic's bounds until there is an answer, however long that takes; none when `drain`
/// comes first. Tells `waiting` why it waits.
pub(crate) fn reach(
    source: &mut dyn EventSource,
    drain: &CancellationToken,
    waiting: &mut dyn FnMut(&SourceError),
) -> Result<Option<Vec<PartitionBounds>>, SourceError> {
    let mut pause = Duration::from_millis(100);
    while !drain.is_cancelled() {
        match source.bounds() {
            Ok(bounds) => return Ok(Some(bounds)),
            Err(error) if error.is_transient() => waiting(&error),
            Err(error) => return Err(error),
        }
        let until = Instant::now() + pause;
        while Instant::now() < until && !drain.is_cancelled() {
            thread::sleep(Duration::from_millis(20));
        }
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    Ok(None)
}

// === impl EventSink ===

impl dyn EventSink + '_ {
    /// Sends one message and waits for what becomes of it.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn deliver(&self, message: Message) -> Result<Place, SendError> {
        let topic = message.topic.clone();
        let (tell, told) = oneshot::channel();
        self.send(message, Box::new(move |result| drop(tell.send(result))));
        told.await.unwrap_or_else(|_| {
            let reason = "the client was closed before it had an answer".to_owned();
            Err(SendError { topic, brokers: String::new(), fault: SendFault::Refused, reason })
        })
    }
}

// === impl SourceError ===

impl SourceError {
    /// Whether asking again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NoTopic { .. })
    }
}

// === impl SendFault ===

impl SendFault {
    /// Every fault.
    pub const ALL: [Self; 5] =
        [Self::QueueFull, Self::TimedOut, Self::TooLarge, Self::NoTopic, Self::Refused];

    /// As a label: `queue_full`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TimedOut => "timed_out",
            Self::TooLarge => "too_large",
            Self::NoTopic => "no_topic",
            Self::Refused => "refused",
        }
    }
}

impl std::fmt::Display for SendFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::QueueFull => "the client's queue is full",
            Self::TimedOut => "the broker did not answer in time",
            Self::TooLarge => "the message is too large",
            Self::NoTopic => "there is no such topic",
            Self::Refused => "the message was refused",
        })
    }
}
