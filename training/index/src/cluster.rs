//! k-means (Lloyd) over padded vectors: seeded, and the same on every machine and with any number of threads.
//!
//! Rows are assigned to the centre of the largest inner product with them, after centres were brought to one length
//! (spherical k-means, Dhillon & Modha, 2001). For unit vectors that is the nearest centre; for vectors of unequal length
//! it groups by direction, which is what decides who is large by inner product.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::kernels::{Kernels, Scan, Sink};
use crate::mask::Mask;
use crate::rows::{BLOCK, Query, Rows, width};

/// Rows looked at for each centre while centres are found.
const SAMPLE: usize = 40;
/// Rounds of assigning and averaging.
const ROUNDS: usize = 6;
/// Rows that one thread assigns at a time.
const CHUNK: usize = 1024;

/// Rows by the group that each is in.
pub(crate) struct Groups {
    /// Where each group begins in `order`, and the end.
    pub(crate) starts: Vec<u32>,
    /// Row numbers, group after group, ascending within each.
    pub(crate) order: Vec<u32>,
}

impl Groups {
    pub(crate) fn of(assigned: &[u32], count: usize) -> Self {
        let mut starts = vec![0u32; count + 1];
        for &group in assigned {
            starts[group as usize + 1] += 1;
        }
        for group in 0..count {
            starts[group + 1] += starts[group];
        }
        let mut next = starts.clone();
        let mut order = vec![0; assigned.len()];
        for (row, &group) in assigned.iter().enumerate() {
            order[next[group as usize] as usize] = row as u32;
            next[group as usize] += 1;
        }
        Self { starts, order }
    }

    fn rows(&self, group: usize) -> &[u32] {
        &self.order[self.starts[group] as usize..self.starts[group + 1] as usize]
    }
}

/// `count` centres of length one for padded vectors of `dim` numbers.
pub(crate) fn centres(vectors: &[f32], dim: usize, count: usize, kernels: Kernels, seed: u64) -> Rows {
    let width = width(dim);
    let rows = vectors.len() / width;
    let mut rng = StdRng::seed_from_u64(seed);
    // Every row, or as many as are worth it: one out of each of equal stretches.
    let wanted = (SAMPLE * count).min(rows);
    let sample: Vec<usize> = (0..wanted)
        .map(|i| {
            let (from, to) = (i * rows / wanted, (i + 1) * rows / wanted);
            rng.random_range(from..to.max(from + 1))
        })
        .collect();
    let row = |sampled: usize| &vectors[sample[sampled] * width..][..width];
    let mut points = Vec::with_capacity(wanted * width);
    (0..wanted).for_each(|sampled| points.extend_from_slice(row(sampled)));

    let mut found: Vec<f32> = (0..count)
        .flat_map(|i| {
            let (from, to) = (i * wanted / count, (i + 1) * wanted / count);
            row(rng.random_range(from..to.max(from + 1)).min(wanted - 1)).to_vec()
        })
        .collect();
    let labels: Vec<u64> = (0..count as u64).collect();
    for _ in 0..ROUNDS {
        found.par_chunks_mut(width).for_each(to_unit);
        let centres = Rows::of(dim, labels.clone(), found.clone());
        let assigned = assign(&points, &centres, kernels);
        let groups = Groups::of(&assigned, count);
        average(&points, width, &groups, &mut found);
        split_largest(&points, width, &groups, &mut found);
    }
    found.par_chunks_mut(width).for_each(to_unit);
    Rows::of(dim, labels, found)
}

/// The same centres, brought to length one.
pub(crate) fn to_directions(centres: &Rows) -> Rows {
    let mut vectors = centres.vectors.to_vec();
    vectors.chunks_exact_mut(centres.width).for_each(to_unit);
    Rows::of(centres.dim, centres.labels.to_vec(), vectors)
}

