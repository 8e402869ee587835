//! The table that an evaluation prints: systems × metrics, with intervals, for all cases and for groups.

use std::{collections::HashMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{Bootstrap, Case, Estimate, Metric, Rank};

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How cases were made, and what was masked.
    pub protocol: String,
    /// What was evaluated.
    pub bundle: String,
    /// The data.
    pub source: String,
    /// Items that were ranked.
    pub catalogue: usize,
    /// Seed and number of draws of the intervals.
    pub bootstrap: (u64, u32),
    /// All cases, and parts of them.
    pub groups: Vec<Group>,
}

/// The table of a group of cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// `all`, `warm items`, `no history`.
    pub name: String,
    /// Number of cases.
    pub cases: usize,
    /// Number of shoppers who have them.
    pub users: usize,
    /// A row a system.
    pub rows: Vec<Row>,
    /// Systems against the baselines.
    pub comparisons: Vec<Comparison>,
}

/// A system's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The system.
    pub system: String,
    /// Its metrics.
    pub estimates: Vec<(Metric, Estimate)>,
}

/// The paired difference of two systems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The one …
    pub system: String,
    /// … less the other.
    pub baseline: String,
    /// By which metric.
    pub metric: Metric,
    /// Mean over cases of the difference, and its interval.
    pub difference: Estimate,
}

/// The ranks that systems gave to the targets of cases: what groups are tabled from.
pub(crate) struct Ranks<'a> {
    pub(crate) cases: &'a [Case],
    /// Names of the systems.
    pub(crate) systems: &'a [String],
    /// `ranks[s][c]`: the rank of case `c`'s target under system `s`.
    pub(crate) ranks: &'a [Vec<Rank>],
    pub(crate) metrics: &'a [Metric],
    /// Pairs of systems, the second of each being the baseline.
    pub(crate) compare: &'a [(usize, usize)],
    pub(crate) bootstrap: &'a Bootstrap,
}

// === impl Ranks ===

impl Ranks<'_> {
    /// Tables the cases that `include` says; `None` when that is none.
    pub(crate) fn group(&self, name: &str, include: fn(&Case) -> bool) -> Option<Group> {
        let chosen: Vec<usize> = (0..self.cases.len()).filter(|&case| include(&self.cases[case])).collect();
        if chosen.is_empty() {
            return None;
        }
        let mut numbers = HashMap::new();
        let users: Vec<u32> = chosen
            .iter()
            .map(|&case| {
                let next = numbers.len() as u32;
                *numbers.entry(self.cases[case].user).or_insert(next)
            })
            .collect();
        let values = |system: usize, metric: Metric| -> Vec<f64> {
            chosen.iter().map(|&case| metric.of(self.ranks[system][case])).collect()
        };
        let mean = |values: &[f64]| self.bootstrap.mean(&users, values);
        let mut rows = Vec::new();
        for (system, name) in self.systems.iter().enumerate() {
            let estimate = |&metric: &Metric| Some((metric, mean(&values(system, metric))?));
            rows.push(Row {
                system: name.clone(),
                estimates: self.metrics.iter().filter_map(estimate).collect(),
            });
        }
        let mut comparisons = Vec::new();
        for &(system, baseline) in self.compare {
            for &metric in self.metrics {
                let (ours, theirs) = (values(system, metric), values(baseline, metric));
                let differences: Vec<f64> =
                    ours.iter().zip(&theirs).map(|(ours, theirs)| ours - theirs).collect();
                comparisons.extend(mean(&differences).map(|difference| Comparison {
                    system: self.systems[system].clone(),
                    baseline: self.systems[baseline].clone(),
                    metric,
                    difference,
                }));
            }
        }
        Some(Group { name: name.to_owned(), cases: chosen.len(), users: numbers.len(), rows, comparisons })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} · bundle {} · {}", self.source, self.bundle, self.protocol)?;
        writeln!(f, "{} items ranked; mean [95 % interval over shoppers]", self.catalogue)?;
        self.groups.iter().try_for_each(|group| write!(f, "\n{group}"))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} cases of {} shoppers", self.name, self.cases, self.users)?;
        let Some(first) = self.rows.first() else { return Ok(()) };
        write!(f, "  {:<22}", "")?;
        for (metric, _) in &first.estimates {
            write!(f, "{:<26}", metric.to_string())?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "  {:<22}", row.system)?;
            for (_, Estimate { mean, low, high }) in &row.estimates {
                write!(f, "{:<26}", format!("{mean:.4} [{low:.4}, {high:.4}]"))?;
            }
            writeln!(f)?;
        }
        for Comparison { system, baseline, metric, difference } in &self.comparisons {
            let verdict = match difference {
                Estimate { low, .. } if *low > 0.0 => "better",
                Estimate { high, .. } if *high < 0.0 => "worse",
                _ => "not told apart",
            };
            let Estimate { mean, low, high } = difference;
            writeln!(f, "  {system} − {baseline}, {metric}: {mean:+.4} [{low:+.4}, {high:+.4}] {verdict}")?;
        }
        Ok(())
    }
}
