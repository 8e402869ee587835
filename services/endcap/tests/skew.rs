//! Training/serving skew is nowhere: what the ranker saw when a slate was served is made again, byte for byte, from
//! the archive's files and the bundle alone.
//!
//! Two weeks of the synthetic shop go through the serving path; on the last day a slate is asked for before each step
//! of a shopper. Events come as they do in life: repeated, out of order, half a day late, without consent, from several
//! devices of one account. Then only files are left: the state is brought to each impression's `applied_offsets`,
//! and the functions that training reads (`Model::view`, `Funnel::candidates`) make the features as of its `as_of`.

mod program;
mod shop;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use endcap_bundle::{Bundle, BundleStore};
use endcap_clickstream::Dataset;
use endcap_features::RANK_FEATURES_LEN;
use endcap_live::{
    DeadLetters, EventProducer, EventSink, MemoryLog, PartitionOffset, StateStore, StateWriter, StoreConfig,
    archive::{self, ArchiveConfig, ArchivedEvents},
    consumer::{self, ConsumerConfig},
    impressions::{self, ImpressionConfig},
};
use endcap_proto::{Event, EventTime, ItemKey, UserId, UserKey, VisitorKey, v1};
use endcap_recommend::{
    Asked, Funnel, ManualClock, Model, PlacementConfig, Query, RecommendConfig, Recommender, StateReader,
};
use futures::FutureExt;
use rand::{Rng, SeedableRng, rngs::StdRng};
use shop::Fixture;
use tokio_util::sync::CancellationToken;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// When the shop's events end, Unix milliseconds. Always the same: on other days a partition may have, for hours, nobody who agreed to be
/// remembered; what is late by such events alone is not late to who reads the archive (docs/archive.md).
const END_MS: i64 = 1_793_534_400_000;

/// An event and when it reaches the topic.
type Arrival = (EventTime, Event);

#[tokio::test(flavor = "multi_thread")]
async fn features_made_again_from_the_archive_are_the_logged_ones_byte_for_byte() {
    let shop = tokio::task::spawn_blocking(|| Fixture::ending(EventTime::clamped(END_MS))).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let arrivals = arrivals(&shop);
    let last_day = arrivals.iter().map(|(_, event)| event.time).max().unwrap().plus_millis(-DAY);
    let logged = replay(&shop, &arrivals, last_day, dir.path()).await;

    let archive = dir.path().join("archive");
    let again = Comparison::of(&shop, &archive, 0, &|_| true);
    println!("{again}");
    assert_eq!(again.impressions, logged, "every impression of a shopper who agreed is archived");
    assert!(again.impressions > 200 && again.values > 100_000, "{again}");
    assert_eq!(again.differing, Vec::<String>::new());

    // It can fail: one event of thousands is missing, concerns another product, or comes a minute later …
    let touched = touched(&archive);
    let dropped = Comparison::of(&shop, &archive, 0, &|event| event.event_id != touched.event_id);
    assert!(!dropped.differing.is_empty(), "without {touched:?}");
    let other = shop.item(200).id.clone();
    let altered = Comparison::of(&shop, &archive, 0, &|event| {
        if event.event_id == touched.event_id {
            event.items[0].item_id = other.clone();
        }
        true
    });
    assert!(!altered.differing.is_empty(), "{other} in {touched:?}");
    let moved = Comparison::of(&shop, &archive, 0, &|event| {
        if event.event_id == touched.event_id {
            event.time = event.time.plus_millis(MINUTE);
        }
        true
    });
    assert!(!moved.differing.is_empty(), "{touched:?} a minute later");
    // … or the state is one event a partition behind what the impression says.
    let behind = Comparison::of(&shop, &archive, 1, &|_| true);
    assert!(!behind.differing.is_empty(), "an offset earlier");
}

/// The shop's events as they reach the topic, in that order.
fn arrivals(shop: &Fixture) -> Vec<Arrival> {
    let mut random = StdRng::seed_from_u64(7);
    let events = Dataset::open(&shop.data).unwrap().events().unwrap();
    let events: Vec<Event> = events
        .flat_map(|batch| batch.unwrap().iter().map(|event| event.to_event()).collect::<Vec<_>>())
        .collect();
    let end = events.iter().map(|event| event.time).max().unwrap();
    let mut arrivals = Vec::new();
    for mut event in events {
        let whose = event.visitor_id.key().0;
        event.consent = !whose.is_multiple_of(9);
        if whose.is_multiple_of(3) {
            event.user_id = Some(UserId::new(format!("account-{}", whose % 40)).unwrap());
        }
        let delay = match random.random_range(0..100) {
            // Too late to be applied.
            0 if event.time.plus_millis(DAY) < end => random.random_range(12 * 60 * MINUTE..20 * 60 * MINUTE),
            1..5 => random.random_range(0..20 * MINUTE),
            _ => random.random_range(0..2_000),
        };
        let time = event.time.plus_millis(delay);
        if random.random_range(0..30) == 0 {
            arrivals.push((time.plus_millis(random.random_range(0..10 * MINUTE)), event.clone()));
        }
        arrivals.push((time, event));
    }
    arrivals.sort_by_key(|(time, _)| *time);
    arrivals
}

