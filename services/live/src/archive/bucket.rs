//! An archive in a bucket. A put is atomic, so an object is there whole or not at all.
//!
//! Nobody can lock a bucket, so rolls are *claimed*: before a roll's files are put, an object that says which offsets
//! and hours it is of is created under the offset at which the roll before it ended, on the condition that there is
//! none yet.
//!
//! ```text
//! PREFIX/_rolls/events/00003/00000000000000000500    {"roll":{"last":999,"first":500},"hours":["date=…/hour=13", …]}
//! PREFIX/events/date=…/hour=13/part-events-00003-…500-…999.arrow
//! ```
//!
//! Of two archives that come to the same offset one gets the claim; the other begins again behind it. Whoever begins
//! puts what the newest claim of each partition lacks. So each record is there exactly once, whoever writes and
//! whenever they are killed.

use std::{collections::BTreeSet, io, path::Path, sync::Arc, time::Duration};

use futures::{Stream, TryStreamExt as _};
use object_store::{
    Error as Failure, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig,
    aws::AmazonS3Builder, buffered::BufWriter, path::Path as Key,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt as _, BufReader};

use super::{
    At as _, Error, Location, S3Config,
    files::{self, NewestRoll, Roll},
};
use crate::{ConfigError, Secret};

/// What is put in one request; more goes in parts.
const PART_BYTES: usize = 8 << 20;
/// Where claims lie: a name that data sets pass over.
const CLAIMS: &str = "_rolls";

/// A bucket, and the prefix of the archive in it.
#[derive(Clone)]
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    /// For messages: `s3://bucket/prefix`.
    address: String,
}

/// What a claim says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    pub(super) roll: Roll,
    /// As `date=2026-11-24/hour=13`.
    pub(super) hours: BTreeSet<String>,
}

// === impl Bucket ===

impl Bucket {
    pub(super) fn open(bucket: &str, prefix: &str, config: &S3Config) -> Result<Self, Error> {
        let S3Config { endpoint, region, access_key_id, secret_access_key, allow_http, retry_timeout_ms } =
            config;
        let retry_timeout = Duration::from_millis(*retry_timeout_ms);
        let retry = RetryConfig { retry_timeout, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
        if *allow_http {
            builder = builder.with_allow_http(true);
        }
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = region {
            builder = builder.with_region(region);
        }
        if let Some(secret) = access_key_id {
            builder = builder.with_access_key_id(read(secret, "access_key_id")?);
        }
        if let Some(secret) = secret_access_key {
            builder = builder.with_secret_access_key(read(secret, "secret_access_key")?);
        }
        let store = builder.build().map_err(|error| Error::Settings(format!("archive.s3: {error}")))?;
        let address = Location::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() };
        Ok(Self { store: Arc::new(store), prefix: prefix.to_owned(), address: address.to_string() })
    }

    /// Puts a file, replacing what is there.
    pub(super) async fn put_file(&self, file: &Path, name: &str) -> Result<(), Error> {
        let reading = tokio::fs::File::open(file).await.at(file, "open")?;
        let mut reading = BufReader::with_capacity(PART_BYTES, reading);
        let mut writing = BufWriter::with_capacity(Arc::clone(&self.store), self.key(name), PART_BYTES);
        if let Err(error) = tokio::io::copy_buf(&mut reading, &mut writing).await {
            // Parts of what is never finished cost money. Where this fails too, the bucket's own rules take them away.
            let _ = writing.abort().await;
            return Err(self.failed(name, "put", &error));
        }
        writing.shutdown().await.map_err(|error| self.failed(name, "put", &error))
    }

