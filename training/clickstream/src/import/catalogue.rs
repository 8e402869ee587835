//! `items-csv` and `items-jsonl`: a shop's own catalogue, a row an item, columns named by a mapping.
//!
//! JSON rows are objects with the contract's names, in snake or camel case, so that proto3 JSON of
//! `endcap.v1.Item` reads as it is; plain text and numbers are taken as attributes too.

use endcap_proto::{Attribute, Availability, Item, ItemId, v1};
use serde_json::Value;

use super::{
    Mapping,
    importer::{BadRow, Importer},
    input::{Input, Lines, refuse},
    mapping::columns,
    rows::{delimiter, json},
    table::{JsonRow, Row, Table, number},
};
use crate::ClickstreamError;

columns! {
    /// Where each field of an item is found.
    ItemColumns {
        id ["item_id", "itemId", "product_id", "sku"];
        title ["name"];
        categories ["category", "product_type"];
        brand [];
        price [];
        original_price ["originalPrice"];
        cost [];
        currency [];
        availability [];
        group_id ["groupId", "item_group_id"];
        tags [];
        image_uri ["imageUri", "image_link", "image"];
        embedding [];
        publish_time ["publishTime"];
        expire_time ["expireTime"];
    }
}

/// Reads CSV or TSV. Columns that are no field and that the mapping does not name are left out, and
/// the report says which.
pub(super) fn csv(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    for path in input.ending(&[".csv", ".tsv"])? {
        importer.reading(path);
        let mapping = importer.mapping;
        let mut table = Table::open(path, delimiter(mapping, path)?)?;
        let mut used = Vec::new();
        let columns = ItemColumns::find(mapping, |names| {
            let column = table.find(names);
            used.extend(column);
            column
        });
        let header = table.header();
        let columns = columns.map_err(|column| {
            refuse(path, format!("the mapping names column `{column}`; the header has {}", header.join(", ")))
        })?;
        if columns.id.is_none() {
            let reason =
                format!("no column for `id`: name one in the mapping; the header has {}", header.join(", "));
            return Err(refuse(path, reason));
        }
        let unread = header.iter().enumerate().filter(|(i, _)| !used.contains(i));
        importer.unread(unread.map(|(_, column)| column.clone()).collect::<Vec<_>>());
        while let Some(row) = table.next()? {
            let item = row.cells().and_then(|cells| item(&cells, &columns, mapping)).and_then(checked);
            importer.item(row.at, item)?;
        }
    }
    Ok(())
}

/// Reads JSON lines.
pub(super) fn jsonl(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let mapping = importer.mapping;
    let columns =
        ItemColumns::find(mapping, |names| Some(names.iter().map(|&name| name.to_owned()).collect()))
            .map_err(|column: String| refuse(input.path(), column))?;
    for path in input.ending(&[".jsonl", ".ndjson", ".json"])? {
        importer.reading(path);
        let mut lines = Lines::open(path)?;
        while lines.advance_to_text()? {
            let item = json(&lines).and_then(|value| {
                let mut item = item(&JsonRow(&value), &columns, mapping)?;
                if let Some(Value::Object(attributes)) = value.get("attributes") {
                    for (name, value) in attributes {
                        let value = value.get("text").or_else(|| value.get("number")).unwrap_or(value);
                        item.attributes.insert(name.clone(), attribute(name, value)?);
                    }
                }
                checked(item)
            });
            importer.item(lines.at(), item)?;
        }
    }
    Ok(())
}

fn attribute(name: &str, value: &Value) -> Result<Attribute, BadRow> {
    match value {
        Value::String(text) => Ok(Attribute::Text(text.clone())),
        Value::Bool(truth) => Ok(Attribute::Text(truth.to_string())),
        Value::Number(number) => Ok(Attribute::Number(number.as_f64().unwrap_or(f64::NAN))),
        _ => Err(BadRow::new(&format!("attributes[{name:?}]"), "must be text or number")),
    }
}

fn item<R: Row>(row: &R, columns: &ItemColumns<R::Column>, mapping: &Mapping) -> Result<Item, BadRow> {
    let text = |column: &Option<R::Column>| column.as_ref().and_then(|column| row.text(column));
    let owned = |column: &Option<R::Column>| text(column).map(|text| text.into_owned());
    let amount = |field: &str, column: &Option<R::Column>| number(field, &text(column).unwrap_or_default());
    let list = |column: &Option<R::Column>| {
        column.as_ref().map(|column| row.list(column, mapping.list_separator)).unwrap_or_default()
    };
    let time = |field: &str, column: &Option<R::Column>| {
        text(column).map(|text| mapping.time_format.read(field, &text, mapping.utc_offset)).transpose()
    };
    let id = ItemId::new(text(&columns.id).unwrap_or_default()).map_err(id_fault)?;
    let attributes = columns.attributes.iter().filter_map(|(name, column)| {
        let text = row.text(column)?.into_owned();
        let value = text.parse().ok().filter(|number: &f64| number.is_finite());
        Some((name.clone(), value.map_or(Attribute::Text(text), Attribute::Number)))
    });
    Ok(Item {
        title: owned(&columns.title),
        categories: list(&columns.categories),
        brand: owned(&columns.brand),
        price: amount("price", &columns.price)?,
        original_price: amount("original_price", &columns.original_price)?,
        cost: amount("cost", &columns.cost)?,
        currency: owned(&columns.currency),
        availability: text(&columns.availability)
            .map(|text| availability(&text))
            .transpose()?
            .unwrap_or_default(),
        group_id: owned(&columns.group_id),
        tags: list(&columns.tags),
        attributes: attributes.collect(),
        image_uri: owned(&columns.image_uri),
        embedding: embedding(&list(&columns.embedding))?,
        publish_time: time("publish_time", &columns.publish_time)?,
        expire_time: time("expire_time", &columns.expire_time)?,
        ..Item::bare(id)
    })
}

/// An item's id is called `id` in a catalogue.
pub(super) fn id_fault(error: endcap_proto::FieldError) -> BadRow {
    BadRow::from(endcap_proto::FieldError::new("id", error.rule))
}

/// Numbers, in a list or in one text: `[0.1, 0.2]`, `0.1 0.2`.
fn embedding(entries: &[String]) -> Result<Vec<f32>, BadRow> {
    let apart = |letter: char| letter.is_whitespace() || ",;[]".contains(letter);
    let numbers = entries.iter().flat_map(|entry| entry.split(apart)).filter(|number| !number.is_empty());
    numbers.map(|number| number.parse().map_err(|_| BadRow::new("embedding", "must be numbers"))).collect()
}

/// The contract's words and Google Merchant's, in any case, with spaces or underscores.
pub(super) fn availability(text: &str) -> Result<Availability, BadRow> {
    let word = text.to_ascii_lowercase().replace([' ', '-'], "_");
    match word.strip_prefix("availability_").unwrap_or(&word) {
        "in_stock" | "instock" | "unspecified" => Ok(Availability::InStock),
        "out_of_stock" | "outofstock" => Ok(Availability::OutOfStock),
        "preorder" | "pre_order" | "backorder" => Ok(Availability::Preorder),
        "discontinued" => Ok(Availability::Discontinued),
        _ => {
            let rule = "must be in_stock, out_of_stock, preorder, backorder or discontinued";
            Err(BadRow::new("availability", rule))
        }
    }
}

/// Holds an item against the contract's own rules.
pub(super) fn checked(item: Item) -> Result<Item, BadRow> {
    Item::try_from(v1::Item::from(item)).map_err(BadRow::from)
}
