//! The pipeline: sources, filters, scorers, selector, side effects.

#![forbid(unsafe_code)]

mod clock;
mod config;
mod draws;
mod error;
mod impression;
mod query;
mod selector;
mod state;
mod token;

pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{
    ExploreConfig, InvalidConfig, PlacementConfig, RecommendConfig, RulesConfig, SourcesConfig, ValueConfig,
};
pub use error::RecommendError;
pub use impression::{ImpressionSink, SinkFull};
pub use query::{
    Context, DEFAULT_PAGE_SIZE, DEFAULT_PLACEMENT, MAX_IDS, MAX_LABELS, MAX_PAGE_SIZE, MAX_RECENT_EVENTS,
    MAX_TEXT_BYTES, Query,
};
pub use state::{AppliedOffset, StateReadError, StateReader, StateSnapshot};
pub use token::{Attribution, AttributionKey, InvalidKey, InvalidToken};
