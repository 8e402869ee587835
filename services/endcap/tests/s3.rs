//! The archive in a bucket of a real MinIO: each record once, whoever is killed; fetched, it trains as it is.

mod minio;
mod program;
mod shop;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use endcap_clickstream::{Dataset, LogPosition};
use endcap_live::{EventProducer, ItemProducer, KafkaConfig, KafkaSink, MockBroker};
use endcap_proto::v1::{RecommendRequest, WriteEventsRequest};
use minio::Minio;
use program::{PATIENCE, Service, run, settings};
use rand::{Rng, SeedableRng, rngs::StdRng};
use shop::{Fixture, fixture, train, view};

#[test]
fn each_record_is_in_the_bucket_once_whoever_is_killed_and_it_trains_as_it_is() {
    let Some(minio) = Minio::start() else { return };
    let shop = fixture();
    let broker = MockBroker::start(4).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let place = Minio::place("year/archive");
    let archive = |name: &str, more: &[&str]| {
        let mut args = vec!["archive".to_owned(), "--out".into(), place.clone()];
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        args.extend(settings(broker.config(), &shop.bundles, &dir.path().join("state")));
        args.extend(minio.settings(&dir.path().join(name)));
        args
    };
    // Two of them write to one bucket, and cut at different offsets; one after the other is killed. Once it is MinIO.
    let mut random = StdRng::seed_from_u64(3);
    let quick =
        |records: u32| [format!("archive.roll_records={records}"), "archive.roll_interval_ms=150".into()];
    let begin = |name: &str, records: u32| {
        let quick = quick(records);
        Archiver::start(
            &archive(name, &["--log", "warn", "--set", &quick[0], "--set", &quick[1]]),
            dir.path(),
            name,
        )
    };
    let names = [("first", 37), ("second", 53)];
    let mut archivers = names.map(|(name, records)| begin(name, records));
    let written = thread::scope(|scope| {
        let writing = scope.spawn(|| write(&shop, broker.config()));
        for kill in 0..14 {
            thread::sleep(Duration::from_millis(random.random_range(100..900)));
            if kill == 4 {
                minio.kill();
                thread::sleep(Duration::from_millis(500));
                minio.start_again();
                continue;
            }
            let (name, records) = names[kill % 2];
            archivers[kill % 2].kill();
            archivers[kill % 2] = begin(name, records);
        }
        writing.join().unwrap()
    });
    let overtaken = archivers.iter_mut().map(Archiver::kill).sum::<usize>();
    let done: serde_json::Value =
        serde_json::from_str(&run(archive("last", &["--until-end", "--output", "json"])).done()).unwrap();
    println!("{overtaken} times overtaken; the last one: {done}");
    assert!(overtaken > 0, "the two never came to the same offset");

    // Fetched, it holds each record once.
    let fetched = dir.path().join("fetched");
    let first_time = fetch(&minio, &place, &fetched);
    let rows = rows(&fetched);
    assert_eq!(rows.values().sum::<usize>(), written, "none is missing");
    assert!(rows.values().all(|&times| times == 1), "none is there twice");
    // Fetched again, only what changes, what is missing and what is cut off is fetched.
    let again = fetch(&minio, &place, &fetched);
    let changing = 3; // catalogue, its offsets, dataset.json
    assert_eq!(
        (again["files"].as_u64(), again["kept"].as_u64()),
        (Some(changing), first_time["files"].as_u64().map(|files| files - changing))
    );
    let files: Vec<PathBuf> = shop::files(&fetched.join("events"));
    fs::remove_file(&files[0]).unwrap();
    fs::write(&files[1], "cut").unwrap();
    assert_eq!(fetch(&minio, &place, &fetched)["files"].as_u64(), Some(changing + 2));
    assert_eq!(self::rows(&fetched), rows);
    assert_eq!(Dataset::open(&fetched).unwrap().items().unwrap().len(), shop.shop.items().len());
    train(&[&fetched], &dir.path().join("bundles"));

    // What is no folder is told from one, and what the bucket says is said.
    run(["check", &place]).refused(2, &[&place, "endcap archive fetch"]);
    let mut nowhere = archive("nowhere", &["--until-end"]);
    nowhere[2] = "s3://no-such-bucket/a".to_owned();
    run(nowhere).refused(1, &["s3://no-such-bucket/a", "NoSuchBucket"]);
    let mut stranger = archive("stranger", &["--until-end"]);
    stranger.extend(["--set".to_owned(), "archive.s3.secret_access_key={ env = \"PATH\" }".to_owned()]);
    run(stranger).refused(1, &[&place, "SignatureDoesNotMatch"]);
    let mut silent = archive("silent", &["--until-end"]);
    silent.extend([
        "--set".to_owned(),
        "archive.s3.access_key_id={ env = \"ENDCAP_TEST_NO_SUCH\" }".to_owned(),
    ]);
    run(silent).refused(1, &["archive.s3.access_key_id", "ENDCAP_TEST_NO_SUCH"]);
}

