//! The walk: best first over the lowest layer, from where a greedy descent through the upper ones ends.

use std::cell::RefCell;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Graph;
use crate::kernels::{Kernels, prefetch};
use crate::mask::Mask;
use crate::rows::{Codes, Query};

/// What a walk remembers; kept by the thread, so that a query allocates nothing that grows with the catalogue.
#[derive(Default)]
struct Walk {
    /// The number of the walk that last met a row.
    met: Vec<u32>,
    number: u32,
    open: BinaryHeap<Near>,
    found: BinaryHeap<Reverse<Near>>,
    fresh: Vec<u32>,
    scores: Vec<f32>,
}

thread_local! {
    static WALK: RefCell<Walk> = RefCell::default();
}

#[derive(Clone, Copy, PartialEq)]
struct Near {
    score: f32,
    row: u32,
}

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Walk {
    fn begin(&mut self, rows: usize) {
        if self.met.len() < rows || self.number == u32::MAX {
            self.met.clear();
            self.met.resize(rows, 0);
            self.number = 0;
        }
        self.number += 1;
        self.open.clear();
        self.found.clear();
    }

    /// Whether the walk comes to this row for the first time.
    fn meet(&mut self, row: u32) -> bool {
        std::mem::replace(&mut self.met[row as usize], self.number) != self.number
    }

    /// Scores the fresh rows, hands each to `visit`, and forgets them.
    fn score(
        &mut self,
        query: &Query,
        codes: Codes<'_>,
        kernels: Kernels,
        mut visit: impl FnMut(&mut Walk, Near),
    ) {
        let mut fresh = std::mem::take(&mut self.fresh);
        let mut scores = std::mem::take(&mut self.scores);
        scores.resize(fresh.len(), 0.0);
        kernels.code_dots(query, codes, &fresh, &mut scores);
        for (&row, &score) in fresh.iter().zip(&scores) {
            visit(self, Near { score, row });
        }
        fresh.clear();
        (self.fresh, self.scores) = (fresh, scores);
    }
}

impl Graph {
    /// About the `ef` best rows allowed by `mask`, in no order, by their 8-bit scores.
    pub(crate) fn search(
        &self,
        query: &Query,
        codes: Codes<'_>,
        ef: usize,
        mask: Mask<'_>,
        kernels: Kernels,
    ) -> Vec<u32> {
        WALK.with_borrow_mut(|walk| {
            walk.begin(codes.scales.len());
            let mut at = Near { score: f32::NEG_INFINITY, row: self.entry };
            walk.fresh.push(at.row);
            walk.score(query, codes, kernels, |_, near| at = near);
            for layer in self.upper.iter().rev() {
                loop {
                    let from = at.row;
                    walk.fresh.extend_from_slice(layer.of(from));
                    walk.score(query, codes, kernels, |_, near| at = at.max(near));
                    if at.row == from {
                        break;
                    }
                }
            }
            let allowed = |row: u32| mask.has(row as usize);
            walk.meet(at.row);
            walk.open.push(at);
            if allowed(at.row) {
                walk.found.push(Reverse(at));
            }
            while let Some(next) = walk.open.pop() {
                if walk.found.len() >= ef && walk.found.peek().is_some_and(|worst| next < worst.0) {
                    break;
                }
                for &to in self.lowest.of(next.row) {
                    if walk.meet(to) {
                        prefetch(codes.row(to));
                        walk.fresh.push(to);
                    }
                }
                walk.score(query, codes, kernels, |walk, near| {
                    let full = walk.found.len() >= ef;
                    if full && walk.found.peek().is_some_and(|worst| near < worst.0) {
                        return;
                    }
                    walk.open.push(near);
                    if allowed(near.row) {
                        if full {
                            walk.found.pop();
                        }
                        walk.found.push(Reverse(near));
                    }
                });
            }
            walk.found.drain().map(|near| near.0.row).collect()
        })
    }
}
