//! Retrieval: the k nearest allowed items, by exact scan or HNSW, with a live segment.

mod allowed;
mod config;
mod error;
mod index;
mod plan;
mod retriever;
mod simd;

pub use allowed::{Allowed, Selection};
pub use config::{GraphConfig, IndexConfig};
pub use error::IndexError;
pub use index::{Compaction, FILE_NAME, Index, Snapshot};
pub use plan::{Plan, Way};
pub use retriever::{Hit, Retriever};
pub use simd::Simd;
