//! The index beside floors of our own: an f32 scan, the portable kernels, itself without a filter, hnsw_rs as it is; and
//! how long a change takes to be seen.

use std::hint::black_box;
use std::time::{Duration, Instant};

use endcap_index::{Allowed, Hit, Index, IndexConfig, Retriever, Selection, Simd, Way};
use hnsw_rs::prelude::{DistDot, Hnsw};

use super::{DIM, K, ROUNDS, SEED, bandwidth};
use crate::measure::{Extent, in_turn, quantile, rate};
use crate::report::{Better, Report, Row};
use crate::vectors::{Generator, Vectors};

const TIME: Duration = Duration::from_millis(400);

/// Runs the rows of retrieval.
///
/// # Errors
/// Whatever the index refuses.
pub(super) fn run(extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    for items in [10_000, 100_000] {
        scans(report, items)?;
    }
    if extent == Extent::Full {
        scans(report, 1_000_000)?;
    }
    bandwidth::run(report)?;
    simd(report)?;
    filters(report)?;
    changes(report)?;
    files(report, if extent == Extent::Full { 1_000_000 } else { 100_000 })?;
    graphs(report, Generator::Easy, 16, 200, &[150, 200, 300, 400])?;
    if extent == Extent::Full {
        graphs(report, Generator::Hard, 24, 200, &[1000, 2000])?;
    }
    Ok(())
}

fn build(vectors: &Vectors, scan_below: usize) -> anyhow::Result<Index> {
    let config = IndexConfig { scan_below, ..IndexConfig::default() };
    Ok(Index::build(&vectors.labels, &vectors.items, vectors.dim, &config)?)
}

/// Queries a second, one at a time.
fn queries(vectors: &Vectors, retriever: &impl Retriever, allowed: &Allowed<'_>) -> f64 {
    rate(TIME, |i| {
        black_box(retriever.retrieve(vectors.query(i), K, allowed)).ok();
    })
}

fn scans(report: &mut Report, items: usize) -> anyhow::Result<()> {
    let vectors = Generator::Hard.draw(SEED, items, 500, DIM);
    let index = build(&vectors, usize::MAX)?;
    let (ours, peer) = (index.snapshot(), index.snapshot().by(Way::Exhaustive));
    let figures = in_turn(
        ROUNDS,
        &mut [&mut || queries(&vectors, &ours, &Allowed::All), &mut || {
            queries(&vectors, &peer, &Allowed::All)
        }],
    );
    let work = format!("scan hard {}k, exact", items / 1000);
    report.push(Row::beside(work, figures[0], figures[1], "f32 SIMD scan", "queries/s", Better::More));
    Ok(())
}

/// The instruction sets that the machine has beside its best one, each beside the compiler's own work.
fn simd(report: &mut Report) -> anyhow::Result<()> {
    let vectors = Generator::Hard.draw(SEED, 100_000, 500, DIM);
    let of = |simd| -> anyhow::Result<_> {
        let config = IndexConfig { scan_below: usize::MAX, simd: Some(simd), ..IndexConfig::default() };
        Ok(Index::build(&vectors.labels, &vectors.items, DIM, &config)?.snapshot())
    };
    let portable = of(Simd::Portable)?;
    for simd in Simd::available().into_iter().filter(|&simd| simd != Simd::Portable) {
        let index = of(simd)?;
        let figures = in_turn(
            ROUNDS,
            &mut [&mut || queries(&vectors, &index, &Allowed::All), &mut || {
                queries(&vectors, &portable, &Allowed::All)
            }],
        );
        let work = format!("scan hard 100k, exact, {simd}");
        report.push(Row::beside(work, figures[0], figures[1], "portable", "queries/s", Better::More));
    }
    Ok(())
}

/// From a file to an index that answers, beside reading the file's bytes.
fn files(report: &mut Report, items: usize) -> anyhow::Result<()> {
    let vectors = Generator::Hard.draw(SEED, items, 1, DIM);
    let dir = tempfile::tempdir()?;
    build(&vectors, usize::MAX)?.save(dir.path())?;
    let path = dir.path().join(endcap_index::FILE_NAME);
    let timed = |work: &dyn Fn() -> bool| {
        let start = Instant::now();
        let done = work();
        if done { start.elapsed().as_secs_f64() * 1e3 } else { f64::NAN }
    };
    let figures = in_turn(
        ROUNDS,
        &mut [&mut || timed(&|| Index::load(dir.path()).is_ok()), &mut || {
            timed(&|| std::fs::read(&path).is_ok())
        }],
    );
    let work = format!("load {}k items", items / 1000);
    report.push(Row::beside(work, figures[0], figures[1], "reading the bytes", "ms", Better::Less).bar(0.2));
    Ok(())
}

fn filters(report: &mut Report) -> anyhow::Result<()> {
    let vectors = Generator::Hard.draw(SEED, 100_000, 500, DIM);
    let snapshot = build(&vectors, usize::MAX)?.snapshot();
    for (share, bar) in [(0.5, 0.5), (0.1, 1.0), (0.01, 2.0), (0.001, 2.0)] {
        let upto = (share * u64::MAX as f64) as u64;
        let selection =
            Selection::new(&snapshot, move |label| label.wrapping_mul(0xff51_afd7_ed55_8ccd) < upto);
        let allowed = Allowed::Selected { selection: &selection, except: &[] };
        let figures = in_turn(
            ROUNDS,
            &mut [&mut || queries(&vectors, &snapshot, &allowed), &mut || {
                queries(&vectors, &snapshot, &Allowed::All)
            }],
        );
        let work = format!("filter {} % hard 100k, exact", share * 100.0);
        report
            .push(Row::beside(work, figures[0], figures[1], "no filter", "queries/s", Better::More).bar(bar));
    }
    Ok(())
}

