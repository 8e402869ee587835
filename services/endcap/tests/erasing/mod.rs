//! Fault 19: a shopper is erased. Gone from state, store and archive; a log that is read again does not bring them back;
//! the next training is without them; visitors of the account too; the receipt names the day when Kafka forgets.

use std::{fs, path::Path};

use endcap_bundle::BundleStore;
use endcap_clickstream::Dataset;
use endcap_proto::{
    Event, UserId, UserKey, VisitorKey,
    v1::{RecommendRequest, WriteEventsRequest},
};
use serde_json::Value;
use tonic::Request;

use crate::{
    broker::Kafka,
    caught_up,
    program::{Client, PATIENCE, Said, Service, run, settings},
    redis::Redis,
    report,
    shop::{fixture, train, view},
};

/// `endcap ARGS`, on a thread that may wait.
async fn endcap(args: &[&str], settings: &[String]) -> Said {
    let args: Vec<String> =
        args.iter().map(|arg| (*arg).to_owned()).chain(settings.iter().cloned()).collect();
    tokio::task::spawn_blocking(move || run(args)).await.unwrap()
}

fn json(said: Said) -> Value {
    serde_json::from_str(&said.done()).unwrap()
}

fn by(user: &str, event: Event) -> Event {
    Event { user_id: Some(UserId::new(user).unwrap()), ..event }
}

async fn tell(client: &mut Client, events: Vec<Event>) {
    let events = events.into_iter().map(Into::into).collect();
    let mut request = Request::new(WriteEventsRequest { events });
    // A broker that has just begun may take its time.
    request.set_timeout(PATIENCE);
    client.events.write(request).await.unwrap();
}

/// Whether a slate comes from what a shopper did before.
async fn is_known(client: &Client, visitor: &str) -> bool {
    let request = RecommendRequest { visitor_id: visitor.into(), ..Default::default() };
    let slate = client.recommend(request).await.unwrap();
    let mut sources = slate.results.iter().flat_map(|result| &result.sources);
    sources.any(|source| source == "next_item_rules" || source == "item_knn")
}

