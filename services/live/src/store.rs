//! The state of every shopper and item, and the offsets it came from: in memory, with a journal on disk.
//!
//! ```text
//! Event ──► StateWriter (one thread) ──► tables: compact bytes by key ◄── StateStore (any thread)
//!             └─ frame of operations ──flush──► journal      └─ copied shard by shard ──► snapshot
//! start: newest snapshot, then the journal since
//! ```
//!
//! What goes to disk is what was done, not what came of it: some 40 bytes an event, whatever the size of what it
//! touches. A flush is one frame of the journal: operations and the offsets after them, all or nothing. When
//! the journal has grown to a quarter of the state, a snapshot is made of it while the stream goes on.
//!
//! **Which offsets a snapshot is of.** A shopper's events lie in one partition, in order. A reader
//! first loads the applied offsets, then the state, which may by then be newer; the state carries
//! the offset after its last event, so the larger of the two is exact for this shopper.
//!
//! **Order.** What is late, repeated or expired is decided by the partition's own watermark (the newest
//! event time seen in it), never by a clock, so reading the log again decides the same.
//!
//! **Bounds.** A shopper is forgotten when the watermark has moved on by `forget_after_days` since they were last
//! seen, or when there are more than `shoppers_at_most`: then those go who were not seen for longest.

mod backup;
pub(crate) mod codec;
mod core;
mod entry;
mod erase;
mod files;
mod index;
mod journal;
mod keys;
mod operation;
mod partition;
mod prefetch;
mod recovery;
mod snapshot;
mod table;
mod tables;
mod upkeep;
mod window;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
};

use arc_swap::ArcSwap;
use endcap_features::{CounterFeatures, ItemCounters, LoginLinks, SESSION_GAP_MS, StateError, UserState};
use endcap_proto::{EventTime, ItemKey, UserKey, VisitorKey};
use endcap_recommend::{AppliedOffset, StateReadError, StateReader, StateSnapshot};
use futures::future::{BoxFuture, FutureExt as _, ready};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

pub use backup::{Backup, BackupOf};
pub(crate) use backup::{beside, clear, finish, refuse_existing};
pub(crate) use window::Window;
pub use writer::{Outcome, Outcomes, StateWriter};

use self::{
    core::Unreadable,
    entry::{COUNTERS_HEAD, SESSION_HEAD, STAMP, Stamp},
    tables::Tables,
};
use crate::{PartitionOffset, folder_lock::FolderLock};

/// How the state is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// An event that lies this far behind the newest of its partition is not applied, in milliseconds.
    pub late_after_ms: i64,
    /// Ids of events, over all partitions, that are remembered to drop repeats. They are remembered for
    /// `late_after_ms` at least while there is room; 16 bytes each.
    pub remembered_events: usize,
    /// Shoppers remembered at most; about a KiB each with a history of 50.
    pub shoppers_at_most: usize,
    /// A shopper is forgotten who was not seen for so many days of the stream; 0: never.
    pub forget_after_days: u32,
    /// A snapshot is made when the journal has this many bytes, and a quarter of the last snapshot's.
    pub snapshot_after_bytes: u64,
}

/// Reads the state. Clones share it.
#[derive(Clone)]
pub struct StateStore(Arc<Shared>);

struct Shared {
    path: PathBuf,
    topic: Arc<str>,
    config: StoreConfig,
    tables: Tables,
    applied: ArcSwap<Applied>,
    trending: ArcSwap<Trending>,
    /// Operations that the tables may hold.
    sequence: AtomicU64,
    /// Operations in the journal on disk.
    durable: Arc<AtomicU64>,
    /// Bytes of the last snapshot.
    snapshot_bytes: AtomicU64,
    /// Its number.
    snapshot_number: AtomicU64,
    /// The writer has left.
    closing: AtomicBool,
    /// Held while this is open.
    _lock: FolderLock,
}

/// The items that shoppers turn to most, as of an instant of the stream; counted anew every minute of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trending {
    /// The watermark when it was counted.
    pub as_of: EventTime,
    /// Most wanted first: clicks, views, carts and purchases, decayed with a half-life of a day.
    pub items: Vec<(ItemKey, f32)>,
}

#[derive(Debug, Clone, Default)]
struct Applied {
    offsets: Arc<[AppliedOffset]>,
    watermark: EventTime,
    /// By partition.
    watermarks: Arc<[(i32, EventTime)]>,
}