/// Sends the events through the serving path, asks for slates from `from` on, and archives; how many impressions are
/// of shoppers who agreed to be remembered.
async fn replay(shop: &Fixture, arrivals: &[Arrival], from: EventTime, dir: &Path) -> usize {
    let log = MemoryLog::new(&[("events", 4), ("impressions", 2), ("items", 1), ("dead-letters", 1)]);
    let sink: Arc<dyn EventSink> = Arc::new(log.clone());
    let drain = CancellationToken::new();
    let (store, writer) = StateStore::open(dir.join("state"), "events", &StoreConfig::default()).unwrap();
    let (consuming, consumed) = consumer::Service::new(consumer::Options {
        source: Box::new(log.source("events")),
        writer: Box::new(writer),
        dead_letters: DeadLetters::new(Arc::clone(&sink), "dead-letters"),
        erasures: None,
        config: ConsumerConfig::default(),
    });
    let (sending, impressions) = impressions::Service::new(impressions::Options {
        sink: Arc::clone(&sink),
        topic: "impressions".into(),
        config: ImpressionConfig { spill_path: dir.join("spill"), ..ImpressionConfig::default() },
    });
    let clock = Arc::new(ManualClock::new(EventTime::MIN));
    let recommender = Recommender::new(
        bundle(shop),
        Arc::new(store.clone()),
        Arc::new(impressions.clone()),
        clock.clone(),
        config(),
    )
    .unwrap();
    let consuming = tokio::spawn(consuming.run(drain.clone()));
    let sending = tokio::spawn(sending.run(drain.clone()));

    let producer = EventProducer::new(sink, "events");
    let (mut newest, mut asked, mut agreed) = (BTreeMap::new(), 0, 0);
    for (time, event) in arrivals {
        if *time >= from && event.event_type.is_interest() {
            for place in newest.values() {
                assert!(consumed.reached(place).await);
            }
            clock.set(*time);
            let query = Query { user: event.user_id.clone(), ..Query::of(event.visitor_id.clone()) };
            let slate = recommender.recommend(&query).await.unwrap();
            assert!(slate.degraded.is_empty(), "{:?}", slate.degraded);
            asked += 1;
            let known = store.read(event.visitor_id.key(), event.user_id.as_ref().map(UserId::key), None);
            agreed += usize::from(known.now_or_never().unwrap().unwrap().consent);
        }
        let places = producer.write(vec![event.clone()]).await.unwrap();
        newest.extend(places.into_iter().map(|place| (place.partition, place)));
    }
    drain.cancel();
    consuming.await.unwrap().unwrap();
    sending.await.unwrap().unwrap();
    let status = consumed.status();
    println!(
        "{} applied, {} session only, {} late, {} repeats",
        status.applied, status.session_only, status.late, status.duplicates
    );
    assert!(status.late > 20 && status.duplicates > 50 && status.session_only > 100, "{status:?}");
    assert_eq!(impressions.status().delivered, asked);

    let archived = archive::run(
        archive::Options {
            to: dir.join("archive").into(),
            events: Box::new(log.source("events")),
            impressions: Box::new(log.source("impressions")),
            items: Box::new(log.source("items")),
            config: ArchiveConfig { roll_records: 200, ..ArchiveConfig::default() },
            until_end: true,
        },
        CancellationToken::new(),
    );
    archived.await.unwrap();
    agreed
}

/// What was compared, and where it differs.
struct Comparison {
    impressions: usize,
    /// Features of single items.
    values: usize,
    differing: Vec<String>,
}

