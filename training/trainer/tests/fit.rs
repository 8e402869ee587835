//! The towers' fit as a whole, on a small synthetic shop.

use endcap_clickstream::{
    Dataset, DatasetInfo, DatasetWriter, Part,
    synthetic::{Shop, ShopConfig},
};
use endcap_proto::{Event, EventTime, EventType};
use endcap_towers::{Encoder, Towers};
use endcap_trainer::{
    EpochReport, LoadOptions, Progress, StepProgress, TrainConfig, TrainReport, TrainingData, Validation,
    fit_towers,
};

fn shop() -> Shop {
    let config = ShopConfig { items: 400, shoppers: 250, days: 28, images: false, ..ShopConfig::default() };
    Shop::new(&config).unwrap()
}

fn load(shop: &Shop) -> TrainingData {
    let dir = tempfile::tempdir().unwrap();
    shop.write(dir.path()).unwrap();
    TrainingData::load(&Dataset::open(dir.path()).unwrap(), &LoadOptions::default()).unwrap()
}

fn quick() -> TrainConfig {
    TrainConfig {
        dim: 16,
        hidden: 32,
        length: 20,
        batch: 512,
        epochs: 3,
        warm_up: 10,
        ..TrainConfig::default()
    }
}

#[test]
fn equal_seeds_give_equal_weights_on_any_number_of_threads() {
    let data = load(&shop());
    let fit = |seed, threads| {
        let config = TrainConfig { seed, threads, epochs: 2, ..quick() };
        fit_towers(&data, &config, &mut ()).unwrap().weights
    };
    let one = fit(1, 1);
    assert!(one == fit(1, 2), "two threads");
    assert!(one == fit(1, 3), "three threads");
    assert!(one != fit(2, 1), "another seed");
}

