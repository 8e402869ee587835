//! What everybody wants, always and lately.

use std::path::Path;

use endcap_features::KeyMap;
use endcap_proto::{EventTime, ItemKey};

use crate::{
    CountingModel, Interaction, NeighboursError,
    corpus::Corpus,
    file::{TensorFile, Tensors},
};

/// Items by their share of all interactions.
#[derive(Debug, Clone, PartialEq)]
pub struct Popularity {
    ranking: Ranking,
}

/// Items by their share of all interactions, each of which weighs `2^(−age / half-life)`.
#[derive(Debug, Clone, PartialEq)]
pub struct RecentPopularity {
    ranking: Ranking,
}

/// Items with their shares, largest first, ties to the smaller key.
#[derive(Debug, Clone, PartialEq)]
struct Ranking {
    items: Vec<ItemKey>,
    shares: Vec<f32>,
    rows: KeyMap<ItemKey, u32>,
}

/// Sums of weights by row of a corpus, as integers of 2⁻³²: the order of the addends does not matter.
#[derive(Debug, Default)]
pub(crate) struct WeightSums(Vec<u128>);

const WHOLE: f64 = (1u64 << 32) as f64;

// === impl Popularity ===

impl Popularity {
    /// Counts all interactions before `until`.
    ///
    /// # Errors
    /// When there are more items or interactions than can be numbered.
    pub fn fit<S: AsRef<[Interaction]>>(
        sequences: impl IntoIterator<Item = S>,
        until: EventTime,
    ) -> Result<Self, NeighboursError> {
        let mut sums = WeightSums::default();
        let corpus = Corpus::read(sequences, until, |row, _| sums.add(row, 1.0))?;
        Ok(Self::of(&corpus, &sums))
    }

    pub(crate) fn of(corpus: &Corpus, sums: &WeightSums) -> Self {
        Self { ranking: Ranking::of(corpus.items(), sums) }
    }

    /// The item's share of all interactions, 0 to 1; 0 for an unknown item.
    pub fn share(&self, item: ItemKey) -> f32 {
        self.ranking.share(item)
    }

    /// All items, the most popular first.
    pub fn items_by_share(&self) -> &[ItemKey] {
        &self.ranking.items
    }
}

impl RecentPopularity {
    /// Counts all interactions before `until`, decayed to that instant.
    ///
    /// # Errors
    /// When there are more items or interactions than can be numbered.
    pub fn fit<S: AsRef<[Interaction]>>(
        sequences: impl IntoIterator<Item = S>,
        until: EventTime,
        half_life_ms: i64,
    ) -> Result<Self, NeighboursError> {
        let mut sums = WeightSums::default();
        let corpus = Corpus::read(sequences, until, |row, interaction| {
            sums.add(row, recent_weight(interaction.time, until, half_life_ms));
        })?;
        Ok(Self::of(&corpus, &sums))
    }

    pub(crate) fn of(corpus: &Corpus, sums: &WeightSums) -> Self {
        Self { ranking: Ranking::of(corpus.items(), sums) }
    }

    /// The item's share of all decayed interactions, 0 to 1; 0 for an unknown item.
    pub fn share(&self, item: ItemKey) -> f32 {
        self.ranking.share(item)
    }

    /// All items, the most popular first.
    pub fn items_by_share(&self) -> &[ItemKey] {
        &self.ranking.items
    }
}

pub(crate) fn recent_weight(time: EventTime, until: EventTime, half_life_ms: i64) -> f64 {
    (-(until.millis_since(time) as f64) / half_life_ms.max(1) as f64).exp2()
}

impl WeightSums {
    pub(crate) fn add(&mut self, row: u32, weight: f64) {
        if row as usize >= self.0.len() {
            self.0.resize(row as usize + 1, 0);
        }
        self.0[row as usize] += (weight * WHOLE) as u128;
    }
}

// === impl Ranking ===

impl Ranking {
    fn of(items: &[ItemKey], sums: &WeightSums) -> Self {
        let total = sums.0.iter().sum::<u128>().max(1) as f64;
        let mut order: Vec<(ItemKey, u128)> = items.iter().copied().zip(sums.0.iter().copied()).collect();
        order.sort_unstable_by_key(|&(item, sum)| (std::cmp::Reverse(sum), item));
        let (items, shares) =
            order.into_iter().map(|(item, sum)| (item, (sum as f64 / total) as f32)).unzip();
        Self::new(items, shares)
    }

    fn new(items: Vec<ItemKey>, shares: Vec<f32>) -> Self {
        let rows = items.iter().zip(0..).map(|(&item, row)| (item, row)).collect();
        Self { items, shares, rows }
    }

    fn share(&self, item: ItemKey) -> f32 {
        self.rows.get(&item).map_or(0.0, |&row| self.shares[row as usize])
    }

    fn top(&self, k: usize) -> Vec<(ItemKey, f32)> {
        self.items.iter().copied().zip(self.shares.iter().copied()).take(k).collect()
    }

    fn save(&self, path: &Path, model: &str) -> Result<(), NeighboursError> {
        Tensors::default()
            .with("items", self.items.iter().map(|item| item.0))
            .with("shares", self.shares.iter().copied())
            .save(path, model)
    }

    fn load(path: &Path, model: &str) -> Result<Self, NeighboursError> {
        TensorFile::load(path, model, |file| {
            let items = file.items()?;
            let shares = file.weights("shares", items.len())?;
            if shares.windows(2).any(|pair| pair[0] < pair[1]) {
                return Err(file.broken("tensor shares must not rise"));
            }
            Ok(Self::new(items, shares))
        })
    }
}

macro_rules! rankings {
    ($($model:ident = $name:literal;)*) => {$(
        impl CountingModel for $model {
            const NAME: &'static str = $name;

            fn items(&self) -> usize {
                self.ranking.items.len()
            }

            /// The history does not matter.
            fn score(&self, _history: &[ItemKey], k: usize) -> Vec<(ItemKey, f32)> {
                self.ranking.top(k)
            }

            fn save(&self, path: impl AsRef<Path>) -> Result<(), NeighboursError> {
                self.ranking.save(path.as_ref(), Self::NAME)
            }

            fn load(path: impl AsRef<Path>) -> Result<Self, NeighboursError> {
                Ok(Self { ranking: Ranking::load(path.as_ref(), Self::NAME)? })
            }
        }
    )*};
}

rankings! {
    Popularity = "popularity";
    RecentPopularity = "recent_popularity";
}
