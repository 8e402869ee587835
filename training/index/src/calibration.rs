//! What the ways of an index cost and find, measured on the index itself.
//!
//! Which way is the cheapest depends on the vectors (few clusters or many tight ones), on the machine and on the filter, so
//! it is not guessed. For filters that let through a falling share of the items, chosen at random, and for two sizes of
//! answer, each way is tried with growing effort until its recall against the exact answer reaches the target. The table
//! is stored with the index; a query takes the cheapest route for its share.
//!
//! A filter of the field is not random: the items of one category lie together. Then partitions and walks near the query
//! meet either more survivors or fewer than were measured. The live recall probe shows that; the table cannot.

use std::fmt;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::rows::unfit;
use crate::snapshot::State;
use crate::{IndexError, Route, Way};

/// Shares of the items that the measured filters let through.
const SHARES: [f64; 8] = [1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.03, 0.01];
/// Sizes of the measured answers. Larger ones are scanned for.
const SIZES: [usize; 2] = [100, 500];
/// Most queries that are measured.
const QUERIES: usize = 256;
/// What was measured on these queries holds for others but for chance: a mean recall counts less so many of its standard
/// errors.
const MARGIN: f64 = 2.0;
/// Each try goes further than the last: by this many hundredths of a deviation, or by this factor of `ef`.
const PARTITIONS_STEP: usize = 25;
const GRAPH_STEP: f64 = 1.4;
/// Where the tries begin and end.
const PARTITIONS_REACH: std::ops::RangeInclusive<usize> = 50..=800;
const LARGEST_EF: usize = 20_000;
/// Fewer survivors than this are scored one by one without asking.
const FEW: usize = 2_000;

/// The costs and recalls of an index's ways.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Items of the base segment that was measured.
    pub items: usize,
    /// Queries that each figure is the mean or median of.
    pub queries: usize,
    /// Where the queries came from.
    pub source: QuerySource,
    /// The recall that a route must have reached.
    pub recall_target: f64,
    /// Every attempt, in the order of size and share.
    pub attempts: Vec<Attempt>,
}

/// Where the queries of a [`Calibration`] came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuerySource {
    /// Vectors of users, from whoever made the index.
    Users,
    /// Blends of two items each, drawn from a seed: they lie where items are, but are none.
    BlendedItems,
}

/// One way, one effort, one share, one size of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Hits asked for.
    pub k: usize,
    /// Share of the items that the filter let through.
    pub share: f64,
    /// What was tried.
    pub route: Route,
    /// Mean share of the exact answer that was found.
    pub recall: f64,
    /// What the target is compared with: the mean recall less twice its standard error.
    pub recall_low: f64,
    /// Median time of a query on one thread.
    pub micros: f64,
}

impl Calibration {
    /// The cheapest route that reached the target for a filter like this one: measured with the next larger answer and the
    /// next smaller share.
    pub fn route(&self, survivors: usize, items: usize, k: usize) -> Route {
        if survivors <= FEW {
            return if survivors < items { Way::Survivors.into() } else { Way::Scan.into() };
        }
        let share = survivors as f64 / items.max(1) as f64;
        let Some(size) = self.attempts.iter().map(|attempt| attempt.k).filter(|&size| size >= k).min() else {
            return self.exact(share);
        };
        let of_size = || self.attempts.iter().filter(move |attempt| attempt.k == size);
        let measured = of_size().map(|attempt| attempt.share).filter(|&measured| measured <= share);
        let Some(nearest) = measured.max_by(f64::total_cmp) else { return self.exact(share) };
        of_size()
            .filter(|attempt| attempt.share == nearest && self.suits(attempt))
            .min_by(|a, b| self.cost(a, share).total_cmp(&self.cost(b, share)))
            .map_or(Way::Scan.into(), |attempt| attempt.route)
    }

    fn suits(&self, attempt: &Attempt) -> bool {
        attempt.route.way.is_exact() || attempt.recall_low >= self.recall_target
    }

    /// What an attempt would cost at a larger share: only a look at each survivor grows with it.
    fn cost(&self, attempt: &Attempt, share: f64) -> f64 {
        match attempt.route.way {
            Way::Survivors => attempt.micros * share / attempt.share,
            _ => attempt.micros,
        }
    }

