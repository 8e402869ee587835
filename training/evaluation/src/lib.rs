//! Evaluation: what a model may learn from, what it is asked about, and how well it answers.
//!
//! ```text
//! Dataset ──► Split (a protocol) ──training──► the trainer, Baselines
//!                │
//!                └──questions──► Evaluation::run ──► System, System … ──► Report: metrics, intervals, verdicts
//! ```

#![forbid(unsafe_code)]

mod ask;
mod baselines;
mod bootstrap;
mod error;
mod evaluate;
mod metrics;
mod moments;
mod protocol;
mod rank;
mod replay;
mod report;
mod split;
mod systems;
mod tally;

pub use ask::{Ask, Catalogue};
pub use baselines::{Baselines, BaselinesConfig};
pub use bootstrap::{Bootstrap, Estimate, Sums};
pub use error::EvaluationError;
pub use evaluate::{Contender, Evaluation};
pub use metrics::{Judged, Metric, Rank, UnknownMetric};
pub use moments::{Asking, Moment, Moments};
pub use protocol::{HeldOut, Protocol, SeenItems, SplitConfig, UnknownProtocol};
pub use rank::{Ranking, Ties, Wanted, by_vectors};
pub use replay::Replay;
pub use report::{Comparison, Group, Report, Row, Verdict};
pub use split::{BeforeTest, Question, Questions, Split};
pub use systems::{Fixed, Listed, Random, System, TowersExact, TowersIndex, WholeFunnel};
pub(crate) use tally::Contest;
