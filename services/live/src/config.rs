//! How to reach Kafka: brokers, topics, and any librdkafka property.
//!
//! A secret is named, never written down: `secrets = { "sasl.password" = { env = "KAFKA_PASSWORD" } }`.
//! Neither `Debug` nor serialisation shows the value of a property that looks like a secret.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

/// How to reach Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// Where to begin: `host:port,host:port`.
    pub brokers: String,
    /// What the topics are called.
    pub topics: Topics,
    /// Whether and how missing topics are created on start.
    pub create_topics: CreateTopics,
    /// How this client calls itself in the broker's logs.
    pub client_id: String,
    /// Longest wait of an idle fetch, in milliseconds. A broker answers as soon as there is a
    /// record, so a long wait costs no latency; the in-process broker answers only when it is over.
    pub fetch_wait_ms: u32,
    /// How long a message that somebody waits for may take to reach the broker, in milliseconds,
    /// before it is given up.
    pub delivery_timeout_ms: u32,
    /// The same for what nobody waits for: impressions and dead letters.
    pub background_timeout_ms: u32,
    /// Any other property of librdkafka, by its own name.
    pub properties: Properties,
    /// Properties whose values come from the environment or from a file when a client is made.
    pub secrets: BTreeMap<String, Secret>,
    /// Log in by SASL OAUTHBEARER with tokens from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth: Option<Oauth>,
}

/// Tokens for SASL OAUTHBEARER. They are read again before they end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oauth {
    /// Where a token comes from.
    pub token: TokenFrom,
    /// How long a token is taken to live that does not say so itself, in milliseconds.
    #[serde(default = "Oauth::lifetime_ms")]
    pub lifetime_ms: u64,
}

/// Where a token comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenFrom {
    /// This file, which something else renews.
    File(PathBuf),
    /// What this program with these arguments prints.
    Command(Vec<String>),
}

/// How a consumer gets its partitions from a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// By which protocol.
    pub protocol: GroupProtocol,
    /// Which group.
    pub group_id: String,
    /// A name that stays over restarts, so that a short absence moves no partition.
    pub instance_id: Option<String>,
}

/// How a group deals partitions out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    /// By the members themselves, cooperatively: brokers of any age.
    Classic,
    /// By the broker (KIP-848): Kafka 4.0 and later.
    Consumer,
}

/// What the topics are called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// What shoppers do; key `visitor_id`.
    pub events: String,
    /// The catalogue; compacted, key `id`, an empty value deletes.
    pub items: String,
    /// Slates as they were served; key `visitor_id`.
    pub impressions: String,
    /// Shoppers to be forgotten; compacted.
    pub erasures: String,
    /// Records that could not be read, with the reason.
    pub dead_letters: String,
}

/// Whether and how missing topics are created on start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CreateTopics {
    /// Create topics that the broker does not have.
    pub enabled: bool,
    /// Partitions of a new topic.
    pub partitions: u16,
    /// Copies of a new topic; absent means the broker's default.
    pub replication: Option<u16>,
}

/// Properties of librdkafka. Values that look like secrets are shown to nobody.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Properties(pub BTreeMap<String, String>);

/// Where a secret lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// In this environment variable.
    Env(String),
    /// In this file; white space at its end is no part of it.
    File(PathBuf),
}

/// The configuration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A field breaks a rule.
    #[error("kafka.{field}: {rule}")]
    Field {
        /// Path of the field.
        field: String,
        /// What it must be.
        rule: String,
    },
    /// A secret is not where it should be.
    #[error("kafka.secrets.{property:?}: {reason}")]
    Secret {
        /// Which property.
        property: String,
        /// What is wrong.
        reason: String,
    },
}

/// Properties that the offsets' correctness rests on, and those that have a field of their own.
const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "use `brokers`"),
    ("metadata.broker.list", "use `brokers`"),
    ("client.id", "use `client_id`"),
    ("fetch.wait.max.ms", "use `fetch_wait_ms`"),
    ("message.timeout.ms", "use `delivery_timeout_ms`"),
    ("delivery.timeout.ms", "use `delivery_timeout_ms`"),
    ("group.id", "use `consumer.group_id`"),
    ("group.instance.id", "use `consumer.group_instance_id`"),
    ("group.protocol", "use `consumer.group`"),
    ("partition.assignment.strategy", "use `consumer.group`"),
    ("enable.auto.commit", "offsets are kept in the state store"),
    ("auto.commit.enable", "offsets are kept in the state store"),
    ("enable.auto.offset.store", "offsets are kept in the state store"),
    ("auto.offset.reset", "offsets are kept in the state store"),
    ("enable.partition.eof", "it tells when a topic has been read to its end"),
    ("enable.idempotence", "a retry must not repeat a message"),
    ("transactional.id", "state and offsets are one batch; Kafka transactions are not used"),
    ("statistics.interval.ms", "lag is read from the statistics"),
];

