//! Events and items on their way to Kafka for shops that do not write there themselves.

use std::sync::Arc;

use endcap_proto::{Event, Item, ItemId, v1};
use futures::future::join_all;
use prost::Message as _;

use crate::{
    EventSink, Message, Place, SendError,
    decode::{CONTENT_TYPE, PROTOBUF},
    trace::{self, TRACEPARENT},
};

/// Writes to the topic `events`. Clones share the client.
#[derive(Clone)]
pub struct EventProducer {
    topic: Arc<str>,
    sink: Arc<dyn EventSink>,
}

/// Writes to the topic `items`. Clones share the client.
#[derive(Clone)]
pub struct ItemProducer {
    topic: Arc<str>,
    sink: Arc<dyn EventSink>,
}

/// Not everything was written. What was written stays; writing all of it again is safe, for repeats
/// are dropped by their id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{written} of {total} were written, then {error}")]
pub struct WriteError {
    /// How many the broker has.
    pub written: usize,
    /// How many there were.
    pub total: usize,
    /// The first fault.
    pub error: SendError,
}

// === impl EventProducer ===

impl EventProducer {
    /// To this topic.
    pub fn new(sink: Arc<dyn EventSink>, topic: impl Into<Arc<str>>) -> Self {
        Self { topic: topic.into(), sink }
    }

    /// Writes events, keyed by `visitor_id`; answers where they lie, in the order given, once the broker
    /// has all of them. Waits no longer than `kafka.delivery_timeout_ms`.
    ///
    /// # Errors
    /// When the broker does not take one of them in time.
    pub async fn write(&self, events: Vec<Event>) -> Result<Vec<Place>, WriteError> {
        self.write_traced(events, None).await
    }

    /// The same, each record in the trace of this W3C `traceparent`, where that is sound.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_traced(
        &self,
        events: Vec<Event>,
        traceparent: Option<&str>,
    ) -> Result<Vec<Place>, WriteError> {
        let traceparent = trace::sound(traceparent);
        let messages = events.into_iter().map(|event| {
            let key = event.visitor_id.as_str().as_bytes().to_vec();
            let message = Message::new(self.topic.clone(), key, v1::Event::from(event).encode_to_vec())
                .header(CONTENT_TYPE, PROTOBUF);
            match traceparent {
                Some(traceparent) => message.header(TRACEPARENT, traceparent),
                None => message,
            }
        });
        deliver(&*self.sink, messages).await
    }
}

// === impl ItemProducer ===

impl ItemProducer {
    /// To this topic.
    pub fn new(sink: Arc<dyn EventSink>, topic: impl Into<Arc<str>>) -> Self {
        Self { topic: topic.into(), sink }
    }

    /// Writes items, keyed by their ids; as [`EventProducer::write`].
    ///
    /// # Errors
    /// When the broker does not take one of them in time.
    pub async fn upsert(&self, items: Vec<Item>) -> Result<Vec<Place>, WriteError> {
        let messages = items.into_iter().map(|item| {
            let key = item.id.as_str().as_bytes().to_vec();
            Message::new(self.topic.clone(), key, v1::Item::from(item).encode_to_vec())
                .header(CONTENT_TYPE, PROTOBUF)
        });
        deliver(&*self.sink, messages).await
    }

    /// Writes that these items are no more.
    ///
    /// # Errors
    /// When the broker does not take one of them in time.
    pub async fn delete(&self, items: &[ItemId]) -> Result<Vec<Place>, WriteError> {
        let messages = items.iter().map(|id| Message::tombstone(self.topic.clone(), id.as_str()));
        deliver(&*self.sink, messages).await
    }
}

async fn deliver(
    sink: &dyn EventSink,
    messages: impl ExactSizeIterator<Item = Message>,
) -> Result<Vec<Place>, WriteError> {
    let total = messages.len();
    let answers = join_all(messages.map(|message| sink.deliver(message))).await;
    let written = answers.iter().filter(|answer| answer.is_ok()).count();
    answers.into_iter().collect::<Result<_, _>>().map_err(|error| WriteError { written, total, error })
}

impl std::fmt::Debug for EventProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventProducer").field("topic", &self.topic).finish()
    }
}

impl std::fmt::Debug for ItemProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ItemProducer").field("topic", &self.topic).finish()
    }
}

#[cfg(test)]
mod tests {
    use endcap_proto::EventTime;

    use super::*;
    use crate::MemoryLog;

    #[tokio::test]
    async fn events_go_out_in_the_trace_of_their_request_where_it_is_sound() {
        let log = MemoryLog::new(&[("events", 1)]);
        let producer = EventProducer::new(Arc::new(log.clone()), "events");
        let sound = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for traceparent in [None, Some(sound), Some("unsound")] {
            let event = v1::Event {
                event_id: "1".into(),
                r#type: v1::EventType::HomeView.into(),
                event_time: Some(EventTime::clamped(0).to_proto()),
                visitor_id: "anna".into(),
                ..v1::Event::default()
            };
            producer.write_traced(vec![Event::try_from(event).unwrap()], traceparent).await.unwrap();
        }
        let traces = log.messages("events").into_iter().map(|message| {
            let header = message.headers.into_iter().find(|(name, _)| name == TRACEPARENT);
            header.map(|(_, value)| String::from_utf8(value).unwrap())
        });
        assert_eq!(traces.collect::<Vec<_>>(), [None, Some(sound.to_owned()), None]);
    }
}
