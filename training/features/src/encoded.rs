//! A user's state as bytes, laid out so that most events are added where the bytes lie.
//!
//! ```text
//! version 1 │ flags 1 │ last seen 6 │ entries 2 │ length of the kept 2 │ last entry: time 6, tag 2, session 4 │
//! kept: [user 8, time 6] orders, cart, dismissed: count 1 (item 8, type 1, time 6)… │
//! history, oldest first: type and flags 1, [gap 1–6, tag 2], [session 4], item 8 …
//! ```
//!
//! The time of the last entry stands in the head, so that another one is a few bytes behind the end: no history is
//! read, and nothing is allocated. What is added comes as it comes; it is put into order, and the oldest beyond
//! [`HISTORY_MAX`] are left out, when the bytes are read. A product that is new to a list (a cart, the purchases) moves
//! what lies behind it. What names several products, or finds the slack used up, is decoded, applied and encoded again.
//!
//! **Law.** Adding to bytes and reading them is reading them and applying.

use std::num::NonZeroU32;

use endcap_proto::{EventTime, EventType, ItemKey, UserKey};

use crate::{
    EventFacts, EventTag, HISTORY_MAX, HistoryEntry, NewestItem, SessionTag, StateError, UserState,
    bytes::{Reader, TIME_BYTES, write_time, write_varint},
    newest::{NEWEST_BYTES, NEWEST_MAX, NewestItems},
    state::{CART, DISMISSED, ORDERS},
};

const HEAD: usize = 24;
const FLAGS: usize = 1;
const LAST_SEEN: usize = 2;
const ENTRIES: usize = 8;
const KEPT: usize = 10;
const LAST: usize = 12;
const TAG: usize = 18;
const SESSION: usize = 20;

/// Flags of the head.
const SEEN: u8 = 1;
const USER: u8 = 2;

/// Bits of the byte that opens an entry of a history.
const EVENT_TYPE: u8 = 0b0001_1111;
const SAME_EVENT: u8 = 0b0010_0000;
const SAME_SESSION: u8 = 0b0100_0000;
const NO_SESSION: u8 = 0b1000_0000;

/// In which order the entries of a history must stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As [`UserState::encode`] writes them.
    Rising,
    /// As [`UserState::add_to`] leaves them.
    Any,
}

/// The longest entry: head, gap, tag, session, item.
const ENTRY_MAX: usize = 1 + 7 + 2 + 4 + 8;

/// Bytes that are added to may hold this many entries beyond [`HISTORY_MAX`] before the oldest are cut off.
const SLACK: usize = 40;

impl UserState {
    /// Version of the bytes that [`Self::encode`] writes.
    pub const FORMAT_VERSION: u8 = 2;

