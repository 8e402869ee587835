//! A row as it is printed: what was published, the baselines, the towers over their seeds, and the bars.

use std::fmt;

use endcap_evaluation::{Estimate, Metric};

use super::{Outcome, Published, Row};

/// A row's results, side by side.
pub struct Table<'a> {
    /// The row.
    pub row: &'a Row,
    /// The baselines' outcome.
    pub baselines: Option<&'a Outcome>,
    /// Outcomes of the seeds.
    pub seeds: &'a [Outcome],
}

/// The row that counts.
const TOWERS: &str = "towers (exact)";

impl Table<'_> {
    /// The bars that the mean over the seeds misses; where nothing was trained, none.
    pub fn missed(&self) -> Vec<Metric> {
        let missed =
            |bar: &&super::Bar| self.mean_of(TOWERS, bar.metric).is_some_and(|(mean, _)| mean <= bar.must);
        self.row.bars.iter().filter(missed).map(|bar| bar.metric).collect()
    }

    /// Mean over the seeds, and their standard deviation where there are several.
    fn mean_of(&self, system: &str, metric: Metric) -> Option<(f64, Option<f64>)> {
        let values: Vec<f64> =
            self.seeds.iter().filter_map(|seed| Some(seed.report.value(system, metric)?.mean)).collect();
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        Some((mean, (values.len() > 1).then(|| variance.sqrt())))
    }

    fn metrics(&self) -> Vec<Metric> {
        if !self.row.bars.is_empty() {
            return self.row.bars.iter().map(|bar| bar.metric).collect();
        }
        let published = self.row.published.iter().flat_map(|published| &published.figures);
        let mut metrics: Vec<Metric> = published.map(|(metric, _)| *metric).collect();
        metrics.extend(
            self.row.cutoffs.iter().flat_map(|&k| [Metric::Recall(k), Metric::Ndcg(k), Metric::Mrr(k)]),
        );
        let mut seen = Vec::new();
        metrics.retain(|metric| {
            !seen.contains(metric) && {
                seen.push(*metric);
                true
            }
        });
        metrics
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = self.metrics();
        let any = self.seeds.first().or(self.baselines);
        if let Some(outcome) = any {
            let group = outcome.report.groups.first();
            let cases = group.map_or(0, |group| group.cases);
            let report = &outcome.report;
            writeln!(
                f,
                "{} · {} · {cases} cases · {} items",
                self.row.name, report.protocol, report.catalogue
            )?;
        }
        let line = |f: &mut fmt::Formatter<'_>, name: &str, cells: Vec<String>| {
            write!(f, "{name:<44}")?;
            cells.iter().try_for_each(|cell| write!(f, "{cell:<30}"))?;
            writeln!(f)
        };
        line(f, "%", metrics.iter().map(ToString::to_string).collect())?;
        for Published { system, figures, .. } in &self.row.published {
            let of = |metric: &Metric| figures.iter().find(|(found, _)| found == metric);
            let cell = |metric| of(metric).map_or("–".to_owned(), |(_, value)| format!("{value:.2}"));
            line(f, &format!("published: {system}"), metrics.iter().map(cell).collect())?;
        }
        for row in self.baselines.iter().flat_map(|outcome| &outcome.report.groups[0].rows) {
            let of =
                |metric: &Metric| row.estimates.iter().find(|(found, _)| found == metric).map(|(_, e)| *e);
            line(f, &row.system, metrics.iter().map(|metric| interval(of(metric))).collect())?;
        }
        for system in [TOWERS, "towers (index)"] {
            if let [only] = self.seeds {
                let cells = metrics.iter().map(|&metric| interval(only.report.value(system, metric)));
                line(f, system, cells.collect())?;
            } else if !self.seeds.is_empty() {
                let cell = |metric: &Metric| match self.mean_of(system, *metric) {
                    Some((mean, Some(sd))) => format!("{:.2} ± {:.2}", 100.0 * mean, 100.0 * sd),
                    _ => "–".to_owned(),
                };
                line(
                    f,
                    &format!("{system}, {} seeds", self.seeds.len()),
                    metrics.iter().map(cell).collect(),
                )?;
            }
        }
        if !self.row.bars.is_empty() {
            let cell = |bar: &super::Bar| {
                let reached = self.mean_of(TOWERS, bar.metric).map(|(mean, _)| mean > bar.must);
                let mark = match reached {
                    Some(true) => "reached",
                    Some(false) => "MISSED",
                    None => "not trained",
                };
                format!("> {:.2} ({:.2}): {mark}", 100.0 * bar.must, 100.0 * bar.aim)
            };
            line(f, "must (aim)", self.row.bars.iter().map(cell).collect())?;
        }
        for outcome in self.seeds {
            let Some(training) = &outcome.training else { continue };
            writeln!(
                f,
                "seed {}: {:.0} s fitting ({} epochs, the best {}), {:.0} s ranking, {} MiB, commit {}",
                outcome.seed.unwrap_or_default(),
                outcome.seconds.fit,
                training.epochs,
                training.best_epoch,
                outcome.seconds.evaluate,
                outcome.peak_memory_mib,
                outcome.commit
            )?;
        }
        Ok(())
    }
}

fn interval(estimate: Option<Estimate>) -> String {
    estimate.map_or("–".to_owned(), |Estimate { mean, low, high }| {
        format!("{:.2} [{:.2}, {:.2}]", 100.0 * mean, 100.0 * low, 100.0 * high)
    })
}
