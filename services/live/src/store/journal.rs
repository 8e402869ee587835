//! The journal: what was done to the state since a snapshot, in files that only grow.
//!
//! ```text
//! journal-0000000007   head: "ENDCAPJL", version 4
//!                      frame: length 4, XXH3 8 │ number 8, operations until its end 8, bytes of operations 4,
//!                             operations …, partitions: (number, next offset) …
//! ```
//!
//! A frame is one flush: operations and the offsets after them, whole or not there. Frames are numbered without
//! a gap over all files, so that one that has rotted away in the middle is noticed, and one that was cut off at the
//! end by a power cut is what it is: a flush that did not happen.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::JoinHandle,
};

use endcap_proto::EventTime;
use twox_hash::XxHash3_64;

use super::{
    files::{self, JOURNAL, sync_folder},
    operation::{Cursor, Operations, varint},
};

const MAGIC: &[u8; 8] = b"ENDCAPJL";
/// Since 2 a visitor can be unlinked from a user.
const VERSION: u32 = 2;
/// Length and hash.
const FRAME_HEAD: usize = 12;
/// Number of the frame, operations until its end, bytes of its operations.
const PAYLOAD_HEAD: usize = 20;

/// What a flush writes, as it grows.
pub(super) struct Frame {
    bytes: Vec<u8>,
    /// Time of the newest operation.
    pub(super) clock: EventTime,
}

/// A frame that was read.
pub(super) struct ReadFrame<'a> {
    pub(super) number: u64,
    pub(super) sequence: u64,
    pub(super) operations: Operations<'a>,
    pub(super) offsets: Vec<(i32, i64)>,
}

/// A finished frame on its way to the disk.
pub(super) struct Flush {
    frame: Frame,
    /// Operations taken with it.
    pub(super) sequence: u64,
    /// Called, on the flushing thread, before anything is written; false: nothing is to be written.
    before: Option<Box<dyn FnOnce() -> bool + Send>>,
    /// The frame is on disk; what is left is the next file.
    written: bool,
    /// The file that comes after this frame, where another one is to begin.
    next_file: Option<u64>,
}

/// What became of a flush.
pub(super) enum Flushed {
    /// It is on disk. The frame's memory comes back.
    Written(Flush),
    /// `before` said no.
    Refused,
    /// The disk says no. It may be tried again.
    Failed(Flush, io::Error),
}

/// The thread that writes frames. Dropped, it lets the thread finish and waits for it.
pub(super) struct Flusher {
    flushes: Option<SyncSender<Flush>>,
    done: Receiver<Flushed>,
    thread: Option<JoinHandle<()>>,
    in_flight: bool,
}

/// The file that frames go to.
struct Journal {
    folder: PathBuf,
    file: File,
    /// Bytes that are whole frames.
    length: u64,
    /// Something may lie behind them.
    torn: bool,
    /// Its name is on disk.
    named: bool,
}

// === impl Frame ===

impl Frame {
    pub(super) fn new() -> Self {
        let mut frame = Self { bytes: Vec::with_capacity(1 << 16), clock: EventTime::MIN };
        frame.clear();
        frame
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(FRAME_HEAD + PAYLOAD_HEAD, 0);
        self.clock = EventTime::MIN;
    }

