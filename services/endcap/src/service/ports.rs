//! The seams of server and live, filled with each other.

use std::{collections::BTreeSet, sync::Arc};

use endcap_live::{
    CatalogueSink, EventProducer, ImpressionProducer, ItemProducer, Place, SendFault, Topics, archive,
    consumer, erasures::Erasures, items,
};
use endcap_proto::{Event, Item, ItemId, v1};
use endcap_recommend::{ItemChange, Position, Recommender};
use endcap_server::{EventWriter, ItemWriter, StreamReport, StreamStatus, WriteError};
use futures::future::{BoxFuture, FutureExt};

use super::state::State;

/// Events from `EventService` to the topic `events`.
pub struct Events(pub EventProducer);

/// Items from `CatalogService` to the topic `items`.
pub struct Items(pub ItemProducer);

/// The topic `items` into the recommender.
pub struct Catalogue(pub Arc<Recommender>);

/// How the stream stands, for status and metrics.
pub struct Stream {
    pub consumer: consumer::Handle,
    pub erasures: Erasures,
    pub feed: items::Handle,
    pub impressions: ImpressionProducer,
    /// Where the service archives.
    pub archive: Option<archive::Handle>,
    pub state: State,
    pub topics: Topics,
}

impl EventWriter for Events {
    fn write(
        &self,
        events: Vec<Event>,
        traceparent: Option<String>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        async move {
            let written = self.0.write_traced(events, traceparent.as_deref()).await;
            written.map(drop).map_err(write_error)
        }
        .boxed()
    }
}

impl ItemWriter for Items {
    fn upsert(&self, items: Vec<Item>) -> BoxFuture<'_, Result<Vec<Position>, WriteError>> {
        async move { self.0.upsert(items).await.map(positions).map_err(write_error) }.boxed()
    }

    fn delete(&self, ids: Vec<ItemId>) -> BoxFuture<'_, Result<Vec<Position>, WriteError>> {
        async move { self.0.delete(&ids).await.map(positions).map_err(write_error) }.boxed()
    }
}

impl CatalogueSink for Catalogue {
    fn upsert(&self, item: Item, place: &Place) -> Result<(), endcap_live::items::CatalogueError> {
        self.apply(ItemChange::upsert(item, Some(position(place))))
    }

    fn delete(&self, item: &ItemId, place: &Place) -> Result<(), endcap_live::items::CatalogueError> {
        self.apply(ItemChange::delete(item, Some(position(place))))
    }
}

impl Catalogue {
    fn apply(&self, change: ItemChange) -> Result<(), endcap_live::items::CatalogueError> {
        match self.0.apply(vec![change]) {
            Ok(_) => Ok(()),
            Err(error) => Err(endcap_live::items::CatalogueError::from(
                Box::new(error) as Box<dyn std::error::Error + Send + Sync>
            )),
        }
    }
}

impl StreamStatus for Stream {
    fn report(&self) -> StreamReport {
        let status = self.consumer.status();
        let feed = self.feed.status();
        let impressions = self.impressions.status();
        let mut degraded = Vec::new();
        degraded.extend(status.trouble.map(|trouble| about(&self.topics.events, trouble)));
        let paused = status.paused.filter(|_| degraded.is_empty());
        degraded.extend(paused.map(|why| about(&self.topics.events, format!("reading pauses: {why}"))));
        degraded.extend(self.erasures.trouble().map(|trouble| about(&self.topics.erasures, trouble)));
        degraded.extend(feed.trouble.map(|trouble| about(&self.topics.items, trouble)));
        degraded.extend(impressions.trouble.map(|trouble| about(&self.topics.impressions, trouble)));
        degraded.extend(self.state.trouble());
        let archive = self.archive.as_ref().map(archive::Handle::status).unwrap_or_default();
        let rolls = archive.iter().filter(|(topic, _)| ***topic != *self.topics.items);
        let archived = rolls.map(|(topic, status)| (topic.to_string(), status.archived)).collect();
        let waits: BTreeSet<String> = archive.into_values().filter_map(|topic| topic.trouble).collect();
        degraded.extend(waits.into_iter().map(|why| format!("the archive waits: {why}")));
        let lost: u64 = impressions.dropped.values().sum();
        if lost > 0 {
            degraded.push(format!("topic {}: {lost} impressions lost", self.topics.impressions));
        }
        let lag = status.partitions.iter().map(|partition| v1::PartitionLag {
            topic: self.topics.events.clone(),
            partition: partition.partition,
            applied_offset: partition.next,
            end_offset: partition.end,
        });
        StreamReport {
            visitors: self.state.visitors(),
            applied: status.applied,
            repeated: status.duplicates,
            late: status.late,
            erased: status.erased,
            dead: status.dead_letters.delivered + status.dead_letters.lost,
            impressions_delivered: impressions.delivered,
            impressions_spilled: impressions.spilled,
            impressions_dropped: impressions.dropped.into_iter().collect(),
            spill_bytes: impressions.spill_bytes,
            pauses: status.pauses,
            rebalances: status.rebalances,
            archived,
            shared_state: self.state.shared(),
            lag: lag.collect(),
            degraded,
        }
    }
}

/// A topic's trouble; some name the topic themselves.
fn about(topic: &str, trouble: String) -> String {
    let prefix = format!("topic {topic}: ");
    let named =
        [&prefix, &format!("topic {topic}, ")].iter().any(|prefix| trouble.starts_with(prefix.as_str()));
    // The trouble of another topic that this one waits for is part of the sentence.
    if named { trouble } else { prefix + &trouble.replace("topic ", "") }
}

pub(super) fn position(place: &Place) -> Position {
    Position { partition: place.partition, offset: place.offset }
}

fn positions(places: Vec<Place>) -> Vec<Position> {
    places.iter().map(position).collect()
}

fn write_error(error: endcap_live::WriteError) -> WriteError {
    let reason = error.to_string();
    match error.error.fault {
        SendFault::QueueFull => WriteError::Full,
        _ => WriteError::Unavailable { reason },
    }
}
