//! The faults of the live path, in consumers that are processes of their own, against a real Apache Kafka and a real
//! Redis. `just faults` runs the long forms; `cargo test` short ones, and ignores those whose short form is elsewhere.
//!
//! Each prints its figures and writes them to `target/faults/NAME.json`.

mod place;
mod suite;
mod world;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use endcap_live::{
    CreateTopics, DeadLetters, KafkaConfig, KafkaSink, KafkaSource, StateBackend, StateStore, StoreConfig,
    Topics, ValkeyConfig, ValkeyStore,
    consumer::{self, ConsumerConfig, Group},
    kafka::create_topics,
};
use endcap_proto::Event;
use place::{Broker, Kafka, Server, Toxiproxy, runtime, skipped};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::{Deserialize, Serialize};
use suite::{send, whole_loop::by_partition};
use tokio_util::sync::CancellationToken;
use world::{digest_of, events, message};

const MEMBER: &str = "ENDCAP_TEST_MEMBER";
const PATIENCE: Duration = Duration::from_secs(180);

/// How long forms differ from short ones.
fn size(short: usize, long: usize) -> usize {
    if is_long() { long } else { short }
}

fn is_long() -> bool {
    std::env::var("ENDCAP_FAULTS").is_ok_and(|form| form == "long")
}

/// How many times a consumer is killed, or comes and goes.
fn times(short: usize, long: usize) -> usize {
    std::env::var("ENDCAP_FAULTS_TIMES")
        .ok()
        .and_then(|times| times.parse().ok())
        .unwrap_or(size(short, long))
}

/// The broker that these tests share, one after the other: they measure time.
fn broker() -> Option<MutexGuard<'static, Option<Broker>>> {
    static BROKER: LazyLock<Mutex<Option<Broker>>> = LazyLock::new(|| Mutex::new(Broker::start()));
    let broker = BROKER.lock().unwrap_or_else(PoisonError::into_inner);
    broker.is_some().then_some(broker)
}

fn topics(brokers: &str, name: &str) -> KafkaConfig {
    let config = KafkaConfig {
        topics: Topics::prefixed(&format!("{name}-{}-", std::process::id())),
        create_topics: CreateTopics { partitions: 8, ..CreateTopics::default() },
        ..KafkaConfig::new(brokers)
    };
    runtime().block_on(create_topics(&config)).unwrap();
    config
}

/// A consumer, in words that a process of its own can be told.
#[derive(Clone, Serialize, Deserialize)]
struct Spec {
    kafka: KafkaConfig,
    group: Group,
    instance: Option<String>,
    place: At,
}

/// Where it keeps its state.
#[derive(Clone, Serialize, Deserialize)]
enum At {
    Folder(PathBuf),
    Valkey(ValkeyConfig),
}

impl Spec {
    /// The settings of a member; classic members have a name that they keep.
    fn settings(&self) -> ConsumerConfig {
        ConsumerConfig {
            group: self.group,
            group_id: format!("{}group", self.kafka.topics.events),
            group_instance_id: self.instance.clone(),
            flush_interval_ms: 100,
            ..ConsumerConfig::default()
        }
    }

    fn digest(&self) -> u64 {
        let topic = &self.kafka.topics.events;
        match &self.place {
            At::Folder(dir) => {
                let (store, _writer) = StateStore::open(dir, topic, &StoreConfig::default()).unwrap();
                store.digest().unwrap()
            }
            At::Valkey(valkey) => runtime().block_on(async {
                let (store, _) = ValkeyStore::open(valkey, topic, &StoreConfig::default()).unwrap();
                store.digest().await.unwrap()
            }),
        }
    }

    /// Records that were flushed, over all partitions; of a state that is shared.
    fn flushed(&self) -> i64 {
        let At::Valkey(valkey) = &self.place else { return 0 };
        runtime().block_on(async {
            let (store, _) =
                ValkeyStore::open(valkey, &self.kafka.topics.events, &StoreConfig::default()).unwrap();
            store.flushed().await.unwrap().iter().map(|at| at.offset).sum()
        })
    }
}

/// A consumer in a process of its own.
struct Member {
    child: Child,
    stdin: Option<ChildStdin>,
    said: mpsc::Receiver<String>,
}

