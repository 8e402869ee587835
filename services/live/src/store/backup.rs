//! Backups: the files of a state copied while it is in use, opened, and read back to a digest.
//!
//! A snapshot never changes and a journal only grows, so files that are copied one after the other, oldest
//! first, are a state of the recent past whatever the writer does meanwhile. When it makes a snapshot just then, what
//! came before goes away under the copy, which is begun again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use endcap_proto::EventTime;
use serde::{Deserialize, Serialize};

use super::{
    StateStore, StoreConfig, StoreError,
    files::{self, DESCRIPTION, JOURNAL, LOCK, SNAPSHOT},
    recovery,
};
use crate::PartitionOffset;

/// What a backup is of, as `backup.json` beside its files says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Version of this file.
    pub version: u32,
    /// The topic of the events.
    pub topic: String,
    /// [`StateStore::digest`], in hexadecimal.
    pub digest: String,
    /// The newest event time.
    pub watermark: EventTime,
    /// Where in the topic it is.
    pub offsets: Vec<PartitionOffset>,
    /// Shoppers.
    pub shoppers: usize,
    /// Bytes of its files.
    pub bytes: u64,
    /// With which it was opened; it decides who is forgotten.
    forget_after_days: u32,
    /// What kind of state it is of.
    #[serde(default, skip_serializing_if = "BackupOf::is_embedded")]
    pub of: BackupOf,
}

/// What kind of state a backup is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupOf {
    /// One in a folder.
    #[default]
    Embedded,
    /// One in Valkey or Redis.
    Valkey,
}

impl BackupOf {
    fn is_embedded(&self) -> bool {
        *self == Self::Embedded
    }

    fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Valkey => "valkey",
        }
    }
}

const FILE: &str = "backup.json";
const VERSION: u32 = 1;
/// A writer that makes a snapshot during each of so many copies makes nothing else.
const TRIES: usize = 8;

impl Backup {
    /// Copies the state in `from`, which may be in use, into the folder `to`, which must not be there; opens the
    /// copy and takes its digest.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the copy is not readable.
    pub fn make(from: &Path, to: &Path, config: &StoreConfig) -> Result<Self, StoreError> {
        refuse_existing(to)?;
        let topic = recovery::topic(from)?;
        let unfinished = beside(to);
        let io = |action| move |source| StoreError::Storage { path: to.to_owned(), action, source };
        clear(&unfinished).map_err(io("remove an unfinished backup"))?;
        copy(from, &unfinished).map_err(|source| StoreError::Storage {
            path: from.to_owned(),
            action: "copy the files",
            source,
        })?;
        let mut backup = describe(&unfinished, &topic, config)?;
        fs::remove_file(unfinished.join(LOCK)).map_err(io("finish the backup"))?;
        backup.bytes = files::bytes(&unfinished).map_err(io("list the backup"))?;
        backup.write(&unfinished).map_err(io("write the backup"))?;
        finish(&unfinished, to).map_err(io("finish the backup"))?;
        Ok(backup)
    }

    /// Copies the backup in `from` into the folder `to`, which must not be there, and opens it: what it says of
    /// itself must hold.
    ///
    /// # Errors
    /// When it is no backup or not whole, or a file cannot be read or written. Then there is no `to`.
    pub fn restore(from: &Path, to: &Path, config: &StoreConfig) -> Result<Self, StoreError> {
        refuse_existing(to)?;
        let corrupt =
            |reason: String| StoreError::Corrupt { path: from.to_owned(), what: FILE.to_owned(), reason };
        let io = |path: &Path, action| {
            let path = path.to_owned();
            move |source| StoreError::Storage { path, action, source }
        };
        let said = Self::read(from, BackupOf::Embedded)?;
        let unfinished = beside(to);
        clear(&unfinished).map_err(io(to, "remove an unfinished copy"))?;
        copy(from, &unfinished).map_err(io(from, "copy the files"))?;
        let config = StoreConfig { forget_after_days: said.forget_after_days, ..config.clone() };
        let found = describe(&unfinished, &said.topic, &config)?;
        if (&found.digest, &found.offsets) != (&said.digest, &said.offsets) {
            let _ = fs::remove_dir_all(&unfinished);
            return Err(corrupt(format!(
                "the digest is {}, the backup says {}: take another backup",
                found.digest, said.digest
            )));
        }
        finish(&unfinished, to).map_err(io(to, "finish the copy"))?;
        Ok(said)
    }
}

