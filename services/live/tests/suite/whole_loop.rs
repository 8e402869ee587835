//! The whole loop against a broker: events → state → impressions out → archive → data set.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use endcap_clickstream::Dataset;
use endcap_live::{
    DeadLetters, EventProducer, EventSource, ItemProducer, KafkaConfig, KafkaSink, KafkaSource, Message,
    PartitionOffset, StateStore, StoreConfig,
    archive::{self, ArchiveConfig},
    consumer, impressions, items,
};
use endcap_proto::{Event, EventTime, ItemId, VisitorKey, v1};
use endcap_recommend::{ImpressionSink, StateReader};
use tokio_util::sync::CancellationToken;

use super::{bounds, send, take};
use crate::world::{self, Catalogue, START, item};

/// Runs the loop; the topics exist and are empty.
pub(crate) async fn whole_loop(config: &KafkaConfig) {
    let dir = tempfile::tempdir().unwrap();
    let drain = CancellationToken::new();
    let prompt = Arc::new(KafkaSink::prompt(config).unwrap());
    let patient = Arc::new(KafkaSink::patient(config).unwrap());
    let source = |topic: &str| Box::new(KafkaSource::new(config, topic).unwrap());

    // Events in.
    let (store, writer) =
        StateStore::open(dir.path().join("state"), &config.topics.events, &StoreConfig::default()).unwrap();
    let dead_letters = DeadLetters::new(patient.clone(), config.topics.dead_letters.as_str());
    let (service, consumed) = consumer::Service::new(consumer::Options {
        erasures: None,
        source: source(&config.topics.events),
        writer: Box::new(writer),
        dead_letters: dead_letters.clone(),
        config: consumer::ConsumerConfig::default(),
    });
    let consuming = tokio::spawn(service.run(drain.clone()));

    let events = over_hours(world::events(1, 1000));
    let producer = EventProducer::new(prompt.clone(), config.topics.events.as_str());
    let places = producer.write(events.clone()).await.unwrap();
    assert_eq!(places.len(), events.len());
    for place in &places {
        assert!(consumed.reached(place).await);
    }
    let visitor = events.iter().rfind(|event| event.consent && event.event_type.is_interest()).unwrap();
    let snapshot = store.read(visitor.visitor_id.key(), None, None).await.unwrap();
    assert_eq!(snapshot.state.history().last().map(|entry| entry.time), Some(visitor.time));
    assert!(snapshot.consent);
    assert_eq!(snapshot.applied.iter().map(|at| at.offset).sum::<i64>(), 1000);

    // Other encodings, and poison among them: nothing stalls, and each is accounted for.
    let json = |id: &str, event_type: &str| {
        let event = serde_json::json!({
            "eventId": id, "type": event_type, "eventTime": EventTime::clamped(START + 5 * HOUR).to_string(),
            "visitorId": "json", "items": [{"itemId": "shoe"}], "consent": true,
        });
        Message::new(config.topics.events.as_str(), "json", event.to_string())
            .header("content-type", "application/json")
    };
    let poison: Vec<_> = (0..20)
        .map(|i| match i % 3 {
            0 => Message::new(config.topics.events.as_str(), "json", [0xff, i, 0xff]),
            1 => json(&format!("poison-{i}"), "gaze"),
            _ => Message::new(config.topics.events.as_str(), "json", "x").header("content-type", "text/csv"),
        })
        .collect();
    let mut mixed = vec![json("json-1", "view_item"), json("json-2", "EVENT_TYPE_VIEW")];
    mixed.splice(1..1, poison);
    let placed = send(&*prompt, mixed);
    assert!(consumed.reached(placed.last().unwrap()).await);
    let snapshot = store.read(VisitorKey::of("json"), None, None).await.unwrap();
    assert_eq!(snapshot.state.history().len(), 2);
    let letters = read(config, &config.topics.dead_letters, 20);
    let mut wrong: BTreeSet<_> =
        placed[1..21].iter().map(|at| (at.partition.to_string(), at.offset.to_string())).collect();
    let mut stages = BTreeMap::<String, usize>::new();
    for headers in letters {
        let header = |name: &str| String::from_utf8(headers[name].clone()).unwrap();
        assert_eq!(header("topic"), config.topics.events);
        assert!(!header("reason").is_empty());
        assert!(
            wrong.remove(&(header("partition"), header("offset"))),
            "a letter twice, or of no such record"
        );
        *stages.entry(header("stage")).or_default() += 1;
    }
    let expected = [("content_type", 6), ("decode", 14)].map(|(stage, count)| (stage.to_owned(), count));
    assert_eq!(stages, BTreeMap::from(expected));

    // The catalogue in.
    let catalogue = Arc::new(Catalogue::default());
    let (service, fed) = items::Service::new(items::Options {
        source: source(&config.topics.items),
        from: Vec::new(),
        sink: catalogue.clone(),
        dead_letters,
    });
    let feeding = tokio::spawn(service.run(drain.clone()));
    assert!(fed.caught_up().await);
    let producer = ItemProducer::new(prompt.clone(), config.topics.items.as_str());
    producer.upsert((0..20).map(|i| item(&format!("item-{i:02}"), "first")).collect()).await.unwrap();
    producer.upsert(vec![item("item-90", "refused")]).await.unwrap();
    let deletes: Vec<_> = (0..5).map(|i| ItemId::new(format!("item-{i:02}")).unwrap()).collect();
    for place in producer.delete(&deletes).await.unwrap() {
        assert!(fed.reached(&place).await);
    }
    let bundle_offsets = fed.status().offsets;
    for place in producer.upsert(vec![item("item-05", "second"), item("item-91", "new")]).await.unwrap() {
        assert!(fed.reached(&place).await);
    }
    let expected: Vec<_> = (5..20).map(|i| format!("item-{i:02}")).chain(["item-91".to_owned()]).collect();
    assert_eq!(catalogue.ids(), expected);
    let status = fed.status();
    assert_eq!((status.upserted, status.deleted, status.rejected), (22, 5, 1));
    // A bundle made in between sees what came after it, and no more.
    let since = Arc::new(Catalogue::default());
    let options = items::Options {
        source: source(&config.topics.items),
        from: bundle_offsets,
        sink: since.clone(),
        dead_letters: DeadLetters::new(patient.clone(), config.topics.dead_letters.as_str()),
    };
    let replayed = tokio::task::spawn_blocking(|| items::replay(options)).await.unwrap().unwrap();
    assert_eq!(since.ids(), ["item-05", "item-91"]);
    assert_eq!(replayed.offsets, status.offsets);

    // Impressions out.
    let (service, sink) = impressions::Service::new(impressions::Options {
        sink: patient.clone(),
        topic: config.topics.impressions.as_str().into(),
        config: impressions::ImpressionConfig { spill_path: dir.path().join("spill"), ..Default::default() },
    });
    let ends = CancellationToken::new();
    let sending = tokio::spawn(service.run(ends.clone()));
    for i in 0..55 {
        sink.offer(impression(i, i % 11 != 0), None).unwrap();
    }
    ends.cancel();
    sending.await.unwrap().unwrap();
    assert_eq!(sink.status().delivered, 55);
    assert_eq!(sink.status().dropped.values().sum::<u64>(), 0);

    // The archive: exactly what was consented to, once, however often it is begun.
    let archived = dir.path().join("archive");
    let consented: BTreeSet<_> =
        events.iter().filter(|event| event.consent).map(|event| event.event_id.as_str().to_owned()).collect();
    let expected = consented.len() + 2;
    assert_eq!(archive_events(config, &archived, 300).await, expected);
    assert_eq!(archive_events(config, &archived, 300).await, expected, "a second run adds nothing");
    let mut more = over_hours(world::events(2, 400));
    for (i, event) in more.iter_mut().enumerate() {
        event.event_id = endcap_proto::EventId::new(format!("more-{i}")).unwrap();
    }
    let expected = expected + more.iter().filter(|event| event.consent).count();
    let producer = EventProducer::new(prompt.clone(), config.topics.events.as_str());
    producer.write(more).await.unwrap();
    assert_eq!(archive_events(config, &archived, 300).await, expected, "what came since is added");
    lose_newest(&archived);
    assert_eq!(
        archive_events(config, &archived, 300).await,
        expected,
        "what a crash left out is made up for"
    );

    let dataset = Dataset::open(&archived).unwrap();
    let items = dataset.items().unwrap();
    assert_eq!(items.len(), 17, "the refused one is a sound item, which the archive keeps");
    assert!(
        items.iter().any(|item| item.id.as_str() == "item-05" && item.title.as_deref() == Some("second"))
    );
    let impressions: Vec<_> = dataset.impressions().unwrap().flat_map(Result::unwrap).collect();
    assert_eq!(impressions.len(), 50);
    let original = impression(7, true);
    assert!(impressions.contains(&original), "an impression comes back as it was served");

    // The end: everything drains, and the state is on disk.
    drain.cancel();
    consuming.await.unwrap().unwrap();
    feeding.await.unwrap().unwrap();
    let status = consumed.status();
    assert_eq!(status.rejected.values().sum::<u64>(), 20);
    assert_eq!((status.dead_letters.delivered, status.dead_letters.lost), (21, 0), "20 events, one item");
    assert_eq!(status.trouble, None);
}

