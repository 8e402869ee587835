//! The contracts: which columns each kind of file has. `docs/clickstream.md` is their text for people,
//! and a test holds the two together.
//!
//! The version travels in the schema's metadata (`endcap.schema=event/1`). A file without it, from
//! another program, is taken as the newest version.

use std::{collections::HashMap, path::Path, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

use crate::{ClickstreamError, file::column_names};

/// The key of the version in a schema's metadata.
const VERSION_KEY: &str = "endcap.schema";

/// What the columns of one kind of file are.
pub struct Contract {
    /// `event`, `item` …
    name: &'static str,
    version: u32,
    /// As written: every column, in order.
    columns: Fields,
    /// Columns that a file must have to be read.
    required: &'static [&'static str],
    /// Other names that are read, beside the column's own.
    aliases: &'static [(&'static str, &'static str)],
}

impl Contract {
    /// Clickstream events.
    pub(crate) fn event() -> Self {
        let item = structure([
            required("item_id", DataType::Utf8),
            required("quantity", DataType::UInt32),
            optional("unit_price", DataType::Float64),
            optional("position", DataType::UInt32),
        ]);
        let transaction = structure([
            optional("id", DataType::Utf8),
            optional("revenue", DataType::Float64),
            optional("tax", DataType::Float64),
            optional("cost", DataType::Float64),
            optional("currency", DataType::Utf8),
        ]);
        Self {
            name: "event",
            version: 1,
            columns: Fields::from(vec![
                required("event_id", DataType::Utf8),
                required("type", name()),
                required("event_time", time()),
                required("visitor_id", DataType::Utf8),
                optional("user_id", DataType::Utf8),
                optional("session_id", DataType::Utf8),
                required("items", list(item)),
                optional("transaction", transaction),
                optional("search_query", DataType::Utf8),
                required("page_categories", list(DataType::Utf8)),
                optional("placement", DataType::Utf8),
                optional("attribution_token", DataType::Utf8),
                required("experiment_ids", list(DataType::Utf8)),
                required("attributes", map(DataType::Utf8)),
                required("consent", DataType::Boolean),
                optional("kafka_partition", DataType::Int32),
                optional("kafka_offset", DataType::Int64),
            ]),
            required: &["event_id", "type", "event_time", "visitor_id", "items"],
            aliases: &[("type", "event_type"), ("event_time", "timestamp"), ("event_time", "time")],
        }
    }

    /// The catalogue.
    pub(crate) fn item() -> Self {
        Self {
            name: "item",
            version: 1,
            columns: Fields::from(vec![
                required("id", DataType::Utf8),
                optional("title", DataType::Utf8),
                required("categories", list(DataType::Utf8)),
                optional("brand", DataType::Utf8),
                optional("price", DataType::Float64),
                optional("original_price", DataType::Float64),
                optional("cost", DataType::Float64),
                optional("currency", DataType::Utf8),
                required("availability", name()),
                optional("group_id", DataType::Utf8),
                required("tags", list(DataType::Utf8)),
                required("attributes", map(DataType::Utf8)),
                required("number_attributes", map(DataType::Float64)),
                optional("image_uri", DataType::Utf8),
                required("embedding", list(DataType::Float32)),
                optional("publish_time", time()),
                optional("expire_time", time()),
            ]),
            required: &["id"],
            aliases: &[("id", "item_id")],
        }
    }

    /// Slates as they were served.
    pub(crate) fn impression() -> Self {
        let item = structure([
            required("item_id", DataType::Utf8),
            required("position", DataType::UInt32),
            required("score", DataType::Float64),
            required("propensity", DataType::Float64),
            required("explored", DataType::Boolean),
            required("sources", list(DataType::Utf8)),
            required("features", list(DataType::Float32)),
        ]);
        let served_by = structure([
            optional("bundle_version", DataType::Utf8),
            optional("index_version", DataType::Utf8),
            required("experiment_arms", map(DataType::Utf8)),
        ]);
        let offset = structure([
            required("topic", DataType::Utf8),
            required("partition", DataType::Int32),
            required("offset", DataType::Int64),
        ]);
        let context = structure([
            optional("type", name()),
            required("item_ids", list(DataType::Utf8)),
            required("cart_item_ids", list(DataType::Utf8)),
            required("page_categories", list(DataType::Utf8)),
            optional("search_query", DataType::Utf8),
        ]);
        Self {
            name: "impression",
            version: 1,
            columns: Fields::from(vec![
                required("slate_id", DataType::Utf8),
                required("served_time", time()),
                required("visitor_id", DataType::Utf8),
                optional("user_id", DataType::Utf8),
                optional("session_id", DataType::Utf8),
                optional("placement", DataType::Utf8),
                optional("request_id", DataType::Utf8),
                required("items", list(item)),
                optional("served_by", served_by),
                optional("as_of", time()),
                required("applied_offsets", list(offset)),
                required("seed", DataType::UInt64),
                required("degraded", list(DataType::Utf8)),
                optional("context", context),
                required("consent", DataType::Boolean),
                optional("attribution_token", DataType::Utf8),
            ]),
            required: &["slate_id", "served_time", "visitor_id", "items"],
            aliases: &[],
        }
    }

