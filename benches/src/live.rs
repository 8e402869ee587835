//! `bench-live`: events applied beside a bare librdkafka consumer that counts bytes, how soon an event is visible beside
//! a bare round trip, and how soon the state is there again after a restart.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use cpu_time::ProcessTime;
use endcap_features::UserState;
use endcap_live::consumer::{self, ConsumerConfig, Options};
use endcap_live::{
    DeadLetters, EventProducer, EventSink, KafkaConfig, KafkaSink, KafkaSource, Place, StateBackend,
    StateStore, StateWriter, StoreConfig, ValkeyConfig, ValkeyStore,
};
use endcap_proto::{Event, EventTime, VisitorId, v1};
use endcap_recommend::StateReader;
use prost::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, PARTITIONS, Script, Which};
use crate::events::{Events, encode};
use crate::measure::{Extent, in_turn, median, memory as of_process, quantile, rate};
use crate::report::{Better, Report, Row};

const SEED: u64 = 11;
const ROUNDS: usize = 5;
const USERS: usize = 1_000_000;
const ITEMS: usize = 100_000;
/// Events of a measurement against a broker that keeps them.
const EVENTS: usize = 400_000;
/// The mock broker keeps 5 MiB of a partition, and the busiest shopper sends one event in fourteen.
const EVENTS_OF_MOCK: usize = 64_000;
const PAIRS: usize = 400;
/// Shoppers read from a shared state in one round.
const READS: usize = 2_000;

/// Some rows of the live path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rows {
    /// What a shopper takes up in memory.
    Memory,
    /// What an event costs before it meets a log or a disk.
    Pure,
    /// Events applied a CPU second.
    Applied,
    /// How soon an event is visible.
    Visible,
    /// The state in Redis.
    Shared,
    /// A start from what lies on disk.
    Restart,
}

/// Measures these rows of the live path.
///
/// # Errors
/// Whatever the broker, the disk or the live path says.
pub fn run(extent: Extent, which: Which<'_>, rows: &[Rows]) -> anyhow::Result<Report> {
    let mut report = Report::new();
    let runtime = tokio::runtime::Runtime::new()?;
    let wanted = |row| rows.contains(&row);
    if wanted(Rows::Memory) {
        // First of all, so that it asks the system for its memory rather than what others have left.
        memory(&mut report, if extent == Extent::Full { USERS } else { 100_000 })?;
    }
    if wanted(Rows::Pure) {
        pure(&mut report);
    }
    if [Rows::Applied, Rows::Visible, Rows::Shared].into_iter().any(wanted) {
        let mut broker = Broker::start(which)?;
        if wanted(Rows::Applied) {
            runtime.block_on(applied(&mut report, &mut broker))?;
        }
        if wanted(Rows::Visible) {
            runtime.block_on(visible(&mut report, &mut broker))?;
        }
        if wanted(Rows::Shared) {
            match Script::start("redis/redis.sh") {
                Ok(redis) => runtime.block_on(shared(&mut report, &mut broker, &redis.addresses))?,
                Err(error) => println!("no rows of a shared state: {error:#}"),
            }
        }
    }
    if wanted(Rows::Restart) {
        restart(&mut report, &runtime, if extent == Extent::Full { USERS } else { 100_000 })?;
    }
    Ok(report)
}

/// Bytes a shopper may take up.
const BYTES_A_SHOPPER: f64 = 1024.0;
/// Events of a shopper whose history is long.
const LONG: usize = 50;

