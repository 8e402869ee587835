//! What an import did.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use endcap_proto::{EventTime, EventType};
use serde::Serialize;

use super::Format;
use crate::{BadRowSummary, TimeKind};

/// What was read, what was written, and what was left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImportReport {
    /// Read as this.
    pub format: Format,
    /// What `dataset.json` calls the source.
    pub source: String,
    /// Where it was read.
    pub input: PathBuf,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
    /// Where it was written.
    pub out: PathBuf,
    /// Events written.
    pub events: u64,
    /// Those of the publisher's test set, where there is one.
    pub test_events: Option<u64>,
    /// Events of each type.
    pub events_by_type: BTreeMap<EventType, u64>,
    /// Different visitors.
    pub visitors: u64,
    /// Different items that events name.
    pub items_in_events: u64,
    /// Items in the catalogue that was written.
    pub items: u64,
    /// Whether the source has a catalogue; if not, `items` counts bare ids.
    pub catalogue: bool,
    /// Time of the first event.
    pub first_time: Option<EventTime>,
    /// Time of the last event.
    pub last_time: Option<EventTime>,
    /// What the times are.
    pub time: TimeKind,
    /// Sound rows that say nothing a data set holds, by what they are.
    pub skipped: BTreeMap<String, u64>,
    /// Rows that could not be taken, by reason.
    pub bad_rows: BadRowSummary,
    /// Where they are, when there are any.
    pub bad_rows_file: Option<PathBuf>,
    /// Columns that no field was read from.
    pub unread_columns: Vec<String>,
    /// What the importer assumed, one sentence each.
    pub notes: Vec<String>,
}

impl ImportReport {
    /// Of an import that has read nothing yet.
    pub(super) fn begun(format: Format, source: String, out: &Path) -> Self {
        Self {
            format,
            source,
            input: PathBuf::new(),
            files: Vec::new(),
            out: out.to_owned(),
            events: 0,
            test_events: None,
            events_by_type: BTreeMap::new(),
            visitors: 0,
            items_in_events: 0,
            items: 0,
            catalogue: false,
            first_time: None,
            last_time: None,
            time: TimeKind::Real,
            skipped: BTreeMap::new(),
            bad_rows: BadRowSummary::default(),
            bad_rows_file: None,
            unread_columns: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}) → {}", self.input.display(), self.format, self.out.display())?;
        let mut line = |name: &str, text: String| writeln!(f, "  {name:<12} {text}");
        let types = self.events_by_type.iter().map(|(kind, count)| format!("{kind} {}", grouped(*count)));
        let mut events = grouped(self.events);
        if self.events > 0 {
            events += &format!(" ({})", types.collect::<Vec<_>>().join(", "));
        }
        line("events", events)?;
        if let Some(test) = self.test_events {
            line("", format!("{} of them in the publisher's test set", grouped(test)))?;
        }
        line("visitors", grouped(self.visitors))?;
        let kind = if self.catalogue { "in the catalogue" } else { "bare ids, the source has no catalogue" };
        line(
            "items",
            format!("{} ({kind}), {} in events", grouped(self.items), grouped(self.items_in_events)),
        )?;
        if let (Some(first), Some(last)) = (self.first_time, self.last_time) {
            line(
                "time",
                match self.time {
                    TimeKind::Real => format!("{first} … {last}"),
                    TimeKind::Ordinal => "ordinal, a millisecond a step".to_owned(),
                },
            )?;
        }
        if !self.skipped.is_empty() {
            line("skipped", grouped(self.skipped.values().sum()))?;
        }
        for (reason, count) in &self.skipped {
            line("", format!("{} × {reason}", grouped(*count)))?;
        }
        line("bad rows", grouped(self.bad_rows.total))?;
        for (reason, count) in &self.bad_rows.by_reason {
            line("", format!("{} × {reason}", grouped(*count)))?;
        }
        if let Some(path) = &self.bad_rows_file {
            line("", format!("written aside in {}", path.display()))?;
        }
        if !self.unread_columns.is_empty() {
            line("not read", self.unread_columns.join(", "))?;
        }
        for note in &self.notes {
            line("note", note.clone())?;
        }
        Ok(())
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let numbers = [0, 12, 123, 1234, 123_456, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "12", "123", "1,234", "123,456", "1,234,567"]);
    }
}
