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
        let except = &asked.except;
        let allowed = match (asked.only, &asked.filter) {
            ([], None) => Allowed::Except(except),
            ([], Some(filter)) => Allowed::Selected { selection: filter.selection(), except },
            (ids, _) => {
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

    fn propose(&self, view: &View<'_>, asked: &Asked<'_>, limit: usize) -> Proposals {
        let rules = &view.model().counting().rules;
        Ok(selected(view, asked, limit, |limit| rules.score(view.history(), limit)))
    }
}

impl Source for ItemKnn {
    fn kind(&self) -> SourceKind {
        SourceKind::ItemKnn
    }

    fn propose(&self, view: &View<'_>, asked: &Asked<'_>, limit: usize) -> Proposals {
        let neighbours = &view.model().counting().item_knn;
        Ok(selected(view, asked, limit, |limit| neighbours.score(view.history(), limit)))
    }
}

impl Source for RecentPopularity {
    fn kind(&self) -> SourceKind {
        SourceKind::RecentPopularity
    }

    fn propose(&self, view: &View<'_>, asked: &Asked<'_>, limit: usize) -> Proposals {
        let recent = &view.model().counting().recent;
        match &asked.filter {
            None => some(self, recent.score(&[], limit)),
            Some(filter) => Ok(shares(filter.recent(), limit, |key| recent.share(key))),
        }
    }
}

impl Source for Popularity {
    fn kind(&self) -> SourceKind {
        SourceKind::Popularity
    }

    fn propose(&self, view: &View<'_>, asked: &Asked<'_>, limit: usize) -> Proposals {
        let popularity = &view.model().counting().popularity;
        match &asked.filter {
            None => some(self, popularity.score(&[], limit)),
            Some(filter) => Ok(shares(filter.popular(), limit, |key| popularity.share(key))),
        }
    }
}

/// Of a list that a source makes of any length, the first that the filter selects.
fn selected(
    view: &View<'_>,
    asked: &Asked<'_>,
    limit: usize,
    list: impl FnOnce(usize) -> Vec<(ItemKey, f32)>,
) -> Vec<(ItemKey, f32)> {
    let Some(filter) = &asked.filter else { return list(limit) };
    let is_selected = |key| view.entry(key).is_some_and(|entry| filter.expression().matches(&entry.item));
    list(usize::MAX).into_iter().filter(|&(key, _)| is_selected(key)).take(limit).collect()
}

fn shares(keys: &[ItemKey], limit: usize, share: impl Fn(ItemKey) -> f32) -> Vec<(ItemKey, f32)> {
    keys.iter().take(limit).map(|&key| (key, share(key))).collect()
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
