//! Shoppers who are to be forgotten: what a reader passes over, and what an archive is rewritten without.

use std::collections::{HashMap, hash_map::Entry};

use endcap_proto::{EventTime, UserKey, VisitorKey, v1::Impression};

use crate::EventRef;

/// A browser or device, or an account, by its stable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shopper {
    /// One browser or device.
    Visitor(VisitorKey),
    /// An account, and whoever was seen logged in to it.
    User(UserKey),
}

/// Shoppers to be forgotten, each up to an instant: what they did before it counts as never having happened.
///
/// A join: for each shopper the latest instant holds, in whatever order they are told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erased {
    shoppers: HashMap<Shopper, EventTime>,
    /// The latest of all instants: what happened since concerns nobody here.
    latest: EventTime,
}

// === impl Erased ===

impl Erased {
    /// Forgets a shopper up to `before`; whether that says anything new.
    pub fn insert(&mut self, shopper: Shopper, before: EventTime) -> bool {
        self.latest = self.latest.max(before);
        match self.shoppers.entry(shopper) {
            Entry::Vacant(place) => drop(place.insert(before)),
            Entry::Occupied(mut held) if *held.get() < before => drop(held.insert(before)),
            Entry::Occupied(_) => return false,
        }
        true
    }

    /// Until when a shopper is forgotten.
    pub fn before(&self, shopper: Shopper) -> Option<EventTime> {
        self.shoppers.get(&shopper).copied()
    }

    /// Whether something that happened at `time` may be anybody's here.
    pub fn concerns(&self, time: EventTime) -> bool {
        time < self.latest
    }

    /// Whether what this visitor did at `time`, perhaps logged in, is to be forgotten.
    pub fn covers(&self, visitor: VisitorKey, user: Option<UserKey>, time: EventTime) -> bool {
        self.concerns(time)
            && [Some(Shopper::Visitor(visitor)), user.map(Shopper::User)]
                .into_iter()
                .flatten()
                .any(|shopper| self.before(shopper).is_some_and(|before| time < before))
    }

    /// Whether an event is to be forgotten.
    pub fn covers_event(&self, event: &EventRef<'_>) -> bool {
        self.concerns(event.time)
            && self.covers(VisitorKey::of(event.visitor_id), event.user_id.map(UserKey::of), event.time)
    }

    /// Whether a slate is to be forgotten.
    pub fn covers_impression(&self, impression: &Impression) -> bool {
        let time = impression.served_time.as_ref();
        let time = time.and_then(|time| EventTime::from_proto("served_time", time).ok()).unwrap_or_default();
        let user = Some(&impression.user_id).filter(|id| !id.is_empty()).map(|id| UserKey::of(id));
        self.covers(VisitorKey::of(&impression.visitor_id), user, time)
    }

    /// The instant up to which a visitor is to be forgotten whom an event at `time` shows to be an erased
    /// account's, where that is not known yet.
    pub fn implies(&self, visitor: VisitorKey, user: Option<UserKey>, time: EventTime) -> Option<EventTime> {
        let before = self.before(Shopper::User(user.filter(|_| self.concerns(time))?))?;
        let known = self.before(Shopper::Visitor(visitor)).is_some_and(|known| known >= before);
        (time < before && !known).then_some(before)
    }

    /// Each shopper, and the instant.
    pub fn iter(&self) -> impl Iterator<Item = (Shopper, EventTime)> {
        self.shoppers.iter().map(|(&shopper, &before)| (shopper, before))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.shoppers.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.shoppers.is_empty()
    }
}

impl FromIterator<(Shopper, EventTime)> for Erased {
    fn from_iter<I: IntoIterator<Item = (Shopper, EventTime)>>(shoppers: I) -> Self {
        let mut erased = Self::default();
        for (shopper, before) in shoppers {
            erased.insert(shopper, before);
        }
        erased
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_before_the_instant_is_covered_and_what_came_after_is_not() {
        let at = EventTime::clamped;
        let (phone, laptop, anna) = (VisitorKey(1), VisitorKey(2), UserKey(9));
        let mut erased = Erased::default();
        assert!(!erased.covers(phone, Some(anna), at(0)) && erased.is_empty());
        assert!(erased.insert(Shopper::User(anna), at(100)));
        assert!(!erased.insert(Shopper::User(anna), at(50)), "an earlier instant says nothing new");
        assert!(erased.covers(phone, Some(anna), at(99)) && !erased.covers(phone, Some(anna), at(100)));
        assert!(!erased.covers(phone, None, at(99)));
        assert_eq!(erased.implies(phone, Some(anna), at(99)), Some(at(100)));
        assert_eq!(erased.implies(phone, Some(anna), at(100)), None);
        erased.insert(Shopper::Visitor(phone), at(100));
        assert!(erased.covers(phone, None, at(99)) && !erased.covers(laptop, None, at(99)));
        assert_eq!(erased.implies(phone, Some(anna), at(99)), None, "that is known");
        assert_eq!(erased.len(), 2);
    }
}