    /// Vocabularies.
    pub(crate) fn term() -> Self {
        Self {
            name: "term",
            version: 1,
            columns: Fields::from(vec![
                required("kind", DataType::Utf8),
                required("term", DataType::Utf8),
                required("row", DataType::UInt32),
                required("count", DataType::UInt64),
            ]),
            required: &["kind", "term", "row", "count"],
            aliases: &[],
        }
    }

    /// The columns of somebody else's file, all read as text.
    pub(crate) fn of_texts(name: &'static str, columns: &'static [&'static str]) -> Self {
        let texts = columns.iter().map(|column| optional(column, DataType::Utf8));
        Self { name, version: 1, columns: texts.collect(), required: columns, aliases: &[] }
    }

    /// The same contract, of which only these columns are read.
    pub(crate) fn only(self, columns: &'static [&'static str]) -> Self {
        let kept = self.columns.iter().filter(|field| columns.contains(&field.name().as_str()));
        Self { columns: kept.cloned().collect(), required: columns, ..self }
    }

    /// The schema that is written.
    pub(crate) fn schema(&self) -> SchemaRef {
        let version = format!("{}/{}", self.name, self.version);
        Arc::new(Schema::new_with_metadata(
            self.columns.clone(),
            HashMap::from([(VERSION_KEY.to_owned(), version)]),
        ))
    }

    /// Other names of columns that are read: own name, alias.
    pub(crate) fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        self.aliases
    }

    /// The indices of the columns of a file that this contract knows, once its version is known to be
    /// readable and no required column is missing.
    pub(crate) fn projection(&self, path: &Path, schema: &Schema) -> Result<Vec<usize>, ClickstreamError> {
        self.check_version(path, schema)?;
        let names = |column: &'static str| {
            let aliases = self.aliases.iter().filter(move |(own, _)| *own == column).map(|(_, alias)| *alias);
            std::iter::once(column).chain(aliases)
        };
        for column in self.required {
            if !names(column).any(|name| schema.index_of(name).is_ok()) {
                return Err(ClickstreamError::MissingColumn {
                    path: path.to_owned(),
                    column: (*column).to_owned(),
                    present: column_names(schema.fields()),
                });
            }
        }
        let known = |name: &str| {
            let own = self.aliases.iter().find(|(_, alias)| *alias == name).map_or(name, |(own, _)| own);
            self.columns.find(own).is_some()
        };
        Ok((0..schema.fields().len()).filter(|&i| known(schema.field(i).name())).collect())
    }

    fn check_version(&self, path: &Path, schema: &Schema) -> Result<(), ClickstreamError> {
        let Some(found) = schema.metadata().get(VERSION_KEY) else { return Ok(()) };
        let (name, version) = found.split_once('/').unwrap_or((found, ""));
        let advice = match version.parse::<u32>() {
            _ if name != self.name => "it is another kind of file",
            Ok(version) if (1..=self.version).contains(&version) => return Ok(()),
            Ok(version) if version > self.version => "update Endcap",
            _ => "the version cannot be read",
        };
        Err(ClickstreamError::Version {
            path: path.to_owned(),
            found: format!("{VERSION_KEY}={found}"),
            expected: format!("{}/{}", self.name, self.version),
            advice,
        })
    }
}

/// Event types and availabilities: few names, kept once.
fn name() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8))
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

fn list(value: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", value, false)))
}

fn structure<const N: usize>(fields: [FieldRef; N]) -> DataType {
    DataType::Struct(Fields::from(fields.to_vec()))
}

