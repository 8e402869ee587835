//! A shopper who was erased is gone, with the visitors of their account, and nothing that is read later or again brings
//! them back.

mod world;

use std::{path::Path, sync::Arc, time::Duration};

use endcap_clickstream::Shopper;
use endcap_live::{
    DeadLetters, MemoryLog, StateStore, StoreConfig, consumer,
    erasures::{self, Erasure, ErasureKey, Erasures},
};
use endcap_proto::{Event, EventId, EventTime, UserId, UserKey, VisitorId, VisitorKey};
use endcap_recommend::StateReader as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use world::{START, events, message};

const PATIENCE: Duration = Duration::from_secs(60);

/// A consumer over a log in memory, with a state in a folder.
struct Running {
    store: StateStore,
    handle: consumer::Handle,
    erasures: Erasures,
    drain: CancellationToken,
    consuming: JoinHandle<Result<(), consumer::Error>>,
    following: JoinHandle<Result<(), erasures::Error>>,
}

fn key() -> Option<ErasureKey> {
    Some(ErasureKey::parse(&"7".repeat(64)).unwrap())
}

impl Running {
    fn start(log: &MemoryLog, dir: &Path) -> Self {
        let (store, writer) = StateStore::open(dir, "events", &StoreConfig::default()).unwrap();
        let (following, erasures) = erasures::Service::new(erasures::Options {
            source: Box::new(log.source("erasures")),
            sink: Arc::new(log.clone()),
            key: key(),
        });
        let (consuming, handle) = consumer::Service::new(consumer::Options {
            source: Box::new(log.source("events")),
            writer: Box::new(writer),
            dead_letters: DeadLetters::new(Arc::new(log.clone()), "dead-letters"),
            erasures: Some(erasures.clone()),
            config: consumer::ConsumerConfig { flush_interval_ms: 10, ..Default::default() },
        });
        let drain = CancellationToken::new();
        let consuming = tokio::spawn(consuming.run(drain.clone()));
        let following = tokio::spawn(following.run(drain.clone()));
        Self { store, handle, erasures, drain, consuming, following }
    }

    async fn caught_up(self) -> Self {
        assert!(tokio::time::timeout(PATIENCE, self.handle.caught_up()).await.unwrap());
        self
    }

    async fn erase(&self, shopper: Shopper, before: EventTime) -> Erasure {
        let erasure = Erasure { shopper, before };
        let places = self.erasures.erase(&[erasure]).await.unwrap();
        assert!(tokio::time::timeout(PATIENCE, self.erasures.reached(&places)).await.unwrap());
        let count = self.erasures.count();
        assert!(tokio::time::timeout(PATIENCE, self.handle.has_erased(count)).await.unwrap());
        erasure
    }

    fn history(&self, visitor: &str) -> usize {
        let read = self.store.read(VisitorKey::of(visitor), None, None);
        futures::FutureExt::now_or_never(read).unwrap().unwrap().state.history().len()
    }

    async fn stop(self) -> u64 {
        let erased = self.handle.status().erased;
        self.drain.cancel();
        self.consuming.await.unwrap().unwrap();
        self.following.await.unwrap().unwrap();
        erased
    }
}

