//! The graph against the exact answer, with a budget for what it may miss.

mod world;

use endcap_index::{Allowed, GraphConfig, Index, IndexConfig, Retriever, Selection, Way};
use world::{clustered, label};

/// Mean recall@k over the queries, and the share of queries with a recall below .8.
fn recall(index: &Index, queries: &[f32], k: usize, allowed: &Allowed<'_>) -> (f64, f64) {
    let snapshot = index.snapshot();
    let exact = snapshot.by(Way::Scan).retrieve_batch(queries, k, allowed).unwrap();
    let found = snapshot.by(Way::Graph).retrieve_batch(queries, k, allowed).unwrap();
    let recalls: Vec<f64> = exact
        .iter()
        .zip(&found)
        .map(|(exact, found)| {
            let hit = exact.iter().filter(|hit| found.contains(hit)).count();
            hit as f64 / exact.len() as f64
        })
        .collect();
    let poor = recalls.iter().filter(|&&recall| recall < 0.8).count();
    (recalls.iter().sum::<f64>() / recalls.len() as f64, poor as f64 / recalls.len() as f64)
}

fn build(vectors: &[f32], dim: usize) -> Index {
    let labels: Vec<u64> = (0..vectors.len() / dim).map(label).collect();
    let graph = GraphConfig { from_items: 0, neighbours: 16, construction: 120, search: 200 };
    let config = IndexConfig { scan_below: 1_000, graph, ..IndexConfig::default() };
    let index = Index::build(&labels, vectors, dim, &config).unwrap();
    assert!(index.plan().graph);
    index
}

#[test]
fn the_graph_finds_what_the_scan_finds_but_for_two_in_a_hundred() {
    let (items, dim) = (8_000, 32);
    let index = build(&clustered(1, items, dim, 200), dim);
    let queries = clustered(1, 300, dim, 200);
    for k in [10, 100] {
        let (mean, poor) = recall(&index, &queries, k, &Allowed::All);
        assert!(mean >= 0.98 && poor <= 0.02, "recall@{k} {mean}, poor {poor}");
    }
    let half = Selection::new(&index.snapshot(), |label| label % 2 == 0);
    let allowed = Allowed::Selected { selection: &half, except: &[] };
    let (mean, poor) = recall(&index, &queries, 100, &allowed);
    assert!(mean >= 0.98 && poor <= 0.02, "filtered recall@100 {mean}, poor {poor}");
}

/// Inner product is no metric: long vectors win for most queries, and the graph must still lead to them.
#[test]
fn the_graph_ranks_by_inner_product_also_where_lengths_differ() {
    let (items, dim) = (4_000, 24);
    let mut vectors = clustered(2, items, dim, 60);
    for (row, vector) in vectors.chunks_mut(dim).enumerate() {
        let length = 0.2 + (row % 10) as f32 / 5.0;
        vector.iter_mut().for_each(|x| *x *= length);
    }
    let index = build(&vectors, dim);
    let (mean, poor) = recall(&index, &clustered(2, 200, dim, 60), 50, &Allowed::All);
    assert!(mean >= 0.95 && poor <= 0.03, "recall@50 {mean}, poor {poor}");
}

/// What breaks builders: rows all alike, rows of zeros, a handful of rows.
#[test]
fn the_graph_stands_vectors_that_are_all_alike() {
    for (items, vector) in [(1_200, vec![0.5; 8]), (1_200, vec![0.0; 8]), (1_000, vec![-3.0; 8])] {
        let index = build(&vector.repeat(items), 8);
        let hits = index.snapshot().by(Way::Graph).retrieve(&[1.0; 8], 10, &Allowed::All).unwrap();
        assert_eq!(hits.len(), 10);
    }
    let labels: Vec<u64> = (0..3).collect();
    let graph = GraphConfig { from_items: 0, ..GraphConfig::default() };
    let config = IndexConfig { scan_below: 0, graph, ..IndexConfig::default() };
    let index = Index::build(&labels, &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0], 2, &config).unwrap();
    let hits = index.snapshot().by(Way::Graph).retrieve(&[0.0, 1.0], 9, &Allowed::All).unwrap();
    assert_eq!(hits.iter().map(|hit| hit.label).collect::<Vec<_>>(), [1, 0, 2]);
}

/// The long form: `just test-index-long`. hnsw_rs takes some 3 GB and, on two cores, a quarter of an hour.
#[test]
#[ignore = "a quarter of an hour, 4 GB"]
fn the_graph_of_a_million_finds_what_the_scan_finds_but_for_five_in_a_hundred() {
    let (items, dim) = (1_000_000, 32);
    let labels: Vec<u64> = (0..items).map(label).collect();
    let graph = GraphConfig { from_items: 0, neighbours: 16, construction: 64, search: 800 };
    let config = IndexConfig { graph, ..IndexConfig::default() };
    let index = Index::build(&labels, &clustered(1, items, dim, 1_500), dim, &config).unwrap();
    assert!(index.plan().graph);
    let (mean, poor) = recall(&index, &clustered(1, 200, dim, 1_500), 100, &Allowed::All);
    assert!(mean >= 0.95 && poor <= 0.05, "recall@100 {mean}, poor {poor}");
}
