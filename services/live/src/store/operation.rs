//! What an event does to the state, apart from the event: the facts that count, and their bytes in the journal.
//!
//! ```text
//! kind and flags 1 │ partition │ offsets since the one before │ time since the operation before │ type 1 │
//! event 8 │ visitor (or session without consent) 8 │ [user 8] │ [session 4] │ items 8 …      (counts are varints)
//! ```
//!
//! The events of a flush and the events read back from the journal go through one function with the same facts,
//! so that a state that was read back cannot differ from the one that was written.

use std::num::NonZeroU32;

use endcap_features::{EventFacts, SessionTag};
use endcap_proto::{EventKey, EventTime, EventType, EventView, ItemKey, UserKey, VisitorKey};

use super::session_key;

/// What is kept of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) event: u64,
    pub(super) event_type: EventType,
    pub(super) time: EventTime,
    /// The visitor; without consent the session, which is all that the event may act on.
    pub(super) whose: u64,
    pub(super) consent: bool,
    pub(super) user: Option<UserKey>,
    pub(super) session: Option<SessionTag>,
    pub(super) items: Vec<ItemKey>,
}

/// One step of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    /// An event that was applied, or a repeat of one, which may move the watermark.
    Event { partition: i32, offset: i64, facts: Facts },
    /// A visitor is forgotten, as far as it happened before an instant.
    Forget { visitor: VisitorKey, before: EventTime },
    /// A user is forgotten: the links to their visitors.
    Unlink { user: UserKey },
    /// A visitor is no longer known to be a user's.
    UnlinkVisitor { user: UserKey, visitor: VisitorKey },
}

/// Kinds, in the low bits of the first byte.
const APPLIED: u8 = 0;
const SESSION_ONLY: u8 = 1;
const FORGET: u8 = 2;
const UNLINK: u8 = 3;
const KIND: u8 = 3;
/// Flags above them. With [`UNLINK`], [`USER`] says that one visitor alone goes.
const USER: u8 = 4;
const SESSION: u8 = 8;
/// Above those the number of items; this one says that a varint follows.
const MANY: u8 = 15;

// === impl Facts ===

impl Facts {
    /// Takes what counts from an event; what was there is gone.
    #[inline]
    pub(super) fn fill(&mut self, event: &EventView<'_>) {
        self.event = event.key().0;
        self.event_type = event.event_type;
        self.time = event.time;
        self.consent = event.consent;
        let visitor = event.visitor();
        self.whose = if event.consent { visitor.0 } else { session_key(visitor, event.session_id) };
        self.user = event.user();
        self.session = event.session_id.map(SessionTag::of);
        self.items.clear();
        self.items.extend(event.items());
    }
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            event: 0,
            event_type: EventType::View,
            time: EventTime::MIN,
            whose: 0,
            consent: false,
            user: None,
            session: None,
            items: Vec::new(),
        }
    }
}

impl EventFacts for Facts {
    fn key(&self) -> EventKey {
        EventKey(self.event)
    }

    fn event_type(&self) -> EventType {
        self.event_type
    }

    fn time(&self) -> EventTime {
        self.time
    }

    fn visitor(&self) -> VisitorKey {
        VisitorKey(self.whose)
    }

    fn user(&self) -> Option<UserKey> {
        self.user
    }

    fn session(&self) -> Option<SessionTag> {
        self.session
    }

    fn items(&self) -> impl Iterator<Item = ItemKey> {
        self.items.iter().copied()
    }
}

/// Appends an event's operation. `before` is where its partition was, `clock` the time of the operation before.
#[inline]
pub(super) fn write_event(
    out: &mut Vec<u8>,
    partition: i32,
    skipped: u64,
    clock: &mut EventTime,
    facts: &Facts,
) {
    let Facts { event, event_type, time, whose, consent, user, session, items } = facts;
    let mut head = if *consent { APPLIED } else { SESSION_ONLY };
    head |= if user.is_some() { USER } else { 0 };
    head |= if session.is_some() { SESSION } else { 0 };
    let few = u8::try_from(items.len()).ok().filter(|&few| few < MANY);
    out.push(head | few.unwrap_or(MANY) << 4);
    varint(out, partition.cast_unsigned().into());
    varint(out, skipped);
    varint(out, zigzag(time.millis_since(*clock)));
    *clock = *time;
    out.push(*event_type as u8);
    out.extend(event.to_le_bytes());
    out.extend(whose.to_le_bytes());
    if let Some(user) = user {
        out.extend(user.0.to_le_bytes());
    }
    if let Some(session) = session {
        out.extend(session.0.get().to_le_bytes());
    }
    if few.is_none() {
        varint(out, items.len() as u64);
    }
    for item in items {
        out.extend(item.0.to_le_bytes());
    }
}

/// Appends what is forgotten.
pub(super) fn write_forget(out: &mut Vec<u8>, visitor: VisitorKey, before: EventTime) {
    out.push(FORGET);
    out.extend(visitor.0.to_le_bytes());
    varint(out, before.as_millis().cast_unsigned());
}

/// Appends whose links go.
pub(super) fn write_unlink(out: &mut Vec<u8>, user: UserKey) {
    out.push(UNLINK);
    out.extend(user.0.to_le_bytes());
}

