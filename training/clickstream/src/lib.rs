//! The clickstream on disk: schemas, readers and writers, importers, splits in time, the synthetic shop.
//!
//! Events, items and impressions live in Arrow IPC or Parquet files whose columns are a public,
//! versioned contract (`docs/clickstream.md`). A file from outside is read in record batches, every
//! value is checked once, here, and what comes out ([`EventBatch`], [`Item`](endcap_proto::Item),
//! [`Impression`](endcap_proto::v1::Impression)) can be trusted by everything downstream:
//!
//! ```text
//! CSV, JSONL, public data sets ──import──► DIR ──Dataset──► EventReader ──► EventBatch ──► EventRef
//! a simulated shop ───────────synthetic──►  │                ItemReader ──► Vec<Item>
//! Kafka topics ─────────────(archive)────►  │          ImpressionReader ──► Vec<Impression>
//!                                           └─► check: sound, and enough?   split: cuts in time
//! ```
//!
//! Arrow and Parquet stay inside: none of their types is public.

#![forbid(unsafe_code)]

mod bad_rows;
mod builders;
mod columns;
mod dataset;
mod erased;
mod error;
mod event;
mod file;
mod impression;
mod item;
mod schema;
mod table;
mod term;
#[cfg(test)]
mod testing;

pub mod check;
pub mod import;
pub mod split;
pub mod synthetic;

pub use bad_rows::{BadRowLimit, BadRowSummary, BadRows};
pub use dataset::{
    Dataset, DatasetInfo, DatasetSummary, DatasetWriter, FixedSplit, ItemsOffset, Part, TimeKind,
};
pub use erased::{Erased, Shopper};
pub use error::ClickstreamError;
pub use event::{EventBatch, EventItemRef, EventReader, EventRef, EventWriter, LogPosition, TransactionRef};
pub use impression::{ImpressionReader, ImpressionWriter};
pub use item::{ItemReader, ItemWriter};
pub use table::{TableReader, TableWriter};
pub use term::{Term, TermReader, TermWriter};
