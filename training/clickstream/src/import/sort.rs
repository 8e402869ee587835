//! Events in the order of time, whatever order a source has them in, within bounded memory.
//!
//! Runs of events are sorted in memory. One run is all that most sources are; where there are more,
//! each is written to a file, and the files are merged. Events of one time keep the source's order.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs,
    path::{Path, PathBuf},
};

use endcap_proto::{Event, EventTime};

use crate::{ClickstreamError, EventBatch, EventReader, EventWriter};

/// Events, items and attributes of a run: some 100 MiB.
pub(super) const RUN_ENTRIES: usize = 1 << 18;

/// Events on their way into order.
pub(super) struct InTime {
    dir: PathBuf,
    limit: usize,
    run: Vec<Event>,
    /// Events, items and attributes in `run`.
    entries: usize,
    files: Vec<PathBuf>,
}

/// A sorted run that is being read back.
struct Run {
    batches: EventReader,
    batch: EventBatch,
    row: usize,
}

impl InTime {
    /// Runs of `limit` entries; files, where there are any, go to `dir`, which is removed again.
    pub(super) fn new(dir: &Path, limit: usize) -> Self {
        Self { dir: dir.to_owned(), limit, run: Vec::new(), entries: 0, files: Vec::new() }
    }

    /// Takes an event.
    pub(super) fn push(&mut self, event: Event) -> Result<(), ClickstreamError> {
        self.entries += 1 + event.items.len() + event.attributes.len();
        self.run.push(event);
        if self.entries >= self.limit { self.spill() } else { Ok(()) }
    }

    /// Gives all events, earliest first.
    pub(super) fn drain(
        mut self,
        mut take: impl FnMut(&Event) -> Result<(), ClickstreamError>,
    ) -> Result<(), ClickstreamError> {
        if self.files.is_empty() {
            self.run.sort_by_cached_key(|event| event.time);
            return self.run.iter().try_for_each(take);
        }
        self.spill()?;
        let mut runs = Vec::new();
        // The next event of each run: the earliest first, and of one time that of the earliest run.
        let mut next = BinaryHeap::new();
        for file in &self.files {
            if let Some((time, run)) = Run::open(file)? {
                next.push(Reverse((time, runs.len())));
                runs.push(run);
            }
        }
        while let Some(Reverse((_, i))) = next.pop() {
            let run = &mut runs[i];
            take(&run.batch.get(run.row).to_event())?;
            if let Some(time) = run.advance()? {
                next.push(Reverse((time, i)));
            }
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), ClickstreamError> {
        if self.files.is_empty() {
            // What an import that was killed left there.
            let _ = fs::remove_dir_all(&self.dir);
        }
        fs::create_dir_all(&self.dir).map_err(|source| ClickstreamError::Io {
            path: self.dir.clone(),
            action: "create",
            source,
        })?;
        self.run.sort_by_cached_key(|event| event.time);
        let path = self.dir.join(format!("{:06}.arrows", self.files.len()));
        let mut writer = EventWriter::create(&path)?;
        for event in self.run.drain(..) {
            writer.write(&event)?;
        }
        writer.finish()?;
        self.files.push(path);
        self.entries = 0;
        Ok(())
    }
}

impl Drop for InTime {
    fn drop(&mut self) {
        if !self.files.is_empty() {
            // Nobody reads what is left there: names that begin with a dot are passed over.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

impl Run {
    /// The run, with the time of its first event; `None` when it has no event.
    fn open(path: &Path) -> Result<Option<(EventTime, Self)>, ClickstreamError> {
        let mut batches = EventReader::open(path)?;
        let Some(batch) = batches.next() else { return Ok(None) };
        let mut run = Self { batches, batch: batch?, row: 0 };
        Ok(run.settle()?.map(|time| (time, run)))
    }

    /// Goes on to the next event and gives its time; `None` at the end.
    fn advance(&mut self) -> Result<Option<EventTime>, ClickstreamError> {
        self.row += 1;
        self.settle()
    }

    fn settle(&mut self) -> Result<Option<EventTime>, ClickstreamError> {
        while self.row == self.batch.len() {
            let Some(batch) = self.batches.next() else { return Ok(None) };
            (self.batch, self.row) = (batch?, 0);
        }
        Ok(Some(self.batch.get(self.row).time))
    }
}

#[cfg(test)]
mod tests {
    use endcap_proto::{EventType, VisitorId};
    use proptest::prelude::*;

    use super::super::importer::At;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn events_come_out_as_a_stable_sort_would_have_them(
            times in prop::collection::vec(0..50i64, 0..200),
            limit in 1..60usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let runs = dir.path().join(".runs");
            let mut sorter = InTime::new(&runs, limit);
            let origin = super::super::importer::Origin::of("test", true);
            let mut events = Vec::new();
            for (line, time) in (1..).zip(times) {
                let mut row = origin.row(At { line, raw: b"" });
                let visitor = VisitorId::new("v").unwrap();
                events.push(row.event(EventType::HomeView, EventTime::clamped(time), visitor).unwrap());
            }
            for event in &events {
                sorter.push(event.clone()).unwrap();
            }
            let mut seen = Vec::new();
            sorter.drain(|event| {
                seen.push(event.clone());
                Ok(())
            }).unwrap();
            events.sort_by_key(|event| event.time);
            prop_assert_eq!(seen, events);
            prop_assert!(!runs.exists(), "the runs are removed");
        }
    }
}
