//! The catalogue as it stands, in one file.
//!
//! The topic is compacted, so it is read whole on every start. The file is written when the end has
//! been seen, never before: half a topic is not a catalogue. Beside it stands which point of the topic it is of.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use endcap_clickstream::{ItemWriter, ItemsOffset};
use endcap_proto::Item;

use super::{Duty, Error};
use crate::{PartitionOffset, decode_item, source::Progress};

/// Keeps `path` a copy of the catalogue.
pub(super) fn archive(mut duty: Duty, path: &Path) -> Result<(), Error> {
    let Some(bounds) = duty.reach()? else { return Ok(()) };
    let from: Vec<_> =
        bounds.iter().map(|at| PartitionOffset { partition: at.partition, offset: at.first }).collect();
    duty.source.assign(&from)?;
    let mut progress = Progress::begin(&from, &bounds);
    let mut items = BTreeMap::<Vec<u8>, Item>::new();
    let (mut changed, mut rejected, mut files) = (false, 0u64, 0u64);
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
                    rejected += 1;
                }
            }
        })?;
        progress.look(&*duty.source);
        let stop = duty.stop.is_cancelled() || duty.until_end && progress.caught_up();
        let due =
            written.is_none_or(|at| at.elapsed() >= Duration::from_millis(duty.config.roll_interval_ms));
        if changed && progress.caught_up() && (stop || due) {
            let mut writer = ItemWriter::create(path)?;
            for item in items.values() {
                writer.write(item)?;
            }
            writer.finish()?;
            if let Some(dir) = path.parent() {
                let offsets: Vec<_> = progress
                    .offsets()
                    .into_iter()
                    .map(|PartitionOffset { partition, offset }| ItemsOffset { partition, offset })
                    .collect();
                ItemsOffset::write(dir, &offsets)?;
            }
            files += 1;
            changed = false;
            written = Some(Instant::now());
        }
        let trouble = duty.source.trouble();
        duty.update(|status| {
            status.archived = items.len() as u64;
            status.rejected = rejected;
            status.files = files;
            status.offsets = progress.offsets();
            status.caught_up = progress.caught_up();
            status.trouble = trouble;
        });
        if stop {
            return Ok(());
        }
    }
}
