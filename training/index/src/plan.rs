//! Which way a query goes: the planner.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Calibration;

/// A way to answer a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Every allowed vector in f32. Exact, slow: the yardstick.
    Exhaustive,
    /// 8-bit scan of all blocks that hold an allowed item, then f32 re-scoring of every candidate that could still be
    /// among the best. Exact.
    Scan,
    /// As a scan, but of the few items that a filter lets through, one by one. Exact.
    Survivors,
    /// 8-bit scan of the partitions that lie nearest, then f32 re-scoring. Approximate.
    Partitions,
    /// Walk of the HNSW graph over 8-bit vectors, then f32 re-scoring. Approximate.
    Graph,
}

/// A way, and how far it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// The way.
    pub way: Way,
    /// Of partitions: how far a partition's mean score may lie below the k-th best, in hundredths of a deviation of its
    /// scores. Of the graph: the walk's `ef`. Nothing to the exact ways.
    pub effort: usize,
}

/// What the planner knows: enough to say which way a query goes, given how many items its filter lets through.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Items of the base segment, deleted ones included.
    pub items: usize,
    /// Partitions that they are grouped into; 0 where there are none.
    pub partitions: usize,
    /// Whether a graph was built over them.
    pub graph: bool,
    /// Why a graph was not built although the configuration asks for one.
    pub graph_refused: Option<String>,
    /// What was measured, where approximate ways exist.
    pub calibration: Option<Arc<Calibration>>,
}

impl Way {
    /// Whether the answer is the exact one.
    pub fn is_exact(self) -> bool {
        !matches!(self, Way::Partitions | Way::Graph)
    }

    /// Its name in reports and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Way::Exhaustive => "exhaustive",
            Way::Scan => "scan",
            Way::Survivors => "survivors",
            Way::Partitions => "partitions",
            Way::Graph => "graph",
        }
    }
}

impl From<Way> for Route {
    fn from(way: Way) -> Self {
        Self { way, effort: 0 }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.way {
            Way::Partitions => write!(f, "partitions within {:.2} deviations", self.effort as f64 / 100.0),
            Way::Graph => write!(f, "graph, ef {}", self.effort),
            way => write!(f, "{way}"),
        }
    }
}

impl fmt::Display for Plan {
    /// What was built, and the table of the calibration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.partitions, self.graph) {
            (0, false) => write!(f, "exact scan of {} items", self.items)?,
            (0, true) => write!(f, "graph over {} items", self.items)?,
            (partitions, false) => write!(f, "{partitions} partitions of {} items", self.items)?,
            (partitions, true) => {
                write!(f, "{partitions} partitions of, and a graph over, {} items", self.items)?
            }
        }
        if let Some(refused) = &self.graph_refused {
            write!(f, "\n  {refused}")?;
        }
        match &self.calibration {
            Some(calibration) => write!(f, "\n  measured on {calibration}"),
            None => Ok(()),
        }
    }
}

impl Plan {
    /// The route of a query for `k` hits whose filter lets `survivors` of the base segment's items through.
    ///
    /// Without a calibration: a row scored by itself costs some five times a row scored in its block, and a block is read
    /// whole for one survivor, so fewer than one in five are scored one by one; all else is scanned. With one, the
    /// cheapest way that was measured to reach the recall target.
    pub fn route(&self, survivors: usize, k: usize) -> Route {
        match &self.calibration {
            Some(calibration) => calibration.route(survivors, self.items, k),
            None if survivors.saturating_mul(5) < self.items => Way::Survivors.into(),
            None => Way::Scan.into(),
        }
    }
}
