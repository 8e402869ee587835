//! A real Apache Kafka, which `deploy/kafka/kafka.sh` starts; `ENDCAP_KAFKA=host:port` uses one that runs.

#![allow(unreachable_pub)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use endcap_live::{CreateTopics, KafkaConfig, Topics};

use crate::shop::skip;

/// A broker, for as long as this is held.
pub struct Kafka {
    address: String,
    script: Option<Child>,
}

impl Kafka {
    /// Starts one; `None` where this machine cannot.
    pub fn start() -> Option<Self> {
        if let Ok(address) = std::env::var("ENDCAP_KAFKA") {
            return Some(Self { address, script: None });
        }
        let lacking: Vec<_> = ["java", "mvn"].into_iter().filter(|tool| !there_is(tool)).collect();
        if !lacking.is_empty() {
            skip("kafka", "java 17 and mvn", &format!("there is no {}", lacking.join(", no ")));
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kafka/kafka.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg("run").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.contains(':'), "kafka.sh started no broker: {:?}", script.wait());
        Some(Self { address: address.trim().to_owned(), script: Some(script) })
    }

    /// Topics that no other run uses; the service makes them.
    pub fn config(&self) -> KafkaConfig {
        KafkaConfig {
            topics: Topics::prefixed(&format!("whole-loop-{}-", std::process::id())),
            create_topics: CreateTopics { partitions: 4, ..CreateTopics::default() },
            ..KafkaConfig::new(&self.address)
        }
    }
}

impl Drop for Kafka {
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
