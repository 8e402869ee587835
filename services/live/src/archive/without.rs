//! An archive that is written without those who were erased, and written anew when somebody is.
//!
//! ```text
//! topic ──► Without: nobody's records who was erased ──► rolls ──► files
//! somebody is erased ──► _erasures.json, at once ──► rolls are finished ──► files are rewritten ──► rolls go on
//! ```

use std::{path::PathBuf, sync::Arc, time::Duration};

use endcap_clickstream::Erased;
use tokio_util::sync::CancellationToken;

use super::{At as _, Error, Handle, Location, Options, Service, erase, storage::LOCK};
use crate::{
    ConfigError, EventSource, PartitionBounds, PartitionOffset, Record, SourceError,
    decode::view_event_on_time, decode_impression, erasures::Erasures, folder_lock::FolderLock,
};

/// How often is looked whether somebody else was erased.
const LOOK: Duration = Duration::from_millis(200);
/// How long others are waited for who are erased at about the same time: the files are read once for all of them.
const GATHER: Duration = Duration::from_secs(5);

/// Archives as [`run`](super::run) does, without anybody that `erasures` knows or comes to know; `make` makes the options
/// anew each time that rolls go on after files were rewritten, and `handle` tells of all of it. Waits until the erasures are
/// loaded. What a bucket holds already is not written anew.
///
/// # Errors
/// As [`run`](super::run), and when the options cannot be made.
pub async fn run_without(
    make: &mut (dyn FnMut() -> Result<Options, ConfigError> + Send),
    erasures: &Erasures,
    handle: &Handle,
    drain: CancellationToken,
) -> Result<(), Error> {
    tokio::select! {
        loaded = erasures.loaded() => if !loaded { return Ok(()) },
        () = drain.cancelled() => return Ok(()),
    }
    loop {
        let known = erasures.count();
        let options = make().map_err(|error| Error::Settings(error.to_string()))?;
        let dir = match &options.to {
            Location::Folder(dir) => dir.clone(),
            to @ Location::Bucket { .. } => {
                if known > 0 {
                    tracing::warn!(
                        "{to} takes nothing more of {known} erased shopper(s); what it holds of them already stays \
                         there until its objects are deleted: `endcap archive fetch`, then `endcap erase --archive`, \
                         makes a folder without them"
                    );
                }
                return Service::going_on(options.without(erasures), handle).run(drain).await;
            }
        };
        rewrite(dir.clone(), erasures.clone()).await?;
        let session = drain.child_token();
        let service = Service::going_on(options.without(erasures), handle);
        let mut running = std::pin::pin!(service.run(session.clone()));
        tokio::select! {
            result = &mut running => return result,
            () = more(erasures, known) => {
                // From now on no reader sees them, wherever their rows lie.
                erasures.erased().write_pending(&dir)?;
                tokio::select! {
                    () = drain.cancelled() => {}
                    () = tokio::time::sleep(GATHER) => {}
                }
                session.cancel();
                running.await?;
            }
        }
        if drain.is_cancelled() {
            return Ok(());
        }
    }
}

/// Takes everybody out of the folder who was erased, unless that is done.
async fn rewrite(dir: PathBuf, erasures: Erasures) -> Result<(), Error> {
    let passing = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&dir).at(&dir, "create")?;
        let lock = FolderLock::take(&dir, LOCK).at(&dir.join(LOCK), "lock")?;
        let _lock = lock.ok_or_else(|| Error::InUse { path: dir.clone() })?;
        let pass = erase::pass(&dir, &erasures, false)?;
        if pass.files > 0 {
            tracing::info!(?pass, "the archive in {} is written anew without erased shoppers", dir.display());
        }
        Ok(())
    });
    passing.await.unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())))
}

async fn more(erasures: &Erasures, known: usize) {
    while erasures.count() <= known {
        tokio::time::sleep(LOOK).await;
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
