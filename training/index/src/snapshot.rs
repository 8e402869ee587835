//! One immutable view of an index, and how a query goes through it.
//!
//! query → quantise → resolve the filter to a bitmap over base rows and a predicate over live ones → base, the planned
//! way → live chunks, scanned → f32 re-scoring of all candidates → best first.

use std::borrow::Cow;
use std::sync::Arc;

use rayon::prelude::*;

use crate::graph::Graph;
use crate::kernels::{Kernels, Scan};
use crate::live::{CHUNK, LabelMap, Live};
use crate::rows::{Codes, Query, Rows};
use crate::top::{Best, Candidates};
use crate::{Allowed, Hit, IndexConfig, IndexError, Plan, Retriever, Way};

/// One immutable view of an [`Index`](crate::Index): what every part of one request should look at. Cheap to clone.
#[derive(Clone)]
pub struct Snapshot(pub(crate) Arc<State>);

/// The segments that a snapshot consists of.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) base: Arc<Base>,
    pub(crate) alive: Alive,
    pub(crate) live: Live,
}

/// The base segment: built at once, never changed.
pub(crate) struct Base {
    pub(crate) generation: u64,
    pub(crate) rows: Rows,
    pub(crate) codes: Codes,
    pub(crate) places: LabelMap,
    pub(crate) graph: Option<Graph>,
    pub(crate) config: Arc<IndexConfig>,
    pub(crate) kernels: Kernels,
}

/// Which base rows were not replaced or deleted.
#[derive(Clone, Default)]
pub(crate) struct Alive {
    /// One bit per row; all rows where there is none.
    words: Option<Arc<Vec<u64>>>,
    pub(crate) dead: usize,
}

/// A filter, resolved against one state.
struct Filter<'a> {
    /// Bits of the base rows that may be returned; all rows where there are none.
    mask: Option<Cow<'a, [u64]>>,
    /// Base rows that may be returned, or somewhat more.
    survivors: usize,
    /// Labels that are not wanted, ascending.
    except: Vec<u64>,
    /// What live labels must satisfy.
    predicate: Option<&'a (dyn Fn(u64) -> bool + Send + Sync)>,
}

/// A snapshot that answers one way.
struct OneWay {
    snapshot: Snapshot,
    way: Way,
}

/// Rows scored at a time.
const BATCH: usize = 64;

// === impl Alive ===

impl Alive {
    pub(crate) fn words(&self) -> Option<&[u64]> {
        self.words.as_deref().map(Vec::as_slice)
    }

    fn is_alive(&self, row: usize) -> bool {
        self.words().is_none_or(|words| words[row / 64] >> (row % 64) & 1 == 1)
    }

    pub(crate) fn kill(&mut self, row: usize, rows: usize) {
        let words = Arc::make_mut(self.words.get_or_insert_with(|| Arc::new(all(rows))));
        words[row / 64] &= !(1 << (row % 64));
        self.dead += 1;
    }
}

/// A bitmap of `rows` set bits.
pub(crate) fn all(rows: usize) -> Vec<u64> {
    let mut words = vec![u64::MAX; rows.div_ceil(64)];
    if let (Some(last), used @ 1..) = (words.last_mut(), rows % 64) {
        *last = (1 << used) - 1;
    }
    words
}

/// The set bits of a bitmap, ascending.
pub(crate) fn bits(words: &[u64]) -> Bits<'_> {
    Bits { words, next: 0, rest: 0 }
}

pub(crate) struct Bits<'a> {
    words: &'a [u64],
    /// The word after the present one.
    next: usize,
    /// What is left of the present one.
    rest: u64,
}

impl Iterator for Bits<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.rest == 0 {
            self.rest = *self.words.get(self.next)?;
            self.next += 1;
        }
        let bit = self.rest.trailing_zeros() as usize;
        self.rest &= self.rest - 1;
        Some((self.next - 1) * 64 + bit)
    }
}

// === impl Filter ===

impl<'a> Filter<'a> {
    fn resolve(state: &'a State, allowed: &Allowed<'a>) -> Self {
        let rows = state.base.rows.len();
        let alive = state.alive.words();
        let (selection, except) = match *allowed {
            Allowed::All | Allowed::Labels(_) => (None, &[][..]),
            Allowed::Except(except) => (None, except),
            Allowed::Selected { selection, except } => (Some(selection), except),
        };
        let mut mask = match (selection, alive) {
            (None, alive) => alive.map(Cow::Borrowed),
            (Some(selection), _) if selection.generation != state.base.generation => {
                let mut words = all(rows);
                for (row, &label) in state.base.rows.labels.iter().enumerate() {
                    if !(state.alive.is_alive(row) && (selection.predicate)(label)) {
                        words[row / 64] &= !(1 << (row % 64));
                    }
                }
                Some(Cow::Owned(words))
            }
            (Some(selection), None) => Some(Cow::Borrowed(&*selection.words)),
            (Some(selection), Some(alive)) => {
                Some(selection.words.iter().zip(alive).map(|(selected, alive)| selected & alive).collect())
            }
        };
        for row in except.iter().filter_map(|label| state.base.places.get(label)) {
            let words = mask.get_or_insert_with(|| Cow::Owned(all(rows))).to_mut();
            words[*row as usize / 64] &= !(1 << (row % 64));
        }
        let mut except = except.to_vec();
        except.sort_unstable();
        Self {
            survivors: selection.map_or(rows, |selection| selection.rows).min(rows - state.alive.dead),
            mask,
            except,
            predicate: selection.map(|selection| &*selection.predicate),
        }
    }

