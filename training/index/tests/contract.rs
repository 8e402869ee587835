//! What every retriever promises: the planned way, each way forced, on each instruction set, with and without changes
//! after the build.

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use endcap_index::{
    Allowed, GraphConfig, Hit, Index, IndexConfig, IndexError, Retriever, Route, Selection, Simd, Way,
};
use roaring::RoaringBitmap;
use world::{answer, clustered, label, whole};

const DIM: usize = 20;

/// Items of whole numbers, so that scores are exact and ties are common.
struct World {
    index: Index,
    items: BTreeMap<u64, Vec<f32>>,
}

impl World {
    fn build(items: usize, changed: bool, config: &IndexConfig) -> Self {
        let vectors = whole(7, items, DIM);
        let labels: Vec<u64> = (0..items).map(label).collect();
        let index = Index::build(&labels, &vectors, DIM, config).unwrap();
        let mut items: BTreeMap<u64, Vec<f32>> =
            labels.iter().copied().zip(vectors.chunks(DIM).map(<[f32]>::to_vec)).collect();
        if changed {
            let newer = whole(8, 400, DIM);
            for (row, vector) in newer.chunks(DIM).enumerate() {
                // Half of them replace, half are new.
                let label = label(row * 2 + labels.len() - 400);
                index.upsert(label, vector).unwrap();
                items.insert(label, vector.to_vec());
            }
            for row in (0..labels.len()).step_by(7) {
                assert_eq!(index.delete(label(row)), items.remove(&label(row)).is_some());
            }
        }
        Self { index, items }
    }
}

/// The suite. An exact retriever gives the very answer of the definition; another one keeps every other promise.
fn fulfils(retriever: &impl Retriever, world: &World, exact: bool) {
    let World { index, items } = world;
    assert_eq!((retriever.dim(), retriever.len()), (DIM, items.len()));
    let snapshot = index.snapshot();
    let a_third = |label: u64| label.is_multiple_of(3);
    let selection = Selection::new(&snapshot, a_third);
    let few = |label: u64| label.is_multiple_of(100);
    let few_selected = Selection::new(&snapshot, few);
    let none = Selection::new(&snapshot, |_| false);
    let mut named: Vec<u64> = (0..300).step_by(4).map(label).collect();
    named.extend([named[0], 12]);
    let is_named = |label: u64| named.contains(&label);

    type Law<'a> = &'a dyn Fn(u64) -> bool;
    let selected = |selection| Allowed::Selected { selection, except: &[] };
    let cases: [(Allowed<'_>, Law<'_>); 8] = [
        (Allowed::All, &|_| true),
        (Allowed::Except(&[]), &|_| true),
        (Allowed::Except(&named), &|label| !is_named(label)),
        (Allowed::Labels(&named), &is_named),
        (selected(&selection), &a_third),
        (selected(&few_selected), &few),
        (selected(&none), &|_| false),
        (Allowed::Selected { selection: &selection, except: &named }, &|label| {
            a_third(label) && !is_named(label)
        }),
    ];
    let queries = whole(9, 12, DIM);
    for (allowed, law) in &cases {
        for k in [0, 1, 10, 100, 100_000] {
            let together = retriever.retrieve_batch(&queries, k, allowed).unwrap();
            assert_eq!(together.len(), 12);
            for (query, together) in queries.chunks(DIM).zip(together) {
                let hits = retriever.retrieve(query, k, allowed).unwrap();
                assert_eq!(hits, together, "one query at a time or many: the same");
                let expected = answer(items, query, k, law);
                if exact || matches!(allowed, Allowed::Labels(_)) {
                    assert_eq!(hits, expected, "{allowed:?} k {k}");
                    continue;
                }
                assert!(hits.len() <= expected.len());
                let best_first =
                    |a: &Hit, b: &Hit| a.score > b.score || (a.score == b.score && a.label < b.label);
                assert!(hits.is_sorted_by(best_first), "distinct, best first, ties by label");
                for hit in hits {
                    assert!(law(hit.label), "{hit:?} is not allowed");
                    let score = items[&hit.label].iter().zip(query).map(|(x, q)| x * q).sum::<f32>();
                    assert_eq!(hit.score, score, "the score is the exact one");
                }
            }
        }
    }
    refuses_bad_queries(retriever);
}

