//! `bench-training`: positions of histories learnt from per second, and whether a step costs more in a larger catalogue.
//!
//! A position is one entry of a history of which the model is asked what came next. Steps are timed from the twentieth
//! on, everything included: drawing the batch, gathering rows, forward, backward, optimiser.

use std::time::{Duration, Instant};

use anyhow::Context;
use endcap_clickstream::TimeKind;
use endcap_features::VocabularyConfig;
use endcap_neighbours::SequencesBuilder;
use endcap_proto::{Event, Item, ItemId};
use endcap_towers::Encoder;
use endcap_trainer::{Progress, StepProgress, TrainConfig, TrainingData, Validation, fit_towers};

use crate::events::Events;
use crate::measure::Extent;
use crate::report::{Better, Report, Row};

const SEED: u64 = 5;
/// Steps that do not count.
const WARM_UP: usize = 20;
/// Time of the steps that do.
const TIME: Duration = Duration::from_secs(5);
/// Entries of a history.
const LENGTH: usize = 50;
const VISITORS: usize = 10_000;

/// Runs the rows of training.
///
/// # Errors
/// Whatever the trainer says.
pub fn run(extent: Extent) -> anyhow::Result<Report> {
    let mut report = Report::new();
    let small = data(50_000)?;
    let pooled = TrainConfig { encoder: Some(Encoder::MeanPool), length: 20, ..config() };
    let mut at_4096 = 0.0;
    for batch in [1024, 4096] {
        at_4096 = positions_per_second(&small, &TrainConfig { batch, ..pooled.clone() })?;
        report.push(Row::alone(format!("two-tower b{batch} n50k"), at_4096, "positions/s"));
    }
    let default = positions_per_second(&small, &config())?;
    report.push(Row::alone(format!("encoder L{LENGTH} n50k, default"), default, "positions/s"));
    drop(small);

    let (items, name) = if extent == Extent::Full { (1_000_000, "1M") } else { (200_000, "200k") };
    let large = positions_per_second(&data(items)?, &TrainConfig { batch: 4096, ..pooled })?;
    let work = format!("two-tower b4096 n{name}: growth 50k to {name}");
    let row = Row::beside(work, large, at_4096, "itself at 50k items", "positions/s", Better::More);
    // A step may take 1.3 times as long.
    report.push(row.bar(1.0 / 1.3));
    Ok(report)
}

fn config() -> TrainConfig {
    TrainConfig { epochs: 1_000, length: LENGTH, validation: Validation::None, ..TrainConfig::default() }
}

/// Histories of [`LENGTH`] views each, of items by Zipf's law.
fn data(items: usize) -> anyhow::Result<TrainingData> {
    let mut sequences = SequencesBuilder::new();
    let mut events = Events::new(SEED, 1, items);
    for visitor in 0..VISITORS as u64 {
        let visitor_id = endcap_proto::VisitorId::new(Events::visitor(visitor))?;
        let views = events.by_ref().filter(|event| event.event_type.is_interest()).take(LENGTH);
        views.for_each(|event| sequences.push(&Event { visitor_id: visitor_id.clone(), ..event }));
    }
    let catalogue = (1..=items).map(|number| Ok(Item::bare(ItemId::new(Events::item(number as u64))?)));
    let catalogue: Vec<Item> = catalogue.collect::<anyhow::Result<_>>()?;
    let counts: Vec<(Box<str>, u64)> = catalogue.iter().map(|item| (item.id.as_str().into(), 1)).collect();
    let (sequences, vocabulary) = (sequences.finish(), VocabularyConfig::default());
    Ok(TrainingData::new(catalogue, &counts, sequences, true, TimeKind::Real, &vocabulary)?)
}

/// Times steps, and stops the fit when there were enough.
struct Timed {
    steps: usize,
    start: Option<Instant>,
    /// Steps and time after the warm-up.
    measured: Option<(usize, Duration)>,
}

impl Progress for Timed {
    fn step(&mut self, _: &StepProgress) {
        self.steps += 1;
        if self.steps == WARM_UP {
            self.start = Some(Instant::now());
        }
        self.measured = self.start.map(|start| (self.steps - WARM_UP, start.elapsed()));
    }

    fn is_cancelled(&self) -> bool {
        self.measured.is_some_and(|(steps, time)| steps > 0 && time >= TIME)
    }
}

fn positions_per_second(data: &TrainingData, config: &TrainConfig) -> anyhow::Result<f64> {
    let mut timed = Timed { steps: 0, start: None, measured: None };
    fit_towers(data, config, &mut timed)?;
    let (steps, time) = timed.measured.context("the fit ended before a step was timed")?;
    Ok((steps * config.batch) as f64 / time.as_secs_f64())
}
