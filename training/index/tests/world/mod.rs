//! Seeded vectors, and the plainest possible answer to a query.

// Each test binary takes what it needs.
#![allow(dead_code)]

use std::collections::BTreeMap;

use endcap_index::Hit;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// `n` unit vectors around `clusters` centres, row-major.
pub(crate) fn clustered(seed: u64, n: usize, dim: usize, clusters: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let centres: Vec<Vec<f32>> =
        (0..clusters).map(|_| (0..dim).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
    (0..n)
        .flat_map(|_| {
            let centre = &centres[rng.random_range(0..clusters)];
            unit(centre.iter().map(|c| c + rng.random_range(-0.6f32..0.6)).collect())
        })
        .collect()
}

/// `n` vectors of small whole numbers: their inner products are exact in f32, and many tie.
pub(crate) fn whole(seed: u64, n: usize, dim: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..n * dim).map(|_| rng.random_range(-3i8..=3).into()).collect()
}

pub(crate) fn unit(vector: Vec<f32>) -> Vec<f32> {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.into_iter().map(|x| x / norm).collect()
}

/// The answer by the definition: every score, sorted.
pub(crate) fn answer(
    items: &BTreeMap<u64, Vec<f32>>,
    query: &[f32],
    k: usize,
    allowed: impl Fn(u64) -> bool,
) -> Vec<Hit> {
    let mut hits: Vec<Hit> = items
        .iter()
        .filter(|(label, _)| allowed(**label))
        // Adding zero: −0 and 0 are one score.
        .map(|(&label, vector)| (label, vector.iter().zip(query).map(|(x, q)| x * q).sum::<f32>() + 0.0))
        .map(|(label, score)| Hit { label, score })
        .collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.label.cmp(&b.label)));
    hits.truncate(k);
    hits
}

/// Labels that are neither rows nor in order.
pub(crate) fn label(row: usize) -> u64 {
    (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
