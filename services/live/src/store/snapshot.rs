//! A snapshot: all of the state in one file, from which a start reads on in the journal.
//!
//! ```text
//! "ENDCAPSS", version 4 │ section … │ end
//! section: kind 4, number 4, entries 8, length 8, XXH3 of these and of the bytes 8 │ bytes
//! ```
//!
//! The partitions and their windows are those of one moment: the beginning of the journal of the same number.
//! Entries are copied shard by shard while the stream goes on, so they may be ahead of it; the operations that they
//! have already do nothing to them when they are read again. The file gets its name when everything that it
//! holds is in the journal on disk, never before.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use endcap_proto::EventTime;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::{
    files::{self, JOURNAL, SNAPSHOT, UNFINISHED, sync_folder},
    keys::Keys,
    partition::{Partition, Partitions},
    table::Copied,
    tables::Tables,
    window::Window,
};

const MAGIC: &[u8; 8] = b"ENDCAPSS";
const VERSION: u32 = 1;
const SECTION_HEAD: usize = 32;

/// Kinds of sections beyond the tables, which are 0 to 3.
const DESCRIPTION: u32 = 16;
const YOUNGER: u32 = 17;
const OLDER: u32 = 18;
const END: u32 = 19;

/// What belongs to one moment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Moment {
    /// Frames and operations before it.
    pub(super) frame: u64,
    pub(super) sequence: u64,
    partitions: Vec<At>,
    /// To be written; sections of their own.
    #[serde(skip)]
    windows: Vec<(i32, [Vec<u64>; 2])>,
}

#[derive(Debug, Serialize, Deserialize)]
struct At {
    partition: i32,
    next: i64,
    watermark: i64,
    generation: u64,
    began: i64,
}

/// Why there is no snapshot.
#[derive(Debug)]
pub(super) enum SnapshotError {
    Io(io::Error),
    /// What is there is not what was written.
    Corrupt(String),
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

// === impl Moment ===

impl Moment {
    pub(super) fn of(partitions: &Partitions, frame: u64, sequence: u64) -> Self {
        let (mut all, mut windows) = (Vec::new(), Vec::new());
        for (&partition, at) in partitions {
            let (generation, began) = at.window.generation();
            all.push(At {
                partition,
                next: at.next,
                watermark: at.watermark.as_millis(),
                generation,
                began: began.as_millis(),
            });
            windows.push((partition, at.window.keys().map(|keys| keys.iter().collect())));
        }
        Self { frame, sequence, partitions: all, windows }
    }

