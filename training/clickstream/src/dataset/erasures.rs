//! Erasures that a folder's files have not been rewritten for yet: `_erasures.json`.
//!
//! ```text
//! a shopper is erased ──► _erasures.json names them ──► files are rewritten one by one ──► the name goes
//!                              └─ from here on no reader sees their rows
//! ```
//!
//! The file names shoppers by stable keys, beside data that names them by their ids, and only for as long as
//! that data is there.

use std::{fs, io, path::Path};

use endcap_proto::{EventTime, UserKey, VisitorKey};
use serde::{Deserialize, Serialize};

use crate::{ClickstreamError, Erased, Shopper, error::IoContext};

const FILE: &str = "_erasures.json";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    pending: Vec<Pending>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    /// `visitor:` or `user:` and the stable key in hexadecimal.
    shopper: String,
    /// Milliseconds since 1970.
    before: i64,
}

impl Erased {
    /// The file that names pending erasures, within the folder of a data set.
    pub const FILE: &str = FILE;

    /// Whom the files of `dir` are still to be rewritten for; nobody where there is no such file.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn pending(dir: &Path) -> Result<Self, ClickstreamError> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Self::from_json(&bytes)
                .map_err(|reason| ClickstreamError::Dataset { path: path.clone(), reason }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).at(&path, "read"),
        }
    }

    /// Says that the files of `dir` are to be rewritten without these shoppers, and only these; whole or not at
    /// all. Where there is nobody, nothing is left behind.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_pending(&self, dir: &Path) -> Result<(), ClickstreamError> {
        let path = dir.join(FILE);
        if self.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at(&path, "remove"),
                _ => Ok(()),
            };
        }
        let temporary = dir.join(format!(".{FILE}.tmp"));
        fs::write(&temporary, self.to_json()).at(&temporary, "write")?;
        fs::File::open(&temporary).and_then(|file| file.sync_all()).at(&temporary, "write")?;
        fs::rename(&temporary, &path).at(&path, "rename")
    }

    /// The bytes of the file, for a folder that is kept elsewhere than on disk.
    pub fn to_json(&self) -> Vec<u8> {
        let mut pending: Vec<_> = self.iter().collect();
        pending.sort_unstable();
        let pending = pending.into_iter().map(|(shopper, before)| Pending {
            shopper: match shopper {
                Shopper::Visitor(key) => format!("visitor:{:016x}", key.0),
                Shopper::User(key) => format!("user:{:016x}", key.0),
            },
            before: before.as_millis(),
        });
        let file = File { version: VERSION, pending: pending.collect() };
        // Text and integers cannot fail.
        serde_json::to_vec_pretty(&file).unwrap_or_default()
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// Why it is not readable.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(bytes)
            .map_err(|error| format!("{error}; `endcap erase --archive` writes it anew"))?;
        if file.version != VERSION {
            return Err(format!("is of version {}, this build reads {VERSION}", file.version));
        }
        let entry = |Pending { shopper, before }: &Pending| {
            let key = |digits: &str| u64::from_str_radix(digits, 16).ok();
            let named = match shopper.split_once(':')? {
                ("visitor", digits) => Shopper::Visitor(VisitorKey(key(digits)?)),
                ("user", digits) => Shopper::User(UserKey(key(digits)?)),
                _ => return None,
            };
            Some((named, EventTime::from_millis(*before)?))
        };
        let named = file.pending.iter().map(|pending| {
            entry(pending).ok_or_else(|| format!("{:?} names no shopper and instant", pending.shopper))
        });
        named.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pending_erasures_survive_the_round_trip(of in proptest::collection::vec((any::<u64>(), any::<bool>(), 0..EventTime::MAX.as_millis()), 0..20)) {
            let dir = tempfile::tempdir().unwrap();
            let erased: Erased = of
                .into_iter()
                .map(|(key, user, before)| {
                    let shopper =
                        if user { Shopper::User(UserKey(key)) } else { Shopper::Visitor(VisitorKey(key)) };
                    (shopper, EventTime::clamped(before))
                })
                .collect();
            erased.write_pending(dir.path()).unwrap();
            prop_assert_eq!(Erased::pending(dir.path()).unwrap(), erased);
            Erased::default().write_pending(dir.path()).unwrap();
            prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Erased::from_json(&bytes);
        }
    }

    #[test]
    fn a_file_that_is_not_readable_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for wrong in [
            "{",
            r#"{"version": 9, "pending": []}"#,
            r#"{"version": 1, "pending": [{"shopper": "anna", "before": 0}]}"#,
        ] {
            fs::write(dir.path().join(FILE), wrong).unwrap();
            let error = Erased::pending(dir.path()).unwrap_err().to_string();
            assert!(error.contains(FILE), "{error}");
        }
    }
}
