//! A topic of a real broker as an [`EventSource`].
//!
//! Partitions are assigned by hand from the caller's offsets, or dealt out by a consumer group, and read from
//! the caller's offsets all the same; librdkafka fetches ahead into a bounded buffer and commits nothing.
//! Without a group, its name is the client's own: the client API wants one before it lets partitions be assigned.
//!
//! A rebalance comes while polling. Its callback only notes it ([`Listener`]); it is in force when the
//! caller has answered, so that the state is kept before another member may go on from it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use endcap_proto::EventTime;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    message::{BorrowedMessage, Headers as _},
    types::RDKafkaErrorCode,
};

use super::{Connection, Listener, code};
use crate::{
    ConfigError, EventSource, GroupProtocol, KafkaConfig, Membership, PartitionBounds, PartitionOffset,
    Rebalance, Record, SourceError,
};

/// How long one question about metadata or offsets may take.
const ASK: Duration = Duration::from_secs(5);
/// How often the client looks whether the topic has more partitions, in milliseconds.
const REFRESH_MS: &str = "30000";
/// Keys and values handed out by one poll, in bytes, before it ends: what a batch may occupy further on.
const POLL_BYTES: usize = 8 << 20;

/// Reads one topic of a Kafka cluster.
pub struct KafkaSource {
    topic: Arc<str>,
    brokers: String,
    consumer: BaseConsumer<Listener>,
    connection: Arc<Connection>,
    partitions: Vec<Assigned>,
    /// How many partitions the topic had when it was asked, and when it is asked again at the earliest.
    known: usize,
    ask_again: Instant,
    grouped: bool,
    /// A decision of the group that was told and not answered.
    owed: Option<Rebalance>,
    paused: bool,
}

#[derive(Debug, Clone, Copy)]
struct Assigned {
    partition: i32,
    /// Nothing has come since the end was last reached.
    at_end: bool,
}

// === impl KafkaSource ===

impl KafkaSource {
    /// A client for this topic, whose partitions are assigned by hand. Connects in the background.
    ///
    /// # Errors
    /// When a property or secret cannot be used.
    pub fn new(config: &KafkaConfig, topic: &str) -> Result<Self, ConfigError> {
        Self::open(config, topic, None)
    }

    /// A client for this topic that gets its partitions from a consumer group, where there is one.
    ///
    /// # Errors
    /// When a property or secret cannot be used.
    pub fn member(
        config: &KafkaConfig,
        topic: &str,
        membership: Option<&Membership>,
    ) -> Result<Self, ConfigError> {
        Self::open(config, topic, membership)
    }

    fn open(config: &KafkaConfig, topic: &str, membership: Option<&Membership>) -> Result<Self, ConfigError> {
        let connection = Arc::new(Connection::default());
        let listener = Listener::new(config, topic, connection.clone());
        let mut client = config.client()?;
        client
            .set("group.id", membership.map_or(&config.client_id, |member| &member.group_id))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", config.fetch_wait_ms.to_string())
            .set("statistics.interval.ms", "1000");
        match membership {
            None => {}
            Some(Membership { protocol: GroupProtocol::Consumer, .. }) => {
                client.set("group.protocol", "consumer");
            }
            Some(Membership { protocol: GroupProtocol::Classic, instance_id, .. }) => {
                client.set("partition.assignment.strategy", "cooperative-sticky");
                if let Some(instance) = instance_id {
                    client.set("group.instance.id", instance);
                }
            }
        }
        let unless_set = [
            // Backpressure: what is not polled stays with the broker once this much is fetched.
            ("queued.max.messages.kbytes", "16384"),
            // Fetching goes on soon after there is room again: by itself librdkafka looks a second later.
            ("fetch.queue.backoff.ms", "20"),
            ("topic.metadata.refresh.interval.ms", REFRESH_MS),
        ];
        for (name, value) in unless_set {
            if !config.properties.0.contains_key(name) {
                client.set(name, value);
            }
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
            known: 0,
            ask_again: Instant::now(),
            grouped: membership.is_some(),
            owed: None,
            paused: false,
        })
    }

    /// Lets the client say what it has to say. Only while nothing is assigned: a record would be lost.
    fn listen(&self) {
        if self.partitions.is_empty() {
            let _ = self.consumer.poll(Duration::ZERO);
        }
    }

    fn unreachable(&self, reason: &KafkaError) -> SourceError {
        // Says more than "operation timed out" where librdkafka has said why it cannot connect.
        self.listen();
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

    fn list(
        &self,
        partitions: impl ExactSizeIterator<Item = (i32, Offset)>,
    ) -> Result<TopicPartitionList, SourceError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (partition, offset) in partitions {
            list.add_partition_offset(&self.topic, partition, offset).map_err(|error| self.failed(&error))?;
        }
        Ok(list)
    }

    fn halt(&self, partitions: &[i32]) -> Result<(), SourceError> {
        let list = self.list(partitions.iter().map(|&partition| (partition, Offset::Invalid)))?;
        let done = if self.paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        done.map_err(|error| self.failed(&error))
    }

    fn held(&self) -> Vec<i32> {
        self.partitions.iter().map(|assigned| assigned.partition).collect()
    }
}

