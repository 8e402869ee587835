//! What the archive holds, in the order of the log: each partition's events by their offsets.
//!
//! ```text
//! roll 0–499   hour=13 ──┐                 roll 500–999  hour=13 ──┐
//!              hour=14 ──┼─ merge ──► …                  hour=15 ──┼─ merge ──► …
//!              hour=15 ──┘                                         ┘
//! ```
//!
//! A roll's rows lie in the hours of their event times; their offsets put them together again, so that whoever
//! applies them comes to the state that the stream made, at any offset of it.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
};

use endcap_clickstream::{EventBatch, EventReader, EventRef};

use super::{
    Error,
    files::{self, Roll},
};
use crate::PartitionOffset;

/// The archived events of a topic, read in steps; each partition in the order of its offsets.
pub struct ArchivedEvents {
    partitions: BTreeMap<i32, Partition>,
    files: u64,
}

/// One partition: the rolls that are left, and the one that is being read.
struct Partition {
    rolls: VecDeque<(Roll, Vec<PathBuf>)>,
    open: Option<OpenRoll>,
    /// The next offset.
    next: i64,
    /// Offsets between two rolls that are in none.
    missing: i64,
    /// Nothing was read yet: what lies before the first roll is not missing but gone.
    fresh: bool,
}

struct OpenRoll {
    last: i64,
    hours: Vec<Rows>,
}

/// The rows of a file that are left.
struct Rows {
    reader: EventReader,
    batch: Option<EventBatch>,
    row: usize,
}

// === impl ArchivedEvents ===

impl ArchivedEvents {
    /// The events of `topic` in the archive `dir`.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn open(dir: &Path, topic: &str) -> Result<Self, Error> {
        let partition = |rolls: BTreeMap<Roll, Vec<PathBuf>>| Partition {
            rolls: rolls.into_iter().collect(),
            open: None,
            next: 0,
            missing: 0,
            fresh: true,
        };
        let rolls = files::rolls(&dir.join("events"), topic)?;
        let partitions = rolls.into_iter().map(|(number, rolls)| (number, partition(rolls)));
        Ok(Self { partitions: partitions.collect(), files: 0 })
    }

    /// The partitions that it has something of.
    pub fn partitions(&self) -> Vec<i32> {
        self.partitions.keys().copied().collect()
    }

    /// Hands every event before these offsets that was not handed out yet to `each`, with its partition and offset:
    /// one partition after the other. Rows of an archive that was written without offsets come in the order of
    /// their hours, with offsets that rise one by one.
    ///
    /// # Errors
    /// When a file cannot be read, and what `each` says.
    pub fn advance<E: From<Error>>(
        &mut self,
        until: &[PartitionOffset],
        each: &mut dyn FnMut(PartitionOffset, EventRef<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for &PartitionOffset { partition, offset: until } in until {
            let Some(at) = self.partitions.get_mut(&partition) else { continue };
            while at.next < until && at.open(&mut self.files)? {
                at.advance(partition, until, each)?;
            }
        }
        Ok(())
    }

    /// The offsets after all that was handed out: of a roll that was read to its end, those after the roll.
    pub fn offsets(&self) -> Vec<PartitionOffset> {
        let offset = |(&partition, at): (&i32, &Partition)| PartitionOffset { partition, offset: at.next };
        self.partitions.iter().map(offset).collect()
    }

    /// How many offsets between two rolls that were read are in none, by partition.
    pub fn missing(&self) -> BTreeMap<i32, i64> {
        let missing = self.partitions.iter().map(|(&partition, at)| (partition, at.missing));
        missing.filter(|&(_, missing)| missing > 0).collect()
    }

    /// Files opened.
    pub fn files(&self) -> u64 {
        self.files
    }
}

// === impl Partition ===

impl Partition {
    /// Opens the next roll where none is open; false when there is none.
    fn open(&mut self, files: &mut u64) -> Result<bool, Error> {
        if self.open.is_some() {
            return Ok(true);
        }
        let Some((Roll { first, last }, paths)) = self.rolls.pop_front() else { return Ok(false) };
        if !std::mem::take(&mut self.fresh) {
            self.missing += (first - self.next).max(0);
        }
        self.next = self.next.max(first);
        *files += paths.len() as u64;
        let hours = paths.iter().map(|path| Rows::open(path)).collect::<Result<_, _>>()?;
        self.open = Some(OpenRoll { last, hours });
        Ok(true)
    }

    /// Reads the open roll on, to its end or to `until`.
    fn advance<E: From<Error>>(
        &mut self,
        partition: i32,
        until: i64,
        each: &mut dyn FnMut(PartitionOffset, EventRef<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(open) = &mut self.open else { return Ok(()) };
        while let Some((rows, offset)) = open.first() {
            let offset = offset.unwrap_or(self.next.min(open.last));
            if offset >= until {
                self.next = self.next.max(until);
                return Ok(());
            }
            let rows = &mut open.hours[rows];
            // What two rolls have in common comes once.
            if let Some(event) =
                rows.head().filter(|event| event.log_position().is_none() || offset >= self.next)
            {
                each(PartitionOffset { partition, offset }, event)?;
            }
            rows.pass()?;
            self.next = self.next.max(offset + 1);
        }
        self.next = self.next.max(open.last + 1);
        self.open = None;
        Ok(())
    }
}

// === impl OpenRoll ===

impl OpenRoll {
    /// The file whose next row comes first, and that row's offset; none when all is read.
    fn first(&self) -> Option<(usize, Option<i64>)> {
        let heads =
            self.hours.iter().enumerate().filter_map(|(i, rows)| {
                rows.head().map(|event| (event.log_position().map(|at| at.offset), i))
            });
        // Rows without an offset come before those with one, in the order of their hours.
        heads.min().map(|(offset, rows)| (rows, offset))
    }
}

// === impl Rows ===

impl Rows {
    fn open(path: &Path) -> Result<Self, Error> {
        let mut rows = Self { reader: EventReader::open(path)?, batch: None, row: 0 };
        rows.fill()?;
        Ok(rows)
    }

    fn head(&self) -> Option<EventRef<'_>> {
        self.batch.as_ref().map(|batch| batch.get(self.row))
    }

    fn pass(&mut self) -> Result<(), Error> {
        self.row += 1;
        self.fill()
    }

    /// Takes the next batch where this one is at its end.
    fn fill(&mut self) -> Result<(), Error> {
        while self.batch.as_ref().is_none_or(|batch| self.row >= batch.len()) {
            self.row = 0;
            self.batch = self.reader.next().transpose()?;
            if self.batch.is_none() {
                break;
            }
        }
        Ok(())
    }
}
