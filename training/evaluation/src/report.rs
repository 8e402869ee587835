//! The table that an evaluation prints: systems × metrics, with intervals, for all cases and for groups.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Estimate, Metric, SeenItems, Ties};

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How cases were made.
    pub protocol: String,
    /// The bundles that were evaluated; none where only baselines were.
    pub bundles: Vec<String>,
    /// The data.
    pub source: String,
    /// Items of the catalogue.
    pub catalogue: usize,
    /// Who went first among items of one score.
    pub ties: Ties,
    /// What was done with seen items.
    pub seen: SeenItems,
    /// Seed and number of draws of the intervals.
    pub bootstrap: (u64, u32),
    /// What was left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// All cases, and parts of them.
    pub groups: Vec<Group>,
}

/// The table of a group of cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// `all`, `warm items` …
    pub name: String,
    /// Number of cases.
    pub cases: usize,
    /// Number of shoppers who have them.
    pub users: usize,
    /// Relevant items in all; as many as cases where each has one.
    pub relevant: usize,
    /// A row a system.
    pub rows: Vec<Row>,
    /// Paired differences.
    pub comparisons: Vec<Comparison>,
}

/// A system's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The system.
    pub system: String,
    /// Its metrics.
    pub estimates: Vec<(Metric, Estimate)>,
    /// For each k, the share of the catalogue that stood on anybody's first k places (Herlocker et al., 2004); of all
    /// cases only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coverage: Vec<(u32, f64)>,
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

/// What an interval of a difference says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It lies wholly above 0.
    Better,
    /// It lies wholly below 0.
    Worse,
    /// It holds 0.
    NotToldApart,
}

// === impl Report ===

impl Report {
    /// A system's value for a metric over all cases.
    pub fn value(&self, system: &str, metric: Metric) -> Option<Estimate> {
        self.groups.first()?.value(system, metric)
    }
}

impl Group {
    /// A system's value for a metric.
    pub fn value(&self, system: &str, metric: Metric) -> Option<Estimate> {
        let row = self.rows.iter().find(|row| row.system == system)?;
        row.estimates.iter().find(|(found, _)| *found == metric).map(|(_, estimate)| *estimate)
    }
}

impl Comparison {
    /// What it says.
    pub fn verdict(&self) -> Verdict {
        match self.difference {
            Estimate { low, .. } if low > 0.0 => Verdict::Better,
            Estimate { high, .. } if high < 0.0 => Verdict::Worse,
            _ => Verdict::NotToldApart,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NotToldApart => "not told apart",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        match &self.bundles[..] {
            [] => write!(f, " · baselines")?,
            [bundle] => write!(f, " · bundle {bundle}")?,
            [first, second] => write!(f, " · bundles A = {first}, B = {second}")?,
            bundles => write!(f, " · bundles {}", bundles.join(", "))?,
        }
        let seen = match self.seen {
            SeenItems::Allow => "seen items compete",
            SeenItems::Mask => "seen items masked",
        };
        let ties = match self.ties {
            Ties::Against => "ties against the system",
            Ties::Listed => "ties as the system lists them",
        };
        writeln!(f, " · {}, {seen}, {ties}", self.protocol)?;
        writeln!(f, "{} items ranked; mean [95 % interval over shoppers]", self.catalogue)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))?;
        self.groups.iter().try_for_each(|group| write!(f, "\n{group}"))
    }
}

impl Group {
    /// Metrics that tables show: with one relevant item a case, hit rate and precision say what recall says, and MAP
    /// what MRR says.
    fn shown(&self, k: u32) -> Vec<Metric> {
        if self.relevant == self.cases {
            vec![Metric::Recall(k), Metric::Ndcg(k), Metric::Mrr(k)]
        } else {
            vec![Metric::HitRate(k), Metric::Recall(k), Metric::Precision(k), Metric::Ndcg(k), Metric::Map(k)]
        }
    }

    fn cutoffs(&self) -> Vec<u32> {
        let metrics = self.rows.first().map(|row| &row.estimates[..]).unwrap_or_default();
        metrics
            .iter()
            .filter_map(|(metric, _)| if let Metric::Recall(k) = metric { Some(*k) } else { None })
            .collect()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relevant = match self.relevant {
            n if n == self.cases => String::new(),
            n => format!(", {n} relevant items"),
        };
        writeln!(f, "{}: {} cases of {} shoppers{relevant}", self.name, self.cases, self.users)?;
        let width =
            self.rows.iter().map(|row| row.system.chars().count()).max().unwrap_or_default().max(8) + 2;
        let cell = |estimate: Option<Estimate>| match estimate {
            Some(Estimate { mean, low, high }) => format!("{mean:.4} [{low:.4}, {high:.4}]"),
            None => "–".to_owned(),
        };
        let cutoffs = self.cutoffs();
        for &k in &cutoffs {
            let metrics = self.shown(k);
            write!(f, "  {:<width$}", "")?;
            for metric in &metrics {
                write!(f, "{:<26}", metric.to_string())?;
            }
            writeln!(f, "{:<12}{}", format!("novelty@{k}"), format_args!("coverage@{k}"))?;
            for row in &self.rows {
                let value = |metric: Metric| {
                    row.estimates.iter().find(|(found, _)| *found == metric).map(|(_, e)| *e)
                };
                write!(f, "  {:<width$}", row.system)?;
                for &metric in &metrics {
                    write!(f, "{:<26}", cell(value(metric)))?;
                }
                let novelty = value(Metric::Novelty(k)).map_or(0.0, |estimate| estimate.mean);
                let coverage = row.coverage.iter().find(|(found, _)| *found == k);
                let coverage = coverage.map_or("–".to_owned(), |(_, share)| format!("{share:.4}"));
                writeln!(f, "{:<12}{coverage}", format!("{novelty:.2}"))?;
            }
        }
        write!(f, "  {:<width$}", "AUC")?;
        let of =
            |row: &Row| row.estimates.iter().find(|(metric, _)| *metric == Metric::Auc).map(|(_, e)| e.mean);
        let aucs: Vec<String> =
            self.rows.iter().filter_map(|row| Some(format!("{} {:.4}", row.system, of(row)?))).collect();
        writeln!(f, "{}", aucs.join(", "))?;
        // One of each kind is enough to read; JSON has all.
        let (first, last) = (cutoffs.first().copied(), cutoffs.last().copied());
        let told = |metric: Metric| {
            Some(metric) == first.map(Metric::Ndcg) || Some(metric) == last.map(Metric::Recall)
        };
        for comparison in self.comparisons.iter().filter(|comparison| told(comparison.metric)) {
            let Comparison { system, baseline, metric, difference } = comparison;
            let Estimate { mean, low, high } = difference;
            let verdict = comparison.verdict();
            writeln!(f, "  {system} − {baseline}, {metric}: {mean:+.4} [{low:+.4}, {high:+.4}] {verdict}")?;
        }
        Ok(())
    }
}
