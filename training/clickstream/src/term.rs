//! Terms: how a vocabulary is kept on disk.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ClickstreamError;

/// One row of a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Term {
    /// What the term is: `item`, `word` …
    pub kind: String,
    /// The term itself.
    pub term: String,
    /// Its row in the table.
    pub row: u32,
    /// How often it was seen.
    pub count: u64,
}

/// Reads terms from one file, a record batch at a time.
#[derive(Debug)]
pub struct TermReader {}

impl TermReader {
    /// Opens an Arrow IPC file or stream (also within zstd or gzip) or a Parquet file; which one it
    /// is, its first bytes say.
    ///
    /// # Errors
    /// When it cannot be opened, is none of these, is cut off, or lacks a required column.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ClickstreamError> {
        let _ = path.as_ref();
        todo!()
    }
}

impl Iterator for TermReader {
    type Item = Result<Vec<Term>, ClickstreamError>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// Writes terms to one file, which appears under its name when it is finished.
#[derive(Debug)]
pub struct TermWriter {}

impl TermWriter {
    /// The ending of the name says what is written: `.arrow`, `.arrows`, `.arrows.zst`,
    /// `.arrows.gz`, `.parquet`.
    ///
    /// # Errors
    /// When the ending is none of these or the file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, ClickstreamError> {
        let _ = path.as_ref();
        todo!()
    }

    /// Adds one.
    ///
    /// # Errors
    /// When it breaks a rule of the contract or cannot be written.
    pub fn write(&mut self, term: &Term) -> Result<(), ClickstreamError> {
        let _ = term;
        todo!()
    }

    /// Writes what is buffered, makes it durable and gives the file its name. Returns the number of
    /// rows. A writer that is dropped instead leaves nothing behind.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<u64, ClickstreamError> {
        todo!()
    }
}
