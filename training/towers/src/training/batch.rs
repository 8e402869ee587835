//! What one step learns from, and the ways through it that the backward pass takes.

use std::ops::Range;

use crate::{Bags, Encoder, Pool, TowersConfig, TowersError, kernels::softmax::Asked, sequences::Sequences};

/// The parts of a batch, as they are put together. Histories lie one after the other, without padding.
#[derive(Debug, Clone)]
pub struct BatchParts {
    /// The batch's items, each once: what each reads of the rows that are gathered from the tables.
    pub items: Bags,
    /// The shop's own vectors of these items: items × shop_vector, zero where there is none; empty when
    /// the shape has none.
    pub shop_vectors: Vec<f32>,
    /// Entries of each history.
    pub lengths: Vec<u32>,
    /// The histories, oldest entry first.
    pub entries: Vec<Entry>,
    /// What is asked of them, in the order of their rows.
    pub cases: Vec<Case>,
    /// The first items of the batch are candidates in every case, as many as there are numbers here: what is added to a
    /// candidate's score, −ln of its chance to be there. To what a case's own history asks for nothing is added.
    pub corrections: Vec<f32>,
    /// What a row of the mean-pool encoder sees.
    pub pool: Pool,
}

/// One entry of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The item's place in the batch.
    pub item: u32,
    /// Number of the event type.
    pub event_type: u8,
    /// Bucket of the time to the next entry.
    pub gap: u8,
}

/// Which item came next?
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// Where it is asked: the row among all rows of the batch, where every history has one row for its
    /// start and then one for each entry.
    pub row: u32,
    /// The item's place in the batch.
    pub target: u32,
    /// Weight in the loss.
    pub weight: f32,
}

/// A batch whose parts fit each other.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(super) parts: BatchParts,
    pub(super) sequences: Sequences,
    /// Lengths of the sequences: a history's, and one.
    pub(super) lengths: Vec<u32>,
    /// For each gathered row, the items that read it.
    pub(super) readers: Bags,
    /// For each item, what its gradient from the histories is the sum of: rows of what the chunks leave behind.
    pub(super) places: Bags,
    /// How many rows these are.
    pub(super) gradients: usize,
    /// Per case, its target and its share of the loss.
    pub(super) targets: Vec<u32>,
    pub(super) shares: Vec<f32>,
    /// What the histories ask for, by case.
    pub(super) asked: Asked,
    /// Runs of sequences that are worked on at a time, each with its entries and cases.
    pub(super) chunks: Vec<Chunk>,
    /// Runs of chunks whose gradients are summed in one place: a function of the batch alone, so that sums come out
    /// the same on any number of threads.
    pub(super) lanes: Vec<Range<usize>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) sequences: Range<usize>,
    pub(super) rows: Range<usize>,
    pub(super) entries: Range<usize>,
    pub(super) cases: Range<usize>,
    /// Where the gradient of what entered is left: a row for each row; of pooled rows, one for each case and one for
    /// each sequence.
    pub(super) gradients: Range<usize>,
}

/// Rows of a chunk, about: what they are made into on the way stays in a second-level cache.
const CHUNK_ROWS: usize = 256;
/// Cases of a chunk that pools its rows, about, and the most rows that it takes: what the loss adds to the candidates is
/// paid for once a chunk.
const POOLED_CASES: usize = 96;
const POOLED_ROWS: usize = 2048;
/// The most lanes; also the most threads that help.
const LANES: usize = 16;
/// Chunks of a lane at least: each lane has gradients of all candidates, to be cleared and added up.
const LANE_CHUNKS: usize = 2;