/// The centre of the largest inner product with each padded vector.
pub(crate) fn assign(vectors: &[f32], centres: &Rows, kernels: Kernels) -> Vec<u32> {
    let nearest = |vector: &[f32], nearest: &mut Nearest| {
        let query = Query::of_padded(vector.to_vec());
        nearest.scores.clear();
        nearest.margin = 0.5 * centres.blocks.error_bound(&query);
        nearest.best = f32::NEG_INFINITY;
        let scan =
            Scan { blocks: &centres.blocks, rows: 0..centres.len(), mask: Mask::default(), query: &query };
        kernels.scan(&scan, nearest);
        // The 8-bit scores are sure but for their errors: those that are close to the best are compared exactly.
        let least = nearest.best - nearest.margin;
        let close = nearest.scores.iter().filter(|(score, _)| *score >= least);
        let exact = close.map(|&(_, centre)| (kernels.dot(vector, centres.padded(centre as usize)), centre));
        let best = exact.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map_or(0, |(_, centre)| centre)
    };
    let width = centres.width;
    let mut assigned = vec![0; vectors.len() / width];
    assigned.par_chunks_mut(CHUNK).zip(vectors.par_chunks(CHUNK * width)).for_each(|(assigned, vectors)| {
        let mut room = Nearest::default();
        for (assigned, vector) in assigned.iter_mut().zip(vectors.chunks_exact(width)) {
            *assigned = nearest(vector, &mut room);
        }
    });
    assigned
}

/// Keeps what could be the best by its 8-bit score.
#[derive(Default)]
struct Nearest {
    scores: Vec<(f32, u32)>,
    best: f32,
    margin: f32,
}

impl Sink for Nearest {
    fn threshold(&self) -> f32 {
        self.best - self.margin
    }

    fn take(&mut self, first: usize, mut counting: u16, scores: &[f32; BLOCK]) {
        while counting != 0 {
            let lane = counting.trailing_zeros() as usize;
            counting &= counting - 1;
            self.best = self.best.max(scores[lane]);
            self.scores.push((scores[lane], (first + lane) as u32));
        }
    }
}

/// The mean of each group's padded vectors, `dim` numbers each, and the deviation of their scores with a vector of length
/// one in any direction.
pub(crate) fn means(vectors: &[f32], dim: usize, groups: &Groups) -> (Vec<f32>, Vec<f32>) {
    let width = width(dim);
    let count = groups.starts.len() - 1;
    let mut padded = vec![0.0; count * width];
    average(vectors, width, groups, &mut padded);
    let spreads = padded.par_chunks_exact(width).enumerate().map(|(group, mean)| {
        let rows = groups.rows(group);
        let squares = rows.iter().map(|&row| {
            let vector = &vectors[row as usize * width..][..width];
            vector.iter().zip(mean).map(|(x, m)| (x - m).powi(2)).sum::<f32>()
        });
        (squares.sum::<f32>() / (rows.len().max(1) * dim) as f32).sqrt()
    });
    let spreads = spreads.collect();
    let means = padded.chunks_exact(width).flat_map(|mean| &mean[..dim]).copied().collect();
    (means, spreads)
}

/// Sets each group's mean; a group without rows keeps what it has.
fn average(vectors: &[f32], width: usize, groups: &Groups, means: &mut [f32]) {
    means.par_chunks_mut(width).enumerate().for_each(|(group, mean)| {
        let rows = groups.rows(group);
        if rows.is_empty() {
            return;
        }
        mean.fill(0.0);
        for &row in rows {
            let vector = &vectors[row as usize * width..][..width];
            mean.iter_mut().zip(vector).for_each(|(mean, x)| *mean += x);
        }
        mean.iter_mut().for_each(|mean| *mean /= rows.len() as f32);
    });
}

/// Moves the centre of each group without rows into the largest one.
fn split_largest(vectors: &[f32], width: usize, groups: &Groups, means: &mut [f32]) {
    let count = groups.starts.len() - 1;
    let mut by_size: Vec<usize> = (0..count).collect();
    by_size.sort_by_key(|&group| std::cmp::Reverse(groups.rows(group).len()));
    let empty = (0..count).filter(|&group| groups.rows(group).is_empty());
    for (empty, &large) in empty.zip(&by_size) {
        if let Some(&row) = groups.rows(large).last().filter(|_| groups.rows(large).len() > 1) {
            means[empty * width..][..width].copy_from_slice(&vectors[row as usize * width..][..width]);
        }
    }
}

fn to_unit(vector: &mut [f32]) {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if norm > 1e-30 {
        vector.iter_mut().for_each(|x| *x /= norm);
    }
}