/// What a shopper takes up in memory: five events each on average, most of them of few shoppers; then fifty each.
fn memory(report: &mut Report, users: usize) -> anyhow::Result<()> {
    let limit = |work: String, bytes: f64| {
        Row::beside(work, bytes, BYTES_A_SHOPPER, "the limit", "bytes", Better::Less).bar(1.0)
    };
    // Each shopper once, so that all are there.
    let once = (0..users as u64).map(|number| Some(number + 1));
    let drawn = once.chain(std::iter::repeat_n(None, 4 * users));
    let (writer, resident, _dir) = filled(users, drawn)?;
    let each = |bytes: f64| bytes / users as f64;
    let name = format!("memory a shopper, {}k shoppers, 5 events each", users / 1000);
    report.push(limit(name.clone(), each(writer.bytes() as f64)));
    if let Some(resident) = resident {
        report.push(limit(format!("{name}, as the process grew"), each(resident)));
    }
    let shopper = each(writer.store().shopper_bytes() as f64);
    report.push(Row::alone("… of it the shopper's own entry", shopper, "bytes"));
    drop(writer);

    let long = (0..LONG * 100_000).map(|i| Some((i % 100_000) as u64 + 1));
    let (writer, _, _dir) = filled(100_000, long)?;
    let shopper = writer.store().shopper_bytes() as f64 / 1e5;
    report.push(limit(format!("a shopper's own entry, 100k shoppers, {LONG} events each"), shopper));
    Ok(())
}

/// A state of events that are drawn, of the visitors that are named; and by how many bytes the process grew.
fn filled(
    users: usize,
    visitors: impl Iterator<Item = Option<u64>>,
) -> anyhow::Result<(StateWriter, Option<f64>, tempfile::TempDir)> {
    let dir = tempfile::tempdir()?;
    let resident = || of_process().map(|(now, _)| now as f64);
    let before = resident();
    let (_, mut writer) = StateStore::open(dir.path(), "events", &StoreConfig::default())?;
    let mut events = Events::new(SEED, users, ITEMS);
    for (offset, visitor) in visitors.enumerate() {
        let event = match visitor {
            Some(visitor) => events.next_of(visitor),
            None => events.next(),
        };
        writer.apply(0, offset as i64, &event.context("events do not end")?)?;
        if offset % 100_000 == 99_999 {
            writer.flush()?;
        }
    }
    writer.flush()?;
    let grown = before.zip(resident()).map(|(before, after)| after - before);
    Ok((writer, grown, dir))
}

/// What an event costs before it meets a log or a disk, on one core.
fn pure(report: &mut Report) {
    let time = Duration::from_millis(500);
    let messages: Vec<Vec<u8>> = Events::new(SEED, USERS, ITEMS).take(20_000).map(encode).collect();
    let events: Vec<Event> = Events::new(SEED, USERS, ITEMS).take(20_000).collect();
    let mut states = BTreeMap::<_, UserState>::new();
    let figures = in_turn(
        ROUNDS,
        &mut [
            &mut || {
                rate(time, |i| {
                    let event = v1::Event::decode(&*messages[i % messages.len()]).map(Event::try_from);
                    black_box(event).ok();
                })
            },
            &mut || {
                rate(time, |i| {
                    let event = &events[i % events.len()];
                    states.entry(event.visitor_id.key()).or_default().apply(event);
                })
            },
        ],
    );
    report.push(Row::alone("decode and validate, 300 B", figures[0], "events/s"));
    report.push(Row::alone("apply to a state in memory", figures[1], "events/s"));
}

/// CPU seconds from the topic's beginning to its end, by consumer.
async fn applied(report: &mut Report, broker: &mut Broker) -> anyhow::Result<()> {
    let (config, messages) = produced(broker, "applied").await?;
    let events = messages.len();
    let bytes: usize = messages.iter().map(|(_, value)| value.len()).sum();

    let (mut ours, mut bare, mut disk) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir()?;
        let start = ProcessTime::now();
        let (store, writer) = StateStore::open(dir.path(), &config.topics.events, &StoreConfig::default())?;
        let live = Live::start(&config, Box::new(writer))?;
        live.caught_up().await?;
        let status = live.handle.status();
        live.stop().await?;
        ours.push(events as f64 / start.elapsed().as_secs_f64());
        ensure!(
            status.applied as usize == events,
            "{} of {events} events were applied: {status:?}",
            status.applied
        );
        disk = store.disk_bytes();

        let start = ProcessTime::now();
        let counted = count_bytes(&config, events)?;
        bare.push(events as f64 / start.elapsed().as_secs_f64());
        ensure!(counted >= bytes, "{counted} of {bytes} bytes were read");
    }
    let peer = format!("bare consumer, {}", broker.name());
    let unit = "events per CPU second";
    let row = Row::beside("applied", median(ours), median(bare), &peer, unit, Better::More);
    report.push(row.bar(0.35));
    report.push(Row::alone("state on disk, per event", disk as f64 / events as f64, "bytes"));
    Ok(())
}

