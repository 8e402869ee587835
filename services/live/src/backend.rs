//! What the consumer asks of a state, wherever it is kept: where to read on, take this event, show it,
//! keep it.
//!
//! ```text
//! partitions gained ──acquire──► where to read on        partitions revoked ──release──► all of it kept
//! record ──take, apply or skip──► state ──publish──► readers ──begin_flush──► kept, with the offsets it came from
//! ```
//!
//! [`StateWriter`] keeps it in this process; a state that several replicas share is another
//! implementation. The consumer is the only caller, on one thread; every call may block for as long as a disk
//! or a server takes to answer, and for no longer than a few seconds where it does not answer at all.
//!
//! **Invariant.** Offsets are kept with the state, never in a consumer group: a partition is read on from what
//! [`StateBackend::acquire`] says, whoever read it before.

use std::sync::Arc;

use endcap_proto::EventView;

use crate::{
    Outcome, Outcomes, PartitionOffset, StateStore, StateWriter, StoreError,
    erasures::{Erasure, Gone},
};

/// Takes events in, for the one consumer that owns their partitions.
pub trait StateBackend: Send {
    /// Takes charge of these partitions; answers where to read on in each. One that was never read is not
    /// among the answers, and is read from its beginning.
    ///
    /// # Errors
    /// When the state cannot be read. With an error for which [`StoreError::is_transient`] holds nothing was taken
    /// over, and it may be tried again.
    fn acquire(&mut self, partitions: &[i32]) -> Result<Vec<PartitionOffset>, StoreError>;

    /// Gives these partitions up, before another consumer may take them. With [`Release::Revoked`] all that was
    /// taken in is kept when this returns: the caller has flushed. With [`Release::Lost`] another consumer
    /// may be writing them already: what was not flushed is dropped, and the log has it all.
    ///
    /// # Errors
    /// When the state can take no more.
    fn release(&mut self, partitions: &[i32], how: Release) -> Result<(), StoreError>;

