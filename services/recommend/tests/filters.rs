//! Filters from request to slate: bitmaps, live changes, and every source agree with the expression itself.

mod shop;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use endcap_index::{Allowed, Retriever};
use endcap_proto::{Attribute, Availability, EventTime, Item, ItemId, VisitorId, v1};
use endcap_recommend::{
    ExploreConfig, FilterExpression, ItemChange, Query, RecommendConfig, RecommendError, Slate,
    SourcesConfig,
    stage::{Reason, SourceKind},
};
use proptest::prelude::*;
use shop::{Shop, id, item, parts};

fn filter(text: &str) -> FilterExpression {
    FilterExpression::parse(text, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}")).unwrap()
}

fn filtered(text: &str) -> Query {
    Query { filter: Some(filter(text)), ..Query::of(VisitorId::new("anna").unwrap()) }
}

/// No drawn places.
fn certain() -> RecommendConfig {
    let mut config = RecommendConfig { seed: Some(7), ..Default::default() };
    config.placements.get_mut("default").unwrap().explore = ExploreConfig { slots: 0, ..Default::default() };
    config
}

fn ids(slate: &Slate) -> Vec<&str> {
    slate.places.iter().map(|place| place.id.as_str()).collect()
}

/// A shop of `items` whose shopper has a history, so that every source speaks.
fn shop(items: usize) -> Shop {
    let shop = Shop::with((0..items).map(item).collect(), certain());
    shop.views("anna", [3, 4, 5]);
    shop
}

#[tokio::test]
async fn a_slate_holds_what_the_filter_selects_from_every_source() {
    let shop = shop(3_000);
    // Kind 7 of 10: no source would reach 20 of them unless it were asked for them.
    let query = filtered("category: \"Things > Kind 7\" AND price < 60");
    let slate = shop.recommender.recommend(&query).await.unwrap();
    assert_eq!(slate.places.len(), 20);
    assert_eq!(slate.degraded, []);
    for place in &slate.places {
        let number: usize = place.id.as_str().trim_start_matches("item-").parse().unwrap();
        assert!(number % 10 == 7 && number % 90 < 55, "{number}");
    }
    let sources: BTreeSet<_> = slate.places.iter().flat_map(|place| place.sources.iter()).collect();
    for source in [SourceKind::Towers, SourceKind::RecentPopularity, SourceKind::Popularity] {
        assert!(sources.contains(&source), "{sources:?}");
    }
    // Sessions walk from 5 to 6 and 7: the rules name 7, although it is not the first that they name.
    let mut rules_alone = certain();
    rules_alone.sources =
        SourcesConfig { towers: 0, next_item_rules: 1, item_knn: 0, recent_popularity: 0, popularity: 0 };
    let shop = Shop::with((0..300).map(item).collect(), rules_alone);
    shop.views("anna", [5]);
    let slate = shop.recommender.recommend(&filtered("brand = \"Brand 0\"")).await.unwrap();
    let by_rules = slate.places.iter().filter(|place| place.sources.contains(SourceKind::NextItemRules));
    assert_eq!(by_rules.map(|place| place.id.as_str()).collect::<Vec<_>>(), ["item-7"]);
}

#[tokio::test]
async fn all_that_a_filter_selects_is_shown_however_little_it_is() {
    let shop = shop(2_000);
    let mut query = filtered("id: ANY(\"item-1999\", \"item-1234\", \"item-9999\")");
    let slate = shop.recommender.recommend(&query).await.unwrap();
    let mut shown = ids(&slate);
    shown.sort_unstable();
    assert_eq!(shown, ["item-1234", "item-1999"]);
    query.filter = Some(filter("brand = \"No such\""));
    let slate = shop.recommender.recommend(&query).await.unwrap();
    assert_eq!(ids(&slate), [] as [&str; 0], "strict: nothing rather than what was not asked for");
}

