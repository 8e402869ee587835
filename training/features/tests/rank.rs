//! The ranker's inputs are finite, bounded and what their names say.

use endcap_features::{
    CandidateSignals, CounterFeatures, HistoryInput, ItemAttributes, RANK_FEATURES, RANK_FEATURES_LEN,
    SourceSignal, Taste, UserFeatures, Windows, rank_features,
};
use endcap_proto::{EventTime, EventType, Item, ItemId, ItemKey};
use proptest::prelude::*;

fn row(
    user: &UserFeatures,
    catalogue: &[ItemAttributes],
    candidate: &CandidateSignals,
    item: &ItemAttributes,
    counters: &CounterFeatures,
) -> Vec<f32> {
    let taste = Taste::of(user, |key| catalogue.iter().find(|item| item.key == key));
    let mut out = vec![f32::NAN; RANK_FEATURES_LEN];
    rank_features(user, &taste, candidate, item, counters, &mut out);
    out
}

fn feature(row: &[f32], name: &str) -> f32 {
    row[RANK_FEATURES.iter().position(|&feature| feature == name).expect("a feature of this name")]
}

fn item(id: &str, brand: &str, price: f64) -> ItemAttributes {
    let mut item = Item::bare(ItemId::new(id).unwrap());
    item.categories = vec![format!("Shop > {brand}")];
    item.brand = Some(brand.to_owned());
    item.price = Some(price);
    item.original_price = Some(price * 2.0);
    item.publish_time = EventTime::from_millis(0);
    ItemAttributes::of(&item)
}

#[test]
fn features_are_what_their_names_say() {
    let (boot, hat) = (item("boot", "Alp", 50.0), item("hat", "Sea", 20.0));
    let seen = |item: &ItemAttributes, event_type, time| HistoryInput {
        item: item.key,
        event_type,
        gap_bucket: 0,
        time: EventTime::clamped(time),
    };
    let user = UserFeatures {
        history: vec![
            seen(&boot, EventType::View, 0),
            seen(&boot, EventType::Purchase, 1_000),
            seen(&hat, EventType::View, 2_000),
        ],
        as_of: EventTime::clamped(3_000),
        session_start: 0,
        entries: 3,
    };
    let candidate = CandidateSignals {
        towers: SourceSignal { score: 0.5, rank: Some(0) },
        rules: SourceSignal { score: 1.0, rank: Some(3) },
        popularity: 1e-9,
        recent_popularity: 1.0,
        ..CandidateSignals::default()
    };
    let counters = CounterFeatures {
        impressions: Windows { week: 80.0, ..Windows::default() },
        clicks: Windows { week: 9.0, ..Windows::default() },
        trending: 0.25,
        ..CounterFeatures::default()
    };
    let catalogue = [boot.clone(), hat];
    let row = row(&user, &catalogue, &candidate, &boot, &counters);
    let is = |name: &str, expected: f32| {
        let found = feature(&row, name);
        assert!((found - expected).abs() < 1e-6, "{name} is {found}, not {expected}");
    };
    is("towers_score", 0.5);
    is("towers_place", 1.0);
    is("rules_score", 2f32.ln());
    is("rules_place", 1.0 / 3.0);
    is("neighbours_place", 0.0);
    is("sources", 2.0 / 3.0);
    is("popularity", 0.0);
    is("recent_popularity", 1.0);
    is("popularity_rise", 1.0);
    is("seen_count", 3f32.ln());
    is("seen_steps", 0.5);
    // 2,000 ms are 11 bits, of buckets 0 to 39.
    is("seen_recency", 1.0 - 11.0 / 39.0);
    is("seen_kept", 0.0);
    is("seen_bought", 1.0);
    // Weights from new to old: 1 (hat), 4 · 0.95, 0.95² (boot).
    let (boots, all) = (3.8 + 0.9025, 1.0 + 3.8 + 0.9025);
    is("category_share", boots / all);
    is("category_session_share", boots / all);
    is("category_steps", 0.5);
    is("root_share", 1.0);
    is("brand_share", boots / all);
    is("discount", 0.5);
    is("price", 51f32.ln() / 10.0);
    is("price_off_taste", feature(&row, "price_above_taste").abs());
    assert!(feature(&row, "price_above_taste") > 0.0, "the boot costs more than boots and a hat on average");
    is("history_length", 4f32.ln() / 201f32.ln());
    is("session_length", 4f32.ln() / 201f32.ln());
    is("click_rate", 0.1);
    is("trending", 0.25);
}

#[test]
fn what_is_unknown_is_zero() {
    let row = row(
        &UserFeatures::default(),
        &[],
        &CandidateSignals::default(),
        &ItemAttributes::bare(ItemKey(1)),
        &CounterFeatures::default(),
    );
    for (name, value) in RANK_FEATURES.iter().zip(row) {
        // The two rates start from their prior, 1 in 20.
        let expected = if name.ends_with("_rate") { 0.05 } else { 0.0 };
        assert_eq!(value, expected, "{name}");
    }
}

#[test]
fn names_are_distinct() {
    let mut names = RANK_FEATURES.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), RANK_FEATURES_LEN);
}

/// Any float at all: infinite, not a number, subnormal.
fn float() -> impl Strategy<Value = f32> {
    prop_oneof![any::<u32>().prop_map(f32::from_bits), -2f32..2.0]
}

proptest! {
    #[test]
    fn every_feature_is_finite_and_bounded(
        floats in proptest::collection::vec(float(), 24),
        prices in proptest::collection::vec(0f64..1e300, 3),
        times in proptest::collection::vec(0i64..1 << 47, 4),
        rank: Option<u32>,
    ) {
        let mut next = floats.iter().copied().cycle();
        let mut float = || next.next().unwrap_or_default();
        let catalogue = [item("a", "A", prices[0]), item("b", "B", prices[1])];
        let user = UserFeatures {
            history: times[1..]
                .iter()
                .zip([ItemKey::of("a"), ItemKey::of("b"), ItemKey::of("c")])
                .map(|(&time, item)| HistoryInput {
                    item,
                    event_type: EventType::View,
                    gap_bucket: 0,
                    time: EventTime::clamped(time),
                })
                .collect(),
            as_of: EventTime::clamped(times[0]),
            session_start: 1,
            entries: 3,
        };
        let mut signal = || SourceSignal { score: float(), rank };
        let candidate = CandidateSignals {
            towers: signal(),
            rules: signal(),
            neighbours: signal(),
            popularity: float(),
            recent_popularity: float(),
        };
        let mut windows = || Windows { hour: float(), day: float(), week: float() };
        let counters = CounterFeatures {
            impressions: windows(),
            clicks: windows(),
            views: windows(),
            carts: windows(),
            purchases: windows(),
            trending: float(),
        };
        let row = row(&user, &catalogue, &candidate, &item("b", "B", prices[2]), &counters);
        for (name, value) in RANK_FEATURES.iter().zip(row) {
            prop_assert!(value.is_finite() && value.abs() <= 10.0, "{} is {}", name, value);
        }
    }
}
