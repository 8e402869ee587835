//! The consumer's thread: poll, apply, publish, flush, and answer what the group decides.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use endcap_proto::{EventView, VisitorKey};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{ConsumerConfig, Error, Options, Progress, Service, Shared};
use crate::{
    DeadLetters, Outcomes, PartitionBounds, PartitionOffset, Place, Rebalance, Record, Release, SourceError,
    StateBackend, StoreError,
    decode::view_event_on_time,
    erasures::{Erasure, Erasures, Gone},
    source::reach,
    trace::TraceContext,
};

/// The longest wait for a record before the drain and the flush are looked at.
const WAIT: Duration = Duration::from_millis(50);
/// The same while nothing is read, so that reading goes on as soon as it can.
const WAIT_PAUSED: Duration = Duration::from_millis(5);
/// How often ends and troubles are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often a state that cannot be written is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How long after a state could not be asked for its offsets it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How long a shutdown waits for dead letters; after that it leaves their offsets unwritten.
const LETTERS_PATIENCE: Duration = Duration::from_secs(10);
/// How long partitions that are to go elsewhere are held back until what was taken in from them is kept.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);
/// How many erasures it is kept of what there was.
const GONE_KEPT: usize = 4096;
/// Records taken in and not begun to be flushed, in units of `flush_records`, at which reading pauses.
const FLUSHES_BEHIND: u64 = 4;

/// The state of the consumer's thread.
pub(super) struct Run {
    options: Options,
    shared: Arc<Shared>,
    tick: watch::Sender<Progress>,
    drain: CancellationToken,
    topic: Arc<str>,
    /// Where each partition ended when it was begun with.
    goal: BTreeMap<i32, i64>,
    /// Where each partition was begun.
    begun: BTreeMap<i32, i64>,
    /// Partitions have been dealt out, by hand or by the group.
    dealt: bool,
    paused: bool,
    flushed: Instant,
    looked: Instant,
    /// Erasures that the state has carried out.
    erasures: usize,
    /// When carrying them out failed; it is tried again later.
    put_off: Option<Instant>,
}

/// What became of a batch.
#[derive(Default)]
struct Tally {
    outcomes: Outcomes,
    erased: u64,
}

impl Run {
    pub(super) fn new(service: Service, drain: CancellationToken) -> Self {
        let Service { options, shared, tick } = service;
        let topic = options.source.topic().clone();
        let now = Instant::now();
        Self {
            options,
            shared,
            tick,
            drain,
            topic,
            goal: BTreeMap::new(),
            begun: BTreeMap::new(),
            dealt: false,
            paused: false,
            flushed: now,
            looked: now,
            erasures: 0,
            put_off: None,
        }
    }

    pub(super) fn until_drained(mut self) -> Result<(), Error> {
        if !self.knows_erasures() {
            return Ok(());
        }
        let Some(bounds) = self.bounds()? else { return Ok(()) };
        if self.options.source.has_group() {
            self.options.source.join()?;
        } else {
            let all: Vec<i32> = bounds.iter().map(|at| at.partition).collect();
            let from = self.begin(&all, &bounds)?;
            self.options.source.assign(&from)?;
        }
        self.look()?;
        self.publish()?;
        while !self.drain.is_cancelled() {
            self.erase()?;
            let taken = self.take_batch()?;
            while let Some(rebalance) = self.options.source.rebalance() {
                self.answer(rebalance)?;
            }
            if taken > 0 || !self.tick.borrow().caught_up {
                self.publish()?;
            }
            if self.looked.elapsed() >= LOOK {
                self.looked = Instant::now();
                self.look()?;
                self.take_on_new()?;
            }
            self.flush_when_due()?;
            self.pause_or_go_on()?;
        }
        if !self.keep_all(RELEASE_PATIENCE)? {
            tracing::warn!("the state was not written to its end: what it lacks will be read again");
        }
        let held: Vec<i32> = self.goal.keys().copied().collect();
        Ok(self.options.writer.release(&held, Release::Revoked)?)
    }

    /// Waits until everybody who is to be forgotten is known; false when it is to end first.
    fn knows_erasures(&self) -> bool {
        let Some(erasures) = &self.options.erasures else { return true };
        while !erasures.is_loaded() {
            if self.drain.is_cancelled() {
                return false;
            }
            self.shared.slow().trouble = Some(match erasures.trouble() {
                Some(trouble) => format!("it waits for the erasures: {trouble}"),
                None => "it waits until who was erased is known".to_owned(),
            });
            thread::sleep(WAIT_PAUSED);
        }
        self.shared.slow().trouble = None;
        true
    }

