//! What archiving one topic is given, and an attempt to archive all.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use endcap_clickstream::DatasetInfo;
use tokio::{runtime::Handle as Runtime, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{ArchiveConfig, ArchiveStatus, At as _, DATASET, Error, Location, TopicStatus, storage::Storage};
use crate::{
    EventSource, PartitionBounds, SourceError,
    source::{self, Progress},
};

/// What archiving one topic is given.
pub(super) struct Duty {
    pub(super) source: Box<dyn EventSource>,
    pub(super) work: fn(&mut Self, &Storage) -> Result<(), Error>,
    pub(super) stop: CancellationToken,
    pub(super) until_end: bool,
    pub(super) config: ArchiveConfig,
    /// What was done in the attempts before.
    pub(super) counts: Counts,
    pub(super) status: Arc<Mutex<ArchiveStatus>>,
}

/// What was done with a topic's records.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) archived: u64,
    pub(super) without_consent: u64,
    pub(super) rejected: u64,
    pub(super) files: u64,
}

/// Takes hold of the archive and writes it until `drain` or the first error; the duties come back, but for those that
/// panicked.
pub(super) async fn attempt(
    duties: Vec<Duty>,
    to: &Location,
    config: &ArchiveConfig,
    drain: &CancellationToken,
) -> (Vec<Duty>, Result<(), Error>) {
    // The first to fail stops the others; so does the end of this future.
    let stop = drain.child_token();
    let _ends = stop.clone().drop_guard();
    let topic = duties.first().map(|duty| duty.source.topic().to_string()).unwrap_or_default();
    let storage = match open(to.clone(), config.clone(), topic).await {
        Ok(storage) => storage,
        Err(error) => return (duties, Err(error)),
    };
    let tasks = duties.into_iter().map(|mut duty| {
        let (storage, stop) = (Arc::clone(&storage), stop.clone());
        async move {
            duty.stop = stop.clone();
            let work = spawn_blocking(move || {
                let result = (duty.work)(&mut duty, &storage);
                (Some(duty), result)
            });
            let done = work.await.unwrap_or_else(|panic| (None, Err(Error::Panicked(panic.to_string()))));
            if done.1.is_err() {
                stop.cancel();
            }
            done
        }
    });
    let (duties, results): (Vec<_>, Vec<_>) = futures::future::join_all(tasks).await.into_iter().unzip();
    (duties.into_iter().flatten().collect(), results.into_iter().collect())
}

/// Takes hold of the archive, and says in it what it is.
async fn open(to: Location, config: ArchiveConfig, topic: String) -> Result<Arc<Storage>, Error> {
    let runtime = Runtime::current();
    let opening = spawn_blocking(move || {
        let storage = Storage::open(&to, &config.s3, &config.staging_path, runtime)?;
        let info = DatasetInfo::new(format!("archive of topic {topic}"));
        let json = serde_json::to_vec_pretty(&info).map_err(io::Error::other);
        storage.create(DATASET, json.at(Path::new(DATASET), "write")?)?;
        Ok(Arc::new(storage))
    });
    opening.await.unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())))
}

// === impl Counts ===

impl Counts {
    pub(super) fn of(status: &TopicStatus) -> Self {
        let &TopicStatus { archived, without_consent, rejected, files, .. } = status;
        Self { archived, without_consent, rejected, files }
    }
}

// === impl Duty ===

impl Duty {
    pub(super) fn update(&self, change: impl FnOnce(&mut TopicStatus)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(status.entry(self.source.topic().clone()).or_default());
    }

    /// Says how far it is.
    pub(super) fn tell(&mut self, counts: Counts, progress: &Progress) {
        self.counts = counts;
        let Counts { archived, without_consent, rejected, files } = counts;
        let (offsets, caught_up) = (progress.offsets(), progress.caught_up());
        let trouble = self.source.trouble();
        self.update(|status| {
            *status = TopicStatus { archived, without_consent, rejected, files, offsets, caught_up, trouble };
        });
    }

    /// The topic's bounds, as soon as there are any.
    pub(super) fn reach(&mut self) -> Result<Option<Vec<PartitionBounds>>, SourceError> {
        let (status, topic) = (self.status.clone(), self.source.topic().clone());
        let mut waiting = |error: &SourceError| {
            tracing::warn!("the archive waits: {error}");
            let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
            status.entry(topic.clone()).or_default().trouble = Some(error.to_string());
        };
        source::reach(&mut *self.source, &self.stop, &mut waiting)
    }
}
