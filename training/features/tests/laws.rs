//! The laws of state and counters: whatever the order, the grouping and the repeats of events, the
//! same bytes come out; and no bytes from outside make a reader panic.

use std::num::NonZeroU32;

use endcap_features::{
    CLOCK_SKEW_MS, EventFacts, HISTORY_MAX, ItemCounters, LoginLinks, SessionTag, StateError, UserState,
    features_at, gap_bucket,
};
use endcap_proto::{EventKey, EventTime, EventType, ItemKey, UserKey, VisitorKey};
use proptest::prelude::*;

/// An event as these tests make it: few products, times and keys, so that all kinds of tie occur.
#[derive(Debug, Clone)]
struct Fact {
    key: u64,
    event_type: EventType,
    time: i64,
    user: Option<u64>,
    session: Option<u32>,
    items: Vec<u64>,
}

impl EventFacts for Fact {
    fn key(&self) -> EventKey {
        EventKey(self.key << 48)
    }

    fn event_type(&self) -> EventType {
        self.event_type
    }

    fn time(&self) -> EventTime {
        EventTime::clamped(self.time)
    }

    fn visitor(&self) -> VisitorKey {
        VisitorKey(1)
    }

    fn user(&self) -> Option<UserKey> {
        self.user.map(UserKey)
    }

    fn session(&self) -> Option<SessionTag> {
        self.session.and_then(NonZeroU32::new).map(SessionTag)
    }

    fn items(&self) -> impl Iterator<Item = ItemKey> {
        self.items.iter().copied().map(ItemKey)
    }
}

fn facts(most: usize) -> impl Strategy<Value = Vec<Fact>> {
    let times = prop_oneof![0..5i64, 0..100_000_000i64, Just(EventTime::MAX.as_millis())];
    let fact = (
        0..6u64,
        proptest::sample::select(EventType::ALL),
        times,
        proptest::option::weighted(0.1, 0..3u64),
        proptest::option::weighted(0.5, 0..3u32),
        proptest::collection::vec(0..100u64, 0..4),
    )
        .prop_map(|(key, event_type, time, user, session, items)| Fact {
            key,
            event_type,
            time,
            user,
            session,
            items,
        });
    proptest::collection::vec(fact, 0..most)
}

/// Events beyond what a history and the lists of products hold.
fn many_facts() -> impl Strategy<Value = Vec<Fact>> {
    facts(3 * HISTORY_MAX)
}

fn state(facts: &[Fact]) -> UserState {
    let mut state = UserState::default();
    facts.iter().for_each(|fact| {
        state.apply(fact);
    });
    state
}

fn counters(facts: &[Fact]) -> ItemCounters {
    let mut counters = ItemCounters::default();
    for fact in facts {
        counters.apply(fact.event_type, EventFacts::time(fact));
    }
    counters
}

