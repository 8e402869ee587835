//! Writing a data set: files that grow to a fixed size, a marker while it is unfinished, and
//! `dataset.json` last.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use endcap_proto::{Event, Item, ItemId, ItemKey, v1::Impression};
use serde::{Deserialize, Serialize};

use super::{DatasetInfo, EVENTS, FixedSplit, IMPRESSIONS, INFO_FILE, ITEMS, Part, UNFINISHED};
use crate::{
    ClickstreamError, ItemWriter,
    error::IoContext,
    file::PendingFile,
    table::{Table, TableWriter},
};

/// Rows after which a further file is begun, so that files can be read in parallel.
const FILE_ROWS: u64 = 4 << 20;

/// Writes a data set. One that is not finished cannot be opened, and is written over by the next.
#[derive(Debug)]
pub struct DatasetWriter {
    dir: PathBuf,
    info: DatasetInfo,
    all: Series<Event>,
    train: Series<Event>,
    test: Series<Event>,
    impressions: Series<Impression>,
    items: ItemWriter,
    item_keys: HashMap<ItemKey, ItemId>,
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

/// Files of one kind: `events/part-00000.arrow`, `events/part-00001.arrow` …
#[derive(Debug)]
struct Series<T: Table> {
    dir: PathBuf,
    folder: &'static str,
    name: &'static str,
    open: Option<TableWriter<T>>,
    /// Relative to `dir`.
    files: Vec<String>,
    finished_rows: u64,
}

// === impl DatasetWriter ===

impl DatasetWriter {
    /// Starts a data set in `dir`, which is made where it does not exist. Other files in it (bad
    /// rows, images) are left alone. `info.split` is filled in by the parts that are written.
    ///
    /// # Errors
    /// When a data set is there already, or the folder cannot be written.
    pub fn create(dir: impl AsRef<Path>, info: DatasetInfo) -> Result<Self, ClickstreamError> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).at(dir, "create")?;
        let marker = dir.join(UNFINISHED);
        if marker.exists() {
            remove_unfinished(dir)?;
        } else if let Some(there) =
            [INFO_FILE, EVENTS, "items.arrow", IMPRESSIONS].iter().find(|name| dir.join(name).exists())
        {
            let reason =
                format!("holds a data set already ({there}); name another folder, or delete it first");
            return Err(ClickstreamError::Dataset { path: dir.to_owned(), reason });
        }
        fs::write(&marker, "This data set is being written, or the program that wrote it was stopped.\n")
            .at(&marker, "write")?;
        let events = |name| Series::new(dir, EVENTS, name);
        Ok(Self {
            dir: dir.to_owned(),
            info,
            all: events("part"),
            train: events("train"),
            test: events("test"),
            impressions: Series::new(dir, IMPRESSIONS, "part"),
            items: ItemWriter::create(dir.join(ITEMS).with_extension("arrow"))?,
            item_keys: HashMap::new(),
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `dataset.json` will say; an importer may still add notes.
    pub fn info_mut(&mut self) -> &mut DatasetInfo {
        &mut self.info
    }

    /// Adds an event to a part: [`Part::All`] where there is no fixed split.
    ///
    /// # Errors
    /// When it breaks a rule of the contract or cannot be written.
    pub fn event(&mut self, event: &Event, part: Part) -> Result<(), ClickstreamError> {
        match part {
            Part::All => self.all.write(event),
            Part::Train => self.train.write(event),
            Part::Test => self.test.write(event),
        }
    }

    /// Adds a product. Where one is added again, the last description counts.
    ///
    /// # Errors
    /// As [`Self::event`], and when another id has the same 64-bit key.
    pub fn item(&mut self, item: &Item) -> Result<(), ClickstreamError> {
        match self.item_keys.entry(item.id.key()) {
            Entry::Vacant(entry) => _ = entry.insert(item.id.clone()),
            Entry::Occupied(entry) if *entry.get() == item.id => {}
            Entry::Occupied(entry) => {
                let reason = format!(
                    "the item ids {:?} and {:?} have the same 64-bit key; rename one of them",
                    entry.get(),
                    item.id
                );
                return Err(ClickstreamError::Dataset { path: self.dir.clone(), reason });
            }
        }
        self.items.write(item)
    }

    /// Adds a slate.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub fn impression(&mut self, impression: &Impression) -> Result<(), ClickstreamError> {
        self.impressions.write(impression)
    }

    /// Finishes all files and writes `dataset.json`, last.
    ///
    /// # Errors
    /// When something cannot be written, or events were written both with and without a part.
    pub fn finish(mut self) -> Result<DatasetSummary, ClickstreamError> {
        let (all, _) = self.all.finish()?;
        let (train, train_files) = self.train.finish()?;
        let (test, test_files) = self.test.finish()?;
        if train + test > 0 {
            if all > 0 {
                let reason = format!("{all} events are of no part of the fixed split, {} are", train + test);
                return Err(ClickstreamError::Dataset { path: self.dir, reason });
            }
            self.info.split = Some(FixedSplit { train: train_files, test: test_files });
        }
        let (impressions, _) = self.impressions.finish()?;
        self.items.finish()?;
        let items = self.item_keys.len() as u64;
        let path = self.dir.join(INFO_FILE);
        write_json(&path, &self.info).at(&path, "write")?;
        let marker = self.dir.join(UNFINISHED);
        fs::remove_file(&marker).at(&marker, "remove")?;
        Ok(DatasetSummary { dir: self.dir, events: all + train + test, items, impressions })
    }
}

/// Removes what an unfinished run left.
fn remove_unfinished(dir: &Path) -> Result<(), ClickstreamError> {
    let gone = |result: io::Result<()>, path: &Path| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at(path, "remove"),
        _ => Ok(()),
    };
    for name in [EVENTS, IMPRESSIONS] {
        let path = dir.join(name);
        gone(fs::remove_dir_all(&path), &path)?;
    }
    for name in [INFO_FILE, "items.arrow"] {
        let path = dir.join(name);
        gone(fs::remove_file(&path), &path)?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut file = PendingFile::create(path)?;
    let mut json = serde_json::to_vec_pretty(value)?;
    json.push(b'\n');
    file.write_all(&json)?;
    file.finish()
}

// === impl Series ===

impl<T: Table> Series<T> {
    fn new(dir: &Path, folder: &'static str, name: &'static str) -> Self {
        Self { dir: dir.to_owned(), folder, name, open: None, files: Vec::new(), finished_rows: 0 }
    }

    fn write(&mut self, row: &T) -> Result<(), ClickstreamError> {
        if self.open.as_ref().is_some_and(|writer| writer.rows() >= FILE_ROWS) {
            self.close()?;
        }
        if self.open.is_none() {
            let folder = self.dir.join(self.folder);
            fs::create_dir_all(&folder).at(&folder, "create")?;
            let file = format!("{}/{}-{:05}.arrow", self.folder, self.name, self.files.len());
            self.open = Some(TableWriter::create(self.dir.join(&file))?);
            self.files.push(file);
        }
        self.open.as_mut().map_or(Ok(()), |writer| writer.write(row))
    }

    fn close(&mut self) -> Result<(), ClickstreamError> {
        if let Some(writer) = self.open.take() {
            self.finished_rows += writer.finish()?;
        }
        Ok(())
    }

    /// Rows, and files relative to the data set's folder.
    fn finish(&mut self) -> Result<(u64, Vec<String>), ClickstreamError> {
        self.close()?;
        Ok((self.finished_rows, std::mem::take(&mut self.files)))
    }
}
