//! What the edges need of the rest of the process: seams that the binary fills.

use std::time::Instant;

use endcap_proto::{Event, Item, ItemId, UserId, VisitorId, v1};
use endcap_recommend::Position;
use futures::future::BoxFuture;

/// Puts events on the topic `events`.
pub trait EventWriter: Send + Sync {
    /// Writes all of them, with the W3C `traceparent` of their request where that had one; answers when the broker
    /// has them.
    fn write(&self, events: Vec<Event>, traceparent: Option<String>)
    -> BoxFuture<'_, Result<(), WriteError>>;
}

/// Puts changes of the catalogue on the topic `items`.
pub trait ItemWriter: Send + Sync {
    /// Writes items; answers when the broker has them, with the place of each record, in order.
    fn upsert(&self, items: Vec<Item>) -> BoxFuture<'_, Result<Vec<Position>, WriteError>>;

    /// Writes tombstones; answers when the broker has them, with the place of each record, in order.
    fn delete(&self, ids: Vec<ItemId>) -> BoxFuture<'_, Result<Vec<Position>, WriteError>>;
}

/// Forgets shoppers.
pub trait Eraser: Send + Sync {
    /// Has a shopper forgotten by everything that reads the topics; answers a receipt as JSON, when this service has
    /// forgotten them, or shortly before the deadline: the receipt says what was not done by then.
    fn erase(
        &self,
        shopper: ShopperId,
        deadline: Option<Instant>,
    ) -> BoxFuture<'_, Result<String, EraseError>>;
}

/// Who is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShopperId {
    /// One browser or device.
    Visitor(VisitorId),
    /// An account, and whoever was seen logged in to it.
    User(UserId),
}

/// The bundles of this service.
pub trait BundleAdmin: Send + Sync {
    /// All of them, oldest first.
    fn list(&self) -> BoxFuture<'_, Result<Vec<v1::Bundle>, AdminError>>;

    /// Lets that one serve; answers when it does.
    fn activate<'a>(&'a self, version: &'a str) -> BoxFuture<'a, Result<v1::Bundle, AdminError>>;

    /// Lets the one serve that did before; answers when it does.
    fn rollback(&self) -> BoxFuture<'_, Result<v1::Bundle, AdminError>>;
}

/// What the stream's consumer has to say. Read at each scrape and each `GetStatus`: no I/O.
pub trait StreamStatus: Send + Sync {
    /// How it stands now.
    fn report(&self) -> StreamReport;
}

/// How the stream stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamReport {
    /// Visitors with a state.
    pub visitors: u64,
    /// Events applied to state since the start.
    pub applied: u64,
    /// Events that came again and were dropped.
    pub repeated: u64,
    /// Events too late to be applied.
    pub late: u64,
    /// Events of shoppers who were erased, which were passed over.
    pub erased: u64,
    /// Messages that went to the dead letters.
    pub dead: u64,
    /// Impressions that the broker has.
    pub impressions_delivered: u64,
    /// Impressions that were put on disk because the broker was away.
    pub impressions_spilled: u64,
    /// Impressions that are lost, by reason.
    pub impressions_dropped: Vec<(&'static str, u64)>,
    /// Bytes of impressions that wait on disk.
    pub spill_bytes: u64,
    /// Times that reading events paused because what lies behind it could not follow.
    pub pauses: u64,
    /// Times that a consumer group dealt the partitions out anew.
    pub rebalances: u64,
    /// Records in finished files of the archive, by topic; empty where the service does not archive.
    pub archived: Vec<(String, u64)>,
    /// What was asked of the servers of a state that replicas share; none where there is none.
    pub shared_state: Option<SharedStateReport>,
    /// Each partition.
    pub lag: Vec<v1::PartitionLag>,
    /// Why the stream is less than it could be; empty when whole.
    pub degraded: Vec<String>,
}

/// What was asked of the servers of a state that replicas share, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SharedStateReport {
    /// Questions and answers.
    pub round_trips: u64,
    /// Partitions flushed.
    pub commits: u64,
    /// Values that another writer had changed meanwhile.
    pub conflicts: u64,
}

/// Nothing was written, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The broker does not answer.
    #[error(
        "the broker is not available: {reason}; try again with the same ids: what was written already is known by them"
    )]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// The producer's queue has no room.
    #[error("the queue to the broker is full; try again later")]
    Full,
    /// One record is larger than the broker takes.
    #[error("a record of {bytes} bytes is larger than the broker takes")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Nobody was forgotten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EraseError {
    /// The configuration does not allow it.
    #[error("{0}")]
    Refused(String),
    /// The broker does not answer.
    #[error("{0}; nothing was forgotten: try again")]
    Unavailable(String),
}

/// The bundle that serves is the one that did before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// There is no such bundle.
    #[error("{0}")]
    NotFound(String),
    /// The name is no bundle's.
    #[error("version: {0}")]
    InvalidVersion(String),
    /// It cannot serve: not sound, or nothing was active before.
    #[error("{0}")]
    Refused(String),
    /// The store cannot be read or written.
    #[error("{0}")]
    Failed(String),
}
