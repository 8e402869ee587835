//! The heads of the entries, before the bytes of `endcap-features`.
//!
//! ```text
//! shopper   partition 4, offset after its newest event 8 │ user state
//! session   the same 12, time of its first event 8        │ user state
//! counters  operations counted 8                          │ item counters
//! links                                                     login links
//! ```

use endcap_proto::EventTime;

/// Bytes of a [`Stamp`].
pub(super) const STAMP: usize = 12;
/// Bytes before the state of a session.
pub(super) const SESSION_HEAD: usize = STAMP + 8;
/// Bytes before the counts of an item.
pub(super) const COUNTERS_HEAD: usize = 8;

/// The point of the log after the newest event that touched an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp {
    pub(super) partition: i32,
    /// The offset after that event.
    pub(super) next: i64,
}

impl Stamp {
    /// At the front of an entry; zeros where that is too short to have one.
    pub(super) fn read(entry: &[u8]) -> Self {
        let partition = entry.first_chunk().map(|bytes| i32::from_le_bytes(*bytes));
        Self { partition: partition.unwrap_or_default(), next: word(entry, 4) }
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend(self.partition.to_le_bytes());
        out.extend(self.next.to_le_bytes());
    }

    /// Over the stamp that stands at the front.
    pub(super) fn put(self, entry: &mut [u8]) {
        entry[..4].copy_from_slice(&self.partition.to_le_bytes());
        entry[4..STAMP].copy_from_slice(&self.next.to_le_bytes());
    }
}

/// When a session began.
pub(super) fn session_first(entry: &[u8]) -> EventTime {
    EventTime::clamped(word(entry, STAMP))
}

/// The last operation that counters have counted; 0 where there are none.
pub(super) fn counted_until(entry: &[u8]) -> u64 {
    word(entry, 0).cast_unsigned()
}

pub(super) fn set_counted_until(entry: &mut [u8], sequence: u64) {
    entry[..COUNTERS_HEAD].copy_from_slice(&sequence.to_le_bytes());
}

fn word(entry: &[u8], at: usize) -> i64 {
    entry
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map(|bytes| i64::from_le_bytes(*bytes))
        .unwrap_or_default()
}
