//! `retailrocket`: `events.csv`, `item_properties_part*.csv`, `category_tree.csv`.
//!
//! Properties are logged with time, and all but two of their names are hashed: of each item the last
//! `categoryid` and the last `available` are kept. A category's path is its place in the tree, broadest
//! first, of numbers.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use endcap_proto::{Availability, EventTime, Item, ItemId, Transaction, VisitorId};

use super::{
    TimeFormat, UtcOffset,
    importer::{BadRow, Importer, one},
    input::Input,
    rows::event_type,
    table::Table,
};
use crate::{ClickstreamError, Part};

/// A deeper tree has a circle in it.
const MAX_DEPTH: usize = 64;

/// Reads the folder, or `events.csv` alone.
pub(super) fn read(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    events(input.main(&["events.csv"])?, importer)?;
    let parents =
        input.find(&["category_tree.csv"]).map(|path| tree(path, importer)).transpose()?.unwrap_or_default();
    let mut items = BTreeMap::new();
    for path in input.all(|name| name.starts_with("item_properties") && name.ends_with(".csv")) {
        properties(path, importer, &mut items)?;
    }
    for (id, Properties { category, available }) in items {
        let mut item = Item::bare(id);
        item.categories.extend(category.map(|(_, category)| path_of(&category, &parents)));
        if available.is_some_and(|(_, available)| !available) {
            item.availability = Availability::OutOfStock;
        }
        importer.list(&item)?;
    }
    Ok(())
}

fn events(path: &Path, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let origin = importer.reading(path);
    let mut table = Table::open(path, b',')?;
    let column = |name| table.column(name);
    let (time, visitor, kind) = (column("timestamp")?, column("visitorid")?, column("event")?);
    let (item, transaction) = (column("itemid")?, column("transactionid")?);
    while let Some(row) = table.next()? {
        let event = row.cells().and_then(|cells| {
            let time = TimeFormat::Milliseconds.read("timestamp", cells.get(time), UtcOffset::default())?;
            let kind = event_type(importer.mapping, cells.get(kind))?;
            let mut event = origin.row(row.at).event(kind, time, VisitorId::new(cells.get(visitor))?)?;
            event.items.push(one(cells.get(item))?);
            let id = cells.get(transaction);
            event.transaction =
                (!id.is_empty()).then(|| Transaction { id: id.to_owned(), ..Transaction::default() });
            Ok(event)
        });
        importer.event(row.at, event, Part::All)?;
    }
    Ok(())
}

/// What is kept of an item, each with the time it was logged.
#[derive(Default)]
struct Properties {
    category: Option<(EventTime, String)>,
    available: Option<(EventTime, bool)>,
}

fn properties(
    path: &Path,
    importer: &mut Importer<'_>,
    items: &mut BTreeMap<ItemId, Properties>,
) -> Result<(), ClickstreamError> {
    importer.reading(path);
    let mut table = Table::open(path, b',')?;
    let column = |name| table.column(name);
    let columns = [column("timestamp")?, column("itemid")?, column("property")?, column("value")?];
    while let Some(row) = table.next()? {
        let kept = row.cells().and_then(|cells| {
            let [time, item, property, value] = columns.map(|i| cells.get(i));
            let time = TimeFormat::Milliseconds.read("timestamp", time, UtcOffset::default())?;
            let item = items.entry(ItemId::new(item)?).or_default();
            match property {
                "categoryid" => keep_latest(&mut item.category, time, value.to_owned()),
                "available" => keep_latest(&mut item.available, time, value != "0"),
                _ => return Ok(false),
            }
            Ok(true)
        });
        match kept {
            Ok(true) => {}
            Ok(false) => importer.skip("property with a hashed name"),
            Err(bad) => importer.bad_row(row.at, bad)?,
        }
    }
    Ok(())
}

/// Of two values logged at one time the later row counts.
fn keep_latest<T>(kept: &mut Option<(EventTime, T)>, time: EventTime, value: T) {
    if kept.as_ref().is_none_or(|(before, _)| *before <= time) {
        *kept = Some((time, value));
    }
}

/// Category → parent.
fn tree(path: &Path, importer: &mut Importer<'_>) -> Result<HashMap<String, String>, ClickstreamError> {
    importer.reading(path);
    let mut table = Table::open(path, b',')?;
    let (child, parent) = (table.column("categoryid")?, table.column("parentid")?);
    let mut parents = HashMap::new();
    while let Some(row) = table.next()? {
        match row.cells() {
            Ok(cells) if cells.get(child).is_empty() => {
                importer.bad_row(row.at, BadRow::new("categoryid", "must not be empty"))?;
            }
            Ok(cells) if cells.get(parent).is_empty() => {}
            Ok(cells) => {
                parents.insert(cells.get(child).to_owned(), cells.get(parent).to_owned());
            }
            Err(bad) => importer.bad_row(row.at, bad)?,
        }
    }
    Ok(parents)
}

/// `140 > 1095 > 1016`, broadest first.
fn path_of(category: &str, parents: &HashMap<String, String>) -> String {
    let up = std::iter::successors(Some(category), |category| parents.get(*category).map(String::as_str));
    let mut path: Vec<_> = up.take(MAX_DEPTH).collect();
    path.reverse();
    path.join(" > ")
}
