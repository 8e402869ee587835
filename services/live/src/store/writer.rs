//! The one writer: decides what an event may do, does it to copies, publishes and flushes them.
//!
//! ```text
//! late? ─► repeat? ─► consent? ─yes─► shopper, links of the user, counters of the items
//!                         └─no──► session of this visitor, which ends after half an hour
//! ```

use std::{collections::BTreeMap, sync::Arc};

use endcap_features::SESSION_GAP_MS;
use endcap_proto::{EventTime, EventView};
use endcap_recommend::AppliedOffset;

use super::{
    Applied, StateStore, StoreConfig, StoreError,
    codec::{Counters, Links, Session, Shopper, Stamp},
    flush::{Cut, Flusher},
    hot::HotWriter,
    partition::Partition,
    session_key,
};

/// Writes the state; there is one to a store. Dropped without [`StateWriter::flush`], it loses what
/// was not flushed, which the log still has.
pub struct StateWriter {
    store: StateStore,
    config: StoreConfig,
    partitions: BTreeMap<i32, Partition>,
    shoppers: HotWriter<Shopper>,
    sessions: HotWriter<Session>,
    links: HotWriter<Links>,
    counters: HotWriter<Counters>,
    flusher: Flusher,
    epoch: u64,
    /// Events taken since the last cut.
    unflushed: u64,
    /// The watermark, in steps of [`SWEEP_MS`], when ended sessions were last looked for.
    swept: i64,
}

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

/// Ended sessions are looked for when the watermark has moved this far, in milliseconds.
const SWEEP_MS: i64 = 60_000;

// === impl StateWriter ===

impl StateWriter {
    pub(super) fn new(store: StateStore, config: &StoreConfig) -> Result<Self, StoreError> {
        let partitions = Partition::load_all(&store.0)?;
        let flusher = Flusher::start(store.0.clone())?;
        let mut writer = Self {
            partitions,
            shoppers: HotWriter::new(Some(config.shoppers_in_memory)),
            sessions: HotWriter::new(None),
            links: HotWriter::new(None),
            counters: HotWriter::new(None),
            flusher,
            epoch: 0,
            unflushed: 0,
            swept: 0,
            config: config.clone(),
            store,
        };
        writer.publish();
        Ok(writer)
    }

    /// The store that this writes.
    pub fn store(&self) -> &StateStore {
        &self.store
    }