/// A topic that holds the events to be applied.
async fn produced(broker: &mut Broker, name: &str) -> anyhow::Result<(KafkaConfig, Vec<(String, Vec<u8>)>)> {
    let config = broker.topics(name).await?;
    let count = if broker.keeps_everything() { EVENTS } else { EVENTS_OF_MOCK };
    let messages: Vec<(String, Vec<u8>)> = Events::new(SEED, USERS, ITEMS)
        .take(count)
        .map(|event| (event.visitor_id.as_str().to_owned(), encode(event)))
        .collect();
    produce(&config, &messages)?;
    Ok((config, messages))
}

/// The same with the state in Redis: for information, without a bar.
async fn shared(report: &mut Report, broker: &mut Broker, redis: &str) -> anyhow::Result<()> {
    let (config, messages) = produced(broker, "shared").await?;
    let valkey = ValkeyConfig { addresses: redis.to_owned(), ..ValkeyConfig::default() };
    let (store, writer) = ValkeyStore::open(&valkey, &config.topics.events, &StoreConfig::default())?;
    let (start, wall) = (ProcessTime::now(), Instant::now());
    let live = Live::start(&config, Box::new(writer))?;
    live.caught_up().await?;
    let status = live.handle.status();
    live.stop().await?;
    ensure!(status.applied as usize == messages.len(), "not all events were applied: {status:?}");
    let count = messages.len() as f64;
    let cpu = count / start.elapsed().as_secs_f64();
    report.push(Row::alone("applied, state in Redis", cpu, "events per CPU second"));
    report.push(Row::alone("applied, state in Redis", count / wall.elapsed().as_secs_f64(), "events/s"));

    // A shopper's read beside the smallest question to the same server.
    let visitors: Vec<_> =
        (0..READS).map(|i| VisitorId::new(&*messages[i * 7 % messages.len()].0)).collect::<Result<_, _>>()?;
    let client = redis::Client::open(format!("redis://{redis}/"))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (mut reads, mut gets) = (Vec::with_capacity(READS), Vec::with_capacity(READS));
        for visitor in &visitors {
            let start = Instant::now();
            let read = store.read(visitor.key(), None, None).await?;
            reads.push(start.elapsed().as_secs_f64() * 1e3);
            ensure!(!read.state.is_empty(), "{} is not there", visitor.as_str());
            let start = Instant::now();
            let _: Option<Vec<u8>> =
                redis::cmd("GET").arg("no such key").query_async(&mut connection).await?;
            gets.push(start.elapsed().as_secs_f64() * 1e3);
        }
        ours.push(quantile(&reads, 0.5));
        bare.push(quantile(&gets, 0.5));
    }
    let (ours, bare) = (median(ours), median(bare));
    report.push(Row::beside(
        "a shopper read from Redis, p50",
        ours,
        bare,
        "GET of nothing",
        "ms",
        Better::Less,
    ));
    Ok(())
}

/// One consumer at work.
struct Live {
    handle: consumer::Handle,
    drain: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), consumer::Error>>,
}

impl Live {
    fn start(config: &KafkaConfig, writer: Box<dyn StateBackend>) -> anyhow::Result<Self> {
        let topic = &config.topics.events;
        let letters: Arc<dyn EventSink> = Arc::new(KafkaSink::patient(config)?);
        let (service, handle) = consumer::Service::new(Options {
            source: Box::new(KafkaSource::new(config, topic)?),
            writer,
            dead_letters: DeadLetters::new(letters, &*config.topics.dead_letters),
            config: ConsumerConfig::default(),
            erasures: None,
        });
        let drain = CancellationToken::new();
        let running = tokio::spawn(service.run(drain.clone()));
        Ok(Self { handle, drain, running })
    }

    /// Waits until what is in the topic has been applied.
    async fn caught_up(&self) -> anyhow::Result<()> {
        let caught_up = tokio::time::timeout(Duration::from_secs(60), self.handle.caught_up()).await;
        let late = || format!("not caught up after 60 s: {:?}", self.handle.status());
        ensure!(caught_up.with_context(late)?, "the consumer ended");
        Ok(())
    }

