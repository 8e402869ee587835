//! What a reader sees of the state: consent, sessions, accounts, offsets, time.

mod world;

use std::sync::Arc;

use endcap_live::{Outcome, StateStore, StateWriter, StoreConfig, StoreError};
use endcap_proto::{
    Event, EventId, EventTime, EventType, ItemId, ItemKey, UserId, UserKey, VisitorId, VisitorKey,
};
use endcap_recommend::{StateReader, StateSnapshot};
use world::{START, events};

const MINUTE: i64 = 60_000;

struct Shop {
    store: StateStore,
    writer: StateWriter,
    next: i64,
    _dir: tempfile::TempDir,
}

impl Shop {
    fn open() -> Self {
        Self::with(&StoreConfig::default())
    }

    fn with(config: &StoreConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, writer) = StateStore::open(dir.path(), "events", config).unwrap();
        Self { store, writer, next: 0, _dir: dir }
    }

    /// Applies at the next offset of partition 0 and publishes.
    fn tell(&mut self, event: Event) -> Outcome {
        let outcome = self.writer.apply(0, self.next, &event).unwrap();
        self.next += 1;
        self.writer.publish();
        outcome
    }

    fn read(&self, visitor: &str, user: Option<&str>, session: Option<&str>) -> StateSnapshot {
        let user = user.map(UserKey::of);
        futures::FutureExt::now_or_never(self.store.read(VisitorKey::of(visitor), user, session))
            .expect("a read never waits")
            .unwrap()
    }

    fn history(&self, visitor: &str, user: Option<&str>, session: Option<&str>) -> Vec<ItemKey> {
        self.read(visitor, user, session).state.history().iter().map(|entry| entry.item).collect()
    }
}

/// A view of an item by a visitor, `minute` minutes after the start.
fn view(id: &str, visitor: &str, item: &str, minute: i64) -> Event {
    let mut event = events(0, 1).remove(0);
    event.event_id = EventId::new(id).unwrap();
    event.event_type = EventType::View;
    event.visitor_id = VisitorId::new(visitor).unwrap();
    event.items = vec![endcap_proto::EventItem {
        item_id: ItemId::new(item).unwrap(),
        quantity: 1,
        unit_price: None,
        position: None,
    }];
    event.time = EventTime::clamped(START + minute * MINUTE);
    (event.user_id, event.session_id, event.consent) = (None, None, true);
    event
}

fn anonymous(event: Event, session: Option<&str>) -> Event {
    Event { consent: false, session_id: session.map(str::to_owned), ..event }
}

fn by(event: Event, user: &str) -> Event {
    Event { user_id: Some(UserId::new(user).unwrap()), ..event }
}

fn keys(items: &[&str]) -> Vec<ItemKey> {
    items.iter().map(|item| ItemKey::of(item)).collect()
}

#[test]
fn a_click_is_seen_at_once_with_the_offset_after_it() {
    let mut shop = Shop::open();
    assert!(shop.read("v", None, None).state.is_empty());
    shop.tell(view("e1", "v", "shoe", 0));
    shop.tell(view("e2", "other", "hat", 1));
    let snapshot = shop.read("v", None, None);
    assert_eq!(snapshot.state.history().len(), 1);
    assert!(snapshot.consent);
    assert_eq!(snapshot.watermark, EventTime::clamped(START + MINUTE));
    let applied: Vec<_> = snapshot.applied.iter().map(|at| (&*at.topic, at.partition, at.offset)).collect();
    assert_eq!(applied, [("events", 0, 2)]);
}

#[test]
fn what_is_seen_before_the_offsets_are_published_says_its_own_offset() {
    let mut shop = Shop::open();
    shop.writer.apply(0, 0, &view("e1", "v", "shoe", 0)).unwrap();
    shop.writer.apply(0, 1, &view("e2", "other", "hat", 0)).unwrap();
    assert!(shop.store.applied().is_empty());
    let snapshot = shop.read("v", None, None);
    let offsets: Vec<_> = snapshot.applied.iter().map(|at| (at.partition, at.offset)).collect();
    assert_eq!((snapshot.state.history().len(), offsets), (1, vec![(0, 1)]));
    shop.writer.publish();
    assert_eq!(shop.store.applied().first().map(|at| at.offset), Some(2));
}

#[test]
fn an_event_more_than_an_hour_behind_its_partition_is_late() {
    let mut shop = Shop::open();
    assert_eq!(shop.tell(view("e1", "v", "shoe", 120)), Outcome::Applied);
    assert_eq!(shop.tell(view("e2", "v", "hat", 60)), Outcome::Applied);
    assert_eq!(shop.tell(view("e3", "v", "sock", 59)), Outcome::Late);
    // Another partition has a watermark of its own.
    assert_eq!(shop.writer.apply(1, 0, &view("e4", "w", "sock", 0)).unwrap(), Outcome::Applied);
    assert_eq!(shop.history("v", None, None), keys(&["hat", "shoe"]));
}

