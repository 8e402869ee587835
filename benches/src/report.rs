//! What a benchmark says: a table for a person, and `target/bench/NAME.json` for whoever tracks figures.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use endcap_index::Simd;
use serde::{Deserialize, Serialize};

/// The figures of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Processor, cores, system.
    pub machine: String,
    /// The instruction set of the scans.
    pub simd: String,
    /// The revision that was measured, `-dirty` where tracked files had changed; `unknown` outside a repository.
    pub commit: String,
    /// One for each thing measured.
    pub rows: Vec<Row>,
}

/// One figure beside that of a peer, measured in the same run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// What was done.
    pub work: String,
    /// Our figure, in `unit`.
    pub ours: f64,
    /// The peer's, in `unit`; none where the bar is absolute or the row is a figure for the record.
    pub peer: Option<f64>,
    /// Who the peer is.
    pub peer_name: String,
    /// Better when larger: ours over the peer's of a rate, the peer's over ours of a time.
    pub ratio: Option<f64>,
    /// The unit of both figures.
    pub unit: String,
    /// What `ratio` must reach.
    pub bar: Option<f64>,
}

/// Whether more or less of a unit is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// A rate.
    More,
    /// A time or a size.
    Less,
}

impl Row {
    /// A figure beside a peer's.
    pub fn beside(
        work: impl Into<String>,
        ours: f64,
        peer: f64,
        peer_name: &str,
        unit: &str,
        better: Better,
    ) -> Self {
        let ratio = match better {
            Better::More => ours / peer,
            Better::Less => peer / ours,
        };
        let (work, peer_name, unit) = (work.into(), peer_name.into(), unit.into());
        Self { work, ours, peer: Some(peer), peer_name, ratio: Some(ratio), unit, bar: None }
    }

    /// A figure for the record.
    pub fn alone(work: impl Into<String>, ours: f64, unit: &str) -> Self {
        let (work, unit) = (work.into(), unit.into());
        Self { work, ours, peer: None, peer_name: String::new(), ratio: None, unit, bar: None }
    }

    /// With what `ratio` must reach.
    pub fn bar(self, bar: f64) -> Self {
        Self { bar: Some(bar), ..self }
    }

    /// Whether the ratio falls short of its bar.
    pub fn falls_short(&self) -> bool {
        matches!((self.ratio, self.bar), (Some(ratio), Some(bar)) if ratio.is_nan() || ratio < bar)
    }
}

impl Report {
    /// An empty report of this machine and revision.
    pub fn new() -> Self {
        Self { machine: machine(), simd: Simd::best().to_string(), commit: commit(), rows: Vec::new() }
    }

    /// Adds a row, and prints it at once: a long run shows where it is.
    pub fn push(&mut self, row: Row) {
        if self.rows.is_empty() {
            println!("{HEAD}");
        }
        println!("{}", Table(&row));
        self.rows.push(row);
    }

    /// This report with the rows of `DIR/NAME.json` that it has no newer ones for, where that is of the same machine and
    /// revision: a long run may be split.
    ///
    /// # Errors
    /// What the file system says, or that the file is no report.
    pub fn over(self, dir: &Path, name: &str) -> io::Result<Self> {
        let path = dir.join(format!("{name}.json"));
        let before: Self = match fs::read(path) {
            Ok(json) => serde_json::from_slice(&json)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(self),
            Err(error) => return Err(error),
        };
        if (&before.machine, &before.simd, &before.commit) != (&self.machine, &self.simd, &self.commit) {
            return Ok(self);
        }
        let mut rows = before.rows;
        for row in self.rows {
            match rows.iter_mut().find(|known| known.work == row.work) {
                Some(known) => *known = row,
                None => rows.push(row),
            }
        }
        Ok(Self { rows, ..self })
    }

    /// Writes `DIR/NAME.json`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, dir: &Path, name: &str) -> io::Result<PathBuf> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{name}.json"));
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        fs::write(&path, json)?;
        Ok(path)
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

/// A row as a line of the printed table.
struct Table<'a>(&'a Row);

const HEAD: &str =
    "work                                                 ours         peer   ratio     bar  unit";

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { work, ours, peer, peer_name, ratio, unit, bar } = self.0;
        let figure = |x: &Option<f64>| x.map_or(String::new(), significant);
        let (ours, peer, ratio, least) = (significant(*ours), figure(peer), figure(ratio), figure(bar));
        let mark = if self.0.falls_short() { " ✗" } else { "" };
        write!(f, "{work:<44} {ours:>12} {peer:>12} {ratio:>7} {least:>7}  {unit}{mark}")?;
        if peer_name.is_empty() { Ok(()) } else { write!(f, "  (peer: {peer_name})") }
    }
}

/// Three digits that mean something.
fn significant(x: f64) -> String {
    match x.abs() {
        x if x >= 100.0 => format!("{:.0}", x.copysign(x)),
        x if x >= 10.0 => format!("{x:.1}"),
        x if x >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}

/// Processor, cores, system.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, {}", std::env::consts::OS)
}

/// The revision, `-dirty` where files had changed.
pub(crate) fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "--short=12", "HEAD"]), git(&["status", "--porcelain", "--untracked-files=no"]))
    {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => commit + "-dirty",
        _ => "unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_better_when_larger_and_fall_short_of_their_bar() {
        let rate = Row::beside("scan", 300.0, 100.0, "peer", "queries/s", Better::More).bar(2.0);
        assert_eq!((rate.ratio, rate.falls_short()), (Some(3.0), false));
        let time = Row::beside("visible", 3.0, 1.5, "peer", "ms", Better::Less).bar(0.6);
        assert_eq!((time.ratio, time.falls_short()), (Some(0.5), true));
        assert!(Row { ratio: Some(f64::NAN), ..time }.falls_short());
        assert!(!Row::alone("build", 3.0, "s").falls_short());
    }

    #[test]
    fn a_later_part_of_a_run_replaces_its_own_rows_alone() {
        let dir = tempfile::tempdir().unwrap();
        let of = |rows: &[(&str, f64)]| Report {
            rows: rows.iter().map(|&(work, figure)| Row::alone(work, figure, "ms")).collect(),
            ..Report::new()
        };
        let first = of(&[("a", 1.0), ("b", 2.0)]).over(dir.path(), "retrieval").unwrap();
        first.write(dir.path(), "retrieval").unwrap();
        let both = of(&[("b", 3.0), ("c", 4.0)]).over(dir.path(), "retrieval").unwrap();
        let rows: Vec<_> = both.rows.iter().map(|row| (row.work.as_str(), row.ours)).collect();
        assert_eq!(rows, [("a", 1.0), ("b", 3.0), ("c", 4.0)]);
        let other = Report { commit: "another".into(), ..of(&[("b", 5.0)]) };
        assert_eq!(other.over(dir.path(), "retrieval").unwrap().rows.len(), 1);
    }

    #[test]
    fn the_written_file_has_the_fields_that_trackers_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut report = Report::new();
        report.push(Row::beside("scan", 3.0, 2.0, "peer", "queries/s", Better::More));
        let path = report.write(dir.path(), "retrieval").unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&json), ["machine", "simd", "commit", "rows"]);
        assert_eq!(keys(&json["rows"][0]), ["work", "ours", "peer", "peer_name", "ratio", "unit", "bar"]);
    }
}
