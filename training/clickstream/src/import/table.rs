//! Rows with named columns: delimited text with a header (RFC 4180, tolerant), and JSON objects.
//!
//! Both are read through [`Row`], so that what becomes of a row is written once.

use std::{borrow::Cow, path::Path};

use csv_core::ReadRecordResult;
use serde_json::Value;

use super::{
    importer::{At, BadRow},
    input::{Lines, refuse, refuse_line},
};
use crate::ClickstreamError;

/// A quoted cell may run over many lines, up to this many bytes in a row.
const MAX_ROW_BYTES: usize = 1 << 20;
/// More columns than this are no header.
const MAX_COLUMNS: usize = 4096;

/// A row whose columns have names.
pub(super) trait Row {
    /// Where a column is.
    type Column;

    /// The value as text; `None` where it is absent or empty.
    fn text(&self, column: &Self::Column) -> Option<Cow<'_, str>>;

    /// The value as a list.
    fn list(&self, column: &Self::Column, separator: char) -> Vec<String>;
}

/// Delimited text with a header.
pub(super) struct Table {
    lines: Lines,
    parser: csv_core::Reader,
    header: Vec<String>,
    /// The row as it was read, its lines ended by `\n`.
    raw: Vec<u8>,
    /// The row's cells, one after the other, and where each one ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
}

/// A row of a [`Table`], or what is wrong with it.
pub(super) struct TableRow<'a> {
    pub(super) at: At<'a>,
    cells: Result<Cells<'a>, BadRow>,
}

/// The cells of a row: as many as the header has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells<'a> {
    text: &'a str,
    ends: &'a [usize],
}

/// A JSON object, with the paths under which a field may be.
pub(super) struct JsonRow<'a>(pub(super) &'a Value);

// === impl Table ===

impl Table {
    /// Opens a file and reads its header; quotes are honoured.
    pub(super) fn open(path: &Path, delimiter: u8) -> Result<Self, ClickstreamError> {
        let parser = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        Self::with_parser(path, parser)
    }

    /// Opens a file in which a quote is a letter like any other.
    pub(super) fn open_unquoted(path: &Path, delimiter: u8) -> Result<Self, ClickstreamError> {
        let parser = csv_core::ReaderBuilder::new().delimiter(delimiter).quoting(false).build();
        Self::with_parser(path, parser)
    }

    fn with_parser(path: &Path, parser: csv_core::Reader) -> Result<Self, ClickstreamError> {
        let mut table = Self {
            lines: Lines::open(path)?,
            parser,
            header: Vec::new(),
            raw: Vec::new(),
            cells: Vec::new(),
            ends: vec![0; MAX_COLUMNS + 1],
        };
        let Some(row) = table.read()? else {
            return Err(refuse(path, "is empty; the first line must name the columns"));
        };
        let cells = row.cells.map_err(|bad| refuse_line(path, 1, format!("the header is {}", bad.0)))?;
        table.header = cells.iter().map(|cell| cell.trim().to_owned()).collect();
        table.ends.truncate(table.header.len() + 1);
        Ok(table)
    }

    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    /// The place of the first of these columns that is there.
    pub(super) fn find(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.header.iter().position(|column| column == name))
    }

    /// The place of a column that must be there.
    pub(super) fn column(&self, name: &str) -> Result<usize, ClickstreamError> {
        self.find(&[name]).ok_or_else(|| {
            let reason = format!("there is no column `{name}`; the header names {}", self.header.join(", "));
            refuse_line(self.lines.path(), 1, reason)
        })
    }

    /// The next row; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<TableRow<'_>>, ClickstreamError> {
        let columns = self.header.len();
        let row = self.read()?;
        Ok(row.map(|TableRow { at, cells }| {
            let cells = cells.and_then(|cells| match cells.ends.len() {
                found if found == columns => Ok(cells),
                found if found > columns => Err(too_many_cells(columns)),
                found => Err(BadRow(format!("has {found} cells, the header has {columns}"))),
            });
            TableRow { at, cells }
        }))
    }

    fn read(&mut self) -> Result<Option<TableRow<'_>>, ClickstreamError> {
        self.raw.clear();
        let (mut line, mut bytes, mut cells) = (0, 0, 0);
        let fault = loop {
            if !self.lines.advance()? {
                if self.raw.is_empty() {
                    return Ok(None);
                }
                break Some(BadRow("a quote is not closed before the end of the file".to_owned()));
            }
            let (at, start) = (self.lines.at(), self.raw.len());
            if start == 0 {
                line = at.line;
            }
            self.raw.extend_from_slice(at.raw);
            self.raw.push(b'\n');
            if let Err(bad) = self.lines.text() {
                break Some(bad);
            }
            self.cells.resize(self.cells.len().max(self.raw.len() + 1), 0);
            let output = (&mut self.cells[bytes..], &mut self.ends[cells..]);
            let (outcome, _, wrote, ended) = self.parser.read_record(&self.raw[start..], output.0, output.1);
            (bytes, cells) = (bytes + wrote, cells + ended);
            match outcome {
                ReadRecordResult::Record => break None,
                ReadRecordResult::InputEmpty if bytes == 0 && cells == 0 => self.raw.clear(),
                ReadRecordResult::InputEmpty if self.raw.len() <= MAX_ROW_BYTES => {}
                ReadRecordResult::InputEmpty => {
                    break Some(BadRow(format!("a quote is not closed within {} MiB", MAX_ROW_BYTES >> 20)));
                }
                _ => break Some(too_many_cells(self.ends.len() - 1)),
            }
        };
        let raw = self.raw.strip_suffix(b"\n").unwrap_or(&self.raw);
        let cells = match fault {
            Some(bad) => {
                self.parser.reset();
                Err(bad)
            }
            None => match std::str::from_utf8(&self.cells[..bytes]) {
                Ok(text) => Ok(Cells { text, ends: &self.ends[..cells] }),
                Err(_) => Err(BadRow("not UTF-8".to_owned())),
            },
        };
        Ok(Some(TableRow { at: At { line, raw }, cells }))
    }
}

