//! The one writer: takes events, keeps the journal of them, and lets the rest be done beside the stream.
//!
//! ```text
//! apply ──► Core (tables) ──► frame ──begin_flush──► flushing thread ──► journal
//!                                        └─ journal long enough? ──► upkeep thread: snapshot, expiry, trending
//! ```

use std::{
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use endcap_features::SESSION_GAP_MS;
use endcap_proto::{EventTime, EventView, UserKey, VisitorKey};
use endcap_recommend::AppliedOffset;

use super::{
    Applied, StateStore, StoreError,
    core::Core,
    entry::{SESSION_HEAD, Stamp},
    journal::{Flush, Flushed, Flusher, Frame},
    operation::{Facts, Operation, write_event, write_forget, write_unlink},
    partition::advance,
    snapshot::Moment,
    table::{Step, Table},
    upkeep::{self, Upkeep},
};

/// Writes the state; there is one to a store. Dropped without [`StateWriter::flush`], it loses what
/// was not flushed, which the log still has.
pub struct StateWriter {
    pub(super) store: StateStore,
    core: Core,
    /// Scratch.
    facts: Facts,
    /// Events that are applied together, the first so many of them, and memory for others.
    together: Vec<Taken>,
    taken: usize,
    pub(super) frame: Frame,
    spare: Option<Frame>,
    flusher: Flusher,
    /// A flush that the disk has refused.
    refused: Option<Flush>,
    trouble: Option<String>,
    /// Frames finished.
    frames: u64,
    /// The file that frames go to.
    pub(super) journal: u64,
    /// Bytes of frames since the last snapshot began, and of that snapshot.
    journal_bytes: u64,
    unflushed: u64,
    wants_snapshot: bool,
    /// The number of the first snapshot that holds nothing of what was erased.
    pub(super) forgotten_by: u64,
    upkeep: Option<JoinHandle<()>>,
    /// The watermark, in steps of [`SWEEP_MS`], when it was last looked for what has ended.
    swept: i64,
    /// It has moved since it was last counted what trends, and when that was.
    trends_due: bool,
    counted: Option<Instant>,
    /// The same in steps of [`FORGET_MS`], of shoppers to be forgotten.
    forgot: i64,
}

/// An event that was taken in and not applied yet.
#[derive(Default)]
struct Taken {
    partition: i32,
    offset: i64,
    facts: Facts,
}

/// Events applied together: so many that memory answers for several at once, and so few that what it answered is
/// still in the cache when its turn comes.
const TOGETHER: usize = 32;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is part of the state.
    Applied,
    /// It acts on its session alone, for lack of consent.
    SessionOnly,
    /// It lies too far behind its partition's watermark.
    Late,
    /// Its id was seen before.
    Duplicate,
    /// Its offset was applied before.
    Behind,
}

/// How many events had which outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// [`Outcome::Applied`].
    pub applied: u64,
    /// [`Outcome::SessionOnly`].
    pub session_only: u64,
    /// [`Outcome::Late`].
    pub late: u64,
    /// [`Outcome::Duplicate`].
    pub duplicates: u64,
}

/// Ended sessions are looked for, and what trends is to be counted, when the watermark has moved this far, in
/// milliseconds.
const SWEEP_MS: i64 = 60_000;
/// What trends is counted at most this often: a stream that is caught up with moves by many minutes in a second.
const COUNT_AGAIN: Duration = Duration::from_secs(1);
/// Shoppers to be forgotten are looked for when it has moved this far; until they are, nobody is shown them.
const FORGET_MS: i64 = 3_600_000;

/// A writer that leaves makes a snapshot when its journal is longer than this …
const PARTING_JOURNAL_BYTES: u64 = 4 << 20;
/// … and the state is not so large that a stop would take long.
const PARTING_STATE_BYTES: u64 = 2 << 30;

