//! From a split data set to a judged bundle: what was held out is recorded, what knew the answers is refused, and new
//! items are found.

use endcap_bundle::{Bundle, BundleStore};
use endcap_clickstream::{
    Dataset,
    synthetic::{Shop, ShopConfig},
};
use endcap_evaluation::{
    Baselines, BaselinesConfig, Contender, Evaluation, HeldOut, Metric, Protocol, Split, SplitConfig, Verdict,
};
use endcap_recommend::Model;
use endcap_trainer::{PipelineConfig, publish};

#[test]
fn new_items_are_found_three_times_as_often_as_by_chance() {
    let shop = Shop::new(&ShopConfig { shoppers: 1200, images: false, ..ShopConfig::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    shop.write(&data).unwrap();
    let dataset = Dataset::open(&data).unwrap();
    let hiding = SplitConfig { hidden_items: 0.1, ..SplitConfig::of(Protocol::GlobalTime) };
    let split = Split::read(&dataset, &hiding).unwrap();

    let store = BundleStore::open(folder.path().join("bundles")).unwrap();
    let mut config = PipelineConfig { refit: false, ranker_moments: 300, ..PipelineConfig::default() };
    config.towers.epochs = 3;
    config.ranker.epochs = 1;
    let end = shop.config().end;
    let published =
        publish(&dataset, Some(&split), &config, Vec::new(), &store, end, Default::default(), &mut ())
            .unwrap();
    let bundle = Bundle::load(&store.path(&published.version)).unwrap();
    let origin = bundle.manifest.origin.clone();

    // What it says was held out is what may be asked.
    assert_eq!(origin.held_out, split.held_out_parts());
    assert!(origin.newest_event < split.cut(HeldOut::Test));
    split.check(&origin, HeldOut::Test).unwrap();
    let other_seed = Split::read(&dataset, &SplitConfig { seed: 2, ..hiding.clone() }).unwrap();
    assert!(other_seed.check(&origin, HeldOut::Test).is_err(), "it met these items");
    let earlier = Split::read(&dataset, &SplitConfig { test: 0.3, ..hiding }).unwrap();
    assert!(earlier.check(&origin, HeldOut::Test).is_err(), "it met these events");

    let model = Model::new(bundle).unwrap();
    let baselines = Baselines::fit(&split, HeldOut::Test, &BaselinesConfig::default()).unwrap();
    let contender = Contender { label: "", model: &model, funnel: false };
    let evaluation = Evaluation { among_hidden: true, ..Evaluation::of(&split) };
    let report = evaluation.run(&split, &dataset, &baselines, &[contender]).unwrap();
    println!("{report}");
    let hidden = &report.groups[0];
    let recall = |system: &str| hidden.value(system, Metric::Recall(20)).unwrap();
    let (towers, chance) = (recall("towers (exact)"), recall("random"));
    assert!(hidden.cases > 100, "{}", hidden.cases);
    assert!(towers.mean >= 3.0 * chance.mean && towers.low > chance.high, "{towers:?} {chance:?}");
    assert_eq!(recall("popularity").mean, 0.0, "nobody met them, and all tie");

    // The whole catalogue, the whole funnel, and a bundle against itself.
    let pair = ["A", "B"].map(|label| Contender { label, model: &model, funnel: true });
    let evaluation = Evaluation { max_questions: Some(300), ..Evaluation::of(&split) };
    let report = evaluation.run(&split, &dataset, &baselines, &pair).unwrap();
    let all = &report.groups[0];
    let systems: Vec<&str> = all.rows.iter().map(|row| row.system.as_str()).collect();
    for system in
        ["session kNN", "EASE", "content kNN", "A: towers (exact)", "B: towers (index)", "B: funnel"]
    {
        assert!(systems.contains(&system), "{system}: {systems:?}");
    }
    let [exact, index] =
        ["A: towers (exact)", "A: towers (index)"].map(|system| all.value(system, Metric::Recall(20)));
    assert!(
        (exact.unwrap().mean - index.unwrap().mean).abs() < 0.02,
        "the index answers as the exact scan does"
    );
    for comparison in &all.comparisons {
        if comparison.system == "A: funnel" && comparison.baseline == "B: funnel" {
            assert_eq!((comparison.difference.mean, comparison.verdict()), (0.0, Verdict::NotToldApart));
        }
    }
    let beats = |system: &str| {
        let comparison = all.comparisons.iter().find(|comparison| {
            comparison.system == system
                && comparison.baseline == "random"
                && comparison.metric == Metric::Recall(20)
        });
        comparison.unwrap().verdict() == Verdict::Better
    };
    assert!(beats("A: towers (exact)") && beats("A: funnel"));
}