fn too_many_cells(columns: usize) -> BadRow {
    BadRow(format!("has more cells than the header ({columns})"))
}

// === impl TableRow, Cells ===

impl<'a> TableRow<'a> {
    pub(super) fn cells(&self) -> Result<Cells<'a>, BadRow> {
        self.cells.clone()
    }
}

impl<'a> Cells<'a> {
    /// The cell in a column, without space around it.
    pub(super) fn get(self, column: usize) -> &'a str {
        let start = if column == 0 { 0 } else { self.ends.get(column - 1).copied().unwrap_or(usize::MAX) };
        let cell = self.ends.get(column).and_then(|&end| self.text.get(start..end));
        cell.unwrap_or_default().trim()
    }

    /// The number in a column; `None` where the cell is empty.
    pub(super) fn number(self, column: usize, field: &str) -> Result<Option<f64>, BadRow> {
        number(field, self.get(column))
    }

    fn iter(self) -> impl Iterator<Item = &'a str> {
        (0..self.ends.len()).map(move |column| self.get(column))
    }
}

/// A finite number; `None` where the text is empty.
pub(super) fn number(field: &str, text: &str) -> Result<Option<f64>, BadRow> {
    match text.parse::<f64>() {
        _ if text.is_empty() => Ok(None),
        Ok(number) if number.is_finite() => Ok(Some(number)),
        _ => Err(BadRow::new(field, "must be a number")),
    }
}

impl Row for Cells<'_> {
    type Column = usize;

    fn text(&self, &column: &usize) -> Option<Cow<'_, str>> {
        Some(self.get(column)).filter(|cell| !cell.is_empty()).map(Cow::Borrowed)
    }

    fn list(&self, &column: &usize, separator: char) -> Vec<String> {
        split(self.get(column), separator)
    }
}

fn split(text: &str, separator: char) -> Vec<String> {
    text.split(separator).map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

// === impl JsonRow ===

impl<'a> JsonRow<'a> {
    /// The first value that is there and not null.
    pub(super) fn value(&self, paths: &[String]) -> Option<&'a Value> {
        paths.iter().find_map(|path| walk(self.0, path))
    }
}

/// A member by its whole name, or by a path of names: `user.id`.
pub(super) fn walk<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let found = value.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        walk(value.get(first)?, rest)
    });
    found.filter(|value| !value.is_null())
}

/// A text, number or truth value as text.
pub(super) fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(Cow::Borrowed),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        _ => None,
    }
}

