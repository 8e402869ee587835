//! The models: user tower, item tower, ranker, and their losses.
//!
//! ```text
//! ItemFeatures ──item tower──► unit vector ─┬─────────────► index
//!                                           │ of the history
//! event types, time gaps ───────────────────┴─user tower──► unit vector;  score = dot / temperature
//! rank_features ─────────────ranker──► probability of click, cart, purchase
//! ```
//!
//! [`Towers`] and [`Ranker`] are what serving loads: plain slices, no candle type in sight. The
//! training graph (module `graph`) runs the same kernels under candle's autograd.

mod config;
mod error;
mod ranker;
mod towers;

pub use config::{Encoder, RankerConfig, TowersConfig};
pub use error::TowersError;
pub use ranker::{Head, Ranker};
pub use towers::{Towers, UserInput};