// === impl KafkaConfig ===

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".to_owned(),
            topics: Topics::default(),
            create_topics: CreateTopics::default(),
            client_id: "endcap".to_owned(),
            fetch_wait_ms: 100,
            delivery_timeout_ms: 5_000,
            background_timeout_ms: 120_000,
            properties: Properties::default(),
            secrets: BTreeMap::new(),
            oauth: None,
        }
    }
}

impl Oauth {
    fn lifetime_ms() -> u64 {
        300_000
    }
}

impl KafkaConfig {
    /// Defaults, for these brokers.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), ..Self::default() }
    }

    /// Checks every field that can be checked without a broker.
    ///
    /// # Errors
    /// Names the first field that breaks a rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field: &str, rule: &str| {
            Err(ConfigError::Field { field: field.to_owned(), rule: rule.to_owned() })
        };
        if self.brokers.split(',').any(|broker| broker.trim().is_empty()) {
            return refuse("brokers", "must be host:port, or several with commas between them");
        }
        if self.create_topics.enabled && self.create_topics.partitions == 0 {
            return refuse("create_topics.partitions", "must be at least 1");
        }
        for (field, timeout) in [
            ("delivery_timeout_ms", self.delivery_timeout_ms),
            ("background_timeout_ms", self.background_timeout_ms),
        ] {
            if timeout == 0 {
                return refuse(field, "must be at least 1");
            }
        }
        let topics = self.topics.named();
        for (i, (field, topic)) in topics.iter().enumerate() {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if topic.is_empty()
                || topic.len() > 249
                || !topic.chars().all(legal)
                || matches!(*topic, "." | "..")
            {
                let rule = format!("must be 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', is {topic:?}");
                return refuse(&format!("topics.{field}"), &rule);
            }
            if let Some((other, _)) = topics[..i].iter().find(|(_, name)| name == topic) {
                return refuse(&format!("topics.{field}"), &format!("must differ from topics.{other}"));
            }
        }
        let mechanism = |name: &String| matches!(name.as_str(), "sasl.mechanism" | "sasl.mechanisms");
        let oauth =
            self.properties.0.iter().find(|(name, _)| mechanism(name)).map(|(_, value)| value.as_str());
        if self.oauth.is_none() && oauth == Some("OAUTHBEARER") {
            return refuse(
                "oauth",
                "must say where tokens come from: oauth.token = { file = \"…\" }, or { command = [\"…\"] }",
            );
        }
        if self.oauth.is_some() && oauth.is_some_and(|mechanism| mechanism != "OAUTHBEARER") {
            return refuse("oauth", "must be absent where `sasl.mechanism` is another one than OAUTHBEARER");
        }
        if matches!(&self.oauth, Some(Oauth { token: TokenFrom::Command(words), .. }) if words.is_empty()) {
            return refuse("oauth.token.command", "must name a program");
        }
        for property in self.properties.0.keys().chain(self.secrets.keys()) {
            if let Some((_, instead)) = RESERVED.iter().find(|(name, _)| name == property) {
                return refuse(&format!("properties.{property:?}"), &format!("is not to be set: {instead}"));
            }
            if self.properties.0.contains_key(property) && self.secrets.contains_key(property) {
                return refuse(&format!("secrets.{property:?}"), "is in `properties` too");
            }
        }
        Ok(())
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            events: "events".to_owned(),
            items: "items".to_owned(),
            impressions: "impressions".to_owned(),
            erasures: "erasures".to_owned(),
            dead_letters: "dead-letters".to_owned(),
        }
    }
}

impl Topics {
    /// The default names with a prefix: `shop1.events`.
    pub fn prefixed(prefix: &str) -> Self {
        let with = |name: String| format!("{prefix}{name}");
        let Self { events, items, impressions, erasures, dead_letters } = Self::default();
        Self {
            events: with(events),
            items: with(items),
            impressions: with(impressions),
            erasures: with(erasures),
            dead_letters: with(dead_letters),
        }
    }

