//! Small data sets, written as an import writes them.

#![allow(dead_code, unreachable_pub)] // each test file uses its own part

use std::path::Path;

use endcap_clickstream::{Dataset, DatasetInfo, DatasetWriter, Part, TimeKind};
use endcap_evaluation::{Question, Split, SplitConfig};
use endcap_proto::{Event, EventId, EventItem, EventTime, EventType, Item, ItemId, ItemKey, VisitorId};

/// Who met what, when, in which part.
pub struct Met<'a>(pub &'a str, pub &'a str, pub i64, pub Part);

pub fn event(id: &str, visitor: &str, item: &str, time: i64) -> Event {
    Event {
        event_id: EventId::new(id).unwrap(),
        event_type: EventType::View,
        time: EventTime::clamped(time),
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
        consent: true,
    }
}

pub fn info(time: TimeKind, ordered: bool) -> DatasetInfo {
    DatasetInfo { time, ordered, ..DatasetInfo::new("test") }
}

pub fn write(dir: &Path, info: DatasetInfo, met: &[Met<'_>], items: &[Item]) -> Dataset {
    let mut writer = DatasetWriter::create(dir, info).unwrap();
    for (number, Met(visitor, item, time, part)) in met.iter().enumerate() {
        writer.event(&event(&format!("e{number}"), visitor, item, *time), *part).unwrap();
    }
    for item in items {
        writer.item(item).unwrap();
    }
    writer.finish().unwrap();
    Dataset::open(dir).unwrap()
}

/// Sequences without times, `visitor item item …` a line.
pub fn sequences(dir: &Path, lines: &[(&str, Part)], ordered: bool) -> Dataset {
    let mut met = Vec::new();
    for (line, part) in lines {
        let mut words = line.split_whitespace();
        let visitor = words.next().unwrap();
        for item in words {
            met.push(Met(visitor, item, met.len() as i64, *part));
        }
    }
    write(dir, info(TimeKind::Ordinal, ordered), &met, &[])
}

pub fn split(dataset: &Dataset, config: SplitConfig) -> Split {
    Split::read(dataset, &config).unwrap()
}

/// The letters behind keys.
pub fn letters(items: impl IntoIterator<Item = ItemKey>) -> String {
    let name = |key| ('a'..='z').find(|letter| ItemKey::of(&letter.to_string()) == key).unwrap_or('?');
    items.into_iter().map(name).collect()
}

/// `history>targets`.
pub fn asked(question: Question<'_>) -> String {
    let items =
        |part: &[endcap_neighbours::Interaction]| letters(part.iter().map(|interaction| interaction.item));
    format!("{}>{}", items(question.history), items(question.targets))
}