impl Comparison {
    /// Makes the features of each archived impression again. `keep` may change an archived event before it is applied,
    /// or leave it out; the state is `behind` offsets behind in each partition.
    fn of(shop: &Fixture, archive: &Path, behind: i64, keep: &dyn Fn(&mut Event) -> bool) -> Self {
        let mut offline = Offline::open(shop, archive);
        let dataset = Dataset::open(archive).unwrap();
        let mut impressions: Vec<_> = dataset.impressions().unwrap().flat_map(Result::unwrap).collect();
        // The log only grew: vectors of offsets are in one order.
        impressions.sort_by_key(|served| served.applied_offsets.iter().map(|at| at.offset).sum::<i64>());
        let mut compared = Self { impressions: impressions.len(), values: 0, differing: Vec::new() };
        for served in &impressions {
            let again = offline.features(served, behind, keep);
            for item in &served.items {
                let made = again.get(&ItemKey::of(&item.item_id));
                let made: Vec<u32> = made.into_iter().flatten().map(|value| value.to_bits()).collect();
                let logged: Vec<u32> = item.features.iter().map(|value| value.to_bits()).collect();
                compared.values += logged.len();
                if made != logged || logged.len() != RANK_FEATURES_LEN {
                    compared.differing.push(format!("{} in {}", item.item_id, served.slate_id));
                }
            }
        }
        compared
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { impressions, values, differing } = self;
        write!(f, "{impressions} impressions, {values} feature values, {} items differ", differing.len())
    }
}

/// What can be known afterwards: the bundle, and the archive's files.
struct Offline {
    model: Model,
    funnel: Funnel,
    events: ArchivedEvents,
    store: StateStore,
    writer: StateWriter,
    _dir: tempfile::TempDir,
}

impl Offline {
    fn open(shop: &Fixture, archive: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, writer) = StateStore::open(dir.path(), "events", &StoreConfig::default()).unwrap();
        Self {
            model: Model::new(bundle(shop)).unwrap(),
            funnel: Funnel::new(&config()),
            events: ArchivedEvents::open(archive, "events").unwrap(),
            store,
            writer,
            _dir: dir,
        }
    }

    /// The ranker's inputs for each candidate of the moment that an impression is of.
    fn features(
        &mut self,
        served: &v1::Impression,
        behind: i64,
        keep: &dyn Fn(&mut Event) -> bool,
    ) -> BTreeMap<ItemKey, Vec<f32>> {
        let until = served.applied_offsets.iter();
        let until = until.map(|at| PartitionOffset { partition: at.partition, offset: at.offset - behind });
        let writer = &mut self.writer;
        let applied = self.events.advance(&until.collect::<Vec<_>>(), &mut |at, event| {
            let mut event = event.to_event();
            if keep(&mut event) {
                writer.apply(at.partition, at.offset, &event)?;
            }
            Ok::<_, archive::Error>(())
        });
        applied.unwrap();
        self.writer.publish();

        let user = Some(served.user_id.as_str()).filter(|id| !id.is_empty()).map(UserKey::of);
        let read = self.store.read(VisitorKey::of(&served.visitor_id), user, None);
        let state = read.now_or_never().expect("a read never waits").unwrap().state;
        let as_of = EventTime::from_proto("as_of", served.as_of.as_ref().unwrap()).unwrap();
        let view = self.model.view(&state, as_of);
        let shown: Vec<ItemKey> = served.items.iter().map(|item| ItemKey::of(&item.item_id)).collect();
        let asked = Asked::page(served.items.len(), PlacementConfig::default().value);
        let counters = |item| self.store.counters(item, as_of);
        let candidates = self.funnel.candidates(&view, &asked, &shown, &counters);
        let features =
            |row: usize| candidates.features[row * RANK_FEATURES_LEN..][..RANK_FEATURES_LEN].to_vec();
        candidates.rows.iter().map(|candidate| (candidate.key, features(candidate.row))).collect()
    }
}

/// The newest archived event of interest before some late impression of its shopper.
fn touched(archive: &Path) -> Event {
    let dataset = Dataset::open(archive).unwrap();
    let impressions: Vec<_> = dataset.impressions().unwrap().flat_map(Result::unwrap).collect();
    let mut found = None::<(i64, Event)>;
    for batch in dataset.events().unwrap() {
        for event in batch.unwrap().iter().filter(|event| event.event_type.is_interest()) {
            let at = event.log_position().expect("an archived event says where it was");
            let is_seen = impressions.iter().any(|served| {
                let mut applied = served.applied_offsets.iter();
                served.visitor_id == event.visitor_id
                    && applied.any(|until| until.partition == at.partition && at.offset + 3 == until.offset)
            });
            if is_seen && found.as_ref().is_none_or(|(offset, _)| at.offset > *offset) {
                found = Some((at.offset, event.to_event()));
            }
        }
    }
    found.expect("a shopper comes back within three events").1
}

fn bundle(shop: &Fixture) -> Bundle {
    BundleStore::open(&shop.bundles).unwrap().load_active().unwrap()
}

fn config() -> RecommendConfig {
    RecommendConfig {
        recall_probe: 0.0,
        // A machine that is busy must not make a slate without its shopper's state.
        state_timeout_ms: Duration::from_secs(60).as_millis() as u64,
        seed: Some(1),
        ..RecommendConfig::default()
    }
}
