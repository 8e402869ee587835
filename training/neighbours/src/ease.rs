//! EASE: a linear model of which items go together, in closed form.

use std::path::Path;

use endcap_features::KeyMap;
use endcap_proto::{EventTime, ItemKey};
use serde::{Deserialize, Serialize};

use crate::{
    CountingModel, Interaction, NeighboursError, Unit,
    corpus::Corpus,
    file::{TensorFile, Tensors},
    inverse::invert,
    lists::best,
};

/// How EASE is fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EaseConfig {
    /// λ: added to the diagonal of the matrix of counts.
    pub regularisation: f32,
    /// Larger catalogues are refused: memory grows with the square of the items, time with the cube.
    pub max_items: usize,
}

/// EASE, Steck, *Embarrassingly shallow autoencoders for sparse data* (2019): with X visitors × items in 0 and 1,
///
/// ```text
/// P = (XᵀX + λI)⁻¹,  B = I − P · diag(1 / diag P),  score of a visitor's row x: x·B
/// ```
///
/// Order and repeats do not matter. Scores may be negative; those above 0 are given.
#[derive(Debug, Clone, PartialEq)]
pub struct Ease {
    items: Vec<ItemKey>,
    rows: KeyMap<ItemKey, u32>,
    /// B, items × items.
    weights: Vec<f32>,
}

impl Default for EaseConfig {
    fn default() -> Self {
        Self { regularisation: 250.0, max_items: 15_000 }
    }
}

impl Ease {
    /// Fits to the interactions before `until`. 4 bytes per pair of items.
    ///
    /// # Errors
    /// When there are more items than the configuration allows.
    pub fn fit<S: AsRef<[Interaction]>>(
        sequences: impl IntoIterator<Item = S>,
        until: EventTime,
        config: &EaseConfig,
    ) -> Result<Self, NeighboursError> {
        let corpus = Corpus::read(sequences, until, |_, _| {})?;
        let n = corpus.items().len();
        if n > config.max_items {
            return Err(NeighboursError::TooManyItems { items: n, most: config.max_items });
        }
        // By key, so that the order of visitors does not matter.
        let mut items = corpus.items().to_vec();
        items.sort_unstable();
        let rows: KeyMap<ItemKey, u32> = items.iter().zip(0..).map(|(&item, row)| (item, row)).collect();
        let row_of: Vec<u32> = corpus.items().iter().map(|item| rows[item]).collect();
        let baskets = corpus.baskets(Unit::Visitor, usize::MAX);
        let mut matrix = vec![0f32; n * n];
        for basket in 0..baskets.len() {
            for &a in baskets.get(basket) {
                let row = &mut matrix[row_of[a as usize] as usize * n..][..n];
                baskets.get(basket).iter().for_each(|&b| row[row_of[b as usize] as usize] += 1.0);
            }
        }
        (0..n).for_each(|i| matrix[i * n + i] += config.regularisation.max(1e-3));
        invert(&mut matrix, n);
        // B(i, j) = −P(i, j) / P(j, j), nothing on the diagonal.
        let diagonal: Vec<f32> = (0..n).map(|i| matrix[i * n + i]).collect();
        for (i, row) in matrix.chunks_exact_mut(n.max(1)).enumerate() {
            row.iter_mut().zip(&diagonal).for_each(|(weight, diagonal)| *weight /= -diagonal);
            row[i] = 0.0;
        }
        Ok(Self { items, rows, weights: matrix })
    }

    /// The weight with which having met `met` speaks for `other`; may be negative.
    pub fn weight(&self, met: ItemKey, other: ItemKey) -> Option<f32> {
        let (met, other) = (*self.rows.get(&met)?, *self.rows.get(&other)?);
        Some(self.weights[met as usize * self.items.len() + other as usize])
    }
}

impl CountingModel for Ease {
    const NAME: &'static str = "ease";

    fn items(&self) -> usize {
        self.items.len()
    }

    fn score(&self, history: &[ItemKey], k: usize) -> Vec<(ItemKey, f32)> {
        let n = self.items.len();
        let mut met: Vec<u32> = history.iter().filter_map(|item| self.rows.get(item).copied()).collect();
        met.sort_unstable();
        met.dedup();
        let mut scores = vec![0f32; n];
        for row in met {
            let weights = &self.weights[row as usize * n..][..n];
            scores.iter_mut().zip(weights).for_each(|(score, weight)| *score += weight);
        }
        let scored = scores.into_iter().zip(0..).filter(|&(score, _)| score > 0.0);
        let mut scored: Vec<(u32, f32)> = scored.map(|(score, row)| (row, score)).collect();
        best(&mut scored, k, |row| self.items[row as usize]);
        scored.into_iter().map(|(row, score)| (self.items[row as usize], score)).collect()
    }

    fn save(&self, path: impl AsRef<Path>) -> Result<(), NeighboursError> {
        Tensors::default()
            .with("items", self.items.iter().map(|item| item.0))
            .with("weights", self.weights.iter().copied())
            .save(path.as_ref(), Self::NAME)
    }

    fn load(path: impl AsRef<Path>) -> Result<Self, NeighboursError> {
        TensorFile::load(path.as_ref(), Self::NAME, |file| {
            let items = file.items()?;
            let weights = file.values::<f32>("weights")?;
            let finite = weights.iter().all(|weight| weight.is_finite());
            if items.len().checked_mul(items.len()) != Some(weights.len()) || !finite {
                return Err(file.broken("tensor weights must be a finite number for each pair of items"));
            }
            let rows = items.iter().zip(0..).map(|(&item, row)| (item, row)).collect();
            Ok(Self { items, rows, weights })
        })
    }
}
