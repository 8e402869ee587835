//! Which point of the topic `items` a catalogue is of: `_items.offsets.json` beside it.
//!
//! A bundle that was trained on the catalogue carries the offsets on, so that a service reads from there what has
//! changed since, and an item that was deleted in between does not come back.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::Dataset;
use crate::{ClickstreamError, error::IoContext};

const FILE: &str = "_items.offsets.json";
const VERSION: u32 = 1;

/// How far one partition of the topic `items` had been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemsOffset {
    /// The partition.
    pub partition: i32,
    /// The next offset to be read.
    pub offset: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    offsets: Vec<ItemsOffset>,
}

impl ItemsOffset {
    /// Writes the offsets beside the catalogue of `dir`, whole or not at all. To be called after the catalogue
    /// is in place: offsets that are older than it only make a reader read again.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(dir: &Path, offsets: &[Self]) -> Result<(), ClickstreamError> {
        let path = dir.join(FILE);
        let file = File { version: VERSION, offsets: offsets.to_vec() };
        let json = serde_json::to_vec_pretty(&file).map_err(io::Error::other).at(&path, "write")?;
        let temporary = dir.join(format!(".{FILE}.tmp"));
        fs::write(&temporary, json).at(&temporary, "write")?;
        fs::rename(&temporary, &path).at(&path, "rename")
    }
}

impl Dataset {
    /// Which point of the topic `items` the catalogue is of; empty where that is not known, as for imported data
    /// and for several data sets as one.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn items_offsets(&self) -> Result<Vec<ItemsOffset>, ClickstreamError> {
        let [folder] = self.folders.as_slice() else { return Ok(Vec::new()) };
        let path = folder.dir.join(FILE);
        let refuse = |reason: String| ClickstreamError::Dataset { path: path.clone(), reason };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).at(&path, "read"),
        };
        let file: File = serde_json::from_slice(&bytes).map_err(|error| {
            refuse(format!("{error}; remove it to read the topic `items` from its beginning"))
        })?;
        if file.version != VERSION {
            return Err(refuse(format!("is of version {}, this build reads {VERSION}", file.version)));
        }
        Ok(file.offsets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalogue_says_which_point_of_the_topic_it_is_of() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("events")).unwrap();
        let open = || Dataset::open(dir.path()).unwrap();
        assert_eq!(open().items_offsets().unwrap(), []);
        let offsets = [ItemsOffset { partition: 0, offset: 7 }, ItemsOffset { partition: 1, offset: 0 }];
        ItemsOffset::write(dir.path(), &offsets).unwrap();
        assert_eq!(open().items_offsets().unwrap(), offsets);
        assert!(open().items().unwrap().is_empty(), "it is no catalogue itself");
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(open().items_offsets().unwrap_err().to_string().contains(FILE));
    }
}
