//! The state in Valkey or Redis, for several replicas: one consumer group writes, every replica reads.
//!
//! ```text
//! Event ──► ValkeyWriter (one to a consumer, with the partitions the group gave it)
//!             ├─ publish: visitors, sessions, accounts; each carries the offsets it has seen ──► Valkey
//!             └─ flush: counters, ids of events, offset; one partition, one atomic write ──────►   │
//!                                                                                                  ▼
//! recommend ◄── ValkeyStore (any replica) ◄── a visitor: one round trip; counters: summed here, polled
//! ```
//!
//! **Nothing counts twice.** What belongs to a partition (the counts it adds to items, its window of event
//! ids, its watermark and its next offset) has one hash tag and is written by one script, all or nothing, that
//! first looks whether the partition is still this writer's (`epoch`). What belongs to a visitor lies in
//! another slot, is written before, and says up to which offset of which partition it has heard: events read
//! again after a crash pass by it. A value is written only where it is still what was read (a version in
//! front of it); otherwise it is read again and the events are applied again, to those that have not seen them.
//!
//! **One round trip.** Visitor, session and the account's other devices share the visitor's hash tag: the
//! account is copied to each of its devices whenever one of them acts (mostly there is one device, and no copy).
//!
//! **Counters.** Each partition has a shard of its own. A shard's changes go into a short stream, which every
//! replica polls and sums in memory: ranking a candidate is no I/O.

mod backup;
mod commit;
mod config;
mod connection;
mod erase;
mod keys;
mod shards;
mod values;
mod writer;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use endcap_features::{CounterFeatures, ItemCounters, SESSION_GAP_MS, UserState};
use endcap_proto::{EventTime, ItemKey, UserKey, VisitorKey};
use endcap_recommend::{AppliedOffset, StateReadError, StateReader, StateSnapshot};
use futures::future::{BoxFuture, FutureExt as _};
use redis::{Cmd, FromRedisValue as _, Value};
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use config::{ValkeyConfig, ValkeyConfigError};
pub use writer::ValkeyWriter;

use self::{
    connection::Connection,
    keys::Keys,
    values::{Account, Seen, Session, Shopper, Stored, Versioned},
};
use crate::{AppliedOffsets, PartitionOffset, StoreConfig, StoreError, store::session_key};

/// Version of what is kept under a prefix.
const FORMAT: &str = "1";

/// Reads the state that the group's consumers keep in Valkey. Clones share one connection.
#[derive(Clone)]
pub struct ValkeyStore {
    shared: Arc<Shared>,
    /// None where the counters are not followed.
    _polls: Option<Arc<DropGuard>>,
}

struct Shared {
    connection: Connection,
    keys: Keys,
    topic: Arc<str>,
    /// What stands under the prefix.
    mark: String,
    /// For messages: servers and prefix.
    place: String,
    /// How long a visitor is kept after the last event.
    ttl_ms: u64,
    runtime: Handle,
    applied: ArcSwap<Applied>,
    progress: Mutex<BTreeMap<i32, (i64, EventTime)>>,
    /// By item, over all partitions.
    counters: papaya::HashMap<u64, Arc<ItemCounters>>,
    trouble: Mutex<Option<String>>,
    counts: Counts,
}

/// What was asked of the servers since this process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ValkeyCounts {
    /// Questions and answers, each of one command or many.
    pub round_trips: u64,
    /// Partitions flushed: counters, event ids and offset in one write.
    pub commits: u64,
    /// Values that another writer had changed meanwhile, and that were read and written again.
    pub conflicts: u64,
}

#[derive(Default)]
struct Counts {
    round_trips: AtomicU64,
    commits: AtomicU64,
    conflicts: AtomicU64,
}

#[derive(Debug, Clone, Default)]
struct Applied {
    offsets: Arc<[AppliedOffset]>,
    watermark: EventTime,
}

// === impl ValkeyStore ===

