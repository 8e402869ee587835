//! The laws of the synthetic shop.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use endcap_clickstream::{
    Dataset,
    synthetic::{Day, LiveShopper, Shop, ShopConfig, Taste},
};
use endcap_proto::{Availability, Event, EventTime, EventType, Item, ItemId, v1};

const HOUR_MS: i64 = 3_600_000;

/// The shop of the demo and its whole period, made once.
static SHOP: LazyLock<(Shop, Vec<Day>)> = LazyLock::new(|| {
    let shop = Shop::new(&ShopConfig { seed: std::env::var("SEED").unwrap().parse().unwrap(), ..ShopConfig::default() }).unwrap();
    let days = shop.days().collect();
    (shop, days)
});

fn small(seed: u64) -> ShopConfig {
    ShopConfig { seed, items: 200, shoppers: 40, days: 5, visits_per_day: 0.8, ..ShopConfig::default() }
}

fn events() -> impl Iterator<Item = &'static Event> {
    SHOP.1.iter().flat_map(|day| &day.events)
}

/// What each visitor showed interest in, oldest first.
fn histories() -> HashMap<&'static str, Vec<usize>> {
    let mut histories: HashMap<&str, Vec<usize>> = HashMap::new();
    for event in events().filter(|event| event.event_type.is_interest()) {
        let items = event.items.iter().filter_map(|item| SHOP.0.item_index(&item.item_id));
        histories.entry(event.visitor_id.as_str()).or_default().extend(items);
    }
    histories
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(path).unwrap());
            }
        }
    }
    files
}

