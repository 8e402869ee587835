//! What is evaluated, and how each ranks the catalogue.
//!
//! Popularity and towers score every item, so a target's rank is counted; rules, index and funnel give a
//! list, and a target that is not on it has no rank. Masked items are left out by all, in the same way.

use endcap_features::{KeyMap, KeySet};
use endcap_index::Allowed;
use endcap_neighbours::CountingModel;
use endcap_proto::ItemKey;
use endcap_recommend::{Asked, Funnel, Model, RecommendConfig, View};
use endcap_towers::dot_products;

use crate::{EvaluationError, Moment, Rank, rank_of};

/// What ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum System {
    /// All-time counts of the training period.
    Popularity,
    /// Counts decayed by a half-life, at the end of the training period.
    RecentPopularity,
    /// What followed the last items of the history.
    NextItemRules,
    /// What is met by the same visitors as the items of the history.
    ItemKnn,
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
    funnel: Funnel,
    rows: KeyMap<ItemKey, usize>,
    keys: Vec<ItemKey>,
    popularity: Vec<f32>,
    recent: Vec<f32>,
    /// Items × dimensions; an item that the index lacks has zeros.
    vectors: Vec<f32>,
}

// === impl System ===

impl System {
    /// All, baselines first.
    pub const ALL: &[Self] = &[
        Self::Popularity,
        Self::RecentPopularity,
        Self::NextItemRules,
        Self::ItemKnn,
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
            Self::ItemKnn => "item-kNN",
            Self::TowersExact => "towers (exact)",
            Self::TowersIndex => "towers (index)",
            Self::Funnel => "funnel",
        }
    }
}

// === impl Systems ===

impl<'a> Systems<'a> {
    /// How far lists reach: past the largest k of any metric, even where seen items are masked.
    pub const LIST: usize = 500;

    /// Looks up what does not change from case to case.
    pub fn new(model: &'a Model) -> Self {
        let keys: Vec<ItemKey> = model.bundle_items().map(|item| item.id.key()).collect();
        let snapshot = model.index().snapshot();
        let dim = model.towers().dim();
        let mut vectors = vec![0.0; keys.len() * dim];
        for (key, row) in keys.iter().zip(vectors.chunks_exact_mut(dim)) {
            if let Some(vector) = snapshot.vector(key.0) {
                row.copy_from_slice(vector);
            }
        }
        let counting = model.counting();
        Self {
            model,
            funnel: Funnel::new(&RecommendConfig::default()),
            rows: keys.iter().enumerate().map(|(row, &key)| (key, row)).collect(),
            popularity: keys.iter().map(|&key| counting.popularity.share(key)).collect(),
            recent: keys.iter().map(|&key| counting.recent.share(key)).collect(),
            keys,
            vectors,
        }
    }

    /// Whether the item was met in training.
    pub fn is_warm(&self, item: ItemKey) -> bool {
        self.model.counting().popularity.share(item) > 0.0
    }

    /// The model as this moment's shopper sees it; every system ranks by the same one.
    pub fn view<'m>(&'m self, moment: &'m Moment<'_>) -> View<'m> {
        self.model.view(moment.state, moment.as_of)
    }

    /// The rank of each target at the moment that `view` is of.
    ///
    /// # Errors
    /// When a stage fails.
    pub fn rank(
        &self,
        system: System,
        moment: &Moment<'_>,
        view: &View<'_>,
        asked: &Asked<'_>,
        targets: &[ItemKey],
        masked: &KeySet<ItemKey>,
    ) -> Result<Vec<Rank>, EvaluationError> {
        let failed = |reason: String| EvaluationError::System { system: system.name(), reason };
        let user = || view.vector().map_err(|error| failed(error.to_string()));
        let history = || -> Vec<ItemKey> { moment.state.history().iter().map(|entry| entry.item).collect() };
        let counting = self.model.counting();
        let ranks = match system {
            System::Popularity => self.by_scores(&self.popularity, targets, masked),
            System::RecentPopularity => self.by_scores(&self.recent, targets, masked),
            System::NextItemRules => by_list(&counting.rules.score(&history(), Self::LIST), targets, masked),
            System::ItemKnn => by_list(&counting.item_knn.score(&history(), Self::LIST), targets, masked),
            System::TowersExact => {
                let user = user()?;
                let mut scores = vec![0.0; self.keys.len()];
                dot_products(user, &self.vectors, user.len(), &mut scores);
                self.by_scores(&scores, targets, masked)
            }
            System::TowersIndex => {
                let hits = self
                    .model
                    .index()
                    .search(user()?, Self::LIST, &Allowed::All)
                    .map_err(|error| failed(error.to_string()))?;
                let list: Vec<_> = hits.iter().map(|hit| (ItemKey(hit.label), hit.score)).collect();
                by_list(&list, targets, masked)
            }
            System::Funnel => {
                let ranked = self.funnel.rank(view, asked, &|item| moment.counters(item));
                let list: Vec<_> =
                    ranked.rows.iter().map(|row| (row.entry.attributes.key, row.score as f32)).collect();
                by_list(&list, targets, masked)
            }
        };
        Ok(ranks)
    }

    fn by_scores(&self, scores: &[f32], targets: &[ItemKey], masked: &KeySet<ItemKey>) -> Vec<Rank> {
        let rank =
            |target| Some(rank_of(scores, *self.rows.get(target)?, |row| masked.contains(&self.keys[row])));
        targets.iter().map(rank).collect()
    }
}

/// The target's place on a list, best first, ties broken against it.
fn by_list(list: &[(ItemKey, f32)], targets: &[ItemKey], masked: &KeySet<ItemKey>) -> Vec<Rank> {
    let rank = |target: &ItemKey| {
        let (_, bar) = list.iter().find(|(item, _)| item == target)?;
        let outranks =
            |(item, score): &&(ItemKey, f32)| item != target && score >= bar && !masked.contains(item);
        Some(1 + list.iter().filter(outranks).count() as u32)
    };
    targets.iter().map(rank).collect()
}
