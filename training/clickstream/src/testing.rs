//! What the tests of this crate share: small events, and strategies for any event, item and impression.

use endcap_proto::{
    Attribute, Availability, Event, EventId, EventItem, EventTime, EventType, Item, ItemId, Transaction,
    UserId, VisitorId, v1,
};
use proptest::{collection, option, prelude::*};

/// An event that says nothing but who, when and what, about these products.
pub(crate) fn event(id: &str, event_type: EventType, millis: i64, visitor: &str, items: &[&str]) -> Event {
    let item = |id: &&str| EventItem { item_id: item_id(id), quantity: 1, unit_price: None, position: None };
    Event {
        event_id: EventId::new(id).unwrap(),
        event_type,
        time: EventTime::clamped(millis),
        visitor_id: VisitorId::new(visitor).unwrap(),
        user_id: None,
        session_id: None,
        items: items.iter().map(item).collect(),
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

fn item_id(id: &str) -> ItemId {
    ItemId::new(id).unwrap()
}

fn id() -> impl Strategy<Value = String> {
    // Also two- to four-byte characters, among them some whose first byte is that of a control character.
    "[a-z0-9°²ß€🙂-]{1,12}"
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,16}"
}

/// Absent, or not empty: empty text is read as absent.
fn optional_text() -> impl Strategy<Value = Option<String>> {
    option::of("\\PC{1,16}")
}

fn amount() -> impl Strategy<Value = f64> {
    prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO
}

fn time() -> impl Strategy<Value = EventTime> {
    (EventTime::MIN.as_millis()..=EventTime::MAX.as_millis()).prop_map(EventTime::clamped)
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    collection::vec(text(), 0..4)
}

fn event_item() -> impl Strategy<Value = EventItem> {
    (id(), any::<u32>(), option::of(amount()), option::of(any::<u32>())).prop_map(
        |(id, quantity, unit_price, position)| EventItem {
            item_id: item_id(&id),
            quantity,
            unit_price,
            position,
        },
    )
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let amounts = (option::of(amount()), option::of(amount()), option::of(amount()));
    (text(), amounts, text()).prop_map(|(id, (revenue, tax, cost), currency)| Transaction {
        id,
        revenue,
        tax,
        cost,
        currency,
    })
}

/// Any valid event.
pub(crate) fn any_event() -> impl Strategy<Value = Event> {
    let who = (id(), time(), id(), option::of(id()), optional_text());
    let what = (
        prop::sample::select(EventType::ALL),
        collection::vec(event_item(), 1..4),
        option::of(transaction()),
    );
    let page = (optional_text(), texts(), optional_text(), optional_text(), texts());
    let rest = (collection::btree_map(text(), text(), 0..4), any::<bool>(), any::<bool>());
    (who, what, page, rest).prop_map(|(who, what, page, rest)| {
        let (event_id, time, visitor, user, session_id) = who;
        let (event_type, items, transaction) = what;
        let (search_query, page_categories, placement, attribution_token, experiment_ids) = page;
        let (attributes, consent, bare) = rest;
        Event {
            event_id: EventId::new(event_id).unwrap(),
            event_type,
            time,
            visitor_id: VisitorId::new(visitor).unwrap(),
            user_id: user.map(|id| UserId::new(id).unwrap()),
            session_id,
            items: if bare && !event_type.needs_items() { vec![] } else { items },
            transaction,
            search_query,
            page_categories,
            placement,
            attribution_token,
            experiment_ids,
            attributes,
            consent,
        }
    })
}

/// Any valid item.
pub(crate) fn any_item() -> impl Strategy<Value = Item> {
    let price = || option::of(amount().prop_map(f64::abs));
    let attribute = prop_oneof![text().prop_map(Attribute::Text), amount().prop_map(Attribute::Number)];
    let availability = prop::sample::select(&[
        Availability::InStock,
        Availability::OutOfStock,
        Availability::Preorder,
        Availability::Discontinued,
    ]);
    let page = (id(), optional_text(), texts(), optional_text(), optional_text(), texts());
    let prices = (price(), price(), price(), optional_text(), availability);
    let attributes = collection::btree_map(text(), attribute, 0..4);
    let embedding = collection::vec(prop::num::f32::NORMAL | prop::num::f32::ZERO, 0..5);
    let rest = (optional_text(), attributes, embedding, option::of(time()), option::of(time()));
    (page, prices, rest).prop_map(|(page, prices, rest)| {
        let (id, title, categories, brand, group_id, tags) = page;
        let (price, original_price, cost, currency, availability) = prices;
        let (image_uri, attributes, embedding, publish_time, expire_time) = rest;
        Item {
            id: item_id(&id),
            title,
            categories,
            brand,
            price,
            original_price,
            cost,
            currency,
            availability,
            group_id,
            tags,
            attributes,
            image_uri,
            embedding,
            publish_time,
            expire_time,
        }
    })
}

fn impressed_item() -> impl Strategy<Value = v1::ImpressedItem> {
    let features = collection::vec(prop::num::f32::NORMAL | prop::num::f32::ZERO, 0..4);
    (id(), any::<u32>(), amount(), 1e-9..=1.0f64, any::<bool>(), texts(), features).prop_map(
        |(item_id, position, score, propensity, explored, sources, features)| v1::ImpressedItem {
            item_id,
            position,
            score,
            propensity,
            explored,
            sources,
            features,
        },
    )
}

/// Any valid impression.
pub(crate) fn any_impression() -> impl Strategy<Value = v1::Impression> {
    let arms = collection::btree_map(text(), text(), 0..3);
    let served_by = (text(), text(), arms).prop_map(|(bundle_version, index_version, experiment_arms)| {
        v1::ServedBy { bundle_version, index_version, experiment_arms }
    });
    let offset = (text(), any::<i32>(), any::<i64>());
    let offset =
        offset.prop_map(|(topic, partition, offset)| v1::PartitionOffset { topic, partition, offset });
    let context = (0..=16i32, texts(), texts(), texts(), text()).prop_map(
        |(event_type, item_ids, cart_item_ids, page_categories, search_query)| v1::Context {
            r#type: event_type,
            item_ids,
            cart_item_ids,
            page_categories,
            search_query,
        },
    );
    let who = (id(), time(), id(), option::of(id()), text(), text(), text());
    let slate = (collection::vec(impressed_item(), 0..4), option::of(served_by), option::of(time()));
    let rest =
        (collection::vec(offset, 0..3), any::<u64>(), texts(), option::of(context), any::<bool>(), text());
    (who, slate, rest).prop_map(|(who, slate, rest)| {
        let (slate_id, served_time, visitor_id, user_id, session_id, placement, request_id) = who;
        let (items, served_by, as_of) = slate;
        let (applied_offsets, seed, degraded, context, consent, attribution_token) = rest;
        v1::Impression {
            slate_id,
            served_time: Some(served_time.to_proto()),
            visitor_id,
            user_id: user_id.unwrap_or_default(),
            session_id,
            placement,
            request_id,
            items,
            served_by,
            as_of: as_of.map(EventTime::to_proto),
            applied_offsets,
            seed,
            degraded,
            context,
            consent,
            attribution_token,
        }
    })
}