    /// Takes in the event at an offset. Readers see it after [`Self::publish`] at the latest. An offset that was
    /// applied before changes nothing.
    ///
    /// # Errors
    /// When the state can take no more.
    fn apply(&mut self, partition: i32, offset: i64, event: &EventView<'_>) -> Result<Outcome, StoreError>;

    /// As [`Self::apply`], at once or together with others: [`Self::apply_taken`] is to be called before anything else is
    /// asked. What became of which event is added to `outcomes`.
    ///
    /// # Errors
    /// When the state can take no more.
    fn take(
        &mut self,
        partition: i32,
        offset: i64,
        event: &EventView<'_>,
        outcomes: &mut Outcomes,
    ) -> Result<(), StoreError> {
        outcomes.note(self.apply(partition, offset, event)?);
        Ok(())
    }

    /// Applies what was taken in and not applied yet.
    ///
    /// # Errors
    /// When the state can take no more.
    fn apply_taken(&mut self, _outcomes: &mut Outcomes) -> Result<(), StoreError> {
        Ok(())
    }

    /// Passes over a record that is no event.
    fn skip(&mut self, partition: i32, offset: i64);

    /// Makes everything taken in so far visible, and the offsets after it.
    ///
    /// # Errors
    /// When the state can take no more. A server that is away is no error: [`Self::trouble`] says so, and
    /// it is published later.
    fn publish(&mut self) -> Result<(), StoreError>;

    /// Records taken in since the last flush began.
    fn unflushed(&self) -> u64;

    /// Publishes, and begins to keep what changed with the offsets it came from; `before` is called first, on
    /// any thread, and where it says no, nothing is kept. False when the flush before is not finished.
    ///
    /// # Errors
    /// When the state can take no more.
    fn begin_flush(&mut self, before: Before) -> Result<bool, StoreError>;

    /// Takes note of what became of the flush that is under way, if it is over, so that [`Self::trouble`] tells. Waits
    /// for nothing.
    ///
    /// # Errors
    /// When it has failed for good.
    fn note_flush(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Waits for the flush that is under way, if one is.
    ///
    /// # Errors
    /// When it has failed for good.
    fn wait_for_flush(&mut self) -> Result<(), StoreError>;

    /// Forgets shoppers, each up to their instant, and for an account the visitors who were seen logged in to it; says
    /// of each what there was. Their events are no longer handed to [`Self::apply`] by then. Doing it again changes
    /// nothing, and it is done again whenever partitions are acquired.
    ///
    /// # Errors
    /// When the state cannot be read or written. With an error for which [`StoreError::is_transient`] holds some of
    /// it may have been done, and it is to be tried again.
    fn erase(&mut self, erasures: &[Erasure]) -> Result<Vec<Gone>, StoreError>;

    /// Whether what was erased is gone from wherever the state is kept, and not from memory alone.
    fn is_forgotten_for_good(&self) -> bool {
        true
    }

    /// Who can tell, on any thread, how far readers see.
    fn progress(&self) -> Arc<dyn AppliedOffsets>;

    /// What keeps it from taking more for now (a full disk, a server that is away): while there is something, the
    /// consumer pauses its partitions, says why, and tries to flush again every second.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// How far readers see.
pub trait AppliedOffsets: Send + Sync {
    /// The next offset to be applied, for each partition that was ever acquired.
    fn applied(&self) -> Vec<PartitionOffset>;
}

/// Called before a flush writes; whether it may.
pub type Before = Box<dyn FnOnce() -> bool + Send>;

/// How partitions leave a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The group asks for them back, and waits.
    Revoked,
    /// The group has given them to another already.
    Lost,
}

// === impl StateWriter ===

/// A state in this process has its partitions to itself, and remembers where it was in each.
impl StateBackend for StateWriter {
    fn acquire(&mut self, partitions: &[i32]) -> Result<Vec<PartitionOffset>, StoreError> {
        let mut applied = self.store().applied();
        applied.retain(|at| partitions.contains(&at.partition));
        Ok(applied)
    }

    fn release(&mut self, _: &[i32], _: Release) -> Result<(), StoreError> {
        Ok(())
    }

    fn apply(&mut self, partition: i32, offset: i64, event: &EventView<'_>) -> Result<Outcome, StoreError> {
        StateWriter::apply(self, partition, offset, *event)
    }

    fn take(
        &mut self,
        partition: i32,
        offset: i64,
        event: &EventView<'_>,
        outcomes: &mut Outcomes,
    ) -> Result<(), StoreError> {
        StateWriter::take(self, partition, offset, event, outcomes)
    }

    fn apply_taken(&mut self, outcomes: &mut Outcomes) -> Result<(), StoreError> {
        StateWriter::apply_taken(self, outcomes)
    }

    fn skip(&mut self, partition: i32, offset: i64) {
        StateWriter::skip(self, partition, offset);
    }

    fn publish(&mut self) -> Result<(), StoreError> {
        StateWriter::publish(self);
        Ok(())
    }

    fn unflushed(&self) -> u64 {
        StateWriter::unflushed(self)
    }

    fn begin_flush(&mut self, before: Before) -> Result<bool, StoreError> {
        StateWriter::begin_flush(self, before)
    }

    fn note_flush(&mut self) -> Result<(), StoreError> {
        self.settle(false)
    }

    fn wait_for_flush(&mut self) -> Result<(), StoreError> {
        StateWriter::wait_for_flush(self)
    }

    fn erase(&mut self, erasures: &[Erasure]) -> Result<Vec<Gone>, StoreError> {
        StateWriter::erase(self, erasures)
    }

    fn is_forgotten_for_good(&self) -> bool {
        StateWriter::is_forgotten_for_good(self)
    }

    fn progress(&self) -> Arc<dyn AppliedOffsets> {
        Arc::new(self.store().clone())
    }

    fn trouble(&self) -> Option<String> {
        StateWriter::trouble(self).map(str::to_owned)
    }
}

impl AppliedOffsets for StateStore {
    fn applied(&self) -> Vec<PartitionOffset> {
        StateStore::applied(self)
    }
}
