//! One immutable view of an index: the base segment, which of its rows are alive, and the live segment.

use std::sync::Arc;

use crate::graph::Graph;
use crate::kernels::Kernels;
use crate::live::{LabelMap, Live};
use crate::rows::{Codes, Rows};
use crate::{Allowed, Hit, IndexConfig, IndexError, Plan, Retriever, Way};

/// One immutable view of an [`Index`](crate::Index): what every part of one request should look at. Cheap to clone.
#[derive(Clone)]
pub struct Snapshot(pub(crate) Arc<State>);

/// The segments that a snapshot consists of.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) base: Arc<Base>,
    pub(crate) alive: Alive,
    pub(crate) live: Live,
}

/// The base segment: built at once, never changed.
pub(crate) struct Base {
    pub(crate) generation: u64,
    pub(crate) rows: Rows,
    pub(crate) codes: Codes,
    pub(crate) places: LabelMap,
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

/// A snapshot that answers one way.
struct OneWay {
    snapshot: Snapshot,
    way: Way,
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

/// A bitmap of `rows` set bits.
pub(crate) fn all(rows: usize) -> Vec<u64> {
    let mut words = vec![u64::MAX; rows.div_ceil(64)];
    if let (Some(last), used @ 1..) = (words.last_mut(), rows % 64) {
        *last = (1 << used) - 1;
    }
    words
}

/// The set bits of a bitmap, ascending.
pub(crate) fn bits(words: &[u64]) -> Bits<'_> {
    Bits { words, next: 0, rest: 0 }
}

pub(crate) struct Bits<'a> {
    words: &'a [u64],
    /// The word after the present one.
    next: usize,
    /// What is left of the present one.
    rest: u64,
}

impl Iterator for Bits<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.rest == 0 {
            self.rest = *self.words.get(self.next)?;
            self.next += 1;
        }
        let bit = self.rest.trailing_zeros() as usize;
        self.rest &= self.rest - 1;
        Some((self.next - 1) * 64 + bit)
    }
}

// === impl State ===

impl State {
    pub(crate) fn len(&self) -> usize {
        self.base.rows.len() - self.alive.dead + self.live.len()
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan {
            items: self.base.rows.len(),
            graph: self.base.graph.is_some(),
            scan_below: self.base.config.scan_below,
        }
    }

    /// The base row of a label, where that is still its place.
    pub(crate) fn base_row(&self, label: u64) -> Option<usize> {
        let row = *self.base.places.get(&label)? as usize;
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
        let State { base, alive, live } = &*self.0;
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

    /// How queries go.
    pub fn plan(&self) -> Plan {
        self.0.plan()
    }

    /// This snapshot, answering one way whatever the plan says; where it has no graph, [`Way::Graph`] is a scan.
    pub fn by(&self, way: Way) -> impl Retriever + use<> {
        OneWay { snapshot: self.clone(), way }
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
        self.0.search(query, k, allowed, None)
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
        self.snapshot.0.search(query, k, allowed, Some(self.way))
    }

    fn retrieve_batch(
        &self,
        queries: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        self.snapshot.0.search_batch(queries, k, allowed, Some(self.way))
    }
}
