//! What belongs to a partition: claimed when it is assigned, written at each flush, all or nothing.
//!
//! ```text
//! {p7}at   epoch  raised by every claim; who writes with an older one is refused
//!          at     next offset, watermark, the window's generation and its beginning
//!          n      number of the flush
//! {p7}c    item → counters                      {p7}w…  ids of events, by generation
//! {p7}l    the newest flushes: n, at, the items that changed
//! ```

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, LazyLock, atomic::Ordering::Relaxed},
};

use endcap_features::ItemCounters;
use endcap_proto::EventTime;
use redis::Script;
use tokio::task::JoinHandle;

use super::{Shared, connection::Call, writer::Held};
use crate::{
    StoreError,
    store::{Window, codec},
};

/// A partition that is this writer's now.
pub(super) struct Claimed {
    pub(super) partition: i32,
    pub(super) held: Held,
    /// Something of it was flushed before.
    pub(super) known: bool,
}

/// What of a partition is to be flushed.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) partition: i32,
    epoch: i64,
    number: u64,
    at: At,
    remember: Vec<(u64, Vec<u64>)>,
    /// Generations of the window that count no more.
    forget: Vec<u64>,
    added: HashMap<u64, ItemCounters>,
    /// What the counters become; made once, so that writing it twice counts once.
    counters: Option<Vec<(u64, Vec<u8>)>>,
}

/// How far a partition is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct At {
    pub(super) next: i64,
    pub(super) watermark: EventTime,
    generation: u64,
    began: EventTime,
}

/// A flush under way.
pub(super) struct Flush(JoinHandle<Done>);

/// How a flush went.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Partitions that were claimed after this writer's claim of that epoch.
    pub(super) taken_over: Vec<(i32, i64)>,
    /// What is still to be written, and why it is not.
    pub(super) unsent: Vec<Cut>,
    pub(super) failed: Option<StoreError>,
}

const CLAIM: &str = "
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
return {epoch, redis.call('HGET', KEYS[1], 'at'), redis.call('HGET', KEYS[1], 'n')}";

/// KEYS: at, counters, changes, windows that grow, windows that go. ARGV: epoch, number, at, changed counters, how
/// many flushes the stream of changes keeps, how many windows grow, what each grows by, then item and counters in turn.
/// Answers 1 when it is written, 0 when the partition is another's, 2 when earlier flushes are not there any more.
const COMMIT: &str = "
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and epoch ~= ARGV[1] then return 0 end
local number = tonumber(redis.call('HGET', KEYS[1], 'n') or 0)
if epoch and number == tonumber(ARGV[2]) then return 1 end
if not epoch or number ~= ARGV[2] - 1 then return 2 end
redis.call('HSET', KEYS[1], 'at', ARGV[3], 'n', ARGV[2])
redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[5], '*', 'n', ARGV[2], 'at', ARGV[3], 'c', ARGV[4])
local growing = tonumber(ARGV[6])
for i = 1, growing do redis.call('APPEND', KEYS[3 + i], ARGV[6 + i]) end
for i = 4 + growing, #KEYS do redis.call('DEL', KEYS[i]) end
for i = 7 + growing, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1";

static CLAIM_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(CLAIM));
static COMMIT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(COMMIT));

/// Flushes that a stream of changes keeps: a reader that was away for longer reads the whole shard.
const CHANGES_KEPT: &[u8] = b"120";
/// Counters of one question.
const ITEMS_PER_READ: usize = 1024;

