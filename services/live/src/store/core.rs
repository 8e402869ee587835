//! What an operation does to the state. Deterministic: the same operations in the same order leave the same
//! state, whether they come from the stream or from the journal.
//!
//! ```text
//! late? ─► repeat? ─► consent? ─yes─► shopper, links of the user, counters of the items
//!                         └─no──► session of this visitor, which ends after half an hour
//! ```
//!
//! An operation may meet an entry that has it already: a snapshot is copied shard by shard while operations go
//! on. Histories and links are joins, to which a repeat does nothing; sessions and counters carry the point that
//! they are at, and pass over what lies before it.

use endcap_features::{ItemCounters, LoginLinks, SESSION_GAP_MS, StateError, UserState};
use endcap_proto::EventTime;

use super::{
    Outcome, StoreConfig,
    entry::{COUNTERS_HEAD, SESSION_HEAD, STAMP, Stamp, counted_until, session_first, set_counted_until},
    operation::{Facts, Operation},
    partition::{Partitions, advance},
    session_key,
    table::Step,
    tables::Tables,
};

/// The state that only the writer sees, and what it needs to take operations.
pub(super) struct Core {
    pub(super) partitions: Partitions,
    /// Operations taken.
    pub(super) sequence: u64,
    config: StoreConfig,
    /// Scratch, kept for its memory.
    bytes: Vec<u8>,
}

/// What is stored under a key cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) kind: &'static str,
    pub(super) key: u64,
    pub(super) error: StateError,
}

/// When something last happened in a session that has no name of its own, where it is remembered.
pub(super) fn session_last(tables: &Tables, session: u64) -> Option<EventTime> {
    let last = |bytes: &[u8]| bytes.get(SESSION_HEAD..).and_then(UserState::last_seen_of);
    tables.sessions.with(session, last).map(Option::unwrap_or_default)
}

// === impl Core ===

impl Core {
    pub(super) fn new(config: StoreConfig, partitions: Partitions, sequence: u64) -> Self {
        Self { partitions, sequence, config, bytes: Vec::new() }
    }

    pub(super) fn late_after_ms(&self) -> i64 {
        self.config.late_after_ms
    }

    /// Goes one step of the way to the entries that an event touches, ahead of [`Self::take`].
    #[inline]
    pub(super) fn expect(&self, tables: &Tables, partition: i32, facts: &Facts, step: Step) {
        if let (Step::Index, Some(at)) = (step, self.partitions.get(&partition)) {
            at.window.expect(facts.event);
        }
        let whose = if facts.consent { &tables.shoppers } else { &tables.sessions };
        whose.expect(facts.whose, step);
        if facts.consent {
            facts.items.iter().for_each(|item| tables.counters.expect(item.0, step));
        }
    }

    /// Takes the event at an offset.
    pub(super) fn take(
        &mut self,
        tables: &Tables,
        partition: i32,
        offset: i64,
        facts: &Facts,
    ) -> Result<Outcome, Unreadable> {
        let remembered = self.config.remembered_events / self.partitions.len().max(1);
        let Some(at) = advance(&mut self.partitions, partition, offset) else { return Ok(Outcome::Behind) };
        if at.watermark.millis_since(facts.time) > self.config.late_after_ms {
            return Ok(Outcome::Late);
        }
        self.sequence += 1;
        at.watermark = at.watermark.max(facts.time);
        let watermark = at.watermark;
        if !at.window.insert(facts.event, watermark, self.config.late_after_ms, remembered) {
            return Ok(Outcome::Duplicate);
        }
        let stamp = Stamp { partition, next: offset + 1 };
        if !facts.consent {
            self.apply_to_session(tables, facts, stamp)?;
            return Ok(Outcome::SessionOnly);
        }
        let forgotten = self.config.forgotten_before(watermark);
        self.apply_to_shopper(tables, facts, stamp, forgotten)?;
        if let Some(user) = facts.user {
            let unreadable = |error| Unreadable { kind: "links of user", key: user.0, error };
            tables.links.edit(user.0, |slot| {
                let mut links = match slot.bytes() {
                    [] => LoginLinks::default(),
                    bytes => LoginLinks::decode(bytes).map_err(unreadable)?,
                };
                if links.link(endcap_proto::VisitorKey(facts.whose), facts.time) {
                    slot.put(&links.encode());
                }
                Ok(())
            })?;
        }
        for (i, item) in facts.items.iter().enumerate() {
            // An item that the event names twice is counted twice, at once.
            if !facts.items[..i].contains(item) {
                let times = facts.items[i..].iter().filter(|other| *other == item).count();
                self.count(tables, item.0, facts, times)?;
            }
        }
        Ok(Outcome::Applied)
    }

