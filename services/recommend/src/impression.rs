//! The slate as it was served, on its way to the topic `impressions`: what ranking is trained on, and what
//! off-policy evaluation weighs.

use std::sync::Arc;

use endcap_proto::{ItemId, v1};

use crate::{
    AppliedOffset, Context, Query, Shopper, Slate, StageError, slate::PlacedItem, stage::SideEffect,
};

/// Takes impressions. `endcap-live` produces them to Kafka from a bounded queue.
pub trait ImpressionSink: Send + Sync {
    /// Hands over one impression, and the W3C `traceparent` of its request where that had one. Never blocks and
    /// never waits.
    ///
    /// # Errors
    /// [`SinkFull`] when there is no room; the impression is then lost, and counted.
    fn offer(&self, impression: v1::Impression, traceparent: Option<&str>) -> Result<(), SinkFull>;
}

/// The sink has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue of impressions is full")]
pub struct SinkFull;

/// Offers each slate to the sink.
pub(crate) struct LogImpression(pub(crate) Arc<dyn ImpressionSink>);

impl SideEffect for LogImpression {
    fn run(&self, query: &Query, shopper: &Shopper, slate: &Slate) -> Result<(), StageError> {
        let full = |error: SinkFull| StageError { stage: "impression", reason: error.to_string() };
        self.0.offer(impression(query, shopper, slate), query.traceparent.as_deref()).map_err(full)
    }
}

fn impression(query: &Query, shopper: &Shopper, slate: &Slate) -> v1::Impression {
    let item = |(position, place): (usize, &PlacedItem)| v1::ImpressedItem {
        item_id: place.id.as_str().to_owned(),
        position: position as u32,
        score: place.score,
        propensity: place.propensity,
        explored: place.explored,
        sources: place.sources.names(),
        features: place.features.clone(),
    };
    v1::Impression {
        slate_id: slate.id.to_string(),
        served_time: Some(slate.served.to_proto()),
        visitor_id: query.visitor.as_str().to_owned(),
        user_id: query.user.as_ref().map(|user| user.as_str().to_owned()).unwrap_or_default(),
        session_id: query.session.clone().unwrap_or_default(),
        placement: query.placement.clone(),
        request_id: slate.request_id.clone(),
        items: slate.places.iter().enumerate().map(item).collect(),
        served_by: Some(v1::ServedBy {
            bundle_version: slate.bundle_version.clone(),
            index_version: slate.index_version.clone(),
            experiment_arms: Default::default(),
        }),
        as_of: Some(shopper.as_of.to_proto()),
        applied_offsets: shopper.applied.iter().map(offset).collect(),
        seed: slate.seed,
        degraded: slate.degraded.iter().map(StageError::to_string).collect(),
        context: context(&query.context),
        consent: shopper.consent,
        attribution_token: slate.attribution_token.clone(),
    }
}

fn offset(applied: &AppliedOffset) -> v1::PartitionOffset {
    v1::PartitionOffset {
        topic: applied.topic.to_string(),
        partition: applied.partition,
        offset: applied.offset,
    }
}

fn context(context: &Context) -> Option<v1::Context> {
    let ids = |ids: &[ItemId]| ids.iter().map(|id| id.as_str().to_owned()).collect();
    (*context != Context::default()).then(|| v1::Context {
        r#type: context.page.map_or(0, |page| page as i32),
        item_ids: ids(&context.items),
        cart_item_ids: ids(&context.cart),
        page_categories: Vec::new(),
        search_query: String::new(),
    })
}
