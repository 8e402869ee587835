//! Messages to a real broker as an [`EventSink`]: idempotent, every replica in sync has it.

use std::{error::Error, sync::Arc, time::Duration};

use rdkafka::{
    ClientContext, Statistics,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::{DeliveryResult, Header, Message as _, OwnedHeaders},
    producer::{BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};

use super::{Connection, Listener, code};
use crate::{ConfigError, Delivered, EventSink, KafkaConfig, Message, Place, SendError, SendFault};

/// Sends to any topic of a Kafka cluster. A thread of its own hears of deliveries; it ends when the
/// sink is dropped.
pub struct KafkaSink {
    brokers: Arc<str>,
    producer: ThreadedProducer<Reports>,
}

/// Turns delivery reports into calls of [`Delivered`].
struct Reports {
    listener: Listener,
    brokers: Arc<str>,
}

/// What travels with a message through librdkafka.
struct OnItsWay {
    topic: Arc<str>,
    delivered: Delivered,
}

// === impl KafkaSink ===

impl KafkaSink {
    /// A client for messages that somebody waits for: they leave at once, and are given up after
    /// `delivery_timeout_ms`.
    ///
    /// # Errors
    /// When a property or secret cannot be used.
    pub fn prompt(config: &KafkaConfig) -> Result<Self, ConfigError> {
        Self::new(config, "0", config.delivery_timeout_ms)
    }

    /// A client for messages that nobody waits for: they travel together, and are given up after
    /// `background_timeout_ms`.
    ///
    /// # Errors
    /// When a property or secret cannot be used.
    pub fn patient(config: &KafkaConfig) -> Result<Self, ConfigError> {
        Self::new(config, "5", config.background_timeout_ms)
    }

    fn new(config: &KafkaConfig, linger_ms: &str, timeout_ms: u32) -> Result<Self, ConfigError> {
        let brokers: Arc<str> = config.brokers.as_str().into();
        let listener = Listener::new(config, "", Arc::new(Connection::default()));
        let mut client = config.client()?;
        client.set("enable.idempotence", "true").set("message.timeout.ms", timeout_ms.to_string());
        // Memory is bounded whatever the broker does.
        for (name, value) in [("linger.ms", linger_ms), ("queue.buffering.max.kbytes", "65536")] {
            if !config.properties.0.contains_key(name) {
                client.set(name, value);
            }
        }
        let producer =
            client.create_with_context(Reports { listener, brokers: brokers.clone() }).map_err(|error| {
                ConfigError::Field { field: "properties".to_owned(), rule: error.to_string() }
            })?;
        Ok(Self { brokers, producer })
    }
}

impl EventSink for KafkaSink {
    fn send(&self, message: Message, delivered: Delivered) {
        let Message { topic, key, value, headers, timestamp } = message;
        let on_its_way = Box::new(OnItsWay { topic: topic.clone(), delivered });
        let mut record = BaseRecord::with_opaque_to(&topic, on_its_way).key(&key);
        if let Some(value) = &value {
            record = record.payload(value);
        }
        if let Some(timestamp) = timestamp {
            record = record.timestamp(timestamp.as_millis());
        }
        if !headers.is_empty() {
            let all =
                headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
                    all.insert(Header { key, value: Some(value) })
                });
            record = record.headers(all);
        }
        if let Err((error, record)) = self.producer.send(record) {
            let OnItsWay { topic, delivered } = *record.delivery_opaque;
            delivered(Err(send_error(topic, &self.brokers, &error)));
        }
    }

    fn flush(&self, within: Duration) -> Result<(), SendError> {
        self.producer.flush(within).map_err(|error| {
            let topic = format!("({} messages on their way)", self.producer.in_flight_count());
            send_error(topic.into(), &self.brokers, &error)
        })
    }
}

impl std::fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSink").field("brokers", &self.brokers).finish()
    }
}

// === impl Reports ===

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.listener.generate_oauth_token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.listener.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.listener.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = Box<OnItsWay>;

    fn delivery(&self, result: &DeliveryResult<'_>, on_its_way: Box<OnItsWay>) {
        let OnItsWay { topic, delivered } = *on_its_way;
        delivered(match result {
            Ok(message) => Ok(Place { topic, partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => {
                let mut error = send_error(topic, &self.brokers, error);
                // "Timed out" says less than what librdkafka said of the connection.
                if let (SendFault::TimedOut, Some(trouble)) =
                    (error.fault, self.listener.connection.trouble())
                {
                    error.reason = trouble;
                }
                Err(error)
            }
        });
    }
}

fn send_error(topic: Arc<str>, brokers: &str, error: &KafkaError) -> SendError {
    let fault = match code(error) {
        Some(RDKafkaErrorCode::QueueFull) => SendFault::QueueFull,
        Some(
            RDKafkaErrorCode::MessageTimedOut
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut,
        ) => SendFault::TimedOut,
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
            SendFault::TooLarge
        }
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
            SendFault::NoTopic
        }
        _ => SendFault::Refused,
    };
    SendError { topic, brokers: brokers.to_owned(), fault, reason: error.to_string() }
}
