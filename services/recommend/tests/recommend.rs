//! The pipeline from query to slate, over a small shop in memory.

mod shop;

use std::{
    collections::HashSet,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use endcap_features::{CounterFeatures, RANK_FEATURES_LEN, UserState};
use endcap_proto::{Availability, EventType, Item, ItemId, VisitorId};
use endcap_recommend::{
    Asked, Context, ExploreConfig, Funnel, ItemChange, Model, Position, Query, RecommendConfig,
    RecommendError, Slate, SourcesConfig, ValueConfig,
    stage::{Reason, SourceKind},
};
use shop::{Shop, event, id, item, now, parts};

fn query(visitor: &str) -> Query {
    Query::of(VisitorId::new(visitor).unwrap())
}

fn ids(slate: &Slate) -> Vec<String> {
    slate.places.iter().map(|place| place.id.as_str().to_owned()).collect()
}

fn shows(slate: &Slate, number: usize) -> bool {
    slate.places.iter().any(|place| place.id == id(number))
}

/// No drawn places: what is asked for twice is answered twice.
fn certain() -> RecommendConfig {
    let mut config = RecommendConfig { seed: Some(7), ..Default::default() };
    config.placements.get_mut("default").unwrap().explore = ExploreConfig { slots: 0, ..Default::default() };
    config
}

fn removed(slate: &Slate, reason: Reason) -> u32 {
    slate.trace.removed.iter().find(|(removed, _)| *removed == reason).map_or(0, |&(_, count)| count)
}

#[tokio::test]
async fn a_shopper_with_a_history_gets_a_whole_slate_from_several_sources() {
    let shop = Shop::new(300);
    shop.views("anna", [3, 4, 5]);
    let slate = shop.recommender.recommend(&query("anna")).await.unwrap();
    assert_eq!(slate.places.len(), 20);
    assert_eq!(slate.degraded, []);
    assert_eq!(slate.bundle_version, "bundle-1");
    assert_eq!(ids(&slate).iter().collect::<HashSet<_>>().len(), 20);
    let certain = &slate.places[..18];
    assert!(certain.is_sorted_by(|a, b| a.score >= b.score));
    assert!(certain.iter().all(|place| place.propensity == 1.0 && !place.explored));
    assert!(slate.places[18..].iter().all(|place| place.propensity < 1.0 && place.explored));
    let sources: HashSet<_> = slate.places.iter().flat_map(|place| place.sources.iter()).collect();
    assert!(
        sources.contains(&SourceKind::Towers) && sources.contains(&SourceKind::NextItemRules),
        "{sources:?}"
    );
    // Sessions of the counts walk from 5 to 6: the rules put it there.
    assert!(shows(&slate, 6));
}

#[tokio::test]
async fn a_newcomer_gets_a_whole_slate() {
    let shop = Shop::new(300);
    let slate = shop.recommender.recommend(&query("nobody")).await.unwrap();
    assert_eq!(slate.places.len(), 20);
    assert_eq!(slate.degraded, []);
    assert!(slate.places.iter().any(|place| place.sources.contains(SourceKind::Popularity)));
}

#[tokio::test]
async fn the_impression_is_the_slate_as_served() {
    let shop = Shop::new(300);
    shop.views("anna", [3, 4, 5]);
    let mut query = query("anna");
    query.request_id = Some("r-1".into());
    query.context.items = vec![id(9)];
    let slate = shop.recommender.recommend(&query).await.unwrap();
    let impressions = shop.impressions.taken.lock().unwrap();
    let [impression] = &impressions[..] else { panic!("{} impressions", impressions.len()) };
    assert_eq!(impression.slate_id, slate.id.to_string());
    assert_eq!(impression.request_id, "r-1");
    assert!(impression.consent);
    assert_eq!(impression.applied_offsets[0].offset, 42);
    assert_eq!(impression.context.as_ref().unwrap().item_ids, ["item-9"]);
    // The page's product is looked at one millisecond before the features are read.
    assert_eq!(impression.as_of, Some(now().plus_millis(2).to_proto()));
    assert_eq!(impression.items.len(), 20);
    for (logged, place) in impression.items.iter().zip(&slate.places) {
        assert_eq!((logged.item_id.as_str(), logged.score), (place.id.as_str(), place.score));
        assert_eq!((logged.propensity, logged.explored), (place.propensity, place.explored));
        assert_eq!(logged.features.len(), RANK_FEATURES_LEN);
        assert!(logged.features.iter().all(|feature| feature.is_finite()));
    }
    let token = shop.recommender.attribution(&slate.attribution_token).unwrap();
    assert_eq!((token.slate, token.bundle.as_str(), token.time), (slate.id, "bundle-1", now()));
}

#[tokio::test]
async fn a_slate_can_be_made_again_from_its_seed() {
    let (first, second) = (Shop::new(300), Shop::new(300));
    for _ in 0..5 {
        let (a, b) = (
            first.recommender.recommend(&query("x")).await.unwrap(),
            second.recommender.recommend(&query("x")).await.unwrap(),
        );
        assert_eq!((a.seed, a.id, ids(&a)), (b.seed, b.id, ids(&b)));
    }
}

#[tokio::test]
async fn what_cannot_be_sold_is_not_shown() {
    let mut items: Vec<Item> = (0..60).map(item).collect();
    for (number, item) in items.iter_mut().enumerate() {
        match number % 6 {
            0 => item.availability = Availability::OutOfStock,
            1 => item.availability = Availability::Discontinued,
            2 => item.publish_time = Some(now().plus_millis(1_000)),
            3 => item.expire_time = Some(now()),
            _ => {}
        }
    }
    let shop = Shop::with(items, certain());
    let mut query = query("anna");
    query.page_size = 60;
    let slate = shop.recommender.recommend(&query).await.unwrap();
    assert_eq!(slate.places.len(), 20);
    for number in 0..60 {
        assert_eq!(shows(&slate, number), number % 6 > 3, "{number}");
    }
    let reasons = [Reason::OutOfStock, Reason::Discontinued, Reason::NotPublished, Reason::Expired];
    assert_eq!(reasons.map(|reason| removed(&slate, reason)), [10; 4]);
}

#[tokio::test]
async fn the_request_and_the_past_rule_items_out() {
    let shop = Shop::new(40);
    let purchase =
        |number, days: i64| event("anna", EventType::Purchase, number, now().plus_millis(-days * 86_400_000));
    shop.states.apply(&purchase(3, 1));
    shop.states.apply(&purchase(4, 40));
    shop.states.apply(&event("anna", EventType::Dismiss, 5, now().plus_millis(-1)));
    let mut query = query("anna");
    query.page_size = 40;
    query.exclude = vec![id(0), id(1), ItemId::new("unknown").unwrap()];
    query.context = Context { page: Some(EventType::View), items: vec![id(2)], cart: vec![id(6)] };
    let slate = shop.recommender.recommend(&query).await.unwrap();
    for number in [0, 1, 2, 3, 5, 6] {
        assert!(!shows(&slate, number), "{number}");
    }
    assert!(shows(&slate, 4), "bought long ago");
    assert_eq!(slate.places.len(), 34);
    assert_eq!(slate.missing, [ItemId::new("unknown").unwrap()]);
    let reasons = [Reason::Excluded, Reason::OnPage, Reason::InCart, Reason::Bought, Reason::Dismissed];
    assert_eq!(reasons.map(|reason| removed(&slate, reason)), [2, 1, 1, 1, 1]);
}

#[tokio::test]
async fn of_a_group_the_best_ranked_variant_is_shown() {
    let mut items: Vec<Item> = (0..40).map(item).collect();
    for item in &mut items[..10] {
        item.group_id = Some("shoe".into());
    }
    let shop = Shop::with(items, certain());
    let mut query = query("anna");
    query.page_size = 40;
    let slate = shop.recommender.recommend(&query).await.unwrap();
    let variants: Vec<_> = (0..10).filter(|&number| shows(&slate, number)).collect();
    assert_eq!(variants.len(), 1);
    assert_eq!(removed(&slate, Reason::SameGroup), 9);
    // Alone on a list, that variant is also the best of the ten.
    query.candidates = (0..10).map(id).collect();
    let alone = shop.recommender.recommend(&query).await.unwrap();
    assert_eq!(ids(&alone), [id(variants[0]).as_str()]);
}

#[tokio::test]
async fn variants_of_popular_products_do_not_make_the_slate_short() {
    // All that the sources reach are variants of two products.
    let mut items: Vec<Item> = (0..2_000).map(item).collect();
    for (number, item) in items[..1_900].iter_mut().enumerate() {
        item.group_id = Some(format!("product-{}", number % 2));
    }
    let mut config = certain();
    config.sources = SourcesConfig { towers: 5, ..config.sources };
    let shop = Shop::with(items, config);
    let slate = shop.recommender.recommend(&query("anna")).await.unwrap();
    assert_eq!(slate.places.len(), 20);
}

#[tokio::test]
async fn candidate_ids_are_ranked_and_nothing_else() {
    let shop = Shop::with((0..100).map(item).collect(), certain());
    shop.views("anna", [7]);
    let mut query = query("anna");
    query.candidates = vec![id(50), id(51), ItemId::new("gone").unwrap(), id(52)];
    let slate = shop.recommender.recommend(&query).await.unwrap();
    let mut shown = ids(&slate);
    shown.sort();
    assert_eq!(shown, ["item-50", "item-51", "item-52"]);
    assert_eq!(slate.missing, [ItemId::new("gone").unwrap()]);
    assert!(slate.places.iter().all(|place| place.sources.contains(SourceKind::Request)));
    assert!(slate.places.is_sorted_by(|a, b| a.score >= b.score));
}

#[tokio::test]
async fn recent_events_and_the_page_act_like_the_stream() {
    let shop = Shop::with((0..300).map(item).collect(), certain());
    shop.views("streamed", [3, 4, 5]);
    let streamed = shop.recommender.recommend(&query("streamed")).await.unwrap();
    let mut stateless = query("stateless");
    stateless.recent_events = (0..3)
        .map(|i| event("stateless", EventType::View, 3 + i, now().plus_millis(-1_000 * (3 - i as i64))))
        .collect();
    let bridged = shop.recommender.recommend(&stateless).await.unwrap();
    assert_eq!(ids(&streamed), ids(&bridged));
    let newcomer = shop.recommender.recommend(&query("newcomer")).await.unwrap();
    assert_ne!(ids(&newcomer), ids(&bridged));
    // Not ingested: the next request knows nothing of them.
    let after = shop.recommender.recommend(&query("stateless")).await.unwrap();
    assert_eq!(ids(&newcomer), ids(&after));
    let mut on_page = query("newcomer");
    on_page.context.items = vec![id(5)];
    let paged = shop.recommender.recommend(&on_page).await.unwrap();
    assert!(shows(&paged, 6) && !shows(&paged, 5), "the page's product acts, and is not recommended");
}

#[tokio::test]
async fn a_click_from_a_clock_that_runs_ahead_acts_at_once() {
    let shop = Shop::with((0..300).map(item).collect(), certain());
    let before = shop.recommender.recommend(&query("anna")).await.unwrap();
    shop.states.apply(&event("anna", EventType::Click, 5, now().plus_millis(30_000)));
    let after = shop.recommender.recommend(&query("anna")).await.unwrap();
    assert_ne!(ids(&before), ids(&after));
    assert_eq!(after.trace.as_of, now().plus_millis(30_001));
}

#[tokio::test]
async fn a_failing_state_store_degrades_the_slate_and_is_named() {
    let shop = Shop::new(100);
    shop.states.away.store(true, Ordering::Relaxed);
    let slate = shop.recommender.recommend(&query("anna")).await.unwrap();
    assert_eq!(slate.places.len(), 20);
    assert_eq!(slate.degraded[0].to_string(), "state: the state store is not available: unplugged");
    shop.states.away.store(false, Ordering::Relaxed);
    shop.states.delay_ms.store(60_000, Ordering::Relaxed);
    let slate = shop.recommender.recommend(&query("anna")).await.unwrap();
    assert_eq!(slate.places.len(), 20);
    assert_eq!(slate.degraded[0].to_string(), "state: not read within 20ms");
    assert!(!shop.impressions.taken.lock().unwrap()[1].consent, "unknown is no consent");
}

#[tokio::test]
async fn without_a_ranker_the_sources_rank() {
    let mut parts = parts((0..100).map(item).collect(), "bundle-1", 1);
    parts.ranker = None;
    let shop = Shop::of(parts, certain());
    let slate = shop.recommender.recommend(&query("anna")).await.unwrap();
    assert_eq!(slate.places.len(), 20);
    assert_eq!(slate.degraded[0].stage, "ranker");
    assert!(slate.places.is_sorted_by(|a, b| a.score >= b.score));
}

#[tokio::test]
async fn a_slate_is_never_empty_while_something_can_be_sold() {
    // 2,000 items of which the 20 least popular alone can be sold; no source reaches that far.
    let mut items: Vec<Item> = (0..2_000).map(item).collect();
    for item in &mut items[..1_980] {
        item.availability = Availability::OutOfStock;
    }
    let mut config = certain();
    config.sources =
        SourcesConfig { towers: 5, next_item_rules: 5, item_knn: 5, recent_popularity: 5, popularity: 5 };
    let shop = Shop::with(items, config);
    let slate = shop.recommender.recommend(&query("anna")).await.unwrap();
    assert_eq!(slate.places.len(), 20);
    assert!(slate.places.iter().all(|place| place.sources.contains(SourceKind::Catalogue)));
    // Everything bought: it may be shown again, and the slate says so.
    for number in 1_980..2_000 {
        shop.states.apply(&event("anna", EventType::Purchase, number, now().plus_millis(-5)));
    }
    let slate = shop.recommender.recommend(&query("anna")).await.unwrap();
    assert_eq!(slate.places.len(), 20);
    assert_eq!(slate.degraded[0].to_string(), "rules: nothing is left to show but what was bought");
}

#[tokio::test]
async fn an_empty_catalogue_gives_an_empty_slate_and_no_panic() {
    let shop = Shop::new(1);
    shop.recommender.delete(&id(0)).unwrap();
    let slate = shop.recommender.recommend(&query("anna")).await.unwrap();
    assert_eq!(ids(&slate), [] as [&str; 0]);
}

#[tokio::test]
async fn upserts_and_deletes_act_on_the_next_answer() {
    let shop = Shop::with((0..300).map(item).collect(), certain());
    let asked = {
        let mut query = query("anna");
        query.page_size = 500;
        query
    };
    // A copy of the best item under another id stands beside it.
    let best = shop.recommender.recommend(&asked).await.unwrap().places[0].id.clone();
    let mut copy = shop.recommender.item(&best).unwrap();
    copy.id = ItemId::new("brand-new").unwrap();
    shop.recommender.upsert(copy.clone()).unwrap();
    let shown = ids(&shop.recommender.recommend(&asked).await.unwrap());
    assert!(shown.contains(&"brand-new".to_owned()));
    assert_eq!(shop.recommender.item(&copy.id), Some(copy.clone()));
    // Sold out: gone from the slate, still in the catalogue.
    copy.availability = Availability::OutOfStock;
    shop.recommender.upsert(copy.clone()).unwrap();
    assert!(!ids(&shop.recommender.recommend(&asked).await.unwrap()).contains(&"brand-new".to_owned()));
    assert_eq!(shop.recommender.item(&copy.id), Some(copy.clone()));
    assert!(shop.recommender.delete(&best).unwrap());
    assert!(!ids(&shop.recommender.recommend(&asked).await.unwrap()).contains(&best.as_str().to_owned()));
    assert_eq!(shop.recommender.item(&best), None);
    assert_eq!(shop.recommender.status().live_items, 2);
    assert_eq!(shop.recommender.status().items, 300);
}

#[tokio::test]
async fn a_deleted_item_goes_on_acting_in_histories() {
    let shop = Shop::with((0..300).map(item).collect(), certain());
    shop.views("anna", [42]);
    let mut asked = query("anna");
    asked.exclude = vec![id(42)];
    let before = shop.recommender.recommend(&asked).await.unwrap();
    shop.recommender.delete(&id(42)).unwrap();
    let after = shop.recommender.recommend(&asked).await.unwrap();
    let scores = |slate: &Slate| slate.places.iter().map(|place| place.features[0]).collect::<Vec<_>>();
    assert_eq!(ids(&before)[..5], ids(&after)[..5]);
    assert_eq!(scores(&before)[..5], scores(&after)[..5], "the user vector is the same");
}

#[tokio::test]
async fn a_swap_keeps_what_the_new_bundle_does_not_know() {
    let shop = Shop::new(100);
    let at = |partition, offset| Some(Position { partition, offset });
    let named = |name: &str| {
        let mut item = item(1);
        item.id = ItemId::new(name).unwrap();
        item
    };
    let changes = vec![
        ItemChange::upsert(named("early"), at(0, 5)),
        ItemChange::upsert(named("late"), at(0, 12)),
        ItemChange::delete(&id(7), at(1, 3)),
        ItemChange::upsert(named("direct"), None),
    ];
    assert_eq!(shop.recommender.apply(changes).unwrap(), 4);
    // The new bundle read the topic up to offset 10 of partition 0 and 4 of partition 1; it has "early" no more, and 7.
    let mut parts = parts((0..100).map(item).collect(), "bundle-2", 2);
    parts.items_offsets = [(0, 10), (1, 4)]
        .map(|(partition, offset)| endcap_bundle::PartitionOffset { partition, offset })
        .to_vec();
    let replay = vec![ItemChange::upsert(named("replayed"), at(1, 9))];
    shop.recommender.swap(parts, replay).unwrap();
    let has = |name: &str| shop.recommender.item(&ItemId::new(name).unwrap()).is_some();
    assert_eq!(["early", "late", "direct", "replayed", "item-7"].map(has), [false, true, true, true, true]);
    let slate = shop.recommender.recommend(&query("anna")).await.unwrap();
    assert_eq!((slate.bundle_version.as_str(), slate.index_version.as_str()), ("bundle-2", "bundle-2+3"));
    // Back to a bundle that read nothing of the topic: everything acts again.
    shop.recommender.swap(self::parts((0..100).map(item).collect(), "bundle-1", 1), Vec::new()).unwrap();
    assert_eq!(["early", "late", "direct", "replayed", "item-7"].map(has), [true, true, true, true, false]);
}

#[test]
fn a_record_that_was_overtaken_does_nothing() {
    let shop = Shop::new(10);
    let priced = |price, offset| {
        let mut item = item(3);
        item.price = Some(price);
        ItemChange::upsert(item, Some(Position { partition: 0, offset }))
    };
    assert_eq!(shop.recommender.apply(vec![priced(7.0, 7)]).unwrap(), 1);
    assert_eq!(shop.recommender.apply(vec![priced(5.0, 5), priced(7.0, 7)]).unwrap(), 0);
    assert_eq!(shop.recommender.item(&id(3)).unwrap().price, Some(7.0));
    // Within one batch the last record counts.
    assert_eq!(shop.recommender.apply(vec![priced(8.0, 8), priced(9.0, 9)]).unwrap(), 1);
    assert_eq!(shop.recommender.item(&id(3)).unwrap().price, Some(9.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_sees_two_bundles_while_they_are_swapped() {
    let shop = std::sync::Arc::new(Shop::new(60));
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asking = {
        let (shop, stop) = (std::sync::Arc::clone(&shop), std::sync::Arc::clone(&stop));
        tokio::spawn(async move {
            let mut seen = HashSet::new();
            while !stop.load(Ordering::Relaxed) {
                let slate = shop.recommender.recommend(&query("anna")).await.unwrap();
                assert_eq!(slate.places.len(), 20);
                assert!(slate.index_version.starts_with(&format!("{}+", slate.bundle_version)));
                let token = shop.recommender.attribution(&slate.attribution_token).unwrap();
                assert_eq!(token.bundle, slate.bundle_version);
                seen.insert(slate.bundle_version);
                tokio::task::yield_now().await;
            }
            seen
        })
    };
    for number in 0..100 {
        let shop = std::sync::Arc::clone(&shop);
        let swapped = tokio::task::spawn_blocking(move || {
            let parts = parts((0..60).map(item).collect(), &format!("bundle-{number}"), number);
            shop.recommender.swap(parts, Vec::new()).unwrap();
        });
        swapped.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    assert!(asking.await.unwrap().len() > 2);
}

#[tokio::test]
async fn refusals_name_the_field_or_the_stage() {
    let shop = Shop::new(30);
    let mut nowhere = query("anna");
    nowhere.placement = "attic".into();
    let error = shop.recommender.recommend(&nowhere).await.unwrap_err();
    assert_eq!(error.to_string(), "placement: must be one of default, is \"attic\"");
    let mut late = query("anna");
    late.deadline = Some(Instant::now() - Duration::from_millis(1));
    let error = shop.recommender.recommend(&late).await.unwrap_err();
    assert_eq!(error, RecommendError::DeadlineExceeded { stage: "hydration" });
    assert_eq!(shop.states.reads.load(Ordering::Relaxed), 0, "no work after the deadline");
    assert_eq!(shop.impressions.taken.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn validate_only_answers_an_empty_slate_without_effects() {
    let shop = Shop::new(30);
    let mut asked = query("anna");
    asked.validate_only = true;
    let slate = shop.recommender.recommend(&asked).await.unwrap();
    assert_eq!(slate.places.len(), 0);
    assert_eq!(shop.impressions.taken.lock().unwrap().len(), 0);
}

#[test]
fn training_rows_are_the_rows_that_are_served() {
    let model = Model::new(parts((0..200).map(item).collect(), "bundle-1", 1)).unwrap();
    let funnel = Funnel::new(&RecommendConfig::default());
    let mut state = UserState::default();
    for number in [3, 4, 5] {
        state.apply(&event("anna", EventType::View, number, now().plus_millis(-1_000)));
    }
    let counters = |_| CounterFeatures::default();
    let asked = Asked::page(20, ValueConfig::default());
    let view = model.view(&state, now());
    let rows = funnel.candidates(&view, &asked, &[id(150).key()], &counters);
    assert!(
        rows.rows.iter().any(|candidate| candidate.entry.item.id == id(150)),
        "the target is always a row"
    );
    assert_eq!(rows.features.len(), rows.rows.len() * RANK_FEATURES_LEN);
    let ranked = funnel.rank(&view, &asked, &counters);
    for candidate in &ranked.rows {
        let trained = rows.rows.iter().find(|row| row.entry.item.id == candidate.entry.item.id).unwrap();
        let row =
            |features: &[f32], row: usize| features[row * RANK_FEATURES_LEN..][..RANK_FEATURES_LEN].to_vec();
        assert_eq!(row(&ranked.features, candidate.row), row(&rows.features, trained.row));
    }
    // Many at once see what each alone sees.
    let newcomer = UserState::default();
    let views = model.views(&[(&state, now()), (&newcomer, now())]);
    assert_eq!(views[0].vector().unwrap(), view.vector().unwrap());
    assert_eq!(views[1].vector().unwrap(), model.view(&newcomer, now()).vector().unwrap());
}
