//! The state of every shopper and item, and the offsets it came from, in memory and on disk.
//!
//! ```text
//! Event ──► StateWriter (one thread)                       StateStore (any thread)
//!             │ edits copies of what a batch touches            ▲ reads, never waits
//!             ├─ publish: copies become visible ────────────────┤
//!             └─ flush: what changed + offsets, one batch ──► fjall ──► what is not in memory
//! ```
//!
//! What is published is immutable (`Arc`), so a flush is a list of pointers: the writer goes on while
//! a thread of its own encodes and writes them.
//!
//! **Which offsets a snapshot is of.** A shopper's events lie in one partition, in order. A reader
//! first loads the applied offsets, then the state, which may by then be newer; the state carries
//! the offset after its last event, so the larger of the two is exact for this shopper.
//!
//! **Order.** What is late, repeated or expired is decided by the partition's own watermark (the newest
//! event time seen in it), never by a clock, so reading the log again decides the same.

pub(crate) mod codec;
mod flush;
mod hot;
mod partition;
mod window;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use endcap_features::{CounterFeatures, ItemCounters, SESSION_GAP_MS, UserState};
use endcap_proto::{EventTime, ItemKey, UserKey, VisitorKey};
use endcap_recommend::{AppliedOffset, StateReadError, StateReader, StateSnapshot};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use futures::future::{BoxFuture, FutureExt as _, ready};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

pub(crate) use window::Window;
pub use writer::{Outcome, StateWriter};

use codec::{Counters, Links, Session, Shopper, Stamp};
use hot::Hot;

use crate::PartitionOffset;

/// Version of the bytes on disk.
const VERSION: u8 = 1;

/// How the state is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// An event that lies this far behind the newest of its partition is not applied, in milliseconds.
    pub late_after_ms: i64,
    /// Ids of events, over all partitions, that are remembered to drop repeats. They are remembered for
    /// `late_after_ms` at least while there is room; 16 bytes each.
    pub remembered_events: usize,
    /// Shoppers held in memory; others are read from disk when they come back.
    pub shoppers_in_memory: usize,
    /// Cache of disk blocks, in bytes.
    pub cache_bytes: u64,
}

/// Reads the state. Clones share it.
#[derive(Clone)]
pub struct StateStore(Arc<Shared>);

struct Shared {
    path: PathBuf,
    topic: Arc<str>,
    database: Database,
    /// Offsets, watermark: one key for each partition.
    partitions: Keyspace,
    /// Ids of events: one key for each flush.
    remembered: Keyspace,
    /// By visitor.
    shoppers: Hot<Shopper>,
    /// By visitor and session.
    sessions: Hot<Session>,
    /// By user.
    links: Hot<Links>,
    /// By item.
    counters: Hot<Counters>,
    applied: ArcSwap<Applied>,
}

#[derive(Debug, Clone, Default)]
struct Applied {
    offsets: Arc<[AppliedOffset]>,
    watermark: EventTime,
}

/// The state cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk says no.
    #[error("state in {path}: {source}", path = path.display())]
    Storage {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: fjall::Error,
    },
    /// What is stored cannot be read.
    #[error("state in {path}: {what} is not readable: {reason}; restore a backup, or remove the folder to read the topic again", path = path.display())]
    Corrupt {
        /// Which folder.
        path: PathBuf,
        /// Which entry.
        what: String,
        /// Why.
        reason: String,
    },
    /// The folder was made by another version, or from another topic.
    #[error("state in {path}: is {found}, and this is {expected}; name another folder, or remove it to read the topic again", path = path.display())]
    Foreign {
        /// Which folder.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// What keeps the state does not answer. It may later.
    #[error("state in {place}: {reason}")]
    Unavailable {
        /// Where it is kept.
        place: String,
        /// Why.
        reason: String,
    },
    /// What is kept in Valkey cannot be read.
    #[error(
        "state at {place}: key {key} is not readable: {reason}; restore a backup, or name another \
         state.valkey.prefix to read the topic again"
    )]
    CorruptKey {
        /// Servers and prefix.
        place: String,
        /// Which key.
        key: String,
        /// Why.
        reason: String,
    },
    /// What is kept in Valkey under this prefix was made by another version, or from another topic.
    #[error("state at {place}: is of {found}, and this is {expected}; name another state.valkey.prefix")]
    ForeignKeys {
        /// Servers and prefix.
        place: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// Valkey has lost what it had acknowledged.
    #[error(
        "state at {place}: what was written of partition {partition} is not there any more: the server was started \
         without its data, or a replica took over that was behind; start the consumer again, which goes on from \
         the offset that is there, and look at appendonly and replication"
    )]
    Forgotten {
        /// Servers and prefix.
        place: String,
        /// Which partition.
        partition: i32,
    },
    /// The thread that writes to disk is gone: a bug.
    #[error("state in {path}: the writing thread has panicked", path = path.display())]
    Panicked {
        /// Which folder.
        path: PathBuf,
    },
}

