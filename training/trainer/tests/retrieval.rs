//! The recall that a bundle's plan promises is that of shoppers it has never met.

use endcap_bundle::{Bundle, BundleStore};
use endcap_clickstream::{
    Dataset,
    synthetic::{Shop, ShopConfig},
};
use endcap_evaluation::{HeldOut, Moments, Protocol, Split, SplitConfig};
use endcap_index::{Allowed, Hit, QuerySource, Retriever, Selection};
use endcap_recommend::Model;
use endcap_trainer::{PipelineConfig, publish};

const K: usize = 100;

#[test]
fn the_planned_recall_reaches_the_target_for_shoppers_of_the_test_period() {
    let shop = ShopConfig { items: 6_000, shoppers: 1_000, days: 60, images: false, ..ShopConfig::default() };
    let shop = Shop::new(&shop).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    shop.write(&data).unwrap();
    let dataset = Dataset::open(&data).unwrap();
    let split = Split::read(&dataset, &SplitConfig::of(Protocol::GlobalTime)).unwrap();
    let store = BundleStore::open(folder.path().join("bundles")).unwrap();
    let mut config = PipelineConfig { ranker_moments: 200, ..PipelineConfig::default() };
    config.index.scan_below = 2_000;
    config.towers.epochs = 2;
    config.ranker.epochs = 1;
    let end = shop.config().end;
    let published =
        publish(&dataset, Some(&split), &config, Vec::new(), &store, end, Default::default(), &mut ())
            .unwrap();
    let model = Model::new(Bundle::load(&store.path(&published.version)).unwrap()).unwrap();

    let snapshot = model.index().snapshot();
    let calibration = snapshot.plan().calibration.clone().unwrap();
    assert_eq!(calibration.source, QuerySource::Users);
    let mut users = Vec::new();
    let Ok(()) = Moments::of(&split, HeldOut::Test, &dataset).unwrap().run(|moment| {
        let view = model.view(moment.state, moment.as_of);
        if let (false, Ok(vector)) = (view.history().is_empty(), view.vector()) {
            users.extend_from_slice(vector);
        }
        Ok::<_, std::convert::Infallible>(())
    });
    let every = (users.len() / snapshot.dim()).div_ceil(1_000);
    let users: Vec<f32> = users.chunks(snapshot.dim()).step_by(every).flatten().copied().collect();
    assert!(users.len() >= 500 * snapshot.dim(), "{} users", users.len() / snapshot.dim());
    // Which way is the cheapest is the machine's affair; what each approximate one promises is not.
    let mut approximate = 0;
    for attempt in &calibration.attempts {
        if attempt.k != K || attempt.route.way.is_exact() || attempt.recall_low < calibration.recall_target {
            continue;
        }
        approximate += 1;
        let share = attempt.share;
        let kept = Selection::new(&snapshot, move |label| {
            (label.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / (1u64 << 53) as f64 <= share
        });
        let allowed = Allowed::Selected { selection: &kept, except: &[] };
        let found = snapshot.by_route(attempt.route).retrieve_batch(&users, K, &allowed).unwrap();
        let exact: Vec<Vec<Hit>> = users
            .chunks(snapshot.dim())
            .map(|user| snapshot.search_exact(user, K, &allowed).unwrap())
            .collect();
        let recall = |(found, exact): (&Vec<Hit>, &Vec<Hit>)| {
            exact.iter().filter(|hit| found.contains(hit)).count() as f64 / exact.len() as f64
        };
        let mean = found.iter().zip(&exact).map(recall).sum::<f64>() / exact.len() as f64;
        println!("filter {share}: {}, promised {:.4}, found {mean:.4}", attempt.route, attempt.recall);
        assert!(mean >= calibration.recall_target, "filter {share}: {mean}\n{calibration}");
    }
    assert!(approximate > 0, "{calibration}");
}