fn view(id: &str, visitor: &str, user: Option<&str>, minute: i64) -> Event {
    let mut event =
        events(0, 200).into_iter().find(|event| event.event_type.is_interest() && event.consent).unwrap();
    event.event_id = EventId::new(id).unwrap();
    event.visitor_id = VisitorId::new(visitor).unwrap();
    event.user_id = user.map(|user| UserId::new(user).unwrap());
    event.session_id = None;
    event.time = EventTime::clamped(START + minute * 60_000);
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_account_is_gone_with_its_visitors_and_the_log_read_again_does_not_bring_it_back() {
    let log = MemoryLog::new(&[("events", 3), ("erasures", 2), ("dead-letters", 1)]);
    let root = tempfile::tempdir().unwrap();
    let tell = |event: &Event| drop(log.append(message("events", event)).unwrap());
    // On the phone before she logged in; on the laptop; somebody else.
    tell(&view("e1", "phone", None, 0));
    tell(&view("e2", "phone", Some("anna"), 1));
    tell(&view("e3", "laptop", Some("anna"), 2));
    tell(&view("e4", "phone", None, 3));
    tell(&view("e5", "other", Some("ben"), 4));
    let running = Running::start(&log, &root.path().join("first")).caught_up().await;
    assert!(running.history("phone") > 0 && running.history("laptop") > 0 && running.history("other") > 0);

    let noon = EventTime::clamped(START + 10 * 60_000);
    let erasure = running.erase(Shopper::User(UserKey::of("anna")), noon).await;
    assert_eq!((running.history("phone"), running.history("laptop")), (0, 0));
    assert!(running.history("other") > 0);
    let gone = running.handle.gone(&erasure).unwrap();
    assert_eq!((gone.visitors, gone.linked.len()), (2, 2), "{gone:?}");
    // What comes late is passed over, on a device that was not known to be hers as well; what is done later is not.
    tell(&view("e6", "phone", None, 5));
    tell(&view("e7", "tablet", Some("anna"), 6));
    tell(&view("e8", "tablet", None, 7));
    tell(&view("e9", "phone", Some("anna"), 11));
    let began = std::time::Instant::now();
    while running.handle.status().partitions.iter().map(|at| at.next).sum::<i64>() < 9 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(running.history("tablet"), 0);
    assert_eq!(running.stop().await, 3);

    // The log again, into another state: the topic names her, and by now each of her visitors.
    let running = Running::start(&log, &root.path().join("second")).caught_up().await;
    assert_eq!((running.history("tablet"), running.history("laptop")), (0, 0));
    assert!(running.history("phone") > 0, "what she did later");
    let visitors = ["phone", "laptop", "tablet"].map(|id| Shopper::Visitor(VisitorKey::of(id)));
    let known = running.erasures.erased();
    assert!(visitors.iter().all(|visitor| known.before(*visitor) == Some(noon)), "{known:?}");
    assert_eq!(running.stop().await, 7);

    // The first state again: what was erased stays so, and nothing is announced twice.
    let told = log.messages("erasures").len();
    let running = Running::start(&log, &root.path().join("first")).caught_up().await;
    assert_eq!((running.history("tablet"), running.history("laptop")), (0, 0));
    running.stop().await;
    assert_eq!(log.messages("erasures").len(), told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_away_forgets_when_it_is_started_again() {
    let log = MemoryLog::new(&[("events", 1), ("erasures", 1), ("dead-letters", 1)]);
    let root = tempfile::tempdir().unwrap();
    let event = view("e1", "phone", None, 0);
    log.append(message("events", &event)).unwrap();
    let running = Running::start(&log, root.path()).caught_up().await;
    assert!(running.history("phone") > 0);
    running.stop().await;
    // Erased by another process, while this one is away.
    let (_, erasures) = erasures::Service::new(erasures::Options {
        source: Box::new(log.source("erasures")),
        sink: Arc::new(log.clone()),
        key: key(),
    });
    let erasure =
        Erasure { shopper: Shopper::Visitor(event.visitor_id.key()), before: event.time.plus_millis(1) };
    erasures.erase(&[erasure]).await.unwrap();
    let running = Running::start(&log, root.path()).caught_up().await;
    assert_eq!(running.history("phone"), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_read_while_it_is_not_known_who_is_to_be_forgotten() {
    let log = MemoryLog::new(&[("events", 1), ("dead-letters", 1)]);
    let root = tempfile::tempdir().unwrap();
    log.append(message("events", &view("e1", "phone", None, 0))).unwrap();
    let running = Running::start(&log, root.path());
    let began = std::time::Instant::now();
    while running.handle.status().trouble.is_none_or(|trouble| !trouble.contains("erasures")) {
        assert!(began.elapsed() < PATIENCE, "{:?}", running.handle.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(running.handle.status().applied, 0);
    running.stop().await;
}
