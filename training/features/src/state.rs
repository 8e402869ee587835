//! What is remembered of a user: a bounded history, and the newest purchases, cart and dismissals.
//!
//! State is a join of sets. Each part (the newest [`HISTORY_MAX`] entries, the newest thing per
//! product, the newest login, the newest time) is a maximum of some order, so that events may
//! arrive late, twice or shuffled, and states of linked visitors may be merged in any grouping: the
//! bytes that come out are the same. An event without consent is applied to a state of its session
//! alone, of this same type, by whoever holds the sessions.

use endcap_proto::{EventTime, EventType, ItemKey, UserKey, VisitorKey};

use crate::{
    EventFacts, EventTag, HISTORY_MAX, HistoryEntry, NewestItem, SessionTag, StateError,
    bytes::{Reader, write_varint},
    newest::{NewestItems, time_before},
};

/// Everything remembered of one visitor, or of the linked visitors of one user.
///
/// `merge` is commutative, associative and idempotent, and `apply` is `merge` with the state of one
/// event. Equal states have equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserState {
    last_seen: Option<EventTime>,
    user: Option<(EventTime, UserKey)>,
    history: Vec<HistoryEntry>,
    orders: NewestItems,
    cart: NewestItems,
    dismissed: NewestItems,
}

/// The visitors (browsers, devices) of one user, by the newest [`LoginLinks::MAX`] logins.
///
/// A user's state is the merge of the states of these visitors, made when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoginLinks {
    /// Sorted by visitor.
    visitors: Vec<(VisitorKey, EventTime)>,
}

/// How far a shopper's clock may run ahead of ours: 5 minutes.
pub const CLOCK_SKEW_MS: i64 = 5 * 60 * 1000;

const ORDERS: &[EventType] = &[EventType::Purchase, EventType::Refund];
const CART: &[EventType] = &[EventType::AddToCart, EventType::RemoveFromCart];
const DISMISSED: &[EventType] = &[EventType::Dismiss];

// === impl UserState ===

impl UserState {
    /// Version of the bytes that [`Self::encode`] writes.
    pub const FORMAT_VERSION: u8 = 1;

    /// Takes an event in; whether that changed the state.
    ///
    /// A repeat changes nothing, whether its entries are still in the history or have been pushed
    /// out by newer ones.
    pub fn apply<E: EventFacts>(&mut self, event: &E) -> bool {
        let (time, event_type) = (event.time(), event.event_type());
        let mut changed = self.last_seen < Some(time);
        self.last_seen = self.last_seen.max(Some(time));
        if let Some(user) = event.user() {
            changed |= self.user < Some((time, user));
            self.user = self.user.max(Some((time, user)));
        }
        let kept = [(ORDERS, &mut self.orders), (CART, &mut self.cart), (DISMISSED, &mut self.dismissed)];
        for (event_types, list) in kept {
            if event_types.contains(&event_type) {
                for item in event.items() {
                    changed |= list.apply(NewestItem { item, time, event_type });
                }
            }
        }
        if event_type.is_interest() {
            let (event_tag, session) = (EventTag::of(event.key()), event.session());
            for item in event.items() {
                changed |= self.insert(HistoryEntry { time, event: event_tag, item, event_type, session });
            }
        }
        changed
    }

    fn insert(&mut self, entry: HistoryEntry) -> bool {
        // Events mostly arrive in order, so that the place is mostly the end.
        let mut place = self.history.len();
        while place > 0 && self.history[place - 1] > entry {
            place -= 1;
        }
        if place > 0 && self.history[place - 1] == entry {
            return false;
        }
        if self.history.len() < HISTORY_MAX {
            self.history.insert(place, entry);
            return true;
        }
        if place == 0 {
            return false;
        }
        self.history.copy_within(1..place, 0);
        self.history[place - 1] = entry;
        true
    }

    /// The state of all events that either state has seen.
    pub fn merge(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        merged.last_seen = self.last_seen.max(other.last_seen);
        merged.user = self.user.max(other.user);
        merged.orders.merge(&other.orders);
        merged.cart.merge(&other.cart);
        merged.dismissed.merge(&other.dismissed);
        merged.history.extend_from_slice(&other.history);
        merged.history.sort();
        merged.history.dedup();
        merged.history.drain(..merged.history.len().saturating_sub(HISTORY_MAX));
        merged
    }

    /// What the user showed interest in, oldest first; the newest [`HISTORY_MAX`] entries.
    pub fn history(&self) -> &[HistoryEntry] {
        &self.history
    }

    /// What was bought and not given back since, with the time of the newest purchase, by product.
    pub fn bought(&self) -> impl Iterator<Item = &NewestItem> {
        self.orders.iter().filter(|entry| entry.event_type == EventType::Purchase)
    }

