//! `endcap models`: the bundles of a folder.

use std::fmt;

use endcap_bundle::{BundleStore, Manifest, Version};
use serde::Serialize;

use super::print;
use crate::{
    cli::{ModelsCommand, Output},
    exit::Failure,
};

pub fn run(command: ModelsCommand, output: Output) -> Result<(), Failure> {
    match command {
        ModelsCommand::List { root } => {
            let store = BundleStore::open(root)?;
            let active = store.active()?;
            let bundles = store
                .list()?
                .into_iter()
                .map(|manifest| Entry { active: active.as_ref() == Some(&manifest.version), manifest })
                .collect();
            print(&List(bundles), output)?;
        }
        ModelsCommand::Activate { root, version } => {
            let store = BundleStore::open(root)?;
            let version = Version::parse(&version)?;
            store.activate(&version)?;
            print(&Activated { active: version }, output)?;
        }
        ModelsCommand::Rollback { root } => {
            let active = BundleStore::open(root)?.rollback()?;
            print(&Activated { active }, output)?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(transparent)]
struct List(Vec<Entry>);

#[derive(Serialize)]
struct Entry {
    active: bool,
    #[serde(flatten)]
    manifest: Manifest,
}

#[derive(Serialize)]
struct Activated {
    active: Version,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "no bundles; `endcap train DIR --out BUNDLES` publishes one");
        }
        for Entry { active, manifest } in &self.0 {
            let mark = if *active { '*' } else { ' ' };
            let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
            write!(
                f,
                "{mark} {}  {:>8.1} MB  {} events of {}",
                manifest.version,
                bytes as f64 / 1e6,
                manifest.origin.events,
                manifest.origin.source
            )?;
            for (name, value) in &manifest.metrics {
                write!(f, "  {name} {value:.4}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Activated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "active: {}", self.active)
    }
}