proptest! {
    #[test]
    fn a_state_does_not_depend_on_order_or_repeats(
        (facts, shuffled) in many_facts().prop_flat_map(|facts| {
            let twice: Vec<_> = facts.iter().chain(&facts).cloned().collect();
            (Just(facts), Just(twice).prop_shuffle())
        })
    ) {
        prop_assert_eq!(state(&facts).encode(), state(&shuffled).encode());
    }

    #[test]
    fn an_event_that_was_applied_changes_nothing(facts in many_facts()) {
        let mut state = state(&facts);
        let before = state.clone();
        for fact in &facts {
            prop_assert!(!state.apply(fact));
        }
        prop_assert_eq!(state, before);
    }

    #[test]
    fn merging_states_is_applying_all_their_events(a in many_facts(), b in many_facts(), c in many_facts()) {
        let all: Vec<_> = a.iter().chain(&b).chain(&c).cloned().collect();
        let (all, a, b, c) = (state(&all), state(&a), state(&b), state(&c));
        prop_assert_eq!(a.merge(&b).merge(&c).encode(), all.encode());
        prop_assert_eq!(a.merge(&b.merge(&c)).encode(), all.encode());
        prop_assert_eq!(c.merge(&a).merge(&b).encode(), all.encode());
        prop_assert_eq!(all.merge(&b).encode(), all.encode());
    }

    #[test]
    fn states_survive_the_round_trip(facts in many_facts()) {
        let state = state(&facts);
        prop_assert_eq!(UserState::decode(&state.encode()), Ok(state));
    }

    #[test]
    fn a_state_reads_no_bytes_but_its_own(
        facts in facts(40),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = state(&facts).encode();
        let mut edited = bytes.clone();
        for (at, byte) in edits {
            let at = at.index(edited.len());
            edited[at] ^= byte;
        }
        for bytes in [&edited[..], &edited[..cut.index(edited.len() + 1)], &bytes[..cut.index(bytes.len() + 1)]] {
            // What is accepted is a state like any other: it spells itself as it was spelt.
            if let Ok(state) = UserState::decode(bytes) {
                prop_assert_eq!(state.encode(), bytes);
            }
        }
    }

    #[test]
    fn adding_to_bytes_is_applying_to_the_state(facts in many_facts(), sorted: bool, room in 0..64usize) {
        let mut facts = facts;
        if sorted {
            facts.sort_by_key(|fact| fact.time);
        }
        let mut bytes = UserState::default().encode();
        if let Some(first) = facts.first() {
            let mut room = [0xaa; UserState::FIRST_MAX];
            if let Some(length) = UserState::begin_with(&mut room, first) {
                bytes = room[..length].to_vec();
                prop_assert_eq!(&bytes, &state(&facts[..1]).encode());
            }
        }
        for fact in &facts {
            let length = bytes.len();
            bytes.resize(length + room, 0xaa);
            match UserState::add_to(&mut bytes, length, fact) {
                Some(added) => bytes.truncate(added),
                None => {
                    bytes.truncate(length);
                    let mut state = UserState::decode_added(&bytes).unwrap();
                    state.apply(fact);
                    bytes = state.encode();
                }
            }
            let decoded = UserState::decode_added(&bytes).unwrap();
            prop_assert_eq!(UserState::last_seen_of(&bytes), decoded.last_seen());
            prop_assert_eq!(UserState::user_of(&bytes).map(|(user, _)| user), decoded.user());
        }
        prop_assert_eq!(UserState::decode_added(&bytes).unwrap(), state(&facts));
    }

    #[test]
    fn counting_in_bytes_is_applying_to_the_counts(facts in many_facts(), near: bool, as_of in 0..100_000_000i64) {
        let mut bytes = ItemCounters::default().encode();
        let mut whole = ItemCounters::default();
        for fact in &facts {
            let time = EventTime::clamped(if near { fact.time % 9_000_000 } else { fact.time });
            whole.apply(fact.event_type, time);
            if !ItemCounters::add_to(&mut bytes, fact.event_type, time) {
                let mut counters = ItemCounters::decode(&bytes).unwrap();
                counters.apply(fact.event_type, time);
                bytes = counters.encode();
            }
        }
        prop_assert_eq!(&bytes, &whole.encode());
        let as_of = EventTime::clamped(as_of);
        prop_assert_eq!(ItemCounters::read_encoded(&bytes, as_of), Ok(whole.read(as_of)));
    }

    #[test]
    fn what_is_forgotten_was_never_applied(facts in facts(60), at in 0..100_000_000i64) {
        let at = EventTime::clamped(at);
        let mut forgetful = state(&facts);
        forgetful.forget_before(at);
        let after: Vec<_> = facts.iter().filter(|fact| EventFacts::time(*fact) >= at).cloned().collect();
        prop_assert_eq!(forgetful, state(&after));
    }

    #[test]
    fn readers_take_any_bytes_without_panic(mut bytes: Vec<u8>) {
        for version in [None, Some(1), Some(UserState::FORMAT_VERSION)] {
            if let (Some(version), Some(first)) = (version, bytes.first_mut()) {
                *first = version;
            }
            let _ = UserState::decode_added(&bytes);
            let _ = UserState::last_seen_of(&bytes);
            let _ = UserState::user_of(&bytes);
            let _ = ItemCounters::read_encoded(&bytes, EventTime::MIN);
            let mut room = bytes.clone();
            room.resize(bytes.len() + 40, 0);
            let _ = UserState::add_to(&mut room, bytes.len(), &view(1, 1, 1));
            let _ = ItemCounters::add_to(&mut room, EventType::View, EventTime::MIN);
            let _ = ItemCounters::decode(&bytes);
            let _ = LoginLinks::decode(&bytes);
        }
    }

    #[test]
    fn counters_do_not_depend_on_order_or_grouping(
        (facts, shuffled, at) in many_facts().prop_flat_map(|facts| {
            (Just(facts.clone()), Just(facts).prop_shuffle(), any::<prop::sample::Index>())
        })
    ) {
        let whole = counters(&facts);
        prop_assert_eq!(whole.encode(), counters(&shuffled).encode());
        let (a, b) = facts.split_at(at.index(facts.len() + 1));
        prop_assert_eq!(whole.encode(), counters(a).merge(&counters(b)).encode());
        prop_assert_eq!(whole.encode(), counters(b).merge(&counters(a)).encode());
        prop_assert_eq!(ItemCounters::decode(&whole.encode()), Ok(whole));
    }

    #[test]
    fn counters_read_no_bytes_but_their_own(facts in many_facts(), at: prop::sample::Index, flip: u8) {
        let mut bytes = counters(&facts).encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(counters) = ItemCounters::decode(&bytes) {
            prop_assert_eq!(counters.encode(), bytes);
        }
    }

    #[test]
    fn login_links_do_not_depend_on_order(
        links in proptest::collection::vec((0..40u64, 0..1000i64), 0..100),
        at: prop::sample::Index,
    ) {
        let link = |links: &[(u64, i64)]| {
            let mut linked = LoginLinks::default();
            for &(visitor, time) in links {
                linked.link(VisitorKey(visitor), EventTime::clamped(time));
            }
            linked
        };
        let whole = link(&links);
        let reversed: Vec<_> = links.iter().rev().copied().collect();
        prop_assert_eq!(&whole, &link(&reversed));
        let (a, b) = links.split_at(at.index(links.len() + 1));
        prop_assert_eq!(&whole, &link(b).merge(&link(a)));
        prop_assert_eq!(LoginLinks::decode(&whole.encode()), Ok(whole));
    }

    #[test]
    fn features_hold_the_newest_entries_before_the_instant(
        facts in many_facts(),
        as_of in 0..100_000_000i64,
        length in 0..70usize,
    ) {
        let state = state(&facts);
        let as_of = EventTime::clamped(as_of);
        let features = features_at(&state, as_of, length);
        let before: Vec<_> = state.history().iter().filter(|entry| entry.time < as_of).collect();
        prop_assert_eq!(features.entries, before.len());
        let newest = &before[before.len().saturating_sub(length)..];
        let items: Vec<_> = features.history.iter().map(|input| input.item).collect();
        prop_assert_eq!(items, newest.iter().map(|entry| entry.item).collect::<Vec<_>>());
        for (input, next) in features.history.iter().zip(features.history.iter().skip(1)) {
            prop_assert_eq!(input.gap_bucket, gap_bucket(next.time.millis_since(input.time)));
        }
        prop_assert!(features.session_start <= features.history.len());
    }
}