    /// Takes in the event at an offset. Readers see it after [`Self::publish`].
    ///
    /// # Errors
    /// When the disk cannot be read; the writer is then no longer to be used.
    pub fn apply<'a>(
        &mut self,
        partition: i32,
        offset: i64,
        event: impl Into<EventView<'a>>,
    ) -> Result<Outcome, StoreError> {
        let event = &event.into();
        let remembered = self.config.remembered_events / self.partitions.len().max(1);
        let Some(at) = advance(&mut self.partitions, partition, offset) else { return Ok(Outcome::Behind) };
        self.unflushed += 1;
        if at.watermark.millis_since(event.time) > self.config.late_after_ms {
            return Ok(Outcome::Late);
        }
        at.watermark = at.watermark.max(event.time);
        if !at.window.insert(event.key().0, at.watermark, self.config.late_after_ms, remembered) {
            return Ok(Outcome::Duplicate);
        }
        let stamp = Stamp { partition, next: offset + 1 };
        if !event.consent {
            self.apply_to_session(event, stamp)?;
            return Ok(Outcome::SessionOnly);
        }
        let shared = &self.store.0;
        let visitor = event.visitor();
        let shopper = self.shoppers.edit(&shared.shoppers, visitor.0)?;
        shopper.state.apply(event);
        shopper.stamp = stamp;
        if let Some(user) = event.user() {
            self.links.edit(&shared.links, user.0)?.0.link(visitor, event.time);
        }
        for item in event.items() {
            self.counters.edit(&shared.counters, item.0)?.0.apply(event.event_type, event.time);
        }
        Ok(Outcome::Applied)
    }

    fn apply_to_session(&mut self, event: &EventView<'_>, stamp: Stamp) -> Result<(), StoreError> {
        let key = session_key(event.visitor(), event.session_id);
        let session = self.sessions.edit(&self.store.0.sessions, key)?;
        if session.state.is_empty() || event.time.millis_since(session.last()) > SESSION_GAP_MS {
            *session = Session { first: event.time, ..Session::default() };
        } else if session.first.millis_since(event.time) > SESSION_GAP_MS {
            return Ok(()); // a straggler of the session before, which has ended
        }
        session.state.apply(event);
        session.first = session.first.min(event.time);
        session.stamp = stamp;
        Ok(())
    }

    /// Passes over a record that is no event.
    pub fn skip(&mut self, partition: i32, offset: i64) {
        if advance(&mut self.partitions, partition, offset).is_some() {
            self.unflushed += 1;
        }
    }

    /// Makes everything taken in so far visible, and the offsets after it.
    pub fn publish(&mut self) {
        let shared = &self.store.0;
        // First what links point at, then links; offsets last: they claim no more than can be read.
        self.shoppers.publish(&shared.shoppers);
        self.sessions.publish(&shared.sessions);
        self.links.publish(&shared.links);
        self.counters.publish(&shared.counters);
        let offsets: Arc<[_]> = self
            .partitions
            .iter()
            .map(|(&partition, at)| AppliedOffset { topic: shared.topic.clone(), partition, offset: at.next })
            .collect();
        shared.applied.store(Arc::new(Applied { offsets, watermark: self.watermark() }));
    }

    /// Events taken in since the last flush began.
    pub fn unflushed(&self) -> u64 {
        self.unflushed
    }

    /// Entries of state that changed since the last flush began.
    pub fn changed(&self) -> usize {
        self.shoppers.changed() + self.sessions.changed() + self.links.changed() + self.counters.changed()
    }

    /// Ids remembered to drop repeats.
    pub fn remembered(&self) -> usize {
        self.partitions.values().map(|at| at.window.len()).sum()
    }

    /// Publishes, and begins to write what changed to disk on another thread, which calls `before`
    /// first; false when the flush before is not finished. Where `before` says no, nothing is written
    /// and what changed stays unwritten: the writer is at its end, and the log has it all.
    ///
    /// # Errors
    /// When the flush before has failed: the store can take no more.
    pub fn begin_flush(
        &mut self,
        before: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<bool, StoreError> {
        self.settle(false)?;
        if self.flusher.in_flight() {
            return Ok(false);
        }
        self.publish();
        let ended_sessions = self.ended_sessions();
        let shared = &self.store.0;
        self.sessions.forget(&shared.sessions, &ended_sessions);
        self.epoch += 1;
        self.unflushed = 0;
        self.flusher.write(Cut {
            epoch: self.epoch,
            shoppers: self.shoppers.cut(&shared.shoppers),
            sessions: self.sessions.cut(&shared.sessions),
            ended_sessions,
            links: self.links.cut(&shared.links),
            counters: self.counters.cut(&shared.counters),
            partitions: self.partitions.iter_mut().filter_map(|(&partition, at)| at.cut(partition)).collect(),
            before: Box::new(before),
        });
        Ok(true)
    }

    /// Waits for the flush that is under way, if one is.
    ///
    /// # Errors
    /// When it has failed.
    pub fn wait_for_flush(&mut self) -> Result<(), StoreError> {
        self.settle(true)
    }

    /// Publishes and writes everything to disk, and waits until it is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.settle(true)?;
        self.begin_flush(|| true)?;
        self.settle(true)
    }

    fn settle(&mut self, wait: bool) -> Result<(), StoreError> {
        if let Some(epoch) = self.flusher.written(&self.store.0, wait)? {
            self.shoppers.settle(&self.store.0.shoppers, epoch);
        }
        Ok(())
    }

    fn watermark(&self) -> EventTime {
        self.partitions.values().map(|at| at.watermark).max().unwrap_or_default()
    }

    /// Sessions that no event can reach any more: none that may still be applied lies within the gap.
    fn ended_sessions(&mut self) -> Vec<u64> {
        let now = self.watermark().as_millis() / SWEEP_MS;
        if now == std::mem::replace(&mut self.swept, now) {
            return Vec::new();
        }
        let mut ended = Vec::new();
        self.store.0.sessions.for_each_in_memory(|key, session| {
            let watermark =
                self.partitions.get(&session.stamp.partition).map(|at| at.watermark).unwrap_or_default();
            if watermark.millis_since(session.last()) > SESSION_GAP_MS + self.config.late_after_ms {
                ended.push(key);
            }
        });
        ended
    }
}

/// Moves a partition past an offset; none when it is past it already.
fn advance(partitions: &mut BTreeMap<i32, Partition>, partition: i32, offset: i64) -> Option<&mut Partition> {
    let at = partitions.entry(partition).or_default();
    if offset < at.next {
        return None;
    }
    at.next = offset + 1;
    at.changed = true;
    Some(at)
}

impl std::fmt::Debug for StateWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateWriter").field("store", &self.store).field("unflushed", &self.unflushed).finish()
    }
}
