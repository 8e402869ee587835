//! One suite of laws for every backend: the embedded store, one Redis server, a cluster of three; and what only a
//! shared state promises, with several writers.

mod laws;
mod place;
mod world;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use endcap_live::{
    Outcome, Release, Secret, StateBackend, StoreConfig, StoreError, ValkeyConfig, ValkeyStore,
};
use endcap_proto::{Event, EventTime, ItemKey, VisitorKey};
use endcap_recommend::StateReader;
use place::{Folder, Place, Server, runtime, skipped};
use rand::{Rng, SeedableRng, rngs::StdRng};
use world::{START, digest_of, events};

macro_rules! laws {
    ($($law:ident)*) => {
        mod embedded {
            $(#[test] fn $law() { super::laws::$law(&super::Folder::new()); })*
        }
        mod redis {
            $(#[test] fn $law() {
                let Some(server) = super::Server::one() else { return super::skipped() };
                super::laws::$law(&server.place());
            })*
        }
        mod cluster {
            $(#[test] fn $law() {
                let Some(server) = super::Server::cluster() else { return super::skipped() };
                super::laws::$law(&server.place());
            })*
        }
    };
}

laws! {
    a_click_is_seen_at_once_with_the_offset_after_it
    an_event_more_than_an_hour_behind_its_partition_is_late
    a_repeat_is_counted_once_also_after_a_restart
    without_consent_an_event_acts_on_its_own_session_alone
    a_session_without_consent_is_forgotten_half_an_hour_later
    consent_is_what_the_newest_event_says
    the_devices_of_an_account_are_read_as_one
    what_was_flushed_is_there_after_a_restart_with_the_offset_to_read_on_from
    crashes_and_repeats_leave_the_state_of_an_undisturbed_run
    an_erased_visitor_is_forgotten_up_to_the_instant_and_nobody_else_is
    an_erased_account_takes_every_visitor_with_it_however_many_there_were
    erasing_leaves_the_state_that_would_be_there_had_it_never_been_told
}

fn flush(writer: &mut dyn StateBackend) {
    writer.wait_for_flush().unwrap();
    while !writer.begin_flush(Box::new(|| true)).unwrap() {
        writer.wait_for_flush().unwrap();
    }
    writer.wait_for_flush().unwrap();
}

/// A log of three partitions, each shopper's events in one.
fn log_of(events: &[Event]) -> BTreeMap<i32, Vec<&Event>> {
    let mut log = BTreeMap::<i32, Vec<&Event>>::new();
    for event in events {
        log.entry((event.visitor_id.key().0 % 3) as i32).or_default().push(event);
    }
    log
}

fn apply(writer: &mut dyn StateBackend, partition: i32, events: &[&Event], from: usize, to: usize) {
    for (offset, event) in events.iter().enumerate().take(to).skip(from) {
        writer.apply(partition, offset as i64, &(*event).into()).unwrap();
    }
}

#[test]
fn who_lost_a_partition_can_no_longer_write_it_and_nothing_is_counted_twice() {
    let Some(server) = Server::one() else { return skipped() };
    let place = server.place();
    let events = events(3, 900);
    let log = log_of(&events);
    let mut old = place.open(&StoreConfig::default());
    let mut new = place.open(&StoreConfig::default());
    old.writer.acquire(&[0, 1, 2]).unwrap();
    for (&partition, events) in &log {
        apply(&mut *old.writer, partition, events, 0, 100);
    }
    flush(&mut *old.writer);
    // It goes on, not knowing that another has its partitions: what it writes of visitors is right, and what it
    // would count is refused.
    for (&partition, events) in &log {
        apply(&mut *old.writer, partition, events, 100, 150);
    }
    old.writer.publish().unwrap();
    for (&partition, events) in &log {
        let from = new.writer.acquire(&[partition]).unwrap();
        assert_eq!(from[0].offset, 100);
        apply(&mut *new.writer, partition, events, 100, 130);
        new.writer.publish().unwrap();
        apply(&mut *old.writer, partition, events, 150, 170);
        old.writer.publish().unwrap();
        apply(&mut *new.writer, partition, events, 130, events.len());
    }
    flush(&mut *old.writer);
    flush(&mut *new.writer);
    let first = &log[&0][0];
    assert_eq!(old.writer.apply(0, 170, &(*first).into()).unwrap(), Outcome::Behind);
    assert_eq!((new.digest)(), digest_of(events.iter().map(|event| (0, event))));
}

