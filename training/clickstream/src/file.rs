//! Files of record batches: Arrow IPC files and streams, and Parquet, read and written in pieces.
//!
//! What a file is, its first bytes say, not its name. A file may come from anywhere and be damaged
//! in any way, so the lengths it states are checked against what is there before memory is asked
//! for; a panic of a decoder is caught and reported as damage.

mod ipc;
mod write;

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use arrow::{array::RecordBatch, datatypes::Fields};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
};

pub(crate) use write::{PendingFile, RecordWriter, has_known_ending, known_endings};

use crate::{ClickstreamError, error::IoContext, schema::Contract};

/// Rows of a record batch, as it is written, and as it is asked for from Parquet.
pub(crate) const BATCH_ROWS: usize = 8192;

/// The most bytes that one record batch may hold: what reading a file costs at most in memory.
pub(crate) const MAX_BATCH_BYTES: u64 = 1 << 30;

const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Reads the record batches of one file; columns the contract does not know are skipped.
pub(crate) struct RecordReader {
    path: PathBuf,
    batches: Batches,
    next_batch: u64,
    failed: bool,
}

enum Batches {
    Ipc(ipc::IpcReader),
    Parquet(ParquetRecordBatchReader),
}

/// What the first bytes of a file say it is.
enum Format {
    IpcFile,
    IpcStream,
    Parquet,
    Zstd,
    Gzip,
}

/// Something about a file that a [`ClickstreamError`] will say with its path.
pub(crate) enum Fault {
    Io(io::Error),
    Truncated(String),
    Damaged(String),
}

// === impl RecordReader ===

impl RecordReader {
    /// Opens a file and checks its schema against the contract.
    pub(crate) fn open(path: &Path, contract: &Contract) -> Result<Self, ClickstreamError> {
        let mut file = File::open(path).at(path, "open")?;
        if file.metadata().at(path, "open")?.is_dir() {
            let reason = "is a folder, where a file was expected".to_owned();
            return Err(ClickstreamError::Format { path: path.to_owned(), reason });
        }
        let place = |place: &str| {
            let place = place.to_owned();
            move |fault: Fault| fault.of(path, place)
        };
        let stream = |source: Box<dyn Read + Send>| -> Result<Batches, ClickstreamError> {
            let mut reader = ipc::IpcReader::stream(source).map_err(place("schema"))?;
            reader.project(contract.projection(path, reader.schema())?);
            Ok(Batches::Ipc(reader))
        };
        let batches = match Format::sniff(&mut file, path)? {
            Format::IpcFile => {
                let mut reader = ipc::IpcReader::file(file).map_err(place("footer"))?;
                reader.project(contract.projection(path, reader.schema())?);
                Batches::Ipc(reader)
            }
            Format::IpcStream => stream(Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, file)))?,
            Format::Zstd => stream(Box::new(BufReader::new(zstd::Decoder::new(file).at(path, "read")?)))?,
            Format::Gzip => {
                let file = BufReader::with_capacity(READ_BUFFER_BYTES, file);
                stream(Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file))))?
            }
            Format::Parquet => {
                let builder =
                    guarded(|| ParquetRecordBatchReaderBuilder::try_new(file)).map_err(place("footer"))?;
                let projection = contract.projection(path, builder.schema())?;
                let mask = ProjectionMask::roots(builder.parquet_schema(), projection);
                let build = || builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
                Batches::Parquet(guarded(build).map_err(place("footer"))?)
            }
        };
        Ok(Self { path: path.to_owned(), batches, next_batch: 0, failed: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Iterator for RecordReader {
    /// A batch and its number within the file, from 0.
    type Item = Result<(u64, RecordBatch), ClickstreamError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let batch = match &mut self.batches {
            Batches::Ipc(reader) => reader.next_batch().transpose()?,
            Batches::Parquet(reader) => guarded(|| reader.next().transpose()).transpose()?,
        };
        let number = self.next_batch;
        self.next_batch += 1;
        Some(batch.map(|batch| (number, batch)).map_err(|fault| {
            self.failed = true;
            fault.of(&self.path, format!("record batch {number}"))
        }))
    }
}

impl std::fmt::Debug for RecordReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordReader")
            .field("path", &self.path)
            .field("next_batch", &self.next_batch)
            .finish()
    }
}

// === impl Format ===

impl Format {
    fn sniff(file: &mut File, path: &Path) -> Result<Self, ClickstreamError> {
        let mut head = Vec::with_capacity(8);
        file.take(8).read_to_end(&mut head).at(path, "read")?;
        file.seek(SeekFrom::Start(0)).at(path, "read")?;
        match *head {
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Ok(Self::IpcFile),
            [b'P', b'A', b'R', b'1', ..] => Ok(Self::Parquet),
            [0xff, 0xff, 0xff, 0xff, ..] => Ok(Self::IpcStream),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [] => {
                Err(ClickstreamError::Truncated { path: path.to_owned(), detail: "it is empty".to_owned() })
            }
            _ => Err(ClickstreamError::Format {
                path: path.to_owned(),
                reason: format!(
                    "neither Arrow IPC nor Parquet, nor an Arrow stream within zstd or gzip (it begins with the \
                     bytes {head:02x?}); other files are for `endcap import`"
                ),
            }),
        }
    }
}

// === impl Fault ===

impl Fault {
    pub(crate) fn of(self, path: &Path, place: String) -> ClickstreamError {
        let path = path.to_owned();
        match self {
            Self::Io(source) => ClickstreamError::Io { path, action: "read", source },
            Self::Truncated(detail) => {
                ClickstreamError::Truncated { path, detail: format!("{detail}, in {place}") }
            }
            Self::Damaged(detail) => ClickstreamError::Damaged { path, place, detail },
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated("it ends early".to_owned()),
            // What decompressors say of bytes that are not theirs.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Self::Damaged(error.to_string()),
            io::ErrorKind::Other if error.raw_os_error().is_none() => Self::Damaged(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

/// Runs a decoder on bytes from outside. Both libraries answer damage with errors; should one panic
/// all the same, that is an error too.
fn guarded<T, E: std::fmt::Display>(decode: impl FnOnce() -> Result<T, E>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(result) => result.map_err(|error| Fault::Damaged(error.to_string())),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message =
                message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it cannot be decoded");
            Err(Fault::Damaged(message.to_owned()))
        }
    }
}

/// The names of columns, for messages.
pub(crate) fn column_names(fields: &Fields) -> String {
    fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
}
