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

use endcap_live::{CreateTopics, KafkaConfig, KafkaSink, KafkaSource, Topics, kafka::create_topics};

/// A broker, for as long as this is held.
struct Broker {
    address: String,
    script: Option<Child>,
}

impl Broker {
    fn start() -> Option<Self> {
        if let Ok(address) = std::env::var("ENDCAP_KAFKA") {
            return Some(Self { address, script: None });
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
            .arg("run")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash");
        let mut address = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.contains(':'), "kafka.sh started no broker: {:?}", script.wait());
        Some(Self { address: address.trim().to_owned(), script: Some(script) })
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
}

#[test]
fn the_child_that_is_killed() {
    suite::kill::child();
}
