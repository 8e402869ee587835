//! Which column of a source is which field of ours.
//!
//! A mapping is a TOML file, or pairs `key=value` on the command line, or both, the pairs on top
//! ([`Mapping::read`]):
//!
//! ```toml
//! time_format = "%Y-%m-%d %H:%M:%S"
//! [columns]
//! visitor_id = "uid"
//! item_id = "sku"
//! [event_types]
//! pv = "view"
//! ```
//!
//! A field that the mapping does not name is looked for under its own name and a few that are
//! common. The fields of a kind of row are declared once, by `columns!`, which makes the struct that
//! says where each one is found.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    str::FromStr,
};

use endcap_proto::EventType;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Format, TimeFormat, UtcOffset, catalogue::ItemColumns, rows::EventColumns};

/// How a source's columns and values map to ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mapping {
    /// Our field → the source's column. In JSON a column may be a path: `user.id`.
    pub columns: BTreeMap<String, String>,
    /// Name of an attribute → the column that holds it.
    pub attributes: BTreeMap<String, String>,
    /// The source's word for what happened → event type.
    #[serde(deserialize_with = "event_types")]
    pub event_types: BTreeMap<String, EventType>,
    /// How times are written.
    pub time_format: TimeFormat,
    /// The zone of times that do not say theirs.
    pub utc_offset: UtcOffset,
    /// Between the entries of a list (categories, tags) in one CSV cell.
    pub list_separator: char,
    /// Between the cells of a CSV row; when `None`, a tab where the file's name ends in `.tsv`, else
    /// a comma.
    pub delimiter: Option<char>,
}

/// A mapping cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// The TOML file cannot be read.
    #[error("{path}: cannot read the column mapping: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The TOML file has a mistake.
    #[error("{path}: column mapping: {reason}", path = path.display())]
    Toml {
        /// Which file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
    /// A pair is not `key=value`, or its value does not fit.
    #[error("column mapping `{pair}`: {reason}")]
    Pair {
        /// As it was given.
        pair: String,
        /// What is wrong.
        reason: String,
    },
    /// A format without such a field.
    #[error("column mapping: `{format}` has no field `{field}`{fields}")]
    UnknownField {
        /// The format.
        format: Format,
        /// What was named.
        field: String,
        /// `; its fields are …`, or nothing where its columns are fixed.
        fields: String,
    },
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            columns: BTreeMap::new(),
            attributes: BTreeMap::new(),
            event_types: BTreeMap::new(),
            time_format: TimeFormat::default(),
            utc_offset: UtcOffset::default(),
            list_separator: '|',
            delimiter: None,
        }
    }
}

impl Mapping {
    /// Reads a TOML file, where there is one, and takes the pairs on top of it.
    ///
    /// # Errors
    /// When the file cannot be read, is no TOML, or holds an unknown key or a value that does not fit;
    /// as [`Self::set`] for the pairs.
    pub fn read(file: Option<&Path>, pairs: &[impl AsRef<str>]) -> Result<Self, MappingError> {
        let mut mapping = match file {
            None => Self::default(),
            Some(path) => {
                let path = path.to_owned();
                match std::fs::read_to_string(&path).map(|text| toml::from_str(&text)) {
                    Ok(Ok(mapping)) => mapping,
                    Ok(Err(error)) => return Err(MappingError::Toml { path, reason: error.to_string() }),
                    Err(source) => return Err(MappingError::Io { path, source }),
                }
            }
        };
        pairs.iter().try_for_each(|pair| mapping.set(pair.as_ref()))?;
        Ok(mapping)
    }

    /// Takes a pair: `FIELD=COLUMN`, `attribute.NAME=COLUMN`, `type.WORD=EVENT_TYPE`, or one of
    /// `time_format`, `utc_offset`, `list_separator`, `delimiter` with its value.
    ///
    /// # Errors
    /// When it is no pair, or its value does not fit. A field that the format does not have is found
    /// by the import.
    pub fn set(&mut self, pair: &str) -> Result<(), MappingError> {
        let refuse = |reason: String| MappingError::Pair { pair: pair.to_owned(), reason };
        let Some((key, value)) =
            pair.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty())
        else {
            return Err(refuse("must be key=value".to_owned()));
        };
        match key.split_once('.') {
            Some(("attribute", name)) => {
                self.attributes.insert(name.to_owned(), value.to_owned());
            }
            Some(("type", word)) => {
                let event_type = value.parse().map_err(|error| refuse(format!("{error}")))?;
                self.event_types.insert(word.to_owned(), event_type);
            }
            _ => match key {
                "time_format" => self.time_format = parsed(value).map_err(refuse)?,
                "utc_offset" => self.utc_offset = parsed(value).map_err(refuse)?,
                "list_separator" => self.list_separator = character(value).map_err(refuse)?,
                "delimiter" => self.delimiter = Some(character(value).map_err(refuse)?),
                _ => {
                    self.columns.insert(key.to_owned(), value.to_owned());
                }
            },
        }
        Ok(())
    }

    /// Refuses fields that the format does not have.
    pub(super) fn check(&self, format: Format) -> Result<(), MappingError> {
        let fields = match format {
            Format::Csv | Format::Jsonl => EventColumns::<()>::FIELDS,
            Format::ItemsCsv | Format::ItemsJsonl => ItemColumns::<()>::FIELDS,
            _ => &[],
        };
        let named = self.columns.keys().map(String::as_str);
        let attributes = self.attributes.keys().map(|_| "attribute").take(usize::from(fields.is_empty()));
        match named.chain(attributes).find(|field| !fields.contains(field)) {
            None => Ok(()),
            Some(field) => Err(MappingError::UnknownField {
                format,
                field: field.to_owned(),
                fields: if fields.is_empty() {
                    ": its columns are fixed".to_owned()
                } else {
                    format!("; its fields are {}", fields.join(", "))
                },
            }),
        }
    }

    /// The event type that a word of the source stands for: the mapping's, or one that bears the
    /// name.
    pub(super) fn event_type(&self, word: &str) -> Option<EventType> {
        self.event_types.get(word).copied().or_else(|| {
            let word = word.trim();
            word.strip_prefix("EVENT_TYPE_").unwrap_or(word).parse().ok()
        })
    }
}

