//! Publish, verify, activate, roll back; and what a damaged bundle says.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use endcap_bundle::{Bundle, BundleDraft, BundleError, BundleStore, Manifest, Origin, Version};
use endcap_features::{Vocabulary, VocabularyConfig};
use endcap_index::{Index, IndexConfig};
use endcap_neighbours::{CountingConfig, CountingModels, Interaction};
use endcap_proto::{EventTime, EventType, Item, ItemId};
use endcap_towers::{Ranker, RankerConfig, RankerWeights, Towers, TowersConfig, Weights};

fn time(seconds: i64) -> EventTime {
    EventTime::clamped(1_800_000_000_000 + seconds * 1000)
}

/// Publishes a small bundle; another `seed` gives another one.
fn publish(store: &BundleStore, seed: u64, seconds: i64) -> Version {
    let items: Vec<Item> = (0..40).map(|i| Item::bare(ItemId::new(format!("item-{i}")).unwrap())).collect();
    let counts = items.iter().map(|item| (item.id.as_str(), 3));
    let vocabulary = Vocabulary::build(&items, counts, &VocabularyConfig::default()).unwrap();
    let config = TowersConfig { dim: 16, length: 8, hidden: 16, item_hidden: 8, ..TowersConfig::default() };
    let weights = Weights::new(config.clone(), vocabulary.items(), vocabulary.words(), seed).unwrap();
    let bytes = weights.to_safetensors().unwrap();
    let towers = Towers::new(weights);
    let features: Vec<_> = items.iter().map(|item| vocabulary.item_features(item)).collect();
    let labels: Vec<u64> = features.iter().map(|features| features.key.0).collect();
    let vectors = towers.item_vectors(&features).unwrap();
    let index = Index::build(&labels, &vectors, towers.dim(), &IndexConfig::default()).unwrap();
    let walk: Vec<Interaction> = items
        .iter()
        .enumerate()
        .map(|(i, item)| Interaction {
            item: item.id.key(),
            time: time(i as i64 - 100),
            event_type: EventType::View,
            starts_session: false,
        })
        .collect();
    let counting = CountingModels::fit([walk], time(0), &CountingConfig::default()).unwrap();
    let ranker = Ranker::new(
        RankerConfig { hidden: Vec::new() },
        RankerWeights {
            means: vec![0.0; 5],
            deviations: vec![1.0; 5],
            network: vec![0.1; 18],
            calibration: vec![[1.0, 0.0]; 3],
        },
    )
    .unwrap();
    let draft = BundleDraft {
        vocabulary: &vocabulary,
        catalogue: &items,
        towers_config: &config,
        towers_weights: &bytes,
        ranker: &ranker,
        counting: &counting,
        index: &index,
        parents: Vec::new(),
        // A number that a careless reader of floats gives back changed.
        metrics: BTreeMap::from([("recall".to_owned(), 0.1 + 0.2), ("loss".to_owned(), 1.0 / 3.0)]),
        origin: Origin {
            source: "test".into(),
            events: 40,
            newest_event: Some(time(-1)),
            seed,
            ..Origin::default()
        },
    };
    store.publish(&draft, time(seconds)).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

#[test]
fn what_is_published_is_what_is_loaded() {
    let root = tempfile::tempdir().unwrap();
    let store = BundleStore::open(root.path()).unwrap();
    let version = publish(&store, 1, 0);
    assert!(version.as_str().starts_with("20270115T080000Z-"), "{version}");
    let bundle = Bundle::load(&store.path(&version)).unwrap();
    assert_eq!(bundle.manifest.version, version);
    assert_eq!(bundle.manifest.metrics["recall"], 0.1 + 0.2);
    assert_eq!((bundle.catalogue.len(), bundle.index.len(), bundle.vocabulary.items()), (40, 40, 40));
    let features: Vec<_> =
        bundle.catalogue.iter().map(|item| bundle.vocabulary.item_features(item)).collect();
    let vectors = bundle.towers.item_vectors(&features).unwrap();
    assert_eq!(bundle.index.vector(features[7].key.0).unwrap(), vectors[7 * 16..8 * 16]);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left beside the bundle");
}

#[test]
fn a_moved_bundle_loads() {
    let root = tempfile::tempdir().unwrap();
    let store = BundleStore::open(root.path()).unwrap();
    let version = publish(&store, 1, 0);
    let elsewhere = root.path().join("copied");
    fs::rename(store.path(&version), &elsewhere).unwrap();
    assert_eq!(Bundle::load(&elsewhere).unwrap().manifest.version, version);
}

#[test]
fn one_flipped_bit_or_a_cut_anywhere_is_refused_and_the_file_is_named() {
    let root = tempfile::tempdir().unwrap();
    let store = BundleStore::open(root.path()).unwrap();
    let dir = store.path(&publish(&store, 1, 0));
    let mut seed = 7u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    for path in files(&dir) {
        let sound = fs::read(&path).unwrap();
        for _ in 0..20 {
            let mut bytes = sound.clone();
            if next() % 4 == 0 {
                bytes.truncate(next() % bytes.len());
            } else {
                let at = next() % bytes.len();
                bytes[at] ^= 1 << (next() % 8);
            }
            fs::write(&path, &bytes).unwrap();
            let Err(error) = Bundle::load(&dir) else {
                // White space of the manifest's JSON is not part of what it says.
                assert!(
                    path.ends_with("manifest.json") && Manifest::read(&dir).is_ok(),
                    "{}",
                    path.display()
                );
                continue;
            };
            let named = error.to_string().contains(&*path.file_name().unwrap().to_string_lossy());
            assert!(named, "{}: {error}", path.display());
        }
        fs::write(&path, &sound).unwrap();
    }
    Bundle::load(&dir).unwrap();
}

#[test]
fn a_missing_file_a_foreign_path_and_another_format_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let store = BundleStore::open(root.path()).unwrap();
    let dir = store.path(&publish(&store, 1, 0));
    let manifest = dir.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let message = |text: String| {
        fs::write(&manifest, text).unwrap();
        Bundle::load(&dir).err().unwrap().to_string()
    };
    assert!(message(text.replace("\"format\": 1", "\"format\": 9")).contains("bundle format 9"));
    assert!(message(text.replace("towers.json", "../towers.json")).contains("is not what was published"));
    assert!(message(text.replace("\"seed\": 1", "\"seed\": 2")).contains("digest"));
    fs::write(&manifest, &text).unwrap();
    fs::remove_file(dir.join("vocabulary.arrow")).unwrap();
    assert!(Bundle::load(&dir).err().unwrap().to_string().contains("vocabulary.arrow"));
}

