//! What an importer is pointed at: a file, or a folder as its publisher ships it; and its lines.
//!
//! A file is read as a stream, through gzip or zstd where its name says so. A line that is longer
//! than [`MAX_LINE_BYTES`] is not kept whole, so that no input can fill the memory.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::importer::{At, BadRow};
use crate::ClickstreamError;

/// Lines and quoted rows longer than this are bad rows.
pub(super) const MAX_LINE_BYTES: usize = 16 << 20;

/// A file or a folder.
#[derive(Debug)]
pub(super) struct Input {
    path: PathBuf,
    /// Sorted by name; one, where the input is a file.
    files: Vec<PathBuf>,
    folder: bool,
}

/// The lines of a text file.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    number: u64,
    line: Vec<u8>,
    cut: bool,
}

/// A file's name without `.gz` or `.zst`.
pub(super) fn name(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name)
}

/// The import cannot go on.
pub(super) fn refuse(path: &Path, reason: impl Into<String>) -> ClickstreamError {
    ClickstreamError::Source { path: path.to_owned(), line: None, reason: reason.into() }
}

/// The import cannot go on from this line.
pub(super) fn refuse_line(path: &Path, line: u64, reason: impl Into<String>) -> ClickstreamError {
    ClickstreamError::Source { path: path.to_owned(), line: Some(line), reason: reason.into() }
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> ClickstreamError {
    let path = path.to_owned();
    move |source| ClickstreamError::Io { path, action, source }
}

/// Opens a file, decompressing it where its name ends in `.gz` or `.zst`.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, ClickstreamError> {
    const BUFFER_BYTES: usize = 256 << 10;
    let file = File::open(path).map_err(failed(path, "open"))?;
    let reader: Box<dyn Read> = match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => {
            Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, file)))
        }
        Some("zst") => Box::new(zstd::stream::read::Decoder::new(file).map_err(failed(path, "decompress"))?),
        _ => Box::new(file),
    };
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, reader)))
}

// === impl Input ===

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, ClickstreamError> {
        if !path.metadata().map_err(failed(path, "open"))?.is_dir() {
            return Ok(Self { path: path.to_owned(), files: vec![path.to_owned()], folder: false });
        }
        let mut files = Vec::new();
        for entry in path.read_dir().map_err(failed(path, "list"))? {
            let file = entry.map_err(failed(path, "list"))?.path();
            if file.is_file() {
                files.push(file);
            }
        }
        files.sort();
        Ok(Self { path: path.to_owned(), files, folder: true })
    }

    /// As it was given.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, where the input is one.
    pub(super) fn file(&self) -> Option<&Path> {
        if self.folder { None } else { self.files.first().map(PathBuf::as_path) }
    }

    /// The files whose names, without `.gz` or `.zst`, pass; in the order of their names.
    pub(super) fn all(&self, mut wanted: impl FnMut(&str) -> bool) -> Vec<&Path> {
        self.files.iter().map(PathBuf::as_path).filter(|path| wanted(name(path))).collect()
    }

    /// The first file with the first of these names that there is.
    pub(super) fn find(&self, names: &[&str]) -> Option<&Path> {
        names.iter().find_map(|wanted| self.all(|name| name == *wanted).first().copied())
    }

    /// The file that the input is, or the one in the folder with the first of these names.
    ///
    /// # Errors
    /// When the folder has none of them.
    pub(super) fn main(&self, names: &[&str]) -> Result<&Path, ClickstreamError> {
        self.file().or_else(|| self.find(names)).ok_or_else(|| self.lacks(&names.join(" or ")))
    }

    /// Every file with one of these endings, or the file that the input is.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn ending(&self, endings: &[&str]) -> Result<Vec<&Path>, ClickstreamError> {
        if let Some(file) = self.file() {
            return Ok(vec![file]);
        }
        let files = self.all(|name| endings.iter().any(|ending| name.ends_with(ending)));
        if files.is_empty() { Err(self.lacks(&endings.join(" or "))) } else { Ok(files) }
    }

    /// The error of a missing file.
    pub(super) fn lacks(&self, wanted: &str) -> ClickstreamError {
        if self.folder {
            let names: Vec<_> = self.files.iter().take(20).map(|path| name(path)).collect();
            let found = if names.is_empty() { "no file".to_owned() } else { names.join(", ") };
            refuse(
                &self.path,
                format!("no {wanted} in this folder (also looked for .gz and .zst); found {found}"),
            )
        } else {
            refuse(&self.path, format!("must be a folder that holds {wanted}"))
        }
    }
}