/// Takes partitions over.
pub(super) async fn claim(shared: &Shared, partitions: &[i32]) -> Result<Vec<Claimed>, StoreError> {
    shared.claim_prefix().await?;
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    shared.one(redis::cmd("SADD").arg(shared.keys.partitions()).arg(partitions).to_owned()).await?;
    let calls: Vec<_> = partitions
        .iter()
        .map(|&partition| Call {
            script: &CLAIM_SCRIPT,
            body: CLAIM,
            keys: vec![shared.keys.at(partition)],
            arguments: Vec::new(),
        })
        .collect();
    let answers = shared.run(&calls).await?;
    let mut claimed = Vec::with_capacity(partitions.len());
    for (&partition, answer) in partitions.iter().zip(answers) {
        let (epoch, at, number): (i64, Option<Vec<u8>>, Option<u64>) = shared.value(answer)?;
        let known = at.is_some();
        let at = at.map_or(Ok(At::default()), |bytes| shared.at(partition, &bytes))?;
        let generations = [at.generation.wrapping_sub(1), at.generation];
        let keys = generations.map(|generation| shared.keys.window(partition, generation));
        let mut remembered = Vec::new();
        for ((generation, key), bytes) in
            generations.into_iter().zip(&keys).zip(shared.values_of_slot(&keys).await?)
        {
            let bytes = bytes.unwrap_or_default();
            if bytes.len() % 8 != 0 {
                return Err(shared.corrupt(key, "its length is no multiple of 8".to_owned()));
            }
            let ids = bytes.chunks_exact(8).filter_map(|id| id.try_into().ok().map(u64::from_le_bytes));
            remembered.push((generation, ids.collect()));
        }
        let window = match known {
            true => Window::restore(at.generation, at.began, remembered).tracked(),
            false => Window::default().tracked(),
        };
        let held = Held {
            epoch,
            flushes: number.unwrap_or_default(),
            next: at.next,
            watermark: at.watermark,
            window,
            flushed_generation: at.generation,
            added: HashMap::new(),
            changed: false,
        };
        claimed.push(Claimed { partition, held, known });
    }
    Ok(claimed)
}

/// Writes cuts on another thread, after `before`.
pub(super) fn begin(shared: Arc<Shared>, cuts: Vec<Cut>, before: Box<dyn FnOnce() -> bool + Send>) -> Flush {
    let runtime = shared.runtime.clone();
    Flush(runtime.clone().spawn_blocking(move || {
        if !before() {
            return Done::default();
        }
        runtime.block_on(async {
            let mut done = Done::default();
            for mut cut in cuts {
                match shared.commit(&mut cut).await {
                    Ok(true) => {}
                    Ok(false) => done.taken_over.push((cut.partition, cut.epoch)),
                    Err(error) => {
                        done.unsent.extend(error.is_transient().then_some(cut));
                        if done.failed.as_ref().is_none_or(StoreError::is_transient) {
                            done.failed = Some(error);
                        }
                    }
                }
            }
            done
        })
    }))
}

// === impl At ===

impl At {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Self { next, watermark, generation, began } = self;
        codec::head(&(next, watermark.as_millis(), generation, began.as_millis()), &mut bytes);
        bytes
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let ((next, watermark, generation, began), _) = codec::behead::<(i64, i64, u64, i64)>(bytes)?;
        let [watermark, began] = [watermark, began].map(EventTime::clamped);
        Ok(Self { next, watermark, generation, began })
    }
}

// === impl Cut ===

impl Cut {
    /// What changed since the last cut, if anything.
    pub(super) fn of(partition: i32, held: &mut Held) -> Option<Self> {
        if !std::mem::take(&mut held.changed) {
            return None;
        }
        held.flushes += 1;
        let (generation, began) = held.window.generation();
        // Only these two were written at the last flush.
        let before = std::mem::replace(&mut held.flushed_generation, generation);
        let forget = [before.checked_sub(1), Some(before)].into_iter().flatten();
        Some(Self {
            partition,
            epoch: held.epoch,
            number: held.flushes,
            at: At { next: held.next, watermark: held.watermark, generation, began },
            remember: held.window.take_new(),
            forget: forget.filter(|of| of + 1 < generation).collect(),
            added: std::mem::take(&mut held.added),
            counters: None,
        })
    }
}

// === impl Flush ===

