//! Partitions and the plan: what they find beside the exact answer, with a budget for what they may miss.

mod world;

use std::sync::Arc;

use endcap_index::{
    Allowed, Calibration, Compaction, GraphConfig, Index, IndexConfig, IndexError, QuerySource, Retriever,
    Route, Selection, Simd, Way,
};
use world::{clustered, label};

const DIM: usize = 32;

fn config() -> IndexConfig {
    IndexConfig { scan_below: 1_000, ..IndexConfig::default() }
}

fn build(items: usize, config: &IndexConfig) -> Index {
    let labels: Vec<u64> = (0..items).map(label).collect();
    Index::build(&labels, &clustered(1, items, DIM, 200), DIM, config).unwrap()
}

/// Mean recall@k of `retriever` over the queries, and the share of queries with a recall below .8.
fn recall(
    index: &Index,
    retriever: &impl Retriever,
    queries: &[f32],
    k: usize,
    allowed: &Allowed<'_>,
) -> (f64, f64) {
    let exact = index.snapshot().by(Way::Scan).retrieve_batch(queries, k, allowed).unwrap();
    let found = retriever.retrieve_batch(queries, k, allowed).unwrap();
    let recalls: Vec<f64> = exact
        .iter()
        .zip(&found)
        .map(|(exact, found)| {
            assert_eq!(exact.len(), found.len(), "as many as there are");
            exact.iter().filter(|hit| found.contains(hit)).count() as f64 / exact.len() as f64
        })
        .collect();
    let poor = recalls.iter().filter(|&&recall| recall < 0.8).count();
    (recalls.iter().sum::<f64>() / recalls.len() as f64, poor as f64 / recalls.len() as f64)
}

#[test]
fn partitions_find_what_the_scan_finds_but_for_two_in_a_hundred_under_any_filter() {
    let index = build(20_000, &config());
    let snapshot = index.snapshot();
    let partitions = snapshot.by_route(Route { way: Way::Partitions, effort: 350 });
    let queries = clustered(1, 200, DIM, 200);
    for k in [1, 10, 100, 500] {
        let (mean, poor) = recall(&index, &partitions, &queries, k, &Allowed::All);
        assert!(mean >= 0.98 && poor <= 0.03, "recall@{k} {mean}, poor {poor}");
    }
    for modulus in [2, 10, 100] {
        let selection = Selection::new(&snapshot, move |label| label % modulus == 0);
        let allowed = Allowed::Selected { selection: &selection, except: &[] };
        let (mean, poor) = recall(&index, &partitions, &queries, 100, &allowed);
        assert!(mean >= 0.98 && poor <= 0.03, "one in {modulus}: recall {mean}, poor {poor}");
    }
}

/// What a filter of the field does: it lets through what lies together, elsewhere than the query.
#[test]
fn a_filter_that_lets_through_one_far_corner_is_answered_too() {
    let index = build(20_000, &config());
    let snapshot = index.snapshot();
    let corner = clustered(1, 3, DIM, 200);
    let near: Vec<f32> = corner[DIM..2 * DIM].to_vec();
    let far = snapshot.by(Way::Scan).retrieve(&near, 700, &Allowed::All).unwrap();
    let mut labels: Vec<u64> = far.iter().map(|hit| hit.label).collect();
    labels.sort_unstable();
    let selection = Selection::new(&snapshot, move |label| labels.binary_search(&label).is_ok());
    let allowed = Allowed::Selected { selection: &selection, except: &[] };
    let partitions = snapshot.by_route(Route { way: Way::Partitions, effort: 350 });
    let away: Vec<f32> = near.iter().map(|x| -x).collect();
    let (mean, _) = recall(&index, &partitions, &away, 100, &allowed);
    assert!(mean >= 0.9, "recall {mean}");
}

#[test]
fn partitions_are_the_same_on_every_instruction_set_and_with_any_number_of_threads() {
    let answers = |simd, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let index = build(4_000, &IndexConfig { simd: Some(simd), ..config() });
            let partitions = index.snapshot().by_route(Route { way: Way::Partitions, effort: 150 });
            partitions.retrieve_batch(&clustered(1, 50, DIM, 200), 20, &Allowed::All).unwrap()
        })
    };
    let expected = answers(Simd::Portable, 1);
    for simd in Simd::available() {
        for threads in [1, 3] {
            assert_eq!(answers(simd, threads), expected, "{simd}, {threads} threads");
        }
    }
}

