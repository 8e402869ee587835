//! Impressions on disk while the broker is away: segment files that are written at one end and read at the other.
//!
//! ```text
//! DIR/00000000004294967296.spill   magic, version, then records: length, XXH3-64, length and key, length and
//!                                  traceparent, value
//! DIR/00000000004294967297.spill   the one being written
//! DIR/lock                         held by the one process that uses the folder
//! ```
//!
//! A batch is on disk ([`Spill::append`] syncs) before it counts as kept. A segment is removed when the broker
//! has all of it; so after a crash the impressions of one segment at most are sent again, and can be told by
//! their slate ids. A record that was cut off by a crash ends its segment; one whose checksum is wrong is passed
//! over and counted. What goes back in front of all others ([`Spill::put_back`]) gets a lower number.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
};

use twox_hash::XxHash3_64;

use crate::folder_lock::FolderLock;

/// A message in the spill: what is needed to send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spilled {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// Empty on disk where there is none.
    pub(super) traceparent: Option<String>,
}

/// A queue on disk. There is one process to a folder.
pub(super) struct Spill {
    dir: PathBuf,
    limit: u64,
    /// Oldest first; the last one may be the one being written.
    segments: VecDeque<Segment>,
    writing: Option<File>,
    reading: Option<Reading>,
    /// Keeps other processes out while it is held.
    _lock: FolderLock,
    damaged: u64,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    bytes: u64,
    /// Records handed out of it and not yet acknowledged.
    outstanding: usize,
    /// All of it was handed out.
    read: bool,
}

struct Reading {
    number: u64,
    file: BufReader<File>,
    at: u64,
    version: u8,
}

/// Why a message is not in the spill.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpillError {
    /// It holds as much as it may.
    #[error("the spill is full")]
    Full,
    /// The disk says no.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process uses the folder.
    #[error("{path} is used by another process: give each its own `impressions.spill_path`", path = .0.display())]
    InUse(PathBuf),
}

/// What a segment begins with: what it is, and its version. The one before, which is read, has no trace contexts.
const MAGIC: &[u8; 8] = b"ECSPILL\x02";
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=2;
/// Length and checksum before each record.
const HEAD: u64 = 12;
/// A segment past this size is ended.
const SEGMENT_BYTES: u64 = 1 << 20;
/// A record that claims to be larger is damage.
const RECORD_BYTES: u32 = 64 << 20;
/// The first number: there is room for as many before it.
const FIRST: u64 = 1 << 32;

impl Spilled {
    fn traceparent(&self) -> &str {
        self.traceparent.as_deref().unwrap_or_default()
    }

    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.key.len() + self.traceparent().len() + self.value.len()
    }
}

impl Spill {
    /// Opens a folder, or makes it; at most `limit` bytes go there.
    pub(super) fn open(dir: &Path, limit: u64) -> Result<Self, SpillError> {
        let failed = |source| SpillError::Io { path: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let lock = FolderLock::take(dir, "lock").map_err(failed)?;
        let lock = lock.ok_or_else(|| SpillError::InUse(dir.to_owned()))?;
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let Some(number) = number.filter(|_| path.extension().is_some_and(|x| x == "spill")) {
                let bytes = entry.metadata().map_err(failed)?.len();
                segments.push(Segment { number, bytes, outstanding: 0, read: false });
            }
        }
        segments.sort_by_key(|segment| segment.number);
        Ok(Self {
            dir: dir.to_owned(),
            limit,
            segments: segments.into(),
            writing: None,
            reading: None,
            _lock: lock,
            damaged: 0,
        })
    }