#[test]
fn writers_that_join_leave_and_die_at_random_lose_nothing() {
    let Some(server) = Server::cluster() else { return skipped() };
    for seed in 0..3 {
        let place = server.place();
        let mut random = StdRng::seed_from_u64(seed);
        let events = events(seed, 2000);
        let log = log_of(&events);
        let mut writers: Vec<_> = (0..3).map(|_| place.open(&StoreConfig::default())).collect();
        // Whose each partition is, and how far its owner has read.
        let mut owners: BTreeMap<i32, (usize, usize)> = BTreeMap::new();
        let mut moves = 0;
        loop {
            for &partition in log.keys() {
                if owners.contains_key(&partition) && random.random_range(0..6) > 0 {
                    continue;
                }
                let next = random.random_range(0..writers.len());
                if let Some((owner, _)) = owners.remove(&partition) {
                    moves += 1;
                    match random.random_range(0..3) {
                        0 => {
                            flush(&mut *writers[owner].writer);
                            writers[owner].writer.release(&[partition], Release::Revoked).unwrap();
                        }
                        1 => writers[owner].writer.release(&[partition], Release::Lost).unwrap(),
                        // Killed, with all it had: others must go on from what was flushed.
                        _ => {
                            writers[owner] = place.open(&StoreConfig::default());
                            owners.retain(|_, (other, _)| *other != owner);
                        }
                    }
                }
                let from = writers[next].writer.acquire(&[partition]).unwrap();
                owners.insert(partition, (next, from.first().map_or(0, |at| at.offset as usize)));
            }
            if owners.len() < log.len() {
                continue;
            }
            for (partition, (owner, next)) in &mut owners {
                let to = (*next + random.random_range(1..30)).min(log[partition].len());
                apply(&mut *writers[*owner].writer, *partition, &log[partition], *next, to);
                *next = to;
                match random.random_range(0..3) {
                    0 => writers[*owner].writer.publish().unwrap(),
                    1 => drop(writers[*owner].writer.begin_flush(Box::new(|| true)).unwrap()),
                    _ => {}
                }
            }
            if owners.iter().all(|(partition, (_, next))| *next == log[partition].len()) {
                break;
            }
        }
        writers.iter_mut().for_each(|opened| flush(&mut *opened.writer));
        assert!(moves >= 20, "seed {seed}: {moves}");
        let expected = digest_of(events.iter().map(|event| (0, event)));
        assert_eq!((writers[0].digest)(), expected, "seed {seed}: another state after {moves} moves");
    }
}

