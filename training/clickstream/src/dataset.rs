//! A data set: the folder that an import or the archive writes and everything else reads.

use std::path::{Path, PathBuf};

use endcap_proto::{Event, Item, v1::Impression};
use serde::{Deserialize, Serialize};

use crate::{ClickstreamError, EventBatch};

/// A folder of events, with its catalogue and impressions where it has them; or several, as one.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The folder; the first of several.
    pub dir: PathBuf,
    /// What is known of it.
    pub info: DatasetInfo,
}

/// `dataset.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetInfo {
    /// Version of this file's format.
    pub version: u32,
    /// Where the events come from: `jd`, `archive`, `synthetic seed 7` …
    pub source: String,
    /// Whether the order of a visitor's events means anything.
    #[serde(default = "yes")]
    pub ordered: bool,
    /// What the times are.
    #[serde(default)]
    pub time: TimeKind,
    /// The publisher's own train and test sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<FixedSplit>,
    /// What an importer assumed, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What the times of a data set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeKind {
    /// Instants.
    #[default]
    Real,
    /// Places in a sequence, a millisecond a step: they order events and say nothing else.
    Ordinal,
}

/// Files of a fixed split, as paths relative to the folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedSplit {
    /// Learn from these.
    pub train: Vec<String>,
    /// Be asked about these.
    pub test: Vec<String>,
}

/// Which events of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// All of them.
    All,
    /// The training set of a fixed split.
    Train,
    /// The test set of a fixed split.
    Test,
}

fn yes() -> bool {
    true
}

impl DatasetInfo {
    /// The version that is written.
    pub const VERSION: u32 = 1;

    /// A data set of ordered events with real times and no fixed split.
    pub fn new(source: impl Into<String>) -> Self {
        Self {
            version: Self::VERSION,
            source: source.into(),
            ordered: true,
            time: TimeKind::Real,
            split: None,
            notes: Vec::new(),
        }
    }
}

impl Dataset {
    /// Opens a folder. One without `dataset.json` but with `events/`, such as an archive, is taken
    /// as ordered events with real times.
    ///
    /// # Errors
    /// When it is no data set, or its `dataset.json` cannot be read.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, ClickstreamError> {
        Self::open_many(&[dir])
    }

    /// Opens several folders as one. Where a product is in several catalogues, the last one counts.
    ///
    /// # Errors
    /// As [`Self::open`], and when the folders do not fit together (real and ordinal times; a fixed
    /// split in one).
    pub fn open_many(dirs: &[impl AsRef<Path>]) -> Result<Self, ClickstreamError> {
        let _ = dirs.first().map(AsRef::as_ref);
        todo!()
    }

    /// All events, file by file in the order of their paths.
    ///
    /// # Errors
    /// When the folder cannot be listed; a file that cannot be read is an item of the iterator.
    pub fn events(
        &self,
    ) -> Result<impl Iterator<Item = Result<EventBatch, ClickstreamError>> + use<>, ClickstreamError> {
        self.events_of(Part::All)
    }

    /// The events of one part.
    ///
    /// # Errors
    /// As [`Self::events`], and when a part is asked for that the data set does not have.
    pub fn events_of(
        &self,
        part: Part,
    ) -> Result<impl Iterator<Item = Result<EventBatch, ClickstreamError>> + use<>, ClickstreamError> {
        let files = self.event_files(part)?;
        Ok(files.into_iter().map(|_| todo!()))
    }

    /// The files of one part, sorted by path.
    ///
    /// # Errors
    /// As [`Self::events_of`].
    pub fn event_files(&self, part: Part) -> Result<Vec<PathBuf>, ClickstreamError> {
        let _ = part;
        todo!()
    }

    /// The catalogue: each product once, in the order of first appearance; empty when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn items(&self) -> Result<Vec<Item>, ClickstreamError> {
        todo!()
    }

    /// The slates that were served, file by file in the order of their paths.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn impressions(
        &self,
    ) -> Result<impl Iterator<Item = Result<Vec<Impression>, ClickstreamError>> + use<>, ClickstreamError> {
        Ok(std::iter::empty())
    }
}

/// Writes a data set.
#[derive(Debug)]
pub struct DatasetWriter {
    dir: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSummary {
    /// Where.
    pub dir: PathBuf,
    /// Events, of all parts.
    pub events: u64,
    /// Products.
    pub items: u64,
    /// Slates.
    pub impressions: u64,
}

impl DatasetWriter {
    /// Starts a data set in `dir`, which is made where it does not exist. Other files in it (bad
    /// rows, images) are left alone. `info.split` is filled in when parts are written.
    ///
    /// # Errors
    /// When a finished data set is there already, or the folder cannot be written.
    pub fn create(dir: impl AsRef<Path>, info: DatasetInfo) -> Result<Self, ClickstreamError> {
        let _ = info;
        Ok(Self { dir: dir.as_ref().to_owned() })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds an event to a part: [`Part::All`] where there is no fixed split.
    ///
    /// # Errors
    /// When it breaks a rule of the contract or cannot be written.
    pub fn event(&mut self, event: &Event, part: Part) -> Result<(), ClickstreamError> {
        let _ = (event, part);
        todo!()
    }

    /// Adds a product.
    ///
    /// # Errors
    /// As [`Self::event`], and when another id has the same 64-bit key.
    pub fn item(&mut self, item: &Item) -> Result<(), ClickstreamError> {
        let _ = item;
        todo!()
    }

    /// Adds a slate.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub fn impression(&mut self, impression: &Impression) -> Result<(), ClickstreamError> {
        let _ = impression;
        todo!()
    }

    /// What `dataset.json` will say; an importer may still add notes.
    pub fn info_mut(&mut self) -> &mut DatasetInfo {
        todo!()
    }

    /// Finishes all files and writes `dataset.json`, last.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn finish(self) -> Result<DatasetSummary, ClickstreamError> {
        todo!()
    }
}
