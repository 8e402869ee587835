//! Intervals: the percentile bootstrap over users.
//!
//! Cases of one shopper are not independent, so whole shoppers are drawn with replacement (a cluster
//! bootstrap: Field and Welsh, 2007) and a metric is the ratio of the drawn sums to the drawn counts.
//! All metrics of all systems are read off the same draws, so that the difference of two systems is paired.
//!
//! Of more than [`Bootstrap::MOST_CLUSTERS`] shoppers, hundreds are dealt evenly into one cluster each, which is drawn
//! whole: a cluster's sum is a sum of independent shoppers, so the interval stays what it is (within its own error of
//! about 1 %), and its cost does not grow with the data.

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

/// Sums over the cases of each cluster of shoppers, a column a quantity.
#[derive(Debug, Clone)]
pub struct Sums {
    columns: usize,
    clusters: usize,
    /// Cluster after cluster: the sums of the columns.
    sums: Vec<f64>,
    /// Cases of each cluster.
    cases: Vec<u32>,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { draws: 1000, seed: 1 }
    }
}

impl Bootstrap {
    /// More shoppers than these share clusters.
    pub const MOST_CLUSTERS: usize = 5000;

    /// Mean of `values` over cases, and its interval; case `i` belongs to user `users[i]`, numbered from
    /// 0 without large gaps. `None` without cases.
    ///
    /// With differences between two systems as values this is the paired comparison: an interval
    /// wholly above 0 says that the first is better.
    pub fn mean(&self, users: &[u32], values: &[f64]) -> Option<Estimate> {
        debug_assert_eq!(users.len(), values.len());
        let mut sums = Sums::new(users.iter().max().map_or(0, |&user| user as usize + 1), 1);
        for (&user, value) in users.iter().zip(values) {
            sums.add(user, std::slice::from_ref(value));
        }
        self.means(&sums).map(|means| means[0])
    }

    /// The mean over cases of every column, with its interval. `None` without cases.
    pub fn means(&self, sums: &Sums) -> Option<Vec<Estimate>> {
        let drawn: Vec<usize> = (0..sums.clusters).filter(|&cluster| sums.cases[cluster] > 0).collect();
        if drawn.is_empty() {
            return None;
        }
        let columns = sums.columns;
        let row = |cluster: usize| &sums.sums[cluster * columns..(cluster + 1) * columns];
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut draws = vec![Vec::with_capacity(self.draws as usize); columns];
        let mut total = vec![0.0; columns];
        for _ in 0..self.draws {
            total.fill(0.0);
            let mut cases = 0.0;
            for _ in 0..drawn.len() {
                let cluster = drawn[rng.random_range(0..drawn.len())];
                total.iter_mut().zip(row(cluster)).for_each(|(total, sum)| *total += sum);
                cases += f64::from(sums.cases[cluster]);
            }
            draws.iter_mut().zip(&total).for_each(|(draws, total)| draws.push(total / cases));
        }
        let cases: f64 = sums.cases.iter().copied().map(f64::from).sum();
        let estimate = |(column, mut draws): (usize, Vec<f64>)| {
            draws.sort_by(f64::total_cmp);
            let mean = (0..sums.clusters).map(|cluster| row(cluster)[column]).sum::<f64>() / cases;
            let quantile = |q: f64| match draws.len() {
                0 => mean,
                n => draws[((n - 1) as f64 * q).round() as usize],
            };
            Estimate { mean, low: quantile(0.025), high: quantile(0.975) }
        };
        Some(draws.into_iter().enumerate().map(estimate).collect())
    }
}

// === impl Sums ===

impl Sums {
    /// No cases yet of users numbered below `users`.
    pub fn new(users: usize, columns: usize) -> Self {
        let clusters = users.min(Bootstrap::MOST_CLUSTERS);
        Self { columns, clusters, sums: vec![0.0; clusters * columns], cases: vec![0; clusters] }
    }

    /// Adds a case of a user, with a value a column.
    pub fn add(&mut self, user: u32, values: &[f64]) {
        // Users are numbered in the order of their keys' hashes or of time; neighbours go to different clusters.
        let cluster = user as usize % self.clusters;
        let row = &mut self.sums[cluster * self.columns..(cluster + 1) * self.columns];
        row.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        self.cases[cluster] += 1;
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
    fn clusters_of_many_users_leave_the_interval_as_it_is() {
        // 40,000 users, a case each, 30 % hits: standard error sqrt(.3 · .7 / 40000) = .002291.
        let mut rng = StdRng::seed_from_u64(5);
        let users: Vec<u32> = (0..40_000).collect();
        let values: Vec<f64> = users.iter().map(|_| f64::from(u8::from(rng.random::<f64>() < 0.3))).collect();
        let estimate = Bootstrap::default().mean(&users, &values).unwrap();
        let width = 2.0 * 1.96 * 0.002_291;
        assert!((estimate.high - estimate.low - width).abs() < 0.1 * width, "{estimate:?}");
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

    #[test]
    fn differences_are_read_off_the_same_draws() {
        // Two systems that differ by a constant: both vary, their difference does not.
        let mut sums = Sums::new(500, 3);
        for user in 0..500 {
            let value = f64::from(user % 7);
            sums.add(user, &[value, value + 0.25, 0.25]);
        }
        let means = Bootstrap::default().means(&sums).unwrap();
        assert!(means[0].high - means[0].low > 0.1);
        assert!((means[2].high - means[2].low).abs() < 1e-12 && means[2].is_positive());
    }
}
