//! Intervals: the percentile bootstrap over users.
//!
//! Cases of one shopper are not independent, so whole shoppers are drawn with replacement (a cluster
//! bootstrap: Field and Welsh, 2007) and the metric is the ratio of the drawn sums to the drawn counts.
//! Two systems are compared on the same draws of the differences of their cases (paired).

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// A mean over cases with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean over cases.
    pub mean: f64,
    /// 2.5 % quantile of the bootstrap.
    pub low: f64,
    /// 97.5 % quantile of the bootstrap.
    pub high: f64,
}

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Number of draws.
    pub draws: u32,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { draws: 1000, seed: 1 }
    }
}

impl Bootstrap {
    /// Mean of `values` over cases, and its interval; case `i` belongs to user `users[i]`, numbered from
    /// 0 without large gaps. `None` without cases.
    ///
    /// With differences between two systems as values this is the paired comparison: an interval
    /// wholly above 0 says that the first is better.
    pub fn mean(&self, users: &[u32], values: &[f64]) -> Option<Estimate> {
        debug_assert_eq!(users.len(), values.len());
        let count = users.iter().max().map_or(0, |&user| user as usize + 1);
        let mut by_user = vec![(0.0, 0u32); count];
        for (&user, &value) in users.iter().zip(values) {
            let (sum, cases) = &mut by_user[user as usize];
            *sum += value;
            *cases += 1;
        }
        by_user.retain(|&(_, cases)| cases > 0);
        if by_user.is_empty() {
            return None;
        }
        let ratio = |sum: f64, cases: f64| sum / cases;
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut draws: Vec<f64> = (0..self.draws)
            .map(|_| {
                let (mut sum, mut cases) = (0.0, 0.0);
                for _ in 0..by_user.len() {
                    let (user_sum, user_cases) = by_user[rng.random_range(0..by_user.len())];
                    sum += user_sum;
                    cases += f64::from(user_cases);
                }
                ratio(sum, cases)
            })
            .collect();
        draws.sort_by(f64::total_cmp);
        let mean = ratio(values.iter().sum(), values.len() as f64);
        let quantile = |q: f64| match draws.len() {
            0 => mean,
            n => draws[((n - 1) as f64 * q).round() as usize],
        };
        Some(Estimate { mean, low: quantile(0.025), high: quantile(0.975) })
    }
}

impl Estimate {
    /// Whether the whole interval lies above 0.
    pub fn is_positive(&self) -> bool {
        self.low > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_of_independent_cases_is_that_of_the_binomial() {
        // 2,000 users, a case each, 30 % hits: standard error sqrt(.3 · .7 / 2000) = .01025.
        let users: Vec<u32> = (0..2000).collect();
        let values: Vec<f64> = users.iter().map(|user| f64::from(u8::from(user % 10 < 3))).collect();
        let estimate = Bootstrap::default().mean(&users, &values).unwrap();
        assert!((estimate.mean - 0.3).abs() < 1e-12);
        assert!((estimate.high - estimate.low - 2.0 * 1.96 * 0.01025).abs() < 0.004, "{estimate:?}");
    }

    #[test]
    fn users_with_many_cases_widen_the_interval() {
        // The same values, but 20 users own 100 equal cases each.
        let users: Vec<u32> = (0..2000).map(|case| case / 100).collect();
        let values: Vec<f64> = users.iter().map(|user| f64::from(u8::from(user % 10 < 3))).collect();
        let estimate = Bootstrap::default().mean(&users, &values).unwrap();
        assert!(estimate.high - estimate.low > 0.25, "{estimate:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_and_no_cases_give_none() {
        let (users, values) = ([0, 0, 1, 2], [1.0, 0.0, 0.5, 0.25]);
        assert_eq!(Bootstrap::default().mean(&users, &values), Bootstrap::default().mean(&users, &values));
        assert_eq!(Bootstrap::default().mean(&[], &[]), None);
    }
}
