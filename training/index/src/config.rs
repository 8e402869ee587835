//! How an index is built and searched, as data: read from a configuration file, checked once, stored with the index.

use serde::{Deserialize, Serialize};

use crate::{IndexError, Simd};

/// Parameters of an [`Index`](crate::Index). The default suits unit vectors of 32 to 256 numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndexConfig {
    /// Catalogues of fewer items than this are scanned, exactly; from here on an HNSW graph is built. A scan takes
    /// some 0.2 ms per 100,000 items of dimension 64 and core, and is exact: below a few hundred thousand items it
    /// beats a graph at the same recall.
    pub scan_below: usize,
    /// The graph, for catalogues of [`scan_below`](Self::scan_below) items or more.
    pub graph: GraphConfig,
    /// Changes (upserts and deletes) after which [`Index::compaction_due`](crate::Index::compaction_due) says so, as
    /// a share of the items in percent; never fewer than 4,096 changes.
    pub compact_percent: u32,
    /// The instruction set of the scans; the best that the machine has where left out. The answer is the same, bit
    /// for bit, with each. Not stored with the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simd: Option<Simd>,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self { scan_below: 200_000, graph: GraphConfig::default(), compact_percent: 10, simd: None }
    }
}

/// Parameters of the HNSW graph (Malkov & Yashunin, 2016).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GraphConfig {
    /// M: links of a node on upper layers; twice as many on the lowest. 4 to 128.
    pub neighbours: usize,
    /// efConstruction: candidates looked at for each insertion. From `neighbours` to 4,096.
    pub construction: usize,
    /// ef: candidates kept while searching, before the best k are taken; raised to 2 k where k is larger than half
    /// of it. 16 to 65,536.
    pub search: usize,
}

impl Default for GraphConfig {
    fn default() -> Self {
        Self { neighbours: 24, construction: 300, search: 400 }
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
            false => Err(IndexError::Config { parameter, value: value as u64, rule }),
        };
        let GraphConfig { neighbours, construction, search } = self.graph;
        check("graph.neighbours", neighbours, (4..=128).contains(&neighbours), "4 to 128")?;
        check(
            "graph.construction",
            construction,
            (neighbours..=4096).contains(&construction),
            "graph.neighbours to 4,096",
        )?;
        check("graph.search", search, (16..=65_536).contains(&search), "16 to 65,536")?;
        let percent = self.compact_percent as usize;
        check("compact_percent", percent, (1..=100).contains(&percent), "1 to 100")
    }
}
