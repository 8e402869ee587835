//! One file a command.

pub mod archive;
pub mod check;
pub mod demo;
pub mod doctor;
pub mod erase;
pub mod evaluate;
pub mod events;
pub mod import;
pub mod models;
pub mod replay;
pub mod serve;
pub mod split;
pub mod state;
pub mod train;
pub mod tune;

use std::{io::Write, path::Path};

use anyhow::Context;
use endcap_bundle::{Bundle, BundleStore, Manifest};
use serde::Serialize;

use crate::cli::Output;

/// Prints a result for people or for scripts. A closed pipe is no failure.
fn print<R: Serialize + std::fmt::Display>(result: &R, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Text => print_text(&result.to_string()),
        Output::Json => print_text(&serde_json::to_string_pretty(result)?),
    }
}

/// Prints text as the one thing on standard output. A closed pipe is no failure.
fn print_text(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Loads `path` where it is a bundle, or the active bundle where it is a folder of bundles.
fn load_bundle(path: &Path) -> anyhow::Result<Bundle> {
    if !path.is_dir() {
        anyhow::bail!("{}: no such folder; give a bundle, or a folder of bundles", path.display());
    }
    let bundle = if path.join(Manifest::FILE).is_file() {
        Bundle::load(path)
    } else {
        BundleStore::open(path)?.load_active()
    };
    bundle.with_context(|| format!("cannot load the bundle in {}", path.display()))
}
