//! A user's history: the newest entries of interest, and the sessions that they fall into.

use std::num::NonZeroU32;

use endcap_proto::{EventKey, EventTime, EventType, ItemKey};
use twox_hash::XxHash3_64;

/// How many entries of interest a user's history keeps: the newest by (time, event key).
pub const HISTORY_MAX: usize = 200;

/// A pause longer than this ends a session of events that name none: 30 minutes.
pub const SESSION_GAP_MS: i64 = 30 * 60 * 1000;

/// Names a session within one user's history: 32 bits of the client's session id, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionTag(pub NonZeroU32);

/// Tells events of one user and one millisecond apart: the upper 16 bits of the event's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventTag(pub u16);

/// One product that a user showed interest in, once.
///
/// Its order is that of its fields: by time, then event key, then item. An entry *is* all of its
/// fields: equal entries are one (a repeat), entries that differ in any field are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryEntry {
    /// When, by the client's clock.
    pub time: EventTime,
    /// Which event.
    pub event: EventTag,
    /// Which product.
    pub item: ItemKey,
    /// What happened to it.
    pub event_type: EventType,
    /// The client's session, where it named one.
    pub session: Option<SessionTag>,
}

/// Whether `next` begins a new session after `previous`, the entry before it in time.
///
/// Where both name a session, the names decide; else a pause longer than [`SESSION_GAP_MS`] does.
pub fn starts_session(previous: &HistoryEntry, next: &HistoryEntry) -> bool {
    match (previous.session, next.session) {
        (Some(previous), Some(next)) => previous != next,
        _ => next.time.millis_since(previous.time) > SESSION_GAP_MS,
    }
}

impl SessionTag {
    /// The tag of a client's session id.
    pub fn of(session_id: &str) -> Self {
        let hash = XxHash3_64::oneshot(session_id.as_bytes());
        // The upper half; 0 stands for "no session" in state.
        Self(NonZeroU32::new((hash >> 32) as u32).unwrap_or(NonZeroU32::MIN))
    }
}

impl EventTag {
    /// The tag of an event's key.
    pub fn of(event: EventKey) -> Self {
        Self((event.0 >> 48) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(time: i64, session: Option<&str>) -> HistoryEntry {
        HistoryEntry {
            time: EventTime::clamped(time),
            event: EventTag(1),
            item: ItemKey(1),
            event_type: EventType::View,
            session: session.map(SessionTag::of),
        }
    }

    #[test]
    fn a_session_ends_after_thirty_minutes_or_where_the_client_says() {
        let start = entry(0, None);
        assert!(!starts_session(&start, &entry(SESSION_GAP_MS, None)));
        assert!(starts_session(&start, &entry(SESSION_GAP_MS + 1, None)));
        // Names win over pauses, in both directions; one name alone decides nothing.
        assert!(!starts_session(&entry(0, Some("a")), &entry(SESSION_GAP_MS + 1, Some("a"))));
        assert!(starts_session(&entry(0, Some("a")), &entry(1, Some("b"))));
        assert!(!starts_session(&entry(0, Some("a")), &entry(1, None)));
    }
}