#[tokio::test]
async fn where_filtering_is_not_strict_other_products_follow_those_that_match() {
    let mut items: Vec<Item> = (0..400).map(item).collect();
    // A variant of a matching product must not follow it.
    items[41].group_id = Some("shoe".into());
    items[42].group_id = Some("shoe".into());
    let shop = Shop::with(items, certain());
    let mut query = filtered("id: ANY(\"item-41\", \"item-300\")");
    query.strict_filtering = false;
    let slate = shop.recommender.recommend(&query).await.unwrap();
    assert_eq!(slate.places.len(), 20);
    let mut first = ids(&slate)[..2].to_vec();
    first.sort_unstable();
    assert_eq!(first, ["item-300", "item-41"]);
    assert_eq!(ids(&slate).iter().collect::<BTreeSet<_>>().len(), 20, "nobody has two places");
    assert!(!ids(&slate).contains(&"item-42"));
    assert!(slate.places[2..].iter().all(|place| place.propensity == 1.0 && place.features.len() > 10));
    assert_eq!(slate.degraded[0].to_string(), "filter: 2 of 20 places match it: the rest do not");
    // With enough that match, it is as if it were strict.
    query.filter = Some(filter("price < 50"));
    let slate = shop.recommender.recommend(&query).await.unwrap();
    assert_eq!((slate.places.len(), slate.degraded.len()), (20, 0));
    query.strict_filtering = true;
    assert_eq!(ids(&slate), ids(&shop.recommender.recommend(&query).await.unwrap()));
}

#[tokio::test]
async fn candidates_are_filtered_too() {
    let shop = shop(200);
    let mut query = filtered("brand: ANY(\"Brand 1\")");
    query.candidates = vec![id(1), id(2), id(8)];
    let slate = shop.recommender.recommend(&query).await.unwrap();
    let mut shown = ids(&slate);
    shown.sort_unstable();
    assert_eq!(shown, ["item-1", "item-8"]);
    assert_eq!(slate.trace.removed, [(Reason::Filtered, 1)]);
    assert_eq!(slate.missing, []);
}

#[tokio::test]
async fn changes_of_the_catalogue_act_on_the_next_filtered_answer() {
    let shop = shop(500);
    let query = Query { page_size: 100, ..filtered("tags: sale AND availability = in_stock") };
    let shown = async || {
        let slate = shop.recommender.recommend(&query).await.unwrap();
        let mut shown: Vec<_> = ids(&slate).into_iter().map(str::to_owned).collect();
        shown.sort_unstable();
        shown
    };
    let on_sale = |number: usize| {
        let mut item = item(number);
        item.tags.push("sale".into());
        item
    };
    assert_eq!(shown().await, [] as [&str; 0]);
    // An old item comes to match, a new one matches, one stops matching, one is deleted.
    shop.recommender.upsert(on_sale(7)).unwrap();
    shop.recommender.upsert(on_sale(900)).unwrap();
    assert_eq!(shown().await, ["item-7", "item-900"]);
    let sold_out = Item { availability: Availability::OutOfStock, ..on_sale(7) };
    shop.recommender.upsert(sold_out).unwrap();
    assert_eq!(shown().await, ["item-900"]);
    shop.recommender.upsert(on_sale(8)).unwrap();
    shop.recommender.delete(&id(900)).unwrap();
    assert_eq!(shown().await, ["item-8"]);
    // Another base, another bitmap.
    let model = shop.recommender.model();
    let before = model.index().snapshot().generation();
    model.index().compact().unwrap();
    assert_ne!(model.index().snapshot().generation(), before);
    assert_eq!(shown().await, ["item-8"]);
    shop.recommender.upsert(item(8)).unwrap();
    shop.recommender.upsert(on_sale(9)).unwrap();
    assert_eq!(shown().await, ["item-9"]);
    // Another bundle, which has none of it; what was told since acts on it.
    shop.recommender.swap(parts((0..500).map(item).collect(), "bundle-2", 2), Vec::new()).unwrap();
    assert_eq!(shown().await, ["item-9"]);
}

