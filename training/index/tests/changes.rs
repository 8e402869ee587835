//! An index that changes while it is read, against a map.

mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use endcap_index::{
    Allowed, Compaction, GraphConfig, Index, IndexConfig, Retriever, Route, Selection, Snapshot, Way,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use world::{answer, clustered, label, whole};

type Items = BTreeMap<u64, Vec<f32>>;

/// Draws operations until `count` are done; every answer must be the map's, bit for bit.
fn operations_agree(seed: u64, count: usize, dim: usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut items = Items::new();
    let labels: Vec<u64> = (0..200).map(label).collect();
    let vectors = whole(seed, labels.len(), dim);
    items.extend(labels.iter().copied().zip(vectors.chunks(dim).map(<[f32]>::to_vec)));
    // Every other seed keeps its base in partitions; the plan is exact all the same.
    let scan_below = if seed.is_multiple_of(2) { 100 } else { usize::MAX };
    let config = IndexConfig { scan_below, recall_target: 1.0, ..IndexConfig::default() };
    let index = Index::build(&labels, &vectors, dim, &config).unwrap();
    let mut selection = Selection::new(&index.snapshot(), |label| label % 4 < 2);
    let mut kept: Option<(Snapshot, Items)> = None;
    let (mut found, mut looked_for) = (0, 0);

    let draw =
        |rng: &mut StdRng| -> Vec<f32> { (0..dim).map(|_| rng.random_range(-3i8..=3).into()).collect() };
    for step in 0..count {
        let at = format!("seed {seed}, operation {step}");
        match rng.random_range(0..1000) {
            0..400 => {
                let (label, vector) = (label(rng.random_range(0..700)), draw(&mut rng));
                index.upsert(label, &vector).unwrap();
                items.insert(label, vector);
            }
            400..410 => {
                let many: Vec<u64> =
                    (0..rng.random_range(0..400)).map(|_| label(rng.random_range(0..900))).collect();
                let vectors: Vec<f32> = many.iter().flat_map(|_| draw(&mut rng)).collect();
                index.upsert_batch(&many, &vectors).unwrap();
                items.extend(many.into_iter().zip(vectors.chunks(dim).map(<[f32]>::to_vec)));
            }
            410..650 => {
                let label = label(rng.random_range(0..900));
                assert_eq!(index.delete(label), items.remove(&label).is_some(), "{at}");
            }
            650..960 => {
                let (query, k) = (draw(&mut rng), rng.random_range(1..40));
                let except: Vec<u64> = (0..rng.random_range(0..30)).map(label).collect();
                let (allowed, law): (_, &dyn Fn(u64) -> bool) = match rng.random_range(0..4) {
                    0 => (Allowed::All, &|_| true),
                    1 => (Allowed::Except(&except), &|label| !except.contains(&label)),
                    2 => (Allowed::Labels(&except), &|label| except.contains(&label)),
                    _ => (Allowed::Selected { selection: &selection, except: &except }, &|label| {
                        label % 4 < 2 && !except.contains(&label)
                    }),
                };
                let expected = answer(&items, &query, k, law);
                assert_eq!(index.search(&query, k, &allowed).unwrap(), expected, "{at}");
                // Partitions within reach of everything miss next to nothing, and never answer with fewer.
                let everywhere = Route { way: Way::Partitions, effort: 1_000_000 };
                let hits = index.snapshot().by_route(everywhere).retrieve(&query, k, &allowed).unwrap();
                assert_eq!(hits.len(), expected.len(), "{at}");
                found += hits.iter().filter(|hit| expected.contains(hit)).count();
                looked_for += expected.len();
            }
            960..980 => {
                let label = label(rng.random_range(0..900));
                assert_eq!(index.vector(label), items.get(&label).cloned(), "{at}");
                assert_eq!(
                    (index.len(), index.contains(label)),
                    (items.len(), items.contains_key(&label)),
                    "{at}"
                );
            }
            980..990 => {
                if let Some((snapshot, then)) = kept.take() {
                    let query = draw(&mut rng);
                    let hits = snapshot.retrieve(&query, 20, &Allowed::All).unwrap();
                    assert_eq!(hits, answer(&then, &query, 20, |_| true), "{at}: a snapshot does not change");
                }
                kept = Some((index.snapshot(), items.clone()));
            }
            990..993 => {
                assert_ne!(index.compact().unwrap(), Compaction::Running, "{at}");
                assert_eq!(index.compact().unwrap(), Compaction::Clean, "{at}");
            }
            _ => selection = Selection::new(&index.snapshot(), |label| label % 4 < 2),
        }
    }
    assert!(found * 200 >= looked_for * 199, "seed {seed}: {found} of {looked_for}");
    let mut labels: Vec<u64> = index.snapshot().labels().collect();
    labels.sort_unstable();
    assert_eq!(labels, items.into_keys().collect::<Vec<_>>());
}

#[test]
fn twenty_thousand_random_operations_agree_with_a_map() {
    for seed in 0..4 {
        operations_agree(seed, 5_000, [3, 16, 17, 64][seed as usize]);
    }
}

#[test]
fn two_hundred_thousand_random_operations_agree_with_a_map() {
    for seed in 100..120 {
        operations_agree(seed, 10_000, [3, 16, 17, 64][seed as usize % 4]);
    }
}

#[test]
fn a_change_is_seen_by_the_next_query_and_by_no_older_snapshot() {
    let index = Index::build(&[1], &[1.0, 0.0], 2, &IndexConfig::default()).unwrap();
    let before = index.snapshot();
    let best =
        |index: &Index| index.search(&[0.0, 1.0], 1, &Allowed::All).unwrap().first().map(|hit| hit.label);
    index.upsert(2, &[0.0, 1.0]).unwrap();
    assert_eq!(best(&index), Some(2));
    index.upsert(1, &[0.0, 2.0]).unwrap();
    assert_eq!(best(&index), Some(1));
    assert!(index.delete(1) && !index.delete(1));
    assert_eq!(best(&index), Some(2));
    assert!(index.delete(2));
    assert_eq!((best(&index), index.is_empty()), (None, true));
    assert_eq!((before.len(), before.vector(1)), (1, Some(&[1.0, 0.0][..])));
}

#[test]
fn compaction_becomes_due_with_the_share_of_changes() {
    let vectors = whole(1, 100, 4);
    let labels: Vec<u64> = (0..100).map(label).collect();
    let index = Index::build(&labels, &vectors, 4, &IndexConfig::default()).unwrap();
    let changes: Vec<u64> = (0..4_095).map(label).collect();
    index.upsert_batch(&changes, &whole(2, 4_095, 4)).unwrap();
    assert!(index.compaction_due(), "100 rows replaced, 4,095 added");
    assert_eq!(index.compact().unwrap(), Compaction::Done { items: 4_095, pending: 0 });
    assert!(!index.compaction_due());
}

/// Readers must see every item that is never touched, and none that was deleted before they looked; writers must lose
/// nothing, while base after base is built.
#[test]
fn readers_and_writers_go_on_while_the_base_is_rebuilt() {
    let dim = 16;
    let config = IndexConfig {
        scan_below: 2_000,
        graph: GraphConfig { from_items: 0, neighbours: 8, construction: 40, search: 100 },
        ..IndexConfig::default()
    };
    let vectors = clustered(1, 2_500, dim, 25);
    let labels: Vec<u64> = (0..2_500).map(label).collect();
    let index = Index::build(&labels, &vectors, dim, &config).unwrap();
    let newer = clustered(2, 3_000, dim, 25);
    let (written, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for (row, vector) in newer.chunks(dim).enumerate() {
                index.upsert(label(10_000 + row), vector).unwrap();
                assert!(index.delete(label(row % 1_000)) == (row < 1_000));
                written.store(row + 1, Ordering::Release);
            }
            done.store(true, Ordering::Release);
        });
        threads.spawn(|| {
            while !done.load(Ordering::Acquire) {
                index.compact().unwrap();
            }
        });
        let mut rng = StdRng::seed_from_u64(3);
        while !done.load(Ordering::Acquire) {
            let written = written.load(Ordering::Acquire);
            let snapshot = index.snapshot();
            let untouched = rng.random_range(1_000..2_500);
            assert!(snapshot.contains(label(untouched)));
            assert!(written == 0 || !snapshot.contains(label(rng.random_range(0..written.min(1_000)))));
            assert!(written == 0 || snapshot.contains(label(10_000 + rng.random_range(0..written))));
            let query = &vectors[untouched * dim..][..dim];
            let exact = snapshot.by(Way::Scan).retrieve(query, 1, &Allowed::All).unwrap();
            assert!(exact[0].score >= 0.9999);
        }
    });
    index.compact().unwrap();
    assert_eq!(index.len(), 1_500 + 3_000);
    let items: Items = (1_000..2_500)
        .map(|row| (label(row), vectors[row * dim..][..dim].to_vec()))
        .chain((0..3_000).map(|row| (label(10_000 + row), newer[row * dim..][..dim].to_vec())))
        .collect();
    for (label, vector) in items {
        assert_eq!(index.vector(label), Some(vector));
    }
}
