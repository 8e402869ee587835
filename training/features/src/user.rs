//! What the user tower reads: the newest entries of a history, seen from one instant.

use endcap_proto::{EventTime, EventType, ItemKey};

use crate::{HistoryEntry, UserState, starts_session};

/// How many buckets [`gap_bucket`] has.
pub const GAP_BUCKETS: usize = 40;

/// What is known of a user at an instant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserFeatures {
    /// The newest entries before `as_of`, oldest first; at most the length that was asked for.
    pub history: Vec<HistoryInput>,
    /// The instant; nothing at or after it is used.
    pub as_of: EventTime,
    /// Where in `history` the session begins that is still going on at `as_of`; its length when the
    /// last session is over.
    pub session_start: usize,
    /// How many entries lie before `as_of`, used or not; at most [`crate::HISTORY_MAX`].
    pub entries: usize,
}

/// One position of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryInput {
    /// Which product.
    pub item: ItemKey,
    /// What happened to it.
    pub event_type: EventType,
    /// Bucket of the time to the next entry, or to `as_of` for the last.
    pub gap_bucket: u8,
    /// When.
    pub time: EventTime,
}

/// The bucket of a gap: the number of bits of its milliseconds, `floor(log2(gap_ms)) + 1`, and 0 for
/// none. One second is 10, half an hour 21, a day 27, a year 35.
///
/// ```
/// use endcap_features::gap_bucket;
/// assert_eq!([0, 1, 2, 3, 4, 1000].map(gap_bucket), [0, 1, 2, 2, 3, 10]);
/// ```
pub fn gap_bucket(gap_ms: i64) -> u8 {
    let bits = u64::BITS - gap_ms.max(0).cast_unsigned().leading_zeros();
    bits.min(GAP_BUCKETS as u32 - 1) as u8
}

/// The newest `length` entries of `state` before `as_of`, and the session that they end in.
///
/// `as_of` is exclusive: an event is never part of its own history, and events of one user and one
/// instant are never history for one another. To read a state as it is now, pass
/// [`UserState::as_of`].
pub fn features_at(state: &UserState, as_of: EventTime, length: usize) -> UserFeatures {
    let history = state.history();
    let entries = history.partition_point(|entry| entry.time < as_of);
    let used = &history[entries.saturating_sub(length)..entries];
    let next_times = used.iter().skip(1).map(|entry| entry.time).chain([as_of]);
    UserFeatures {
        history: used.iter().zip(next_times).map(|(entry, next)| input(entry, next)).collect(),
        as_of,
        session_start: session_start(used, as_of),
        entries,
    }
}

fn input(entry: &HistoryEntry, next: EventTime) -> HistoryInput {
    HistoryInput {
        item: entry.item,
        event_type: entry.event_type,
        gap_bucket: gap_bucket(next.millis_since(entry.time)),
        time: entry.time,
    }
}

fn session_start(used: &[HistoryEntry], as_of: EventTime) -> usize {
    let Some(last) = used.last() else { return 0 };
    if starts_session(last, &HistoryEntry { time: as_of, session: None, ..*last }) {
        return used.len();
    }
    used.windows(2).rposition(|pair| starts_session(&pair[0], &pair[1])).map_or(0, |i| i + 1)
}
