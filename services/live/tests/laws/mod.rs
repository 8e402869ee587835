//! What every backend promises, wherever it keeps the state: consent, sessions, accounts, offsets, restarts.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use endcap_clickstream::{Erased, Shopper};
use endcap_live::{Outcome, PartitionOffset, Release, StoreConfig, erasures::Erasure};
use endcap_proto::{
    Event, EventId, EventTime, EventType, ItemId, ItemKey, UserId, UserKey, VisitorId, VisitorKey,
};
use endcap_recommend::StateSnapshot;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    place::{Opened, Place, runtime},
    world::{START, digest_of, events},
};

const MINUTE: i64 = 60_000;

/// A state at a place, and the log's next offset of partition 0.
struct Shop<'a> {
    place: &'a dyn Place,
    opened: Opened,
    next: i64,
}

impl<'a> Shop<'a> {
    fn open(place: &'a dyn Place) -> Self {
        let mut opened = place.open(&StoreConfig::default());
        opened.writer.acquire(&[0]).unwrap();
        Self { place, opened, next: 0 }
    }

    /// Applies at the next offset of partition 0 and publishes.
    fn tell(&mut self, event: Event) -> Outcome {
        let outcome = self.opened.writer.apply(0, self.next, &(&event).into()).unwrap();
        self.next += 1;
        self.opened.writer.publish().unwrap();
        assert_eq!(self.opened.writer.trouble(), None);
        outcome
    }

    fn flush(&mut self) {
        flush(&mut self.opened);
    }

    /// As after a crash: what was not flushed is gone from this process.
    fn restart(self) -> Self {
        let Self { place, opened, next } = self;
        drop(opened);
        let mut shop = Self::open(place);
        shop.next = next;
        shop
    }

    fn read(&self, visitor: &str, user: Option<&str>, session: Option<&str>) -> StateSnapshot {
        let user = user.map(UserKey::of);
        runtime().block_on(self.opened.reader.read(VisitorKey::of(visitor), user, session)).unwrap()
    }

    fn history(&self, visitor: &str, user: Option<&str>, session: Option<&str>) -> Vec<ItemKey> {
        self.read(visitor, user, session).state.history().iter().map(|entry| entry.item).collect()
    }

