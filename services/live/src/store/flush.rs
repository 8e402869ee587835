//! The thread that puts what changed on disk: one batch, all or nothing, made durable at its end.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::JoinHandle,
};

use fjall::PersistMode;

use super::{
    Shared, StoreError,
    codec::{Counters, Links, Session, Shopper},
    hot::{Entry, Hot},
    partition::PartitionCut,
};

/// All that changed since the cut before.
pub(super) struct Cut {
    pub(super) epoch: u64,
    pub(super) shoppers: Vec<(u64, Arc<Shopper>)>,
    pub(super) sessions: Vec<(u64, Arc<Session>)>,
    pub(super) ended_sessions: Vec<u64>,
    pub(super) links: Vec<(u64, Arc<Links>)>,
    pub(super) counters: Vec<(u64, Arc<Counters>)>,
    pub(super) partitions: Vec<PartitionCut>,
    /// Called, on the flushing thread, before anything is written; false: nothing is to be written.
    pub(super) before: Box<dyn FnOnce() -> bool + Send>,
}

/// The thread's other end. Dropped, it lets the thread finish and waits for it.
pub(super) struct Flusher {
    cuts: Option<SyncSender<Cut>>,
    done: Receiver<Result<Option<u64>, StoreError>>,
    thread: Option<JoinHandle<()>>,
    in_flight: bool,
}

// === impl Flusher ===

impl Flusher {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let (cuts, to_write) = sync_channel::<Cut>(1);
        let (tell, done) = sync_channel(1);
        let path = shared.path.clone();
        let work = move || {
            for cut in to_write {
                let epoch = cut.epoch;
                if tell.send(write(&shared, cut).map(|written| written.then_some(epoch))).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("endcap-flush".to_owned())
            .spawn(work)
            .map_err(|error| StoreError::Storage { path, source: fjall::Error::Io(error) })?;
        Ok(Self { cuts: Some(cuts), done, thread: Some(thread), in_flight: false })
    }

    pub(super) fn in_flight(&self) -> bool {
        self.in_flight
    }

    /// Hands a cut over; one at a time.
    pub(super) fn write(&mut self, cut: Cut) {
        debug_assert!(!self.in_flight);
        // Where the thread is gone, waiting for its answer says so.
        self.in_flight =
            self.cuts.as_ref().is_some_and(|cuts| cuts.send(cut).is_ok()) || self.thread.is_some();
    }

    /// The epoch that was written, when one was since the last look; with `wait`, waits for it.
    pub(super) fn written(&mut self, shared: &Shared, wait: bool) -> Result<Option<u64>, StoreError> {
        if !self.in_flight {
            return Ok(None);
        }
        let answer = if wait {
            self.done.recv().map_err(|_| TryRecvError::Disconnected)
        } else {
            self.done.try_recv()
        };
        match answer {
            Ok(result) => {
                self.in_flight = false;
                result
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(StoreError::Panicked { path: shared.path.clone() }),
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        drop(self.cuts.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes state to disk has panicked");
        }
    }
}

/// Whether it was written.
fn write(shared: &Shared, cut: Cut) -> Result<bool, StoreError> {
    if !(cut.before)() {
        return Ok(false);
    }
    let mut batch = shared.database.batch().durability(Some(PersistMode::SyncData));
    put(&mut batch, &shared.shoppers, &cut.shoppers);
    put(&mut batch, &shared.sessions, &cut.sessions);
    put(&mut batch, &shared.links, &cut.links);
    put(&mut batch, &shared.counters, &cut.counters);
    for key in cut.ended_sessions {
        batch.remove(&shared.sessions.disk, key.to_be_bytes());
    }
    for partition in cut.partitions {
        partition.write(shared, &mut batch)?;
    }
    batch.commit().map_err(|source| StoreError::Storage { path: shared.path.clone(), source })?;
    Ok(true)
}

fn put<V: Entry>(batch: &mut fjall::OwnedWriteBatch, hot: &Hot<V>, entries: &[(u64, Arc<V>)]) {
    for (key, entry) in entries {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        batch.insert(&hot.disk, key.to_be_bytes(), bytes);
    }
}
