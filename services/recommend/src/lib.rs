//! The pipeline: sources, filters, scorers, selector, side effects.
//!
//! ```text
//! v1::RecommendRequest ─► Query ─► Recommender::recommend ─► Slate ─► v1::RecommendResponse
//!                                    │
//!   hydrators   state store, recent_events, context ─► Shopper
//!   Model::view features, taste, user vector         ─► View      one bundle + the catalogue's changes since
//!   Funnel      sources ─► rules ─► ranker ─► groups ─► Candidates, best first
//!   selector    places, the last ones drawn           ─► Slate
//!   side effect impression with propensities          ─► ImpressionSink
//! ```
//!
//! - [`Recommender`] is the service; [`Query`] and [`Slate`] are what goes in and comes out.
//! - [`Model`], [`View`] and [`Funnel`] are its pure and synchronous middle: training takes its rows from
//!   [`Funnel::candidates`], evaluation ranks with [`Funnel::rank`], so that nothing can differ from what is served.
//! - [`StateReader`], [`ImpressionSink`] and [`Clock`] are the seams that the stream fills.
//! - [`stage`] holds the traits of the stages and what passes between them.
//!
//! Nothing is lost silently: a filter says what it removed, a stage that fails is named in `degraded`, a score that
//! is not finite never takes a place, and a slate is never empty while the catalogue has something to show.

#![forbid(unsafe_code)]

mod catalogue;
mod clock;
mod config;
mod draws;
mod error;
mod expression;
mod filters;
mod funnel;
mod hydrators;
mod impression;
mod model;
mod probe;
mod query;
mod recommender;
mod scorers;
mod selector;
mod slate;
mod sources;
pub mod stage;
mod state;
mod token;

pub use catalogue::{Entry, ItemChange, Position};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{
    ExploreConfig, InvalidConfig, PlacementConfig, RecommendConfig, RulesConfig, SourcesConfig, ValueConfig,
};
pub use error::{ChangeError, ModelError, RecommendError, StageError};
pub use expression::{
    CompiledFilter, FilterError, FilterExpression, MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_FILTER_VALUES,
};
pub use filters::Asked;
pub use funnel::{Counters, Funnel, FunnelTimes};
pub use hydrators::Shopper;
pub use impression::{ImpressionSink, SinkFull};
pub use model::{Model, Parts, View};
pub use probe::{Passing, RecallReport, RecallTally};
pub use query::{
    Context, DEFAULT_PAGE_SIZE, DEFAULT_PLACEMENT, MAX_IDS, MAX_LABELS, MAX_PAGE_SIZE, MAX_RECENT_EVENTS,
    MAX_TEXT_BYTES, Query,
};
pub use recommender::{Recommender, RecommenderStatus};
pub use slate::{PlacedItem, Slate, Trace};
pub use state::{AppliedOffset, StateReadError, StateReader, StateSnapshot};
pub use token::{Attribution, AttributionKey, InvalidKey, InvalidToken};

// The tests' shop speaks of this crate by its name.
#[cfg(test)]
extern crate self as endcap_recommend;
#[cfg(test)]
#[path = "../tests/shop/mod.rs"]
mod shop;