    /// The state as bytes: 15 to 19 bytes an entry of the history, 15 an entry of the other lists.
    /// Equal states give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + 48 + 17 * self.history.len());
        self.encode_to(&mut out);
        out
    }

    /// As [`Self::encode`], behind what is there.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        let last_seen = self.last_seen.unwrap_or_default();
        let newest = self.history.last();
        let flags =
            if self.last_seen.is_some() { SEEN } else { 0 } | if self.user.is_some() { USER } else { 0 };
        out.extend([Self::FORMAT_VERSION, flags]);
        write_time(out, last_seen);
        out.extend((self.history.len() as u16).to_le_bytes());
        out.extend([0; 2]);
        write_time(out, newest.map(|entry| entry.time).unwrap_or_default());
        out.extend(newest.map(|entry| entry.event).unwrap_or_default().0.to_le_bytes());
        out.extend(session_bits(newest.and_then(|entry| entry.session)).to_le_bytes());
        if let Some((time, user)) = self.user {
            out.extend(user.0.to_le_bytes());
            write_time(out, time);
        }
        for list in [&self.orders, &self.cart, &self.dismissed] {
            list.encode(out);
        }
        // 3 · (1 + 64 · 15) + 14 bytes at most.
        let kept = (out.len() - begin - HEAD) as u16;
        out[begin + KEPT..begin + KEPT + 2].copy_from_slice(&kept.to_le_bytes());
        let mut before = None::<&HistoryEntry>;
        for entry in &self.history {
            let same_event = before.is_some_and(|b| (b.time, b.event) == (entry.time, entry.event));
            let gap = entry.time.millis_since(before.map(|b| b.time).unwrap_or_default());
            let gap = (!same_event).then_some((gap, entry.event));
            write_entry(
                out,
                entry.event_type,
                gap,
                before.and_then(|b| b.session),
                entry.session,
                entry.item,
            );
            before = Some(entry);
        }
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Another format version, or bytes that are no state. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        Self::read(bytes, HISTORY_MAX, Order::Rising)
    }

    /// Reads what [`Self::encode`] wrote and [`Self::add_to`] added to.
    ///
    /// # Errors
    /// Another format version, or bytes that are no state. Never panics.
    pub fn decode_added(bytes: &[u8]) -> Result<Self, StateError> {
        let mut state = Self::read(bytes, HISTORY_MAX + SLACK, Order::Any)?;
        if !state.history.is_sorted_by(|a, b| a < b) {
            state.history.sort_unstable();
            state.history.dedup();
        }
        state.history.drain(..state.history.len().saturating_sub(HISTORY_MAX));
        Ok(state)
    }

    fn read(bytes: &[u8], entries_max: usize, order: Order) -> Result<Self, StateError> {
        let mut reader = Reader::open("user state", bytes, Self::FORMAT_VERSION)?;
        let flags = reader.byte()?;
        if flags & !(SEEN | USER) != 0 || flags == USER {
            return Err(reader.corrupt("a flag is unknown"));
        }
        let last_seen = reader.time(EventTime::MAX)?;
        let entries = usize::from(reader.u16()?);
        let kept = usize::from(reader.u16()?);
        let newest = (reader.time(last_seen)?, EventTag(reader.u16()?), reader.u32()?);
        if entries > entries_max {
            return Err(reader.corrupt("a history is longer than it may be"));
        }
        let user = if flags & USER == 0 {
            None
        } else {
            let user = UserKey(reader.u64()?);
            Some((reader.time(last_seen)?, user))
        };
        let orders = NewestItems::decode(&mut reader, last_seen, ORDERS)?;
        let cart = NewestItems::decode(&mut reader, last_seen, CART)?;
        let dismissed = NewestItems::decode(&mut reader, last_seen, DISMISSED)?;
        if reader.offset() != HEAD + kept {
            return Err(reader.corrupt("the lists are not as long as the head says"));
        }
        let history = read_history(&mut reader, entries, last_seen, order)?;
        let last = history.last().map(|entry| (entry.time, entry.event, session_bits(entry.session)));
        if last.unwrap_or_default() != newest {
            return Err(reader.corrupt("the head does not say the last entry"));
        }
        if flags == 0 && (last_seen != EventTime::MIN || kept != 3 || entries != 0) {
            return Err(reader.corrupt("nothing was seen, and something is remembered"));
        }
        reader.finish()?;
        let last_seen = (flags & SEEN != 0).then_some(last_seen);
        Ok(Self { last_seen, user, history, orders, cart, dismissed })
    }

    /// Time of the newest event of encoded bytes; none where nothing was seen, or they are no state.
    #[inline]
    pub fn last_seen_of(bytes: &[u8]) -> Option<EventTime> {
        (bytes.len() >= HEAD && bytes[FLAGS] & SEEN != 0).then(|| time_at(bytes, LAST_SEEN))
    }

    /// Whose account encoded bytes are of, and when that was last said; none where nobody's, or they are no state.
    #[inline]
    pub fn user_of(bytes: &[u8]) -> Option<(UserKey, EventTime)> {
        let said = bytes.len() >= HEAD + 8 + TIME_BYTES && bytes[FLAGS] & USER != 0;
        let key = bytes.get(HEAD..)?.first_chunk().map(|key| UserKey(u64::from_le_bytes(*key)));
        key.filter(|_| said).map(|key| (key, time_at(bytes, HEAD + 8)))
    }

    /// The bytes of a state that has seen nothing but this event, in `room`; their length. None where it has to
    /// be applied and encoded, as with [`Self::add_to`]; `room` then holds nothing of use.
    #[inline]
    pub fn begin_with<E: EventFacts>(room: &mut [u8; Self::FIRST_MAX], event: &E) -> Option<usize> {
        let user = event.user();
        room[..HEAD].fill(0);
        room[0] = Self::FORMAT_VERSION;
        room[FLAGS] = SEEN | if user.is_some() { USER } else { 0 };
        set_time(room, LAST_SEEN, event.time());
        let mut length = HEAD;
        if let Some(user) = user {
            room[length..length + 8].copy_from_slice(&user.0.to_le_bytes());
            set_time(room, length + 8, event.time());
            length += 8 + TIME_BYTES;
        }
        room[length..length + 3].fill(0);
        length += 3;
        room[KEPT..KEPT + 2].copy_from_slice(&((length - HEAD) as u16).to_le_bytes());
        Self::add_to(room, length, event)
    }

    /// Room for the bytes of a state of one event, and for adding to them.
    pub const FIRST_MAX: usize = HEAD + 8 + TIME_BYTES + 3 + 2 * ENTRY_MAX;

    /// Bytes of room that [`Self::add_to`] wants behind a state for an event of this type.
    #[inline]
    pub fn room_for(event_type: EventType) -> usize {
        let listed = List::of(event_type).map_or(0, |_| NEWEST_BYTES);
        listed + if event_type.is_interest() { ENTRY_MAX } else { 0 }
    }

    /// Takes an event in where the bytes of a state lie: `bytes[..length]`, with room behind them. The
    /// length afterwards; none, and nothing done, where it has to be decoded ([`Self::decode_added`]), applied and
    /// encoded: where the event names several products, or the history or the room is full.
    #[inline]
    pub fn add_to<E: EventFacts>(bytes: &mut [u8], length: usize, event: &E) -> Option<usize> {
        let (time, event_type) = (event.time(), event.event_type());
        let room = length.checked_add(Self::room_for(event_type))?;
        if length < HEAD || bytes.len() < room || bytes[0] != Self::FORMAT_VERSION {
            return None;
        }
        if bytes[FLAGS] & SEEN == 0 {
            return None;
        }
        let user = event.user();
        if user.is_some() && bytes[FLAGS] & USER == 0 {
            return None;
        }
        let list = List::of(event_type);
        let mut items = event.items();
        let item = if list.is_some() || event_type.is_interest() { items.next() } else { None };
        if item.is_some() && items.next().is_some() {
            return None;
        }
        let entries = u16::from_le_bytes([bytes[ENTRIES], bytes[ENTRIES + 1]]);
        if event_type.is_interest() && usize::from(entries) >= HISTORY_MAX + SLACK {
            return None;
        }
        let mut length = length;
        if let (Some(list), Some(item)) = (list, item) {
            length = list.add_to(bytes, length, NewestItem { item, time, event_type })?;
        }
        if let Some(item) = item.filter(|_| event_type.is_interest()) {
            let last = time_at(bytes, LAST);
            let tag = EventTag::of(event.key());
            let session = event.session();
            let before: [u8; 4] = bytes[SESSION..SESSION + 4].try_into().ok()?;
            let before = NonZeroU32::new(u32::from_le_bytes(before)).map(SessionTag);
            let gap = time.millis_since(last);
            let mut entry = Bounded::default();
            write_entry(&mut entry, event_type, Some((gap, tag)), before, session, item);
            bytes[length..length + entry.length].copy_from_slice(&entry.bytes[..entry.length]);
            length += entry.length;
            bytes[ENTRIES..ENTRIES + 2].copy_from_slice(&(entries + 1).to_le_bytes());
            set_time(bytes, LAST, time);
            bytes[TAG..TAG + 2].copy_from_slice(&tag.0.to_le_bytes());
            bytes[SESSION..SESSION + 4].copy_from_slice(&session_bits(session).to_le_bytes());
        }
        if time > time_at(bytes, LAST_SEEN) {
            set_time(bytes, LAST_SEEN, time);
        }
        if let Some(user) = user {
            let known: [u8; 8] = bytes[HEAD..HEAD + 8].try_into().ok()?;
            let known = (time_at(bytes, HEAD + 8), UserKey(u64::from_le_bytes(known)));
            if known < (time, user) {
                bytes[HEAD..HEAD + 8].copy_from_slice(&user.0.to_le_bytes());
                set_time(bytes, HEAD + 8, time);
            }
        }
        Some(length)
    }
}