/// An upsert, then a query that must return it: the time of both, and the query's alone.
fn changes(report: &mut Report) -> anyhow::Result<()> {
    let vectors = Generator::Hard.draw(SEED, 100_000, 500, DIM);
    let index = build(&vectors, usize::MAX)?;
    let (mut changes, mut deletes, mut seen) = (Vec::new(), Vec::new(), 0);
    for i in 0..5_000 {
        let (label, vector) = (i as u64, vectors.query(i));
        let start = Instant::now();
        index.upsert(label, vector)?;
        changes.push(start.elapsed().as_secs_f64() * 1e6);
        if i % 50 == 0 {
            let best = index.search(vector, 20, &Allowed::All)?;
            seen += usize::from(best.iter().any(|hit| hit.label == label));
        }
        let start = Instant::now();
        index.delete(vectors.labels[i]);
        deletes.push(start.elapsed().as_secs_f64() * 1e6);
    }
    anyhow::ensure!(seen == 100, "{seen} of 100 upserts were in the next answer");
    report.push(Row::alone("upsert, visible when it returns, p50", quantile(&changes, 0.5), "µs"));
    report.push(Row::alone("upsert, visible when it returns, p99", quantile(&changes, 0.99), "µs"));
    report.push(Row::alone("delete, visible when it returns, p99", quantile(&deletes, 0.99), "µs"));
    let before = index.snapshot();
    let start = Instant::now();
    index.compact()?;
    report.push(Row::alone("compaction, 100k items", start.elapsed().as_secs_f64() * 1e3, "ms"));
    let after = index.snapshot();
    let figures = in_turn(
        ROUNDS,
        &mut [&mut || queries(&vectors, &before, &Allowed::All), &mut || {
            queries(&vectors, &after, &Allowed::All)
        }],
    );
    let work = "scan hard 100k with 5k upserts, 5k deletes";
    let peer = "after compaction";
    report.push(Row::beside(work, figures[0], figures[1], peer, "queries/s", Better::More).bar(0.8));
    Ok(())
}

/// Mean share of the exact answer that was found.
fn recall(found: &[Vec<u64>], exact: &[Vec<Hit>]) -> f64 {
    let hits = found.iter().zip(exact).map(|(found, exact)| {
        exact.iter().filter(|hit| found.contains(&hit.label)).count() as f64 / exact.len() as f64
    });
    hits.sum::<f64>() / exact.len() as f64
}

/// The planned way, and our walk of the frozen graph, beside hnsw_rs at the first `ef` whose recall@100 reaches .99
/// (or the largest, where none does).
fn graphs(
    report: &mut Report,
    generator: Generator,
    neighbours: usize,
    construction: usize,
    widths: &[usize],
) -> anyhow::Result<()> {
    let vectors = generator.draw(SEED, 100_000, 500, DIM);
    let start = Instant::now();
    let peer = Hnsw::<f32, DistDot>::new(neighbours, vectors.labels.len(), 16, construction, DistDot);
    let rows: Vec<(&[f32], usize)> = vectors.items.chunks_exact(DIM).zip(0..).collect();
    peer.parallel_insert_slice(&rows);
    report.push(Row::alone(
        format!("{} 100k hnsw_rs build", generator.name()),
        start.elapsed().as_secs_f64(),
        "s",
    ));

    let scan = build(&vectors, usize::MAX)?.snapshot();
    let exact = scan.retrieve_batch(&vectors.queries, K, &Allowed::All)?;
    let search = |ef: usize, i: usize| -> Vec<u64> {
        peer.search(vectors.query(i), K, ef).iter().map(|near| vectors.labels[near.d_id]).collect()
    };
    let recall_at = |ef: usize| recall(&(0..exact.len()).map(|i| search(ef, i)).collect::<Vec<_>>(), &exact);
    let mut reached = (0, 0.0);
    for &ef in widths {
        reached = (ef, recall_at(ef));
        if reached.1 >= 0.99 {
            break;
        }
    }
    let (ef, peer_recall) = reached;

    let mut config = IndexConfig { scan_below: 1, ..IndexConfig::default() };
    config.graph.from_items = 0;
    config.graph.neighbours = neighbours;
    config.graph.construction = construction;
    config.graph.search = ef;
    let frozen = Index::build(&vectors.labels, &vectors.items, DIM, &config)?.snapshot().by(Way::Graph);
    let found = frozen.retrieve_batch(&vectors.queries, K, &Allowed::All)?;
    let found: Vec<Vec<u64>> = found.iter().map(|hits| hits.iter().map(|hit| hit.label).collect()).collect();
    let frozen_recall = recall(&found, &exact);

    let figures = in_turn(
        ROUNDS,
        &mut [
            &mut || queries(&vectors, &scan, &Allowed::All),
            &mut || queries(&vectors, &frozen, &Allowed::All),
            &mut || rate(TIME, |i| drop(black_box(search(ef, i)))),
        ],
    );
    let name = generator.name();
    let peer_name = format!("hnsw_rs M {neighbours} ef {ef}, recall {peer_recall:.3}");
    let row = |work: String, ours| Row::beside(work, ours, figures[2], &peer_name, "queries/s", Better::More);
    report.push(row(format!("{name} 100k recall .99, planned (recall 1)"), figures[0]).bar(1.0));
    report.push(
        row(format!("{name} 100k frozen graph ef {ef} (recall {frozen_recall:.3})"), figures[1]).bar(1.0),
    );
    Ok(())
}