/// The state cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk says no.
    #[error("state in {path}: cannot {action}: {source}", path = path.display())]
    Storage {
        /// Which folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A state has one writer.
    #[error("state in {path}: another process is using it", path = path.display())]
    InUse {
        /// Which folder.
        path: PathBuf,
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
        let (shared, beginning) = recovery::open(dir.as_ref(), topic, config)?;
        let store = Self(Arc::new(shared));
        let writer = StateWriter::new(store.clone(), beginning)?;
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

    /// Shoppers held in memory: all that are remembered.
    pub fn shoppers_in_memory(&self) -> usize {
        self.0.tables.shoppers.len()
    }

    /// Sessions without consent held in memory.
    pub fn sessions_in_memory(&self) -> usize {
        self.0.tables.sessions.len()
    }

    /// Bytes of memory that hold shoppers.
    pub fn shopper_bytes(&self) -> usize {
        self.0.tables.shoppers.memory()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        files::bytes(&self.0.path).unwrap_or_default()
    }

    /// What shoppers turn to most.
    pub fn trending(&self) -> Arc<Trending> {
        self.0.trending.load_full()
    }

    /// A hash of all that is remembered of shoppers, links and items, and nothing of how it came there:
    /// two stores that were told the same have the same, in whatever order they heard it.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn digest(&self) -> Result<u64, StoreError> {
        let Tables { shoppers, links, counters, .. } = &self.0.tables;
        let (mut digest, mut unreadable) = (0u64, None);
        // A sum does not depend on the order of its parts.
        let mut add = |kind: u64, key: u64, bytes: &[u8]| {
            digest = digest.wrapping_add(part_of_digest(kind, key, bytes));
        };
        let watermarks = self.0.applied.load().watermarks.clone();
        let forgotten = |stamp: Stamp| {
            let watermark = watermarks.iter().find(|(partition, _)| *partition == stamp.partition);
            watermark.map_or(EventTime::MIN, |(_, watermark)| self.0.config.forgotten_before(*watermark))
        };
        shoppers.for_each(|key, bytes| {
            match UserState::decode_added(bytes.get(STAMP..).unwrap_or_default()) {
                // Who is to be forgotten may be there still.
                Ok(state) if state.last_seen() < Some(forgotten(Stamp::read(bytes))) => {}
                Ok(state) => add(0, key, &state.encode()),
                Err(error) => unreadable = Some(Unreadable { kind: "shopper", key, error }),
            }
        });
        links.for_each(|key, bytes| add(1, key, bytes));
        counters.for_each(|key, bytes| add(2, key, bytes.get(COUNTERS_HEAD..).unwrap_or_default()));
        match unreadable {
            Some(unreadable) => Err(self.0.corrupt(unreadable)),
            None => Ok(digest),
        }
    }

    /// A visitor's state and its stamp.
    fn shopper(&self, visitor: VisitorKey) -> Result<Option<(UserState, Stamp)>, StoreError> {
        let read = self.0.tables.shoppers.with(visitor.0, |bytes| {
            let state = UserState::decode_added(bytes.get(STAMP..).unwrap_or_default());
            state.map(|state| (state, Stamp::read(bytes)))
        });
        read.transpose()
            .map_err(|error| self.0.corrupt(Unreadable { kind: "shopper", key: visitor.0, error }))
    }

    fn stamp(&self, visitor: VisitorKey) -> Option<Stamp> {
        self.0.tables.shoppers.with(visitor.0, Stamp::read)
    }

    fn snapshot(
        &self,
        visitor: VisitorKey,
        user: Option<UserKey>,
        session: Option<&str>,
    ) -> Result<StateSnapshot, StoreError> {
        // Between the reads of two visitors of one account the stream may go on; then both are read again, so
        // that the offsets say what was read. A shopper is seldom on two devices at once.
        let mut read = self.try_snapshot(visitor, user, session)?;
        for _ in 0..3 {
            if read.1.len() < 2 || read.1.iter().all(|(visitor, stamp)| self.stamp(*visitor) == Some(*stamp))
            {
                break;
            }
            read = self.try_snapshot(visitor, user, session)?;
        }
        Ok(read.0)
    }

    /// A snapshot, and the visitors that it is of.
    fn try_snapshot(
        &self,
        visitor: VisitorKey,
        user: Option<UserKey>,
        session: Option<&str>,
    ) -> Result<(StateSnapshot, Vec<(VisitorKey, Stamp)>), StoreError> {
        let Applied { mut offsets, watermark, .. } = Applied::clone(&self.0.applied.load());
        let mut state = UserState::default();
        let mut read = Vec::new();
        let mut seen = |other: UserState, stamp: Stamp| {
            state = if state.is_empty() { other } else { state.merge(&other) };
            raise(&mut offsets, &self.0.topic, stamp);
        };
        let own = self.shopper(visitor)?;
        let mut consent = own.is_some();
        let user = user.or_else(|| own.as_ref().and_then(|(own, _)| own.user()));
        let own_last = own.as_ref().and_then(|(own, _)| own.last_seen());
        if let Some((own, stamp)) = own {
            read.push((visitor, stamp));
            seen(own, stamp);
        }
        if let Some(links) = user.map(|user| self.links(user)).transpose()?.flatten() {
            for &(other, _) in links.visitors().iter().filter(|(other, _)| *other != visitor) {
                // A device that someone else has logged in on since is no longer this shopper's.
                if let Some((theirs, stamp)) =
                    self.shopper(other)?.filter(|(theirs, _)| theirs.user() == user)
                {
                    read.push((other, stamp));
                    seen(theirs, stamp);
                }
            }
        }
        if let Some((session, stamp)) = self.session(session_key(visitor, session))? {
            let last = session.last_seen();
            if watermark.millis_since(last.unwrap_or_default()) <= SESSION_GAP_MS {
                // The shopper's newest event says whether they agree.
                consent &= own_last > last;
                seen(session, stamp);
            }
        }
        let forgotten = self.0.config.expired_before(watermark);
        if forgotten > EventTime::MIN {
            state.forget_before(forgotten);
        }
        Ok((StateSnapshot { state, applied: offsets, watermark, consent }, read))
    }

    fn links(&self, user: UserKey) -> Result<Option<LoginLinks>, StoreError> {
        let links = self.0.tables.links.with(user.0, LoginLinks::decode).transpose();
        links.map_err(|error| self.0.corrupt(Unreadable { kind: "links of user", key: user.0, error }))
    }

    fn session(&self, key: u64) -> Result<Option<(UserState, Stamp)>, StoreError> {
        let session = self.0.tables.sessions.with(key, |bytes| {
            let state = UserState::decode_added(bytes.get(SESSION_HEAD..).unwrap_or_default());
            state.map(|state| (state, Stamp::read(bytes)))
        });
        session.transpose().map_err(|error| self.0.corrupt(Unreadable { kind: "session", key, error }))
    }
}