fn view(key: u64, time: i64, item: u64) -> Fact {
    Fact { key, event_type: EventType::View, time, user: None, session: None, items: vec![item] }
}

#[test]
fn the_history_keeps_the_newest_entries() {
    let facts: Vec<_> = (0..250).map(|i| view(i, i as i64, i)).collect();
    let state = state(&facts);
    let items: Vec<_> = state.history().iter().map(|entry| entry.item.0).collect();
    assert_eq!(items, (50..250).collect::<Vec<_>>());
}

#[test]
fn a_refund_takes_a_purchase_back_and_a_purchase_empties_the_cart() {
    let mut state = UserState::default();
    let mut happens = |event_type, time, item| {
        state.apply(&Fact { event_type, ..view(time as u64, time, item) });
        let bought: Vec<_> = state.bought().map(|entry| entry.item.0).collect();
        let cart: Vec<_> = state.cart().map(|entry| entry.item.0).collect();
        (bought, cart)
    };
    assert_eq!(happens(EventType::AddToCart, 1, 7), (vec![], vec![7]));
    assert_eq!(happens(EventType::AddToCart, 2, 8), (vec![], vec![7, 8]));
    assert_eq!(happens(EventType::RemoveFromCart, 3, 8), (vec![], vec![7]));
    assert_eq!(happens(EventType::Purchase, 4, 7), (vec![7], vec![]));
    // A refund that arrives now but happened before the purchase changes nothing.
    assert_eq!(happens(EventType::Refund, 3, 7), (vec![7], vec![]));
    assert_eq!(happens(EventType::Refund, 5, 7), (vec![], vec![]));
    assert_eq!(state.bought_at(ItemKey(7)), None);
}

#[test]
fn the_newest_login_names_the_user() {
    let login = |time, user| Fact {
        event_type: EventType::Login,
        user: Some(user),
        items: vec![],
        ..view(9, time, 0)
    };
    assert_eq!(state(&[login(5, 2), login(3, 1)]).user(), Some(UserKey(2)));
    assert_eq!(state(&[view(1, 7, 1)]).user(), None);
}

#[test]
fn a_state_is_read_right_after_its_newest_event_where_clocks_differ() {
    let state = state(&[view(1, 1_000, 1)]);
    let at = |millis| state.as_of(EventTime::clamped(millis)).as_millis();
    assert_eq!((at(5_000), at(1_000), at(400)), (5_000, 1_001, 1_001));
    assert_eq!(features_at(&state, state.as_of(EventTime::clamped(400)), 10).history.len(), 1);
    assert_eq!(features_at(&state, EventTime::clamped(1_000), 10).history.len(), 0);
    assert_eq!(UserState::default().as_of(EventTime::clamped(3)).as_millis(), 3);
    // A clock that is wrong by more than five minutes is not followed.
    let mut wrong = state.clone();
    wrong.apply(&view(2, 400 + CLOCK_SKEW_MS + 1, 2));
    assert_eq!(wrong.as_of(EventTime::clamped(400)).as_millis(), 1_001);
}

