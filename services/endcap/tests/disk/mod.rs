//! File systems that a test may fill or make read-only. Mounting wants root; where that is not to be had, a test says
//! so and passes, unless `ENDCAP_REQUIRE` names `disk`.

#![allow(dead_code, unreachable_pub)] // each test file uses its own part

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::shop::skip;

/// A file system of its own, for as long as this is held.
pub struct Disk {
    at: PathBuf,
    _dir: TempDir,
}

impl Disk {
    /// One in memory, of so many MiB.
    pub fn small(mebibytes: u32) -> Option<Self> {
        Self::mount(|_, at| run("mount", &["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"], at))
    }

    /// One in a file, which can fail as a real one does.
    pub fn that_fails() -> Option<Self> {
        Self::mount(|dir, at| {
            let image = dir.join("image");
            fs::File::create(&image).and_then(|file| file.set_len(32 << 20)).unwrap();
            run("mkfs.ext4", &["-q"], &image) && run("mount", &["-o", "loop", image.to_str().unwrap()], at)
        })
    }

    fn mount(mounted: impl FnOnce(&Path, &Path) -> bool) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("disk");
        fs::create_dir(&at).unwrap();
        if mounted(dir.path(), &at) {
            return Some(Self { at, _dir: dir });
        }
        skip("disk", "root, mount and mkfs.ext4", "a file system cannot be mounted here");
        None
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Someone else takes all the room that is left.
    pub fn fill(&self) {
        let mut ballast = fs::File::create(self.at.join("ballast")).unwrap();
        for bytes in [1 << 20, 1 << 12, 1] {
            while ballast.write(&vec![1; bytes]).is_ok() {}
        }
    }

    /// And gives it back.
    pub fn make_room(&self) {
        fs::remove_file(self.at.join("ballast")).unwrap();
    }

    /// The kernel finds an error and lets nothing be written any more, as it does when a disk fails under open files.
    pub fn fail(&self) {
        assert!(run("mount", &["-o", "remount,abort"], &self.at), "the file system cannot be made to fail");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

fn run(program: &str, options: &[&str], at: &Path) -> bool {
    Command::new(program).args(options).arg(at).output().is_ok_and(|output| output.status.success())
}
