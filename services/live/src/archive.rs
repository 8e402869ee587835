//! The archive: topics into a folder or a bucket that [`endcap_clickstream::Dataset`] reads as it is (a bucket: once
//! it is fetched).
//!
//! ```text
//! events       ──► DIR/events/date=2026-11-24/hour=13/part-events-00003-FIRST-LAST.arrow
//! impressions  ──► DIR/impressions/date=…/hour=…/part-impressions-…
//! items        ──► DIR/items.arrow        the whole catalogue, written anew when it changed
//!                  DIR/_items.offsets.json    which point of the topic that is of
//!                  DIR/dataset.json
//! ```
//!
//! Each partition is cut into rolls of offsets FIRST to LAST; the rows of a roll lie in one file for
//! each hour of event time that it touches, named after the whole roll. A file appears under its name when it
//! is complete, and a roll begins where the one before ended, so the names say all there is to know:
//! on start the newest roll is read again and the files that it lacks are written. So each record is
//! in the archive exactly once, whenever the process was killed. (A bucket cannot be locked: `bucket` says how rolls
//! are claimed there.)
//!
//! Who was erased is left out ([`run_without`]), and files that hold something of them are written anew ([`erase()`]).
//!
//! Late events are archived; repeats stay repeats (readers drop them by event id). What came without
//! consent is not archived, nor is what is no event.
//!
//! A full disk, or a bucket that does not answer, ends nothing: the rolls that were not finished are read again when
//! all is well.

mod archived;
mod bucket;
mod duty;
mod erase;
mod fetch;
mod files;
mod items;
mod location;
mod rebuild;
mod roll;
mod storage;
mod without;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use endcap_clickstream::ClickstreamError;
use endcap_proto::{Event, v1};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use archived::ArchivedEvents;
pub use erase::erase;
pub use fetch::{Fetched, fetch};
pub use location::{Location, LocationError, S3Config};
pub use rebuild::{Rebuilt, rebuild};
pub use without::run_without;

use self::duty::{Counts, Duty, attempt};
use crate::{ConfigError, EventSource, KafkaConfig, KafkaSource, PartitionOffset, SourceError, StoreError};

/// Says what a data set is, within the archive.
const DATASET: &str = "dataset.json";

/// How long it waits before it tries again, the first time and at most.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// Where the archive lies and how it is cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchiveConfig {
    /// A folder, or `s3://bucket/prefix`. A service archives while it serves where this is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Location>,
    /// Where files for a bucket are written before they are put there; each process' own folder.
    pub staging_path: PathBuf,
    /// A partition's roll ends after this many records …
    pub roll_records: u64,
    /// … or this long after it began, in milliseconds.
    pub roll_interval_ms: u64,
    /// As the consumer's: an event further ahead of its record's own time is not archived.
    pub ahead_at_most_ms: i64,
    /// How to reach the bucket.
    pub s3: S3Config,
}

/// What the archive needs.
pub struct Options {
    /// Where it lies.
    pub to: Location,
    /// The topic `events`.
    pub events: Box<dyn EventSource>,
    /// The topic `impressions`.
    pub impressions: Box<dyn EventSource>,
    /// The topic `items`.
    pub items: Box<dyn EventSource>,
    /// How it is cut, and how a bucket is reached.
    pub config: ArchiveConfig,
    /// Stop once everything that was in the topics at the start is archived, or at the first error.
    pub until_end: bool,
}

/// Writes the archive.
pub struct Service {
    options: Options,
    status: Arc<Mutex<ArchiveStatus>>,
}

/// How the archive is doing. Clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Handle {
    status: Arc<Mutex<ArchiveStatus>>,
}

/// How the archive is doing, by topic.
pub type ArchiveStatus = BTreeMap<Arc<str>, TopicStatus>;

/// How the archive of a topic is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicStatus {
    /// Records in finished files.
    pub archived: u64,
    /// Records left out for lack of consent.
    pub without_consent: u64,
    /// Records left out because they cannot be read.
    pub rejected: u64,
    /// Files finished.
    pub files: u64,
    /// The next offset to be read.
    pub offsets: Vec<PartitionOffset>,
    /// Everything that was in the topic at the start has been read.
    pub caught_up: bool,
    /// What it is waiting for, where it cannot read.
    pub trouble: Option<String>,
}

