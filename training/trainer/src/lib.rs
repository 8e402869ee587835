//! Fitting: from a clickstream to the weights of the towers and of the ranker.
//!
//! ```text
//! Dataset ──load──► TrainingData ──fit_towers──► FittedTowers: shape, safetensors, report
//!                    │  │                          │ each epoch: windows ► batches ► gradients ► optimiser
//!                    │  └─ sequences() ► counting  │             validation ► early stopping
//!                    └─ vocabulary(), catalogue()  └─ Progress: what a progress bar shows
//! RankerRows ────────────────────────fit_ranker──► FittedRanker: a calibrated ranker, report
//! ```
//!
//! A fit is a function of data, configuration and seed: the same on any number of threads. What a
//! step costs depends on the batch, not on the size of the catalogue.

#![forbid(unsafe_code)]

mod batches;
mod checkpoint;
mod config;
mod data;
mod error;
mod fit;
mod measure_index;
mod optimiser;
mod progress;
mod publish;
mod ranker;
mod rows;
mod search;
#[cfg(test)]
mod testing;
mod validation;
mod windows;

pub use checkpoint::CheckpointPlan;
pub use config::{Negatives, TableOptimiser, TrainConfig, Validation};
pub use data::{LoadOptions, TrainingData};
pub use endcap_towers::Device;
pub use error::TrainError;
pub use fit::{EpochReport, FitOptions, FittedTowers, TrainReport, fit_towers, fit_towers_with};
pub use progress::{Progress, StepProgress};
pub use publish::{Beginning, PipelineConfig, PublishError, Published, publish};
pub use ranker::{FittedRanker, HeadReport, RankerRows, RankerTrainConfig, fit_ranker};
pub use search::{Halving, Outcome, Trial, halve};
pub use validation::ValidationReport;
