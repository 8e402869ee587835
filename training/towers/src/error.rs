//! What can go wrong with a model: a shape that does not fit, a file that is not one.

use crate::Device;

/// Why a model cannot be loaded, run or written.
#[derive(Debug, thiserror::Error)]
pub enum TowersError {
    /// A field of the shape breaks its rule.
    #[error("{field} {rule}")]
    Config {
        /// Which field.
        field: &'static str,
        /// What it must be, and what it is.
        rule: String,
    },
    /// The weights do not fit the shape, or are no safetensors.
    #[error(
        "weights: {0}; they belong to another shape or version: train again, or load the bundle they came from"
    )]
    Weights(String),
    /// The input does not fit the model.
    #[error("{field}: {rule}")]
    Input {
        /// Which part of the input.
        field: String,
        /// What it must be, and what it is.
        rule: String,
    },
    /// A device cannot be had, or failed.
    #[error("device {device}: {reason}")]
    Device {
        /// Which.
        device: Device,
        /// What it said.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
