//! How near an exact scan comes to reading memory as fast as the machine can: a plain sum over a buffer that no cache holds,
//! in turn with scans of catalogues that none holds either.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use endcap_index::{Allowed, Index, IndexConfig, Retriever, Snapshot};

use super::{DIM, K, ROUNDS, SEED};
use crate::measure::{in_turn, rate};
use crate::report::{Better, Report, Row};
use crate::vectors::{Generator, Vectors};

/// Numbers in the buffer of the sum: 1 GiB.
const NUMBERS: usize = 1 << 27;
const ITEMS: usize = 1_000_000;
/// What a scan reads of an item: its codes and their scale.
const BYTES: usize = ITEMS * (DIM + size_of::<f32>());
const TIME: Duration = Duration::from_millis(400);

/// A row for one thread, and one for all that there are.
pub(super) fn run(report: &mut Report) -> anyhow::Result<()> {
    let numbers: Vec<u64> = (0..NUMBERS as u64).collect();
    let vectors = Generator::Hard.draw(SEED, ITEMS, 100, DIM);
    let all = thread::available_parallelism().map_or(1, usize::from);
    // A catalogue for each thread: none finds what another has just brought into the shared cache.
    let config = IndexConfig { scan_below: usize::MAX, ..IndexConfig::default() };
    let build = |_| Ok(Index::build(&vectors.labels, &vectors.items, DIM, &config)?.snapshot());
    let catalogues = (0..all).map(build).collect::<anyhow::Result<Vec<Snapshot>>>()?;
    let mut counts = vec![1, all];
    counts.dedup();
    for threads in counts {
        let figures = in_turn(
            ROUNDS,
            &mut [&mut || scan(&catalogues[..threads], &vectors), &mut || sum(&numbers, threads)],
        );
        let threaded = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
        let work = format!("scan bandwidth, 1M items, {threaded}");
        let peer = "a plain sum over 1 GiB";
        report.push(Row::beside(work, figures[0], figures[1], peer, "GB/s", Better::More));
    }
    Ok(())
}

/// GB a second that scans read, one catalogue a thread.
fn scan(catalogues: &[Snapshot], vectors: &Vectors) -> f64 {
    let scans = |catalogue: &Snapshot| {
        rate(TIME, |i| {
            black_box(catalogue.retrieve(vectors.query(i), K, &Allowed::All)).ok();
        })
    };
    let rates = on_threads(catalogues, scans);
    rates.iter().sum::<f64>() * BYTES as f64 / 1e9
}

/// GB a second that a sum reads, the buffer in equal parts.
fn sum(numbers: &[u64], threads: usize) -> f64 {
    let parts: Vec<&[u64]> = numbers.chunks(numbers.len().div_ceil(threads)).collect();
    let start = Instant::now();
    let of_part = |part: &&[u64]| part.iter().fold(0u64, |sum, number| sum.wrapping_add(*number));
    black_box(on_threads(&parts, of_part));
    size_of_val(numbers) as f64 / start.elapsed().as_secs_f64() / 1e9
}

fn on_threads<T: Sync, R: Send>(parts: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = parts.iter().map(|part| scope.spawn(move || work(part))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}
