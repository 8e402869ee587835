//! `kill -9` while events stream: the consumer runs in a child process that is killed at random and
//! started again. What is in the state at the end is what an undisturbed run would have left.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use endcap_live::{DeadLetters, KafkaConfig, KafkaSink, KafkaSource, StateStore, StoreConfig, consumer};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use super::{send, whole_loop::by_partition};
use crate::world::{digest_of, events, message};

const FOLDER: &str = "ENDCAP_TEST_STATE";
const KAFKA: &str = "ENDCAP_TEST_KAFKA";

/// Kills a consumer `kills` times while `count` events and as many repeats as a tenth of them stream.
pub(crate) fn survives_kills(config: &KafkaConfig, count: usize, kills: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(5);
    let sink = KafkaSink::patient(config).unwrap();
    let events = events(5, count);
    let repeated: Vec<_> = events
        .iter()
        .enumerate()
        .flat_map(|(i, event)| vec![event.clone(); 1 + usize::from(i % 10 == 0)])
        .collect();
    let mut places = Vec::new();
    let mut progress = Vec::new();
    let rounds = repeated.chunks(repeated.len().div_ceil(kills + 1));
    for (round, chunk) in rounds.enumerate() {
        let (mut child, _out) = start(dir.path(), config);
        let killed_after = Duration::from_millis(random.random_range(1..150));
        if round < kills {
            // Sent in pieces, so that the kill falls between any two.
            let killer = thread::spawn(move || {
                thread::sleep(killed_after);
                child.kill().unwrap();
                child.wait().unwrap();
            });
            for piece in chunk.chunks(chunk.len().div_ceil(40)) {
                places.extend(send(&sink, piece.iter().map(|event| now(config, event))));
                thread::sleep(Duration::from_millis(3));
            }
            killer.join().unwrap();
            progress.push(applied(dir.path(), config));
        } else {
            places.extend(send(&sink, chunk.iter().map(|event| now(config, event))));
            wait_until(dir.path(), &mut child);
        }
    }
    println!("records applied at each kill: {progress:?}, of {}", repeated.len());
    let in_the_stream = progress.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!(in_the_stream >= kills / 2, "the kills did not fall into the stream: {progress:?}");
    assert_eq!(applied(dir.path(), config), repeated.len() as i64);
    let (store, _writer) =
        StateStore::open(dir.path(), &config.topics.events, &StoreConfig::default()).unwrap();
    assert_eq!(
        store.digest().unwrap(),
        digest_of(by_partition(&repeated, &places)),
        "another state; {progress:?}"
    );
}

/// Made now: a broker may forget what is older than its retention.
fn now(config: &KafkaConfig, event: &endcap_proto::Event) -> endcap_live::Message {
    endcap_live::Message { timestamp: None, ..message(&config.topics.events, event) }
}

fn applied(dir: &Path, config: &KafkaConfig) -> i64 {
    let (store, _writer) = StateStore::open(dir, &config.topics.events, &StoreConfig::default()).unwrap();
    store.applied().iter().map(|at| at.offset).sum()
}

/// Its output is to be held as long as it runs: it would die of a pipe that nobody reads.
fn start(dir: &Path, config: &KafkaConfig) -> (Child, impl Sized) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child_that_is_killed", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, dir)
        .env(KAFKA, serde_json::to_string(config).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Killed before it has taken up the stream, it would show nothing.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("consuming")), "the child did not start");
    (child, lines)
}

/// Lets the child finish what is there.
fn wait_until(dir: &Path, child: &mut Child) {
    std::fs::write(dir.with_extension("finish"), "").unwrap();
    assert!(child.wait().unwrap().success());
    std::fs::remove_file(dir.with_extension("finish")).unwrap();
}

/// What the child does, when it is one: consumes until told to finish.
pub(crate) fn child() {
    let Some(dir) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let config: KafkaConfig = serde_json::from_str(&std::env::var(KAFKA).unwrap()).unwrap();
    let (_, writer) = StateStore::open(&dir, &config.topics.events, &StoreConfig::default()).unwrap();
    let sink = Arc::new(KafkaSink::patient(&config).unwrap());
    let options = consumer::Options {
        erasures: None,
        source: Box::new(KafkaSource::new(&config, &config.topics.events).unwrap()),
        writer: Box::new(writer),
        dead_letters: DeadLetters::new(sink, config.topics.dead_letters.as_str()),
        config: consumer::ConsumerConfig { flush_interval_ms: 10, ..Default::default() },
    };
    let (service, handle) = consumer::Service::new(options);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let drain = CancellationToken::new();
        let running = tokio::spawn(service.run(drain.clone()));
        assert!(handle.caught_up().await);
        println!("consuming");
        let finish = dir.with_extension("finish");
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let status = handle.status();
            let lag: u64 = status.partitions.iter().map(|at| at.lag).sum();
            assert!(!running.is_finished(), "{:?}", running.await);
            if finish.exists() && status.caught_up && lag == 0 {
                break;
            }
        }
        // The ends that lag is told by may be a second old.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        drain.cancel();
        running.await.unwrap().unwrap();
    });
}