    /// Takes a step that is no event of the stream.
    pub(super) fn forget(&mut self, tables: &Tables, operation: &Operation) -> Result<(), Unreadable> {
        self.sequence += 1;
        match operation {
            Operation::Event { .. } => {}
            Operation::Forget { visitor, before } => {
                let key = visitor.0;
                let left = tables.shoppers.with(key, |bytes| {
                    UserState::decode_added(&bytes[STAMP.min(bytes.len())..]).map(|mut state| {
                        state.forget_before(*before);
                        (state, Stamp::read(bytes))
                    })
                });
                match left {
                    None => {}
                    Some(Ok((state, stamp))) if !state.is_empty() => {
                        self.bytes.clear();
                        stamp.write(&mut self.bytes);
                        state.encode_to(&mut self.bytes);
                        tables.shoppers.edit(key, |slot| slot.put(&self.bytes));
                    }
                    // What cannot be read is forgotten as well.
                    Some(_) => drop(tables.shoppers.remove(key)),
                }
                let session = session_key(*visitor, None);
                if session_last(tables, session).is_some_and(|last| last < *before) {
                    tables.sessions.remove(session);
                }
            }
            Operation::Unlink { user } => drop(tables.links.remove(user.0)),
            Operation::UnlinkVisitor { user, visitor } => {
                if let Some(Ok(mut links)) = tables.links.with(user.0, LoginLinks::decode)
                    && links.unlink(*visitor)
                {
                    match links.visitors() {
                        [] => drop(tables.links.remove(user.0)),
                        _ => tables.links.edit(user.0, |slot| slot.put(&links.encode())),
                    }
                }
            }
        }
        Ok(())
    }

    fn apply_to_shopper(
        &mut self,
        tables: &Tables,
        facts: &Facts,
        stamp: Stamp,
        forgotten: EventTime,
    ) -> Result<(), Unreadable> {
        let bytes = &mut self.bytes;
        tables.shoppers.edit(facts.whose, |slot| {
            if slot.bytes().is_empty() {
                let mut room = [0; UserState::FIRST_MAX];
                if let Some(length) = UserState::begin_with(&mut room, facts) {
                    bytes.clear();
                    stamp.write(bytes);
                    bytes.extend_from_slice(&room[..length]);
                    slot.put(bytes);
                    return Ok(());
                }
            } else if UserState::last_seen_of(&slot.bytes()[STAMP..]).is_some_and(|last| last >= forgotten) {
                let (room, length) = slot.with_room(UserState::room_for(facts.event_type));
                if let Some(length) = UserState::add_to(&mut room[STAMP..], length - STAMP, facts) {
                    stamp.put(room);
                    slot.set_length(STAMP + length);
                    return Ok(());
                }
            }
            let mut state = match slot.bytes().get(STAMP..) {
                None => UserState::default(),
                Some(bytes) => UserState::decode_added(bytes).map_err(|error| Unreadable {
                    kind: "shopper",
                    key: facts.whose,
                    error,
                })?,
            };
            if state.last_seen().is_some_and(|last| last < forgotten) {
                state = UserState::default();
            }
            state.apply(facts);
            bytes.clear();
            stamp.write(bytes);
            state.encode_to(bytes);
            slot.put(bytes);
            Ok(())
        })
    }

    fn apply_to_session(&mut self, tables: &Tables, facts: &Facts, stamp: Stamp) -> Result<(), Unreadable> {
        let bytes = &mut self.bytes;
        tables.sessions.edit(facts.whose, |slot| {
            let mut state = UserState::default();
            let mut first = facts.time;
            let there = slot.bytes();
            if there.len() > SESSION_HEAD {
                let before = Stamp::read(there);
                if before.partition == stamp.partition && before.next >= stamp.next {
                    return Ok(()); // it has this event already
                }
                let known = UserState::decode_added(&there[SESSION_HEAD..]).map_err(|error| Unreadable {
                    kind: "session",
                    key: facts.whose,
                    error,
                })?;
                let began = session_first(there);
                let last = known.last_seen().unwrap_or_default();
                if facts.time.millis_since(last) <= SESSION_GAP_MS {
                    if began.millis_since(facts.time) > SESSION_GAP_MS {
                        return Ok(()); // a straggler of the session before, which has ended
                    }
                    (state, first) = (known, began.min(facts.time));
                }
            }
            state.apply(facts);
            bytes.clear();
            stamp.write(bytes);
            bytes.extend(first.as_millis().to_le_bytes());
            state.encode_to(bytes);
            slot.put(bytes);
            Ok(())
        })
    }

    fn count(&mut self, tables: &Tables, item: u64, facts: &Facts, times: usize) -> Result<(), Unreadable> {
        let (bytes, sequence) = (&mut self.bytes, self.sequence);
        tables.counters.edit(item, |slot| {
            let there = slot.bytes();
            let mut left = times;
            if !there.is_empty() {
                if counted_until(there) >= sequence {
                    return Ok(()); // it counts this event already
                }
                let (room, length) = slot.with_room(0);
                let counts = &mut room[COUNTERS_HEAD..length];
                while left > 0 && ItemCounters::add_to(counts, facts.event_type, facts.time) {
                    left -= 1;
                }
                set_counted_until(room, sequence);
                if left == 0 {
                    return Ok(());
                }
            }
            let mut counters = match slot.bytes().get(COUNTERS_HEAD..) {
                None => ItemCounters::default(),
                Some(bytes) => ItemCounters::decode(bytes).map_err(|error| Unreadable {
                    kind: "item",
                    key: item,
                    error,
                })?,
            };
            for _ in 0..left {
                counters.apply(facts.event_type, facts.time);
            }
            bytes.clear();
            bytes.extend(sequence.to_le_bytes());
            bytes.extend(counters.encode());
            slot.put(bytes);
            Ok(())
        })
    }
}
