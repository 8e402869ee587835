//! The seam to the state store: what the pipeline reads of a shopper and of an item.
//!
//! `endcap-live` implements [`StateReader`] over the state that the stream builds; a test over a map.

use std::sync::Arc;

use endcap_features::{CounterFeatures, UserState};
use endcap_proto::{EventTime, ItemKey, UserKey, VisitorKey};
use futures::future::BoxFuture;

/// Reads what the stream has left behind.
pub trait StateReader: Send + Sync {
    /// The state of a visitor, merged with that of the account (`user`, or the one that a login event linked),
    /// and with what this `session` did without consent. A visitor never seen has an empty state; that is no error.
    fn read<'a>(
        &'a self,
        visitor: VisitorKey,
        user: Option<UserKey>,
        session: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StateSnapshot, StateReadError>>;

    /// What all shoppers did with an item, as of `as_of`. Called once for each candidate: no I/O, no lock held.
    fn counters(&self, item: ItemKey, as_of: EventTime) -> CounterFeatures;
}

/// A shopper's state and the point of the stream it is from.
#[derive(Debug, Clone)]
pub struct StateSnapshot {
    /// The shopper's history.
    pub state: UserState,
    /// For each partition the next offset to be applied, when the state was read.
    pub applied: Arc<[AppliedOffset]>,
    /// The stream's watermark: the newest event time seen.
    pub watermark: EventTime,
    /// Whether the shopper agreed to be remembered: an event with consent has been applied. Without it the
    /// impressions of this shopper are not archived.
    pub consent: bool,
}

/// How far a partition has been applied.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppliedOffset {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The next offset to be applied.
    pub offset: i64,
}

/// The state could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateReadError {
    /// The store did not answer.
    #[error("the state store is not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// What is stored cannot be decoded.
    #[error("the stored state of visitor {:016x} is not readable: {reason}", visitor.0)]
    Corrupt {
        /// Whose.
        visitor: VisitorKey,
        /// Why.
        reason: String,
    },
}