    /// Field and topic.
    pub(crate) fn named(&self) -> [(&'static str, &str); 5] {
        [
            ("events", &self.events),
            ("items", &self.items),
            ("impressions", &self.impressions),
            ("erasures", &self.erasures),
            ("dead_letters", &self.dead_letters),
        ]
    }

    /// Whether a topic keeps the newest value of each key alone.
    pub(crate) fn is_compacted(&self, topic: &str) -> bool {
        topic == self.items || topic == self.erasures
    }
}

impl Default for CreateTopics {
    fn default() -> Self {
        Self { enabled: true, partitions: 8, replication: None }
    }
}

// === impl Secret ===

impl Secret {
    /// Reads it.
    pub(crate) fn read(&self, property: &str) -> Result<String, ConfigError> {
        let failed = |reason: String| ConfigError::Secret { property: property.to_owned(), reason };
        match self {
            Self::Env(name) => std::env::var(name)
                .map_err(|_| failed(format!("the environment variable {name} is not set, or not UTF-8"))),
            Self::File(path) => std::fs::read_to_string(path)
                .map(|text| text.trim_end().to_owned())
                .map_err(|error| failed(format!("cannot read {}: {error}", path.display()))),
        }
    }
}

// === impl Properties ===

/// What is shown in place of a secret.
const HIDDEN: &str = "(hidden)";

impl Properties {
    /// Name and value, where the value may be shown.
    fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), if is_secret(name) { HIDDEN } else { value.as_str() }))
    }
}

/// Whether a property's value is nobody's business.
fn is_secret(property: &str) -> bool {
    ["password", "secret", "token", "jaas", "oauthbearer.config", "key.pem", "certificate.pem", "assertion"]
        .iter()
        .any(|word| property.to_ascii_lowercase().contains(word))
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.shown() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: serde_json::Value) -> Result<KafkaConfig, serde_json::Error> {
        serde_json::from_value(json)
    }

    #[test]
    fn unknown_fields_are_refused_and_absent_ones_have_defaults() {
        assert!(parse(serde_json::json!({"broker": "x:1"})).unwrap_err().to_string().contains("broker"));
        let config = parse(serde_json::json!({"brokers": "x:1", "topics": {"events": "clicks"}})).unwrap();
        assert_eq!((config.topics.events.as_str(), config.topics.items.as_str()), ("clicks", "items"));
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn secrets_are_never_shown() {
        let config = KafkaConfig {
            properties: [("sasl.password", "hunter2"), ("ssl.key.pem", "PEM"), ("sasl.username", "shop")]
                .into_iter()
                .collect(),
            ..KafkaConfig::default()
        };
        let debug = format!("{config:?}");
        let json = serde_json::to_string(&config).unwrap();
        for shown in [debug, json] {
            assert!(!shown.contains("hunter2") && !shown.contains("\"PEM\""), "{shown}");
            assert!(shown.contains("shop") && shown.contains(HIDDEN), "{shown}");
        }
    }

    #[test]
    fn a_secret_comes_from_a_file_without_the_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "hunter2\n").unwrap();
        assert_eq!(Secret::File(path).read("sasl.password"), Ok("hunter2".to_owned()));
        let missing = Secret::Env("ENDCAP_TEST_NO_SUCH_VARIABLE".into()).read("sasl.password").unwrap_err();
        assert!(missing.to_string().contains("ENDCAP_TEST_NO_SUCH_VARIABLE"), "{missing}");
    }

    #[test]
    fn what_would_break_the_offsets_is_refused_by_name() {
        let refused = |edit: fn(&mut KafkaConfig)| {
            let mut config = KafkaConfig::default();
            edit(&mut config);
            config.validate().unwrap_err().to_string()
        };
        let message = refused(|c| c.properties = [("enable.auto.commit", "true")].into_iter().collect());
        assert!(message.contains("enable.auto.commit") && message.contains("state store"), "{message}");
        assert!(refused(|c| c.brokers = "a:1,".into()).starts_with("kafka.brokers:"));
        assert!(refused(|c| c.topics.items = "events".into()).contains("must differ from topics.events"));
        assert!(refused(|c| c.topics.items = "a b".into()).starts_with("kafka.topics.items:"));
        assert!(refused(|c| c.create_topics.partitions = 0).contains("at least 1"));
    }
}
