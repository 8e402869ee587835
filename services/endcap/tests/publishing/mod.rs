//! `kill -9` of who publishes bundles, at random moments.

#![allow(dead_code, unreachable_pub)] // each test file uses its own part

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

use endcap_bundle::{Bundle, BundleDraft, BundleStore, Version};
use endcap_proto::EventTime;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::shop::{Fixture, copy};

const FOLDER: &str = "ENDCAP_TEST_PUBLISH";

/// Kills a publisher `kills` times; the bundle that is active can be loaded each time and is the one before or the
/// one after, and none is half. The figures.
pub fn kill_publishers(shop: &Fixture, kills: usize) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("bundles");
    copy(&shop.bundles, &root);
    let store = BundleStore::open(&root).unwrap();
    let mut random = StdRng::seed_from_u64(13);
    let (mut unfinished, mut published, mut old, mut new) = (0, 0, 0, 0);
    // Killed between its start and about when it has published a second one.
    let (mut child, mut said) = start(&root);
    let began = Instant::now();
    assert!(said.any(|line| line.starts_with("active ")), "it never published");
    let longest = 2 * began.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..kills {
        let before = store.active().unwrap().unwrap();
        let (mut child, said) = start(&root);
        thread::sleep(longest.mul_f64(random.random()));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said before it was killed.
        let activated: Vec<String> =
            said.filter_map(|line| Some(line.strip_prefix("active ")?.to_owned())).collect();
        let newest = activated.last().cloned().unwrap_or_else(|| before.to_string());
        let active = store.active().expect("active.json is whole").unwrap();
        let bundles = store.list().unwrap();
        let place =
            |version: &str| bundles.iter().position(|bundle| bundle.version.as_str() == version).unwrap();
        // It may have come one step further than it could say.
        let ahead = place(active.as_str()).checked_sub(place(&newest)).expect("never an older one");
        assert!(ahead <= 1, "{active} is active, {newest} was said");
        if ahead == 0 {
            old += 1
        } else {
            new += 1
        }
        assert_eq!(store.load_active().unwrap().manifest.version, active);
        for entry in fs::read_dir(&root).unwrap().map(|entry| entry.unwrap()) {
            let name = entry.file_name().into_string().unwrap();
            match name.starts_with('.') {
                true if entry.path().is_dir() => {
                    unfinished += 1;
                    fs::remove_dir_all(entry.path()).unwrap();
                }
                true => {}
                false if entry.path().is_dir() => drop(Bundle::load(&entry.path()).unwrap()),
                false => {}
            }
        }
        published += bundles.len() - 1;
        for bundle in bundles.iter().filter(|bundle| bundle.version != active) {
            fs::remove_dir_all(store.path(&bundle.version)).unwrap();
        }
    }
    assert!(unfinished * 4 >= kills, "only {unfinished} of {kills} kills fell into a publication");
    assert!(published > 0, "none was ever published");
    serde_json::json!({
        "fault": 13, "inside": "publish", "kills": kills, "in_a_publication": unfinished, "published": published,
        "active": {"as_was_said": old, "one_newer": new}, "half": 0,
    })
}

/// Starts a publisher; what it says, from the moment at which it begins.
fn start(root: &Path) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_publisher_of_its_own", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("publishing")), "the publisher did not start");
    (child, lines)
}

/// What the child does, when it is one: publishes the active bundle anew and activates it, again and again.
pub fn child() {
    let Some(root) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let store = BundleStore::open(root).unwrap();
    let bundle = store.load_active().unwrap();
    let dir = store.path(&bundle.manifest.version);
    let weights = fs::read(dir.join("towers.safetensors")).unwrap();
    let config = serde_json::from_slice(&fs::read(dir.join("towers.json")).unwrap()).unwrap();
    let draft = BundleDraft {
        vocabulary: &bundle.vocabulary,
        catalogue: &bundle.catalogue,
        towers_config: &config,
        towers_weights: &weights,
        ranker: &bundle.ranker,
        counting: &bundle.counting,
        index: &bundle.index,
        parents: vec![bundle.manifest.version.clone()],
        metrics: bundle.manifest.metrics.clone(),
        origin: bundle.manifest.origin.clone(),
    };
    let mut created: EventTime = bundle.manifest.created;
    println!("publishing");
    loop {
        created = created.plus_millis(1000);
        let version: Version = store.publish(&draft, created).unwrap();
        store.activate(&version).unwrap();
        println!("active {version}");
    }
}
