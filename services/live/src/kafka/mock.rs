//! A Kafka broker within this process: librdkafka's mock cluster, which speaks the real protocol on
//! a real port, so that the demo and quick tests need no Kafka.
//!
//! It keeps nothing on disk, and forgets what is older than 5 MiB or 100,000 messages in a
//! partition. It answers a waiting fetch only when the wait is over, hence `fetch_wait_ms = 1` in
//! its [`config`](MockBroker::config).

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, Producer as _},
};

use crate::{CreateTopics, KafkaConfig};

/// A broker within this process; gone when dropped.
pub struct MockBroker {
    /// The client that owns the cluster.
    owner: BaseProducer,
    config: KafkaConfig,
}

/// The broker could not be started, or would not do as told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker within this process: {0}")]
pub struct MockError(String);

// === impl MockBroker ===

impl MockBroker {
    /// Starts a broker with the default topics, `partitions` each.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(partitions: u16) -> Result<Self, MockError> {
        let owner: BaseProducer =
            ClientConfig::new().set("test.mock.num.brokers", "1").create().map_err(failed)?;
        let brokers = match owner.client().mock_cluster() {
            Some(cluster) => cluster.bootstrap_servers(),
            None => return Err(MockError("this librdkafka was built without it".to_owned())),
        };
        let config = KafkaConfig {
            fetch_wait_ms: 1,
            create_topics: CreateTopics { enabled: false, partitions, replication: None },
            ..KafkaConfig::new(brokers)
        };
        let broker = Self { owner, config };
        for (_, topic) in broker.config.topics.named() {
            broker.create_topic(topic, partitions)?;
        }
        Ok(broker)
    }

    /// How to reach it.
    pub fn config(&self) -> &KafkaConfig {
        &self.config
    }

    /// Adds a topic.
    ///
    /// # Errors
    /// When it exists.
    pub fn create_topic(&self, topic: &str, partitions: u16) -> Result<(), MockError> {
        self.with(|cluster| cluster.create_topic(topic, partitions.into(), 1))
    }

    /// Drops every connection and takes no new one.
    ///
    /// # Errors
    /// When the cluster does not obey.
    pub fn take_down(&self) -> Result<(), MockError> {
        self.with(|cluster| cluster.broker_down(-1))
    }

    /// Takes connections again.
    ///
    /// # Errors
    /// When the cluster does not obey.
    pub fn bring_up(&self) -> Result<(), MockError> {
        self.with(|cluster| cluster.broker_up(-1))
    }

    fn with(
        &self,
        act: impl FnOnce(
            &rdkafka::mocking::MockCluster<'_, rdkafka::producer::DefaultProducerContext>,
        ) -> rdkafka::error::KafkaResult<()>,
    ) -> Result<(), MockError> {
        match self.owner.client().mock_cluster() {
            Some(cluster) => act(&cluster).map_err(failed),
            None => Err(MockError("it is gone".to_owned())),
        }
    }
}

impl std::fmt::Debug for MockBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MockBroker").field("brokers", &self.config.brokers).finish()
    }
}

fn failed(error: rdkafka::error::KafkaError) -> MockError {
    MockError(error.to_string())
}
