//! The catalogue in: the topic `items`, from a bundle's offsets forward, into the recommender.
//!
//! ```text
//! topic items ──EventSource──► decode ──► CatalogueSink::upsert
//!                                └ empty value ──► CatalogueSink::delete
//! ```
//!
//! A bundle names the offsets that its catalogue was built from. Whoever loads it replays the topic
//! from there ([`replay`], or [`Handle::caught_up`]) before it takes traffic, so an item that was
//! upserted before a restart or a swap is there after it. Applying a record again changes nothing.

use std::{sync::Arc, time::Duration};

use endcap_proto::{Item, ItemId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    DeadLetters, EventSource, PartitionBounds, PartitionOffset, Place, Record, Reject, SourceError, Stage,
    decode_item,
    source::{Progress, reach},
};

/// Takes what happens to the catalogue. Called from a thread that may be kept waiting.
pub trait CatalogueSink: Send + Sync {
    /// A new item, or a new version of one, by the record at `place`.
    ///
    /// # Errors
    /// When it cannot be used; it is put with the dead letters, and the stream goes on.
    fn upsert(&self, item: Item, place: &Place) -> Result<(), CatalogueError>;

    /// The item is no more.
    ///
    /// # Errors
    /// As [`Self::upsert`]. That there was no such item is no error.
    fn delete(&self, item: &ItemId, place: &Place) -> Result<(), CatalogueError>;
}

/// Why an item cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CatalogueError(#[from] Box<dyn std::error::Error + Send + Sync>);

/// What the feed needs.
pub struct Options {
    /// The topic `items`.
    pub source: Box<dyn EventSource>,
    /// Where to begin, from the bundle's manifest; partitions that are not named are read whole.
    pub from: Vec<PartitionOffset>,
    /// What takes the items.
    pub sink: Arc<dyn CatalogueSink>,
    /// What takes records that cannot be used.
    pub dead_letters: DeadLetters,
}

/// Feeds the catalogue.
pub struct Service {
    feed: Feed,
    status: watch::Sender<ItemsStatus>,
}

/// How the feed is doing. Clones see the same.
#[derive(Debug, Clone)]
pub struct Handle {
    status: watch::Receiver<ItemsStatus>,
}

/// How the feed is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemsStatus {
    /// Items put into the catalogue.
    pub upserted: u64,
    /// Items taken out of it.
    pub deleted: u64,
    /// Records that could not be used.
    pub rejected: u64,
    /// The next offset of each partition.
    pub offsets: Vec<PartitionOffset>,
    /// Everything that was in the topic at the start has been applied.
    pub caught_up: bool,
    /// What it is waiting for, where it cannot read.
    pub trouble: Option<String>,
}

/// The feed cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The topic cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The feed's thread panicked: a bug.
    #[error("the feed of items panicked: {0}")]
    Panicked(String),
}

/// Reads the topic to the end that it has now, and returns the offsets from which to go on.
/// Blocks; belongs on a thread of its own.
///
/// # Errors
/// When the topic cannot be read, or is not there.
pub fn replay(options: Options) -> Result<ItemsStatus, Error> {
    let mut feed = Feed::new(options);
    let bounds = feed.source.bounds()?;
    feed.begin(&bounds)?;
    while !feed.progress.caught_up() {
        feed.step(Duration::from_millis(100))?;
    }
    Ok(feed.status())
}

/// The reading itself.
struct Feed {
    source: Box<dyn EventSource>,
    from: Vec<PartitionOffset>,
    sink: Arc<dyn CatalogueSink>,
    dead_letters: DeadLetters,
    progress: Progress,
    status: ItemsStatus,
}

/// Records taken between two looks at the drain.
const BATCH: usize = 256;

// === impl Service ===

impl Service {
    /// The service, and the handle that tells how it is doing.
    pub fn new(options: Options) -> (Self, Handle) {
        let (status, seen) = watch::channel(ItemsStatus::default());
        (Self { feed: Feed::new(options), status }, Handle { status: seen })
    }

    /// Feeds the catalogue until `drain`. Waits for a broker that is away.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub async fn run(self, drain: CancellationToken) -> Result<(), Error> {
        // A future that is dropped ends its thread, too.
        let drain = drain.child_token();
        let _ends = drain.clone().drop_guard();
        let reading = tokio::task::spawn_blocking(move || self.read(&drain));
        reading.await.unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())))
    }

    fn read(mut self, drain: &CancellationToken) -> Result<(), Error> {
        let status = &self.status;
        let mut waiting = |error: &SourceError| {
            tracing::warn!("the catalogue waits: {error}");
            status.send_modify(|status| status.trouble = Some(error.to_string()));
        };
        let Some(bounds) = reach(&mut *self.feed.source, drain, &mut waiting)? else { return Ok(()) };
        self.feed.begin(&bounds)?;
        self.status.send_replace(self.feed.status());
        while !drain.is_cancelled() {
            self.feed.step(Duration::from_millis(100))?;
            self.feed.take_on_new()?;
            let now = self.feed.status();
            self.status.send_if_modified(|status| {
                let changed = *status != now;
                *status = now;
                changed
            });
        }
        Ok(())
    }
}

