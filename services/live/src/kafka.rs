//! librdkafka behind [`EventSource`](crate::EventSource) and [`EventSink`](crate::EventSink), the
//! topics it needs, and a whole broker within this process for tests and the demo.
//!
//! No type of rdkafka is public. What librdkafka logs goes to `tracing`; what it says about its
//! brokers is what [`EventSource::trouble`](crate::EventSource::trouble) tells.

mod mock;
mod oauth;
mod retention;
mod sink;
mod source;
mod topics;

use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rdkafka::{
    ClientConfig, ClientContext, Statistics, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};

pub use mock::{MockBroker, MockError};
pub use retention::{Retention, retention};
pub use sink::KafkaSink;
pub use source::KafkaSource;
pub use topics::{TopicsError, create_topics};

use self::oauth::Tokens;
use crate::{ConfigError, KafkaConfig, Rebalance};

/// What a client has heard of its brokers.
#[derive(Debug, Default)]
struct Connection {
    heard: Mutex<Heard>,
    /// The client is leaving: partitions are given up without asking anyone.
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct Heard {
    /// The last thing that went wrong, until a broker is up again.
    trouble: Option<String>,
    /// The newest end of each partition of the topic being read.
    ends: BTreeMap<i32, i64>,
    /// How many partitions it has, by the client's own metadata.
    partitions: usize,
    /// What the group has decided and nobody has taken note of yet.
    rebalances: VecDeque<Rebalance>,
}

/// Receives what librdkafka has to say.
struct Listener {
    topic: String,
    connection: Arc<Connection>,
    tokens: Tokens,
}

// === impl KafkaConfig ===

impl KafkaConfig {
    /// The properties that all clients share.
    fn client(&self) -> Result<ClientConfig, ConfigError> {
        self.validate()?;
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers).set("client.id", &self.client_id);
        client.set_log_level(RDKafkaLogLevel::Warning);
        if self.oauth.is_some() {
            client.set("sasl.mechanism", "OAUTHBEARER");
        }
        for (name, value) in &self.properties.0 {
            client.set(name, value);
        }
        for (name, secret) in &self.secrets {
            client.set(name, secret.read(name)?);
        }
        Ok(client)
    }
}

// === impl Connection ===

impl Connection {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, error: &KafkaError, reason: &str) {
        let trouble = &mut self.heard().trouble;
        match code(error) {
            Some(RDKafkaErrorCode::PartitionEOF) => {}
            // Says less than what was said of the last broker before.
            Some(RDKafkaErrorCode::AllBrokersDown) if trouble.is_some() => {}
            _ => *trouble = Some(format!("{error}: {reason}")),
        }
    }

    fn trouble(&self) -> Option<String> {
        self.heard().trouble.clone()
    }

    fn all_is_well(&self) {
        self.heard().trouble = None;
    }
}

// === impl Listener ===

impl Listener {
    fn new(config: &KafkaConfig, topic: &str, connection: Arc<Connection>) -> Self {
        Self { topic: topic.to_owned(), connection, tokens: Tokens::new(config) }
    }
}

impl ClientContext for Listener {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Ok(self.tokens.token()?)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::error!(facility, "librdkafka: {message}"),
            RDKafkaLogLevel::Warning => tracing::warn!(facility, "librdkafka: {message}"),
            _ => tracing::debug!(facility, "librdkafka: {message}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        let mut heard = self.connection.heard();
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            heard.trouble = None;
        }
        if let Some(topic) = statistics.topics.get(&self.topic) {
            let known = topic.partitions.values().filter(|partition| partition.partition >= 0);
            heard.partitions = known.clone().count();
            for partition in known.filter(|partition| partition.hi_offset >= 0) {
                heard.ends.insert(partition.partition, partition.hi_offset);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.connection.note(&error, reason);
        if !matches!(code(&error), Some(RDKafkaErrorCode::PartitionEOF)) {
            tracing::debug!(topic = self.topic, %error, "librdkafka: {reason}");
        }
    }
}

impl ConsumerContext for Listener {
    /// Notes what the group has decided; it is in force when the source's owner has answered.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        decision: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assigned = decision == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.connection.closing.load(Relaxed) {
            let nothing = TopicPartitionList::new();
            let done =
                if assigned { source::add(consumer, &nothing) } else { source::remove(consumer, partitions) };
            if let Err(error) = done {
                tracing::warn!(topic = self.topic, "leaving the group: {error}");
            }
            return;
        }
        let numbers: Vec<i32> = partitions.elements().iter().map(|element| element.partition()).collect();
        let rebalance = match decision {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Gained(numbers),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS if consumer.assignment_lost() => {
                Rebalance::Lost(numbers)
            }
            _ => Rebalance::Revoked(numbers),
        };
        tracing::info!(topic = self.topic, ?rebalance, "the group has decided");
        self.connection.heard().rebalances.push_back(rebalance);
    }
}

/// librdkafka's own code, where an error has one.
fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::PartitionEOF(_) => Some(RDKafkaErrorCode::PartitionEOF),
        error => error.rdkafka_error_code(),
    }
}
