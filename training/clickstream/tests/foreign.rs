//! Files that other programs wrote (`foreign/write.py`), and what is said of those that break the contract.

use std::path::PathBuf;

use endcap_clickstream::{ClickstreamError, EventReader, ItemReader};
use endcap_proto::{Availability, Event, EventType};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(name)
}

fn read(name: &str) -> Result<Vec<Event>, ClickstreamError> {
    let mut events = Vec::new();
    for batch in EventReader::open(path(name))? {
        events.extend(batch?.iter().map(|event| event.to_event()));
    }
    Ok(events)
}

#[test]
fn pyarrow_files_are_read_in_whatever_types_say_the_same() {
    for name in ["events.arrow", "events.arrows", "events.parquet"] {
        let events = read(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(events.len(), 3, "{name}");
        let [view, purchase, page] = &events[..] else { panic!("{name}") };
        assert_eq!((view.event_id.as_str(), view.event_type), ("1", EventType::View));
        assert_eq!(view.time.to_string(), "2026-11-02T12:00:00.123Z", "{name}");
        assert_eq!((view.user_id.as_ref(), view.consent), (None, true));
        assert_eq!((view.items[0].item_id.as_str(), view.items[0].quantity), ("boots", 1));
        assert_eq!(view.items[0].unit_price, Some(89.9));
        assert_eq!(view.attributes["ref"], "mail");
        assert_eq!((purchase.event_type, purchase.items.len()), (EventType::Purchase, 2));
        assert_eq!((purchase.items[0].quantity, purchase.items[1].unit_price), (2, None));
        let transaction = purchase.transaction.as_ref().unwrap();
        assert_eq!(
            (transaction.id.as_str(), transaction.revenue, transaction.tax),
            ("o1", Some(163.0), None)
        );
        assert_eq!((view.transaction.as_ref(), page.event_type), (None, EventType::CategoryView));
        assert_eq!(page.page_categories, ["Shoes > Boots"]);
        assert!(page.items.is_empty());
    }
}

#[test]
fn a_pyarrow_catalogue_is_read() {
    let items: Vec<_> = ItemReader::open(path("items.parquet")).unwrap().map(Result::unwrap).collect();
    let [items] = &items[..] else { panic!() };
    assert_eq!(items[0].embedding, [1.0, 2.0]);
    assert!(items.iter().all(|item| item.availability == Availability::InStock));
}

#[test]
fn errors_name_file_batch_row_column_and_rule() {
    let message = |name: &str| {
        let message = read(name).unwrap_err().to_string();
        let (file, rest) = message.split_once(": ").unwrap();
        assert!(file.ends_with(name), "{message}");
        rest.to_owned()
    };
    assert_eq!(
        message("no_visitor.arrow"),
        "required column `visitor_id` is missing (found: event_id, event_type, timestamp, user_id, items, transaction, \
         page_categories, attributes, warehouse); see docs/clickstream.md"
    );
    assert_eq!(
        message("wrong_type.arrow"),
        "column `event_time` must be a timestamp, or milliseconds since 1970 as int64, is Utf8; \
         see docs/clickstream.md"
    );
    assert_eq!(message("unknown_type.arrow"), "record batch 0, row 2: type: unknown event type \"bought\"");
    assert_eq!(message("null_id.arrow"), "record batch 0, row 1: event_id: must not be null");
    assert_eq!(
        message("control.arrow"),
        "record batch 0, row 2: visitor_id: must not hold control characters: \"v\\n2\""
    );
    assert_eq!(message("too_large.arrow"), "record batch 0, row 1: items[1].quantity: must fit into uint32");
    assert_eq!(message("nan.arrow"), "record batch 0, row 1: items[1].unit_price: must be finite, is NaN");
    assert_eq!(message("no_items.arrow"), "record batch 0, row 1: items: must not be empty for purchase");
    assert_eq!(message("null_item.arrow"), "record batch 0, row 1: items[0]: must not be null");
    assert_eq!(
        message("no_item_id.arrow"),
        "required column `items[].item_id` is missing (found: id); see docs/clickstream.md"
    );
    assert_eq!(
        message("year_10000.arrow"),
        "record batch 0, row 2: event_time: must lie within the years 1970 to 9999, is 253402300800000 ms since 1970"
    );
}
