//! What must not be shown: the catalogue's facts, the request's wishes, the shopper's past.

use std::{collections::HashSet, sync::Arc};

use endcap_features::KeySet;
use endcap_proto::{Availability, EventTime, Item, ItemId, ItemKey};

use crate::{
    CompiledFilter, Query, View,
    config::{RulesConfig, ValueConfig},
    stage::{Candidate, Filter, Reason, Removed},
};

/// What a request asks for, as the stages read it.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// How many places there are to fill.
    pub page_size: usize,
    /// Rank these only, when there are any.
    pub only: &'a [ItemId],
    /// What each outcome is worth.
    pub value: ValueConfig,
    /// What the items must be like.
    pub(crate) filter: Option<Arc<CompiledFilter>>,
    /// Labels that the index should not return in the first place: those of `excluded`.
    pub(crate) except: Vec<u64>,
    excluded: KeySet<ItemKey>,
    on_page: KeySet<ItemKey>,
    in_cart: KeySet<ItemKey>,
    /// Nothing else is left: what was bought may be shown again.
    pub(crate) allow_bought: bool,
}

/// Drops what cannot be sold now.
pub(crate) struct Sellable;

/// Drops what the request's filter does not select.
pub(crate) struct Matching;

/// Drops what the request excludes, and what the shopper has before them already.
pub(crate) struct Unwanted;

/// Drops what the shopper bought a short time ago or dismissed.
pub(crate) struct Past(pub(crate) RulesConfig);

/// Keeps of each product the best ranked variant.
pub(crate) struct OnePerGroup;

// === impl Asked ===

impl<'a> Asked<'a> {
    /// What `query` asks for.
    pub fn of(query: &'a Query, value: ValueConfig) -> Self {
        let keys = |ids: &[ItemId]| ids.iter().map(ItemId::key).collect();
        Self {
            except: query.exclude.iter().map(|id| id.key().0).collect(),
            excluded: keys(&query.exclude),
            on_page: keys(&query.context.items),
            in_cart: keys(&query.context.cart),
            ..Self::page(query.page_size, value).with_only(&query.candidates)
        }
    }

    /// Asks for so many items and nothing else.
    pub fn page(page_size: usize, value: ValueConfig) -> Self {
        Self {
            page_size,
            only: &[],
            value,
            filter: None,
            except: Vec::new(),
            excluded: KeySet::default(),
            on_page: KeySet::default(),
            in_cart: KeySet::default(),
            allow_bought: false,
        }
    }

    /// The same, where nothing else is left than what was bought.
    pub(crate) fn allowing_bought(&self) -> Self {
        Self { allow_bought: true, ..self.clone() }
    }

    /// The same, of the items that a filter selects. It must be compiled for the snapshot of the view that is ranked.
    pub fn with_filter(self, filter: Option<Arc<CompiledFilter>>) -> Self {
        Self { filter, ..self }
    }

    /// Asks for a ranking of these only, where there are any.
    pub fn with_only(self, only: &'a [ItemId]) -> Self {
        Self { only, ..self }
    }
}

// === impl Filter ===

impl Filter for Sellable {
    fn filter(&self, view: &View<'_>, _: &Asked<'_>, candidates: &mut Vec<Candidate<'_>>) -> Vec<Removed> {
        take_out(candidates, |candidate| unsellable(&candidate.entry.item, view.user().as_of))
    }
}

impl Filter for Matching {
    fn filter(&self, _: &View<'_>, asked: &Asked<'_>, candidates: &mut Vec<Candidate<'_>>) -> Vec<Removed> {
        let Some(filter) = &asked.filter else { return Vec::new() };
        take_out(candidates, |candidate| {
            (!filter.expression().matches(&candidate.entry.item)).then_some(Reason::Filtered)
        })
    }
}

impl Filter for Unwanted {
    fn filter(&self, _: &View<'_>, asked: &Asked<'_>, candidates: &mut Vec<Candidate<'_>>) -> Vec<Removed> {
        let lists = [
            (&asked.excluded, Reason::Excluded),
            (&asked.on_page, Reason::OnPage),
            (&asked.in_cart, Reason::InCart),
        ];
        let lists: Vec<_> = lists.into_iter().filter(|(list, _)| !list.is_empty()).collect();
        if lists.is_empty() {
            return Vec::new();
        }
        take_out(candidates, |candidate| {
            let key = candidate.key;
            lists.iter().find(|(list, _)| list.contains(&key)).map(|&(_, reason)| reason)
        })
    }
}

impl Filter for Past {
    fn filter(
        &self,
        view: &View<'_>,
        asked: &Asked<'_>,
        candidates: &mut Vec<Candidate<'_>>,
    ) -> Vec<Removed> {
        let within_ms = i64::from(self.0.bought_within_days) * 86_400_000;
        let (state, now) = (view.state(), view.user().as_of);
        take_out(candidates, |candidate| {
            let key = candidate.key;
            let bought = || state.bought_at(key).is_some_and(|time| now.millis_since(time) < within_ms);
            if self.0.dismissed && state.has_dismissed(key) {
                Some(Reason::Dismissed)
            } else if within_ms > 0 && !asked.allow_bought && bought() {
                Some(Reason::Bought)
            } else {
                None
            }
        })
    }
}

impl Filter for OnePerGroup {
    fn filter(&self, _: &View<'_>, _: &Asked<'_>, candidates: &mut Vec<Candidate<'_>>) -> Vec<Removed> {
        let mut shown = HashSet::new();
        take_out(candidates, |candidate| match &candidate.entry.item.group_id {
            Some(group) if !shown.insert(group.as_str()) => Some(Reason::SameGroup),
            _ => None,
        })
    }
}

/// Takes out the candidates for which there is a reason. What stays keeps its order.
fn take_out<'v>(
    candidates: &mut Vec<Candidate<'v>>,
    mut reason: impl FnMut(&Candidate<'v>) -> Option<Reason>,
) -> Vec<Removed> {
    let mut removed = Vec::new();
    candidates.retain(|candidate| match reason(candidate) {
        Some(reason) => {
            removed.push(Removed { item: candidate.key, reason });
            false
        }
        None => true,
    });
    removed
}

fn unsellable(item: &Item, now: EventTime) -> Option<Reason> {
    match item.availability {
        Availability::OutOfStock => Some(Reason::OutOfStock),
        Availability::Discontinued => Some(Reason::Discontinued),
        Availability::InStock | Availability::Preorder => match (item.publish_time, item.expire_time) {
            (Some(publish), _) if now < publish => Some(Reason::NotPublished),
            (_, Some(expire)) if expire <= now => Some(Reason::Expired),
            _ => None,
        },
    }
}
