//! Columns of the catalogue, and what a filter may want of one.
//!
//! One function reads a column of an item, and both sides use it: the check of one item and the columns that a
//! filter is compiled against.

use std::{
    fmt,
    ops::{Bound, RangeBounds},
};

use endcap_proto::{Attribute, Availability, EventTime, Item};

/// A column of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Column {
    Id,
    Category,
    Brand,
    Price,
    OriginalPrice,
    Cost,
    Currency,
    Availability,
    GroupId,
    Tags,
    PublishTime,
    ExpireTime,
    Attribute(Box<str>),
}

/// The names of columns, beside `attributes.KEY`.
pub(super) const COLUMNS: [(&str, Column); 12] = [
    ("id", Column::Id),
    ("category", Column::Category),
    ("brand", Column::Brand),
    ("price", Column::Price),
    ("original_price", Column::OriginalPrice),
    ("cost", Column::Cost),
    ("currency", Column::Currency),
    ("availability", Column::Availability),
    ("group_id", Column::GroupId),
    ("tags", Column::Tags),
    ("publish_time", Column::PublishTime),
    ("expire_time", Column::ExpireTime),
];

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Path,
    Number,
    Time,
    Availability,
    /// Text or number, each item as it likes.
    Attribute,
}

/// A column and what is wanted of it. Of an item without a value nothing is wanted in vain: it does not hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Test {
    pub(crate) column: Column,
    pub(crate) wanted: Wanted,
}

/// What is wanted of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wanted {
    /// One of these, ascending. A category is also each of the paths above it.
    OneOf { texts: Vec<Box<str>>, numbers: Vec<f64> },
    /// A number between these.
    Within((Bound<f64>, Bound<f64>)),
    /// Any value at all.
    Present,
}

// === impl Column ===

impl Column {
    /// The column of that name: as in the list, as in the message `Item`, or in lowerCamelCase.
    pub(super) fn named(name: &str) -> Option<Self> {
        let name = match name {
            "categories" => "category",
            "originalPrice" => "original_price",
            "groupId" => "group_id",
            "publishTime" => "publish_time",
            "expireTime" => "expire_time",
            name => name,
        };
        COLUMNS.iter().find(|(known, _)| *known == name).map(|(_, column)| column.clone())
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Id | Self::Brand | Self::Currency | Self::GroupId | Self::Tags => Kind::Text,
            Self::Category => Kind::Path,
            Self::Price | Self::OriginalPrice | Self::Cost => Kind::Number,
            Self::PublishTime | Self::ExpireTime => Kind::Time,
            Self::Availability => Kind::Availability,
            Self::Attribute(_) => Kind::Attribute,
        }
    }

    /// Whether values can be less and more.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self.kind(), Kind::Number | Kind::Time | Kind::Attribute)
    }

    /// A text as this column keeps it.
    pub(super) fn normal(&self, text: &str) -> Result<Box<str>, String> {
        match self.kind() {
            Kind::Path => {
                let path: Vec<_> = segments(text).collect();
                match path.is_empty() {
                    true => Err("is a path: write it as \"Shoes > Boots\"".to_owned()),
                    false => Ok(path.join(SEPARATOR).into()),
                }
            }
            Kind::Availability => {
                let known = [
                    Availability::InStock,
                    Availability::OutOfStock,
                    Availability::Preorder,
                    Availability::Discontinued,
                ];
                let known = known.map(Availability::as_str);
                let found = known.into_iter().find(|name| name.eq_ignore_ascii_case(text));
                found.map(Into::into).ok_or_else(|| format!("is one of {}, not {text:?}", known.join(", ")))
            }
            _ => Ok(text.into()),
        }
    }

    /// Calls `take` with each text that the item has in this column: of a category with its path and every path above
    /// it. A text may come more than once.
    pub(super) fn each_text(&self, item: &Item, mut take: impl FnMut(&str)) {
        match self {
            Self::Id => take(item.id.as_str()),
            Self::Category => {
                let mut path = String::new();
                for category in &item.categories {
                    path.clear();
                    for segment in segments(category) {
                        if !path.is_empty() {
                            path.push_str(SEPARATOR);
                        }
                        path.push_str(segment);
                        take(&path);
                    }
                }
            }
            Self::Brand => item.brand.iter().for_each(|text| take(text)),
            Self::Currency => item.currency.iter().for_each(|text| take(text)),
            Self::Availability => take(item.availability.as_str()),
            Self::GroupId => item.group_id.iter().for_each(|text| take(text)),
            Self::Tags => item.tags.iter().for_each(|text| take(text)),
            Self::Attribute(key) => {
                if let Some(Attribute::Text(text)) = item.attributes.get(&**key) {
                    take(text);
                }
            }
            Self::Price | Self::OriginalPrice | Self::Cost | Self::PublishTime | Self::ExpireTime => {}
        }
    }

    /// The number that the item has in this column: of a time, the milliseconds since 1970.
    pub(super) fn number(&self, item: &Item) -> Option<f64> {
        let millis = |time: Option<EventTime>| time.map(|time| time.as_millis() as f64);
        match self {
            Self::Price => item.price,
            Self::OriginalPrice => item.original_price,
            Self::Cost => item.cost,
            Self::PublishTime => millis(item.publish_time),
            Self::ExpireTime => millis(item.expire_time),
            // What was imported from text files is a number all the same.
            Self::Attribute(key) => match item.attributes.get(&**key)? {
                Attribute::Number(number) => Some(*number),
                Attribute::Text(text) => super::parse::number(text),
            },
            _ => None,
        }
    }
}

