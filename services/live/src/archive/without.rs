//! An archive that is written without those who were erased, and written anew when somebody is.
//!
//! ```text
//! topic ──► Without: nobody's records who was erased ──► rolls ──► files
//! somebody is erased ──► _erasures.json, at once ──► rolls are finished ──► files are rewritten ──► rolls go on
//! ```

use std::{sync::Arc, time::Duration};

use endcap_clickstream::Erased;
use tokio_util::sync::CancellationToken;

use super::{ArchiveStatus, At as _, Error, LOCK, Options, erase, run};
use crate::{
    ConfigError, EventSource, PartitionBounds, PartitionOffset, Record, SourceError,
    decode::view_event_on_time, decode_impression, erasures::Erasures, folder_lock::FolderLock,
};

/// How often is looked whether somebody else was erased.
const LOOK: Duration = Duration::from_millis(200);
/// How long others are waited for who are erased at about the same time: the files are read once for all of them.
const GATHER: Duration = Duration::from_secs(5);

/// Archives as [`run`] does, without anybody that `erasures` knows or comes to know; `make` makes the options anew each
/// time that rolls go on after files were rewritten. Waits until the erasures are loaded.
///
/// # Errors
/// As [`run`], and when the options cannot be made.
pub async fn run_without(
    make: &mut (dyn FnMut() -> Result<Options, ConfigError> + Send),
    erasures: &Erasures,
    drain: CancellationToken,
) -> Result<ArchiveStatus, Error> {
    let mut all = ArchiveStatus::default();
    tokio::select! {
        loaded = erasures.loaded() => if !loaded { return Ok(all) },
        () = drain.cancelled() => return Ok(all),
    }
    loop {
        let known = erasures.count();
        let options = make().map_err(|error| Error::Settings(error.to_string()))?;
        let dir = options.dir.clone();
        let passing = (dir.clone(), erasures.clone());
        let passed = tokio::task::spawn_blocking(move || {
            let (dir, erasures) = passing;
            std::fs::create_dir_all(&dir).at(&dir, "create")?;
            let lock = FolderLock::take(&dir, LOCK).at(&dir.join(LOCK), "lock")?;
            let _lock = lock.ok_or_else(|| Error::InUse { path: dir.clone() })?;
            erase::pass(&dir, &erasures, false)
        });
        let pass = passed.await.unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())))?;
        if pass.files > 0 {
            tracing::info!(?pass, "the archive in {} is written anew without erased shoppers", dir.display());
        }
        let session = drain.child_token();
        let mut running = std::pin::pin!(run(options.without(erasures), session.clone()));
        let status = tokio::select! {
            status = &mut running => {
                add(&mut all, status?);
                return Ok(all);
            }
            () = more(erasures, known) => {
                // From now on no reader sees them, wherever their rows lie.
                erasures.erased().write_pending(&dir)?;
                tokio::select! {
                    () = drain.cancelled() => {}
                    () = tokio::time::sleep(GATHER) => {}
                }
                session.cancel();
                running.await?
            }
        };
        add(&mut all, status);
        if drain.is_cancelled() {
            return Ok(all);
        }
    }
}

async fn more(erasures: &Erasures, known: usize) {
    while erasures.count() <= known {
        tokio::time::sleep(LOOK).await;
    }
}

/// What was done in one go after the other.
fn add(all: &mut ArchiveStatus, status: ArchiveStatus) {
    for (topic, of) in status {
        let sum = all.entry(topic).or_default();
        let before = sum.clone();
        *sum = of;
        sum.archived += before.archived;
        sum.without_consent += before.without_consent;
        sum.rejected += before.rejected;
        sum.files += before.files;
    }
}

impl Options {
    /// The same, from sources that hand nothing of erased shoppers out.
    fn without(mut self, erasures: &Erasures) -> Self {
        let without =
            |inner, of| Box::new(Without { inner, erasures: erasures.clone(), of }) as Box<dyn EventSource>;
        self.events = without(self.events, Kind::Events);
        self.impressions = without(self.impressions, Kind::Impressions);
        self
    }
}

/// A source that hands nothing of erased shoppers out: to who reads it, their records are gaps between offsets.
struct Without {
    inner: Box<dyn EventSource>,
    erasures: Erasures,
    of: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Events,
    Impressions,
}

impl Kind {
    fn is_erased(self, record: &Record<'_>, erasures: &Erasures, erased: &Erased) -> bool {
        match self {
            // What is no event is somebody else's to reject.
            Self::Events => view_event_on_time(record, i64::MAX).is_ok_and(|event| {
                let event = event.view();
                erased.concerns(event.time) && erasures.cover(event.visitor(), event.user(), event.time)
            }),
            Self::Impressions => {
                decode_impression(record).is_ok_and(|slate| erased.covers_impression(&slate))
            }
        }
    }
}

impl EventSource for Without {
    fn topic(&self) -> &Arc<str> {
        self.inner.topic()
    }

    fn bounds(&mut self) -> Result<Vec<PartitionBounds>, SourceError> {
        self.inner.bounds()
    }

    fn assign(&mut self, from: &[PartitionOffset]) -> Result<(), SourceError> {
        self.inner.assign(from)
    }

    fn poll(
        &mut self,
        limit: usize,
        wait: Duration,
        each: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, SourceError> {
        let (erasures, of) = (&self.erasures, self.of);
        let erased = erasures.erased();
        self.inner.poll(limit, wait, &mut |record| {
            if erased.is_empty() || !of.is_erased(&record, erasures, &erased) {
                each(record);
            }
        })
    }

    fn pause(&mut self, paused: bool) -> Result<(), SourceError> {
        self.inner.pause(paused)
    }

    fn at_end(&self) -> bool {
        self.inner.at_end()
    }

    fn ends(&self) -> Vec<PartitionOffset> {
        self.inner.ends()
    }

    fn trouble(&self) -> Option<String> {
        self.inner.trouble()
    }
}