    /// Puts these bytes unless the object is there; whether it was not.
    pub(super) async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, Error> {
        let (key, bytes) = (self.key(name), PutPayload::from(bytes));
        match self.store.put_opts(&key, bytes.clone(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(Failure::AlreadyExists { .. } | Failure::Precondition { .. }) => Ok(false),
            Err(Failure::NotImplemented { .. }) => {
                // Conditions were turned off (AWS_CONDITIONAL_PUT): whoever does that sees to it that one archive writes.
                self.store.put(&key, bytes).await.map_err(|error| self.failed(name, "put", &error))?;
                Ok(true)
            }
            Err(error) => Err(self.failed(name, "create", &error)),
        }
    }

    /// The bytes of an object.
    pub(super) async fn get(&self, name: &str) -> Result<Vec<u8>, Error> {
        let failed = |error: Failure| self.failed(name, "get", &error);
        let found = self.store.get(&self.key(name)).await.map_err(failed)?;
        Ok(found.bytes().await.map_err(failed)?.to_vec())
    }

    /// The bytes of an object as they come, and how many there are.
    pub(super) async fn stream(
        &self,
        name: &str,
    ) -> Result<(u64, impl Stream<Item = Result<impl AsRef<[u8]> + use<>, Error>>), Error> {
        let found =
            self.store.get(&self.key(name)).await.map_err(|error| self.failed(name, "get", &error))?;
        let (size, bucket, name) = (found.meta.size, self.clone(), name.to_owned());
        Ok((size, found.into_stream().map_err(move |error| bucket.failed(&name, "get", &error))))
    }

    /// An object ended before its size.
    pub(super) fn cut_off(&self, name: &str, bytes: u64, size: u64) -> Error {
        let object = format!("{}/{name}", self.address);
        Error::Bucket { object, action: "get", reason: format!("it ended after {bytes} of {size} bytes") }
    }

    /// Names and sizes of the objects below `folder`, relative to the archive, in their order; all where it is empty.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<(String, u64)>, Error> {
        let failed = |error: Failure| self.failed(folder, "list", &error);
        let (below, own) = (self.key(folder), self.key(""));
        let mut found: Vec<_> = self
            .store
            .list((!below.as_ref().is_empty()).then_some(&below))
            .map_ok(|object| {
                let name = object.location.as_ref().strip_prefix(own.as_ref()).unwrap_or_default();
                (name.trim_start_matches('/').to_owned(), object.size)
            })
            .try_collect()
            .await
            .map_err(failed)?;
        found.sort_unstable();
        Ok(found)
    }

    /// Claims a roll that begins where the one before ended.
    ///
    /// # Errors
    /// [`Error::Overtaken`] when another archive has claimed something else there.
    pub(super) async fn claim(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        claim: &Claim,
    ) -> Result<(), Error> {
        let name = format!("{}/{from:020}", claims(topic, partition));
        let json = serde_json::to_vec(claim).map_err(io::Error::other).at(Path::new(&name), "write")?;
        // What this archive claimed before the answer was lost is its own.
        if self.create(&name, json).await? || self.read_claim(&name).await? == *claim {
            return Ok(());
        }
        let (address, topic) = (self.address.clone(), topic.to_owned());
        Err(Error::Overtaken { address, topic, partition, offset: from })
    }

    /// The newest roll of a partition that was claimed, and the hours that it has objects for.
    pub(super) async fn newest_roll(
        &self,
        folder: &str,
        topic: &str,
        partition: i32,
    ) -> Result<Option<NewestRoll>, Error> {
        let names = self.list(&claims(topic, partition)).await?;
        let Some((newest, _)) = names.last() else { return Ok(None) };
        let Claim { roll, hours } = self.read_claim(newest).await?;
        let mut there = BTreeSet::new();
        for hour in hours {
            if self.is_there(&format!("{folder}/{hour}/{}", files::name(topic, partition, roll))).await? {
                there.insert(hour);
            }
        }
        Ok(Some(NewestRoll { roll, hours: there }))
    }

    async fn read_claim(&self, name: &str) -> Result<Claim, Error> {
        let bytes = self.get(name).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.failed(name, "read", &error))
    }

    async fn is_there(&self, name: &str) -> Result<bool, Error> {
        match self.store.head(&self.key(name)).await {
            Ok(_) => Ok(true),
            Err(Failure::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed(name, "look for", &error)),
        }
    }

    /// Where an object of the archive lies. Slashes at either end are none.
    fn key(&self, name: &str) -> Key {
        Key::from(format!("{}/{name}", self.prefix))
    }

    /// Says of an error which object it is about and what was tried.
    fn failed(&self, name: &str, action: &'static str, error: &dyn std::error::Error) -> Error {
        let object = format!("{}/{name}", self.address);
        Error::Bucket { object, action, reason: error.to_string() }
    }
}

fn read(secret: &Secret, property: &str) -> Result<String, Error> {
    secret.read(property).map_err(|error| {
        let reason = match error {
            ConfigError::Secret { reason, .. } => reason,
            other => other.to_string(),
        };
        Error::Settings(format!("archive.s3.{property}: {reason}"))
    })
}

/// Where the claims of a partition lie.
fn claims(topic: &str, partition: i32) -> String {
    format!("{CLAIMS}/{topic}/{partition:05}")
}
