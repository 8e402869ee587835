//! How a query goes through a snapshot.
//!
//! query → quantise → resolve the filter to a bitmap over base rows and a predicate over live ones → base, the planned
//! way → live chunks, scanned → f32 re-scoring of all candidates → best first.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::kernels::{Scan, Sink, prefetch};
use crate::live::CHUNK;
use crate::mask::{Mask, all};
use crate::rows::{BLOCK, Query, Rows, USUAL_ERROR, pad};
use crate::snapshot::{Base, State};
use crate::top::{Best, Candidates};
use crate::{Allowed, Answer, Hit, IndexError, Route, Way};

/// Rows scored at a time.
const BATCH: usize = 64;
/// Up to so many unwanted labels are left out of the answer when it is there; more are taken out of the bitmap.
const FEW_UNWANTED: usize = 256;
/// In partitions, rows are scored one by one where a filter lets through fewer than one in this many.
const SPARSE: usize = 7;
/// The bytes of a partition that are asked for while the one before is scanned.
const PREFETCH: usize = 2048;
/// A filter, resolved against one state.
pub(crate) struct Filter<'a> {
    /// Bits of the base rows that it lets through; all rows where there are none.
    selected: Option<Cow<'a, [u64]>>,
    /// Bits of the base rows that are alive.
    alive: Option<&'a [u64]>,
    /// Base rows that may be returned, or somewhat more.
    pub(crate) survivors: usize,
    /// Labels that are not wanted, ascending.
    unwanted: Vec<u64>,
    /// Whether the bitmap knows that.
    few_unwanted: bool,
    /// What live labels must satisfy.
    predicate: Option<&'a (dyn Fn(u64) -> bool + Send + Sync)>,
}

/// A query on its way.
struct Search<'a> {
    state: &'a State,
    query: &'a Query,
    filter: &'a Filter<'a>,
    /// Hits that are looked for: those that were asked for, and as many as may not be wanted.
    k: usize,
    route: Route,
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
        route: Option<Route>,
    ) -> Result<Answer, IndexError> {
        let query = Query::new(query, self.base.rows.dim)?;
        Ok(self.answer(&query, k, allowed, &Filter::resolve(self, allowed), route))
    }

    pub(crate) fn search_batch(
        &self,
        queries: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
        route: Option<Route>,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        let dim = self.base.rows.dim;
        let filter = Filter::resolve(self, allowed);
        let answer = |query| Ok(self.answer(&Query::new(query, dim)?, k, allowed, &filter, route).hits);
        queries.par_chunks(dim).map(answer).collect()
    }

    /// The answer to a query that is known to be finite.
    pub(crate) fn by_route(&self, query: &[f32], k: usize, filter: &Filter<'_>, route: Route) -> Vec<Hit> {
        let query = Query::of_padded(pad(query.into(), self.base.rows.dim));
        Search::new(self, &query, filter, k, route).run(k)
    }

    fn answer(
        &self,
        query: &Query,
        k: usize,
        allowed: &Allowed<'_>,
        filter: &Filter<'_>,
        route: Option<Route>,
    ) -> Answer {
        let k = k.min(self.len());
        let items = self.base.rows.len();
        if let Allowed::Labels(labels) = allowed {
            let hits = self.best_of(query, k, labels);
            return Answer { hits, route: Way::Survivors.into(), survivors: labels.len(), items };
        }
        let route = route.unwrap_or_else(|| self.plan.route(filter.survivors, k));
        let hits = match k {
            0 => Vec::new(),
            _ => Search::new(self, query, filter, k, route).run(k),
        };
        Answer { hits, route, survivors: filter.survivors, items }
    }

    /// The best of a few labels.
    fn best_of(&self, query: &Query, k: usize, labels: &[u64]) -> Vec<Hit> {
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        labels.dedup();
        let mut best = Best::new(k);
        for label in labels {
            if let Some((rows, row)) = self.find(label) {
                best.offer(self.base.kernels.dot(&query.vector, rows.padded(row)), || Some(label));
            }
        }
        best.finish()
    }
}

// === impl Search ===

impl<'a> Search<'a> {
    fn new(state: &'a State, query: &'a Query, filter: &'a Filter<'a>, k: usize, route: Route) -> Self {
        let bounds = state.live.chunks.iter().map(|chunk| chunk.rows.blocks.error_bound(query));
        let bound = bounds.fold(state.base.rows.blocks.error_bound(query), f32::max);
        let error = if route.way == Way::Partitions { USUAL_ERROR * bound } else { bound };
        let looked_for = if filter.few_unwanted { k + filter.unwanted.len() } else { k };
        let candidates = Candidates::new(looked_for, 2.0 * error);
        Self { state, query, filter, k: looked_for, route, candidates, best: Best::new(k) }
    }

    fn run(mut self, k: usize) -> Vec<Hit> {
        debug_assert!(k <= self.k);
        self.base();
        self.live();
        self.score_candidates()
    }