impl Backup {
    /// What a folder says that it is a backup of.
    pub(crate) fn read(from: &Path, of: BackupOf) -> Result<Self, StoreError> {
        let corrupt =
            |reason: String| StoreError::Corrupt { path: from.to_owned(), what: FILE.to_owned(), reason };
        let bytes = fs::read(from.join(FILE)).map_err(|source| StoreError::Storage {
            path: from.to_owned(),
            action: "read backup.json",
            source,
        })?;
        let said: Self = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        if said.version != VERSION {
            return Err(corrupt(format!("its version is {}, this build reads {VERSION}", said.version)));
        }
        if said.of != of {
            let backend = |of: BackupOf| format!("a state with state.backend = {:?}", of.name());
            let path = from.to_owned();
            return Err(StoreError::Foreign { path, found: backend(said.of), expected: backend(of) });
        }
        Ok(said)
    }

    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        fs::write(dir.join(FILE), json)
    }

    pub(crate) fn of_valkey(
        topic: &str,
        digest: u64,
        watermark: EventTime,
        offsets: Vec<PartitionOffset>,
        shoppers: usize,
        bytes: u64,
    ) -> Self {
        let (topic, digest) = (topic.to_owned(), format!("{digest:016x}"));
        let of = BackupOf::Valkey;
        Self {
            version: VERSION,
            topic,
            digest,
            watermark,
            offsets,
            shoppers,
            bytes,
            forget_after_days: 0,
            of,
        }
    }
}

/// Opens a copy, leaves it as one snapshot, and says what it holds.
fn describe(dir: &Path, topic: &str, config: &StoreConfig) -> Result<Backup, StoreError> {
    let config = StoreConfig { shoppers_at_most: usize::MAX, ..config.clone() };
    let (store, mut writer) = StateStore::open(dir, topic, &config)?;
    writer.snapshot()?;
    Ok(Backup {
        version: VERSION,
        topic: topic.to_owned(),
        digest: format!("{:016x}", store.digest()?),
        watermark: store.watermark(),
        offsets: store.applied(),
        shoppers: store.shoppers_in_memory(),
        bytes: store.disk_bytes(),
        forget_after_days: config.forget_after_days,
        of: BackupOf::Embedded,
    })
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut tried = 0;
    loop {
        fs::create_dir_all(to)?;
        match try_copy(from, to) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && tried < TRIES => {}
            Err(error) => return Err(error),
        }
        tried += 1;
        if tried > TRIES {
            return Err(io::Error::other("a snapshot is made during every copy; raise snapshot_after_bytes"));
        }
        clear(to)?;
    }
}

/// Whether what was copied belongs together.
fn try_copy(from: &Path, to: &Path) -> io::Result<bool> {
    let newest = || files::numbers(from, SNAPSHOT).map(|numbers| numbers.last().copied());
    let snapshot = newest()?;
    let first = snapshot.unwrap_or_default();
    let journals: Vec<u64> =
        files::numbers(from, JOURNAL)?.into_iter().filter(|&number| number >= first).collect();
    fs::copy(from.join(DESCRIPTION), to.join(DESCRIPTION))?;
    if let Some(number) = snapshot {
        fs::copy(files::path(from, SNAPSHOT, number), files::path(to, SNAPSHOT, number))?;
    }
    for number in journals {
        fs::copy(files::path(from, JOURNAL, number), files::path(to, JOURNAL, number))?;
    }
    Ok(newest()? == snapshot)
}

pub(crate) fn refuse_existing(to: &Path) -> Result<(), StoreError> {
    if !to.exists() {
        return Ok(());
    }
    let expected = "a folder that is not there yet".to_owned();
    Err(StoreError::Foreign { path: to.to_owned(), found: "there already".to_owned(), expected })
}

/// Where a folder grows before it gets its name.
pub(crate) fn beside(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_os_string();
    name.push(".unfinished");
    to.with_file_name(name)
}

pub(crate) fn clear(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

pub(crate) fn finish(unfinished: &Path, to: &Path) -> io::Result<()> {
    files::sync_folder(unfinished)?;
    fs::rename(unfinished, to)?;
    match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => files::sync_folder(parent),
        _ => files::sync_folder(Path::new(".")),
    }
}