#[test]
fn activation_and_rollback_follow_each_other_and_refuse_what_is_not_sound() {
    let root = tempfile::tempdir().unwrap();
    let store = BundleStore::open(root.path()).unwrap();
    assert!(matches!(store.load_active().err(), Some(BundleError::NoneActive(_))));
    let (first, second) = (publish(&store, 1, 0), publish(&store, 2, 60));
    assert_eq!(store.list().unwrap().iter().map(|m| &m.version).collect::<Vec<_>>(), [&first, &second]);
    store.activate(&first).unwrap();
    assert!(matches!(store.rollback().err(), Some(BundleError::NothingBefore(_))));
    store.activate(&second).unwrap();
    store.activate(&second).unwrap();
    assert_eq!(store.load_active().unwrap().manifest.version, second);
    assert_eq!(store.rollback().unwrap(), first);
    assert_eq!(store.active().unwrap(), Some(first.clone()));

    let damaged = store.path(&second).join("towers.safetensors");
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[100] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    assert!(matches!(store.activate(&second).err(), Some(BundleError::Corrupt { .. })));
    assert_eq!(store.active().unwrap(), Some(first));
    let unknown = Version::parse("20200101T000000Z-00000000").unwrap();
    assert!(store.activate(&unknown).err().unwrap().to_string().contains("endcap models list"));
    assert!(Version::parse("../elsewhere").is_err());
}

#[test]
fn what_a_crash_left_of_a_publication_is_not_a_bundle() {
    let root = tempfile::tempdir().unwrap();
    let store = BundleStore::open(root.path()).unwrap();
    let version = publish(&store, 1, 0);
    let half = root.path().join(".publish-4242-0");
    fs::create_dir(&half).unwrap();
    fs::copy(store.path(&version).join("towers.json"), half.join("towers.json")).unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
}
