//! Fitting the towers: epochs of steps, validation, early stopping, checkpoints.
//!
//! While a step is made, the next one's batch is put together: neither reads what the other writes.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use endcap_towers::{
    Device, Dropout, Gradients, Spec, Step, Towers, TowersConfig, TowersError, Weights, mix,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    CheckpointPlan, Progress, StepProgress, TrainConfig, TrainError, TrainingData, ValidationReport,
    batches::{Batcher, Prepared},
    checkpoint::Identity,
    optimiser::{AdamW, RowOptimiser, schedule, square},
    validation::HeldOut,
    windows::{self, Window},
};

/// Towers that were fitted.
#[derive(Debug, Clone)]
pub struct FittedTowers {
    /// Their shape.
    pub config: TowersConfig,
    /// Their weights, as safetensors.
    pub weights: Vec<u8>,
    /// How it went.
    pub report: TrainReport,
}

/// How a fit went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// Visitors, interactions and items learnt from.
    pub visitors: usize,
    /// Interactions learnt from.
    pub interactions: usize,
    /// Items, learnt from or not.
    pub items: usize,
    /// The epochs that were run.
    pub epochs: Vec<EpochReport>,
    /// The epoch whose weights were kept, from 1.
    pub best_epoch: usize,
    /// Validation with the weights that were kept; nothing where nothing was held out.
    pub validation: Option<ValidationReport>,
    /// Time it took.
    pub seconds: f64,
}

/// How an epoch went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Which, from 1.
    pub epoch: usize,
    /// Mean loss of its cases, in nats.
    pub loss: f64,
    /// Validation after it.
    pub validation: Option<ValidationReport>,
    /// Positions of histories trained on, per second.
    pub positions_per_second: f64,
    /// Time it took, validation included.
    pub seconds: f64,
}

/// What a fit begins with, and what it leaves behind on its way.
#[derive(Debug, Clone, Default)]
pub struct FitOptions {
    /// Where the fit is written down as it goes, to be taken up again by a fit of the same configuration and data.
    pub checkpoint: Option<CheckpointPlan>,
    /// Weights to begin with, of the shape and the tables that the fit will have; new ones by the seed where there are
    /// none.
    pub weights: Option<Weights>,
    /// Where steps are made. What a fit comes to differs between devices in its last bits.
    pub device: Device,
}

/// Fits the towers. The weights are a function of data, configuration and seed.
///
/// # Errors
/// When a setting breaks its rule; when the data is too little to learn from; when the loss is not a
/// number or grows.
pub fn fit_towers(
    data: &TrainingData,
    config: &TrainConfig,
    progress: &mut (dyn Progress + Send),
) -> Result<FittedTowers, TrainError> {
    fit_towers_with(data, config, FitOptions::default(), progress)
}

/// [`fit_towers`], from a checkpoint or from weights that there are.
///
/// # Errors
/// As [`fit_towers`]; and when the checkpoint is broken or of another fit, when it cannot be written, or when the weights
/// are of another shape, or when the device cannot be had.
pub fn fit_towers_with(
    data: &TrainingData,
    config: &TrainConfig,
    options: FitOptions,
    progress: &mut (dyn Progress + Send),
) -> Result<FittedTowers, TrainError> {
    config.validate()?;
    let threads = rayon::ThreadPoolBuilder::new().num_threads(config.threads);
    let threads = threads
        .build()
        .map_err(|error| TrainError::Threads { threads: config.threads, reason: error.to_string() })?;
    threads.install(|| {
        let mut fit = Fit::new(data, config, options.weights, options.device)?;
        if let Some(plan) = &options.checkpoint {
            fit.identity = Some(Identity::of(data, config));
            fit.take_up(plan)?;
        }
        fit.run(options.checkpoint.as_ref(), progress)
    })
}