impl ValkeyStore {
    /// The state of `topic`, and a writer to it, which writes nothing before it was assigned partitions.
    /// Connects in the background; belongs into a tokio runtime, which must live as long as both.
    ///
    /// # Errors
    /// When the configuration or a secret cannot be used.
    pub fn open(
        config: &ValkeyConfig,
        topic: &str,
        store: &StoreConfig,
    ) -> Result<(Self, ValkeyWriter), ValkeyConfigError> {
        let shared = Shared::open(config, topic, false)?;
        let polls = CancellationToken::new();
        tokio::spawn(shards::poll(shared.clone(), config.poll_interval_ms, polls.clone()));
        let reader = Self { shared: shared.clone(), _polls: Some(Arc::new(polls.drop_guard())) };
        Ok((reader.clone(), ValkeyWriter::new(reader, store)))
    }

    /// A hash of all that is kept of shoppers, links and items: the one that
    /// [`StateStore::digest`](crate::StateStore::digest) would have of the same events. Walks all keys, and
    /// holds the servers up while it does.
    ///
    /// # Errors
    /// When the servers cannot be asked.
    pub async fn digest(&self) -> Result<u64, StoreError> {
        let described = self.describe().await?;
        // It was written so.
        Ok(u64::from_str_radix(&described.digest, 16).unwrap_or_default())
    }

    /// The newest event time applied.
    pub fn watermark(&self) -> EventTime {
        self.shared.applied.load().watermark
    }

    /// What stands between this process and Valkey; none when all is well.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble().clone()
    }

    /// What was asked of the servers.
    pub fn counts(&self) -> ValkeyCounts {
        let Counts { round_trips, commits, conflicts } = &self.shared.counts;
        ValkeyCounts {
            round_trips: round_trips.load(Relaxed),
            commits: commits.load(Relaxed),
            conflicts: conflicts.load(Relaxed),
        }
    }

    /// The next offset of each partition, as it was last flushed.
    ///
    /// # Errors
    /// When the servers cannot be asked, or what they hold is of another topic or version.
    pub async fn flushed(&self) -> Result<Vec<PartitionOffset>, StoreError> {
        let shared = &self.shared;
        shared.claim_prefix().await?;
        let partitions = shared.partitions().await?;
        let asked = partitions.iter().map(|&partition| {
            let mut command = redis::cmd("HGET");
            command.arg(shared.keys.at(partition)).arg("at");
            command
        });
        let mut offsets = Vec::with_capacity(partitions.len());
        let asked: Vec<_> = asked.collect();
        let answers = if asked.is_empty() { Vec::new() } else { shared.all(asked).await? };
        for (&partition, answer) in partitions.iter().zip(answers) {
            if let Some(bytes) = shared.value::<Option<Vec<u8>>>(answer)? {
                offsets.push(PartitionOffset { partition, offset: shared.at(partition, &bytes)?.next });
            }
        }
        Ok(offsets)
    }

    /// Whether the servers answer, and in which version: for `endcap doctor`.
    ///
    /// # Errors
    /// When they do not.
    pub async fn ping(&self) -> Result<String, StoreError> {
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let answer = self.shared.one(info).await?;
        let text = match &answer {
            // A cluster answers node by node.
            Value::Map(nodes) => nodes.first().map(|(_, info)| info.clone()).unwrap_or_default(),
            other => other.clone(),
        };
        let text = String::from_redis_value(text).unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let version = [field("valkey_version:"), field("redis_version:")];
        let version = version.into_iter().find(|version| !version.is_empty()).unwrap_or("unknown").trim();
        Ok(format!("{} answers, version {version}", self.shared.place))
    }

    async fn snapshot(
        &self,
        visitor: VisitorKey,
        user: Option<UserKey>,
        session: Option<&str>,
    ) -> Result<StateSnapshot, StoreError> {
        let shared = &self.shared;
        // Before the state, which may then be newer, and says so itself.
        let Applied { mut offsets, watermark } = Applied::clone(&shared.applied.load());
        let session = session_key(visitor, session);
        let keys =
            [shared.keys.shopper(visitor), shared.keys.session(visitor, session), shared.keys.copy(visitor)];
        let mut commands = vec![keys::mget(&keys)];
        commands.extend(user.map(|user| keys::get(&shared.keys.account(user))));
        let mut answers = shared.all(commands).await?.into_iter();
        let [own, session, copy]: [Option<Vec<u8>>; 3] = shared.value(answers.next().unwrap_or_default())?;
        let named: Option<Vec<u8>> = answers.next().map(|value| shared.value(value)).transpose()?.flatten();

        let mut state = UserState::default();
        let mut seen = |other: &UserState, offsets_seen: &Seen| {
            state = if state.is_empty() { other.clone() } else { state.merge(other) };
            raise(&shared.topic, &mut offsets, offsets_seen);
        };
        let own =
            own.map(|bytes| shared.decode::<Shopper>(&keys[0], &bytes)).transpose()?.map(|own| own.entry);
        let mut consent = own.is_some();
        let user = user.or_else(|| own.as_ref().and_then(|own| own.state.user()));
        if let Some(own) = &own {
            seen(&own.state, &own.seen);
        }
        if let Some(bytes) = named.or(copy).filter(|_| user.is_some()) {
            let account = shared.decode::<Account>(&keys[2], &bytes)?.entry;
            let others = account.devices.iter().filter(|_| Some(UserKey(account.user)) == user);
            for (_, device) in others.filter(|(other, _)| **other != visitor) {
                let other = UserState::decode(&device.state)
                    .map_err(|error| shared.corrupt(&keys[2], error.to_string()))?;
                // A device that someone else has logged in on since is no longer this shopper's.
                if other.user() == user {
                    seen(&other, &device.seen);
                }
            }
        }
        let session = session.map(|bytes| shared.decode::<Session>(&keys[1], &bytes)).transpose()?;
        let lasts =
            |session: &Versioned<Session>| watermark.millis_since(session.entry.last()) <= SESSION_GAP_MS;
        if let Some(Versioned { entry: session, .. }) = session.filter(lasts) {
            // The shopper's newest event says whether they agree.
            consent &= own.is_some_and(|own| own.state.last_seen() > session.state.last_seen());
            seen(&session.state, &session.seen);
        }
        Ok(StateSnapshot { state, applied: offsets, watermark, consent })
    }
}