    /// Looks through the base, the planned way.
    fn base(&mut self) {
        let Base { rows, graph, partitions, kernels, .. } = &*self.state.base;
        let mask = self.filter.mask();
        let codes = self.state.base.codes();
        let everything = 0..rows.len();
        match (self.route.way, graph, partitions) {
            (Way::Exhaustive, ..) => self.offer(rows, mask.rows(everything)),
            (Way::Survivors, ..) => {
                let candidates = &mut self.candidates;
                in_batches(mask.rows(everything), |batch, scores| {
                    kernels.code_dots(self.query, codes, batch, scores);
                    candidates.push_all(scores, batch);
                });
            }
            (Way::Graph, Some(graph), _) => {
                let ef = self.route.effort.max(self.k);
                let found = graph.search(self.query, codes, ef, mask, *kernels);
                self.offer(rows, found.into_iter().map(|row| row as usize));
            }
            (Way::Partitions, _, Some(partitions)) => {
                let sparse = self.filter.survivors.saturating_mul(SPARSE) < rows.len();
                let candidates = &mut self.candidates;
                let width = rows.width;
                let reach = self.route.effort as f32 / 100.0;
                partitions.visit(self.query, reach, *kernels, |partition, next| {
                    let range = partitions.rows(partition);
                    if sparse {
                        in_batches(mask.rows(range), |batch, scores| {
                            kernels.code_dots(self.query, codes, batch, scores);
                            candidates.push_all(scores, batch);
                        });
                        return candidates.kth();
                    }
                    if let Some(next) = next.map(|next| partitions.rows(next)) {
                        let block = next.start / BLOCK * BLOCK * width;
                        let bytes = (next.len() * width).min(PREFETCH);
                        prefetch(rows.blocks.codes.get(block..block + bytes).unwrap_or_default());
                    }
                    let scan = Scan { blocks: &rows.blocks, rows: range, mask, query: self.query };
                    kernels.scan(&scan, &mut Offer { candidates, first: 0, accept: |_| true });
                    candidates.kth()
                });
            }
            (Way::Scan | Way::Graph | Way::Partitions, ..) => {
                let scan = Scan { blocks: &rows.blocks, rows: everything, mask, query: self.query };
                let candidates = &mut self.candidates;
                kernels.scan(&scan, &mut Offer { candidates, first: 0, accept: |_| true });
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
            if self.route.way == Way::Exhaustive {
                self.offer(rows, chunk.alive_rows().filter(|&row| accept(row)));
            } else {
                let mask = Mask { selected: None, alive: Some(&chunk.alive) };
                let scan = Scan { blocks: &rows.blocks, rows: 0..rows.len(), mask, query: self.query };
                let candidates = &mut self.candidates;
                self.state.base.kernels.scan(&scan, &mut Offer { candidates, first, accept });
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
        let (labels, vectors) = (&*rows.labels, &*rows.vectors);
        in_batches(which, |batch, scores| {
            self.state.base.kernels.dots(&self.query.vector, vectors, batch, scores);
            for (&row, &score) in batch.iter().zip(&*scores) {
                self.best.offer(score, || {
                    let label = labels[row as usize];
                    self.filter.wants(label).then_some(label)
                });
            }
        });
    }
}

/// Pushes the rows that reach the threshold to the candidates.
struct Offer<'a, F> {
    candidates: &'a mut Candidates,
    /// What row 0 is called there.
    first: u32,
    accept: F,
}

impl<F: Fn(usize) -> bool> Sink for Offer<'_, F> {
    #[inline(always)]
    fn threshold(&self) -> f32 {
        self.candidates.threshold
    }

    #[inline(always)]
    fn take(&mut self, first: usize, mut counting: u16, scores: &[f32; BLOCK]) {
        while counting != 0 {
            let lane = counting.trailing_zeros() as usize;
            counting &= counting - 1;
            if (self.accept)(first + lane) {
                self.candidates.push(scores[lane], self.first + (first + lane) as u32);
            }
        }
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
        let (selection, unwanted) = match *allowed {
            Allowed::All | Allowed::Labels(_) => (None, &[][..]),
            Allowed::Except(except) => (None, except),
            Allowed::Selected { selection, except } => (Some(selection), except),
        };
        let mut selected: Option<Cow<'a, [u64]>> = match selection {
            Some(selection) if selection.generation != state.base.generation => {
                let mut words = vec![0; rows.div_ceil(64)];
                for (row, &label) in state.base.rows.labels.iter().enumerate() {
                    words[row / 64] |= u64::from((selection.predicate)(label)) << (row % 64);
                }
                Some(words.into())
            }
            Some(selection) => Some((&*selection.words).into()),
            None => None,
        };
        let mut unwanted = unwanted.to_vec();
        unwanted.sort_unstable();
        unwanted.dedup();
        let few_unwanted = unwanted.len() <= FEW_UNWANTED;
        if !few_unwanted {
            let words = selected.get_or_insert_with(|| all(rows).into()).to_mut();
            for row in unwanted.iter().filter_map(|&label| state.base.row(label)).map(|row| row as usize) {
                words[row / 64] &= !(1 << (row % 64));
            }
        }
        let survivors = selected.as_deref().map_or(rows, |words| match selection {
            Some(selection) if selection.generation == state.base.generation => selection.rows,
            _ => count(words),
        });
        Self {
            selected,
            alive: state.alive.words(),
            survivors: survivors.min(rows - state.alive.dead),
            unwanted,
            few_unwanted,
            predicate: selection.map(|selection| &*selection.predicate),
        }
    }

    /// The base rows of a bitmap.
    pub(crate) fn of_words(state: &'a State, words: &'a [u64]) -> Self {
        Self {
            selected: Some(words.into()),
            alive: state.alive.words(),
            survivors: count(words),
            unwanted: Vec::new(),
            few_unwanted: true,
            predicate: None,
        }
    }

    fn mask(&self) -> Mask<'_> {
        Mask { selected: self.selected.as_deref(), alive: self.alive }
    }

    /// Whether a live label may be returned.
    fn accepts(&self, label: u64) -> bool {
        self.wants(label) && self.predicate.is_none_or(|predicate| predicate(label))
    }

    #[inline]
    fn wants(&self, label: u64) -> bool {
        self.unwanted.is_empty() || self.unwanted.binary_search(&label).is_err()
    }
}

fn count(words: &[u64]) -> usize {
    words.iter().map(|word| word.count_ones() as usize).sum()
}
