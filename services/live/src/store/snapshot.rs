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
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::Path,
};

use endcap_proto::EventTime;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::{
    files::{self, JOURNAL, SNAPSHOT, UNFINISHED, sync_folder},
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

    pub(super) fn into_partitions(self) -> Partitions {
        let mut windows = self.windows;
        let mut restore = |at: At| {
            let mine = windows.iter_mut().find(|(partition, _)| *partition == at.partition);
            let [younger, older] = mine.map(|(_, keys)| std::mem::take(keys)).unwrap_or_default();
            let keys = [(at.generation, younger), (at.generation.wrapping_sub(1), older)];
            let window = Window::restore(at.generation, EventTime::clamped(at.began), keys);
            let watermark = EventTime::clamped(at.watermark);
            (at.partition, Partition { next: at.next, journaled: at.next, watermark, window, changed: false })
        };
        self.partitions.into_iter().map(&mut restore).collect()
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

/// Loads snapshot `number` into empty tables; its bytes.
pub(super) fn load(folder: &Path, number: u64, tables: &Tables) -> Result<(Moment, u64), SnapshotError> {
    let path = files::path(folder, SNAPSHOT, number);
    let file = File::open(path)?;
    let whole = file.metadata()?.len();
    // Thousands of shards are a few KB each.
    let mut file = io::BufReader::with_capacity(1 << 20, file);
    let mut left = whole;
    let corrupt = |reason: &str| SnapshotError::Corrupt(reason.to_owned());
    let mut head = [0; 12];
    take(&mut file, &mut left, &mut head)?;
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if !head.starts_with(MAGIC) {
        return Err(corrupt("it is no snapshot"));
    }
    if version != VERSION {
        return Err(SnapshotError::Corrupt(format!("its version is {version}, this build reads {VERSION}")));
    }
    let mut moment = None::<Moment>;
    let mut sections = 0;
    let mut shards = Vec::new();
    loop {
        let mut head = [0; SECTION_HEAD];
        take(&mut file, &mut left, &mut head)?;
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
        let kind = word(0) as u32;
        let number = (word(0) >> 32) as u32;
        let (entries, length) = (word(8), word(16));
        if length > left {
            return Err(corrupt("it is cut off"));
        }
        let mut bytes = Vec::with_capacity(length as usize);
        io::Read::by_ref(&mut file).take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Err(corrupt("it is cut off"));
        }
        let section = Section { ordinal: sections, head, bytes };
        left -= length;
        match (kind, &mut moment) {
            (DESCRIPTION, None) => {
                let read = postcard::from_bytes(section.checked()?);
                moment = Some(read.map_err(|error| SnapshotError::Corrupt(error.to_string()))?);
            }
            (YOUNGER | OLDER, Some(moment)) => {
                let keys = section.checked()?.chunks_exact(8);
                let keys = keys.filter_map(|key| key.try_into().ok().map(u64::from_le_bytes));
                let partition = number.cast_signed();
                if moment.windows.last().is_none_or(|(last, _)| *last != partition) {
                    moment.windows.push((partition, Default::default()));
                }
                if let Some((_, [younger, older])) = moment.windows.last_mut() {
                    let place = if kind == YOUNGER { younger } else { older };
                    place.extend(keys);
                }
            }
            (END, Some(_)) if entries == sections => {
                section.checked()?;
                load_shards(shards, tables)?;
                return moment.map(|moment| (moment, whole)).ok_or_else(|| corrupt("it is empty"));
            }
            (_, Some(_)) => shards.push(section),
            _ => return Err(corrupt("its sections are out of order")),
        }
        sections += 1;
    }
}

/// A section as it was read.
struct Section {
    ordinal: u64,
    head: [u8; SECTION_HEAD],
    bytes: Vec<u8>,
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
        let word = |at: usize| u64::from_le_bytes(self.head[at..at + 8].try_into().unwrap_or_default());
        let (kind, number, entries) = (word(0) as u32, (word(0) >> 32) as usize, word(8) as usize);
        let loaded = match tables.all().get(kind as usize) {
            Some(table) => table.load(number, Copied { entries, bytes: self.bytes }),
            None => Err("it is of an unknown kind"),
        };
        loaded.map_err(|reason| SnapshotError::Corrupt(format!("section {}: {reason}", self.ordinal)))
    }
}

/// Makes shards of sections, on all cores.
fn load_shards(mut shards: Vec<Section>, tables: &Tables) -> Result<(), SnapshotError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = shards.len().div_ceil(threads).max(1);
    let load = |sections: Vec<Section>| sections.into_iter().try_for_each(|section| section.load(tables));
    std::thread::scope(|scope| {
        let mut others = Vec::new();
        while shards.len() > share {
            let sections = shards.split_off(shards.len() - share);
            others.push(scope.spawn(move || load(sections)));
        }
        let own = load(shards);
        let panicked = |_| Err(SnapshotError::Corrupt("a thread that loads it has panicked".to_owned()));
        others.into_iter().map(|other| other.join().unwrap_or_else(panicked)).fold(own, Result::and)
    })
}

fn take(file: &mut impl io::Read, left: &mut u64, bytes: &mut [u8]) -> Result<(), SnapshotError> {
    *left = left
        .checked_sub(bytes.len() as u64)
        .ok_or_else(|| SnapshotError::Corrupt("it is cut off".to_owned()))?;
    Ok(file.read_exact(bytes)?)
}