    /// Whether a live label may be returned.
    fn accepts(&self, label: u64) -> bool {
        self.except.binary_search(&label).is_err() && self.predicate.is_none_or(|predicate| predicate(label))
    }
}

// === impl State ===

impl State {
    pub(crate) fn len(&self) -> usize {
        self.base.rows.len() - self.alive.dead + self.live.len()
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan {
            items: self.base.rows.len(),
            graph: self.base.graph.is_some(),
            scan_below: self.base.config.scan_below,
        }
    }

    /// The base row of a label, where that is still its place.
    pub(crate) fn base_row(&self, label: u64) -> Option<usize> {
        let row = *self.base.places.get(&label)? as usize;
        self.alive.is_alive(row).then_some(row)
    }

    /// The rows and the row in them that hold the label's vector.
    fn find(&self, label: u64) -> Option<(&Rows, usize)> {
        match self.live.find(label) {
            Some(place) => Some(self.live.at(place)),
            None => Some((&self.base.rows, self.base_row(label)?)),
        }
    }

    fn search(
        &self,
        query: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
        way: Option<Way>,
    ) -> Result<Vec<Hit>, IndexError> {
        let query = Query::new(query, self.base.rows.dim)?;
        Ok(match allowed {
            Allowed::Labels(labels) => self.score(&query, k, labels),
            _ => self.search_filtered(&query, k, &Filter::resolve(self, allowed), way),
        })
    }

    fn search_batch(
        &self,
        queries: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
        way: Option<Way>,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        let dim = self.base.rows.dim;
        let filter = Filter::resolve(self, allowed);
        let answers = queries.par_chunks(dim).map(|query| {
            let query = Query::new(query, dim)?;
            Ok(match allowed {
                Allowed::Labels(labels) => self.score(&query, k, labels),
                _ => self.search_filtered(&query, k, &filter, way),
            })
        });
        answers.collect()
    }

    /// The best of a few labels.
    fn score(&self, query: &Query, k: usize, labels: &[u64]) -> Vec<Hit> {
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        labels.dedup();
        let mut best = Best::new(k.min(labels.len()));
        for label in labels {
            if let Some((rows, row)) = self.find(label) {
                best.offer(self.base.kernels.dot(&query.vector, rows.padded(row)), || label);
            }
        }
        best.finish()
    }

    fn search_filtered(&self, query: &Query, k: usize, filter: &Filter<'_>, way: Option<Way>) -> Vec<Hit> {
        let Base { rows, codes, graph, kernels, config, .. } = &*self.base;
        let k = k.min(self.len());
        if k == 0 {
            return Vec::new();
        }
        let way = way.unwrap_or_else(|| self.plan().way(filter.survivors));
        let mask = filter.mask.as_deref();
        let mut best = Best::new(k);
        let bounds = self.live.chunks.iter().map(|chunk| chunk.rows.blocks.error_bound(query));
        let bound = bounds.fold(rows.blocks.error_bound(query), f32::max);
        let mut candidates = Candidates::new(k, 2.0 * bound);
        match (way, graph) {
            (Way::Exhaustive, _) => match mask {
                None => offer(*kernels, query, rows, 0..rows.len(), &mut best),
                Some(words) => offer(*kernels, query, rows, bits(words), &mut best),
            },
            (Way::Survivors, _) => {
                let mut score = |batch: &[u32], scores: &mut [f32]| {
                    kernels.code_dots(query, codes, batch, scores);
                    for (&row, &score) in batch.iter().zip(&*scores) {
                        if score >= candidates.threshold {
                            candidates.push(score, row);
                        }
                    }
                };
                match mask {
                    None => in_batches(0..rows.len(), &mut score),
                    Some(words) => in_batches(bits(words), &mut score),
                }
            }
            (Way::Graph, Some(graph)) => {
                let ef = config.graph.search.max(2 * k);
                let found = graph.search(query, codes, ef, mask, *kernels);
                offer(*kernels, query, rows, found.into_iter().map(|row| row as usize), &mut best);
            }
            (Way::Scan | Way::Graph, _) => {
                let scan = Scan { blocks: &rows.blocks, rows: rows.len(), mask, query, first: 0 };
                kernels.scan(&scan, &mut candidates, |_| true);
            }
        }

        let live_first = rows.len().next_multiple_of(CHUNK) as u32;
        for (index, chunk) in self.live.chunks.iter().enumerate() {
            let accept = |row: usize| filter.accepts(chunk.rows.labels[row]);
            if way == Way::Exhaustive {
                offer(*kernels, query, &chunk.rows, chunk.alive_rows().filter(|&row| accept(row)), &mut best);
            } else {
                let (blocks, rows) = (&chunk.rows.blocks, chunk.rows.len());
                let first = live_first + (index * CHUNK) as u32;
                let scan = Scan { blocks, rows, mask: Some(&chunk.alive), query, first };
                kernels.scan(&scan, &mut candidates, accept);
            }
        }

        let found = candidates.finish();
        let (in_base, mut in_live) = found.split_at(found.partition_point(|&row| row < live_first));
        offer(*kernels, query, rows, in_base.iter().map(|&row| row as usize), &mut best);
        while let Some(&first) = in_live.first() {
            let index = (first - live_first) as usize / CHUNK;
            let first = live_first + (index * CHUNK) as u32;
            let (here, later) = in_live.split_at(in_live.partition_point(|&row| row - first < CHUNK as u32));
            let here = here.iter().map(|&row| (row - first) as usize);
            offer(*kernels, query, &self.live.chunks[index].rows, here, &mut best);
            in_live = later;
        }
        best.finish()
    }
}

