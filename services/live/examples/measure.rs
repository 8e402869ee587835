//! Measures the live path beside bare librdkafka, on the broker in this process or a real one:
//!
//! ```text
//! cargo run --release -p endcap-live --example measure -- visible|applied|decode mock|host:port [count] [fetch_wait_ms]
//! ```
//!
//! `decode`: nanoseconds to read one event where it lies, and to decode it whole; needs no broker.
//! `visible`: from handing an event to the client until a read of the state shows it, and until a bare
//! consumer has it. `applied`: CPU seconds and wall time for a backlog, state flushed every second,
//! and for a bare `BaseConsumer` that counts bytes. Figures of a machine that does other things are a guide.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use endcap_live::{
    DeadLetters, EventSink, KafkaConfig, KafkaSink, KafkaSource, Message, MockBroker, StateStore,
    StoreConfig, Topics, consumer, kafka::create_topics,
};
use endcap_proto::{Event, EventTime, EventView, VisitorKey, v1};
use endcap_recommend::StateReader;
use futures::FutureExt as _;
use prost::Message as _;
use rand::{Rng, SeedableRng, rngs::StdRng};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const PARTITIONS: u16 = 8;
const TOPIC: &str = "events";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize| arguments.get(i).map(String::as_str);
    if argument(0) == Some("decode") {
        return decode();
    }
    let (_broker, mut config) = match argument(1) {
        None | Some("mock") => {
            let broker = MockBroker::start(PARTITIONS)?;
            let config = broker.config().clone();
            (Some(broker), config)
        }
        Some(brokers) => {
            let topics = Topics::prefixed(&format!("measure-{}-", std::process::id()));
            (None, KafkaConfig { topics, ..KafkaConfig::new(brokers) })
        }
    };
    if let Some(wait) = argument(3) {
        config.fetch_wait_ms = wait.parse()?;
    }
    if config.create_topics.enabled {
        create_topics(&config).await?;
    }
    let count = argument(2).map(str::parse).transpose()?;
    match argument(0) {
        Some("visible") => visible(&config, count.unwrap_or(2000)).await,
        Some("applied") => applied(&config, count.unwrap_or(120_000)).await,
        _ => Err("visible, applied or decode?".into()),
    }
}

/// One event of about 300 bytes, again and again.
fn decode() -> Result<()> {
    let bytes = event(1, 1, now()).encode_to_vec();
    let rounds = 1_000_000u32;
    let time = |what: &str, each: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        let began = Instant::now();
        for _ in 0..rounds {
            each()?;
        }
        println!(
            "{what}: {:.0} ns an event of {} bytes",
            began.elapsed().as_nanos() as f64 / f64::from(rounds),
            bytes.len()
        );
        Ok(())
    };
    for _ in 0..3 {
        time("read where it lies", &mut || {
            std::hint::black_box(EventView::from_bytes(std::hint::black_box(&bytes))?);
            Ok(())
        })?;
        time("decoded whole", &mut || {
            std::hint::black_box(Event::try_from(v1::Event::decode(std::hint::black_box(&*bytes))?)?);
            Ok(())
        })?;
    }
    Ok(())
}

/// About 300 bytes.
fn event(i: usize, visitor: usize, time: EventTime) -> v1::Event {
    v1::Event {
        event_id: format!("0190f3c2-7d1e-7c3a-9b52-{i:012}"),
        r#type: v1::EventType::View.into(),
        event_time: Some(time.to_proto()),
        visitor_id: format!("visitor-{visitor:016}"),
        session_id: format!("session-{visitor:016}"),
        items: vec![v1::EventItem { item_id: format!("item-{:08}", i % 50_000), ..Default::default() }],
        page_categories: vec!["Shoes > Boots > Winter".to_owned()],
        placement: "product-page".to_owned(),
        attributes: BTreeMap::from([(
            "user_agent".to_owned(),
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko".to_owned(),
        )]),
        consent: true,
        ..Default::default()
    }
}

fn message(config: &KafkaConfig, event: &v1::Event) -> Message {
    Message::new(config.topics.events.as_str(), event.visitor_id.as_str(), event.encode_to_vec())
}

fn now() -> EventTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    EventTime::clamped(since.as_millis() as i64)
}

