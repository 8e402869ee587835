use endcap_proto::{Event, Item, ItemId};

use super::*;
use crate::{DatasetInfo, DatasetWriter, Part, testing::event};

/// 2026-11-02T00:00:00Z.
const START: i64 = 1_793_577_600_000;
const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

fn report(info: DatasetInfo, events: &[Event], items: &[Item], options: &CheckOptions) -> CheckReport {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::create(dir.path(), info).unwrap();
    events.iter().for_each(|event| writer.event(event, Part::All).unwrap());
    items.iter().for_each(|item| writer.item(item).unwrap());
    writer.finish().unwrap();
    check(&Dataset::open(dir.path()).unwrap(), options).unwrap()
}

fn catalogue(ids: impl IntoIterator<Item = usize>) -> Vec<Item> {
    ids.into_iter().map(|i| Item::bare(ItemId::new(format!("item-{i}")).unwrap())).collect()
}

/// 60 visitors, 20 views each, ten minutes apart, over 30 products.
fn shop() -> Vec<Event> {
    let visit = |visitor: usize| {
        (0..20).map(move |i| {
            let time = START + visitor as i64 * MINUTE + i * 10 * MINUTE;
            let item = format!("item-{}", (visitor + i as usize) % 30);
            event(&format!("e-{visitor}-{i}"), EventType::View, time, &format!("visitor-{visitor}"), &[&item])
        })
    };
    (0..60).flat_map(visit).collect()
}

#[test]
fn a_sound_shop_is_a_go_and_its_counts_are_right() {
    let mut items = catalogue(0..33);
    items[0].title = Some("Boots".into());
    let report = report(DatasetInfo::new("shop"), &shop(), &items, &CheckOptions::default());
    assert_eq!(report.verdict, Verdict::Go, "{report}");
    assert_eq!((report.events.total, report.events.interest, report.events.repeated), (1200, 1200, 0));
    assert_eq!(report.events.first, Some(EventTime::clamped(START)));
    assert_eq!(report.events.last, Some(EventTime::clamped(START + 59 * MINUTE + 190 * MINUTE)));
    let visitors = report.visitors;
    assert_eq!((visitors.total, visitors.with_sequence, visitors.sessions), (60, 60, 60));
    assert_eq!((visitors.median_events, visitors.p99_events, visitors.most_events), (20, 20, 20));
    let items = report.items;
    assert_eq!((items.seen, items.catalogue, items.unknown, items.without_events), (30, 33, 0, 3));
    assert_eq!((items.mentions, items.without_title), (1200, 32));
    assert_eq!(report.clock, ClockFaults::default());
    assert!(report.gaps.is_empty() && report.bots.visitors == 0);
}

#[test]
fn too_little_data_is_a_no_go_with_every_reason() {
    let events =
        [event("e", EventType::View, START, "v", &["a"]), event("f", EventType::HomeView, START, "v", &[])];
    let report = report(DatasetInfo::new("tiny"), &events, &[], &CheckOptions::default());
    assert_eq!(report.verdict, Verdict::NoGo);
    assert_eq!(
        report.reasons,
        [
            "too few events that show interest in a product: 1, where at least 1000 are needed",
            "too few visitors: 1, where at least 50 are needed",
            "too few visitors with two such events or more: 0, where at least 50 are needed",
            "too few products with events: 1, where at least 20 are needed",
        ]
    );
    assert!(report.remarks[0].contains("no catalogue"));
}

#[test]
fn repeated_ids_are_counted_beyond_the_first() {
    let mut events = shop();
    events.extend_from_within(0..100);
    let report = report(DatasetInfo::new("shop"), &events, &[], &CheckOptions::default());
    assert_eq!(report.events.repeated, 100);
    assert_eq!(report.verdict, Verdict::NoGo);
    assert!(report.reasons[0].starts_with("7.7 % of events have an id that was there before"), "{report}");
}

#[test]
fn clock_faults_are_told_apart() {
    let mut events = shop();
    // A visitor whose clock says 1970, then 2070, then the truth.
    for (i, time) in [1_793_577_600, START + 44 * 365 * DAY, START].into_iter().enumerate() {
        events.push(event(&format!("odd-{i}"), EventType::View, time, "odd", &["item-1"]));
    }
    let options = CheckOptions { now: Some(EventTime::clamped(START + DAY)), ..CheckOptions::default() };
    let real = report(DatasetInfo::new("shop"), &events, &[], &options);
    assert_eq!(real.clock, ClockFaults { future: 1, in_1970: 1, before_2000: 1, backwards: 1 });
    assert_eq!(real.verdict, Verdict::Go, "three events of 1203 are bearable");
    let nineties = |event: Event| Event { time: event.time.plus_millis(-29 * 365 * DAY), ..event };
    let old: Vec<_> = shop().into_iter().map(nineties).collect();
    let old = report(DatasetInfo::new("shop"), &old, &[], &options);
    assert_eq!((old.clock.before_2000, old.verdict), (1200, Verdict::Go), "old is no fault");
    let seconds: Vec<_> = shop()
        .into_iter()
        .map(|event| Event { time: EventTime::clamped(event.time.as_millis() / 1000), ..event })
        .collect();
    let report = report(DatasetInfo::new("shop"), &seconds, &[], &options);
    assert!(report.reasons[0].contains("are seconds taken for milliseconds?"), "{report}");
}

