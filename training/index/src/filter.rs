//! A filter, resolved against one state: a bitmap over base rows, and a predicate for what came later.

use std::borrow::Cow;

use crate::Allowed;
use crate::mask::{Mask, all};
use crate::snapshot::State;

/// Up to so many unwanted labels are left out of the answer when it is there; more are taken out of the bitmap.
const FEW_UNWANTED: usize = 256;

/// A filter, resolved against one state.
pub(crate) struct Filter<'a> {
    /// Bits of the base rows that it lets through; all rows where there are none.
    selected: Option<Cow<'a, [u64]>>,
    /// The same rows, ascending, where there is a list of them.
    listed: Option<&'a [u32]>,
    /// Bits of the base rows that are alive.
    alive: Option<&'a [u64]>,
    /// Base rows that may be returned, or somewhat more.
    pub(crate) survivors: usize,
    /// Labels that are not wanted, ascending.
    unwanted: Vec<u64>,
    /// Whether the bitmap does not know that.
    few_unwanted: bool,
    /// What live labels must satisfy.
    predicate: Option<&'a (dyn Fn(u64) -> bool + Send + Sync)>,
}

// === impl Filter ===

impl<'a> Filter<'a> {
    pub(crate) fn resolve(state: &'a State, allowed: &Allowed<'a>) -> Self {
        let rows = state.base.rows.len();
        let (selection, unwanted) = match *allowed {
            Allowed::All | Allowed::Labels(_) => (None, &[][..]),
            Allowed::Except(except) => (None, except),
            Allowed::Selected { selection, except } => (Some(selection), except),
        };
        let mut selected: Option<Cow<'a, [u64]>> = match selection {
            Some(selection) if selection.generation != state.base.generation => {
                let mut words = vec![0; rows.div_ceil(64)];
                for (row, &label) in state.base.rows.labels.iter().enumerate() {
                    words[row / 64] |= u64::from((selection.predicate)(label)) << (row % 64);
                }
                Some(words.into())
            }
            Some(selection) => Some((&*selection.words).into()),
            None => None,
        };
        let mut listed = match selection {
            Some(selection) if selection.generation == state.base.generation => selection.listed.as_deref(),
            _ => None,
        };
        let mut unwanted = unwanted.to_vec();
        unwanted.sort_unstable();
        unwanted.dedup();
        let few_unwanted = unwanted.len() <= FEW_UNWANTED;
        if !few_unwanted {
            listed = None;
            let words = selected.get_or_insert_with(|| all(rows).into()).to_mut();
            for row in unwanted.iter().filter_map(|&label| state.base.row(label)).map(|row| row as usize) {
                words[row / 64] &= !(1 << (row % 64));
            }
        }
        let survivors = selected.as_deref().map_or(rows, |words| match selection {
            Some(selection) if selection.generation == state.base.generation => selection.rows,
            _ => count(words),
        });
        Self {
            selected,
            listed,
            alive: state.alive.words(),
            survivors: survivors.min(rows - state.alive.dead),
            unwanted,
            few_unwanted,
            predicate: selection.map(|selection| &*selection.predicate),
        }
    }

    /// The base rows of a bitmap.
    pub(crate) fn of_words(state: &'a State, words: &'a [u64]) -> Self {
        Self {
            selected: Some(words.into()),
            listed: None,
            alive: state.alive.words(),
            survivors: count(words),
            unwanted: Vec::new(),
            few_unwanted: true,
            predicate: None,
        }
    }

    /// The base rows that may be returned, ascending, where there is a list of them.
    pub(crate) fn listed(&self) -> Option<Cow<'a, [u32]>> {
        let listed = self.listed?;
        let alive = Mask { selected: None, alive: self.alive };
        Some(match self.alive {
            None => listed.into(),
            Some(_) => listed.iter().copied().filter(|&row| alive.has(row as usize)).collect(),
        })
    }

    pub(crate) fn mask(&self) -> Mask<'_> {
        Mask { selected: self.selected.as_deref(), alive: self.alive }
    }

    /// Hits to look for where `k` are asked for: as many more as may turn out not to be wanted.
    pub(crate) fn looked_for(&self, k: usize) -> usize {
        if self.few_unwanted { k + self.unwanted.len() } else { k }
    }

    /// Whether a live label may be returned.
    pub(crate) fn accepts(&self, label: u64) -> bool {
        self.wants(label) && self.predicate.is_none_or(|predicate| predicate(label))
    }

    #[inline]
    pub(crate) fn wants(&self, label: u64) -> bool {
        self.unwanted.is_empty() || self.unwanted.binary_search(&label).is_err()
    }
}

fn count(words: &[u64]) -> usize {
    words.iter().map(|word| word.count_ones() as usize).sum()
}
