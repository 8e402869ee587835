//! `bench-retrieval`: queries a second of the index, beside floors of our own and beside hnswlib, usearch and faiss.
//!
//! ```text
//! data   vectors and queries (drawn, or of a bundle trained on the synthetic shop), the true answers ─► raw files
//! ours   an index of ours, cached, and each way to search it                                            │
//! peers  a Python process for each index of a peer (benches/peers/retrieval.py), built once and cached ◄┘
//! beside every setting of each once: recall and rate; then, of those that reach a recall, ours and the
//!        fastest peers in turn: rows, and a plot
//! graphs our graph beside hnswlib's, at equal M and ef
//! own    scans, instruction sets, filters, changes, files: beside floors of our own
//! ```

mod bandwidth;
mod batches;
mod beside;
mod data;
mod graphs;
mod ours;
mod own;
mod peers;
mod plot;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::measure::Extent;
use crate::report::Report;

pub use data::Source;
pub use ours::{CHILD, child};
pub use peers::Library;

const SEED: u64 = 3;
/// Queries over each set of vectors.
const QUERIES: usize = 500;
const DIM: usize = 64;
const K: usize = 100;
/// Each figure is a median of so many, taken in turn.
const ROUNDS: usize = 5;

/// What of retrieval to measure: a full run takes long, and may be split. Rows of a split run replace those of the same
/// work in the file that is there.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Retrieval")]
pub struct Options {
    /// Which parts.
    #[arg(long, value_delimiter = ',', default_value = "own,unfiltered,batches,filtered,builds,graphs")]
    pub parts: Vec<Part>,
    /// Whose vectors.
    #[arg(long, value_delimiter = ',', default_value = "hard,easy,bundle")]
    pub data: Vec<Source>,
    /// How many items of the generators, as `100k` or `1M`; with --full both unless it is said.
    #[arg(long, value_delimiter = ',', value_parser = count, value_name = "COUNT")]
    pub items: Vec<usize>,
    /// Beside whom.
    #[arg(long, value_delimiter = ',', default_value = "hnswlib,usearch,faiss")]
    pub peers: Vec<Library>,
    /// Of their indexes only those whose names hold one of these, as `IVF` or `"hnswlib M 16"`: graphs of a million items
    /// take a peer many minutes each.
    #[arg(long, value_delimiter = ',', value_name = "TEXT")]
    pub only: Vec<String>,
    /// Beside nobody.
    #[arg(long, conflicts_with = "peers")]
    pub alone: bool,
    /// Build no graph of ours over large sets: hnsw_rs takes many minutes for a million items.
    #[arg(long)]
    pub no_graph: bool,
    /// Build what is not in the cache, and measure nothing.
    #[arg(long)]
    pub only_build: bool,
    /// Where plots go.
    #[arg(long, default_value = "target/bench", value_name = "DIR")]
    pub plots: PathBuf,
}

/// A part of the measurements of retrieval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Scans, instruction sets, filters, changes, files, beside floors of our own.
    Own,
    /// Queries a second at recall .95 and .99, one and two threads, beside the peers.
    Unfiltered,
    /// The same with all queries given at once.
    Batches,
    /// Queries one at a time under filters that keep 50, 10, 1 and 0.1 %.
    Filtered,
    /// Time and memory of builds, memory when serving, load time, beside the peers.
    Builds,
    /// Recall and queries a second of our graph beside hnswlib's, built and searched with the same M and ef. Over the
    /// generators, up to 200k items: hnsw_rs takes long for more.
    Graphs,
}

impl Options {
    /// The peers' indexes over `items` vectors that are measured beside.
    fn kinds(&self, items: usize) -> Vec<peers::Kind> {
        let libraries: &[Library] = if self.alone { &[] } else { &self.peers };
        let wanted = |kind: &peers::Kind| {
            self.only.is_empty() || self.only.iter().any(|text| kind.name.contains(text.as_str()))
        };
        libraries.iter().flat_map(|library| library.kinds(items)).filter(wanted).collect()
    }

    fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    fn sizes(&self, extent: Extent) -> Vec<usize> {
        match (&self.items[..], extent) {
            ([], Extent::Short) => vec![100_000],
            ([], Extent::Full) => vec![100_000, 1_000_000],
            (given, _) => given.to_vec(),
        }
    }
}

/// Runs the rows of retrieval. Files of vectors and built indexes are kept under `dir`.
///
/// # Errors
/// Whatever the index refuses, or a peer.
pub fn run(extent: Extent, options: &Options, dir: &Path) -> anyhow::Result<Report> {
    let mut report = Report::new();
    if options.has(Part::Own) && !options.only_build {
        own::run(extent, &mut report)?;
    }
    let beside = options.parts.iter().any(|&part| part != Part::Own);
    for &source in options.data.iter().filter(|_| beside) {
        let sizes = if source == Source::Bundle { vec![data::BUNDLE_ITEMS] } else { options.sizes(extent) };
        for items in sizes {
            let data = data::DataSet::open(source, items, dir)?;
            if options.parts.iter().any(|&part| part != Part::Own && part != Part::Graphs) {
                beside::run(&data, options, dir, &mut report)?;
            }
            if options.has(Part::Graphs) && source != Source::Bundle && items <= graphs::MOST_ITEMS {
                graphs::run(&data, options, dir, &mut report)?;
            }
        }
    }
    Ok(report)
}

/// A count as people write it: `1000`, `100k`, `1M`.
fn count(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'M']) {
        Some(digits) => (digits, if text.ends_with('k') { 1_000 } else { 1_000_000 }),
        None => (text, 1),
    };
    let count = digits.parse::<usize>().ok().and_then(|count| count.checked_mul(unit));
    count.filter(|count| (1_000..=10_000_000).contains(count)).ok_or_else(|| "must be 1k to 10M".to_owned())
}

/// `100k`, `1M`.
fn short(count: usize) -> String {
    match count {
        count if count >= 1_000_000 && count % 1_000_000 == 0 => format!("{}M", count / 1_000_000),
        count if count >= 1_000 && count % 1_000 == 0 => format!("{}k", count / 1_000),
        count => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_they_are_written() {
        for count in [1_000, 1_001, 100_000, 1_000_000, 2_000_000] {
            assert_eq!(super::count(&short(count)), Ok(count));
        }
        for text in ["", "k", "10", "-1k", "11M", "99999999999999999999k", "1G"] {
            assert!(super::count(text).is_err(), "{text}");
        }
    }
}
