//! `kill -9` inside a snapshot, and while what it replaces is taken away: the state that is found is that of some moment
//! after the last one that was said to be kept, never half of it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use endcap_live::{StateStore, StateWriter, StoreConfig};
use endcap_proto::Event;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::world::events;

const FOLDER: &str = "ENDCAP_TEST_SNAPSHOTS";
const SEED: u64 = 13;
const EVENTS: usize = 30_000;
/// Events between two flushes, and flushes between two snapshots beside those that are made by themselves.
const FLUSH: usize = 40;
const SNAPSHOT: usize = 3;

/// Kills a writer `kills` times; the figures.
pub(crate) fn kill_writers(kills: usize) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let events = events(SEED, EVENTS);
    let mut random = StdRng::seed_from_u64(SEED);
    let (mut in_snapshot, mut in_compaction, mut applied) = (0, 0, 0);
    let mut whole = Whole::new(&events);
    for _ in 0..kills {
        let (mut child, said) = start(&state);
        thread::sleep(Duration::from_micros(random.random_range(0..50_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let kept = said.filter_map(|line| line.strip_prefix("kept ")?.parse::<usize>().ok()).last();
        let names = names(&state);
        let count = |kind: &str| names.iter().filter(|name| name.starts_with(kind)).count();
        in_snapshot += usize::from(names.iter().any(|name| name.ends_with(".tmp")));
        in_compaction +=
            usize::from(count("snapshot-") > 1 || count("snapshot-") == 1 && count("journal-") > 1);

        let (store, writer) = open(&state);
        let found = store.applied().first().map_or(0, |at| at.offset as usize);
        assert!(found >= kept.unwrap_or(applied), "{found} events are there, {kept:?} were said to be kept");
        assert_eq!(store.digest().unwrap(), whole.digest(found), "the state after {found} events is another");
        applied = found;
        drop((store, writer));
        if found == EVENTS {
            fs::remove_dir_all(&state).unwrap();
            (applied, whole) = (0, Whole::new(&events));
        }
    }
    let inside = in_snapshot + in_compaction;
    assert!(inside * 8 >= kills, "only {inside} of {kills} kills fell into a snapshot or what follows it");
    serde_json::json!({
        "fault": 13, "inside": "snapshot and compaction", "kills": kills, "in_a_snapshot": in_snapshot,
        "before_what_it_replaces_was_gone": in_compaction, "half": 0,
    })
}

/// A state that nobody disturbs.
struct Whole<'a> {
    events: &'a [Event],
    applied: usize,
    store: StateStore,
    writer: StateWriter,
    _dir: tempfile::TempDir,
}

impl<'a> Whole<'a> {
    fn new(events: &'a [Event]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, writer) = StateStore::open(dir.path(), "events", &StoreConfig::default()).unwrap();
        Self { events, applied: 0, store, writer, _dir: dir }
    }

    /// What the state is after so many events; no fewer than were asked for before.
    fn digest(&mut self, count: usize) -> u64 {
        for (offset, event) in self.events.iter().enumerate().take(count).skip(self.applied) {
            self.writer.apply(0, offset as i64, event).unwrap();
        }
        self.applied = count;
        self.writer.publish();
        self.store.digest().unwrap()
    }
}

fn open(state: &Path) -> (StateStore, StateWriter) {
    let config = StoreConfig { snapshot_after_bytes: 4096, ..StoreConfig::default() };
    StateStore::open(state, "events", &config).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Starts a writer; what it says, from the moment at which it writes.
fn start(state: &Path) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_writer_of_its_own", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, state)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("writing")), "the writer did not start");
    (child, lines)
}

/// What the child does, when it is one: applies, keeps and makes snapshots.
pub(crate) fn child() {
    let Some(state) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let events = events(SEED, EVENTS);
    let (store, mut writer) = open(&state);
    let begun = store.applied().first().map_or(0, |at| at.offset as usize);
    println!("writing");
    for (i, piece) in events[begun..].chunks(FLUSH).enumerate() {
        for (offset, event) in (begun + i * FLUSH..).zip(piece) {
            writer.apply(0, offset as i64, event).unwrap();
        }
        writer.flush().unwrap();
        println!("kept {}", begun + i * FLUSH + piece.len());
        if i % SNAPSHOT == SNAPSHOT - 1 {
            writer.snapshot().unwrap();
        }
    }
    // All is written; it is to be killed all the same.
    thread::sleep(Duration::from_secs(60));
}
