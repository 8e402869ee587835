//! A filter with the items that it selects, and the cache of those.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use endcap_index::{Selection, Snapshot};
use endcap_proto::ItemKey;
use roaring::RoaringBitmap;

use super::{
    FilterExpression,
    table::{Popularity, Tables},
};
use crate::catalogue::Catalogue;

/// How many filters a model keeps compiled. One takes two bits for each item at most.
const KEPT: usize = 256;
/// How many of its most popular items a filter lists.
const LISTED: usize = 1_000;

/// An expression with the items of one generation of the index that it selects.
#[derive(Debug)]
pub struct CompiledFilter {
    expression: FilterExpression,
    selection: Selection,
    rows: RoaringBitmap,
    /// The most popular of them, over all of training and lately.
    popular: Box<[ItemKey]>,
    recent: Box<[ItemKey]>,
}

/// Compiled filters, the ones used last.
#[derive(Default)]
pub(crate) struct Filters {
    tables: Tables,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    filters: HashMap<Arc<str>, (Arc<CompiledFilter>, u64)>,
    /// Counts look-ups: whoever was looked up longest ago makes room.
    now: u64,
}

// === impl CompiledFilter ===

impl CompiledFilter {
    /// The expression.
    pub fn expression(&self) -> &FilterExpression {
        &self.expression
    }

    /// What the index is asked with.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Its most popular items over all of training, best first.
    pub(crate) fn popular(&self) -> &[ItemKey] {
        &self.popular
    }

    /// Its most popular items lately, best first.
    pub(crate) fn recent(&self) -> &[ItemKey] {
        &self.recent
    }

    /// Its items in the base of `snapshot`, which must be of the generation that it was compiled for.
    pub(crate) fn keys<'s>(&'s self, snapshot: &'s Snapshot) -> impl Iterator<Item = ItemKey> + 's {
        let labels = snapshot.base_labels();
        self.rows.iter().filter_map(|row| labels.get(row as usize).copied().map(ItemKey))
    }
}

// === impl Filters ===

impl Filters {
    /// The filter compiled for the snapshot, from the cache where it is there.
    pub(crate) fn get(
        &self,
        snapshot: &Snapshot,
        catalogue: &Arc<Catalogue>,
        expression: &FilterExpression,
    ) -> Arc<CompiledFilter> {
        if let Some(filter) = self.cached(snapshot, expression) {
            return filter;
        }
        let filter = Arc::new(self.compile(snapshot, catalogue, expression));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.put(Arc::clone(&filter));
        filter
    }

    pub(crate) fn cached(
        &self,
        snapshot: &Snapshot,
        expression: &FilterExpression,
    ) -> Option<Arc<CompiledFilter>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(expression.text()).filter(|filter| filter.selection.generation() == snapshot.generation())
    }

    /// The expressions in the cache, whatever they were compiled for.
    pub(crate) fn expressions(&self) -> Vec<FilterExpression> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.filters.values().map(|(filter, _)| filter.expression.clone()).collect()
    }

    pub(crate) fn compile(
        &self,
        snapshot: &Snapshot,
        catalogue: &Arc<Catalogue>,
        expression: &FilterExpression,
    ) -> CompiledFilter {
        let table = self.tables.of(snapshot, catalogue);
        let rows = table.rows(expression.predicate());
        let asked = (Arc::clone(catalogue), expression.clone());
        let selection = Selection::from_rows(snapshot, &rows, move |label| {
            let (catalogue, expression) = &asked;
            catalogue.pin().get(ItemKey(label)).is_some_and(|entry| expression.matches(&entry.item))
        });
        let popular = table.most_popular(Popularity::Overall, &rows, LISTED);
        let recent = table.most_popular(Popularity::Recent, &rows, LISTED);
        CompiledFilter { expression: expression.clone(), selection, rows, popular, recent }
    }
}

// === impl Kept ===

impl Kept {
    fn get(&mut self, text: &str) -> Option<Arc<CompiledFilter>> {
        self.now += 1;
        let (filter, used) = self.filters.get_mut(text)?;
        *used = self.now;
        Some(Arc::clone(filter))
    }

    fn put(&mut self, filter: Arc<CompiledFilter>) {
        if self.filters.len() >= KEPT && !self.filters.contains_key(filter.expression.text()) {
            let oldest =
                self.filters.iter().min_by_key(|(_, (_, used))| *used).map(|(text, _)| Arc::clone(text));
            if let Some(oldest) = oldest {
                self.filters.remove(&oldest);
            }
        }
        self.filters.insert(filter.expression.shared_text(), (filter, self.now));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Model, shop};

    fn filter(text: &str) -> FilterExpression {
        FilterExpression::parse(text, &BTreeMap::new()).unwrap().unwrap()
    }

    fn model(items: usize) -> Model {
        Model::new(shop::parts((0..items).map(shop::item).collect(), "bundle-1", 1)).unwrap()
    }

    #[test]
    fn a_filter_used_again_is_not_compiled_again() {
        let model = model(60);
        let snapshot = model.index().snapshot();
        let first = model.filter(&snapshot, &filter("price < 20"));
        assert!(Arc::ptr_eq(&first, &model.filter(&snapshot, &filter(" price<20 "))), "whatever its spaces");
        assert!(!Arc::ptr_eq(&first, &model.filter(&snapshot, &filter("price < 21"))));
    }

    #[test]
    fn the_filter_used_longest_ago_makes_room() {
        let model = model(30);
        let snapshot = model.index().snapshot();
        let kept = |price: usize| filter(&format!("price < {price}"));
        let first = model.filter(&snapshot, &kept(0));
        for price in 1..KEPT {
            model.filter(&snapshot, &kept(price));
        }
        model.filter(&snapshot, &kept(0));
        model.filter(&snapshot, &kept(KEPT));
        assert!(Arc::ptr_eq(&first, &model.filter(&snapshot, &kept(0))), "it was used");
        assert!(!model.has_filter(&snapshot, &kept(1)));
        assert!(model.has_filter(&snapshot, &kept(2)));
    }
}
