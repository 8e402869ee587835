//! The configuration of the service: `endcap.toml`, what `--set` adds to it, and errors that name the key.
//!
//! `default.toml` documents every key and *is* the default: a test compares it with [`Config::default`].
//! A key that is not known is refused, wherever it stands.

use std::path::{Path, PathBuf};

use anyhow::Context;
use endcap_live::{
    KafkaConfig, StoreConfig, ValkeyConfig,
    archive::ArchiveConfig,
    consumer::ConsumerConfig,
    consumer::Group,
    erasures::{ErasureConfig, ErasureKey},
    impressions::ImpressionConfig,
};
use endcap_recommend::RecommendConfig;
use endcap_server::ServerConfig;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The default configuration with a comment on every key.
pub const DEFAULT: &str = include_str!("default.toml");

/// The version of the configuration's format that this binary reads.
pub const VERSION: u32 = 1;

/// The longest time between two flushes of a state that replicas share.
const SHARED_FLUSH_MS: u64 = 500;

/// `endcap.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Version of the configuration's format.
    pub version: u32,
    /// Where and how the service listens.
    pub server: ServerConfig,
    /// How to reach Kafka.
    pub kafka: KafkaConfig,
    /// Where bundles lie.
    pub bundles: BundlesConfig,
    /// Where and how the state is kept.
    pub state: StateConfig,
    /// How events are taken in.
    pub consumer: ConsumerConfig,
    /// How shoppers are named who are to be forgotten.
    pub erasures: ErasureConfig,
    /// Limits of the impressions' way out.
    pub impressions: ImpressionConfig,
    /// How slates are made.
    pub recommend: RecommendConfig,
    /// Where the archive lies, and how it is cut.
    pub archive: ArchiveConfig,
}

/// Where bundles lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BundlesConfig {
    /// The folder that `endcap train --out` publishes to.
    pub path: PathBuf,
    /// How often to look whether another bundle was activated, in milliseconds.
    pub watch_interval_ms: u64,
    /// How long a start waits for the topic `items` to be read before it serves all the same, in milliseconds.
    pub catch_up_timeout_ms: u64,
}

/// Where and how the state is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateConfig {
    /// Who keeps it.
    pub backend: Backend,
    /// The folder of the state, where it is embedded.
    pub path: PathBuf,
    /// What is kept, and how much of it in memory.
    pub store: StoreConfig,
    /// How to reach Valkey or Redis, where they keep it.
    pub valkey: ValkeyConfig,
}

/// Who keeps the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// This process, in memory and in a folder of its own.
    #[default]
    Embedded,
    /// Valkey or Redis, for several replicas.
    Valkey,
}

/// The configuration is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration {origin}: {message}")]
pub struct ConfigError {
    /// The file, or `--set`.
    pub origin: String,
    /// Key, rule, and where in the file.
    pub message: String,
}

/// Reads `C` from a TOML file (its default when there is none), changed by `KEY=VALUE` entries. A value that
/// is no TOML is taken as text.
pub fn load<C: DeserializeOwned>(file: Option<&Path>, set: &[String]) -> anyhow::Result<C> {
    let (text, origin) = match file {
        None => (String::new(), "defaults".to_owned()),
        Some(path) => {
            let origin = path.display().to_string();
            (std::fs::read_to_string(path).with_context(|| format!("cannot read {origin}"))?, origin)
        }
    };
    let config = parse(&text, &origin)?;
    if set.is_empty() {
        return Ok(config);
    }
    // The file once more rather than `config`, which hides its secrets when it is written.
    let mut table: toml::Table = parse(&text, &origin)?;
    for entry in set {
        insert(&mut table, entry)?;
    }
    serde_path_to_error::deserialize(table)
        .map_err(|error| refuse(&format!("{origin} with --set"), &error).into())
}

