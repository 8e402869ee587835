//! What can go wrong with an index, in words that name the label, the row, the file and the section.

use std::path::PathBuf;

use crate::Simd;

/// Why an index was not built, changed, searched, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A parameter of [`IndexConfig`](crate::IndexConfig) is outside what the index supports.
    #[error("index.{parameter} is {value}: {rule}")]
    Config {
        /// The key, as written in the configuration.
        parameter: &'static str,
        /// What was asked for.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// The configuration forces a SIMD level that this machine does not have.
    #[error("index.simd is {0}, which this machine does not have: leave it out to take the best one")]
    Simd(Simd),
    /// A vector or a query does not have the index's dimension.
    #[error("a vector has {found} numbers where the index has dimension {expected}")]
    Dimension {
        /// The index's dimension.
        expected: usize,
        /// Numbers given.
        found: usize,
    },
    /// The flat array of vectors is not `labels × dim` long.
    #[error("{labels} labels of dimension {dim} need {} numbers, not {found}", labels * dim)]
    Shape {
        /// Labels given.
        labels: usize,
        /// Dimension given.
        dim: usize,
        /// Numbers given.
        found: usize,
    },
    /// A vector holds a NaN, an infinity, or a number too large to be multiplied.
    #[error(
        "the vector of label {label} has {value} at position {position}: numbers must be finite and below 1e15"
    )]
    Value {
        /// Whose vector.
        label: u64,
        /// Which of its numbers.
        position: usize,
        /// The number.
        value: f32,
    },
    /// The query holds a NaN, an infinity, or a number too large to be multiplied.
    #[error("the query has {value} at position {position}: numbers must be finite and below 1e15")]
    QueryValue {
        /// Which of its numbers.
        position: usize,
        /// The number.
        value: f32,
    },
    /// One label was given twice to [`Index::build`](crate::Index::build).
    #[error("label {label} stands at rows {first} and {second}: a label names one vector")]
    DuplicateLabel {
        /// The label.
        label: u64,
        /// Its first row.
        first: usize,
        /// Its second row.
        second: usize,
    },
    /// More items than 32-bit rows can number.
    #[error("{0} items are more than one index holds (4,000,000,000)")]
    TooMany(usize),
    /// The graph came out of the builder incomplete.
    #[error(
        "the graph holds {found} of {expected} items: build again, or raise index.scan_below to do without"
    )]
    Graph {
        /// Items given to the builder.
        expected: usize,
        /// Items found in what it made.
        found: usize,
    },
    /// The file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not an index, is of another version, or was damaged.
    #[error("{path}: {reason}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
}
