//! Events in: the topic `events` into the state, from our own offsets, never stalling.
//!
//! ```text
//! EventSource ──poll a batch──► decode ──► StateWriter::apply ──publish──► StateStore (readers)
//!                                 └─ reject ──► DeadLetters        └─ every second: flush ──► disk
//! ```
//!
//! One thread reads, decodes and applies; another one writes to disk. A batch is what has arrived,
//! so that a lone click is visible as soon as it is read, and a backlog is taken in large bites. The
//! offsets go to disk with the state, after the dead letters before them have been delivered.
//!
//! **Invariant.** No group, no committed offsets: partitions are assigned by hand, from the store.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    DeadLetterCounts, DeadLetters, EventSource, Outcome, PartitionBounds, PartitionOffset, Place, Record,
    SourceError, StateStore, StateWriter, StoreError, decode::decode_event_on_time, source::reach,
};

/// How events are taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerConfig {
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

/// What the consumer needs.
pub struct Options {
    /// The topic `events`.
    pub source: Box<dyn EventSource>,
    /// The state.
    pub writer: StateWriter,
    /// What takes records that are no events.
    pub dead_letters: DeadLetters,
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
    store: StateStore,
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
         was made anew; remove the state's folder to read it from its beginning"
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
}

#[derive(Default)]
struct Shared {
    applied: AtomicU64,
    session_only: AtomicU64,
    late: AtomicU64,
    duplicates: AtomicU64,
    lost_to_retention: AtomicU64,
    flushes: AtomicU64,
    slow: Mutex<Slow>,
}

/// What changes rarely.
#[derive(Default)]
struct Slow {
    rejected: BTreeMap<&'static str, u64>,
    ends: Vec<PartitionOffset>,
    trouble: Option<String>,
}

/// The longest wait for a record before the drain and the flush are looked at.
const WAIT: Duration = Duration::from_millis(50);
/// How often ends and troubles are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Dead letters on their way at most before reading waits for them.
const LETTERS_ON_THEIR_WAY: u64 = 20_000;
/// How long a shutdown waits for dead letters; after that it leaves their offsets unwritten.
const LETTERS_PATIENCE: Duration = Duration::from_secs(10);

// === impl Service ===

impl Service {
    /// The service, and the handle that tells how it is doing.
    pub fn new(options: Options) -> (Self, Handle) {
        let shared = Arc::new(Shared::default());
        let (tick, seen) = watch::channel(Progress::default());
        let handle = Handle {
            shared: shared.clone(),
            store: options.writer.store().clone(),
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
        let consuming = tokio::task::spawn_blocking(move || self.consume(&drain));
        consuming.await.unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())))
    }

    fn consume(mut self, drain: &CancellationToken) -> Result<(), Error> {
        let shared = self.shared.clone();
        let mut waiting = |error: &SourceError| {
            tracing::warn!("the live path waits: {error}");
            shared.slow().trouble = Some(error.to_string());
        };
        let source = &mut *self.options.source;
        let Some(bounds) = reach(source, drain, &mut waiting)? else { return Ok(()) };
        let from = self.begin_at(&bounds)?;
        self.options.source.assign(&from)?;
        let goal: Vec<_> =
            bounds.iter().map(|at| PartitionOffset { partition: at.partition, offset: at.end }).collect();
        let mut flushed = Instant::now();
        let mut looked = flushed;
        self.look(drain);
        self.publish(&goal);
        while !drain.is_cancelled() {
            let taken = self.take_batch()?;
            if taken > 0 || !self.tick.borrow().caught_up {
                self.publish(&goal);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look(drain);
            }
            let ConsumerConfig { flush_interval_ms, flush_records, .. } = self.options.config;
            let unflushed = self.options.writer.unflushed();
            let due =
                flushed.elapsed() >= Duration::from_millis(flush_interval_ms) || unflushed >= flush_records;
            if due && unflushed > 0 {
                if unflushed >= flush_records.saturating_mul(4) {
                    // The disk is slower than the stream: reading waits, so that memory stays bounded.
                    self.options.writer.wait_for_flush()?;
                }
                if self.begin_flush(drain)? {
                    flushed = Instant::now();
                }
            }
        }
        self.options.writer.wait_for_flush()?;
        self.begin_flush(drain)?;
        Ok(self.options.writer.wait_for_flush()?)
    }

    /// Where to read on: what the state has applied, or the beginning.
    fn begin_at(&self, bounds: &[PartitionBounds]) -> Result<Vec<PartitionOffset>, Error> {
        let applied = self.options.writer.store().applied();
        let topic = self.options.source.topic();
        let mut from = Vec::with_capacity(bounds.len());
        for &PartitionBounds { partition, first, end } in bounds {
            let next = applied.iter().find(|at| at.partition == partition).map(|at| at.offset);
            match next {
                Some(next) if next > end => {
                    return Err(Error::Ahead { topic: topic.clone(), partition, end, next });
                }
                Some(next) if next < first => {
                    tracing::error!(
                        "topic {topic}, partition {partition}: offsets {next} to {first} are gone before they were \
                         applied; a longer retention, or a shorter pause, would have kept them"
                    );
                    self.shared.lost_to_retention.fetch_add((first - next) as u64, Relaxed);
                }
                _ => {}
            }
            from.push(PartitionOffset { partition, offset: next.unwrap_or(first).max(first) });
        }
        Ok(from)
    }

    fn take_batch(&mut self) -> Result<usize, Error> {
        let Options { source, writer, dead_letters, config } = &mut self.options;
        let shared = &self.shared;
        let topic = source.topic().clone();
        let mut failed = None;
        let taken = source.poll(config.batch, WAIT, &mut |record| {
            if failed.is_none() {
                failed = take(&record, &topic, writer, dead_letters, config, shared).err();
            }
        })?;
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(taken),
        }
    }

    fn publish(&mut self, goal: &[PartitionOffset]) {
        self.options.writer.publish();
        let caught_up = self.tick.borrow().caught_up || {
            let applied = self.options.writer.store().applied();
            let passed = |goal: &PartitionOffset| {
                goal.offset == 0
                    || applied.iter().any(|at| at.partition == goal.partition && at.offset >= goal.offset)
            };
            goal.iter().all(passed) || self.options.source.at_end()
        };
        self.tick.send_modify(|progress| {
            progress.publishes += 1;
            progress.caught_up = caught_up;
        });
    }

    fn look(&mut self, drain: &CancellationToken) {
        let mut slow = self.shared.slow();
        slow.ends = self.options.source.ends();
        slow.trouble = self.options.source.trouble();
        drop(slow);
        // Memory stays bounded also where nearly every record is poison.
        let offered = self.options.dead_letters.offered();
        settle(&self.options.dead_letters, offered.saturating_sub(LETTERS_ON_THEIR_WAY), drain);
    }

    fn begin_flush(&mut self, drain: &CancellationToken) -> Result<bool, StoreError> {
        let (letters, drain) = (self.options.dead_letters.clone(), drain.clone());
        let offered = letters.offered();
        let begun = self.options.writer.begin_flush(move || settle(&letters, offered, &drain))?;
        self.shared.flushes.fetch_add(begun.into(), Relaxed);
        Ok(begun)
    }
}

