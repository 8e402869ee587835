//! The store against a simple model: random operations with restarts, power cuts, snapshots and backups.
//!
//! Short here; `ENDCAP_OPERATIONS=200000` makes it long (`just faults-state`). A seed that fails is printed.

mod world;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::Path,
};

use endcap_features::{ItemCounters, UserState};
use endcap_live::{Backup, Outcome, StateStore, StateWriter, StoreConfig};
use endcap_proto::{Event, EventTime, ItemKey, VisitorKey};
use endcap_recommend::StateReader as _;
use rand::{Rng, SeedableRng, rngs::StdRng};
use world::events;

const LATE_MS: i64 = 3_600_000;

/// What the store promises, in maps.
#[derive(Clone, Default)]
struct Model {
    next: HashMap<i32, i64>,
    watermark: HashMap<i32, EventTime>,
    seen: HashSet<u64>,
    shoppers: BTreeMap<u64, UserState>,
    items: BTreeMap<u64, ItemCounters>,
}

impl Model {
    fn apply(&mut self, partition: i32, offset: i64, event: &Event) -> Outcome {
        let next = self.next.entry(partition).or_default();
        if offset < *next {
            return Outcome::Behind;
        }
        *next = offset + 1;
        let watermark = self.watermark.entry(partition).or_default();
        if watermark.millis_since(event.time) > LATE_MS {
            return Outcome::Late;
        }
        *watermark = (*watermark).max(event.time);
        if !self.seen.insert(event.event_id.key().0) {
            return Outcome::Duplicate;
        }
        if !event.consent {
            return Outcome::SessionOnly;
        }
        self.shoppers.entry(event.visitor_id.key().0).or_default().apply(event);
        for item in &event.items {
            self.items.entry(item.item_id.key().0).or_default().apply(event.event_type, event.time);
        }
        Outcome::Applied
    }

    fn forget(&mut self, visitor: VisitorKey, before: EventTime) {
        if let Some(state) = self.shoppers.get_mut(&visitor.0) {
            state.forget_before(before);
        }
        self.shoppers.retain(|_, state| !state.is_empty());
    }

    fn agrees(&self, store: &StateStore, seed: u64) {
        assert_eq!(store.shoppers_in_memory(), self.shoppers.len(), "seed {seed}");
        let at = self.watermark.values().max().copied().unwrap_or_default();
        for (&item, counters) in &self.items {
            assert_eq!(store.counters(ItemKey(item), at), counters.read(at), "seed {seed}: item {item:016x}");
        }
        for at in store.applied() {
            assert_eq!(self.next.get(&at.partition), Some(&at.offset), "seed {seed}");
        }
        for (&visitor, state) in self.shoppers.iter().filter(|(_, state)| state.user().is_none()) {
            let read = futures::FutureExt::now_or_never(store.read(VisitorKey(visitor), None, None));
            assert_eq!(
                read.unwrap().unwrap().state.history(),
                state.history(),
                "seed {seed}: {visitor:016x}"
            );
        }
    }
}

fn open(dir: &Path, config: &StoreConfig) -> (StateStore, StateWriter) {
    StateStore::open(dir, "events", config).unwrap()
}

