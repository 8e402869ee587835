//! A slate: what is answered.

use std::time::Duration;

use endcap_proto::{EventTime, Item, ItemId, v1};
use uuid::Uuid;

use crate::{
    StageError,
    funnel::FunnelTimes,
    stage::{Reason, SourceKind, SourceSet},
};

/// What is answered.
#[derive(Debug, Clone)]
pub struct Slate {
    /// The slate's own id.
    pub id: Uuid,
    /// Seed of its drawn places: with it the slate can be made again.
    pub seed: u64,
    /// When it was made.
    pub served: EventTime,
    /// The products, in the order of their places.
    pub places: Vec<PlacedItem>,
    /// Sent back with the events that follow.
    pub attribution_token: String,
    /// Ids of the request that the catalogue does not have.
    pub missing: Vec<ItemId>,
    /// Name of the bundle.
    pub bundle_version: String,
    /// The bundle's index and how many items changed since.
    pub index_version: String,
    /// Which stages did not do their part; empty when whole.
    pub degraded: Vec<StageError>,
    /// The client's id of the request, or the slate's.
    pub request_id: String,
    /// Whether explanations were asked for.
    pub explain: bool,
    /// How it came about.
    pub trace: Trace,
}

/// A product on a slate.
#[derive(Debug, Clone)]
pub struct PlacedItem {
    /// Which product.
    pub id: ItemId,
    /// What the slate is sorted by, before exploration.
    pub score: f64,
    /// Probability of click, cart and purchase; NaN where the ranker failed.
    pub probabilities: [f32; 3],
    /// Who proposed it.
    pub sources: SourceSet,
    /// Probability that it got this place, given the places before.
    pub propensity: f64,
    /// Whether the place was drawn.
    pub explored: bool,
    /// What the ranker saw.
    pub features: Vec<f32>,
    /// The catalogue's entry, where it was asked for.
    pub item: Option<Item>,
}

/// How a slate came about: for metrics, not for the client.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// When the features were read.
    pub as_of: EventTime,
    /// Reading the shopper's state.
    pub hydration: Duration,
    /// Features and the user tower.
    pub user_vector: Duration,
    /// Finding the filter in the cache, or compiling it.
    pub filter: Duration,
    /// The funnel.
    pub funnel: FunnelTimes,
    /// Places, response, impression.
    pub finish: Duration,
    /// How many candidates each reason took out.
    pub removed: Vec<(Reason, u32)>,
    /// Whether the impression was lost because its queue was full.
    pub impression_lost: bool,
}

// === impl Slate ===

impl From<Slate> for v1::RecommendResponse {
    fn from(slate: Slate) -> Self {
        let explain = slate.explain;
        let result = |(position, place): (usize, PlacedItem)| v1::Result {
            item_id: place.id.as_str().to_owned(),
            position: position as u32,
            score: place.score,
            objective_scores: objectives(&place.probabilities),
            sources: place.sources.names(),
            promotion: String::new(),
            propensity: place.propensity,
            explanation: if explain { place.explanation() } else { String::new() },
            item: place.item.map(Into::into),
            explored: place.explored,
        };
        Self {
            results: slate.places.into_iter().enumerate().map(result).collect(),
            attribution_token: slate.attribution_token,
            missing_ids: slate.missing.iter().map(|id| id.as_str().to_owned()).collect(),
            served_by: Some(v1::ServedBy {
                bundle_version: slate.bundle_version,
                index_version: slate.index_version,
                experiment_arms: Default::default(),
            }),
            degraded: slate.degraded.iter().map(StageError::to_string).collect(),
            next_page_token: String::new(),
            request_id: slate.request_id,
        }
    }
}

impl PlacedItem {
    /// Why it is there, in a sentence for the shopper.
    fn explanation(&self) -> String {
        let reasons: Vec<_> = self.sources.iter().map(SourceKind::explanation).collect();
        reasons.join("; ")
    }
}

fn objectives(probabilities: &[f32; 3]) -> std::collections::BTreeMap<String, f64> {
    let named = ["click", "cart", "purchase"].into_iter().zip(probabilities);
    let known = named.filter(|(_, probability)| probability.is_finite());
    known.map(|(name, &probability)| (name.to_owned(), f64::from(probability))).collect()
}
