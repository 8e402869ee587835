//! Fitting the towers: epochs of steps, validation, early stopping.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use endcap_towers::{Dropout, Gradients, Spec, Towers, TowersConfig, Weights, mix};
use serde::{Deserialize, Serialize};

use crate::{
    Progress, StepProgress, TrainConfig, TrainError, TrainingData, ValidationReport,
    batches::{Batcher, Prepared},
    optimiser::{AdamW, RowAdam, schedule},
    validation::HeldOut,
    windows,
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
    config.validate()?;
    let threads = rayon::ThreadPoolBuilder::new().num_threads(config.threads);
    let threads = threads
        .build()
        .map_err(|error| TrainError::Threads { threads: config.threads, reason: error.to_string() })?;
    threads.install(|| Fit::new(data, config)?.run(progress))
}

struct Fit<'a> {
    data: &'a TrainingData,
    config: &'a TrainConfig,
    shape: TowersConfig,
    held_out: HeldOut,
    batcher: Batcher<'a>,
    weights: Weights,
    optimisers: Optimisers,
    /// Steps made, and steps there will be if every epoch is run.
    step: usize,
    steps: usize,
    watch: LossWatch,
}

/// Notices a loss that is no number, or grows.
struct LossWatch {
    /// A running mean, and the least that it has been.
    running: Option<f64>,
    best: f64,
}

struct Optimisers {
    dense: Vec<AdamW>,
    /// Per group, the stretches that decay.
    decays: Vec<Vec<Range<usize>>>,
    items: RowAdam,
    words: RowAdam,
}

/// The running mean of the loss follows a step by this share.
const FOLLOW: f64 = 0.02;
/// A running mean this far above the best one, in nats, is divergence.
const DIVERGED: f64 = 2.0;

impl<'a> Fit<'a> {
    fn new(data: &'a TrainingData, config: &'a TrainConfig) -> Result<Self, TrainError> {
        let vocabulary = data.vocabulary();
        let shape = config.shape(data.is_ordered(), vocabulary.vector_dim());
        let held_out = HeldOut::new(data, config);
        let counts = held_out.counts(data);
        let met = counts.iter().filter(|&&count| count > 0).count();
        if met < 2 {
            let reason = format!("{met} item(s) in what may be learnt from: there is nothing to tell apart");
            return Err(TrainError::TooLittle(reason));
        }
        let weights = Weights::new(shape.clone(), vocabulary.items(), vocabulary.words(), config.seed)?;
        let optimisers = Optimisers::new(&weights);
        let batcher = Batcher::new(data, config, shape.clone(), &counts);
        Ok(Self {
            data,
            config,
            shape,
            held_out,
            batcher,
            weights,
            optimisers,
            step: 0,
            steps: 0,
            watch: LossWatch { running: None, best: f64::INFINITY },
        })
    }

    fn run(mut self, progress: &mut dyn Progress) -> Result<FittedTowers, TrainError> {
        let start = Instant::now();
        let mut epochs: Vec<EpochReport> = Vec::new();
        let mut best: Option<(usize, f64, Weights)> = None;
        for epoch in 1..=self.config.epochs {
            let began = Instant::now();
            let (loss, positions) = self.epoch(epoch, progress)?;
            let trained = began.elapsed();
            let validation = if self.held_out.is_empty() { None } else { Some(self.validate()?) };
            let report = EpochReport {
                epoch,
                loss,
                validation,
                positions_per_second: positions as f64 / trained.as_secs_f64(),
                seconds: began.elapsed().as_secs_f64(),
            };
            progress.epoch(&report);
            epochs.push(report);
            if let Some(validation) = validation {
                let ndcg = validation.ndcg_at_20;
                if best.as_ref().is_none_or(|(_, best, _)| ndcg > *best) {
                    best = Some((epoch, ndcg, self.weights.clone()));
                }
            }
            let best_epoch = best.as_ref().map_or(epoch, |(epoch, ..)| *epoch);
            if epoch - best_epoch >= self.config.patience || progress.is_cancelled() {
                break;
            }
        }
        let best_epoch = best.as_ref().map_or(epochs.len(), |(epoch, ..)| *epoch);
        let weights = best.map_or(self.weights, |(.., weights)| weights);
        let report = TrainReport {
            visitors: self.held_out.learnt.iter().filter(|visitor| !visitor.is_empty()).count(),
            interactions: self.held_out.learnt.iter().map(ExactSizeIterator::len).sum(),
            items: self.data.item_features().len(),
            validation: epochs.get(best_epoch.wrapping_sub(1)).and_then(|epoch| epoch.validation),
            epochs,
            best_epoch,
            seconds: start.elapsed().as_secs_f64(),
        };
        progress.done(&report);
        Ok(FittedTowers { config: self.shape, weights: weights.to_safetensors()?, report })
    }

