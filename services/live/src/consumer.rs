//! Events in: the topic `events` into the state, from our own offsets, never stalling.
//!
//! ```text
//! EventSource ──poll a batch──► decode ──► StateBackend::apply ──publish──► readers
//!      │                          └─ reject ──► DeadLetters        └─ every second: flush ──► disk or server
//!      └─ rebalance ──► StateBackend::acquire, release
//! ```
//!
//! One thread reads, decodes and applies (`run`); another one writes to disk. A batch is what has arrived,
//! so that a lone click is visible as soon as it is read, and a backlog is taken in large bites. The
//! offsets go to disk with the state, after the dead letters before them have been delivered.
//!
//! **Modes.** One replica, or each with a state of its own: all partitions are assigned by hand. Several replicas
//! that share a state: a consumer group deals the partitions out, cooperatively. In both, reading begins at the
//! offsets that the state knows.
//!
//! **Invariant.** No offset is ever committed to a group.
//!
//! **Erasures.** The topic `erasures` is read to its end before the first event is, and followed from then on: an
//! event of an erased shopper is passed over, and the state forgets what it knew. The state is told all of
//! them again whenever it acquires partitions, which another may have written meanwhile.
//!
//! **Backpressure.** Where the state or the dead letters cannot follow, partitions are paused: polling goes on, so
//! that the group still hears of this member, and memory stays bounded.

mod run;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    AppliedOffsets, DeadLetterCounts, DeadLetters, EventSource, GroupProtocol, Membership, PartitionOffset,
    Place, SourceError, StateBackend, StoreError,
    erasures::{Erasure, Erasures, Gone},
};

/// How events are taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerConfig {
    /// Who says which partitions are read.
    pub group: Group,
    /// Name of the group.
    pub group_id: String,
    /// This member's own name in a classic group, which it keeps over restarts: a short absence then moves
    /// no partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_instance_id: Option<String>,
    /// Most records between two moments at which readers see what was applied.
    pub batch: usize,
    /// State goes to disk this often, in milliseconds …
    pub flush_interval_ms: u64,
    /// … and after this many records.
    pub flush_records: u64,
    /// An event may lie this far ahead of its record's own time, in milliseconds; one further ahead
    /// comes from a wrong clock and goes to the dead letters, lest it make all others late.
    pub ahead_at_most_ms: i64,
}

/// Who says which partitions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Nobody: all of them are.
    #[default]
    None,
    /// A group whose members deal them out among themselves, cooperatively.
    Classic,
    /// A group whose broker deals them out (KIP-848).
    Consumer,
}

/// The configuration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("consumer.{field}: {rule}")]
pub struct ConfigError {
    /// Which field.
    pub field: &'static str,
    /// What it must be.
    pub rule: &'static str,
}

/// What the consumer needs.
pub struct Options {
    /// The topic `events`.
    pub source: Box<dyn EventSource>,
    /// The state.
    pub writer: Box<dyn StateBackend>,
    /// What takes records that are no events.
    pub dead_letters: DeadLetters,
    /// Who is to be forgotten; without it nobody is. Nothing is read before they are known.
    pub erasures: Option<Erasures>,
    /// How.
    pub config: ConsumerConfig,
}

/// Takes events in.
pub struct Service {
    options: Options,
    shared: Arc<Shared>,
    tick: watch::Sender<Progress>,
}

/// How the consumer is doing. Clones see the same.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    progress: Arc<dyn AppliedOffsets>,
    dead_letters: DeadLetters,
    tick: watch::Receiver<Progress>,
}

/// How the consumer is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerStatus {
    /// Events that became part of the state.
    pub applied: u64,
    /// Events without consent, which act on their session alone.
    pub session_only: u64,
    /// Events too far behind the watermark.
    pub late: u64,
    /// Events whose id was seen before.
    pub duplicates: u64,
    /// Events of shoppers who were erased, which were passed over.
    pub erased: u64,
    /// Records that are no events, by how far they came.
    pub rejected: BTreeMap<&'static str, u64>,
    /// What became of those.
    pub dead_letters: DeadLetterCounts,
    /// Offsets passed over at start because the topic no longer has them.
    pub lost_to_retention: u64,
    /// Times that state went to disk.
    pub flushes: u64,
    /// Each partition.
    pub partitions: Vec<PartitionStatus>,
    /// Everything that was in the topic at the start has been applied.
    pub caught_up: bool,
    /// What it is waiting for, where it cannot read.
    pub trouble: Option<String>,
    /// Why it reads nothing although it could: something behind it cannot follow.
    pub paused: Option<String>,
    /// Times that it paused.
    pub pauses: u64,
    /// Times that a group dealt the partitions out anew.
    pub rebalances: u64,
}

