//! What a start does with a folder: the newest snapshot, then the journal since.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64},
};

use serde::{Deserialize, Serialize};

use super::{
    Shared, StoreConfig, StoreError,
    core::Core,
    files::{self, DESCRIPTION, JOURNAL, LOCK, SNAPSHOT, UNFINISHED},
    journal::{self, ReadFrame},
    operation::Operation,
    partition::Partitions,
    snapshot::{self, SnapshotError},
    tables::Tables,
    writer::Beginning,
};
use crate::folder_lock::FolderLock;

/// Version of the folder.
const VERSION: u32 = 2;

/// What stands in `state.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Description {
    version: u32,
    topic: String,
}

/// Opens a folder, or begins one.
pub(super) fn open(dir: &Path, topic: &str, config: &StoreConfig) -> Result<(Shared, Beginning), StoreError> {
    let storage =
        |action| move |source: io::Error| StoreError::Storage { path: dir.to_owned(), action, source };
    fs::create_dir_all(dir).map_err(storage("make the folder"))?;
    let lock = FolderLock::take(dir, LOCK).map_err(storage("lock the folder"))?;
    let lock = lock.ok_or_else(|| StoreError::InUse { path: dir.to_owned() })?;
    describe(dir, topic)?;
    let tables = Tables::new();
    let all = files::numbers(dir, SNAPSHOT).map_err(storage("list the folder"))?;
    let newest = all.last().copied();
    let (mut frames, mut sequence, mut snapshot_bytes) = (0, 0, 0);
    let mut partitions = Partitions::new();
    if let Some(number) = newest {
        let (moment, restored, bytes) =
            snapshot::load(dir, number, &tables).map_err(|error| match error {
                SnapshotError::Io(source) => {
                    StoreError::Storage { path: dir.to_owned(), action: "read the snapshot", source }
                }
                SnapshotError::Corrupt(reason) => corrupt(dir, format!("{SNAPSHOT}{number:010}"), reason),
            })?;
        (frames, sequence, snapshot_bytes) = (moment.frame, moment.sequence, bytes);
        partitions = restored;
        files::remove_before(dir, SNAPSHOT, number).map_err(storage("remove an old snapshot"))?;
    }
    let first = newest.unwrap_or_default();
    files::remove_before(dir, JOURNAL, first).map_err(storage("remove an old journal"))?;
    let mut core = Core::new(config.clone(), partitions, sequence);
    let (mut journal_bytes, mut forgot) = (0, false);
    let mut next = first;
    for number in files::numbers(dir, JOURNAL).map_err(storage("list the folder"))? {
        let path = files::path(dir, JOURNAL, number);
        let bytes = fs::read(&path).map_err(storage("read the journal"))?;
        journal_bytes += bytes.len() as u64;
        forgot |= replay(&bytes, &mut core, &tables, &mut frames)
            .map_err(|reason| corrupt(dir, format!("{JOURNAL}{number:010}"), reason))?;
        next = number + 1;
    }
    let shared = Shared {
        path: dir.to_owned(),
        topic: topic.into(),
        config: config.clone(),
        tables,
        applied: Default::default(),
        trending: Default::default(),
        sequence: AtomicU64::new(core.sequence),
        durable: Default::default(),
        snapshot_bytes: AtomicU64::new(snapshot_bytes),
        snapshot_number: AtomicU64::new(first),
        closing: AtomicBool::new(false),
        _lock: lock,
    };
    Ok((shared, Beginning { core, frames, journal: next, journal_bytes, forgot }))
}

/// The topic that the state in a folder is of.
pub(super) fn topic(dir: &Path) -> Result<String, StoreError> {
    let path = dir.join(DESCRIPTION);
    let bytes = fs::read(&path).map_err(|source| StoreError::Storage {
        path: dir.to_owned(),
        action: "read state.json, which says what it is of",
        source,
    })?;
    let description: Description = serde_json::from_slice(&bytes)
        .map_err(|error| corrupt(dir, DESCRIPTION.to_owned(), error.to_string()))?;
    Ok(description.topic)
}

/// Says what the folder is, or checks what it says. Takes away what a killed process left unfinished.
fn describe(dir: &Path, topic: &str) -> Result<(), StoreError> {
    let storage =
        |action| move |source: io::Error| StoreError::Storage { path: dir.to_owned(), action, source };
    let mut others = 0;
    for entry in fs::read_dir(dir).map_err(storage("list the folder"))? {
        let path = entry.map_err(storage("list the folder"))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.ends_with(UNFINISHED) {
            fs::remove_file(&path).map_err(storage("remove what was left unfinished"))?;
        } else if name != LOCK {
            others += 1;
        }
    }
    let expected = Description { version: VERSION, topic: topic.to_owned() };
    let says = |of: &Description| format!("version {}, topic {}", of.version, of.topic);
    let foreign =
        |found: String| StoreError::Foreign { path: dir.to_owned(), found, expected: says(&expected) };
    let path = dir.join(DESCRIPTION);
    match fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice::<Description>(&bytes) {
            Ok(found) if found == expected => Ok(()),
            Ok(found) => Err(foreign(says(&found))),
            Err(error) => Err(corrupt(dir, DESCRIPTION.to_owned(), error.to_string())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound && others == 0 => {
            let json =
                serde_json::to_vec_pretty(&expected).map_err(io::Error::other).map_err(storage("write"))?;
            let unfinished = path.with_added_extension(&UNFINISHED[1..]);
            let write = || {
                fs::write(&unfinished, json)?;
                File::open(&unfinished)?.sync_all()?;
                fs::rename(&unfinished, &path)?;
                files::sync_folder(dir)
            };
            write().map_err(storage("write"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(foreign("a folder of other files, or of version 1".to_owned()))
        }
        Err(error) => Err(storage("read what it is of")(error)),
    }
}

/// Does what a journal says, and whether that was to forget somebody; why not, where it makes no sense.
fn replay(bytes: &[u8], core: &mut Core, tables: &Tables, frames: &mut u64) -> Result<bool, String> {
    journal::check_head(bytes)?;
    let mut forgot = false;
    for frame in journal::frames(bytes) {
        let ReadFrame { number, sequence, mut operations, offsets } =
            frame.ok_or_else(|| format!("frame {frames} is whole and makes no sense"))?;
        if number != *frames {
            return Err(format!("frame {number} follows, where {frames} should"));
        }
        while !operations.is_empty() {
            let next = |partition| core.partitions.get(&partition).map_or(0, |at| at.next);
            let operation = operations
                .next(next)
                .ok_or_else(|| format!("an operation of frame {number} makes no sense"))?;
            let done = match &operation {
                Operation::Event { partition, offset, facts } => {
                    core.take(tables, *partition, *offset, facts).map(drop)
                }
                step => {
                    forgot = true;
                    core.forget(tables, step)
                }
            };
            done.map_err(|unreadable| {
                format!("{} {:016x}: {}", unreadable.kind, unreadable.key, unreadable.error)
            })?;
        }
        if core.sequence != sequence {
            return Err(format!("frame {number} is of operation {sequence}, the state of {}", core.sequence));
        }
        for (partition, next) in offsets {
            let at = core.partitions.entry(partition).or_default();
            at.next = at.next.max(next);
        }
        *frames += 1;
    }
    for at in core.partitions.values_mut() {
        (at.changed, at.journaled) = (false, at.next);
    }
    Ok(forgot)
}

fn corrupt(dir: &Path, what: String, reason: String) -> StoreError {
    StoreError::Corrupt { path: dir.to_owned(), what, reason }
}
