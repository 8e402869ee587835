//! One immutable view of an index: the base segment, which of its rows are alive, and the live segment.

use std::sync::Arc;

use crate::buffer::Buffer;
use crate::graph::Graph;
use crate::kernels::Kernels;
use crate::live::Live;
use crate::mask::all;
use crate::partitions::Partitions;
use crate::places::Places;
use crate::rows::{Codes, Rows};
use crate::{Allowed, Calibration, Hit, IndexConfig, IndexError, Plan, Retriever, Route, Way};

/// One immutable view of an [`Index`](crate::Index): what every part of one request should look at. Cheap to clone.
#[derive(Clone)]
pub struct Snapshot(pub(crate) Arc<State>);

/// The segments that a snapshot consists of.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) base: Arc<Base>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) alive: Alive,
    pub(crate) live: Live,
}

/// The base segment: built at once, never changed.
pub(crate) struct Base {
    pub(crate) generation: u64,
    /// In the order of their partitions, where there are any.
    pub(crate) rows: Rows,
    /// The 8-bit codes once more, row by row.
    pub(crate) codes: Buffer<u8>,
    pub(crate) places: Places,
    pub(crate) partitions: Option<Partitions>,
    pub(crate) graph: Option<Graph>,
    pub(crate) config: Arc<IndexConfig>,
    pub(crate) kernels: Kernels,
}

/// Which base rows were not replaced or deleted.
#[derive(Clone, Default)]
pub(crate) struct Alive {
    /// One bit per row; all rows where there is none.
    words: Option<Arc<Vec<u64>>>,
    pub(crate) dead: usize,
}

/// An answer, and how it came about: what a probe of recall needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The hits, best first.
    pub hits: Vec<Hit>,
    /// The way that the planner chose for the base segment; [`Way::Survivors`] of [`Allowed::Labels`].
    pub route: Route,
    /// Items that the filter lets through: of the base segment, or of the labels that were named. Deleted ones and
    /// excepted labels may be among them.
    pub survivors: usize,
    /// Items of the base segment: `survivors / items` is the filter's selectivity.
    pub items: usize,
}

/// A snapshot that answers one way.
struct OneWay {
    snapshot: Snapshot,
    route: Route,
}

// === impl Alive ===

impl Alive {
    pub(crate) fn words(&self) -> Option<&[u64]> {
        self.words.as_deref().map(Vec::as_slice)
    }

    pub(crate) fn is_alive(&self, row: usize) -> bool {
        self.words().is_none_or(|words| words[row / 64] >> (row % 64) & 1 == 1)
    }

    pub(crate) fn kill(&mut self, row: usize, rows: usize) {
        let words = Arc::make_mut(self.words.get_or_insert_with(|| Arc::new(all(rows))));
        words[row / 64] &= !(1 << (row % 64));
        self.dead += 1;
    }
}

// === impl State ===

impl State {
    fn bytes(&self) -> usize {
        let of = |rows: &Rows| {
            size_of_val(&*rows.labels)
                + size_of_val(&*rows.vectors)
                + size_of_val(&*rows.blocks.codes)
                + size_of_val(&*rows.blocks.scales)
        };
        let Base { rows, codes, places, partitions, graph, .. } = &*self.base;
        let partitions = partitions.as_ref().map_or(0, |p| of(&p.centres) + 8 * p.len());
        let graph = graph.as_ref().map_or(0, Graph::bytes);
        let live: usize = self.live.chunks.iter().map(|chunk| of(&chunk.rows)).sum();
        of(rows) + codes.len() + size_of_val(&*places.table) + partitions + graph + live
    }

    pub(crate) fn len(&self) -> usize {
        self.base.rows.len() - self.alive.dead + self.live.len()
    }

    /// The base row of a label, where that is still its place.
    pub(crate) fn base_row(&self, label: u64) -> Option<usize> {
        let row = self.base.row(label)? as usize;
        self.alive.is_alive(row).then_some(row)
    }

    /// The rows and the row in them that hold the label's vector.
    pub(crate) fn find(&self, label: u64) -> Option<(&Rows, usize)> {
        match self.live.find(label) {
            Some(place) => Some(self.live.at(place)),
            None => Some((&self.base.rows, self.base_row(label)?)),
        }
    }
}

// === impl Base ===

impl Base {
    /// The row of a label, dead or alive.
    pub(crate) fn row(&self, label: u64) -> Option<u32> {
        self.places.get(&self.rows.labels, label)
    }