    /// The partitions as they were, with their windows' keys.
    fn partitions(&self, mut windows: BTreeMap<i32, [Keys; 2]>) -> Partitions {
        let restore = |at: &At| {
            let keys = windows.remove(&at.partition).unwrap_or_default();
            let window = Window::of(at.generation, EventTime::clamped(at.began), keys);
            let watermark = EventTime::clamped(at.watermark);
            (at.partition, Partition { next: at.next, journaled: at.next, watermark, window, changed: false })
        };
        self.partitions.iter().map(restore).collect()
    }
}

// === writing ===

/// Writes snapshot `number`; its bytes. `durable` waits until all that the tables hold now is in the journal on
/// disk, and says whether it came to that; where it did not, there is no snapshot. Then what came before is
/// taken away.
pub(super) fn write(
    folder: &Path,
    number: u64,
    moment: &Moment,
    tables: &Tables,
    durable: impl FnOnce() -> bool,
) -> io::Result<Option<u64>> {
    let path = files::path(folder, SNAPSHOT, number);
    let unfinished = path.with_added_extension(&UNFINISHED[1..]);
    let result = write_unfinished(&unfinished, moment, tables);
    let written = match result {
        Ok(bytes) if durable() => {
            fs::rename(&unfinished, &path)?;
            sync_folder(folder)?;
            files::remove_before(folder, SNAPSHOT, number)?;
            files::remove_before(folder, JOURNAL, number)?;
            return Ok(Some(bytes));
        }
        Ok(_) => Ok(None),
        Err(error) => Err(error),
    };
    // Left behind, it would be taken away at the next start; a full disk wants it sooner.
    let _ = fs::remove_file(&unfinished);
    written
}

fn write_unfinished(path: &Path, moment: &Moment, tables: &Tables) -> io::Result<u64> {
    let mut out =
        Out { file: io::BufWriter::with_capacity(1 << 20, File::create(path)?), sections: 0, bytes: 12 };
    out.file.write_all(MAGIC)?;
    out.file.write_all(&VERSION.to_le_bytes())?;
    let description = postcard::to_stdvec(moment).map_err(io::Error::other)?;
    out.section(DESCRIPTION, 0, 1, &description)?;
    for (partition, keys) in &moment.windows {
        for (kind, keys) in [YOUNGER, OLDER].into_iter().zip(keys) {
            let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
            out.section(kind, partition.cast_unsigned(), keys.len(), &bytes)?;
        }
    }
    for (kind, table) in (0..).zip(tables.all()) {
        for shard in 0..table.shards() {
            let Copied { entries, bytes } = table.copy(shard);
            if entries > 0 {
                out.section(kind, shard as u32, entries, &bytes)?;
            }
        }
    }
    out.section(END, 0, out.sections, &[])?;
    let file = out.file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(out.bytes)
}

struct Out {
    file: io::BufWriter<File>,
    sections: usize,
    bytes: u64,
}

impl Out {
    fn section(&mut self, kind: u32, number: u32, entries: usize, bytes: &[u8]) -> io::Result<()> {
        let mut head = [0; SECTION_HEAD];
        head[..4].copy_from_slice(&kind.to_le_bytes());
        head[4..8].copy_from_slice(&number.to_le_bytes());
        head[8..16].copy_from_slice(&(entries as u64).to_le_bytes());
        head[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        let hash = hash(&head, bytes);
        head[24..].copy_from_slice(&hash.to_le_bytes());
        self.file.write_all(&head)?;
        self.file.write_all(bytes)?;
        self.sections += 1;
        self.bytes += (SECTION_HEAD + bytes.len()) as u64;
        Ok(())
    }
}

fn hash(head: &[u8; SECTION_HEAD], bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(&head[..24]), bytes)
}

// === reading ===

/// Read at a time, in bytes: what one thread makes tables of while another one reads on.
const BATCH: usize = 256 << 10;

/// Loads snapshot `number` into empty tables; its bytes. All cores take turns at reading some sections, and
/// each makes tables of what it has read.
pub(super) fn load(
    folder: &Path,
    number: u64,
    tables: &Tables,
) -> Result<(Moment, Partitions, u64), SnapshotError> {
    let file = File::open(files::path(folder, SNAPSHOT, number))?;
    let whole = file.metadata()?.len();
    let (sections, moment) = Sections::open(file, whole)?;
    let sections = Mutex::new(sections);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(1 + whole as usize / BATCH);
    let load = || load_sections(&sections, tables);
    let loaded: Result<Vec<_>, _> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(load)).collect();
        let own = load();
        let panicked = |_| Err(SnapshotError::Corrupt("a thread that loads it has panicked".to_owned()));
        let others = others.into_iter().map(|other| other.join().unwrap_or_else(panicked));
        std::iter::once(own).chain(others).collect()
    });
    let mut windows = BTreeMap::<i32, [Keys; 2]>::new();
    for (partition, kind, keys) in loaded?.into_iter().flatten() {
        windows.entry(partition).or_default()[usize::from(kind == OLDER)] = keys;
    }
    let partitions = moment.partitions(windows);
    Ok((moment, partitions, whole))
}

/// Loads sections until there are no more; the windows among them, by partition and kind.
fn load_sections(
    sections: &Mutex<Sections>,
    tables: &Tables,
) -> Result<Vec<(i32, u32, Keys)>, SnapshotError> {
    let mut windows = Vec::new();
    loop {
        let some = sections.lock().unwrap_or_else(PoisonError::into_inner).some()?;
        if some.is_empty() {
            return Ok(windows);
        }
        for section in some {
            if matches!(section.kind, YOUNGER | OLDER) {
                let (words, _) = section.checked()?.as_chunks();
                let keys = Keys::in_order(words.iter().copied().map(u64::from_le_bytes));
                windows.push((section.number.cast_signed(), section.kind, keys));
            } else {
                section.load(tables)?;
            }
        }
    }
}

