//! What every counting model must do, on a small world with a known answer.
//!
//! The world has two aisles of ten products. A visitor walks along one aisle, product by product,
//! from a place of their own, and steps into the other aisle once, in a session of its own. The
//! first aisle has twice the visitors, and the second had all of its visitors lately. (The idea of
//! one suite for all recommenders is that of benfred/implicit.)

use std::path::Path;

use endcap_neighbours::{
    CountingConfig, CountingModel, CountingModels, Ease, EaseConfig, Interaction, ItemKnn, KnnConfig,
    NeighboursError, NextItemRules, Popularity, RecentPopularity, RulesConfig, SessionKnn, SessionKnnConfig,
    Unit,
};
use endcap_proto::{EventTime, EventType, ItemKey};
use proptest::prelude::*;

const AISLE: u64 = 10;
const DAY_MS: i64 = 86_400_000;
const UNTIL: i64 = 30 * DAY_MS;

/// Keys are large and spread, as hashes are; the order of keys is that of the aisles' places.
fn product(aisle: u64, place: u64) -> ItemKey {
    ItemKey(((aisle << 8) + place % AISLE + 1) << 40)
}

fn step(item: ItemKey, time: i64, starts_session: bool) -> Interaction {
    Interaction { item, time: EventTime::clamped(time), event_type: EventType::View, starts_session }
}

fn world() -> Vec<Vec<Interaction>> {
    let visitor = |aisle: u64, from: u64, start: i64| {
        let mut steps: Vec<_> =
            (0..5).map(|i| step(product(aisle, from + i), start + i as i64, i == 0)).collect();
        steps.push(step(product(1 - aisle, from), start + DAY_MS / 2, true));
        steps
    };
    let mut visitors = Vec::new();
    for from in 0..AISLE {
        visitors.push(visitor(0, from, DAY_MS));
        visitors.push(visitor(0, from, 2 * DAY_MS));
        visitors.push(visitor(1, from, 28 * DAY_MS));
    }
    // Half an hour on, after the end: must not count.
    visitors.push(vec![step(product(0, 0), UNTIL, true), step(product(1, 5), UNTIL + 1, false)]);
    visitors
}

fn until() -> EventTime {
    EventTime::clamped(UNTIL)
}

fn keys(scored: &[(ItemKey, f32)]) -> Vec<ItemKey> {
    scored.iter().map(|&(item, _)| item).collect()
}

/// The laws that hold for every model.
fn check<M: CountingModel + PartialEq + std::fmt::Debug>(
    fit: impl Fn(&[Vec<Interaction>]) -> Result<M, NeighboursError>,
) {
    let world = world();
    let model = fit(&world).unwrap();
    assert_eq!(model.items(), 2 * AISLE as usize);

    let histories = [
        vec![],
        vec![ItemKey(12345)],
        vec![product(0, 3)],
        vec![product(0, 3), ItemKey(12345), product(1, 7), product(0, 3)],
        vec![product(1, 1); 1000],
    ];
    for history in &histories {
        let all = model.score(history, usize::MAX);
        assert!(all.len() <= model.items());
        for pair in all.windows(2) {
            let ((a, x), (b, y)) = (pair[0], pair[1]);
            assert!(x > y || (x == y && a < b), "best first, ties to the smaller key");
        }
        assert!(all.iter().all(|(_, score)| score.is_finite() && *score > 0.0));
        let mut distinct = keys(&all);
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len(), "each item once");
        for k in [0, 1, 3, all.len()] {
            assert_eq!(model.score(history, k), all[..k.min(all.len())], "fewer are the best of more");
        }
    }

    let reversed: Vec<_> = world.iter().rev().cloned().collect();
    let (one, other) = (model.score(&histories[3], 20), fit(&reversed).unwrap().score(&histories[3], 20));
    assert_eq!(one, other, "the order of visitors does not matter");

    let empty = fit(&[]).unwrap();
    assert_eq!((empty.items(), empty.score(&histories[3], 5)), (0, vec![]));

    files(&model, &empty);
}