/// Archives to the end of the topics, and counts the events in it.
async fn archive_events(config: &KafkaConfig, dir: &Path, roll_records: u64) -> usize {
    let cut = ArchiveConfig { roll_records, ..ArchiveConfig::default() };
    let options = archive::Options {
        until_end: true,
        ..archive::Options::from_kafka(config, dir.to_owned(), cut).unwrap()
    };
    let status = archive::run(options, CancellationToken::new()).await.unwrap();
    assert!(status.values().all(|topic| topic.caught_up), "{status:?}");
    let mut ids = BTreeSet::new();
    let mut count = 0;
    for batch in Dataset::open(dir).unwrap().events().unwrap() {
        for event in batch.unwrap().iter() {
            assert!(event.consent);
            ids.insert(event.event_id.to_owned());
            count += 1;
        }
    }
    assert_eq!(ids.len(), count, "no event twice");
    count
}

/// Takes away one file of several of a newest roll, as if the process had died before it was named.
fn lose_newest(dir: &Path) {
    let mut rolls = BTreeMap::<String, Vec<PathBuf>>::new();
    let mut folders = vec![dir.join("events")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => rolls
                    .entry(path.file_name().unwrap().to_str().unwrap().to_owned())
                    .or_default()
                    .push(path),
            }
        }
    }
    // Names sort by partition, then offset: of each partition the last one is the newest roll.
    let names: Vec<_> = rolls.keys().collect();
    let partition = |name: &str| name.rsplitn(3, '-').last().unwrap().to_owned();
    let newest = (0..names.len())
        .filter(|&i| names.get(i + 1).is_none_or(|next| partition(next) != partition(names[i])));
    let cut =
        newest.map(|i| &rolls[names[i]]).find(|files| files.len() > 1).expect("a newest roll over two hours");
    std::fs::remove_file(&cut[1]).unwrap();
}

