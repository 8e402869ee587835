//! Files that appear whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{
        CompressionType,
        writer::{FileWriter, IpcWriteOptions, StreamWriter},
    },
};
use flate2::write::GzEncoder;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};

use crate::{ClickstreamError, error::IoContext};

/// Rows of a Parquet row group: what a writer holds in memory before it writes.
const ROW_GROUP_ROWS: usize = 128 * 1024;

/// A file under a temporary name beside its own, which it gets when it is finished. A program that
/// dies in between leaves `.NAME.PID.N.tmp`, which nothing reads.
#[derive(Debug)]
pub(crate) struct PendingFile {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    finished: bool,
}

/// Writes record batches in the format that the file's ending says.
pub(crate) struct RecordWriter {
    path: PathBuf,
    sink: Sink,
}

type Output = BufWriter<PendingFile>;

enum Sink {
    IpcFile(FileWriter<Output>),
    IpcStream(StreamWriter<Output>),
    Zstd(StreamWriter<zstd::Encoder<'static, Output>>),
    Gzip(StreamWriter<GzEncoder<Output>>),
    Parquet(Box<ArrowWriter<Output>>),
}

/// What the ending of a name asks for.
#[derive(Clone, Copy)]
enum Ending {
    IpcFile,
    IpcStream,
    Zstd,
    Gzip,
    Parquet,
}

/// The endings that are written, and read within a data set.
const ENDINGS: [(&str, Ending); 5] = [
    (".arrow", Ending::IpcFile),
    (".arrows", Ending::IpcStream),
    (".arrows.zst", Ending::Zstd),
    (".arrows.gz", Ending::Gzip),
    (".parquet", Ending::Parquet),
];

/// Whether a file has one of the endings that are written.
pub(crate) fn has_known_ending(path: &Path) -> bool {
    Ending::of(path).is_some()
}

/// The known endings, for messages.
pub(crate) fn known_endings() -> String {
    ENDINGS.map(|(ending, _)| ending).join(", ")
}

impl Ending {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        ENDINGS
            .iter()
            .find(|(ending, _)| name.ends_with(ending) && name.len() > ending.len())
            .map(|(_, kind)| *kind)
    }
}

// === impl PendingFile ===

impl PendingFile {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.{}.tmp", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let temporary = path.with_file_name(temporary);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
        Ok(Self { path: path.to_owned(), temporary, file, finished: false })
    }

    /// Makes the contents durable, and then the name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.finished = true;
        match self.path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => sync_dir(dir),
            None => sync_dir(Path::new(".")),
        }
    }
}

/// Makes the names in a folder durable, where the system can.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: a file that stays behind is read by nobody.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

// === impl RecordWriter ===

impl RecordWriter {
    pub(crate) fn create(path: &Path, schema: &SchemaRef) -> Result<Self, ClickstreamError> {
        let ending = Ending::of(path).ok_or_else(|| ClickstreamError::Format {
            path: path.to_owned(),
            reason: format!("the ending of the name must say what to write: one of {}", known_endings()),
        })?;
        let output = BufWriter::with_capacity(1 << 18, PendingFile::create(path).at(path, "create")?);
        let sink = Sink::create(ending, output, schema).at(path, "write")?;
        Ok(Self { path: path.to_owned(), sink })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), ClickstreamError> {
        match &mut self.sink {
            Sink::IpcFile(writer) => writer.write(batch).map_err(arrow_io),
            Sink::IpcStream(writer) => writer.write(batch).map_err(arrow_io),
            Sink::Zstd(writer) => writer.write(batch).map_err(arrow_io),
            Sink::Gzip(writer) => writer.write(batch).map_err(arrow_io),
            Sink::Parquet(writer) => writer.write(batch).map_err(parquet_io),
        }
        .at(&self.path, "write")
    }

    pub(crate) fn finish(self) -> Result<(), ClickstreamError> {
        self.sink.finish().at(&self.path, "finish")
    }
}

impl std::fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Sink {
    fn create(ending: Ending, output: Output, schema: &SchemaRef) -> io::Result<Self> {
        let plain = IpcWriteOptions::default();
        let zstd_buffers =
            || IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).map_err(arrow_io);
        Ok(match ending {
            Ending::IpcFile => {
                let options = zstd_buffers()?;
                Self::IpcFile(FileWriter::try_new_with_options(output, schema, options).map_err(arrow_io)?)
            }
            Ending::IpcStream => {
                let options = zstd_buffers()?;
                Self::IpcStream(
                    StreamWriter::try_new_with_options(output, schema, options).map_err(arrow_io)?,
                )
            }
            Ending::Zstd => {
                let encoder = zstd::Encoder::new(output, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                Self::Zstd(StreamWriter::try_new_with_options(encoder, schema, plain).map_err(arrow_io)?)
            }
            Ending::Gzip => {
                let encoder = GzEncoder::new(output, flate2::Compression::default());
                Self::Gzip(StreamWriter::try_new_with_options(encoder, schema, plain).map_err(arrow_io)?)
            }
            Ending::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .build();
                let writer =
                    ArrowWriter::try_new(output, schema.clone(), Some(properties)).map_err(parquet_io)?;
                Self::Parquet(Box::new(writer))
            }
        })
    }

    fn finish(self) -> io::Result<()> {
        let output = match self {
            Self::IpcFile(writer) => writer.into_inner().map_err(arrow_io)?,
            Self::IpcStream(writer) => writer.into_inner().map_err(arrow_io)?,
            Self::Zstd(writer) => writer.into_inner().map_err(arrow_io)?.finish()?,
            Self::Gzip(writer) => writer.into_inner().map_err(arrow_io)?.finish()?,
            Self::Parquet(writer) => writer.into_inner().map_err(parquet_io)?,
        };
        output.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    }
}

fn arrow_io(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        error => io::Error::other(error),
    }
}

fn parquet_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}