    /// One pass over the data: mean loss, and positions read.
    fn epoch(&mut self, epoch: usize, progress: &mut dyn Progress) -> Result<(f64, usize), TrainError> {
        let began = Instant::now();
        let config = self.config;
        let ordered = self.data.is_ordered();
        let windows = windows::epoch(&self.held_out.learnt, config.length, ordered, config.seed, epoch);
        let batches = windows::batches(&windows, config.batch);
        if epoch == 1 {
            self.steps = batches.len() * config.epochs;
        }
        let (mut sum, mut cases, mut positions) = (0.0, 0, 0);
        for (number, batch) in batches.iter().enumerate() {
            let key = mix(config.seed ^ mix(self.step as u64 ^ 0x5e_ed00));
            let mut prepared = self.batcher.prepare(&windows[batch.clone()], key);
            let asked = prepared.batch.cases.len();
            if asked > 0 {
                prepared.gather(&self.weights, self.shape.dim);
                let dropout = Dropout::new(config.dropout, key);
                let gradients = prepared.batch.gradients(&self.shape, &self.weights.dense, dropout)?;
                let loss = gradients.loss;
                if !self.watch.goes_well(loss) {
                    return Err(TrainError::Diverged {
                        epoch,
                        step: number + 1,
                        loss,
                        best: self.watch.best,
                    });
                }
                sum += gradients.loss * asked as f64;
                self.update(&prepared, gradients);
            }
            self.step += 1;
            cases += asked;
            positions += prepared.batch.entries.len();
            let elapsed = began.elapsed().as_secs_f64();
            let left = (self.steps.saturating_sub(self.step)) as f64 * elapsed / (number + 1) as f64;
            progress.step(&StepProgress {
                epoch,
                epochs: config.epochs,
                step: number + 1,
                steps: batches.len(),
                positions_per_second: positions as f64 / elapsed,
                loss: sum / cases.max(1) as f64,
                eta: Duration::from_secs_f64(left),
            });
            if progress.is_cancelled() {
                break;
            }
        }
        if cases == 0 {
            return Err(TrainError::TooLittle("no case to learn from: event_weights leaves all out".into()));
        }
        Ok((sum / cases as f64, positions))
    }

    fn update(&mut self, prepared: &Prepared, mut gradients: Gradients) {
        let config = self.config;
        let all = || gradients.dense.iter().flatten().chain(&gradients.rows);
        let length = all().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt() as f32;
        if length > config.clip {
            let scale = config.clip / length;
            gradients.dense.iter_mut().flatten().chain(&mut gradients.rows).for_each(|g| *g *= scale);
        }
        let share = schedule(self.step, config.warm_up, self.steps);
        let rate = config.learning_rate * share;
        let Optimisers { dense, decays, items, words } = &mut self.optimisers;
        let groups = self.weights.dense.iter_mut().zip(&gradients.dense);
        for ((adam, decays), (weights, gradient)) in dense.iter_mut().zip(decays).zip(groups) {
            adam.step(weights, gradient, rate, config.weight_decay, decays.iter().cloned());
        }
        let rate = config.table_learning_rate * share;
        let (item_rows, word_rows) = gradients.rows.split_at(prepared.item_rows.len() * self.shape.dim);
        items.step(&mut self.weights.items, &prepared.item_rows, item_rows, rate);
        words.step(&mut self.weights.words, &prepared.word_rows, word_rows, rate);
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

impl LossWatch {
    fn goes_well(&mut self, loss: f64) -> bool {
        let running = self.running.map_or(loss, |running| running + FOLLOW * (loss - running));
        self.running = Some(running);
        if !running.is_finite() || running > self.best + DIVERGED {
            return false;
        }
        self.best = self.best.min(running);
        true
    }
}

impl Optimisers {
    fn new(weights: &Weights) -> Self {
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
            items: RowAdam::new(weights.items.len() / d, d),
            words: RowAdam::new(weights.words.len() / d, d),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_is_no_number_or_grows_does_not_go_well() {
        let watched = |loss: &dyn Fn(i32) -> f64| {
            let mut watch = LossWatch { running: None, best: f64::INFINITY };
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
