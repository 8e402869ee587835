//! Fitting the ranker: standardise, learn, calibrate.

use std::ops::Range;

use endcap_towers::{Head, Ranker, RankerConfig, RankerNetwork, RankerWeights, mix, standardise};
use serde::{Deserialize, Serialize};

use crate::{
    TrainError,
    optimiser::{AdamW, schedule},
};

/// What the ranker learns from: one row per candidate that was shown, or might have been.
#[derive(Debug, Clone, Default)]
pub struct RankerRows {
    /// Numbers per row.
    pub features: usize,
    /// Features: rows × `features`.
    pub values: Vec<f32>,
    /// What came of it: rows × 3, in the order of [`Head::ALL`]: 1, 0, or NaN where it is not known.
    pub labels: Vec<f32>,
    /// Weight of each row; all 1 where it is empty.
    pub weights: Vec<f32>,
    /// The slate or the case that each row belongs to: groups are held out as a whole. Rising, so that the
    /// newest come last.
    pub groups: Vec<u64>,
}

/// How the ranker is fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RankerTrainConfig {
    /// Equal seeds, rows and configurations give equal weights.
    pub seed: u64,
    /// Widths of the hidden layers; none makes it a logistic regression.
    pub hidden: Vec<usize>,
    /// Most passes over the rows.
    pub epochs: usize,
    /// Rows of a step.
    pub batch: usize,
    /// Largest learning rate (AdamW), with a rise and a fall.
    pub learning_rate: f32,
    /// Decay of the weights, per unit of learning rate.
    pub weight_decay: f32,
    /// Share of the groups, the newest, that training is stopped and probabilities are calibrated by.
    pub held_out: f64,
    /// Epochs without a better held-out loss until training stops.
    pub patience: usize,
}

/// A ranker that was fitted.
#[derive(Debug, Clone)]
pub struct FittedRanker {
    /// The ranker, calibrated.
    pub ranker: Ranker,
    /// Rows learnt from, and rows held out.
    pub rows: [usize; 2],
    /// The epoch whose weights were kept, from 1.
    pub best_epoch: usize,
    /// Each head on the held-out rows.
    pub heads: Vec<HeadReport>,
}

/// One head on the held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadReport {
    /// Which.
    pub head: Head,
    /// Rows with a known label, and those where it is 1.
    pub rows: usize,
    /// Rows whose label is 1.
    pub positives: usize,
    /// Chance that a row with label 1 is above one with label 0; ties count half. Nothing where either is missing.
    pub auc: Option<f64>,
    /// Mean cross-entropy in nats, after calibration.
    pub log_loss: f64,
    /// Mean |predicted − observed| over ten bins of equal size, by size (Naeini et al. 2015).
    pub calibration_error: f64,
}

impl Default for RankerTrainConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            hidden: RankerConfig::default().hidden,
            epochs: 20,
            batch: 1024,
            learning_rate: 2e-3,
            weight_decay: 0.01,
            held_out: 0.1,
            patience: 3,
        }
    }
}

const HEADS: usize = Head::ALL.len();

