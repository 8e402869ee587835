//! From windows to a batch: which items, which rows of the tables, which candidates.

use endcap_features::gap_bucket;
use endcap_neighbours::Interaction;
use endcap_towers::{
    Bags, Batch, BatchParts, Case, Encoder, Entry, Pool, TowersConfig, TowersError, Weights, mix,
    shop_vector, word_weight,
};
use rayon::prelude::*;

use crate::{TrainConfig, TrainingData, windows::Window};

/// Makes batches; holds what does not change between them.
pub(crate) struct Batcher<'a> {
    data: &'a TrainingData,
    config: &'a TrainConfig,
    shape: TowersConfig,
    /// Items met in what may be learnt from: what negatives are drawn from.
    pool: Vec<u32>,
    /// Share of the targets that each item is.
    shares: Vec<f64>,
    popular: Option<Popular>,
    reads: Reads,
    items: Places,
    words: Places,
    drawn: Places,
}

/// What each item reads of the tables, side by side: a batch looks at thousands of them.
struct Reads {
    /// Per item, its row of the table of items, and where its words begin; one more at the end.
    items: Vec<(u32, u32)>,
    words: Vec<u32>,
}

/// Draws items by their number of targets to a power.
struct Popular {
    /// Per item of the pool, the chance of it or one before it.
    cumulative: Vec<f64>,
    /// Per item, its chance.
    chances: Vec<f64>,
}

/// A batch, and which rows of the tables its rows are.
pub(crate) struct Prepared {
    pub(crate) batch: Batch,
    /// Rows of the table of items, then of the table of words, in the order in which the batch reads them.
    pub(crate) item_rows: Vec<u32>,
    pub(crate) word_rows: Vec<u32>,
}

/// Gives each thing that a batch meets a place, in the order of meeting, without clearing between batches.
struct Places {
    /// The batch in which a thing was last met, and its place there.
    met: Vec<(u32, u32)>,
    batch: u32,
    things: Vec<u32>,
}

impl Places {
    fn new(things: usize) -> Self {
        Self { met: vec![(0, 0); things], batch: 0, things: Vec::new() }
    }

    fn clear(&mut self) {
        self.batch += 1;
        self.things.clear();
    }

    fn contains(&self, thing: u32) -> bool {
        self.met[thing as usize].0 == self.batch
    }

    fn place(&mut self, thing: u32) -> u32 {
        if !self.contains(thing) {
            self.met[thing as usize] = (self.batch, self.things.len() as u32);
            self.things.push(thing);
        }
        self.met[thing as usize].1
    }
}

impl<'a> Batcher<'a> {
    /// `counts`: how often each item is met in what may be learnt from; `targets`: how often it is asked for.
    pub(crate) fn new(
        data: &'a TrainingData,
        config: &'a TrainConfig,
        shape: TowersConfig,
        counts: &[u32],
        targets: &[u32],
    ) -> Self {
        let pool: Vec<u32> = (0..counts.len() as u32).filter(|&item| counts[item as usize] > 0).collect();
        let total: f64 = targets.iter().map(|&count| f64::from(count)).sum();
        Self {
            data,
            config,
            shape,
            popular: (config.negatives.popular > 0)
                .then(|| Popular::new(&pool, counts, config.negatives.exponent.into())),
            pool,
            shares: targets.iter().map(|&count| f64::from(count) / total.max(1.0)).collect(),
            reads: Reads::new(data),
            items: Places::new(counts.len()),
            words: Places::new(data.vocabulary().words()),
            drawn: Places::new(counts.len()),
        }
    }