// === impl StoreError ===

impl StoreError {
    /// Whether trying again later may help: nothing was lost.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

// === impl StateStore ===

impl StateStore {
    /// Opens the state of `topic` in a folder, or begins one; and the one writer to it.
    ///
    /// # Errors
    /// When the folder cannot be used, is in use, or is of another topic or version.
    pub fn open(
        dir: impl AsRef<Path>,
        topic: &str,
        config: &StoreConfig,
    ) -> Result<(Self, StateWriter), StoreError> {
        let path = dir.as_ref().to_owned();
        let storage = |source| StoreError::Storage { path: path.clone(), source };
        let database = Database::builder(&path).cache_size(config.cache_bytes).open().map_err(storage)?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default).map_err(storage);
        let meta = keyspace("meta")?;
        for (key, expected) in [("version", VERSION.to_string()), ("topic", topic.to_owned())] {
            match meta.get(key).map_err(storage)? {
                Some(found) if *found == *expected.as_bytes() => {}
                Some(found) => {
                    let found = format!("{key} {}", String::from_utf8_lossy(&found));
                    return Err(StoreError::Foreign { path, found, expected: format!("{key} {expected}") });
                }
                None => meta.insert(key, expected.as_bytes()).map_err(storage)?,
            }
        }
        let shared = Shared {
            topic: topic.into(),
            partitions: keyspace("partitions")?,
            remembered: keyspace("remembered")?,
            shoppers: Hot::new("shoppers", keyspace("shoppers")?, &path),
            // A candidate's counters and an anonymous session are looked up without I/O.
            sessions: Hot::resident("sessions", keyspace("sessions")?, &path)?,
            links: Hot::new("links", keyspace("links")?, &path),
            counters: Hot::resident("counters", keyspace("counters")?, &path)?,
            applied: ArcSwap::default(),
            database,
            path,
        };
        let store = Self(Arc::new(shared));
        let writer = StateWriter::new(store.clone(), config)?;
        Ok((store, writer))
    }

    /// The next offset to be applied, for each partition seen so far.
    pub fn applied(&self) -> Vec<PartitionOffset> {
        let applied = self.0.applied.load();
        applied
            .offsets
            .iter()
            .map(|at| PartitionOffset { partition: at.partition, offset: at.offset })
            .collect()
    }

    /// The newest event time applied.
    pub fn watermark(&self) -> EventTime {
        self.0.applied.load().watermark
    }

    /// Shoppers held in memory.
    pub fn shoppers_in_memory(&self) -> usize {
        self.0.shoppers.len()
    }

    /// Sessions without consent held in memory.
    pub fn sessions_in_memory(&self) -> usize {
        self.0.sessions.len()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.0.database.disk_space().unwrap_or_default()
    }

