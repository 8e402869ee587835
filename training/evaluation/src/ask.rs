//! A question, made ready to be put to systems: rows of the catalogue instead of keys.

use endcap_features::{KeyMap, KeySet, UserState};
use endcap_proto::{Item, ItemKey};

use crate::{Question, SeenItems, rank::Wanted};

/// The catalogue that is ranked: keys and rows.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    keys: Vec<ItemKey>,
    rows: KeyMap<ItemKey, u32>,
}

/// A question as systems see it.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// Who, when, and with what history.
    pub question: Question<'a>,
    /// Items of the history, oldest first.
    pub history: Vec<ItemKey>,
    /// What ranks are wanted, and which items are left out.
    pub wanted: Wanted,
    /// The shopper's state, for systems that read it.
    pub state: UserState,
}

// === impl Catalogue ===

impl Catalogue {
    /// In the order of `items`.
    pub fn new(items: &[Item]) -> Self {
        let keys: Vec<ItemKey> = items.iter().map(|item| item.id.key()).collect();
        let rows = keys.iter().zip(0..).map(|(&key, row)| (key, row)).collect();
        Self { keys, rows }
    }

    /// How many items.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is nothing to rank.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, by row.
    pub fn keys(&self) -> &[ItemKey] {
        &self.keys
    }

    /// The row of an item.
    pub fn row(&self, item: ItemKey) -> Option<u32> {
        self.rows.get(&item).copied()
    }

    /// A question, made ready; `None` where it has no target left. Of `only`, where there is one, are the items that
    /// are ranked and asked for.
    pub(crate) fn ask<'a>(
        &self,
        question: Question<'a>,
        seen: SeenItems,
        only: Option<&KeySet<ItemKey>>,
    ) -> Option<Ask<'a>> {
        let history: Vec<ItemKey> = question.history.iter().map(|interaction| interaction.item).collect();
        let masking = seen == SeenItems::Mask;
        let touched: KeySet<ItemKey> =
            if masking { history.iter().copied().collect() } else { KeySet::default() };
        let mut targets: Vec<ItemKey> = Vec::new();
        for target in question.targets {
            let is_wanted = only.is_none_or(|only| only.contains(&target.item));
            if is_wanted && !touched.contains(&target.item) && !targets.contains(&target.item) {
                targets.push(target.item);
            }
        }
        if targets.is_empty() {
            return None;
        }
        let mut masked: Vec<u32> = match only {
            Some(only) => {
                let out = |(key, row): (&ItemKey, u32)| {
                    (!only.contains(key) || touched.contains(key)).then_some(row)
                };
                self.keys.iter().zip(0..).filter_map(out).collect()
            }
            None => touched.iter().filter_map(|&item| self.row(item)).collect(),
        };
        masked.sort_unstable();
        let targets = targets.into_iter().map(|target| self.row(target)).collect();
        Some(Ask { question, history, wanted: Wanted { targets, masked }, state: UserState::default() })
    }
}

impl Ask<'_> {
    /// How many items are ranked.
    pub(crate) fn ranked(&self, catalogue: &Catalogue) -> u32 {
        (catalogue.len() - self.wanted.masked.len()) as u32
    }
}