pub(crate) struct Fit<'a> {
    data: &'a TrainingData,
    config: &'a TrainConfig,
    pub(crate) shape: TowersConfig,
    held_out: HeldOut,
    batcher: Batcher<'a>,
    stepper: Step,
    rows: Vec<f32>,
    pub(crate) weights: Weights,
    pub(crate) optimisers: Optimisers,
    pub(crate) place: Place,
    pub(crate) epochs: Vec<EpochReport>,
    /// The weights of the best epoch so far.
    pub(crate) best: Option<Best>,
    pub(crate) identity: Option<Identity>,
}

pub(crate) struct Best {
    pub(crate) epoch: usize,
    pub(crate) ndcg: f64,
    pub(crate) weights: Weights,
    pub(crate) temperature: f32,
}

/// How far a fit has come.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Steps made, and steps there will be if every epoch is run.
    pub(crate) step: usize,
    steps: usize,
    /// Of the epoch that is under way: batches done, the sum of their losses, their cases and positions.
    batch: usize,
    sum: f64,
    cases: usize,
    positions: usize,
    watch: LossWatch,
}

/// Notices a loss that is no number, or grows: its running mean, and the least that it has been.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct LossWatch {
    running: Option<f64>,
    best: Option<f64>,
}

pub(crate) struct Optimisers {
    pub(crate) dense: Vec<AdamW>,
    /// Per group, the stretches that decay.
    decays: Vec<Vec<Range<usize>>>,
    pub(crate) items: RowOptimiser,
    pub(crate) words: RowOptimiser,
    /// Of `ln(1 / temperature)`.
    pub(crate) scale: AdamW,
}

/// The running mean of the loss follows a step by this share.
const FOLLOW: f64 = 0.02;
/// A running mean this far above the best one, in nats, is divergence.
const DIVERGED: f64 = 2.0;
/// Numbers whose squares are added up at a time.
const NORM_NUMBERS: usize = 1 << 14;

impl<'a> Fit<'a> {
    fn new(
        data: &'a TrainingData,
        config: &'a TrainConfig,
        weights: Option<Weights>,
        device: Device,
    ) -> Result<Self, TrainError> {
        let vocabulary = data.vocabulary();
        let shape = config.shape(data.is_ordered(), vocabulary.vector_dim());
        let held_out = HeldOut::new(data, config);
        let counts = held_out.counts(data, |_| true);
        let met = counts.iter().filter(|&&count| count > 0).count();
        if met < 2 {
            let reason = format!("{met} item(s) in what may be learnt from: there is nothing to tell apart");
            return Err(TrainError::TooLittle(reason));
        }
        let targets = held_out.counts(data, |event_type| config.weight(event_type) > 0.0);
        let (items, words) = (vocabulary.items(), vocabulary.words());
        let weights = match weights {
            Some(weights) => {
                let (rows, words_there) = (weights.item_rows(), weights.word_rows());
                let there = TowersConfig { temperature: shape.temperature, ..weights.config().clone() };
                if there != shape || (rows, words_there) != (items, words) {
                    return Err(TrainError::OtherShape {
                        want: format!("{shape:?}, {items} items, {words} words"),
                        are: format!("{there:?}, {rows} items, {words_there} words"),
                    });
                }
                weights
            }
            None => Weights::new(shape.clone(), items, words, config.seed)?,
        };
        let optimisers = Optimisers::new(&weights, config);
        let batcher = Batcher::new(data, config, shape.clone(), &counts, &targets);
        Ok(Self {
            data,
            config,
            held_out,
            batcher,
            stepper: Step::on(device, shape.clone())?,
            shape,
            rows: Vec::new(),
            weights,
            optimisers,
            place: Place::default(),
            epochs: Vec::new(),
            best: None,
            identity: None,
        })
    }