    /// The cheaper of the exact ways.
    fn exact(&self, share: f64) -> Route {
        if share < 0.2 { Way::Survivors.into() } else { Way::Scan.into() }
    }

    /// What planned queries for `k` hits cost and find, share by share, the largest first.
    pub fn planned(&self, k: usize) -> Vec<Attempt> {
        let mut shares: Vec<f64> =
            self.attempts.iter().filter(|attempt| attempt.k == k).map(|attempt| attempt.share).collect();
        shares.sort_by(|a, b| b.total_cmp(a));
        shares.dedup();
        let chosen = |&share: &f64| {
            let at_share = self.attempts.iter().filter(move |a| a.k == k && a.share == share);
            at_share
                .filter(|attempt| self.suits(attempt))
                .min_by(|a, b| a.micros.total_cmp(&b.micros))
                .copied()
        };
        shares.iter().filter_map(chosen).collect()
    }

    /// Measures the base segment of a state. `users` are vectors of users, row-major, or empty.
    pub(crate) fn measure(state: &State, users: &[f32], target: f64, seed: u64) -> Result<Self, IndexError> {
        let rows = &state.base.rows;
        if !users.len().is_multiple_of(rows.dim) {
            return Err(IndexError::Dimension { expected: rows.dim, found: users.len() % rows.dim });
        }
        if let Some((position, value)) = unfit(users) {
            return Err(IndexError::QueryValue { position: position % rows.dim, value });
        }
        let mut rng = StdRng::seed_from_u64(seed ^ 0x0ca1_1b7a);
        let (source, queries) = match users.len() / rows.dim {
            0 => (QuerySource::BlendedItems, blends(state, &mut rng)),
            held_out => {
                let taken = (0..held_out.min(QUERIES)).map(|i| i * held_out / held_out.min(QUERIES));
                let rows = taken.flat_map(|i| &users[i * rows.dim..][..rows.dim]).copied();
                (QuerySource::Users, rows.collect())
            }
        };
        let mut attempts = Vec::new();
        let sizes = SIZES.iter().filter(|&&k| 4 * k <= rows.len());
        for &k in sizes {
            let mut from = Efforts { partitions: *PARTITIONS_REACH.start(), graph: k };
            for share in SHARES {
                let words = random_rows(rows.len(), share, seed);
                let filter = Filter::of_words(state, &words);
                if filter.survivors < FEW.max(4 * k) {
                    break;
                }
                let trial = Trial { state, queries: &queries, filter: &filter, k, share };
                attempts.extend(trial.run(target, &mut from));
            }
        }
        let count = queries.len() / rows.dim;
        Ok(Self { items: rows.len(), queries: count, source, recall_target: target, attempts })
    }
}

/// Where the search for the right effort begins: where the last share's ended, since a smaller one needs about as much
/// or more.
struct Efforts {
    partitions: usize,
    graph: usize,
}

/// All attempts at one share and size.
struct Trial<'a> {
    state: &'a State,
    queries: &'a [f32],
    filter: &'a Filter<'a>,
    k: usize,
    share: f64,
}