/// Waits until the first `offered` letters are delivered or given up (`background_timeout_ms`); false
/// when a shutdown has no patience left.
fn settle(letters: &DeadLetters, offered: u64, drain: &CancellationToken) -> bool {
    let step = Duration::from_millis(50);
    let mut patience = LETTERS_PATIENCE;
    while !letters.settle(offered, step) {
        patience = if drain.is_cancelled() { patience.saturating_sub(step) } else { patience };
        if patience.is_zero() {
            tracing::warn!("dead letters are still on their way: what came after them will be read again");
            return false;
        }
    }
    true
}

/// What one record does.
fn take(
    record: &Record<'_>,
    topic: &Arc<str>,
    writer: &mut StateWriter,
    dead_letters: &DeadLetters,
    config: &ConsumerConfig,
    shared: &Shared,
) -> Result<(), StoreError> {
    let Record { partition, offset, .. } = *record;
    match decode_event_on_time(record, config.ahead_at_most_ms) {
        Ok(event) => {
            let count = match writer.apply(partition, offset, &event)? {
                Outcome::Applied => &shared.applied,
                Outcome::SessionOnly => &shared.session_only,
                Outcome::Late => &shared.late,
                Outcome::Duplicate => &shared.duplicates,
                Outcome::Behind => return Ok(()),
            };
            count.fetch_add(1, Relaxed);
        }
        Err(reject) => {
            *shared.slow().rejected.entry(reject.stage.as_str()).or_default() += 1;
            dead_letters.offer(&Place { topic: topic.clone(), partition, offset }, record, &reject);
            writer.skip(partition, offset);
        }
    }
    Ok(())
}

// === impl Handle ===

impl Handle {
    /// How the consumer is doing.
    pub fn status(&self) -> ConsumerStatus {
        let Shared { applied, session_only, late, duplicates, lost_to_retention, flushes, slow } =
            &*self.shared;
        let slow = slow.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = self.store.applied().into_iter().map(|at| {
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
            rejected: slow.rejected.clone(),
            dead_letters: self.dead_letters.counts(),
            lost_to_retention: lost_to_retention.load(Relaxed),
            flushes: flushes.load(Relaxed),
            partitions: partitions.collect(),
            caught_up: self.tick.borrow().caught_up,
            trouble: slow.trouble.clone(),
        }
    }

    /// Waits until everything that was in the topic at the start has been applied; false when the
    /// consumer ended before.
    pub async fn caught_up(&self) -> bool {
        self.tick.clone().wait_for(|progress| progress.caught_up).await.is_ok()
    }

    /// Waits until readers see the record at `place`; false when the consumer ended before.
    pub async fn reached(&self, place: &Place) -> bool {
        let passed = |at: &PartitionOffset| at.partition == place.partition && at.offset > place.offset;
        self.tick.clone().wait_for(|_| self.store.applied().iter().any(passed)).await.is_ok()
    }
}

impl Shared {
    fn slow(&self) -> std::sync::MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self { batch: 1024, flush_interval_ms: 1000, flush_records: 100_000, ahead_at_most_ms: 600_000 }
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handle").field(&self.status()).finish()
    }
}
