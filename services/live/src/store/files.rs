//! The files of a state's folder.
//!
//! ```text
//! state.json             format and topic
//! lock                   held by the process that writes here
//! snapshot-0000000007    all of it, when journal 7 began
//! journal-0000000007     what was done since
//! ```

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

pub(super) const SNAPSHOT: &str = "snapshot-";
pub(super) const JOURNAL: &str = "journal-";
pub(super) const DESCRIPTION: &str = "state.json";
pub(super) const LOCK: &str = "lock";
/// Of a file that is being written.
pub(super) const UNFINISHED: &str = ".tmp";

/// A numbered file.
pub(super) fn path(folder: &Path, kind: &str, number: u64) -> PathBuf {
    folder.join(format!("{kind}{number:010}"))
}

/// The numbers of the files of a kind, rising.
pub(super) fn numbers(folder: &Path, kind: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(kind)).map(str::parse);
        if let Some(Ok(number)) = number {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes names durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Takes away the files of a kind with numbers below `number`.
pub(super) fn remove_before(folder: &Path, kind: &str, number: u64) -> io::Result<()> {
    for old in numbers(folder, kind)?.into_iter().filter(|&old| old < number) {
        fs::remove_file(path(folder, kind, old))?;
    }
    Ok(())
}

/// Bytes of all files.
pub(super) fn bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        // A file that goes while one looks has no bytes.
        bytes += entry?.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    }
    Ok(bytes)
}