#[test]
fn another_replica_reads_what_one_has_written_and_sums_the_shards_of_its_counters() {
    let Some(server) = Server::cluster() else { return skipped() };
    let place = server.place();
    let events = events(5, 1500);
    let log = log_of(&events);
    let mut writers: Vec<_> = (0..3).map(|_| place.open(&StoreConfig::default())).collect();
    let replica = place.open(&StoreConfig::default());
    let folder = Folder::new();
    let mut single = folder.open(&StoreConfig::default());
    single.writer.acquire(&[0]).unwrap();
    for (offset, event) in events.iter().enumerate() {
        single.writer.apply(0, offset as i64, &event.into()).unwrap();
    }
    single.writer.publish().unwrap();
    for ((&partition, events), opened) in log.iter().zip(&mut writers) {
        opened.writer.acquire(&[partition]).unwrap();
        apply(&mut *opened.writer, partition, events, 0, events.len());
        flush(&mut *opened.writer);
    }
    let now = events.iter().map(|event| event.time).max().unwrap();
    let began = Instant::now();
    for event in events.iter().filter(|event| event.consent) {
        for item in event.items.iter().map(|item| item.item_id.key()) {
            let expected = single.reader.counters(item, now);
            while replica.reader.counters(item, now) != expected {
                assert!(began.elapsed() < Duration::from_secs(30), "counters of {item:?} differ");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
    for visitor in events.iter().map(|event| event.visitor_id.key()).take(300) {
        let read =
            |reader: &Arc<dyn StateReader>| runtime().block_on(reader.read(visitor, None, None)).unwrap();
        let (theirs, ours) = (read(&replica.reader), read(&single.reader));
        assert_eq!((theirs.state, theirs.consent), (ours.state, ours.consent), "{visitor:?}");
    }
}

#[test]
fn a_prefix_of_another_topic_is_refused() {
    let Some(server) = Server::one() else { return skipped() };
    let config = server.place().0;
    let _runtime = runtime().enter();
    let open = |topic| ValkeyStore::open(&config, topic, &StoreConfig::default()).unwrap().1;
    open("events").acquire(&[0]).unwrap();
    let error = open("clicks").acquire(&[0]).unwrap_err();
    assert!(matches!(error, StoreError::ForeignKeys { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("topic events") && message.contains("topic clicks"), "{message}");
    assert!(message.contains("state.valkey.prefix"), "{message}");
}

#[test]
fn a_server_that_wants_tls_and_a_password_opens_to_those_who_have_both() {
    let Some((server, tls)) = Server::secure() else { return skipped() };
    let password = tls.join("password");
    std::fs::write(&password, "redis-secret\n").unwrap();
    let right = ValkeyConfig {
        tls: true,
        ca_file: Some(tls.join("ca.pem")),
        password: Some(Secret::File(password)),
        timeout_ms: 2000,
        ..server.config("secure:")
    };
    let _runtime = runtime().enter();
    let ping = |config: &ValkeyConfig| {
        let (store, _) = ValkeyStore::open(config, "events", &StoreConfig::default()).unwrap();
        runtime().block_on(store.ping()).map_err(|error| error.to_string())
    };
    assert!(ping(&right).unwrap().contains("version 7"));
    let without = ValkeyConfig { tls: false, ca_file: None, ..right.clone() };
    assert!(ping(&without).is_err());
    let stranger = ValkeyConfig { ca_file: None, ..right.clone() };
    assert!(ping(&stranger).is_err(), "an authority that this machine does not know");
    let wrong = tls.join("wrong");
    std::fs::write(&wrong, "guessed").unwrap();
    let wrong = ValkeyConfig { password: Some(Secret::File(wrong)), ..right.clone() };
    let error = ping(&wrong).unwrap_err();
    assert!(error.contains("WRONGPASS") || error.to_lowercase().contains("password"), "{error}");
    let nowhere = ValkeyConfig { password: Some(Secret::Env("ENDCAP_NO_SUCH_VARIABLE".into())), ..right };
    let error = ValkeyStore::open(&nowhere, "events", &StoreConfig::default()).unwrap_err().to_string();
    assert!(error.contains("state.valkey.password") && error.contains("ENDCAP_NO_SUCH_VARIABLE"), "{error}");
}

#[test]
fn a_server_that_is_away_is_an_error_that_says_where_and_reading_does_not_hang() {
    let config = ValkeyConfig { addresses: "127.0.0.1:1".into(), timeout_ms: 200, ..ValkeyConfig::default() };
    let _runtime = runtime().enter();
    let (store, mut writer) = ValkeyStore::open(&config, "events", &StoreConfig::default()).unwrap();
    let read = runtime().block_on(async {
        tokio::time::timeout(Duration::from_secs(20), store.read(VisitorKey::of("v"), None, None)).await
    });
    let error = read.expect("an answer").unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1"), "{error}");
    assert_eq!(store.counters(ItemKey::of("shoe"), EventTime::clamped(START)).views.week, 0.0);
    let error = writer.acquire(&[0]).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[test]
fn reading_while_writing_never_claims_more_than_it_shows() {
    let Some(server) = Server::one() else { return skipped() };
    let place = server.place();
    let mut opened = place.open(&StoreConfig::default());
    opened.writer.acquire(&[0]).unwrap();
    let mut event = events(0, 1).remove(0);
    (event.consent, event.user_id, event.event_type) = (true, None, endcap_proto::EventType::Search);
    let visitor = event.visitor_id.key();
    let stop = Arc::new(Mutex::new(false));
    let (reader, stopped) = (opened.reader.clone(), stop.clone());
    let reading = thread::spawn(move || {
        let mut reads = 0u64;
        while !*stopped.lock().unwrap() {
            let snapshot = runtime().block_on(reader.read(visitor, None, None)).unwrap();
            // Event i is at offset i, at second i: offsets and state must agree exactly.
            let offset = snapshot.applied.first().map_or(0, |at| at.offset);
            let newest = snapshot.state.last_seen().map_or(0, |time| (time.as_millis() - START) / 1000 + 1);
            assert_eq!(offset, newest);
            reads += 1;
        }
        reads
    });
    for i in 0..2000 {
        event.event_id = endcap_proto::EventId::new(format!("e{i}")).unwrap();
        event.time = EventTime::clamped(START + i * 1000);
        opened.writer.apply(0, i, &(&event).into()).unwrap();
        if i % 3 == 0 {
            opened.writer.publish().unwrap();
        }
        if i % 500 == 0 {
            flush(&mut *opened.writer);
        }
    }
    *stop.lock().unwrap() = true;
    assert!(reading.join().unwrap() > 0);
}

#[test]
fn a_backup_of_a_shared_state_is_put_back_whole_and_goes_on_where_it_was() {
    for server in [Server::one, Server::cluster] {
        let Some(server) = server() else { return skipped() };
        let (place, other, third) = (server.place(), server.place(), server.place());
        let events = events(23, 1200);
        let log = log_of(&events);
        let dir = tempfile::tempdir().unwrap();
        let (kept, config) = (dir.path().join("kept"), StoreConfig::default());
        let mut opened = place.open(&config);
        opened.writer.acquire(&[0, 1, 2]).unwrap();
        for (&partition, events) in &log {
            apply(&mut *opened.writer, partition, events, 0, 200);
        }
        flush(&mut *opened.writer);
        // What visitors did since is ahead of the partitions.
        for (&partition, events) in &log {
            apply(&mut *opened.writer, partition, events, 200, 250);
        }
        opened.writer.publish().unwrap();
        let backup = runtime().block_on(async {
            let store = ValkeyStore::at_rest(&place.0, "events").unwrap();
            let backup = store.backup(&kept).await.unwrap();
            let error = store.backup(&kept).await.unwrap_err();
            assert!(error.to_string().contains("there already"), "{error}");
            backup
        });
        assert_eq!(backup.offsets.iter().map(|at| at.offset).collect::<Vec<_>>(), [200; 3]);

        let restored = |to: &ValkeyConfig| {
            runtime().block_on(async {
                let (store, _) = ValkeyStore::to_fill(to, "events", &config).await?;
                let backup = store.fill(&kept).await?;
                store.filled().await.map(|()| backup)
            })
        };
        assert_eq!(restored(&other.0).unwrap(), backup);
        let error = restored(&other.0).unwrap_err().to_string();
        assert!(error.contains("another state.valkey.prefix"), "{error}");
        let mut opened = other.open(&config);
        for at in opened.writer.acquire(&[0, 1, 2]).unwrap() {
            let events = &log[&at.partition];
            apply(&mut *opened.writer, at.partition, events, at.offset as usize, events.len());
        }
        flush(&mut *opened.writer);
        assert_eq!((opened.digest)(), digest_of(events.iter().map(|event| (0, event))));

        // Filled halfway, nobody uses it, and it is begun again.
        let values = kept.join("values");
        let whole = std::fs::read(&values).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 12) {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            std::fs::write(&values, flipped).unwrap();
            let error = restored(&third.0).unwrap_err().to_string();
            assert!(error.contains("not readable"), "at {at}: {error}");
        }
        let error = third.open(&config).writer.acquire(&[0]).unwrap_err().to_string();
        assert!(error.contains("unfinished"), "{error}");
        std::fs::write(&values, whole).unwrap();
        assert_eq!(restored(&third.0).unwrap(), backup);
        let embedded = endcap_live::Backup::restore(&kept, &dir.path().join("state"), &config).unwrap_err();
        assert!(embedded.to_string().contains("state.backend = \"valkey\""), "{embedded}");
    }
}