    /// Whether a folder holds anything, without opening it.
    pub(super) fn is_there(dir: &Path) -> bool {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|x| x == "spill"))
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Records that were damaged, and are lost.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Whether something is left to be handed out.
    pub(super) fn has_more(&self) -> bool {
        self.segments.iter().any(|segment| !segment.read)
    }

    /// Puts messages at the end, in order, and returns when they are on disk. Those that did not fit, or could not be
    /// written, come back, with the reason.
    pub(super) fn append(&mut self, messages: Vec<Spilled>) -> Result<(), (Vec<Spilled>, SpillError)> {
        let mut messages = VecDeque::from(messages);
        while !messages.is_empty() {
            if let Err(error) = self.append_some(&mut messages) {
                return Err((messages.into(), error));
            }
        }
        Ok(())
    }

    /// Writes until a segment ends; what was written and synced is taken out.
    fn append_some(&mut self, messages: &mut VecDeque<Spilled>) -> Result<(), SpillError> {
        let head = if self.writing.is_none() { MAGIC.len() as u64 } else { 0 };
        let room = self.limit.saturating_sub(self.bytes() + head);
        let mut bytes = Vec::new();
        let mut count = 0;
        for message in messages.iter() {
            let size = HEAD + 8 + message.len() as u64;
            if bytes.len() as u64 + size > room || count > 0 && bytes.len() as u64 + size > SEGMENT_BYTES {
                break;
            }
            encode(message, &mut bytes);
            count += 1;
        }
        if count == 0 {
            return Err(SpillError::Full);
        }
        if self.writing.is_none() {
            let number = self.segments.back().map_or(FIRST, |segment| segment.number + 1);
            self.writing = Some(self.create(number)?);
            let bytes = MAGIC.len() as u64;
            self.segments.push_back(Segment { number, bytes, outstanding: 0, read: false });
        }
        let (Some(file), Some(segment)) = (self.writing.as_mut(), self.segments.back_mut()) else {
            return Err(SpillError::Full);
        };
        let path = path_of(&self.dir, segment.number);
        if let Err(source) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
            // What may have been written in part is cut off again; where that fails too, reading ends there.
            let _ = file.set_len(segment.bytes);
            self.writing = None;
            return Err(SpillError::Io { path, source });
        }
        segment.bytes += bytes.len() as u64;
        messages.drain(..count);
        if segment.bytes >= SEGMENT_BYTES {
            self.writing = None;
        }
        Ok(())
    }

    /// Puts messages before all others, for they are older, past the limit if need be.
    pub(super) fn put_back(&mut self, messages: &[Spilled]) -> Result<(), SpillError> {
        if messages.is_empty() {
            return Ok(());
        }
        let number = self.segments.front().map_or(FIRST, |segment| segment.number - 1);
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| encode(message, &mut bytes));
        let path = path_of(&self.dir, number);
        let mut file = self.create(number)?;
        file.write_all(&bytes)
            .and_then(|()| file.sync_data())
            .map_err(|source| SpillError::Io { path, source })?;
        let bytes = (MAGIC.len() + bytes.len()) as u64;
        if self.segments.is_empty() {
            self.writing = None;
        }
        self.segments.push_front(Segment { number, bytes, outstanding: 0, read: false });
        Ok(())
    }

    fn create(&self, number: u64) -> Result<File, SpillError> {
        let path = path_of(&self.dir, number);
        let made = || {
            let mut file = File::create_new(&path)?;
            file.write_all(MAGIC)?;
            // The name, too, is to be there after a power cut.
            File::open(&self.dir)?.sync_all()?;
            Ok(file)
        };
        made().map_err(|source| SpillError::Io { path: path.clone(), source })
    }

    /// The next message and the number of its segment, which is to be acknowledged; none when all are out.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Spilled)>, SpillError> {
        loop {
            let Some(place) = self.segments.iter().position(|segment| !segment.read) else { return Ok(None) };
            let number = self.segments[place].number;
            let failed = |source| SpillError::Io { path: path_of(&self.dir, number), source };
            if self.reading.as_ref().is_none_or(|reading| reading.number != number) {
                let mut file = BufReader::new(File::open(path_of(&self.dir, number)).map_err(failed)?);
                let mut magic = [0; MAGIC.len()];
                let [name @ .., version] = &mut magic;
                let sound = file.read_exact(name).is_ok() && MAGIC.starts_with(name);
                let sound = sound && file.read_exact(std::slice::from_mut(version)).is_ok();
                let version = *version;
                if !sound || !VERSIONS.contains(&version) {
                    tracing::error!(
                        path = %path_of(&self.dir, number).display(),
                        "is no spill of this version, and is passed over"
                    );
                    self.damaged += 1;
                    self.end_of(place);
                    continue;
                }
                self.reading = Some(Reading { number, file, at: MAGIC.len() as u64, version });
            }
            let Some(reading) = self.reading.as_mut() else { return Ok(None) };
            let end = self.segments[place].bytes;
            match read_record(reading, end).map_err(failed)? {
                Read::Record(message) => {
                    self.segments[place].outstanding += 1;
                    return Ok(Some((number, message)));
                }
                Read::Damaged => {
                    self.damaged += 1;
                    tracing::error!(path = %path_of(&self.dir, number).display(), "an impression on disk is damaged");
                }
                Read::End { cut_off } => {
                    if cut_off {
                        tracing::warn!(
                            path = %path_of(&self.dir, number).display(),
                            "ends within an impression, which a crash cut off"
                        );
                    }
                    // What is being written may yet grow: it is ended here.
                    self.end_of(place);
                }
            }
        }
    }

    /// A segment was handed out whole.
    fn end_of(&mut self, place: usize) {
        if place + 1 == self.segments.len() {
            self.writing = None;
        }
        self.reading = None;
        self.segments[place].read = true;
        self.clean();
    }

    /// The broker has a message of this segment, or it is given up.
    pub(super) fn acknowledge(&mut self, number: u64) {
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.number == number) {
            segment.outstanding = segment.outstanding.saturating_sub(1);
        }
        self.clean();
    }

    /// Removes what is done with.
    fn clean(&mut self) {
        let dir = &self.dir;
        self.segments.retain(|segment| {
            let done = segment.read && segment.outstanding == 0;
            if done && let Err(error) = std::fs::remove_file(path_of(dir, segment.number)) {
                tracing::warn!(path = %path_of(dir, segment.number).display(), "stays behind: {error}");
            }
            !done
        });
    }
}