    /// A hash of all that was flushed of shoppers, links and items, and nothing of how it came there:
    /// two stores that were told the same have the same, in whatever order they heard it.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn digest(&self) -> Result<u64, StoreError> {
        let mut parts = Vec::new();
        let Shared { shoppers, links, counters, .. } = &*self.0;
        shoppers.for_each(|key, shopper| parts.push((0u8, key, shopper.state.encode())))?;
        links.for_each(|key, links| parts.push((1, key, links.0.encode())))?;
        counters.for_each(|key, counters| parts.push((2, key, counters.0.encode())))?;
        parts.sort_unstable();
        let mut bytes = Vec::new();
        for (kind, key, value) in parts {
            bytes.push(kind);
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&value);
        }
        Ok(XxHash3_64::oneshot(&bytes))
    }

    fn snapshot(
        &self,
        visitor: VisitorKey,
        user: Option<UserKey>,
        session: Option<&str>,
    ) -> Result<StateSnapshot, StoreError> {
        let Applied { mut offsets, watermark } = Applied::clone(&self.0.applied.load());
        let mut state = UserState::default();
        let mut seen = |other: &UserState, stamp: Stamp| {
            state = if state.is_empty() { other.clone() } else { state.merge(other) };
            raise(&mut offsets, stamp);
        };
        let own = self.0.shoppers.get(visitor.0)?;
        let mut consent = own.is_some();
        let user = user.or_else(|| own.as_ref().and_then(|own| own.state.user()));
        if let Some(own) = &own {
            seen(&own.state, own.stamp);
        }
        let links = user.map(|user| self.0.links.get(user.0)).transpose()?.flatten();
        for (other, _) in
            links.iter().flat_map(|links| links.0.visitors()).filter(|(other, _)| *other != visitor)
        {
            // A device that someone else has logged in on since is no longer this shopper's.
            if let Some(other) = self.0.shoppers.get(other.0)?.filter(|other| other.state.user() == user) {
                seen(&other.state, other.stamp);
            }
        }
        let session = self.0.sessions.in_memory(session_key(visitor, session));
        if let Some(session) =
            session.filter(|session| watermark.millis_since(session.last()) <= SESSION_GAP_MS)
        {
            // The shopper's newest event says whether they agree.
            consent &= own.is_some_and(|own| own.state.last_seen() > session.state.last_seen());
            seen(&session.state, session.stamp);
        }
        Ok(StateSnapshot { state, applied: offsets, watermark, consent })
    }
}

impl StateReader for StateStore {
    fn read<'a>(
        &'a self,
        visitor: VisitorKey,
        user: Option<UserKey>,
        session: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StateSnapshot, StateReadError>> {
        let snapshot = self.snapshot(visitor, user, session).map_err(|error| match error {
            StoreError::Corrupt { what, reason, .. } => {
                StateReadError::Corrupt { visitor, reason: format!("{what}: {reason}") }
            }
            error => StateReadError::Unavailable { reason: error.to_string() },
        });
        ready(snapshot).boxed()
    }

    fn counters(&self, item: ItemKey, as_of: EventTime) -> CounterFeatures {
        self.0
            .counters
            .in_memory(item.0)
            .map_or_else(|| ItemCounters::default().read(as_of), |counters| counters.0.read(as_of))
    }
}

impl std::fmt::Debug for StateStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateStore").field("path", &self.0.path).field("topic", &self.0.topic).finish()
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            late_after_ms: 3_600_000,
            remembered_events: 8_000_000,
            shoppers_in_memory: 1_000_000,
            cache_bytes: 64 << 20,
        }
    }
}

/// Where a session without consent is kept; without a session id it is the visitor's only one.
pub(crate) fn session_key(visitor: VisitorKey, session: Option<&str>) -> u64 {
    XxHash3_64::oneshot_with_seed(visitor.0, session.unwrap_or_default().as_bytes())
}

/// Lifts one partition's offset to a stamp, where that is further.
fn raise(offsets: &mut Arc<[AppliedOffset]>, stamp: Stamp) {
    let behind = |at: &AppliedOffset| at.partition == stamp.partition && at.offset < stamp.next;
    if let Some(place) = offsets.iter().position(behind) {
        Arc::make_mut(offsets)[place].offset = stamp.next;
    }
}
