//! A model: one bundle, and the catalogue's changes since.
//!
//! [`Model`] owns what a request looks things up in. [`View`] is the model as one shopper at one instant sees it:
//! features, taste, user vector, a snapshot of the index. Everything behind a view is pure and synchronous, so that
//! training (rows for the ranker), evaluation and serving run the same code.

use std::sync::Arc;

use endcap_bundle::{Bundle, PartitionOffset};
use endcap_features::{
    KeyHasher, RANK_FEATURES_LEN, Taste, UserFeatures, UserState, Vocabulary, features_at,
};
use endcap_index::{Index, Snapshot};
use endcap_neighbours::CountingModels;
use endcap_proto::{EventTime, EventType, FieldError, Item, ItemKey};
use endcap_towers::{Ranker, Towers, UserInput};

use crate::{
    ChangeError, CompiledFilter, Entry, FilterExpression, ItemChange, ModelError, StageError,
    catalogue::{Catalogue, Pinned},
    expression::Filters,
};

/// What a model is made of. A [`Bundle`] is one; a training run is one before it has a ranker.
pub struct Parts {
    /// Name of the bundle.
    pub version: String,
    /// Item ids and words → rows.
    pub vocabulary: Vocabulary,
    /// The items.
    pub catalogue: Vec<Item>,
    /// The models of retrieval.
    pub towers: Towers,
    /// The model of ranking. Without it candidates are ranked by their places with the sources.
    pub ranker: Option<Ranker>,
    /// The models that count.
    pub counting: CountingModels,
    /// The item tower's vectors, labelled with the items' keys.
    pub index: Index,
    /// Up to where of the topic `items` the catalogue knows.
    pub items_offsets: Vec<PartitionOffset>,
}

/// One bundle, and the catalogue's changes since.
pub struct Model {
    version: String,
    vocabulary: Vocabulary,
    towers: Towers,
    ranker: Option<Ranker>,
    counting: CountingModels,
    index: Index,
    items_offsets: Vec<PartitionOffset>,
    catalogue: Arc<Catalogue>,
    filters: Filters,
    /// Vectors of items that stand in histories and are not in the index: deleted ones, and those of which only
    /// events tell.
    unlisted: papaya::HashMap<ItemKey, Box<[f32]>, std::hash::BuildHasherDefault<KeyHasher>>,
}

/// A model as one shopper sees it at one instant.
pub struct View<'m> {
    model: &'m Model,
    catalogue: Pinned<'m>,
    index: Snapshot,
    state: &'m UserState,
    user: UserFeatures,
    taste: Taste,
    /// The history's items, oldest first.
    history: Vec<ItemKey>,
    vector: Result<Vec<f32>, StageError>,
}

// === impl Parts ===

impl From<Bundle> for Parts {
    fn from(bundle: Bundle) -> Self {
        Self {
            version: bundle.manifest.version.as_str().to_owned(),
            vocabulary: bundle.vocabulary,
            catalogue: bundle.catalogue,
            towers: bundle.towers,
            ranker: Some(bundle.ranker),
            counting: bundle.counting,
            index: bundle.index,
            items_offsets: bundle.manifest.origin.items_offsets,
        }
    }
}

// === impl Model ===

impl Model {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When they do not fit each other.
    pub fn new(parts: impl Into<Parts>) -> Result<Self, ModelError> {
        let Parts { version, vocabulary, catalogue, towers, ranker, counting, index, items_offsets } =
            parts.into();
        if let Some(found) = ranker.as_ref().map(Ranker::features).filter(|&found| found != RANK_FEATURES_LEN)
        {
            return Err(ModelError::RankerFeatures { found, expected: RANK_FEATURES_LEN });
        }
        if index.dim() != towers.dim() {
            return Err(ModelError::Dimension { index: index.dim(), towers: towers.dim() });
        }
        let entries = catalogue.into_iter().map(|item| Entry::new(item, &counting));
        let catalogue = Arc::new(Catalogue::new(entries.collect())?);
        let unlisted = papaya::HashMap::with_hasher(Default::default());
        let filters = Filters::default();
        Ok(Self {
            version,
            vocabulary,
            towers,
            ranker,
            counting,
            index,
            items_offsets,
            catalogue,
            filters,
            unlisted,
        })
    }

    /// Takes it apart again. Changes since are left out.
    pub fn into_parts(self) -> Parts {
        // Compiled filters hold the catalogue too.
        drop(self.filters);
        let catalogue = match Arc::try_unwrap(self.catalogue) {
            Ok(catalogue) => catalogue.into_items(),
            Err(shared) => shared.base().iter().map(|entry| entry.item.clone()).collect(),
        };
        Parts {
            version: self.version,
            vocabulary: self.vocabulary,
            catalogue,
            towers: self.towers,
            ranker: self.ranker,
            counting: self.counting,
            index: self.index,
            items_offsets: self.items_offsets,
        }
    }

    /// Name of the bundle.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The bundle's index and how many items changed since: `20261124T101500Z-1f3a9c02+17`.
    pub fn index_version(&self) -> String {
        format!("{}+{}", self.version, self.catalogue.changed())
    }

