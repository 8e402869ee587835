//! `csv` and `jsonl`: a shop's own event log, a row an event, columns named by a mapping.
//!
//! JSON rows are objects with the contract's names, in snake or camel case, so that proto3 JSON of
//! `endcap.v1.Event` reads as it is; a JSON event may hold several `items`.

use std::collections::BTreeMap;

use endcap_proto::{Event, EventItem, EventType, ItemId, Transaction, UserId, VisitorId};
use serde_json::Value;

use super::{
    Mapping,
    importer::{BadRow, Importer, RowOrigin, one},
    input::{Input, Lines, name, refuse},
    mapping::columns,
    table::{JsonRow, Row, Table, number, scalar},
};
use crate::{ClickstreamError, Part};

columns! {
    /// Where each field of an event is found.
    EventColumns {
        event_id ["eventId"];
        event_type ["type", "event", "event_name", "action"];
        time ["event_time", "eventTime", "timestamp"];
        visitor_id ["visitorId", "user_pseudo_id"];
        user_id ["userId"];
        session_id ["sessionId"];
        item_id ["itemId", "product_id", "sku"];
        quantity [];
        unit_price ["unitPrice", "price"];
        position [];
        items [];
        transaction_id ["transactionId", "transaction.id", "order_id"];
        revenue ["transaction.revenue"];
        tax ["transaction.tax"];
        cost ["transaction.cost"];
        currency ["transaction.currency"];
        search_query ["searchQuery"];
        page_categories ["pageCategories"];
        placement [];
        attribution_token ["attributionToken"];
        experiment_ids ["experimentIds"];
        consent [];
    }
}

/// Reads CSV or TSV.
pub(super) fn csv(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    for path in input.ending(&[".csv", ".tsv"])? {
        let origin = importer.reading(path);
        let mapping = importer.mapping;
        let mut table = Table::open(path, delimiter(mapping, path)?)?;
        let mut used = Vec::new();
        let columns = EventColumns::find(mapping, |names| {
            let column = table.find(names);
            used.extend(column);
            column
        });
        let header = table.header();
        let columns = columns.map_err(|column| {
            refuse(path, format!("the mapping names column `{column}`; the header has {}", header.join(", ")))
        })?;
        for (field, found) in [("time", columns.time.is_some()), ("visitor_id", columns.visitor_id.is_some())]
        {
            if !found {
                let reason = format!(
                    "no column for `{field}`: name one in the mapping; the header has {}",
                    header.join(", ")
                );
                return Err(refuse(path, reason));
            }
        }
        if columns.event_type.is_none() {
            importer.note(format!(
                "{} has no column of event types: all are {}",
                name(path),
                importer.options.event_type
            ));
        }
        let unread = header.iter().enumerate().filter(|(i, _)| !used.contains(i));
        importer.unread(unread.map(|(_, column)| column.clone()).collect::<Vec<_>>());
        while let Some(row) = table.next()? {
            let event = row.cells().and_then(|cells| {
                let items = columns.item_id.as_ref().and_then(|column| cells.text(column));
                let items = items.map(|_| item(&cells, &columns)).transpose()?;
                event(&cells, &columns, items.into_iter().collect(), origin.row(row.at), importer)
            });
            importer.event(row.at, event, Part::All)?;
        }
    }
    Ok(())
}

/// Reads JSON lines.
pub(super) fn jsonl(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let columns = EventColumns::find(importer.mapping, |names| {
        Some(names.iter().map(|&name| name.to_owned()).collect())
    })
    .map_err(|column: String| refuse(input.path(), column))?;
    for path in input.ending(&[".jsonl", ".ndjson", ".json"])? {
        let origin = importer.reading(path);
        let mut lines = Lines::open(path)?;
        while lines.advance_to_text()? {
            let at = lines.at();
            let event = json(&lines).and_then(|value| {
                let row = JsonRow(&value);
                let items = json_items(&row, &columns)?;
                let mut event = event(&row, &columns, items, origin.row(at), importer)?;
                if let Some(Value::Object(attributes)) = value.get("attributes") {
                    let attributes =
                        attributes.iter().filter_map(|(name, value)| Some((name, scalar(value)?)));
                    event.attributes.extend(attributes.map(|(name, text)| (name.clone(), text.into_owned())));
                }
                Ok(event)
            });
            importer.event(at, event, Part::All)?;
        }
    }
    Ok(())
}

/// The line as a JSON object.
pub(super) fn json(lines: &Lines) -> Result<Value, BadRow> {
    match serde_json::from_str(lines.text()?) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(BadRow("must be a JSON object".to_owned())),
        Err(error) => Err(BadRow::new("JSON", json_fault(&error))),
    }
}

