//! Events and impressions into rolls of files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use endcap_clickstream::{ClickstreamError, EventWriter, ImpressionWriter, LogPosition};
use endcap_proto::{Event, EventTime, v1};

use super::{
    At as _, Duty, Error,
    files::{self, NewestRoll, Roll},
};
use crate::{
    PartitionBounds, PartitionOffset, Record, Reject, Stage, decode::decode_event_on_time, decode_impression,
    source::Progress,
};

/// Hours that one roll may touch before it ends: each is an open file.
const HOURS_MAX: usize = 24;
/// Records taken between two looks at the clock.
const BATCH: usize = 1024;
/// The longest wait for a record.
const WAIT: Duration = Duration::from_millis(100);

/// A kind of row.
pub(super) trait Row: Sized {
    type Writer;
    fn decode(record: &Record<'_>, ahead_at_most_ms: i64) -> Result<Self, Reject>;
    fn consent(&self) -> bool;
    fn time(&self) -> Result<EventTime, Reject>;
    fn create(path: &Path) -> Result<Self::Writer, ClickstreamError>;
    /// Writes it, with where in its topic it was as far as the contract has room for that.
    fn write(&self, at: LogPosition, writer: &mut Self::Writer) -> Result<(), ClickstreamError>;
    fn finish(writer: Self::Writer) -> Result<u64, ClickstreamError>;
}

/// The roll that a partition is at.
struct Open<R: Row> {
    partition: i32,
    first: Option<i64>,
    next: i64,
    began: Instant,
    hours: BTreeMap<String, R::Writer>,
    records: u64,
    /// When the newest roll is made whole: its last offset, and the hours it has.
    again: Option<(i64, BTreeSet<String>)>,
}

/// Archives one topic.
pub(super) fn archive<R: Row>(mut duty: Duty, dir: PathBuf) -> Result<(), Error> {
    let topic = duty.source.topic().clone();
    let Some(bounds) = duty.reach()? else { return Ok(()) };
    let mut newest = files::newest_rolls(&dir, &topic)?;
    let mut open = BTreeMap::<i32, Open<R>>::new();
    let mut from = Vec::new();
    for &PartitionBounds { partition, first, .. } in &bounds {
        let roll = Open::resume(partition, first, newest.remove(&partition));
        from.push(PartitionOffset { partition, offset: roll.next });
        open.insert(partition, roll);
    }
    duty.source.assign(&from)?;
    let mut progress = Progress::begin(&from, &bounds);
    let mut counts = Counts::default();
    loop {
        let mut failed = None;
        let config = duty.config.clone();
        duty.source.poll(BATCH, WAIT, &mut |record| {
            let Some(roll) = open.get_mut(&record.partition).filter(|_| failed.is_none()) else { return };
            failed = roll.take(&record, &topic, &dir, &config, &mut counts).err();
            progress.passed(record.partition, record.offset);
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        progress.look(&*duty.source);
        let stop = duty.stop.is_cancelled() || duty.until_end && progress.caught_up();
        for roll in open.values_mut() {
            let old = roll.began.elapsed() >= Duration::from_millis(config.roll_interval_ms);
            if stop && duty.until_end && progress.caught_up() || roll.again.is_none() && (stop || old) {
                roll.close(&topic, &dir, &mut counts)?;
            }
        }
        let trouble = duty.source.trouble();
        duty.update(|status| {
            let Counts { archived, without_consent, rejected, files } = counts;
            status.archived = archived;
            status.without_consent = without_consent;
            status.rejected = rejected;
            status.files = files;
            status.offsets = progress.offsets();
            status.caught_up = progress.caught_up();
            status.trouble = trouble;
        });
        if stop {
            return Ok(());
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    archived: u64,
    without_consent: u64,
    rejected: u64,
    files: u64,
}

// === impl Open ===

impl<R: Row> Open<R> {
    /// Where a partition goes on: at its newest roll, to make it whole, or after all that is archived.
    fn resume(partition: i32, begin: i64, newest: Option<NewestRoll>) -> Self {
        let fresh = Self {
            partition,
            first: None,
            next: begin,
            began: Instant::now(),
            hours: BTreeMap::new(),
            records: 0,
            again: None,
        };
        match newest {
            // A roll that is made whole keeps its name, wherever the topic begins by now.
            Some(NewestRoll { roll: Roll { first, last }, hours }) if last >= begin => {
                Self { first: Some(first), next: first.max(begin), again: Some((last, hours)), ..fresh }
            }
            Some(NewestRoll { roll, .. }) if roll.last + 1 < begin => {
                tracing::error!(
                    "partition {partition}: offsets {} to {begin} were lost unarchived",
                    roll.last + 1
                );
                fresh
            }
            _ => fresh,
        }
    }

    fn take(
        &mut self,
        record: &Record<'_>,
        topic: &Arc<str>,
        dir: &Path,
        config: &super::ArchiveConfig,
        counts: &mut Counts,
    ) -> Result<(), Error> {
        let last = self.again.as_ref().map(|(last, _)| *last);
        if last.is_some_and(|last| record.offset > last) {
            self.close(topic, dir, counts)?;
        }
        if self.first.is_none() {
            self.first = Some(record.offset);
            self.began = Instant::now();
        }
        self.next = record.offset + 1;
        self.records += 1;
        let row = R::decode(record, config.ahead_at_most_ms).and_then(|row| Ok((row.time()?, row)));
        match row {
            Ok((_, row)) if !row.consent() => counts.without_consent += 1,
            Ok((time, row)) => self.write(time, record.offset, &row, topic, dir, counts)?,
            Err(reject) => {
                tracing::debug!(
                    "topic {topic}, partition {}, offset {}: {reject}",
                    self.partition,
                    record.offset
                );
                counts.rejected += 1;
            }
        }
        let whole = last == Some(record.offset);
        let large = last.is_none() && (self.records >= config.roll_records || self.hours.len() >= HOURS_MAX);
        if whole || large { self.close(topic, dir, counts) } else { Ok(()) }
    }

    fn write(
        &mut self,
        time: EventTime,
        offset: i64,
        row: &R,
        topic: &str,
        dir: &Path,
        counts: &mut Counts,
    ) -> Result<(), Error> {
        let hour = files::hour_of(time);
        if self.again.as_ref().is_some_and(|(_, hours)| hours.contains(&hour)) {
            return Ok(());
        }
        let writer = match self.hours.entry(hour) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let folder = dir.join(place.key());
                fs::create_dir_all(&folder).at(&folder, "create")?;
                place.insert(R::create(&folder.join(files::unfinished_name(topic, self.partition)))?)
            }
        };
        match row.write(LogPosition { partition: self.partition, offset }, writer) {
            Err(ClickstreamError::Value { column, rule, .. }) => {
                tracing::debug!("topic {topic}, partition {}: {column}: {rule}", self.partition);
                counts.rejected += 1;
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Gives the roll's files their names and begins the next roll.
    fn close(&mut self, topic: &str, dir: &Path, counts: &mut Counts) -> Result<(), Error> {
        let again = self.again.take();
        let last = again.map_or(self.next - 1, |(last, _)| last);
        let hours = std::mem::take(&mut self.hours);
        self.records = 0;
        self.began = Instant::now();
        let Some(first) = self.first.take() else { return Ok(()) };
        for (hour, writer) in hours {
            let folder = dir.join(hour);
            let path = folder.join(files::name(topic, self.partition, Roll { first, last }));
            let unfinished = folder.join(files::unfinished_name(topic, self.partition));
            let rows = R::finish(writer)?;
            fs::rename(&unfinished, &path).at(&path, "rename")?;
            counts.archived += rows;
            counts.files += 1;
        }
        Ok(())
    }
}

// === impl Row ===

impl Row for Event {
    type Writer = EventWriter;

    fn decode(record: &Record<'_>, ahead_at_most_ms: i64) -> Result<Self, Reject> {
        decode_event_on_time(record, ahead_at_most_ms)
    }

    fn consent(&self) -> bool {
        self.consent
    }

    fn time(&self) -> Result<EventTime, Reject> {
        Ok(self.time)
    }

    fn create(path: &Path) -> Result<EventWriter, ClickstreamError> {
        EventWriter::create(path)
    }

    fn write(&self, at: LogPosition, writer: &mut EventWriter) -> Result<(), ClickstreamError> {
        writer.write_from_log(self, at)
    }

    fn finish(writer: EventWriter) -> Result<u64, ClickstreamError> {
        writer.finish()
    }
}

impl Row for v1::Impression {
    type Writer = ImpressionWriter;

    fn decode(record: &Record<'_>, _: i64) -> Result<Self, Reject> {
        decode_impression(record)
    }

    fn consent(&self) -> bool {
        self.consent
    }

    fn time(&self) -> Result<EventTime, Reject> {
        let refuse = |reason: String| Reject { stage: Stage::Validate, reason };
        let time = self.served_time.as_ref().ok_or_else(|| refuse("served_time: must be set".to_owned()))?;
        EventTime::from_proto("served_time", time).map_err(|error| refuse(error.to_string()))
    }

    fn create(path: &Path) -> Result<ImpressionWriter, ClickstreamError> {
        ImpressionWriter::create(path)
    }

    fn write(&self, _: LogPosition, writer: &mut ImpressionWriter) -> Result<(), ClickstreamError> {
        writer.write(self)
    }

    fn finish(writer: ImpressionWriter) -> Result<u64, ClickstreamError> {
        writer.finish()
    }
}
