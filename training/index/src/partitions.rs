//! Partitions: rows grouped around centres, so that a query looks only at the groups that lie its way (an inverted file,
//! Jégou et al., 2011).
//!
//! The base keeps its rows in the order of their partitions. A partition is then a range of rows of the same blocks that a
//! whole scan reads: it costs no second copy of anything, and what scans a catalogue scans a part of it.
//!
//! The scores of a partition's rows with a query lie about the product of the query with the partition's centre, which is
//! their mean, with a deviation that is known too. A query therefore looks into every partition whose mean is within so and
//! so many deviations of the k-th best score found so far, the most promising first. How many is the one number that is
//! calibrated. It adapts by itself to the query, to k and to a filter: where survivors are few, the k-th best is lower, and
//! more partitions are within reach of it.

use crate::buffer::Buffer;
use crate::cluster;
use crate::kernels::{Kernels, Scan, Sink};
use crate::mask::Mask;
use crate::rows::{BLOCK, Query, Rows, USUAL_ERROR, pad};
use crate::top::Candidates;

/// Rows of one partition, on average, grow with the square root of the catalogue; see [`count`].
const LARGEST_COUNT: usize = 16_384;
/// Fewest partitions looked into before it is known which others are worth it.
const FIRST: usize = 8;
/// Fewest partitions of a later wave, but for the last.
const SHORT: usize = 24;

/// Ranges of base rows, and their centres.
pub(crate) struct Partitions {
    /// The mean of each partition's rows.
    pub(crate) centres: Rows,
    /// Root mean square distance of each partition's rows to their mean, over the square root of the dimension: the
    /// deviation of their scores with a query of length one, whatever its direction.
    pub(crate) spreads: Buffer<f32>,
    /// Where each partition's rows begin, and where the last one's end.
    pub(crate) starts: Buffer<u32>,
    /// Rows that the centres were found among.
    pub(crate) trained_on: usize,
}

/// The partitions that a query looks into, wave after wave.
pub(crate) struct Tour {
    /// The best that is to be expected of each partition; empty from the second wave on.
    promises: Vec<f32>,
    /// Those that are left from then on.
    rest: Vec<(f32, u32)>,
    /// What the least promising one of the first wave promised.
    passed: Option<f32>,
    /// Partitions in the next wave.
    size: usize,
}

/// Rows in the order of their partitions.
pub(crate) struct Partitioned {
    pub(crate) partitions: Partitions,
    /// The former number of each row.
    pub(crate) order: Vec<u32>,
}

/// How many partitions a catalogue of that many rows is cut into.
pub(crate) fn count(rows: usize) -> usize {
    ((4.0 * (rows as f64).sqrt()) as usize).clamp(1, LARGEST_COUNT).min(rows.max(1))
}

impl Partitions {
    /// Finds centres among padded vectors of `dim` numbers, and assigns each to one. `seed` decides what is drawn: the
    /// same vectors and seed give the same partitions on every machine.
    pub(crate) fn build(vectors: &[f32], dim: usize, kernels: Kernels, seed: u64) -> Partitioned {
        let rows = vectors.len() / crate::rows::width(dim);
        let centres = cluster::centres(vectors, dim, count(rows), kernels, seed);
        let assigned = cluster::assign(vectors, &centres, kernels);
        Self::of(vectors, dim, &assigned, centres.len(), rows)
    }

    /// Groups rows by the partition that each was assigned to.
    pub(crate) fn of(
        vectors: &[f32],
        dim: usize,
        assigned: &[u32],
        count: usize,
        trained_on: usize,
    ) -> Partitioned {
        let groups = cluster::Groups::of(assigned, count);
        let (means, spreads) = cluster::means(vectors, dim, &groups);
        let labels = (0..count as u64).collect();
        let partitions = Self {
            centres: Rows::of(dim, labels, pad(means.into(), dim).into_owned()),
            spreads: spreads.into(),
            starts: groups.starts.into(),
            trained_on,
        };
        Partitioned { partitions, order: groups.order }
    }

    pub(crate) fn len(&self) -> usize {
        self.spreads.len()
    }

