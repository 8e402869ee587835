//! One event makes one state, whether it comes alone or as a row of a column batch.

use endcap_clickstream::EventBatch;
use endcap_features::{EventFacts, UserState};
use endcap_proto::{Event, EventId, EventItem, EventTime, EventType, ItemId, ItemKey, UserId, VisitorId};

fn event(id: &str, event_type: EventType, time: i64, items: &[&str]) -> Event {
    let item = |id: &&str| EventItem {
        item_id: ItemId::new(id).unwrap(),
        quantity: 1,
        unit_price: None,
        position: None,
    };
    Event {
        event_id: EventId::new(id).unwrap(),
        event_type,
        time: EventTime::clamped(time),
        visitor_id: VisitorId::new("ann's browser").unwrap(),
        user_id: (time > 1).then(|| UserId::new("ann").unwrap()),
        session_id: (time < 3).then(|| "morning".to_owned()),
        items: items.iter().map(item).collect(),
        transaction: None,
        search_query: None,
        page_categories: Vec::new(),
        placement: None,
        attribution_token: None,
        experiment_ids: Vec::new(),
        attributes: Default::default(),
        consent: true,
    }
}

#[test]
fn a_batch_and_its_events_make_the_same_state() {
    let events = [
        event("e1", EventType::View, 1, &["boot"]),
        event("e2", EventType::AddToCart, 2, &["boot", "hat"]),
        event("e3", EventType::Purchase, 3, &["hat", "boot"]),
        event("e4", EventType::Search, 4, &[]),
    ];
    let batch = EventBatch::from_events(&events).unwrap();
    let (mut alone, mut rows) = (UserState::default(), UserState::default());
    for (event, row) in events.iter().zip(batch.iter()) {
        assert_eq!((event.key(), EventFacts::visitor(event)), (row.key(), EventFacts::visitor(&row)));
        assert_eq!(alone.apply(event), rows.apply(&row));
    }
    assert_eq!(alone.encode(), rows.encode());
    assert_eq!(alone.history().len(), 5);
    assert_eq!(alone.bought_at(ItemKey::of("hat")), EventTime::from_millis(3));
    assert_eq!(alone.user().map(|user| user.0), Some(UserId::new("ann").unwrap().key().0));
}
