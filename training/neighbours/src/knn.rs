//! Item neighbours: what is met by the same visitors.

use std::path::Path;

use endcap_proto::{EventTime, ItemKey};
use serde::{Deserialize, Serialize};

use crate::{
    CountingModel, Interaction, NeighboursError, Unit,
    corpus::Corpus,
    lists::{NeighbourLists, Recency},
};

/// How neighbours are counted and read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KnnConfig {
    /// What two items must both be in.
    pub within: Unit,
    /// How many interactions of a unit are read, the newest: time grows with its square.
    pub max_interactions: usize,
    /// How many neighbours are kept of each item.
    pub neighbours: usize,
    /// Count a unit of n items as `1 / ln(1 + n)`: of one who met everything, what was met together says little.
    pub discount_long: bool,
    /// Added to the denominator: the larger, the less two items that met by chance are alike.
    pub shrinkage: f32,
    /// How many items of a history are read, the newest first.
    pub history_length: u32,
    /// Weight of each against the one after it; 0 reads the newest alone.
    pub history_decay: f32,
}

/// Item neighbours by cosine: `n(a, b) / (√(n(a) · n(b)) + shrinkage)`, where n counts the visitors
/// (or sessions) that met an item, or both.
///
/// With `discount_long`, a visitor counts in n(a, b) as `1 / ln(1 + items met)` (inverse user frequency: Breese, Heckerman
/// and Kadie, *Empirical analysis of predictive algorithms for collaborative filtering*, 1998).
///
/// Sarwar et al., *Item-based collaborative filtering recommendation algorithms* (2001); shrinkage
/// as in Bell and Koren, *Scalable collaborative filtering with jointly derived neighborhood
/// interpolation weights* (2007).
#[derive(Debug, Clone, PartialEq)]
pub struct ItemKnn {
    lists: NeighbourLists,
}

/// Counts are integers of this unit, so that the order of visitors does not matter.
const WHOLE: u64 = 1 << 20;

fn discounted(items: usize) -> u64 {
    (WHOLE as f64 / (1.0 + items as f64).ln()) as u64
}

impl Default for KnnConfig {
    fn default() -> Self {
        Self {
            within: Unit::Visitor,
            max_interactions: 500,
            neighbours: 100,
            discount_long: false,
            shrinkage: 20.0,
            history_length: 10,
            history_decay: 0.5,
        }
    }
}

impl ItemKnn {
    /// Counts the neighbours of all interactions before `until`.
    ///
    /// Takes time in proportion to the squares of the units' lengths, and 12 bytes an interaction.
    ///
    /// # Errors
    /// When there are more items or interactions than can be numbered.
    pub fn fit<S: AsRef<[Interaction]>>(
        sequences: impl IntoIterator<Item = S>,
        until: EventTime,
        config: &KnnConfig,
    ) -> Result<Self, NeighboursError> {
        Ok(Self::of(&Corpus::read(sequences, until, |_, _| {})?, config))
    }

    pub(crate) fn of(corpus: &Corpus, config: &KnnConfig) -> Self {
        let baskets = corpus.baskets(config.within, config.max_interactions);
        let holders = baskets.inverted(corpus.items().len());
        let met = |row: u32| holders.get(row as usize).len() as f64;
        let recency = Recency::new(config.history_length, config.history_decay);
        let lists = NeighbourLists::fit(
            corpus.items(),
            config.neighbours,
            recency,
            |row, sums| {
                for &basket in holders.get(row as usize) {
                    let basket = baskets.get(basket as usize);
                    let weight = if config.discount_long { discounted(basket.len()) } else { WHOLE };
                    for &other in basket.iter().filter(|&&other| other != row) {
                        sums.add(other, weight);
                    }
                }
            },
            |row, other, both| {
                let both = both as f64 / WHOLE as f64;
                (both / ((met(row) * met(other)).sqrt() + f64::from(config.shrinkage.max(0.0)))) as f32
            },
        );
        Self { lists }
    }

    /// The neighbours of one item with their similarity, best first.
    pub fn neighbours(&self, item: ItemKey) -> impl Iterator<Item = (ItemKey, f32)> {
        self.lists.of(item)
    }
}

impl CountingModel for ItemKnn {
    const NAME: &'static str = "item_knn";

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