    /// The batch of these windows; `key` decides about negatives and hidden ids. Its rows are still to be
    /// [gathered](Prepared::gather).
    ///
    /// # Errors
    /// When the batch does not fit the shape.
    pub(crate) fn prepare(&mut self, windows: &[Window], key: u64) -> Result<Prepared, TowersError> {
        let mut cases = Vec::new();
        let mut row = 0;
        for window in windows {
            self.ask(window, row, &mut cases);
            row += window.end - window.start + 1;
        }
        // Candidates come first among the batch's items, so cases name them by their places.
        self.items.clear();
        let corrections = self.candidates(&mut cases, key);
        let interactions = self.data.sequences().interactions();
        let mut entries = Vec::with_capacity(row as usize);
        // The mean knows no order, and so no time between.
        let is_timed = self.shape.encoder != Encoder::MeanPool;
        for window in windows {
            for i in window.start..window.end {
                let interaction = &interactions[i as usize];
                let next =
                    interactions.get(i as usize + 1).filter(|_| is_timed && i + 1 < window.targets_end);
                let gap = next.map_or(0, |next| gap_bucket(next.time.millis_since(interaction.time)));
                let item = self.items.place(self.data.items()[i as usize]);
                entries.push(Entry { item, event_type: interaction.event_type as u8, gap });
            }
        }
        let pool = if self.data.is_ordered() { Pool::Prefix } else { Pool::Others };
        let (bags, shop_vectors, item_rows, word_rows) = self.read_items(key);
        let parts = BatchParts {
            items: bags,
            shop_vectors,
            lengths: windows.iter().map(|window| window.end - window.start).collect(),
            entries,
            cases,
            corrections,
            pool,
        };
        Ok(Prepared { batch: Batch::new(parts, &self.shape)?, item_rows, word_rows })
    }

    /// The cases of a window whose first row is `row`; their targets are items of the data.
    fn ask(&self, window: &Window, row: u32, cases: &mut Vec<Case>) {
        let interactions = self.data.sequences().interactions();
        let mut case = |row: u32, target: u32| {
            let Interaction { event_type, .. } = interactions[target as usize];
            let weight = self.config.weight(event_type);
            if weight > 0.0 {
                cases.push(Case { row, target: self.data.items()[target as usize], weight });
            }
        };
        if !self.data.is_ordered() && self.shape.encoder == Encoder::MeanPool {
            // Each entry is asked for, given the others.
            (window.start..window.end).for_each(|target| case(row + 1 + target - window.start, target));
            return;
        }
        // Each entry is asked for from the last one before it in time: events of one instant are no
        // history for one another, when serving either.
        let mut seen = window.start;
        let opening = if window.start == window.first { window.start } else { window.start + 1 };
        for target in opening..window.targets_end {
            let time = interactions[target as usize].time;
            while seen < window.end && seen < target && interactions[seen as usize].time < time {
                seen += 1;
            }
            // From the start of a history, the first products are asked for; from the middle, nothing is.
            if seen > window.start || window.start == window.first {
                case(row + seen - window.start, target);
            }
        }
    }

    /// Places the targets, then negatives, first among the items; their corrections.
    fn candidates(&mut self, cases: &mut [Case], key: u64) -> Vec<f32> {
        if self.pool.len() <= self.config.negatives.all_up_to {
            for i in 0..self.pool.len() {
                self.items.place(self.pool[i]);
            }
            for case in cases {
                case.target = self.items.place(case.target);
            }
            return vec![0.0; self.items.things.len()];
        }
        for case in cases.iter_mut() {
            case.target = self.items.place(case.target);
        }
        let negatives = self.config.negatives.uniform.min(self.pool.len());
        let mut number = 0;
        // Drawn without replacement; an item that is a target too is there once.
        self.drawn.clear();
        while self.drawn.things.len() < negatives {
            let item = self.pool[(mix(key.wrapping_add(number)) % self.pool.len() as u64) as usize];
            number += 1;
            self.drawn.place(item);
        }
        for &item in &self.drawn.things {
            self.items.place(item);
        }
        let popular = self.config.negatives.popular;
        if let Some(chances) = &self.popular {
            for number in 0..popular as u64 {
                let place = chances.place(mix(key ^ mix(number ^ 0x9090_9090)));
                self.items.place(self.pool[place]);
            }
        }
        let uniform = negatives as f64 / self.pool.len() as f64;
        let absent = |item: &u32| {
            let item = *item as usize;
            let not_a_target = (cases.len() as f64 * (-self.shares[item]).ln_1p()).exp();
            let not_popular = self
                .popular
                .as_ref()
                .map_or(1.0, |popular_| (popular as f64 * (-popular_.chances[item]).ln_1p()).exp());
            not_a_target * (1.0 - uniform) * not_popular
        };
        self.items.things.iter().map(|item| -(1.0 - absent(item)).ln() as f32).collect()
    }

