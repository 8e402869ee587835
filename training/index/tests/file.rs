//! The file: what is written is read back, and what was damaged is refused.

mod world;

use std::fs;
use std::path::Path;

use endcap_index::{Allowed, FILE_NAME, GraphConfig, Index, IndexConfig, IndexError, Retriever, Way};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use world::{clustered, label};

const DIM: usize = 10;

fn index(items: usize, scan_below: usize) -> Index {
    let labels: Vec<u64> = (0..items).map(label).collect();
    let graph = GraphConfig { neighbours: 6, construction: 30, search: 50 };
    let config = IndexConfig { scan_below, graph, compact_percent: 17, simd: None };
    Index::build(&labels, &clustered(1, items, DIM, 9), DIM, &config).unwrap()
}

fn answers(index: &Index, way: Way) -> Vec<Vec<endcap_index::Hit>> {
    index.snapshot().by(way).retrieve_batch(&clustered(2, 30, DIM, 9), 20, &Allowed::All).unwrap()
}

#[test]
fn what_was_saved_answers_alike_when_loaded() {
    for (items, scan_below) in [(0, 100), (1, 100), (90, 100), (400, 100)] {
        let dir = tempfile::tempdir().unwrap();
        let index = index(items, scan_below);
        index.save(dir.path()).unwrap();
        let loaded = Index::load(dir.path()).unwrap();
        assert_eq!((loaded.len(), loaded.dim(), loaded.plan()), (items, DIM, index.plan()));
        assert_eq!(loaded.config(), index.config());
        for way in [Way::Scan, Way::Graph] {
            assert_eq!(answers(&index, way), answers(&loaded, way));
        }
        let again = tempfile::tempdir().unwrap();
        loaded.save(again.path()).unwrap();
        let bytes = |dir: &Path| fs::read(dir.join(FILE_NAME)).unwrap();
        assert_eq!(bytes(dir.path()), bytes(again.path()), "the same bytes again");
    }
}

#[test]
fn changes_are_saved_too() {
    let dir = tempfile::tempdir().unwrap();
    let index = index(90, 1_000);
    index.upsert(5, &[0.1; DIM]).unwrap();
    index.delete(label(3));
    index.save(dir.path()).unwrap();
    let loaded = Index::load(dir.path()).unwrap();
    assert_eq!((loaded.len(), loaded.contains(label(3))), (90, false));
    assert_eq!(loaded.vector(5).unwrap(), [0.1; DIM]);
    assert_eq!(answers(&index, Way::Scan), answers(&loaded, Way::Scan));
}

#[test]
fn no_flipped_bit_and_no_cut_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    index(400, 100).save(dir.path()).unwrap();
    let path = dir.path().join(FILE_NAME);
    let sound = fs::read(&path).unwrap();
    let mut rng = StdRng::seed_from_u64(20);
    for case in 0..2_000 {
        let mut damaged = sound.clone();
        match case % 4 {
            0 => damaged.truncate(rng.random_range(0..sound.len())),
            // Half of the flips in the header, where the lengths stand.
            1 => damaged[rng.random_range(0..128)] ^= 1 << rng.random_range(0..8),
            2 => damaged[rng.random_range(0..sound.len())] ^= 1 << rng.random_range(0..8),
            _ => damaged.extend((0..rng.random_range(1..100)).map(|_| rng.random::<u8>())),
        }
        fs::write(&path, &damaged).unwrap();
        let refused = Index::load(dir.path()).err();
        assert!(matches!(refused, Some(IndexError::Corrupt { .. })), "case {case}: {refused:?}");
    }
    fs::write(&path, &sound).unwrap();
    assert_eq!(Index::load(dir.path()).unwrap().len(), 400);
}

/// A file whose checksums fit but whose content does not: what a hostile writer can make. Refused or answered, never a
/// panic.
#[test]
fn content_under_a_right_checksum_is_checked_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    index(400, 100).save(dir.path()).unwrap();
    let path = dir.path().join(FILE_NAME);
    let sound = fs::read(&path).unwrap();
    let mut rng = StdRng::seed_from_u64(21);
    let mut refusals = 0;
    for case in 0..2_000 {
        let mut forged = sound.clone();
        let at = match case % 3 {
            0 => rng.random_range(8..64),
            1 => rng.random_range(128..sound.len()),
            // Among the links.
            _ => rng.random_range(128 + 400 * (8 + 4 * DIM)..sound.len()),
        };
        forged[at] ^= 1 << rng.random_range(0..8);
        let body = *blake3::hash(&forged[128..]).as_bytes();
        forged[64..96].copy_from_slice(&body);
        let header = *blake3::hash(&forged[..96]).as_bytes();
        forged[96..128].copy_from_slice(&header);
        fs::write(&path, &forged).unwrap();
        match Index::load(dir.path()) {
            Ok(index) => drop(answers(&index, Way::Graph)),
            Err(IndexError::Corrupt { .. }) => refusals += 1,
            Err(other) => panic!("case {case}: {other}"),
        }
    }
    assert!(refusals > 500, "{refusals}");
}

#[test]
fn what_is_missing_or_of_another_kind_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let said = || Index::load(dir.path()).err().unwrap().to_string();
    assert!(matches!(Index::load(dir.path()), Err(IndexError::Io { .. })));
    assert!(said().contains("index.bin: No such file"), "{}", said());
    fs::write(&path, b"short").unwrap();
    assert!(said().contains("5 bytes are too few"), "{}", said());
    fs::write(&path, [b'x'; 200]).unwrap();
    assert!(said().contains("not an index of Endcap"), "{}", said());
    index(5, 100).save(dir.path()).unwrap();
    let mut newer = fs::read(&path).unwrap();
    newer[8] = 9;
    let digest = *blake3::hash(&newer[..96]).as_bytes();
    newer[96..128].copy_from_slice(&digest);
    fs::write(&path, newer).unwrap();
    assert!(said().contains("written in version 9 of the format, this program reads 1"), "{}", said());
}