fn refuses_bad_queries(retriever: &impl Retriever) {
    let short = retriever.retrieve(&[0.0; DIM - 1], 5, &Allowed::All);
    assert!(matches!(short, Err(IndexError::Dimension { expected: DIM, found: 19 })));
    let ragged = retriever.retrieve_batch(&[0.0; DIM + 1], 5, &Allowed::All);
    assert!(matches!(ragged, Err(IndexError::Dimension { expected: DIM, found: 1 })));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e16] {
        let mut query = [0.5; DIM];
        query[3] = bad;
        let refused = retriever.retrieve(&query, 5, &Allowed::All);
        assert!(matches!(refused, Err(IndexError::QueryValue { position: 3, .. })));
    }
    assert_eq!(retriever.retrieve(&[0.0; DIM], 5, &Allowed::All).unwrap().len(), 5.min(retriever.len()));
}

fn config(simd: Simd, scan_below: usize) -> IndexConfig {
    let graph = GraphConfig { from_items: 0, neighbours: 16, construction: 100, search: 200 };
    IndexConfig { scan_below, graph, simd: Some(simd), ..IndexConfig::default() }
}

#[test]
fn every_way_fulfils_the_contract_on_every_instruction_set() {
    for simd in Simd::available() {
        for changed in [false, true] {
            let world = World::build(1_500, changed, &config(simd, 1_000));
            let snapshot = world.index.snapshot();
            assert!(snapshot.plan().graph);
            fulfils(&snapshot.by(Way::Exhaustive), &world, true);
            fulfils(&snapshot.by(Way::Scan), &world, true);
            fulfils(&snapshot.by(Way::Survivors), &world, true);
            fulfils(&snapshot.by(Way::Graph), &world, false);
            fulfils(&snapshot.by(Way::Partitions), &world, false);
            let all = Route { way: Way::Partitions, effort: 100_000 };
            fulfils(&snapshot.by_route(all), &world, false);
            fulfils(&snapshot, &world, false);
        }
    }
}

#[test]
fn a_small_index_is_exact_however_small() {
    for items in [0, 1, 15, 16, 17, 63, 64, 65, 500] {
        let world = World::build(items, false, &IndexConfig::default());
        fulfils(&world.index.snapshot(), &world, true);
    }
    let world = World::build(500, true, &IndexConfig::default());
    fulfils(&world.index.snapshot(), &world, true);
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let (items, dim) = (3_000, 50);
    let vectors = clustered(3, items, dim, 30);
    let labels: Vec<u64> = (0..items).map(label).collect();
    let queries = clustered(4, 50, dim, 30);
    let answers = |simd| {
        let index = Index::build(&labels, &vectors, dim, &config(simd, usize::MAX)).unwrap();
        let snapshot = index.snapshot();
        assert_eq!(snapshot.plan().partitions, 0);
        [Way::Scan, Way::Exhaustive]
            .map(|way| snapshot.by(way).retrieve_batch(&queries, 100, &Allowed::All).unwrap())
    };
    let [scanned, exhaustive] = answers(Simd::Portable);
    assert_eq!(scanned, exhaustive, "the scan loses nothing");
    for simd in Simd::available() {
        assert_eq!(answers(simd), [scanned.clone(), exhaustive.clone()], "{simd}");
    }
}

/// Long vectors beside short ones, numbers too small to be divided by, and rows all alike.
#[test]
fn the_scan_is_exact_whatever_the_vectors_look_like() {
    let dim = 24;
    let mut vectors = clustered(5, 1_000, dim, 10);
    for (row, vector) in vectors.chunks_mut(dim).enumerate() {
        let length = [1.0, 1e-3, 40.0, 1e-37, 0.0][row % 5];
        vector.iter_mut().for_each(|x| *x *= length);
    }
    vectors.extend([0.25; 24].repeat(300));
    let labels: Vec<u64> = (0..1_300).map(label).collect();
    let index = Index::build(&labels, &vectors, dim, &IndexConfig::default()).unwrap();
    let snapshot = index.snapshot();
    for query in clustered(6, 40, dim, 10).chunks(dim).chain([&[0.0; 24][..], &[1e-35; 24], &[1e14; 24]]) {
        let scan = snapshot.by(Way::Scan).retrieve(query, 50, &Allowed::All).unwrap();
        assert_eq!(scan, snapshot.by(Way::Exhaustive).retrieve(query, 50, &Allowed::All).unwrap());
    }
}