impl StateReader for ValkeyStore {
    fn read<'a>(
        &'a self,
        visitor: VisitorKey,
        user: Option<UserKey>,
        session: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StateSnapshot, StateReadError>> {
        let read = self.snapshot(visitor, user, session);
        read.map(move |snapshot| {
            snapshot.map_err(|error| match error {
                StoreError::CorruptKey { key, reason, .. } => {
                    StateReadError::Corrupt { visitor, reason: format!("{key}: {reason}") }
                }
                error => StateReadError::Unavailable { reason: error.to_string() },
            })
        })
        .boxed()
    }

    fn counters(&self, item: ItemKey, as_of: EventTime) -> CounterFeatures {
        let counters = self.shared.counters.pin();
        counters
            .get(&item.0)
            .map_or_else(|| ItemCounters::default().read(as_of), |counters| counters.read(as_of))
    }
}

impl AppliedOffsets for ValkeyStore {
    fn applied(&self) -> Vec<PartitionOffset> {
        let applied = self.shared.applied.load();
        let offsets = applied.offsets.iter();
        offsets.map(|at| PartitionOffset { partition: at.partition, offset: at.offset }).collect()
    }
}

// === impl Shared ===

impl Shared {
    fn open(config: &ValkeyConfig, topic: &str, filling: bool) -> Result<Arc<Self>, ValkeyConfigError> {
        config.validate()?;
        Ok(Arc::new(Self {
            connection: Connection::open(config)?,
            keys: Keys::new(&config.prefix),
            topic: topic.into(),
            mark: Self::mark(topic, filling),
            place: format!("{}, prefix {}", config.addresses, config.prefix),
            ttl_ms: config.ttl_hours.saturating_mul(3_600_000),
            runtime: Handle::current(),
            applied: ArcSwap::default(),
            progress: Mutex::default(),
            counters: papaya::HashMap::new(),
            trouble: Mutex::default(),
            counts: Counts::default(),
        }))
    }

    /// What stands under a prefix that is of this version and topic; while it is being filled, something else.
    fn mark(topic: &str, filling: bool) -> String {
        let unfinished = if filling { "unfinished restore or rebuild, " } else { "" };
        format!("{unfinished}version {FORMAT}, topic {topic}")
    }

