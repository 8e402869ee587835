//! The ways through the base segment, for some queries together.
//!
//! What one query reads from memory the others find in the cache: rows are looked at stretch by stretch, or partition by
//! partition, for all queries that want them.

use super::{Ask, BATCH, Offer, Search, TOGETHER};
use crate::Way;
use crate::kernels::{Scan, prefetch};
use crate::mask::Gathered;
use crate::partitions::{Partitions, Tour};
use crate::rows::BLOCK;
use crate::snapshot::Base;

/// Rows that several queries scan one after the other are cut into stretches of so many bytes: they stay in a core's own cache.
const STRETCH: usize = 256 << 10;
/// Codes of fewer bytes than this stay in the processor's cache: there is nothing to share.
const CACHED: usize = 32 << 20;
/// In partitions, rows are scored one by one where a filter lets through fewer than one in this many.
const SPARSE: usize = 4;
/// The bytes of a partition that are asked for while the one before is scanned.
const PREFETCH: usize = 2048;
/// Survivors of the whole base that are gathered before they are scored.
const GATHERED: usize = 1024;

impl Ask<'_> {
    /// Looks through the base, the planned way.
    pub(super) fn base(&self, searches: &mut [Search<'_>]) {
        let Base { rows, graph, partitions, kernels, .. } = &*self.state.base;
        let mask = self.filter.mask();
        match (self.route.way, graph, partitions) {
            (Way::Exhaustive, ..) => {
                for search in searches {
                    self.offer(search, rows, mask.rows(0..rows.len()));
                }
            }
            (Way::Survivors, ..) => self.survivors(searches),
            (Way::Graph, Some(graph), _) => {
                for search in searches {
                    let ef = self.route.effort.max(self.filter.looked_for(self.k));
                    let found = graph.search(search.query, self.state.base.codes(), ef, mask, *kernels);
                    self.offer(search, rows, found.into_iter().map(|row| row as usize));
                }
            }
            (Way::Partitions, _, Some(partitions)) => self.partitions(partitions, searches),
            (Way::Scan | Way::Graph | Way::Partitions, ..) => self.scan(searches),
        }
    }

    fn scan(&self, searches: &mut [Search<'_>]) {
        let Base { rows, kernels, .. } = &*self.state.base;
        let stretch = match searches.len() {
            1 => rows.len().max(1),
            _ => (STRETCH / rows.width).next_multiple_of(BLOCK),
        };
        for first in (0..rows.len()).step_by(stretch) {
            let range = first..rows.len().min(first + stretch);
            for Search { query, candidates, .. } in &mut *searches {
                let scan =
                    Scan { blocks: &rows.blocks, rows: range.clone(), mask: self.filter.mask(), query };
                kernels.scan(&scan, &mut Offer { candidates, first: 0, accept: |_| true });
            }
        }
    }

    fn survivors(&self, searches: &mut [Search<'_>]) {
        if let Some(listed) = self.filter.listed() {
            return searches.iter_mut().for_each(|search| self.score(search, &listed));
        }
        let rows = self.state.base.rows.len();
        let density = rows / self.filter.survivors.max(1);
        let stretch = (GATHERED * density.max(1)).next_multiple_of(64);
        let mut survivors = Gathered::default();
        for first in (0..rows).step_by(stretch) {
            survivors.clear();
            survivors.add(self.filter.mask(), first..rows.min(first + stretch));
            for search in &mut *searches {
                self.score(search, survivors.rows());
            }
        }
    }

    /// Offers the 8-bit scores of some rows to a query's candidates.
    fn score(&self, search: &mut Search<'_>, rows: &[u32]) {
        let (codes, mut scores) = (self.state.base.codes(), [0.0; BATCH]);
        for batch in rows.chunks(BATCH) {
            let scores = &mut scores[..batch.len()];
            self.state.base.kernels.code_dots(search.query, codes, batch, scores);
            search.candidates.push_all(scores, |place| batch[place]);
        }
    }

    /// How many queries are best answered together: one, where they have nothing to share.
    pub(super) fn together(&self) -> usize {
        let alone = self.route.way == Way::Partitions
            && (self.is_sparse() || self.state.base.rows.blocks.codes.len() <= CACHED);
        if alone { 1 } else { TOGETHER }
    }

    fn is_sparse(&self) -> bool {
        self.filter.survivors.saturating_mul(SPARSE) < self.state.base.rows.len()
    }

    /// Wave by wave: the next partitions of each query's [`Tour`]; each of them for all queries that come to it, one after the
    /// other.
    fn partitions(&self, partitions: &Partitions, searches: &mut [Search<'_>]) {
        let sparse = self.is_sparse();
        let reach = self.route.effort as f32 / 100.0;
        // As many as should hold twice k survivors: from then on it is known what is within reach.
        let first = self.k.saturating_mul(2 * partitions.len()) / self.filter.survivors.max(1);
        let kernels = self.state.base.kernels;
        let tour = |search: &Search<'_>| Tour::begin(partitions, search.query, reach, first, kernels);
        let mut tours: Vec<Tour> = searches.iter().map(tour).collect();
        let (mut visits, mut survivors) = (Vec::new(), Gathered::default());
        loop {
            visits.clear();
            for ((tour, search), who) in tours.iter_mut().zip(&mut *searches).zip(0..) {
                tour.wave(search.candidates.kth(), |partition| visits.push((partition, who)));
            }
            if visits.is_empty() {
                return;
            }
            if searches.len() > 1 {
                visits.sort_unstable();
            }
            if sparse {
                self.look_sparsely(partitions, &visits, searches, &mut survivors);
            } else {
                self.look(partitions, &visits, searches);
            }
        }
    }

    /// Looks at the survivors of some partitions, for the query that wants each: of all its partitions together, as each has
    /// but a few.
    fn look_sparsely(
        &self,
        partitions: &Partitions,
        visits: &[(u32, u32)],
        searches: &mut [Search<'_>],
        survivors: &mut Gathered,
    ) {
        for visits in visits.chunk_by(|a, b| a.1 == b.1) {
            survivors.clear();
            for &(partition, _) in visits {
                survivors.add(self.filter.mask(), partitions.rows(partition));
            }
            self.score(&mut searches[visits[0].1 as usize], survivors.rows());
        }
    }

    /// Scans some partitions, for the query that wants each.
    fn look(&self, partitions: &Partitions, visits: &[(u32, u32)], searches: &mut [Search<'_>]) {
        let Base { rows, kernels, .. } = &*self.state.base;
        for (place, &(partition, who)) in visits.iter().enumerate() {
            if let Some(&(next, _)) = visits.get(place + 1).filter(|next| next.0 != partition) {
                let next = partitions.rows(next);
                let block = next.start / BLOCK * BLOCK * rows.width;
                let bytes = (next.len() * rows.width).min(PREFETCH);
                prefetch(rows.blocks.codes.get(block..block + bytes).unwrap_or_default());
            }
            let Search { query, candidates, .. } = &mut searches[who as usize];
            let range = partitions.rows(partition);
            let scan = Scan { blocks: &rows.blocks, rows: range, mask: self.filter.mask(), query };
            kernels.scan(&scan, &mut Offer { candidates, first: 0, accept: |_| true });
        }
    }
}