    /// Item ids and words → rows.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The models of retrieval.
    pub fn towers(&self) -> &Towers {
        &self.towers
    }

    /// The model of ranking, if there is one.
    pub fn ranker(&self) -> Option<&Ranker> {
        self.ranker.as_ref()
    }

    /// The models that count.
    pub fn counting(&self) -> &CountingModels {
        &self.counting
    }

    /// Every item that was counted in training, the most popular first.
    pub(crate) fn by_popularity(&self) -> &[ItemKey] {
        self.counting.popularity.items_by_share()
    }

    /// The items' vectors.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The bundle's items, without the changes since.
    pub fn bundle_items(&self) -> impl ExactSizeIterator<Item = &Item> {
        self.catalogue.base().iter().map(|entry| &entry.item)
    }

    /// Items that were added, changed or deleted since.
    pub fn changed_items(&self) -> usize {
        self.catalogue.changed()
    }

    /// The filter with the items of `snapshot` that it selects, from the cache where it is there. `snapshot` is one of
    /// this model's [`index`](Self::index).
    pub fn filter(&self, snapshot: &Snapshot, expression: &FilterExpression) -> Arc<CompiledFilter> {
        self.filters.get(snapshot, &self.catalogue, expression)
    }

    /// [`filter`](Self::filter), whatever the cache holds.
    pub fn compile_filter(&self, snapshot: &Snapshot, expression: &FilterExpression) -> CompiledFilter {
        self.filters.compile(snapshot, &self.catalogue, expression)
    }

    /// The filters of late requests.
    pub(crate) fn filters(&self) -> Vec<FilterExpression> {
        self.filters.expressions()
    }

    /// Compiles filters for the index as it is, so that no request has to.
    pub(crate) fn warm(&self, filters: &[FilterExpression]) {
        let snapshot = self.index.snapshot();
        for expression in filters {
            self.filter(&snapshot, expression);
        }
    }

    /// Whether the cache holds the filter for the snapshot.
    #[cfg(test)]
    pub(crate) fn has_filter(&self, snapshot: &Snapshot, expression: &FilterExpression) -> bool {
        self.filters.cached(snapshot, expression).is_some()
    }

    /// The item of that key.
    pub fn item(&self, key: ItemKey) -> Option<Item> {
        self.catalogue.pin().get(key).map(|entry| entry.item.clone())
    }

    /// Items in the order of their keys, from the first after `after`, at most `limit`; those that a filter selects, where
    /// there is one.
    pub fn list(&self, filter: Option<&FilterExpression>, after: Option<ItemKey>, limit: usize) -> Vec<Item> {
        let Some(expression) = filter else { return self.catalogue.list(after, limit) };
        let snapshot = self.index.snapshot();
        let compiled = self.filter(&snapshot, expression);
        self.catalogue.list_selected(compiled.keys(&snapshot), expression, after, limit)
    }

    /// `state` as of `as_of`: features, taste and user vector. See [`features_at`] for what an instant means.
    pub fn view<'m>(&'m self, state: &'m UserState, as_of: EventTime) -> View<'m> {
        let mut view = self.view_without_vector(state, as_of, self.index.snapshot());
        view.vector = self
            .user_vectors(std::slice::from_ref(&view))
            .map_err(|reason| StageError { stage: "user tower", reason });
        view
    }

    /// [`view`](Self::view) of many, with one pass through the user tower.
    pub fn views<'m>(&'m self, shoppers: &[(&'m UserState, EventTime)]) -> Vec<View<'m>> {
        let index = self.index.snapshot();
        let shoppers = shoppers.iter();
        let mut views: Vec<_> =
            shoppers.map(|&(state, as_of)| self.view_without_vector(state, as_of, index.clone())).collect();
        match self.user_vectors(&views) {
            Ok(vectors) => {
                for (view, vector) in views.iter_mut().zip(vectors.chunks_exact(self.towers.dim())) {
                    view.vector = Ok(vector.to_vec());
                }
            }
            Err(reason) => {
                for view in &mut views {
                    view.vector = Err(StageError { stage: "user tower", reason: reason.clone() });
                }
            }
        }
        views
    }

    fn view_without_vector<'m>(
        &'m self,
        state: &'m UserState,
        as_of: EventTime,
        index: Snapshot,
    ) -> View<'m> {
        let catalogue = self.catalogue.pin();
        let user = features_at(state, as_of, self.towers.length());
        let taste = Taste::of(&user, |key| catalogue.get(key).map(|entry| &entry.attributes));
        let history = user.history.iter().map(|entry| entry.item).collect();
        let vector = Ok(Vec::new());
        View { model: self, catalogue, index, state, user, taste, history, vector }
    }

