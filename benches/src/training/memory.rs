//! Peak memory of a fit on many events, streamed from Arrow.

use std::{path::Path, time::Instant};

use anyhow::Context;
use endcap_clickstream::{Dataset, DatasetInfo, DatasetWriter, Part};
use endcap_proto::{EventTime, EventType, Item, ItemId};
use endcap_trainer::{
    LoadOptions, Progress, StepProgress, TrainConfig, TrainingData, Validation, fit_towers,
};

use crate::{
    events::Events,
    measure::memory,
    report::{Better, Report, Row},
};

/// What it may take.
const LIMIT_GIB: f64 = 4.0;
const ITEMS: usize = 200_000;
/// Events of a visitor, on average.
const EACH: usize = 20;

/// Stops after one epoch's steps, or so many.
struct Steps(usize);

impl Progress for Steps {
    fn step(&mut self, _: &StepProgress) {
        self.0 -= 1;
    }

    fn is_cancelled(&self) -> bool {
        self.0 == 0
    }
}

/// Writes events, then reads and fits them in this process.
pub(super) fn run(events: usize) -> anyhow::Result<Report> {
    let dir = tempfile::tempdir()?;
    write(dir.path(), events)?;
    let before = peak_gib()?;
    let start = Instant::now();
    let data = TrainingData::load(&Dataset::open(dir.path())?, &LoadOptions::default())?;
    let read = start.elapsed();
    let interactions = data.sequences().interactions().len();
    let config =
        TrainConfig { validation: Validation::Newest { share: 0.1 }, epochs: 1, ..TrainConfig::default() };
    let start = Instant::now();
    fit_towers(&data, &config, &mut Steps(usize::MAX))?;
    let fitted = start.elapsed();
    let mut report = Report::new();
    report.push(Row::alone("interactions", interactions as f64, "events"));
    report.push(Row::alone("read", read.as_secs_f64(), "s"));
    report.push(Row::alone("one epoch, with validation", fitted.as_secs_f64(), "s"));
    report.push(Row::alone("peak memory before", before, "GiB"));
    let row =
        Row::beside("peak memory of read and fit", peak_gib()?, LIMIT_GIB, "the limit", "GiB", Better::Less);
    report.push(row.bar(1.0));
    Ok(report)
}

fn write(dir: &Path, events: usize) -> anyhow::Result<()> {
    let mut writer = DatasetWriter::create(dir, DatasetInfo::new("synthetic"))?;
    for number in 0..ITEMS as u64 {
        writer.item(&Item::bare(ItemId::new(Events::item(number + 1))?))?;
    }
    for (number, mut event) in Events::new(1, events / EACH, ITEMS).take(events).enumerate() {
        if event.event_type == EventType::Search {
            event.event_type = EventType::View;
        }
        event.time = EventTime::clamped(crate::events::START_MS + number as i64 * 1000);
        writer.event(&event, Part::All)?;
    }
    writer.finish()?;
    Ok(())
}

/// The most memory that this process has held.
fn peak_gib() -> anyhow::Result<f64> {
    let (_, peak) = memory().context("needs Linux's /proc")?;
    Ok(peak as f64 / f64::from(1 << 30))
}