impl Config {
    /// Checks every number against its range.
    ///
    /// # Errors
    /// Names the key and its rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |message: String| ConfigError { origin: "check".to_owned(), message };
        if self.version != VERSION {
            let found = self.version;
            return Err(wrong(format!("key `version`: is {found}, this version of Endcap reads {VERSION}")));
        }
        self.server.validate().map_err(|error| wrong(format!("key `{error}`")))?;
        self.kafka.validate().map_err(|error| wrong(format!("key `{error}`")))?;
        self.consumer.validate().map_err(|error| wrong(format!("key `{error}`")))?;
        self.state.valkey.validate().map_err(|error| wrong(format!("key `{error}`")))?;
        if self.consumer.group != Group::None && self.state.backend == Backend::Embedded {
            let rule = "must be none where each replica keeps a state of its own, which needs every partition; \
                 state.backend = \"valkey\" shares one";
            return Err(wrong(format!("key `consumer.group`: {rule}")));
        }
        if self.archive.roll_records == 0 {
            return Err(wrong("key `archive.roll_records`: must be at least 1".to_owned()));
        }
        self.recommend.validate().map_err(|error| wrong(error.to_string()))
    }

    /// The key of the erasures, where one is named.
    ///
    /// # Errors
    /// When it is not where it should be, or is no key.
    pub fn erasure_key(&self) -> Result<Option<ErasureKey>, ConfigError> {
        let wrong = |message: String| ConfigError { origin: "check".to_owned(), message };
        self.erasures.read().map_err(|error| wrong(format!("key `erasures.key`: {}", error.reason)))
    }

    /// How events are taken in, given who keeps the state: other replicas see an item's counters once they are
    /// flushed, and are to be a second behind at most.
    pub fn consuming(&self) -> ConsumerConfig {
        let mut consumer = self.consumer.clone();
        if self.state.backend == Backend::Valkey {
            consumer.flush_interval_ms = consumer.flush_interval_ms.min(SHARED_FLUSH_MS);
        }
        consumer
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: VERSION,
            server: ServerConfig::default(),
            kafka: KafkaConfig::default(),
            bundles: BundlesConfig::default(),
            state: StateConfig::default(),
            consumer: ConsumerConfig::default(),
            erasures: ErasureConfig::default(),
            impressions: ImpressionConfig::default(),
            recommend: RecommendConfig::default(),
            archive: ArchiveConfig::default(),
        }
    }
}

impl Default for BundlesConfig {
    fn default() -> Self {
        Self { path: "bundles".into(), watch_interval_ms: 1000, catch_up_timeout_ms: 10_000 }
    }
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            path: "state".into(),
            store: StoreConfig::default(),
            valkey: ValkeyConfig::default(),
        }
    }
}

fn parse<C: DeserializeOwned>(text: &str, origin: &str) -> Result<C, ConfigError> {
    let deserializer = toml::Deserializer::parse(text)
        .map_err(|error| ConfigError { origin: origin.to_owned(), message: error.to_string() })?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| refuse(origin, &error))
}

fn refuse(origin: &str, error: &serde_path_to_error::Error<toml::de::Error>) -> ConfigError {
    let path = error.path().to_string();
    // Without a place in a file, the message would say the path once more.
    let message = match error.inner().span() {
        Some(_) => error.inner().to_string(),
        None => error.inner().message().to_owned(),
    };
    let message = if path == "." { message } else { format!("key `{path}`: {message}") };
    ConfigError { origin: origin.to_owned(), message: message.trim_end().to_owned() }
}

fn insert(table: &mut toml::Table, entry: &str) -> Result<(), ConfigError> {
    let wrong = |message: &str| ConfigError { origin: format!("--set {entry}"), message: message.to_owned() };
    let (path, text) = entry.split_once('=').ok_or_else(|| wrong("must be KEY=VALUE"))?;
    let value = toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()));
    let mut at = table;
    let mut keys = keys(path).ok_or_else(|| wrong("must name a key"))?.into_iter().peekable();
    while let Some(key) = keys.next() {
        if keys.peek().is_none() {
            at.insert(key, value);
            return Ok(());
        }
        at = at
            .entry(&key)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(|| wrong(&format!("key `{key}` is a value, not a section")))?;
    }
    Err(wrong("must name a key"))
}