/// Fits the ranker. Its weights are a function of rows, configuration and seed.
///
/// # Errors
/// When the rows do not fit each other, or are too few to hold any out.
pub fn fit_ranker(rows: &RankerRows, config: &RankerTrainConfig) -> Result<FittedRanker, TrainError> {
    let n = rows.check()?;
    let held_out = rows.held_out(config.held_out)?;
    let learnt = 0..held_out.start;
    let (means, deviations) = moments(&rows.values[..learnt.end * rows.features], rows.features);
    let mut values = rows.values.clone();
    standardise(&means, &deviations, &mut values);
    let rows = &RankerRows {
        values,
        weights: if rows.weights.is_empty() { vec![1.0; n] } else { rows.weights.clone() },
        features: rows.features,
        labels: rows.labels.clone(),
        groups: Vec::new(),
    };

    let network = RankerNetwork::new(rows.features, &config.hidden, HEADS);
    let mut weights = network.begin(config.seed);
    rows.begin_at_base_rates(&learnt, &mut weights);
    let mut adam = AdamW::new(weights.len());
    let batches = learnt.len().div_ceil(config.batch);
    let mut best = (0, f64::INFINITY, weights.clone());
    for epoch in 1..=config.epochs {
        let order = shuffled(learnt.clone(), mix(config.seed ^ epoch as u64));
        for (number, batch) in order.chunks(config.batch).enumerate() {
            let batch = rows.pick(batch);
            let (loss, gradient) = network.gradient(&weights, &batch.values, &batch.labels, &batch.weights);
            let step = (epoch - 1) * batches + number;
            if !loss.is_finite() {
                return Err(TrainError::Diverged { epoch, step: number + 1, loss, best: best.1 });
            }
            let rate = config.learning_rate * schedule(step, batches / 4, batches * config.epochs);
            let all = 0..weights.len();
            adam.step(&mut weights, &gradient, 1.0, rate, config.weight_decay, std::iter::once(all));
        }
        let loss = rows.loss(&network, &weights, &held_out);
        if loss < best.1 {
            best = (epoch, loss, weights.clone());
        }
        if epoch - best.0 >= config.patience {
            break;
        }
    }
    let (best_epoch, _, network_weights) = best;

    let identity = vec![[1.0, 0.0]; HEADS];
    let ranker = |calibration| {
        let weights = RankerWeights {
            means: vec![0.0; rows.features],
            deviations: vec![1.0; rows.features],
            network: network_weights.clone(),
            calibration,
        };
        Ranker::new(RankerConfig { hidden: config.hidden.clone() }, weights)
    };
    let held_out_rows = rows.pick(&held_out.clone().collect::<Vec<_>>());
    let probabilities = ranker(identity)?.predict(&held_out_rows.values)?;
    let outcomes: Vec<Outcomes> =
        (0..HEADS).map(|head| Outcomes::of(&held_out_rows, &probabilities, head)).collect();
    let calibration: Vec<[f32; 2]> = outcomes.iter().map(Outcomes::platt).collect();
    let calibrated = ranker(calibration.clone())?.predict(&held_out_rows.values)?;
    let heads = Head::ALL.iter().enumerate();
    let heads =
        heads.map(|(head, name)| Outcomes::of(&held_out_rows, &calibrated, head).report(*name)).collect();
    let weights = RankerWeights { means, deviations, network: network_weights, calibration };
    Ok(FittedRanker {
        ranker: Ranker::new(RankerConfig { hidden: config.hidden.clone() }, weights)?,
        rows: [learnt.len(), held_out.len()],
        best_epoch,
        heads,
    })
}

