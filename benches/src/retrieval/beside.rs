//! Ours beside the peers over one set of vectors: every setting of each once, then those that matter in turn.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use endcap_index::Allowed;
use serde_json::{Value, json};

use super::data::{DataSet, Keeps, SHARES, Source, Truth};
use super::ours::{Build, Contender, Ours};
use super::peers::{Ladder, Peer};
use super::plot::{Plot, Series};
use super::{Options, Part, ROUNDS};
use crate::measure::{in_turn, median};
use crate::report::{Better, Report, Row};

/// How long a rate is measured where ours and peers take turns, and where settings are looked over.
pub(super) const TIME: Duration = Duration::from_millis(400);
pub(super) const GLANCE: Duration = Duration::from_millis(150);
/// A peer with the best rate of a glance may owe that to the moment: so many are measured in turn.
pub(super) const FINALISTS: usize = 3;
/// How many times slower than ours a filtered peer may be before it is passed over: no dearer setting is tried then.
const HOPELESS: f64 = 30.0;
/// Ways of ours that have no line of their own.
const UNPLOTTED: [&str; 2] = ["planned", "survivors"];
pub(super) const TARGETS: [f64; 2] = [0.95, 0.99];
/// Beyond this recall no dearer setting is tried.
const ENOUGH: f64 = 0.995;

/// One setting of one contender.
#[derive(Debug, Clone)]
pub(super) struct Point {
    /// Place of the peer or of our way.
    pub(super) who: usize,
    pub(super) search: Value,
    recall: f64,
    pub(super) rate: f64,
}

/// Everything that is measured over one set of vectors.
pub(super) struct Bench<'a> {
    pub(super) data: &'a DataSet,
    ours: &'a Ours,
    pub(super) ways: Vec<Contender>,
    pub(super) peers: Vec<Peer>,
    /// Every setting without a filter, once it was looked at.
    unfiltered: Option<Points>,
}

/// Settings that were looked at.
#[derive(Debug, Clone)]
pub(super) struct Points {
    pub(super) ours: Vec<Point>,
    pub(super) peers: Vec<Point>,
}

/// Measures what `options` ask for over `data`.
pub(super) fn run(data: &DataSet, options: &Options, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let build = if options.no_graph { Build::WithoutGraph } else { Build::Default };
    build.run(data, dir)?;
    let mut peers = Vec::new();
    for kind in options.kinds(data.len()) {
        eprintln!("{}: {}", data.name, kind.name);
        peers.extend(Peer::start(kind, data, dir, options.only_build)?);
    }
    if options.only_build {
        for keeps in [None].into_iter().chain(SHARES.map(|share| Some(Keeps(share)))) {
            data.truth(keeps)?;
        }
        return Ok(());
    }
    let ours = Ours::open(data, build, dir)?;
    let mut bench = Bench { data, ways: ours.contenders(), ours: &ours, peers, unfiltered: None };
    if options.has(Part::Unfiltered) {
        bench.unfiltered(options, report)?;
    }
    if options.has(Part::Batches) {
        bench.batches(report)?;
    }
    if options.has(Part::Builds) {
        bench.builds(report);
    }
    if options.has(Part::Filtered) {
        for share in SHARES {
            bench.filtered(Keeps(share), report)?;
        }
    }
    Ok(())
}

/// `recall .99`.
pub(super) fn recall_name(target: f64) -> String {
    format!("recall {}", format!("{target}").trim_start_matches('0'))
}