async fn becomes_known(client: &Client, visitor: &str) {
    let began = std::time::Instant::now();
    while !is_known(client, visitor).await {
        assert!(began.elapsed() < PATIENCE, "{visitor} is not known");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// How many files under a folder hold a stable key as the state writes it.
fn mentions(dir: &Path, key: u64) -> usize {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let holds = |bytes: &[u8]| bytes.windows(8).any(|window| window == key.to_le_bytes());
    files.filter(|file| file.is_file() && holds(&fs::read(file).unwrap())).count()
}

/// Who the events and slates of a data set are of, sorted.
fn visitors(dir: &Path) -> (Vec<String>, Vec<String>) {
    let dataset = Dataset::open(dir).unwrap();
    let mut events: Vec<_> = dataset
        .events()
        .unwrap()
        .flat_map(|batch| batch.unwrap().iter().map(|event| event.visitor_id.to_owned()).collect::<Vec<_>>())
        .collect();
    let mut slates: Vec<_> = dataset
        .impressions()
        .unwrap()
        .flat_map(|batch| batch.unwrap().into_iter().map(|slate| slate.visitor_id).collect::<Vec<_>>())
        .collect();
    events.sort();
    slates.sort();
    slates.dedup();
    (events, slates)
}

/// Fault 19.
#[tokio::test(flavor = "multi_thread")]
async fn fault_19_an_erased_shopper_is_gone_everywhere_and_stays_so() {
    let Some(kafka) = tokio::task::spawn_blocking(Kafka::start).await.unwrap() else { return };
    let shop = tokio::task::spawn_blocking(fixture).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("erasures.key");
    fs::write(&key, "9".repeat(64)).unwrap();
    let at = |state: &str| {
        let mut args = settings(&kafka.config(), &shop.bundles, &dir.path().join(state));
        args.extend(["--set".to_owned(), format!("erasures.key.file={}", key.display())]);
        args
    };
    let (state, archive) = (at("state"), dir.path().join("archive"));
    let archive_path = archive.display().to_string();

    // Anna on her phone before she logs in, then logged in; on her laptop; Ben.
    let service = Service::start(&state);
    let mut client = service.client().await;
    let item = |n: usize| &shop.item(n).id;
    let told = vec![
        view("phone", item(0), 1),
        by("anna", view("phone", item(1), 2)),
        by("anna", view("laptop", item(2), 1)),
        by("ben", view("desk", item(3), 1)),
    ];
    tell(&mut client, told).await;
    for visitor in ["phone", "laptop", "desk"] {
        becomes_known(&client, visitor).await;
    }
    caught_up(&service, 4).await;
    let began = std::time::Instant::now();
    while mentions(&dir.path().join("state"), VisitorKey::of("phone").0) == 0 {
        assert!(began.elapsed() < PATIENCE, "it is never flushed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    endcap(&["archive", "--until-end", "--out", &archive_path], &state).await.done();
    let (events, slates) = visitors(&archive);
    assert_eq!(events, ["desk", "laptop", "phone", "phone"]);
    assert!(slates.iter().any(|visitor| visitor == "phone"), "{slates:?}");

    // Without the key nobody is erased.
    let keyless = settings(&kafka.config(), &shop.bundles, &dir.path().join("state"));
    let nowhere = ["--address", "http://127.0.0.1:1"];
    endcap(&[&["erase", "--user", "anna"], &nowhere[..]].concat(), &keyless)
        .await
        .refused(1, &["cannot reach"]);

    let address = format!("http://{}", service.address());
    let asked = ["erase", "--user", "anna", "--address", &address, "--archive", &archive_path];
    let receipt = json(endcap(&[&asked[..], &["--output", "json"]].concat(), &state).await);
    assert_eq!((&receipt["shopper"], &receipt["state"]["forgotten"]), (&"user anna".into(), &true.into()));
    assert_eq!(receipt["state"]["visitors"], 2, "{receipt}");
    assert_eq!(receipt["state"]["linked"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&receipt["archives"][0]["events"], &receipt["archives"][0]["rewritten"]),
        (&3.into(), &true.into())
    );
    assert!(receipt["archives"][0]["impressions"].as_u64() > Some(0), "{receipt}");
    let days: Vec<_> =
        receipt["topics"].as_array().unwrap().iter().map(|topic| &topic["forgotten_on"]).collect();
    assert!(
        days.len() == 3 && days.iter().all(|day| day.as_str().is_some_and(|day| day.len() == 10)),
        "{receipt}"
    );

    // Gone from the service's answers, its files, the archive; others are there.
    assert!(!is_known(&client, "phone").await && !is_known(&client, "laptop").await);
    assert!(is_known(&client, "desk").await);
    for key in [VisitorKey::of("phone").0, VisitorKey::of("laptop").0, UserKey::of("anna").0] {
        assert_eq!(mentions(&dir.path().join("state"), key), 0);
    }
    assert!(mentions(&dir.path().join("state"), VisitorKey::of("desk").0) > 0);
    let (events, slates) = visitors(&archive);
    assert_eq!(events, ["desk"]);
    assert!(!slates.iter().any(|visitor| visitor == "phone" || visitor == "laptop"), "{slates:?}");
    // What comes late is passed over, on another device of hers as well; the archive has none of it.
    let late = |event: Event| Event { time: event.time.plus_millis(-60_000), ..event };
    tell(&mut client, vec![late(by("anna", view("tablet", item(4), 1))), late(view("tablet", item(5), 2))])
        .await;
    caught_up(&service, 6).await;
    assert!(!is_known(&client, "tablet").await);
    assert_eq!(service.metric("endcap_events_erased_total"), 2.0);
    endcap(&["archive", "--until-end", "--out", &archive_path], &state).await.done();
    assert_eq!(visitors(&archive).0, ["desk"]);
    assert_eq!(service.degraded(), Vec::<String>::new());
    service.stop();

    // The log from its beginning, into another state and another archive.
    let service = Service::start(&at("anew"));
    caught_up(&service, 6).await;
    let client = service.client().await;
    becomes_known(&client, "desk").await;
    for visitor in ["phone", "laptop", "tablet"] {
        assert!(!is_known(&client, visitor).await, "{visitor} is back");
    }
    assert_eq!(service.metric("endcap_events_erased_total"), 5.0);
    service.stop();
    let anew = dir.path().join("archive-anew");
    endcap(&["archive", "--until-end", "--out", &anew.display().to_string()], &state).await.done();
    assert_eq!(visitors(&anew).0, ["desk"]);

    // The state from the archive, and the next training.
    let rebuilt = at("rebuilt");
    let said =
        json(endcap(&["state", "rebuild", "--from", &archive_path, "--output", "json"], &rebuilt).await);
    assert_eq!(said["applied"], 1, "{said}");
    assert_eq!(mentions(&dir.path().join("rebuilt"), VisitorKey::of("phone").0), 0);
    let bundles = dir.path().join("bundles");
    let (data, archived) = (shop.data.clone(), archive.clone());
    let version = {
        let bundles = bundles.clone();
        tokio::task::spawn_blocking(move || train(&[&data, &archived], &bundles)).await.unwrap()
    };
    let events = |bundles: &Path, version: &str| {
        let manifests = BundleStore::open(bundles).unwrap().list().unwrap();
        manifests.iter().find(|manifest| manifest.version.as_str() == version).unwrap().origin.events
    };
    assert_eq!(events(&bundles, &version), events(&shop.bundles, &shop.version) + 1, "Ben's alone");

    // Without a service, the state is told here; a receipt for people.
    let said = endcap(&["erase", "--visitor", "desk", "--archive", &archive_path], &state).await.done();
    for words in
        ["visitor desk: forgotten as of", "1 visitors with 1 entries", "has forgotten by", "1 events and"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(mentions(&dir.path().join("state"), VisitorKey::of("desk").0), 0);
    assert!(visitors(&archive).0.is_empty());
    // Another key reads nothing of the topic, and says so.
    fs::write(&key, "8".repeat(64)).unwrap();
    endcap(&["erase", "--visitor", "desk"], &state).await.refused(1, &["another key", "erasures.key"]);
    report("erasure", serde_json::json!({"fault": 19, "erased": 2, "linked": 3, "brought_back": 0}));
}

/// The same where replicas share a state.
#[tokio::test(flavor = "multi_thread")]
async fn fault_19_an_erased_shopper_is_gone_from_the_state_that_replicas_share() {
    let Some(kafka) = tokio::task::spawn_blocking(Kafka::start).await.unwrap() else { return };
    let Some(redis) = Redis::start() else { return };
    let shop = tokio::task::spawn_blocking(fixture).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("erasures.key");
    fs::write(&key, "9".repeat(64)).unwrap();
    let replica = |name: &str| {
        let mut kafka = kafka.config();
        kafka.client_id = name.to_owned();
        let mut args = settings(&kafka, &shop.bundles, &dir.path().join(name));
        let more = [
            format!("erasures.key.file={}", key.display()),
            "state.backend=valkey".to_owned(),
            format!("state.valkey.addresses={}", redis.address),
            "consumer.group=classic".to_owned(),
            "recommend.state_timeout_ms=1000".to_owned(),
        ];
        args.extend(more.into_iter().flat_map(|entry| ["--set".to_owned(), entry]));
        args
    };
    let (first, second) = (Service::start(&replica("first")), Service::start(&replica("second")));
    let (mut client, other) = (first.client().await, second.client().await);
    let item = |n: usize| &shop.item(n).id;
    let mut told: Vec<_> = (0..12).map(|i| by("anna", view(&format!("device-{i}"), item(i), 1))).collect();
    told.push(by("ben", view("desk", item(20), 1)));
    tell(&mut client, told).await;
    for client in [&client, &other] {
        becomes_known(client, "device-0").await;
        becomes_known(client, "device-11").await;
        becomes_known(client, "desk").await;
    }
    // Asked of one replica; the devices' partitions are dealt out among both.
    let address = format!("http://{}", second.address());
    let asked = ["erase", "--user", "anna", "--address", &address, "--output", "json"];
    let receipt = json(endcap(&asked, &replica("second")).await);
    // Which of the two was first, and has counted, is chance.
    assert_eq!(receipt["state"]["forgotten"], true, "{receipt}");
    assert!(receipt["state"]["said"].as_str().unwrap().contains("another replica"), "{receipt}");
    for client in [&client, &other] {
        for i in 0..12 {
            assert!(!is_known(client, &format!("device-{i}")).await, "device-{i}");
        }
        assert!(is_known(client, "desk").await);
    }
    let keys = |pattern: &str| {
        let (host, port) = redis.address.split_once(':').unwrap();
        let args = ["-h", host, "-p", port, "--scan", "--pattern", pattern];
        let output = std::process::Command::new("redis-cli").args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    for visitor in (0..12).map(|i| VisitorKey::of(&format!("device-{i}"))) {
        assert_eq!(keys(&format!("*{:016x}*", visitor.0)), 0);
    }
    assert_eq!(keys(&format!("*{:016x}*", UserKey::of("anna").0)), 0);
    assert!(keys(&format!("*{:016x}*", VisitorKey::of("desk").0)) > 0);
    let [trips, commits] = ["round_trips", "commits"].map(|of| {
        let name = format!("endcap_shared_state_{of}_total");
        first.metric(&name) + second.metric(&name)
    });
    assert!(trips > commits && commits > 0.0, "{trips} round trips, {commits} commits");
    first.stop();
    second.stop();
}
