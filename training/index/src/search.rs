//! How queries go through a snapshot.
//!
//! queries → quantise → resolve the filter to a bitmap over base rows and a predicate over live ones → base, the planned
//! way ([`ways`]) → live chunks, scanned → f32 re-scoring of all candidates → best first.
//!
//! A query by itself is a batch of one: many are answered by the same steps, so that their answers are the same.

mod ways;

use rayon::prelude::*;

use crate::filter::Filter;
use crate::kernels::{Scan, Sink};
use crate::live::CHUNK;
use crate::mask::Mask;
use crate::rows::{BLOCK, Query, Rows, USUAL_ERROR, pad};
use crate::snapshot::State;
use crate::top::{Best, Candidates};
use crate::{Allowed, Answer, Hit, IndexError, Route, Way};

/// Rows scored at a time.
const BATCH: usize = 256;
/// Most queries that go through the base together.
const TOGETHER: usize = 64;

/// What is asked, but for the queries.
struct Ask<'a> {
    state: &'a State,
    allowed: Allowed<'a>,
    filter: &'a Filter<'a>,
    k: usize,
    route: Route,
}

/// A query on its way.
struct Search<'a> {
    query: &'a Query,
    /// Rows that could be among the best by their approximate scores: base rows by their number, live rows from
    /// [`Ask::live_first`] on, a chunk's worth of numbers for each chunk.
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
        let filter = Filter::resolve(self, allowed);
        let ask = Ask::new(self, k, allowed, &filter, route);
        let survivors = match allowed {
            Allowed::Labels(labels) => labels.len(),
            _ => filter.survivors,
        };
        let hits = ask.answers(std::slice::from_ref(&query)).pop().unwrap_or_default();
        Ok(Answer { hits, route: ask.route, survivors, items: self.base.rows.len() })
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
        let ask = Ask::new(self, k, allowed, &filter, route);
        let threads = rayon::current_num_threads();
        let together = queries.len().div_ceil(dim).div_ceil(threads).clamp(1, ask.together());
        let answers = |queries: &[f32]| {
            let queries = queries.chunks(dim).map(|query| Query::new(query, dim));
            Ok(ask.answers(&queries.collect::<Result<Vec<_>, _>>()?))
        };
        let answers = queries.par_chunks(together * dim).map(answers);
        Ok(answers.collect::<Result<Vec<_>, IndexError>>()?.into_iter().flatten().collect())
    }

    /// The answer to a query that is known to be finite.
    pub(crate) fn by_route(&self, query: &[f32], k: usize, filter: &Filter<'_>, route: Route) -> Vec<Hit> {
        let query = Query::of_padded(pad(query.into(), self.base.rows.dim).into_owned());
        let ask = Ask::new(self, k, &Allowed::All, filter, Some(route));
        ask.answers(std::slice::from_ref(&query)).pop().unwrap_or_default()
    }
}

// === impl Ask ===

impl<'a> Ask<'a> {
    fn new(
        state: &'a State,
        k: usize,
        allowed: &Allowed<'a>,
        filter: &'a Filter<'a>,
        route: Option<Route>,
    ) -> Self {
        let k = k.min(state.len());
        let route = match allowed {
            Allowed::Labels(_) => Way::Survivors.into(),
            _ => route.unwrap_or_else(|| state.plan.route(filter.survivors, k)),
        };
        Self { state, allowed: *allowed, filter, k, route }
    }

    fn answers(&self, queries: &[Query]) -> Vec<Vec<Hit>> {
        if self.k == 0 {
            return vec![Vec::new(); queries.len()];
        }
        if let Allowed::Labels(labels) = self.allowed {
            return queries.iter().map(|query| self.best_of(query, labels)).collect();
        }
        let mut searches: Vec<Search<'_>> = queries.iter().map(|query| self.begin(query)).collect();
        self.base(&mut searches);
        let finish = |mut search: Search<'_>| {
            self.live(&mut search);
            self.score_candidates(search)
        };
        searches.into_iter().map(finish).collect()
    }

    /// The best of a few labels.
    fn best_of(&self, query: &Query, labels: &[u64]) -> Vec<Hit> {
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        labels.dedup();
        let mut best = Best::new(self.k);
        for label in labels {
            if let Some((rows, row)) = self.state.find(label) {
                best.offer(self.state.base.kernels.dot(&query.vector, rows.padded(row)), || Some(label));
            }
        }
        best.finish()
    }

    fn begin<'q>(&self, query: &'q Query) -> Search<'q> {
        let State { base, live, .. } = self.state;
        let bounds = live.chunks.iter().map(|chunk| chunk.rows.blocks.error_bound(query));
        let bound = bounds.fold(base.rows.blocks.error_bound(query), f32::max);
        let error = if self.route.way == Way::Partitions { USUAL_ERROR * bound } else { bound };
        let candidates = Candidates::new(self.filter.looked_for(self.k), 2.0 * error);
        Search { query, candidates, best: Best::new(self.k) }
    }

    /// What the first row of the live segment is called among the candidates.
    fn live_first(&self) -> u32 {
        self.state.base.rows.len().next_multiple_of(CHUNK) as u32
    }

    /// Looks through the live segment.
    fn live(&self, search: &mut Search<'_>) {
        let (State { base, live, .. }, filter) = (self.state, self.filter);
        for (chunk, first) in live.chunks.iter().zip((self.live_first()..).step_by(CHUNK)) {
            let rows = &chunk.rows;
            let accept = |row: usize| filter.accepts(rows.labels[row]);
            if self.route.way == Way::Exhaustive {
                self.offer(search, rows, chunk.alive_rows().filter(|&row| accept(row)));
            } else {
                let mask = Mask { selected: None, alive: Some(&chunk.alive) };
                let scan = Scan { blocks: &rows.blocks, rows: 0..rows.len(), mask, query: search.query };
                let candidates = &mut search.candidates;
                base.kernels.scan(&scan, &mut Offer { candidates, first, accept });
            }
        }
    }

    /// Gives every candidate its f32 score.
    fn score_candidates(&self, mut search: Search<'_>) -> Vec<Hit> {
        let live_first = self.live_first();
        let mut found = std::mem::replace(&mut search.candidates, Candidates::new(0, 0.0)).finish();
        if !self.state.live.chunks.is_empty() {
            found.sort_unstable();
        }
        let (in_base, in_live) = found.split_at(found.partition_point(|&row| row < live_first));
        self.offer(&mut search, &self.state.base.rows, in_base.iter().map(|&row| row as usize));
        let chunk_of = |row: u32| (row - live_first) as usize / CHUNK;
        for here in in_live.chunk_by(|&a, &b| chunk_of(a) == chunk_of(b)) {
            let rows = &self.state.live.chunks[chunk_of(here[0])].rows;
            self.offer(&mut search, rows, here.iter().map(|&row| (row - live_first) as usize % CHUNK));
        }
        search.best.finish()
    }

    /// Offers the f32 scores of some rows to the best.
    fn offer(&self, search: &mut Search<'_>, rows: &Rows, which: impl Iterator<Item = usize>) {
        let (labels, vectors) = (&*rows.labels, &*rows.vectors);
        let Search { query, best, .. } = search;
        in_batches(which, |batch, scores| {
            self.state.base.kernels.dots(&query.vector, vectors, batch, scores);
            for (&row, &score) in batch.iter().zip(&*scores) {
                best.offer(score, || {
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
