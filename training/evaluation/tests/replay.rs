//! The replay's promise: nothing of a moment, and nothing after it, is known before it.

use std::convert::Infallible;

use endcap_clickstream::{Dataset, DatasetInfo, DatasetWriter, Part};
use endcap_evaluation::Replay;
use endcap_proto::{Event, EventId, EventItem, EventTime, EventType, ItemId, ItemKey, VisitorId};

fn at(minute: i64) -> EventTime {
    EventTime::clamped(1_700_000_000_000 + minute * 60_000)
}

fn event(number: usize, visitor: &str, item: &str, minute: i64, consent: bool) -> Event {
    Event {
        event_id: EventId::new(format!("e{number}")).unwrap(),
        event_type: if number % 3 == 2 { EventType::Purchase } else { EventType::View },
        time: at(minute),
        visitor_id: VisitorId::new(visitor).unwrap(),
        user_id: None,
        session_id: None,
        items: vec![EventItem {
            item_id: ItemId::new(item).unwrap(),
            quantity: 1,
            unit_price: None,
            position: None,
        }],
        transaction: None,
        search_query: None,
        page_categories: Vec::new(),
        placement: None,
        attribution_token: None,
        experiment_ids: Vec::new(),
        attributes: Default::default(),
        consent,
    }
}

fn dataset(dir: &std::path::Path, events: &[Event]) -> Dataset {
    let mut writer = DatasetWriter::create(dir, DatasetInfo::new("test")).unwrap();
    for event in events {
        writer.event(event, Part::All).unwrap();
    }
    writer.finish().unwrap();
    Dataset::open(dir).unwrap()
}

/// What each moment says: visitor, targets, history before it, views of item `a` counted before it.
fn moments(replay: &Replay, from: EventTime) -> Vec<(u32, Vec<ItemKey>, Vec<ItemKey>, f32)> {
    let mut seen = Vec::new();
    let Ok(()) = replay.run(from, |moment| {
        let targets = moment.interests().map(|(item, _)| item).collect();
        let history = moment.state.history().iter().map(|entry| entry.item).collect();
        seen.push((moment.user, targets, history, moment.counters(ItemKey::of("a")).views.week));
        Ok::<_, Infallible>(())
    });
    seen
}

#[test]
fn events_of_one_shopper_at_one_instant_are_no_history_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let events = [
        event(0, "anna", "a", 0, true),
        event(1, "anna", "b", 5, true),
        event(3, "anna", "c", 5, true),
        event(4, "bert", "a", 5, true),
        event(6, "anna", "d", 6, true),
    ];
    let replay = Replay::read(&dataset(&folder.path().join("d"), &events)).unwrap();
    assert_eq!(replay.len(), 5);
    let key = ItemKey::of;
    let sorted = |mut items: Vec<ItemKey>| {
        items.sort();
        items
    };
    let seen = moments(&replay, EventTime::MIN);
    assert_eq!(seen.len(), 4, "anna's two events at minute 5 are one moment");
    let anna: Vec<_> = seen.iter().filter(|(user, ..)| *user == seen[0].0).collect();
    assert_eq!((anna[0].1.as_slice(), anna[0].2.len()), ([key("a")].as_slice(), 0));
    assert_eq!(sorted(anna[1].1.clone()), sorted(vec![key("b"), key("c")]));
    assert_eq!(anna[1].2, [key("a")]);
    assert_eq!((anna[2].2.len(), anna[2].1.as_slice()), (3, [key("d")].as_slice()));
}

#[test]
fn counters_hold_what_came_before_and_what_came_without_consent_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let events = [
        event(0, "anna", "a", 0, true),
        event(1, "bert", "a", 1, false),
        event(3, "carl", "a", 2, true),
        event(4, "dora", "b", 200, true),
    ];
    let replay = Replay::read(&dataset(&folder.path().join("d"), &events)).unwrap();
    assert_eq!((replay.len(), replay.newest()), (3, Some(at(200))));
    let views: Vec<f32> = moments(&replay, EventTime::MIN).iter().map(|moment| moment.3).collect();
    assert_eq!(views[0], 0.0);
    assert!((views[1] - 1.0).abs() < 0.05 && (views[2] - 2.0).abs() < 0.1, "{views:?}");
    assert_eq!(moments(&replay, at(3)).len(), 1, "earlier moments only build state");
    assert_eq!(replay.before(at(2)).len(), 1);
}