/// Where a writer begins.
pub(super) struct Beginning {
    pub(super) core: Core,
    pub(super) frames: u64,
    pub(super) journal: u64,
    pub(super) journal_bytes: u64,
    /// The journal says that somebody was forgotten, and may hold what it was.
    pub(super) forgot: bool,
}

// === impl StateWriter ===

impl StateWriter {
    pub(super) fn new(store: StateStore, beginning: Beginning) -> Result<Self, StoreError> {
        let Beginning { core, frames, journal, journal_bytes, forgot } = beginning;
        let shared = &store.0;
        let durable = shared.durable.clone();
        durable.store(core.sequence, Ordering::Release);
        shared.sequence.store(core.sequence, Ordering::Release);
        let flusher = Flusher::start(&shared.path, journal, durable)
            .map_err(|source| shared.storage("write the journal", source))?;
        let mut writer = Self {
            core,
            facts: Facts::default(),
            together: Vec::new(),
            taken: 0,
            frame: Frame::new(),
            spare: None,
            flusher,
            refused: None,
            trouble: None,
            frames,
            journal,
            journal_bytes,
            unflushed: 0,
            wants_snapshot: false,
            forgotten_by: if forgot { journal + 1 } else { 0 },
            upkeep: None,
            swept: 0,
            trends_due: false,
            counted: None,
            forgot: 0,
            store,
        };
        writer.look_whether_it_moved_on();
        // Nothing was told since a start; it is counted when something is.
        writer.trends_due = false;
        writer.publish();
        Ok(writer)
    }

    /// The store that this writes.
    pub fn store(&self) -> &StateStore {
        &self.store
    }

