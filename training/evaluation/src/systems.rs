//! What is evaluated, and how each ranks the catalogue.
//!
//! Popularity and towers score every item, so the target's rank is counted; rules, index and funnel give a
//! list, and a target that is not on it has no rank. Masked items are left out by all, in the same way.

use std::collections::{HashMap, HashSet};

use endcap_features::{UserState, features_at};
use endcap_index::Allowed;
use endcap_proto::ItemKey;
use endcap_recommend::Model;

use crate::{Case, EvaluationError, Rank, rank_of};

/// How far lists reach: past the largest k of any metric, even where seen items are masked.
const LIST: usize = 500;

/// What ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum System {
    /// All-time counts of the training period.
    Popularity,
    /// Counts decayed by a half-life, at the end of the training period.
    RecentPopularity,
    /// What followed the last items of the history.
    NextItemRules,
    /// User vector · item vector, every item.
    TowersExact,
    /// The same through the bundle's index.
    TowersIndex,
    /// All sources, ranker and rules, as served, without exploration.
    Funnel,
}

/// A model, made ready to rank by every system.
pub struct Systems<'a> {
    model: &'a Model,
    rows: HashMap<ItemKey, usize>,
    popularity: Vec<f32>,
    recent: Vec<f32>,
    /// Items × dimensions.
    vectors: Vec<f32>,
    keys: Vec<ItemKey>,
}

// === impl System ===

impl System {
    /// All, baselines first.
    pub const ALL: &[Self] = &[
        Self::Popularity,
        Self::RecentPopularity,
        Self::NextItemRules,
        Self::TowersExact,
        Self::TowersIndex,
        Self::Funnel,
    ];

    /// As tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Popularity => "popularity",
            Self::RecentPopularity => "recent popularity",
            Self::NextItemRules => "next-item rules",
            Self::TowersExact => "towers (exact)",
            Self::TowersIndex => "towers (index)",
            Self::Funnel => "funnel",
        }
    }
}