    /// What lies in the cart (put there, and neither taken out nor bought since), with the time at
    /// which it was last put there, by product.
    pub fn cart(&self) -> impl Iterator<Item = &NewestItem> {
        self.cart.iter().filter(|entry| {
            let bought = self.orders.get(entry.item).is_some_and(|order| order.time >= entry.time);
            entry.event_type == EventType::AddToCart && !bought
        })
    }

    /// What the user does not want to see, by product.
    pub fn dismissed(&self) -> impl Iterator<Item = &NewestItem> {
        self.dismissed.iter()
    }

    /// When `item` was last bought, if it was not given back since.
    pub fn bought_at(&self, item: ItemKey) -> Option<EventTime> {
        let entry = self.orders.get(item).filter(|entry| entry.event_type == EventType::Purchase);
        entry.map(|entry| entry.time)
    }

    /// Whether the user dismissed `item`.
    pub fn has_dismissed(&self, item: ItemKey) -> bool {
        self.dismissed.get(item).is_some()
    }

    /// Whose account: of the newest event that named one.
    pub fn user(&self) -> Option<UserKey> {
        self.user.map(|(_, user)| user)
    }

    /// Time of the newest event, of any kind. Expiry counts from here.
    pub fn last_seen(&self) -> Option<EventTime> {
        self.last_seen
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.last_seen.is_none()
    }

    /// The instant at which a request that arrives at `now` reads this state: `now`, or right after
    /// the newest entry of the history, where the shopper's clock runs ahead of ours. So the click
    /// that was applied a moment ago acts. Entries more than [`CLOCK_SKEW_MS`] ahead wait.
    pub fn as_of(&self, now: EventTime) -> EventTime {
        let soon = now.plus_millis(CLOCK_SKEW_MS);
        let entries = self.history.partition_point(|entry| entry.time <= soon);
        let newest = self.history[..entries].last();
        newest.map_or(now, |entry| now.max(entry.time.plus_millis(1)))
    }

    /// The state as bytes: 16 to 18 bytes an entry of the history, 10 to 14 an entry of the other
    /// lists. Equal states give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 18 * self.history.len());
        out.push(Self::FORMAT_VERSION);
        let Some(last_seen) = self.last_seen else { return out };
        write_varint(&mut out, last_seen.as_millis() as u64);
        match self.user {
            None => out.push(0),
            Some((time, user)) => {
                out.push(1);
                out.extend(user.0.to_le_bytes());
                write_varint(&mut out, last_seen.millis_since(time) as u64);
            }
        }
        self.encode_history(last_seen, &mut out);
        for list in [&self.orders, &self.cart, &self.dismissed] {
            list.encode(last_seen, &mut out);
        }
        out
    }

    /// Newest first. Each entry is a byte of event type (low five bits) and flags, then what the
    /// flags do not say is the same as in the entry before.
    fn encode_history(&self, last_seen: EventTime, out: &mut Vec<u8>) {
        write_varint(out, self.history.len() as u64);
        let (mut time, mut event, mut session) = (last_seen, None, None);
        for entry in self.history.iter().rev() {
            let same_event = event == Some(entry.event) && time == entry.time;
            let same_session = session == entry.session;
            let mut head = entry.event_type as u8;
            head |= if same_event { SAME_EVENT } else { 0 };
            head |= if same_session { SAME_SESSION } else { 0 };
            head |= if entry.session.is_none() { NO_SESSION } else { 0 };
            out.push(head);
            if !same_event {
                write_varint(out, time.millis_since(entry.time) as u64);
                out.extend(entry.event.0.to_le_bytes());
            }
            out.extend(entry.item.0.to_le_bytes());
            if let (false, Some(session)) = (same_session, entry.session) {
                out.extend(session.0.get().to_le_bytes());
            }
            (time, event, session) = (entry.time, Some(entry.event), entry.session);
        }
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Another format version, or bytes that are no state. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open("user state", bytes, Self::FORMAT_VERSION)?;
        if bytes.len() == 1 {
            return Ok(Self::default());
        }
        let last_seen = i64::try_from(reader.varint()?)
            .ok()
            .and_then(EventTime::from_millis)
            .ok_or_else(|| reader.corrupt("a time lies after the year 9999"))?;
        let user = match reader.byte()? {
            0 => None,
            1 => {
                let user = UserKey(reader.u64()?);
                Some((time_before(&mut reader, last_seen)?, user))
            }
            _ => return Err(reader.corrupt("the mark of a user must be 0 or 1")),
        };
        let state = Self {
            last_seen: Some(last_seen),
            user,
            history: Self::decode_history(&mut reader, last_seen)?,
            orders: NewestItems::decode(&mut reader, last_seen, ORDERS)?,
            cart: NewestItems::decode(&mut reader, last_seen, CART)?,
            dismissed: NewestItems::decode(&mut reader, last_seen, DISMISSED)?,
        };
        reader.finish()?;
        Ok(state)
    }

    fn decode_history(
        reader: &mut Reader<'_>,
        last_seen: EventTime,
    ) -> Result<Vec<HistoryEntry>, StateError> {
        let count = reader.count(HISTORY_MAX)?;
        let mut history = Vec::<HistoryEntry>::with_capacity(count);
        for _ in 0..count {
            let newer = history.last().copied();
            let head = reader.byte()?;
            let event_type = EventType::from_number(head & EVENT_TYPE)
                .filter(|event_type| event_type.is_interest())
                .ok_or_else(|| reader.corrupt("the event type does not belong into a history"))?;
            let (time, event) = match (head & SAME_EVENT != 0, newer) {
                (true, Some(newer)) => (newer.time, newer.event),
                (true, None) => return Err(reader.corrupt("the first entry has none before it")),
                (false, newer) => {
                    let time = time_before(reader, newer.map_or(last_seen, |newer| newer.time))?;
                    let event = EventTag(reader.u32()?);
                    if newer.is_some_and(|newer| (newer.time, newer.event) == (time, event)) {
                        return Err(reader.corrupt("an event that is the same must be flagged so"));
                    }
                    (time, event)
                }
            };
            let item = ItemKey(reader.u64()?);
            let before = newer.and_then(|newer| newer.session);
            let session = match (head & SAME_SESSION != 0, head & NO_SESSION != 0) {
                (true, none) if before.is_none() == none => before,
                (false, true) if before.is_some() => None,
                (false, false) => {
                    let tag = std::num::NonZeroU32::new(reader.u32()?).map(SessionTag);
                    if tag.is_none() || tag == before {
                        return Err(reader.corrupt("a session must be new where it is spelt out"));
                    }
                    tag
                }
                _ => return Err(reader.corrupt("the flags of a session contradict")),
            };
            let entry = HistoryEntry { time, event, item, event_type, session };
            if newer.is_some_and(|newer| newer <= entry) {
                return Err(reader.corrupt("a history must run from new to old"));
            }
            history.push(entry);
        }
        history.reverse();
        Ok(history)
    }
}

