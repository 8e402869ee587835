//! Models that count: popularity, recent popularity, next-item rules, item neighbours.
//!
//! ```text
//! events ──SequencesBuilder──► Sequences ──fit──► CountingModels ──write──► *.safetensors
//!          (by visitor, in time)                    │
//!                                                   └──score(history, k)──► items, best first
//! ```
//!
//! Each model is a baseline in a table and a source in the funnel: the same code, fitted in seconds.
//! Sums are kept as integers, so that a fit is the same whatever the order of the visitors and the
//! number of threads.

#![forbid(unsafe_code)]

mod corpus;
mod counting;
mod file;
mod knn;
mod lists;
mod popularity;
mod rules;
mod sequences;

pub use counting::{CountingConfig, CountingModel, CountingModels};
pub use file::NeighboursError;
pub use knn::{ItemKnn, KnnConfig};
pub use popularity::{Popularity, RecentPopularity};
pub use rules::{NextItemRules, RulesConfig};
pub use sequences::{Interaction, Sequences, SequencesBuilder, Unit};
