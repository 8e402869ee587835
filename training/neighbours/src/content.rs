//! Content neighbours: what is described in the words of what was met. The one model here that has something to say of a
//! product that nobody has met yet.

use endcap_features::{ItemFeatures, KeyMap};
use endcap_proto::ItemKey;
use serde::{Deserialize, Serialize};

use crate::lists::best;

/// How a history is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContentConfig {
    /// How many items of a history are read, the newest first.
    pub history_length: usize,
    /// Weight of each against the one after it.
    pub history_decay: f32,
}

/// Items by the cosine of their words, each weighed by its rarity, and those of the history:
/// `score(j) = Σ_{i in history} decay^steps(i) · cos(i, j)`, an item's weights `ln(items / items that have the word)`.
///
/// Lops, de Gemmis and Semeraro, *Content-based recommender systems: state of the art and trends* (2011).
#[derive(Debug, Clone, PartialEq)]
pub struct ContentKnn {
    config: ContentConfig,
    items: Vec<ItemKey>,
    rows: KeyMap<ItemKey, u32>,
    /// Of each item its words with their weights, a unit vector.
    words: Vec<Vec<(u32, f32)>>,
    /// Of each word the items that have it, with the same weights.
    holders: Vec<Vec<(u32, f32)>>,
}

impl Default for ContentConfig {
    fn default() -> Self {
        Self { history_length: 10, history_decay: 0.8 }
    }
}

impl ContentKnn {
    /// Of a catalogue's features; `words`: how many words the vocabulary has.
    pub fn new(features: &[ItemFeatures], words: usize, config: &ContentConfig) -> Self {
        let mut counts = vec![0u32; words];
        features.iter().flat_map(|item| &item.words).for_each(|&word| counts[word as usize] += 1);
        let n = features.len() as f32;
        let unit = |item: &ItemFeatures| {
            let mut weights: Vec<(u32, f32)> =
                item.words.iter().map(|&word| (word, (n / counts[word as usize] as f32).ln())).collect();
            weights.retain(|&(_, weight)| weight > 0.0);
            let length = weights.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
            weights.iter_mut().for_each(|(_, weight)| *weight /= length);
            weights
        };
        let vectors: Vec<Vec<(u32, f32)>> = features.iter().map(unit).collect();
        let mut holders = vec![Vec::new(); words];
        for (vector, row) in vectors.iter().zip(0u32..) {
            vector.iter().for_each(|&(word, weight)| holders[word as usize].push((row, weight)));
        }
        let items: Vec<ItemKey> = features.iter().map(|item| item.key).collect();
        let rows = items.iter().zip(0..).map(|(&item, row)| (item, row)).collect();
        Self { config: config.clone(), items, rows, words: vectors, holders }
    }

    /// The `k` items (fewer, where no more share a word) that go best with a history, oldest first; best first.
    pub fn score(&self, history: &[ItemKey], k: usize) -> Vec<(ItemKey, f32)> {
        let mut scores = vec![0f32; self.items.len()];
        let mut weight = 1.0;
        for item in history.iter().rev().take(self.config.history_length) {
            if let Some(&row) = self.rows.get(item) {
                for &(word, share) in &self.words[row as usize] {
                    for &(other, other_share) in &self.holders[word as usize] {
                        scores[other as usize] += weight * share * other_share;
                    }
                }
            }
            weight *= self.config.history_decay;
        }
        let scored = scores.into_iter().zip(0..).filter(|&(score, _)| score > 0.0);
        let mut scored: Vec<(u32, f32)> = scored.map(|(score, row)| (row, score)).collect();
        best(&mut scored, k, |row| self.items[row as usize]);
        scored.into_iter().map(|(row, score)| (self.items[row as usize], score)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shares_rare_words_goes_before_what_shares_common_ones() {
        let item = |key: u64, words: &[u32]| ItemFeatures {
            key: ItemKey(key),
            id_row: None,
            words: words.to_vec(),
            vector: Vec::new(),
        };
        // Word 0 is on all but one, 1 and 2 are rare.
        let features = [item(1, &[0, 1]), item(2, &[0, 1]), item(3, &[0, 2]), item(4, &[0]), item(5, &[2])];
        let model = ContentKnn::new(&features, 3, &ContentConfig::default());
        let found: Vec<u64> = model.score(&[ItemKey(1)], 10).iter().map(|(item, _)| item.0).collect();
        assert_eq!(found[..2], [1, 2]);
        assert!(found.contains(&3) && found.contains(&4) && !found.contains(&5), "{found:?}");
        // Of one word each, cos(1, 4) is the common word's share of item 1: ln(5/4) / √(ln²(5/4) + ln²(5/2)).
        let score = model.score(&[ItemKey(1)], 10).iter().find(|(item, _)| item.0 == 4).unwrap().1;
        let (common, rare) = ((5.0f32 / 4.0).ln(), (5.0f32 / 2.0).ln());
        assert!((score - common / (common * common + rare * rare).sqrt()).abs() < 1e-6);
        assert!(model.score(&[ItemKey(9)], 10).is_empty() && model.score(&[], 10).is_empty());
    }
}
