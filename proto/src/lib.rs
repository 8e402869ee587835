//! The vocabulary on the wire, and the validated types the rest of Endcap speaks.
//!
//! [`v1`] holds the messages of `endcap/v1/*.proto` as prost generates them (checked in; a test
//! regenerates and compares) with their proto3 JSON mapping. A message from outside is turned into
//! a validated type ([`Event`], [`Item`]) once, at the edge; a [`FieldError`] names the field and
//! the rule that it broke. Everything behind the edge holds validated types only.

#![forbid(unsafe_code)]

mod event;
mod id;
mod item;
mod time;
mod view;

pub use event::{Event, EventItem, EventType, Transaction, UnknownEventType};
pub use id::{EventId, EventKey, ItemId, ItemKey, MAX_ID_BYTES, UserId, UserKey, VisitorId, VisitorKey};
pub use item::{Attribute, Availability, Item};
pub use time::EventTime;
pub use view::{EventError, EventView};

/// The messages of `endcap.v1`, and, with the feature `services`, its gRPC clients and servers.
#[allow(missing_docs, unreachable_pub, rust_2018_idioms, clippy::all, clippy::pedantic)]
pub mod v1 {
    include!("generated/endcap.v1.rs");
    include!("generated/endcap.v1.serde.rs");
}

/// The compiled `.proto` files, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/endcap.v1.bin");

/// A field of a message from outside broke a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct FieldError {
    /// Path of the field: `items[2].item_id`.
    pub field: String,
    /// What it must be, and what it was where that helps.
    pub rule: String,
}

impl FieldError {
    /// An error about `field`, which must follow `rule`.
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }

    /// The same error seen from one level up: `items[2]` + `item_id`.
    pub fn within(self, outer: impl std::fmt::Display) -> Self {
        Self { field: format!("{outer}.{}", self.field), rule: self.rule }
    }
}