/// A service archives while it serves. A bucket that is away stops no slate, is named by the status, and gets all in the
/// end.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_archives_while_it_serves_and_waits_for_a_bucket_that_is_away() {
    let Some(minio) = Minio::start() else { return };
    let shop = tokio::task::spawn_blocking(fixture).await.unwrap();
    let broker = MockBroker::start(2).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let place = Minio::place("served");
    let mut args = settings(broker.config(), &shop.bundles, &dir.path().join("state"));
    args.extend(minio.settings(&dir.path().join("staging")));
    let more = [format!("archive.path={place}"), "archive.roll_interval_ms=200".to_owned()];
    args.extend(more.into_iter().flat_map(|entry| ["--set".to_owned(), entry]));
    let service = Service::start(&args);
    let mut client = service.client().await;
    let mut click = async |serial: u32| {
        let event = view("anna", &shop.item(serial as usize).id, serial).into();
        client.events.write(WriteEventsRequest { events: vec![event] }).await.unwrap();
    };
    click(1).await;
    tokio::task::block_in_place(|| within(|| !minio.objects("served/events").is_empty()));
    minio.kill();
    click(2).await;
    tokio::task::block_in_place(|| {
        within(|| service.degraded().iter().any(|why| why.contains("the archive waits: s3://shop/served")))
    });
    let request = RecommendRequest { visitor_id: "anna".into(), ..Default::default() };
    let slate = service.client().await.recommend(request).await.unwrap();
    assert_eq!(slate.results.len(), 20);
    minio.start_again();
    tokio::task::block_in_place(|| within(|| service.degraded().is_empty()));
    click(3).await;
    // Whatever is open is finished when it stops.
    tokio::task::block_in_place(|| service.stop());
    let fetched = dir.path().join("fetched");
    fetch(&minio, &place, &fetched);
    let rows = rows(&fetched);
    assert_eq!((rows.len(), rows.values().sum::<usize>()), (3, 3));
    let impressions: Vec<_> =
        Dataset::open(&fetched).unwrap().impressions().unwrap().flat_map(Result::unwrap).collect();
    assert_eq!(impressions.len(), 1, "the slate, too");
}

/// Waits until something is so.
fn within(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it never is so");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Writes the shop's catalogue and events to the topics, over some seconds; how many events.
fn write(shop: &Fixture, kafka: &KafkaConfig) -> usize {
    let sink = Arc::new(KafkaSink::patient(kafka).unwrap());
    let items = ItemProducer::new(sink.clone(), kafka.topics.items.as_str());
    let events = EventProducer::new(sink, kafka.topics.events.as_str());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        items.upsert(shop.shop.items().to_vec()).await.unwrap();
        let mut written = 0;
        for batch in Dataset::open(&shop.data).unwrap().events().unwrap() {
            let batch: Vec<_> = batch.unwrap().iter().map(|event| event.to_event()).collect();
            for piece in batch.chunks(25) {
                events.write(piece.to_vec()).await.unwrap();
                written += piece.len();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        written
    })
}

/// How often each record is in an archive.
fn rows(archive: &Path) -> BTreeMap<LogPosition, usize> {
    let mut rows = BTreeMap::new();
    for batch in Dataset::open(archive).unwrap().events().unwrap() {
        for event in batch.unwrap().iter() {
            *rows.entry(event.log_position().unwrap()).or_default() += 1;
        }
    }
    rows
}

fn fetch(minio: &Minio, from: &str, to: &Path) -> serde_json::Value {
    let mut args = vec!["archive".to_owned(), "fetch".into(), from.into(), to.display().to_string()];
    args.extend(minio.settings(&to.with_extension("staging")));
    args.extend(["--output", "json"].map(str::to_owned));
    serde_json::from_str(&run(args).done()).unwrap()
}

/// `endcap archive`, which is killed.
struct Archiver {
    child: Child,
    log: PathBuf,
}

impl Archiver {
    fn start(args: &[String], dir: &Path, name: &str) -> Self {
        let log = dir.join(format!("{name}.log"));
        let stderr = fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_endcap"));
        command.args(args).env_remove("ENDCAP_CONFIG").env_remove("ENDCAP_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        Self { child: command.spawn().unwrap(), log }
    }

    /// Kills it; how often those of its name were overtaken by another.
    fn kill(&mut self) -> usize {
        assert!(
            self.child.try_wait().unwrap().is_none(),
            "it had ended: {}",
            fs::read_to_string(&self.log).unwrap()
        );
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        fs::read_to_string(&self.log).unwrap().matches("another archive has written").count()
    }
}
