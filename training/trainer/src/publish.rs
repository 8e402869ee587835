//! The whole training: from a data set to a published bundle.
//!
//! ```text
//! events ──────────────────────────────┬──────────────── cut ─────────── until
//!   towers, counting models fit before the cut │ validation; rows for the ranker
//!   counting models (and, with `refit`, towers) again on everything
//! ```
//!
//! The ranker learns on a period that the models below it have not seen, as when it serves: what a tower scores
//! highly on events that it was fitted on says nothing of the next ones.

use std::{collections::BTreeMap, fmt, time::Duration, time::Instant};

use endcap_bundle::{Bundle, BundleDraft, BundleError, BundleStore, Origin, PartitionOffset, Version};
use endcap_clickstream::{ClickstreamError, Dataset, TimeKind};
use endcap_evaluation::{HeldOut, Moments, Protocol, Replay, Split};
use endcap_features::VocabularyConfig;
use endcap_index::{Index, IndexConfig, IndexError, Plan};
use endcap_neighbours::{CountingConfig, CountingModels, NeighboursError, Sequences};
use endcap_proto::EventTime;
use endcap_recommend::{Funnel, Model, ModelError, Parts, RecommendConfig};
use endcap_towers::{Device, Towers, TowersError, Weights};
use serde::{Deserialize, Serialize};

use crate::{
    CheckpointPlan, FitOptions, LoadOptions, Progress, RankerTrainConfig, TrainConfig, TrainError,
    TrainingData, Validation, fit_ranker, fit_towers_with,
    measure_index::measure_index,
    rows::{Sampling, assemble},
};

/// Everything that a training run can be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineConfig {
    /// The towers.
    pub towers: TrainConfig,
    /// The ranker.
    pub ranker: RankerTrainConfig,
    /// The models that count.
    pub counting: CountingConfig,
    /// Which items and words get rows.
    pub vocabulary: VocabularyConfig,
    /// Retrieval.
    pub index: IndexConfig,
    /// Share of the events, the newest, that the ranker learns on and that training is stopped by.
    pub validation_share: f64,
    /// Most moments of the validation period whose candidates become rows for the ranker.
    pub ranker_moments: usize,
    /// Share of the candidates that nothing came of that are kept as rows; they weigh as much more.
    pub ranker_negatives: f64,
    /// Fit the towers once more on everything, for as many epochs as were best.
    pub refit: bool,
}

/// What a training run begins with, and where it is written down.
#[derive(Default)]
pub struct Beginning {
    /// The bundle to go on from: its rows and weights stay, new items and words get rows after them. Towers of another
    /// shape are refused.
    pub bundle: Option<Bundle>,
    /// A folder for checkpoints of the towers, and how often they are written. A run of the same configuration and data
    /// goes on from those that are there; they are deleted once the bundle is published.
    pub checkpoints: Option<CheckpointPlan>,
    /// Where the towers' steps are made.
    pub device: Device,
}

