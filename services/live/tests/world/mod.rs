//! A small world for the tests: seeded events, a catalogue that remembers, a consumer on a store.
#![allow(dead_code)] // each test file uses its own part

use std::{collections::BTreeMap, sync::Mutex};

use endcap_live::{
    CatalogueSink, Message, Outcome, Place, StateStore, StateWriter, StoreConfig, items::CatalogueError,
};
use endcap_proto::{Event, EventId, EventItem, EventTime, EventType, Item, ItemId, UserId, VisitorId, v1};
use prost::Message as _;
use rand::{Rng, SeedableRng, rngs::StdRng};

/// 2023-11-14T22:00:00Z.
pub(crate) const START: i64 = 1_699_999_200_000;

/// `count` events in the order of their times, of a few hundred shoppers: some without consent, some logged in.
pub(crate) fn events(seed: u64, count: usize) -> Vec<Event> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut millis = START;
    let shoppers = (count / 40).max(3) as u64;
    (0..count)
        .map(|i| {
            millis += random.random_range(0..400);
            let shopper = random.random_range(0..shoppers);
            event(&mut random, i, shopper, millis)
        })
        .collect()
}

fn event(random: &mut StdRng, i: usize, shopper: u64, millis: i64) -> Event {
    use EventType::*;
    let kinds = [View, View, View, Click, AddToCart, Purchase, Search, HomeView, Impression, Dismiss, Login];
    let event_type = kinds[random.random_range(0..kinds.len())];
    let item = |random: &mut StdRng| EventItem {
        item_id: ItemId::new(format!("item-{}", random.random_range(0..500))).unwrap(),
        quantity: 1,
        unit_price: Some(9.9),
        position: None,
    };
    let items = if event_type.needs_items() { random.random_range(1..4) } else { 0 };
    // Every seventh shopper does not agree; every third uses two devices of one account.
    let consent = !shopper.is_multiple_of(7);
    let logged_in = consent && shopper.is_multiple_of(3);
    Event {
        event_id: EventId::new(format!("event-{i}")).unwrap(),
        event_type,
        time: EventTime::clamped(millis),
        visitor_id: VisitorId::new(format!("visitor-{shopper}")).unwrap(),
        user_id: logged_in.then(|| UserId::new(format!("user-{}", shopper / 6)).unwrap()),
        session_id: shopper.is_multiple_of(2).then(|| format!("session-{shopper}")),
        items: (0..items).map(|_| item(random)).collect(),
        transaction: None,
        search_query: None,
        page_categories: Vec::new(),
        placement: None,
        attribution_token: None,
        experiment_ids: Vec::new(),
        attributes: BTreeMap::new(),
        consent,
    }
}

/// As it travels: protobuf, keyed by visitor, made when it happened.
pub(crate) fn message(topic: &str, event: &Event) -> Message {
    Message::new(topic, event.visitor_id.as_str(), v1::Event::from(event.clone()).encode_to_vec())
        .at(event.time)
}

/// The digest of a store that was told `events` in this order, by partition, without interruption.
pub(crate) fn digest_of<'a>(events: impl IntoIterator<Item = (i32, &'a Event)>) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut writer) = StateStore::open(dir.path(), "events", &StoreConfig::default()).unwrap();
    apply(&mut writer, events);
    writer.flush().unwrap();
    store.digest().unwrap()
}

/// Applies events at rising offsets.
pub(crate) fn apply<'a>(
    writer: &mut StateWriter,
    events: impl IntoIterator<Item = (i32, &'a Event)>,
) -> Vec<Outcome> {
    let mut next = BTreeMap::<i32, i64>::new();
    events
        .into_iter()
        .map(|(partition, event)| {
            let offset = next.entry(partition).or_default();
            *offset += 1;
            writer.apply(partition, *offset - 1, event).unwrap()
        })
        .collect()
}

/// A catalogue that remembers.
#[derive(Default)]
pub(crate) struct Catalogue(pub(crate) Mutex<BTreeMap<String, Item>>);

impl CatalogueSink for Catalogue {
    fn upsert(&self, item: Item, _: &Place) -> Result<(), CatalogueError> {
        if item.title.as_deref() == Some("refused") {
            return Err(CatalogueError::from(Box::<dyn std::error::Error + Send + Sync>::from(
                "it was told so",
            )));
        }
        self.0.lock().unwrap().insert(item.id.as_str().to_owned(), item);
        Ok(())
    }

    fn delete(&self, item: &ItemId, _: &Place) -> Result<(), CatalogueError> {
        self.0.lock().unwrap().remove(item.as_str());
        Ok(())
    }
}

impl Catalogue {
    pub(crate) fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }
}

pub(crate) fn item(id: &str, title: &str) -> Item {
    Item { title: Some(title.to_owned()), ..Item::bare(ItemId::new(id).unwrap()) }
}
