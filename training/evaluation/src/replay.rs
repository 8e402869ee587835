//! A data set again, in time order: states and counters as they were at each moment.
//!
//! Events are read once into compact rows and sorted by time. Events of one shopper at one instant are one
//! *moment*: it is handed over with the state before it, and then applied, so nothing of a moment is history
//! for another of its events. Memory: about 64 bytes an event, and the states.

use std::{collections::HashMap, ops::Range};

use endcap_clickstream::{ClickstreamError, Dataset};
use endcap_features::{EventFacts, ItemCounters, KeyMap, SessionTag, UserState};
use endcap_proto::{EventKey, EventTime, EventType, ItemKey, UserKey, VisitorKey};

use crate::{Moment, moments::Counters};

/// The events of a data set in order of time, without their texts.
pub struct Replay {
    events: Vec<Compact>,
    items: Vec<ItemKey>,
}

/// What state needs of an event.
struct Compact {
    time: EventTime,
    visitor: VisitorKey,
    key: EventKey,
    user: Option<UserKey>,
    session: Option<SessionTag>,
    event_type: EventType,
    items: Range<u32>,
}

/// A [`Compact`] with its items.
struct View<'a>(&'a Compact, &'a [ItemKey]);

// === impl Replay ===

impl Replay {
    /// Reads the events of a data set that shoppers agreed to.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(dataset: &Dataset) -> Result<Self, ClickstreamError> {
        let (mut events, mut items) = (Vec::new(), Vec::new());
        for batch in dataset.events()? {
            for event in batch?.iter().filter(|event| event.consent) {
                let first = items.len() as u32;
                items.extend(EventFacts::items(&event));
                events.push(Compact {
                    time: event.time,
                    visitor: event.visitor(),
                    key: event.key(),
                    user: event.user(),
                    session: event.session(),
                    event_type: event.event_type,
                    items: first..items.len() as u32,
                });
            }
        }
        events.sort_by_key(|event| (event.time, event.visitor, event.key));
        events.dedup_by_key(|event| (event.time, event.visitor, event.key));
        Ok(Self { events, items })
    }

    /// Only the events before `end`.
    pub fn before(mut self, end: EventTime) -> Self {
        self.events.truncate(self.events.partition_point(|event| event.time < end));
        self
    }

    /// Without the items that `drop` (time, item) says, as if nobody had met them.
    #[must_use]
    pub fn without(mut self, mut drop: impl FnMut(EventTime, ItemKey) -> bool) -> Self {
        let all = std::mem::take(&mut self.items);
        for event in &mut self.events {
            let first = self.items.len() as u32;
            let items = &all[event.items.start as usize..event.items.end as usize];
            self.items.extend(items.iter().copied().filter(|&item| !drop(event.time, item)));
            event.items = first..self.items.len() as u32;
        }
        self
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Time of the newest event.
    pub fn newest(&self) -> Option<EventTime> {
        self.events.last().map(|event| event.time)
    }

    /// Goes through all moments in order of time and hands over those at or after `from`.
    ///
    /// # Errors
    /// The first of `visit`'s.
    pub fn run<E>(
        &self,
        from: EventTime,
        mut visit: impl FnMut(&Moment<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut users: HashMap<VisitorKey, (u32, UserState)> = HashMap::new();
        let mut counters: KeyMap<ItemKey, ItemCounters> = KeyMap::default();
        let mut interests = Vec::new();
        for events in self.events.chunk_by(|a, b| a.visitor == b.visitor && a.time == b.time) {
            let (visitor, as_of) = (events[0].visitor, events[0].time);
            let next = users.len() as u32;
            let (user, state) = users.entry(visitor).or_insert_with(|| (next, UserState::default()));
            if as_of >= from {
                interests.clear();
                for event in events.iter().filter(|event| event.event_type.is_interest()) {
                    interests.extend(self.items_of(event).iter().map(|&item| (item, event.event_type)));
                }
                let counters = Counters::Rolling(&counters);
                visit(&Moment { user: *user, visitor, as_of, state, interests: &interests, counters })?;
            }
            for event in events {
                state.apply(&View(event, self.items_of(event)));
                for &item in self.items_of(event) {
                    counters.entry(item).or_default().apply(event.event_type, event.time);
                }
            }
        }
        Ok(())
    }

    fn items_of(&self, event: &Compact) -> &[ItemKey] {
        &self.items[event.items.start as usize..event.items.end as usize]
    }
}

// === impl View ===

impl EventFacts for View<'_> {
    fn key(&self) -> EventKey {
        self.0.key
    }

    fn event_type(&self) -> EventType {
        self.0.event_type
    }

    fn time(&self) -> EventTime {
        self.0.time
    }

    fn visitor(&self) -> VisitorKey {
        self.0.visitor
    }

    fn user(&self) -> Option<UserKey> {
        self.0.user
    }

    fn session(&self) -> Option<SessionTag> {
        self.0.session
    }

    fn items(&self) -> impl Iterator<Item = ItemKey> {
        self.1.iter().copied()
    }
}
