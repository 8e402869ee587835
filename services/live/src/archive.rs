//! The archive: topics into a folder that [`endcap_clickstream::Dataset`] reads as it is.
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
//! in the archive exactly once, whenever the process was killed.
//!
//! Who was erased is left out ([`run_without`]), and files that hold something of them are written anew ([`erase()`]).
//!
//! Late events are archived; repeats stay repeats (readers drop them by event id). What came without
//! consent is not archived, nor is what is no event.

mod erase;
mod files;
mod items;
mod rebuild;
mod roll;
mod without;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use endcap_clickstream::{ClickstreamError, DatasetInfo};
use endcap_proto::{Event, v1};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use erase::erase;
pub use rebuild::{Rebuilt, rebuild};
pub use without::run_without;

use crate::{
    ConfigError, EventSource, KafkaConfig, KafkaSource, PartitionOffset, SourceError, StoreError,
    folder_lock::FolderLock,
};

/// Held by the one process that writes an archive.
const LOCK: &str = ".archive.lock";

/// How the archive is cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchiveConfig {
    /// A partition's roll ends after this many records …
    pub roll_records: u64,
    /// … or this long after it began, in milliseconds.
    pub roll_interval_ms: u64,
    /// As the consumer's: an event further ahead of its record's own time is not archived.
    pub ahead_at_most_ms: i64,
}

/// What the archive needs.
pub struct Options {
    /// Where it lies.
    pub dir: PathBuf,
    /// The topic `events`.
    pub events: Box<dyn EventSource>,
    /// The topic `impressions`.
    pub impressions: Box<dyn EventSource>,
    /// The topic `items`.
    pub items: Box<dyn EventSource>,
    /// How it is cut.
    pub config: ArchiveConfig,
    /// Stop once everything that was in the topics at the start is archived.
    pub until_end: bool,
}

/// Writes the archive.
pub struct Service {
    options: Options,
    status: Arc<Mutex<ArchiveStatus>>,
}

/// How the archive is doing. Clones see the same.
#[derive(Debug, Clone)]
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
    /// How to reach the topics is said wrongly.
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
        dir: impl Into<PathBuf>,
        config: ArchiveConfig,
    ) -> Result<Self, ConfigError> {
        let source = |topic: &str| {
            KafkaSource::new(kafka, topic).map(|source| Box::new(source) as Box<dyn EventSource>)
        };
        Ok(Self {
            dir: dir.into(),
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
        let status = Arc::new(Mutex::new(ArchiveStatus::default()));
        (Self { options, status: status.clone() }, Handle { status })
    }

    /// Archives until `drain`; finishes the rolls it is at.
    ///
    /// # Errors
    /// When a topic cannot be read or a file cannot be written; nothing that was finished is lost.
    pub async fn run(self, drain: CancellationToken) -> Result<(), Error> {
        let Self { options: Options { dir, events, impressions, items, config, until_end }, status } = self;
        let _lock = prepare(&dir, events.topic())?;
        // The first to fail stops the others.
        let stop = drain.child_token();
        let _ends = stop.clone().drop_guard();
        let duty = |source| Duty {
            source,
            stop: stop.clone(),
            until_end,
            config: config.clone(),
            status: status.clone(),
        };
        let (events, impressions, items) = (duty(events), duty(impressions), duty(items));
        let (event_dir, impression_dir, items_path) =
            (dir.join("events"), dir.join("impressions"), dir.join("items.arrow"));
        let tasks = [
            tokio::task::spawn_blocking(move || roll::archive::<Event>(events, event_dir)),
            tokio::task::spawn_blocking(move || roll::archive::<v1::Impression>(impressions, impression_dir)),
            tokio::task::spawn_blocking(move || items::archive(items, &items_path)),
        ];
        let watched = tasks.map(|task| async {
            let result = task.await.unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())));
            if result.is_err() {
                stop.cancel();
            }
            result
        });
        futures::future::join_all(watched).await.into_iter().collect()
    }
}

/// What archiving one topic is given.
struct Duty {
    source: Box<dyn EventSource>,
    stop: CancellationToken,
    until_end: bool,
    config: ArchiveConfig,
    status: Arc<Mutex<ArchiveStatus>>,
}

impl Duty {
    fn update(&self, change: impl FnOnce(&mut TopicStatus)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(status.entry(self.source.topic().clone()).or_default());
    }

    /// The topic's bounds, as soon as there are any.
    fn reach(&mut self) -> Result<Option<Vec<crate::PartitionBounds>>, SourceError> {
        let (status, topic) = (self.status.clone(), self.source.topic().clone());
        let mut waiting = |error: &SourceError| {
            tracing::warn!("the archive waits: {error}");
            let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
            status.entry(topic.clone()).or_default().trouble = Some(error.to_string());
        };
        crate::source::reach(&mut *self.source, &self.stop, &mut waiting)
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
        Self { roll_records: 500_000, roll_interval_ms: 3_600_000, ahead_at_most_ms: 600_000 }
    }
}

/// Makes the folder, says what it is, and holds it for this process.
fn prepare(dir: &Path, topic: &str) -> Result<FolderLock, Error> {
    fs::create_dir_all(dir.join("events")).at(dir, "create")?;
    let path = dir.join(LOCK);
    let lock = FolderLock::take(dir, LOCK).at(&path, "lock")?;
    let lock = lock.ok_or_else(|| Error::InUse { path: dir.to_owned() })?;
    let path = dir.join("dataset.json");
    if !path.exists() {
        let info = DatasetInfo::new(format!("archive of topic {topic}"));
        let json = serde_json::to_vec_pretty(&info).map_err(io::Error::other).at(&path, "write")?;
        let temporary = dir.join(".dataset.json.tmp");
        fs::write(&temporary, json).at(&temporary, "write")?;
        fs::rename(&temporary, &path).at(&path, "rename")?;
    }
    Ok(lock)
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
