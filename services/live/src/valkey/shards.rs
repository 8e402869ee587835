//! Item counters at a reader: every partition's shard, and their sums, kept up by polling the shards' changes.
//!
//! A change carries what a counter has become, not what was added, and the number of its flush: one that is not
//! the next means that some were missed, and the shard is read as a whole again.

use std::{
    collections::{BTreeMap, HashMap, HashSet, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use endcap_features::ItemCounters;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::StoreError;

/// One partition's counters.
#[derive(Default)]
struct Shard {
    /// Id of the last change seen.
    last: String,
    /// Number of its flush.
    flush: u64,
    counters: HashMap<u64, ItemCounters>,
}

/// A flush as it lies in the stream of changes.
type Change = (String, HashMap<String, Vec<u8>>);

/// A field of a hash, and its value.
type Field = (Vec<u8>, Vec<u8>);

/// How often, in polls, new partitions are looked for.
const PARTITIONS_EVERY: u64 = 10;
/// Changes of one question.
const CHANGES: usize = 64;

/// Keeps the sums up until `stop`.
pub(super) async fn poll(shared: Arc<Shared>, interval_ms: u64, stop: CancellationToken) {
    let interval = Duration::from_millis(interval_ms);
    let mut shards = BTreeMap::new();
    let mut polls = 0;
    loop {
        let next = Instant::now() + interval;
        match shared.look(&mut shards, polls % PARTITIONS_EVERY == 0).await {
            Ok(()) => {
                polls += 1;
                *shared.trouble() = None;
            }
            Err(error) => {
                // Looks for partitions again: those known may be all of another life.
                polls = 0;
                tracing::warn!("the item counters wait: {error}");
                *shared.trouble() = Some(error.to_string());
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep_until(next) => {}
        }
    }
}

impl Shared {
    async fn look(&self, shards: &mut BTreeMap<i32, Shard>, for_partitions: bool) -> Result<(), StoreError> {
        let mut touched = HashSet::new();
        if for_partitions {
            self.claim_prefix().await?;
            for partition in self.partitions().await? {
                if let Entry::Vacant(place) = shards.entry(partition) {
                    place.insert(self.load(partition, &mut touched).await?);
                }
            }
        }
        let questions = shards.iter().map(|(&partition, shard)| {
            let mut command = redis::cmd("XRANGE");
            let after = if shard.last.is_empty() { "-".to_owned() } else { format!("({}", shard.last) };
            command.arg(self.keys.changes(partition)).arg(after).arg("+").arg("COUNT").arg(CHANGES);
            command
        });
        let questions: Vec<_> = questions.collect();
        let answers = if questions.is_empty() { Vec::new() } else { self.all(questions).await? };
        let mut missed = Vec::new();
        for ((&partition, shard), answer) in shards.iter_mut().zip(answers) {
            for (id, change) in self.value::<Vec<Change>>(answer)? {
                let number = number(&change);
                if number != Some(shard.flush + 1) {
                    missed.push(partition);
                    break;
                }
                self.take(partition, shard, &change, &mut touched)?;
                (shard.last, shard.flush) = (id, shard.flush + 1);
            }
        }
        for partition in missed {
            let before = shards.insert(partition, self.load(partition, &mut touched).await?);
            touched.extend(before.into_iter().flat_map(|shard| shard.counters.into_keys()));
        }
        let counters = self.counters.pin();
        for item in touched {
            let sum = shards.values().filter_map(|shard| shard.counters.get(&item)).fold(
                None,
                |sum: Option<ItemCounters>, counters| {
                    Some(sum.map_or_else(|| counters.clone(), |sum| sum.merge(counters)))
                },
            );
            match sum {
                Some(sum) => drop(counters.insert(item, Arc::new(sum))),
                None => drop(counters.remove(&item)),
            }
        }
        Ok(())
    }

    /// A shard as a whole.
    async fn load(&self, partition: i32, touched: &mut HashSet<u64>) -> Result<Shard, StoreError> {
        // The changes first: what comes while the counters are read is then seen again.
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(self.keys.changes(partition)).arg("+").arg("-").arg("COUNT").arg(1);
        let newest: Vec<Change> = self.value(self.one(newest).await?)?;
        let mut shard = Shard::default();
        if let Some((id, change)) = newest.into_iter().next() {
            self.progress(partition, &change)?;
            shard.flush = number(&change).unwrap_or_default();
            shard.last = id;
        }
        shard.counters = self.shard(partition).await?.into_iter().collect();
        touched.extend(shard.counters.keys());
        Ok(shard)
    }

    /// Every counter of a shard.
    pub(super) async fn shard(&self, partition: i32) -> Result<Vec<(u64, ItemCounters)>, StoreError> {
        let key = self.keys.counters(partition);
        let mut counters = Vec::new();
        let mut cursor = 0u64;
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(&key).arg(cursor).arg("COUNT").arg(1000);
            let (next, entries): (u64, Vec<Field>) = self.value(self.one(scan).await?)?;
            for (item, bytes) in entries {
                let item = item.try_into().map(u64::from_le_bytes);
                let item =
                    item.map_err(|_| self.corrupt(&key, "an item's key has not 8 bytes".to_owned()))?;
                counters.push((item, self.counters_of(&key, &bytes)?));
            }
            cursor = next;
            if cursor == 0 {
                return Ok(counters);
            }
        }
    }

    fn take(
        &self,
        partition: i32,
        shard: &mut Shard,
        change: &HashMap<String, Vec<u8>>,
        touched: &mut HashSet<u64>,
    ) -> Result<(), StoreError> {
        let key = self.keys.changes(partition);
        let mut bytes = change.get("c").map(Vec::as_slice).unwrap_or_default();
        while !bytes.is_empty() {
            let cut_off = || self.corrupt(&key, "a change is cut off".to_owned());
            let (item, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut_off)?;
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
            let (counters, rest) =
                rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(cut_off)?;
            let item = u64::from_le_bytes(*item);
            shard.counters.insert(item, self.counters_of(&key, counters)?);
            touched.insert(item);
            bytes = rest;
        }
        self.progress(partition, change)
    }

    fn progress(&self, partition: i32, change: &HashMap<String, Vec<u8>>) -> Result<(), StoreError> {
        let Some(bytes) = change.get("at") else { return Ok(()) };
        let at = self.at(partition, bytes)?;
        self.advance([(partition, at.next, at.watermark)]);
        Ok(())
    }
}

fn number(change: &HashMap<String, Vec<u8>>) -> Option<u64> {
    change.get("n").and_then(|number| std::str::from_utf8(number).ok()?.parse().ok())
}
