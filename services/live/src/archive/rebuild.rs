//! The state from the archive, for when it is lost and the topic no longer reaches back far enough.
//!
//! Each partition's events are applied in the order of their offsets; then the state is at the offset after its
//! newest roll, and a consumer reads on from Kafka there. Events without consent are not in the archive: their
//! sessions are over, and the watermark did not wait for them.

use std::{collections::BTreeMap, path::Path};

use endcap_clickstream::Erased;
use serde::Serialize;

use super::{ArchivedEvents, Error};
use crate::{Outcome, PartitionOffset, StateBackend, StoreError};

/// What was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Rebuilt {
    /// Files read.
    pub files: u64,
    /// Events that are part of the state.
    pub applied: u64,
    /// Repeats and what lay too far behind.
    pub passed_over: u64,
    /// Offsets between two rolls that are not in the archive, by partition.
    pub missing: BTreeMap<i32, i64>,
    /// Where to read on.
    pub offsets: Vec<PartitionOffset>,
}

/// Events between two flushes.
const FLUSH_EVENTS: u64 = 500_000;
/// Events between two moments at which what was taken in is handed on, where it is kept elsewhere.
const PUBLISH_EVENTS: u64 = 1024;

/// Applies the archive of `topic` in `dir` to a state that has seen nothing yet, and keeps it. What an archive holds of
/// shoppers whose erasure is pending there is passed over.
///
/// # Errors
/// When a file cannot be read or the state cannot be written; the state is then to be removed.
pub fn rebuild(dir: &Path, topic: &str, writer: &mut dyn StateBackend) -> Result<Rebuilt, Error> {
    let mut rebuilt = Rebuilt::default();
    let erased = Erased::pending(dir)?;
    let mut archived = ArchivedEvents::open(dir, topic)?;
    let partitions = archived.partitions();
    writer.acquire(&partitions)?;
    let everything = partitions.into_iter().map(|partition| PartitionOffset { partition, offset: i64::MAX });
    let mut taken = 0u64;
    archived.advance(&everything.collect::<Vec<_>>(), &mut |at, event| {
        let outcome = match erased.covers_event(&event) {
            true => Outcome::Behind,
            false => writer.apply(at.partition, at.offset, &(&event.to_event()).into())?,
        };
        match outcome {
            Outcome::Applied | Outcome::SessionOnly => rebuilt.applied += 1,
            Outcome::Late | Outcome::Duplicate | Outcome::Behind => rebuilt.passed_over += 1,
        }
        taken += 1;
        if taken.is_multiple_of(PUBLISH_EVENTS) {
            writer.publish()?;
        }
        if writer.unflushed() >= FLUSH_EVENTS {
            keep(writer)?;
        }
        Ok::<_, Error>(())
    })?;
    for PartitionOffset { partition, offset } in archived.offsets() {
        writer.skip(partition, offset - 1);
    }
    keep(writer)?;
    rebuilt.files = archived.files();
    rebuilt.missing = archived.missing();
    rebuilt.offsets = writer.progress().applied();
    Ok(rebuilt)
}

/// Flushes, and waits until it is done.
fn keep(writer: &mut dyn StateBackend) -> Result<(), StoreError> {
    loop {
        writer.wait_for_flush()?;
        let begun = writer.begin_flush(Box::new(|| true))?;
        writer.wait_for_flush()?;
        match writer.trouble() {
            Some(reason) => {
                return Err(StoreError::Unavailable {
                    place: "the state that is rebuilt".to_owned(),
                    reason,
                });
            }
            None if begun => return Ok(()),
            None => {}
        }
    }
}