impl Batch {
    /// Puts a batch together.
    ///
    /// # Errors
    /// When the parts do not fit each other or the shape.
    pub fn new(parts: BatchParts, config: &TowersConfig) -> Result<Self, TowersError> {
        parts.check(config).map_err(|rule| TowersError::Input { field: "batch".into(), rule })?;
        let lengths: Vec<u32> = parts.lengths.iter().map(|length| length + 1).collect();
        let sequences = Sequences::from_lengths(lengths.iter().map(|&length| length as usize));
        let total: f64 = parts.cases.iter().map(|case| f64::from(case.weight)).sum();
        let pooled = config.encoder == Encoder::MeanPool;
        let chunks = chunks(&sequences, &parts.cases, pooled);
        let gradients = chunks.last().map_or(0, |chunk| chunk.gradients.end);
        let places = if pooled {
            pooled_places(&parts, &sequences, &chunks, item_scale(config))
        } else {
            places(&parts, item_scale(config))
        };
        let count = LANES.min(chunks.len().div_ceil(LANE_CHUNKS));
        let lanes = (0..count).map(|lane| lane * chunks.len() / count..(lane + 1) * chunks.len() / count);
        Ok(Self {
            readers: parts.items.transpose(),
            places: Bags::grouped(gradients, parts.items.len(), &places),
            gradients,
            targets: parts.cases.iter().map(|case| case.target).collect(),
            shares: parts.cases.iter().map(|case| (f64::from(case.weight) / total) as f32).collect(),
            lanes: lanes.collect(),
            asked: asked(&sequences, &parts.cases),
            chunks,
            lengths,
            sequences,
            parts,
        })
    }

    /// Rows that are gathered from the tables for it.
    pub fn rows(&self) -> usize {
        self.parts.items.inputs()
    }

    /// Its parts.
    pub fn parts(&self) -> &BatchParts {
        &self.parts
    }
}

impl BatchParts {
    fn check(&self, config: &TowersConfig) -> Result<(), String> {
        let items = self.items.len();
        let entries: usize = self.lengths.iter().map(|&length| length as usize).sum();
        if entries != self.entries.len() || self.lengths.iter().any(|&n| n as usize > config.length) {
            return Err(format!(
                "has {} entries in histories of {entries} in all, at most {} each",
                self.entries.len(),
                config.length
            ));
        }
        if let Some(entry) = self.entries.iter().find(|entry| entry.item as usize >= items) {
            return Err(format!("has {items} items, and an entry of item {}", entry.item));
        }
        if self.corrections.len() > items {
            return Err(format!("has {} candidates of {items} items", self.corrections.len()));
        }
        if self.shop_vectors.len() != items * config.shop_vector {
            return Err(format!("has {} numbers of shop vectors of {items} items", self.shop_vectors.len()));
        }
        let rows = entries + self.lengths.len();
        let mut last = 0;
        for case in &self.cases {
            if case.row as usize >= rows || case.row < last {
                return Err(format!("has a case in row {} of {rows}, after one in row {last}", case.row));
            }
            if case.target as usize >= self.corrections.len() {
                let candidates = self.corrections.len();
                return Err(format!("has a case for candidate {} of {candidates}", case.target));
            }
            last = case.row;
        }
        Ok(())
    }
}

/// An item's unit vector enters the user tower with numbers of size 1.
pub(crate) fn item_scale(config: &TowersConfig) -> f32 {
    (config.dim as f32).sqrt()
}

/// Item by item, the rows that it enters.
fn places(parts: &BatchParts, scale: f32) -> Vec<(u32, u32, f32)> {
    let mut places = Vec::with_capacity(parts.entries.len());
    let (mut entries, mut row) = (parts.entries.iter(), 0);
    for &length in &parts.lengths {
        // The first row is the start.
        places.extend(
            (row + 1..)
                .zip(entries.by_ref().take(length as usize))
                .map(|(row, entry)| (entry.item, row, scale)),
        );
        row += length + 1;
    }
    places
}