    /// What the batch's items read of the tables.
    fn read_items(&mut self, key: u64) -> (Bags, Vec<f32>, Vec<u32>, Vec<u32>) {
        let features = self.data.item_features();
        let unknown = self.data.vocabulary().items() as u32;
        let width = self.shape.shop_vector;
        self.words.clear();
        // Ids first: their rows are known once all are; then words.
        let mut item_rows = Vec::with_capacity(self.items.things.len() + 1);
        let mut unknown_place = None;
        let mut ids = Vec::with_capacity(self.items.things.len());
        for &item in &self.items.things {
            let (row, words) = self.reads.item(item);
            let has_content = !words.is_empty() || (width > 0 && !features[item as usize].vector.is_empty());
            let hidden = has_content && {
                let draw = (mix(key ^ mix(u64::from(item) ^ 0x1d)) >> 40) as f32 / (1u64 << 24) as f32;
                draw < self.config.id_dropout
            };
            let row = if hidden { unknown } else { row };
            let known = if row == unknown { unknown_place } else { None };
            let place = known.unwrap_or_else(|| {
                item_rows.push(row);
                item_rows.len() as u32 - 1
            });
            if row == unknown {
                unknown_place = Some(place);
            }
            ids.push(place);
            for &word in words {
                self.words.place(word);
            }
        }
        let word_rows = self.words.things.clone();
        let first_word = item_rows.len() as u32;
        let mut bags = Bags::new(item_rows.len() + word_rows.len());
        let mut shop_vectors = Vec::with_capacity(self.items.things.len() * width);
        for (&item, id) in self.items.things.iter().zip(ids) {
            let (_, words) = self.reads.item(item);
            bags.add(id, 1.0);
            for &word in words {
                bags.add(first_word + self.words.place(word), word_weight(words.len()));
            }
            bags.close();
            if width > 0 {
                let vector = &features[item as usize].vector;
                shop_vectors.extend(shop_vector(vector).chain(std::iter::repeat(0.0)).take(width));
            }
        }
        (bags, shop_vectors, item_rows, word_rows)
    }
}

impl Reads {
    fn new(data: &TrainingData) -> Self {
        let unknown = data.vocabulary().items() as u32;
        let mut words = Vec::new();
        let mut items = Vec::with_capacity(data.item_features().len() + 1);
        for features in data.item_features() {
            items.push((features.id_row.unwrap_or(unknown), words.len() as u32));
            words.extend_from_slice(&features.words);
        }
        items.push((unknown, words.len() as u32));
        Self { items, words }
    }

    /// An item's row of the table of items, and its words.
    fn item(&self, item: u32) -> (u32, &[u32]) {
        let [(row, start), (_, end)] = [self.items[item as usize], self.items[item as usize + 1]];
        (row, &self.words[start as usize..end as usize])
    }
}

impl Popular {
    fn new(pool: &[u32], counts: &[u32], exponent: f64) -> Self {
        let weight = |item: &u32| f64::from(counts[*item as usize]).powf(exponent);
        let total: f64 = pool.iter().map(weight).sum();
        let mut chances = vec![0.0; counts.len()];
        let mut sum = 0.0;
        let cumulative = pool.iter().map(|item| {
            chances[*item as usize] = weight(item) / total;
            sum += weight(item) / total;
            sum
        });
        Self { cumulative: cumulative.collect(), chances }
    }

    /// The place in the pool that 64 random bits choose.
    fn place(&self, bits: u64) -> usize {
        let draw = (bits >> 11) as f64 / (1u64 << 53) as f64;
        self.cumulative.partition_point(|&sum| sum <= draw).min(self.cumulative.len() - 1)
    }
}

impl Prepared {
    /// Copies the rows that the batch reads out of the tables.
    pub(crate) fn gather(&self, weights: &Weights, d: usize, rows: &mut Vec<f32>) {
        rows.resize((self.item_rows.len() + self.word_rows.len()) * d, 0.0);
        let (items, words) = rows.split_at_mut(self.item_rows.len() * d);
        for (out, table, places) in
            [(items, &weights.items, &self.item_rows), (words, &weights.words, &self.word_rows)]
        {
            out.par_chunks_mut(GATHER * d).zip(places.par_chunks(GATHER)).for_each(|(out, places)| {
                for (out, &row) in out.chunks_exact_mut(d).zip(places) {
                    out.copy_from_slice(&table[row as usize * d..][..d]);
                }
            });
        }
    }
}

/// Rows gathered at a time.
const GATHER: usize = 512;

#[cfg(test)]
mod tests;
