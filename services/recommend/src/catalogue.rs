//! The catalogue as requests see it: the bundle's items, and over them what changed since.
//!
//! A look-up asks the changes first, then the bundle. Readers never wait for writers.

use endcap_features::{ItemAttributes, KeyHasher, KeyMap};
use endcap_neighbours::CountingModels;
use endcap_proto::{Item, ItemId, ItemKey};
use papaya::{HashMap, LocalGuard};

use crate::{FilterExpression, ModelError};

/// An item and what features read of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The item.
    pub item: Item,
    /// What features read of it.
    pub attributes: ItemAttributes,
    /// Its share of all interactions of the training, 0 to 1.
    pub popularity: f32,
    /// The same, with recent interactions counting more.
    pub recent_popularity: f32,
}

/// A change of the catalogue since the bundle was made.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemChange {
    /// Which item.
    pub key: ItemKey,
    /// What it is from now on; `None` when it was deleted.
    pub item: Option<Item>,
    /// The record of the topic `items` that says so; `None` when no topic does.
    pub position: Option<Position>,
}

/// A record's place in the topic `items`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// The record's own offset.
    pub offset: i64,
}

/// The bundle's items under the changes since.
pub(crate) struct Catalogue {
    entries: Vec<Entry>,
    /// Key → row of `entries`.
    rows: KeyMap<ItemKey, u32>,
    /// Rows by key, for listing.
    by_key: Vec<u32>,
    /// `None` marks a deleted item.
    changes: HashMap<ItemKey, Option<Entry>, std::hash::BuildHasherDefault<KeyHasher>>,
}

/// A view that stays valid while it is held. It sees later changes, item by item.
pub(crate) struct Pinned<'m> {
    catalogue: &'m Catalogue,
    guard: LocalGuard<'m>,
    /// Whether there was any change when it was taken.
    changed: bool,
}

// === impl Entry ===

impl Entry {
    pub(crate) fn new(item: Item, counting: &CountingModels) -> Self {
        let attributes = ItemAttributes::of(&item);
        let key = attributes.key;
        let (popularity, recent_popularity) = (counting.popularity.share(key), counting.recent.share(key));
        Self { item, attributes, popularity, recent_popularity }
    }
}

// === impl ItemChange ===

impl ItemChange {
    /// The item is new, or differs.
    pub fn upsert(item: Item, position: Option<Position>) -> Self {
        Self { key: item.id.key(), item: Some(item), position }
    }

    /// The item is gone.
    pub fn delete(id: &ItemId, position: Option<Position>) -> Self {
        Self { key: id.key(), item: None, position }
    }

    /// Whether a change that is known already makes this one out of date: it comes from a later record of the same
    /// partition, or is this very one.
    pub(crate) fn is_stale_beside(&self, known: &Self) -> bool {
        match (self.position, known.position) {
            (Some(own), Some(known)) => own.partition == known.partition && own.offset <= known.offset,
            _ => false,
        }
    }
}

// === impl Catalogue ===

impl Catalogue {
    /// # Errors
    /// When two items have one key.
    pub(crate) fn new(entries: Vec<Entry>) -> Result<Self, ModelError> {
        let mut rows = KeyMap::with_capacity_and_hasher(entries.len(), Default::default());
        for (row, entry) in entries.iter().enumerate() {
            if let Some(first) = rows.insert(entry.attributes.key, row as u32) {
                let first = entries[first as usize].item.id.clone();
                return Err(ModelError::OneKey { first, second: entry.item.id.clone() });
            }
        }
        let mut by_key: Vec<u32> = (0..entries.len() as u32).collect();
        by_key.sort_unstable_by_key(|&row| entries[row as usize].attributes.key);
        Ok(Self { entries, rows, by_key, changes: HashMap::with_hasher(Default::default()) })
    }

    pub(crate) fn pin(&self) -> Pinned<'_> {
        Pinned { catalogue: self, guard: self.changes.guard(), changed: !self.changes.is_empty() }
    }

    /// The bundle's entries, changed or not.
    pub(crate) fn base(&self) -> &[Entry] {
        &self.entries
    }

    /// The bundle's items again, without the changes.
    pub(crate) fn into_items(self) -> Vec<Item> {
        self.entries.into_iter().map(|entry| entry.item).collect()
    }

    pub(crate) fn set(&self, key: ItemKey, entry: Option<Entry>) {
        self.changes.pin().insert(key, entry);
    }

    /// Items that were added, changed or deleted.
    pub(crate) fn changed(&self) -> usize {
        self.changes.len()
    }

    /// The items in the order of their keys, from the first after `after`, at most `limit`.
    pub(crate) fn list(&self, after: Option<ItemKey>, limit: usize) -> Vec<Item> {
        let pinned = self.pin();
        let is_after = |key: ItemKey| after.is_none_or(|after| key > after);
        let mut added: Vec<(ItemKey, &Entry)> = (self.changes.iter(&pinned.guard))
            .filter_map(|(&key, entry)| Some((key, entry.as_ref()?)))
            .filter(|&(key, _)| is_after(key) && !self.rows.contains_key(&key))
            .collect();
        added.sort_unstable_by_key(|&(key, _)| key);
        let first = self.by_key.partition_point(|&row| !is_after(self.entries[row as usize].attributes.key));
        let of_bundle = self.by_key[first..].iter().map(|&row| self.entries[row as usize].attributes.key);
        let mut of_bundle = of_bundle.filter_map(|key| Some((key, pinned.get(key)?))).peekable();
        let mut added = added.into_iter().peekable();
        let mut items = Vec::with_capacity(limit.min(1_000));
        while items.len() < limit {
            let next = match (of_bundle.peek(), added.peek()) {
                (Some((a, _)), Some((b, _))) if b < a => added.next(),
                (Some(_), _) => of_bundle.next(),
                (None, _) => added.next(),
            };
            let Some((_, entry)) = next else { break };
            items.push(entry.item.clone());
        }
        items
    }

    /// As [`list`](Self::list), of the items that a filter selects. `selected` are those of them that did not change, among
    /// others that did; of these each is asked.
    pub(crate) fn list_selected(
        &self,
        selected: impl Iterator<Item = ItemKey>,
        filter: &FilterExpression,
        after: Option<ItemKey>,
        limit: usize,
    ) -> Vec<Item> {
        let pinned = self.pin();
        let is_after = |&key: &ItemKey| after.is_none_or(|after| key > after);
        let unchanged = selected.filter(is_after).filter_map(|key| {
            let row = *self.rows.get(&key).filter(|_| !self.changes.contains_key(&key, &pinned.guard))?;
            Some((key, &self.entries[row as usize]))
        });
        let changed = self.changes.iter(&pinned.guard).filter_map(|(&key, entry)| {
            let entry = entry.as_ref().filter(|entry| is_after(&key) && filter.matches(&entry.item))?;
            Some((key, entry))
        });
        let mut found: Vec<(ItemKey, &Entry)> = unchanged.chain(changed).collect();
        if limit < found.len() {
            found.select_nth_unstable_by_key(limit, |&(key, _)| key);
            found.truncate(limit);
        }
        found.sort_unstable_by_key(|&(key, _)| key);
        found.into_iter().map(|(_, entry)| entry.item.clone()).collect()
    }
}