#[test]
fn gaps_are_the_longest_times_without_events() {
    let mut events = shop();
    for (i, days) in [(0, 3), (1, 10), (2, 11)] {
        events.push(event(&format!("late-{i}"), EventType::View, START + days * DAY, "late", &["item-1"]));
    }
    let report = report(DatasetInfo::new("shop"), &events, &[], &CheckOptions::default());
    let days: Vec<_> =
        report.gaps.iter().map(|gap| gap.to.millis_since(gap.from) as f64 / DAY as f64).collect();
    // The visits end at 04:09 of the first day; 24 hours without events are not yet a gap.
    assert_eq!(days, [7.0, 3.0 - 4.0 / 24.0], "{report}");
}

#[test]
fn a_visitor_with_many_events_a_minute_and_no_dwell_is_a_suspect() {
    let mut events = shop();
    for i in 0..200 {
        let item = format!("item-{}", i % 30);
        // Ten events a second, against a shopper who takes two seconds for each.
        events.push(event(&format!("b-{i}"), EventType::View, START + i * 100, "robot", &[&item]));
        events.push(event(&format!("h-{i}"), EventType::View, START + i * 2000, "human", &[&item]));
    }
    let options = CheckOptions { bot_events_per_minute: 30, ..CheckOptions::default() };
    let report = report(DatasetInfo::new("shop"), &events, &[], &options);
    assert_eq!(report.bots, BotStats { visitors: 1, events: 200, examples: vec!["robot".into()] });
}

#[test]
fn products_are_held_against_the_catalogue() {
    let mut other = catalogue(25..40);
    other[0].embedding = vec![1.0, 2.0];
    other[1].embedding = vec![1.0];
    other.push(other[2].clone());
    let report = report(DatasetInfo::new("shop"), &shop(), &other, &CheckOptions::default());
    let items = report.items;
    assert_eq!((items.unknown, items.unknown_mentions, items.without_events), (25, 1000, 10));
    assert_eq!((items.catalogue, items.repeated_entries, items.embedding_lengths), (15, 1, 2));
    assert!(
        report.reasons[0].starts_with("83.3 % of mentions are of products that the catalogue lacks"),
        "{report}"
    );
    assert!(report.reasons[1].contains("embeddings have 2 lengths"), "{report}");
}

#[test]
fn sessions_are_those_that_events_name_or_end_after_a_gap() {
    let session = |id: &str, millis: i64, session: Option<&str>| Event {
        session_id: session.map(str::to_owned),
        ..event(id, EventType::HomeView, START + millis, "v", &[])
    };
    let named = [session("a", 0, Some("1")), session("b", DAY, Some("1")), session("c", DAY, Some("2"))];
    let gaps = [session("a", 0, None), session("b", 30 * MINUTE, None), session("c", 60 * MINUTE + 1, None)];
    let sessions = |events: &[Event]| {
        report(DatasetInfo::new("x"), events, &[], &CheckOptions::default()).visitors.sessions
    };
    assert_eq!(sessions(&named), 2);
    assert_eq!(sessions(&gaps), 2);
}

#[test]
fn ordinal_times_are_not_judged_by_the_clock() {
    let steps: Vec<_> = shop()
        .into_iter()
        .enumerate()
        .map(|(i, event)| Event { time: EventTime::clamped(i as i64), ..event })
        .collect();
    let info = DatasetInfo { time: TimeKind::Ordinal, ..DatasetInfo::new("lists") };
    let report = report(info, &steps, &[], &CheckOptions::default());
    assert_eq!(report.verdict, Verdict::Go, "{report}");
    assert_eq!(
        (report.clock, report.bots.visitors, report.visitors.sessions),
        (ClockFaults::default(), 0, 0)
    );
}

#[test]
fn the_report_reads_well() {
    let mut events = shop();
    events.push(event("late", EventType::AddToCart, START + 3 * DAY, "late", &["item-1"]));
    let go = report(DatasetInfo::new("a small shop"), &events, &catalogue(0..31), &CheckOptions::default());
    insta::assert_snapshot!("go", go);
    let no_go = report(DatasetInfo::new("two events"), &events[..2], &[], &CheckOptions::default());
    insta::assert_snapshot!("no_go", no_go);
    let json = serde_json::to_value(&go).unwrap();
    assert_eq!(json["verdict"], "go");
    assert_eq!(json["events"]["by_type"][1]["event_type"], "add_to_cart");
}