/// A published bundle, and what its training found.
#[derive(Debug, Clone, Serialize)]
pub struct Published {
    /// Its name.
    pub version: Version,
    /// Items of its catalogue.
    pub items: usize,
    /// Events of interest it was trained on.
    pub interactions: usize,
    /// Figures of the training.
    pub metrics: BTreeMap<String, f64>,
    /// How the index answers: what was built, and what each way was measured to cost and to find.
    pub retrieval: Plan,
    /// How long each part took.
    pub elapsed: Vec<(&'static str, Duration)>,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Towers or ranker were not fitted.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The data cannot be read.
    #[error(transparent)]
    Clickstream(#[from] ClickstreamError),
    /// The counting models were not fitted.
    #[error(transparent)]
    Neighbours(#[from] NeighboursError),
    /// The index was not built.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The towers do not run.
    #[error(transparent)]
    Towers(#[from] TowersError),
    /// The parts do not fit each other.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The bundle cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

// === impl PipelineConfig ===

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            towers: TrainConfig::default(),
            ranker: RankerTrainConfig::default(),
            counting: CountingConfig::default(),
            vocabulary: VocabularyConfig::default(),
            index: IndexConfig::default(),
            validation_share: 0.1,
            ranker_moments: 3000,
            ranker_negatives: 0.1,
            refit: true,
        }
    }
}

/// Trains on `dataset`, on what `split` lets be learnt before its test (all, where it is not said), and publishes the
/// bundle to `store`. It is not activated.
///
/// # Errors
/// When a part fails; then nothing is published.
#[expect(
    clippy::too_many_arguments,
    reason = "a run's inputs, its outputs and who watches it are of different owners"
)]
pub fn publish(
    dataset: &Dataset,
    split: Option<&Split>,
    config: &PipelineConfig,
    items_offsets: Vec<PartitionOffset>,
    store: &BundleStore,
    created: EventTime,
    beginning: Beginning,
    progress: &mut (dyn Progress + Send),
) -> Result<Published, PublishError> {
    let mut stopwatch = Stopwatch::default();
    let (parents, extends, weights) = match beginning.bundle {
        Some(Bundle { manifest, vocabulary, towers, .. }) => {
            (vec![manifest.version], Some(vocabulary), Some(towers.into_weights()))
        }
        None => (Vec::new(), None, None),
    };
    let data = match split {
        Some(split) => TrainingData::of_split_extending(split, &config.vocabulary, extends)?,
        None => {
            // The publisher's test set is nobody's to learn from.
            let train_part_only = dataset.info.split.is_some();
            let vocabulary = config.vocabulary.clone();
            let options = LoadOptions { until: None, train_part_only, vocabulary, extends };
            TrainingData::load(dataset, &options)?
        }
    };
    let schedule = Schedule::new(dataset, split, &data, config)?;
    let (checkpoints, device) = (beginning.checkpoints, beginning.device);
    let mut fit = |config: &TrainConfig, name: &str| {
        let checkpoint =
            checkpoints.as_ref().map(|plan| CheckpointPlan { path: plan.path.join(name), every: plan.every });
        let vocabulary = data.vocabulary();
        let grow = |weights: Weights| weights.grow(vocabulary.items(), vocabulary.words(), config.seed);
        let weights = weights.clone().map(grow).transpose()?;
        fit_towers_with(&data, config, FitOptions { checkpoint, weights, device }, progress)
    };
    stopwatch.lap("read");

    let towers_config = match schedule.validates {
        true => TrainConfig {
            validation: Validation::Newest { share: config.validation_share },
            ..config.towers.clone()
        },
        false => config.towers.clone(),
    };
    let fitted = fit(&towers_config, CHECKPOINTS[0])?;
    stopwatch.lap("towers");

    let mut metrics = BTreeMap::new();
    if let Some(validation) = fitted.report.validation {
        metrics.insert("validation.recall@20".to_owned(), validation.recall_at_20);
        metrics.insert("validation.ndcg@20".to_owned(), validation.ndcg_at_20);
    }
    metrics.insert("towers.epochs".to_owned(), fitted.report.best_epoch as f64);
    let early = schedule.counting(split, &data, HeldOut::Validation, config)?;
    let towers = Towers::load(fitted.config.clone(), &fitted.weights)?;
    let index = index(&data, &towers, &config.index)?;
    let model = Model::new(Parts {
        version: "training".to_owned(),
        vocabulary: data.vocabulary().clone(),
        catalogue: data.catalogue().to_vec(),
        towers,
        ranker: None,
        counting: early,
        index,
        items_offsets: Vec::new(),
    })?;
    let funnel = Funnel::new(&RecommendConfig::default());
    let sampling = Sampling {
        moments: config.ranker_moments,
        negatives: config.ranker_negatives,
        seed: config.towers.seed,
    };
    let rows = assemble(&model, &funnel, &schedule.moments, sampling);
    stopwatch.lap("ranker rows");
    let ranker = fit_ranker(&rows, &config.ranker)?;
    for head in &ranker.heads {
        let name = head.head.as_str();
        metrics.extend(head.auc.map(|auc| (format!("ranker.{name}.auc"), auc)));
        metrics.insert(format!("ranker.{name}.log_loss"), head.log_loss);
        metrics.insert(format!("ranker.{name}.calibration_error"), head.calibration_error);
    }
    stopwatch.lap("ranker");

    let fitted = match schedule.refits && config.refit {
        true => {
            let epochs = fitted.report.best_epoch.max(1);
            let everything = TrainConfig { validation: Validation::None, epochs, ..config.towers.clone() };
            let fitted = fit(&everything, CHECKPOINTS[1])?;
            stopwatch.lap("towers again");
            fitted
        }
        false => fitted,
    };
    let counting = schedule.counting(split, &data, HeldOut::Test, config)?;
    let towers = Towers::load(fitted.config.clone(), &fitted.weights)?;
    let index = self::index(&data, &towers, &config.index)?;
    let model = Model::new(Parts {
        version: "training".to_owned(),
        vocabulary: data.vocabulary().clone(),
        catalogue: data.catalogue().to_vec(),
        towers,
        ranker: None,
        counting,
        index,
        items_offsets: Vec::new(),
    })?;
    measure_index(&model, &schedule.moments, config.towers.seed)?;
    let Parts { counting, index, .. } = model.into_parts();
    let retrieval = index.plan();
    metrics.extend(figures(&retrieval));
    stopwatch.lap("index");

    metrics.insert("items".to_owned(), data.catalogue().len() as f64);
    let version = store.publish(
        &BundleDraft {
            vocabulary: data.vocabulary(),
            catalogue: data.catalogue(),
            towers_config: &fitted.config,
            towers_weights: &fitted.weights,
            ranker: &ranker.ranker,
            counting: &counting,
            index: &index,
            parents,
            metrics: metrics.clone(),
            origin: Origin {
                source: dataset.info.source.clone(),
                events: data.sequences().interactions().len() as u64,
                newest_event: data.sequences().newest(),
                seed: config.towers.seed,
                items_offsets,
                held_out: split.map(Split::held_out_parts).unwrap_or_default(),
            },
        },
        created,
    )?;
    for name in CHECKPOINTS {
        // One that was not written is not there.
        let _ = checkpoints.as_ref().map(|plan| std::fs::remove_file(plan.path.join(name)));
    }
    stopwatch.lap("publish");
    Ok(Published {
        version,
        items: data.catalogue().len(),
        interactions: data.sequences().interactions().len(),
        metrics,
        retrieval,
        elapsed: stopwatch.laps,
    })
}