#[test]
fn held_out_events_are_found_far_better_than_by_popularity() {
    let data = load(&shop());
    let fitted = fit_towers(&data, &TrainConfig { epochs: 6, ..quick() }, &mut ()).unwrap();
    let found = fitted.report.validation.unwrap();
    // The twenty most popular items make up this share of all interactions, before and after the cut.
    let mut counts: Vec<u32> = data.item_counts().to_vec();
    counts.sort_unstable_by_key(|&count| std::cmp::Reverse(count));
    let popular = counts[..20].iter().sum::<u32>() as f64 / counts.iter().sum::<u32>() as f64;
    assert!(found.recall_at_20 > 2.0 * popular, "{found:?} against {popular:.3}");
    assert_eq!(fitted.report.epochs[fitted.report.best_epoch - 1].validation, Some(found));
    let best = fitted.report.epochs.iter().filter_map(|epoch| epoch.validation).map(|v| v.ndcg_at_20);
    assert!(best.fold(0.0, f64::max) == found.ndcg_at_20, "the best epoch is kept");

    let towers = Towers::load(fitted.config, &fitted.weights).unwrap();
    let vectors = towers.item_vectors(data.item_features()).unwrap();
    for vector in vectors.chunks(towers.dim()) {
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn progress_hears_every_step_and_can_stop() {
    #[derive(Default)]
    struct Heard {
        steps: Vec<(usize, usize)>,
        epochs: usize,
        done: bool,
    }
    impl Progress for Heard {
        fn step(&mut self, step: &StepProgress) {
            assert!(step.loss.is_finite() && step.step <= step.steps && step.epochs == 3);
            self.steps.push((step.epoch, step.step));
        }
        fn epoch(&mut self, _: &EpochReport) {
            self.epochs += 1;
        }
        fn done(&mut self, report: &TrainReport) {
            assert_eq!(report.epochs.len(), self.epochs);
            self.done = true;
        }
        fn is_cancelled(&self) -> bool {
            self.steps.len() >= 5
        }
    }
    let mut heard = Heard::default();
    fit_towers(&load(&shop()), &quick(), &mut heard).unwrap();
    assert_eq!(heard.steps, [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]);
    assert!(heard.done && heard.epochs == 1);
}

/// Visitors who each like one of four groups of ten items, in no order; the file is sorted by item.
fn sets(dir: &std::path::Path, info: DatasetInfo) {
    let shop = shop();
    let template =
        shop.history_of(0).0.into_iter().find(|event| event.event_type == EventType::View).unwrap();
    let mut writer = DatasetWriter::create(dir, info).unwrap();
    let mut time = 0;
    for visitor in 0..200u64 {
        for item in 0..10 {
            if endcap_towers::mix(visitor * 10 + item) % 10 < 3 {
                continue;
            }
            time += 1;
            let name = format!("{}-{item}", visitor % 4);
            let mut event: Event = template.clone();
            event.event_id = endcap_proto::EventId::new(format!("{visitor} {name}")).unwrap();
            event.visitor_id = endcap_proto::VisitorId::new(format!("{visitor}")).unwrap();
            event.time = EventTime::clamped(time);
            event.items[0].item_id = endcap_proto::ItemId::new(name).unwrap();
            event.items.truncate(1);
            writer.event(&event, Part::All).unwrap();
        }
    }
    writer.finish().unwrap();
}

#[test]
fn sets_without_an_order_are_learnt_by_a_mean_pool() {
    let dir = tempfile::tempdir().unwrap();
    sets(dir.path(), DatasetInfo { ordered: false, ..DatasetInfo::new("sets") });
    let data = TrainingData::load(&Dataset::open(dir.path()).unwrap(), &LoadOptions::default()).unwrap();
    let config = TrainConfig { epochs: 12, ..quick() };
    let fitted = fit_towers(&data, &config, &mut ()).unwrap();
    assert_eq!(fitted.config.encoder, Encoder::MeanPool);
    let found = fitted.report.validation.unwrap();
    // One of the few items of the group that the visitor has not met; there are 40 items in all.
    assert!(found.cases == 200 && found.ndcg_at_20 > 0.5, "{found:?}");
}

#[test]
fn data_that_says_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    sets(dir.path(), DatasetInfo::new("sets"));
    let dataset = Dataset::open(dir.path()).unwrap();
    let until = |millis| LoadOptions { until: Some(EventTime::clamped(millis)), ..LoadOptions::default() };
    let error = TrainingData::load(&dataset, &until(0)).unwrap_err();
    assert!(error.to_string().starts_with("nothing to learn from"), "{error}");
    let one = TrainingData::load(&dataset, &until(2)).unwrap();
    assert_eq!(one.sequences().interactions().len(), 1);
    let config = TrainConfig { validation: Validation::None, ..quick() };
    let error = fit_towers(&one, &config, &mut ()).unwrap_err();
    assert!(error.to_string().contains("nothing to tell apart"), "{error}");
    let error = fit_towers(&one, &TrainConfig { batch: 0, ..quick() }, &mut ()).unwrap_err();
    assert_eq!(error.to_string(), "batch must lie in 16..=1000000, is 0");
}

#[test]
fn products_that_training_never_met_are_found_by_their_words() {
    // A tenth of the products is hidden: no event names them while the towers are fitted.
    let shop =
        Shop::new(&ShopConfig { items: 400, shoppers: 600, images: false, ..ShopConfig::default() }).unwrap();
    let is_hidden = |id: &endcap_proto::ItemId| id.key().0.is_multiple_of(10);
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::create(dir.path(), DatasetInfo::new("hidden")).unwrap();
    let mut events: Vec<Event> =
        (0..shop.shoppers()).flat_map(|shopper| shop.history_of(shopper).0).collect();
    events.sort_by(|a, b| (a.time, &a.event_id).cmp(&(b.time, &b.event_id)));
    for event in &events {
        if !event.items.iter().any(|item| is_hidden(&item.item_id)) {
            writer.event(event, Part::All).unwrap();
        }
    }
    shop.items().iter().for_each(|item| writer.item(item).unwrap());
    writer.finish().unwrap();
    let data = TrainingData::load(&Dataset::open(dir.path()).unwrap(), &LoadOptions::default()).unwrap();
    let config = TrainConfig { dim: 32, hidden: 64, batch: 1024, epochs: 4, ..TrainConfig::default() };
    let fitted = fit_towers(&data, &config, &mut ()).unwrap();
    let towers = Towers::load(fitted.config, &fitted.weights).unwrap();
    let vectors = towers.item_vectors(data.item_features()).unwrap();
    let vector = |item: usize| &vectors[item * towers.dim()..][..towers.dim()];

    // For each shopper: the hidden products by score, against the shop's truth about them.
    let hidden: Vec<usize> =
        (0..shop.items().len()).filter(|&item| is_hidden(&shop.items()[item].id)).collect();
    let [mut ours, mut random] = [0.0; 2];
    for shopper in 0..shop.shoppers() {
        let (history, taste) = (shop.history_of(shopper).0, shop.shopper_at_end(shopper).1);
        let mut state = endcap_features::UserState::default();
        history.iter().for_each(|event| _ = state.apply(event));
        let features = endcap_features::features_at(&state, shop.config().end, towers.length());
        let known = |key| (0..shop.items().len()).find(|&item| shop.items()[item].id.key() == key);
        let items: Vec<usize> = features.history.iter().map(|entry| known(entry.item).unwrap()).collect();
        let items: Vec<&[f32]> = items.into_iter().map(vector).collect();
        let event_types: Vec<_> = features.history.iter().map(|entry| entry.event_type).collect();
        let gap_buckets: Vec<_> = features.history.iter().map(|entry| entry.gap_bucket).collect();
        let input =
            endcap_towers::UserInput { items: &items, event_types: &event_types, gap_buckets: &gap_buckets };
        let user = towers.user_vectors(&[input]).unwrap();
        let score = |item: usize| vector(item).iter().zip(&user).map(|(a, b)| a * b).sum::<f32>();
        let best = hidden.iter().copied().max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap();
        ours += shop.click_probability(&taste, best);
        random += hidden.iter().map(|&item| shop.click_probability(&taste, item)).sum::<f64>()
            / hidden.len() as f64;
    }
    assert!(ours > 3.0 * random, "{:.2} times random", ours / random);
}
