//! What is done beside the stream: what trends, who is forgotten, snapshots.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use endcap_features::{Decay, ItemCounters, UserState};
use endcap_proto::{EventTime, ItemKey};

use super::{
    Shared, Trending,
    entry::{COUNTERS_HEAD, STAMP, Stamp},
    snapshot::{self, Moment},
};

/// How many items [`Trending`] names.
const TRENDING: usize = 500;

/// A round of it.
pub(super) struct Upkeep {
    /// The newest event time of each partition.
    pub(super) watermarks: HashMap<i32, EventTime>,
    /// Shoppers are looked through for those who are to be forgotten.
    pub(super) forget: bool,
    /// It is counted anew what trends.
    pub(super) trending: bool,
    /// The number of a snapshot that is due, and the moment that it is of.
    pub(super) snapshot: Option<(u64, Moment)>,
}

pub(super) fn run(shared: &Shared, upkeep: Upkeep) {
    if upkeep.forget {
        forget_shoppers(shared, &upkeep.watermarks);
    }
    if upkeep.trending {
        let now = upkeep.watermarks.values().max().copied().unwrap_or_default();
        shared.trending.store(Arc::new(trending(shared, now)));
    }
    if let Some((number, moment)) = upkeep.snapshot {
        match snapshot::write(&shared.path, number, &moment, &shared.tables, || becomes_durable(shared)) {
            Ok(Some(bytes)) => {
                shared.snapshot_bytes.store(bytes, Ordering::Relaxed);
                shared.snapshot_number.store(number, Ordering::Release);
            }
            Ok(None) => {}
            // The journal has it all; the next snapshot is tried when that has grown again.
            Err(error) => tracing::error!("no snapshot of the state in {}: {error}", shared.path.display()),
        }
    }
}

/// Waits until everything that the tables hold by now is in the journal on disk; false when the writer has
/// left before.
fn becomes_durable(shared: &Shared) -> bool {
    let taken = shared.sequence.load(Ordering::Acquire);
    while shared.durable.load(Ordering::Acquire) < taken {
        if shared.closing.load(Ordering::Acquire) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Shoppers who were last seen too long ago, and where there are too many the ones longest unseen.
fn forget_shoppers(shared: &Shared, watermarks: &HashMap<i32, EventTime>) {
    let (shoppers, config) = (&shared.tables.shoppers, &shared.config);
    let last_seen = |bytes: &[u8]| bytes.get(STAMP..).and_then(UserState::last_seen_of).unwrap_or_default();
    let mut least = EventTime::MIN;
    let crowd = shoppers.len().saturating_sub(config.shoppers_at_most);
    if crowd > 0 {
        let mut times = Vec::with_capacity(shoppers.len());
        shoppers.for_each(|_, bytes| times.push(last_seen(bytes)));
        let crowd = crowd.min(times.len().saturating_sub(1));
        least = *times.select_nth_unstable(crowd).1;
    }
    let forgotten: HashMap<i32, EventTime> = watermarks
        .iter()
        .map(|(&partition, &at)| (partition, config.forgotten_before(at).max(least)))
        .collect();
    if forgotten.values().all(|&before| before == EventTime::MIN) {
        return;
    }
    let gone = shoppers.retain(|_, bytes| {
        let before = forgotten.get(&Stamp::read(bytes).partition).copied().unwrap_or(least);
        last_seen(bytes) >= before
    });
    if gone > 0 {
        tracing::debug!("{gone} shoppers are forgotten");
    }
}

/// The items that shoppers turn to most as of an instant.
fn trending(shared: &Shared, as_of: EventTime) -> Trending {
    let mut items: Vec<(ItemKey, f32)> = Vec::new();
    let decay = Decay::at(as_of);
    let by_interest = |a: &(ItemKey, f32), b: &(ItemKey, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    shared.tables.counters.for_each(|key, bytes| {
        let Some(bytes) = bytes.get(COUNTERS_HEAD..) else { return };
        // What was not touched for days does not trend.
        if !ItemCounters::is_recent(bytes, as_of) {
            return;
        }
        let Ok(counts) = ItemCounters::read_decayed(bytes, &decay) else { return };
        let interest = counts.clicks.day + counts.views.day + counts.carts.day + counts.purchases.day;
        if interest > 0.0 {
            items.push((ItemKey(key), interest));
        }
        if items.len() >= 8 * TRENDING {
            items.select_nth_unstable_by(TRENDING, by_interest);
            items.truncate(TRENDING);
        }
    });
    items.sort_unstable_by(by_interest);
    items.truncate(TRENDING);
    Trending { as_of, items }
}
