//! Data in no order, put into one that says nothing.

use endcap_clickstream::EventRef;
use endcap_features::{EventFacts, SessionTag};
use endcap_proto::{EventKey, EventTime, EventType, ItemKey, UserKey, VisitorKey};
use endcap_towers::mix;

/// An event of data whose order means nothing, at a time drawn by its key; the publisher's test set comes after its
/// training set.
pub(super) struct Shuffled<'a> {
    pub(super) event: EventRef<'a>,
    pub(super) later: bool,
}

impl Shuffled<'_> {
    /// Where the later part's times begin.
    pub(super) const LATER: i64 = 1 << 40;
}

impl EventFacts for Shuffled<'_> {
    fn key(&self) -> EventKey {
        self.event.key()
    }

    fn event_type(&self) -> EventType {
        self.event.event_type
    }

    fn time(&self) -> EventTime {
        let drawn = (mix(self.event.key().0) >> 24).cast_signed();
        EventTime::clamped(drawn + if self.later { Self::LATER } else { 0 })
    }

    fn visitor(&self) -> VisitorKey {
        self.event.visitor()
    }

    fn user(&self) -> Option<UserKey> {
        self.event.user()
    }

    fn session(&self) -> Option<SessionTag> {
        None
    }

    fn items(&self) -> impl Iterator<Item = ItemKey> {
        EventFacts::items(&self.event)
    }
}