impl Flush {
    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    pub(super) fn wait(self, shared: &Shared) -> Result<Done, StoreError> {
        let panicked = |_| StoreError::Panicked { path: PathBuf::from(&shared.place) };
        shared.runtime.block_on(self.0).map_err(panicked)
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn at(&self, partition: i32, bytes: &[u8]) -> Result<At, StoreError> {
        At::decode(bytes).map_err(|reason| self.corrupt(&self.keys.at(partition), reason))
    }

    /// Values of keys that share a slot.
    async fn values_of_slot(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.value(self.one(super::keys::mget(keys)).await?)
    }

    /// Writes a cut; false when the partition is another's.
    async fn commit(&self, cut: &mut Cut) -> Result<bool, StoreError> {
        let counters = match cut.counters.take() {
            Some(counters) => counters,
            None => self.add(cut.partition, &cut.added).await?,
        };
        let mut changes = Vec::new();
        for (item, counters) in &counters {
            changes.extend(item.to_le_bytes());
            changes.extend((counters.len() as u32).to_le_bytes());
            changes.extend(counters);
        }
        let kept = |(of, _): &&(u64, Vec<u64>)| of + 1 >= cut.at.generation;
        let growing: Vec<_> = cut.remember.iter().filter(kept).collect();
        let window = |generation: &u64| self.keys.window(cut.partition, *generation);
        let mut keys = vec![
            self.keys.at(cut.partition),
            self.keys.counters(cut.partition),
            self.keys.changes(cut.partition),
        ];
        keys.extend(growing.iter().map(|(generation, _)| window(generation)));
        keys.extend(cut.forget.iter().map(window));
        let mut arguments = vec![
            cut.epoch.to_string().into_bytes(),
            cut.number.to_string().into_bytes(),
            cut.at.encode(),
            changes,
            CHANGES_KEPT.to_vec(),
            growing.len().to_string().into_bytes(),
        ];
        let bytes = |ids: &[u64]| ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>();
        arguments.extend(growing.iter().map(|(_, ids)| bytes(ids)));
        arguments.extend(
            counters.iter().flat_map(|(item, counters)| [item.to_le_bytes().to_vec(), counters.clone()]),
        );
        let call = Call { script: &COMMIT_SCRIPT, body: COMMIT, keys, arguments };
        let answer = self.run(&[call]).await;
        cut.counters = Some(counters);
        match self.value(answer?.into_iter().next().unwrap_or_default())? {
            1 => {
                self.counts.commits.fetch_add(1, Relaxed);
                Ok(true)
            }
            2 => Err(StoreError::Forgotten { place: self.place.clone(), partition: cut.partition }),
            _ => Ok(false),
        }
    }

    /// What a shard's counters become.
    async fn add(
        &self,
        partition: i32,
        added: &HashMap<u64, ItemCounters>,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let key = self.keys.counters(partition);
        let items: Vec<_> = added.iter().collect();
        let questions = items.chunks(ITEMS_PER_READ).map(|items| {
            let mut command = redis::cmd("HMGET");
            command.arg(&key);
            for (item, _) in items {
                command.arg(&item.to_le_bytes());
            }
            command
        });
        let answers = match items.is_empty() {
            true => Vec::new(),
            false => self.all(questions.collect()).await?,
        };
        let mut held = Vec::with_capacity(items.len());
        for answer in answers {
            held.extend(self.value::<Vec<Option<Vec<u8>>>>(answer)?);
        }
        let sums = items.into_iter().zip(held).map(|((&item, added), held)| {
            let counters = match held {
                Some(bytes) => self.counters_of(&key, &bytes)?.merge(added),
                None => added.clone(),
            };
            Ok((item, counters.encode()))
        });
        sums.collect()
    }

    pub(super) fn counters_of(&self, key: &[u8], bytes: &[u8]) -> Result<ItemCounters, StoreError> {
        ItemCounters::decode(bytes).map_err(|error| self.corrupt(key, error.to_string()))
    }
}
