//! `docs/api.md` names every field of the messages that it describes, every name of an event type and every code.

use std::collections::BTreeSet;

use endcap_proto::{EventType, FILE_DESCRIPTOR_SET};
use prost::Message;
use prost_types::FileDescriptorSet;

const PAGE: &str = include_str!("../../../docs/api.md");

/// The rows of the table that follows the heading `title`.
fn table(title: &str) -> Vec<Vec<&'static str>> {
    let heading = |line: &&str| line.trim_start_matches('#').trim() == title && line.starts_with('#');
    let after =
        PAGE.lines().skip_while(|line| !heading(line)).skip(1).take_while(|line| !line.starts_with('#'));
    let rows = after.filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn the_page_names_every_field_of_its_messages_and_no_other() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let messages: Vec<_> = set
        .file
        .iter()
        .filter(|file| file.package() == "endcap.v1")
        .flat_map(|file| &file.message_type)
        .collect();
    for name in [
        "RecommendRequest",
        "Context",
        "Promotion",
        "RecommendResponse",
        "Result",
        "ServedBy",
        "Event",
        "EventItem",
        "Transaction",
        "Item",
        "ListItemsRequest",
    ] {
        let message = messages.iter().find(|message| message.name() == name).unwrap();
        let fields: BTreeSet<_> = message.field.iter().map(|field| field.name()).collect();
        let rows = table(name);
        let described: BTreeSet<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
        assert_eq!(described, fields, "{name}");
        assert!(rows.iter().all(|row| row[1] == "0.1" || row[1] == "–"), "{name}: since which version");
    }
}

#[test]
fn the_page_names_every_event_type_and_its_aliases_are_taken() {
    let rows = table("Names of event types");
    let named: Vec<EventType> = rows.iter().map(|row| row[0].trim_matches('`').parse().unwrap()).collect();
    assert_eq!(named, EventType::ALL);
    for (row, event_type) in rows.iter().zip(named) {
        for alias in row[1].split(", ").filter(|alias| !alias.is_empty()) {
            assert_eq!(alias.trim_matches('`').parse(), Ok(event_type));
        }
    }
}
