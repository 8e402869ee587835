//! A copy of an archive from a bucket, so that it can be read as any data set.
//!
//! Files of rolls never change, so one that is there in its size is kept: fetching again fetches what is new, and what
//! a killed one lacked. The catalogue does change, and is fetched each time; the point of the topic that it is of is
//! read before it and written after it, so that it is never of a later point than it says.

use std::{
    fs,
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tokio::{io::AsyncWriteExt as _, runtime::Handle as Runtime};

use super::{
    At as _, DATASET, Error, Location, S3Config,
    bucket::Bucket,
    items::{CATALOGUE, OFFSETS},
    storage::Storage,
};

/// Objects fetched at once.
const AT_ONCE: usize = 8;

/// What was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Fetched {
    /// Files that were fetched.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were there already.
    pub kept: u64,
}

/// Fetches what `dir` lacks of the archive in a bucket.
///
/// # Errors
/// When `from` is no bucket, it cannot be read, there is no archive, or `dir` cannot be written. What was fetched
/// before stays, and need not be fetched again.
pub async fn fetch(from: &Location, s3: &S3Config, dir: &Path) -> Result<Fetched, Error> {
    let Location::Bucket { bucket, prefix } = from else {
        return Err(Error::Settings(format!(
            "{from}: is a folder already; only s3://bucket/prefix is fetched"
        )));
    };
    let bucket = Bucket::open(bucket, prefix, s3)?;
    let objects = bucket.list("").await?;
    if !objects.iter().any(|(name, _)| name == DATASET) {
        return Err(Error::Settings(format!("{from}: holds no archive: there is no {DATASET} in it")));
    }
    let to = Location::Folder(dir.to_owned());
    let storage = Storage::open(&to, s3, dir, Runtime::current())?;
    let fetching = Fetching { bucket: &bucket, storage: &storage, staged: AtomicU64::new(0) };

    let (mut fetched, mut lacking) = (Fetched::default(), Vec::new());
    for (name, size) in objects.iter().filter(|(name, _)| is_row_file(name)) {
        let there = fs::metadata(dir.join(name)).is_ok_and(|file| file.len() == *size);
        if there { fetched.kept += 1 } else { lacking.push(name.as_str()) }
    }
    let has = |wanted: &str| objects.iter().any(|(name, _)| name == wanted);
    let offsets = if has(OFFSETS) { Some(fetching.stage(OFFSETS).await?) } else { None };
    let changing = [CATALOGUE, DATASET].into_iter().filter(|name| has(name));
    let names = lacking.into_iter().chain(changing).map(|name| fetching.one(name));
    let mut done = futures::stream::iter(names).buffer_unordered(AT_ONCE);
    while let Some(bytes) = done.try_next().await? {
        fetched.files += 1;
        fetched.bytes += bytes;
    }
    if let Some((staged, bytes)) = offsets {
        storage.publish(&staged, OFFSETS)?;
        fetched.files += 1;
        fetched.bytes += bytes;
    }
    Ok(fetched)
}

/// Whether an object is a file of rows, with a name that stays within the folder. The bucket may hold other things.
fn is_row_file(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let folder = parts.next();
    let known = ["events", "impressions"].map(|known| Some(Component::Normal(known.as_ref())));
    known.contains(&folder) && parts.all(|part| matches!(part, Component::Normal(_)))
}

struct Fetching<'a> {
    bucket: &'a Bucket,
    storage: &'a Storage,
    /// Files staged so far.
    staged: AtomicU64,
}

impl Fetching<'_> {
    /// Fetches an object to its place; its bytes.
    async fn one(&self, name: &str) -> Result<u64, Error> {
        let (staged, bytes) = self.stage(name).await?;
        self.storage.publish(&staged, name)?;
        Ok(bytes)
    }

    /// Fetches an object into the staging folder, whole and durable.
    async fn stage(&self, name: &str) -> Result<(PathBuf, u64), Error> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let staged = self.storage.staged(&format!("fetched-{number}"));
        let (size, stream) = self.bucket.stream(name).await?;
        let mut stream = std::pin::pin!(stream);
        let mut file = tokio::fs::File::create(&staged).await.at(&staged, "create")?;
        let mut bytes = 0;
        while let Some(chunk) = stream.try_next().await? {
            bytes += chunk.as_ref().len() as u64;
            file.write_all(chunk.as_ref()).await.at(&staged, "write")?;
        }
        file.sync_all().await.at(&staged, "sync")?;
        match bytes == size {
            true => Ok((staged, bytes)),
            false => Err(self.bucket.cut_off(name, bytes, size)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_rows_are_fetched_and_none_leaves_the_folder() {
        assert!(is_row_file("events/date=2026-11-24/hour=13/part-events-00003-0-1.arrow"));
        assert!(is_row_file("impressions/date=2026-11-24/hour=13/part-impressions-00003-0-1.arrow"));
        for name in
            ["items.arrow", "_rolls/events/00000/0", "notes/a.txt", "events/../../etc/passwd", "/events/a"]
        {
            assert!(!is_row_file(name), "{name}");
        }
    }
}
