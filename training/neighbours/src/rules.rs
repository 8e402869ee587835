//! Next-item rules: what follows what, and how soon.

use std::path::Path;

use endcap_proto::{EventTime, ItemKey};
use serde::{Deserialize, Serialize};

use crate::{
    CountingModel, Interaction, NeighboursError, Unit,
    corpus::Corpus,
    lists::{NeighbourLists, Recency},
};

/// How rules are counted and read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RulesConfig {
    /// What an item and its successor must both be in.
    pub within: Unit,
    /// How many steps apart they may be.
    pub max_steps: usize,
    /// How many successors are kept of each item.
    pub successors: usize,
    /// Whether an item may be its own successor.
    pub repeats: bool,
    /// How many items of a history are read, the newest first.
    pub history_length: u32,
    /// Weight of each against the one after it; 0 reads the newest alone.
    pub history_decay: f32,
}

/// Sequential rules: `weight(a → b) = Σ 1 / steps` over all the times that b came `steps` after a.
///
/// The rules "SR" of Ludewig and Jannach, *Evaluation of session-based recommendation algorithms*
/// (2018); a history is scored by the sum over its newest items, each decayed by its age in steps.
/// Clicking a product, viewing it and buying it in a row is one visit to it, hence one step.
#[derive(Debug, Clone, PartialEq)]
pub struct NextItemRules {
    lists: NeighbourLists,
}

/// Weights are summed as integers of this unit: 1, 1/2 … 1/10 are whole numbers of it.
const WHOLE: u64 = 2520 << 10;

impl Default for RulesConfig {
    fn default() -> Self {
        Self {
            within: Unit::Visitor,
            max_steps: 10,
            successors: 100,
            repeats: true,
            history_length: 10,
            history_decay: 0.5,
        }
    }
}

impl NextItemRules {
    /// Counts the rules of all interactions before `until`.
    ///
    /// Takes time in proportion to interactions × `max_steps`, and 8 bytes an interaction.
    ///
    /// # Errors
    /// When there are more items or interactions than can be numbered.
    pub fn fit<S: AsRef<[Interaction]>>(
        sequences: impl IntoIterator<Item = S>,
        until: EventTime,
        config: &RulesConfig,
    ) -> Result<Self, NeighboursError> {
        Ok(Self::of(&Corpus::read(sequences, until, |_, _| {})?, config))
    }

    pub(crate) fn of(corpus: &Corpus, config: &RulesConfig) -> Self {
        let positions = corpus.positions();
        let recency = Recency::new(config.history_length, config.history_decay);
        let lists = NeighbourLists::fit(
            corpus.items(),
            config.successors,
            recency,
            |row, sums| {
                for &position in positions.get(row as usize) {
                    for steps in 1..=config.max_steps {
                        match corpus.follower(position as usize + steps, config.within) {
                            Some(next) if next == row && !config.repeats => {}
                            Some(next) => sums.add(next, WHOLE / steps as u64),
                            None => break,
                        }
                    }
                }
            },
            |_, _, sum| (sum as f64 / WHOLE as f64) as f32,
        );
        Self { lists }
    }

    /// The successors of one item with their weights, best first.
    pub fn successors(&self, item: ItemKey) -> impl Iterator<Item = (ItemKey, f32)> {
        self.lists.of(item)
    }
}

impl CountingModel for NextItemRules {
    const NAME: &'static str = "next_item_rules";

    fn items(&self) -> usize {
        self.lists.items().len()
    }

    fn score(&self, history: &[ItemKey], k: usize) -> Vec<(ItemKey, f32)> {
        self.lists.score(history, k)
    }

    fn save(&self, path: impl AsRef<Path>) -> Result<(), NeighboursError> {
        self.lists.save(path.as_ref(), Self::NAME)
    }

    fn load(path: impl AsRef<Path>) -> Result<Self, NeighboursError> {
        Ok(Self { lists: NeighbourLists::load(path.as_ref(), Self::NAME)? })
    }
}
