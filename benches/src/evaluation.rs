//! Evaluation: cases ranked against a whole catalogue per second.

use std::time::Instant;

use endcap_evaluation::{Ties, Wanted, by_vectors};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    measure::Extent,
    report::{Better, Report, Row},
};

const DIM: usize = 64;
const ITEMS: usize = 100_000;
/// What a million cases may take.
const LIMIT_SECONDS: f64 = 600.0;
/// Questions that are held at a time, as an evaluation holds them.
const CHUNK: usize = 1024;

/// Ranks 100,000 items for as many cases as the extent says, the first 50 listed, ten items masked.
///
/// # Errors
/// None; as the other measurements.
pub fn run(extent: Extent) -> anyhow::Result<Report> {
    let cases = match extent {
        Extent::Short => 64 * CHUNK,
        Extent::Full => 1_000_000,
    };
    let mut rng = StdRng::seed_from_u64(1);
    let items = vectors(&mut rng, ITEMS);
    let mut spent = 0.0;
    let mut found = 0usize;
    for first in (0..cases).step_by(CHUNK) {
        let n = CHUNK.min(cases - first);
        let users = vectors(&mut rng, n);
        let wanted: Vec<Wanted> = (0..n).map(|_| wanted(&mut rng)).collect();
        let wanted: Vec<&Wanted> = wanted.iter().collect();
        let start = Instant::now();
        let rankings = by_vectors(&users, &items, DIM, &wanted, 50, Ties::Against);
        spent += start.elapsed().as_secs_f64();
        found += rankings.iter().filter(|ranking| ranking.ranks[0].is_some()).count();
    }
    anyhow::ensure!(found == cases, "{} of {cases} targets have no rank", cases - found);
    let rate = cases as f64 / spent;
    let mut report = Report::new();
    let work = format!("cases ranked among 100k items, first 50, {cases} cases");
    let limit = 1e6 / LIMIT_SECONDS;
    report.push(Row::beside(work, rate, limit, "a million in 10 minutes", "cases/s", Better::More).bar(1.0));
    report.push(Row::alone("a million cases at that rate", 1e6 / rate, "s"));
    Ok(report)
}

fn vectors(rng: &mut StdRng, n: usize) -> Vec<f32> {
    let mut vectors: Vec<f32> = (0..n * DIM).map(|_| rng.random::<f32>() - 0.5).collect();
    for vector in vectors.chunks_exact_mut(DIM) {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vectors
}

fn wanted(rng: &mut StdRng) -> Wanted {
    let target = rng.random_range(0..ITEMS as u32);
    let mut masked: Vec<u32> = (0..10).map(|_| rng.random_range(0..ITEMS as u32)).collect();
    masked.retain(|&row| row != target);
    masked.sort_unstable();
    masked.dedup();
    Wanted { targets: vec![Some(target)], masked }
}