enum Read {
    Record(Spilled),
    Damaged,
    End { cut_off: bool },
}

/// The record at the reader's place, in a segment of `end` bytes.
fn read_record(reading: &mut Reading, end: u64) -> io::Result<Read> {
    let left = end.saturating_sub(reading.at);
    if left < HEAD {
        return Ok(Read::End { cut_off: left > 0 });
    }
    let (mut length, mut checksum) = ([0; 4], [0; 8]);
    reading.file.read_exact(&mut length)?;
    reading.file.read_exact(&mut checksum)?;
    let length = u32::from_le_bytes(length);
    // Without a sound length there is no telling where the next record begins.
    if length > RECORD_BYTES || u64::from(length) > left - HEAD {
        return Ok(Read::End { cut_off: true });
    }
    let mut bytes = vec![0; length as usize];
    reading.file.read_exact(&mut bytes)?;
    reading.at += HEAD + u64::from(length);
    if XxHash3_64::oneshot(&bytes) != u64::from_le_bytes(checksum) {
        return Ok(Read::Damaged);
    }
    Ok(decode(&bytes, reading.version).map_or(Read::Damaged, Read::Record))
}

fn decode(bytes: &[u8], version: u8) -> Option<Spilled> {
    let (key, rest) = part(bytes)?;
    let (traceparent, value) = if version == 1 { (&[][..], rest) } else { part(rest)? };
    let traceparent = std::str::from_utf8(traceparent).ok()?;
    let traceparent = (!traceparent.is_empty()).then(|| traceparent.to_owned());
    Some(Spilled { key: key.to_vec(), value: value.to_vec(), traceparent })
}

/// What its length stands before, and the rest.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