/// The laws of files.
fn files<M: CountingModel + PartialEq + std::fmt::Debug>(model: &M, empty: &M) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    for model in [empty, model] {
        model.save(&path).unwrap();
        assert_eq!(&M::load(&path).unwrap(), model);
    }
    let bytes = std::fs::read(&path).unwrap();
    model.save(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "equal models have equal files");

    assert!(matches!(M::load(dir.path().join("nowhere")), Err(NeighboursError::Io { .. })));
    let load = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        M::load(&path)
    };
    for cut in (0..bytes.len()).step_by(7) {
        assert!(load(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in (0..bytes.len()).step_by(11) {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            // What passes is a model like any other.
            if let Ok(model) = load(&bytes) {
                model.score(&[product(0, 3), product(1, 1)], 5);
            }
        }
    }
}

#[test]
fn popularity_keeps_the_contract() {
    check(|world| Popularity::fit(world, until()));
}

#[test]
fn recent_popularity_keeps_the_contract() {
    check(|world| RecentPopularity::fit(world, until(), 7 * DAY_MS));
}

#[test]
fn next_item_rules_keep_the_contract() {
    check(|world| NextItemRules::fit(world, until(), &RulesConfig::default()));
}

#[test]
fn item_neighbours_keep_the_contract() {
    check(|world| ItemKnn::fit(world, until(), &KnnConfig::default()));
}

#[test]
fn session_neighbours_keep_the_contract() {
    check(|world| SessionKnn::fit(world, until(), false, &SessionKnnConfig::default()));
    let plain =
        SessionKnnConfig { position_scale: 0.0, distance_scale: 0.0, match_scale: 0.0, ..Default::default() };
    check(|world| {
        SessionKnn::fit(world, until(), true, &SessionKnnConfig { within: Unit::Visitor, ..plain.clone() })
    });
}

#[test]
fn ease_keeps_the_contract() {
    check(|world| Ease::fit(world, until(), &EaseConfig { regularisation: 3.0, ..EaseConfig::default() }));
}

#[test]
fn ease_refuses_a_large_catalogue_in_words() {
    let message = Ease::fit(world(), until(), &EaseConfig { max_items: 19, ..EaseConfig::default() });
    let message = message.unwrap_err().to_string();
    assert!(message.starts_with("20 items, and EASE is for at most 19"), "{message}");
}

#[test]
fn a_model_does_not_read_the_file_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    Popularity::fit(world(), until()).unwrap().save(&path).unwrap();
    let message = RecentPopularity::load(&path).unwrap_err().to_string();
    assert!(
        message.contains(r#"must be "recent_popularity 1" of its header, found "popularity 1""#),
        "{message}"
    );
}

#[test]
fn popularity_is_the_share_of_all_interactions() {
    // Aisle 0: 20 visitors × 5 + 10 strays = 110 on 10 products; aisle 1: 10 × 5 + 20 = 70.
    let model = Popularity::fit(world(), until()).unwrap();
    assert_eq!(model.share(product(0, 4)), 11.0 / 180.0);
    assert_eq!(model.share(product(1, 4)), 7.0 / 180.0);
    assert_eq!(model.share(ItemKey(12345)), 0.0);
    assert_eq!(keys(&model.score(&[], 10)), (0..10).map(|place| product(0, place)).collect::<Vec<_>>());
}

#[test]
fn recent_popularity_halves_with_each_half_life() {
    let day = |day: i64, item| vec![step(ItemKey(item), UNTIL - day * DAY_MS, true)];
    // Weights 2 · 1/4 (a fortnight), 1/2 (a week), 1/2 (a week): a tie goes to the smaller key.
    let world = [day(14, 9), day(14, 9), day(7, 5), day(7, 7)];
    let model = RecentPopularity::fit(world, until(), 7 * DAY_MS).unwrap();
    assert_eq!(model.score(&[], 5), [5, 7, 9].map(|item| (ItemKey(item), 0.5f32 / 1.5)));
    // In the world, aisle 1 was visited lately: it overtakes aisle 0.
    let model = RecentPopularity::fit(self::world(), until(), 7 * DAY_MS).unwrap();
    assert_eq!(keys(&model.score(&[], 10)), (0..10).map(|place| product(1, place)).collect::<Vec<_>>());
}

#[test]
fn rules_know_what_comes_next() {
    let model =
        NextItemRules::fit(world(), until(), &RulesConfig { within: Unit::Session, ..Default::default() })
            .unwrap();
    // In aisle 0 each place is walked onward from 4 of 5 starts, by 2 visitors: the next place
    // follows 8 times at step 1, the one after 6 times at step 2, then 4 at step 3, 2 at step 4.
    let after: Vec<_> = model.successors(product(0, 8)).collect();
    let expected = [(9, 8.0), (0, 3.0), (1, 4.0 / 3.0), (2, 0.5)];
    assert_eq!(after, expected.map(|(place, weight)| (product(0, place), weight)));

    // Within visitors the stray is reached too: from step 5 − i, by the two who started where it lies.
    let model = NextItemRules::fit(world(), until(), &RulesConfig::default()).unwrap();
    let after: Vec<_> = model.successors(product(0, 8)).collect();
    assert_eq!(after[0], (product(0, 9), 8.0));
    let stray = |place| after.iter().find(|(item, _)| *item == product(1, place)).unwrap().1;
    assert!((stray(8) - 2.0 / 5.0).abs() < 1e-6 && (stray(4) - 2.0).abs() < 1e-6);
    // The newest item weighs 1, the one before it 1/2.
    let scored = model.score(&[product(0, 8), product(0, 9)], 1);
    assert_eq!(scored, [(product(0, 0), 8.0 + 0.5 * 3.0)]);
}

#[test]
fn rules_reach_as_far_as_they_are_told() {
    let walk = || [vec![step(ItemKey(1), 0, true), step(ItemKey(2), 1, false), step(ItemKey(1), 2, false)]];
    let fit = |config| NextItemRules::fit(walk(), until(), &config).unwrap();
    let after = |model: &NextItemRules| model.successors(ItemKey(1)).collect::<Vec<_>>();
    let default = RulesConfig::default();
    assert_eq!(after(&fit(default.clone())), [(ItemKey(2), 1.0), (ItemKey(1), 0.5)]);
    assert_eq!(after(&fit(RulesConfig { repeats: false, ..default.clone() })), [(ItemKey(2), 1.0)]);
    assert_eq!(after(&fit(RulesConfig { max_steps: 1, ..default.clone() })), [(ItemKey(2), 1.0)]);
    assert_eq!(after(&fit(RulesConfig { successors: 1, ..default.clone() })), [(ItemKey(2), 1.0)]);
    let newest = fit(RulesConfig { history_decay: 0.0, ..default });
    assert_eq!(newest.score(&[ItemKey(1), ItemKey(2)], 5), [(ItemKey(1), 1.0)]);
}

#[test]
fn viewing_and_then_buying_is_one_visit() {
    let as_type = |event_type, step: Interaction| Interaction { event_type, ..step };
    let walk = [
        step(ItemKey(1), 0, true),
        as_type(EventType::AddToCart, step(ItemKey(1), 1, false)),
        as_type(EventType::Purchase, step(ItemKey(1), 2, false)),
        as_type(EventType::Purchase, step(ItemKey(1), 3, false)),
        step(ItemKey(2), 4, false),
    ];
    let model = NextItemRules::fit([walk], until(), &RulesConfig::default()).unwrap();
    // Two visits to 1 (bought twice), then 2: 1 → 1 at step 1, 1 → 2 at steps 2 and 1.
    let after: Vec<_> = model.successors(ItemKey(1)).collect();
    assert_eq!(after, [(ItemKey(2), 1.5), (ItemKey(1), 1.0)]);
    // Popularity counts all five.
    assert_eq!(Popularity::fit([walk], until()).unwrap().share(ItemKey(2)), 0.2);
}

#[test]
fn neighbours_are_met_by_the_same_visitors() {
    let visits = |items: &[u64]| -> Vec<_> {
        items.iter().zip(0..).map(|(&item, time)| step(ItemKey(item), time, time == 0)).collect()
    };
    // Item 1 is met by 3 visitors, 2 by 2, 3 by 2 (once twice), 4 by 1.
    let world = [visits(&[1, 2]), visits(&[2, 1, 3, 3]), visits(&[1, 3]), visits(&[4])];
    let config = KnnConfig { shrinkage: 0.0, ..Default::default() };
    let model = ItemKnn::fit(&world, until(), &config).unwrap();
    let cosine = |both: f64, a: f64, b: f64| (both / (a * b).sqrt()) as f32;
    let of = |model: &ItemKnn, item| model.neighbours(ItemKey(item)).collect::<Vec<_>>();
    assert_eq!(of(&model, 1), [(ItemKey(2), cosine(2.0, 3.0, 2.0)), (ItemKey(3), cosine(2.0, 3.0, 2.0))]);
    assert_eq!(of(&model, 2), [(ItemKey(1), cosine(2.0, 2.0, 3.0)), (ItemKey(3), cosine(1.0, 2.0, 2.0))]);
    assert_eq!(of(&model, 4), []);
    let shrunk = ItemKnn::fit(&world, until(), &KnnConfig { shrinkage: 2.0, ..config.clone() }).unwrap();
    assert_eq!(of(&shrunk, 2)[1], (ItemKey(3), 1.0 / 4.0));
    // Visitors of two items count 1/ln 3, of three 1/ln 4.
    let discounted =
        ItemKnn::fit(&world, until(), &KnnConfig { discount_long: true, ..config.clone() }).unwrap();
    let expected = (1.0 / 3f64.ln() + 1.0 / 4f64.ln()) / 6f64.sqrt();
    assert!((f64::from(of(&discounted, 1)[0].1) - expected).abs() < 1e-5);
    // Of the newest two interactions alone, 2 and 1 are no neighbours of 3.
    let newest = ItemKnn::fit(&world[1..2], until(), &KnnConfig { max_interactions: 2, ..config }).unwrap();
    assert_eq!(of(&newest, 3), []);
}

#[test]
fn the_models_of_a_bundle_are_those_fitted_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = CountingConfig::default();
    let models = CountingModels::fit(world(), until(), &config).unwrap();
    assert_eq!(models.popularity, Popularity::fit(world(), until()).unwrap());
    assert_eq!(models.recent, RecentPopularity::fit(world(), until(), 7 * DAY_MS).unwrap());
    assert_eq!(models.rules, NextItemRules::fit(world(), until(), &config.rules).unwrap());
    assert_eq!(models.item_knn, ItemKnn::fit(world(), until(), &config.item_knn).unwrap());
    models.write(dir.path()).unwrap();
    assert!(CountingModels::file_names().iter().all(|name| Path::is_file(&dir.path().join(name))));
    assert_eq!(CountingModels::read(dir.path()).unwrap(), models);
}

