//! The models: user tower, item tower, ranker, and their losses.
//!
//! ```text
//! ItemFeatures ──item tower──► unit vector ─┬─────────────► index
//!                                           │ of the history
//! event types, time gaps ───────────────────┴─user tower──► unit vector;  score = dot / temperature
//! rank_features ─────────────ranker──► probability of click, cart, purchase
//! ```
//!
//! [`Towers`] and [`Ranker`] are what serving loads; [`Step`] makes the gradients that training follows, over the same
//! kernels. The same step in candle's operations (`training::candle`) is what every gradient is tested against, and what runs
//! on a GPU.

mod config;
mod error;
mod kernels;
mod parameters;
mod ranker;
mod sequences;
mod towers;
mod training;
mod weights;

pub use config::{Encoder, RankerConfig, TowersConfig};
pub use error::TowersError;
pub use kernels::{
    bags::Bags,
    dropout::{Dropout, mix},
    pool::Pool,
    simd,
};
pub use parameters::{Group, Init, Spec};
pub use ranker::{Head, Ranker, RankerNetwork, RankerWeights, standardise};
pub use towers::{Towers, UserInput, dot_products, shop_vector, word_weight};
pub use training::{Batch, BatchParts, Case, Device, Entry, Gradients, Step, UnknownDevice};
pub use weights::Weights;
