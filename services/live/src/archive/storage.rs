//! Where finished files go: a folder, or a bucket, by the same names.
//!
//! A file is written in a *staging* folder of this machine and gets its name when it is whole: in a folder by a rename,
//! in a bucket by a put. One process holds the staging folder; what a killed one left there is taken away.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
};

use tokio::runtime::Handle;

use super::{
    At as _, Error, Location, S3Config,
    bucket::{Bucket, Claim},
    files::{self, NewestRoll, Roll},
};
use crate::folder_lock::FolderLock;

/// Held by the one process that writes an archive.
pub(super) const LOCK: &str = ".archive.lock";
/// Within a folder: where files are written. Data sets pass over the name.
const STAGING: &str = ".staging";

/// Where finished files go. Its calls block, and belong on threads that may.
pub(super) struct Storage {
    staging: PathBuf,
    place: Place,
    _lock: FolderLock,
}

enum Place {
    Folder(PathBuf),
    Bucket(Bucket, Handle),
}

impl Storage {
    /// Takes hold of an archive. `staging` is for a bucket.
    ///
    /// # Errors
    /// When another process holds it, it cannot be reached, or a folder cannot be written.
    pub(super) fn open(to: &Location, s3: &S3Config, staging: &Path, runtime: Handle) -> Result<Self, Error> {
        let (held, staging, place) = match to {
            Location::Folder(dir) => (dir.as_path(), dir.join(STAGING), Place::Folder(dir.clone())),
            Location::Bucket { bucket, prefix } => {
                let bucket = Bucket::open(bucket, prefix, s3)?;
                (staging, staging.join(STAGING), Place::Bucket(bucket, runtime))
            }
        };
        fs::create_dir_all(held).at(held, "create")?;
        let lock = FolderLock::take(held, LOCK).at(&held.join(LOCK), "lock")?;
        let lock = lock.ok_or_else(|| Error::InUse { path: held.to_owned() })?;
        if staging.exists() {
            fs::remove_dir_all(&staging).at(&staging, "remove")?;
        }
        fs::create_dir_all(&staging).at(&staging, "create")?;
        if let Place::Folder(dir) = &place {
            let events = dir.join("events");
            fs::create_dir_all(&events).at(&events, "create")?;
        }
        Ok(Self { staging, place, _lock: lock })
    }

    /// Where a file of this name is to be written before it is published.
    pub(super) fn staged(&self, name: &str) -> PathBuf {
        self.staging.join(name)
    }

    /// The folder of such files.
    pub(super) fn staging(&self) -> &Path {
        &self.staging
    }

    /// Gives a staged file its name in the archive, durably; what has that name is replaced.
    pub(super) fn publish(&self, staged: &Path, name: &str) -> Result<(), Error> {
        match &self.place {
            Place::Folder(dir) => {
                let path = dir.join(name);
                let parent = path.parent().unwrap_or(dir);
                make_folder(parent, dir)?;
                fs::rename(staged, &path).at(&path, "rename")?;
                sync(parent)
            }
            Place::Bucket(bucket, runtime) => {
                runtime.block_on(bucket.put_file(staged, name))?;
                fs::remove_file(staged).at(staged, "remove")
            }
        }
    }

    /// Writes a small file unless there is one.
    pub(super) fn create(&self, name: &str, bytes: Vec<u8>) -> Result<(), Error> {
        match &self.place {
            Place::Folder(dir) if dir.join(name).exists() => Ok(()),
            Place::Folder(_) => {
                let staged = self.staged(name);
                fs::write(&staged, bytes).at(&staged, "write")?;
                self.publish(&staged, name)
            }
            Place::Bucket(bucket, runtime) => runtime.block_on(bucket.create(name, bytes)).map(drop),
        }
    }

    /// The newest roll of each of these partitions of a topic, and the hours that it has files for in `folder`.
    pub(super) fn newest_rolls(
        &self,
        folder: &str,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, NewestRoll>, Error> {
        match &self.place {
            Place::Folder(dir) => files::newest_rolls(&dir.join(folder), topic),
            Place::Bucket(bucket, runtime) => runtime.block_on(async {
                let mut newest = BTreeMap::new();
                for &partition in partitions {
                    if let Some(roll) = bucket.newest_roll(folder, topic, partition).await? {
                        newest.insert(partition, roll);
                    }
                }
                Ok(newest)
            }),
        }
    }

    /// Says, before the first file of a roll that begins at the end of the one before, what it will be. In a folder the
    /// lock keeps others away.
    pub(super) fn claim(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        roll: Roll,
        hours: impl Iterator<Item = String>,
    ) -> Result<(), Error> {
        match &self.place {
            Place::Folder(_) => Ok(()),
            Place::Bucket(bucket, runtime) => {
                let claim = Claim { roll, hours: hours.collect::<BTreeSet<_>>() };
                runtime.block_on(bucket.claim(topic, partition, from, &claim))
            }
        }
    }
}

/// Makes a folder and what is missing between it and `root`, durably.
fn make_folder(folder: &Path, root: &Path) -> Result<(), Error> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).at(folder, "create")?;
    for made in folder.ancestors().skip(1) {
        sync(made)?;
        if made == root {
            break;
        }
    }
    Ok(())
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).at(folder, "sync")
}