impl Member {
    fn start(spec: &Spec) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_member_of_its_own", "--nocapture", "--test-threads", "1"])
            .env(MEMBER, serde_json::to_string(spec).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, said) = mpsc::channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        thread::spawn(move || lines.for_each(|line| drop(tell.send(line))));
        Self { stdin: child.stdin.take(), child, said }
    }

    /// Waits until it says something that `enough` likes.
    fn wait_until(&self, what: &str, mut enough: impl FnMut(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(line) if enough(&line) => return,
                Ok(_) => {}
                Err(error) => panic!("a member never said {what}: {error}"),
            }
        }
    }

    fn wait_until_applied(&self) {
        self.wait_until("that it had applied an event", |line| line.ends_with("applied"));
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn leave(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_member_of_its_own() {
    let Ok(spec) = std::env::var(MEMBER) else { return };
    let mut spec: Spec = serde_json::from_str(&spec).unwrap();
    if spec.group == Group::Classic {
        // A static member's partitions wait for it as long as its session lasts; of the other group the broker says.
        spec.kafka.properties.0.insert("session.timeout.ms".into(), "6000".into());
    }
    let topic = &spec.kafka.topics.events;
    let _runtime = runtime().enter();
    let writer: Box<dyn StateBackend> = match &spec.place {
        At::Folder(dir) => Box::new(StateStore::open(dir, topic, &StoreConfig::default()).unwrap().1),
        At::Valkey(config) => Box::new(ValkeyStore::open(config, topic, &StoreConfig::default()).unwrap().1),
    };
    let settings = spec.settings();
    let (service, handle) = consumer::Service::new(consumer::Options {
        erasures: None,
        source: Box::new(KafkaSource::member(&spec.kafka, topic, settings.membership().as_ref()).unwrap()),
        writer,
        dead_letters: DeadLetters::new(
            Arc::new(KafkaSink::patient(&spec.kafka).unwrap()),
            spec.kafka.topics.dead_letters.as_str(),
        ),
        config: settings,
    });
    let drain = CancellationToken::new();
    let leave = drain.clone();
    // Told to leave, or left behind.
    thread::spawn(move || {
        let _ = std::io::stdin().lines().count();
        leave.cancel();
    });
    runtime().block_on(async {
        let running = tokio::spawn(service.run(drain.clone()));
        let (mut told, mut ticks) = (false, 0u32);
        while !drain.is_cancelled() && !running.is_finished() {
            let status = handle.status();
            if !told && status.applied + status.session_only + status.duplicates > 0 {
                told = true;
                println!("applied");
            }
            if ticks.is_multiple_of(25) {
                println!("at {}", status.partitions.iter().map(|at| at.next).sum::<i64>());
            }
            ticks += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running.await.unwrap().unwrap();
    });
}

/// Made now: a broker may forget what is older than its retention.
fn now(config: &KafkaConfig, event: &Event) -> endcap_live::Message {
    endcap_live::Message { timestamp: None, ..message(&config.topics.events, event) }
}

fn report(name: &str, figures: serde_json::Value) {
    println!("{name}: {figures}");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/faults");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("{name}.json")), format!("{figures:#}\n")).unwrap();
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted.get(((sorted.len() as f64 - 1.0) * share).round() as usize).copied().unwrap_or_default()
}

/// Fault 1: a consumer is killed at random while events stream, and started again.
fn kill_9(name: &str, brokers: &str, group: Group, place: At, (count, kills): (usize, usize)) {
    let spec = Spec {
        kafka: topics(brokers, name),
        group,
        instance: (group == Group::Classic).then(|| "replica-1".to_owned()),
        place,
    };
    let began = Instant::now();
    let mut random = StdRng::seed_from_u64(1);
    let events = events(1, count);
    let repeated: Vec<_> = events
        .iter()
        .enumerate()
        .flat_map(|(i, event)| std::iter::repeat_n(event.clone(), 1 + usize::from(i % 10 == 0)))
        .collect();
    let sink = KafkaSink::patient(&spec.kafka).unwrap();
    let mut places = Vec::with_capacity(repeated.len());
    let (mut first, mut killed) = (Vec::new(), None::<Instant>);
    for (round, chunk) in repeated.chunks(repeated.len().div_ceil(kills + 1)).enumerate() {
        let member = Member::start(&spec);
        let after = Duration::from_millis(random.random_range(1..200));
        thread::scope(|scope| {
            // Sent in pieces, so that the kill falls between any two.
            let sent = scope.spawn(|| {
                let mut places = Vec::with_capacity(chunk.len());
                for piece in chunk.chunks(chunk.len().div_ceil(40)) {
                    places.extend(send(&sink, piece.iter().map(|event| now(&spec.kafka, event))));
                    thread::sleep(Duration::from_millis(3));
                }
                places
            });
            member.wait_until_applied();
            first.extend(killed.map(|at| at.elapsed().as_secs_f64() * 1e3));
            if round < kills {
                thread::sleep(after);
                killed = Some(Instant::now());
                member.kill();
                places.extend(sent.join().unwrap());
            } else {
                places.extend(sent.join().unwrap());
                let all = format!("at {}", repeated.len());
                member.wait_until(&all, |line| line == all);
                member.leave();
            }
        });
    }
    first.sort_by(f64::total_cmp);
    let equal = spec.digest() == digest_of(by_partition(&repeated, &places));
    report(
        name,
        serde_json::json!({
            "fault": 1, "events": count, "records": repeated.len(), "kills": kills, "state_hash_equal": equal,
            "kill_to_first_applied_ms": {
                "p50": quantile(&first, 0.5), "p99": quantile(&first, 0.99), "max": quantile(&first, 1.0),
            },
            "seconds": began.elapsed().as_secs_f64(),
        }),
    );
    assert!(equal, "{name}: another state");
}

#[test]
#[ignore = "half an hour; the short form is in tests/kafka.rs"]
fn fault_1_kill_9_embedded() {
    let Some(broker) = broker() else { return };
    let dir = tempfile::tempdir().unwrap();
    let brokers = &broker.as_ref().unwrap().addresses;
    let place = At::Folder(dir.path().to_owned());
    kill_9("kill-9-embedded", brokers, Group::None, place, (1_000_000, times(100, 100)));
}

#[test]
fn fault_1_kill_9_in_a_classic_group_over_redis() {
    let (Some(broker), Some(server)) = (broker(), Server::one()) else { return skipped() };
    let brokers = &broker.as_ref().unwrap().addresses;
    let sizes = (size(6_000, 1_000_000), times(3, 100));
    kill_9("kill-9-classic", brokers, Group::Classic, At::Valkey(server.place().0), sizes);
}

#[test]
fn fault_1_kill_9_in_a_broker_dealt_group_over_a_cluster() {
    let (Some(broker), Some(server)) = (broker(), Server::cluster()) else { return skipped() };
    let brokers = &broker.as_ref().unwrap().addresses;
    // A dynamic member that was killed keeps its partitions until its session is over: six seconds each time.
    let sizes = (size(3_000, 1_000_000), times(1, 100));
    kill_9("kill-9-consumer", brokers, Group::Consumer, At::Valkey(server.place().0), sizes);
}

/// Fault 2: each event is delivered three times, shuffled inside the window.
#[test]
fn fault_2_each_event_three_times_shuffled() {
    let (Some(broker), Some(server)) = (broker(), Server::one()) else { return skipped() };
    let brokers = &broker.as_ref().unwrap().addresses;
    let dir = tempfile::tempdir().unwrap();
    let events = events(2, size(3_000, 200_000));
    let mut delivered: Vec<&Event> = events.iter().flat_map(|event| [event; 3]).collect();
    let mut random = StdRng::seed_from_u64(2);
    for window in delivered.chunks_mut(3_000) {
        window.shuffle(&mut random);
    }
    let expected = digest_of(events.iter().map(|event| (0, event)));
    let places = [("embedded", At::Folder(dir.path().to_owned())), ("redis", At::Valkey(server.place().0))];
    for (name, place) in places {
        let name = format!("three-times-{name}");
        let spec = Spec { kafka: topics(brokers, &name), group: Group::None, instance: None, place };
        let sink = KafkaSink::patient(&spec.kafka).unwrap();
        let member = Member::start(&spec);
        for piece in delivered.chunks(5_000) {
            send(&sink, piece.iter().map(|event| now(&spec.kafka, event)));
        }
        let all = format!("at {}", delivered.len());
        member.wait_until(&all, |line| line == all);
        member.leave();
        let equal = spec.digest() == expected;
        report(
            &name,
            serde_json::json!({"fault": 2, "events": events.len(), "delivered": delivered.len(), "state_hash_equal": equal}),
        );
        assert!(equal, "{name}: another state");
    }
}

/// Fault 5: consumers join and leave under load; every other one is killed.
fn come_and_go(
    name: &str,
    brokers: &str,
    group: Group,
    valkey: ValkeyConfig,
    (count, turns): (usize, usize),
) {
    let began = Instant::now();
    let spec = Spec { kafka: topics(brokers, name), group, instance: None, place: At::Valkey(valkey) };
    // A name for each: a static member that leaves for good is missed only when its session is over.
    let named = |number: usize| Spec {
        instance: (group == Group::Classic).then(|| format!("replica-{number}")),
        ..spec.clone()
    };
    let events = events(5, count);
    let sink = KafkaSink::patient(&spec.kafka).unwrap();
    let stays = Member::start(&named(0));
    let mut joined = 0;
    let mut places = Vec::with_capacity(count);
    for (turn, chunk) in events.chunks(count.div_ceil(turns + 1)).enumerate() {
        if turn == turns {
            places.extend(send(&sink, chunk.iter().map(|event| now(&spec.kafka, event))));
            break;
        }
        let comes = Member::start(&named(1));
        // What is left of the chunk waits until the newcomer was given partitions: then there is something to lose.
        let mut given = false;
        for piece in chunk.chunks(chunk.len().div_ceil(40)) {
            places.extend(send(&sink, piece.iter().map(|event| now(&spec.kafka, event))));
            let pause = Instant::now() + Duration::from_millis(if given { 5 } else { 300 });
            while let Ok(line) = comes.said.recv_timeout(pause.saturating_duration_since(Instant::now())) {
                if line.ends_with("applied") {
                    given = true;
                    break;
                }
            }
        }
        joined += usize::from(given);
        if turn % 2 == 0 { comes.leave() } else { comes.kill() }
    }
    let deadline = Instant::now() + PATIENCE;
    while spec.flushed() < count as i64 {
        assert!(Instant::now() < deadline, "{name}: {} of {count} were flushed", spec.flushed());
        thread::sleep(Duration::from_millis(200));
    }
    stays.leave();
    let equal = spec.digest() == digest_of(by_partition(&events, &places));
    report(
        name,
        serde_json::json!({
            "fault": 5, "events": count, "joined_and_left": turns, "applied_events_meanwhile": joined,
            "killed": turns / 2, "state_hash_equal": equal,
            "seconds": began.elapsed().as_secs_f64(),
        }),
    );
    assert!(equal, "{name}: another state");
    assert!(2 * joined >= turns, "{name}: only {joined} of {turns} were given partitions in time");
}

#[test]
fn fault_5_consumers_of_a_classic_group_come_and_go() {
    let (Some(broker), Some(server)) = (broker(), Server::cluster()) else { return skipped() };
    let brokers = &broker.as_ref().unwrap().addresses;
    let sizes = (size(4_000, 200_000), times(1, 20));
    come_and_go("come-and-go-classic", brokers, Group::Classic, server.place().0, sizes);
}

#[test]
fn fault_5_consumers_of_a_broker_dealt_group_come_and_go() {
    let (Some(broker), Some(server)) = (broker(), Server::one()) else { return skipped() };
    let brokers = &broker.as_ref().unwrap().addresses;
    let sizes = (size(4_000, 200_000), times(1, 20));
    come_and_go("come-and-go-consumer", brokers, Group::Consumer, server.place().0, sizes);
}

/// Fault 13: who writes the state is killed, also inside a snapshot.
#[test]
fn fault_13_the_state_is_whole_whenever_its_writer_is_killed() {
    report("kill-9-snapshot", suite::snapshot::kill_writers(size(20, 300)));
}

#[test]
fn a_writer_of_its_own() {
    suite::snapshot::child();
}

/// Fault 4: the broker is away for more than a minute.
#[test]
#[ignore = "70 seconds; in the short form, in tests/mock.rs, the broker is as long away as the test takes"]
fn fault_4_no_impression_is_lost_in_70_seconds() {
    let away = Duration::from_secs(70);
    runtime().block_on(async {
        tokio::spawn(suite::outage::no_impression_is_lost(away)).await.unwrap();
    });
    report(
        "impressions-outage",
        serde_json::json!({ "fault": 4, "seconds_away": 70, "impressions_lost": 0 }),
    );
}

#[test]
#[ignore = "minutes; the short form is part of tests/kafka.rs"]
fn fault_6_one_record_of_a_hundred_is_poison() {
    let Some(broker) = broker() else { return };
    let began = Instant::now();
    let config = topics(&broker.as_ref().unwrap().addresses, "poison-long");
    let count = 200_000;
    runtime().block_on(async {
        tokio::spawn(async move { suite::poison::poison_stalls_nothing(&config, count).await })
            .await
            .unwrap();
    });
    report(
        "poison",
        serde_json::json!({
            "fault": 6, "events": count, "dead_letters": count / 100, "state_hash_equal": true,
            "seconds": began.elapsed().as_secs_f64(),
        }),
    );
}

#[test]
#[ignore = "minutes; the short form is a test of tests/mock.rs"]
fn fault_7_a_state_that_cannot_follow_bounds_memory() {
    let Some(broker) = broker() else { return };
    let config = topics(&broker.as_ref().unwrap().addresses, "backpressure-long");
    let count = 100_000;
    runtime().block_on(async {
        let paused = suite::backpressure::a_state_that_cannot_follow_pauses_reading;
        tokio::spawn(async move { paused(&config, count).await }).await.unwrap();
    });
    report("backpressure", serde_json::json!({ "fault": 7, "events": count, "state_hash_equal": true }));
}

/// Of three brokers each is killed in turn while events stream: what was acknowledged is there, once.
#[test]
#[ignore = "a minute, and three brokers"]
fn brokers_of_three_die_in_turn() {
    let Some(kafka) = Kafka::start(3, None) else { return };
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let spec = Spec {
        kafka: topics(&kafka.addresses, "broker-loss"),
        group: Group::None,
        instance: None,
        place: At::Folder(dir.path().to_owned()),
    };
    let member = Member::start(&spec);
    let sink = KafkaSink::patient(&spec.kafka).unwrap();
    let events = events(3, 300_000);
    let places = thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let mut places = Vec::with_capacity(events.len());
            for piece in events.chunks(1_000) {
                places.extend(send(&sink, piece.iter().map(|event| now(&spec.kafka, event))));
                thread::sleep(Duration::from_millis(100));
            }
            places
        });
        for broker in 1..=3 {
            thread::sleep(Duration::from_secs(3));
            kafka.kill(broker);
            thread::sleep(Duration::from_secs(5));
            kafka.start_again();
        }
        sent.join().unwrap()
    });
    let all = format!("at {}", events.len());
    member.wait_until(&all, |line| line == all);
    member.leave();
    let equal = spec.digest() == digest_of(by_partition(&events, &places));
    report(
        "broker-loss",
        serde_json::json!({
            "brokers": 3, "killed_in_turn": 3, "events": events.len(), "state_hash_equal": equal,
            "seconds": began.elapsed().as_secs_f64(),
        }),
    );
    assert!(equal, "another state");
}