impl Trial<'_> {
    fn run(&self, target: f64, from: &mut Efforts) -> Vec<Attempt> {
        let base = &self.state.base;
        let (exact, micros) = self.answers(Way::Scan.into());
        let of_scan = Attempt {
            k: self.k,
            share: self.share,
            route: Way::Scan.into(),
            recall: 1.0,
            recall_low: 1.0,
            micros,
        };
        let mut attempts = vec![of_scan];
        if self.share <= 0.3 {
            let (_, micros) = self.answers(Way::Survivors.into());
            attempts.push(Attempt { route: Way::Survivors.into(), micros, ..of_scan });
        }
        let cheapest = attempts.iter().map(|attempt| attempt.micros).fold(f64::INFINITY, f64::min);
        let mut climb = |way, from: &mut usize, most: usize, further: fn(usize) -> usize| {
            while *from <= most {
                let route = Route { way, effort: *from };
                let (found, micros) = self.answers(route);
                let (recall, error) = recall(&found, &exact);
                let attempt =
                    Attempt { route, recall, recall_low: recall - MARGIN * error, micros, ..of_scan };
                attempts.push(attempt);
                // Nothing is gained past the exact answer's own cost.
                if attempt.recall_low >= target || micros > 1.5 * cheapest {
                    return;
                }
                *from = further(*from);
            }
        };
        if target >= 1.0 {
            // What was exact for these queries is not for others.
            return attempts;
        }
        if base.partitions.is_some() {
            let most = *PARTITIONS_REACH.end();
            climb(Way::Partitions, &mut from.partitions, most, |effort| effort + PARTITIONS_STEP);
        }
        if base.graph.is_some() {
            let further = |ef| (ef as f64 * GRAPH_STEP) as usize + 1;
            climb(Way::Graph, &mut from.graph, base.rows.len().min(LARGEST_EF), further);
        }
        attempts
    }

    /// The answers to all queries, and the median time of one.
    fn answers(&self, route: Route) -> (Vec<Vec<u64>>, f64) {
        let dim = self.state.base.rows.dim;
        let mut micros = Vec::new();
        let answer = |query: &[f32]| {
            let start = Instant::now();
            let hits = self.state.by_route(query, self.k, self.filter, route);
            micros.push(start.elapsed().as_secs_f64() * 1e6);
            hits.iter().map(|hit| hit.label).collect()
        };
        let answers = self.queries.chunks_exact(dim).map(answer).collect();
        micros.sort_by(f64::total_cmp);
        (answers, micros.get(micros.len() / 2).copied().unwrap_or(0.0))
    }
}

/// Mean recall over the queries, and its standard error.
fn recall(found: &[Vec<u64>], exact: &[Vec<u64>]) -> (f64, f64) {
    let mut recalls = Vec::with_capacity(exact.len());
    for (found, exact) in found.iter().zip(exact) {
        let mut found = found.clone();
        found.sort_unstable();
        let hits = exact.iter().filter(|label| found.binary_search(label).is_ok()).count();
        recalls.push(hits as f64 / exact.len().max(1) as f64);
    }
    let count = recalls.len().max(1) as f64;
    let mean = recalls.iter().sum::<f64>() / count;
    let variance = recalls.iter().map(|recall| (recall - mean).powi(2)).sum::<f64>() / count;
    (mean, (variance / count).sqrt())
}

/// Queries where there are no users: 0.7 of one item and 0.4 of another.
fn blends(state: &State, rng: &mut StdRng) -> Vec<f32> {
    let rows = &state.base.rows;
    let mut queries = Vec::with_capacity(QUERIES * rows.dim);
    for _ in 0..QUERIES {
        let (a, b) = (rng.random_range(0..rows.len()), rng.random_range(0..rows.len()));
        queries.extend(rows.vector(a).iter().zip(rows.vector(b)).map(|(a, b)| 0.7 * a + 0.4 * b));
    }
    queries
}

/// A bitmap of about that share of the rows.
fn random_rows(rows: usize, share: f64, seed: u64) -> Vec<u64> {
    let mut words = vec![0u64; rows.div_ceil(64)];
    let mut rng = StdRng::seed_from_u64(seed);
    for row in 0..rows {
        words[row / 64] |= u64::from(rng.random::<f64>() < share) << (row % 64);
    }
    words
}

impl fmt::Display for Calibration {
    /// A table of the chosen routes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            QuerySource::Users => "users",
            QuerySource::BlendedItems => "blended items",
        };
        let Self { items, queries, recall_target, .. } = self;
        write!(f, "{items} items, {queries} queries of {source}, recall target {recall_target}")?;
        let mut sizes: Vec<usize> = self.attempts.iter().map(|attempt| attempt.k).collect();
        sizes.dedup();
        for k in sizes {
            for Attempt { share, route, recall, micros, .. } in self.planned(k) {
                let percent = share * 100.0;
                write!(
                    f,
                    "\n  k {k:<4} filter {percent:>5} %  recall {recall:.4}  {micros:>8.1} µs  {route}"
                )?;
            }
        }
        Ok(())
    }
}