// === impl Shared ===

impl Shared {
    fn storage(&self, action: &'static str, source: io::Error) -> StoreError {
        StoreError::Storage { path: self.path.clone(), action, source }
    }

    fn corrupt(&self, Unreadable { kind, key, error }: Unreadable) -> StoreError {
        let (what, reason) = (format!("{kind} {key:016x}"), StateError::to_string(&error));
        StoreError::Corrupt { path: self.path.clone(), what, reason }
    }
}

// === impl StoreConfig ===

impl StoreConfig {
    /// What lies before this instant is expired when the stream is at `watermark`.
    fn expired_before(&self, watermark: EventTime) -> EventTime {
        if self.forget_after_days == 0 {
            return EventTime::MIN;
        }
        watermark.plus_millis(-i64::from(self.forget_after_days) * 86_400_000)
    }

    /// A shopper who was last seen before this instant is forgotten: nothing that may still arrive is close
    /// enough to them.
    fn forgotten_before(&self, watermark: EventTime) -> EventTime {
        if self.forget_after_days == 0 {
            return EventTime::MIN;
        }
        self.expired_before(watermark).plus_millis(-self.late_after_ms)
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
        let read = |bytes: &[u8]| {
            ItemCounters::read_encoded(bytes.get(COUNTERS_HEAD..).unwrap_or_default(), as_of).ok()
        };
        let counted = self.0.tables.counters.with(item.0, read).flatten();
        counted.unwrap_or_else(|| ItemCounters::default().read(as_of))
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
            shoppers_at_most: 5_000_000,
            forget_after_days: 180,
            snapshot_after_bytes: 64 << 20,
        }
    }
}

/// What one entry adds to a state's digest, wherever it is kept: shoppers are of kind 0, links 1, counters 2.
pub(crate) fn part_of_digest(kind: u64, key: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(key.rotate_left(7) ^ kind, bytes)
}

/// Where a session without consent is kept; without a session id it is the visitor's only one.
pub(crate) fn session_key(visitor: VisitorKey, session: Option<&str>) -> u64 {
    XxHash3_64::oneshot_with_seed(visitor.0, session.unwrap_or_default().as_bytes())
}

/// Lifts one partition's offset to a stamp, where that is further.
fn raise(offsets: &mut Arc<[AppliedOffset]>, topic: &Arc<str>, stamp: Stamp) {
    match offsets.binary_search_by_key(&stamp.partition, |at| at.partition) {
        Ok(place) if offsets[place].offset < stamp.next => Arc::make_mut(offsets)[place].offset = stamp.next,
        Ok(_) => {}
        // Seen before its partition was published for the first time.
        Err(place) => {
            let Stamp { partition, next } = stamp;
            let mut all = offsets.to_vec();
            all.insert(place, AppliedOffset { topic: topic.clone(), partition, offset: next });
            *offsets = all.into();
        }
    }
}