const SEPARATOR: &str = " > ";

/// The parts of a category path.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('>').map(str::trim).filter(|segment| !segment.is_empty())
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Attribute(key) = self {
            return write!(f, "attributes.{}", Quoted(key));
        }
        let name = COLUMNS.iter().find(|(_, column)| column == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text | Self::Path | Self::Availability => "text",
            Self::Number => "a number",
            Self::Time => "a time",
            Self::Attribute => "text or a number",
        })
    }
}

// === impl Test ===

impl Test {
    pub(super) fn matches(&self, item: &Item) -> bool {
        let Self { column, wanted } = self;
        match wanted {
            Wanted::OneOf { texts, numbers } => {
                let number = || column.number(item).is_some_and(|number| numbers.contains(&number));
                let mut found = !numbers.is_empty() && number();
                if !texts.is_empty() {
                    let wanted = |text: &str| match texts.len() {
                        0..8 => texts.iter().any(|one| **one == *text),
                        _ => texts.binary_search_by(|one| (**one).cmp(text)).is_ok(),
                    };
                    column.each_text(item, |text| found = found || wanted(text));
                }
                found
            }
            Wanted::Within(range) => column.number(item).is_some_and(|number| range.contains(&number)),
            Wanted::Present => {
                let mut found = column.number(item).is_some();
                column.each_text(item, |_| found = true);
                found
            }
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, wanted } = self;
        let show = |number: f64| Number { number, time: column.kind() == Kind::Time };
        match wanted {
            Wanted::Present => write!(f, "{column}: *"),
            Wanted::OneOf { texts, numbers } => {
                let texts = texts.iter().map(|text| Quoted(text).to_string());
                let all: Vec<_> =
                    texts.chain(numbers.iter().map(|number| show(*number).to_string())).collect();
                match &all[..] {
                    [one] => write!(f, "{column} = {one}"),
                    _ => write!(f, "{column}: ANY({})", all.join(", ")),
                }
            }
            Wanted::Within((Bound::Unbounded, Bound::Excluded(to))) => write!(f, "{column} < {}", show(*to)),
            Wanted::Within((Bound::Unbounded, Bound::Included(to))) => write!(f, "{column} <= {}", show(*to)),
            Wanted::Within((Bound::Excluded(from), Bound::Unbounded)) => {
                write!(f, "{column} > {}", show(*from))
            }
            Wanted::Within((Bound::Included(from), Bound::Unbounded)) => {
                write!(f, "{column} >= {}", show(*from))
            }
            Wanted::Within((from, to)) => {
                let bound = |bound: &Bound<f64>| match bound {
                    Bound::Unbounded => "*".to_owned(),
                    Bound::Included(number) => format!("{}i", show(*number)),
                    Bound::Excluded(number) => format!("{}e", show(*number)),
                };
                write!(f, "{column}: IN({}, {})", bound(from), bound(to))
            }
        }
    }
}

/// A text between quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// A number, or the time that it stands for.
struct Number {
    number: f64,
    time: bool,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.time {
            true => write!(f, "{}", EventTime::clamped(self.number as i64)),
            false => write!(f, "{}", self.number),
        }
    }
}
