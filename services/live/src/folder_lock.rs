//! One process to a folder.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

/// Held by the one process that uses a folder.
#[derive(Debug)]
pub(crate) struct FolderLock(File);

impl FolderLock {
    /// Locks `dir/name`, which is made where it is not there; [`None`] while another process holds it.
    pub(crate) fn take(dir: &Path, name: &str) -> io::Result<Option<Self>> {
        let file = File::options().write(true).create(true).truncate(false).open(dir.join(name))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread starts just now holds the same open file until its `exec`.
        let _ = self.0.unlock();
    }
}