/// As the disk is when the power goes: a copy, perhaps with the end of the newest journal cut off.
fn power_cut(from: &Path, to: &Path, random: &mut StdRng) {
    let list = || {
        let names = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    // Files are copied one after the other; a disk that stops does so in one moment, without a change between.
    let names = loop {
        fs::create_dir(to).unwrap();
        let names = list();
        let copied = names.iter().all(|name| fs::copy(from.join(name), to.join(name)).is_ok());
        if copied && list() == names {
            break names;
        }
        fs::remove_dir_all(to).unwrap();
    };
    let newest = names.iter().rfind(|name| name.to_string_lossy().starts_with("journal-")).unwrap();
    let newest = to.join(newest);
    let torn: Vec<u8> = (0..random.random_range(0..60)).map(|_| random.random()).collect();
    let mut bytes = fs::read(&newest).unwrap();
    bytes.extend(torn);
    fs::write(newest, bytes).unwrap();
}

#[test]
fn random_operations_with_restarts_leave_what_the_model_holds() {
    let count = std::env::var("ENDCAP_OPERATIONS").ok().map_or(12_000, |count| count.parse().unwrap());
    let seed = std::env::var("ENDCAP_SEED").ok().map_or(5, |seed| seed.parse().unwrap());
    println!("seed {seed}, {count} operations");
    let mut random = StdRng::seed_from_u64(seed);
    let stream = events(seed, count);
    let root = tempfile::tempdir().unwrap();
    let mut folder = root.path().join("state-0");
    let mut config = StoreConfig { forget_after_days: 0, ..StoreConfig::default() };
    let (mut store, mut writer) = open(&folder, &config);
    let mut model = Model::default();
    let mut flushed = model.clone();
    let (mut restarts, mut cuts, mut backups) = (0, 0, 0);
    for (i, event) in stream.iter().enumerate() {
        // Each visitor's events lie in one partition; some lie far behind, some come again.
        let partition = (event.visitor_id.key().0 % 3) as i32;
        let next = |model: &Model| model.next.get(&partition).copied().unwrap_or_default();
        let mut event = event.clone();
        if random.random_bool(0.01) {
            event.time = event.time.plus_millis(-random.random_range(0..3 * LATE_MS));
        }
        match random.random_range(0..1000) {
            0..900 => {
                let offset = next(&model);
                assert_eq!(
                    writer.apply(partition, offset, &event).unwrap(),
                    model.apply(partition, offset, &event),
                    "seed {seed}, operation {i}"
                );
            }
            900..950 => {
                let again = &stream[random.random_range(0..=i)];
                let partition = (again.visitor_id.key().0 % 3) as i32;
                let offset =
                    model.next.get(&partition).copied().unwrap_or_default() - random.random_range(0..2);
                if offset >= 0 {
                    assert_eq!(
                        writer.apply(partition, offset, again).unwrap(),
                        model.apply(partition, offset, again),
                        "seed {seed}, operation {i}"
                    );
                }
            }
            950..970 => {
                let offset = next(&model) + random.random_range(0..3);
                writer.skip(partition, offset);
                model.next.insert(partition, offset + 1);
            }
            970..975 => {
                let visitor = event.visitor_id.key();
                writer.forget(visitor, event.time).unwrap();
                model.forget(visitor, event.time);
            }
            975..990 => {
                writer.flush().unwrap();
                flushed = model.clone();
            }
            990..992 => {
                writer.snapshot().unwrap();
                flushed = model.clone();
            }
            992..996 => {
                // Stopped and started, with snapshots at other moments.
                writer.flush().unwrap();
                flushed = model.clone();
                drop((store, writer));
                config.snapshot_after_bytes = 1 << random.random_range(0..20);
                (store, writer) = open(&folder, &config);
                flushed.agrees(&store, seed);
                restarts += 1;
            }
            996..999 => {
                // The power goes: what was flushed is there, and nothing of what was not.
                let copy = root.path().join(format!("state-{}", i + 1));
                power_cut(&folder, &copy, &mut random);
                drop((store, writer));
                folder = copy;
                (store, writer) = open(&folder, &config);
                model = flushed.clone();
                model.agrees(&store, seed);
                cuts += 1;
            }
            _ => {
                let (kept, back) =
                    (root.path().join(format!("backup-{i}")), root.path().join(format!("back-{i}")));
                let made = Backup::make(&folder, &kept, &config).unwrap();
                assert_eq!(Backup::restore(&kept, &back, &config).unwrap(), made);
                flushed.agrees(&open(&back, &config).0, seed);
                backups += 1;
            }
        }
    }
    writer.flush().unwrap();
    model.agrees(&store, seed);
    assert!(restarts > 10 && cuts > 10 && backups > 3, "{restarts} restarts, {cuts} cuts, {backups} backups");
}

#[test]
fn a_backup_that_was_changed_is_refused_and_one_is_never_written_over() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let config = StoreConfig::default();
    let (_store, mut writer) = open(&path("state"), &config);
    for (i, event) in events(3, 500).iter().enumerate() {
        writer.apply(0, i as i64, event).unwrap();
    }
    writer.flush().unwrap();
    // While it is in use.
    Backup::make(&path("state"), &path("kept"), &config).unwrap();
    let error = Backup::make(&path("state"), &path("kept"), &config).unwrap_err();
    assert!(error.to_string().contains("there already"), "{error}");
    let error = Backup::restore(&path("kept"), &path("state"), &config).unwrap_err();
    assert!(error.to_string().contains("there already"), "{error}");
    let snapshot = fs::read_dir(path("kept")).unwrap().map(|entry| entry.unwrap().path());
    let snapshot = snapshot.into_iter().find(|path| path.to_string_lossy().contains("snapshot-")).unwrap();
    let whole = fs::read(&snapshot).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        fs::write(&snapshot, flipped).unwrap();
        let error = Backup::restore(&path("kept"), &path("back"), &config).unwrap_err();
        assert!(error.to_string().contains("is not readable"), "at {at}: {error}");
        assert!(!path("back").exists());
    }
}
