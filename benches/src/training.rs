//! `bench-training`: examples learnt from per second, beside PyTorch with the same models, in turn.
//!
//! An example is one question of what came next: of two towers, one a visitor; of the sequence encoder, one at every
//! event. Steps are timed after a warm-up, everything included: drawing the batch, gathering rows, forward, backward,
//! optimisers. Both sides get two threads.

mod data;
mod memory;
mod peer;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context;
use endcap_proto::EventType;
use endcap_towers::{Encoder, dot_products};
use endcap_trainer::{
    Negatives, Progress, StepProgress, TableOptimiser, TrainConfig, TrainingData, Validation, fit_towers,
};
use serde_json::{Value, json};

use self::{
    data::{Lengths, Shape},
    peer::Peer,
};
use crate::measure::{Extent, median};
use crate::report::{Better, Report, Row};

/// Threads of either side.
const THREADS: usize = 2;
/// Steps that do not count, of each round.
const WARM_UP: usize = 8;
/// Entries of a history that the sequence encoder reads, and those of two towers.
const LENGTH: usize = 50;
const POOLED: usize = 20;
/// Hidden layers of two towers.
const HIDDEN: usize = 128;
const CATEGORIES: usize = 256;

/// Runs the rows of training.
///
/// # Errors
/// Whatever the trainer or the peer says.
pub fn run(extent: Extent) -> anyhow::Result<Report> {
    let mut report = Report::new();
    let peak = gemm_peak();
    report.push(Row::alone("machine: product of 1024 × 1024, both threads", peak / 1e9, "GFLOP/s"));
    let mut step_at_50k = 0.0;
    let sizes: &[(usize, &str, usize)] = match extent {
        Extent::Short => &[(50_000, "50k", 1024), (50_000, "50k", 4096)],
        Extent::Full => {
            &[(50_000, "50k", 1024), (50_000, "50k", 4096), (200_000, "200k", 4096), (1_000_000, "1M", 4096)]
        }
    };
    for &(items, name, batch) in sizes {
        let mut work = two_tower(items, batch)?;
        let rates = work.compare(extent)?;
        if batch == 4096 && step_at_50k == 0.0 {
            step_at_50k = batch as f64 / rates.ours;
        }
        report.push(rates.row(format!("two-tower b{batch} n{name}"), "PyTorch, sparse embeddings").bar(2.0));
        if items == 1_000_000 {
            let step = batch as f64 / rates.ours;
            let growth = Row::beside(
                "growth 50k to 1M",
                step * 1e3,
                step_at_50k * 1e3,
                "itself at 50k items",
                "ms a step",
                Better::Less,
            );
            // A step may take 1.3 times as long.
            report.push(growth.bar(1.0 / 1.3));
        }
    }
    for (name, lengths, bar) in
        [("encoder L50", Lengths::All(LENGTH + 1), 1.2), ("encoder beauty lengths", Lengths::Beauty, 2.0)]
    {
        let mut best: Option<(Rates, &str)> = None;
        for (peer, compile) in [("PyTorch, eager", false), ("PyTorch, compiled", true)] {
            let rates = encoder(lengths, compile)?.compare(extent)?;
            report.push(rates.row(format!("{name}, beside {peer}"), peer));
            if best.as_ref().is_none_or(|(best, _)| rates.theirs > best.theirs) {
                best = Some((rates, peer));
            }
        }
        let (rates, peer) = best.context("no peer ran")?;
        report.push(rates.row(name.into(), peer).bar(bar));
        if let Lengths::All(_) = lengths {
            let work = rates.ours * flops(LENGTH + 1, mean_candidates()?) / 1e9;
            let row = Row::beside(
                "encoder L50, arithmetic",
                work,
                peak / 1e9,
                "the product above",
                "GFLOP/s",
                Better::More,
            );
            report.push(row);
        }
    }
    Ok(report)
}

/// Peak memory of a fit on ten million events.
///
/// # Errors
/// Whatever the trainer says.
pub fn memory(events: usize) -> anyhow::Result<Report> {
    memory::run(events)
}

/// One model on both sides.
struct Work {
    data: TrainingData,
    config: TrainConfig,
    peer: Peer,
    /// Steps of a round of the peer.
    steps: usize,
    _dir: tempfile::TempDir,
}

struct Rates {
    ours: f64,
    theirs: f64,
}

impl Rates {
    fn row(&self, work: String, peer: &str) -> Row {
        Row::beside(work, self.ours, self.theirs, peer, "examples/s", Better::More)
    }
}

impl Work {
    fn new(shape: Shape, config: TrainConfig, mut settings: Value) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let histories = data::histories(shape)?;
        let files = data::theirs(&histories, dir.path())?;
        if let (Some(settings), Value::Object(files)) = (settings.as_object_mut(), files) {
            settings.extend(files);
        }
        let mut peer = Peer::start(&settings, THREADS)?;
        // The first steps make buffers, and compile where that was asked for.
        peer.rate(4)?;
        let step = peer.step_seconds(3)?;
        let data = data::ours(shape, &histories)?;
        Ok(Self { data, config, peer, steps: (2.0 / step).ceil() as usize, _dir: dir })
    }

    /// Medians of rounds in turn.
    fn compare(&mut self, extent: Extent) -> anyhow::Result<Rates> {
        let rounds = if extent == Extent::Full { 5 } else { 3 };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(rate(&self.data, &self.config)?);
            theirs.push(self.peer.rate(self.steps)?);
        }
        Ok(Rates { ours: median(ours), theirs: median(theirs) })
    }
}

