//! A simulated shopper at the service's door: asks for slates over gRPC, and clicks by producing to Kafka.

use std::time::{Duration, Instant};

use anyhow::Context;
use endcap_live::EventProducer;
use endcap_proto::{
    Event, EventId, EventItem, EventTime, EventType, ItemId, VisitorId,
    v1::{
        Context as PageContext, RecommendRequest, RecommendResponse, Result as SlateEntry,
        recommendation_service_client::RecommendationServiceClient,
    },
};
use tonic::transport::{Channel, Endpoint};

/// How long a click may take to show before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// The door: a connection to the service, and a producer of events.
#[derive(Clone)]
pub struct Door {
    service: RecommendationServiceClient<Channel>,
    events: EventProducer,
}

/// A slate as a shopper sees it.
pub struct Slate {
    pub entries: Vec<SlateEntry>,
}

/// What a click did.
pub struct Changed {
    pub slate: Slate,
    /// From the moment that the click was handed to the producer to the answer that differs. `None` when no answer did.
    pub after: Option<Duration>,
}

// === impl Door ===

impl Door {
    pub async fn open(address: &str, events: EventProducer) -> anyhow::Result<Self> {
        let channel = Endpoint::try_from(format!("http://{address}"))?
            .connect()
            .await
            .with_context(|| format!("cannot reach the service on {address}"))?;
        Ok(Self { service: RecommendationServiceClient::new(channel), events })
    }

    /// Asks for a slate.
    pub async fn slate(&self, visitor: &VisitorId) -> anyhow::Result<Slate> {
        self.slate_beside(visitor, None).await
    }

    /// Asks for a slate to be shown on a product's page.
    pub async fn slate_beside(&self, visitor: &VisitorId, item: Option<&ItemId>) -> anyhow::Result<Slate> {
        let item_ids = item.map(|id| id.as_str().to_owned()).into_iter().collect();
        let request = RecommendRequest {
            visitor_id: visitor.as_str().to_owned(),
            context: Some(PageContext { item_ids, ..PageContext::default() }),
            return_item: true,
            ..Default::default()
        };
        let RecommendResponse { results, .. } =
            self.service.clone().recommend(request).await.context("Recommend")?.into_inner();
        Ok(Slate { entries: results })
    }

    /// Produces events, and waits until the broker has them.
    pub async fn send(&self, events: &[Event]) -> anyhow::Result<()> {
        self.events.write(events.to_vec()).await.context("cannot produce an event")?;
        Ok(())
    }

    /// Clicks a product, then asks until the slate is another one.
    pub async fn click(
        &self,
        visitor: &VisitorId,
        item: &ItemId,
        before: &Slate,
        serial: u64,
    ) -> anyhow::Result<Changed> {
        let event = view(visitor, item, serial)?;
        let start = Instant::now();
        let sent = self.send(std::slice::from_ref(&event));
        let watched = async {
            loop {
                let slate = self.slate(visitor).await?;
                let elapsed = start.elapsed();
                if slate.differs(before) {
                    return Ok(Changed { slate, after: Some(elapsed) });
                }
                if elapsed > PATIENCE {
                    return Ok(Changed { slate, after: None });
                }
            }
        };
        let (sent, changed) = tokio::join!(sent, watched);
        sent?;
        changed
    }
}

// === impl Slate ===

impl Slate {
    /// The products whose places follow from the scores, in order. Sampled places change from answer to answer.
    pub fn settled(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|entry| !entry.explored).map(|entry| entry.item_id.as_str())
    }

    fn differs(&self, other: &Self) -> bool {
        !self.settled().eq(other.settled())
    }
}

/// A page view of a product, now.
pub fn view(visitor: &VisitorId, item: &ItemId, serial: u64) -> anyhow::Result<Event> {
    Ok(Event {
        event_id: EventId::new(format!("{visitor}-{serial}"))?,
        event_type: EventType::View,
        time: now(),
        visitor_id: visitor.clone(),
        user_id: None,
        session_id: None,
        items: vec![EventItem { item_id: item.clone(), quantity: 1, unit_price: None, position: None }],
        transaction: None,
        search_query: None,
        page_categories: Vec::new(),
        placement: None,
        attribution_token: None,
        experiment_ids: Vec::new(),
        attributes: Default::default(),
        consent: true,
    })
}

/// The machine's time.
pub fn now() -> EventTime {
    EventTime::clamped(jiff::Timestamp::now().as_millisecond())
}
