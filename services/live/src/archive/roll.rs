//! Events and impressions into rolls of files.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    path::Path,
    time::{Duration, Instant},
};

use endcap_clickstream::{ClickstreamError, EventWriter, ImpressionWriter, LogPosition};
use endcap_proto::{Event, EventTime, v1};

use super::{
    Error,
    duty::{Counts, Duty},
    files::{self, NewestRoll, Roll},
    storage::Storage,
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
    /// The folder of its files within the archive.
    const FOLDER: &str;
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
    /// Where the roll before it ended; 0 where there is none.
    from: i64,
    first: Option<i64>,
    next: i64,
    began: Instant,
    hours: BTreeMap<String, R::Writer>,
    records: u64,
    /// When the newest roll is made whole: its last offset, and the hours it has.
    again: Option<(i64, BTreeSet<String>)>,
}

/// Archives one topic.
pub(super) fn archive<R: Row>(duty: &mut Duty, storage: &Storage) -> Result<(), Error> {
    let topic = duty.source.topic().clone();
    let Some(bounds) = duty.reach()? else { return Ok(()) };
    let mut open = BTreeMap::<i32, Open<R>>::new();
    let from = take_on(&mut open, &bounds, duty, storage)?;
    let mut progress = Progress::begin(&from, &bounds);
    let (config, mut counts) = (duty.config.clone(), duty.counts);
    loop {
        let mut failed = None;
        duty.source.poll(BATCH, WAIT, &mut |record| {
            let Some(roll) = open.get_mut(&record.partition).filter(|_| failed.is_none()) else { return };
            failed = roll.take(&record, &topic, storage, &config, &mut counts).err();
            progress.passed(record.partition, record.offset);
        })?;
        if let Some(error) = failed {
            duty.counts = counts;
            return Err(error);
        }
        let gained = duty.source.gained()?;
        if !gained.is_empty() {
            gained.iter().for_each(|at| progress.gain(at));
            take_on(&mut open, &gained, duty, storage)?;
        }
        progress.look(&*duty.source);
        let stop = duty.stop.is_cancelled() || duty.until_end && progress.caught_up();
        for roll in open.values_mut() {
            let old = roll.began.elapsed() >= Duration::from_millis(config.roll_interval_ms);
            if stop && duty.until_end && progress.caught_up() || roll.again.is_none() && (stop || old) {
                let closed = roll.close(&topic, storage, &mut counts);
                closed.inspect_err(|_| duty.counts = counts)?;
            }
        }
        duty.tell(counts, &progress);
        if stop {
            return Ok(());
        }
    }
}

/// Reads these partitions, too, each from where its archive ends; where all of them are read on.
fn take_on<R: Row>(
    open: &mut BTreeMap<i32, Open<R>>,
    bounds: &[PartitionBounds],
    duty: &mut Duty,
    storage: &Storage,
) -> Result<Vec<PartitionOffset>, Error> {
    let partitions: Vec<i32> = bounds.iter().map(|at| at.partition).collect();
    let mut newest = storage.newest_rolls(R::FOLDER, duty.source.topic(), &partitions)?;
    for &PartitionBounds { partition, first, .. } in bounds {
        open.insert(partition, Open::resume(partition, first, newest.remove(&partition)));
    }
    let from = open.values().map(|roll| PartitionOffset { partition: roll.partition, offset: roll.next });
    let from: Vec<_> = from.collect();
    duty.source.assign(&from)?;
    Ok(from)
}

// === impl Open ===

impl<R: Row> Open<R> {
    /// Where a partition goes on: at its newest roll, to make it whole, or after all that is archived.
    fn resume(partition: i32, begin: i64, newest: Option<NewestRoll>) -> Self {
        let fresh = Self {
            partition,
            from: newest.as_ref().map_or(0, |newest| newest.roll.last + 1),
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
        topic: &str,
        storage: &Storage,
        config: &super::ArchiveConfig,
        counts: &mut Counts,
    ) -> Result<(), Error> {
        let last = self.again.as_ref().map(|(last, _)| *last);
        if last.is_some_and(|last| record.offset > last) {
            self.close(topic, storage, counts)?;
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
            Ok((time, row)) => self.write(time, record.offset, &row, topic, storage, counts)?,
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
        if whole || large { self.close(topic, storage, counts) } else { Ok(()) }
    }

    fn write(
        &mut self,
        time: EventTime,
        offset: i64,
        row: &R,
        topic: &str,
        storage: &Storage,
        counts: &mut Counts,
    ) -> Result<(), Error> {
        let hour = files::hour_of(time);
        if self.again.as_ref().is_some_and(|(_, hours)| hours.contains(&hour)) {
            return Ok(());
        }
        let writer = match self.hours.entry(hour) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                let staged = files::staged_name(topic, self.partition, place.key());
                place.insert(R::create(&storage.staged(&staged))?)
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
    fn close(&mut self, topic: &str, storage: &Storage, counts: &mut Counts) -> Result<(), Error> {
        let Some(first) = self.first else { return Ok(()) };
        let roll = match &self.again {
            Some((last, _)) => Roll { first, last: *last },
            None => {
                let roll = Roll { first, last: self.next - 1 };
                storage.claim(topic, self.partition, self.from, roll, self.hours.keys().cloned())?;
                roll
            }
        };
        for (hour, writer) in std::mem::take(&mut self.hours) {
            let staged = storage.staged(&files::staged_name(topic, self.partition, &hour));
            let rows = R::finish(writer)?;
            let name = files::name(topic, self.partition, roll);
            storage.publish(&staged, &format!("{}/{hour}/{name}", R::FOLDER))?;
            counts.archived += rows;
            counts.files += 1;
        }
        self.from = roll.last + 1;
        self.first = None;
        self.again = None;
        self.records = 0;
        self.began = Instant::now();
        Ok(())
    }
}

// === impl Row ===

impl Row for Event {
    const FOLDER: &str = "events";
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
    const FOLDER: &str = "impressions";
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
