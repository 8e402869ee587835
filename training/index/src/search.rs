//! How a query goes through a snapshot.
//!
//! query → quantise → resolve the filter to a bitmap over base rows and a predicate over live ones → base, the planned
//! way → live chunks, scanned → f32 re-scoring of all candidates → best first.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::kernels::Scan;
use crate::live::CHUNK;
use crate::rows::{Query, Rows};
use crate::snapshot::{Base, State, all, bits};
use crate::top::{Best, Candidates};
use crate::{Allowed, Hit, IndexError, Way};

/// Rows scored at a time.
const BATCH: usize = 64;

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

/// A query on its way.
struct Search<'a> {
    state: &'a State,
    query: &'a Query,
    filter: &'a Filter<'a>,
    k: usize,
    way: Way,
    /// Rows that could be among the best by their approximate scores: base rows by their number, live rows from
    /// [`Search::live_first`] on, a chunk's worth of numbers for each chunk.
    candidates: Candidates,
    best: Best,
}

impl State {
    pub(crate) fn search(
        &self,
        query: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
        way: Option<Way>,
    ) -> Result<Vec<Hit>, IndexError> {
        let query = Query::new(query, self.base.rows.dim)?;
        Ok(self.answer(&query, k, allowed, &Filter::resolve(self, allowed), way))
    }

    pub(crate) fn search_batch(
        &self,
        queries: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
        way: Option<Way>,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        let dim = self.base.rows.dim;
        let filter = Filter::resolve(self, allowed);
        let answer = |query| Ok(self.answer(&Query::new(query, dim)?, k, allowed, &filter, way));
        queries.par_chunks(dim).map(answer).collect()
    }

    fn answer(
        &self,
        query: &Query,
        k: usize,
        allowed: &Allowed<'_>,
        filter: &Filter<'_>,
        way: Option<Way>,
    ) -> Vec<Hit> {
        let k = k.min(self.len());
        match allowed {
            _ if k == 0 => Vec::new(),
            Allowed::Labels(labels) => self.best_of(query, k, labels),
            _ => {
                let way = way.unwrap_or_else(|| self.plan().way(filter.survivors));
                Search::new(self, query, filter, k, way).run()
            }
        }
    }

    /// The best of a few labels.
    fn best_of(&self, query: &Query, k: usize, labels: &[u64]) -> Vec<Hit> {
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        labels.dedup();
        let mut best = Best::new(k);
        for label in labels {
            if let Some((rows, row)) = self.find(label) {
                best.offer(self.base.kernels.dot(&query.vector, rows.padded(row)), || label);
            }
        }
        best.finish()
    }
}

// === impl Search ===

impl<'a> Search<'a> {
    fn new(state: &'a State, query: &'a Query, filter: &'a Filter<'a>, k: usize, way: Way) -> Self {
        let bounds = state.live.chunks.iter().map(|chunk| chunk.rows.blocks.error_bound(query));
        let bound = bounds.fold(state.base.rows.blocks.error_bound(query), f32::max);
        let candidates = Candidates::new(k, 2.0 * bound);
        Self { state, query, filter, k, way, candidates, best: Best::new(k) }
    }

    fn run(mut self) -> Vec<Hit> {
        self.base();
        self.live();
        self.score_candidates()
    }

    /// Looks through the base, the planned way.
    fn base(&mut self) {
        let Base { rows, codes, graph, kernels, config, .. } = &*self.state.base;
        let mask = self.filter.mask.as_deref();
        match (self.way, graph) {
            (Way::Exhaustive, _) => match mask {
                None => self.offer(rows, 0..rows.len()),
                Some(words) => self.offer(rows, bits(words)),
            },
            (Way::Survivors, _) => {
                let mut score = |batch: &[u32], scores: &mut [f32]| {
                    kernels.code_dots(self.query, codes, batch, scores);
                    for (&row, &score) in batch.iter().zip(&*scores) {
                        if score >= self.candidates.threshold {
                            self.candidates.push(score, row);
                        }
                    }
                };
                match mask {
                    None => in_batches(0..rows.len(), &mut score),
                    Some(words) => in_batches(bits(words), &mut score),
                }
            }
            (Way::Graph, Some(graph)) => {
                let ef = config.graph.search.max(2 * self.k);
                let found = graph.search(self.query, codes, ef, mask, *kernels);
                self.offer(rows, found.into_iter().map(|row| row as usize));
            }
            (Way::Scan | Way::Graph, _) => {
                let scan = Scan { blocks: &rows.blocks, rows: rows.len(), mask, query: self.query, first: 0 };
                kernels.scan(&scan, &mut self.candidates, |_| true);
            }
        }
    }

    /// What the first row of the live segment is called among the candidates.
    fn live_first(&self) -> u32 {
        self.state.base.rows.len().next_multiple_of(CHUNK) as u32
    }

    /// Looks through the live segment.
    fn live(&mut self) {
        let filter = self.filter;
        for (chunk, first) in self.state.live.chunks.iter().zip((self.live_first()..).step_by(CHUNK)) {
            let rows = &chunk.rows;
            let accept = |row: usize| filter.accepts(rows.labels[row]);
            if self.way == Way::Exhaustive {
                self.offer(rows, chunk.alive_rows().filter(|&row| accept(row)));
            } else {
                let (blocks, mask) = (&rows.blocks, Some(&chunk.alive[..]));
                let scan = Scan { blocks, rows: rows.len(), mask, query: self.query, first };
                self.state.base.kernels.scan(&scan, &mut self.candidates, accept);
            }
        }
    }

    /// Gives every candidate its f32 score.
    fn score_candidates(mut self) -> Vec<Hit> {
        let live_first = self.live_first();
        let found = std::mem::replace(&mut self.candidates, Candidates::new(0, 0.0)).finish();
        let (in_base, in_live) = found.split_at(found.partition_point(|&row| row < live_first));
        self.offer(&self.state.base.rows, in_base.iter().map(|&row| row as usize));
        let chunk_of = |row: u32| (row - live_first) as usize / CHUNK;
        for here in in_live.chunk_by(|&a, &b| chunk_of(a) == chunk_of(b)) {
            let rows = &self.state.live.chunks[chunk_of(here[0])].rows;
            self.offer(rows, here.iter().map(|&row| (row - live_first) as usize % CHUNK));
        }
        self.best.finish()
    }

    /// Offers the f32 scores of some rows to the best.
    fn offer(&mut self, rows: &Rows, which: impl Iterator<Item = usize>) {
        in_batches(which, |batch, scores| {
            self.state.base.kernels.dots(&self.query.vector, &rows.vectors, batch, scores);
            for (&row, &score) in batch.iter().zip(&*scores) {
                self.best.offer(score, || rows.labels[row as usize]);
            }
        });
    }
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
