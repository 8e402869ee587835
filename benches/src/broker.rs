//! A Kafka broker to measure against: one that the caller names, or librdkafka's mock cluster in a process of its own,
//! so that its work is on nobody's account.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail, ensure};
use endcap_live::kafka::create_topics;
use endcap_live::{CreateTopics, KafkaConfig, MockBroker};

/// The argument that makes `endcap-bench` a broker.
pub const BROKER: &str = "broker";
/// Partitions of a topic.
pub const PARTITIONS: u16 = 8;

/// A broker; a mock one ends with this.
#[derive(Debug)]
pub struct Broker {
    config: KafkaConfig,
    mock: Option<Mock>,
}

/// The mock broker's process: a topic's name in, a line out when it exists.
#[derive(Debug)]
struct Mock {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Broker {
    /// The brokers that are named, or this program again as a mock one.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(brokers: Option<&str>) -> anyhow::Result<Self> {
        if let Some(brokers) = brokers {
            let create_topics = CreateTopics { enabled: true, partitions: PARTITIONS, replication: None };
            return Ok(Self {
                config: KafkaConfig { create_topics, ..KafkaConfig::new(brokers) },
                mock: None,
            });
        }
        let program = std::env::current_exe().context("this program's own path")?;
        let mut process = Command::new(program)
            .arg(BROKER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the mock broker did not start")?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("the mock broker cannot be talked to");
        };
        let mut mock = Mock { process, input, output: BufReader::new(output) };
        let brokers = mock.line()?;
        // It answers a waiting fetch only when the wait is over.
        let config = KafkaConfig { fetch_wait_ms: 1, ..KafkaConfig::new(brokers) };
        Ok(Self { config, mock: Some(mock) })
    }

    /// For the peers' names.
    pub fn name(&self) -> &'static str {
        if self.mock.is_some() { "mock broker" } else { "Kafka" }
    }

    /// Its configuration, with topics of its own whose names end with `name`.
    ///
    /// # Errors
    /// Where they cannot be made.
    pub async fn topics(&mut self, name: &str) -> anyhow::Result<KafkaConfig> {
        let mut config = self.config.clone();
        let topics = &mut config.topics;
        for topic in [
            &mut topics.events,
            &mut topics.items,
            &mut topics.impressions,
            &mut topics.erasures,
            &mut topics.dead_letters,
        ] {
            *topic = format!("endcap-bench-{}-{topic}-{name}", std::process::id());
            if let Some(mock) = &mut self.mock {
                mock.create(topic)?;
            }
        }
        if self.mock.is_none() {
            create_topics(&config).await?;
        }
        Ok(config)
    }
}

impl Mock {
    fn create(&mut self, topic: &str) -> anyhow::Result<()> {
        writeln!(self.input, "{topic}")?;
        let answer = self.line()?;
        ensure!(answer == topic, "the mock broker answers {answer:?} to {topic:?}");
        Ok(())
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the mock broker is gone");
        Ok(line.trim().to_owned())
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The mock broker's own process: says where it is, makes the topics it is told, and ends when its input does.
///
/// # Errors
/// Where no port can be had.
pub fn serve() -> anyhow::Result<()> {
    let broker = MockBroker::start(PARTITIONS)?;
    println!("{}", broker.config().brokers);
    for topic in std::io::stdin().lines() {
        let topic = topic?;
        broker.create_topic(&topic, PARTITIONS)?;
        println!("{topic}");
    }
    Ok(())
}