/// A list of what was kept, by its place among the three.
#[derive(Debug, Clone, Copy)]
struct List(usize);

impl List {
    /// The list that events of this type go to.
    #[inline]
    fn of(event_type: EventType) -> Option<Self> {
        [ORDERS, CART, DISMISSED].iter().position(|types| types.contains(&event_type)).map(Self)
    }

    /// Takes an entry in where the bytes of a state lie, which have [`NEWEST_BYTES`] of room behind them. The length
    /// afterwards; none, and nothing done, where the bytes are no state.
    fn add_to(self, bytes: &mut [u8], length: usize, entry: NewestItem) -> Option<usize> {
        let kept = u16::from_le_bytes([bytes[KEPT], bytes[KEPT + 1]]);
        let end = HEAD + usize::from(kept);
        let mut at = if bytes[FLAGS] & USER == 0 { HEAD } else { HEAD + 8 + TIME_BYTES };
        for _ in 0..self.0 {
            at += 1 + usize::from(*bytes.get(at)?) * NEWEST_BYTES;
        }
        let count = usize::from(*bytes.get(at)?);
        let begin = at + 1;
        if count > NEWEST_MAX || begin + count * NEWEST_BYTES > end || end > length {
            return None;
        }
        let list = &mut bytes[begin..begin + count * NEWEST_BYTES];
        match NewestItems::place_of(list, entry.item) {
            Ok(known) => {
                if NewestItem::read(known).is_none_or(|known| known.newness() < entry.newness()) {
                    known.copy_from_slice(&entry.bytes());
                }
                Some(length)
            }
            Err(place) if count == NEWEST_MAX => {
                NewestItems::replace_oldest(list, place, entry)?;
                Some(length)
            }
            Err(place) => {
                let at_entry = begin + place * NEWEST_BYTES;
                bytes.copy_within(at_entry..length, at_entry + NEWEST_BYTES);
                bytes[at_entry..at_entry + NEWEST_BYTES].copy_from_slice(&entry.bytes());
                bytes[at] += 1;
                bytes[KEPT..KEPT + 2].copy_from_slice(&(kept + NEWEST_BYTES as u16).to_le_bytes());
                Some(length + NEWEST_BYTES)
            }
        }
    }
}