// === impl Pinned ===

impl<'m> Pinned<'m> {
    /// The item of that key, unless it was deleted.
    pub(crate) fn get(&self, key: ItemKey) -> Option<&Entry> {
        if self.changed
            && let Some(change) = self.catalogue.changes.get(&key, &self.guard)
        {
            return change.as_ref();
        }
        self.catalogue.rows.get(&key).map(|&row| &self.catalogue.entries[row as usize])
    }

    /// The items that were added or changed.
    pub(crate) fn changes(&self) -> impl Iterator<Item = &Entry> {
        self.catalogue.changes.iter(&self.guard).filter_map(|(_, entry)| entry.as_ref())
    }

    /// Every item, the bundle's first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        let changes = self.catalogue.changes.iter(&self.guard);
        let added = changes
            .filter(|(key, _)| !self.catalogue.rows.contains_key(key))
            .filter_map(|(_, entry)| entry.as_ref());
        self.catalogue.entries.iter().filter_map(|entry| self.get(entry.attributes.key)).chain(added)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str) -> Item {
        Item::bare(ItemId::new(id).unwrap())
    }

    fn entry(id: &str) -> Entry {
        let item = item(id);
        Entry { attributes: ItemAttributes::of(&item), item, popularity: 0.0, recent_popularity: 0.0 }
    }

    fn catalogue() -> Catalogue {
        Catalogue::new(["a", "b", "c", "d", "e"].map(entry).to_vec()).unwrap()
    }

    #[test]
    fn changes_hide_what_the_bundle_says() {
        let catalogue = catalogue();
        let mut dear = entry("a");
        dear.item.price = Some(99.0);
        catalogue.set(ItemKey::of("a"), Some(dear.clone()));
        catalogue.set(ItemKey::of("b"), None);
        catalogue.set(ItemKey::of("new"), Some(entry("new")));
        let pinned = catalogue.pin();
        assert_eq!(pinned.get(ItemKey::of("a")), Some(&dear));
        assert_eq!(pinned.get(ItemKey::of("b")), None);
        assert_eq!(pinned.get(ItemKey::of("c")).unwrap().item, item("c"));
        let ids: Vec<_> = pinned.iter().map(|entry| entry.item.id.as_str().to_owned()).collect();
        assert_eq!(ids, ["a", "c", "d", "e", "new"]);
    }

    #[test]
    fn pages_of_a_list_hold_every_item_once() {
        let catalogue = catalogue();
        catalogue.set(ItemKey::of("b"), None);
        for id in ["f", "g", "h"] {
            catalogue.set(ItemKey::of(id), Some(entry(id)));
        }
        for limit in 1..9 {
            let (mut after, mut listed) = (None, Vec::new());
            loop {
                let page = catalogue.list(after, limit);
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.id.key());
                listed.extend(page.into_iter().map(|item| item.id));
            }
            assert!(listed.is_sorted_by_key(ItemId::key));
            listed.sort();
            assert_eq!(
                listed.iter().map(ItemId::as_str).collect::<Vec<_>>(),
                ["a", "c", "d", "e", "f", "g", "h"]
            );
        }
    }

    #[test]
    fn a_record_is_stale_beside_a_later_one_of_its_partition() {
        let change = |partition, offset| ItemChange::upsert(item("a"), Some(Position { partition, offset }));
        assert!(change(0, 5).is_stale_beside(&change(0, 7)));
        assert!(change(0, 7).is_stale_beside(&change(0, 7)));
        assert!(!change(0, 8).is_stale_beside(&change(0, 7)));
        assert!(!change(1, 5).is_stale_beside(&change(0, 7)));
        assert!(!ItemChange::upsert(item("a"), None).is_stale_beside(&change(0, 7)));
    }

    #[test]
    fn two_items_of_one_key_are_refused() {
        assert!(matches!(Catalogue::new(vec![entry("a"), entry("a")]), Err(ModelError::OneKey { .. })));
    }
}