    fn run(
        mut self,
        plan: Option<&CheckpointPlan>,
        progress: &mut (dyn Progress + Send),
    ) -> Result<FittedTowers, TrainError> {
        let start = Instant::now();
        while !self.is_over() {
            let epoch = self.epochs.len() + 1;
            let began = Instant::now();
            let before = self.place.positions;
            let loss = self.epoch(epoch, plan, progress)?;
            let trained = began.elapsed();
            let positions = self.place.positions - before;
            let validation = if self.held_out.is_empty() { None } else { Some(self.validate()?) };
            let report = EpochReport {
                epoch,
                loss,
                validation,
                positions_per_second: positions as f64 / trained.as_secs_f64(),
                seconds: began.elapsed().as_secs_f64(),
            };
            progress.epoch(&report);
            self.epochs.push(report);
            self.place = Place { batch: 0, sum: 0.0, cases: 0, positions: 0, ..self.place };
            if let Some(validation) = validation {
                let ndcg = validation.ndcg_at_20;
                if self.best.as_ref().is_none_or(|best| ndcg > best.ndcg) {
                    let (weights, temperature) = (self.weights.clone(), self.shape.temperature);
                    self.best = Some(Best { epoch, ndcg, weights, temperature });
                }
            }
            if progress.is_cancelled() {
                break;
            }
            if let Some(plan) = plan {
                self.write_down(plan)?;
            }
        }
        let best_epoch = self.best.as_ref().map_or(self.epochs.len(), |best| best.epoch);
        let (weights, temperature) = match self.best {
            Some(best) => (best.weights, best.temperature),
            None => (self.weights, self.shape.temperature),
        };
        let report = TrainReport {
            visitors: self.held_out.learnt.iter().filter(|visitor| !visitor.is_empty()).count(),
            interactions: self.held_out.learnt.iter().map(ExactSizeIterator::len).sum(),
            items: self.data.item_features().len(),
            validation: self.epochs.get(best_epoch.wrapping_sub(1)).and_then(|epoch| epoch.validation),
            epochs: self.epochs,
            best_epoch,
            seconds: start.elapsed().as_secs_f64(),
        };
        progress.done(&report);
        let config = TowersConfig { temperature, ..self.shape };
        Ok(FittedTowers { config, weights: weights.to_safetensors()?, report })
    }

    /// Lets the scores be `dot / temperature` from here on.
    pub(crate) fn set_temperature(&mut self, temperature: f32) {
        self.shape.temperature = temperature;
        self.stepper.set_temperature(temperature);
    }

    /// Whether every epoch was run, or enough of them without a better one.
    fn is_over(&self) -> bool {
        let run = self.epochs.len();
        let best = self.best.as_ref().map_or(run, |best| best.epoch);
        run >= self.config.epochs || run - best >= self.config.patience
    }

    /// The rest of one pass over the data: mean loss.
    fn epoch(
        &mut self,
        epoch: usize,
        plan: Option<&CheckpointPlan>,
        progress: &mut (dyn Progress + Send),
    ) -> Result<f64, TrainError> {
        let began = Instant::now();
        let config = self.config;
        let ordered = self.data.is_ordered();
        let windows = windows::epoch(&self.held_out.learnt, config.length, ordered, config.seed, epoch);
        let batches = windows::batches(&windows, config.batch);
        if self.place.steps == 0 {
            self.place.steps = batches.len() * config.epochs;
        }
        let (first, positions_before) = (self.place.batch, self.place.positions);
        let mut written = Instant::now();
        let mut next = batches
            .get(first)
            .map(|batch| prepare(&mut self.batcher, config, &windows, batch, self.place.step));
        while let Some(prepared) = next.take() {
            let (key, prepared) = prepared?;
            let number = self.place.batch;
            let (work, batcher) = self.split();
            let step = work.place.step;
            let (learnt, prepared_next) = rayon::join(
                || work.learn(&prepared, key),
                || batches.get(number + 1).map(|batch| prepare(batcher, config, &windows, batch, step + 1)),
            );
            next = prepared_next;
            let (loss, asked) = learnt?;
            if let Some(loss) = loss {
                if !self.place.watch.goes_well(loss) {
                    let best = self.place.watch.best.unwrap_or(f64::NAN);
                    return Err(TrainError::Diverged { epoch, step: number + 1, loss, best });
                }
                self.place.sum += loss * asked as f64;
            }
            self.place.step += 1;
            self.place.batch += 1;
            self.place.cases += asked;
            self.place.positions += prepared.batch.parts().entries.len();
            let elapsed = began.elapsed().as_secs_f64();
            let done = number + 1 - first;
            let left = (self.place.steps.saturating_sub(self.place.step)) as f64 * elapsed / done as f64;
            progress.step(&StepProgress {
                epoch,
                epochs: config.epochs,
                step: number + 1,
                steps: batches.len(),
                cases: self.place.cases,
                positions_per_second: (self.place.positions - positions_before) as f64 / elapsed,
                loss: self.place.sum / self.place.cases.max(1) as f64,
                eta: Duration::from_secs_f64(left),
            });
            if progress.is_cancelled() {
                break;
            }
            if let Some(plan) = plan.filter(|plan| written.elapsed() >= plan.every) {
                self.write_down(plan)?;
                written = Instant::now();
            }
        }
        if self.place.cases == 0 {
            return Err(TrainError::TooLittle("no case to learn from: event_weights leaves all out".into()));
        }
        Ok(self.place.sum / self.place.cases as f64)
    }

