//! `endcap state` by the binary: look, back up, restore, rebuild, in a folder and in Redis.

mod program;
mod redis;

use std::{path::Path, sync::Arc};

use endcap_live::{
    EventProducer, KafkaConfig, MemoryLog, StateBackend, StateStore, StoreConfig, ValkeyConfig, ValkeyStore,
    archive::{self, ArchiveConfig},
};
use endcap_proto::{Event, EventTime, v1};
use program::{Said, run, settings};
use redis::Redis;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const SHOPPERS: usize = 7;

fn events() -> Vec<Event> {
    let event = |i: i64| v1::Event {
        event_id: format!("event-{i}"),
        r#type: v1::EventType::View.into(),
        event_time: Some(EventTime::clamped(1_764_000_000_000 + 1000 * i).to_proto()),
        visitor_id: format!("visitor-{}", i % SHOPPERS as i64),
        items: vec![v1::EventItem { item_id: format!("item-{}", i % 11), ..Default::default() }],
        consent: true,
        ..Default::default()
    };
    (0..200).map(|i| Event::try_from(event(i)).unwrap()).collect()
}

/// `endcap state ARGS` with these settings.
fn state(args: &[&str], settings: &[String]) -> Said {
    let args = ["state", "--output", "json"].iter().chain(args).map(|arg| (*arg).to_owned());
    run(args.chain(settings.iter().cloned()))
}

fn json(said: Said) -> Value {
    serde_json::from_str(&said.done()).unwrap()
}

/// The same events as an archive has them.
fn archived(dir: &Path) {
    let log = MemoryLog::new(&[("events", 1), ("impressions", 1), ("items", 1)]);
    let options = archive::Options {
        to: dir.to_owned().into(),
        events: Box::new(log.source("events")),
        impressions: Box::new(log.source("impressions")),
        items: Box::new(log.source("items")),
        config: ArchiveConfig::default(),
        until_end: true,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(EventProducer::new(Arc::new(log), "events").write(events())).unwrap();
    runtime.block_on(archive::run(options, CancellationToken::new())).unwrap();
}

/// Tells a state the events, and flushes.
fn tell(writer: &mut dyn StateBackend) {
    writer.acquire(&[0]).unwrap();
    for (offset, event) in (0..).zip(&events()) {
        writer.apply(0, offset, &event.into()).unwrap();
    }
    while !writer.begin_flush(Box::new(|| true)).unwrap() {
        writer.wait_for_flush().unwrap();
    }
    writer.wait_for_flush().unwrap();
}

/// What holds wherever the state is: `at` gives the settings of a place that is empty but for the first.
fn is_kept_and_brought_back(dir: &Path, at: &dyn Fn(&str) -> Vec<String>) {
    let (kept, archive) = (dir.join("kept"), dir.join("archive"));
    let (kept, archived_at) = (kept.display().to_string(), archive.display().to_string());
    let shown = json(state(&["show"], &at("first")));
    assert_eq!(
        (&shown["shoppers"], &shown["offsets"][0]["offset"]),
        (&SHOPPERS.into(), &200.into()),
        "{shown}"
    );
    let backup = json(state(&["backup", "--to", &kept], &at("first")));
    assert_eq!((&backup["digest"], &backup["to"]), (&shown["digest"], &kept.as_str().into()));
    state(&["backup", "--to", &kept], &at("first")).refused(1, &["there already"]);
    let restored = json(state(&["restore", "--from", &kept], &at("second")));
    assert_eq!(restored["digest"], shown["digest"]);
    assert_eq!(json(state(&["show"], &at("second")))["offsets"], shown["offsets"]);
    state(&["restore", "--from", &kept], &at("second")).refused(1, &["another"]);
    archived(&archive);
    let rebuilt = json(state(&["rebuild", "--from", &archived_at], &at("third")));
    assert_eq!((&rebuilt["digest"], &rebuilt["applied"]), (&shown["digest"], &200.into()), "{rebuilt}");
    state(&["rebuild", "--from", &archived_at], &at("third")).refused(1, &["another"]);
    state(&["rebuild", "--from", &kept], &at("fourth")).refused(1, &["is no archive"]);
    let said = run(["state", "show"].map(str::to_owned).into_iter().chain(at("third"))).done();
    assert!(said.contains("7 shoppers") && said.contains("next offset 200"), "{said}");
}

#[test]
fn a_state_in_a_folder_is_kept_and_brought_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| settings(&KafkaConfig::default(), Path::new("bundles"), &dir.path().join(name));
    state(&["show"], &at("first")).refused(1, &["no such folder"]);
    let (store, mut writer) =
        StateStore::open(dir.path().join("first"), "events", &StoreConfig::default()).unwrap();
    tell(&mut writer);
    state(&["show"], &at("first")).refused(1, &["another process is using it"]);
    drop((store, writer));
    is_kept_and_brought_back(dir.path(), &at);
}

#[test]
fn a_state_in_redis_is_kept_and_brought_back() {
    let Some(redis) = Redis::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let prefix = |name: &str| format!("{name}-{}:", std::process::id());
    let at = |name: &str| {
        let mut args = settings(&KafkaConfig::default(), Path::new("bundles"), &dir.path().join(name));
        let more = [
            "state.backend=valkey".to_owned(),
            format!("state.valkey.addresses={}", redis.address),
            format!("state.valkey.prefix={}", prefix(name)),
        ];
        args.extend(more.into_iter().flat_map(|entry| ["--set".to_owned(), entry]));
        args
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config =
        ValkeyConfig { addresses: redis.address.clone(), prefix: prefix("first"), ..ValkeyConfig::default() };
    let (_store, mut writer) = {
        let _runtime = runtime.enter();
        ValkeyStore::open(&config, "events", &StoreConfig::default()).unwrap()
    };
    tell(&mut writer);
    is_kept_and_brought_back(dir.path(), &at);
}