// === impl Handle ===

impl Handle {
    /// How the feed is doing.
    pub fn status(&self) -> ItemsStatus {
        self.status.borrow().clone()
    }

    /// Waits until everything that was in the topic at the start has been applied; false when the
    /// feed ended before.
    pub async fn caught_up(&self) -> bool {
        self.status.clone().wait_for(|status| status.caught_up).await.is_ok()
    }

    /// Waits until the record at `place` has been applied; false when the feed ended before.
    pub async fn reached(&self, place: &Place) -> bool {
        let passed = |at: &PartitionOffset| at.partition == place.partition && at.offset > place.offset;
        self.status.clone().wait_for(|status| status.offsets.iter().any(passed)).await.is_ok()
    }
}

// === impl Feed ===

impl Feed {
    fn new(options: Options) -> Self {
        let Options { source, from, sink, dead_letters } = options;
        Self {
            source,
            from,
            sink,
            dead_letters,
            progress: Progress::default(),
            status: ItemsStatus::default(),
        }
    }

    /// Partitions that the topic has gained are read too.
    fn take_on_new(&mut self) -> Result<(), SourceError> {
        let gained = self.source.gained()?;
        if gained.is_empty() {
            return Ok(());
        }
        gained.iter().for_each(|at| self.progress.gain(at));
        self.source.assign(&self.progress.offsets())
    }

    fn begin(&mut self, bounds: &[PartitionBounds]) -> Result<(), SourceError> {
        let from: Vec<_> = bounds
            .iter()
            .map(|&PartitionBounds { partition, first, end }| {
                let named = self.from.iter().find(|from| from.partition == partition).map(|from| from.offset);
                if let Some(offset) = named.filter(|&offset| offset > end) {
                    let topic = self.source.topic();
                    tracing::warn!(
                        "topic {topic}, partition {partition} ends at offset {end}, before the bundle's {offset}: \
                         it was made anew and is read from its beginning"
                    );
                }
                let offset = named.filter(|&offset| offset <= end).unwrap_or(first).max(first);
                PartitionOffset { partition, offset }
            })
            .collect();
        self.progress = Progress::begin(&from, bounds);
        self.source.assign(&from)?;
        self.progress.look(&*self.source);
        Ok(())
    }

    fn step(&mut self, wait: Duration) -> Result<usize, SourceError> {
        let Self { source, sink, dead_letters, progress, status, .. } = self;
        let topic = source.topic().clone();
        let taken = source.poll(BATCH, wait, &mut |record| {
            let Record { partition, offset, .. } = record;
            let place = Place { topic: topic.clone(), partition, offset };
            match apply(&record, &place, &**sink) {
                Ok(Applied::Upserted) => status.upserted += 1,
                Ok(Applied::Deleted) => status.deleted += 1,
                Err(reject) => {
                    status.rejected += 1;
                    tracing::warn!("{place}: {reject}");
                    dead_letters.offer(&place, &record, &reject);
                }
            }
            progress.passed(partition, offset);
        })?;
        self.progress.look(&*self.source);
        Ok(taken)
    }

    fn status(&self) -> ItemsStatus {
        ItemsStatus {
            offsets: self.progress.offsets(),
            caught_up: self.progress.caught_up(),
            trouble: self.source.trouble(),
            ..self.status.clone()
        }
    }
}

enum Applied {
    Upserted,
    Deleted,
}

fn apply(record: &Record<'_>, place: &Place, sink: &dyn CatalogueSink) -> Result<Applied, Reject> {
    let refused = |error: CatalogueError| Reject { stage: Stage::Apply, reason: error.to_string() };
    if record.value.is_none_or(<[u8]>::is_empty) {
        let key = record.key.and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
        let id = ItemId::new(key)
            .map_err(|error| Reject { stage: Stage::Validate, reason: format!("key: {error}") })?;
        sink.delete(&id, place).map_err(refused)?;
        Ok(Applied::Deleted)
    } else {
        sink.upsert(decode_item(record)?, place).map_err(refused)?;
        Ok(Applied::Upserted)
    }
}
