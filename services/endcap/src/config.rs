//! The configuration of the service: `endcap.toml`, what `--set` adds to it, and errors that name the key.
//!
//! `default.toml` documents every key and *is* the default: a test compares it with [`Config::default`].
//! A key that is not known is refused, wherever it stands.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The default configuration with a comment on every key.
pub const DEFAULT: &str = include_str!("default.toml");

/// The version of the configuration's format that this binary reads.
pub const VERSION: u32 = 1;

/// The configuration is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration {origin}: {message}")]
pub struct ConfigError {
    /// The file, or `--set`.
    pub origin: String,
    /// Key, rule, and where in the file.
    pub message: String,
}

/// Reads `C` from a TOML file (its default when there is none), changed by `KEY=VALUE` entries. A value that
/// is no TOML is taken as text.
pub fn load<C: DeserializeOwned + Serialize + Default>(file: Option<&Path>, set: &[String]) -> anyhow::Result<C> {
    let (config, origin) = match file {
        None => (C::default(), "--set".to_owned()),
        Some(path) => {
            let origin = path.display().to_string();
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {origin}"))?;
            (parse(&text, &origin)?, origin)
        }
    };
    if set.is_empty() {
        return Ok(config);
    }
    let mut table = toml::Table::try_from(&config)?;
    for entry in set {
        insert(&mut table, entry)?;
    }
    serde_path_to_error::deserialize(table).map_err(|error| refuse(&format!("{origin} with --set"), &error).into())
}

fn parse<C: DeserializeOwned>(text: &str, origin: &str) -> Result<C, ConfigError> {
    let deserializer = toml::Deserializer::parse(text)
        .map_err(|error| ConfigError { origin: origin.to_owned(), message: error.to_string() })?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| refuse(origin, &error))
}

fn refuse(origin: &str, error: &serde_path_to_error::Error<toml::de::Error>) -> ConfigError {
    let path = error.path().to_string();
    let message = error.inner().to_string();
    let message = if path == "." { message } else { format!("key `{path}`: {message}") };
    ConfigError { origin: origin.to_owned(), message: message.trim_end().to_owned() }
}

fn insert(table: &mut toml::Table, entry: &str) -> Result<(), ConfigError> {
    let wrong = |message: &str| ConfigError { origin: format!("--set {entry}"), message: message.to_owned() };
    let (path, text) = entry.split_once('=').ok_or_else(|| wrong("must be KEY=VALUE"))?;
    let value = toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()));
    let mut at = table;
    let mut keys = path.split('.').peekable();
    while let Some(key) = keys.next() {
        if keys.peek().is_none() {
            at.insert(key.to_owned(), value);
            return Ok(());
        }
        at = at
            .entry(key)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(|| wrong(&format!("key `{key}` is a value, not a section")))?;
    }
    Err(wrong("must name a key"))
}