    /// The rows of a partition.
    pub(crate) fn rows(&self, partition: u32) -> std::ops::Range<usize> {
        let partition = partition as usize;
        self.starts[partition] as usize..self.starts[partition + 1] as usize
    }

    /// The partition of each of `rows` rows.
    pub(crate) fn of_rows(&self, rows: usize) -> Vec<u32> {
        let mut partitions = Vec::with_capacity(rows);
        for partition in 0..self.len() as u32 {
            partitions.resize(self.rows(partition).end, partition);
        }
        partitions
    }

    /// Whether partitions that were read fit `rows` rows.
    pub(crate) fn check(&self, rows: usize) -> Result<(), String> {
        let starts = &*self.starts;
        let whole = starts.first() == Some(&0) && starts.last().is_some_and(|&end| end as usize == rows);
        if !whole || !starts.is_sorted() || starts.len() != self.len() + 1 || self.centres.len() != self.len()
        {
            return Err(format!("{} partitions do not divide {rows} rows", self.len()));
        }
        Ok(())
    }
}

// === impl Tour ===

impl Tour {
    /// Looks how promising each partition is. The first wave has some `first` of them, or somewhat more.
    pub(crate) fn begin(
        partitions: &Partitions,
        query: &Query,
        reach: f32,
        first: usize,
        kernels: Kernels,
    ) -> Self {
        let centres = &partitions.centres.blocks;
        let mut promises = Vec::with_capacity(partitions.len());
        let error = USUAL_ERROR * centres.error_bound(query);
        let reach = reach * query.norm;
        let mut sink = Promising { promises: &mut promises, spreads: &partitions.spreads, reach, error };
        let scan = Scan { blocks: centres, rows: 0..partitions.len(), mask: Mask::default(), query };
        kernels.scan(&scan, &mut sink);
        Self { promises, rest: Vec::new(), passed: None, size: first.max(FIRST) }
    }

    /// Hands on the partitions of the next wave, given what the k-th best score is by now. None: the tour is over.
    pub(crate) fn wave(&mut self, kth: f32, mut visit: impl FnMut(u32)) {
        let Some(passed) = self.passed else {
            let mut best = Candidates::new(self.size, 0.0);
            best.push_all(&self.promises, |place| place as u32);
            self.passed = Some(best.kth());
            return best.finish().into_iter().for_each(visit);
        };
        if self.promises.is_empty() {
            keep(&mut self.rest, |promise| promise >= kth);
        } else {
            self.rest.extend(std::mem::take(&mut self.promises).into_iter().zip(0..));
            keep(&mut self.rest, |promise| promise < passed && promise >= kth);
        }
        // Half of those within reach belong to the answer as likely as not; before k rows were found all are within reach.
        let size = if kth > f32::NEG_INFINITY { self.rest.len() / 2 } else { self.size };
        let size = size.max(SHORT).min(self.rest.len());
        if size < self.rest.len() {
            self.rest.select_nth_unstable_by(size, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        }
        self.rest.drain(..size).for_each(|(_, partition)| visit(partition));
        self.size *= 2;
    }
}

/// [`Vec::retain`] without a branch for each: which partitions are within reach cannot be guessed.
fn keep(rest: &mut Vec<(f32, u32)>, wanted: impl Fn(f32) -> bool) {
    let mut kept = 0;
    for place in 0..rest.len() {
        let one = rest[place];
        rest[kept] = one;
        kept += usize::from(wanted(one.0));
    }
    rest.truncate(kept);
}

/// Takes the mean score of every partition, and adds what its best rows may have beyond it.
struct Promising<'a> {
    promises: &'a mut Vec<f32>,
    spreads: &'a [f32],
    reach: f32,
    /// What the quantisation of centre and query may have taken.
    error: f32,
}

impl Sink for Promising<'_> {
    fn threshold(&self) -> f32 {
        f32::NEG_INFINITY
    }

    fn take(&mut self, first: usize, counting: u16, scores: &[f32; BLOCK]) {
        let count = counting.count_ones() as usize;
        let spreads = &self.spreads[first..first + count];
        self.promises.extend(
            scores.iter().zip(spreads).map(|(score, spread)| score + self.error + self.reach * spread),
        );
    }
}
