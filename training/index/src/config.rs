//! How an index is built and searched, as data: read from a configuration file, checked once, stored with the index.

use serde::{Deserialize, Serialize};

use crate::{IndexError, Simd};

/// Parameters of an [`Index`](crate::Index). The default suits unit vectors of 32 to 256 numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndexConfig {
    /// Catalogues of fewer items than this are scanned, exactly, in well under 0.1 ms. From here on items are grouped
    /// into partitions, and from [`graph.from_items`](GraphConfig::from_items) on an HNSW graph is built as well; each
    /// query goes the cheapest way that was measured to reach the recall target.
    pub scan_below: usize,
    /// Mean recall@k against the exact answer that the way of a query must have reached when the index was measured:
    /// 0.5 to 1. With 1 every query is answered exactly.
    pub recall_target: f64,
    /// The HNSW graph of large catalogues.
    pub graph: GraphConfig,
    /// Bytes that building may take. A graph takes some 3 KB an item while hnsw_rs builds it: one that would not fit is
    /// not built, the report says so, and partitions and scans serve.
    pub build_memory: u64,
    /// Changes (upserts and deletes) after which [`Index::compaction_due`](crate::Index::compaction_due) says so, as
    /// a share of the items in percent; never fewer than 4,096 changes.
    pub compact_percent: u32,
    /// Decides what is drawn at random while partitions are made and recall is measured.
    pub seed: u64,
    /// The instruction set of the scans; the best that the machine has where left out. The answer is the same, bit
    /// for bit, with each. Not stored with the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simd: Option<Simd>,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self {
            scan_below: 20_000,
            recall_target: 0.98,
            graph: GraphConfig::default(),
            build_memory: 8 << 30,
            compact_percent: 10,
            seed: 0,
            simd: None,
        }
    }
}

/// Parameters of the HNSW graph (Malkov & Yashunin, 2016).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GraphConfig {
    /// Catalogues of fewer items get no graph, nor do those of fewer than
    /// [`scan_below`](IndexConfig::scan_below). Building one takes minutes for a million items.
    pub from_items: usize,
    /// M: links of a node on upper layers; twice as many on the lowest. 4 to 128.
    pub neighbours: usize,
    /// efConstruction: candidates looked at for each insertion. From `neighbours` to 4,096.
    pub construction: usize,
    /// ef: candidates kept while searching, where nothing was measured that says better; raised to 2 k where k is larger
    /// than half of it. 16 to 65,536.
    pub search: usize,
}

impl Default for GraphConfig {
    fn default() -> Self {
        Self { from_items: 200_000, neighbours: 24, construction: 300, search: 400 }
    }
}

impl IndexConfig {
    /// Checks every parameter.
    ///
    /// # Errors
    /// [`IndexError::Config`] names the first that is out of range.
    pub fn validate(&self) -> Result<(), IndexError> {
        let check = |parameter, value: usize, ok: bool, rule| match ok {
            true => Ok(()),
            false => Err(IndexError::Config { parameter, value: value.to_string(), rule }),
        };
        let GraphConfig { neighbours, construction, search, .. } = self.graph;
        check("graph.neighbours", neighbours, (4..=128).contains(&neighbours), "4 to 128")?;
        check(
            "graph.construction",
            construction,
            (neighbours..=4096).contains(&construction),
            "graph.neighbours to 4,096",
        )?;
        check("graph.search", search, (16..=65_536).contains(&search), "16 to 65,536")?;
        let percent = self.compact_percent as usize;
        check("compact_percent", percent, (1..=100).contains(&percent), "1 to 100")?;
        if !(0.5..=1.0).contains(&self.recall_target) {
            let value = self.recall_target.to_string();
            return Err(IndexError::Config { parameter: "recall_target", value, rule: "0.5 to 1" });
        }
        Ok(())
    }
}