    /// Waits until readers see what lies there.
    async fn reached(&self, place: &Place) -> anyhow::Result<()> {
        let reached = tokio::time::timeout(Duration::from_secs(10), self.handle.reached(place)).await;
        ensure!(
            reached.with_context(|| format!("{place:?} is not visible after 10 s"))?,
            "the consumer ended"
        );
        Ok(())
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.drain.cancel();
        Ok((&mut self.running).await??)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Where something went wrong in between: the consumer's thread would keep the program.
        self.drain.cancel();
    }
}

fn client(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("fetch.wait.max.ms", config.fetch_wait_ms.to_string());
    client
}

fn produce(config: &KafkaConfig, messages: &[(String, Vec<u8>)]) -> anyhow::Result<()> {
    let producer: BaseProducer =
        client(config).set("linger.ms", "20").set("queue.buffering.max.messages", "1000000").create()?;
    for (key, value) in messages {
        let record = BaseRecord::to(&config.topics.events).key(key).payload(value);
        producer.send(record).map_err(|(error, _)| error)?;
        producer.poll(Duration::ZERO);
    }
    Ok(producer.flush(Duration::from_secs(60))?)
}

/// The peer: librdkafka and nothing else, on every partition, from its beginning or its end.
fn bare_consumer(config: &KafkaConfig, from_end: bool) -> anyhow::Result<BaseConsumer> {
    let topic = &config.topics.events;
    let consumer: BaseConsumer = client(config)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..i32::from(PARTITIONS) {
        let (first, end) = consumer.fetch_watermarks(topic, partition, Duration::from_secs(10))?;
        all.add_partition_offset(topic, partition, Offset::Offset(if from_end { end } else { first }))?;
    }
    consumer.assign(&all)?;
    Ok(consumer)
}

fn count_bytes(config: &KafkaConfig, messages: usize) -> anyhow::Result<usize> {
    let consumer = bare_consumer(config, false)?;
    let mut bytes = 0;
    for _ in 0..messages {
        let message = consumer.poll(Duration::from_secs(10)).context("no message for 10 s")??;
        bytes += message.payload_len();
    }
    Ok(bytes)
}

/// From handing an event to the client until readers see it, and until a bare consumer has it: in alternating runs.
async fn visible(report: &mut Report, broker: &mut Broker) -> anyhow::Result<()> {
    let config = broker.topics("visible").await?;
    let dir = tempfile::tempdir()?;
    let (store, writer) = StateStore::open(dir.path(), &config.topics.events, &StoreConfig::default())?;
    let live = Live::start(&config, Box::new(writer))?;
    live.caught_up().await?;
    let sink: Arc<dyn EventSink> = Arc::new(KafkaSink::prompt(&config)?);
    let producer = EventProducer::new(sink, &*config.topics.events);

    // One shopper, so one partition, whose offsets are known beforehand.
    let now =
        || EventTime::clamped(std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64));
    let visitor = VisitorId::new(Events::visitor(1))?;
    let mut events =
        Events::new(SEED, 1, ITEMS).map(|event| Event { visitor_id: visitor.clone(), time: now(), ..event });
    let mut next = move || events.next().context("events do not end");
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..2 * ROUNDS {
        let mut figures = Vec::with_capacity(PAIRS);
        if round % 2 == 0 {
            let mut last = producer.write(vec![next()?]).await?.pop().context("one event, one place")?;
            live.reached(&last).await?;
            for _ in 0..PAIRS {
                let event = next()?;
                let (producer, expected) =
                    (producer.clone(), Place { offset: last.offset + 1, ..last.clone() });
                let start = Instant::now();
                let delivered = tokio::spawn(async move { producer.write(vec![event]).await });
                live.reached(&expected).await?;
                figures.push(start.elapsed().as_secs_f64() * 1e3);
                last = delivered.await??.pop().context("one event, one place")?;
                ensure!(last == expected, "the event went to {last:?}, not to {expected:?}");
            }
        } else {
            let events: Vec<Vec<u8>> = (0..PAIRS).map(|_| next().map(encode)).collect::<Result<_, _>>()?;
            let round_trips = config.clone();
            figures = tokio::task::spawn_blocking(move || bare_round_trips(&round_trips, &events)).await??;
        }
        let side = if round % 2 == 0 { &mut ours } else { &mut bare };
        side.push([0.5, 0.99].map(|share| quantile(&figures, share)));
    }
    let state = store.read(visitor.key(), None, None).await?;
    ensure!(!state.state.is_empty(), "readers do not see the shopper");
    live.stop().await?;

    let peer = format!("bare round trip, {}", broker.name());
    for (place, name, more) in [(0, "p50", 1.0), (1, "p99", 5.0)] {
        let of = |side: &[[f64; 2]]| median(side.iter().map(|figures| figures[place]).collect());
        let (ours, bare) = (of(&ours), of(&bare));
        let mut row = Row::beside(format!("visible {name}"), ours, bare, &peer, "ms", Better::Less);
        // The bar is a difference: the peer's time and so many milliseconds, over ours.
        row.peer_name += &format!("; ratio allows it {more} ms more");
        row.ratio = Some((bare + more) / ours);
        report.push(row.bar(1.0));
    }
    Ok(())
}