/// The mean of twenty views is asked for a purchase; the products have a category; each tower has a hidden layer.
fn two_tower(items: usize, batch: usize) -> anyhow::Result<Work> {
    let shape = Shape {
        items,
        visitors: 40_000,
        lengths: Lengths::All(POOLED + 1),
        buys: true,
        categories: CATEGORIES,
    };
    let config = TrainConfig {
        encoder: Some(Encoder::MeanPool),
        length: POOLED,
        hidden: HIDDEN,
        item_hidden: HIDDEN,
        dropout: 0.0,
        id_dropout: 0.0,
        negatives: Negatives { uniform: 0, all_up_to: 0, ..Negatives::default() },
        event_weights: BTreeMap::from([(EventType::View, 0.0)]),
        table_optimiser: TableOptimiser::Adagrad,
        batch: batch * (POOLED + 1),
        ..config()
    };
    let settings = json!({
        "model": "two-tower", "items": items, "words": CATEGORIES, "length": POOLED, "hidden": HIDDEN,
        "adagrad": true, "batch": batch, "compile": false,
    });
    Work::new(shape, config, settings)
}

/// The default sequence encoder.
fn encoder(lengths: Lengths, compile: bool) -> anyhow::Result<Work> {
    let items = 50_000;
    let shape = Shape { items, visitors: 20_000, lengths, buys: false, categories: 0 };
    let config = config();
    let mean = match lengths {
        Lengths::All(length) => length as f64,
        Lengths::Beauty => {
            let histories = data::histories(shape)?;
            histories.iter().map(Vec::len).sum::<usize>() as f64 / histories.len() as f64
        }
    };
    let settings = json!({
        "model": "encoder", "items": items, "length": config.length, "hidden": config.hidden,
        "blocks": config.blocks, "heads": config.heads, "dropout": config.dropout,
        "negatives": config.negatives.uniform, "adagrad": false, "compile": compile,
        "ragged": matches!(lengths, Lengths::Beauty),
        "batch": (config.batch as f64 / mean) as usize,
    });
    Work::new(shape, config, settings)
}

fn config() -> TrainConfig {
    TrainConfig {
        epochs: 10_000,
        length: LENGTH,
        threads: THREADS,
        validation: Validation::None,
        ..TrainConfig::default()
    }
}

/// Times steps, and stops the fit when there were enough.
struct Timed {
    steps: usize,
    /// Cases of the epochs before, and of the one that is under way.
    before: usize,
    cases: usize,
    start: Option<(Instant, usize)>,
    /// Cases and time after the warm-up.
    measured: Option<(usize, Duration)>,
}

/// Time of the steps that count.
const TIME: Duration = Duration::from_secs(2);

impl Progress for Timed {
    fn step(&mut self, step: &StepProgress) {
        self.steps += 1;
        if step.cases < self.cases {
            self.before += self.cases;
        }
        self.cases = step.cases;
        let all = self.before + self.cases;
        match self.start {
            None if self.steps >= WARM_UP => self.start = Some((Instant::now(), all)),
            None => {}
            Some((start, cases)) => self.measured = Some((all - cases, start.elapsed())),
        }
    }

    fn is_cancelled(&self) -> bool {
        self.measured.is_some_and(|(_, time)| time >= TIME)
    }
}

fn rate(data: &TrainingData, config: &TrainConfig) -> anyhow::Result<f64> {
    let mut timed = Timed { steps: 0, before: 0, cases: 0, start: None, measured: None };
    fit_towers(data, config, &mut timed)?;
    let (cases, time) = timed.measured.context("the fit ended before a step was timed")?;
    Ok(cases as f64 / time.as_secs_f64())
}

/// Arithmetic of one example of the default encoder, forward and backward, in sequences of `rows`, among so many
/// candidates: two for each element of each product, attention counted to its diagonal.
fn flops(rows: usize, candidates: f64) -> f64 {
    let TrainConfig { dim, hidden, blocks, .. } = config();
    let (d, h) = (dim as f64, hidden as f64);
    let seen = (rows as f64 + 1.0) / 2.0;
    // Weights: forward, and the gradients of both factors. Attention: two products forward, five backward less one
    // that is kept.
    let weights = 3.0 * (4.0 * d * d + 2.0 * d * h);
    let attention = 6.0 * seen * d;
    2.0 * (blocks as f64 * (weights + attention) + 3.0 * candidates * d)
}

/// Candidates of a step, drawn as the trainer draws them.
fn mean_candidates() -> anyhow::Result<f64> {
    let config = config();
    let shape = Shape {
        items: 50_000,
        visitors: config.batch / (LENGTH + 1),
        lengths: Lengths::All(LENGTH + 1),
        buys: false,
        categories: 0,
    };
    let mut targets: Vec<u32> = data::histories(shape)?.concat();
    targets.sort_unstable();
    targets.dedup();
    let others = 1.0 - targets.len() as f64 / shape.items as f64;
    Ok(targets.len() as f64 + others * config.negatives.uniform as f64)
}

/// Floating-point operations a second of a large product on every thread at once.
fn gemm_peak() -> f64 {
    const N: usize = 1024;
    let once = || {
        let (a, b) = (vec![0.5f32; N * N], vec![0.25f32; N * N]);
        let mut out = vec![0.0f32; N * N];
        let rates = (0..20).map(|_| {
            let start = Instant::now();
            dot_products(&a, &b, N, &mut out);
            2.0 * (N * N * N) as f64 / start.elapsed().as_secs_f64()
        });
        rates.fold(0.0, f64::max)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(once)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0.0)).sum()
    })
}