/// The archive cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A topic cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file cannot be written.
    #[error(transparent)]
    Clickstream(#[from] ClickstreamError),
    /// The operating system said no.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The state that is rebuilt cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Two archives must not write one folder.
    #[error("{path}: another archive is writing here", path = path.display())]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// An object of a bucket cannot be read or written.
    #[error("{object}: cannot {action}: {reason}")]
    Bucket {
        /// Its address.
        object: String,
        /// What was tried.
        action: &'static str,
        /// Why not.
        reason: String,
    },
    /// Another archive writes to the same bucket and was first; this one goes on behind it.
    #[error(
        "{address}: another archive has written topic {topic}, partition {partition} from offset {offset} on"
    )]
    Overtaken {
        /// Of the archive.
        address: String,
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: i32,
        /// Where the roll began.
        offset: i64,
    },
    /// How to reach the topics or a bucket is not said, or wrongly.
    #[error("{0}")]
    Settings(String),
    /// A thread panicked: a bug.
    #[error("the archive panicked: {0}")]
    Panicked(String),
}

/// Writes the archive until `drain`, or until the end of the topics where that is asked for; returns
/// what was done.
///
/// # Errors
/// When a topic cannot be read or a file cannot be written.
pub async fn run(options: Options, drain: CancellationToken) -> Result<ArchiveStatus, Error> {
    let (service, handle) = Service::new(options);
    service.run(drain).await?;
    Ok(handle.status())
}

// === impl Options ===

impl Options {
    /// Everything of a Kafka cluster.
    ///
    /// # Errors
    /// When a property or secret cannot be used.
    pub fn from_kafka(
        kafka: &KafkaConfig,
        to: impl Into<Location>,
        config: ArchiveConfig,
    ) -> Result<Self, ConfigError> {
        let source = |topic: &str| {
            KafkaSource::new(kafka, topic).map(|source| Box::new(source) as Box<dyn EventSource>)
        };
        Ok(Self {
            to: to.into(),
            events: source(&kafka.topics.events)?,
            impressions: source(&kafka.topics.impressions)?,
            items: source(&kafka.topics.items)?,
            config,
            until_end: false,
        })
    }
}

// === impl Service ===

impl Service {
    /// The service, and the handle that tells how it is doing.
    pub fn new(options: Options) -> (Self, Handle) {
        let handle = Handle::default();
        (Self::going_on(options, &handle), handle)
    }

    /// A service that counts on from where the handle's was.
    fn going_on(options: Options, handle: &Handle) -> Self {
        Self { options, status: handle.status.clone() }
    }

    /// Archives until `drain`; finishes the rolls it is at. What may pass (a full disk, a bucket that does not answer)
    /// is waited for, unless it is to stop at the end.
    ///
    /// # Errors
    /// When a topic cannot be read or a file cannot be written; nothing that was finished is lost.
    pub async fn run(self, drain: CancellationToken) -> Result<(), Error> {
        let Self { options: Options { to, events, impressions, items, config, until_end }, status } = self;
        let before = status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let duty = |source: Box<dyn EventSource>, work| Duty {
            counts: before.get(source.topic()).map(Counts::of).unwrap_or_default(),
            source,
            work,
            stop: CancellationToken::new(),
            until_end,
            config: config.clone(),
            status: status.clone(),
        };
        let mut duties = vec![
            duty(events, roll::archive::<Event>),
            duty(impressions, roll::archive::<v1::Impression>),
            duty(items, items::archive),
        ];
        let [first, most] = PAUSES;
        let mut pause = first;
        loop {
            let begun = Instant::now();
            let (after, result) = attempt(duties, &to, &config, &drain).await;
            duties = after;
            let error = match result {
                Err(error) if error.may_pass() && !until_end && !drain.is_cancelled() => error,
                result => return result,
            };
            tracing::warn!("the archive waits: {error}");
            for duty in &duties {
                duty.update(|status| status.trouble = Some(error.to_string()));
            }
            if begun.elapsed() > most {
                pause = first;
            }
            tokio::select! {
                () = drain.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => pause = (2 * pause).min(most),
            }
        }
    }
}

// === impl Handle ===

impl Handle {
    /// How the archive is doing.
    pub fn status(&self) -> ArchiveStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            path: None,
            staging_path: "archive-staging".into(),
            roll_records: 500_000,
            roll_interval_ms: 3_600_000,
            ahead_at_most_ms: 600_000,
            s3: S3Config::default(),
        }
    }
}

impl Error {
    /// Whether it may go well later: a disk that is full or read-only, a bucket that does not answer, another archive
    /// that was first.
    fn may_pass(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match self {
            Self::Io { source, .. } | Self::Clickstream(ClickstreamError::Io { source, .. }) => {
                matches!(source.kind(), StorageFull | ReadOnlyFilesystem | QuotaExceeded)
            }
            Self::Bucket { .. } | Self::Overtaken { .. } => true,
            _ => false,
        }
    }
}

/// Says of an I/O error which file it is about and what was tried.
trait At<T> {
    fn at(self, path: &Path, action: &'static str) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path, action: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Io { path: path.to_owned(), action, source })
    }
}