impl Bench<'_> {
    fn unfiltered(&mut self, options: &Options, report: &mut Report) -> anyhow::Result<()> {
        let name = self.data.name.clone();
        let Points { ours: of_ours, peers: of_peers } = self.points()?;
        let plot = self.plot(&of_ours, &of_peers);
        plot.write(&options.plots, &format!("retrieval-{}", name.replace(' ', "-")))?;
        for target in TARGETS {
            for threads in [1, 2] {
                let threaded = if threads == 1 { String::new() } else { format!(", {threads} threads") };
                let work = format!("{name} {}{threaded}", recall_name(target));
                let ours = self
                    .best(&of_ours, target)
                    .with_context(|| format!("{work}: no way of ours reaches it"))?;
                let ours = &ours;
                let finalists = finalists(&of_peers, target);
                let figures = self.in_turn(ours, &finalists, &Allowed::All, threads)?;
                let bar = match (self.data.source, target < 0.99) {
                    (Source::Easy, true) => 0.7,
                    _ => 1.0,
                };
                report.push(self.row(&work, &figures, &finalists, ours).bar(bar));
            }
        }
        // What the planner chooses for the recall that the index was built for, and each way by itself.
        let mut alone = |work: String, point: &Point| {
            report.push(Row::alone(format!("{work} (recall {:.4})", point.recall), point.rate, "queries/s"));
        };
        for point in of_ours.iter().filter(|point| point.who == 0) {
            alone(format!("{name}, planned"), point);
        }
        for (who, _) in self.ways.iter().enumerate().filter(|(_, way)| !UNPLOTTED.contains(&way.name)) {
            for target in TARGETS {
                let of_way = of_ours.iter().filter(|point| point.who == who && point.recall >= target);
                if let Some(point) = of_way.max_by(|a, b| a.rate.total_cmp(&b.rate)) {
                    alone(format!("{name} {}, {}", recall_name(target), self.our_name(point)), point);
                }
            }
        }
        Ok(())
    }

    /// Every setting without a filter.
    pub(super) fn points(&mut self) -> anyhow::Result<Points> {
        if let Some(points) = &self.unfiltered {
            return Ok(points.clone());
        }
        let truth = self.data.truth(None)?;
        let ours = self.our_points(&truth, &Allowed::All)?;
        let points = Points { ours, peers: self.peers_points(&truth, false, 0.0)? };
        self.unfiltered = Some(points.clone());
        Ok(points)
    }

    fn filtered(&mut self, keeps: Keeps, report: &mut Report) -> anyhow::Result<()> {
        let truth = self.data.truth(Some(keeps))?;
        let selection = self.ours.selection(keeps);
        let allowed = Allowed::Selected { selection: &selection, except: &[] };
        let target = TARGETS[1];
        let work = format!("filter {} {}", keeps.name(), self.data.name);
        let best = self.best(&self.our_points(&truth, &allowed)?, target);
        let ours = &best.with_context(|| format!("{work}: no way of ours reaches {target}"))?;
        let unfiltered = match &self.unfiltered {
            Some(points) => points.ours.clone(),
            None => self.our_points(&self.data.truth(None)?, &Allowed::All)?,
        };
        let unfiltered = self.best(&unfiltered, target);
        let unfiltered = &unfiltered.context("no way of ours reaches it without a filter")?;
        let figures = in_turn(
            ROUNDS,
            &mut [&mut || self.our_rate(ours, &allowed, 1), &mut || {
                self.our_rate(unfiltered, &Allowed::All, 1)
            }],
        );
        let bar = match keeps.0 {
            share if share >= 0.5 => 0.5,
            share if share >= 0.1 => 1.0,
            _ => 2.0,
        };
        let peer = format!(
            "no filter, equal recall; ours {}, then {}",
            self.our_name(ours),
            self.our_name(unfiltered)
        );
        report.push(Row::beside(&work, figures[0], figures[1], &peer, "queries/s", Better::More).bar(bar));
        if self.peers.is_empty() {
            return Ok(());
        }
        self.filter_peers(Some(keeps))?;
        let of_peers = self.peers_points(&truth, true, ours.rate / HOPELESS)?;
        let finalists = finalists(&of_peers, target);
        let figures = self.in_turn(ours, &finalists, &allowed, 1)?;
        let work = format!("{work} {}", recall_name(target));
        report.push(self.row(&work, &figures, &finalists, ours).bar(1.0));
        self.filter_peers(None)
    }

    /// Lets the peers that can filter do so, or stop it.
    fn filter_peers(&mut self, keeps: Option<Keeps>) -> anyhow::Result<()> {
        let mut filtering = self.peers.iter_mut().filter(|peer| peer.ready.filtered.is_some());
        filtering.try_for_each(|peer| peer.filter(self.data, keeps))
    }

    /// Costs of our index beside those of each peer's that is the fastest of its library somewhere.
    fn builds(&self, report: &mut Report) {
        let ours = &self.ours.footprint;
        let items = self.data.len() as f64;
        for peer in &self.peers {
            let theirs = &peer.ready.footprint;
            let name = format!("{} {}", peer.kind.name, peer.ready.version);
            let rows = [
                ("build, all cores", ours.build_cpu_s, theirs.build_cpu_s, "CPU s"),
                ("memory while building", ours.build_bytes / items, theirs.build_bytes / items, "bytes/item"),
                ("memory when serving", ours.serve_bytes / items, theirs.serve_bytes / items, "bytes/item"),
                ("load", ours.load_s * 1e3, theirs.load_s * 1e3, "ms"),
            ];
            for (what, ours, theirs, unit) in rows {
                let work = format!("{} {what}, beside {}", self.data.name, peer.kind.name);
                report.push(Row::beside(work, ours, theirs, &name, unit, Better::Less));
            }
        }
    }

    /// Every setting of every way of ours, what the planner chooses first.
    fn our_points(&self, truth: &Truth, allowed: &Allowed<'_>) -> anyhow::Result<Vec<Point>> {
        let mut points = Vec::new();
        for (who, way) in self.ways.iter().enumerate() {
            climb(&way.ladder, |effort| {
                let recall = truth.recall(&way.find(effort, self.data, allowed)?);
                let rate = way.rate(effort, self.data, allowed, GLANCE, 1);
                points.push(Point { who, search: json!(effort), recall, rate });
                Ok(recall)
            })?;
        }
        Ok(points)
    }

    /// Every setting of every peer, or of every one that filters. Those below `least` queries a second are passed over:
    /// dearer ones are slower still, and some libraries take seconds for a filtered query.
    fn peers_points(&mut self, truth: &Truth, filtered: bool, least: f64) -> anyhow::Result<Vec<Point>> {
        let mut points = Vec::new();
        for (who, peer) in self.peers.iter_mut().enumerate() {
            if filtered && peer.ready.filtered.is_none() {
                continue;
            }
            let settings = std::mem::replace(&mut peer.kind.ladder, Ladder::Steps(Vec::new()));
            let mut look = |search: Value| {
                let rate = peer.rate(&search, GLANCE.as_secs_f64(), 1)?;
                if rate < least {
                    return anyhow::Ok(1.0);
                }
                let recall = peer.recall(truth, &search)?;
                points.push(Point { who, search, recall, rate });
                Ok(recall)
            };
            match &settings {
                Ladder::Steps(steps) => climb(steps, |step| look(json!(step)))?,
                Ladder::Pairs(pairs) => {
                    for pair in pairs {
                        if look(json!(pair))? >= ENOUGH {
                            break;
                        }
                    }
                }
            }
            peer.kind.ladder = settings;
        }
        Ok(points)
    }

    /// The fastest way of ours that reaches the recall, at its cheapest. What the planner chooses is one of the others, and
    /// was chosen for another recall.
    pub(super) fn best(&self, of_ours: &[Point], target: f64) -> Option<Point> {
        reaching(of_ours, target).into_iter().find(|point| self.ways[point.who].name != "planned")
    }

    /// `partitions 24`.
    fn our_name(&self, point: &Point) -> String {
        match (self.ways[point.who].name, point.search.as_u64()) {
            (way @ ("planned" | "scan" | "survivors"), _) | (way, None) => way.to_owned(),
            (way, Some(effort)) => format!("{way} {effort}"),
        }
    }

    fn our_rate(&self, point: &Point, allowed: &Allowed<'_>, threads: usize) -> f64 {
        let effort = point.search.as_u64().unwrap_or(0) as u32;
        self.ways[point.who].rate(effort, self.data, allowed, TIME, threads)
    }

    /// Median rates: ours, then each finalist's.
    fn in_turn(
        &mut self,
        ours: &Point,
        finalists: &[Point],
        allowed: &Allowed<'_>,
        threads: usize,
    ) -> anyhow::Result<Vec<f64>> {
        let mut figures = vec![Vec::new(); finalists.len() + 1];
        for _ in 0..ROUNDS {
            figures[0].push(self.our_rate(ours, allowed, threads));
            for (figures, point) in figures[1..].iter_mut().zip(finalists) {
                figures.push(self.peers[point.who].rate(&point.search, TIME.as_secs_f64(), threads)?);
            }
        }
        Ok(figures.into_iter().map(median).collect())
    }

    /// Ours beside the fastest finalist; alone, where no peer reaches the recall.
    pub(super) fn row(&self, work: &str, figures: &[f64], finalists: &[Point], ours: &Point) -> Row {
        let best = finalists.iter().zip(&figures[1..]).max_by(|a, b| a.1.total_cmp(b.1));
        let Some((point, &rate)) = best else {
            let peer_name = format!("no peer that was tried reaches it; ours {}", self.our_name(ours));
            return Row { peer_name, ..Row::alone(work, figures[0], "queries/s") };
        };
        let kind = &self.peers[point.who].kind;
        let name = format!(
            "{} {} {}, recall {:.3}; ours {}, recall {:.4}",
            kind.name,
            kind.ladder.name(&kind.name),
            point.search,
            point.recall,
            self.our_name(ours),
            ours.recall
        );
        Row::beside(work, figures[0], rate, &name, "queries/s", Better::More)
    }

    fn plot(&self, of_ours: &[Point], of_peers: &[Point]) -> Plot {
        let mut series: Vec<Series> = Vec::new();
        for (who, way) in self.ways.iter().enumerate().filter(|(_, way)| !UNPLOTTED.contains(&way.name)) {
            let points = of_ours.iter().filter(|point| point.who == who);
            let points = points.map(|point| (point.recall, point.rate)).collect();
            series.push(Series { name: format!("endcap {}", way.name), points });
        }
        for (who, peer) in self.peers.iter().enumerate() {
            let points = of_peers.iter().filter(|point| point.who == who);
            let points = points.map(|point| (point.recall, point.rate)).collect();
            series.push(Series { name: peer.kind.name.clone(), points });
        }
        Plot { title: format!("{}: top 100, one query at a time, one thread", self.data.name), series }
    }
}