/// Bits of the byte that opens an entry of an encoded history.
const EVENT_TYPE: u8 = 0b0001_1111;
const SAME_EVENT: u8 = 0b0010_0000;
const SAME_SESSION: u8 = 0b0100_0000;
const NO_SESSION: u8 = 0b1000_0000;

// === impl LoginLinks ===

impl LoginLinks {
    /// Version of the bytes that [`Self::encode`] writes.
    pub const FORMAT_VERSION: u8 = 1;
    /// How many visitors one user can have.
    pub const MAX: usize = 16;

    /// Links a visitor who was seen logged in at `time`; whether that changed anything.
    pub fn link(&mut self, visitor: VisitorKey, time: EventTime) -> bool {
        match self.visitors.binary_search_by_key(&visitor, |&(visitor, _)| visitor) {
            Ok(i) if self.visitors[i].1 < time => self.visitors[i].1 = time,
            Ok(_) => return false,
            Err(i) => {
                self.visitors.insert(i, (visitor, time));
                if self.visitors.len() > Self::MAX {
                    let oldest =
                        (0..self.visitors.len()).min_by_key(|&i| (self.visitors[i].1, self.visitors[i].0));
                    return oldest.map(|i| self.visitors.remove(i)) != Some((visitor, time));
                }
            }
        }
        true
    }

    /// The links of both.
    pub fn merge(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        for &(visitor, time) in &other.visitors {
            merged.link(visitor, time);
        }
        merged
    }

    /// The visitors, by key, each with the newest time it was seen logged in.
    pub fn visitors(&self) -> &[(VisitorKey, EventTime)] {
        &self.visitors
    }

    /// The links as bytes. Equal links give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![Self::FORMAT_VERSION];
        write_varint(&mut out, self.visitors.len() as u64);
        for &(visitor, time) in &self.visitors {
            out.extend(visitor.0.to_le_bytes());
            write_varint(&mut out, time.as_millis() as u64);
        }
        out
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Another format version, or bytes that are no links. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open("login links", bytes, Self::FORMAT_VERSION)?;
        let count = reader.count(Self::MAX)?;
        let mut visitors = Vec::<(VisitorKey, EventTime)>::with_capacity(count);
        for _ in 0..count {
            let visitor = VisitorKey(reader.u64()?);
            if visitors.last().is_some_and(|&(previous, _)| previous >= visitor) {
                return Err(reader.corrupt("visitors must rise"));
            }
            let time = i64::try_from(reader.varint()?).ok().and_then(EventTime::from_millis);
            let time = time.ok_or_else(|| reader.corrupt("a time lies after the year 9999"))?;
            visitors.push((visitor, time));
        }
        reader.finish()?;
        Ok(Self { visitors })
    }
}
