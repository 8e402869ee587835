//! Faults that shoppers must not notice: the broker is away, at start or later; a replica is killed; who publishes a
//! bundle is killed; the disk is full or fails. `just faults` runs the long forms, which hold latencies to their bars;
//! `cargo test` runs short ones.

mod broker;
mod disk;
mod erasing;
mod program;
mod publishing;
mod redis;
mod shop;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use broker::Kafka;
use disk::Disk;
use endcap_clickstream::Dataset;
use endcap_live::MockBroker;
use endcap_proto::v1::{RecommendRequest, WriteEventsRequest};
use program::{Client, PATIENCE, Service, settings};
use redis::Redis;
use shop::{fixture, view};

/// Between two requests of one client.
const PACE: Duration = Duration::from_millis(10);

fn is_long() -> bool {
    std::env::var("ENDCAP_FAULTS").is_ok_and(|form| form == "long")
}

/// Asks for a slate every [`PACE`] for so long; how long each answer took, sorted, in milliseconds. Every request is
/// answered.
async fn ask_for(client: &Client, time: Duration) -> Vec<f64> {
    let (began, mut took) = (Instant::now(), Vec::new());
    let mut ticks = tokio::time::interval(PACE);
    while began.elapsed() < time {
        ticks.tick().await;
        let asked = Instant::now();
        let visitor_id = format!("visitor-{}", took.len() % 20);
        let slate = client.recommend(RecommendRequest { visitor_id, ..Default::default() }).await.unwrap();
        assert_eq!(slate.results.len(), 20);
        took.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    took
}

fn p99(sorted: &[f64]) -> f64 {
    sorted[(sorted.len() - 1) * 99 / 100]
}

/// Writes views, trying again while the broker is away; how many.
async fn write(client: &mut Client, serial: u32) -> u32 {
    let shop = tokio::task::spawn_blocking(fixture).await.unwrap();
    let events: Vec<_> =
        (0..20).map(|i| view(&format!("visitor-{i}"), &shop.item(i as usize).id, serial).into()).collect();
    let written = events.len() as u32;
    let began = Instant::now();
    while let Err(status) = client.events.write(WriteEventsRequest { events: events.clone() }).await {
        assert!(began.elapsed() < PATIENCE, "{status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    written
}

/// Waits until nothing is behind and so many events were applied; how long that took.
async fn caught_up(service: &Service, applied: u32) -> Duration {
    let began = Instant::now();
    loop {
        let status: serde_json::Value = serde_json::from_str(&service.get("/v1/status")).unwrap();
        let number =
            |value: &serde_json::Value| value.as_str().map_or(value.as_i64(), |text| text.parse().ok());
        let lag: i64 = status["lag"].as_array().into_iter().flatten().fold(0, |lag, at| {
            lag + number(&at["endOffset"]).unwrap_or_default()
                - number(&at["appliedOffset"]).unwrap_or_default()
        });
        let read: i64 = status["lag"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|at| number(&at["appliedOffset"]).unwrap_or_default())
            .sum();
        if lag == 0 && read >= i64::from(applied) {
            return began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(60), "still behind after a minute: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn report(name: &str, figures: serde_json::Value) {
    println!("{name}: {figures}");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/faults");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("{name}.json")), format!("{figures:#}\n")).unwrap();
}

/// Fault 4.
#[tokio::test(flavor = "multi_thread")]
async fn fault_4_a_broker_that_is_away_is_not_noticed_by_shoppers() {
    let Some(kafka) = tokio::task::spawn_blocking(Kafka::that_can_be_away).await.unwrap() else { return };
    let shop = tokio::task::spawn_blocking(fixture).await.unwrap();
    let state = tempfile::tempdir().unwrap();
    let away = Duration::from_secs(if is_long() { 70 } else { 3 });
    let well = Duration::from_secs(if is_long() { 20 } else { 2 });
    let args = settings(&kafka.config(), &shop.bundles, state.path());

    let service = Service::start(&args);
    let mut client = service.client().await;
    let mut written = write(&mut client, 1).await;
    caught_up(&service, written).await;
    let before = ask_for(&client, well).await;
    kafka.tell("stop");
    let during = ask_for(&client, away).await;
    let back = Instant::now();
    kafka.tell("start");
    written += write(&mut client, 2).await;
    caught_up(&service, written).await;
    let behind = back.elapsed();
    service.stop();

    // And down at start.
    kafka.tell("stop");
    let mut args = args;
    args.extend(["--set", "bundles.catch_up_timeout_ms=500"].map(str::to_owned));
    let service = Service::start(&args);
    let mut client = service.client().await;
    let at_start = ask_for(&client, well).await;
    let began = Instant::now();
    kafka.tell("start");
    written += write(&mut client, 3).await;
    caught_up(&service, written).await;
    let behind_at_start = began.elapsed();
    service.stop();

    let figures = serde_json::json!({
        "fault": 4, "away_seconds": away.as_secs(), "answered": during.len() + at_start.len(), "failed": 0,
        "p99_ms": {"before": p99(&before), "while_away": p99(&during), "down_at_start": p99(&at_start)},
        "ratio": p99(&during) / p99(&before),
        "seconds_to_lag_0": {"after": behind.as_secs_f64(), "after_down_at_start": behind_at_start.as_secs_f64()},
    });
    report("broker-away", figures);
    if is_long() {
        assert!(p99(&during) <= 1.5 * p99(&before), "p99 rose from {} to {} ms", p99(&before), p99(&during));
    }
    assert!(behind.max(behind_at_start) < Duration::from_secs(60));
}

/// Fault 13: who publishes a bundle and activates it is killed. What is there is whole, and serves.
#[test]
fn fault_13_a_bundle_is_whole_whenever_its_publisher_is_killed() {
    let shop = fixture();
    let kills = if is_long() { 200 } else { 12 };
    let figures = publishing::kill_publishers(&shop, kills);
    report("kill-9-publish", figures);
}

#[test]
fn a_publisher_of_its_own() {
    publishing::child();
}

/// Waits until the status is as it should be; every slate that is asked for meanwhile is made.
async fn says(service: &Service, client: &Client, holds: impl Fn(&[String]) -> bool) {
    let began = Instant::now();
    loop {
        ask_for(client, Duration::from_millis(100)).await;
        let degraded = service.degraded();
        if holds(&degraded) {
            println!("after {:.1} s: {degraded:?}", began.elapsed().as_secs_f64());
            return;
        }
        assert!(began.elapsed() < PATIENCE, "that is not as it should be: {degraded:?}");
    }
}

/// Whether reading events waits for that reason.
fn reading_waits(degraded: &[String], reason: &str) -> bool {
    degraded.iter().any(|why| why.starts_with("topic ") && why.contains(reason))
}

/// Fault 14: the disk of state and archive is full. Slates are made, reading events pauses and the status says why; when
/// there is room again it all goes on, and nothing is missing or there twice.
#[tokio::test(flavor = "multi_thread")]
async fn fault_14_a_full_disk_stops_no_slate_and_loses_nothing() {
    let Some(disk) = Disk::small(64) else { return };
    let shop = tokio::task::spawn_blocking(fixture).await.unwrap();
    let broker = MockBroker::start(4).unwrap();
    let (state, archive) = (disk.path().join("state"), disk.path().join("archive"));
    let mut args = settings(broker.config(), &shop.bundles, &state);
    let elsewhere = tempfile::tempdir().unwrap();
    let more = [
        format!("archive.path={}", archive.display()),
        "archive.roll_interval_ms=300".to_owned(),
        format!("impressions.spill_path={}", elsewhere.path().join("spill").display()),
    ];
    args.extend(more.into_iter().flat_map(|entry| ["--set".to_owned(), entry]));
    let service = Service::start(&args);
    let mut client = service.client().await;
    let mut written = write(&mut client, 1).await;
    caught_up(&service, written).await;
    says(&service, &client, <[_]>::is_empty).await;

    disk.fill();
    let full = "No space left";
    // What is left of the last page of a file can still be written.
    let mut serial = 1;
    while !reading_waits(&service.degraded(), full) {
        serial += 1;
        assert!(serial < 200, "it is never said: {:?}", service.degraded());
        written += write(&mut client, serial).await;
        ask_for(&client, Duration::from_millis(300)).await;
    }
    says(&service, &client, |why| {
        why.iter().any(|why| why.contains("the archive waits") && why.contains(full))
    })
    .await;
    let stopped_at = service.metric("endcap_events_applied_total");
    written += write(&mut client, serial + 1).await;
    let during = ask_for(&client, Duration::from_secs(if is_long() { 30 } else { 2 })).await;
    assert!(service.metric("endcap_consumer_pauses_total") >= 1.0);
    assert_eq!(
        service.metric("endcap_events_applied_total"),
        stopped_at,
        "nothing is taken in that cannot be kept"
    );

    disk.make_room();
    let back = Instant::now();
    says(&service, &client, <[_]>::is_empty).await;
    caught_up(&service, written).await;
    let recovered = back.elapsed();
    service.stop();
    let events = Dataset::open(&archive).unwrap().events().unwrap();
    let ids: Vec<_> = events
        .flat_map(|batch| batch.unwrap().iter().map(|event| event.event_id.to_owned()).collect::<Vec<_>>())
        .collect();
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (written as usize, written as usize), "each is archived once");
    // The state that is found again knows them all.
    let service = Service::start(&args);
    caught_up(&service, written).await;
    assert_eq!(service.metric("endcap_events_applied_total"), 0.0, "nothing is read again");
    service.stop();
    let figures = serde_json::json!({
        "fault": 14, "answered_while_full": during.len(), "failed": 0, "p99_ms": p99(&during),
        "seconds_to_well": recovered.as_secs_f64(), "events": written, "archived_once": true,
    });
    report("disk-full", figures);
}

/// Fault 14: the disk of the state fails and is read-only from then on.
#[tokio::test(flavor = "multi_thread")]
async fn fault_14_a_disk_that_turns_read_only_stops_no_slate() {
    let Some(disk) = Disk::that_fails() else { return };
    let shop = tokio::task::spawn_blocking(fixture).await.unwrap();
    let broker = MockBroker::start(4).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut args = settings(broker.config(), &shop.bundles, &disk.path().join("state"));
    let spill = format!("impressions.spill_path={}", elsewhere.path().join("spill").display());
    args.extend(["--set".to_owned(), spill]);
    let service = Service::start(&args);
    let mut client = service.client().await;
    let written = write(&mut client, 1).await;
    caught_up(&service, written).await;
    disk.fail();
    write(&mut client, 2).await;
    says(&service, &client, |why| reading_waits(why, "ead-only file system")).await;
    let during = ask_for(&client, Duration::from_secs(if is_long() { 30 } else { 1 })).await;
    assert!(service.metric("endcap_consumer_pauses_total") >= 1.0);
    report(
        "disk-read-only",
        serde_json::json!({"fault": 14, "answered": during.len(), "failed": 0, "p99_ms": p99(&during)}),
    );
    service.kill();
}

/// Two replicas over one Redis: a click that one of them takes in is seen by the other; when one is killed, the
/// other takes its partitions over.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_is_not_missed_by_shoppers() {
    let Some(kafka) = tokio::task::spawn_blocking(Kafka::start).await.unwrap() else { return };
    let Some(redis) = Redis::start() else { return };
    let shop = tokio::task::spawn_blocking(fixture).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let replica = |name: &str| {
        let mut kafka = kafka.config();
        kafka.client_id = name.to_owned();
        let mut args = settings(&kafka, &shop.bundles, &dir.path().join(name));
        let more = [
            "state.backend=valkey".to_owned(),
            format!("state.valkey.addresses={}", redis.address),
            "consumer.group=classic".to_owned(),
            "kafka.properties.\"session.timeout.ms\"=\"6000\"".to_owned(),
            "recommend.state_timeout_ms=1000".to_owned(),
        ];
        args.extend(more.into_iter().flat_map(|entry| ["--set".to_owned(), entry]));
        Service::start(&args)
    };
    let (first, second) = (replica("first"), replica("second"));
    let (mut client, other) = (first.client().await, second.client().await);
    let written = write(&mut client, 1).await;
    for (service, client) in [(&first, &client), (&second, &other)] {
        caught_up(service, written).await;
        // Every one of these shoppers has a history on every replica.
        for i in 0..20 {
            knows(client, &format!("visitor-{i}")).await;
        }
    }
    first.kill();
    let killed = Instant::now();
    let mut client = other.clone();
    write(&mut client, 2).await;
    let item = &shop.item(100).id;
    let newcomer: Vec<_> = (0..8).map(|i| view(&format!("newcomer-{i}"), item, 1).into()).collect();
    client.events.write(WriteEventsRequest { events: newcomer }).await.unwrap();
    for i in 0..8 {
        knows(&other, &format!("newcomer-{i}")).await;
    }
    println!("all partitions were taken over {:?} after the kill", killed.elapsed());
    second.stop();
}

/// Waits until a replica's slate for a visitor comes from a history: from what follows its items.
async fn knows(client: &Client, visitor: &str) {
    let began = Instant::now();
    loop {
        let request = RecommendRequest { visitor_id: visitor.into(), ..Default::default() };
        let slate = client.recommend(request).await.unwrap();
        let mut sources = slate.results.iter().flat_map(|result| &result.sources);
        if sources.any(|source| source == "next_item_rules" || source == "item_knn") {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{visitor} is not known: {slate:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
