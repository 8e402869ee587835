//! What is known of the shopper: the stored state, then events that the stream may not have delivered, then
//! what they have before them. Each acts on a copy that lives as long as the request.

use std::{sync::Arc, time::Duration};

use endcap_features::{EventFacts, SessionTag, UserState};
use endcap_proto::{EventKey, EventTime, EventType, ItemId, ItemKey, UserKey, VisitorKey};
use futures::future::{BoxFuture, FutureExt, ready};

use crate::{AppliedOffset, Query, StageError, StateReader, stage::QueryHydrator};

/// What is known of who asks.
#[derive(Debug, Clone)]
pub struct Shopper {
    /// The history; a copy for this request alone.
    pub state: UserState,
    /// The instant that features are read at: everything in `state` lies before it.
    pub as_of: EventTime,
    /// For each partition the next offset to be applied, when the state was read.
    pub applied: Arc<[AppliedOffset]>,
    /// Whether the shopper agreed to be remembered.
    pub consent: bool,
}

/// Reads the state that the stream has left behind, within a time budget.
pub(crate) struct StoredState {
    pub(crate) reader: Arc<dyn StateReader>,
    pub(crate) timeout: Duration,
}

/// Applies the request's `recent_events`.
pub(crate) struct RecentEvents;

/// Lets the cart's products count as put there, and the page's as looked at, in the last milliseconds before
/// `as_of`: the cart's two before, the page's one before.
pub(crate) struct PageContext;

/// Something that the context says happened.
struct ContextEvent<'a> {
    query: &'a Query,
    event_type: EventType,
    time: EventTime,
    item: ItemKey,
}

impl Shopper {
    /// A shopper of whom nothing is known at `now`.
    pub(crate) fn unknown(now: EventTime) -> Self {
        Self { state: UserState::default(), as_of: now, applied: Arc::from([]), consent: false }
    }
}

impl QueryHydrator for StoredState {
    fn hydrate<'a>(
        &'a self,
        query: &'a Query,
        shopper: &'a mut Shopper,
    ) -> BoxFuture<'a, Result<(), StageError>> {
        let failed = |reason: String| StageError { stage: "state", reason };
        async move {
            let user = query.user.as_ref().map(|user| user.key());
            let read = self.reader.read(query.visitor.key(), user, query.session.as_deref());
            let snapshot = tokio::time::timeout(self.timeout, read).await;
            let snapshot = snapshot.map_err(|_| failed(format!("not read within {:?}", self.timeout)))?;
            let snapshot = snapshot.map_err(|error| failed(error.to_string()))?;
            shopper.as_of = snapshot.state.as_of(shopper.as_of);
            shopper.state = snapshot.state;
            shopper.applied = snapshot.applied;
            shopper.consent = snapshot.consent;
            Ok(())
        }
        .boxed()
    }
}

impl QueryHydrator for RecentEvents {
    fn hydrate<'a>(
        &'a self,
        query: &'a Query,
        shopper: &'a mut Shopper,
    ) -> BoxFuture<'a, Result<(), StageError>> {
        for event in &query.recent_events {
            shopper.state.apply(event);
        }
        shopper.as_of = shopper.state.as_of(shopper.as_of);
        ready(Ok(())).boxed()
    }
}

impl QueryHydrator for PageContext {
    fn hydrate<'a>(
        &'a self,
        query: &'a Query,
        shopper: &'a mut Shopper,
    ) -> BoxFuture<'a, Result<(), StageError>> {
        let Shopper { state, as_of, .. } = shopper;
        let newest = state.history().last().map(|entry| entry.item);
        let in_history = |item: ItemKey| state.history().iter().any(|entry| entry.item == item);
        let cart: Vec<ItemKey> =
            query.context.cart.iter().map(ItemId::key).filter(|&item| !in_history(item)).collect();
        let page = query.context.items.iter().map(ItemId::key).filter(|&item| Some(item) != newest);
        let page: Vec<ItemKey> = page.collect();
        if !(cart.is_empty() && page.is_empty()) {
            let (cart_time, page_time) = (*as_of, as_of.plus_millis(1));
            for item in cart {
                state.apply(&ContextEvent { query, event_type: EventType::AddToCart, time: cart_time, item });
            }
            for item in page {
                state.apply(&ContextEvent { query, event_type: EventType::View, time: page_time, item });
            }
            *as_of = as_of.plus_millis(2);
        }
        ready(Ok(())).boxed()
    }
}

impl EventFacts for ContextEvent<'_> {
    fn key(&self) -> EventKey {
        EventKey(0)
    }

    fn event_type(&self) -> EventType {
        self.event_type
    }

    fn time(&self) -> EventTime {
        self.time
    }

    fn visitor(&self) -> VisitorKey {
        self.query.visitor.key()
    }

    fn user(&self) -> Option<UserKey> {
        None
    }

    fn session(&self) -> Option<SessionTag> {
        self.query.session.as_deref().map(SessionTag::of)
    }

    fn items(&self) -> impl Iterator<Item = ItemKey> {
        std::iter::once(self.item)
    }
}
