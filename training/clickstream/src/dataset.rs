//! A data set: the folder that an import or the archive writes and everything else reads.
//!
//! ```text
//! DIR/dataset.json              what it is; written last
//!     events/**/*.arrow         the clickstream, in any folders (date=2026-11-24/hour=13/ …)
//!     items.arrow               the catalogue; or items/**/*.arrow
//!     impressions/**/*.arrow    the slates that were served
//!     _items.offsets.json       which point of the topic `items` the catalogue is of
//!     _erasures.json            shoppers whom the files are yet to be rewritten without: no reader sees them
//! ```
//!
//! Everything but the events may be missing. Names that begin with `.` or `_` are passed over; any
//! other file among the data is an error, so that nothing is left out in silence.

mod erasures;
mod items_offsets;
mod write;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use endcap_proto::{Event, Item, v1::Impression};
use serde::{Deserialize, Serialize};

pub use items_offsets::ItemsOffset;
pub use write::{DatasetSummary, DatasetWriter};

use crate::{
    ClickstreamError, Erased, EventBatch,
    error::IoContext,
    file::{has_known_ending, known_endings},
    table::{Table, TableReader},
};

const INFO_FILE: &str = "dataset.json";
const EVENTS: &str = "events";
const ITEMS: &str = "items";
const IMPRESSIONS: &str = "impressions";
/// There while a data set is being written.
const UNFINISHED: &str = "UNFINISHED";

/// A folder of events, with its catalogue and impressions where it has them; or several, as one.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The folder; the first of several.
    pub dir: PathBuf,
    /// What is known of it; of several, what holds for all.
    pub info: DatasetInfo,
    folders: Vec<Folder>,
}

#[derive(Debug, Clone)]
struct Folder {
    dir: PathBuf,
    split: Option<FixedSplit>,
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

// === impl Dataset ===

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
    /// As [`Self::open`], and when the folders do not fit together: times that are real in one and
    /// ordinal in another, or a fixed split in one only.
    pub fn open_many(dirs: &[impl AsRef<Path>]) -> Result<Self, ClickstreamError> {
        let refuse = |dir: &Path, reason: &str| {
            Err(ClickstreamError::Dataset { path: dir.to_owned(), reason: reason.to_owned() })
        };
        let Some((first, others)) = dirs.split_first() else {
            return refuse(Path::new(""), "no data set was named");
        };
        let mut all = Self::open_one(first.as_ref())?;
        for dir in others {
            let other = Self::open_one(dir.as_ref())?;
            if other.info.time != all.info.time {
                let reason = "its times are real and another's are ordinal (see `time` in dataset.json): they \
                              cannot be merged";
                return refuse(&other.dir, reason);
            }
            if other.info.split.is_some() != all.info.split.is_some() {
                return refuse(
                    &other.dir,
                    "a fixed split in one data set and none in another: they cannot be merged",
                );
            }
            all.info.source = format!("{} + {}", all.info.source, other.info.source);
            all.info.ordered &= other.info.ordered;
            all.info.notes.extend(other.info.notes);
            all.folders.extend(other.folders);
        }
        Ok(all)
    }

    fn open_one(dir: &Path) -> Result<Self, ClickstreamError> {
        let refuse = |reason: String| Err(ClickstreamError::Dataset { path: dir.to_owned(), reason });
        fs::read_dir(dir).at(dir, "open")?;
        if dir.join(UNFINISHED).exists() {
            return refuse("the data set was not written to its end; write it again".to_owned());
        }
        let info_path = dir.join(INFO_FILE);
        let info = match fs::read(&info_path) {
            Ok(bytes) => DatasetInfo::parse(&info_path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && dir.join(EVENTS).is_dir() => {
                DatasetInfo::new("archive")
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return refuse(format!(
                    "is no data set: it has neither {INFO_FILE} nor {EVENTS}/; make one with `endcap import`"
                ));
            }
            Err(error) => return Err(error).at(&info_path, "read"),
        };
        let split = info.split.clone();
        let dataset =
            Self { dir: dir.to_owned(), info, folders: vec![Folder { dir: dir.to_owned(), split }] };
        if dataset.info.split.is_some() {
            for file in [Part::Train, Part::Test].map(|part| dataset.event_files(part)).into_iter() {
                if let Some(missing) = file?.into_iter().find(|file| !file.is_file()) {
                    let reason =
                        format!("the fixed split of {INFO_FILE} names it, but there is no such file");
                    return Err(ClickstreamError::Dataset { path: missing, reason });
                }
            }
        }
        Ok(dataset)
    }

    /// All events, file by file in the order of their paths.
    ///
    /// # Errors
    /// When the folder cannot be listed; a file that cannot be read is an item of the iterator.
    pub fn events(
        &self,
    ) -> Result<impl Iterator<Item = Result<EventBatch, ClickstreamError>> + Send + use<>, ClickstreamError>
    {
        self.events_of(Part::All)
    }

    /// The events of one part.
    ///
    /// # Errors
    /// As [`Self::events`], and when a part is asked for that the data set does not have.
    pub fn events_of(
        &self,
        part: Part,
    ) -> Result<impl Iterator<Item = Result<EventBatch, ClickstreamError>> + Send + use<>, ClickstreamError>
    {
        Files::<Event>::read(self.event_files(part)?, &self.folders)
    }

    /// The files of one part, sorted by path within each folder. Reading them in parallel is sound. What they
    /// hold of shoppers whose erasure is pending is passed over by [`Self::events_of`] alone.
    ///
    /// # Errors
    /// As [`Self::events_of`].
    pub fn event_files(&self, part: Part) -> Result<Vec<PathBuf>, ClickstreamError> {
        let mut files = Vec::new();
        for Folder { dir, split } in &self.folders {
            match (part, split) {
                (Part::All, _) => files.extend(data_files(&dir.join(EVENTS))?),
                (Part::Train, Some(split)) => files.extend(split.train.iter().map(|file| dir.join(file))),
                (Part::Test, Some(split)) => files.extend(split.test.iter().map(|file| dir.join(file))),
                (Part::Train | Part::Test, None) => {
                    let reason =
                        format!("has no fixed split: {INFO_FILE} names no `split`; cut it in time instead");
                    return Err(ClickstreamError::Dataset { path: dir.clone(), reason });
                }
            }
        }
        Ok(files)
    }

    /// The catalogue: each product once, in the order of first appearance, as it was last described;
    /// empty when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn items(&self) -> Result<Vec<Item>, ClickstreamError> {
        let mut items: Vec<Item> = Vec::new();
        let mut places = HashMap::new();
        for batch in self.item_batches()? {
            for item in batch? {
                let place = *places.entry(item.id.clone()).or_insert(items.len());
                match items.get_mut(place) {
                    Some(known) => *known = item,
                    None => items.push(item),
                }
            }
        }
        Ok(items)
    }

