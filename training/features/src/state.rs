//! What is remembered of a user: a bounded history, and the newest purchases, cart and dismissals.
//!
//! State is a join of sets. Each part (the newest [`HISTORY_MAX`] entries, the newest thing per
//! product, the newest login, the newest time) is a maximum of some order, so that events may
//! arrive late, twice or shuffled, and states of linked visitors may be merged in any grouping: the
//! bytes that come out are the same. An event without consent is applied to a state of its session
//! alone, of this same type, by whoever holds the sessions.

use endcap_proto::{EventTime, EventType, ItemKey, UserKey, VisitorKey};

use crate::{
    EventFacts, EventTag, HISTORY_MAX, HistoryEntry, NewestItem, StateError,
    bytes::{Reader, write_varint},
    newest::NewestItems,
};

/// Everything remembered of one visitor, or of the linked visitors of one user.
///
/// `merge` is commutative, associative and idempotent, and `apply` is `merge` with the state of one
/// event. Equal states have equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserState {
    pub(crate) last_seen: Option<EventTime>,
    pub(crate) user: Option<(EventTime, UserKey)>,
    pub(crate) history: Vec<HistoryEntry>,
    pub(crate) orders: NewestItems,
    pub(crate) cart: NewestItems,
    pub(crate) dismissed: NewestItems,
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

pub(crate) const ORDERS: &[EventType] = &[EventType::Purchase, EventType::Refund];
pub(crate) const CART: &[EventType] = &[EventType::AddToCart, EventType::RemoveFromCart];
pub(crate) const DISMISSED: &[EventType] = &[EventType::Dismiss];

// === impl UserState ===

impl UserState {
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

    /// Forgets what happened before an instant. What was logged in before it is no longer logged in.
    pub fn forget_before(&mut self, time: EventTime) {
        if self.last_seen.is_none_or(|last| last < time) {
            *self = Self::default();
            return;
        }
        self.user = self.user.filter(|&(at, _)| at >= time);
        let old = self.history.partition_point(|entry| entry.time < time);
        self.history.drain(..old);
        for list in [&mut self.orders, &mut self.cart, &mut self.dismissed] {
            list.forget_before(time);
        }
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
}

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

    /// Takes a visitor out; whether it was there.
    pub fn unlink(&mut self, visitor: VisitorKey) -> bool {
        let before = self.visitors.len();
        self.visitors.retain(|&(other, _)| other != visitor);
        self.visitors.len() < before
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