    /// Where operations are appended.
    pub(super) fn operations(&mut self) -> (&mut Vec<u8>, &mut EventTime) {
        (&mut self.bytes, &mut self.clock)
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Closes the frame: where partitions are after it.
    pub(super) fn finish(
        &mut self,
        number: u64,
        sequence: u64,
        offsets: impl IntoIterator<Item = (i32, i64)>,
    ) {
        let operations = (self.bytes.len() - FRAME_HEAD - PAYLOAD_HEAD) as u32;
        for (partition, next) in offsets {
            varint(&mut self.bytes, partition.cast_unsigned().into());
            varint(&mut self.bytes, next.cast_unsigned());
        }
        let payload = &mut self.bytes[FRAME_HEAD..];
        payload[..8].copy_from_slice(&number.to_le_bytes());
        payload[8..16].copy_from_slice(&sequence.to_le_bytes());
        payload[16..20].copy_from_slice(&operations.to_le_bytes());
        let (length, hash) = (payload.len() as u32, XxHash3_64::oneshot(payload));
        self.bytes[..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[4..12].copy_from_slice(&hash.to_le_bytes());
    }
}

impl Flush {
    pub(super) fn new(
        frame: Frame,
        sequence: u64,
        before: Box<dyn FnOnce() -> bool + Send>,
        next_file: Option<u64>,
    ) -> Self {
        Self { frame, sequence, before: Some(before), written: false, next_file }
    }

    /// The frame's memory, for another one.
    pub(super) fn into_frame(self) -> Frame {
        let mut frame = self.frame;
        frame.clear();
        frame
    }
}

// === impl Flusher ===

impl Flusher {
    /// Begins a file of that number; `durable` is told how many operations are on disk.
    pub(super) fn start(folder: &Path, number: u64, durable: Arc<AtomicU64>) -> io::Result<Self> {
        let mut journal = Journal::create(folder, number)?;
        let (flushes, to_write) = sync_channel::<Flush>(1);
        let (tell, done) = sync_channel(1);
        let work = move || {
            for flush in to_write {
                let flushed = journal.write(flush);
                if let Flushed::Written(flush) = &flushed {
                    durable.store(flush.sequence, Ordering::Release);
                }
                if tell.send(flushed).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("endcap-flush".to_owned()).spawn(work)?;
        Ok(Self { flushes: Some(flushes), done, thread: Some(thread), in_flight: false })
    }

    pub(super) fn in_flight(&self) -> bool {
        self.in_flight
    }

    /// Hands a flush over; one at a time.
    pub(super) fn write(&mut self, flush: Flush) {
        debug_assert!(!self.in_flight);
        // Where the thread is gone, waiting for its answer says so.
        self.in_flight =
            self.flushes.as_ref().is_some_and(|flushes| flushes.send(flush).is_ok()) || self.thread.is_some();
    }

    /// What became of the flush that is under way, if it has ended; with `wait`, waits for it. An error: the
    /// thread is gone.
    pub(super) fn flushed(&mut self, wait: bool) -> Result<Option<Flushed>, ()> {
        if !self.in_flight {
            return Ok(None);
        }
        let answer = if wait {
            self.done.recv().map_err(|_| TryRecvError::Disconnected)
        } else {
            self.done.try_recv()
        };
        match answer {
            Ok(flushed) => {
                self.in_flight = false;
                Ok(Some(flushed))
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(()),
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        drop(self.flushes.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes state to disk has panicked");
        }
    }
}

// === impl Journal ===

impl Journal {
    fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let path = files::path(folder, JOURNAL, number);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(MAGIC)?;
        file.write_all(&VERSION.to_le_bytes())?;
        // Head and name go to disk with the first frame: a start waits for neither.
        Ok(Self { folder: folder.to_owned(), file, length: HEAD as u64, torn: false, named: false })
    }

    fn write(&mut self, mut flush: Flush) -> Flushed {
        if let Some(before) = flush.before.take()
            && !before()
        {
            return Flushed::Refused;
        }
        match self.try_write(&mut flush) {
            Ok(()) => Flushed::Written(flush),
            Err(error) => Flushed::Failed(flush, error),
        }
    }

    fn try_write(&mut self, flush: &mut Flush) -> io::Result<()> {
        if !flush.written {
            if std::mem::replace(&mut self.torn, true) {
                self.file.set_len(self.length)?;
                self.file.seek(SeekFrom::Start(self.length))?;
            }
            self.file.write_all(&flush.frame.bytes)?;
            self.file.sync_data()?;
            if !self.named {
                sync_folder(&self.folder)?;
                self.named = true;
            }
            self.torn = false;
            self.length += flush.frame.bytes.len() as u64;
            flush.written = true;
        }
        if let Some(number) = flush.next_file {
            *self = Self::create(&self.folder, number)?;
            flush.next_file = None;
        }
        Ok(())
    }
}

// === reading ===

/// Bytes before the first frame.
const HEAD: usize = 12;

/// Why a journal is not readable, beyond a frame that was cut off.
pub(super) fn check_head(bytes: &[u8]) -> Result<(), String> {
    // A file whose head was cut off has no frames.
    if bytes.len() < HEAD {
        return Ok(());
    }
    let version = u32::from_le_bytes(bytes[8..HEAD].try_into().unwrap_or_default());
    if !bytes.starts_with(MAGIC) {
        return Err("it is no journal".to_owned());
    }
    if !(VERSION - 1..=VERSION).contains(&version) {
        return Err(format!("its version is {version}, this build reads {VERSION} and the one before"));
    }
    Ok(())
}

/// The frames of a journal's bytes, up to the first that is not whole.
pub(super) fn frames(bytes: &[u8]) -> impl Iterator<Item = Option<ReadFrame<'_>>> {
    let mut rest = Cursor(bytes.get(HEAD..).unwrap_or_default());
    std::iter::from_fn(move || {
        let length = rest.take().map(u32::from_le_bytes)?;
        let hash = rest.u64()?;
        let payload = rest.slice(length as usize).filter(|payload| XxHash3_64::oneshot(payload) == hash)?;
        Some(read(payload))
    })
}

/// A frame that is whole; none where it makes no sense all the same.
fn read(payload: &[u8]) -> Option<ReadFrame<'_>> {
    let mut rest = Cursor(payload);
    let (number, sequence) = (rest.u64()?, rest.u64()?);
    let length = u32::from_le_bytes(rest.take()?) as usize;
    let operations = Operations { bytes: Cursor(rest.slice(length)?), clock: EventTime::MIN };
    let mut offsets = Vec::new();
    while !rest.0.is_empty() {
        let partition = u32::try_from(rest.varint()?).ok()?.cast_signed();
        offsets.push((partition, i64::try_from(rest.varint()?).ok()?));
    }
    Some(ReadFrame { number, sequence, operations, offsets })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(frames: usize) -> (tempfile::TempDir, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let mut flusher = Flusher::start(dir.path(), 0, Arc::default()).unwrap();
        for number in 0..frames {
            let mut frame = Frame::new();
            super::super::operation::write_unlink(frame.operations().0, endcap_proto::UserKey(number as u64));
            frame.finish(number as u64, number as u64, [(3, number as i64)]);
            flusher.write(Flush::new(frame, 0, Box::new(|| true), None));
            assert!(matches!(flusher.flushed(true), Ok(Some(Flushed::Written(_)))));
        }
        let bytes = std::fs::read(files::path(dir.path(), JOURNAL, 0)).unwrap();
        (dir, bytes)
    }

    #[test]
    fn a_journal_cut_anywhere_is_the_frames_before_the_cut() {
        let (_dir, bytes) = written(5);
        let whole = frames(&bytes).count();
        assert_eq!(whole, 5);
        for cut in 0..bytes.len() {
            let read: Vec<_> = frames(&bytes[..cut]).map(|frame| frame.unwrap().number).collect();
            assert_eq!(read, (0..read.len() as u64).collect::<Vec<_>>());
            assert!(read.len() < 5);
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_journal_before_its_frame() {
        let (_dir, bytes) = written(5);
        for at in HEAD..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let read: Vec<_> = frames(&flipped).map(|frame| frame.unwrap().number).collect();
            assert_eq!(read, (0..read.len() as u64).collect::<Vec<_>>());
            assert!(read.len() < 5, "at {at}");
        }
    }
}