/// The network between a consumer, its Kafka and its Redis is slow, then cut, then well again; each in turn.
#[test]
#[ignore = "minutes, and Toxiproxy, which is built first"]
fn the_network_is_slow_and_cut() {
    let Some(server) = Server::one() else { return skipped() };
    let network = Toxiproxy::start();
    let mut valkey = server.place().0;
    valkey.addresses = network.tell("add", "redis", &[&valkey.addresses]);
    let listens = network.tell("add", "kafka", &["127.0.0.1:1"]);
    let Some(kafka) = Kafka::start(1, Some(&listens)) else { return };
    network.tell("point", "kafka", &[&kafka.addresses]);
    let began = Instant::now();
    let spec = Spec {
        kafka: topics(&listens, "network"),
        group: Group::Classic,
        instance: Some("replica-1".to_owned()),
        place: At::Valkey(valkey),
    };
    let events = events(4, 100_000);
    let member = Member::start(&spec);
    let mut sender = spec.kafka.clone();
    sender.delivery_timeout_ms = 120_000;
    let sink = KafkaSink::patient(&sender).unwrap();
    let mut steps = BTreeMap::new();
    let places = thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let mut places = Vec::with_capacity(events.len());
            for piece in events.chunks(500) {
                places.extend(send(&sink, piece.iter().map(|event| now(&spec.kafka, event))));
                thread::sleep(Duration::from_millis(100));
            }
            places
        });
        for name in ["redis", "kafka"] {
            for (verb, more, undone, seconds) in
                [("slow", &["100", "50"] as &[&str], "fast", 8), ("cut", &[], "mend", 10)]
            {
                thread::sleep(Duration::from_secs(2));
                network.tell(verb, name, more);
                thread::sleep(Duration::from_secs(seconds));
                network.tell(undone, name, &[]);
                steps.insert(format!("{name} {verb}"), seconds);
            }
        }
        sent.join().unwrap()
    });
    let all = format!("at {}", events.len());
    member.wait_until(&all, |line| line == all);
    member.leave();
    let equal = spec.digest() == digest_of(by_partition(&events, &places));
    report(
        "network",
        serde_json::json!({
            "seconds_of": steps, "events": events.len(), "state_hash_equal": equal,
            "seconds": began.elapsed().as_secs_f64(),
        }),
    );
    assert!(equal, "another state");
}
