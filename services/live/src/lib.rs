//! The live path: Kafka in and out, the state store and its offsets, dead letters, the archive.
//!
//! ```text
//! topic events ──EventSource──► decode ──► StateWriter ──publish──► StateStore ◄── StateReader (recommend)
//!                                 │            └──── flush: state + offsets, one batch ──► disk
//!                                 └─ poison ──► DeadLetters ──► topic dead-letters
//! topic items ───EventSource──► items::Service ──► CatalogueSink (recommend)
//! recommend ──► ImpressionProducer ──EventSink──► topic impressions
//! EventService.Write ──► EventProducer ──EventSink──► topic events
//! topics events, impressions, items ──► archive ──► date=/hour= files that `endcap-clickstream` reads
//! topic erasures ──► Erasures ──► consumer and archive: who is forgotten, up to when
//! ```
//!
//! **Invariant.** State and the offsets it came from are written in one batch, so a crash at any
//! instant loses nothing and counts nothing twice: on start the consumer goes back to its own
//! offsets, not to a group's. A consumer group, where there is one, deals out partitions and keeps no offsets.
//!
//! **Invariant.** Nothing here knows librdkafka but [`kafka`]; everything else speaks
//! [`EventSource`] and [`EventSink`], which [`MemoryLog`] implements too. What an event does to a
//! state is `endcap-features`' business; what is late, repeated or without consent is decided here.

// But for one line of `store::prefetch`.
#![deny(unsafe_code)]

pub mod archive;
pub mod consumer;
pub mod erasures;
pub mod impressions;
pub mod items;
pub mod kafka;

mod backend;
mod config;
mod dead_letters;
mod decode;
mod folder_lock;
mod memory;
mod producer;
mod record;
mod redrive;
mod source;
mod store;
mod trace;
mod valkey;

pub use backend::{AppliedOffsets, Before, Release, StateBackend};
pub use config::{
    ConfigError, CreateTopics, GroupProtocol, KafkaConfig, Membership, Oauth, Properties, Secret, TokenFrom,
    Topics,
};
pub use dead_letters::{DeadLetterCounts, DeadLetters};
pub use decode::{Reject, Stage, decode_event, decode_impression, decode_item};
pub use impressions::ImpressionProducer;
pub use items::CatalogueSink;
pub use kafka::{KafkaSink, KafkaSource, MockBroker};
pub use memory::{MemoryLog, MemorySource};
pub use producer::{EventProducer, ItemProducer, WriteError};
pub use record::{Message, PartitionOffset, Place, Record};
pub use redrive::{DeadLetter, Fate, RedriveError, RedriveOptions, RedriveReport, read_to_end, redrive};
pub use source::{
    Delivered, EventSink, EventSource, PartitionBounds, Rebalance, SendError, SendFault, SourceError,
};
pub use store::{
    Backup, BackupOf, Outcome, Outcomes, StateStore, StateWriter, StoreConfig, StoreError, Trending,
};
pub use valkey::{ValkeyConfig, ValkeyConfigError, ValkeyCounts, ValkeyStore, ValkeyWriter};
