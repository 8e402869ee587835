//! Metrics, protocols, comparisons with intervals.
//!
//! A *protocol* turns a data set into cases: a shopper's state at an instant, and the item they went to
//! next. Each *system* (popularity, the towers alone, the whole funnel …) ranks the full catalogue for each
//! case; a *metric* turns the target's rank into a number; the *bootstrap* over shoppers turns numbers
//! into means with intervals, and differences between two systems into verdicts. See `docs/evaluation.md`.

#![forbid(unsafe_code)]

mod bootstrap;
mod global_time;
mod metrics;
mod replay;
mod report;
mod systems;

pub use bootstrap::{Bootstrap, Estimate};
pub use global_time::{Case, EvaluationError, GlobalTime, SeenItems};
pub use metrics::{Metric, Rank, UnknownMetric, rank_of};
pub use replay::{Moment, Replay};
pub use report::{Comparison, Group, Report, Row};
pub use systems::{System, Systems};