/// Where an entry is written to.
trait Out {
    fn put(&mut self, bytes: &[u8]);
    fn put_varint(&mut self, value: u64);
}

impl Out for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_varint(&mut self, value: u64) {
        write_varint(self, value);
    }
}

/// One entry, on the stack.
#[derive(Default)]
struct Bounded {
    bytes: [u8; ENTRY_MAX],
    length: usize,
}

impl Out for Bounded {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    #[inline]
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }
}

#[inline]
fn write_entry(
    out: &mut impl Out,
    event_type: EventType,
    gap: Option<(i64, EventTag)>,
    before: Option<SessionTag>,
    session: Option<SessionTag>,
    item: ItemKey,
) {
    let mut head = event_type as u8;
    head |= if gap.is_none() { SAME_EVENT } else { 0 };
    head |= if session == before { SAME_SESSION } else { 0 };
    head |= if session.is_none() { NO_SESSION } else { 0 };
    out.put(&[head]);
    if let Some((gap, tag)) = gap {
        // Zigzag: what is added may lie before the entry that it is added to.
        out.put_varint((gap << 1 ^ gap >> 63).cast_unsigned());
        out.put(&tag.0.to_le_bytes());
    }
    if let (Some(session), true) = (session, session != before) {
        out.put(&session.0.get().to_le_bytes());
    }
    out.put(&item.0.to_le_bytes());
}

fn read_history(
    reader: &mut Reader<'_>,
    entries: usize,
    last_seen: EventTime,
    order: Order,
) -> Result<Vec<HistoryEntry>, StateError> {
    let mut history = Vec::<HistoryEntry>::with_capacity(entries);
    for _ in 0..entries {
        let before = history.last().copied();
        let head = reader.byte()?;
        let event_type = EventType::from_number(head & EVENT_TYPE)
            .filter(|event_type| event_type.is_interest())
            .ok_or_else(|| reader.corrupt("the event type does not belong into a history"))?;
        let (time, event) = match (head & SAME_EVENT != 0, before) {
            (true, Some(before)) => (before.time, before.event),
            (true, None) => return Err(reader.corrupt("the first entry has none before it")),
            (false, before) => {
                let gap = reader.varint()?;
                let time = before.map(|before| before.time).unwrap_or_default().as_millis();
                let gap = (gap >> 1).cast_signed() ^ -(gap & 1).cast_signed();
                let time = time.checked_add(gap);
                let time = time.and_then(EventTime::from_millis).filter(|&time| time <= last_seen);
                let time = time.ok_or_else(|| reader.corrupt("a time lies after the last"))?;
                (time, EventTag(reader.u16()?))
            }
        };
        let session_before = before.and_then(|before| before.session);
        let session = match (head & SAME_SESSION != 0, head & NO_SESSION != 0) {
            (true, none) if session_before.is_none() == none => session_before,
            (false, true) if session_before.is_some() => None,
            (false, false) => {
                let tag = NonZeroU32::new(reader.u32()?).map(SessionTag);
                if tag.is_none() || tag == session_before {
                    return Err(reader.corrupt("a session must be new where it is spelt out"));
                }
                tag
            }
            _ => return Err(reader.corrupt("the flags of a session contradict the entry before")),
        };
        let entry = HistoryEntry { time, event, item: ItemKey(reader.u64()?), event_type, session };
        if let (Some(before), Order::Rising) = (before, order) {
            if head & SAME_EVENT == 0 && (before.time, before.event) == (time, event) {
                return Err(reader.corrupt("an event that is the same must be flagged so"));
            }
            if before >= entry {
                return Err(reader.corrupt("entries must rise"));
            }
        }
        history.push(entry);
    }
    Ok(history)
}

fn session_bits(session: Option<SessionTag>) -> u32 {
    session.map_or(0, |tag| tag.0.get())
}

/// The time at a place of bytes that hold one there.
#[inline]
fn time_at(bytes: &[u8], at: usize) -> EventTime {
    let mut word = [0; 8];
    word[..TIME_BYTES].copy_from_slice(&bytes[at..at + TIME_BYTES]);
    EventTime::clamped(i64::from_le_bytes(word))
}

#[inline]
fn set_time(bytes: &mut [u8], at: usize, time: EventTime) {
    bytes[at..at + TIME_BYTES].copy_from_slice(&time.as_millis().to_le_bytes()[..TIME_BYTES]);
}
