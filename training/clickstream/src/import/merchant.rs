//! `merchant`: a Google Merchant product feed, as RSS or Atom with the `g:` namespace, or
//! tab-separated.
//!
//! <https://support.google.com/merchants/answer/7052112> names the attributes. Both kinds of file are
//! read as a list of names and values per product; the name's prefix, case and spaces do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, Read},
    path::Path,
};

use endcap_proto::{Attribute, Item, ItemId};
use quick_xml::events::Event as Xml;

use super::{
    TimeFormat, UtcOffset,
    catalogue::{availability, checked, id_fault},
    importer::{At, BadRow, Importer},
    input::{Input, MAX_LINE_BYTES, open, refuse_line},
    table::{Table, number},
};
use crate::ClickstreamError;

/// Reads feeds.
pub(super) fn read(input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    for path in input.ending(&[".xml", ".rss", ".atom", ".tsv", ".txt"])? {
        importer.reading(path);
        let mut reader = open(path)?;
        let bytes =
            reader.fill_buf().map_err(|error| refuse_line(path, 1, format!("cannot be read: {error}")))?;
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
        if text.starts_with(b"<") { xml(path, reader, importer)? } else { tsv(path, importer)? }
    }
    Ok(())
}

fn tsv(path: &Path, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let mut table = Table::open(path, b'\t')?;
    let names: Vec<_> = table.header().iter().map(|name| plain(name)).collect();
    let mut unread = BTreeSet::new();
    while let Some(row) = table.next()? {
        let item = row.cells().and_then(|cells| {
            let fields = names.iter().enumerate().map(|(i, name)| (name.clone(), cells.get(i)));
            item(fields, &mut unread)
        });
        importer.item(row.at, item)?;
    }
    importer.unread(unread);
    Ok(())
}

/// Reads `<item>` of RSS or `<entry>` of Atom, each a flat list of elements; what an element holds
/// besides text is left out. A name of the `g:` namespace goes before the same name without. No
/// entity is expanded but XML's own, and a file that is no sound XML is refused at its line.
fn xml(path: &Path, reader: Box<dyn BufRead>, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    let mut xml = quick_xml::Reader::from_reader(Metered { reader, line: 1, left: MAX_LINE_BYTES });
    let mut buffer = Vec::new();
    let mut unread = BTreeSet::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    // Depth within the product, from 1; 0 outside. Where it began.
    let (mut depth, mut line) = (0_usize, 0);
    loop {
        buffer.clear();
        if depth == 0 {
            xml.get_mut().left = MAX_LINE_BYTES;
        }
        let event = match xml.read_event_into(&mut buffer) {
            Ok(event) => event,
            Err(error) => {
                return Err(refuse_line(path, xml.get_ref().line, format!("no sound XML: {error}")));
            }
        };
        match event {
            Xml::Eof if depth == 0 => break,
            Xml::Eof => return Err(refuse_line(path, line, "no sound XML: the file ends within a product")),
            Xml::Start(start) if depth == 0 => {
                if matches!(start.local_name().as_ref(), "item" | "entry") {
                    (depth, line) = (1, xml.get_ref().line);
                    fields.clear();
                }
            }
            Xml::Start(start) => {
                depth += 1;
                if depth == 2 {
                    fields.push((start.name().as_ref().to_owned(), String::new()));
                }
            }
            Xml::End(_) if depth == 1 => {
                depth = 0;
                let raw = fields
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect::<Vec<_>>()
                    .join("\t");
                fields.sort_by_key(|(name, _)| !name.contains(':'));
                let item = item(fields.iter().map(|(name, value)| (plain(name), value.trim())), &mut unread);
                importer.item(At { line, raw: raw.as_bytes() }, item)?;
            }
            Xml::End(_) => depth = depth.saturating_sub(1),
            Xml::Text(text) if depth == 2 => append(&mut fields, &text.xml10_content()),
            Xml::CData(text) if depth == 2 => append(&mut fields, &text.xml10_content()),
            Xml::GeneralRef(reference) if depth == 2 => {
                let resolved = match reference.resolve_char_ref() {
                    Ok(Some(letter)) => letter.to_string(),
                    _ => quick_xml::escape::resolve_predefined_entity(&reference.xml10_content())
                        .unwrap_or("\u{fffd}")
                        .to_owned(),
                };
                append(&mut fields, &resolved);
            }
            _ => {}
        }
    }
    importer.unread(unread);
    Ok(())
}