/// Appends whose link to which visitor goes.
pub(super) fn write_unlink_visitor(out: &mut Vec<u8>, user: UserKey, visitor: VisitorKey) {
    out.push(UNLINK | USER);
    out.extend(user.0.to_le_bytes());
    out.extend(visitor.0.to_le_bytes());
}

/// Reads operations one after the other.
pub(super) struct Operations<'a> {
    pub(super) bytes: Cursor<'a>,
    pub(super) clock: EventTime,
}

impl Operations<'_> {
    /// The next operation; `at` says where a partition is. None where the bytes are no operation.
    pub(super) fn next(&mut self, at: impl Fn(i32) -> i64) -> Option<Operation> {
        let bytes = &mut self.bytes;
        let head = bytes.byte()?;
        match head & KIND {
            FORGET => {
                let visitor = VisitorKey(bytes.u64()?);
                let before = EventTime::from_millis(bytes.varint()?.cast_signed())?;
                return Some(Operation::Forget { visitor, before });
            }
            UNLINK if head & USER != 0 => {
                let (user, visitor) = (UserKey(bytes.u64()?), VisitorKey(bytes.u64()?));
                return Some(Operation::UnlinkVisitor { user, visitor });
            }
            UNLINK => return Some(Operation::Unlink { user: UserKey(bytes.u64()?) }),
            _ => {}
        }
        let partition = u32::try_from(bytes.varint()?).ok()?.cast_signed();
        let offset = at(partition).checked_add(i64::try_from(bytes.varint()?).ok()?)?;
        let time = self.clock.as_millis().checked_add(unzigzag(bytes.varint()?))?;
        let time = EventTime::from_millis(time)?;
        self.clock = time;
        let event_type = EventType::from_number(bytes.byte()?)?;
        let (event, whose) = (bytes.u64()?, bytes.u64()?);
        let user = if head & USER == 0 { None } else { Some(UserKey(bytes.u64()?)) };
        let session = if head & SESSION == 0 {
            None
        } else {
            Some(SessionTag(NonZeroU32::new(u32::from_le_bytes(bytes.take()?))?))
        };
        let items = match head >> 4 {
            MANY => usize::try_from(bytes.varint()?).ok()?,
            few => few.into(),
        };
        if items > bytes.0.len() / 8 {
            return None;
        }
        let items: Option<Vec<_>> = (0..items).map(|_| bytes.u64().map(ItemKey)).collect();
        let consent = head & KIND == APPLIED;
        let facts = Facts { event, event_type, time, whose, consent, user, session, items: items? };
        Some(Operation::Event { partition, offset, facts })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.0.is_empty()
    }
}

/// What of some bytes has not been read.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Appends a number, seven bits a byte.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts() -> impl Strategy<Value = Facts> {
        let who = (any::<u64>(), any::<u64>(), any::<bool>(), proptest::option::of(any::<u64>()));
        let what = (
            proptest::sample::select(EventType::ALL),
            0..EventTime::MAX.as_millis(),
            proptest::option::of(1..u32::MAX),
            proptest::collection::vec(any::<u64>(), 0..20),
        );
        (who, what).prop_map(|((event, whose, consent, user), (event_type, time, session, items))| Facts {
            event,
            event_type,
            time: EventTime::clamped(time),
            whose,
            consent,
            user: user.map(UserKey),
            session: session.and_then(NonZeroU32::new).map(SessionTag),
            items: items.into_iter().map(ItemKey).collect(),
        })
    }

    proptest! {
        #[test]
        fn operations_survive_the_round_trip(
            events in proptest::collection::vec((0..9i32, 0..1000u64, facts()), 0..20),
            visitor: u64,
        ) {
            let (mut out, mut clock) = (Vec::new(), EventTime::MIN);
            for (partition, skipped, facts) in &events {
                write_event(&mut out, *partition, *skipped, &mut clock, facts);
            }
            write_forget(&mut out, VisitorKey(visitor), EventTime::MAX);
            write_unlink(&mut out, UserKey(visitor));
            write_unlink_visitor(&mut out, UserKey(visitor), VisitorKey(visitor ^ 1));
            let mut operations = Operations { bytes: Cursor(&out), clock: EventTime::MIN };
            for (partition, skipped, facts) in events {
                let offset = 7 + skipped as i64;
                let expected = Operation::Event { partition, offset, facts };
                prop_assert_eq!(operations.next(|_| 7), Some(expected));
            }
            let forget = Operation::Forget { visitor: VisitorKey(visitor), before: EventTime::MAX };
            prop_assert_eq!(operations.next(|_| 0), Some(forget));
            prop_assert_eq!(operations.next(|_| 0), Some(Operation::Unlink { user: UserKey(visitor) }));
            let unlink = Operation::UnlinkVisitor { user: UserKey(visitor), visitor: VisitorKey(visitor ^ 1) };
            prop_assert_eq!(operations.next(|_| 0), Some(unlink));
            prop_assert!(operations.is_empty());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut operations = Operations { bytes: Cursor(&bytes), clock: EventTime::MAX };
            while operations.next(|_| i64::MAX).is_some() {}
        }
    }
}
