//! The topics Endcap needs, created where they are missing and that is allowed.

use std::{collections::HashSet, sync::Arc, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use super::{Connection, Listener};
use crate::{ConfigError, KafkaConfig};

/// How long the brokers may take.
const ASK: Duration = Duration::from_secs(15);

/// The topics are not there and could not be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicsError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The brokers do not answer.
    #[error("no answer from the brokers at {brokers}: {reason}")]
    Unreachable {
        /// Which brokers.
        brokers: String,
        /// Why.
        reason: String,
    },
    /// Topics are missing and may not be created.
    #[error("the brokers at {brokers} lack the topics {missing}; create them, or allow `create_topics`")]
    Missing {
        /// Which brokers.
        brokers: String,
        /// Which topics.
        missing: String,
    },
    /// Topics are missing and cannot be created with a token.
    #[error(
        "the brokers at {brokers} lack the topics {missing}, which cannot be created with `kafka.oauth`; create them"
    )]
    ByHand {
        /// Which brokers.
        brokers: String,
        /// Which topics.
        missing: String,
    },
    /// The broker would not create one.
    #[error("topic {topic} could not be created at {brokers}: {reason}")]
    Refused {
        /// Which topic.
        topic: String,
        /// Which brokers.
        brokers: String,
        /// Why.
        reason: String,
    },
}

/// Makes sure that every topic of the configuration exists; returns those that were created.
/// `items` and `erasures` are compacted. Topics that exist are left as they are.
///
/// # Errors
/// When the brokers do not answer, will not create a topic, or may not be asked to.
pub async fn create_topics(config: &KafkaConfig) -> Result<Vec<String>, TopicsError> {
    let brokers = config.brokers.clone();
    let unreachable = |reason: String| TopicsError::Unreachable { brokers: brokers.clone(), reason };
    let properties =
        |error: KafkaError| ConfigError::Field { field: "properties".to_owned(), rule: error.to_string() };
    let listener = Listener::new(config, "", Arc::new(Connection::default()));
    let asking: BaseConsumer<Listener> =
        config.client()?.create_with_context(listener).map_err(properties)?;
    // All topics are listed, for asking about one by name may create it with the broker's defaults.
    let present = tokio::task::spawn_blocking(move || {
        // A token to log in with is asked for while polling.
        let _ = asking.poll(Duration::ZERO);
        let metadata = asking.fetch_metadata(None, ASK)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect::<HashSet<_>>())
    });
    let present = present
        .await
        .map_err(|error| unreachable(error.to_string()))?
        .map_err(|error: KafkaError| unreachable(error.to_string()))?;
    let missing: Vec<&str> = config
        .topics
        .named()
        .into_iter()
        .map(|(_, name)| name)
        .filter(|name| !present.contains(*name))
        .collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    if !config.create_topics.enabled {
        return Err(TopicsError::Missing { brokers, missing: missing.join(", ") });
    }
    if config.oauth.is_some() {
        // The client that creates topics has no way to be given a token.
        return Err(TopicsError::ByHand { brokers, missing: missing.join(", ") });
    }
    let admin: AdminClient<DefaultClientContext> = config.client()?.create().map_err(properties)?;
    let replicas = config.create_topics.replication.map_or(-1, i32::from);
    let topics = missing.iter().map(|name| {
        let topic =
            NewTopic::new(name, config.create_topics.partitions.into(), TopicReplication::Fixed(replicas));
        if config.topics.is_compacted(name) { topic.set("cleanup.policy", "compact") } else { topic }
    });
    let topics: Vec<_> = topics.collect();
    let options = AdminOptions::new().request_timeout(Some(ASK)).operation_timeout(Some(ASK));
    let results =
        admin.create_topics(&topics, &options).await.map_err(|error| unreachable(error.to_string()))?;
    let mut created = Vec::new();
    for result in results {
        match result {
            Ok(topic) => created.push(topic),
            // Another process was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(TopicsError::Refused { topic, brokers, reason: code.to_string() });
            }
        }
    }
    Ok(created)
}