    /// Lets the state forget whom it was not told of yet.
    fn erase(&mut self) -> Result<(), Error> {
        let Some(erasures) = &self.options.erasures else { return Ok(()) };
        let put_off = self.put_off.is_some_and(|at| at.elapsed() < TRY_AGAIN);
        if self.erasures < erasures.count() && !put_off {
            let new = erasures.since(self.erasures);
            match self.options.writer.erase(&new) {
                Ok(gone) => {
                    self.put_off = None;
                    self.erasures += new.len();
                    self.tell_gone(&new, gone);
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!("{error}; {} erasures are tried again", new.len());
                    self.put_off = Some(Instant::now());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let (done, for_good) = (self.erasures, self.options.writer.is_forgotten_for_good());
        self.tick.send_if_modified(|progress| {
            let before = (progress.erasures, progress.erasures_for_good);
            progress.erasures = done;
            progress.erasures_for_good = if for_good { done } else { progress.erasures_for_good.min(done) };
            before != (progress.erasures, progress.erasures_for_good)
        });
        Ok(())
    }

    /// Keeps what there was for receipts, and announces visitors who go with an account.
    fn tell_gone(&self, erasures: &[Erasure], gone: Vec<Gone>) {
        let Some(all) = &self.options.erasures else { return };
        for (erasure, gone) in erasures.iter().zip(gone) {
            all.announce(gone.linked.iter().map(|&visitor| (VisitorKey(visitor), erasure.before)));
            let recent = &mut self.shared.slow().gone;
            // Told again, a state that forgot before has nothing to say.
            if gone != Gone::default() || !recent.iter().any(|(of, _)| of == erasure) {
                recent.push_back((*erasure, gone));
            }
            if recent.len() > GONE_KEPT {
                recent.pop_front();
            }
        }
    }

    /// What the topic holds; none when it is to end first.
    fn bounds(&mut self) -> Result<Option<Vec<PartitionBounds>>, SourceError> {
        let shared = &self.shared;
        let mut waiting = |error: &SourceError| {
            tracing::warn!("the live path waits: {error}");
            shared.slow().trouble = Some(error.to_string());
        };
        reach(&mut *self.options.source, &self.drain, &mut waiting)
    }

    /// Takes charge of partitions; where to read them on: at what the state has applied, or the beginning.
    fn begin(
        &mut self,
        partitions: &[i32],
        bounds: &[PartitionBounds],
    ) -> Result<Vec<PartitionOffset>, Error> {
        let applied = loop {
            match self.options.writer.acquire(partitions) {
                Err(error) if error.is_transient() => {
                    if self.drain.is_cancelled() {
                        return Ok(Vec::new());
                    }
                    tracing::warn!("the live path waits: {error}");
                    self.shared.slow().trouble = Some(error.to_string());
                    thread::sleep(ASK_AGAIN);
                }
                answer => break answer?,
            }
        };
        // Who had these partitions before may have written of somebody who was erased meanwhile.
        (self.erasures, self.put_off) = (0, None);
        self.erase()?;
        let topic = &self.topic;
        let mut from = Vec::with_capacity(partitions.len());
        for &PartitionBounds { partition, first, end } in bounds {
            if !partitions.contains(&partition) {
                continue;
            }
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
            self.goal.insert(partition, end);
            let offset = next.unwrap_or(first).max(first);
            self.begun.insert(partition, offset);
            from.push(PartitionOffset { partition, offset });
        }
        self.dealt = true;
        Ok(from)
    }

    /// Partitions that the topic has gained are read too.
    fn take_on_new(&mut self) -> Result<(), Error> {
        let gained = self.options.source.gained()?;
        if gained.is_empty() {
            return Ok(());
        }
        let new: Vec<i32> = gained.iter().map(|at| at.partition).collect();
        tracing::info!("topic {}: {} partitions more: {new:?}", self.topic, new.len());
        self.begin(&new, &gained)?;
        self.publish()?;
        let applied = self.options.writer.progress().applied();
        let next = |partition| applied.iter().find(|at| at.partition == partition).map(|at| at.offset);
        let from = self.begun.iter().map(|(&partition, &begun)| {
            let offset = next(partition).unwrap_or(begun).max(begun);
            PartitionOffset { partition, offset }
        });
        Ok(self.options.source.assign(&from.collect::<Vec<_>>())?)
    }

    fn answer(&mut self, rebalance: Rebalance) -> Result<(), Error> {
        self.shared.rebalances.fetch_add(1, Relaxed);
        match rebalance {
            Rebalance::Gained(partitions) if partitions.is_empty() => {
                self.dealt = true;
                self.options.source.take_on(&[])?;
            }
            Rebalance::Gained(partitions) => {
                let Some(bounds) = self.bounds()? else { return Ok(()) };
                let from = self.begin(&partitions, &bounds)?;
                self.options.source.take_on(&from)?;
            }
            Rebalance::Revoked(partitions) => {
                // The next member goes on from the offsets that are kept, so they should be those of now.
                let how = match self.keep_all(RELEASE_PATIENCE)? {
                    true => Release::Revoked,
                    false => Release::Lost,
                };
                self.leave(&partitions, how)?;
            }
            Rebalance::Lost(partitions) => self.leave(&partitions, Release::Lost)?,
        }
        Ok(())
    }

    fn leave(&mut self, partitions: &[i32], how: Release) -> Result<(), Error> {
        self.options.writer.release(partitions, how)?;
        self.goal.retain(|partition, _| !partitions.contains(partition));
        self.begun.retain(|partition, _| !partitions.contains(partition));
        Ok(self.options.source.give_up(partitions)?)
    }

    fn take_batch(&mut self) -> Result<usize, Error> {
        let Options { source, writer, dead_letters, config, erasures } = &mut self.options;
        let (shared, topic) = (&self.shared, &self.topic);
        let (mut failed, mut tally) = (None, Tally::default());
        let wait = if self.paused { WAIT_PAUSED } else { WAIT };
        let mut taker =
            Taker { topic, writer: &mut **writer, dead_letters, config, shared, erasures: erasures.as_ref() };
        let taken = source.poll(config.batch, wait, &mut |record| {
            if failed.is_none() {
                failed = taker.take(&record, &mut tally).err();
            }
        })?;
        if failed.is_none() {
            failed = writer.apply_taken(&mut tally.outcomes).err();
        }
        tally.add_to(shared);
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(taken),
        }
    }

    fn publish(&mut self) -> Result<(), Error> {
        self.options.writer.publish()?;
        let caught_up = self.tick.borrow().caught_up
            || self.dealt && {
                let applied = self.options.writer.progress().applied();
                let passed = |(&partition, &end): (&i32, &i64)| {
                    end == 0 || applied.iter().any(|at| at.partition == partition && at.offset >= end)
                };
                self.goal.iter().all(passed) || self.options.source.at_end()
            };
        self.tick.send_modify(|progress| {
            progress.publishes += 1;
            progress.caught_up = caught_up;
        });
        Ok(())
    }

    fn look(&mut self) -> Result<(), StoreError> {
        // A flush may have failed after the last event came: that is said although nothing more comes.
        self.options.writer.note_flush()?;
        let letters = &self.options.dead_letters;
        letters.resend();
        let mut slow = self.shared.slow();
        slow.ends = self.options.source.ends();
        slow.trouble = self
            .options
            .writer
            .trouble()
            .or_else(|| self.options.source.trouble())
            .or_else(|| letters.trouble());
        Ok(())
    }

    fn flush_when_due(&mut self) -> Result<(), Error> {
        let ConsumerConfig { flush_interval_ms, flush_records, .. } = self.options.config;
        let unflushed = self.options.writer.unflushed();
        let troubled = self.options.writer.trouble().is_some();
        let interval = if troubled {
            TRY_AGAIN
        } else if unflushed >= flush_records {
            Duration::ZERO
        } else {
            Duration::from_millis(flush_interval_ms)
        };
        if (unflushed > 0 || troubled) && self.flushed.elapsed() >= interval {
            let begun = self.begin_flush()?;
            if begun || troubled {
                self.flushed = Instant::now();
            }
        }
        Ok(())
    }

    /// Reading pauses where what lies behind it cannot follow, and goes on when half of that is done.
    fn pause_or_go_on(&mut self) -> Result<(), Error> {
        let Options { source, writer, dead_letters, config, .. } = &mut self.options;
        let behind = FLUSHES_BEHIND / if self.paused { 2 } else { 1 };
        let reason = match writer.trouble() {
            Some(trouble) => Some(trouble),
            None if writer.unflushed() >= config.flush_records.saturating_mul(behind) => {
                Some("the state is written more slowly than events come".to_owned())
            }
            None if dead_letters.crowded(self.paused) => {
                Some("dead letters are written more slowly than they come".to_owned())
            }
            None => None,
        };
        let paused = reason.is_some();
        if paused != self.paused {
            tracing::debug!(?reason, "reading {}", if paused { "pauses" } else { "goes on" });
            source.pause(paused)?;
            self.paused = paused;
            self.shared.pauses.fetch_add(paused.into(), Relaxed);
            self.shared.slow().paused = reason;
        }
        if paused {
            dead_letters.resend();
        }
        Ok(())
    }

    fn begin_flush(&mut self) -> Result<bool, StoreError> {
        let (letters, drain) = (self.options.dead_letters.clone(), self.drain.clone());
        let offered = letters.offered();
        let begun = self.options.writer.begin_flush(Box::new(move || settle(&letters, offered, &drain)))?;
        self.shared.flushes.fetch_add(begun.into(), Relaxed);
        Ok(begun)
    }

    /// Flushes, and waits until it is done; false when it could not be for so long.
    fn keep_all(&mut self, patience: Duration) -> Result<bool, Error> {
        let deadline = Instant::now() + patience;
        loop {
            self.options.writer.wait_for_flush()?;
            if self.begin_flush()? {
                self.options.writer.wait_for_flush()?;
                if self.options.writer.trouble().is_none() {
                    return Ok(true);
                }
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Waits until the first `offered` letters are delivered or given up; false when a shutdown has no patience left.
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

/// What takes the records of a batch.
struct Taker<'a> {
    topic: &'a Arc<str>,
    writer: &'a mut dyn StateBackend,
    dead_letters: &'a DeadLetters,
    config: &'a ConsumerConfig,
    shared: &'a Shared,
    erasures: Option<&'a Erasures>,
}

impl Taker<'_> {
    /// What one record does.
    fn take(&mut self, record: &Record<'_>, tally: &mut Tally) -> Result<(), StoreError> {
        let Record { partition, offset, .. } = *record;
        match view_event_on_time(record, self.config.ahead_at_most_ms) {
            Ok(event) => {
                let event = event.view();
                if self.is_erased(&event) {
                    self.writer.apply_taken(&mut tally.outcomes)?;
                    self.writer.skip(partition, offset);
                    tally.erased += 1;
                    return Ok(());
                }
                if !record.headers.is_empty() && tracing::enabled!(tracing::Level::DEBUG) {
                    return self.take_traced(record, &event, tally);
                }
                self.writer.take(partition, offset, &event, &mut tally.outcomes)?;
            }
            Err(reject) => {
                *self.shared.slow().rejected.entry(reject.stage.as_str()).or_default() += 1;
                let place = Place { topic: self.topic.clone(), partition, offset };
                self.dead_letters.offer(&place, record, &reject);
                self.writer.apply_taken(&mut tally.outcomes)?;
                self.writer.skip(partition, offset);
            }
        }
        Ok(())
    }

    /// The same, and says what became of it, with the trace that it is part of.
    #[cold]
    fn take_traced(
        &mut self,
        record: &Record<'_>,
        event: &EventView<'_>,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        let Record { partition, offset, .. } = *record;
        self.writer.apply_taken(&mut tally.outcomes)?;
        let outcome = self.writer.apply(partition, offset, event)?;
        tally.outcomes.note(outcome);
        let trace = TraceContext::of(record);
        let (trace_id, parent_id) = (trace.map(|at| at.trace_id), trace.map(|at| at.parent_id));
        tracing::debug!(trace_id, parent_id, event.event_id, partition, offset, ?outcome, "event");
        Ok(())
    }

    /// Whether an event is of a shopper who was erased. It may be what shows a visitor to be theirs.
    fn is_erased(&self, event: &EventView<'_>) -> bool {
        self.erasures.is_some_and(|erasures| {
            // Most of what comes happened since: no key of it is made.
            erasures.concern(event.time) && erasures.cover(event.visitor(), event.user(), event.time)
        })
    }
}

// === impl Tally ===

impl Tally {
    fn add_to(&self, shared: &Shared) {
        let Outcomes { applied, session_only, late, duplicates } = self.outcomes;
        shared.applied.fetch_add(applied, Relaxed);
        shared.session_only.fetch_add(session_only, Relaxed);
        shared.late.fetch_add(late, Relaxed);
        shared.duplicates.fetch_add(duplicates, Relaxed);
        shared.erased.fetch_add(self.erased, Relaxed);
    }
}
