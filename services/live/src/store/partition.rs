//! One partition's way through the log: how far it is, its watermark, its window of repeats.

use std::collections::BTreeMap;

use endcap_proto::EventTime;

use super::window::Window;

/// How far one partition has been applied.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// The next offset.
    pub(super) next: i64,
    /// The next offset as the journal has it by now: passed over without an operation, offsets go into it at
    /// the end of a frame.
    pub(super) journaled: i64,
    /// The newest event time.
    pub(super) watermark: EventTime,
    pub(super) window: Window,
    /// Something changed since the last cut.
    pub(super) changed: bool,
}

/// All that were seen.
pub(super) type Partitions = BTreeMap<i32, Partition>;

/// Moves a partition past an offset; none when it is past it already.
#[inline]
pub(super) fn advance(partitions: &mut Partitions, partition: i32, offset: i64) -> Option<&mut Partition> {
    let at = partitions.entry(partition).or_default();
    if offset < at.next {
        return None;
    }
    at.next = offset + 1;
    at.changed = true;
    Some(at)
}
