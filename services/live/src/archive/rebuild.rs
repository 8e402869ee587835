//! The state from the archive, for when it is lost and the topic no longer reaches back far enough.
//!
//! Each partition's events are applied in the order of their offsets; then the state is at the offset after its
//! newest roll, and a consumer reads on from Kafka there. Events without consent are not in the archive: their
//! sessions are over, and the watermark did not wait for them.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use super::{ArchivedEvents, Error};
use crate::{Outcome, PartitionOffset, StateWriter};

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

/// Applies the archive of `topic` in `dir` to a state that has seen nothing yet, and writes it to disk.
///
/// # Errors
/// When a file cannot be read or the state cannot be written; the state is then to be removed.
pub fn rebuild(dir: &Path, topic: &str, writer: &mut StateWriter) -> Result<Rebuilt, Error> {
    let mut rebuilt = Rebuilt::default();
    let mut archived = ArchivedEvents::open(dir, topic)?;
    let everything = archived.partitions().into_iter();
    let everything = everything.map(|partition| PartitionOffset { partition, offset: i64::MAX });
    archived.advance(&everything.collect::<Vec<_>>(), &mut |at, event| {
        match writer.apply(at.partition, at.offset, &event.to_event())? {
            Outcome::Applied | Outcome::SessionOnly => rebuilt.applied += 1,
            Outcome::Late | Outcome::Duplicate | Outcome::Behind => rebuilt.passed_over += 1,
        }
        if writer.unflushed() >= FLUSH_EVENTS {
            writer.flush()?;
        }
        Ok::<_, Error>(())
    })?;
    for PartitionOffset { partition, offset } in archived.offsets() {
        writer.skip(partition, offset - 1);
    }
    writer.snapshot()?;
    rebuilt.files = archived.files();
    rebuilt.missing = archived.missing();
    rebuilt.offsets = writer.store().applied();
    Ok(rebuilt)
}
