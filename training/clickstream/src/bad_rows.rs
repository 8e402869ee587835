//! Rows of a source that cannot be taken: counted by reason, written aside, limited in number.
//!
//! An importer names the file it reads, then records each row that breaks a rule. Every such row is
//! a line of `bad-rows.jsonl`, so that it can be mended and imported again:
//!
//! ```json
//! {"source":"ratings.csv","line":3,"reason":"event_time: must be a number","row":"u1,i2,soon"}
//! ```

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{ClickstreamError, error::IoContext};

/// The most of a bad row that is written aside, in bytes.
const MAX_ROW_BYTES: usize = 64 * 1024;

/// The most reasons that are counted apart; the rest is counted under [`OTHER_REASONS`].
const MAX_REASONS: usize = 100;

/// Where reasons past the first [`MAX_REASONS`] are counted.
const OTHER_REASONS: &str = "other reasons";

/// How many bad rows are put up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRowLimit {
    /// This many; one more is an error.
    AtMost(u64),
    /// Any number.
    Unlimited,
}

/// Keeps the books of bad rows while a source is imported.
#[derive(Debug)]
pub struct BadRows {
    path: PathBuf,
    limit: BadRowLimit,
    source: PathBuf,
    aside: Option<BufWriter<File>>,
    summary: BadRowSummary,
}

/// What was left out, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRowSummary {
    /// All bad rows.
    pub total: u64,
    /// How many for each reason; past the first hundred reasons, the others are counted as one.
    pub by_reason: BTreeMap<String, u64>,
}

/// A line of `bad-rows.jsonl`.
#[derive(Serialize)]
struct BadRow<'a> {
    source: String,
    line: u64,
    reason: &'a str,
    row: &'a str,
}

// === impl BadRows ===

impl BadRows {
    /// Bad rows go to `path` (`DIR/bad-rows.jsonl`), which is written when the first one is found.
    ///
    /// # Errors
    /// When a file left there by an earlier import cannot be removed.
    pub fn create(path: impl AsRef<Path>, limit: BadRowLimit) -> Result<Self, ClickstreamError> {
        let path = path.as_ref().to_owned();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at(&path, "remove")?,
            _ => {}
        }
        Ok(Self { path, limit, source: PathBuf::new(), aside: None, summary: BadRowSummary::default() })
    }

    /// Names the source file that the next rows come from.
    pub fn reading(&mut self, source: impl AsRef<Path>) {
        self.source = source.as_ref().to_owned();
    }

    /// Counts a bad row and writes it aside. `line` counts from 1; `reason` names the column and the
    /// rule, and is what rows are counted by; `raw` is the row as it was read, of which the first
    /// 64 KiB are kept.
    ///
    /// # Errors
    /// When there are more than the limit, or the row cannot be written aside.
    pub fn record(&mut self, line: u64, reason: impl Display, raw: &str) -> Result<(), ClickstreamError> {
        let reason = reason.to_string();
        self.write_aside(line, &reason, raw).at(&self.path, "write")?;
        self.summary.total += 1;
        let by_reason = &mut self.summary.by_reason;
        let known = by_reason.contains_key(&reason) || by_reason.len() < MAX_REASONS;
        *by_reason.entry(if known { reason.clone() } else { OTHER_REASONS.to_owned() }).or_default() += 1;
        match self.limit {
            BadRowLimit::AtMost(limit) if self.summary.total > limit => {
                if let Some(aside) = &mut self.aside {
                    aside.flush().at(&self.path, "write")?;
                }
                Err(ClickstreamError::TooManyBadRows {
                    count: self.summary.total,
                    limit,
                    source_file: self.source.clone(),
                    line,
                    reason,
                    aside: self.path.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// How many so far.
    pub fn total(&self) -> u64 {
        self.summary.total
    }

    /// Writes out what is buffered and returns the counts.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<BadRowSummary, ClickstreamError> {
        if let Some(mut aside) = self.aside.take() {
            aside.flush().and_then(|()| aside.get_ref().sync_all()).at(&self.path, "write")?;
        }
        Ok(self.summary)
    }

    fn write_aside(&mut self, line: u64, reason: &str, raw: &str) -> io::Result<()> {
        let aside = match &mut self.aside {
            Some(aside) => aside,
            none => {
                if let Some(dir) = self.path.parent() {
                    fs::create_dir_all(dir)?;
                }
                none.insert(BufWriter::new(File::create(&self.path)?))
            }
        };
        let row = &raw[..raw.floor_char_boundary(MAX_ROW_BYTES)];
        serde_json::to_writer(
            &mut *aside,
            &BadRow { source: self.source.display().to_string(), line, reason, row },
        )?;
        aside.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_rows_are_counted_by_reason_and_written_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out/bad-rows.jsonl");
        let mut bad = BadRows::create(&path, BadRowLimit::Unlimited).unwrap();
        bad.reading("ratings.csv");
        bad.record(3, "time: must be a number", "u1,\"i2\",soon").unwrap();
        bad.record(9, "time: must be a number", "u2,i1,").unwrap();
        bad.record(10, "item_id: must not be empty", &"ö".repeat(MAX_ROW_BYTES)).unwrap();
        let summary = bad.finish().unwrap();
        assert_eq!(summary.total, 3);
        assert_eq!(summary.by_reason["time: must be a number"], 2);
        let text = fs::read_to_string(&path).unwrap();
        let rows: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            rows[0],
            serde_json::json!({
                "source": "ratings.csv", "line": 3, "reason": "time: must be a number", "row": "u1,\"i2\",soon"
            })
        );
        assert_eq!(rows[2]["row"].as_str().unwrap().len(), MAX_ROW_BYTES);
    }

    #[test]
    fn one_more_than_the_limit_is_an_error_that_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad-rows.jsonl");
        let mut bad = BadRows::create(&path, BadRowLimit::AtMost(1)).unwrap();
        bad.reading("a.csv");
        bad.record(1, "empty", "").unwrap();
        let message = bad.record(7, "empty", "").unwrap_err().to_string();
        assert!(
            message.contains("2 bad rows, at most 1") && message.contains("a.csv, line 7: empty"),
            "{message}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    }

    #[test]
    fn reasons_past_the_first_hundred_are_counted_together() {
        let dir = tempfile::tempdir().unwrap();
        let mut bad = BadRows::create(dir.path().join("b.jsonl"), BadRowLimit::Unlimited).unwrap();
        for line in 1..=150 {
            bad.record(line, format!("reason {line}"), "").unwrap();
        }
        let summary = bad.finish().unwrap();
        assert_eq!(summary.by_reason.len(), MAX_REASONS + 1);
        assert_eq!(summary.by_reason[OTHER_REASONS], 50);
    }

    #[test]
    fn without_bad_rows_there_is_no_file_and_an_old_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad-rows.jsonl");
        fs::write(&path, "old").unwrap();
        assert_eq!(BadRows::create(&path, BadRowLimit::AtMost(0)).unwrap().finish().unwrap().total, 0);
        assert!(!path.exists());
    }
}