    /// One vector per view, row after row. Items that neither catalogue nor training knows are left out of the
    /// history that the tower reads.
    fn user_vectors(&self, views: &[View<'_>]) -> Result<Vec<f32>, String> {
        let unlisted = self.unlisted.pin();
        for view in views {
            let is_new = |key: &ItemKey| {
                !view.index.contains(key.0)
                    && !unlisted.contains_key(key)
                    && self.vocabulary.item_row(*key).is_some()
            };
            for &key in view.history.iter().filter(|&key| is_new(key)) {
                let vector = self.towers.item_vectors(&[self.vocabulary.bare_features(key)]);
                unlisted.insert(key, vector.map_err(|error| error.to_string())?.into());
            }
        }
        let inputs: Vec<_> = views
            .iter()
            .map(|view| {
                let mut input = TowerInput::default();
                for entry in &view.user.history {
                    let vector = view.index.vector(entry.item.0);
                    if let Some(vector) = vector.or_else(|| unlisted.get(&entry.item).map(|vector| &**vector))
                    {
                        input.items.push(vector);
                        input.event_types.push(entry.event_type);
                        input.gap_buckets.push(entry.gap_bucket);
                    }
                }
                input
            })
            .collect();
        let inputs: Vec<_> = inputs.iter().map(TowerInput::borrow).collect();
        self.towers.user_vectors(&inputs).map_err(|error| error.to_string())
    }

    /// Lets changes act: the next view sees them. All of a kind pass through the item tower at once.
    ///
    /// # Errors
    /// When an item does not fit the bundle; then none of the changes acts.
    pub(crate) fn apply(&self, changes: &[ItemChange]) -> Result<(), ChangeError> {
        let upserts: Vec<&Item> = changes.iter().filter_map(|change| change.item.as_ref()).collect();
        let features: Vec<_> = upserts.iter().map(|item| self.vocabulary.item_features(item)).collect();
        let vectors = self.towers.item_vectors(&features)?;
        let labels: Vec<u64> = upserts.iter().map(|item| item.id.key().0).collect();
        // An entry first, then its vector, and the other way round for a delete: what the index returns, the
        // catalogue has.
        for item in upserts {
            self.catalogue.set(item.id.key(), Some(Entry::new(item.clone(), &self.counting)));
        }
        self.index.upsert_batch(&labels, &vectors)?;
        let deletes: Vec<ItemKey> =
            changes.iter().filter(|change| change.item.is_none()).map(|change| change.key).collect();
        if !deletes.is_empty() {
            let snapshot = self.index.snapshot();
            let unlisted = self.unlisted.pin();
            for &key in &deletes {
                if let Some(vector) = snapshot.vector(key.0) {
                    unlisted.insert(key, vector.into());
                }
            }
            let labels: Vec<u64> = deletes.iter().map(|key| key.0).collect();
            self.index.delete_batch(&labels);
            for key in deletes {
                self.catalogue.set(key, None);
            }
        }
        Ok(())
    }

    /// Checks what an item must be for this bundle.
    ///
    /// # Errors
    /// Names the field.
    pub(crate) fn check(&self, item: &Item) -> Result<(), FieldError> {
        let expected = self.towers.config().shop_vector;
        match item.embedding.len() {
            0 => Ok(()),
            _ if expected == 0 => Ok(()),
            found if found == expected => Ok(()),
            found => Err(FieldError::new(
                "embedding",
                format!("must hold {expected} numbers or none, holds {found}"),
            )),
        }
    }

    /// Whether the bundle's catalogue knows the change already.
    pub(crate) fn knows(&self, change: &ItemChange) -> bool {
        change.position.is_some_and(|position| {
            let mut offsets = self.items_offsets.iter();
            offsets.any(|known| known.partition == position.partition && position.offset < known.offset)
        })
    }
}

#[derive(Default)]
struct TowerInput<'a> {
    items: Vec<&'a [f32]>,
    event_types: Vec<EventType>,
    gap_buckets: Vec<u8>,
}

impl TowerInput<'_> {
    fn borrow(&self) -> UserInput<'_> {
        UserInput { items: &self.items, event_types: &self.event_types, gap_buckets: &self.gap_buckets }
    }
}

// === impl View ===

impl<'m> View<'m> {
    /// The model.
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// What is remembered of the shopper.
    pub fn state(&self) -> &'m UserState {
        self.state
    }

    /// The features of the shopper.
    pub fn user(&self) -> &UserFeatures {
        &self.user
    }

    /// The shopper's taste.
    pub fn taste(&self) -> &Taste {
        &self.taste
    }

    /// The items of the history that features read, oldest first.
    pub fn history(&self) -> &[ItemKey] {
        &self.history
    }

    /// The items' vectors as of this view.
    pub fn index(&self) -> &Snapshot {
        &self.index
    }

    /// The user tower's vector.
    ///
    /// # Errors
    /// When the tower failed.
    pub fn vector(&self) -> Result<&[f32], &StageError> {
        self.vector.as_deref()
    }

    /// The item of that key.
    pub fn entry(&self, key: ItemKey) -> Option<&Entry> {
        self.catalogue.get(key)
    }

    /// Every item of the catalogue.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.catalogue.iter()
    }

    /// The items that were added or changed since the bundle was made.
    pub(crate) fn changed_entries(&self) -> impl Iterator<Item = &Entry> {
        self.catalogue.changes()
    }
}
