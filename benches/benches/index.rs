//! The index, one query at a time: scan, graph, filters, changes.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use endcap_benches::vectors::{Generator, Vectors};
use endcap_index::{Allowed, Index, IndexConfig, Retriever, Selection, Simd, Way};

const DIM: usize = 64;

fn build(vectors: &Vectors, config: IndexConfig) -> Index {
    Index::build(&vectors.labels, &vectors.items, DIM, &config).expect("the fixture is sound")
}

fn scan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    for items in [10_000, 100_000] {
        let vectors = Generator::Hard.draw(3, items, 500, DIM);
        for simd in Simd::available() {
            let config = IndexConfig { scan_below: usize::MAX, simd: Some(simd), ..IndexConfig::default() };
            let snapshot = build(&vectors, config).snapshot();
            let mut i = 0;
            group.bench_function(BenchmarkId::new(simd.to_string(), items), |bencher| {
                bencher.iter(|| {
                    i += 1;
                    snapshot.retrieve(vectors.query(i), 100, &Allowed::All)
                });
            });
        }
    }
}

fn filtered(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filtered");
    let vectors = Generator::Hard.draw(3, 100_000, 500, DIM);
    let snapshot =
        build(&vectors, IndexConfig { scan_below: usize::MAX, ..IndexConfig::default() }).snapshot();
    for keep in [500_000u64, 100_000, 10_000, 1_000] {
        let selection = Selection::new(&snapshot, move |label| label % 1_000_003 < keep);
        let allowed = Allowed::Selected { selection: &selection, except: &[] };
        let mut i = 0;
        group.bench_function(BenchmarkId::from_parameter(format!("{} %", keep as f64 / 1e4)), |bencher| {
            bencher.iter(|| {
                i += 1;
                snapshot.retrieve(vectors.query(i), 100, &allowed)
            });
        });
    }
    let except: Vec<u64> = vectors.labels[..200].to_vec();
    let mut i = 0;
    group.bench_function("except 200", |bencher| {
        bencher.iter(|| {
            i += 1;
            snapshot.retrieve(vectors.query(i), 100, &Allowed::Except(&except))
        });
    });
}

fn graph(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("graph");
    let vectors = Generator::Easy.draw(3, 20_000, 500, DIM);
    for search in [100, 200, 400] {
        let mut config = IndexConfig { scan_below: 1, ..IndexConfig::default() };
        config.graph.from_items = 0;
        config.graph.from_items = 0;
        (config.graph.neighbours, config.graph.construction, config.graph.search) = (16, 100, search);
        let walk = build(&vectors, config).snapshot().by(Way::Graph);
        let mut i = 0;
        group.bench_function(BenchmarkId::new("ef", search), |bencher| {
            bencher.iter(|| {
                i += 1;
                walk.retrieve(vectors.query(i), 100, &Allowed::All)
            });
        });
    }
}

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("changes");
    let vectors = Generator::Hard.draw(3, 100_000, 500, DIM);
    let index = build(&vectors, IndexConfig { scan_below: usize::MAX, ..IndexConfig::default() });
    let mut i = 0;
    group.bench_function("upsert", |bencher| {
        bencher.iter(|| {
            i += 1;
            index.upsert(i as u64 % 5_000, vectors.query(i))
        });
    });
    group.bench_function("delete and put back", |bencher| {
        bencher.iter(|| {
            i += 1;
            index.delete(i as u64 % 5_000);
            index.upsert(i as u64 % 5_000, vectors.query(i))
        });
    });
}

criterion_group!(benches, scan, filtered, graph, changes);
criterion_main!(benches);
