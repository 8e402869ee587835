//! Events: columns in, borrowed rows out.

use std::path::Path;

use endcap_proto::{Event, EventTime, EventType};

use crate::ClickstreamError;

/// The columns of one record batch of events, every value of which has been checked.
#[derive(Debug, Clone)]
pub struct EventBatch {}

/// One event, borrowed from its [`EventBatch`]. Fields mean what they mean in [`Event`].
#[derive(Debug, Clone, Copy)]
pub struct EventRef<'a> {
    /// The client's id; repeats are dropped downstream.
    pub event_id: &'a str,
    /// What happened.
    pub event_type: EventType,
    /// When.
    pub time: EventTime,
    /// Whose browser or device.
    pub visitor_id: &'a str,
    /// Whose account.
    pub user_id: Option<&'a str>,
    /// The client's session.
    pub session_id: Option<&'a str>,
    /// For searches.
    pub search_query: Option<&'a str>,
    /// Where on the site.
    pub placement: Option<&'a str>,
    /// Joins the event to the slate that led to it.
    pub attribution_token: Option<&'a str>,
    /// The shopper agreed to be remembered.
    pub consent: bool,
}

/// A product within an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventItemRef<'a> {
    /// Which product.
    pub item_id: &'a str,
    /// How many.
    pub quantity: u32,
    /// Price of one, in the transaction's currency.
    pub unit_price: Option<f64>,
    /// Place on the slate, from 0.
    pub position: Option<u32>,
}

/// What was paid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransactionRef<'a> {
    /// The shop's order number; may be empty.
    pub id: &'a str,
    /// What the shopper paid.
    pub revenue: Option<f64>,
    /// Tax within it.
    pub tax: Option<f64>,
    /// What it cost the shop.
    pub cost: Option<f64>,
    /// ISO 4217; may be empty.
    pub currency: &'a str,
}

impl EventBatch {
    /// Columns of these events, in this order.
    ///
    /// # Errors
    /// When an event breaks a rule of the contract (see [`Event`]'s conversion from the wire).
    pub fn from_events<'e>(events: impl IntoIterator<Item = &'e Event>) -> Result<Self, ClickstreamError> {
        let _ = events;
        todo!()
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The event of row `row`.
    ///
    /// # Panics
    /// When `row` is not below [`Self::len`].
    pub fn get(&self, row: usize) -> EventRef<'_> {
        let _ = row;
        todo!()
    }

    /// The events in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> + DoubleEndedIterator {
        (0..self.len()).map(|row| self.get(row))
    }
}

impl<'a> EventRef<'a> {
    /// The products concerned.
    pub fn items(&self) -> impl ExactSizeIterator<Item = EventItemRef<'a>> + DoubleEndedIterator + Clone + use<'a> {
        [].into_iter()
    }

    /// What was paid, for purchases and refunds.
    pub fn transaction(&self) -> Option<TransactionRef<'a>> {
        todo!()
    }

    /// Category paths of the page.
    pub fn page_categories(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        [].into_iter()
    }

    /// Experiments the shopper was in.
    pub fn experiment_ids(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        [].into_iter()
    }

    /// Anything else, as name and value.
    pub fn attributes(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        [].into_iter()
    }

    /// An owned copy.
    pub fn to_event(&self) -> Event {
        todo!()
    }
}

/// Reads events from one file, a record batch at a time.
#[derive(Debug)]
pub struct EventReader {}

impl EventReader {
    /// Opens an Arrow IPC file or stream (also within zstd or gzip) or a Parquet file; which one it
    /// is, its first bytes say.
    ///
    /// # Errors
    /// When it cannot be opened, is none of these, is cut off, or lacks a required column.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ClickstreamError> {
        let _ = path.as_ref();
        todo!()
    }
}

impl Iterator for EventReader {
    type Item = Result<EventBatch, ClickstreamError>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// Writes events to one file, which appears under its name when it is finished.
#[derive(Debug)]
pub struct EventWriter {}

impl EventWriter {
    /// The ending of the name says what is written: `.arrow`, `.arrows`, `.arrows.zst`,
    /// `.arrows.gz`, `.parquet`.
    ///
    /// # Errors
    /// When the ending is none of these or the file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, ClickstreamError> {
        let _ = path.as_ref();
        todo!()
    }

    /// Adds an event.
    ///
    /// # Errors
    /// When it breaks a rule of the contract or cannot be written.
    pub fn write(&mut self, event: &Event) -> Result<(), ClickstreamError> {
        let _ = event;
        todo!()
    }

    /// Writes what is buffered, makes it durable and gives the file its name. Returns the number of
    /// events. A writer that is dropped instead leaves nothing behind.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<u64, ClickstreamError> {
        todo!()
    }
}
