//! Quality: how good the models are on public data, made again from the raw files by one command a row.
//!
//! ```text
//! benches/quality/ROW.toml ──► import ──► Split ──► baselines ─────────────► results/ROW-baselines.json ─┐
//!                                           └─────► towers alone, a seed ──► results/ROW-seed-1.json ────┴► table
//! ```
//!
//! Results that were made with the same configuration are kept, so that `--seeds 3` goes on where one seed stopped.

mod row;
mod run;
mod table;

use std::{fs, path::Path};

use anyhow::Context;

pub use row::{Bar, Data, Published, Row};
pub use run::{Outcome, Seconds, Training};
pub use table::Table;

impl Outcome {
    /// What `path` keeps, where it was made with this configuration.
    pub fn kept(path: &Path, config: &str) -> Option<Self> {
        let outcome: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        (outcome.config == config).then_some(outcome)
    }

    /// Keeps it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(&self, path: &Path) -> anyhow::Result<()> {
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        let folder = path.parent().context("a result lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        fs::write(path, json).with_context(|| path.display().to_string())
    }
}