/// Goes up a ladder until recall is enough; where a target lies between two steps, steps between them.
fn climb(ladder: &[u32], mut look: impl FnMut(u32) -> anyhow::Result<f64>) -> anyhow::Result<()> {
    let mut below: Option<(u32, f64)> = None;
    for &step in ladder {
        let recall = look(step)?;
        for target in TARGETS {
            let Some((mut low, _)) = below.filter(|&(_, before)| before < target && recall >= target) else {
                continue;
            };
            let mut high = step;
            while high - low > (high / 16).max(1) {
                let middle = low.midpoint(high);
                if look(middle)? >= target { high = middle } else { low = middle }
            }
        }
        below = Some((step, recall));
        if recall >= ENOUGH {
            break;
        }
    }
    Ok(())
}

/// Of each index of a peer, or way of ours, the cheapest setting that reaches the recall: the smallest, where settings are
/// numbers, since a rate of a glance owes much to the moment. The fastest of them first.
pub(super) fn reaching(points: &[Point], target: f64) -> Vec<Point> {
    let mut reaching: Vec<Point> = points.iter().filter(|point| point.recall >= target).cloned().collect();
    let cheaper = |a: &Point, b: &Point| match (a.search.as_u64(), b.search.as_u64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => b.rate.total_cmp(&a.rate),
    };
    reaching.sort_by(|a, b| a.who.cmp(&b.who).then_with(|| cheaper(a, b)));
    reaching.dedup_by_key(|point| point.who);
    reaching.sort_by(|a, b| b.rate.total_cmp(&a.rate));
    reaching
}

