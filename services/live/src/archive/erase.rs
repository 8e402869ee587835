//! An archive without those who were erased: files that hold something of them are written anew.
//!
//! ```text
//! _erasures.json names whom ──► visitors of their accounts, from the events ──► each file: read, and where need be
//!      │ (no reader sees their rows from here on)                              replaced by one without them
//!      └──────────────── gone ◄── _erased.json says what the archive is without ◄──────────┘
//! ```
//!
//! A file is replaced by a rename, under its own name, which says its offsets and not its rows; one that loses all of them
//! stays, empty, so that its roll is not read again. Killed at any moment, the next pass begins again, and until then
//! `_erasures.json` hides what is left.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use endcap_clickstream::{
    ClickstreamError, Erased, EventReader, EventWriter, ImpressionReader, ImpressionWriter,
};
use endcap_proto::{UserKey, VisitorKey};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::{At as _, Error, storage::LOCK};
use crate::{
    erasures::{ArchiveReceipt, Erasures},
    folder_lock::FolderLock,
};

/// What a pass over an archive took out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pass {
    pub(super) events: u64,
    pub(super) impressions: u64,
    pub(super) files: u64,
}

/// What an archive is without, as `_erased.json` says: all that was known when it was last passed over, and nobody's
/// name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    version: u32,
    shoppers: usize,
    /// The latest of their instants.
    latest_ms: i64,
    fingerprint: String,
}