    /// The slates that were served, file by file in the order of their paths.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn impressions(
        &self,
    ) -> Result<
        impl Iterator<Item = Result<Vec<Impression>, ClickstreamError>> + Send + use<>,
        ClickstreamError,
    > {
        let mut files = Vec::new();
        for Folder { dir, .. } in &self.folders {
            files.extend(data_files(&dir.join(IMPRESSIONS))?);
        }
        Files::<Impression>::read(files, &self.folders)
    }

    /// The catalogue as it is written: a product may be there again.
    pub(crate) fn item_batches(
        &self,
    ) -> Result<impl Iterator<Item = Result<Vec<Item>, ClickstreamError>> + use<>, ClickstreamError> {
        Files::<Item>::read(self.item_files()?, &[])
    }

    fn item_files(&self) -> Result<Vec<PathBuf>, ClickstreamError> {
        let mut files = Vec::new();
        for Folder { dir, .. } in &self.folders {
            let beside = sorted_entries(dir)?.into_iter().filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.split_once('.').is_some_and(|(stem, _)| stem == ITEMS) && has_known_ending(path)
            });
            files.extend(beside);
            files.extend(data_files(&dir.join(ITEMS))?);
        }
        Ok(files)
    }
}

/// Reads files one after the other.
struct Files<T> {
    files: std::vec::IntoIter<PathBuf>,
    open: Option<TableReader<T>>,
    /// Whom the rows of a folder are read without, where there is anybody.
    erased: Vec<(PathBuf, Arc<Erased>)>,
    /// The same, of the file that is open.
    without: Option<Arc<Erased>>,
}

impl<T> Files<T> {
    fn read(files: Vec<PathBuf>, folders: &[Folder]) -> Result<Self, ClickstreamError> {
        let mut erased = Vec::new();
        for Folder { dir, .. } in folders {
            let pending = Erased::pending(dir)?;
            if !pending.is_empty() {
                erased.push((dir.clone(), Arc::new(pending)));
            }
        }
        Ok(Self { files: files.into_iter(), open: None, erased, without: None })
    }
}

impl<T: Table> Iterator for Files<T> {
    type Item = Result<T::Batch, ClickstreamError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.open.as_mut().and_then(Iterator::next) {
                return Some(match &self.without {
                    Some(erased) => batch.and_then(|batch| T::without(batch, erased)),
                    None => batch,
                });
            }
            let path = self.files.next()?;
            let within = |(dir, _): &&(PathBuf, Arc<Erased>)| path.starts_with(dir);
            self.without = self.erased.iter().find(within).map(|(_, erased)| Arc::clone(erased));
            match TableReader::open(path) {
                Ok(reader) => self.open = Some(reader),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The data files under a folder, sorted by path; none where there is no such folder.
fn data_files(dir: &Path) -> Result<Vec<PathBuf>, ClickstreamError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for path in sorted_entries(dir)? {
        if path.is_dir() {
            files.extend(data_files(&path)?);
        } else if has_known_ending(&path) {
            files.push(path);
        } else {
            let reason =
                format!("is no data file (one ends in {}); move it elsewhere, or import it", known_endings());
            return Err(ClickstreamError::Dataset { path, reason });
        }
    }
    Ok(files)
}

/// What a folder holds, without names that begin with `.` or `_`.
fn sorted_entries(dir: &Path) -> Result<Vec<PathBuf>, ClickstreamError> {
    let entries = fs::read_dir(dir).at(dir, "list")?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().at(dir, "list")?;
    paths.retain(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        !name.starts_with(['.', '_'])
    });
    paths.sort_unstable();
    Ok(paths)
}

// === impl DatasetInfo ===

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

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ClickstreamError> {
        /// The version alone: another version may have other fields.
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let refuse = |reason: String| ClickstreamError::Dataset { path: path.to_owned(), reason };
        let Versioned { version } =
            serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        if version != u64::from(Self::VERSION) {
            return Err(ClickstreamError::Version {
                path: path.to_owned(),
                found: format!("version {version}"),
                expected: format!("version {}", Self::VERSION),
                advice: "update Endcap, or import the source again",
            });
        }
        let info: Self = serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        for file in info.split.iter().flat_map(|split| split.train.iter().chain(&split.test)) {
            let inside =
                Path::new(file).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            if !inside || file.is_empty() {
                return Err(refuse(format!("split: {file:?} must be a path within the data set's folder")));
            }
        }
        Ok(info)
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests;
