//! A Kafka broker to measure against: one that `deploy/kafka/kafka.sh` starts, one that the caller names, or librdkafka's
//! mock cluster. Each is a process of its own, so that its work is on nobody's account. And a Redis server.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail, ensure};
use endcap_live::kafka::create_topics;
use endcap_live::{CreateTopics, KafkaConfig, MockBroker};

/// The argument that makes `endcap-bench` a broker.
pub const BROKER: &str = "broker";
/// Partitions of a topic.
pub const PARTITIONS: u16 = 8;

/// Which broker to measure against.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// An Apache Kafka that is started for this.
    Started,
    /// One that runs.
    Named(&'a str),
    /// librdkafka's mock cluster, which keeps 5 MiB of a partition.
    Mock,
}

/// A broker; one that was started ends with this.
#[derive(Debug)]
pub struct Broker {
    config: KafkaConfig,
    mock: Option<Mock>,
    _started: Option<Script>,
}

/// A server that a script of `deploy/` has started; ends with this.
#[derive(Debug)]
pub struct Script {
    /// Where it listens.
    pub addresses: String,
    process: Child,
}

/// The mock broker's process: a topic's name in, a line out when it exists.
#[derive(Debug)]
struct Mock {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Broker {
    /// Starts it, where it does not run.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(which: Which<'_>) -> anyhow::Result<Self> {
        let create_topics = CreateTopics { enabled: true, partitions: PARTITIONS, replication: None };
        let real =
            |brokers: &str| KafkaConfig { create_topics: create_topics.clone(), ..KafkaConfig::new(brokers) };
        match which {
            Which::Named(brokers) => Ok(Self { config: real(brokers), mock: None, _started: None }),
            Which::Started => {
                let script = Script::start("kafka/kafka.sh").context(
                    "no Kafka (it needs java 17 and mvn); --brokers names one, --mock measures against a mock one",
                )?;
                Ok(Self { config: real(&script.addresses), mock: None, _started: Some(script) })
            }
            Which::Mock => Self::mock(),
        }
    }

    /// This program again, as a mock broker.
    fn mock() -> anyhow::Result<Self> {
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
        Ok(Self { config, mock: Some(mock), _started: None })
    }

    /// For the peers' names.
    pub fn name(&self) -> &'static str {
        if self.mock.is_some() { "mock broker" } else { "Kafka" }
    }

    /// Whether it keeps all that it is told.
    pub fn keeps_everything(&self) -> bool {
        self.mock.is_none()
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

impl Script {
    /// Runs a script of `deploy/`, which prints where its server listens and ends with its standard input.
    ///
    /// # Errors
    /// Where it starts nothing.
    pub fn start(script: &str) -> anyhow::Result<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");
        let mut process = Command::new("bash")
            .arg(format!("{path}/{script}"))
            .arg("run")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{script} did not start"))?;
        let mut addresses = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut addresses)?;
        }
        ensure!(addresses.contains(':'), "{script} started no server: {:?}", process.wait()?);
        Ok(Self { addresses: addresses.trim().to_owned(), process })
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.process.stdin.take()); // which ends it
        self.process.wait().ok();
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
