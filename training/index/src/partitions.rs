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

use std::cell::RefCell;

use crate::buffer::Buffer;
use crate::cluster;
use crate::kernels::{Kernels, Scan, Sink};
use crate::mask::Mask;
use crate::rows::{BLOCK, Query, Rows, USUAL_ERROR, pad};

/// Rows of one partition, on average, grow with the square root of the catalogue; see [`count`].
const LARGEST_COUNT: usize = 16_384;
/// Partitions looked into before it is known which others are worth it.
const FIRST: usize = 8;

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
            centres: Rows::of(dim, labels, pad(means.into(), dim)),
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

    /// Hands partitions to `look`, which says what the k-th best score is by now, until no other is within `reach`
    /// deviations of that. It hears which one is next, where that is known.
    pub(crate) fn visit(
        &self,
        query: &Query,
        reach: f32,
        kernels: Kernels,
        mut look: impl FnMut(u32, Option<u32>) -> f32,
    ) {
        PROMISES.with_borrow_mut(|Promises { of_all, best }| {
            of_all.clear();
            let error = USUAL_ERROR * self.centres.blocks.error_bound(query);
            let mut sink = Promising { of_all, spreads: &self.spreads, reach: reach * query.norm, error };
            let scan =
                Scan { blocks: &self.centres.blocks, rows: 0..self.len(), mask: Mask::default(), query };
            kernels.scan(&scan, &mut sink);

            let better = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
            let mut first = [(f32::NEG_INFINITY, u32::MAX); FIRST];
            for (&promise, partition) in of_all.iter().zip(0u32..) {
                if promise > first[FIRST - 1].0 {
                    first[FIRST - 1] = (promise, partition);
                    first.sort_unstable_by(better);
                }
            }
            let mut kth = f32::NEG_INFINITY;
            for (place, &(_, partition)) in first.iter().enumerate().filter(|(_, first)| first.1 != u32::MAX)
            {
                let next = first.get(place + 1).map(|next| next.1).filter(|&next| next != u32::MAX);
                kth = look(partition, next);
            }
            best.clear();
            let others = of_all.iter().copied().zip(0u32..);
            best.extend(others.filter(|other| other.0 >= kth && !first.contains(other)));
            best.sort_unstable_by(better);
            for (place, &(promise, partition)) in best.iter().enumerate() {
                if promise < kth {
                    break;
                }
                kth = look(partition, best.get(place + 1).map(|next| next.1));
            }
        });
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

/// Room for what visiting partitions needs; kept by the thread.
#[derive(Default)]
struct Promises {
    of_all: Vec<f32>,
    best: Vec<(f32, u32)>,
}

thread_local! {
    static PROMISES: RefCell<Promises> = RefCell::default();
}

/// Takes the mean score of every partition, and adds what its best rows may have beyond it.
struct Promising<'a> {
    of_all: &'a mut Vec<f32>,
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
        self.of_all.extend(
            scores.iter().zip(spreads).map(|(score, spread)| score + self.error + self.reach * spread),
        );
    }
}
