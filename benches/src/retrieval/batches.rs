//! All queries given at once: ours beside the peers' own batches.

use anyhow::Context;

use super::beside::{Bench, FINALISTS, GLANCE, Point, Points, TARGETS, TIME, reaching, recall_name};
use super::{QUERIES, ROUNDS};
use crate::measure::median;
use crate::report::Report;

impl Bench<'_> {
    /// A row for each recall, on one thread and on two.
    pub(super) fn batches(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let Points { ours: of_ours, peers: of_peers } = self.points()?;
        for target in TARGETS {
            let name = format!("{} {}, batches of {QUERIES}", self.data.name, recall_name(target));
            let ours =
                self.best(&of_ours, target).with_context(|| format!("{name}: no way of ours reaches it"))?;
            for threads in [1, 2] {
                // What is fast one at a time may not be when many come at once.
                let mut peers = reaching(&of_peers, target);
                for point in &mut peers {
                    point.rate = self.peers_batch(point, GLANCE.as_secs_f64(), threads)?;
                }
                peers.sort_by(|a, b| b.rate.total_cmp(&a.rate));
                peers.truncate(FINALISTS);
                let mut figures = vec![Vec::new(); peers.len() + 1];
                for _ in 0..ROUNDS {
                    let effort = ours.search.as_u64().unwrap_or(0) as u32;
                    figures[0].push(self.ways[ours.who].batch_rate(effort, self.data, TIME, threads)?);
                    for (figures, point) in figures[1..].iter_mut().zip(&peers) {
                        figures.push(self.peers_batch(point, TIME.as_secs_f64(), threads)?);
                    }
                }
                let figures: Vec<f64> = figures.into_iter().map(median).collect();
                let threaded = if threads == 1 { String::new() } else { format!(", {threads} threads") };
                report.push(self.row(&format!("{name}{threaded}"), &figures, &peers, &ours));
            }
        }
        Ok(())
    }

    fn peers_batch(&mut self, point: &Point, seconds: f64, threads: usize) -> anyhow::Result<f64> {
        self.peers[point.who].batch_rate(&point.search, seconds, threads)
    }
}