const MARK: &str = "_erased.json";
const VERSION: u32 = 1;
/// How long another process that writes the archive is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Rewrites the archive in `dir` without anybody that `erasures` knows; where another process is writing it, waits until
/// that one has done so. Blocks.
///
/// # Errors
/// When a file cannot be read or written; what was done stays, and no reader sees the rest.
pub fn erase(dir: &Path, erasures: &Erasures) -> Result<ArchiveReceipt, Error> {
    let events = dir.join("events");
    fs::read_dir(&events).at(&events, "read")?;
    let archive = dir.display().to_string();
    let begun = Instant::now();
    loop {
        if let Some(_lock) = FolderLock::take(dir, LOCK).at(&dir.join(LOCK), "lock")? {
            let Pass { events, impressions, files } = pass(dir, erasures, true)?;
            return Ok(ArchiveReceipt {
                archive,
                rewritten: true,
                events,
                impressions,
                files,
                said: String::new(),
            });
        }
        // The process that has it follows the topic, too, and may know more by now.
        let own = Mark::of(&erasures.erased());
        let rewritten =
            Mark::read(dir)?.is_some_and(|mark| own.is_behind(&mark)) && Erased::pending(dir)?.is_empty();
        if rewritten || begun.elapsed() > PATIENCE {
            let said = match rewritten {
                true => "by the process that writes it, which has counted".to_owned(),
                false => {
                    "the process that writes it is to do it, and has not yet; it hides their rows until then"
                        .to_owned()
                }
            };
            return Ok(ArchiveReceipt { archive, rewritten, said, ..ArchiveReceipt::default() });
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Takes everybody out of an archive who is to be forgotten, unless it is known to be without them and that is not
/// asked for again.
pub(super) fn pass(dir: &Path, erasures: &Erasures, again: bool) -> Result<Pass, Error> {
    let (known, pending) = (erasures.erased(), Erased::pending(dir)?);
    let done = Mark::read(dir)?.is_some_and(|mark| mark == Mark::of(&known)) || known.is_empty();
    if done && pending.is_empty() && !again {
        return Ok(Pass::default());
    }
    known.write_pending(dir)?;
    let events = files(&dir.join("events"))?;
    for path in &events {
        for batch in EventReader::open(path)? {
            for event in batch?.iter().filter(|event| erasures.concern(event.time)) {
                // An event that names an account shows whose its visitor is.
                erasures.cover(VisitorKey::of(event.visitor_id), event.user_id.map(UserKey::of), event.time);
            }
        }
    }
    let erased = erasures.erased();
    erased.write_pending(dir)?;
    let mut pass = Pass::default();
    for path in &events {
        let gone = without_events(path, &erased)?;
        pass.events += gone;
        pass.files += u64::from(gone > 0);
    }
    for path in files(&dir.join("impressions"))? {
        let gone = without_impressions(&path, &erased)?;
        pass.impressions += gone;
        pass.files += u64::from(gone > 0);
    }
    Mark::of(&erased).write(dir)?;
    Erased::default().write_pending(dir)?;
    Ok(pass)
}

/// Writes a file anew where it holds somebody's events; how many went.
fn without_events(path: &Path, erased: &Erased) -> Result<u64, ClickstreamError> {
    let mut gone = 0;
    for batch in EventReader::open(path)? {
        gone += batch?.iter().filter(|event| erased.covers_event(event)).count() as u64;
    }
    if gone > 0 {
        let mut writer = EventWriter::create(path)?;
        for batch in EventReader::open(path)? {
            for event in batch?.iter().filter(|event| !erased.covers_event(event)) {
                match event.log_position() {
                    Some(at) => writer.write_from_log(&event.to_event(), at)?,
                    None => writer.write(&event.to_event())?,
                }
            }
        }
        writer.finish()?;
    }
    Ok(gone)
}

/// The same of slates.
fn without_impressions(path: &Path, erased: &Erased) -> Result<u64, ClickstreamError> {
    let mut gone = 0;
    for batch in ImpressionReader::open(path)? {
        gone += batch?.iter().filter(|impression| erased.covers_impression(impression)).count() as u64;
    }
    if gone > 0 {
        let mut writer = ImpressionWriter::create(path)?;
        for batch in ImpressionReader::open(path)? {
            for impression in batch?.iter().filter(|impression| !erased.covers_impression(impression)) {
                writer.write(impression)?;
            }
        }
        writer.finish()?;
    }
    Ok(gone)
}

/// The data files under a folder, in the order of their paths.
fn files(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    if !dir.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(dir).at(dir, "list")? {
        let path = entry.at(dir, "list")?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with(['.', '_']));
        if path.is_dir() && !hidden {
            found.extend(files(&path)?);
        } else if !hidden {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

// === impl Mark ===

impl Mark {
    fn of(erased: &Erased) -> Self {
        let fingerprint = format!("{:016x}", XxHash3_64::oneshot(&erased.to_json()));
        let latest_ms = erased.iter().map(|(_, before)| before.as_millis()).max().unwrap_or_default();
        Self { version: VERSION, shoppers: erased.len(), latest_ms, fingerprint }
    }

    /// Whether who was known there must have been known here: sets only grow, and every erasure is up to its own now.
    fn is_behind(&self, other: &Self) -> bool {
        other.shoppers >= self.shoppers && other.latest_ms >= self.latest_ms
    }

    /// None where there is none that this build reads: then the archive is passed over once more.
    fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(MARK);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at(&path, "read"),
        }
    }

    fn write(&self, dir: &Path) -> Result<(), Error> {
        let (path, temporary) = (dir.join(MARK), dir.join(format!(".{MARK}.tmp")));
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::other).at(&path, "write")?;
        fs::write(&temporary, json).at(&temporary, "write")?;
        fs::rename(&temporary, &path).at(&path, "rename")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use endcap_clickstream::{Dataset, DatasetInfo, DatasetWriter, Part, Shopper};
    use endcap_proto::{Event, EventTime, v1};

    use super::*;
    use crate::{MemoryLog, erasures::Erasure};

    fn event(id: &str, visitor: &str, user: &str, seconds: i64) -> Event {
        let event = v1::Event {
            event_id: id.into(),
            r#type: v1::EventType::HomeView.into(),
            event_time: Some(EventTime::clamped(seconds * 1000).to_proto()),
            visitor_id: visitor.into(),
            user_id: user.into(),
            consent: true,
            ..v1::Event::default()
        };
        Event::try_from(event).unwrap()
    }

    fn slate(id: &str, visitor: &str, seconds: i64) -> v1::Impression {
        v1::Impression {
            slate_id: id.into(),
            visitor_id: visitor.into(),
            served_time: Some(EventTime::clamped(seconds * 1000).to_proto()),
            consent: true,
            ..v1::Impression::default()
        }
    }

    fn written(dir: &Path) {
        let mut writer = DatasetWriter::create(dir, DatasetInfo::new("archive")).unwrap();
        for event in [
            event("phone-before-login", "phone", "", 1),
            event("phone-login", "phone", "anna", 2),
            event("phone-later", "phone", "anna", 9),
            event("desk", "desk", "ben", 2),
        ] {
            writer.event(&event, Part::All).unwrap();
        }
        [slate("s1", "phone", 1), slate("s2", "desk", 1)]
            .iter()
            .for_each(|slate| writer.impression(slate).unwrap());
        writer.finish().unwrap();
    }

    fn ids(dir: &Path) -> Vec<String> {
        let mut ids = Vec::new();
        for path in files(&dir.join("events")).unwrap() {
            for batch in EventReader::open(path).unwrap() {
                ids.extend(batch.unwrap().iter().map(|event| event.event_id.to_owned()));
            }
        }
        ids
    }

    fn erasures(log: &MemoryLog) -> Erasures {
        let key = crate::erasures::ErasureKey::parse(&"5".repeat(64)).unwrap();
        let erasures = Erasures::unfollowed("erasures", Some(key), Arc::new(log.clone()));
        let shopper = Shopper::User(UserKey::of("anna"));
        erasures.hear([Erasure { shopper, before: EventTime::clamped(5_000) }]);
        erasures
    }

    #[test]
    fn files_are_written_without_whoever_was_erased_and_nobody_is_named_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let log = MemoryLog::new(&[("erasures", 1)]);
        written(dir.path());
        let erasures = erasures(&log);
        let receipt = erase(dir.path(), &erasures).unwrap();
        assert_eq!((receipt.rewritten, receipt.events, receipt.impressions, receipt.files), (true, 2, 1, 2));
        assert_eq!(ids(dir.path()), ["phone-later", "desk"], "in the files themselves");
        let slates = Dataset::open(dir.path()).unwrap().impressions().unwrap().flat_map(Result::unwrap);
        assert_eq!(slates.map(|slate| slate.slate_id).collect::<Vec<_>>(), ["s2"]);
        assert!(!dir.path().join(Erased::FILE).exists());
        assert_eq!(log.messages("erasures").len(), 1, "the phone was announced");
        // Known to be without them, it is not read again unless somebody asks.
        assert_eq!(pass(dir.path(), &erasures, false).unwrap(), Pass::default());
        let receipt = erase(dir.path(), &erasures).unwrap();
        assert_eq!((receipt.rewritten, receipt.events, receipt.files), (true, 0, 0));
        let error = erase(&dir.path().join("nowhere"), &erasures).unwrap_err().to_string();
        assert!(error.contains("nowhere"), "{error}");
    }

    #[test]
    fn killed_halfway_nobody_sees_them_and_the_next_pass_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = MemoryLog::new(&[("erasures", 1)]);
        written(dir.path());
        let erasures = erasures(&log);
        // As it is after a kill: somebody is named, and a file that nothing reads was left.
        let erased: Erased =
            [(Shopper::Visitor(VisitorKey::of("phone")), EventTime::clamped(5_000))].into_iter().collect();
        erased.write_pending(dir.path()).unwrap();
        fs::write(dir.path().join("events/.events.arrow.1.1.tmp"), "half").unwrap();
        let seen = || {
            let events = Dataset::open(dir.path()).unwrap().events().unwrap();
            events
                .flat_map(|batch| {
                    batch.unwrap().iter().map(|event| event.event_id.to_owned()).collect::<Vec<_>>()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(), ["phone-later", "desk"]);
        assert_eq!(ids(dir.path()).len(), 4);
        assert_eq!(pass(dir.path(), &erasures, false).unwrap().events, 2);
        assert_eq!((seen(), ids(dir.path()).len()), (vec!["phone-later".to_owned(), "desk".to_owned()], 2));
    }

    #[test]
    fn one_that_another_process_writes_is_that_one_s_to_rewrite() {
        let dir = tempfile::tempdir().unwrap();
        let log = MemoryLog::new(&[("erasures", 1)]);
        written(dir.path());
        let erasures = erasures(&log);
        let lock = FolderLock::take(dir.path(), LOCK).unwrap().unwrap();
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| erase(dir.path(), &erasures).unwrap());
            assert_eq!(pass(dir.path(), &erasures, false).unwrap().events, 2);
            let receipt = asking.join().unwrap();
            assert!(receipt.rewritten && receipt.said.contains("the process that writes it"), "{receipt:?}");
        });
        drop(lock);
    }
}
