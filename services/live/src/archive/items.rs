//! The catalogue as it stands, in one file.
//!
//! The topic is compacted, so it is read whole on every start. The file is written when the end has
//! been seen, never before: half a topic is not a catalogue. Beside it stands which point of the topic it is of.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use endcap_clickstream::{ItemWriter, ItemsOffset};
use endcap_proto::Item;

use super::{
    Error,
    duty::{Counts, Duty},
    storage::Storage,
};
use crate::{PartitionOffset, decode_item, source::Progress};

pub(super) const CATALOGUE: &str = "items.arrow";
/// What [`ItemsOffset::write`] writes.
pub(super) const OFFSETS: &str = "_items.offsets.json";

/// Keeps `items.arrow` a copy of the catalogue.
pub(super) fn archive(duty: &mut Duty, storage: &Storage) -> Result<(), Error> {
    let Some(bounds) = duty.reach()? else { return Ok(()) };
    let from: Vec<_> =
        bounds.iter().map(|at| PartitionOffset { partition: at.partition, offset: at.first }).collect();
    duty.source.assign(&from)?;
    let mut progress = Progress::begin(&from, &bounds);
    let mut items = BTreeMap::<Vec<u8>, Item>::new();
    let (mut changed, mut counts) = (false, Counts { rejected: 0, ..duty.counts });
    let mut written = None::<Instant>;
    loop {
        duty.source.poll(1024, Duration::from_millis(100), &mut |record| {
            progress.passed(record.partition, record.offset);
            let key = record.key.unwrap_or_default().to_vec();
            if record.value.is_none_or(<[u8]>::is_empty) {
                changed |= items.remove(&key).is_some();
                return;
            }
            match decode_item(&record) {
                Ok(item) => changed |= items.insert(key, item.clone()).as_ref() != Some(&item),
                Err(reject) => {
                    tracing::debug!(
                        "items, partition {}, offset {}: {reject}",
                        record.partition,
                        record.offset
                    );
                    counts.rejected += 1;
                }
            }
        })?;
        let gained = duty.source.gained()?;
        if !gained.is_empty() {
            gained.iter().for_each(|at| progress.gain(at));
            duty.source.assign(&progress.offsets())?;
        }
        progress.look(&*duty.source);
        let stop = duty.stop.is_cancelled() || duty.until_end && progress.caught_up();
        let due =
            written.is_none_or(|at| at.elapsed() >= Duration::from_millis(duty.config.roll_interval_ms));
        if changed && progress.caught_up() && (stop || due) {
            write(&items, &progress, storage)?;
            counts.files += 1;
            changed = false;
            written = Some(Instant::now());
        }
        counts.archived = items.len() as u64;
        duty.tell(counts, &progress);
        if stop {
            return Ok(());
        }
    }
}

/// The catalogue, then which point of the topic it is of: one that is older than the catalogue only makes a reader
/// read again.
fn write(items: &BTreeMap<Vec<u8>, Item>, progress: &Progress, storage: &Storage) -> Result<(), Error> {
    let staged = storage.staged(CATALOGUE);
    let mut writer = ItemWriter::create(&staged)?;
    for item in items.values() {
        writer.write(item)?;
    }
    writer.finish()?;
    storage.publish(&staged, CATALOGUE)?;
    let offset = |PartitionOffset { partition, offset }| ItemsOffset { partition, offset };
    let offsets: Vec<_> = progress.offsets().into_iter().map(offset).collect();
    ItemsOffset::write(storage.staging(), &offsets)?;
    storage.publish(&storage.staged(OFFSETS), OFFSETS)
}