/// Item by item, the gradients that those of its rows consist of.
fn pooled_places(
    parts: &BatchParts,
    sequences: &Sequences,
    chunks: &[Chunk],
    scale: f32,
) -> Vec<(u32, u32, f32)> {
    let mut places = Vec::with_capacity(2 * parts.entries.len());
    let mut asked = Vec::new();
    for chunk in chunks {
        let mut entries = &parts.entries[chunk.entries.clone()];
        let mut cases = &parts.cases[chunk.cases.clone()];
        let mut first = chunk.gradients.start;
        let all = first + cases.len();
        for (number, sequence) in chunk.sequences.clone().enumerate() {
            let rows = sequences.rows(sequence);
            let (own, later) = cases.split_at(cases.partition_point(|case| (case.row as usize) < rows.end));
            asked.clear();
            asked.extend(own.iter().map(|case| case.row - rows.start as u32));
            parts.pool.parts(rows.len(), &asked, |row, of, sign| {
                // The first row is the start.
                if let Some(entry) = row.checked_sub(1) {
                    let of = if of < own.len() { first + of } else { all + number };
                    places.push((entries[entry].item, of as u32, sign * scale));
                }
            });
            (first, cases) = (first + own.len(), later);
            entries = &entries[rows.len() - 1..];
        }
    }
    places
}

/// What the histories of cases ask for.
fn asked(sequences: &Sequences, cases: &[Case]) -> Asked {
    let mut asked = Asked::default();
    let mut rest = cases;
    for sequence in 0..sequences.len() {
        let end = sequences.rows(sequence).end;
        let (own, later) = rest.split_at(rest.partition_point(|case| (case.row as usize) < end));
        asked.add_history(own.iter().map(|case| case.target));
        rest = later;
    }
    asked
}

fn chunks(sequences: &Sequences, cases: &[Case], pooled: bool) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let (mut start, mut first_case, mut gradients) = (0, 0, 0);
    for sequence in 0..sequences.len() {
        let rows = sequences.rows(start).start..sequences.rows(sequence).end;
        let next = sequences.rows(sequence).len();
        let full = rows.len() + next / 2 >= CHUNK_ROWS;
        if full || sequence + 1 == sequences.len() {
            let end = first_case + cases[first_case..].partition_point(|case| (case.row as usize) < rows.end);
            let few = end - first_case < POOLED_CASES && rows.len() < POOLED_ROWS;
            if pooled && few && sequence + 1 < sequences.len() {
                continue;
            }
            let left = if pooled { end - first_case + sequence + 1 - start } else { rows.len() };
            chunks.push(Chunk {
                gradients: gradients..gradients + left,
                sequences: start..sequence + 1,
                entries: rows.start - start..rows.end - (sequence + 1),
                cases: first_case..end,
                rows,
            });
            (start, first_case, gradients) = (sequence + 1, end, gradients + left);
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_a_partition() {
        for lengths in [vec![5], vec![1; 5000], vec![51, 3, 400, 1, 1, 900, 20]] {
            let sequences = Sequences::from_lengths(lengths.clone());
            let cases: Vec<Case> = (0..sequences.total() as u32)
                .filter(|row| row % 3 == 0)
                .map(|row| Case { row, target: 0, weight: 1.0 })
                .collect();
            let chunks = chunks(&sequences, &cases, false);
            let joined =
                |range: fn(&Chunk) -> Range<usize>| -> Vec<usize> { chunks.iter().flat_map(range).collect() };
            let all = |n: usize| (0..n).collect::<Vec<_>>();
            assert_eq!(joined(|chunk| chunk.sequences.clone()), all(lengths.len()));
            assert_eq!(joined(|chunk| chunk.rows.clone()), all(sequences.total()));
            assert_eq!(joined(|chunk| chunk.entries.clone()), all(sequences.total() - lengths.len()));
            assert_eq!(joined(|chunk| chunk.cases.clone()), all(cases.len()));
            for chunk in &chunks {
                assert!(
                    cases[chunk.cases.clone()].iter().all(|case| chunk.rows.contains(&(case.row as usize)))
                );
            }
        }
    }

    #[test]
    fn a_case_knows_what_its_own_history_asks_for() {
        let sequences = Sequences::from_lengths([3, 1, 2]);
        let case = |(row, target)| Case { row, target, weight: 1.0 };
        let cases = [(0, 8), (1, 5), (1, 8), (4, 5), (5, 6)].map(case);
        let asked = asked(&sequences, &cases);
        let of = (0..cases.len()).map(|case| asked.of_case(case));
        // The history in the middle asks for nothing.
        assert_eq!(of.collect::<Vec<_>>(), [&[5, 8][..], &[5, 8], &[5, 8], &[5, 6], &[5, 6]]);
    }
}