#[test]
fn the_plan_reaches_the_recall_target_that_it_was_measured_for() {
    let index = build(20_000, &config());
    let blends = index.plan().calibration.clone().unwrap();
    assert_eq!((blends.items, blends.source), (20_000, QuerySource::BlendedItems));
    // Users are elsewhere than items: around other centres. That is what they are measured for.
    let users = clustered(7, 328, DIM, 200);
    let (held_out, queries) = users.split_at(128 * DIM);
    let calibration = index.calibrate(held_out).unwrap().unwrap();
    let plan = index.plan();
    let effort = |calibration: &Calibration| calibration.planned(100)[0].route.effort;
    assert!(effort(&calibration) > effort(&blends), "{calibration}\n{blends}");
    assert!(calibration.planned(100).iter().all(|attempt| attempt.recall >= 0.98), "{calibration}");
    for modulus in [1, 2, 4, 9] {
        let selection = Selection::new(&index.snapshot(), move |label| label % modulus == 0);
        let allowed = Allowed::Selected { selection: &selection, except: &[] };
        let (mean, poor) = recall(&index, &index.snapshot(), queries, 100, &allowed);
        assert!(mean >= 0.97 && poor <= 0.03, "one in {modulus}: recall {mean}, poor {poor}\n{calibration}");
    }
    let answer = index.snapshot().answer(&queries[..DIM], 100, &Allowed::All).unwrap();
    assert_eq!((answer.survivors, answer.items, answer.selectivity()), (20_000, 20_000, 1.0));
    assert_eq!(answer.route, plan.route(20_000, 100));
    let exact = index.snapshot().search_exact(&queries[..DIM], 100, &Allowed::All).unwrap();
    let hits = exact.iter().filter(|hit| answer.hits.contains(hit)).count();
    assert!(hits >= 80, "{hits} of 100");
}

#[test]
fn where_nothing_was_measured_the_answer_is_exact() {
    let index = build(20_000, &config());
    let plan = index.plan();
    assert!(plan.route(20_000, 5_000).way.is_exact(), "larger answers than were measured");
    assert_eq!(plan.route(150, 100).way, Way::Survivors, "a few survivors");
    let strict = build(4_000, &IndexConfig { recall_target: 1.0, ..config() });
    for survivors in [4_000, 3_000, 2_500, 2_100, 10] {
        assert!(strict.plan().route(survivors, 100).way.is_exact(), "a target of 1");
    }
}

#[test]
fn users_are_measured_where_there_are_some_and_bad_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let index = build(5_000, &config());
    let users = clustered(9, 40, DIM, 200);
    let measured = index.calibrate(&users).unwrap().unwrap();
    assert_eq!((measured.source, measured.queries), (QuerySource::Users, 40));
    assert!(matches!(index.calibrate(&users[1..]), Err(IndexError::Dimension { expected: DIM, found: 31 })));
    let mut bad = users.clone();
    bad[DIM + 3] = f32::NAN;
    assert!(matches!(index.calibrate(&bad), Err(IndexError::QueryValue { position: 3, .. })));
    assert_eq!(index.plan().calibration, Some(Arc::clone(&measured)), "a refused one changes nothing");
    index.save(dir.path()).unwrap();
    assert_eq!(Index::load(dir.path()).unwrap().plan(), index.plan(), "stored with the index");
    let small = build(500, &config());
    assert_eq!(small.calibrate(&users).unwrap(), None, "an index that scans has nothing to measure");
}

#[test]
fn a_graph_that_would_not_fit_is_refused_in_words_and_partitions_serve() {
    let graph = GraphConfig { from_items: 0, ..GraphConfig::default() };
    let index = build(2_000, &IndexConfig { graph, build_memory: 4 << 20, ..config() });
    let plan = index.plan();
    assert!(!plan.graph && plan.partitions > 0);
    let said = plan.graph_refused.clone().unwrap();
    assert_eq!(
        said,
        "a graph over 2000 items takes some 5 MiB while it is built, index.build_memory allows 4 MiB: partitions and \
         scans serve without"
    );
    assert!(plan.to_string().contains(&said));
    let queries = clustered(3, 20, DIM, 200);
    let (mean, _) = recall(&index, &index.snapshot(), &queries, 50, &Allowed::All);
    assert!(mean >= 0.98, "{mean}");
    let dir = tempfile::tempdir().unwrap();
    index.save(dir.path()).unwrap();
    assert_eq!(Index::load(dir.path()).unwrap().plan().graph_refused, Some(said));
}

/// Compaction keeps partitions and assigns only what is new: recall must not suffer, whatever was replaced meanwhile.
#[test]
fn compaction_keeps_the_recall_of_partitions() {
    let index = build(6_000, &config());
    let newer = clustered(1, 9_000, DIM, 200);
    for (row, vector) in newer.chunks(DIM).enumerate().skip(6_000) {
        index.upsert(label(row), vector).unwrap();
        index.delete(label(row - 6_000));
    }
    let queries = clustered(1, 100, DIM, 200);
    let measured = index.plan().calibration.clone();
    assert_eq!(index.compact().unwrap(), Compaction::Done { items: 6_000, pending: 0 });
    assert_eq!(index.plan().calibration, measured, "what was measured is carried over");
    let partitions = index.snapshot().by_route(Route { way: Way::Partitions, effort: 350 });
    let (mean, poor) = recall(&index, &partitions, &queries, 100, &Allowed::All);
    assert!(mean >= 0.98 && poor <= 0.03, "recall {mean}, poor {poor}");

    // Three times as many: other partitions, measured again.
    let many = clustered(1, 20_000, DIM, 200);
    let labels: Vec<u64> = (9_000..20_000).map(label).collect();
    index.upsert_batch(&labels, &many[9_000 * DIM..]).unwrap();
    index.compact().unwrap();
    let calibration = index.plan().calibration.clone().unwrap();
    assert_eq!(calibration.items, 17_000);
    let (mean, _) = recall(&index, &index.snapshot(), &queries, 100, &Allowed::All);
    assert!(mean >= 0.97, "recall {mean}");
}