    pub(crate) fn codes(&self) -> Codes<'_> {
        Codes { width: self.rows.width, codes: &self.codes, scales: &self.rows.blocks.scales }
    }

    /// What a query does where its effort was not measured.
    pub(crate) fn usual_effort(&self, way: Way) -> usize {
        match way {
            Way::Partitions => 250,
            Way::Graph => self.config.graph.search,
            _ => 0,
        }
    }

    /// What [`Plan`] says of the segment, given what was measured.
    pub(crate) fn plan(&self, calibration: Option<Arc<Calibration>>, graph_refused: Option<String>) -> Plan {
        Plan {
            items: self.rows.len(),
            partitions: self.partitions.as_ref().map_or(0, Partitions::len),
            graph: self.graph.is_some(),
            graph_refused,
            calibration,
        }
    }
}

// === impl Answer ===

impl Answer {
    /// The share of the base segment's items that the filter lets through.
    pub fn selectivity(&self) -> f64 {
        self.survivors as f64 / self.items.max(1) as f64
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The label of every base row, in row order, deleted ones included: what a bitmap of a
    /// [`Selection`](crate::Selection) numbers.
    pub fn base_labels(&self) -> &[u64] {
        &self.0.base.rows.labels
    }

    /// Identifies the base segment: another after a compaction, and never the same in two indexes of a process.
    pub fn generation(&self) -> u64 {
        self.0.base.generation
    }

    /// Every label that can be returned, in no order.
    pub fn labels(&self) -> impl Iterator<Item = u64> + '_ {
        let State { base, alive, live, .. } = &*self.0;
        let in_base =
            (0..base.rows.len()).filter(|&row| alive.is_alive(row)).map(|row| base.rows.labels[row]);
        let in_live =
            live.chunks.iter().flat_map(|chunk| chunk.alive_rows().map(|row| chunk.rows.labels[row]));
        in_base.chain(in_live)
    }

    /// Whether the label has a vector.
    pub fn contains(&self, label: u64) -> bool {
        self.0.find(label).is_some()
    }

    /// The label's vector.
    pub fn vector(&self, label: u64) -> Option<&[f32]> {
        self.0.find(label).map(|(rows, row)| rows.vector(row))
    }

    /// [`Retriever::retrieve`], with the way that was taken.
    ///
    /// # Errors
    /// As [`Retriever::retrieve`].
    pub fn answer(&self, query: &[f32], k: usize, allowed: &Allowed<'_>) -> Result<Answer, IndexError> {
        self.0.search(query, k, allowed, None)
    }

    /// The exact answer beside the planned one: what recall is measured against.
    ///
    /// # Errors
    /// As [`Retriever::retrieve`].
    pub fn search_exact(
        &self,
        query: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
    ) -> Result<Vec<Hit>, IndexError> {
        Ok(self.0.search(query, k, allowed, Some(Way::Scan.into()))?.hits)
    }

    /// How queries go.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// This snapshot, answering one way whatever the plan says, with the effort that suits an average query. Where there
    /// is no graph, [`Way::Graph`] is a scan, and so with [`Way::Partitions`].
    pub fn by(&self, way: Way) -> impl Retriever + use<> {
        self.by_route(Route { way, effort: self.0.base.usual_effort(way) })
    }

    /// As [`by`](Self::by), with an effort of your own.
    pub fn by_route(&self, route: Route) -> impl Retriever + use<> {
        OneWay { snapshot: self.clone(), route }
    }

    /// Memory that the snapshot takes, in bytes, mapped files included.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

impl Retriever for Snapshot {
    fn dim(&self) -> usize {
        self.0.base.rows.dim
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn retrieve(&self, query: &[f32], k: usize, allowed: &Allowed<'_>) -> Result<Vec<Hit>, IndexError> {
        Ok(self.0.search(query, k, allowed, None)?.hits)
    }

    fn retrieve_batch(
        &self,
        queries: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        self.0.search_batch(queries, k, allowed, None)
    }
}

impl Retriever for OneWay {
    fn dim(&self) -> usize {
        self.snapshot.dim()
    }

    fn len(&self) -> usize {
        self.snapshot.len()
    }

    fn retrieve(&self, query: &[f32], k: usize, allowed: &Allowed<'_>) -> Result<Vec<Hit>, IndexError> {
        Ok(self.snapshot.0.search(query, k, allowed, Some(self.route))?.hits)
    }

    fn retrieve_batch(
        &self,
        queries: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        self.snapshot.0.search_batch(queries, k, allowed, Some(self.route))
    }
}