fn map(value: DataType) -> DataType {
    let entry = structure([required("key", DataType::Utf8), required("value", value)]);
    DataType::Map(Arc::new(Field::new("entries", entry, false)), false)
}

fn required(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, false))
}

fn optional(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}

#[cfg(test)]
mod tests {
    use endcap_proto::EventType;

    use super::*;

    const DOCS: &str = include_str!("../../../docs/clickstream.md");

    /// A type as the documentation writes it.
    fn written(data_type: &DataType) -> String {
        match data_type {
            DataType::Utf8 => "text".into(),
            DataType::Dictionary(..) => "name".into(),
            DataType::Timestamp(..) => "time".into(),
            DataType::Boolean => "bool".into(),
            DataType::Float64 => "float64".into(),
            DataType::Float32 => "float32".into(),
            DataType::Int32 => "int32".into(),
            DataType::Int64 => "int64".into(),
            DataType::UInt32 => "uint32".into(),
            DataType::UInt64 => "uint64".into(),
            DataType::List(field) => format!("list of {}", written(field.data_type())),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) => format!("map of text to {}", written(fields[1].data_type())),
                other => panic!("{other}"),
            },
            DataType::Struct(_) => "struct".into(),
            other => panic!("{other} is not documented"),
        }
    }

    fn rows(prefix: &str, fields: &Fields, out: &mut Vec<String>) {
        for field in fields {
            let path = format!("{prefix}{}", field.name());
            let null = if field.is_nullable() { "yes" } else { "no" };
            out.push(format!("| `{path}` | {} | {null} |", written(field.data_type())));
            match field.data_type() {
                DataType::Struct(fields) => rows(&format!("{path}."), fields, out),
                DataType::List(item) => {
                    if let DataType::Struct(fields) = item.data_type() {
                        rows(&format!("{path}[]."), fields, out);
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn the_documentation_says_every_column_of_every_contract() {
        for contract in [Contract::event(), Contract::item(), Contract::impression(), Contract::term()] {
            let start = DOCS.find(&format!("endcap.schema = {}/{}", contract.name, contract.version));
            let section = &DOCS[start.unwrap_or_else(|| panic!("no section for {}", contract.name))..];
            let section = &section[..section.find("\n## ").unwrap_or(section.len())];
            let mut expected = Vec::new();
            rows("", &contract.columns, &mut expected);
            let missing: Vec<_> = expected.iter().filter(|row| !section.contains(row.as_str())).collect();
            assert!(missing.is_empty(), "docs/clickstream.md lacks, in {}:\n{missing:#?}", contract.name);
            for (_, alias) in contract.aliases {
                assert!(
                    section.contains(&format!("`{alias}`")),
                    "docs/clickstream.md lacks the alias {alias}"
                );
            }
        }
    }

    #[test]
    fn the_documentation_says_every_event_type_and_its_other_names() {
        let section = &DOCS[DOCS.find("| type | also read |").unwrap()..];
        for event_type in EventType::ALL {
            let start =
                section.find(&format!("\n| `{event_type}` |")).unwrap_or_else(|| panic!("no {event_type}"));
            let row = section[start..].trim_start().lines().next().unwrap_or_default();
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            for name in cells[2].split('`').skip(1).step_by(2).filter(|name| *name != "rating") {
                assert_eq!(name.parse(), Ok(*event_type), "{name}");
            }
            let marks = (cells[3] == "yes", cells[4] == "yes");
            assert_eq!(marks, (event_type.needs_items(), event_type.is_interest()), "{event_type}");
        }
    }

    #[test]
    fn a_newer_version_or_another_kind_is_refused_with_advice() {
        let found = |version: &str| {
            let metadata = HashMap::from([(VERSION_KEY.to_owned(), version.to_owned())]);
            let schema = Schema::new_with_metadata(Contract::event().columns, metadata);
            Contract::event().projection(Path::new("a.arrow"), &schema).map_err(|error| error.to_string())
        };
        assert_eq!(found("event/1").unwrap().len(), 17);
        let message =
            "a.arrow: endcap.schema=event/2 cannot be read: this build reads event/1; update Endcap";
        assert_eq!(found("event/2").unwrap_err(), message);
        assert!(found("item/1").unwrap_err().ends_with("it is another kind of file"));
        assert!(found("event/x").unwrap_err().ends_with("cannot be read"));
        assert!(found("event/0").unwrap_err().ends_with("cannot be read"));
    }
}
