//! Rows with named columns: delimited text with a header (RFC 4180, tolerant), and JSON objects.
//!
//! Both are read through [`Row`], so that what becomes of a row is written once.

use std::{borrow::Cow, ops::Range, path::Path};

use csv_core::ReadRecordResult;
use serde_json::Value;

use super::{
    importer::{At, BadRow},
    input::{Lines, refuse, refuse_line},
};
use crate::ClickstreamError;

/// A quoted cell may run over many lines, up to this many bytes in a row.
const MAX_ROW_BYTES: usize = 1 << 20;

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
    line: u64,
    raw: Vec<u8>,
    cells: Vec<u8>,
    ends: Vec<usize>,
    closed: bool,
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
            line: 0,
            raw: Vec::new(),
            cells: vec![0; 1 << 10],
            ends: vec![0; 32],
            closed: true,
        };
        let Some(row) = table.read()? else {
            return Err(refuse(path, "is empty; the first line must name the columns"));
        };
        let cells = row.cells.map_err(|bad| refuse_line(path, 1, format!("the header is {}", bad.0)))?;
        table.header = cells.iter().map(|cell| cell.trim().to_owned()).collect();
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
        Ok(row.map(|mut row| {
            row.cells = row.cells.and_then(|cells| match cells.ends.len() {
                cells_found if cells_found == columns => Ok(cells),
                found => Err(BadRow(format!("has {found} cells, the header has {columns}"))),
            });
            row
        }))
    }

    fn read(&mut self) -> Result<Option<TableRow<'_>>, ClickstreamError> {
        self.raw.clear();
        let (mut cells, mut ends) = (0, 0);
        let bad = loop {
            if !self.lines.advance()? {
                if self.raw.is_empty() {
                    return Ok(None);
                }
                break Some(BadRow("a quote is not closed by the end of the file".to_owned()));
            }
            let at = self.lines.at();
            if self.raw.is_empty() {
                self.line = at.line;
            }
            self.raw.extend_from_slice(at.raw);
            self.raw.push(b'\n');
            if let Err(bad) = self.lines.text() {
                break Some(bad);
            }
            if self.feed(at_len(at.raw), &mut cells, &mut ends) {
                break None;
            }
            if cells == 0 && ends == 0 {
                self.raw.clear();
            } else if self.raw.len() > MAX_ROW_BYTES {
                break Some(BadRow(format!("a quote is not closed within {} MiB", MAX_ROW_BYTES >> 20)));
            }
        };
        todo!()
    }
}
