//! The published artefact: everything that serving needs from training, in one verified folder.
//!
//! ```text
//! manifest.json            format, origin, metrics, and the BLAKE3 of each file below
//! vocabulary.arrow         item ids and words → rows
//! catalogue.arrow          the items, as the clickstream's item schema
//! towers.json              shape of the towers
//! towers.safetensors       their weights
//! ranker.json, .safetensors
//! counting/                popularity, recent popularity, next-item rules, item neighbours
//! index/                   the item tower's vectors, and a graph where the catalogue is large
//! ```
//!
//! [`BundleStore`] publishes a [`BundleDraft`] by rename and says which bundle serves; [`Bundle::load`]
//! verifies every file before it parses a byte of any.

#![forbid(unsafe_code)]

mod manifest;
mod store;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use endcap_clickstream::{ItemReader, ItemWriter};
use endcap_features::Vocabulary;
use endcap_index::Index;
use endcap_neighbours::CountingModels;
use endcap_proto::Item;
use endcap_towers::{Ranker, Towers, TowersConfig};

pub use manifest::{FORMAT, FileDigest, HeldOutPart, Manifest, Origin, PartitionOffset, Version};
pub use store::BundleStore;

const VOCABULARY: &str = "vocabulary.arrow";
const CATALOGUE: &str = "catalogue.arrow";
const TOWERS_CONFIG: &str = "towers.json";
const TOWERS_WEIGHTS: &str = "towers.safetensors";
const RANKER: &str = "ranker";
const COUNTING: &str = "counting";
const INDEX: &str = "index";

/// A bundle in memory, ready to serve.
pub struct Bundle {
    /// What it is and where it came from.
    pub manifest: Manifest,
    /// Item ids and words → rows.
    pub vocabulary: Vocabulary,
    /// The items it was trained with.
    pub catalogue: Vec<Item>,
    /// The learned models of retrieval.
    pub towers: Towers,
    /// The learned model of ranking.
    pub ranker: Ranker,
    /// The models that count.
    pub counting: CountingModels,
    /// The item tower's vector of every item of the catalogue, labelled with the item's key.
    pub index: Index,
}

/// What a training run hands over to be published.
pub struct BundleDraft<'a> {
    /// Item ids and words → rows.
    pub vocabulary: &'a Vocabulary,
    /// The items it was trained with.
    pub catalogue: &'a [Item],
    /// Shape of the towers.
    pub towers_config: &'a TowersConfig,
    /// Their weights, as safetensors.
    pub towers_weights: &'a [u8],
    /// The ranker.
    pub ranker: &'a Ranker,
    /// The models that count.
    pub counting: &'a CountingModels,
    /// The item tower's vectors of the catalogue.
    pub index: &'a Index,
    /// Bundles that this one was trained on from.
    pub parents: Vec<Version>,
    /// Figures of the training.
    pub metrics: BTreeMap<String, f64>,
    /// What it was made from.
    pub origin: Origin,
}

/// Why a bundle cannot be used or published.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what was published. Nothing of the bundle was parsed.
    #[error("{path} is not what was published: {reason}; publish the bundle again, or activate another one")]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// How it differs.
        reason: String,
    },
    /// Another version of Endcap wrote it.
    #[error(
        "{path}: bundle format {found}, this version of Endcap reads {FORMAT}; train it again with this version, or \
         serve it with the version that wrote it"
    )]
    Format {
        /// The manifest.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A part cannot be read or written although its bytes are what was published.
    #[error("{part} of the bundle: {reason}")]
    Part {
        /// Which part.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// Not a name that a bundle can have.
    #[error("{0:?} is not a bundle's name: ASCII letters, digits, `-`, `_` and `.` only, at most 100")]
    VersionName(String),
    /// No such bundle.
    #[error("no bundle {version} in {root}; `endcap models list` shows those that are there")]
    Unknown {
        /// Its name.
        version: Version,
        /// The folder.
        root: PathBuf,
    },
    /// No bundle was activated.
    #[error("no active bundle in {0}; `endcap train DIR --out {0}` publishes and activates one")]
    NoneActive(PathBuf),
    /// No bundle served before this one.
    #[error("no bundle was active before the present one in {0}")]
    NothingBefore(PathBuf),
}

impl BundleError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    fn part<E: std::fmt::Display>(part: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Part { part, reason: error.to_string() }
    }
}

