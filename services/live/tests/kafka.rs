//! The live path against a real Apache Kafka, which `deploy/kafka/kafka.sh` starts.
//!
//! `ENDCAP_KAFKA=host:port` uses one that runs. Without Java or Maven the test is skipped, unless
//! `ENDCAP_REQUIRE` names `kafka`.

mod suite;
mod world;

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use endcap_live::{
    CreateTopics, EventSource, GroupProtocol, KafkaConfig, KafkaSink, KafkaSource, Topics,
    kafka::create_topics,
};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
};

/// A broker, for as long as this is held.
struct Broker {
    address: String,
    /// Ways in with TLS, where the broker is our own.
    secure: Option<suite::security::Doors>,
    script: Option<Child>,
}

impl Broker {
    fn start() -> Option<Self> {
        if let Ok(address) = std::env::var("ENDCAP_KAFKA") {
            return Some(Self { address, secure: None, script: None });
        }
        let lacking: Vec<_> = ["java", "mvn"].into_iter().filter(|tool| !there_is(tool)).collect();
        if !lacking.is_empty() {
            let required = std::env::var("ENDCAP_REQUIRE").unwrap_or_default();
            assert!(
                !required.split([',', ' ']).any(|what| what == "kafka"),
                "kafka is required, and needs {lacking:?}"
            );
            println!("SKIPPED: needs kafka (java 17 and mvn)");
            return None;
        }
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kafka/kafka.sh");
        let mut script = Command::new("bash")
            .arg(script)
            .args(["run", "secure"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash");
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.next().unwrap_or_default();
        assert!(address.contains(':'), "kafka.sh started no broker: {:?}", script.wait());
        let mut door = |name: &str| lines.next().unwrap().strip_prefix(name).unwrap().to_owned();
        let secure = suite::security::Doors {
            sasl_ssl: door("sasl_ssl="),
            ssl: door("ssl="),
            tls: door("tls=").into(),
        };
        Some(Self { address, secure: Some(secure), script: Some(script) })
    }

    /// Topics that no other test of this run, or of another one, uses.
    fn config(&self, test: &str) -> KafkaConfig {
        KafkaConfig {
            topics: Topics::prefixed(&format!("{test}-{}-", std::process::id())),
            create_topics: CreateTopics { partitions: 4, ..CreateTopics::default() },
            ..KafkaConfig::new(&self.address)
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut script) = self.script.take() {
            drop(script.stdin.take()); // which ends it
            let _ = script.wait();
        }
    }
}

fn there_is(tool: &str) -> bool {
    Command::new(tool).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The topic of events has `partitions` from now on.
async fn more_partitions(config: &KafkaConfig, partitions: usize) {
    let admin: AdminClient<DefaultClientContext> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    let more = NewPartitions::new(&config.topics.events, partitions);
    let made = admin.create_partitions([&more], &AdminOptions::new()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_path_against_a_real_kafka() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::start).await.unwrap() else { return };

    let config = broker.config("contract");
    let created = create_topics(&config).await.unwrap();
    assert_eq!(created.len(), 5);
    assert_eq!(create_topics(&config).await.unwrap(), Vec::<String>::new(), "made once");
    let forbidden = KafkaConfig {
        create_topics: CreateTopics { enabled: false, ..CreateTopics::default() },
        ..broker.config("forbidden")
    };
    let refused = create_topics(&forbidden).await.unwrap_err().to_string();
    assert!(refused.contains("forbidden-") && refused.contains(&broker.address), "{refused}");

    let kafka = config.clone();
    let contract = move || {
        let topic = &kafka.topics.events;
        let sink = KafkaSink::prompt(&kafka).unwrap();
        suite::contract(Arc::new(sink), &mut || Box::new(KafkaSource::new(&kafka, topic).unwrap()), topic);
    };
    tokio::task::spawn_blocking(contract).await.unwrap();

    let config = broker.config("loop");
    create_topics(&config).await.unwrap();
    suite::whole_loop::whole_loop(&config).await;

    let config = broker.config("kill");
    create_topics(&config).await.unwrap();
    tokio::task::spawn_blocking(move || suite::kill::survives_kills(&config, 45_000, 5)).await.unwrap();

    let config = broker.config("poison");
    create_topics(&config).await.unwrap();
    suite::poison::poison_stalls_nothing(&config, 4_000).await;

    for (name, protocol) in [("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)] {
        let config = broker.config(name);
        create_topics(&config).await.unwrap();
        suite::group::members_come_and_go(&config, protocol, 6_000, 2).await;
    }

    let mut config = broker.config("growing");
    config.properties.0.insert("topic.metadata.refresh.interval.ms".into(), "500".into());
    create_topics(&config).await.unwrap();
    let source = |topic: &str| Box::new(KafkaSource::new(&config, topic).unwrap()) as Box<dyn EventSource>;
    let grow = async || more_partitions(&config, 8).await;
    let sink = Arc::new(KafkaSink::patient(&config).unwrap());
    suite::partitions::what_a_topic_gains_is_read(&config.topics, sink, source, grow).await;

    if let Some(doors) = &broker.secure {
        let config = broker.config("secure");
        create_topics(&config).await.unwrap();
        suite::security::every_door_opens_to_its_key_alone(&config, doors).await;
    }
}

#[test]
fn the_child_that_is_killed() {
    suite::kill::child();
}
