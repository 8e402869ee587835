//! What state and counters need to know of an event, whoever holds it.
//!
//! An [`Event`] arrives one by one from Kafka; an [`EventRef`] is a view into a column batch of ten
//! million. Both answer the same few questions here without allocating, so that one `apply` serves
//! the live path and training.

use endcap_clickstream::EventRef;
use endcap_proto::{Event, EventKey, EventTime, EventType, EventView, ItemKey, UserKey, VisitorKey};

use crate::SessionTag;

/// The facts of an event that state and counters read. Implemented by [`Event`] and [`EventRef`].
pub trait EventFacts {
    /// Key of the client's event id.
    fn key(&self) -> EventKey;
    /// What happened.
    fn event_type(&self) -> EventType;
    /// When, by the client's clock.
    fn time(&self) -> EventTime;
    /// Whose browser or device.
    fn visitor(&self) -> VisitorKey;
    /// Whose account, when logged in.
    fn user(&self) -> Option<UserKey>;
    /// The client's session, where it names one.
    fn session(&self) -> Option<SessionTag>;
    /// The products concerned, in the event's order.
    fn items(&self) -> impl Iterator<Item = ItemKey>;
}

impl EventFacts for Event {
    fn key(&self) -> EventKey {
        self.event_id.key()
    }

    fn event_type(&self) -> EventType {
        self.event_type
    }

    fn time(&self) -> EventTime {
        self.time
    }

    fn visitor(&self) -> VisitorKey {
        self.visitor_id.key()
    }

    fn user(&self) -> Option<UserKey> {
        self.user_id.as_ref().map(|id| id.key())
    }

    fn session(&self) -> Option<SessionTag> {
        self.session_id.as_deref().map(SessionTag::of)
    }

    fn items(&self) -> impl Iterator<Item = ItemKey> {
        self.items.iter().map(|item| item.item_id.key())
    }
}

impl EventFacts for EventRef<'_> {
    fn key(&self) -> EventKey {
        EventKey::of(self.event_id)
    }

    fn event_type(&self) -> EventType {
        self.event_type
    }

    fn time(&self) -> EventTime {
        self.time
    }

    fn visitor(&self) -> VisitorKey {
        VisitorKey::of(self.visitor_id)
    }

    fn user(&self) -> Option<UserKey> {
        self.user_id.map(UserKey::of)
    }

    fn session(&self) -> Option<SessionTag> {
        self.session_id.map(SessionTag::of)
    }

    fn items(&self) -> impl Iterator<Item = ItemKey> {
        EventRef::items(self).map(|item| ItemKey::of(item.item_id))
    }
}

impl EventFacts for EventView<'_> {
    fn key(&self) -> EventKey {
        EventView::key(self)
    }

    fn event_type(&self) -> EventType {
        self.event_type
    }

    fn time(&self) -> EventTime {
        self.time
    }

    fn visitor(&self) -> VisitorKey {
        EventView::visitor(self)
    }

    fn user(&self) -> Option<UserKey> {
        EventView::user(self)
    }

    fn session(&self) -> Option<SessionTag> {
        self.session_id.map(SessionTag::of)
    }

    fn items(&self) -> impl Iterator<Item = ItemKey> {
        EventView::items(self)
    }
}