impl Row for JsonRow<'_> {
    type Column = Vec<String>;

    fn text(&self, column: &Vec<String>) -> Option<Cow<'_, str>> {
        self.value(column).and_then(scalar)
    }

    fn list(&self, column: &Vec<String>, separator: char) -> Vec<String> {
        match self.value(column) {
            Some(Value::Array(values)) => values.iter().filter_map(scalar).map(Cow::into_owned).collect(),
            Some(value) => scalar(value).map(|text| split(&text, separator)).unwrap_or_default(),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(u64, Result<Vec<String>, String>)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        let mut table = Table::open(&path, b',').unwrap();
        let mut rows = Vec::new();
        while let Some(row) = table.next().unwrap() {
            let cells =
                row.cells().map(|cells| cells.iter().map(str::to_owned).collect()).map_err(|bad| bad.0);
            rows.push((row.at.line, cells));
        }
        rows
    }

    fn cells(cells: &[&str]) -> Result<Vec<String>, String> {
        Ok(cells.iter().map(|&cell| cell.to_owned()).collect())
    }

    #[test]
    fn quotes_hold_commas_lines_and_quotes() {
        let rows = read("a,b\r\n1,\"x, \"\"y\"\"\"\r\n\r\n\"two\r\nlines\",2\r\n5\" pipe,\n");
        assert_eq!(
            rows,
            [(2, cells(&["1", "x, \"y\""])), (4, cells(&["two\nlines", "2"])), (6, cells(&["5\" pipe", ""])),]
        );
    }

    #[test]
    fn a_row_of_another_width_is_bad_and_the_next_one_is_read() {
        let rows = read("a,b\n1\n1,2,3\n1,2,3,4,5\n3,4\n\"open,1\n2,3\n");
        assert_eq!(
            rows,
            [
                (2, Err("has 1 cells, the header has 2".to_owned())),
                (3, Err("has more cells than the header (2)".to_owned())),
                (4, Err("has more cells than the header (2)".to_owned())),
                (5, cells(&["3", "4"])),
                (6, Err("a quote is not closed before the end of the file".to_owned())),
            ]
        );
    }

    #[test]
    fn an_open_quote_swallows_a_bounded_number_of_rows() {
        let text = format!("a,b\n\"open,1\n{}", "1234567,1\n".repeat(200_000));
        let rows = read(&text);
        assert_eq!(rows[0], (2, Err("a quote is not closed within 1 MiB".to_owned())));
        assert!(rows.len() > 90_000 && rows[1..].iter().all(|(_, row)| *row == cells(&["1234567", "1"])));
    }

    #[test]
    fn json_members_are_found_by_path() {
        let value: Value =
            serde_json::from_str(r#"{"a.b": 1, "c": {"d": {"e": " x "}, "n": null}, "l": ["p", 2]}"#)
                .unwrap();
        let row = JsonRow(&value);
        let text = |path: &str| row.text(&vec![path.to_owned()]).map(Cow::into_owned);
        assert_eq!(text("a.b").as_deref(), Some("1"));
        assert_eq!(text("c.d.e").as_deref(), Some("x"));
        assert_eq!((text("c.n"), text("c.x"), text("c.d")), (None, None, None));
        assert_eq!(row.list(&vec!["l".to_owned()], '|'), ["p", "2"]);
    }

    proptest! {
        #[test]
        fn what_is_quoted_reads_back(rows in prop::collection::vec([".{0,8}", "[,\"\n a]{0,6}", "x|y|"], 1..20)) {
            let mut text = "a,b,c\n".to_owned();
            for row in &rows {
                let quoted = row.each_ref().map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
                text += &format!("{}\n", quoted.join(","));
            }
            let trimmed = |row: &[String; 3]| Ok(row.each_ref().map(|cell| cell.trim().to_owned()).to_vec());
            let read: Vec<_> = read(&text).into_iter().map(|(_, row)| row).collect();
            prop_assert_eq!(read, rows.iter().map(trimmed).collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_panic(text in prop::collection::vec(prop::sample::select(b"a,\"\n\r\xc3\xbc\0".to_vec()), 0..200)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("t.csv");
            std::fs::write(&path, &text).unwrap();
            if let Ok(mut table) = Table::open(&path, b',') {
                while let Some(row) = table.next().unwrap() {
                    let _ = row.cells();
                }
            }
        }
    }
}
