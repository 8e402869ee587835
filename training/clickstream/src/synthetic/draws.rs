//! Randomness by address: every decision of the shop has a stream of its own.
//!
//! A stream is named by the seed and a path of numbers, such as (seed, visits, shopper 12, day 3).
//! Its n-th number is a function of that name and n alone. So nothing depends on the order in which
//! things are made: shopper 12 does the same whether or not shopper 11 exists.

use std::f64::consts::TAU;

use rand::{Rng, RngCore};

/// What a stream decides; the first number of its path. Numbers never change: they are in every
/// seeded shop.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub(super) enum Domain {
    Direction = 1,
    Category = 2,
    Product = 3,
    Lifetime = 4,
    Trend = 5,
    Hype = 6,
    Taste = 7,
    Visits = 8,
    LiveTaste = 9,
    LiveVisit = 10,
}

/// A stream: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// OOPSLA 2014) started at a hash of its name.
#[derive(Debug, Clone)]
pub(super) struct Draws {
    state: u64,
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Draws {
    /// The stream of this name.
    pub(super) fn at(seed: u64, domain: Domain, path: &[u64]) -> Self {
        let start = mix(mix(seed.wrapping_add(GOLDEN_GAMMA)).wrapping_add(domain as u64));
        let state = path.iter().fold(start, |state, &step| {
            mix(state.wrapping_mul(3).wrapping_add(GOLDEN_GAMMA).wrapping_add(mix(step)))
        });
        Self { state }
    }

    /// Where the stream stands; names what comes next.
    pub(super) fn state(&self) -> u64 {
        self.state
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        self.random()
    }

    /// Uniform in [low, high).
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with this probability.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in 0..n; 0 when n is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { self.random_range(0..n) }
    }

    /// One of `choices`, which must not be empty.
    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Standard normal (Box and Muller 1958; the second value is dropped).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// Number of events of a Poisson process with this mean (Knuth's product of uniforms: the mean
    /// is small here).
    pub(super) fn poisson(&mut self, mean: f64) -> usize {
        let (limit, mut product, mut count) = ((-mean.min(500.0)).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }

    /// An index, each with a probability in proportion to its weight; the last one with a weight
    /// above 0 where rounding leaves none.
    pub(super) fn weighted(&mut self, weights: &[f64]) -> Option<usize> {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        let mut last = None;
        for (index, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            last = Some(index);
            if left < weight {
                break;
            }
            left -= weight;
        }
        last
    }
}

impl RngCore for Draws {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix(self.state)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_its_reference_values() {
        // The first outputs for the state 1234567 of the authors' Java class and of its C version.
        let mut draws = Draws { state: 1_234_567 };
        assert_eq!(draws.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(draws.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn streams_of_different_names_differ() {
        let first = |seed, domain, path: &[u64]| Draws::at(seed, domain, path).next_u64();
        let all = [
            first(1, Domain::Taste, &[1, 2]),
            first(2, Domain::Taste, &[1, 2]),
            first(1, Domain::Visits, &[1, 2]),
            first(1, Domain::Taste, &[2, 1]),
            first(1, Domain::Taste, &[1, 2, 0]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        assert_eq!(first(1, Domain::Taste, &[1, 2]), all[0]);
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        // 200,000 draws: the standard error of a mean with variance v is sqrt(v / n); 5 of them.
        const N: usize = 200_000;
        let mut draws = Draws::at(7, Domain::Taste, &[]);
        let bound = |variance: f64| 5.0 * (variance / N as f64).sqrt();
        let mut mean = |draw: &mut dyn FnMut(&mut Draws) -> f64| {
            (0..N).map(|_| draw(&mut draws)).sum::<f64>() / N as f64
        };
        assert!((mean(&mut |d| d.unit()) - 0.5).abs() < bound(1.0 / 12.0));
        assert!(mean(&mut |d| d.normal()).abs() < bound(1.0));
        assert!((mean(&mut |d| d.normal().powi(2)) - 1.0).abs() < bound(2.0));
        assert!((mean(&mut |d| d.poisson(0.7) as f64) - 0.7).abs() < bound(0.7));
        let third = |d: &mut Draws| f64::from(d.weighted(&[1.0, 0.0, 3.0]) == Some(2));
        assert!((mean(&mut { third }) - 0.75).abs() < bound(0.1875));
        assert_eq!(draws.weighted(&[0.0, 0.0]), None);
    }
}
