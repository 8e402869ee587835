//! The state from the archive is the state from the topic, and goes on where the archive ends.

mod world;

use endcap_clickstream::Dataset;
use endcap_live::{
    MemoryLog, Message, StateStore, StoreConfig,
    archive::{self, ArchiveConfig},
};
use endcap_proto::v1;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use world::{apply, events, item, message};

async fn archived(log: &MemoryLog, dir: &std::path::Path) {
    let options = archive::Options {
        to: dir.to_owned().into(),
        events: Box::new(log.source("events")),
        impressions: Box::new(log.source("impressions")),
        items: Box::new(log.source("items")),
        config: ArchiveConfig { roll_records: 300, ..ArchiveConfig::default() },
        until_end: true,
    };
    archive::run(options, CancellationToken::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_state_is_the_one_that_the_topic_makes_and_reads_on_behind_it() {
    let root = tempfile::tempdir().unwrap();
    let all = events(9, 4000);
    let (old, new) = all.split_at(3000);
    let log = MemoryLog::new(&[("events", 3), ("impressions", 1), ("items", 2)]);
    for event in old {
        log.append(message("events", event)).unwrap();
    }
    for i in 0..5 {
        let id = format!("item-{i}");
        let value = v1::Item::from(item(&id, "a thing")).encode_to_vec();
        log.append(Message::new("items", id.as_str(), value)).unwrap();
    }
    archived(&log, &root.path().join("archive")).await;

    let config = StoreConfig::default();
    let (store, mut writer) = StateStore::open(root.path().join("rebuilt"), "events", &config).unwrap();
    let rebuilt = archive::rebuild(&root.path().join("archive"), "events", &mut writer).unwrap();
    let consenting = old.iter().filter(|event| event.consent).count() as u64;
    assert_eq!((rebuilt.applied, rebuilt.passed_over), (consenting, 0));
    assert!(rebuilt.missing.is_empty() && rebuilt.files > 10, "{rebuilt:?}");
    assert_eq!(rebuilt.offsets.iter().map(|at| at.offset).sum::<i64>(), 3000);

    // From there on the topic.
    for event in new {
        log.append(message("events", event)).unwrap();
    }
    let mut source = log.source("events");
    endcap_live::EventSource::assign(&mut source, &rebuilt.offsets).unwrap();
    let mut read = 0;
    while read < new.len() {
        let mut records = Vec::new();
        read += endcap_live::EventSource::poll(&mut source, 500, std::time::Duration::ZERO, &mut |record| {
            records.push((record.partition, record.offset, endcap_live::decode_event(&record).unwrap()));
        })
        .unwrap();
        for (partition, offset, event) in records {
            writer.apply(partition, offset, &event).unwrap();
        }
    }
    writer.flush().unwrap();
    let (whole, mut told) = StateStore::open(root.path().join("whole"), "events", &config).unwrap();
    apply(&mut told, all.iter().map(|event| (0, event)));
    told.flush().unwrap();
    assert_eq!(store.digest().unwrap(), whole.digest().unwrap());

    // The catalogue says which point of its topic it is of.
    let offsets = Dataset::open(root.path().join("archive")).unwrap().items_offsets().unwrap();
    assert_eq!(offsets.iter().map(|at| at.offset).sum::<i64>(), 5);
}
