//! Why a request is not answered.

use endcap_index::IndexError;
use endcap_proto::{FieldError, ItemId};
use endcap_towers::TowersError;

use crate::{InvalidConfig, InvalidKey};

/// Why a request is not answered. The edges map each variant to one status code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecommendError {
    /// A field breaks a rule.
    #[error(transparent)]
    InvalidArgument(#[from] FieldError),
    /// A field is set that does not act yet.
    #[error("{field} does not act in this version: leave it unset")]
    Unimplemented {
        /// Path of the field.
        field: &'static str,
    },
    /// A list is longer than the service takes.
    #[error("{field} holds {length} entries, the most is {limit}")]
    TooLarge {
        /// Path of the field.
        field: &'static str,
        /// How many entries it has.
        length: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The deadline passed before the slate was whole.
    #[error("the deadline passed before {stage}")]
    DeadlineExceeded {
        /// The stage that was not begun.
        stage: &'static str,
    },
}

/// A stage could not do its part; the answer goes on without it and says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{stage}: {reason}")]
pub struct StageError {
    /// Which stage.
    pub stage: &'static str,
    /// Why.
    pub reason: String,
}

/// Why parts do not make a model that can serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Two items of the catalogue have one key.
    #[error("items {first:?} and {second:?} have one key: rename one of them")]
    OneKey {
        /// The item before.
        first: ItemId,
        /// The item after.
        second: ItemId,
    },
    /// The ranker was trained on other features.
    #[error(
        "the ranker reads {found} features, this version computes {expected}: train again with this version"
    )]
    RankerFeatures {
        /// How many it reads.
        found: usize,
        /// How many there are.
        expected: usize,
    },
    /// Index and towers do not fit.
    #[error("the index holds vectors of {index} numbers, the towers make {towers}: publish the bundle again")]
    Dimension {
        /// The index's.
        index: usize,
        /// The towers'.
        towers: usize,
    },
    /// The configuration breaks a rule.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The key's file holds none.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// A change of the catalogue could not be carried over.
    #[error("a change of the catalogue cannot be carried over: {0}")]
    Change(#[from] ChangeError),
}

/// Why a change of the catalogue is refused. Nothing of it acts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// A field of an item breaks a rule of the bundle.
    #[error(transparent)]
    Item(#[from] FieldError),
    /// The item tower does not take it.
    #[error("item tower: {0}")]
    Towers(#[from] TowersError),
    /// The index does not take its vector.
    #[error("index: {0}")]
    Index(#[from] IndexError),
}
