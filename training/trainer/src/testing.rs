//! A small clickstream for tests.

use endcap_clickstream::TimeKind;
use endcap_features::VocabularyConfig;
use endcap_neighbours::SequencesBuilder;
use endcap_proto::{Event, EventId, EventItem, EventTime, EventType, Item, ItemId, VisitorId};
use endcap_towers::mix;

use crate::TrainingData;

fn event(visitor: u64, number: u64, items: u64) -> Event {
    let random = mix(visitor << 32 | number);
    Event {
        event_id: EventId::new(format!("{visitor} {number}")).unwrap(),
        event_type: [EventType::View, EventType::AddToCart, EventType::Search][(random % 3) as usize],
        // Some events of a visitor share an instant.
        time: EventTime::clamped(1_000_000 + (number / 2 * 40_000 + random % 2 * 40_000) as i64),
        visitor_id: VisitorId::new(visitor.to_string()).unwrap(),
        user_id: None,
        session_id: None,
        items: (0..1 + random % 2)
            .map(|i| EventItem {
                item_id: id(mix(random + i) % items),
                quantity: 1,
                unit_price: None,
                position: None,
            })
            .collect(),
        transaction: None,
        search_query: None,
        page_categories: vec![],
        placement: None,
        attribution_token: None,
        experiment_ids: vec![],
        attributes: Default::default(),
        consent: true,
    }
}

fn id(item: u64) -> ItemId {
    ItemId::new(format!("item {item}")).unwrap()
}

/// What a fit reads of these events and of `items` items.
pub(crate) fn data(events: &[Event], items: u64) -> TrainingData {
    let mut builder = SequencesBuilder::new();
    let mut counts = std::collections::BTreeMap::<Box<str>, u64>::new();
    for event in events.iter().filter(|event| event.event_type.is_interest()) {
        builder.push(event);
        event.items.iter().for_each(|item| *counts.entry(item.item_id.as_str().into()).or_default() += 1);
    }
    let catalogue = (0..items)
        .map(|item| Item { title: Some(format!("word{} thing", item % 7)), ..Item::bare(id(item)) });
    let counts: Vec<_> = counts.into_iter().collect();
    let vocabulary = VocabularyConfig::default();
    TrainingData::new(catalogue.collect(), &counts, builder.finish(), true, TimeKind::Real, &vocabulary)
        .unwrap()
}

/// Up to 20 events of each visitor, some of which share an instant, have two items, or are of no interest.
pub(crate) fn events(visitors: u64, items: u64) -> Vec<Event> {
    (0..visitors)
        .flat_map(|visitor| (0..visitor * 3 % 20).map(move |number| event(visitor, number, items)))
        .collect()
}
