//! `just bench-ten-million`: an index of ten million vectors, built without partitions or a graph, written, mapped again and
//! scanned. Takes some 10 GB while it builds, and minutes.

use std::time::Instant;

use endcap_benches::measure::quantile;
use endcap_benches::vectors::Generator;
use endcap_index::{Allowed, FILE_NAME, Index, IndexConfig, Retriever, Way};

const ITEMS: usize = 10_000_000;
const DIM: usize = 64;
const K: usize = 100;
const QUERIES: usize = 50;

fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let config = IndexConfig { scan_below: usize::MAX, ..IndexConfig::default() };
    let vectors = Generator::Hard.draw(3, ITEMS, QUERIES, DIM);
    let start = Instant::now();
    let index = Index::build(&vectors.labels, &vectors.items, DIM, &config)?;
    println!("built in {:.1} s", start.elapsed().as_secs_f64());
    // A handful in f32, as the yardstick.
    let exhaustive = index.snapshot().by(Way::Exhaustive);
    let expected =
        vectors.queries.chunks(DIM).take(5).map(|query| exhaustive.retrieve(query, K, &Allowed::All));
    let expected = expected.collect::<Result<Vec<_>, _>>()?;
    index.save(dir.path())?;
    drop((exhaustive, index));
    let queries = vectors.queries;
    drop((vectors.items, vectors.labels));

    let start = Instant::now();
    let mapped = Index::load(dir.path())?.snapshot();
    let bytes = std::fs::metadata(dir.path().join(FILE_NAME))?.len();
    println!("mapped {} MiB in {:.1} s", bytes >> 20, start.elapsed().as_secs_f64());
    let mut millis = Vec::new();
    for (place, query) in queries.chunks(DIM).enumerate() {
        let start = Instant::now();
        let hits = mapped.retrieve(query, K, &Allowed::All)?;
        millis.push(start.elapsed().as_secs_f64() * 1e3);
        if let Some(expected) = expected.get(place) {
            anyhow::ensure!(hits == *expected, "query {place}: the mapped scan is not exact");
        }
    }
    let per_item = mapped.bytes() as f64 / ITEMS as f64;
    println!("scan of {ITEMS} items: p50 {:.1} ms, {per_item:.0} bytes an item", quantile(&millis, 0.5));
    Ok(())
}
