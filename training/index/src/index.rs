//! The index: one immutable snapshot at a time, replaced by writers, never waited for by readers.

use std::path::Path;

use crate::{Allowed, Hit, IndexConfig, IndexError, Plan, Retriever, Way};

/// The name of the file that [`Index::save`] writes into its directory.
pub const FILE_NAME: &str = "index.bin";

/// A searchable set of labelled vectors that changes while it is read.
pub struct Index {}

/// One immutable view of an [`Index`]: what every part of one request should look at.
#[derive(Clone)]
pub struct Snapshot {}

/// What [`Index::compact`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compaction {
    /// Nothing had changed since the base was built.
    Clean,
    /// Another thread is at it.
    Running,
    /// The base was rebuilt.
    Done {
        /// Items in the new base.
        items: usize,
        /// Items upserted while it was built: they wait in the live segment.
        pending: usize,
    },
}

impl Index {
    /// Builds an index of `labels.len()` vectors of `dim` numbers (`vectors`: row-major, `labels × dim`).
    ///
    /// # Errors
    /// Any parameter out of range, a shape that does not fit, a number that is not finite, a label given twice.
    pub fn build(_labels: &[u64], _vectors: &[f32], _dim: usize, _config: &IndexConfig) -> Result<Self, IndexError> {
        todo!()
    }
    /// Reads what [`save`](Self::save) wrote. The checksum is verified before anything is parsed.
    ///
    /// # Errors
    /// [`IndexError::Io`], or [`IndexError::Corrupt`] with the reason.
    pub fn load(_dir: &Path) -> Result<Self, IndexError> {
        todo!()
    }
    /// Writes the index as `dir/index.bin` (temporary name, then rename), compacting it first where it has changed.
    ///
    /// # Errors
    /// [`IndexError::Io`].
    pub fn save(&self, _dir: &Path) -> Result<(), IndexError> {
        todo!()
    }
    /// The present view: take one per request, and search and filter on that.
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }
    /// [`Retriever::retrieve`] on the present snapshot, the planned way.
    ///
    /// # Errors
    /// A query of another dimension, or with a number that is not finite.
    pub fn search(&self, _query: &[f32], _k: usize, _allowed: &Allowed<'_>) -> Result<Vec<Hit>, IndexError> {
        todo!()
    }
    /// As [`search`](Self::search), exactly, whatever the plan.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    pub fn search_exact(&self, _query: &[f32], _k: usize, _allowed: &Allowed<'_>) -> Result<Vec<Hit>, IndexError> {
        todo!()
    }
    /// Adds a vector, or replaces the label's. The next query sees it.
    ///
    /// # Errors
    /// A vector of another dimension, or with a number that is not finite: the index is unchanged.
    pub fn upsert(&self, _label: u64, _vector: &[f32]) -> Result<(), IndexError> {
        todo!()
    }
    /// [`upsert`](Self::upsert) of many (`vectors`: `labels × dim`): all become visible at once; of one label given
    /// twice the later vector stays.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert): all or nothing.
    pub fn upsert_batch(&self, _labels: &[u64], _vectors: &[f32]) -> Result<(), IndexError> {
        todo!()
    }
    /// Removes a label; whether it was there. No later query returns it.
    pub fn delete(&self, _label: u64) -> bool {
        todo!()
    }
    /// [`delete`](Self::delete) of many at once; how many were there.
    pub fn delete_batch(&self, _labels: &[u64]) -> usize {
        todo!()
    }
    /// Whether the label has a vector.
    pub fn contains(&self, _label: u64) -> bool {
        todo!()
    }
    /// The label's vector.
    pub fn vector(&self, _label: u64) -> Option<Vec<f32>> {
        todo!()
    }
    /// Items that can be returned.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether nothing can be returned.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// Numbers in a vector.
    pub fn dim(&self) -> usize {
        todo!()
    }
    /// How queries go at present.
    pub fn plan(&self) -> Plan {
        todo!()
    }
    /// The configuration it was built with.
    pub fn config(&self) -> &IndexConfig {
        todo!()
    }
    /// Whether enough has changed for [`compact`](Self::compact) to pay.
    pub fn compaction_due(&self) -> bool {
        todo!()
    }
    /// Rebuilds the base from everything live. Blocks the calling thread (give it one of its own), not readers or
    /// writers: changes made meanwhile are carried over.
    ///
    /// # Errors
    /// [`IndexError::Graph`]: the old base stays.
    pub fn compact(&self) -> Result<Compaction, IndexError> {
        todo!()
    }
}

impl Snapshot {
    /// The label of every base row, in row order, deleted ones included: what a bitmap of a
    /// [`Selection`](crate::Selection) numbers.
    pub fn base_labels(&self) -> &[u64] {
        todo!()
    }
    /// Identifies the base segment; another after a compaction, and never the same in two indexes of a process.
    pub fn generation(&self) -> u64 {
        todo!()
    }
    /// Whether the label has a vector.
    pub fn contains(&self, _label: u64) -> bool {
        todo!()
    }
    /// The label's vector.
    pub fn vector(&self, _label: u64) -> Option<&[f32]> {
        todo!()
    }
    /// How queries go.
    pub fn plan(&self) -> Plan {
        todo!()
    }
    /// This snapshot, answering one way whatever the plan says.
    pub fn by(&self, _way: Way) -> impl Retriever + use<> {
        self.clone()
    }
}

impl Retriever for Snapshot {
    fn dim(&self) -> usize {
        todo!()
    }
    fn len(&self) -> usize {
        todo!()
    }
    fn retrieve(&self, _query: &[f32], _k: usize, _allowed: &Allowed<'_>) -> Result<Vec<Hit>, IndexError> {
        todo!()
    }
    fn retrieve_batch(&self, _: &[f32], _: usize, _: &Allowed<'_>) -> Result<Vec<Vec<Hit>>, IndexError> {
        todo!()
    }
}