impl RankerRows {
    /// That the parts fit each other; how many rows there are.
    fn check(&self) -> Result<usize, TrainError> {
        let n = self.groups.len();
        let refuse = |reason: String| Err(TrainError::RankerRows(reason));
        if self.features == 0 || self.values.len() != n * self.features {
            return refuse(format!(
                "{} values for {n} rows of {} features",
                self.values.len(),
                self.features
            ));
        }
        if self.labels.len() != n * HEADS {
            return refuse(format!("{} labels for {n} rows and {HEADS} heads", self.labels.len()));
        }
        if !self.weights.is_empty() && self.weights.len() != n {
            return refuse(format!("{} weights for {n} rows", self.weights.len()));
        }
        if let Some(row) = self.weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            return refuse(format!("the weight of row {row} is {}", self.weights[row]));
        }
        if let Some(i) =
            self.labels.iter().position(|&label| !(label.is_nan() || label == 0.0 || label == 1.0))
        {
            return refuse(format!(
                "a label of row {} is {}, neither 0 nor 1 nor NaN",
                i / HEADS,
                self.labels[i]
            ));
        }
        if !self.groups.is_sorted() {
            return refuse("groups must rise".into());
        }
        Ok(n)
    }

    /// The newest share of the groups.
    fn held_out(&self, share: f64) -> Result<Range<usize>, TrainError> {
        let starts: Vec<usize> =
            (0..self.groups.len()).filter(|&i| i == 0 || self.groups[i] != self.groups[i - 1]).collect();
        let kept = ((1.0 - share.clamp(0.0, 0.9)) * starts.len() as f64).round() as usize;
        match starts.get(kept.min(starts.len().saturating_sub(1))) {
            Some(&start) if start > 0 => Ok(start..self.groups.len()),
            _ => Err(TrainError::TooLittle(format!(
                "{} group(s) of rows for the ranker: at least two are needed, one to learn from and one held out",
                starts.len()
            ))),
        }
    }

    fn pick(&self, places: &[usize]) -> Self {
        let f = self.features;
        let rows = |values: &[f32], width: usize| {
            places.iter().flat_map(|&i| values[i * width..(i + 1) * width].to_vec()).collect()
        };
        Self {
            features: f,
            values: rows(&self.values, f),
            labels: rows(&self.labels, HEADS),
            weights: rows(&self.weights, 1),
            groups: Vec::new(),
        }
    }

    fn loss(&self, network: &RankerNetwork, weights: &[f32], rows: &Range<usize>) -> f64 {
        let batch = self.pick(&rows.clone().collect::<Vec<_>>());
        network.gradient(weights, &batch.values, &batch.labels, &batch.weights).0
    }

    /// Sets the last layer's offsets to the logit of each head's mean, so that learning begins there.
    fn begin_at_base_rates(&self, rows: &Range<usize>, weights: &mut [f32]) {
        let offsets = weights.len() - HEADS;
        for head in 0..HEADS {
            let labels = rows.clone().map(|i| self.labels[i * HEADS + head]).filter(|label| !label.is_nan());
            let (sum, n) = labels.fold((0.0, 0.0), |(sum, n), label| (sum + f64::from(label), n + 1.0));
            // A head without a positive begins at one in twice the rows.
            let rate = (sum + 0.5) / (n + 1.0);
            weights[offsets + head] = (rate / (1.0 - rate)).ln() as f32;
        }
    }
}

/// Mean and standard deviation of each feature, of those that are finite.
fn moments(values: &[f32], features: usize) -> (Vec<f32>, Vec<f32>) {
    let mut sums = vec![(0.0f64, 0.0f64, 0.0f64); features];
    for row in values.chunks_exact(features) {
        for (sum, &value) in sums.iter_mut().zip(row).filter(|(_, value)| value.is_finite()) {
            let value = f64::from(value);
            *sum = (sum.0 + 1.0, sum.1 + value, sum.2 + value * value);
        }
    }
    let moments = sums.into_iter().map(|(n, sum, squares)| {
        let mean = sum / n.max(1.0);
        let deviation = (squares / n.max(1.0) - mean * mean).max(0.0).sqrt();
        // A feature that never changes says nothing: it stays 0.
        (mean as f32, if deviation > 1e-6 { deviation as f32 } else { 1.0 })
    });
    moments.unzip()
}

fn shuffled(range: Range<usize>, key: u64) -> Vec<usize> {
    let mut places: Vec<usize> = range.collect();
    for i in (1..places.len()).rev() {
        places.swap(i, (mix(key.wrapping_add(i as u64)) % (i as u64 + 1)) as usize);
    }
    places
}

/// Predictions of one head and what came of them: (probability, label, weight).
struct Outcomes(Vec<(f64, bool, f64)>);

impl Outcomes {
    fn of(rows: &RankerRows, probabilities: &[f32], head: usize) -> Self {
        let known = |(i, &weight): (usize, &f32)| {
            let label = rows.labels[i * HEADS + head];
            let probability = f64::from(probabilities[i * HEADS + head]).clamp(1e-7, 1.0 - 1e-7);
            (!label.is_nan() && weight > 0.0).then_some((probability, label > 0.5, f64::from(weight)))
        };
        Self(rows.weights.iter().enumerate().filter_map(known).collect())
    }

