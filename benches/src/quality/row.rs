//! A row of the quality table, as `benches/quality/ROW.toml` says it: data, protocol, bars, and how models are fitted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use endcap_clickstream::{
    Dataset,
    import::{Format, ImportOptions, import},
};
use endcap_evaluation::{BaselinesConfig, Metric, SeenItems, SplitConfig};
use endcap_features::VocabularyConfig;
use endcap_index::IndexConfig;
use endcap_trainer::TrainConfig;
use serde::{Deserialize, Serialize};

/// A row: everything that its figures depend on, but for the seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What it is called.
    #[serde(skip)]
    pub name: String,
    /// Where the data comes from.
    pub data: Data,
    /// What may be learnt and what is asked.
    pub split: SplitConfig,
    /// What the towers must reach.
    #[serde(default)]
    pub bars: Vec<Bar>,
    /// What others report, and what a baseline was expected to show.
    #[serde(default)]
    pub published: Vec<Published>,
    /// Cut-offs that are reported.
    pub cutoffs: Vec<u32>,
    /// What is done with seen items; as the protocol's published tables do where it is not said.
    #[serde(default)]
    pub seen: Option<SeenItems>,
    /// The baselines.
    #[serde(default)]
    pub baselines: BaselinesConfig,
    /// The towers.
    #[serde(default)]
    pub towers: TrainConfig,
    /// Which items and words get rows.
    #[serde(default)]
    pub vocabulary: VocabularyConfig,
    /// Retrieval.
    #[serde(default)]
    pub index: IndexConfig,
}

/// Raw files, as their publisher ships them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// One of `endcap import --list`.
    pub format: String,
    /// File or folder within `ENDCAP_DATA`.
    pub input: PathBuf,
}

/// What the towers must reach, as a mean over seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// By which metric.
    pub metric: Metric,
    /// To be exceeded.
    pub must: f64,
    /// What is hoped for.
    pub aim: f64,
}

/// A figure that somebody reports for this data and protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Of what.
    pub system: String,
    /// Which of our rows it is compared with, where it is a baseline of ours.
    #[serde(default)]
    pub ours: Option<String>,
    /// The figures.
    pub figures: Vec<(Metric, f64)>,
}

// === impl Row ===

impl Row {
    /// Reads `DIR/NAME.toml`.
    ///
    /// # Errors
    /// Says which key is wrong, or which rows there are.
    pub fn read(dir: &Path, name: &str) -> anyhow::Result<Self> {
        let path = dir.join(format!("{name}.toml"));
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{}: no such row; {} has a file each", path.display(), dir.display()))?;
        let row: Self = toml::from_str(&text).with_context(|| path.display().to_string())?;
        row.towers.validate().with_context(|| path.display().to_string())?;
        Ok(Self { name: name.to_owned(), ..row })
    }

    /// BLAKE3, in hex, of what the figures of the towers depend on.
    pub fn digest(&self) -> String {
        // What is published elsewhere, and the bars, change nothing.
        let row = Self { bars: Vec::new(), published: Vec::new(), ..self.clone() };
        digest(&row)
    }

    /// The same of the baselines.
    pub fn baselines_digest(&self) -> String {
        digest(&(&self.data, &self.split, &self.cutoffs, &self.seen, &self.baselines))
    }

    /// Imports the raw files to `dir`, or opens what an earlier run imported from the same bytes.
    ///
    /// # Errors
    /// When the files are not there, or are not what the row says.
    pub fn dataset(&self, raw: &Path, dir: &Path) -> anyhow::Result<Dataset> {
        let out = dir.join(format!("{}-{}", self.name, &digest(&self.data)[..8]));
        if let Ok(dataset) = Dataset::open(&out) {
            return Ok(dataset);
        }
        let input = raw.join(&self.data.input);
        let format: Format = self.data.format.parse()?;
        let report = import(format, &ImportOptions::default(), &input, &out)
            .with_context(|| format!("cannot import {}", input.display()))?;
        eprintln!("{report}");
        Ok(Dataset::open(&out)?)
    }
}

fn digest(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).unwrap_or_default();
    blake3::hash(&json).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("quality")
    }

    #[test]
    fn every_committed_row_can_be_read() {
        let mut rows = 0;
        for entry in fs::read_dir(dir()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "toml") {
                let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                let row = Row::read(&dir(), &name).unwrap();
                assert!(row.data.format.parse::<Format>().is_ok(), "{name}");
                let k = |metric: &Metric| metric.cutoff().is_none_or(|k| row.cutoffs.contains(&k));
                assert!(row.bars.iter().all(|bar| k(&bar.metric) && bar.must <= bar.aim), "{name}");
                rows += 1;
            }
        }
        assert!(rows >= 6, "{rows}");
    }

    #[test]
    fn bars_and_foreign_figures_do_not_change_what_a_result_is_of() {
        let row = Row::read(&dir(), "beauty").unwrap();
        let mut other = Row { bars: Vec::new(), published: Vec::new(), ..row.clone() };
        assert_eq!((row.digest(), row.baselines_digest()), (other.digest(), other.baselines_digest()));
        other.towers.batch += 1;
        assert_ne!(row.digest(), other.digest());
        assert_eq!(row.baselines_digest(), other.baselines_digest());
    }
}