/// The peer: producer and consumer of librdkafka with nothing between them, one message at a time.
fn bare_round_trips(config: &KafkaConfig, messages: &[Vec<u8>]) -> anyhow::Result<Vec<f64>> {
    let key = Events::visitor(1);
    let producer: BaseProducer =
        client(config).set("linger.ms", "0").set("enable.idempotence", "true").create()?;
    let consumer = bare_consumer(config, true)?;
    let mut figures = Vec::with_capacity(messages.len());
    // The first one only opens connections.
    for message in messages.first().into_iter().chain(messages) {
        let start = Instant::now();
        let record = BaseRecord::to(&config.topics.events).key(&key).payload(message);
        producer.send(record).map_err(|(error, _)| error)?;
        let got = consumer.poll(Duration::from_secs(10)).context("no message for 10 s")??;
        figures.push(start.elapsed().as_secs_f64() * 1e3);
        ensure!(got.payload() == Some(message), "another message came");
        producer.poll(Duration::ZERO);
    }
    figures.remove(0);
    producer.flush(Duration::from_secs(10))?;
    Ok(figures)
}

/// From a state on disk to the first answer from it, beside reading the files' bytes.
fn restart(report: &mut Report, runtime: &tokio::runtime::Runtime, users: usize) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let config = StoreConfig::default();
    let (store, mut writer) = StateStore::open(dir.path(), "events", &config)?;
    let mut events = Events::new(SEED, users, ITEMS);
    for offset in 0..5 * users {
        let event = events.next_of((offset % users) as u64).context("events do not end")?;
        writer.apply(0, offset as i64, &event)?;
        if offset % 100_000 == 99_999 {
            writer.flush()?;
        }
    }
    writer.flush()?;
    drop((writer, store));
    let visitor = VisitorId::new(Events::visitor(users as u64 / 2))?.key();
    let open = || -> anyhow::Result<f64> {
        let start = Instant::now();
        let (store, _writer) = StateStore::open(dir.path(), "events", &config)?;
        let state = runtime.block_on(store.read(visitor, None, None))?;
        // Closing is no part of it.
        let elapsed = start.elapsed().as_secs_f64() * 1e3;
        ensure!(!state.state.is_empty(), "the shopper is not there");
        Ok(elapsed)
    };
    let mut failed = None;
    let figures = in_turn(
        ROUNDS,
        &mut [
            &mut || {
                open().unwrap_or_else(|error| {
                    failed = Some(error);
                    f64::NAN
                })
            },
            &mut || {
                let start = Instant::now();
                black_box(read_all(dir.path())).ok();
                start.elapsed().as_secs_f64() * 1e3
            },
        ],
    );
    if let Some(error) = failed {
        return Err(error);
    }
    let work = format!("restart {}k users", users / 1000);
    report.push(Row::beside(work, figures[0], figures[1], "reading the bytes", "ms", Better::Less).bar(0.2));
    Ok(())
}

fn read_all(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => read_all(&entry.path())?,
            false => black_box(std::fs::read(entry.path())?).len() as u64,
        };
    }
    Ok(bytes)
}