    /// Slope and offset for the logit that make the outcomes most likely: Newton's method, with Platt's
    /// (1999) targets, which keep it sound where there are few positives.
    fn platt(&self) -> [f32; 2] {
        let positives: f64 = self.0.iter().filter(|o| o.1).map(|o| o.2).sum();
        let negatives: f64 = self.0.iter().filter(|o| !o.1).map(|o| o.2).sum();
        if positives < 1.0 || negatives < 1.0 {
            return [1.0, 0.0];
        }
        let (high, low) = ((positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0));
        let (mut slope, mut offset) = (1.0, 0.0);
        for _ in 0..50 {
            let (mut g, mut h) = ([0.0; 2], [1e-6, 0.0, 1e-6]);
            for &(p, label, weight) in &self.0 {
                let z = (p / (1.0 - p)).ln();
                let q = 1.0 / (1.0 + (-(slope * z + offset)).exp());
                let error = weight * (q - if label { high } else { low });
                let curve = weight * q * (1.0 - q);
                g = [g[0] + error * z, g[1] + error];
                h = [h[0] + curve * z * z, h[1] + curve * z, h[2] + curve];
            }
            let determinant = h[0] * h[2] - h[1] * h[1];
            let step = [(h[2] * g[0] - h[1] * g[1]) / determinant, (h[0] * g[1] - h[1] * g[0]) / determinant];
            (slope, offset) = (slope - step[0].clamp(-1.0, 1.0), offset - step[1].clamp(-1.0, 1.0));
            if step[0].abs() + step[1].abs() < 1e-9 {
                break;
            }
        }
        // A slope below 0 would turn the ranking around: too little data for two numbers.
        if slope.is_finite() && offset.is_finite() && slope > 0.0 {
            [slope as f32, offset as f32]
        } else {
            [1.0, 0.0]
        }
    }

    fn report(&self, head: Head) -> HeadReport {
        let total: f64 = self.0.iter().map(|o| o.2).sum::<f64>().max(f64::MIN_POSITIVE);
        let loss =
            |&(p, label, weight): &(f64, bool, f64)| -weight * if label { p.ln() } else { (1.0 - p).ln() };
        HeadReport {
            head,
            rows: self.0.len(),
            positives: self.0.iter().filter(|o| o.1).count(),
            auc: self.auc(),
            log_loss: self.0.iter().map(loss).sum::<f64>() / total,
            calibration_error: self.calibration_error(),
        }
    }

    /// By ranks (Mann & Whitney 1947), unweighted.
    fn auc(&self) -> Option<f64> {
        let mut outcomes: Vec<(f64, bool)> = self.0.iter().map(|o| (o.0, o.1)).collect();
        outcomes.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let positives = outcomes.iter().filter(|o| o.1).count() as f64;
        let negatives = outcomes.len() as f64 - positives;
        let (mut below, mut wins) = (0.0, 0.0);
        for ties in outcomes.chunk_by(|a, b| a.0 == b.0) {
            let up = ties.iter().filter(|o| o.1).count() as f64;
            let down = ties.len() as f64 - up;
            wins += up * (below + down / 2.0);
            below += down;
        }
        (positives > 0.0 && negatives > 0.0).then(|| wins / (positives * negatives))
    }

    fn calibration_error(&self) -> f64 {
        let mut outcomes: Vec<(f64, bool, f64)> = self.0.clone();
        outcomes.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = outcomes.iter().map(|o| o.2).sum();
        let bins = outcomes.chunks(outcomes.len().div_ceil(10).max(1));
        let gap = |bin: &[(f64, bool, f64)]| {
            bin.iter().map(|o| o.2 * (o.0 - f64::from(u8::from(o.1)))).sum::<f64>().abs()
        };
        bins.map(gap).sum::<f64>() / total.max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests;
