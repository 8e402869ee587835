//! Public formats, read into a data set: `endcap import FORMAT IN --out DIR`.
//!
//! Each [`Format`] is one file of this folder. It opens what its publisher ships (`input`: a file or
//! a folder, plain, `.gz` or `.zst`, line by line), turns rows into events and items, and offers them
//! to the `Importer`, which keeps the books and writes the data set:
//!
//! ```text
//! IN ──input──► lines ──table, JSON, XML, Parquet──► rows ──a format──► Event, Item ──Importer──► DatasetWriter
//!                                                     │                                  └──────► ImportReport
//!                                                     └── a row that cannot be taken ─────────► bad-rows.jsonl
//! ```
//!
//! Events are written in the order of time. Memory grows with the number of visitors and items (their
//! keys are kept, to count them), never with the number of events. An import is a function of its input: the same files and options give
//! the same bytes. Events without an id are named by a hash of the source's name, the file's name,
//! the line's number and the line itself. What each format assumes is said in `docs/import.md` and
//! noted in `dataset.json`.

mod alibaba_brand;
mod amazon_timed;
mod catalogue;
mod ga4;
mod importer;
mod input;
mod jd;
mod lists;
mod mapping;
mod merchant;
mod movielens;
mod report;
mod retailrocket;
mod rows;
mod sort;
mod table;
mod time;
mod trivago;

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use endcap_proto::EventType;
use serde::{Deserialize, Serialize};

pub use mapping::{Mapping, MappingError};
pub use report::ImportReport;
pub use time::{TimeFormat, UnknownTimeFormat, UtcOffset};

use crate::{BadRowLimit, ClickstreamError};
use importer::Importer;
use input::Input;

/// What an import is told beside where to read and where to write.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportOptions {
    /// What `dataset.json` calls the source; the format's name when `None`. It is part of what
    /// derived event ids are hashed from: give two exports of one shop two names, unless their
    /// overlap should count twice.
    pub source: Option<String>,
    /// How many bad rows are put up with.
    pub max_bad_rows: BadRowLimit,
    /// Whether shoppers agreed to be remembered, where the source does not say.
    pub consent: bool,
    /// What a row says the shopper did, in sources that say only who and what.
    pub event_type: EventType,
    /// Which column is which field, which value which event type, and how times are written.
    pub mapping: Mapping,
    /// The year of a source that says only month and day.
    pub year: Option<i16>,
    /// A catalogue to import beside the events.
    pub catalogue: Option<CatalogueOptions>,
}

/// A catalogue beside the events, from a source of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueOptions {
    /// One of the formats of items.
    pub format: Format,
    /// A file or a folder.
    pub input: PathBuf,
    /// As [`ImportOptions::mapping`].
    pub mapping: Mapping,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            source: None,
            max_bad_rows: BadRowLimit::AtMost(1000),
            consent: true,
            event_type: EventType::View,
            mapping: Mapping::default(),
            year: None,
            catalogue: None,
        }
    }
}

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportProgress {
    /// Events written.
    pub events: u64,
    /// Items written.
    pub items: u64,
    /// Rows left out.
    pub bad_rows: u64,
}

/// Reads `input`, a file or a folder, as `format`, and writes a data set to `out`.
///
/// # Errors
/// When the input is not what the format says, an option is missing or does not fit, more rows are
/// bad than allowed, nothing at all could be taken, or the data set cannot be written. `out` is then
/// no data set; only the bad rows written aside stay there.
pub fn import(
    format: Format,
    options: &ImportOptions,
    input: &Path,
    out: &Path,
) -> Result<ImportReport, ClickstreamError> {
    import_observed(format, options, input, out, &mut |_| {})
}

/// As [`import`], and calls `observe` every few thousand rows.
///
/// # Errors
/// As [`import`].
pub fn import_observed(
    format: Format,
    options: &ImportOptions,
    input: &Path,
    out: &Path,
    observe: &mut dyn FnMut(ImportProgress),
) -> Result<ImportReport, ClickstreamError> {
    let check = |format: Format, mapping: &Mapping, input: &Path| {
        mapping.check(format).map_err(|error| input::refuse(input, error.to_string()))
    };
    check(format, &options.mapping, input)?;
    let source = Input::open(input)?;
    let beside = match &options.catalogue {
        Some(CatalogueOptions { format: other, input, .. })
            if format.is_catalogue() || !other.is_catalogue() =>
        {
            let reason = format!("`{other}` cannot be the catalogue beside `{format}`");
            return Err(input::refuse(input, reason));
        }
        Some(beside) => {
            check(beside.format, &beside.mapping, &beside.input)?;
            Some((beside, Input::open(&beside.input)?))
        }
        None => None,
    };
    let mut importer = Importer::create(format, options, out, observe)?;
    read(format, &source, &mut importer)?;
    if let Some((beside, source)) = beside {
        importer.mapping = &beside.mapping;
        read(beside.format, &source, &mut importer)?;
    }
    importer.finish(input)
}

