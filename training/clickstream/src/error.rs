//! What can be wrong with a file, said so that the reader of the message knows where and what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A clickstream file or folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClickstreamError {
    /// The operating system said no.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried: `open`, `read` …
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Neither Arrow nor Parquet, or a file name without a known ending.
    #[error("{path}: {reason}", path = path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What was found and what is expected.
        reason: String,
    },
    /// The file ends before its contents do.
    #[error("{path}: the file is cut off ({detail}); copy or write it again", path = path.display())]
    Truncated {
        /// Which file.
        path: PathBuf,
        /// What is missing.
        detail: String,
    },
    /// The bytes contradict themselves.
    #[error("{path}: damaged {place}: {detail}; copy or write the file again", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// `footer`, `record batch 3` …
        place: String,
        /// What does not fit.
        detail: String,
    },
    /// A version of the contract that this build does not know.
    #[error("{path}: {found} cannot be read: this build reads {expected}; {advice}", path = path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// `endcap.schema=event/9` …
        found: String,
        /// What can be read.
        expected: String,
        /// What to do.
        advice: &'static str,
    },
    /// A required column is not there.
    #[error("{path}: required column `{column}` is missing (found: {present}); see docs/clickstream.md", path = path.display())]
    MissingColumn {
        /// Which file.
        path: PathBuf,
        /// Which column.
        column: String,
        /// The columns that are there.
        present: String,
    },
    /// A column has a type that cannot stand for the contract's.
    #[error("{path}: column `{column}` must be {expected}, is {found}; see docs/clickstream.md", path = path.display())]
    ColumnType {
        /// Which file.
        path: PathBuf,
        /// Which column.
        column: String,
        /// The contract's type.
        expected: String,
        /// The file's.
        found: String,
    },
    /// A value breaks a rule.
    #[error("{path}: record batch {batch}, row {row}: {column}: {rule}", path = path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Record batch, from 0.
        batch: u64,
        /// Row within the batch, from 0.
        row: u64,
        /// Which column, as a path: `items[2].unit_price`.
        column: String,
        /// What it must be, and what it is.
        rule: String,
    },
    /// A folder is not a data set, or not the one that was asked for.
    #[error("{path}: {reason}", path = path.display())]
    Dataset {
        /// Which folder or file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A source file that is being imported cannot be read on.
    #[error("{path}{line}: {reason}", path = path.display(), line = line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Source {
        /// Which source file.
        path: PathBuf,
        /// Line, from 1.
        line: Option<u64>,
        /// What is wrong and what to do.
        reason: String,
    },
    /// More rows were bad than the caller puts up with.
    #[error(
        "{count} bad rows, at most {limit} are allowed; the last one was {source_file}, line {line}: {reason}; \
         all are in {aside}: fix the source or the column mapping, or allow more bad rows",
        source_file = source_file.display(), aside = aside.display()
    )]
    TooManyBadRows {
        /// How many so far.
        count: u64,
        /// How many are allowed.
        limit: u64,
        /// The file being read.
        source_file: PathBuf,
        /// The line that was one too many.
        line: u64,
        /// What is wrong with it.
        reason: String,
        /// Where the bad rows were written.
        aside: PathBuf,
    },
}

/// Says of an I/O error which file it is about and what was tried.
pub(crate) trait IoContext<T> {
    fn at(self, path: &Path, action: &'static str) -> Result<T, ClickstreamError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, path: &Path, action: &'static str) -> Result<T, ClickstreamError> {
        self.map_err(|source| ClickstreamError::Io { path: path.to_owned(), action, source })
    }
}
