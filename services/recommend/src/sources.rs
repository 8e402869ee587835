//! Who proposes candidates.

use endcap_index::{Allowed, Retriever};
use endcap_neighbours::CountingModel;
use endcap_proto::ItemKey;

use crate::{
    StageError, View,
    config::SourcesConfig,
    filters::Asked,
    stage::{Source, SourceKind},
};

/// The items nearest to the shopper's vector. A newcomer's vector is that of the average one.
struct Towers;

/// What follows the newest items of the history. Silent without a history.
struct NextItemRules;

/// What goes together with the items of the history. Silent without a history.
struct ItemKnn;

/// What was popular in the last days of training.
struct RecentPopularity;

/// What was popular over all of training.
struct Popularity;

/// The sources that are on, each with how many it may propose.
pub(crate) fn all(config: &SourcesConfig) -> Vec<(Box<dyn Source>, usize)> {
    let sources: [(Box<dyn Source>, usize); 5] = [
        (Box::new(Towers), config.towers),
        (Box::new(NextItemRules), config.next_item_rules),
        (Box::new(ItemKnn), config.item_knn),
        (Box::new(RecentPopularity), config.recent_popularity),
        (Box::new(Popularity), config.popularity),
    ];
    sources.into_iter().filter(|&(_, limit)| limit > 0).collect()
}

type Proposals = Result<Vec<(ItemKey, f32)>, StageError>;

impl Source for Towers {
    fn kind(&self) -> SourceKind {
        SourceKind::Towers
    }

    fn propose(&self, view: &View<'_>, asked: &Asked<'_>, limit: usize) -> Proposals {
        let only: Vec<u64>;
        let allowed = match asked.only {
            [] => Allowed::Except(&asked.except),
            ids => {
                only = ids.iter().map(|id| id.key().0).collect();
                Allowed::Labels(&only)
            }
        };
        let vector = view.vector().map_err(Clone::clone)?;
        let hits = view.index().retrieve(vector, limit, &allowed).map_err(|error| failed(self, &error))?;
        Ok(hits.into_iter().map(|hit| (ItemKey(hit.label), hit.score)).collect())
    }
}

impl Source for NextItemRules {
    fn kind(&self) -> SourceKind {
        SourceKind::NextItemRules
    }

    fn propose(&self, view: &View<'_>, _: &Asked<'_>, limit: usize) -> Proposals {
        Ok(view.model().counting().rules.score(view.history(), limit))
    }
}

impl Source for ItemKnn {
    fn kind(&self) -> SourceKind {
        SourceKind::ItemKnn
    }

    fn propose(&self, view: &View<'_>, _: &Asked<'_>, limit: usize) -> Proposals {
        Ok(view.model().counting().item_knn.score(view.history(), limit))
    }
}

impl Source for RecentPopularity {
    fn kind(&self) -> SourceKind {
        SourceKind::RecentPopularity
    }

    fn propose(&self, view: &View<'_>, _: &Asked<'_>, limit: usize) -> Proposals {
        some(self, view.model().counting().recent.score(&[], limit))
    }
}

impl Source for Popularity {
    fn kind(&self) -> SourceKind {
        SourceKind::Popularity
    }

    fn propose(&self, view: &View<'_>, _: &Asked<'_>, limit: usize) -> Proposals {
        some(self, view.model().counting().popularity.score(&[], limit))
    }
}

/// An empty list of a source that always has one is a failure.
fn some(source: &dyn Source, list: Vec<(ItemKey, f32)>) -> Proposals {
    match list.is_empty() {
        false => Ok(list),
        true => Err(StageError { stage: source.kind().name(), reason: "has nothing to propose".to_owned() }),
    }
}

fn failed(source: &dyn Source, error: &dyn std::fmt::Display) -> StageError {
    StageError { stage: source.kind().name(), reason: error.to_string() }
}
