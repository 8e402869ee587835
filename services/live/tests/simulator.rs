//! A seeded simulator: the real consumer and the real store over a log in memory that crashes, repeats
//! and reorders. Whatever happens, the state is that of an undisturbed run.

mod place;
mod world;

use std::{sync::Arc, time::Duration};

use endcap_live::{
    DeadLetters, EventSource, MemoryLog, MemorySource, PartitionBounds, PartitionOffset, Record, SourceError,
    StateStore, StoreConfig, consumer,
};
use endcap_proto::Event;
use place::{Folder, Opened, Place, Server, skipped};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio_util::sync::CancellationToken;
use world::{apply, digest_of, events, message};

/// Hands out random bites, and dies after `left` records.
struct Dying {
    inner: MemorySource,
    random: StdRng,
    left: usize,
    drain: CancellationToken,
}

impl EventSource for Dying {
    fn topic(&self) -> &Arc<str> {
        self.inner.topic()
    }

    fn bounds(&mut self) -> Result<Vec<PartitionBounds>, SourceError> {
        self.inner.bounds()
    }

    fn assign(&mut self, from: &[PartitionOffset]) -> Result<(), SourceError> {
        self.inner.assign(from)
    }

    fn poll(
        &mut self,
        limit: usize,
        _: Duration,
        each: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, SourceError> {
        if self.left == 0 {
            let topic = self.inner.topic().clone();
            return Err(SourceError::Failed { topic, brokers: "memory".into(), reason: "power cut".into() });
        }
        let bite = self.random.random_range(1..=60).min(limit).min(self.left);
        let taken = self.inner.poll(bite, Duration::ZERO, each)?;
        self.left -= taken;
        if self.inner.at_end() {
            self.drain.cancel();
        }
        Ok(taken)
    }

    fn pause(&mut self, paused: bool) -> Result<(), SourceError> {
        self.inner.pause(paused)
    }

    fn at_end(&self) -> bool {
        self.inner.at_end()
    }

    fn ends(&self) -> Vec<PartitionOffset> {
        self.inner.ends()
    }
}

/// Runs the consumer over the log, dying and starting again until everything is applied.
async fn survive(place: &dyn Place, log: &MemoryLog, seed: u64) -> (u64, consumer::ConsumerStatus) {
    let mut random = StdRng::seed_from_u64(seed);
    let records: i64 = log.source("events").bounds().unwrap().iter().map(|at| at.end).sum();
    loop {
        // From a snapshot at every flush to none at all.
        let snapshot_after_bytes = 1 << random.random_range(0..20);
        let config = StoreConfig { snapshot_after_bytes, ..StoreConfig::default() };
        let Opened { writer, digest, .. } = place.open(&config);
        let drain = CancellationToken::new();
        let left = random.random_range(1..=records as usize);
        let source = Dying {
            inner: log.source("events"),
            random: StdRng::seed_from_u64(random.random()),
            left,
            drain: drain.clone(),
        };
        let config = consumer::ConsumerConfig {
            flush_interval_ms: random.random_range(0..10),
            flush_records: random.random_range(1..200),
            ..consumer::ConsumerConfig::default()
        };
        let dead_letters = DeadLetters::new(Arc::new(log.clone()), "dead-letters");
        let options =
            consumer::Options { source: Box::new(source), writer, dead_letters, erasures: None, config };
        let (service, handle) = consumer::Service::new(options);
        match service.run(drain).await {
            Ok(()) => return (digest(), handle.status()),
            Err(consumer::Error::Source(_)) => {}
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}

fn log_of<'a>(events: impl IntoIterator<Item = &'a Event>) -> MemoryLog {
    let log = MemoryLog::new(&[("events", 3), ("dead-letters", 1)]);
    for event in events {
        log.append(message("events", event)).unwrap();
    }
    log
}

/// Mixes the order up, each event moving at most `reach` places or so.
fn shuffle(events: &mut [&Event], reach: usize, random: &mut StdRng) {
    for chunk in events.chunks_mut(reach) {
        chunk.shuffle(random);
    }
}

/// Every event three times, out of order, with crashes at random, over places that nothing is kept in yet.
async fn disturb(places: &dyn Fn() -> Box<dyn Place>, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut random = StdRng::seed_from_u64(seed);
        let events = events(seed, 1500);
        let expected = digest_of(events.iter().map(|event| (0, event)));
        let mut disturbed: Vec<_> = events.iter().flat_map(|event| [event; 3]).collect();
        shuffle(&mut disturbed, 300, &mut random);
        let (digest, status) = survive(&*places(), &log_of(disturbed), seed).await;
        assert_eq!(digest, expected, "seed {seed}: another state; {status:?}");
        assert_eq!((status.late, status.dead_letters.lost, status.caught_up), (0, 0, true), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_repeats_and_disorder_leave_the_state_of_an_undisturbed_run() {
    disturb(&|| Box::new(Folder::new()), 0..8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_repeats_and_disorder_leave_the_same_state_in_redis() {
    let Some(server) = Server::one() else { return skipped() };
    disturb(&|| Box::new(server.place()), 0..4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_repeats_and_disorder_leave_the_same_state_in_a_cluster() {
    let Some(server) = Server::cluster() else { return skipped() };
    disturb(&|| Box::new(server.place()), 4..6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_counts_each_record_once() {
    let events = events(7, 2000);
    let repeated: Vec<_> = events.iter().chain(events.iter().step_by(10)).collect();
    let log = log_of(repeated);
    let dir = tempfile::tempdir().unwrap();
    let (_, writer) = StateStore::open(dir.path(), "events", &StoreConfig::default()).unwrap();
    let dead_letters = DeadLetters::new(Arc::new(log.clone()), "dead-letters");
    let config = consumer::ConsumerConfig::default();
    let options = consumer::Options {
        erasures: None,
        source: Box::new(log.source("events")),
        writer: Box::new(writer),
        dead_letters,
        config,
    };
    let (service, handle) = consumer::Service::new(options);
    let drain = CancellationToken::new();
    let running = tokio::spawn(service.run(drain.clone()));
    assert!(handle.caught_up().await);
    drain.cancel();
    running.await.unwrap().unwrap();
    let status = handle.status();
    let without_consent = events.iter().filter(|event| !event.consent).count() as u64;
    assert_eq!(status.session_only, without_consent);
    assert_eq!(status.applied, 2000 - without_consent);
    assert_eq!(status.duplicates, 200);
    assert_eq!(status.partitions.iter().map(|at| at.lag).sum::<u64>(), 0);
    assert_eq!(status.partitions.iter().map(|at| at.next).sum::<i64>(), 2200);
}

#[test]
fn the_digest_tells_states_apart() {
    let events = events(1, 200);
    let whole = digest_of(events.iter().map(|event| (0, event)));
    let last = events.iter().rposition(|event| event.consent).unwrap();
    let without = events.iter().enumerate().filter(|&(i, _)| i != last);
    assert_ne!(whole, digest_of(without.map(|(_, event)| (0, event))), "one event less");
    let other_partitions =
        digest_of(events.iter().map(|event| (event.visitor_id.as_str().len() as i32, event)));
    assert_eq!(whole, other_partitions, "where it came from does not matter");
}

#[test]
fn offsets_behind_are_not_applied_again() {
    let events = events(3, 100);
    let dir = tempfile::tempdir().unwrap();
    let (_, mut writer) = StateStore::open(dir.path(), "events", &StoreConfig::default()).unwrap();
    apply(&mut writer, events.iter().map(|event| (0, event)));
    let again = apply(&mut writer, events.iter().map(|event| (0, event)));
    assert!(again.iter().all(|outcome| *outcome == endcap_live::Outcome::Behind));
}