fn append(fields: &mut [(String, String)], text: &str) {
    if let Some((_, value)) = fields.last_mut() {
        value.push_str(text);
    }
}

/// A name without prefix, in lower case, with underscores.
fn plain(name: &str) -> String {
    let name = name.rsplit_once(':').map_or(name, |(_, name)| name);
    name.trim().to_ascii_lowercase().replace(' ', "_")
}

/// Makes an item of names and values; of a name that stands twice the first value counts, but all
/// of a product's types and labels. Names that no field is read from go to `unread`.
fn item<'a>(
    fields: impl Iterator<Item = (String, &'a str)>,
    unread: &mut BTreeSet<String>,
) -> Result<Item, BadRow> {
    let mut single = BTreeMap::new();
    let (mut categories, mut tags) = (Vec::new(), Vec::new());
    for (name, value) in fields.filter(|(_, value)| !value.is_empty()) {
        match name.as_str() {
            "product_type" => categories.push(value.to_owned()),
            label if label.starts_with("custom_label_") => tags.push(value.to_owned()),
            known if READ.contains(&known) || ATTRIBUTES.contains(&known) => {
                single.entry(name).or_insert(value);
            }
            _ => {
                unread.insert(name);
            }
        }
    }
    let text = |name: &str| single.get(name).map(|&value| value.to_owned());
    let amount = |name: &str| single.get(name).map(|&value| amount(name, value)).transpose();
    let id = ItemId::new(single.get("id").copied().unwrap_or_default()).map_err(id_fault)?;
    let (price, sale) = (amount("price")?, amount("sale_price")?);
    // A sale that is on for some days only says nothing of today.
    let sale = sale.filter(|_| !single.contains_key("sale_price_effective_date"));
    let google_category = text("google_product_category").filter(|path| path.parse::<u64>().is_err());
    if categories.is_empty() {
        categories.extend(google_category);
    }
    let expire = single.get("expiration_date");
    let expire = expire.map(|text| TimeFormat::Auto.read("expiration_date", text, UtcOffset::default()));
    let attributes =
        ATTRIBUTES.iter().filter_map(|&name| Some((name.to_owned(), Attribute::Text(text(name)?))));
    checked(Item {
        title: text("title"),
        categories,
        brand: text("brand"),
        price: sale.as_ref().or(price.as_ref()).map(|(price, _)| *price),
        original_price: sale.as_ref().and(price.as_ref()).map(|(price, _)| *price),
        cost: amount("cost_of_goods_sold")?.map(|(cost, _)| cost),
        currency: price.map(|(_, currency)| currency),
        availability: single
            .get("availability")
            .map(|text| availability(text))
            .transpose()?
            .unwrap_or_default(),
        group_id: text("item_group_id"),
        tags,
        attributes: attributes.collect(),
        image_uri: text("image_link"),
        expire_time: expire.transpose()?,
        ..Item::bare(id)
    })
}

/// `15.00 USD`.
fn amount(field: &str, text: &str) -> Result<(f64, String), BadRow> {
    let (value, currency) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let value = number(field, value)?.ok_or_else(|| BadRow::new(field, "must be a number and a currency"))?;
    Ok((value, currency.trim().to_owned()))
}

/// Names that become a field of the item.
const READ: &[&str] = &[
    "id",
    "title",
    "brand",
    "price",
    "sale_price",
    "sale_price_effective_date",
    "cost_of_goods_sold",
    "availability",
    "item_group_id",
    "image_link",
    "expiration_date",
    "google_product_category",
];

/// Names that become an attribute.
const ATTRIBUTES: &[&str] = &[
    "age_group",
    "color",
    "condition",
    "gender",
    "google_product_category",
    "gtin",
    "material",
    "mpn",
    "pattern",
    "size",
];

/// Counts lines, and ends a file in which a product does not end.
struct Metered {
    reader: Box<dyn BufRead>,
    /// From 1.
    line: u64,
    /// Bytes that may still be read.
    left: usize,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let taken = bytes.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&bytes[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

impl BufRead for Metered {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Err(io::Error::other(format!(
                "more than {} MiB without the end of a product",
                MAX_LINE_BYTES >> 20
            )));
        }
        let bytes = self.reader.fill_buf()?;
        Ok(&bytes[..bytes.len().min(self.left)])
    }

    fn consume(&mut self, amount: usize) {
        if let Ok(bytes) = self.reader.fill_buf() {
            self.line += bytes[..amount].iter().filter(|&&byte| byte == b'\n').count() as u64;
        }
        self.left -= amount;
        self.reader.consume(amount);
    }
}
