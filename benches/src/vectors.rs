//! Item vectors and queries whose difficulty is known, drawn from a seed.
//!
//! Items are unit vectors around 1,500 centres of very unequal size; queries mix two items and some noise, as a user
//! tower's output does, so they lie where items are but are none. What differs is how fast the variance falls from one
//! direction to the next: fast, and few directions matter (`easy`); slowly, and there are many tight clusters in many
//! directions (`hard`), where graphs lose their way.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Pareto, StandardNormal};

/// A generator of vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generator {
    /// Variance falls as (1, 2, …, d)^−0.9.
    Easy,
    /// Variance falls as (1, 2, …, d)^−0.35.
    Hard,
}

/// Unit vectors, row-major.
#[derive(Debug, Clone)]
pub struct Vectors {
    /// Numbers in each.
    pub dim: usize,
    /// Labels of the items.
    pub labels: Vec<u64>,
    /// `labels × dim`.
    pub items: Vec<f32>,
    /// `queries × dim`.
    pub queries: Vec<f32>,
}

const CENTRES: usize = 1_500;

impl Generator {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Generator::Easy => "easy",
            Generator::Hard => "hard",
        }
    }

    /// Draws items and queries. The first items of a larger draw are those of a smaller one.
    pub fn draw(self, seed: u64, items: usize, queries: usize, dim: usize) -> Vectors {
        let (exponent, noise) = match self {
            Generator::Easy => (-0.9, 0.03),
            Generator::Hard => (-0.35, 0.04),
        };
        let mut rng = StdRng::seed_from_u64(seed);
        let spread: Vec<f32> = (1..=dim).map(|d| (d as f32).powf(exponent)).collect();
        let rotation = rotation(&mut rng, dim);
        let centres: Vec<Vec<f32>> = (0..CENTRES).map(|_| normal(&mut rng, &spread)).collect();
        let widths: Vec<f32> = (0..CENTRES).map(|_| rng.random_range(0.35..0.8)).collect();
        let reach = cumulative_shares(&mut rng);

        let mut drawn = Vec::with_capacity(items * dim);
        for _ in 0..items {
            let share: f64 = rng.random();
            let cluster = reach.partition_point(|&upto| upto < share).min(CENTRES - 1);
            let deviation = normal(&mut rng, &spread);
            let point: Vec<f32> =
                centres[cluster].iter().zip(deviation).map(|(c, x)| c + widths[cluster] * x).collect();
            let turned = rotation.iter().map(|axis| axis.iter().zip(&point).map(|(a, x)| a * x).sum());
            drawn.extend(unit(turned.collect()));
        }
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
        // Always among the items that every draw of this seed has.
        let pool = items.min(10_000);
        let blended = (0..queries).flat_map(|_| {
            let mut one = || &drawn[rng.random_range(0..pool) * dim..][..dim];
            let (a, b) = (one(), one());
            unit(a.iter().zip(b).map(|(a, b)| 0.7 * a + 0.4 * b + noise * draw(&mut rng)).collect())
        });
        let queries = blended.collect();
        let labels = (0..items as u64).map(|row| (row + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        Vectors { dim, labels, items: drawn, queries }
    }
}

impl Vectors {
    /// The `i`-th query, round and round.
    pub fn query(&self, i: usize) -> &[f32] {
        let count = self.queries.len() / self.dim;
        &self.queries[i % count * self.dim..][..self.dim]
    }
}

fn draw(rng: &mut StdRng) -> f32 {
    StandardNormal.sample(rng)
}

fn normal(rng: &mut StdRng, spread: &[f32]) -> Vec<f32> {
    spread.iter().map(|s| s * draw(rng)).collect()
}

fn unit(vector: Vec<f32>) -> Vec<f32> {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.into_iter().map(|x| x / norm).collect()
}

/// Cumulative shares of clusters whose sizes follow a power law.
fn cumulative_shares(rng: &mut StdRng) -> Vec<f64> {
    // A Pareto law of shape 1.2, moved down to begin at 0.2.
    let sizes: Vec<f64> = match Pareto::new(1.0, 1.2) {
        Ok(law) => (0..CENTRES).map(|_| law.sample(rng) - 0.8).collect(),
        Err(_) => vec![1.0; CENTRES],
    };
    let total: f64 = sizes.iter().sum();
    let mut reached = 0.0;
    sizes
        .into_iter()
        .map(|size| {
            reached += size / total;
            reached
        })
        .collect()
}

/// Orthonormal axes at random: Gram and Schmidt over normal draws.
fn rotation(rng: &mut StdRng, dim: usize) -> Vec<Vec<f32>> {
    let mut axes: Vec<Vec<f32>> = Vec::with_capacity(dim);
    for _ in 0..dim {
        let mut axis: Vec<f32> = (0..dim).map(|_| draw(rng)).collect();
        for other in &axes {
            let along: f32 = axis.iter().zip(other).map(|(a, b)| a * b).sum();
            axis.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        axes.push(unit(axis));
    }
    axes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_unit_and_a_larger_draw_begins_with_the_smaller() {
        let small = Generator::Hard.draw(1, 100, 10, 16);
        let large = Generator::Hard.draw(1, 200, 10, 16);
        assert_eq!(small.items, large.items[..100 * 16]);
        for vector in small.items.chunks(16).chain(small.queries.chunks(16)) {
            let norm = vector.iter().map(|x| x * x).sum::<f32>();
            assert!((norm - 1.0).abs() < 1e-5, "{norm}");
        }
    }
}
