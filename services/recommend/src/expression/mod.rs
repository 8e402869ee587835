//! Filter expressions: which items a request wants, in the words of [AIP-160](https://google.aip.dev/160).
//!
//! ```text
//! text, values ──parse──► FilterExpression ──compile──► CompiledFilter ──► towers (a bitmap over the index's base rows)
//!                           │                             │                popularity (its own best items)
//!                           │                             └─ cached by the model, until the index is compacted
//!                           └─ matches(&Item) ──────────► live items, rules, neighbours, the check before ranking
//! ```
//!
//! - [`FilterExpression`] is parsed and typed: it holds no name and no placeholder any more, only columns and values.
//! - [`FilterError`] says where in the text, and what to do about it.
//! - [`CompiledFilter`] is an expression with the items of one generation of the index that it selects.
//!
//! ```text
//! expression  = factor { [ "AND" ] factor }             factor = term { "OR" term }          OR binds tighter than AND
//! term        = [ "NOT" | "-" ] ( "(" expression ")" | comparison )
//! comparison  = column operator value | column ":" "*"
//!             | column ":" "ANY" "(" value { "," value } ")"
//!             | column ":" "IN" "(" bound "," bound ")"                bound = "*" | number [ "i" | "e" ]
//! column      = name | "attributes" "." key             operator = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"
//! value       = word | "\"text\"" | "$" name
//! ```

mod column;
mod compiled;
mod parse;
mod table;

use std::{collections::BTreeMap, fmt, sync::Arc};

use endcap_proto::{FieldError, Item};

pub(crate) use self::compiled::Filters;
use self::{column::Test, parse::Problem};
pub use self::{
    compiled::CompiledFilter,
    parse::{MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_FILTER_VALUES},
};

/// A filter, parsed and typed. Prints itself as a text that parses to the same (where that is not past the limit of
/// bytes: values are printed between quotes). Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterExpression {
    predicate: Arc<Predicate>,
    /// The same as a text, whatever the white space and the parentheses of the one that was parsed.
    text: Arc<str>,
}

/// What items are asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Predicate {
    /// All of these hold.
    And(Vec<Predicate>),
    /// One of these holds.
    Or(Vec<Predicate>),
    /// This does not hold. Never a `Not` again.
    Not(Box<Predicate>),
    /// A column is as wanted.
    Test(Test),
}

/// Why a text is no filter: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}{}", Caret(self))]
pub struct FilterError {
    /// The field it is about: `filter`, or `filter_values["max"]`.
    pub field: String,
    /// What is wrong with it and what to write instead.
    pub rule: String,
    /// The character at which it begins, from 1; none where the whole text is meant.
    pub column: Option<usize>,
    /// The part of the text around it, and where in that to point: characters from, and how many.
    excerpt: Option<(String, usize, usize)>,
}

// === impl FilterExpression ===

impl FilterExpression {
    /// Reads a filter. `$name` in it stands for the value of that name: always one value, whatever it holds. Nothing
    /// but white space is no filter.
    ///
    /// # Errors
    /// Where it breaks the grammar, a type or a limit; where a placeholder has no value, or a value no placeholder.
    pub fn parse(text: &str, values: &BTreeMap<String, String>) -> Result<Option<Self>, FilterError> {
        let predicate = parse::parse(text, values).map_err(|problem| problem.within(text))?;
        Ok(predicate
            .map(|predicate| Self { text: predicate.to_string().into(), predicate: predicate.into() }))
    }

    /// Whether the item is one of those wanted.
    pub fn matches(&self, item: &Item) -> bool {
        self.predicate.matches(item)
    }

    /// The same number for the same filter, whatever its white space, and in every process.
    pub fn fingerprint(&self) -> u64 {
        let digest = blake3::hash(self.text.as_bytes());
        u64::from_le_bytes(std::array::from_fn(|byte| digest.as_bytes()[byte]))
    }

    fn predicate(&self) -> &Predicate {
        &self.predicate
    }

    fn text(&self) -> &str {
        &self.text
    }

    fn shared_text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }
}

impl fmt::Display for FilterExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl Predicate ===

impl Predicate {
    fn matches(&self, item: &Item) -> bool {
        match self {
            Self::And(all) => all.iter().all(|one| one.matches(item)),
            Self::Or(any) => any.iter().any(|one| one.matches(item)),
            Self::Not(one) => !one.matches(item),
            Self::Test(test) => test.matches(item),
        }
    }

    /// What does not hold where this holds.
    fn negated(self) -> Self {
        match self {
            Self::Not(one) => *one,
            one => Self::Not(Box::new(one)),
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parentheses only where they must be, so that nothing is printed deeper than it was written.
        let list = |f: &mut fmt::Formatter<'_>, many: &[Self], word: &str, grouped: fn(&Self) -> bool| {
            many.iter().enumerate().try_for_each(|(i, one)| {
                f.write_str(if i > 0 { word } else { "" })?;
                if grouped(one) { write!(f, "({one})") } else { one.fmt(f) }
            })
        };
        match self {
            Self::And(many) => list(f, many, " AND ", |one| matches!(one, Self::And(_))),
            Self::Or(many) => list(f, many, " OR ", |one| matches!(one, Self::And(_) | Self::Or(_))),
            Self::Not(one) if matches!(**one, Self::And(_) | Self::Or(_)) => write!(f, "NOT ({one})"),
            Self::Not(one) => write!(f, "NOT {one}"),
            Self::Test(test) => test.fmt(f),
        }
    }
}

// === impl FilterError ===

/// The second and third line of a message: the text, and a mark under the place.
struct Caret<'a>(&'a FilterError);

/// Most characters of a text that are shown, before and after the place.
const SHOWN: usize = 30;

impl Problem {
    /// The error, with the part of the text that it is about.
    fn within(self, text: &str) -> FilterError {
        let Self { field, rule, span } = self;
        let place = span.map(|span| {
            let from = text[..span.start].chars().count();
            let length = text[span].chars().count().max(1);
            (from, length)
        });
        let excerpt = place.map(|(from, length)| {
            let first = from.saturating_sub(SHOWN);
            let length = length.min(SHOWN);
            let part: String = text.chars().skip(first).take(from - first + length + SHOWN).collect();
            let part = part.replace(|c: char| c.is_control(), " ");
            (part, from - first, length)
        });
        FilterError { field, rule, column: place.map(|(from, _)| from + 1), excerpt }
    }
}

impl fmt::Display for Caret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(column), Some((part, from, length))) = (self.0.column, &self.0.excerpt) else {
            return Ok(());
        };
        write!(f, " (at character {column})\n  {part}\n  {:from$}{:^<length$}", "", "")
    }
}

impl From<FilterError> for FieldError {
    fn from(error: FilterError) -> Self {
        let rule = error.to_string();
        Self::new(error.field, rule)
    }
}

#[cfg(test)]
mod tests;
