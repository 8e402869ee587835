//! The folder of bundles: publish by rename, activate by rename, roll back.
//!
//! ```text
//! BUNDLES/
//!   20261124T101500Z-1f3a9c02/   a bundle; appears whole, by one rename
//!   active.json                  which one serves, and which did before; replaced by one rename
//!   .publish-…/                  a publication in progress, or what a crash left of one
//! ```

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use endcap_proto::EventTime;
use serde::{Deserialize, Serialize};

use crate::{
    Bundle, BundleDraft, BundleError, FORMAT, Manifest, Version,
    manifest::{MANIFEST, digests},
};

const ACTIVE: &str = "active.json";
const PUBLISHING: &str = ".publish-";

/// A folder of bundles.
#[derive(Debug, Clone)]
pub struct BundleStore {
    root: PathBuf,
}

/// `active.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Active {
    /// The one that serves.
    version: Option<Version>,
    /// Those that served before, the latest last.
    before: Vec<Version>,
}

// === impl BundleStore ===

impl BundleStore {
    /// Opens the folder; makes it where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, BundleError> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(|source| BundleError::io(&root, source))?;
        Ok(Self { root })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the bundle of that name lies.
    pub fn path(&self, version: &Version) -> PathBuf {
        self.root.join(version.as_str())
    }

    /// Writes the draft aside, seals it with its manifest, and lets it appear under its name by one
    /// rename. A crash at any instant leaves the bundle whole or absent.
    ///
    /// # Errors
    /// When a part cannot be written.
    pub fn publish(&self, draft: &BundleDraft<'_>, created: EventTime) -> Result<Version, BundleError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let aside = self.root.join(format!("{PUBLISHING}{}-{unique}", std::process::id()));
        fs::create_dir_all(&aside).map_err(|source| BundleError::io(&aside, source))?;
        let published = self.publish_from(&aside, draft, created);
        if published.is_err() {
            // Nothing depends on it; the error that led here is the one to report.
            let _ = fs::remove_dir_all(&aside);
        }
        published
    }

    fn publish_from(
        &self,
        aside: &Path,
        draft: &BundleDraft<'_>,
        created: EventTime,
    ) -> Result<Version, BundleError> {
        draft.write(aside)?;
        let files = digests(aside)?;
        let version = Version::of(created, &files);
        let mut manifest = Manifest {
            format: FORMAT,
            version: version.clone(),
            created,
            software: concat!("endcap ", env!("CARGO_PKG_VERSION")).to_owned(),
            parents: draft.parents.clone(),
            origin: draft.origin.clone(),
            metrics: draft.metrics.clone(),
            files,
            digest: String::new(),
        };
        manifest.seal();
        let path = aside.join(MANIFEST);
        let json = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| BundleError::Part { part: MANIFEST, reason: error.to_string() })?;
        fs::write(&path, json).map_err(|source| BundleError::io(&path, source))?;
        for name in manifest.files.keys().map(String::as_str).chain([MANIFEST]) {
            sync(&aside.join(name))?;
        }
        let target = self.path(&version);
        if target.exists() {
            // The same content within the same second: it is there already.
            fs::remove_dir_all(aside).map_err(|source| BundleError::io(aside, source))?;
            return Ok(version);
        }
        fs::rename(aside, &target).map_err(|source| BundleError::io(&target, source))?;
        sync(&self.root)?;
        Ok(version)
    }

    /// The manifests of all bundles, oldest first. Folders without a readable manifest are left out.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Manifest>, BundleError> {
        let mut manifests = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(|source| BundleError::io(&self.root, source))? {
            let path = entry.map_err(|source| BundleError::io(&self.root, source))?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.is_dir() && !hidden {
                manifests.extend(Manifest::read(&path).ok());
            }
        }
        manifests.sort_by(|a, b| (a.created, &a.version).cmp(&(b.created, &b.version)));
        Ok(manifests)
    }

    /// The bundle that serves, if one was activated.
    ///
    /// # Errors
    /// When `active.json` is there and cannot be read.
    pub fn active(&self) -> Result<Option<Version>, BundleError> {
        Ok(self.read_active()?.version)
    }

    /// Names the bundle that serves from now on. Every file of it is verified first.
    ///
    /// # Errors
    /// When there is no such bundle, or it is not sound; then nothing changes.
    pub fn activate(&self, version: &Version) -> Result<(), BundleError> {
        let dir = self.path(version);
        if !dir.join(MANIFEST).is_file() {
            return Err(BundleError::Unknown { version: version.clone(), root: self.root.clone() });
        }
        Manifest::read(&dir)?.verify(&dir)?;
        let mut active = self.read_active()?;
        if active.version.as_ref() == Some(version) {
            return Ok(());
        }
        active.before.extend(active.version.replace(version.clone()));
        self.write_active(&active)
    }

    /// Activates the bundle that served before this one, and returns its name.
    ///
    /// # Errors
    /// When there is none, or it is not sound; then nothing changes.
    pub fn rollback(&self) -> Result<Version, BundleError> {
        let mut active = self.read_active()?;
        let version = active.before.pop().ok_or_else(|| BundleError::NothingBefore(self.root.clone()))?;
        let dir = self.path(&version);
        Manifest::read(&dir)?.verify(&dir)?;
        active.version = Some(version.clone());
        self.write_active(&active)?;
        Ok(version)
    }

    /// Loads the bundle that serves.
    ///
    /// # Errors
    /// When none was activated, or it is not sound.
    pub fn load_active(&self) -> Result<Bundle, BundleError> {
        let version = self.active()?.ok_or_else(|| BundleError::NoneActive(self.root.clone()))?;
        Bundle::load(&self.path(&version))
    }

    fn read_active(&self) -> Result<Active, BundleError> {
        let path = self.root.join(ACTIVE);
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|error| BundleError::Corrupt { path, reason: error.to_string() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Active::default()),
            Err(source) => Err(BundleError::io(&path, source)),
        }
    }

    fn write_active(&self, active: &Active) -> Result<(), BundleError> {
        let (path, aside) = (self.root.join(ACTIVE), self.root.join(".active.json"));
        let json = serde_json::to_vec_pretty(active)
            .map_err(|error| BundleError::Part { part: ACTIVE, reason: error.to_string() })?;
        let mut file = File::create(&aside).map_err(|source| BundleError::io(&aside, source))?;
        file.write_all(&json)
            .and_then(|()| file.sync_all())
            .map_err(|source| BundleError::io(&aside, source))?;
        fs::rename(&aside, &path).map_err(|source| BundleError::io(&path, source))?;
        sync(&self.root)
    }
}

fn sync(path: &Path) -> Result<(), BundleError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|source| BundleError::io(path, source))
}
