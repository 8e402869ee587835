//! Which way a query goes: the planner.

use std::fmt;

use serde::Serialize;

/// A way to answer a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Every allowed vector in f32. Exact, slow: the yardstick.
    Exhaustive,
    /// 8-bit scan of all blocks that hold an allowed item, then f32 re-scoring of every candidate that could still be
    /// among the best. Exact.
    Scan,
    /// As a scan, but of the few items that a filter lets through, one by one. Exact.
    Survivors,
    /// Walk of the HNSW graph over 8-bit vectors, then f32 re-scoring. Approximate.
    Graph,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Exhaustive => "exhaustive",
            Way::Scan => "scan",
            Way::Survivors => "survivors",
            Way::Graph => "graph",
        })
    }
}

/// What the planner knows: enough to say which way a query goes, given how many items its filter lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Items of the base segment, deleted ones included.
    pub items: usize,
    /// Whether a graph was built over them.
    pub graph: bool,
    /// From how many items on a graph is worth it.
    pub scan_below: usize,
}

impl Plan {
    /// The way for a query whose filter lets `survivors` of the base segment's items through.
    ///
    /// A row scored by itself costs some five times a row scored in its block, and a block is read whole for one
    /// survivor: so fewer than one in five are scored one by one. The graph is walked where at least one in five
    /// passes, since a walk meets `items / survivors` rows for each that it may keep.
    pub fn way(&self, survivors: usize) -> Way {
        if survivors.saturating_mul(5) < self.items {
            Way::Survivors
        } else if self.graph {
            Way::Graph
        } else {
            Way::Scan
        }
    }
}