fn parsed<T: FromStr<Err: ToString>>(value: &str) -> Result<T, String> {
    value.parse().map_err(|error: T::Err| error.to_string())
}

fn character(value: &str) -> Result<char, String> {
    if value == "\\t" {
        return Ok('\t');
    }
    value.parse().map_err(|_| "must be one character, or \\t".to_owned())
}

fn event_types<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, EventType>, D::Error> {
    BTreeMap::<String, String>::deserialize(deserializer)?
        .into_iter()
        .map(|(word, name)| Ok((word, name.parse().map_err(serde::de::Error::custom)?)))
        .collect()
}

/// Declares where the fields of a kind of row are found: each with the names that are tried when the
/// mapping does not say.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($field:ident [$($also:literal),*];)* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name<C> {
            $(pub(super) $field: Option<C>,)*
            /// Attributes that the mapping names.
            pub(super) attributes: Vec<(String, C)>,
        }

        impl<C> $name<C> {
            /// The fields that a mapping can name.
            pub(super) const FIELDS: &'static [&'static str] = &[$(stringify!($field),)*];

            /// Finds each field by the mapping's name for it, else by the first of its own names that
            /// is there. The error is the name of a mapped column that is not there.
            pub(super) fn find(
                mapping: &super::Mapping,
                mut find: impl FnMut(&[&str]) -> Option<C>,
            ) -> Result<Self, String> {
                let mut place = |mapped: Option<&String>, own: &[&str]| match mapped {
                    Some(column) => find(&[column]).map(Some).ok_or_else(|| column.clone()),
                    None => Ok(find(own)),
                };
                let mut attributes = Vec::new();
                for (name, column) in &mapping.attributes {
                    attributes.extend(place(Some(column), &[])?.map(|place| (name.clone(), place)));
                }
                Ok(Self {
                    $($field: place(mapping.columns.get(stringify!($field)), &[stringify!($field), $($also),*])?,)*
                    attributes,
                })
            }
        }
    };
}

pub(super) use columns;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_toml_say_the_same() {
        let toml = r#"
            time_format = "%d.%m.%Y"
            utc_offset = "+01:00"
            delimiter = ";"
            [columns]
            visitor_id = "uid"
            [attributes]
            colour = "farbe"
            [event_types]
            pv = "view"
            buy = "order completed"
        "#;
        let pairs = [
            "time_format=%d.%m.%Y",
            "utc_offset=+01:00",
            "delimiter=;",
            "visitor_id=uid",
            "attribute.colour=farbe",
            "type.pv=view",
            "type.buy=purchase",
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mapping.toml");
        let read = |toml: &str| {
            std::fs::write(&path, toml).unwrap();
            Mapping::read(Some(&path), &[""; 0]).unwrap()
        };
        let mapping = Mapping::read(None, &pairs).unwrap();
        assert_eq!(read(toml), mapping);
        assert_eq!(read(&toml::to_string(&mapping).unwrap()), mapping, "and survives a round trip");
        std::fs::write(&path, toml).unwrap();
        assert_eq!(
            Mapping::read(Some(&path), &["delimiter=,"]).unwrap().delimiter,
            Some(','),
            "pairs are on top"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let mut mapping = Mapping::default();
        let mut set = |pair: &str| mapping.set(pair).unwrap_err().to_string();
        assert_eq!(set("visitor_id"), "column mapping `visitor_id`: must be key=value");
        assert_eq!(set("type.pv=look"), "column mapping `type.pv=look`: unknown event type \"look\"");
        assert_eq!(set("delimiter=ab"), "column mapping `delimiter=ab`: must be one character, or \\t");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mapping.toml");
        let read = || Mapping::read(Some(&path), &[""; 0]).unwrap_err().to_string();
        assert!(read().contains("mapping.toml: cannot read the column mapping: "));
        std::fs::write(&path, "column = 1").unwrap();
        assert!(
            read().contains("mapping.toml: column mapping: ") && read().contains("unknown field `column`")
        );
        mapping.set("visitr_id=uid").unwrap();
        let message = mapping.check(Format::Csv).unwrap_err().to_string();
        assert!(
            message.contains("`csv` has no field `visitr_id`; its fields are event_id, event_type,"),
            "{message}"
        );
        let message = mapping.check(Format::Jd).unwrap_err().to_string();
        assert_eq!(message, "column mapping: `jd` has no field `visitr_id`: its columns are fixed");
    }
}