    fn split(&mut self) -> (Work<'_>, &mut Batcher<'a>) {
        let work = Work {
            config: self.config,
            shape: &mut self.shape,
            stepper: &mut self.stepper,
            rows: &mut self.rows,
            weights: &mut self.weights,
            optimisers: &mut self.optimisers,
            place: &self.place,
        };
        (work, &mut self.batcher)
    }

    /// Validates with the towers that serving would run.
    fn validate(&mut self) -> Result<ValidationReport, TrainError> {
        let nothing = Weights::new(self.shape.clone(), 0, 0, 0)?;
        let towers = Towers::new(std::mem::replace(&mut self.weights, nothing));
        let report = self.held_out.validate(self.data, &towers);
        self.weights = towers.into_weights();
        Ok(report?)
    }
}

/// The batch of some windows, and the key of what is drawn in its step.
fn prepare(
    batcher: &mut Batcher<'_>,
    config: &TrainConfig,
    windows: &[Window],
    batch: &Range<usize>,
    step: usize,
) -> Result<(u64, Prepared), TowersError> {
    let key = mix(config.seed ^ mix(step as u64 ^ 0x5e_ed00));
    Ok((key, batcher.prepare(&windows[batch.clone()], key)?))
}

/// What a step reads and writes.
struct Work<'f> {
    config: &'f TrainConfig,
    shape: &'f mut TowersConfig,
    stepper: &'f mut Step,
    rows: &'f mut Vec<f32>,
    weights: &'f mut Weights,
    optimisers: &'f mut Optimisers,
    place: &'f Place,
}

impl Work<'_> {
    /// One step: its loss, unless nothing is asked, and its cases.
    fn learn(self, prepared: &Prepared, key: u64) -> Result<(Option<f64>, usize), TowersError> {
        let asked = prepared.batch.parts().cases.len();
        if asked == 0 {
            return Ok((None, 0));
        }
        prepared.gather(self.weights, self.shape.dim, self.rows);
        let dropout = Dropout::new(self.config.dropout, key);
        let gradients = self.stepper.gradients(&prepared.batch, self.rows, &self.weights.dense, dropout)?;
        let (loss, scale) = (gradients.loss, gradients.scale);
        let d = self.shape.dim;
        let share = schedule(self.place.step, self.config.warm_up, self.place.steps);
        update(self.config, share, d, prepared, gradients, self.weights, self.optimisers);
        if self.config.learn_temperature {
            let mut logarithm = [-self.shape.temperature.ln()];
            let rate = self.config.learning_rate * share;
            self.optimisers.scale.step(&mut logarithm, &[scale as f32], 1.0, rate, 0.0, std::iter::empty());
            self.shape.temperature = (-logarithm[0]).exp().clamp(LEAST_TEMPERATURE, 10.0);
            self.stepper.set_temperature(self.shape.temperature);
        }
        Ok((Some(loss), asked))
    }
}

