//! `trivago`: sessions of the RecSys Challenge 2019, an action a row, as Parquet or CSV.
//!
//! | `action_type` | becomes |
//! |---|---|
//! | `clickout item` | an impression of the list that was shown, with places and prices, then a click; both carry `SESSION/STEP` as attribution token |
//! | `interaction item image`, `info`, `rating`, `deals` | a view |
//! | `search for item` | a search that names the item |
//! | `search for destination`, `search for poi` | a search for that text |
//! | `filter selection`, `change of sort order` | a search without text: the list was narrowed or turned |
//!
//! What was done in trivago's words is the attribute `action`.

use std::path::Path;

use arrow::array::Array;
use endcap_proto::{Event, EventItem, EventType, Item, ItemId, VisitorId};

use super::{
    TimeFormat, UtcOffset,
    catalogue::id_fault,
    importer::{At, BadRow, Importer, Origin, one},
    input::Input,
    table::{Table, number},
};
use crate::{ClickstreamError, Part, columns::Columns, file::RecordReader, schema::Contract};

const COLUMNS: [&str; 12] = [
    "user_id",
    "session_id",
    "timestamp",
    "step",
    "action_type",
    "reference",
    "platform",
    "city",
    "device",
    "current_filters",
    "impressions",
    "prices",
];

/// Place of what was done, and of what it was done to.
const ACTION: usize = 4;
const REFERENCE: usize = 5;

/// Reads the file, or what the folder has of `*.parquet`, or `train.csv`; and `item_metadata.csv`.
pub(super) fn read(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let parquet = input.all(|name| name.ends_with(".parquet"));
    if parquet.is_empty() {
        csv(input.main(&["train.csv"])?, importer)?;
    }
    for path in parquet {
        columnar(path, importer)?;
    }
    if input.file().is_none()
        && let Some(path) = input.find(&["item_metadata.csv"])
    {
        metadata(path, importer)?;
    }
    Ok(())
}

fn csv(path: &Path, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let origin = importer.reading(path);
    let mut table = Table::open(path, b',')?;
    let mut columns = [0; COLUMNS.len()];
    for (place, name) in columns.iter_mut().zip(COLUMNS) {
        *place = table.column(name)?;
    }
    while let Some(row) = table.next()? {
        match row.cells() {
            Ok(cells) => take(importer, row.at, origin, columns.map(|column| cells.get(column)))?,
            Err(bad) => importer.bad_row(row.at, bad)?,
        }
    }
    Ok(())
}

fn columnar(path: &Path, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let origin = importer.reading(path);
    let contract = Contract::of_texts("trivago", &COLUMNS);
    let mut line = 0;
    for batch in RecordReader::open(path, &contract)? {
        let (number, batch) = batch?;
        let columns = Columns::new(path, number, &batch, &contract);
        let mut texts = Vec::with_capacity(COLUMNS.len());
        for name in COLUMNS {
            texts.push(columns.text(name)?);
        }
        for row in 0..batch.num_rows() {
            line += 1;
            let cells: [&str; COLUMNS.len()] = std::array::from_fn(|i| match &texts[i] {
                Some(text) if text.is_valid(row) => text.value(row),
                _ => "",
            });
            let raw = cells.join("\t");
            take(importer, At { line, raw: raw.as_bytes() }, origin, cells)?;
        }
    }
    Ok(())
}

fn take(
    importer: &mut Importer<'_>,
    at: At<'_>,
    origin: Origin,
    cells: [&str; COLUMNS.len()],
) -> Result<(), ClickstreamError> {
    let [action, reference] = [cells[ACTION], cells[REFERENCE]];
    if reference == "unknown"
        && ["clickout", "interaction", "search for item"].iter().any(|kind| action.starts_with(kind))
    {
        importer.skip("action on an item that the source calls unknown");
        return Ok(());
    }
    match events(at, origin, cells) {
        Ok(events) => {
            events.into_iter().flatten().try_for_each(|event| importer.event(at, Ok(event), Part::All))
        }
        Err(bad) => importer.bad_row(at, bad),
    }
}