/// Offers the f32 scores of some rows.
fn offer(kernels: Kernels, query: &Query, rows: &Rows, which: impl Iterator<Item = usize>, best: &mut Best) {
    in_batches(which, |batch, scores| {
        kernels.dots(&query.vector, &rows.vectors, batch, scores);
        for (&row, &score) in batch.iter().zip(&*scores) {
            best.offer(score, || rows.labels[row as usize]);
        }
    });
}

/// Hands rows on, [`BATCH`] at a time, with room for their scores.
fn in_batches(mut rows: impl Iterator<Item = usize>, mut score: impl FnMut(&[u32], &mut [f32])) {
    let (mut batch, mut scores) = ([0u32; BATCH], [0.0; BATCH]);
    loop {
        let mut filled = 0;
        for (place, row) in batch.iter_mut().zip(&mut rows) {
            *place = row as u32;
            filled += 1;
        }
        if filled == 0 {
            return;
        }
        score(&batch[..filled], &mut scores[..filled]);
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The label of every base row, in row order, deleted ones included: what a bitmap of a
    /// [`Selection`](crate::Selection) numbers.
    pub fn base_labels(&self) -> &[u64] {
        &self.0.base.rows.labels
    }

    /// Identifies the base segment: another after a compaction, and never the same in two indexes of a process.
    pub fn generation(&self) -> u64 {
        self.0.base.generation
    }

    /// Every label that can be returned, in no order.
    pub fn labels(&self) -> impl Iterator<Item = u64> + '_ {
        let state = &*self.0;
        let base = state.base.rows.labels.iter().enumerate();
        let base = base.filter(|&(row, _)| state.alive.is_alive(row)).map(|(_, &label)| label);
        let live =
            |chunk: &'_ crate::live::Chunk| chunk.alive_rows().map(|row| chunk.rows.labels[row]).collect();
        base.chain(state.live.chunks.iter().flat_map(move |chunk| -> Vec<u64> { live(chunk) }))
    }

    /// Whether the label has a vector.
    pub fn contains(&self, label: u64) -> bool {
        self.0.find(label).is_some()
    }

    /// The label's vector.
    pub fn vector(&self, label: u64) -> Option<&[f32]> {
        self.0.find(label).map(|(rows, row)| rows.vector(row))
    }

    /// How queries go.
    pub fn plan(&self) -> Plan {
        self.0.plan()
    }

    /// This snapshot, answering one way whatever the plan says; where it has no graph, [`Way::Graph`] is a scan.
    pub fn by(&self, way: Way) -> impl Retriever + use<> {
        OneWay { snapshot: self.clone(), way }
    }
}

impl Retriever for Snapshot {
    fn dim(&self) -> usize {
        self.0.base.rows.dim
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn retrieve(&self, query: &[f32], k: usize, allowed: &Allowed<'_>) -> Result<Vec<Hit>, IndexError> {
        self.0.search(query, k, allowed, None)
    }

    fn retrieve_batch(
        &self,
        queries: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        self.0.search_batch(queries, k, allowed, None)
    }
}

impl Retriever for OneWay {
    fn dim(&self) -> usize {
        self.snapshot.dim()
    }

    fn len(&self) -> usize {
        self.snapshot.len()
    }

    fn retrieve(&self, query: &[f32], k: usize, allowed: &Allowed<'_>) -> Result<Vec<Hit>, IndexError> {
        self.snapshot.0.search(query, k, allowed, Some(self.way))
    }

    fn retrieve_batch(
        &self,
        queries: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        self.snapshot.0.search_batch(queries, k, allowed, Some(self.way))
    }
}
