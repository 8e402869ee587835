//! The manifest: what a bundle holds, where it came from, and the BLAKE3 of every file.
//!
//! The manifest guards the files, and its own `digest` guards the manifest: BLAKE3 over its JSON
//! with the digest left empty. A bundle can be moved and renamed; it cannot be changed unnoticed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Component, Path, PathBuf},
};

use endcap_proto::EventTime;
use serde::{Deserialize, Serialize};

use crate::BundleError;

/// The format that this version of Endcap writes. It reads this one and the one before.
pub const FORMAT: u32 = 1;

pub(crate) const MANIFEST: &str = Manifest::FILE;
/// A manifest is a few kilobytes; more than this is not one.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the bundle's format.
    pub format: u32,
    /// Name of this bundle.
    pub version: Version,
    /// When it was made.
    pub created: EventTime,
    /// What made it: `endcap 0.1.0`.
    pub software: String,
    /// Bundles that this one was trained on from, oldest first.
    pub parents: Vec<Version>,
    /// Where its numbers came from.
    pub origin: Origin,
    /// Figures of its training, by name: `validation.recall@20`.
    pub metrics: BTreeMap<String, f64>,
    /// Every file but this one, by path within the bundle.
    pub files: BTreeMap<String, FileDigest>,
    /// BLAKE3, in hex, of this manifest's JSON with an empty digest.
    pub digest: String,
}

/// What a bundle was made from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Name of the data set.
    pub source: String,
    /// Events that were read for training.
    pub events: u64,
    /// Time of the newest of them.
    pub newest_event: Option<EventTime>,
    /// Seed of the run.
    pub seed: u64,
    /// The next offset of each partition of the topic `items` when the catalogue was read. Serving
    /// replays the topic from there.
    pub items_offsets: Vec<PartitionOffset>,
    /// Parts of the data set that were held out of its training: what the bundle may be asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_out: Vec<HeldOutPart>,
}

/// A part of a data set that nothing was learnt from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOutPart {
    /// How the data set was split: `leave-one-out` …
    pub protocol: String,
    /// `validation` or `test`.
    pub part: String,
    /// How many interactions it holds.
    pub interactions: u64,
    /// A sum over them, in hex: the same for the same interactions only.
    pub fingerprint: String,
}

/// The next offset to be read of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionOffset {
    /// The partition.
    pub partition: i32,
    /// The next offset.
    pub offset: i64,
}

/// Size and BLAKE3 of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Its length.
    pub bytes: u64,
    /// Its BLAKE3 in hex.
    pub blake3: String,
}

/// Name of a bundle: UTC time of its making and the start of its content's digest,
/// `20261124T101500Z-1f3a9c02`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Version(String);

// === impl Manifest ===

impl Manifest {
    /// Its name within the bundle.
    pub const FILE: &str = "manifest.json";

    /// Reads `dir/manifest.json`, checks its digest and its format. Opens no other file.
    ///
    /// # Errors
    /// Says what is wrong and what to do.
    pub fn read(dir: &Path) -> Result<Self, BundleError> {
        let path = dir.join(MANIFEST);
        let corrupt = |reason: String| BundleError::Corrupt { path: path.clone(), reason };
        let file = File::open(&path).map_err(|source| BundleError::io(&path, source))?;
        let mut json = Vec::new();
        file.take(MAX_MANIFEST_BYTES + 1)
            .read_to_end(&mut json)
            .map_err(|source| BundleError::io(&path, source))?;
        if json.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(corrupt(format!("more than {MAX_MANIFEST_BYTES} bytes")));
        }
        // The format comes first: fields of another format need not be those known here.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
        if format == 0 || format > FORMAT || format + 1 < FORMAT {
            return Err(BundleError::Format { path, found: format });
        }
        let manifest: Self = serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
        let digest = manifest.own_digest();
        if digest != manifest.digest {
            return Err(corrupt(format!("its digest is {digest}, but it says {:?}", manifest.digest)));
        }
        Ok(manifest)
    }

    /// Checks length and BLAKE3 of every file that the manifest lists.
    ///
    /// # Errors
    /// Names the first file that is missing or differs.
    pub fn verify(&self, dir: &Path) -> Result<(), BundleError> {
        for (name, expected) in &self.files {
            let path = inside(dir, name)?;
            let found = FileDigest::of(&path)?;
            if found.bytes != expected.bytes {
                let reason = format!("{} bytes, {} expected", found.bytes, expected.bytes);
                return Err(BundleError::Corrupt { path, reason });
            }
            if found.blake3 != expected.blake3 {
                let reason = format!("its BLAKE3 is {}, {} expected", found.blake3, expected.blake3);
                return Err(BundleError::Corrupt { path, reason });
            }
        }
        Ok(())
    }

    pub(crate) fn seal(&mut self) {
        self.digest = self.own_digest();
    }

    fn own_digest(&self) -> String {
        let blank = Self { digest: String::new(), ..self.clone() };
        let json = serde_json::to_vec(&blank).unwrap_or_default();
        blake3::hash(&json).to_hex().to_string()
    }
}

impl FileDigest {
    pub(crate) fn of(path: &Path) -> Result<Self, BundleError> {
        let io = |source| BundleError::io(path, source);
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path).map_err(io)?).map_err(io)?;
        Ok(Self { bytes: hasher.count(), blake3: hasher.finalize().to_hex().to_string() })
    }
}

/// Digests of every file under `dir`, by relative path with `/`.
pub(crate) fn digests(dir: &Path) -> Result<BTreeMap<String, FileDigest>, BundleError> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|source| BundleError::io(&folder, source))? {
            let path = entry.map_err(|source| BundleError::io(&folder, source))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(dir).unwrap_or(&path);
            let name = relative.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
            if name != MANIFEST {
                found.insert(name, FileDigest::of(&path)?);
            }
        }
    }
    Ok(found)
}

/// `dir/name`, where `name` stays within `dir`.
fn inside(dir: &Path, name: &str) -> Result<PathBuf, BundleError> {
    let relative = Path::new(name);
    if !name.is_empty() && relative.components().all(|part| matches!(part, Component::Normal(_))) {
        Ok(dir.join(relative))
    } else {
        let reason = format!("lists {name:?}, which is not a path within the bundle");
        Err(BundleError::Corrupt { path: dir.join(MANIFEST), reason })
    }
}

// === impl Version ===

impl Version {
    /// A name from outside: ASCII letters, digits, `-`, `_` and `.`, at most 100, not starting with a dot.
    ///
    /// # Errors
    /// When it is not.
    pub fn parse(name: &str) -> Result<Self, BundleError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(legal) {
            Ok(Self(name.to_owned()))
        } else {
            Err(BundleError::VersionName(name.to_owned()))
        }
    }

    pub(crate) fn of(created: EventTime, files: &BTreeMap<String, FileDigest>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for (name, file) in files {
            hasher.update(name.as_bytes()).update(&[0]).update(file.blake3.as_bytes());
        }
        let time: String = created.to_string().chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
        Self(format!("{time}Z-{}", &hasher.finalize().to_hex()[..8]))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
