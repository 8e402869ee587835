//! A topic of a real broker as an [`EventSource`].
//!
//! Partitions are assigned by hand from the caller's offsets; librdkafka fetches ahead into a
//! bounded buffer, commits nothing and joins no group (the client API wants a group's name all the
//! same before it lets partitions be assigned).

use std::{sync::Arc, time::Duration};

use endcap_proto::EventTime;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
    types::RDKafkaErrorCode,
};

use super::{Connection, Listener, code};
use crate::{ConfigError, EventSource, KafkaConfig, PartitionBounds, PartitionOffset, Record, SourceError};

/// How long one question about metadata or offsets may take.
const ASK: Duration = Duration::from_secs(5);

/// Reads one topic of a Kafka cluster.
pub struct KafkaSource {
    topic: Arc<str>,
    brokers: String,
    consumer: BaseConsumer<Listener>,
    connection: Arc<Connection>,
    partitions: Vec<Assigned>,
}

#[derive(Debug, Clone, Copy)]
struct Assigned {
    partition: i32,
    /// Nothing has come since the end was last reached.
    at_end: bool,
}

// === impl KafkaSource ===

impl KafkaSource {
    /// A client for this topic. Connects in the background.
    ///
    /// # Errors
    /// When a property or secret cannot be used.
    pub fn new(config: &KafkaConfig, topic: &str) -> Result<Self, ConfigError> {
        let connection = Arc::new(Connection::default());
        let listener = Listener { topic: topic.to_owned(), connection: connection.clone() };
        let mut client = config.client()?;
        client
            .set("group.id", &config.client_id)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", config.fetch_wait_ms.to_string())
            .set("statistics.interval.ms", "1000");
        // Backpressure: what is not polled stays with the broker once this much is fetched.
        if !config.properties.0.contains_key("queued.max.messages.kbytes") {
            client.set("queued.max.messages.kbytes", "16384");
        }
        let consumer = client.create_with_context(listener).map_err(|error| ConfigError::Field {
            field: "properties".to_owned(),
            rule: error.to_string(),
        })?;
        Ok(Self {
            topic: topic.into(),
            brokers: config.brokers.clone(),
            consumer,
            connection,
            partitions: Vec::new(),
        })
    }

    fn unreachable(&self, reason: &KafkaError) -> SourceError {
        // Says more than "operation timed out" where librdkafka has said why it cannot connect.
        let _ = self.consumer.poll(Duration::ZERO);
        let reason = self.connection.trouble().unwrap_or_else(|| reason.to_string());
        SourceError::Unreachable { topic: self.topic.clone(), brokers: self.brokers.clone(), reason }
    }

    fn failed(&self, reason: &KafkaError) -> SourceError {
        let (topic, brokers) = (self.topic.clone(), self.brokers.clone());
        SourceError::Failed { topic, brokers, reason: reason.to_string() }
    }

    fn assigned(&mut self, partition: i32) -> Option<&mut Assigned> {
        let place = self.partitions.binary_search_by_key(&partition, |assigned| assigned.partition).ok()?;
        self.partitions.get_mut(place)
    }
}

impl EventSource for KafkaSource {
    fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    fn bounds(&mut self) -> Result<Vec<PartitionBounds>, SourceError> {
        let metadata =
            self.consumer.fetch_metadata(Some(&self.topic), ASK).map_err(|error| self.unreachable(&error))?;
        let topic = metadata.topics().first().filter(|topic| topic.error().is_none());
        let partitions = topic.map(|topic| topic.partitions()).unwrap_or_default();
        if partitions.is_empty() {
            return Err(SourceError::NoTopic { topic: self.topic.clone(), brokers: self.brokers.clone() });
        }
        let mut bounds = Vec::with_capacity(partitions.len());
        for partition in partitions.iter().map(|partition| partition.id()) {
            let (first, end) = self
                .consumer
                .fetch_watermarks(&self.topic, partition, ASK)
                .map_err(|error| self.unreachable(&error))?;
            bounds.push(PartitionBounds { partition, first, end });
        }
        bounds.sort_unstable_by_key(|bounds| bounds.partition);
        let mut heard = self.connection.heard();
        heard.ends = bounds.iter().map(|bounds| (bounds.partition, bounds.end)).collect();
        heard.trouble = None;
        drop(heard);
        Ok(bounds)
    }

    fn assign(&mut self, from: &[PartitionOffset]) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::with_capacity(from.len());
        for &PartitionOffset { partition, offset } in from {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
                .map_err(|error| self.failed(&error))?;
        }
        self.consumer.assign(&list).map_err(|error| self.failed(&error))?;
        self.partitions =
            from.iter().map(|from| Assigned { partition: from.partition, at_end: false }).collect();
        self.partitions.sort_unstable_by_key(|assigned| assigned.partition);
        Ok(())
    }

    fn poll(
        &mut self,
        limit: usize,
        wait: Duration,
        each: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, SourceError> {
        let mut taken = 0;
        while taken < limit {
            let wait = if taken == 0 { wait } else { Duration::ZERO };
            let (ended, went_on) = match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    taken += 1;
                    each(record(&message));
                    (None, Some(message.partition()))
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => (Some(partition), None),
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(self.failed(&error)),
                Some(Err(error)) => {
                    self.connection.note(&error, "while reading");
                    if matches!(code(&error), Some(RDKafkaErrorCode::TopicAuthorizationFailed)) {
                        return Err(self.failed(&error));
                    }
                    break;
                }
            };
            if let Some(assigned) = went_on.and_then(|partition| self.assigned(partition)) {
                assigned.at_end = false;
            }
            if let Some(partition) = ended {
                if let Some(assigned) = self.assigned(partition) {
                    assigned.at_end = true;
                }
                if taken == 0 {
                    break;
                }
            }
        }
        if taken > 0 {
            self.connection.all_is_well();
        }
        Ok(taken)
    }

    fn at_end(&self) -> bool {
        self.partitions.iter().all(|assigned| assigned.at_end)
    }

    fn ends(&self) -> Vec<PartitionOffset> {
        let ends = &self.connection.heard().ends;
        ends.iter().map(|(&partition, &offset)| PartitionOffset { partition, offset }).collect()
    }

    fn trouble(&self) -> Option<String> {
        self.connection.trouble()
    }
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource").field("topic", &self.topic).field("brokers", &self.brokers).finish()
    }
}

fn record<'a>(message: &'a BorrowedMessage<'_>) -> Record<'a> {
    let headers = match message.headers() {
        Some(headers) => {
            headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect()
        }
        None => Vec::new(),
    };
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().and_then(EventTime::from_millis),
        key: message.key(),
        value: message.payload(),
        headers,
    }
}
