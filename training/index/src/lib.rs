//! Retrieval: the k nearest allowed items to a vector, exactly or with a measured recall, with changes visible to the next
//! query.
//!
//! ```text
//! labels, vectors ──► Index::build ──► base segment: rows in the order of their partitions (f32 · 8-bit blocks)
//!                                      · HNSW graph, if very large · calibration ────────────────┐
//! upsert, delete  ──► live segment (chunks of 256 rows) · bits of rows that were replaced ───────┼──► Snapshot
//!                                                                                                │
//! query, k, Allowed ──► filter → bitmap ──► plan ──► scan │ survivors │ partitions │ graph ──► f32 re-scoring ──► hits
//! ```
//!
//! - [`Index`] changes; a [`Snapshot`] of it does not, and readers never wait for writers. A request takes one snapshot.
//! - [`Retriever`] is the seam that both sides of retrieval agree on, with one contract suite.
//! - [`Allowed`] and [`Selection`] are the filters.
//! - [`Plan`] chooses the [`Route`] of a query by what a [`Calibration`] measured: the cheapest that reaches the recall
//!   target. All but partitions and graph give the exact answer, the same on every machine.
//!   [`Snapshot::answer`] says which was taken, and [`Snapshot::search_exact`] answers exactly beside it.
//!
//! The index takes vectors under 64-bit labels and knows nothing of where they come from.
//!
//! ```
//! use endcap_index::{Allowed, Index, IndexConfig};
//!
//! # fn main() -> Result<(), endcap_index::IndexError> {
//! let index = Index::build(&[10, 20, 30], &[1.0, 0.0, 0.0, 1.0, 0.6, 0.8], 2, &IndexConfig::default())?;
//! index.upsert(40, &[0.8, 0.6])?;
//! index.delete(10);
//! let hits = index.search(&[1.0, 0.0], 2, &Allowed::Except(&[20]))?;
//! assert_eq!(hits.iter().map(|hit| (hit.label, hit.score)).collect::<Vec<_>>(), [(40, 0.8), (30, 0.6)]);
//! # Ok(())
//! # }
//! ```

mod allowed;
mod buffer;
mod build;
mod calibration;
mod cluster;
mod config;
mod error;
mod file;
mod filter;
mod graph;
mod index;
mod kernels;
mod live;
mod mask;
mod partitions;
mod places;
mod plan;
mod retriever;
mod rows;
mod search;
mod simd;
mod snapshot;
mod top;

pub use allowed::{Allowed, Selection};
pub use calibration::{Attempt, Calibration, QuerySource};
pub use config::{GraphConfig, IndexConfig};
pub use error::IndexError;
pub use file::FILE_NAME;
pub use index::{Compaction, Index};
pub use plan::{Plan, Route, Way};
pub use retriever::{Hit, Retriever};
pub use simd::Simd;
pub use snapshot::{Answer, Snapshot};