#[test]
fn sessions_are_derived_when_read() {
    let minute = 60_000;
    let state = state(&[view(1, 0, 1), view(2, 40 * minute, 2), view(3, 50 * minute, 3)]);
    let start = |as_of| features_at(&state, EventTime::clamped(as_of), 10).session_start;
    assert_eq!(start(1), 0);
    assert_eq!(start(55 * minute), 1);
    // Half an hour after the last entry its session is over.
    assert_eq!(start(80 * minute + 1), 3);
}

#[test]
fn fifty_entries_take_less_than_a_kibibyte() {
    // A product every ten minutes, sessions of five, a purchase at the end of each.
    let facts: Vec<_> = (0..50u64)
        .map(|i| Fact {
            event_type: if i % 5 == 4 { EventType::Purchase } else { EventType::View },
            session: Some(1 + i as u32 / 5),
            user: Some(77),
            ..view(
                i * 0x1234_5678,
                1_700_000_000_000 + (i as i64 + i as i64 / 5 * 100) * 600_000,
                i * 0x9e37_79b9,
            )
        })
        .collect();
    let state = state(&facts);
    assert_eq!(state.history().len(), 50);
    assert!(state.encode().len() <= 1024, "{} bytes", state.encode().len());
}

#[test]
fn a_newer_format_is_refused_with_what_to_do() {
    let error = UserState::decode(&[3, 0]).unwrap_err();
    assert!(matches!(error, StateError::Version { found: 3, newest: 2, .. }));
    assert!(error.to_string().contains("run that one, or rebuild the state"), "{error}");
    assert!(matches!(UserState::decode(&[]), Err(StateError::Truncated { .. })));
}

#[test]
fn counts_decay_by_their_half_lives() {
    let hour = 3_600_000;
    let mut counters = ItemCounters::default();
    // Three views within hour 0, one purchase within hour 24 (of day 1).
    for minute in [1, 2, 3] {
        assert!(counters.apply(EventType::View, EventTime::clamped(minute * 60_000)));
    }
    assert!(counters.apply(EventType::Purchase, EventTime::clamped(24 * hour + 5)));
    assert!(!counters.apply(EventType::Search, EventTime::clamped(0)), "a search counts for no product");

    let close = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-6, "{a} is not {b}");
    // An hour after the middle of the bucket. The purchase lies ahead.
    let early = counters.read(EventTime::clamped(hour + hour / 2));
    close(early.views.hour, 1.5);
    close(early.views.day, 3.0 * (-1.0f64 / 24.0).exp2());
    close(early.views.week, 3.0 * (-1.0f64 / 168.0).exp2());
    assert_eq!(early.purchases, Default::default());
    // Within the bucket a count is never more than whole.
    close(counters.read(EventTime::clamped(1)).views.hour, 3.0);
    // At hour 36: the views' bucket is 35.5 hours old, the purchase's 11.5.
    let late = counters.read(EventTime::clamped(36 * hour));
    close(late.views.day, 3.0 * (-35.5f64 / 24.0).exp2());
    close(late.purchases.day, (-11.5f64 / 24.0).exp2());
    close(late.purchases.week, (-11.5f64 / 168.0).exp2());
    let per_day = |half_life: f64| {
        let count = 3.0 * (-35.5 / half_life).exp2() + (-11.5 / half_life).exp2();
        count * std::f64::consts::LN_2 / (half_life / 24.0)
    };
    close(late.trending, ((per_day(24.0) + 1.0) / (per_day(168.0) + 1.0)).ln());
    // A cart in hour 100 moves hour 0 to day 0, whose middle is hour 12, and leaves hour 24 (76 hours
    // back) in day 1.
    counters.apply(EventType::AddToCart, EventTime::clamped(100 * hour));
    let rolled = counters.read(EventTime::clamped(108 * hour));
    close(rolled.carts.week, (-7.5f64 / 168.0).exp2());
    close(rolled.views.week, 3.0 * (-96.0f64 / 168.0).exp2());
    close(rolled.purchases.week, (-72.0f64 / 168.0).exp2());
    // Long after, what is left is next to nothing, and still a number.
    assert!(counters.read(EventTime::MAX).views.week < 1e-30);
}

#[test]
fn counts_older_than_the_buckets_are_dropped() {
    let day = 86_400_000;
    let mut counters = ItemCounters::default();
    counters.apply(EventType::View, EventTime::clamped(100 * day));
    let before = counters.encode();
    assert!(!counters.apply(EventType::View, EventTime::clamped(65 * day)));
    assert_eq!(counters.encode(), before);
    // 34 days back is within the days kept, though not within the hours.
    assert!(counters.apply(EventType::View, EventTime::clamped(66 * day)));
}