// === one seed, one shop ===

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let write = |seed| {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("shop");
        Shop::new(&small(seed)).unwrap().write(&out).unwrap();
        files(&out)
    };
    let (one, again, other) = (write(1), write(1), write(2));
    assert!(one == again);
    let changed = |name: &str| {
        let of = |files: &BTreeMap<PathBuf, Vec<u8>>| {
            let named = |(path, bytes): (&PathBuf, &Vec<u8>)| path.starts_with(name).then(|| bytes.clone());
            files.iter().filter_map(named).collect::<Vec<_>>()
        };
        !of(&one).is_empty() && of(&one) != of(&other)
    };
    for name in ["events", "items.arrow", "impressions", "images", "dataset.json"] {
        assert!(changed(name), "{name}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("shop");
    let shop = Shop::new(&small(3)).unwrap();
    let summary = shop.write(&out).unwrap();
    let days: Vec<Day> = shop.days().collect();

    let dataset = Dataset::open(&out).unwrap();
    assert_eq!(dataset.items().unwrap(), shop.items());
    let events: Vec<Event> = days.iter().flat_map(|day| day.events.clone()).collect();
    let read: Vec<Event> = dataset
        .events()
        .unwrap()
        .flat_map(|batch| batch.unwrap().iter().map(|event| event.to_event()).collect::<Vec<_>>())
        .collect();
    assert_eq!(read, events);
    let slates: Vec<v1::Impression> =
        days.iter().flat_map(|day| day.slates.iter().map(|slate| slate.impression.clone())).collect();
    let read: Vec<v1::Impression> = dataset.impressions().unwrap().flat_map(Result::unwrap).collect();
    assert_eq!(read, slates);
    assert_eq!(summary.events as usize, events.len());
    assert_eq!(summary.impressions as usize, slates.len());
    assert_eq!(summary.items as usize, shop.items().len());
    for item in shop.items() {
        let picture = fs::read_to_string(out.join(item.image_uri.as_ref().unwrap())).unwrap();
        assert!(picture.starts_with("<svg") && picture.len() < 1000, "{} bytes", picture.len());
    }
}

#[test]
fn a_shopper_does_the_same_in_a_larger_crowd_and_alone() {
    let few = Shop::new(&small(4)).unwrap();
    let many = Shop::new(&ShopConfig { shoppers: 90, ..small(4) }).unwrap();
    let crowd: Vec<Day> = many.days().collect();
    for index in 0..few.shoppers() {
        let (events, slates) = few.history_of(index);
        let visitor = many.shopper_at_end(index).0;
        let among: Vec<&Event> =
            crowd.iter().flat_map(|day| &day.events).filter(|event| event.visitor_id == visitor).collect();
        assert_eq!(among, events.iter().collect::<Vec<_>>());
        let shown = crowd
            .iter()
            .flat_map(|day| &day.slates)
            .filter(|slate| slate.impression.visitor_id == visitor.as_str());
        assert!(shown.eq(&slates));
        assert_eq!(few.shopper_at_end(index), many.shopper_at_end(index));
    }
}

// === events and items ===

#[test]
fn every_event_and_item_is_valid_and_survives_the_wire() {
    for event in events() {
        assert_eq!(Event::try_from(v1::Event::from(event.clone())).as_ref(), Ok(event));
    }
    for item in SHOP.0.items() {
        assert_eq!(Item::try_from(v1::Item::from(item.clone())).as_ref(), Ok(item));
    }
}

#[test]
fn events_come_in_the_order_of_time_within_the_period_with_ids_of_their_own() {
    let config = SHOP.0.config();
    let mut ids = HashSet::new();
    let mut last = config.start();
    for event in events() {
        assert!(last <= event.time && event.time < config.end);
        assert!(ids.insert(&event.event_id), "{} twice", event.event_id);
        last = event.time;
    }
    let mut last = config.start();
    for slate in SHOP.1.iter().flat_map(|day| &day.slates) {
        assert!(last <= slate.time && slate.time < config.end);
        last = slate.time;
    }
}

#[test]
fn events_about_products_are_about_products_on_sale() {
    let shop = &SHOP.0;
    for event in events().filter(|event| matches!(event.event_type, EventType::View | EventType::Click)) {
        for item in &event.items {
            let item = &shop.items()[shop.item_index(&item.item_id).unwrap()];
            assert!(
                item.publish_time.is_none_or(|time| time <= event.time),
                "{} before {:?}",
                item.id,
                item.publish_time
            );
            // A listing opened before midnight may still show what expires then.
            assert!(
                item.expire_time.is_none_or(|time| event.time < time.plus_millis(HOUR_MS)),
                "{}",
                item.id
            );
        }
    }
}

#[test]
fn every_click_names_its_slate_and_place() {
    let slates: HashMap<&str, &v1::Impression> = SHOP
        .1
        .iter()
        .flat_map(|day| &day.slates)
        .map(|slate| (slate.impression.attribution_token.as_str(), &slate.impression))
        .collect();
    let mut clicks = 0;
    for event in events().filter(|event| event.event_type == EventType::Click) {
        let slate = slates[event.attribution_token.as_deref().unwrap()];
        let [item] = event.items.as_slice() else { panic!("one product a click") };
        assert_eq!(slate.items[item.position.unwrap() as usize].item_id, item.item_id.as_str());
        assert_eq!(slate.visitor_id, event.visitor_id.as_str());
        clicks += 1;
    }
    let clicked: usize = SHOP.1.iter().flat_map(|day| &day.slates).map(|slate| slate.clicked.len()).sum();
    // A click at the very end of the period may be cut off with its visit.
    assert!(clicks <= clicked && clicked - clicks < 20, "{clicks} of {clicked}");
}

#[test]
fn purchases_add_up() {
    for event in events().filter(|event| event.event_type == EventType::Purchase) {
        let transaction = event.transaction.as_ref().unwrap();
        let sum: f64 =
            event.items.iter().map(|item| item.unit_price.unwrap() * f64::from(item.quantity)).sum();
        assert!((transaction.revenue.unwrap() - sum).abs() < 0.005);
        assert!(transaction.cost.unwrap() < sum);
    }
}

#[test]
fn the_catalogue_has_what_rules_are_about() {
    let (items, end) = (SHOP.0.items(), SHOP.0.config().end);
    let count = |has: &dyn Fn(&Item) -> bool| items.iter().filter(|item| has(item)).count();
    assert_eq!(items.len(), 3000);
    assert_eq!(items.iter().map(|item| &item.id).collect::<HashSet<_>>().len(), 3000);
    assert!(count(&|item| item.availability == Availability::OutOfStock) >= 30);
    assert!(count(&|item| item.availability == Availability::Discontinued) >= 20);
    assert!(count(&|item| item.availability == Availability::Preorder) >= 20);
    assert!(count(&|item| item.expire_time.is_some_and(|time| time <= end)) >= 10);
    assert!(count(&|item| item.publish_time.is_some_and(|time| time > end)) >= 10);
    let new = |item: &Item| {
        item.publish_time.is_some_and(|time| (0..72 * HOUR_MS).contains(&end.millis_since(time)))
    };
    assert!(count(&|item| new(item) && item.is_recommendable(end)) >= 20);
    assert!(count(&|item| item.is_recommendable(end)) >= 2500);
    let mut groups: HashMap<&str, Vec<&Item>> = HashMap::new();
    for item in items {
        if let Some(group) = &item.group_id {
            groups.entry(group).or_default().push(item);
        }
    }
    assert!(groups.len() >= 200);
    for variants in groups.values() {
        let colours: HashSet<String> = variants.iter().map(|item| format!("{:?}", item.attributes)).collect();
        assert!(variants.len() >= 2 && colours.len() == variants.len());
        assert!(
            variants.iter().all(|item| item.brand == variants[0].brand && item.price == variants[0].price)
        );
    }
    let pictures: HashSet<String> = (0..items.len()).map(|item| SHOP.0.picture(item)).collect();
    assert!(pictures.len() > items.len() * 9 / 10);
}

// === the truth ===

/// Clicks minus the sum of their probabilities, over its standard deviation.
#[derive(Default, Clone, Copy)]
struct Deviation {
    difference: f64,
    variance: f64,
    shown: u64,
}

impl Deviation {
    fn add(&mut self, clicked: bool, probability: f64) {
        self.difference += f64::from(u8::from(clicked)) - probability;
        self.variance += probability * (1.0 - probability);
        self.shown += 1;
    }

    /// Within 4 standard deviations: a false alarm once in 16,000.
    fn check(self, what: &str) {
        let z = self.difference / self.variance.sqrt();
        assert!(
            self.shown > 1000 && z.abs() < 4.0,
            "{what}: {} shown, {z:.2} standard deviations",
            self.shown
        );
    }
}

#[test]
fn clicks_happen_with_examination_times_click_probability_at_each_place_and_each_level() {
    let shop = &SHOP.0;
    let mut by_place = vec![Deviation::default(); shop.config().slate_size];
    let mut by_level = [Deviation::default(); 5];
    for slate in SHOP.1.iter().flat_map(|day| &day.slates) {
        for (k, item) in slate.impression.items.iter().enumerate() {
            let item = shop.item_index(&ItemId::new(&item.item_id).unwrap()).unwrap();
            let truth = shop.click_probability(&slate.taste, item);
            let clicked = slate.clicked.contains(&k);
            by_place[k].add(clicked, shop.examination(k) * truth);
            by_level[(truth * 5.0).min(4.0) as usize].add(clicked, shop.examination(k) * truth);
        }
    }
    for (k, deviation) in by_place.into_iter().enumerate() {
        deviation.check(&format!("place {k}"));
    }
    for (level, deviation) in by_level.into_iter().enumerate() {
        deviation.check(&format!("click probability from {:.1}", level as f64 / 5.0));
    }
}

#[test]
fn a_live_shopper_clicks_by_the_same_truth() {
    let shop = &SHOP.0;
    let now = shop.config().end;
    let mut by_place = vec![Deviation::default(); 10];
    for seed in 0..300 {
        let mut shopper = LiveShopper::new(shop, seed);
        shopper.browse(now);
        for visit in 0..8 {
            let now = now.plus_millis(1000 * visit);
            let taste = shopper.taste().clone();
            let slate = &shop.oracle_top(&taste, 400)[10 * seed as usize % 100..][..10];
            let ids: Vec<ItemId> = slate.iter().map(|&item| shop.items()[item].id.clone()).collect();
            let events = shopper.react(&ids, Some("token"), now);
            let clicked: Vec<u32> = events
                .iter()
                .filter(|event| event.event_type == EventType::Click)
                .map(|event| event.items[0].position.unwrap())
                .collect();
            for (k, &item) in slate.iter().enumerate() {
                let truth = shop.examination(k) * shop.click_probability(&taste, item);
                by_place[k].add(clicked.contains(&(k as u32)), truth);
            }
            assert_eq!(events[0].event_type, EventType::Impression);
            assert_eq!(events[0].attribution_token.as_deref(), Some("token"));
        }
    }
    for (k, deviation) in by_place.into_iter().enumerate() {
        deviation.check(&format!("place {k}"));
    }
}

#[test]
fn expected_clicks_are_the_mean_of_clicks() {
    let shop = &SHOP.0;
    let taste = shop.shopper_at_end(0).1;
    let slate = shop.oracle_top(&taste, 20);
    let by_hand: f64 = slate
        .iter()
        .enumerate()
        .map(|(k, &item)| (1.0 + k as f64).powf(-0.6) / (1.0 + (-shop.affinity(&taste, item)).exp()))
        .sum();
    assert!((shop.expected_clicks(&taste, &slate) - by_hand).abs() < 1e-9);
    let mut backwards = slate.clone();
    backwards.reverse();
    assert!(shop.expected_clicks(&taste, &backwards) < by_hand);
    assert!(slate.iter().all(|&item| shop.items()[item].is_recommendable(shop.config().end)));
}

#[test]
fn a_live_shoppers_clicks_follow_the_want() {
    let shop = &SHOP.0;
    let now = shop.config().end;
    let (mut before, mut after) = (0.0, 0.0);
    for seed in 0..200 {
        let mut shopper = LiveShopper::new(shop, seed);
        shopper.browse(now);
        let category = (seed as usize * 7) % shop.categories().len();
        let slate: Vec<usize> =
            (0..shop.items().len()).filter(|&item| shop.category_of(item) == category).collect();
        let mean = |taste: &Taste| {
            slate.iter().map(|&item| shop.affinity(taste, item)).sum::<f64>() / slate.len() as f64
        };
        before += mean(shopper.taste());
        shopper.want(category, now);
        after += mean(shopper.taste());
        assert_eq!(shopper.taste().want.as_ref().map(|want| usize::from(want.category)), Some(category));
    }
    assert!(after > before + 200.0, "{before} to {after}");
}

#[test]
fn a_live_shoppers_events_are_valid_and_never_before_now() {
    let shop = &SHOP.0;
    let mut shopper = LiveShopper::returning(shop, 5);
    assert_eq!(shopper.visitor_id(), &shop.shopper_at_end(5).0);
    let mut now = shop.config().end;
    let mut ids = HashSet::new();
    for round in 0..50 {
        let unknown = ItemId::new("no-such-item").unwrap();
        let known = shop.items()[round * 3].id.clone();
        let step: Vec<Event> = [
            shopper.browse(now),
            shopper.open(&known, now),
            shopper.react(&[unknown.clone(), known], None, now),
            shopper.open(&unknown, now),
            shopper.leave(now),
        ]
        .concat();
        for event in step {
            assert!(event.time >= now && event.time < now.plus_millis(1000));
            assert_eq!(Event::try_from(v1::Event::from(event.clone())).as_ref(), Ok(&event));
            assert!(
                event.event_type == EventType::Impression
                    || event.items.iter().all(|item| item.item_id != unknown)
            );
            assert!(ids.insert(event.event_id));
        }
        now = now.plus_millis(60_000);
    }
    assert_eq!(shopper.affinity(&ItemId::new("no-such-item").unwrap()), None);
}

// === is it a shop? ===

#[test]
fn activity_is_heavy_tailed_and_follows_the_clock() {
    let mut lengths: Vec<usize> = histories().values().map(Vec::len).collect();
    lengths.sort_unstable();
    let total: usize = lengths.iter().sum();
    assert!((100_000..=150_000).contains(&total), "{total} interest events");
    let top: usize = lengths[lengths.len() * 9 / 10..].iter().sum();
    assert!(top * 10 > total * 3, "the most active tenth has {top} of {total}");
    assert!((20..=60).contains(&lengths[lengths.len() / 2]));
    let at_hours = |hours: std::ops::Range<i64>| {
        events().filter(|event| hours.contains(&(event.time.as_millis() / HOUR_MS % 24))).count()
    };
    assert!(at_hours(18..22) > 5 * at_hours(2..6));
    // The default period has whole weeks and starts on a Monday.
    let on =
        |weekday: usize| SHOP.1.iter().skip(weekday).step_by(7).map(|day| day.events.len()).sum::<usize>();
    assert!(on(6) > on(2));
}

#[test]
fn the_last_click_says_more_about_the_next_than_an_older_one() {
    let (mut last, mut older, mut all) = (0, 0, 0);
    for history in histories().values() {
        for place in 10..history.len() {
            let category = |back: usize| SHOP.0.category_of(history[place - back]);
            all += 1;
            last += usize::from(category(0) == category(1));
            older += usize::from(category(0) == category(10));
        }
    }
    let (last, older) = (last as f64 / all as f64, older as f64 / all as f64);
    assert!(last > older + 0.15, "{last:.3} against {older:.3}");
}

/// Top 20 of what can be recommended, by a score.
fn top(score: impl Fn(usize) -> f64) -> Vec<usize> {
    let shop = &SHOP.0;
    let end = shop.config().end;
    let mut ranked: Vec<(f64, usize)> = (0..shop.items().len())
        .filter(|&item| shop.items()[item].is_recommendable(end))
        .map(|item| (score(item), item))
        .collect();
    ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    ranked.into_iter().take(20).map(|(_, item)| item).collect()
}

/// What a shopper's history says of an item by its page alone: how often its category and brand
/// were opened (recently weighs more), how near its price is, how well it sells.
fn content_score(history: &[usize], counts: &[f64]) -> impl Fn(usize) -> f64 {
    let shop = &SHOP.0;
    let (mut categories, mut brands, mut total) = (HashMap::new(), HashMap::new(), 0.0);
    for (age, &item) in history.iter().rev().enumerate() {
        let weight = 0.95f64.powi(age as i32);
        *categories.entry(shop.category_of(item)).or_insert(0.0) += weight;
        *brands.entry(shop.items()[item].brand.clone()).or_insert(0.0) += weight;
        total += weight;
    }
    move |item| {
        let category = categories.get(&shop.category_of(item)).unwrap_or(&0.0) / total;
        let brand = brands.get(&shop.items()[item].brand).unwrap_or(&0.0) / total;
        (category + 0.01).ln() + 0.5 * (brand + 0.03).ln() + 0.5 * (counts[item] + 1.0).ln()
    }
}

#[test]
fn a_taste_can_be_learned_from_a_history_and_popularity_does_not_know_it() {
    let shop = &SHOP.0;
    let histories = histories();
    let mut counts = vec![0.0; shop.items().len()];
    for &item in histories.values().flatten() {
        counts[item] += 1.0;
    }
    let mut sums = [0.0; 5];
    let mut cases = 0;
    for index in (0..shop.shoppers()).step_by(2) {
        let (visitor, taste) = shop.shopper_at_end(index);
        let Some(history) = histories.get(visitor.as_str()).filter(|history| history.len() >= 20) else {
            continue;
        };
        let mut mean = [0.0; endcap_clickstream::synthetic::LATENT];
        for (age, &item) in history.iter().rev().enumerate() {
            for (sum, x) in mean.iter_mut().zip(shop.vector_of(item)) {
                *sum += 0.95f64.powi(age as i32) * f64::from(*x);
            }
        }
        let nearness =
            |item: usize| mean.iter().zip(shop.vector_of(item)).map(|(a, b)| a * f64::from(*b)).sum();
        let slates = [
            shop.oracle_top(&taste, 20),
            top(content_score(history, &counts)),
            top(nearness),
            top(|item| counts[item]),
            top(|item| ((item * 7919 + index * 104_729) % 10_007) as f64),
        ];
        for (sum, slate) in sums.iter_mut().zip(&slates) {
            *sum += shop.expected_clicks(&taste, slate);
        }
        cases += 1;
    }
    let [oracle, content, nearness, popular, random] = sums.map(|sum| sum / f64::from(cases));
    println!(
        "expected clicks on 20 places, {cases} shoppers: oracle {oracle:.3}, content of the history {content:.3} \
         ({:.1} %), mean latent of the history {nearness:.3} ({:.1} %), popularity {popular:.3} ({:.1} %), \
         random {random:.3} ({:.1} %)",
        100.0 * content / oracle,
        100.0 * nearness / oracle,
        100.0 * popular / oracle,
        100.0 * random / oracle,
    );
    assert!(content > 0.6 * oracle && content < 0.9 * oracle);
    assert!(nearness > 0.35 * oracle);
    assert!(popular < 0.3 * oracle && random < popular / 2.0);
}

#[test]
fn a_shopper_at_the_end_still_wants_what_they_looked_for_within_two_days() {
    let shop = &SHOP.0;
    let last_seen: HashMap<&str, EventTime> =
        events().map(|event| (event.visitor_id.as_str(), event.time)).collect();
    let (mut wanting, mut idle) = (0, 0);
    for index in 0..400 {
        let (visitor, taste) = shop.shopper_at_end(index);
        let Some(last) = last_seen.get(visitor.as_str()) else { continue };
        // The page after the last event was looked at for at most 15 minutes.
        match shop.config().end.millis_since(*last) {
            ms if ms > 49 * HOUR_MS => {
                assert_eq!(taste.want, None);
                idle += 1;
            }
            _ => wanting += usize::from(taste.want.is_some()),
        }
    }
    assert!(wanting > 50 && idle > 50, "{wanting} want something, {idle} do not");
}
