//! The live path against the broker in this process: the whole loop, kills, a broker that is away.

mod suite;
mod world;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use endcap_live::{
    DeadLetters, EventProducer, KafkaSink, KafkaSource, MockBroker, SendFault, StateStore, StoreConfig,
    consumer, impressions,
};
use endcap_proto::v1;
use endcap_recommend::ImpressionSink;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_click_goes_round_the_whole_loop() {
    let broker = MockBroker::start(4).unwrap();
    suite::whole_loop::whole_loop(broker.config()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_exactly_in_the_dead_letters_and_goes_through_when_mended() {
    let broker = MockBroker::start(4).unwrap();
    suite::poison::poison_stalls_nothing(broker.config(), 4_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_follow_pauses_reading_and_memory_stays_bounded() {
    let broker = MockBroker::start(4).unwrap();
    suite::backpressure::a_state_that_cannot_follow_pauses_reading(broker.config(), 8_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_impression_is_lost_while_the_broker_is_away_nor_over_a_restart() {
    suite::outage::no_impression_is_lost(Duration::ZERO).await;
}

#[test]
fn five_kills_leave_the_state_of_an_undisturbed_run() {
    let broker = MockBroker::start(8).unwrap();
    suite::kill::survives_kills(broker.config(), 45_000, 5);
}

#[test]
fn the_child_that_is_killed() {
    suite::kill::child();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_waited_for_and_named() {
    let broker = MockBroker::start(2).unwrap();
    broker.take_down().unwrap();
    let mut config = broker.config().clone();
    (config.delivery_timeout_ms, config.background_timeout_ms) = (700, 700);

    // The consumer waits, and says for what.
    let dir = tempfile::tempdir().unwrap();
    let (_, writer) = StateStore::open(dir.path(), "events", &StoreConfig::default()).unwrap();
    let patient = Arc::new(KafkaSink::patient(&config).unwrap());
    let (service, handle) = consumer::Service::new(consumer::Options {
        erasures: None,
        source: Box::new(KafkaSource::new(&config, "events").unwrap()),
        writer: Box::new(writer),
        dead_letters: DeadLetters::new(patient.clone(), "dead-letters"),
        config: consumer::ConsumerConfig::default(),
    });
    let drain = CancellationToken::new();
    let consuming = tokio::spawn(service.run(drain.clone()));

    // A writer learns in time that its events did not get there.
    let prompt = Arc::new(KafkaSink::prompt(&config).unwrap());
    let producer = EventProducer::new(prompt, "events");
    let began = Instant::now();
    let error = producer.write(world::events(1, 3)).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((error.written, error.total, error.error.fault), (0, 3, SendFault::TimedOut), "{error}");
    assert!(
        error.to_string().contains(&config.brokers) && error.to_string().contains("topic events"),
        "{error}"
    );

    // Impressions are dropped and counted; a request never waits.
    let (service, sink) = impressions::Service::new(impressions::Options {
        sink: patient,
        topic: "impressions".into(),
        config: impressions::ImpressionConfig {
            queue: 10,
            drain_timeout_ms: 2_000,
            spill_bytes: 0,
            ..Default::default()
        },
    });
    let ends = CancellationToken::new();
    let sending = tokio::spawn(service.run(ends.clone()));
    let taken = (0..100).filter(|_| sink.offer(v1::Impression::default(), None).is_ok()).count() as u64;
    assert!((10..=21).contains(&taken), "{taken} were taken; 10 may wait and 10 be on their way");
    ends.cancel();
    let ended = sending.await.unwrap();
    let status = sink.status();
    assert_eq!(status.delivered, 0);
    assert_eq!(status.dropped["queue_full"], 100 - taken);
    assert_eq!(status.dropped["timed_out"] + status.dropped["abandoned"], taken);
    assert_eq!(ended.is_err(), status.dropped["abandoned"] > 0, "{ended:?}");

    let began = Instant::now();
    while handle.status().trouble.is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "the consumer does not say that it waits");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!consuming.is_finished());

    // It comes back: so do we.
    broker.bring_up().unwrap();
    let prompt = Arc::new(KafkaSink::prompt(broker.config()).unwrap());
    let places = EventProducer::new(prompt, "events").write(world::events(1, 3)).await.unwrap();
    for place in &places {
        assert!(handle.reached(place).await);
    }
    // Said no more as soon as it is looked at again.
    let began = Instant::now();
    while let Some(trouble) = handle.status().trouble {
        assert!(began.elapsed() < Duration::from_secs(20), "it still says {trouble}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drain.cancel();
    consuming.await.unwrap().unwrap();
}