    /// Takes in the event at an offset. Readers may see it at once, and with it the offset after it; the
    /// offsets of all partitions together after [`Self::publish`].
    ///
    /// # Errors
    /// When what is stored cannot be read; the writer is then no longer to be used.
    pub fn apply<'a>(
        &mut self,
        partition: i32,
        offset: i64,
        event: impl Into<EventView<'a>>,
    ) -> Result<Outcome, StoreError> {
        let mut facts = std::mem::take(&mut self.facts);
        facts.fill(&event.into());
        let outcome = self.apply_facts(partition, offset, &facts);
        self.facts = facts;
        outcome
    }

    /// As [`Self::apply`], together with others: the event is applied when there are some more, or with
    /// [`Self::apply_taken`], which is to be called before anything else is asked of the writer. What became of which
    /// is added to `outcomes`.
    pub(crate) fn take(
        &mut self,
        partition: i32,
        offset: i64,
        event: &EventView<'_>,
        outcomes: &mut Outcomes,
    ) -> Result<(), StoreError> {
        if self.taken == self.together.len() {
            self.together.push(Taken::default());
        }
        let taken = &mut self.together[self.taken];
        (taken.partition, taken.offset) = (partition, offset);
        taken.facts.fill(event);
        self.taken += 1;
        if self.taken == TOGETHER { self.apply_taken(outcomes) } else { Ok(()) }
    }

    /// Applies what [`Self::take`] has taken in, in its order.
    pub(crate) fn apply_taken(&mut self, outcomes: &mut Outcomes) -> Result<(), StoreError> {
        let together = std::mem::take(&mut self.together);
        let taken = &together[..std::mem::take(&mut self.taken)];
        for step in Step::ALL {
            for Taken { partition, facts, .. } in taken {
                self.core.expect(&self.store.0.tables, *partition, facts, step);
            }
        }
        let mut apply = || {
            for Taken { partition, offset, facts } in taken {
                outcomes.note(self.apply_facts(*partition, *offset, facts)?);
            }
            Ok(())
        };
        let applied = apply();
        self.together = together;
        applied
    }

    fn apply_facts(&mut self, partition: i32, offset: i64, facts: &Facts) -> Result<Outcome, StoreError> {
        debug_assert!(self.taken == 0);
        let shared = &self.store.0;
        // Ahead of what the tables hold: a snapshot that sees this event waits for it.
        shared.sequence.store(self.core.sequence + 1, Ordering::Release);
        let outcome = self
            .core
            .take(&shared.tables, partition, offset, facts)
            .map_err(|unreadable| shared.corrupt(unreadable))?;
        // What was passed over is no operation.
        shared.sequence.store(self.core.sequence, Ordering::Release);
        match outcome {
            Outcome::Behind => return Ok(outcome),
            Outcome::Late => {}
            Outcome::Applied | Outcome::SessionOnly | Outcome::Duplicate => {
                let at = self.core.partitions.entry(partition).or_default();
                let skipped = offset.abs_diff(std::mem::replace(&mut at.journaled, offset + 1));
                let (bytes, clock) = self.frame.operations();
                write_event(bytes, partition, skipped, clock, facts);
            }
        }
        self.unflushed += 1;
        Ok(outcome)
    }

    /// Passes over a record that is no event.
    pub fn skip(&mut self, partition: i32, offset: i64) {
        if advance(&mut self.core.partitions, partition, offset).is_some() {
            self.unflushed += 1;
        }
    }

    /// Forgets what a visitor did before an instant. What all shoppers did with an item stays counted: it names
    /// nobody.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn forget(&mut self, visitor: VisitorKey, before: EventTime) -> Result<(), StoreError> {
        write_forget(self.frame.operations().0, visitor, before);
        self.step(&Operation::Forget { visitor, before })
    }

    /// Forgets which visitors a user was seen as.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn unlink(&mut self, user: UserKey) -> Result<(), StoreError> {
        write_unlink(self.frame.operations().0, user);
        self.step(&Operation::Unlink { user })
    }

    pub(super) fn step(&mut self, operation: &Operation) -> Result<(), StoreError> {
        let shared = &self.store.0;
        shared.sequence.store(self.core.sequence + 1, Ordering::Release);
        self.unflushed += 1;
        self.core.forget(&shared.tables, operation).map_err(|unreadable| shared.corrupt(unreadable))
    }

    /// Shows the offsets after everything that was taken in so far.
    pub fn publish(&mut self) {
        let shared = &self.store.0;
        let offsets: Arc<[_]> = self
            .core
            .partitions
            .iter()
            .map(|(&partition, at)| AppliedOffset { topic: shared.topic.clone(), partition, offset: at.next })
            .collect();
        let watermarks =
            self.core.partitions.iter().map(|(&partition, at)| (partition, at.watermark)).collect();
        shared.applied.store(Arc::new(Applied { offsets, watermark: self.watermark(), watermarks }));
    }

    /// Events taken in since the last flush began; at least one while a flush is to make a snapshot, or to have
    /// it counted what trends.
    pub fn unflushed(&self) -> u64 {
        let wanted = self.wants_snapshot || !self.is_forgotten_for_good() || self.is_to_count();
        self.unflushed.max(wanted.into())
    }

    /// Bytes of memory of all that it keeps, to within what the allocator holds ready: entries, and ids
    /// remembered to drop repeats.
    pub fn bytes(&self) -> usize {
        let tables: usize = self.store.0.tables.all().into_iter().map(Table::memory).sum();
        tables + self.core.partitions.values().map(|at| at.window.memory()).sum::<usize>()
    }

    /// Ids remembered to drop repeats.
    pub fn remembered(&self) -> usize {
        self.core.partitions.values().map(|at| at.window.len()).sum()
    }

    /// Why the disk takes nothing for now; none when all is well. Nothing is lost: what was taken in is tried
    /// again by [`Self::begin_flush`], and no more should be taken in until then.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Publishes, and begins to write what was taken in to disk on another thread, which calls `before`
    /// first; false when the flush before is not finished, or has failed and is tried again. Where `before`
    /// says no, nothing is written and nothing will be: the writer is at its end, and the log has it all.
    ///
    /// # Errors
    /// When the writing thread is gone.
    pub fn begin_flush(
        &mut self,
        before: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<bool, StoreError> {
        self.settle(false)?;
        if self.flusher.in_flight() {
            return Ok(false);
        }
        if let Some(flush) = self.refused.take() {
            self.flusher.write(flush);
            return Ok(false);
        }
        self.publish();
        self.look_whether_it_moved_on();
        let mut frame = std::mem::replace(&mut self.frame, self.spare.take().unwrap_or_else(Frame::new));
        let sequence = self.core.sequence;
        let changed = self.core.partitions.iter_mut().filter_map(|(&partition, at)| {
            at.journaled = at.next;
            std::mem::take(&mut at.changed).then_some((partition, at.next))
        });
        frame.finish(self.frames, sequence, changed);
        self.frames += 1;
        self.unflushed = 0;
        self.journal_bytes += frame.len() as u64;
        let upkeep = self.due_upkeep();
        let next_file =
            upkeep.as_ref().and_then(|upkeep| upkeep.snapshot.as_ref()).map(|(number, _)| *number);
        self.flusher.write(Flush::new(frame, self.core.sequence, Box::new(before), next_file));
        if let Some(upkeep) = upkeep {
            self.keep_up(upkeep);
        }
        Ok(true)
    }

    /// Waits for the flush that is under way, if one is.
    ///
    /// # Errors
    /// When the writing thread is gone.
    pub fn wait_for_flush(&mut self) -> Result<(), StoreError> {
        self.settle(true)
    }

    /// Publishes and writes everything to disk, and waits until it is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        loop {
            self.settle(true)?;
            let begun = self.begin_flush(|| true)?;
            self.settle(true)?;
            if let Some(trouble) = &self.trouble {
                return Err(self.store.0.storage("write", std::io::Error::other(trouble.clone())));
            }
            if begun {
                return Ok(());
            }
        }
    }

    /// Writes everything to disk, and a snapshot of it, so that the next start has nothing to read beyond.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn snapshot(&mut self) -> Result<(), StoreError> {
        if self.upkeep.is_some() {
            // A snapshot that is under way waits for what was taken in since to be on disk.
            self.flush()?;
            self.finish_upkeep();
        }
        self.wants_snapshot = true;
        self.flush()?;
        self.finish_upkeep();
        Ok(())
    }

    /// Takes note of what became of the flush that is under way, if it is over, or when it is.
    pub(crate) fn settle(&mut self, wait: bool) -> Result<(), StoreError> {
        let shared = &self.store.0;
        match self.flusher.flushed(wait) {
            Ok(None) => {}
            Ok(Some(Flushed::Written(flush))) => {
                self.trouble = None;
                self.spare = Some(flush.into_frame());
            }
            Ok(Some(Flushed::Refused)) => {}
            Ok(Some(Flushed::Failed(flush, error))) => {
                let trouble = format!("the state in {} cannot be written: {error}", shared.path.display());
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::error!("{trouble}; it is tried again");
                }
                self.trouble = Some(trouble);
                self.refused = Some(flush);
            }
            Err(()) => return Err(StoreError::Panicked { path: shared.path.clone() }),
        }
        Ok(())
    }

    fn watermark(&self) -> EventTime {
        self.core.partitions.values().map(|at| at.watermark).max().unwrap_or_default()
    }

    /// Where the watermark has since the last look, sessions that have ended are forgotten, and it is to be counted
    /// what trends.
    fn look_whether_it_moved_on(&mut self) {
        let minute = self.watermark().as_millis() / SWEEP_MS;
        if minute != std::mem::replace(&mut self.swept, minute) {
            self.forget_ended_sessions();
            self.trends_due = true;
        }
    }

    /// Whether it is counted with the next flush what trends.
    fn is_to_count(&self) -> bool {
        self.trends_due && self.counted.is_none_or(|counted| counted.elapsed() >= COUNT_AGAIN)
    }

    /// What is to be done beside the stream, where nothing is being done.
    fn due_upkeep(&mut self) -> Option<Upkeep> {
        if self.upkeep.as_ref().is_some_and(|upkeep| !upkeep.is_finished()) {
            return None;
        }
        self.finish_upkeep();
        let shared = &self.store.0;
        let config = &shared.config;
        let crowd = config.shoppers_at_most.saturating_add(config.shoppers_at_most / 16);
        let crowded = shared.tables.shoppers.len() > crowd;
        let snapshot_bytes = shared.snapshot_bytes.load(Ordering::Relaxed);
        let long = self.journal_bytes >= config.snapshot_after_bytes.max(snapshot_bytes / 4);
        let wanted = std::mem::take(&mut self.wants_snapshot) || !self.is_forgotten_for_good();
        let snapshot = (long || wanted).then(|| {
            self.journal_bytes = 0;
            self.journal += 1;
            (self.journal, Moment::of(&self.core.partitions, self.frames, self.core.sequence))
        });
        let watermarks =
            self.core.partitions.iter().map(|(&partition, at)| (partition, at.watermark)).collect();
        let hour = self.watermark().as_millis() / FORGET_MS;
        let forget = crowded || hour != std::mem::replace(&mut self.forgot, hour);
        let trending = self.is_to_count();
        if trending {
            (self.trends_due, self.counted) = (false, Some(Instant::now()));
        }
        (trending || forget || snapshot.is_some()).then_some(Upkeep {
            watermarks,
            forget,
            trending,
            snapshot,
        })
    }

    fn keep_up(&mut self, upkeep: Upkeep) {
        let shared = self.store.0.clone();
        let work = move || upkeep::run(&shared, upkeep);
        match std::thread::Builder::new().name("endcap-upkeep".to_owned()).spawn(work) {
            Ok(thread) => self.upkeep = Some(thread),
            Err(error) => tracing::error!("the state is not kept up: {error}"),
        }
    }

    fn finish_upkeep(&mut self) {
        if self.upkeep.take().is_some_and(|upkeep| upkeep.join().is_err()) {
            tracing::error!("the thread that keeps up the state has panicked");
        }
    }

    /// Sessions that no event can reach any more: none that may still be applied lies within the gap.
    fn forget_ended_sessions(&self) {
        let (shared, late) = (&self.store.0, self.core.late_after_ms());
        shared.tables.sessions.retain(|_, session| {
            let partition = Stamp::read(session).partition;
            let watermark = self.core.partitions.get(&partition).map(|at| at.watermark).unwrap_or_default();
            let last = session.get(SESSION_HEAD..).and_then(endcap_features::UserState::last_seen_of);
            watermark.millis_since(last.unwrap_or_default()) <= SESSION_GAP_MS + late
        });
    }
}

// === impl Outcomes ===

impl Outcomes {
    /// Counts one more.
    pub fn note(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Applied => self.applied += 1,
            Outcome::SessionOnly => self.session_only += 1,
            Outcome::Late => self.late += 1,
            Outcome::Duplicate => self.duplicates += 1,
            Outcome::Behind => {}
        }
    }
}

impl Drop for StateWriter {
    fn drop(&mut self) {
        let shared = &self.store.0;
        let state = shared.snapshot_bytes.load(Ordering::Relaxed);
        let slow_start = self.journal_bytes > PARTING_JOURNAL_BYTES.max(state / 16);
        let whole = self.unflushed == 0 && self.trouble.is_none() && !std::thread::panicking();
        if slow_start && whole && state < PARTING_STATE_BYTES {
            // So that the next start has little to read operation by operation. Without it, it has it all as well.
            if let Err(error) = self.snapshot() {
                tracing::warn!("no snapshot at the end: {error}");
            }
        }
        self.store.0.closing.store(true, Ordering::Release);
        self.finish_upkeep();
    }
}

impl std::fmt::Debug for StateWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateWriter").field("store", &self.store).field("unflushed", &self.unflushed).finish()
    }
}