/// The keys of a path as TOML writes it: `kafka.properties."security.protocol"`.
fn keys(path: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut table: toml::Table = toml::from_str(&format!("{path} = 0")).ok()?;
    loop {
        let (key, value) = table.into_iter().next()?;
        keys.push(key);
        match value {
            toml::Value::Table(inner) => table = inner,
            _ => return Some(keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse::<Config>(text, "endcap.toml").unwrap_err().to_string()
    }

    #[test]
    fn the_commented_file_is_the_default() {
        let commented: Config = parse(DEFAULT, "default.toml").unwrap();
        assert_eq!(commented, Config::default());
    }

    #[test]
    fn every_key_of_the_default_is_in_the_commented_file() {
        fn keys(table: &toml::Table, path: &str, out: &mut Vec<String>) {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match value {
                    toml::Value::Table(table) => keys(table, &path, out),
                    _ => out.push(path),
                }
            }
        }
        let (mut dumped, mut commented) = (Vec::new(), Vec::new());
        keys(&toml::Table::try_from(Config::default()).unwrap(), "", &mut dumped);
        keys(&DEFAULT.parse().unwrap(), "", &mut commented);
        dumped.sort();
        commented.sort();
        assert_eq!(dumped, commented);
    }

    #[test]
    fn every_key_of_the_commented_file_has_a_comment() {
        let lines: Vec<&str> = DEFAULT.lines().collect();
        for (above, line) in lines.iter().zip(&lines[1..]) {
            let is_key = line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains('=');
            assert!(!is_key || above.starts_with('#'), "{line}");
        }
    }

    #[test]
    fn errors_name_the_key_and_where_it_stands() {
        let message = refused("version = 1\n[server]\nadress = \"127.0.0.1:1\"\n");
        assert!(message.contains("key `server.adress`") && message.contains("`address`"), "{message}");
        let message = refused("[recommend.sources]\ntowers = \"many\"\n");
        assert!(message.contains("key `recommend.sources.towers`"), "{message}");
        assert!(refused("[server\n").contains("endcap.toml"));
        let set = |entry: &str| load::<Config>(None, &[entry.to_owned()]);
        assert_eq!(set("server.address=127.0.0.1:9").unwrap().server.address.port(), 9);
        assert!(
            set("server.limits.in_flight=many").unwrap_err().to_string().contains("server.limits.in_flight")
        );
        assert!(set("nonsense").unwrap_err().to_string().contains("KEY=VALUE"));
        assert!(set("archive.path=s3://").unwrap_err().to_string().contains("archive.path"));
        assert!(set("=1").unwrap_err().to_string().contains("must name a key"));
        assert!(set("version.minor=1").unwrap_err().to_string().contains("version"));
    }

    #[test]
    fn entries_go_before_the_file_and_leave_the_rest_of_it_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("endcap.toml");
        let text = "[kafka]\nbrokers = \"a:1\"\n[kafka.properties]\n\"sasl.password\" = \"hunter2\"\n";
        std::fs::write(&file, text).unwrap();
        let set = ["kafka.brokers=b:2", "kafka.properties.\"security.protocol\"=SASL_SSL"].map(str::to_owned);
        let config: Config = load(Some(&file), &set).unwrap();
        let properties = [("sasl.password", "hunter2"), ("security.protocol", "SASL_SSL")];
        assert_eq!(config.kafka.properties, properties.into_iter().collect());
        assert_eq!(config.kafka.brokers, "b:2");
        assert_eq!(config.server, ServerConfig::default());
    }

    #[test]
    fn a_group_needs_a_state_that_is_shared() {
        let load = |set: &[&str]| {
            let set: Vec<_> = set.iter().map(|entry| (*entry).to_owned()).collect();
            load::<Config>(None, &set).unwrap().validate()
        };
        let refused = load(&["consumer.group=classic"]).unwrap_err().to_string();
        assert!(refused.contains("`consumer.group`") && refused.contains("state.backend"), "{refused}");
        assert_eq!(load(&["consumer.group=classic", "state.backend=valkey"]), Ok(()));
        let refused = load(&["state.valkey.addresses=nowhere"]).unwrap_err().to_string();
        assert!(refused.contains("`state.valkey.addresses"), "{refused}");
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_key() {
        let config: Config = load(None, &["version=9".to_owned()]).unwrap();
        assert!(config.validate().unwrap_err().to_string().contains("`version`"));
    }
}