// === impl Lines ===

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, ClickstreamError> {
        Ok(Self { path: path.to_owned(), reader: open(path)?, number: 0, line: Vec::new(), cut: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads on to the next line that is not empty; `false` at the end.
    pub(super) fn advance_to_text(&mut self) -> Result<bool, ClickstreamError> {
        while self.advance()? {
            if self.cut || !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the next line; `false` at the end. A byte order mark and the line's end are left out.
    pub(super) fn advance(&mut self) -> Result<bool, ClickstreamError> {
        self.line.clear();
        self.number += 1;
        let number = self.number;
        let failed = |error: io::Error| {
            let reason = format!("cannot be read on: {error}; the file may be cut off, copy it again");
            refuse_line(&self.path, number, reason)
        };
        let limit = MAX_LINE_BYTES as u64 + 2;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.line).map_err(failed)?;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if read as u64 == limit {
            self.reader.skip_until(b'\n').map_err(failed)?;
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        if self.number == 1 && self.line.starts_with(b"\xef\xbb\xbf") {
            self.line.drain(..3);
        }
        self.cut = self.line.len() > MAX_LINE_BYTES;
        Ok(read > 0)
    }

    /// Where the line stands; of a bad one, its first bytes.
    pub(super) fn at(&self) -> At<'_> {
        let shown = if self.cut { 1 << 10 } else { self.line.len() };
        At { line: self.number, raw: &self.line[..shown] }
    }

    /// The line as text.
    pub(super) fn text(&self) -> Result<&str, BadRow> {
        if self.cut {
            return Err(BadRow(format!("longer than {} MiB", MAX_LINE_BYTES >> 20)));
        }
        std::str::from_utf8(&self.line).map_err(|_| BadRow("not UTF-8".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    fn lines(text: &[u8]) -> Lines {
        let reader = Box::new(Cursor::new(text.to_vec()));
        Lines { path: "t".into(), reader, number: 0, line: Vec::new(), cut: false }
    }

    #[test]
    fn lines_are_numbered_without_their_ends() {
        let mut lines = lines(b"\xef\xbb\xbfone\r\n\n two\nlast");
        let mut seen = Vec::new();
        while lines.advance_to_text().unwrap() {
            seen.push((lines.at().line, lines.text().unwrap().to_owned()));
        }
        assert_eq!(seen, [(1, "one".to_owned()), (3, " two".to_owned()), (4, "last".to_owned())]);
    }

    #[test]
    fn a_line_past_the_limit_is_bad_and_the_next_one_is_read() {
        let mut text = vec![b'x'; MAX_LINE_BYTES + 1];
        text.extend_from_slice(b"\nnext");
        let mut lines = lines(&text);
        assert!(lines.advance().unwrap());
        assert_eq!(lines.text(), Err(BadRow("longer than 16 MiB".to_owned())));
        assert!(lines.at().raw.len() < 2000);
        assert!(lines.advance().unwrap());
        assert_eq!((lines.at().line, lines.text()), (2, Ok("next")));
    }

    #[test]
    fn compressed_files_read_as_the_plain_one() {
        let dir = tempfile::tempdir().unwrap();
        let text = b"a\nb\n".repeat(1000);
        let plain = dir.path().join("t.csv");
        std::fs::write(&plain, &text).unwrap();
        let zst = dir.path().join("t.csv.zst");
        std::fs::write(&zst, zstd::encode_all(&text[..], 3).unwrap()).unwrap();
        let gz = dir.path().join("t.csv.gz");
        // Two members in one file, as `cat a.gz b.gz` and bgzip make them.
        let mut bytes = Vec::new();
        for half in [&text[..1000], &text[1000..]] {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(half).unwrap();
            bytes.extend(encoder.finish().unwrap());
        }
        std::fs::write(&gz, bytes).unwrap();
        for path in [plain, zst, gz] {
            let mut read = Vec::new();
            open(&path).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, text, "{}", path.display());
            assert_eq!(name(&path), "t.csv");
        }
    }

    #[test]
    fn a_cut_off_file_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv.zst");
        let whole = zstd::encode_all(&b"some line\n".repeat(100_000)[..], 3).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let mut lines = Lines::open(&path).unwrap();
        let error = loop {
            match lines.advance() {
                Ok(true) => {}
                Ok(false) => panic!("the end was not missed"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("t.csv.zst, line ") && error.contains("cut off"), "{error}");
    }
}