#[tokio::test]
async fn a_swap_compiles_the_filters_of_late_requests_before_it_serves() {
    let shop = shop(300);
    let query = filtered("price < 30");
    shop.recommender.recommend(&query).await.unwrap();
    shop.recommender.swap(parts((0..300).map(item).collect(), "bundle-2", 2), Vec::new()).unwrap();
    let model = shop.recommender.model();
    let expression = query.filter.unwrap();
    let snapshot = model.index().snapshot();
    let (first, again) = (model.filter(&snapshot, &expression), model.filter(&snapshot, &expression));
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(first.selection().generation(), snapshot.generation());
}

#[test]
fn requests_name_filters_that_cannot_be_read() {
    let of = |filter: &str, values: &[(&str, &str)]| {
        let values = values.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Query::try_from(v1::RecommendRequest {
            visitor_id: "anna".into(),
            filter: filter.into(),
            filter_values: values,
            ..Default::default()
        })
    };
    let message = |filter: &str, values: &[(&str, &str)]| of(filter, values).unwrap_err().to_string();
    assert_eq!(of("", &[]).unwrap().filter, None);
    assert!(of("price < $max", &[("max", "50")]).unwrap().filter.unwrap().matches(&item(1)));
    assert_eq!(
        message("price << 5", &[]),
        "filter: \"<\" stands where a value must (at character 8)\n  price << 5\n         ^"
    );
    assert_eq!(
        message("", &[("max", "5")]),
        "filter_values[\"max\"]: filter has no $max: leave the value out, or put $max where it belongs"
    );
    let long = "x".repeat(513);
    assert!(message("brand = $b", &[("b", &long)]).ends_with("name and value must be at most 512 bytes"));
    let many: Vec<_> = (0..1_001).map(|i| format!("v{i}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let error = of("price < 5", &many).unwrap_err();
    assert!(matches!(error, RecommendError::TooLarge { field: "filter_values", .. }), "{error}");
}

// === bitmaps against the expression, over random catalogues ===

const WORDS: [&str; 5] = ["a", "b", "B c", "7", "d\"e"];

fn some_item(number: usize) -> impl Strategy<Value = Item> {
    let word = || prop::sample::select(&WORDS[..]);
    let price = || prop::option::weighted(0.8, (0..8u8).prop_map(|price| f64::from(price) / 2.0));
    let attribute = prop_oneof![
        word().prop_map(|word| Attribute::Text(word.to_owned())),
        (-2..8i8).prop_map(|number| Attribute::Number(f64::from(number))),
    ];
    let path =
        prop::collection::vec(prop::sample::select(&["a", "b"][..]), 1..4).prop_map(|path| path.join(" > "));
    let texts = (
        prop::collection::vec(path, 0..3),
        prop::option::of(word()),
        prop::collection::vec(word(), 0..3),
        prop::option::of(word()),
    );
    let availability = prop::sample::select(vec![Availability::InStock, Availability::OutOfStock]);
    let numbers = (price(), price(), prop::option::of(0..6i64), availability);
    let attributes = prop::collection::btree_map(prop::sample::select(&["n", "m x"][..]), attribute, 0..3);
    (texts, numbers, attributes).prop_map(move |(texts, (price, cost, day, availability), attributes)| {
        let (categories, brand, tags, group) = texts;
        Item {
            categories,
            brand: brand.map(str::to_owned),
            tags: tags.into_iter().map(str::to_owned).collect(),
            group_id: group.map(str::to_owned),
            price,
            cost,
            availability,
            publish_time: day.map(|day| EventTime::clamped(day * 86_400_000)),
            attributes: attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            ..Item::bare(id(number))
        }
    })
}

fn some_filter() -> impl Strategy<Value = String> {
    let quoted = |word: &str| format!("\"{}\"", word.replace('"', "\\\""));
    let word = prop::sample::select(&WORDS[..]).prop_map(quoted);
    let number = || (-2..8i8).prop_map(|number| (f64::from(number) / 2.0).to_string());
    let text = prop::sample::select(vec!["brand", "tags", "group_id", "attributes.n", "attributes.\"m x\""]);
    let numeric =
        prop::sample::select(vec!["price", "cost", "attributes.n", "attributes.\"m x\"", "attributes.o"]);
    let any = prop::sample::select(vec![
        "brand",
        "price",
        "category",
        "publish_time",
        "attributes.n",
        "expire_time",
    ]);
    let operator = prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
    let end = || {
        prop_oneof![
            Just("*".to_owned()),
            (number(), prop::sample::select(vec!["", "i", "e"])).prop_map(|(n, e)| n + e)
        ]
    };
    let test = prop_oneof![
        (text.clone(), word.clone()).prop_map(|(column, word)| format!("{column} = {word}")),
        (text, prop::collection::vec(word, 1..3))
            .prop_map(|(column, words)| format!("{column}: ANY({})", words.join(", "))),
        (numeric.clone(), operator, number())
            .prop_map(|(column, operator, n)| format!("{column} {operator} {n}")),
        (numeric, end(), end()).prop_map(|(column, from, to)| format!("{column}: IN({from}, {to})")),
        any.prop_map(|column| format!("{column}: *")),
        prop::collection::vec(prop::sample::select(&["a", "b"][..]), 1..3)
            .prop_map(|path| format!("category: \"{}\"", path.join(" > "))),
        (1..7u8).prop_map(|day| format!("publish_time >= 1970-01-0{day}")),
        Just("availability = in_stock".to_owned()),
        (0..30u8).prop_map(|number| format!("id != item-{number}")),
    ];
    test.prop_recursive(3, 12, 3, |inner| {
        let many = prop::collection::vec(inner.clone().prop_map(|one| format!("({one})")), 1..4);
        prop_oneof![
            many.clone().prop_map(|many| many.join(" AND ")),
            many.prop_map(|many| many.join(" OR ")),
            inner.prop_map(|one| format!("-({one})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]

    /// Whatever the catalogue, the filter, what changed before it was compiled and what changed after, with another
    /// base or not: the index returns the items for which the expression holds, and no other.
    #[test]
    fn bitmaps_select_what_the_expression_matches(
        base in (0..25).map(some_item).collect::<Vec<_>>(),
        upserts in prop::collection::vec((0..30usize).prop_flat_map(some_item), 0..8),
        deletes in prop::collection::vec(0..30usize, 0..4),
        filters in prop::collection::vec(some_filter(), 1..6),
        compact in any::<bool>(),
    ) {
        let shop = Shop::with(base, certain());
        let model = shop.recommender.model();
        let filters: Vec<_> = filters.iter().map(|text| filter(text)).collect();
        let agrees = |filter: &FilterExpression| {
            let snapshot = model.index().snapshot();
            let compiled = model.filter(&snapshot, filter);
            let allowed = Allowed::Selected { selection: compiled.selection(), except: &[] };
            let query = vec![1.0; snapshot.dim()];
            let hits = snapshot.retrieve(&query, 100, &allowed).unwrap();
            let selected: BTreeSet<u64> = hits.iter().map(|hit| hit.label).collect();
            let all = shop.recommender.list(None, None, 100);
            let matching: Vec<_> = all.into_iter().filter(|item| filter.matches(item)).collect();
            prop_assert_eq!(selected, matching.iter().map(|item| item.id.key().0).collect(), "{}", filter);
            // Page by page, the same items in the order of all.
            let (mut after, mut listed) = (None, Vec::new());
            loop {
                let page = shop.recommender.list(Some(filter), after, 3);
                let Some(last) = page.last() else { break };
                after = Some(last.id.key());
                listed.extend(page);
            }
            prop_assert_eq!(listed, matching, "{}", filter);
            Ok(())
        };
        let (early, late) = upserts.split_at(upserts.len() / 2);
        let changes = |items: &[Item]| items.iter().cloned().map(|item| ItemChange::upsert(item, None)).collect();
        shop.recommender.apply(changes(early)).unwrap();
        for filter in &filters {
            agrees(filter)?;
        }
        shop.recommender.apply(changes(late)).unwrap();
        for &number in &deletes {
            shop.recommender.delete(&ItemId::new(format!("item-{number}")).unwrap()).unwrap();
        }
        if compact {
            model.index().compact().unwrap();
        }
        for filter in &filters {
            agrees(filter)?;
        }
    }
}