#[test]
fn a_repeat_is_counted_once_also_after_a_restart() {
    let mut shop = Shop::open();
    let counted =
        |shop: &Shop| shop.store.counters(ItemKey::of("shoe"), EventTime::clamped(START + 90 * MINUTE)).views;
    assert_eq!(shop.tell(view("e1", "v", "shoe", 0)), Outcome::Applied);
    let once = counted(&shop);
    assert!(once.week > 0.0);
    assert_eq!(shop.tell(view("e1", "v", "shoe", 0)), Outcome::Duplicate);
    assert_eq!(counted(&shop), once);
    shop.writer.flush().unwrap();
    let Shop { store, writer, next, _dir } = shop;
    drop((store, writer));
    let (store, writer) = StateStore::open(_dir.path(), "events", &StoreConfig::default()).unwrap();
    let mut shop = Shop { store, writer, next, _dir };
    assert_eq!(counted(&shop), once);
    assert_eq!(shop.tell(view("e1", "v", "shoe", 0)), Outcome::Duplicate);
    assert_eq!(counted(&shop), once);
}

#[test]
fn without_consent_an_event_acts_on_its_own_session_alone() {
    let mut shop = Shop::open();
    assert_eq!(shop.tell(anonymous(view("e1", "v", "shoe", 0), Some("s1"))), Outcome::SessionOnly);
    let snapshot = shop.read("v", None, Some("s1"));
    assert_eq!((snapshot.state.history().len(), snapshot.consent), (1, false));
    assert!(shop.history("v", None, Some("s2")).is_empty());
    assert!(shop.history("v", None, None).is_empty());
    assert!(shop.history("w", None, Some("s1")).is_empty());
    let counters = shop.store.counters(ItemKey::of("shoe"), EventTime::clamped(START + 90 * MINUTE));
    assert_eq!(counters.views.week, 0.0, "nothing of it is counted");
}

#[test]
fn a_session_without_consent_is_forgotten_half_an_hour_later() {
    let mut shop = Shop::open();
    shop.tell(anonymous(view("e1", "v", "shoe", 0), None));
    shop.tell(view("e2", "other", "hat", 30));
    assert_eq!(shop.history("v", None, None), keys(&["shoe"]));
    shop.tell(view("e3", "other", "hat", 31));
    assert!(shop.history("v", None, None).is_empty());
    // Coming back begins anew: what was before stays forgotten.
    shop.tell(anonymous(view("e4", "v", "sock", 32), None));
    assert_eq!(shop.history("v", None, None), keys(&["sock"]));
    // And it goes from the disk as well.
    shop.writer.flush().unwrap();
    shop.tell(view("e5", "other", "hat", 200));
    shop.writer.flush().unwrap();
    let Shop { store, writer, _dir, .. } = shop;
    drop((store, writer));
    let (store, _writer) = StateStore::open(_dir.path(), "events", &StoreConfig::default()).unwrap();
    assert_eq!(store.sessions_in_memory(), 0);
}

#[test]
fn consent_is_what_the_newest_event_says() {
    let mut shop = Shop::open();
    shop.tell(view("e1", "v", "shoe", 0));
    assert!(shop.read("v", None, None).consent);
    shop.tell(anonymous(view("e2", "v", "hat", 1), None));
    let snapshot = shop.read("v", None, None);
    assert_eq!((snapshot.state.history().len(), snapshot.consent), (2, false));
    shop.tell(view("e3", "v", "sock", 2));
    assert!(shop.read("v", None, None).consent);
}

#[test]
fn the_devices_of_an_account_are_read_as_one() {
    let mut shop = Shop::open();
    shop.tell(view("e1", "phone", "shoe", 0));
    shop.tell(by(view("e2", "phone", "hat", 1), "anna"));
    shop.tell(by(view("e3", "laptop", "sock", 2), "anna"));
    let all = keys(&["shoe", "hat", "sock"]);
    assert_eq!(shop.history("phone", None, None), all);
    assert_eq!(shop.history("laptop", None, None), all, "linked by its own login");
    assert_eq!(shop.history("tablet", Some("anna"), None), all, "a new device that says whose it is");
    // Someone else logs in on the laptop: it is no longer Anna's.
    shop.tell(by(view("e4", "laptop", "belt", 3), "ben"));
    assert_eq!(shop.history("phone", None, None), keys(&["shoe", "hat"]));
    assert_eq!(shop.history("laptop", None, None), keys(&["sock", "belt"]));
}