    /// How often an item was viewed, once readers have heard of what was flushed.
    fn views(&self, item: &str, expected: bool) -> f32 {
        let as_of = EventTime::clamped(START + 90 * MINUTE);
        let began = Instant::now();
        loop {
            let views = self.opened.reader.counters(ItemKey::of(item), as_of).views.week;
            if (views > 0.0) == expected || began.elapsed() > Duration::from_secs(20) {
                return views;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn flush(opened: &mut Opened) {
    opened.writer.wait_for_flush().unwrap();
    assert!(opened.writer.begin_flush(Box::new(|| true)).unwrap(), "{:?}", opened.writer.trouble());
    opened.writer.wait_for_flush().unwrap();
    assert_eq!(opened.writer.trouble(), None);
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

pub(crate) fn a_click_is_seen_at_once_with_the_offset_after_it(place: &dyn Place) {
    let mut shop = Shop::open(place);
    assert!(shop.read("v", None, None).state.is_empty());
    shop.tell(view("e1", "v", "shoe", 0));
    shop.tell(view("e2", "other", "hat", 1));
    let snapshot = shop.read("v", None, None);
    assert_eq!(snapshot.state.history().len(), 1);
    assert!(snapshot.consent);
    assert_eq!(snapshot.watermark, EventTime::clamped(START + MINUTE));
    let applied: Vec<_> = snapshot.applied.iter().map(|at| (&*at.topic, at.partition, at.offset)).collect();
    assert_eq!(applied, [("events", 0, 2)]);
    assert_eq!(
        shop.opened.writer.progress().applied(),
        [PartitionOffset { partition: 0, offset: 2 }],
        "the consumer is told the same"
    );
}

pub(crate) fn an_event_more_than_an_hour_behind_its_partition_is_late(place: &dyn Place) {
    let mut shop = Shop::open(place);
    assert_eq!(shop.tell(view("e1", "v", "shoe", 120)), Outcome::Applied);
    assert_eq!(shop.tell(view("e2", "v", "hat", 60)), Outcome::Applied);
    assert_eq!(shop.tell(view("e3", "v", "sock", 59)), Outcome::Late);
    // Another partition has a watermark of its own.
    shop.opened.writer.acquire(&[1]).unwrap();
    let event = view("e4", "w", "sock", 0);
    assert_eq!(shop.opened.writer.apply(1, 0, &(&event).into()).unwrap(), Outcome::Applied);
    assert_eq!(shop.history("v", None, None), keys(&["hat", "shoe"]));
}

pub(crate) fn a_repeat_is_counted_once_also_after_a_restart(place: &dyn Place) {
    let mut shop = Shop::open(place);
    assert_eq!(shop.tell(view("e1", "v", "shoe", 0)), Outcome::Applied);
    shop.flush();
    let once = shop.views("shoe", true);
    assert!(once > 0.0);
    assert_eq!(shop.tell(view("e1", "v", "shoe", 0)), Outcome::Duplicate);
    shop.flush();
    let mut shop = shop.restart();
    assert_eq!(shop.views("shoe", true), once);
    assert_eq!(shop.tell(view("e1", "v", "shoe", 0)), Outcome::Duplicate);
    shop.tell(view("e2", "v", "hat", 0));
    shop.flush();
    assert!(shop.views("hat", true) > 0.0);
    assert_eq!(shop.views("shoe", true), once);
}

pub(crate) fn without_consent_an_event_acts_on_its_own_session_alone(place: &dyn Place) {
    let mut shop = Shop::open(place);
    let outcome = shop.tell(anonymous(view("e1", "v", "shoe", 0), Some("s1")));
    assert_eq!(outcome, Outcome::SessionOnly);
    let snapshot = shop.read("v", None, Some("s1"));
    assert_eq!((snapshot.state.history().len(), snapshot.consent), (1, false));
    assert!(shop.history("v", None, Some("s2")).is_empty());
    assert!(shop.history("v", None, None).is_empty());
    assert!(shop.history("w", None, Some("s1")).is_empty());
    shop.tell(view("e2", "other", "hat", 0));
    shop.flush();
    assert!(shop.views("hat", true) > 0.0);
    assert_eq!(shop.views("shoe", false), 0.0, "nothing of it is counted");
}

pub(crate) fn a_session_without_consent_is_forgotten_half_an_hour_later(place: &dyn Place) {
    let mut shop = Shop::open(place);
    shop.tell(anonymous(view("e1", "v", "shoe", 0), None));
    shop.tell(view("e2", "other", "hat", 30));
    assert_eq!(shop.history("v", None, None), keys(&["shoe"]));
    shop.tell(view("e3", "other", "hat", 31));
    assert!(shop.history("v", None, None).is_empty());
    // Coming back begins anew: what was before stays forgotten.
    shop.tell(anonymous(view("e4", "v", "sock", 32), None));
    assert_eq!(shop.history("v", None, None), keys(&["sock"]));
}

pub(crate) fn consent_is_what_the_newest_event_says(place: &dyn Place) {
    let mut shop = Shop::open(place);
    shop.tell(view("e1", "v", "shoe", 0));
    assert!(shop.read("v", None, None).consent);
    shop.tell(anonymous(view("e2", "v", "hat", 1), None));
    let snapshot = shop.read("v", None, None);
    assert_eq!((snapshot.state.history().len(), snapshot.consent), (2, false));
    shop.tell(view("e3", "v", "sock", 2));
    assert!(shop.read("v", None, None).consent);
}

pub(crate) fn the_devices_of_an_account_are_read_as_one(place: &dyn Place) {
    let mut shop = Shop::open(place);
    shop.tell(view("e1", "phone", "shoe", 0));
    shop.tell(by(view("e2", "phone", "hat", 1), "anna"));
    shop.tell(by(view("e3", "laptop", "sock", 2), "anna"));
    let all = keys(&["shoe", "hat", "sock"]);
    assert_eq!(shop.history("phone", None, None), all);
    assert_eq!(shop.history("laptop", None, None), all, "linked by its own login");
    assert_eq!(shop.history("tablet", Some("anna"), None), all, "a new device that says whose it is");
    // What a device does later without saying whose it is reaches the others as well.
    shop.tell(view("e4", "phone", "coat", 3));
    let all = keys(&["shoe", "hat", "sock", "coat"]);
    assert_eq!(shop.history("laptop", None, None), all);
    // Someone else logs in on the laptop: it is no longer Anna's.
    shop.tell(by(view("e5", "laptop", "belt", 4), "ben"));
    assert_eq!(shop.history("phone", None, None), keys(&["shoe", "hat", "coat"]));
    assert_eq!(shop.history("laptop", None, None), keys(&["sock", "belt"]));
}

pub(crate) fn what_was_flushed_is_there_after_a_restart_with_the_offset_to_read_on_from(place: &dyn Place) {
    let mut opened = place.open(&StoreConfig::default());
    assert_eq!(opened.writer.acquire(&[0, 1]).unwrap(), [], "nothing was read yet");
    for (partition, id) in [(0, "e1"), (0, "e2"), (1, "e3")] {
        let offset = if id == "e2" { 8 } else { 7 };
        let event = view(id, "v", "shoe", 0);
        opened.writer.apply(partition, offset, &(&event).into()).unwrap();
    }
    opened.writer.skip(1, 8);
    assert_eq!(opened.writer.unflushed(), 4);
    flush(&mut opened);
    assert_eq!(opened.writer.unflushed(), 0);
    let event = view("e4", "v", "hat", 0);
    opened.writer.apply(1, 9, &(&event).into()).unwrap();
    drop(opened);
    let mut opened = place.open(&StoreConfig::default());
    let at = |partition| PartitionOffset { partition, offset: 9 };
    assert_eq!(
        opened.writer.acquire(&[0, 1, 2]).unwrap(),
        [at(0), at(1)],
        "what was not flushed is read again"
    );
    assert_eq!(opened.writer.apply(1, 9, &(&event).into()).unwrap(), Outcome::Applied);
    opened.writer.release(&[0, 1, 2], Release::Revoked).unwrap();
}

/// Crashes at random, repeats and disorder within the hour: the digest is that of a folder that was told the
/// same without interruption.
pub(crate) fn crashes_and_repeats_leave_the_state_of_an_undisturbed_run(place: &dyn Place) {
    let mut random = StdRng::seed_from_u64(17);
    let events = events(17, 1200);
    let expected = digest_of(events.iter().map(|event| (0, event)));
    let mut log = BTreeMap::<i32, Vec<&Event>>::new();
    let mut disturbed: Vec<_> = events.iter().flat_map(|event| [event; 2]).collect();
    for chunk in disturbed.chunks_mut(200) {
        rand::seq::SliceRandom::shuffle(chunk, &mut random);
    }
    for event in disturbed {
        let partition = (event.visitor_id.key().0 % 3) as i32;
        log.entry(partition).or_default().push(event);
    }
    let mut opened = place.open(&StoreConfig::default());
    let mut next = begin(&mut opened, &log);
    let mut crashes = 0;
    while log.iter().any(|(partition, events)| next[partition] < events.len()) {
        for _ in 0..random.random_range(1..150) {
            let partition = random.random_range(0..3);
            let Some(event) = log[&partition].get(next[&partition]) else { continue };
            opened.writer.apply(partition, next[&partition] as i64, &(*event).into()).unwrap();
            *next.entry(partition).or_default() += 1;
        }
        match random.random_range(0..4) {
            0 => {
                drop(opened);
                opened = place.open(&StoreConfig::default());
                next = begin(&mut opened, &log);
                crashes += 1;
            }
            1 => opened.writer.publish().unwrap(),
            2 => drop(opened.writer.begin_flush(Box::new(|| true)).unwrap()),
            _ => flush(&mut opened),
        }
    }
    flush(&mut opened);
    assert!(crashes > 3, "{crashes}");
    assert_eq!((opened.digest)(), expected);
}

/// Where to go on in each partition.
fn begin(opened: &mut Opened, log: &BTreeMap<i32, Vec<&Event>>) -> BTreeMap<i32, usize> {
    let partitions: Vec<_> = log.keys().copied().collect();
    let mut next: BTreeMap<_, _> = partitions.iter().map(|&partition| (partition, 0)).collect();
    for at in opened.writer.acquire(&partitions).unwrap() {
        next.insert(at.partition, at.offset as usize);
    }
    next
}

/// Erases, and says of how many visitors there was something, and how many were linked.
fn erase(shop: &mut Shop<'_>, shopper: Shopper, minute: i64) -> (u64, usize) {
    let before = EventTime::clamped(START + minute * MINUTE);
    let gone = shop.opened.writer.erase(&[Erasure { shopper, before }]).unwrap();
    assert_eq!(gone.len(), 1);
    shop.opened.writer.publish().unwrap();
    (gone[0].visitors, gone[0].linked.len())
}

/// Flushes until nothing of what was erased is kept anywhere.
fn forget_for_good(shop: &mut Shop<'_>) {
    let began = Instant::now();
    while !shop.opened.writer.is_forgotten_for_good() {
        assert!(began.elapsed() < Duration::from_secs(60), "it is still on disk");
        flush(&mut shop.opened);
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn an_erased_visitor_is_forgotten_up_to_the_instant_and_nobody_else_is(place: &dyn Place) {
    let mut shop = Shop::open(place);
    let phone = Shopper::Visitor(VisitorKey::of("phone"));
    shop.tell(view("e1", "phone", "shoe", 0));
    shop.tell(by(view("e2", "phone", "hat", 1), "anna"));
    shop.tell(by(view("e3", "laptop", "sock", 2), "anna"));
    shop.tell(anonymous(view("e4", "phone", "belt", 3), None));
    shop.tell(view("e5", "other", "coat", 3));
    shop.flush();
    assert_eq!(erase(&mut shop, Shopper::Visitor(VisitorKey::of("nobody")), 9), (0, 0));
    assert_eq!(erase(&mut shop, phone, 4), (1, 0));
    assert!(shop.read("phone", None, None).state.is_empty());
    assert!(shop.read("phone", None, None).state.user().is_none());
    // The account is there, and no longer has that device.
    assert_eq!(shop.history("laptop", None, None), keys(&["sock"]));
    assert_eq!(shop.history("tablet", Some("anna"), None), keys(&["sock"]));
    assert_eq!(shop.history("other", None, None), keys(&["coat"]));
    // Done again it finds nothing, also after a restart; what is done later is remembered.
    assert_eq!(erase(&mut shop, phone, 4), (0, 0));
    forget_for_good(&mut shop);
    let mut shop = shop.restart();
    assert!(shop.read("phone", None, None).state.is_empty());
    assert_eq!(erase(&mut shop, phone, 4), (0, 0));
    shop.tell(view("e6", "phone", "ring", 5));
    assert_eq!(erase(&mut shop, phone, 4), (0, 0), "it was done after the instant");
    assert_eq!(shop.history("phone", None, None), keys(&["ring"]));
    // Half of a history goes where the instant lies within.
    shop.tell(view("e7", "phone", "bag", 8));
    assert_eq!(erase(&mut shop, phone, 7), (1, 0));
    assert_eq!(shop.history("phone", None, None), keys(&["bag"]));
}

pub(crate) fn an_erased_account_takes_every_visitor_with_it_however_many_there_were(place: &dyn Place) {
    let mut shop = Shop::open(place);
    // More than an account names, the first of them long ago.
    let devices: Vec<String> = (0..20).map(|i| format!("device-{i}")).collect();
    for (i, device) in (0..).zip(&devices) {
        shop.tell(view(&format!("a{i}"), device, "shoe", i));
        shop.tell(by(view(&format!("b{i}"), device, "hat", i), "anna"));
    }
    // A device that somebody else has logged in on since was hers all the same.
    shop.tell(by(view("c1", "device-19", "belt", 21), "ben"));
    shop.tell(by(view("c2", "desk", "sock", 21), "ben"));
    shop.tell(view("c3", "other", "coat", 21));
    shop.flush();
    let anna = Shopper::User(UserKey::of("anna"));
    assert_eq!(erase(&mut shop, anna, 30), (20, 20));
    for device in &devices {
        assert!(shop.read(device, None, None).state.is_empty(), "{device}");
    }
    assert!(shop.read("new", Some("anna"), None).state.is_empty());
    assert_eq!(shop.history("desk", None, None), keys(&["sock"]));
    assert_eq!(shop.history("new", Some("ben"), None), keys(&["sock"]));
    assert_eq!(shop.history("other", None, None), keys(&["coat"]));
    forget_for_good(&mut shop);
    let mut shop = shop.restart();
    assert_eq!(erase(&mut shop, anna, 30), (0, 0));
    // Who comes back is somebody new.
    shop.tell(by(view("d1", "device-3", "ring", 40), "anna"));
    assert_eq!(erase(&mut shop, anna, 30), (0, 1));
    assert_eq!(shop.history("new", Some("anna"), None), keys(&["ring"]));
}

pub(crate) fn erasing_leaves_the_state_that_would_be_there_had_it_never_been_told(place: &dyn Place) {
    let all = events(29, 1500);
    let before = all[900].time;
    let users = ["user-1", "user-4"].map(|user| Shopper::User(UserKey::of(user)));
    let erasures: Vec<_> = users.iter().map(|&shopper| Erasure { shopper, before }).collect();
    let mut erased: Erased = erasures.iter().map(|of| (of.shopper, of.before)).collect();
    let key = |event: &Event| (event.visitor_id.key(), event.user_id.as_ref().map(|user| user.key()));
    for (visitor, user) in all.iter().filter(|event| event.time < before).map(key) {
        if let Some(before) = erased.implies(visitor, user, EventTime::MIN) {
            erased.insert(Shopper::Visitor(visitor), before);
        }
    }
    let covered = |event: &Event| erased.covers(key(event).0, key(event).1, event.time);
    let told = |place: &dyn Place, skip: bool| {
        let mut opened = place.open(&StoreConfig::default());
        opened.writer.acquire(&[0]).unwrap();
        for (offset, event) in (0..).zip(&all) {
            if skip && covered(event) {
                opened.writer.skip(0, offset);
            } else {
                opened.writer.apply(0, offset, &event.into()).unwrap();
            }
        }
        opened
    };
    let folder = crate::place::Folder::new();
    let mut never = told(&folder, true);
    never.writer.publish().unwrap();
    let mut opened = told(place, false);
    let gone = opened.writer.erase(&erasures).unwrap();
    assert!(gone.iter().all(|gone| gone.linked.len() > 1 && gone.entries > 10), "{gone:?}");
    flush(&mut opened);
    let visitors: std::collections::BTreeSet<_> = all.iter().map(|event| key(event).0.0).collect();
    for visitor in visitors.into_iter().map(VisitorKey) {
        let read =
            |opened: &Opened| runtime().block_on(opened.reader.read(visitor, None, None)).unwrap().state;
        assert_eq!(read(&opened), read(&never), "{visitor:?}");
    }
    for user in (0..8).map(|i| UserKey::of(&format!("user-{i}"))) {
        let read = |opened: &Opened| {
            runtime().block_on(opened.reader.read(VisitorKey(1), Some(user), None)).unwrap().state
        };
        assert_eq!(read(&opened), read(&never), "{user:?}");
    }
}