fn encode(message: &Spilled, bytes: &mut Vec<u8>) {
    let mut record = Vec::with_capacity(8 + message.len());
    for part in [&*message.key, message.traceparent().as_bytes()] {
        record.extend((part.len() as u32).to_le_bytes());
        record.extend_from_slice(part);
    }
    record.extend_from_slice(&message.value);
    bytes.extend((record.len() as u32).to_le_bytes());
    bytes.extend(XxHash3_64::oneshot(&record).to_le_bytes());
    bytes.extend(record);
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.spill"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(i: usize, size: usize) -> Spilled {
        let traceparent = (i % 2 == 1).then(|| format!("00-{i:032x}-{i:016x}-01"));
        Spilled { key: format!("visitor-{i}").into_bytes(), value: vec![i as u8; size], traceparent }
    }

    fn take_all(spill: &mut Spill) -> Vec<Spilled> {
        let mut all = Vec::new();
        while let Some((number, message)) = spill.next().unwrap() {
            spill.acknowledge(number);
            all.push(message);
        }
        all
    }

    #[test]
    fn what_goes_in_comes_out_in_order_over_many_segments_and_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let messages: Vec<_> = (0..100).map(|i| message(i, 50_000)).collect();
        let mut spill = Spill::open(dir.path(), u64::MAX).unwrap();
        for batch in messages.chunks(7) {
            spill.append(batch.to_vec()).unwrap();
        }
        assert!(spill.segments.len() >= 4, "{:?}", spill.segments);
        drop(spill);
        let mut spill = Spill::open(dir.path(), u64::MAX).unwrap();
        spill.append(vec![message(100, 10)]).unwrap();
        spill.put_back(&[message(200, 10), message(201, 10)]).unwrap();
        let all = take_all(&mut spill);
        let expected: Vec<_> = [message(200, 10), message(201, 10)]
            .into_iter()
            .chain(messages)
            .chain([message(100, 10)])
            .collect();
        assert!(all == expected);
        assert!(
            !spill.has_more() && spill.bytes() == 0 && !Spill::is_there(dir.path()),
            "nothing stays behind"
        );
    }

    #[test]
    fn a_segment_of_the_version_before_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let record = [&[1, 0, 0, 0], &b"vvalue"[..]].concat();
        let length = (record.len() as u32).to_le_bytes();
        let checksum = XxHash3_64::oneshot(&record).to_le_bytes();
        let segment = [&b"ECSPILL\x01"[..], &length, &checksum, &record].concat();
        std::fs::write(path_of(dir.path(), FIRST), segment).unwrap();
        let mut spill = Spill::open(dir.path(), u64::MAX).unwrap();
        let expected = Spilled { key: b"v".to_vec(), value: b"value".to_vec(), traceparent: None };
        assert_eq!(take_all(&mut spill), [expected]);
    }

    #[test]
    fn what_was_not_acknowledged_comes_again_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(dir.path(), u64::MAX).unwrap();
        spill.append((0..5).map(|i| message(i, 100)).collect()).unwrap();
        let (number, first) = spill.next().unwrap().unwrap();
        spill.acknowledge(number);
        assert_eq!(first, message(0, 100));
        drop(spill);
        let mut spill = Spill::open(dir.path(), u64::MAX).unwrap();
        assert_eq!(take_all(&mut spill).len(), 5, "of the segment as a whole");
    }

    #[test]
    fn a_full_spill_gives_back_what_does_not_fit_and_a_second_process_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(dir.path(), 1000).unwrap();
        let (back, error) = spill.append((0..20).map(|i| message(i, 100)).collect()).unwrap_err();
        assert!(matches!(error, SpillError::Full));
        let kept = 20 - back.len();
        assert!((6..9).contains(&kept), "{kept}");
        assert!(spill.bytes() <= 1000);
        let refused = Spill::open(dir.path(), 1000).err().unwrap();
        assert!(refused.to_string().contains("another process"), "{refused}");
        assert_eq!(take_all(&mut spill), (0..kept).map(|i| message(i, 100)).collect::<Vec<_>>());
        spill.append(back).unwrap_or(());
    }

    #[test]
    fn what_is_written_while_it_is_read_is_read_too() {
        let dir = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(dir.path(), u64::MAX).unwrap();
        let mut seen = Vec::new();
        for i in 0..50 {
            spill.append(vec![message(i, 10)]).unwrap();
            if i % 3 == 0 {
                seen.extend(spill.next().unwrap().map(|(number, message)| {
                    spill.acknowledge(number);
                    message
                }));
            }
        }
        seen.extend(take_all(&mut spill));
        assert_eq!(seen, (0..50).map(|i| message(i, 10)).collect::<Vec<_>>());
    }

    proptest! {
        /// Cut off anywhere, it gives a prefix; a flipped bit costs one message, or the rest of the segment.
        #[test]
        fn damage_is_noticed_and_never_passed_on(at in 0usize..800, bit in 0u8..8, cut: bool) {
            let dir = tempfile::tempdir().unwrap();
            let messages: Vec<_> = (0..8).map(|i| message(i, 60)).collect();
            let mut spill = Spill::open(dir.path(), u64::MAX).unwrap();
            spill.append(messages.clone()).unwrap();
            drop(spill);
            let path = path_of(dir.path(), FIRST);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at % bytes.len();
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
            std::fs::write(&path, bytes).unwrap();
            let mut spill = Spill::open(dir.path(), u64::MAX).unwrap();
            let read = take_all(&mut spill);
            if cut {
                prop_assert_eq!(&read[..], &messages[..read.len()]);
            } else {
                prop_assert!(read.len() < 8 && read.iter().all(|message| messages.contains(message)));
            }
        }
    }
}