/// Between the cells of a row.
pub(super) fn delimiter(mapping: &Mapping, path: &std::path::Path) -> Result<u8, ClickstreamError> {
    match mapping.delimiter {
        None if name(path).ends_with(".tsv") => Ok(b'\t'),
        None => Ok(b','),
        Some(delimiter) if delimiter.is_ascii() => Ok(delimiter as u8),
        Some(delimiter) => {
            Err(refuse(path, format!("the delimiter must be an ASCII character, is {delimiter:?}")))
        }
    }
}

fn json_items(row: &JsonRow<'_>, columns: &EventColumns<Vec<String>>) -> Result<Vec<EventItem>, BadRow> {
    let listed = columns.items.as_ref().and_then(|column| row.value(column));
    match listed {
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| match scalar(value) {
                Some(id) => one(&id),
                None => item(&JsonRow(value), columns),
            })
            .collect(),
        Some(_) => Err(BadRow::new("items", "must be a list")),
        None if columns.item_id.as_ref().is_some_and(|column| row.text(column).is_some()) => {
            Ok(vec![item(row, columns)?])
        }
        None => Ok(Vec::new()),
    }
}

fn item<R: Row>(row: &R, columns: &EventColumns<R::Column>) -> Result<EventItem, BadRow> {
    let text = |column: &Option<R::Column>| column.as_ref().and_then(|column| row.text(column));
    let whole = |field: &str, column: &Option<R::Column>| {
        let read = |text: &str| text.parse::<u32>().map_err(|_| BadRow::new(field, "must be a whole number"));
        text(column).map(|text| read(&text)).transpose()
    };
    Ok(EventItem {
        item_id: ItemId::new(text(&columns.item_id).unwrap_or_default())?,
        quantity: whole("quantity", &columns.quantity)?.unwrap_or(1),
        unit_price: number("unit_price", &text(&columns.unit_price).unwrap_or_default())?,
        position: whole("position", &columns.position)?,
    })
}

fn event<R: Row>(
    row: &R,
    columns: &EventColumns<R::Column>,
    items: Vec<EventItem>,
    mut origin: RowOrigin,
    importer: &Importer<'_>,
) -> Result<Event, BadRow> {
    let mapping = importer.mapping;
    let text = |column: &Option<R::Column>| column.as_ref().and_then(|column| row.text(column));
    let owned = |column: &Option<R::Column>| text(column).map(|text| text.into_owned());
    let amount = |field: &str, column: &Option<R::Column>| number(field, &text(column).unwrap_or_default());
    let list = |column: &Option<R::Column>| {
        column.as_ref().map(|column| row.list(column, mapping.list_separator)).unwrap_or_default()
    };
    let event_type = match text(&columns.event_type) {
        Some(word) => event_type(mapping, &word)?,
        None if columns.event_type.is_none() => importer.options.event_type,
        None => return Err(BadRow::new("event_type", "must not be empty")),
    };
    let time = text(&columns.time).ok_or_else(|| BadRow::new("time", "must not be empty"))?;
    let time = mapping.time_format.read("time", &time, mapping.utc_offset)?;
    let visitor_id = VisitorId::new(text(&columns.visitor_id).unwrap_or_default())?;
    let mut event = origin.event(event_type, time, visitor_id)?;
    if let Some(id) = text(&columns.event_id) {
        event.event_id = endcap_proto::EventId::new(id)?;
    }
    event.user_id = text(&columns.user_id).map(UserId::new).transpose()?;
    event.session_id = owned(&columns.session_id);
    event.items = items;
    let transaction = Transaction {
        id: owned(&columns.transaction_id).unwrap_or_default(),
        revenue: amount("revenue", &columns.revenue)?,
        tax: amount("tax", &columns.tax)?,
        cost: amount("cost", &columns.cost)?,
        currency: owned(&columns.currency).unwrap_or_default(),
    };
    event.transaction = (transaction != Transaction::default()).then_some(transaction);
    event.search_query = owned(&columns.search_query);
    event.page_categories = list(&columns.page_categories);
    event.placement = owned(&columns.placement);
    event.attribution_token = owned(&columns.attribution_token);
    event.experiment_ids = list(&columns.experiment_ids);
    let attributes = columns.attributes.iter();
    event.attributes = attributes
        .filter_map(|(name, column)| Some((name.clone(), row.text(column)?.into_owned())))
        .collect::<BTreeMap<_, _>>();
    if let Some(word) = text(&columns.consent) {
        event.consent = match word.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => true,
            "false" | "0" | "no" => false,
            _ => return Err(BadRow::new("consent", "must be true or false")),
        };
    }
    Ok(event)
}

/// The event type a word stands for.
pub(super) fn event_type(mapping: &Mapping, word: &str) -> Result<EventType, BadRow> {
    mapping.event_type(word).ok_or_else(|| {
        let word: String = word.chars().take(40).collect();
        BadRow(format!(
            "event_type: unknown {word:?}; the mapping can say what it stands for (type.WORD=EVENT_TYPE)"
        ))
    })
}

/// What is wrong with JSON, without its place.
fn json_fault(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Eof => "is cut off",
        _ => "is malformed",
    }
}