/// How far a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Which.
    pub partition: i32,
    /// The next offset to be applied.
    pub next: i64,
    /// The newest known end; may be a second old.
    pub end: i64,
    /// Records between the two.
    pub lag: u64,
}

/// The consumer cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The topic cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The state cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state is ahead of the topic.
    #[error(
        "topic {topic}, partition {partition} ends at offset {end}, but the state has applied up to {next}: the topic \
         was made anew; remove the state to read it from its beginning"
    )]
    Ahead {
        /// Which topic.
        topic: Arc<str>,
        /// Which partition.
        partition: i32,
        /// Where the partition ends.
        end: i64,
        /// The next offset by the state.
        next: i64,
    },
    /// The consumer's thread panicked: a bug.
    #[error("the consumer panicked: {0}")]
    Panicked(String),
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    caught_up: bool,
    publishes: u64,
    /// Erasures that the state has carried out, and those of them of which nothing is left on disk.
    erasures: usize,
    erasures_for_good: usize,
}

#[derive(Default)]
struct Shared {
    applied: AtomicU64,
    session_only: AtomicU64,
    late: AtomicU64,
    duplicates: AtomicU64,
    erased: AtomicU64,
    lost_to_retention: AtomicU64,
    flushes: AtomicU64,
    pauses: AtomicU64,
    rebalances: AtomicU64,
    slow: Mutex<Slow>,
}

/// What changes rarely.
#[derive(Default)]
struct Slow {
    /// What there was of those erased lately, the newest last.
    gone: VecDeque<(Erasure, Gone)>,
    rejected: BTreeMap<&'static str, u64>,
    ends: Vec<PartitionOffset>,
    trouble: Option<String>,
    paused: Option<String>,
}

// === impl Service ===

impl Service {
    /// The service, and the handle that tells how it is doing.
    pub fn new(options: Options) -> (Self, Handle) {
        let shared = Arc::new(Shared::default());
        let (tick, seen) = watch::channel(Progress::default());
        let handle = Handle {
            shared: shared.clone(),
            progress: options.writer.progress(),
            dead_letters: options.dead_letters.clone(),
            tick: seen,
        };
        (Self { options, shared, tick }, handle)
    }

    /// Takes events in until `drain`, then flushes. Waits for a broker that is away.
    ///
    /// # Errors
    /// When the topic cannot be read or the state cannot be kept.
    pub async fn run(self, drain: CancellationToken) -> Result<(), Error> {
        // A future that is dropped ends its thread, too.
        let drain = drain.child_token();
        let _ends = drain.clone().drop_guard();
        let consuming = tokio::task::spawn_blocking(move || run::Run::new(self, drain).until_drained());
        consuming.await.unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())))
    }
}

// === impl ConsumerConfig ===

impl ConsumerConfig {
    /// Checks what can be checked without a broker.
    ///
    /// # Errors
    /// Names the field and its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field, rule| Err(ConfigError { field, rule });
        if self.batch == 0 {
            return refuse("batch", "must be at least 1");
        }
        if self.flush_records == 0 {
            return refuse("flush_records", "must be at least 1");
        }
        if self.group != Group::None && self.group_id.is_empty() {
            return refuse("group_id", "must not be empty");
        }
        match (self.group, self.group_instance_id.as_deref()) {
            (_, None) => Ok(()),
            (_, Some("")) => {
                refuse("group_instance_id", "must not be empty; leave it out for a dynamic member")
            }
            (Group::Classic, Some(_)) => Ok(()),
            (Group::None, Some(_)) => {
                refuse("group_instance_id", "names a member of a group, and `group` is none")
            }
            (Group::Consumer, Some(_)) => refuse(
                "group_instance_id",
                "must be absent where `group` is consumer: a broker fences a static member that comes back after it \
                 was killed until its session is over, and librdkafka 2.12 then ends the client for good; take \
                 dynamic members, or group = \"classic\"",
            ),
        }
    }

    /// The group to be joined, if any.
    pub fn membership(&self) -> Option<Membership> {
        let protocol = match self.group {
            Group::None => return None,
            Group::Classic => GroupProtocol::Classic,
            Group::Consumer => GroupProtocol::Consumer,
        };
        Some(Membership {
            protocol,
            group_id: self.group_id.clone(),
            instance_id: self.group_instance_id.clone(),
        })
    }
}