/// The fastest of those.
pub(super) fn finalists(points: &[Point], target: f64) -> Vec<Point> {
    let mut finalists = reaching(points, target);
    finalists.truncate(FINALISTS);
    finalists
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(who: usize, recall: f64, rate: f64) -> Point {
        Point { who, search: Value::Null, recall, rate }
    }

    #[test]
    fn of_settings_that_are_numbers_the_smallest_that_reaches_the_recall_is_taken() {
        let of = |search: u32, recall, rate| Point { search: json!(search), ..point(0, recall, rate) };
        let points = [of(300, 0.96, 500.0), of(400, 0.97, 900.0), of(200, 0.94, 1e3)];
        assert_eq!(reaching(&points, 0.95).iter().map(|point| point.rate).collect::<Vec<_>>(), [500.0]);
    }

    #[test]
    fn finalists_are_the_fastest_of_each_index_that_reach_the_recall() {
        let points = [
            point(0, 0.94, 900.0),
            point(0, 0.96, 500.0),
            point(0, 0.97, 400.0),
            point(1, 0.99, 450.0),
            point(2, 0.96, 100.0),
            point(3, 0.96, 50.0),
        ];
        let found: Vec<_> = finalists(&points, 0.95).iter().map(|point| (point.who, point.rate)).collect();
        assert_eq!(found, [(0, 500.0), (1, 450.0), (2, 100.0)]);
        assert!(finalists(&points, 0.995).is_empty());
    }

    #[test]
    fn targets_are_named_as_the_table_names_them() {
        assert_eq!(TARGETS.map(recall_name), ["recall .95", "recall .99"]);
    }
}
