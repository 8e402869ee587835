//! A real Apache Kafka, which `deploy/kafka/kafka.sh` starts; `ENDCAP_KAFKA=host:port` uses one that runs.

#![allow(dead_code, unreachable_pub)] // each test file uses its own part

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use endcap_live::{CreateTopics, KafkaConfig, Topics};

use crate::shop::skip;

/// A broker, for as long as this is held.
pub struct Kafka {
    address: String,
    script: Option<Child>,
    /// Where one that may be stopped and started again keeps its log.
    dir: Option<tempfile::TempDir>,
}

impl Kafka {
    /// Starts one; `None` where this machine cannot.
    pub fn start() -> Option<Self> {
        if let Ok(address) = std::env::var("ENDCAP_KAFKA") {
            return Some(Self { address, script: None, dir: None });
        }
        if lacks_something() {
            return None;
        }
        let mut command = Command::new("bash");
        command.arg(script()).arg("run").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.contains(':'), "kafka.sh started no broker: {:?}", script.wait());
        Some(Self { address: address.trim().to_owned(), script: Some(script), dir: None })
    }

    /// Starts one that can be stopped and started again.
    pub fn that_can_be_away() -> Option<Self> {
        if lacks_something() {
            return None;
        }
        let mut kafka =
            Self { address: String::new(), script: None, dir: Some(tempfile::tempdir().unwrap()) };
        kafka.address = kafka.tell("start");
        assert!(kafka.address.contains(':'), "kafka.sh started no broker");
        Some(kafka)
    }

    /// `start` or `stop`, for one that can be away; what the script prints.
    pub fn tell(&self, verb: &str) -> String {
        let Some(dir) = &self.dir else { return String::new() };
        let output = Command::new("bash").arg(script()).arg(verb).arg(dir.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
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
        self.tell("kill");
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kafka/kafka.sh")
}

/// Whether this machine cannot start one; then that was said.
fn lacks_something() -> bool {
    let lacking: Vec<_> = ["java", "mvn"].into_iter().filter(|tool| !there_is(tool)).collect();
    if !lacking.is_empty() {
        skip("kafka", "java 17 and mvn", &format!("there is no {}", lacking.join(", no ")));
    }
    !lacking.is_empty()
}

fn there_is(tool: &str) -> bool {
    Command::new(tool).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