    /// Answers in the order of the commands, side by side.
    async fn all(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        self.counts.round_trips.fetch_add(1, Relaxed);
        let answers = self.connection.all(commands).await.and_then(|answers| answers.into_iter().collect());
        answers.map_err(|error: redis::RedisError| self.unavailable(&error))
    }

    async fn one(&self, command: Cmd) -> Result<Value, StoreError> {
        let answers = self.all(vec![command]).await?;
        Ok(answers.into_iter().next().unwrap_or_default())
    }

    fn value<T: redis::FromRedisValue>(&self, value: Value) -> Result<T, StoreError> {
        T::from_redis_value(value).map_err(|error| StoreError::Unavailable {
            place: self.place.clone(),
            reason: format!("an answer of another kind than was asked for: {error}"),
        })
    }

    fn unavailable(&self, error: &redis::RedisError) -> StoreError {
        StoreError::Unavailable { place: self.place.clone(), reason: error.to_string() }
    }

    fn corrupt(&self, key: &[u8], reason: String) -> StoreError {
        let key = String::from_utf8_lossy(key).into_owned();
        StoreError::CorruptKey { place: self.place.clone(), key, reason }
    }

    fn decode<V: Stored>(&self, key: &[u8], bytes: &[u8]) -> Result<Versioned<V>, StoreError> {
        Versioned::decode(bytes).map_err(|reason| self.corrupt(key, reason))
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Partitions were applied up to there, or further.
    fn advance(&self, to: impl IntoIterator<Item = (i32, i64, EventTime)>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for (partition, next, watermark) in to {
            let at = progress.entry(partition).or_insert((-1, EventTime::default()));
            let further = (at.0.max(next), at.1.max(watermark));
            changed |= *at != further;
            *at = further;
        }
        if changed {
            let offsets = progress.iter().map(|(&partition, &(offset, _))| AppliedOffset {
                topic: self.topic.clone(),
                partition,
                offset,
            });
            let watermark = progress.values().map(|&(_, watermark)| watermark).max().unwrap_or_default();
            self.applied.store(Arc::new(Applied { offsets: offsets.collect(), watermark }));
        }
    }

    /// What stands under a prefix must be of this version and topic; marks it where nothing stands yet.
    async fn claim_prefix(&self) -> Result<(), StoreError> {
        let expected = self.mark.clone();
        let mark = redis::cmd("SET").arg(self.keys.mark()).arg(&expected).arg("NX").to_owned();
        let answers = self.all(vec![mark, keys::get(&self.keys.mark())]).await?;
        let found: Option<String> = self.value(answers.into_iter().nth(1).unwrap_or_default())?;
        match found {
            Some(found) if found != expected => {
                Err(StoreError::ForeignKeys { place: self.place.clone(), found, expected })
            }
            _ => Ok(()),
        }
    }

    /// Partitions that some consumer has ever been assigned.
    async fn partitions(&self) -> Result<Vec<i32>, StoreError> {
        let members = redis::cmd("SMEMBERS").arg(self.keys.partitions()).to_owned();
        let mut partitions: Vec<i32> = self.value(self.one(members).await?)?;
        partitions.sort_unstable();
        Ok(partitions)
    }
}

impl std::fmt::Debug for ValkeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValkeyStore")
            .field("place", &self.shared.place)
            .field("topic", &self.shared.topic)
            .finish()
    }
}

/// Lifts offsets to those that a value has seen, where they are further.
fn raise(topic: &Arc<str>, offsets: &mut Arc<[AppliedOffset]>, seen: &Seen) {
    for &(partition, next) in seen.iter() {
        match offsets.binary_search_by_key(&partition, |at| at.partition) {
            Ok(place) if offsets[place].offset < next => Arc::make_mut(offsets)[place].offset = next,
            Ok(_) => {}
            Err(place) => {
                // Written by a consumer of which this replica has not heard yet.
                let mut more = offsets.to_vec();
                more.insert(place, AppliedOffset { topic: topic.clone(), partition, offset: next });
                *offsets = more.into();
            }
        }
    }
}
