//! For each item the items that go with it best, and how a history is scored by them.

use std::path::Path;

use endcap_features::KeyMap;
use endcap_proto::ItemKey;
use rayon::prelude::*;

use crate::{
    NeighboursError,
    file::{TensorFile, Tensors},
};

/// For each item a short list of items with weights, best first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NeighbourLists {
    items: Vec<ItemKey>,
    rows: KeyMap<ItemKey, u32>,
    /// List `i` is `starts[i]..starts[i + 1]` of the two below.
    starts: Vec<u32>,
    neighbours: Vec<u32>,
    weights: Vec<f32>,
    recency: Recency,
}

/// How much each item of a history weighs: the newest `1`, the one before it `decay`, then
/// `decay²` …, none after the newest `length`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Recency {
    pub(crate) length: u32,
    pub(crate) decay: f32,
}

/// Sums over items, emptied in time proportional to what was added.
#[derive(Debug)]
pub(crate) struct Sums {
    sums: Vec<u64>,
    touched: Vec<u32>,
}

impl Recency {
    /// With a decay held within 0 and 1; 0 for what is no number.
    pub(crate) fn new(length: u32, decay: f32) -> Self {
        Self { length, decay: if decay > 0.0 { decay.min(1.0) } else { 0.0 } }
    }
}

impl Sums {
    fn new(items: usize) -> Self {
        Self { sums: vec![0; items], touched: Vec::new() }
    }

    /// Adds to the sum of an item; `amount` must not be 0.
    pub(crate) fn add(&mut self, row: u32, amount: u64) {
        let sum = &mut self.sums[row as usize];
        if *sum == 0 {
            self.touched.push(row);
        }
        *sum += amount;
    }
}

impl NeighbourLists {
    /// The `most` items with the largest weights for each item, ties to the smaller key. `add` sums
    /// up what goes with an item; `weigh` makes a weight of item, other item and sum. Items are done
    /// in parallel, each on its own, so that threads do not change a result.
    pub(crate) fn fit(
        items: &[ItemKey],
        most: usize,
        recency: Recency,
        add: impl Fn(u32, &mut Sums) + Sync,
        weigh: impl Fn(u32, u32, u64) -> f32 + Sync,
    ) -> Self {
        let fit = |sums: &mut Sums, row: u32| {
            add(row, sums);
            let mut list: Vec<(u32, f32)> = Vec::with_capacity(sums.touched.len());
            for other in sums.touched.drain(..) {
                let sum = std::mem::take(&mut sums.sums[other as usize]);
                let weight = weigh(row, other, sum);
                if weight > 0.0 {
                    list.push((other, weight));
                }
            }
            best(&mut list, most, |row| items[row as usize]);
            list
        };
        let lists: Vec<_> = (0..items.len() as u32)
            .into_par_iter()
            .with_min_len(256)
            .map_init(|| Sums::new(items.len()), fit)
            .collect();
        let mut starts = vec![0];
        let (mut neighbours, mut weights) = (Vec::new(), Vec::new());
        for (row, weight) in lists.iter().map(|list| list.iter().copied().unzip::<_, _, Vec<_>, Vec<_>>()) {
            neighbours.extend(row);
            weights.extend(weight);
            starts.push(neighbours.len() as u32);
        }
        Self::new(items.to_vec(), starts, neighbours, weights, recency)
    }

    fn new(
        items: Vec<ItemKey>,
        starts: Vec<u32>,
        neighbours: Vec<u32>,
        weights: Vec<f32>,
        recency: Recency,
    ) -> Self {
        let rows = items.iter().zip(0..).map(|(&item, row)| (item, row)).collect();
        Self { items, rows, starts, neighbours, weights, recency }
    }

    /// The items.
    pub(crate) fn items(&self) -> &[ItemKey] {
        &self.items
    }

    /// The list of one item, best first.
    pub(crate) fn of(&self, item: ItemKey) -> impl Iterator<Item = (ItemKey, f32)> {
        let list = self.rows.get(&item).map_or(0..0, |&row| self.list(row));
        list.map(|i| (self.items[self.neighbours[i] as usize], self.weights[i]))
    }

    fn list(&self, row: u32) -> std::ops::Range<usize> {
        self.starts[row as usize] as usize..self.starts[row as usize + 1] as usize
    }

    /// The `k` items with the largest sum of weights, ties to the smaller key.
    pub(crate) fn score(&self, history: &[ItemKey], k: usize) -> Vec<(ItemKey, f32)> {
        let mut scored = Vec::<(u32, f32)>::new();
        let mut weight = 1.0;
        for item in history.iter().rev().take(self.recency.length as usize) {
            if weight == 0.0 {
                break;
            }
            if let Some(&row) = self.rows.get(item) {
                scored.extend(self.list(row).map(|i| (self.neighbours[i], weight * self.weights[i])));
            }
            weight *= self.recency.decay;
        }
        // Stable: the addends of an item stay in the order of the history.
        scored.sort_by_key(|&(row, _)| row);
        scored.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        scored.retain(|&(_, score)| score > 0.0);
        best(&mut scored, k, |row| self.items[row as usize]);
        scored.into_iter().map(|(row, score)| (self.items[row as usize], score)).collect()
    }

    pub(crate) fn save(&self, path: &Path, model: &str) -> Result<(), NeighboursError> {
        Tensors::default()
            .with("items", self.items.iter().map(|item| item.0))
            .with("starts", self.starts.iter().copied())
            .with("neighbours", self.neighbours.iter().copied())
            .with("weights", self.weights.iter().copied())
            .with("recency_length", [self.recency.length])
            .with("recency_decay", [self.recency.decay])
            .save(path, model)
    }

    pub(crate) fn load(path: &Path, model: &str) -> Result<Self, NeighboursError> {
        TensorFile::load(path, model, |file| {
            let items = file.items()?;
            let starts = file.values::<u32>("starts")?;
            let neighbours = file.values::<u32>("neighbours")?;
            let weights = file.weights("weights", neighbours.len())?;
            let bounds = (starts.first(), starts.last().map(|&end| end as usize));
            if starts.len() != items.len() + 1
                || bounds != (Some(&0), Some(neighbours.len()))
                || starts.windows(2).any(|pair| pair[0] > pair[1])
            {
                return Err(file.broken("tensor starts must rise from 0 to the number of neighbours"));
            }
            if neighbours.iter().any(|&row| row as usize >= items.len()) {
                return Err(file.broken("tensor neighbours names an item that is not there"));
            }
            let (&[length], &[decay]) =
                (&file.values::<u32>("recency_length")?[..], &file.weights("recency_decay", 1)?[..])
            else {
                return Err(file.broken("tensor recency_length must hold one number"));
            };
            Ok(Self::new(items, starts, neighbours, weights, Recency::new(length, decay)))
        })
    }
}

/// Leaves the `most` with the largest scores, best first, ties to the smaller key.
pub(crate) fn best(scored: &mut Vec<(u32, f32)>, most: usize, key: impl Fn(u32) -> ItemKey) {
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then_with(|| key(a.0).cmp(&key(b.0)));
    if most < scored.len() {
        if most > 0 {
            scored.select_nth_unstable_by(most - 1, order);
        }
        scored.truncate(most);
    }
    scored.sort_unstable_by(order);
}
