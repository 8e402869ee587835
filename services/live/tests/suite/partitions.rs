//! Partitions that are added to a topic while it is read: they are read and archived too, without a new start.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use endcap_clickstream::Dataset;
use endcap_live::{
    DeadLetters, EventSink, EventSource, StateStore, StoreConfig, Topics,
    archive::{self, ArchiveConfig},
    consumer,
};
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, send};
use crate::world::{events, message};

/// Reads and archives a topic that is empty and grows by `grow` meanwhile.
pub(crate) async fn what_a_topic_gains_is_read(
    topics: &Topics,
    sink: Arc<dyn EventSink>,
    source: impl Fn(&str) -> Box<dyn EventSource>,
    grow: impl AsyncFnOnce(),
) {
    let dir = tempfile::tempdir().unwrap();
    let drain = CancellationToken::new();
    let (_store, writer) =
        StateStore::open(dir.path().join("state"), &topics.events, &StoreConfig::default()).unwrap();
    let (consuming, consumed) = consumer::Service::new(consumer::Options {
        source: source(&topics.events),
        writer: Box::new(writer),
        dead_letters: DeadLetters::new(sink.clone(), topics.dead_letters.as_str()),
        config: consumer::ConsumerConfig::default(),
        erasures: None,
    });
    let (archiving, _) = archive::Service::new(archive::Options {
        to: dir.path().join("archive").into(),
        events: source(&topics.events),
        impressions: source(&topics.impressions),
        items: source(&topics.items),
        config: ArchiveConfig { roll_records: 100, roll_interval_ms: 200, ..ArchiveConfig::default() },
        until_end: false,
    });
    let consuming = tokio::spawn(consuming.run(drain.clone()));
    let archiving = tokio::spawn(archiving.run(drain.clone()));

    let events = events(6, 3_000);
    let (before, after) = events.split_at(1_000);
    let now = |event| endcap_live::Message { timestamp: None, ..message(&topics.events, event) };
    let mut places = send(&*sink, before.iter().map(now));
    for place in &places {
        assert!(consumed.reached(place).await);
    }
    let partitions =
        |places: &[endcap_live::Place]| places.iter().map(|place| place.partition).collect::<BTreeSet<_>>();
    let few = partitions(&places).len();
    grow().await;
    // A producer, too, takes a moment to see them.
    let began = Instant::now();
    for piece in after.chunks(200) {
        places.extend(send(&*sink, piece.iter().map(now)));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(partitions(&places).len() > few, "nothing came to the new partitions: {:?}", partitions(&places));
    for place in &places {
        let reached = tokio::time::timeout(PATIENCE, consumed.reached(place)).await;
        assert_eq!(reached, Ok(true), "{place} was never read");
    }
    println!("all is read {:?} after the topic grew", began.elapsed());
    let status = consumed.status();
    assert_eq!(status.applied + status.session_only + status.late + status.duplicates, 3_000, "{status:?}");

    let expected: BTreeSet<_> = events
        .iter()
        .zip(&places)
        .filter(|(event, _)| event.consent)
        .map(|(_, place)| (place.partition, place.offset))
        .collect();
    let began = Instant::now();
    while archived(dir.path()).len() < expected.len() {
        assert!(began.elapsed() < PATIENCE, "not all of it is archived");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drain.cancel();
    consuming.await.unwrap().unwrap();
    archiving.await.unwrap().unwrap();
    let archived = archived(dir.path());
    assert_eq!(archived.len(), expected.len(), "none is there twice");
    assert_eq!(archived.into_iter().collect::<BTreeSet<_>>(), expected);
}

/// Where in the topic each archived event was.
fn archived(dir: &std::path::Path) -> Vec<(i32, i64)> {
    let Ok(dataset) = Dataset::open(dir.join("archive")) else { return Vec::new() };
    let mut rows = Vec::new();
    for batch in dataset.events().unwrap() {
        for event in batch.unwrap().iter() {
            let at = event.log_position().unwrap();
            rows.push((at.partition, at.offset));
        }
    }
    rows
}