#[test]
fn a_selection_of_rows_equals_the_predicate_it_was_made_of_and_outlives_its_generation() {
    let world = World::build(600, true, &IndexConfig::default());
    let before = world.index.snapshot();
    let wanted: Arc<dyn Fn(u64) -> bool + Send + Sync> = Arc::new(|label| label.is_multiple_of(5));
    let rows =
        before.base_labels().iter().zip(0u32..).filter(|(label, _)| wanted(**label)).map(|(_, row)| row);
    let mut bitmap = RoaringBitmap::from_iter(rows);
    bitmap.insert(1_000_000);
    let predicate = Arc::clone(&wanted);
    let selection = Selection::from_rows(&before, &bitmap, move |label| predicate(label));
    assert_eq!(selection.rows() as u64, bitmap.len() - 1);

    let allowed = Allowed::Selected { selection: &selection, except: &[] };
    let query = &whole(11, 1, DIM)[..];
    let expected = answer(&world.items, query, 30, |label| wanted(label));
    assert_eq!(before.retrieve(query, 30, &allowed).unwrap(), expected);

    world.index.compact().unwrap();
    let after = world.index.snapshot();
    assert_ne!(after.generation(), selection.generation());
    assert_eq!(after.retrieve(query, 30, &allowed).unwrap(), expected, "stale, but right");
}

#[test]
fn without_a_calibration_the_planner_scans_or_scores_survivors() {
    let plan = World::build(900, false, &config(Simd::best(), 1_000)).index.plan();
    assert_eq!((plan.partitions, plan.graph, &plan.calibration), (0, false, &None));
    let ways = [900, 180, 179, 0].map(|survivors| plan.route(survivors, 10).way);
    assert_eq!(ways, [Way::Scan, Way::Scan, Way::Survivors, Way::Survivors]);
}

#[test]
fn bad_input_is_refused_and_named() {
    let build =
        |labels: &[u64], vectors: &[f32], dim| Index::build(labels, vectors, dim, &IndexConfig::default());
    assert!(matches!(build(&[1, 2], &[0.0; 3], 2), Err(IndexError::Shape { labels: 2, dim: 2, found: 3 })));
    assert!(matches!(build(&[], &[], 0), Err(IndexError::Config { parameter: "dim", .. })));
    assert!(matches!(
        build(&[5, 9, 5], &[0.0; 6], 2),
        Err(IndexError::DuplicateLabel { label: 5, first: 0, second: 2 })
    ));
    let nan = build(&[5, 9], &[0.0, 0.0, 1.0, f32::NAN], 2).err().unwrap();
    assert!(nan.to_string().contains("label 9 has NaN at position 1"), "{nan}");

    let config = |graph| IndexConfig { graph, ..IndexConfig::default() };
    let many = GraphConfig { neighbours: 257, ..GraphConfig::default() };
    let refused = Index::build(&[], &[], 2, &config(many)).err().unwrap();
    assert_eq!(refused.to_string(), "index.graph.neighbours is 257: 4 to 128");
    let thin = GraphConfig { neighbours: 32, construction: 16, ..GraphConfig::default() };
    assert!(Index::build(&[], &[], 2, &config(thin)).is_err());

    let index = build(&[5], &[1.0, 0.0], 2).unwrap();
    assert!(matches!(index.upsert(6, &[1.0]), Err(IndexError::Dimension { expected: 2, found: 1 })));
    assert!(matches!(
        index.upsert_batch(&[6, 7], &[1.0, 1.0, f32::INFINITY, 0.0]),
        Err(IndexError::Value { label: 7, position: 0, .. })
    ));
    assert_eq!((index.len(), index.contains(6)), (1, false), "all or nothing");
}