/// What is learnt when.
struct Schedule<'a> {
    /// Whether something is held out for validation that the ranker learns on.
    validates: bool,
    /// Whether the towers may learn, in the end, what they were chosen by.
    refits: bool,
    /// What the ranker learns on.
    moments: Moments<'a>,
    /// Where counting ends while choosing, and in the end; a split says so itself.
    ends: [EventTime; 2],
}

impl<'a> Schedule<'a> {
    fn new(
        dataset: &Dataset,
        split: Option<&'a Split>,
        data: &TrainingData,
        config: &PipelineConfig,
    ) -> Result<Self, PublishError> {
        if let Some(split) = split {
            let validates = !split.questions(HeldOut::Validation).is_empty();
            return Ok(Self {
                validates,
                refits: validates && split.protocol() != Protocol::LeaveOneOut,
                moments: Moments::of(split, HeldOut::Validation, dataset)?,
                ends: [HeldOut::Validation, HeldOut::Test].map(|part| split.until(part)),
            });
        }
        let end = data.sequences().newest().unwrap_or(EventTime::MIN).plus_millis(1);
        let cut = cut_at(data.sequences(), data.time_kind(), config.validation_share);
        let from = cut.unwrap_or(EventTime::MIN);
        Ok(Self {
            validates: cut.is_some(),
            refits: cut.is_some(),
            moments: Moments::Rolling { replay: Replay::read(dataset)?, from },
            ends: [cut.unwrap_or(end), end],
        })
    }

    /// The counting models of what may be learnt from before being asked about `part`.
    fn counting(
        &self,
        split: Option<&Split>,
        data: &TrainingData,
        part: HeldOut,
        config: &PipelineConfig,
    ) -> Result<CountingModels, NeighboursError> {
        let end = self.ends[usize::from(part == HeldOut::Test)];
        match split {
            Some(split) => {
                CountingModels::fit(split.training(part).map(|(_, learnt)| learnt), end, &config.counting)
            }
            None => {
                CountingModels::fit(data.sequences().iter().map(|(_, learnt)| learnt), end, &config.counting)
            }
        }
    }
}

/// Checkpoints of the fit that is validated, and of the one on everything.
const CHECKPOINTS: [&str; 2] = ["towers.fit", "towers-again.fit"];

/// Vectors of the catalogue, indexed.
fn index(data: &TrainingData, towers: &Towers, config: &IndexConfig) -> Result<Index, PublishError> {
    let features = &data.item_features()[..data.catalogue().len()];
    let labels: Vec<u64> = features.iter().map(|item| item.key.0).collect();
    let vectors = towers.item_vectors(features)?;
    Ok(Index::build(&labels, &vectors, towers.dim(), config)?)
}

/// What the manifest says of retrieval: recall and cost of planned queries without a filter, and with one that keeps a
/// tenth and a hundredth of the items.
fn figures(plan: &Plan) -> Vec<(String, f64)> {
    let planned = plan.calibration.iter().flat_map(|calibration| calibration.planned(100));
    let named = planned.filter_map(|attempt| {
        let name = match attempt.share {
            1.0 => "retrieval",
            0.1 => "retrieval.filter_10_percent",
            0.01 => "retrieval.filter_1_percent",
            _ => return None,
        };
        let (recall, micros) = (attempt.recall, attempt.micros);
        Some([(format!("{name}.recall@100"), recall), (format!("{name}.micros"), micros)])
    });
    named.flatten().collect()
}

/// The instant before which all but the newest `share` of the interactions lie; equal times stay together. `None`
/// where times mean nothing.
fn cut_at(sequences: &Sequences, time: TimeKind, share: f64) -> Option<EventTime> {
    if time == TimeKind::Ordinal {
        return None;
    }
    let mut times: Vec<EventTime> =
        sequences.interactions().iter().map(|interaction| interaction.time).collect();
    times.sort_unstable();
    times.get(((1.0 - share) * times.len() as f64) as usize).copied()
}

#[derive(Debug)]
struct Stopwatch {
    last: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self { last: Instant::now(), laps: Vec::new() }
    }
}

impl Stopwatch {
    fn lap(&mut self, name: &'static str) {
        self.laps.push((name, self.last.elapsed()));
        self.last = Instant::now();
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} items, {} interactions", self.version, self.items, self.interactions)?;
        for (name, value) in &self.metrics {
            writeln!(f, "  {name:<28} {value:.4}")?;
        }
        writeln!(f, "  retrieval: {}", self.retrieval)?;
        write!(f, "  time:")?;
        for (part, elapsed) in &self.elapsed {
            write!(f, " {part} {:.1} s,", elapsed.as_secs_f64())?;
        }
        writeln!(
            f,
            " in all {:.1} s",
            self.elapsed.iter().map(|(_, elapsed)| elapsed.as_secs_f64()).sum::<f64>()
        )
    }
}
