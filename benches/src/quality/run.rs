//! One seed of a row, from the data set to a report; and the baselines.

use std::time::Instant;

use endcap_clickstream::Dataset;
use endcap_evaluation::{Baselines, Contender, Evaluation, HeldOut, Report, Split};
use endcap_index::Index;
use endcap_neighbours::{CountingConfig, CountingModels};
use endcap_recommend::{Model, Parts};
use endcap_towers::Towers;
use endcap_trainer::{
    EpochReport, Progress, StepProgress, TrainConfig, TrainingData, Validation, ValidationReport, fit_towers,
};
use serde::{Deserialize, Serialize};

use super::Row;
use crate::{
    measure::memory,
    report::{commit, machine},
};

/// What one seed came to, or the baselines.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Which row.
    pub row: String,
    /// Which seed; none of the baselines, which have none.
    pub seed: Option<u64>,
    /// [`Row::digest`], or [`Row::baselines_digest`].
    pub config: String,
    /// The revision that made it.
    pub commit: String,
    /// Where.
    pub machine: String,
    /// Time of fitting, and of being asked.
    pub seconds: Seconds,
    /// Most memory that the process held.
    pub peak_memory_mib: u64,
    /// How training went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
    /// The figures.
    pub report: Report,
}

/// Time that the parts of a run took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seconds {
    /// Fitting.
    pub fit: f64,
    /// Ranking.
    pub evaluate: f64,
}

/// How training went.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Passes over the data, and the one whose weights were kept.
    pub epochs: usize,
    /// The epoch that was best on validation.
    pub best_epoch: usize,
    /// Validation at that epoch.
    pub validation: Option<ValidationReport>,
}

/// A line an epoch.
struct Lines(Instant);

impl Row {
    /// Fits the baselines and asks them about `part`.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn run_baselines(&self, dataset: &Dataset, part: HeldOut) -> anyhow::Result<Outcome> {
        let split = Split::read(dataset, &self.split)?;
        let start = Instant::now();
        let baselines = Baselines::fit(&split, part, &self.baselines)?;
        let fit = start.elapsed().as_secs_f64();
        let report = self.evaluation(&split, part).run(&split, dataset, &baselines, &[])?;
        let evaluate = start.elapsed().as_secs_f64() - fit;
        Ok(self.outcome(None, Seconds { fit, evaluate }, None, report))
    }

    /// Trains the towers alone with one seed. With `chosen`, choices are being made: they are asked about validation,
    /// which training is stopped by too, and never about the test.
    ///
    /// # Errors
    /// When a part fails.
    pub fn run_seed(&self, dataset: &Dataset, seed: u64, choosing: bool) -> anyhow::Result<Outcome> {
        let split = Split::read(dataset, &self.split)?;
        let data = TrainingData::of_split(&split, &self.vocabulary)?;
        let start = Instant::now();
        let config = TrainConfig { seed, ..self.towers.clone() };
        let mut fitted = fit_towers(&data, &config, &mut Lines(start))?;
        let training = Training {
            epochs: fitted.report.epochs.len(),
            best_epoch: fitted.report.best_epoch,
            validation: fitted.report.validation,
        };
        // What was chosen by validation may be learnt from in the end, for as many epochs as were best.
        let learns_more =
            split.before_test().learnt.iter().any(|[choosing, in_the_end]| choosing < in_the_end);
        if !choosing && learns_more && config.validation != Validation::None {
            let epochs = training.best_epoch.max(1);
            let whole = TrainConfig { validation: Validation::None, epochs, ..config };
            fitted = fit_towers(&data, &whole, &mut Lines(start))?;
        }
        let towers = Towers::load(fitted.config, &fitted.weights)?;
        let features = &data.item_features()[..data.catalogue().len()];
        let labels: Vec<u64> = features.iter().map(|item| item.key.0).collect();
        let index = Index::build(&labels, &towers.item_vectors(features)?, towers.dim(), &self.index)?;
        let fit = start.elapsed().as_secs_f64();

        let part = if choosing { HeldOut::Validation } else { HeldOut::Test };
        let nobody: [&[endcap_neighbours::Interaction]; 0] = [];
        let model = Model::new(Parts {
            version: format!("{} seed {seed}", self.name),
            vocabulary: data.vocabulary().clone(),
            catalogue: data.catalogue().to_vec(),
            towers,
            ranker: None,
            // The towers stand alone.
            counting: CountingModels::fit(nobody, split.until(part), &CountingConfig::default())?,
            index,
            items_offsets: Vec::new(),
        })?;
        let contender = Contender { label: "", model: &model, funnel: false };
        let catalogue = endcap_evaluation::Catalogue::new(split.catalogue());
        let report =
            self.evaluation(&split, part).rank(&split, dataset, &catalogue, Vec::new(), &[contender])?;
        let evaluate = start.elapsed().as_secs_f64() - fit;
        Ok(self.outcome(Some(seed), Seconds { fit, evaluate }, Some(training), report))
    }

    fn evaluation(&self, split: &Split, part: HeldOut) -> Evaluation {
        let of = Evaluation::of(split);
        Evaluation { part, cutoffs: self.cutoffs.clone(), seen: self.seen.unwrap_or(of.seen), ..of }
    }

    fn outcome(
        &self,
        seed: Option<u64>,
        seconds: Seconds,
        training: Option<Training>,
        report: Report,
    ) -> Outcome {
        Outcome {
            row: self.name.clone(),
            seed,
            config: if seed.is_some() { self.digest() } else { self.baselines_digest() },
            commit: commit(),
            machine: machine(),
            seconds,
            peak_memory_mib: memory().map_or(0, |(_, peak)| peak >> 20),
            training,
            report,
        }
    }
}

impl Progress for Lines {
    fn step(&mut self, _: &StepProgress) {}

    fn epoch(&mut self, epoch: &EpochReport) {
        let validation = epoch.validation.map_or_else(String::new, |found| {
            format!(", validation recall@20 {:.4}, ndcg@20 {:.4}", found.recall_at_20, found.ndcg_at_20)
        });
        eprintln!(
            "{:6.0} s  epoch {:>3}: loss {:.4}{validation}, {:.0} positions/s",
            self.0.elapsed().as_secs_f64(),
            epoch.epoch,
            epoch.loss,
            epoch.positions_per_second
        );
    }
}