#[test]
fn threads_do_not_change_a_fit() {
    use rand::{Rng, SeedableRng};
    let mut random = rand::rngs::SmallRng::seed_from_u64(7);
    let mut visit =
        || (0..20).map(|time| step(ItemKey(random.random_range(0..5000)), time, time == 0)).collect();
    let world: Vec<Vec<_>> = (0..2000).map(|_| visit()).collect();
    let fit = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| CountingModels::fit(&world, until(), &CountingConfig::default())).unwrap()
    };
    assert_eq!(fit(1), fit(3));
}

proptest! {
    /// Against the definition, written as plainly as it can be.
    #[test]
    fn rules_and_neighbours_are_their_definitions(
        visits in proptest::collection::vec(proptest::collection::vec((0..6u64, any::<bool>()), 0..9), 0..8),
        by_session: bool,
    ) {
        let visits: Vec<Vec<_>> = visits
            .iter()
            .map(|visit| visit.iter().zip(0..).map(|(&(item, starts), t)| step(ItemKey(item), t, starts)).collect())
            .collect();
        let within = if by_session { Unit::Session } else { Unit::Visitor };
        let units: Vec<&[Interaction]> = visits
            .iter()
            .flat_map(|visit| visit.chunk_by(move |_, next| !(by_session && next.starts_session)))
            .collect();

        let rules = RulesConfig { within, max_steps: 3, ..Default::default() };
        let rules = NextItemRules::fit(&visits, until(), &rules).unwrap();
        let knn = KnnConfig { within, shrinkage: 0.5, ..Default::default() };
        let knn = ItemKnn::fit(&visits, until(), &knn).unwrap();
        let met = |unit: &[Interaction], item| unit.iter().any(|step| step.item == item);
        for a in (0..6).map(ItemKey) {
            for b in (0..6).map(ItemKey).filter(|&b| b != a) {
                let mut weight = 0.0;
                for unit in &units {
                    for i in 0..unit.len() {
                        for steps in 1..=3 {
                            if i + steps < unit.len() && unit[i].item == a && unit[i + steps].item == b {
                                weight += 1.0 / steps as f64;
                            }
                        }
                    }
                }
                let found = rules.successors(a).find(|(item, _)| *item == b).map_or(0.0, |(_, weight)| weight);
                prop_assert!((f64::from(found) - weight).abs() < 1e-5, "{:?} → {:?}: {} is not {}", a, b, found, weight);

                let count = |wanted: &dyn Fn(&[Interaction]) -> bool| units.iter().filter(|unit| wanted(unit)).count() as f64;
                let both = count(&|unit| met(unit, a) && met(unit, b));
                let alone = (count(&|unit| met(unit, a)) * count(&|unit| met(unit, b))).sqrt();
                let found = knn.neighbours(a).find(|(item, _)| *item == b).map_or(0.0, |(_, weight)| weight);
                prop_assert!((f64::from(found) - both / (alone + 0.5)).abs() < 1e-6);
            }
        }
    }
}
