//! A state that cannot follow: reading pauses, what was taken in stays bounded, and all of it is applied in the end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use endcap_live::{
    AppliedOffsets, Before, DeadLetters, KafkaConfig, KafkaSink, KafkaSource, Message, Outcome,
    PartitionOffset, Release, StateBackend, StateStore, StateWriter, StoreConfig, StoreError, consumer,
    erasures::{Erasure, Gone},
};
use endcap_proto::{EventView, v1};
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use super::{send, whole_loop::by_partition};
use crate::world::{digest_of, events};

/// A store that does not flush while it is told not to.
struct Slow {
    inner: StateWriter,
    stuck: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
}

impl StateBackend for Slow {
    fn acquire(&mut self, partitions: &[i32]) -> Result<Vec<PartitionOffset>, StoreError> {
        StateBackend::acquire(&mut self.inner, partitions)
    }

    fn release(&mut self, partitions: &[i32], how: Release) -> Result<(), StoreError> {
        StateBackend::release(&mut self.inner, partitions, how)
    }

    fn apply(&mut self, partition: i32, offset: i64, event: &EventView<'_>) -> Result<Outcome, StoreError> {
        let outcome = StateBackend::apply(&mut self.inner, partition, offset, event);
        self.most.fetch_max(self.inner.unflushed(), Relaxed);
        outcome
    }

    fn skip(&mut self, partition: i32, offset: i64) {
        self.inner.skip(partition, offset);
    }

    fn publish(&mut self) -> Result<(), StoreError> {
        StateBackend::publish(&mut self.inner)
    }

    fn unflushed(&self) -> u64 {
        self.inner.unflushed()
    }

    fn begin_flush(&mut self, before: Before) -> Result<bool, StoreError> {
        if self.stuck.load(Relaxed) { Ok(false) } else { self.inner.begin_flush(before) }
    }

    fn wait_for_flush(&mut self) -> Result<(), StoreError> {
        self.inner.wait_for_flush()
    }

    fn erase(&mut self, erasures: &[Erasure]) -> Result<Vec<Gone>, StoreError> {
        self.inner.erase(erasures)
    }

    fn progress(&self) -> Arc<dyn AppliedOffsets> {
        StateBackend::progress(&self.inner)
    }
}

pub(crate) async fn a_state_that_cannot_follow_pauses_reading(config: &KafkaConfig, count: usize) {
    let mut config = config.clone();
    config.properties.0.insert("queued.max.messages.kbytes".into(), "64".into());
    let dir = tempfile::tempdir().unwrap();
    let (store, inner) =
        StateStore::open(dir.path(), &config.topics.events, &StoreConfig::default()).unwrap();
    let (stuck, most) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let writer = Slow { inner, stuck: stuck.clone(), most: most.clone() };
    let sink = Arc::new(KafkaSink::patient(&config).unwrap());
    let (batch, flush_records) = (100, 250);
    let (service, handle) = consumer::Service::new(consumer::Options {
        erasures: None,
        source: Box::new(KafkaSource::new(&config, &config.topics.events).unwrap()),
        writer: Box::new(writer),
        dead_letters: DeadLetters::new(sink.clone(), config.topics.dead_letters.as_str()),
        config: consumer::ConsumerConfig {
            batch,
            flush_records,
            flush_interval_ms: 10,
            ..Default::default()
        },
    });
    let events = events(31, count);
    let messages = events.iter().map(|event| {
        let value = v1::Event::from(event.clone()).encode_to_vec();
        Message::new(config.topics.events.as_str(), event.visitor_id.as_str(), value)
    });
    let places = tokio::task::block_in_place(|| send(&*sink, messages));
    let drain = CancellationToken::new();
    let running = tokio::spawn(service.run(drain.clone()));

    let began = Instant::now();
    while handle.status().paused.is_none() {
        assert!(began.elapsed() < Duration::from_secs(30), "reading never pauses: {:?}", handle.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let taken = most.load(Relaxed);
    assert!(taken <= 4 * flush_records + batch as u64, "{taken} were taken in while nothing was written");
    assert!(!handle.status().caught_up);

    stuck.store(false, Relaxed);
    for place in &places {
        assert!(handle.reached(place).await);
    }
    assert_eq!(handle.status().paused, None);
    assert!(most.load(Relaxed) <= 4 * flush_records + batch as u64);
    drain.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(
        store.digest().unwrap(),
        digest_of(by_partition(&events, &places)),
        "nothing lost, nothing twice"
    );
}
