//! The disk is full or read-only: nothing is lost, the store says why, and goes on when there is room.
//!
//! A file system of its own in memory (tmpfs) is small and can be made read-only; mounting one wants root. Where that
//! is not to be had, the test says so and passes, unless `ENDCAP_REQUIRE` names `disk`.

mod world;

use std::{path::Path, process::Command};

use endcap_live::{StateStore, StoreConfig};
use world::{digest_of, events};

struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], dir.path());
        let required =
            std::env::var("ENDCAP_REQUIRE").is_ok_and(|parts| parts.split(',').any(|part| part == "disk"));
        assert!(mounted || !required, "a file system cannot be mounted here");
        if !mounted {
            eprintln!("SKIPPED: a file system cannot be mounted here (it wants root)");
        }
        mounted.then_some(Self(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn mount(options: &[&str], at: &Path) -> bool {
    let done = Command::new("mount").args(options).arg(at).output();
    done.is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    let Some(disk) = Mounted::new("1m") else { return };
    let dir = disk.0.path().join("state");
    let (store, mut writer) = StateStore::open(&dir, "events", &StoreConfig::default()).unwrap();
    let all = events(4, 4000);
    let (before, after) = all.split_at(2000);
    let mut offset = 0;
    for event in before {
        writer.apply(0, offset, event).unwrap();
        offset += 1;
    }
    writer.flush().unwrap();
    // Someone else fills the disk.
    let ballast = disk.0.path().join("ballast");
    let _ = std::fs::write(&ballast, vec![1; 2 << 20]);
    for event in after {
        writer.apply(0, offset, event).unwrap();
        offset += 1;
    }
    let error = writer.flush().unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(writer.trouble().unwrap().contains("No space left"), "{:?}", writer.trouble());
    // Readers see everything all the while.
    assert_eq!(store.applied().first().map(|at| at.offset), Some(offset));
    // There is room again: it is written, and no frame twice.
    std::fs::remove_file(&ballast).unwrap();
    writer.flush().unwrap();
    assert_eq!(writer.trouble(), None);
    drop((store, writer));
    let (store, _writer) = StateStore::open(&dir, "events", &StoreConfig::default()).unwrap();
    assert_eq!(store.digest().unwrap(), digest_of(all.iter().map(|event| (0, event))));
}

#[test]
fn a_disk_that_lets_nothing_be_written_any_more_refuses_a_start_with_the_reason() {
    let Some(disk) = Mounted::new("4m") else { return };
    let dir = disk.0.path().join("state");
    let (store, mut writer) = StateStore::open(&dir, "events", &StoreConfig::default()).unwrap();
    for (i, event) in events(4, 500).iter().enumerate() {
        writer.apply(0, i as i64, event).unwrap();
    }
    writer.flush().unwrap();
    drop((store, writer));
    assert!(mount(&["-o", "remount,ro"], disk.0.path()));
    let error = StateStore::open(&dir, "events", &StoreConfig::default()).unwrap_err();
    assert!(error.to_string().contains("ead-only"), "{error}");
    assert!(mount(&["-o", "remount,rw"], disk.0.path()));
    StateStore::open(&dir, "events", &StoreConfig::default()).unwrap();
}