/// Produced → visible, one at a time; bare and ours in turns.
async fn visible(config: &KafkaConfig, count: usize) -> Result<()> {
    let sink = Arc::new(KafkaSink::prompt(config)?);
    let dir = tempfile::tempdir()?;
    let running = Running::start(config, dir.path())?;
    running.handle.caught_up().await;
    let (seen, arrivals) = std::sync::mpsc::channel::<Instant>();
    let bare = bare(config)?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let reading = thread::spawn(move || {
        while !stopped.is_cancelled() {
            if let Some(Ok(_)) = bare.poll(Duration::from_millis(50)) {
                let _ = seen.send(Instant::now());
            }
        }
    });
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let cpu = cpu_seconds();
    let began = Instant::now();
    for i in 0..count {
        let event = event(i, i, now());
        let visitor = VisitorKey::of(&event.visitor_id);
        let message = message(config, &event);
        let sent = Instant::now();
        sink.send(message, Box::new(|result| drop(result.map_err(|error| eprintln!("{error}")))));
        while running
            .store
            .read(visitor, None, None)
            .now_or_never()
            .is_none_or(|read| read.is_ok_and(|at| at.state.is_empty()))
        {
            if sent.elapsed() > Duration::from_secs(10) {
                return Err("an event was not visible after 10 s".into());
            }
            thread::sleep(Duration::from_micros(10));
        }
        ours.push(sent.elapsed());
        theirs.push(arrivals.recv_timeout(Duration::from_secs(10))?.saturating_duration_since(sent));
        thread::sleep(Duration::from_millis(2));
    }
    let idle = cpu_seconds();
    thread::sleep(Duration::from_secs(2));
    let idle = cpu_seconds() - idle;
    for (what, times) in [("bare consumer has it", &mut theirs), ("visible in the state", &mut ours)] {
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "{what}: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, of {}",
            at(0.5),
            at(0.9),
            at(0.99),
            times.len()
        );
    }
    println!(
        "fetch_wait_ms {}: CPU {:.0} % of a core under this load, {:.1} % idle (both consumers)",
        config.fetch_wait_ms,
        100.0 * (cpu_seconds() - cpu) / began.elapsed().as_secs_f64(),
        100.0 * idle / 2.0
    );
    stop.cancel();
    reading.join().map_err(|_| "the bare consumer panicked")?;
    running.stop().await
}

/// A backlog, bare and ours.
async fn applied(config: &KafkaConfig, count: usize) -> Result<()> {
    let sink = KafkaSink::patient(config)?;
    let mut random = StdRng::seed_from_u64(1);
    let mut bytes = 0;
    let users: f64 = 1e6;
    let start = now();
    for i in 0..count {
        // Zipf 1.0 over a million: the rank is the million to a uniform power.
        let event = event(i, users.powf(random.random()) as usize, start);
        let message = message(config, &event);
        bytes += message.value.as_ref().map_or(0, Vec::len);
        sink.send(message, Box::new(|result| drop(result.map_err(|error| eprintln!("{error}")))));
        if i % 20_000 == 19_999 {
            sink.flush(Duration::from_secs(30))?;
        }
    }
    sink.flush(Duration::from_secs(30))?;
    println!("{count} events of {} bytes on the average, {PARTITIONS} partitions", bytes / count);
    for round in 0..3 {
        let (cpu, began) = (cpu_seconds(), Instant::now());
        let consumer = bare(config)?;
        let (mut seen, mut total) = (0, 0);
        while seen < count {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                seen += 1;
                total += message.payload_len();
            }
        }
        let theirs = (cpu_seconds() - cpu, began.elapsed());
        drop(consumer);
        assert_eq!(total, bytes);

        let dir = tempfile::tempdir()?;
        let (cpu, began) = (cpu_seconds(), Instant::now());
        let running = Running::start(config, dir.path())?;
        while running.handle.status().applied < count as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let wall = began.elapsed();
        let store = running.store.clone();
        running.stop().await?;
        let ours = (cpu_seconds() - cpu, wall);
        let rate = |(cpu, wall): (f64, Duration)| {
            format!(
                "{:.2} µs CPU an event, {:.0} k/s wall",
                cpu * 1e6 / count as f64,
                count as f64 / wall.as_secs_f64() / 1e3
            )
        };
        println!("round {round}: bare {}", rate(theirs));
        println!(
            "round {round}: ours {}; {:.0} % of its rate by CPU; {} shoppers; {:.0} bytes of disk an event",
            rate(ours),
            100.0 * theirs.0 / ours.0,
            store.shoppers_in_memory(),
            store.disk_bytes() as f64 / count as f64,
        );
    }
    Ok(())
}

/// Our consumer on a store of its own.
struct Running {
    store: StateStore,
    handle: consumer::Handle,
    drain: CancellationToken,
    task: tokio::task::JoinHandle<std::result::Result<(), consumer::Error>>,
}

impl Running {
    fn start(config: &KafkaConfig, dir: &std::path::Path) -> Result<Self> {
        let (store, writer) = StateStore::open(dir, TOPIC, &StoreConfig::default())?;
        let dead_letters =
            DeadLetters::new(Arc::new(KafkaSink::patient(config)?), config.topics.dead_letters.as_str());
        let source = Box::new(KafkaSource::new(config, &config.topics.events)?);
        let options = consumer::Options {
            erasures: None,
            source,
            writer: Box::new(writer),
            dead_letters,
            config: consumer::ConsumerConfig::default(),
        };
        let (service, handle) = consumer::Service::new(options);
        let drain = CancellationToken::new();
        let task = tokio::spawn(service.run(drain.clone()));
        Ok(Self { store, handle, drain, task })
    }

    async fn stop(self) -> Result<()> {
        self.drain.cancel();
        Ok(self.task.await??)
    }
}

/// A consumer that does nothing but read.
fn bare(config: &KafkaConfig) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", config.fetch_wait_ms.to_string())
        .create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&config.topics.events, partition.into(), Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// User and system time of this process, all threads.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> =
        stat.rsplit(") ").next().unwrap_or_default().split(' ').map(|x| x.parse().unwrap_or(0.0)).collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second; two lie before the parenthesis.
    fields.get(11).zip(fields.get(12)).map_or(0.0, |(user, system)| (user + system) / 100.0)
}
