//! `ga4`: Google Analytics 4's BigQuery export as JSON lines, an event a line.
//!
//! <https://support.google.com/analytics/answer/7029846> names the fields. Events that are about no
//! product and no page of a shop (`session_start`, `scroll` …) are skipped and counted. Items are
//! known only through the events that name them: the catalogue is what the latest event said of each.

use std::{borrow::Cow, collections::HashMap};

use endcap_proto::{Event, EventItem, EventTime, EventType, Item, ItemId, Transaction, UserId, VisitorId};
use serde_json::Value;

use super::{
    TimeFormat, UtcOffset,
    catalogue::checked,
    importer::{BadRow, Importer, RowOrigin},
    input::{Input, Lines},
    rows::json,
    table::{number, scalar, walk},
};
use crate::{ClickstreamError, Part};

/// Reads the export's files.
pub(super) fn read(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let mut catalogue = Catalogue::default();
    for path in input.ending(&[".json", ".jsonl", ".ndjson"])? {
        let origin = importer.reading(path);
        let mut lines = Lines::open(path)?;
        while lines.advance_to_text()? {
            let at = lines.at();
            let value = match json(&lines) {
                Ok(value) => value,
                Err(bad) => {
                    importer.bad_row(at, bad)?;
                    continue;
                }
            };
            let name = text(&value, "event_name").unwrap_or_default();
            let kind = match name.as_ref() {
                "" => Err(BadRow::new("event_name", "must not be empty")),
                "view_search_results" => Ok(EventType::Search),
                name => match importer.mapping.event_type(name) {
                    Some(kind) => Ok(kind),
                    None => {
                        importer.skip(&format!("event_name {name:.40}"));
                        continue;
                    }
                },
            };
            let event = kind.and_then(|kind| event(&value, kind, origin.row(at)));
            if let Ok(event) = &event {
                for said in items(&value) {
                    if let Ok(item) = described(&value, said) {
                        catalogue.learn(event.time, item);
                    }
                }
            }
            importer.event(at, event, Part::All)?;
        }
    }
    catalogue.items.iter().try_for_each(|(_, item)| importer.list(item))
}

/// A value that says something: `(not set)` does not.
fn text<'a>(value: &'a Value, path: &str) -> Option<Cow<'a, str>> {
    walk(value, path).and_then(scalar).filter(|text| text != "(not set)")
}

fn amount(value: &Value, path: &str) -> Result<Option<f64>, BadRow> {
    number(path, &text(value, path).unwrap_or_default())
}

/// The parameter of an event, whichever type it has.
fn param<'a>(value: &'a Value, key: &str) -> Option<Cow<'a, str>> {
    let params = value.get("event_params")?.as_array()?;
    let param = params.iter().find(|param| param.get("key").and_then(Value::as_str) == Some(key))?;
    let kinds = ["string_value", "int_value", "double_value", "float_value"];
    kinds.iter().find_map(|kind| text(param.get("value")?, kind))
}

/// The items of an event that have an id.
fn items(value: &Value) -> impl Iterator<Item = &Value> {
    let listed = walk(value, "items").or_else(|| walk(value, "ecommerce.items")).and_then(Value::as_array);
    listed.into_iter().flatten().filter(|item| text(item, "item_id").is_some())
}

fn event(value: &Value, kind: EventType, mut origin: RowOrigin) -> Result<Event, BadRow> {
    let time = text(value, "event_timestamp").unwrap_or_default();
    let time = TimeFormat::Microseconds.read("event_timestamp", &time, UtcOffset::default())?;
    let visitor = VisitorId::new(text(value, "user_pseudo_id").unwrap_or_default())?;
    let mut event = origin.event(kind, time, visitor)?;
    event.user_id = text(value, "user_id").map(UserId::new).transpose()?;
    event.session_id = param(value, "ga_session_id").map(Cow::into_owned);
    event.search_query = param(value, "search_term").map(Cow::into_owned);
    event.items = items(value).map(event_item).collect::<Result<_, _>>()?;
    if kind == EventType::Impression {
        for (item, place) in event.items.iter_mut().zip(0..) {
            item.position.get_or_insert(place);
        }
    }
    let list = items(value).next().and_then(|item| text(item, "item_list_name"));
    event.placement = param(value, "item_list_name").or(list).map(Cow::into_owned);
    if let Some(id) = text(value, "ecommerce.transaction_id") {
        event.transaction = Some(Transaction {
            id: id.into_owned(),
            revenue: amount(value, "ecommerce.purchase_revenue")?,
            tax: amount(value, "ecommerce.tax_value")?,
            cost: None,
            currency: param(value, "currency").unwrap_or_default().into_owned(),
        });
    }
    if text(value, "privacy_info.analytics_storage").is_some_and(|stored| stored == "No") {
        event.consent = false;
    }
    Ok(event)
}

fn event_item(item: &Value) -> Result<EventItem, BadRow> {
    let whole = |path: &str| text(item, path).and_then(|text| text.parse::<u32>().ok());
    Ok(EventItem {
        item_id: ItemId::new(text(item, "item_id").unwrap_or_default())?,
        quantity: whole("quantity").unwrap_or(1),
        unit_price: amount(item, "price")?,
        position: whole("item_list_index"),
    })
}

/// What an event says of an item.
fn described(value: &Value, item: &Value) -> Result<Item, BadRow> {
    let categories =
        ["item_category", "item_category2", "item_category3", "item_category4", "item_category5"];
    let path: Vec<_> = categories.iter().map_while(|name| text(item, name)).collect();
    checked(Item {
        title: text(item, "item_name").map(Cow::into_owned),
        brand: text(item, "item_brand").map(Cow::into_owned),
        categories: if path.is_empty() { Vec::new() } else { vec![path.join(" > ")] },
        price: amount(item, "price")?,
        currency: param(value, "currency").map(Cow::into_owned),
        ..Item::bare(ItemId::new(text(item, "item_id").unwrap_or_default())?)
    })
}

/// Items in the order of their first appearance, each with the time of the latest word on it.
#[derive(Default)]
struct Catalogue {
    items: Vec<(EventTime, Item)>,
    places: HashMap<ItemId, usize>,
}

impl Catalogue {
    /// Later words go before earlier ones; silence takes nothing back.
    fn learn(&mut self, time: EventTime, said: Item) {
        let place = *self.places.entry(said.id.clone()).or_insert_with(|| {
            self.items.push((time, Item::bare(said.id.clone())));
            self.items.len() - 1
        });
        let (latest, known) = &mut self.items[place];
        let newer = time >= *latest;
        *latest = time.max(*latest);
        settle(&mut known.title, said.title, newer);
        settle(&mut known.brand, said.brand, newer);
        settle(&mut known.price, said.price, newer);
        settle(&mut known.currency, said.currency, newer);
        if known.categories.is_empty() || (newer && !said.categories.is_empty()) {
            known.categories = said.categories;
        }
    }
}

fn settle<T>(known: &mut Option<T>, said: Option<T>, newer: bool) {
    if known.is_none() || (newer && said.is_some()) {
        *known = said;
    }
}
