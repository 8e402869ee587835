//! What a graph's quality is worth: ours beside hnswlib's, built with the same M and ef, searched with the same ef.

use std::path::Path;

use anyhow::Context;
use endcap_index::Allowed;
use serde_json::json;

use super::beside::TIME;
use super::data::DataSet;
use super::ours::{Build, Ours};
use super::peers::{NEIGHBOURS, Peer};
use super::{Options, ROUNDS};
use crate::measure::median;
use crate::report::{Better, Report, Row};

/// hnsw_rs takes too long for more.
pub(super) const MOST_ITEMS: usize = 200_000;
/// ef while searching.
const EF: [u32; 3] = [200, 400, 800];

/// A row of recall and one of queries a second for each M and ef.
pub(super) fn run(data: &DataSet, options: &Options, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    for neighbours in NEIGHBOURS {
        let build = Build::Graph(neighbours);
        build.run(data, dir)?;
        let name = format!("hnswlib M {neighbours}");
        let peer = match options.kinds(data.len()).into_iter().find(|kind| kind.name == name) {
            Some(kind) => Peer::start(kind, data, dir, options.only_build)?,
            None => None,
        };
        if let (Some(peer), false) = (peer, options.only_build) {
            let ours = Ours::open(data, build, dir)?;
            beside(data, neighbours, &ours, peer, report)?;
        }
    }
    Ok(())
}

fn beside(
    data: &DataSet,
    neighbours: usize,
    ours: &Ours,
    mut peer: Peer,
    report: &mut Report,
) -> anyhow::Result<()> {
    let truth = data.truth(None)?;
    let graph = ours.contenders().into_iter().find(|way| way.name == "graph");
    let graph = graph.context("the index has no graph")?;
    let name = format!("{} {}", peer.kind.name, peer.ready.version);
    for ef in EF {
        let work = format!("{} graph M {neighbours}, ef {ef}", data.name);
        let search = json!(ef);
        let recall = truth.recall(&graph.find(ef, data, &Allowed::All)?);
        let theirs = peer.recall(&truth, &search)?;
        report.push(Row::beside(
            format!("{work}, recall"),
            recall,
            theirs,
            &name,
            "of the true 100",
            Better::More,
        ));
        let (mut rates, mut their_rates) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            rates.push(graph.rate(ef, data, &Allowed::All, TIME, 1));
            their_rates.push(peer.rate(&search, TIME.as_secs_f64(), 1)?);
        }
        let (rate, theirs) = (median(rates), median(their_rates));
        report.push(Row::beside(work, rate, theirs, &name, "queries/s", Better::More));
    }
    Ok(())
}