impl EventSource for KafkaSource {
    fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    fn bounds(&mut self) -> Result<Vec<PartitionBounds>, SourceError> {
        // A token to log in with is asked for while polling.
        self.listen();
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
        self.known = bounds.len();
        let mut heard = self.connection.heard();
        heard.ends = bounds.iter().map(|bounds| (bounds.partition, bounds.end)).collect();
        heard.trouble = None;
        drop(heard);
        Ok(bounds)
    }

    fn gained(&mut self) -> Result<Vec<PartitionBounds>, SourceError> {
        let there = self.connection.heard().partitions;
        if self.grouped || there <= self.known || Instant::now() < self.ask_again {
            return Ok(Vec::new());
        }
        let known = self.known;
        match self.bounds() {
            // Partitions are numbered from 0, and are never taken away.
            Ok(bounds) => Ok(bounds.into_iter().filter(|at| at.partition as usize >= known).collect()),
            Err(error) if error.is_transient() => {
                self.ask_again = Instant::now() + ASK;
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    fn assign(&mut self, from: &[PartitionOffset]) -> Result<(), SourceError> {
        let list = self.list(from.iter().map(|from| (from.partition, Offset::Offset(from.offset))))?;
        self.consumer.assign(&list).map_err(|error| self.failed(&error))?;
        self.partitions =
            from.iter().map(|from| Assigned { partition: from.partition, at_end: false }).collect();
        self.partitions.sort_unstable_by_key(|assigned| assigned.partition);
        if self.paused { self.halt(&self.held()) } else { Ok(()) }
    }

    fn has_group(&self) -> bool {
        self.grouped
    }

    fn join(&mut self) -> Result<(), SourceError> {
        self.consumer.subscribe(&[&self.topic]).map_err(|error| self.failed(&error))
    }

    fn rebalance(&mut self) -> Option<Rebalance> {
        self.owed = self.connection.heard().rebalances.pop_front();
        self.owed.clone()
    }

    fn take_on(&mut self, from: &[PartitionOffset]) -> Result<(), SourceError> {
        let list = self.list(from.iter().map(|from| (from.partition, Offset::Offset(from.offset))))?;
        add(&self.consumer, &list).map_err(|error| self.failed(&error))?;
        self.owed = None;
        let partitions: Vec<i32> = from.iter().map(|from| from.partition).collect();
        self.partitions.retain(|assigned| !partitions.contains(&assigned.partition));
        self.partitions.extend(partitions.iter().map(|&partition| Assigned { partition, at_end: false }));
        self.partitions.sort_unstable_by_key(|assigned| assigned.partition);
        if self.paused && !partitions.is_empty() { self.halt(&partitions) } else { Ok(()) }
    }

    fn give_up(&mut self, partitions: &[i32]) -> Result<(), SourceError> {
        let list = self.list(partitions.iter().map(|&partition| (partition, Offset::Invalid)))?;
        remove(&self.consumer, &list).map_err(|error| self.failed(&error))?;
        self.owed = None;
        self.partitions.retain(|assigned| !partitions.contains(&assigned.partition));
        Ok(())
    }

    fn pause(&mut self, paused: bool) -> Result<(), SourceError> {
        if paused == self.paused {
            return Ok(());
        }
        self.paused = paused;
        let held = self.held();
        if held.is_empty() { Ok(()) } else { self.halt(&held) }
    }

    fn poll(
        &mut self,
        limit: usize,
        wait: Duration,
        each: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, SourceError> {
        let (mut taken, mut bytes) = (0, 0);
        // The partition that is known to have gone on: records come in runs of one.
        let mut going = None;
        while taken < limit && bytes < POLL_BYTES {
            let wait = if taken == 0 { wait } else { Duration::ZERO };
            let ended = match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    taken += 1;
                    bytes += message.payload_len() + message.key_len();
                    each(record(&message));
                    let partition = Some(message.partition());
                    if partition != going {
                        going = partition;
                        drop(message);
                        if let Some(assigned) = partition.and_then(|partition| self.assigned(partition)) {
                            assigned.at_end = false;
                        }
                    }
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => partition,
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(self.failed(&error)),
                Some(Err(error)) => {
                    self.connection.note(&error, "while reading");
                    if matches!(
                        code(&error),
                        Some(
                            RDKafkaErrorCode::TopicAuthorizationFailed
                                | RDKafkaErrorCode::GroupAuthorizationFailed
                        )
                    ) {
                        return Err(self.failed(&error));
                    }
                    break;
                }
            };
            going = going.filter(|&partition| partition != ended);
            if let Some(assigned) = self.assigned(ended) {
                assigned.at_end = true;
            }
            if taken == 0 {
                break;
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
        let held = |partition: &i32| self.partitions.iter().any(|assigned| assigned.partition == *partition);
        let held = ends.iter().filter(|(partition, _)| held(partition));
        held.map(|(&partition, &offset)| PartitionOffset { partition, offset }).collect()
    }

    fn trouble(&self) -> Option<String> {
        self.connection.trouble()
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        // Leaving the group takes partitions back once more, and nobody is left to answer.
        self.connection.closing.store(true, Relaxed);
        let queued = std::mem::take(&mut self.connection.heard().rebalances);
        for owed in self.owed.take().into_iter().chain(queued) {
            let done = match owed {
                Rebalance::Gained(_) => {
                    add(&self.consumer, &TopicPartitionList::new()).map_err(|e| e.to_string())
                }
                Rebalance::Revoked(partitions) | Rebalance::Lost(partitions) => {
                    self.give_up(&partitions).map_err(|error| error.to_string())
                }
            };
            if let Err(error) = done {
                tracing::warn!("leaving the group: {error}");
            }
        }
    }
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource").field("topic", &self.topic).field("brokers", &self.brokers).finish()
    }
}

/// Adds partitions to what is being read, as the group's protocol has it.
pub(super) fn add(consumer: &BaseConsumer<Listener>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        _ => consumer.assign(list),
    }
}

/// Takes partitions from what is being read, as the group's protocol has it.
pub(super) fn remove(consumer: &BaseConsumer<Listener>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        _ => consumer.unassign(),
    }
}

fn record<'a>(message: &'a BorrowedMessage<'_>) -> Record<'a> {
    let headers = match message.headers() {
        Some(headers) => {
            let read =
                || headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect();
            // rdkafka panics on a name that is not UTF-8, which any producer may write.
            catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| vec![UNREADABLE_HEADERS])
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

/// Stands for headers of which one has a name that is not UTF-8; no such content type is taken.
const UNREADABLE_HEADERS: (&str, &[u8]) = ("content-type", b"unknown: a header's name is not UTF-8");
