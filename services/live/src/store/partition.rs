//! One partition's way through the log: how far it is, its watermark, its window of repeats; and how
//! these lie on disk.
//!
//! ```text
//! partitions  [partition]                       → next offset, watermark, generation, its beginning
//! remembered  [partition, generation, offset]   → the keys of events first seen since the flush before
//! ```

use std::collections::BTreeMap;

use endcap_proto::EventTime;
use fjall::OwnedWriteBatch;

use super::{Shared, StoreError, codec, window::Window};

/// How far one partition has been applied.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// The next offset.
    pub(super) next: i64,
    /// The newest event time.
    pub(super) watermark: EventTime,
    pub(super) window: Window,
    /// Something changed since the last cut.
    pub(super) changed: bool,
}

/// What of a partition is to be flushed.
#[derive(Debug)]
pub(super) struct PartitionCut {
    partition: i32,
    next: i64,
    watermark: EventTime,
    generation: u64,
    began: EventTime,
    remember: Vec<(u64, Vec<u64>)>,
}

impl Partition {
    /// Every partition, as it was flushed.
    pub(super) fn load_all(shared: &Shared) -> Result<BTreeMap<i32, Self>, StoreError> {
        let storage = |source| StoreError::Storage { path: shared.path.clone(), source };
        let corrupt =
            |what: String, reason: String| StoreError::Corrupt { path: shared.path.clone(), what, reason };
        let mut partitions = BTreeMap::new();
        for guard in shared.partitions.iter() {
            let (key, bytes) = guard.into_inner().map_err(storage)?;
            let number =
                number(&key).ok_or_else(|| corrupt("partitions".to_owned(), "a key is malformed".into()))?;
            let ((next, watermark, generation, began), _) = codec::behead::<(i64, i64, u64, i64)>(&bytes)
                .map_err(|reason| corrupt(format!("partition {number}"), reason))?;
            let mut remembered = Vec::new();
            for guard in shared.remembered.prefix(key) {
                let (key, bytes) = guard.into_inner().map_err(storage)?;
                let of = key.get(4..12).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
                let of = of.filter(|_| bytes.len() % 8 == 0).ok_or_else(|| {
                    corrupt(
                        format!("remembered events of partition {number}"),
                        "an entry is malformed".into(),
                    )
                })?;
                let keys =
                    bytes.chunks_exact(8).filter_map(|key| key.try_into().ok().map(u64::from_le_bytes));
                remembered.push((of, keys.collect()));
            }
            let window = Window::restore(generation, EventTime::clamped(began), remembered);
            let watermark = EventTime::clamped(watermark);
            partitions.insert(number, Self { next, watermark, window, changed: false });
        }
        Ok(partitions)
    }

    /// What changed since the last cut, if anything.
    pub(super) fn cut(&mut self, partition: i32) -> Option<PartitionCut> {
        std::mem::take(&mut self.changed).then(|| {
            let (generation, began) = self.window.generation();
            let Self { next, watermark, .. } = *self;
            PartitionCut { partition, next, watermark, generation, began, remember: self.window.take_new() }
        })
    }
}

impl PartitionCut {
    pub(super) fn write(self, shared: &Shared, batch: &mut OwnedWriteBatch) -> Result<(), StoreError> {
        let Self { partition, next, watermark, generation, began, remember } = self;
        let prefix = partition.to_be_bytes();
        let mut value = Vec::new();
        codec::head(&(next, watermark.as_millis(), generation, began.as_millis()), &mut value);
        batch.insert(&shared.partitions, prefix, value);
        for (of, keys) in remember.into_iter().filter(|(of, _)| of + 1 >= generation) {
            let value: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
            batch.insert(&shared.remembered, remembered_key(partition, of, next), value);
        }
        // Generations that no longer count.
        let end = remembered_key(partition, generation.saturating_sub(1), 0);
        for guard in shared.remembered.range(prefix.as_slice()..end.as_slice()) {
            let key =
                guard.key().map_err(|source| StoreError::Storage { path: shared.path.clone(), source })?;
            batch.remove(&shared.remembered, key);
        }
        Ok(())
    }
}

fn number(key: &[u8]) -> Option<i32> {
    key.try_into().ok().map(i32::from_be_bytes)
}

fn remembered_key(partition: i32, generation: u64, next: i64) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..12].copy_from_slice(&generation.to_be_bytes());
    key[12..].copy_from_slice(&next.to_be_bytes());
    key
}