// === impl Handle ===

impl Handle {
    /// How the consumer is doing.
    pub fn status(&self) -> ConsumerStatus {
        let Shared {
            applied,
            session_only,
            late,
            duplicates,
            erased,
            lost_to_retention,
            flushes,
            pauses,
            rebalances,
            slow,
        } = &*self.shared;
        let slow = slow.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = self.progress.applied().into_iter().map(|at| {
            let end = slow
                .ends
                .iter()
                .find(|end| end.partition == at.partition)
                .map_or(at.offset, |end| end.offset);
            let lag = u64::try_from(end - at.offset).unwrap_or_default();
            PartitionStatus { partition: at.partition, next: at.offset, end: end.max(at.offset), lag }
        });
        ConsumerStatus {
            applied: applied.load(Relaxed),
            session_only: session_only.load(Relaxed),
            late: late.load(Relaxed),
            duplicates: duplicates.load(Relaxed),
            erased: erased.load(Relaxed),
            rejected: slow.rejected.clone(),
            dead_letters: self.dead_letters.counts(),
            lost_to_retention: lost_to_retention.load(Relaxed),
            flushes: flushes.load(Relaxed),
            partitions: partitions.collect(),
            caught_up: self.tick.borrow().caught_up,
            trouble: slow.trouble.clone(),
            paused: slow.paused.clone(),
            pauses: pauses.load(Relaxed),
            rebalances: rebalances.load(Relaxed),
        }
    }

    /// Waits until everything that was in the topic at the start has been applied; false when the
    /// consumer ended before.
    pub async fn caught_up(&self) -> bool {
        self.tick.clone().wait_for(|progress| progress.caught_up).await.is_ok()
    }

    /// Waits until the state has carried out the first `count` erasures that [`Erasures`] knows, and until nothing of
    /// them is left on disk; false when the consumer ended before.
    pub async fn has_erased(&self, count: usize) -> bool {
        self.tick.clone().wait_for(|progress| progress.erasures_for_good >= count).await.is_ok()
    }

    /// What the state held of a shopper when they were erased; none where that was too long ago.
    pub fn gone(&self, erasure: &Erasure) -> Option<Gone> {
        let slow = self.shared.slow();
        slow.gone.iter().rfind(|(of, _)| of == erasure).map(|(_, gone)| gone.clone())
    }

    /// Waits until readers see the record at `place`; false when the consumer ended before.
    pub async fn reached(&self, place: &Place) -> bool {
        let passed = |at: &PartitionOffset| at.partition == place.partition && at.offset > place.offset;
        self.tick.clone().wait_for(|_| self.progress.applied().iter().any(passed)).await.is_ok()
    }
}

impl Shared {
    fn slow(&self) -> std::sync::MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            group: Group::None,
            group_id: "endcap".to_owned(),
            group_instance_id: None,
            batch: 1024,
            flush_interval_ms: 1000,
            flush_records: 100_000,
            ahead_at_most_ms: 600_000,
        }
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handle").field(&self.status()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_member_of_a_broker_dealt_group_is_refused_and_told_why() {
        let config = |group, instance: Option<&str>| ConsumerConfig {
            group,
            group_instance_id: instance.map(str::to_owned),
            ..ConsumerConfig::default()
        };
        let refused = config(Group::Consumer, Some("replica-1")).validate().unwrap_err().to_string();
        assert!(
            refused.starts_with("consumer.group_instance_id: ") && refused.contains("fences"),
            "{refused}"
        );
        assert!(config(Group::None, Some("replica-1")).validate().is_err());
        assert!(config(Group::Classic, Some("")).validate().is_err());
        for (group, instance) in [
            (Group::None, None),
            (Group::Classic, Some("replica-1")),
            (Group::Classic, None),
            (Group::Consumer, None),
        ] {
            assert_eq!(config(group, instance).validate(), Ok(()));
            assert_eq!(config(group, instance).membership().is_none(), group == Group::None);
        }
        assert!(ConsumerConfig { batch: 0, ..ConsumerConfig::default() }.validate().is_err());
    }
}