/// A learnt temperature falls no lower: from there on scores say no more, and gradients grow.
const LEAST_TEMPERATURE: f32 = 0.01;

fn update(
    config: &TrainConfig,
    share: f32,
    d: usize,
    prepared: &Prepared,
    gradients: &Gradients,
    weights: &mut Weights,
    optimisers: &mut Optimisers,
) {
    let parts: Vec<f64> = gradients.rows.par_chunks(NORM_NUMBERS).map(square).collect();
    let dense: f64 = gradients.dense.iter().map(|group| square(group)).sum();
    let length = (parts.iter().sum::<f64>() + dense).sqrt() as f32;
    let scale = if length > config.clip { config.clip / length } else { 1.0 };
    let rate = config.learning_rate * share;
    let Optimisers { dense, decays, items, words, .. } = optimisers;
    let groups = weights.dense.iter_mut().zip(&gradients.dense);
    for ((adam, decays), (weights, gradient)) in dense.iter_mut().zip(decays).zip(groups) {
        adam.step(weights, gradient, scale, rate, config.weight_decay, decays.iter().cloned());
    }
    let rate = config.table_learning_rate * share;
    let (item_rows, word_rows) = gradients.rows.split_at(prepared.item_rows.len() * d);
    items.step(&mut weights.items, &prepared.item_rows, item_rows, scale, rate);
    words.step(&mut weights.words, &prepared.word_rows, word_rows, scale, rate);
}

impl LossWatch {
    fn goes_well(&mut self, loss: f64) -> bool {
        let running = self.running.map_or(loss, |running| running + FOLLOW * (loss - running));
        if !running.is_finite() || self.best.is_some_and(|best| running > best + DIVERGED) {
            return false;
        }
        self.running = Some(running);
        self.best = Some(self.best.map_or(running, |best| best.min(running)));
        true
    }
}

impl Optimisers {
    fn new(weights: &Weights, config: &TrainConfig) -> Self {
        let d = weights.config().dim;
        let decays = |specs: &[Spec]| {
            let mut start = 0;
            let stretches = specs.iter().map(|spec| {
                start += spec.size();
                (spec.decays(), start - spec.size()..start)
            });
            stretches.filter(|(decays, _)| *decays).map(|(_, stretch)| stretch).collect()
        };
        Self {
            dense: weights.dense.iter().map(|group| AdamW::new(group.len())).collect(),
            decays: weights.groups().iter().map(|group| decays(&group.specs)).collect(),
            items: RowOptimiser::new(config.table_optimiser, weights.items.len() / d, d),
            words: RowOptimiser::new(config.table_optimiser, weights.words.len() / d, d),
            scale: AdamW::new(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_is_no_number_or_grows_does_not_go_well() {
        let watched = |loss: &dyn Fn(i32) -> f64| {
            let mut watch = LossWatch::default();
            (0..1000).position(|i| !watch.goes_well(loss(i)))
        };
        let falling = |i: i32| 3.0 + 7.0 * (-f64::from(i) / 50.0).exp();
        // It may jump now and then.
        let noisy = |i: i32| falling(i) + if i % 40 == 0 { 5.0 } else { 0.0 };
        assert_eq!(watched(&noisy), None);
        assert_eq!(watched(&|i| if i == 70 { f64::NAN } else { falling(i) }), Some(70));
        assert_eq!(watched(&|i| if i == 70 { f64::INFINITY } else { falling(i) }), Some(70));
        let growing = watched(&|i| falling(i) + f64::from((i - 500).max(0)) / 20.0).unwrap();
        assert!((550..700).contains(&growing), "{growing}");
    }
}