// === impl Bundle ===

impl Bundle {
    /// Verifies the bundle in `dir` against its manifest, then loads it.
    ///
    /// # Errors
    /// When a file is missing or differs, before anything of it is parsed; when the format is another
    /// version's; when a part does not fit the others.
    pub fn load(dir: &Path) -> Result<Self, BundleError> {
        let manifest = Manifest::read(dir)?;
        manifest.verify(dir)?;
        let vocabulary = Vocabulary::read(dir.join(VOCABULARY)).map_err(BundleError::part(VOCABULARY))?;
        let catalogue = read_catalogue(&dir.join(CATALOGUE))?;
        let config: TowersConfig = serde_json::from_slice(&read(&dir.join(TOWERS_CONFIG))?)
            .map_err(BundleError::part(TOWERS_CONFIG))?;
        let towers = Towers::load(config, &read(&dir.join(TOWERS_WEIGHTS))?)
            .map_err(BundleError::part(TOWERS_WEIGHTS))?;
        let ranker = Ranker::read(dir, RANKER).map_err(BundleError::part(RANKER))?;
        let counting = CountingModels::read(dir.join(COUNTING)).map_err(BundleError::part(COUNTING))?;
        let index = Index::load(&dir.join(INDEX)).map_err(BundleError::part(INDEX))?;
        if index.dim() != towers.dim() {
            let reason = format!("its vectors have {} dimensions, the towers' {}", index.dim(), towers.dim());
            return Err(BundleError::Part { part: INDEX, reason });
        }
        Ok(Self { manifest, vocabulary, catalogue, towers, ranker, counting, index })
    }
}

// === impl BundleDraft ===

impl BundleDraft<'_> {
    fn write(&self, dir: &Path) -> Result<(), BundleError> {
        self.vocabulary.write(dir.join(VOCABULARY)).map_err(BundleError::part(VOCABULARY))?;
        let mut writer = ItemWriter::create(dir.join(CATALOGUE)).map_err(BundleError::part(CATALOGUE))?;
        for item in self.catalogue {
            writer.write(item).map_err(BundleError::part(CATALOGUE))?;
        }
        writer.finish().map_err(BundleError::part(CATALOGUE))?;
        let config =
            serde_json::to_vec_pretty(self.towers_config).map_err(BundleError::part(TOWERS_CONFIG))?;
        write(&dir.join(TOWERS_CONFIG), &config)?;
        write(&dir.join(TOWERS_WEIGHTS), self.towers_weights)?;
        self.ranker.write(dir, RANKER).map_err(BundleError::part(RANKER))?;
        let counting = dir.join(COUNTING);
        fs::create_dir_all(&counting).map_err(|source| BundleError::io(&counting, source))?;
        self.counting.write(&counting).map_err(BundleError::part(COUNTING))?;
        self.index.save(&dir.join(INDEX)).map_err(BundleError::part(INDEX))
    }
}

fn read_catalogue(path: &Path) -> Result<Vec<Item>, BundleError> {
    let mut catalogue = Vec::new();
    for batch in ItemReader::open(path).map_err(BundleError::part(CATALOGUE))? {
        catalogue.extend(batch.map_err(BundleError::part(CATALOGUE))?);
    }
    Ok(catalogue)
}

fn read(path: &Path) -> Result<Vec<u8>, BundleError> {
    fs::read(path).map_err(|source| BundleError::io(path, source))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    fs::write(path, bytes).map_err(|source| BundleError::io(path, source))
}