fn read(format: Format, input: &Input, importer: &mut Importer<'_>) -> Result<(), ClickstreamError> {
    match format {
        Format::Csv => rows::csv(input, importer),
        Format::Jsonl => rows::jsonl(input, importer),
        Format::Ga4 => ga4::read(input, importer),
        Format::ItemsCsv => catalogue::csv(input, importer),
        Format::ItemsJsonl => catalogue::jsonl(input, importer),
        Format::Merchant => merchant::read(input, importer),
        Format::Sessions => lists::sessions(input, importer),
        Format::Sequences => lists::sequences(input, importer),
        Format::FixedSplit => lists::fixed_split(input, importer),
        Format::Movielens => movielens::read(input, importer),
        Format::Retailrocket => retailrocket::read(input, importer),
        Format::AmazonTimed => amazon_timed::read(input, importer),
        Format::Jd => jd::read(input, importer),
        Format::AlibabaBrand => alibaba_brand::read(input, importer),
        Format::Trivago => trivago::read(input, importer),
    }
}

macro_rules! formats {
    ($($variant:ident = $name:literal, $description:literal;)*) => {
        /// A format that can be imported.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Format {
            $(#[doc = $description] $variant,)*
        }

        impl Format {
            /// Every format, our own first.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name on the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it reads, in a line.
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)* }
            }
        }
    };
}

formats! {
    Csv = "csv", "events as CSV or TSV with a header, columns named by a mapping";
    Jsonl = "jsonl", "events as JSON, one a line: the contract's own, or fields named by a mapping";
    Ga4 = "ga4", "Google Analytics 4, BigQuery export as JSON lines: events, and the items they name";
    ItemsCsv = "items-csv", "a catalogue as CSV or TSV with a header, columns named by a mapping";
    ItemsJsonl = "items-jsonl", "a catalogue as JSON, one item a line";
    Merchant = "merchant", "a Google Merchant product feed: RSS or Atom, or tab-separated";
    Sessions = "sessions", "a session a line, item ids oldest first; with test_pairs.tsv, a fixed split";
    Sequences = "sequences", "`user item` or `user item item …` a line, oldest first (SASRec's files)";
    FixedSplit = "fixed-split", "train.txt and test.txt of `user item item …`, in no order (LightGCN's files)";
    Movielens = "movielens", "MovieLens as RecBole (.inter, .item), GroupLens (ratings.dat, movies.dat) or SASRec ship it";
    Retailrocket = "retailrocket", "RetailRocket: events.csv, item_properties_part*.csv, category_tree.csv";
    AmazonTimed = "amazon_timed", "timed ratings: user_item.dat, item_brand.dat, item_category.dat";
    Jd = "jd", "JD sessions: action_time, user_id, sku_id, type, sessionId; types are mapped";
    AlibabaBrand = "alibaba_brand", "Alibaba brands: user_id, brand_id, type, visit_datetime as month-day; needs a year";
    Trivago = "trivago", "trivago's RecSys challenge, Parquet or CSV: actions, impression lists with prices";
}

impl Format {
    /// Whether it holds items and no events.
    pub fn is_catalogue(self) -> bool {
        matches!(self, Self::ItemsCsv | Self::ItemsJsonl | Self::Merchant)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that is no format's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {0:?}; the formats are {formats}", formats = Format::ALL.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(", "))]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    /// `-` and `_` are one.
    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let same = |format: &&Self| format.as_str().replace('_', "-") == name.replace('_', "-");
        Self::ALL.iter().find(same).copied().ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

impl Serialize for Format {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found_by_name() {
        for &format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
            assert!(format.description().len() < 100, "{format}: one line");
        }
        assert_eq!("alibaba-brand".parse(), Ok(Format::AlibabaBrand));
        let message = "orders".parse::<Format>().unwrap_err().to_string();
        assert!(
            message.starts_with("unknown format \"orders\"; the formats are csv, jsonl, ga4"),
            "{message}"
        );
    }

    #[test]
    fn the_documentation_names_every_format_and_field() {
        let docs = include_str!("../../../../docs/import.md");
        let formats = Format::ALL.iter().map(|format| format.as_str());
        let fields = rows::EventColumns::<()>::FIELDS.iter().chain(catalogue::ItemColumns::<()>::FIELDS);
        for name in formats.chain(fields.copied()) {
            assert!(docs.contains(&format!("`{name}`")), "docs/import.md does not name `{name}`");
        }
    }
}