/// The impression, where there is one, and the action.
fn events(at: At<'_>, origin: Origin, cells: [&str; COLUMNS.len()]) -> Result<[Option<Event>; 2], BadRow> {
    let [user, session, time, step, action, reference, platform, city, device, filters, impressions, prices] =
        cells;
    let time = TimeFormat::Seconds.read("timestamp", time, UtcOffset::default())?;
    let visitor = VisitorId::new(user)?;
    let mut origin = origin.row(at);
    let mut event = |kind| -> Result<Event, BadRow> {
        let mut event = origin.event(kind, time, visitor.clone())?;
        event.session_id = Some(session.to_owned()).filter(|session| !session.is_empty());
        event.page_categories.extend(Some(city.to_owned()).filter(|city| !city.is_empty()));
        let known = [("action", action), ("platform", platform), ("device", device), ("filters", filters)];
        let known = known.into_iter().filter(|(_, value)| !value.is_empty());
        event.attributes.extend(known.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Ok(event)
    };
    let named = || {
        let numeric = !reference.is_empty() && reference.bytes().all(|digit| digit.is_ascii_digit());
        if numeric { one(reference) } else { Err(BadRow::new("reference", "must be an item's number")) }
    };
    match action {
        "clickout item" => {
            let token = Some(format!("{session}/{step}"));
            let slate = slate(impressions, prices)?;
            let chosen = named()?;
            let chosen =
                slate.iter().find(|shown| shown.item_id == chosen.item_id).cloned().unwrap_or(chosen);
            let impression = if slate.is_empty() {
                None
            } else {
                Some(Event {
                    items: slate,
                    attribution_token: token.clone(),
                    ..event(EventType::Impression)?
                })
            };
            let click = Event { items: vec![chosen], attribution_token: token, ..event(EventType::Click)? };
            Ok([impression, Some(click)])
        }
        "interaction item image"
        | "interaction item info"
        | "interaction item rating"
        | "interaction item deals" => {
            Ok([None, Some(Event { items: vec![named()?], ..event(EventType::View)? })])
        }
        "search for item" => Ok([None, Some(Event { items: vec![named()?], ..event(EventType::Search)? })]),
        "search for destination" | "search for poi" => {
            Ok([None, Some(Event { search_query: Some(reference.to_owned()), ..event(EventType::Search)? })])
        }
        "filter selection" | "change of sort order" => {
            let mut event = event(EventType::Search)?;
            event.attributes.insert("choice".to_owned(), reference.to_owned());
            Ok([None, Some(event)])
        }
        _ => Err(BadRow(format!("action_type: unknown {:?}", action.chars().take(40).collect::<String>()))),
    }
}

/// The list that was shown, `id|id|…`, with its prices.
fn slate(impressions: &str, prices: &str) -> Result<Vec<EventItem>, BadRow> {
    if impressions.is_empty() {
        return Ok(Vec::new());
    }
    let (ids, prices): (Vec<_>, Vec<_>) = (impressions.split('|').collect(), prices.split('|').collect());
    if ids.len() != prices.len() {
        return Err(BadRow::new("prices", "must be as many as impressions"));
    }
    let shown = ids.into_iter().zip(prices).zip(0..).map(|((id, price), position)| {
        Ok(EventItem { unit_price: number("prices", price)?, position: Some(position), ..one(id)? })
    });
    shown.collect()
}

/// `item_id,properties`, the properties apart by `|`, kept as tags.
fn metadata(path: &Path, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    importer.reading(path);
    let mut table = Table::open(path, b',')?;
    let (id, properties) = (table.column("item_id")?, table.column("properties")?);
    while let Some(row) = table.next()? {
        let item = row.cells().and_then(|cells| {
            let tags = cells.get(properties).split('|').filter(|tag| !tag.is_empty()).map(str::to_owned);
            Ok(Item { tags: tags.collect(), ..Item::bare(ItemId::new(cells.get(id)).map_err(id_fault)?) })
        });
        importer.item(row.at, item)?;
    }
    Ok(())
}
