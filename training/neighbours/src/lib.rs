//! Models that count: popularity, recent popularity, next-item rules, item neighbours, session neighbours, EASE.
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

mod blend;
mod content;
mod corpus;
mod counting;
mod ease;
mod file;
mod inverse;
mod knn;
mod lists;
mod popularity;
mod rules;
mod sequences;
mod session_knn;

pub use blend::blend;
pub use content::{ContentConfig, ContentKnn};
pub use counting::{CountingConfig, CountingModel, CountingModels};
pub use ease::{Ease, EaseConfig};
pub use file::NeighboursError;
pub use knn::{ItemKnn, KnnConfig};
pub use popularity::{Popularity, RecentPopularity};
pub use rules::{NextItemRules, RulesConfig};
pub use sequences::{Interaction, Sequences, SequencesBuilder, Unit};
pub use session_knn::{SessionKnn, SessionKnnConfig};