/// The same events over a few hours.
fn over_hours(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        event.time = EventTime::clamped(START + (event.time.as_millis() - START) * 60);
    }
    events
}

const HOUR: i64 = 3_600_000;

/// Headers of the first `count` records of a topic.
fn read(config: &KafkaConfig, topic: &str, count: usize) -> Vec<BTreeMap<String, Vec<u8>>> {
    let mut source = KafkaSource::new(config, topic).unwrap();
    let bounds = bounds(&mut source);
    let from: Vec<_> =
        bounds.iter().map(|at| PartitionOffset { partition: at.partition, offset: at.first }).collect();
    source.assign(&from).unwrap();
    take(&mut source, count).into_iter().map(|record| record.4.into_iter().collect()).collect()
}

fn impression(i: u32, consent: bool) -> v1::Impression {
    let time = EventTime::clamped(START + i64::from(i) * 200_000).to_proto();
    v1::Impression {
        slate_id: format!("slate-{i}"),
        served_time: Some(time),
        as_of: Some(time),
        visitor_id: format!("visitor-{}", i % 5),
        placement: "home".to_owned(),
        request_id: format!("request-{i}"),
        items: (0..3)
            .map(|position| v1::ImpressedItem {
                item_id: format!("item-{position}"),
                position,
                score: 0.5,
                propensity: 1.0,
                explored: false,
                sources: vec!["popular".to_owned()],
                features: vec![0.25, f32::from(position as u8)],
            })
            .collect(),
        served_by: Some(v1::ServedBy { bundle_version: "b1".to_owned(), ..Default::default() }),
        applied_offsets: vec![v1::PartitionOffset { topic: "events".to_owned(), partition: 1, offset: 42 }],
        seed: 7,
        consent,
        ..Default::default()
    }
}

/// Events in the order of their partitions' logs.
pub(crate) fn by_partition<'a>(
    events: &'a [Event],
    places: &'a [endcap_live::Place],
) -> impl Iterator<Item = (i32, &'a Event)> {
    events.iter().zip(places).map(|(event, place)| (place.partition, event))
}