/// The sections of a file, in their order.
struct Sections {
    file: io::BufReader<File>,
    left: u64,
    /// Sections read.
    read: u64,
    /// There are no more, or none that could be read.
    ended: bool,
}

/// A section as it was read.
struct Section {
    ordinal: u64,
    kind: u32,
    number: u32,
    entries: usize,
    head: [u8; SECTION_HEAD],
    bytes: Vec<u8>,
}

impl Sections {
    /// Those behind the description, which comes first.
    fn open(file: File, whole: u64) -> Result<(Self, Moment), SnapshotError> {
        // Most sections are a few KB; the buffer stays in the cache.
        let file = io::BufReader::with_capacity(128 << 10, file);
        let mut sections = Self { file, left: whole, read: 0, ended: false };
        let mut head = [0; 12];
        sections.take(&mut head)?;
        let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        if !head.starts_with(MAGIC) {
            return Err(SnapshotError::Corrupt("it is no snapshot".to_owned()));
        }
        if version != VERSION {
            return Err(SnapshotError::Corrupt(format!(
                "its version is {version}, this build reads {VERSION}"
            )));
        }
        let first = sections.next()?;
        if first.kind != DESCRIPTION {
            return Err(SnapshotError::Corrupt("its sections are out of order".to_owned()));
        }
        let moment = postcard::from_bytes(first.checked()?);
        Ok((sections, moment.map_err(|error| SnapshotError::Corrupt(error.to_string()))?))
    }

    /// Some more of them; none at the end.
    fn some(&mut self) -> Result<Vec<Section>, SnapshotError> {
        let (mut some, mut bytes) = (Vec::new(), 0);
        while !std::mem::replace(&mut self.ended, true) {
            let section = self.next()?;
            if section.kind == END {
                if section.entries as u64 != section.ordinal {
                    return Err(SnapshotError::Corrupt("some of its sections are not there".to_owned()));
                }
                section.checked()?;
                break;
            }
            self.ended = false;
            bytes += section.bytes.len();
            some.push(section);
            if bytes >= BATCH {
                break;
            }
        }
        Ok(some)
    }

    fn next(&mut self) -> Result<Section, SnapshotError> {
        let mut head = [0; SECTION_HEAD];
        self.take(&mut head)?;
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
        let (kind, number) = (word(0) as u32, (word(0) >> 32) as u32);
        let (entries, length) = (word(8) as usize, word(16));
        if length > self.left {
            return Err(SnapshotError::Corrupt("it is cut off".to_owned()));
        }
        let mut bytes = Vec::with_capacity(length as usize);
        io::Read::by_ref(&mut self.file).take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Err(SnapshotError::Corrupt("it is cut off".to_owned()));
        }
        self.left -= length;
        let ordinal = self.read;
        self.read += 1;
        Ok(Section { ordinal, kind, number, entries, head, bytes })
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| SnapshotError::Corrupt("it is cut off".to_owned()))?;
        Ok(self.file.read_exact(bytes)?)
    }
}

impl Section {
    /// Its bytes, where they are those that were written.
    fn checked(&self) -> Result<&[u8], SnapshotError> {
        if hash(&self.head, &self.bytes).to_le_bytes() == self.head[24..] {
            return Ok(&self.bytes);
        }
        Err(SnapshotError::Corrupt(format!("section {} is not what was written", self.ordinal)))
    }

    /// Makes a shard of a table of it.
    fn load(self, tables: &Tables) -> Result<(), SnapshotError> {
        self.checked()?;
        let Self { ordinal, kind, number, entries, bytes, .. } = self;
        let loaded = match tables.all().get(kind as usize) {
            Some(table) => table.load(number as usize, Copied { entries, bytes }),
            None => Err("it is of an unknown kind"),
        };
        loaded.map_err(|reason| SnapshotError::Corrupt(format!("section {ordinal}: {reason}")))
    }
}