#[test]
fn reading_while_writing_never_claims_more_than_it_shows() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut writer) = StateStore::open(dir.path(), "events", &StoreConfig::default()).unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, stop) = (store.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut reads = 0u64;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let read = store.read(VisitorKey::of("v"), None, None);
                    let snapshot = futures::FutureExt::now_or_never(read).unwrap().unwrap();
                    // Event i is at offset i, at minute i: offsets and history must agree exactly.
                    let offset = snapshot.applied.first().map_or(0, |at| at.offset);
                    let newest =
                        snapshot.state.last_seen().map_or(0, |time| (time.as_millis() - START) / 1000 + 1);
                    assert_eq!(offset, newest);
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    for i in 0..20_000 {
        let mut event = view(&format!("e{i}"), "v", "shoe", 0);
        event.time = EventTime::clamped(START + i * 1000);
        writer.apply(0, i, &event).unwrap();
        if i % 3 == 0 {
            writer.publish();
        }
        if i % 5000 == 0 {
            writer.flush().unwrap();
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>() > 0);
}

#[test]
fn a_folder_of_another_topic_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(StateStore::open(dir.path(), "events", &StoreConfig::default()).unwrap());
    let error = StateStore::open(dir.path(), "clicks", &StoreConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert!(
        error.to_string().contains("topic events") && error.to_string().contains("topic clicks"),
        "{error}"
    );
}

/// A minute of it has passed for the stream, and what is done beside it is done.
fn kept_up(shop: &mut Shop, until: impl Fn(&Shop) -> bool, minute: i64) {
    for i in 0..500 {
        shop.tell(view(&format!("tick-{minute}-{i}"), "clock", "tick", minute + i));
        shop.writer.flush().unwrap();
        if until(shop) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it did not happen");
}

#[test]
fn a_shopper_is_forgotten_when_the_stream_has_moved_on() {
    let mut shop = Shop::with(&StoreConfig { forget_after_days: 1, ..StoreConfig::default() });
    let day = 24 * 60;
    shop.tell(view("e1", "gone", "shoe", 0));
    shop.tell(view("e2", "back", "shoe", 0));
    shop.tell(view("e3", "other", "hat", day + 1));
    assert!(shop.history("gone", None, None).is_empty(), "a day later nothing is shown of it");
    shop.tell(view("e4", "back", "sock", day + 30));
    assert_eq!(shop.history("back", None, None), keys(&["sock"]));
    // Another hour on, when nothing can come that is close enough to it, it is gone.
    kept_up(&mut shop, |shop| shop.store.shoppers_in_memory() == 3, day + 62);
    assert_eq!(shop.history("back", None, None), keys(&["sock"]));
}

#[test]
fn those_longest_unseen_go_first_when_there_are_too_many() {
    let mut shop = Shop::with(&StoreConfig { shoppers_at_most: 50, ..StoreConfig::default() });
    for i in 0..100 {
        shop.tell(view(&format!("e{i}"), &format!("v{i}"), "shoe", i));
    }
    kept_up(&mut shop, |shop| shop.store.shoppers_in_memory() <= 53, 101);
    assert!(shop.history("v99", None, None).len() == 1 && shop.history("v0", None, None).is_empty());
}

#[test]
fn what_shoppers_turn_to_most_is_told() {
    let mut shop = Shop::open();
    for i in 0..30 {
        let item = if i % 3 == 0 { "hat" } else { "shoe" };
        shop.tell(view(&format!("e{i}"), &format!("v{i}"), item, i));
    }
    kept_up(&mut shop, |shop| shop.store.trending().items.len() == 3, 31);
    let trending = shop.store.trending();
    let items: Vec<_> =
        trending.items.iter().map(|(item, _)| *item).filter(|item| *item != ItemKey::of("tick")).collect();
    assert_eq!(items, keys(&["shoe", "hat"]));
}

#[test]
fn a_burst_is_counted_to_its_end_though_nothing_comes_after_it() {
    let mut shop = Shop::open();
    for minute in 0..10 {
        shop.tell(view(&format!("e{minute}"), "v", &format!("item-{minute}"), minute));
        shop.writer.flush().unwrap();
    }
    for _ in 0..500 {
        // As the consumer does: it flushes where something is left to be done.
        if shop.writer.unflushed() > 0 {
            shop.writer.flush().unwrap();
        }
        if shop.store.trending().items.len() == 10 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it was not counted to its end: {:?}", shop.store.trending());
}

#[test]
fn a_visitor_and_a_user_are_forgotten_for_good() {
    let mut shop = Shop::open();
    shop.tell(by(view("e1", "phone", "shoe", 0), "anna"));
    shop.tell(by(view("e2", "laptop", "hat", 1), "anna"));
    shop.tell(by(view("e3", "laptop", "sock", 50), "anna"));
    let noon = EventTime::clamped(START + 40 * MINUTE);
    shop.writer.forget(VisitorKey::of("phone"), noon).unwrap();
    shop.writer.forget(VisitorKey::of("laptop"), noon).unwrap();
    shop.writer.unlink(UserKey::of("anna")).unwrap();
    let after = |shop: &Shop| (shop.history("phone", Some("anna"), None), shop.history("laptop", None, None));
    assert_eq!(after(&shop), (vec![], keys(&["sock"])));
    shop.writer.flush().unwrap();
    let Shop { store, writer, next, _dir } = shop;
    drop((store, writer));
    let (store, writer) = StateStore::open(_dir.path(), "events", &StoreConfig::default()).unwrap();
    let shop = Shop { store, writer, next, _dir };
    assert_eq!(after(&shop), (vec![], keys(&["sock"])));
}

#[test]
fn nothing_of_an_erased_shopper_is_left_in_any_file_also_after_a_kill() {
    let mut shop = Shop::open();
    for i in 0..300 {
        shop.tell(by(
            view(&format!("e{i}"), &format!("v{}", i % 30), "shoe", i / 10),
            &format!("u{}", i % 10),
        ));
    }
    shop.writer.flush().unwrap();
    let visitor = VisitorKey::of("v7");
    let mentions = |shop: &Shop, key: u64| {
        let files = std::fs::read_dir(shop._dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let holds = |bytes: &[u8]| bytes.windows(8).any(|window| window == key.to_le_bytes());
        files.filter(|file| holds(&std::fs::read(file).unwrap())).count()
    };
    assert!(mentions(&shop, visitor.0) > 0 && mentions(&shop, UserKey::of("u7").0) > 0);
    let shopper = endcap_clickstream::Shopper::User(UserKey::of("u7"));
    let erasure = endcap_live::erasures::Erasure { shopper, before: EventTime::clamped(START + 60 * MINUTE) };
    let gone = shop.writer.erase(&[erasure]).unwrap();
    assert_eq!((gone[0].visitors, gone[0].linked.len()), (3, 3));
    let for_good = |writer: &mut StateWriter| {
        let began = std::time::Instant::now();
        while !writer.is_forgotten_for_good() {
            assert!(began.elapsed() < std::time::Duration::from_secs(60));
            writer.flush().unwrap();
        }
    };
    assert!(!shop.writer.is_forgotten_for_good());
    for_good(&mut shop.writer);
    assert!(shop.history("v7", Some("u7"), None).is_empty());
    assert_eq!((mentions(&shop, visitor.0), mentions(&shop, UserKey::of("u7").0)), (0, 0));
    assert!(mentions(&shop, VisitorKey::of("v8").0) > 0);
    // Killed when the journal had it and there was no snapshot yet: the next start makes one.
    shop.writer.forget(VisitorKey::of("v8"), erasure.before).unwrap();
    shop.writer.unlink(UserKey::of("u8")).unwrap();
    shop.writer.flush().unwrap();
    assert!(mentions(&shop, VisitorKey::of("v8").0) > 0);
    let Shop { store, writer, next, _dir } = shop;
    drop((store, writer));
    let (store, mut writer) = StateStore::open(_dir.path(), "events", &StoreConfig::default()).unwrap();
    assert!(!writer.is_forgotten_for_good());
    for_good(&mut writer);
    let shop = Shop { store, writer, next, _dir };
    assert_eq!(mentions(&shop, VisitorKey::of("v8").0), 0);
    assert!(mentions(&shop, VisitorKey::of("v9").0) > 0);
}

#[test]
fn a_snapshot_replaces_the_journal_before_it() {
    let mut shop = Shop::open();
    for i in 0..5000 {
        shop.tell(view(&format!("e{i}"), &format!("v{}", i % 700), &format!("item-{}", i % 90), i / 100));
    }
    shop.writer.flush().unwrap();
    let digest = shop.store.digest().unwrap();
    shop.writer.snapshot().unwrap();
    let files = std::fs::read_dir(shop._dir.path()).unwrap().map(|entry| entry.unwrap());
    let journals: Vec<_> =
        files.filter(|entry| entry.file_name().to_string_lossy().starts_with("journal-")).collect();
    let bytes: u64 = journals.iter().map(|entry| entry.metadata().unwrap().len()).sum();
    assert!(journals.len() == 1 && bytes < 100, "{bytes} bytes of {journals:?}");
    let Shop { store, writer, _dir, .. } = shop;
    drop((store, writer));
    let (store, mut writer) = StateStore::open(_dir.path(), "events", &StoreConfig::default()).unwrap();
    assert_eq!(store.digest().unwrap(), digest);
    // Its window of repeats is there as well.
    assert_eq!(writer.apply(0, 9000, &view("e4999", "v1", "item-1", 49)).unwrap(), Outcome::Duplicate);
}

#[test]
fn a_folder_in_use_is_refused() {
    let shop = Shop::open();
    let error = StateStore::open(shop._dir.path(), "events", &StoreConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}
