//! The table that an evaluation prints: systems × metrics, with intervals, for all cases and for groups.

use std::fmt;

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

// === impl Group ===

impl Group {
    /// Tables the cases that `include` says. `ranks[s][c]` is the rank of case `c`'s target under system `s`;
    /// `compare` lists pairs of systems, the second of each being the baseline. `None` when no case is included.
    pub fn of(
        name: &str,
        cases: &[Case],
        include: impl Fn(&Case) -> bool,
        systems: &[String],
        ranks: &[Vec<Rank>],
        metrics: &[Metric],
        compare: &[(usize, usize)],
        bootstrap: &Bootstrap,
    ) -> Option<Self> {
        let chosen: Vec<usize> = (0..cases.len()).filter(|&case| include(&cases[case])).collect();
        if chosen.is_empty() {
            return None;
        }
        let mut numbering = std::collections::HashMap::new();
        let users: Vec<u32> = chosen
            .iter()
            .map(|&case| {
                let next = numbering.len() as u32;
                *numbering.entry(cases[case].user).or_insert(next)
            })
            .collect();
        let values = |system: usize, metric: Metric| -> Vec<f64> {
            chosen.iter().map(|&case| metric.of(ranks[system][case])).collect()
        };
        let rows = systems.iter().enumerate().map(|(system, name)| Row {
            system: name.clone(),
            estimates: metrics
                .iter()
                .filter_map(|&metric| Some((metric, bootstrap.mean(&users, &values(system, metric))?)))
                .collect(),
        });
        let comparisons = compare.iter().flat_map(|&(system, baseline)| {
            metrics.iter().map(move |&metric| (system, baseline, metric))
        });
        let comparisons = comparisons.filter_map(|(system, baseline, metric)| {
            let mut differences = values(system, metric);
            for (ours, theirs) in differences.iter_mut().zip(values(baseline, metric)) {
                *ours -= theirs;
            }
            Some(Comparison {
                system: systems[system].clone(),
                baseline: systems[baseline].clone(),
                metric,
                difference: bootstrap.mean(&users, &differences)?,
            })
        });
        Some(Self {
            name: name.to_owned(),
            cases: chosen.len(),
            users: numbering.len(),
            rows: rows.collect(),
            comparisons: comparisons.collect(),
        })
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
