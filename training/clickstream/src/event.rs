//! Events: columns in, borrowed rows out.
//!
//! A file's record batch becomes an [`EventBatch`] once every value has been checked; its rows are
//! then read as [`EventRef`]s, which borrow from the columns and allocate nothing.

mod build;

use std::{path::Path, sync::Arc};

use arrow::{
    array::{
        Array, BooleanArray, Float64Array, Int32Array, Int64Array, PrimitiveArray, RecordBatch, StringArray,
        StructArray, UInt32Array,
    },
    datatypes::{Int32Type, Int64Type, TimestampMillisecondType, UInt32Type},
};
use endcap_proto::{
    Event, EventId, EventItem, EventTime, EventType, FieldError, ItemId, Transaction, UserId, VisitorId,
};

use crate::{
    ClickstreamError, Erased,
    columns::{Columns, Lists, OptionalText, TextLists, TextMaps, value},
    schema::Contract,
    table::{Builder, Table, TableReader, TableWriter, record_batch},
};
use build::EventBuilder;

/// Reads events from one file, an [`EventBatch`] at a time.
pub type EventReader = TableReader<Event>;

/// Writes events to one file.
pub type EventWriter = TableWriter<Event>;

/// The columns of one record batch of events, every value of which has been checked. Clones share
/// the columns.
#[derive(Debug, Clone)]
pub struct EventBatch {
    event_id: StringArray,
    event_type: Arc<[EventType]>,
    time: PrimitiveArray<TimestampMillisecondType>,
    visitor_id: StringArray,
    user_id: OptionalText,
    session_id: OptionalText,
    search_query: OptionalText,
    placement: OptionalText,
    attribution_token: OptionalText,
    consent: Option<BooleanArray>,
    items: Lists,
    item: ItemColumns,
    page_categories: TextLists,
    experiment_ids: TextLists,
    attributes: TextMaps,
    transaction: Option<TransactionColumns>,
    log: Option<LogColumns>,
}

/// Where in its topic an event was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The partition.
    pub partition: i32,
    /// The event's own offset there.
    pub offset: i64,
}

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
    batch: &'a EventBatch,
    row: usize,
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

#[derive(Debug, Clone)]
struct ItemColumns {
    item_id: StringArray,
    quantity: Option<UInt32Array>,
    unit_price: Option<Float64Array>,
    position: Option<UInt32Array>,
}

#[derive(Debug, Clone)]
struct TransactionColumns {
    rows: StructArray,
    id: OptionalText,
    revenue: Option<Float64Array>,
    tax: Option<Float64Array>,
    cost: Option<Float64Array>,
    currency: OptionalText,
}

#[derive(Debug, Clone)]
struct LogColumns {
    partition: Int32Array,
    offset: Int64Array,
}

// === impl EventWriter ===

impl EventWriter {
    /// Adds a row, and where in its topic it was.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_from_log(&mut self, event: &Event, at: LogPosition) -> Result<(), ClickstreamError> {
        self.append(|builder| builder.append_at(event, Some(at)))
    }
}

// === impl EventBatch ===

impl EventBatch {
    /// The columns of these events, in this order.
    ///
    /// # Errors
    /// When an event breaks a rule of the contract, as [`EventWriter::write`].
    pub fn from_events<'e>(events: impl IntoIterator<Item = &'e Event>) -> Result<Self, ClickstreamError> {
        let path = Path::new("(in memory)");
        let mut builder = EventBuilder::default();
        for (row, event) in (0u64..).zip(events) {
            builder.append(event).map_err(|FieldError { field, rule }| ClickstreamError::Value {
                path: path.to_owned(),
                batch: 0,
                row,
                column: field,
                rule,
            })?;
        }
        let contract = Event::contract();
        let record: RecordBatch = record_batch(&contract.schema(), builder.finish(), path)?;
        Event::decode(&Columns::new(path, 0, &record, &contract), record.num_rows())
    }

    /// Number of events.
    #[inline]
    pub fn len(&self) -> usize {
        self.event_type.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The event of row `row`.
    ///
    /// # Panics
    /// When `row` is not below [`Self::len`].
    #[inline]
    pub fn get(&self, row: usize) -> EventRef<'_> {
        EventRef {
            event_id: self.event_id.value(row),
            event_type: self.event_type[row],
            time: EventTime::clamped(self.time.value(row)),
            visitor_id: self.visitor_id.value(row),
            user_id: self.user_id.get(row),
            session_id: self.session_id.get(row),
            search_query: self.search_query.get(row),
            placement: self.placement.get(row),
            attribution_token: self.attribution_token.get(row),
            consent: self.consent.as_ref().is_none_or(|consent| consent.is_valid(row) && consent.value(row)),
            batch: self,
            row,
        }
    }

    /// The events in file order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> + DoubleEndedIterator + Clone {
        (0..self.len()).map(|row| self.get(row))
    }

    #[inline]
    fn item(&self, i: usize) -> EventItemRef<'_> {
        EventItemRef {
            item_id: self.item.item_id.value(i),
            quantity: value(self.item.quantity.as_ref(), i).unwrap_or(1),
            unit_price: value(self.item.unit_price.as_ref(), i),
            position: value(self.item.position.as_ref(), i),
        }
    }
}

// === impl EventRef ===

impl<'a> EventRef<'a> {
    /// The products concerned.
    #[inline]
    pub fn items(
        &self,
    ) -> impl ExactSizeIterator<Item = EventItemRef<'a>> + DoubleEndedIterator + Clone + use<'a> {
        let batch = self.batch;
        batch.items.range(self.row).map(|i| batch.item(i))
    }

    /// What was paid, for purchases and refunds.
    pub fn transaction(&self) -> Option<TransactionRef<'a>> {
        let columns = self.batch.transaction.as_ref().filter(|columns| columns.rows.is_valid(self.row))?;
        Some(TransactionRef {
            id: columns.id.get(self.row).unwrap_or_default(),
            revenue: value(columns.revenue.as_ref(), self.row),
            tax: value(columns.tax.as_ref(), self.row),
            cost: value(columns.cost.as_ref(), self.row),
            currency: columns.currency.get(self.row).unwrap_or_default(),
        })
    }

    /// Category paths of the page.
    pub fn page_categories(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        self.batch.page_categories.get(self.row)
    }

    /// Experiments the shopper was in.
    pub fn experiment_ids(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        self.batch.experiment_ids.get(self.row)
    }

    /// Anything else, as name and value.
    pub fn attributes(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        self.batch.attributes.get(self.row)
    }

    /// Where in its topic the event was, for what `endcap archive` wrote.
    pub fn log_position(&self) -> Option<LogPosition> {
        let log = self.batch.log.as_ref()?;
        let partition = value(Some(&log.partition), self.row)?;
        Some(LogPosition { partition, offset: value(Some(&log.offset), self.row)? })
    }

    /// An owned copy.
    pub fn to_event(&self) -> Event {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Event {
            event_id: checked(EventId::new(self.event_id)),
            event_type: self.event_type,
            time: self.time,
            visitor_id: checked(VisitorId::new(self.visitor_id)),
            user_id: self.user_id.map(|id| checked(UserId::new(id))),
            session_id: owned(self.session_id),
            items: self
                .items()
                .map(|item| EventItem {
                    item_id: checked(ItemId::new(item.item_id)),
                    quantity: item.quantity,
                    unit_price: item.unit_price,
                    position: item.position,
                })
                .collect(),
            transaction: self.transaction().map(|transaction| Transaction {
                id: transaction.id.to_owned(),
                revenue: transaction.revenue,
                tax: transaction.tax,
                cost: transaction.cost,
                currency: transaction.currency.to_owned(),
            }),
            search_query: owned(self.search_query),
            page_categories: self.page_categories().map(str::to_owned).collect(),
            placement: owned(self.placement),
            attribution_token: owned(self.attribution_token),
            experiment_ids: self.experiment_ids().map(str::to_owned).collect(),
            attributes: self.attributes().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            consent: self.consent,
        }
    }
}

/// An identifier of a batch, which was checked by the same rule when the batch was read.
fn checked<T>(id: Result<T, FieldError>) -> T {
    id.expect("identifiers are checked when a batch is read")
}

// === impl Table ===

impl Table for Event {
    type Batch = EventBatch;
    type Builder = EventBuilder;

    fn contract() -> Contract {
        Contract::event()
    }

    fn decode(columns: &Columns<'_>, rows: usize) -> Result<EventBatch, ClickstreamError> {
        let event_id = columns.required("event_id", columns.text("event_id")?)?;
        columns.ids("event_id", &event_id, false, |id| EventId::new(id).map(drop))?;
        let visitor_id = columns.required("visitor_id", columns.text("visitor_id")?)?;
        columns.ids("visitor_id", &visitor_id, false, |id| VisitorId::new(id).map(drop))?;
        let user_id = columns.optional_text("user_id")?;
        if let Some(ids) = user_id.column() {
            columns.ids("user_id", ids, true, |id| UserId::new(id).map(drop))?;
        }
        let event_type = event_types(columns)?;
        let time = columns.required("event_time", columns.times("event_time")?)?;
        let (items, item) = item_columns(columns)?;
        for (row, event_type) in event_type.iter().enumerate() {
            if event_type.needs_items() && items.range(row).is_empty() {
                return Err(columns.bad(row, "items", format!("must not be empty for {event_type}")));
            }
        }
        debug_assert_eq!(event_type.len(), rows);
        Ok(EventBatch {
            event_id,
            event_type,
            time,
            visitor_id,
            user_id,
            session_id: columns.optional_text("session_id")?,
            search_query: columns.optional_text("search_query")?,
            placement: columns.optional_text("placement")?,
            attribution_token: columns.optional_text("attribution_token")?,
            consent: columns.bools("consent")?,
            items,
            item,
            page_categories: columns.text_lists("page_categories")?,
            experiment_ids: columns.text_lists("experiment_ids")?,
            attributes: columns.text_maps("attributes")?,
            transaction: transaction_columns(columns)?,
            log: log_columns(columns)?,
        })
    }

    fn without(batch: EventBatch, erased: &Erased) -> Result<EventBatch, ClickstreamError> {
        let covered = |event: &EventRef<'_>| erased.covers_event(event);
        if !batch.iter().any(|event| covered(&event)) {
            return Ok(batch);
        }
        let kept: Vec<Event> =
            batch.iter().filter(|event| !covered(event)).map(|event| event.to_event()).collect();
        EventBatch::from_events(&kept)
    }
}

fn event_types(columns: &Columns<'_>) -> Result<Arc<[EventType]>, ClickstreamError> {
    let parse = |name: &str| name.parse::<EventType>().map_err(|error| error.to_string());
    let names = columns.names("type", parse)?;
    let names = names.ok_or_else(|| columns.missing("type"))?;
    let known = names.into_iter().enumerate().map(|(row, event_type)| {
        event_type.ok_or_else(|| columns.bad(row, "type", "must not be null".to_owned()))
    });
    known.collect()
}

fn item_columns(columns: &Columns<'_>) -> Result<(Lists, ItemColumns), ClickstreamError> {
    let (lists, values) = columns.struct_lists("items")?.ok_or_else(|| columns.missing("items"))?;
    let fields = columns.of_list("items", &lists, &values);
    let item_id = fields.required("item_id", fields.text("item_id")?)?;
    fields.ids("item_id", &item_id, false, |id| ItemId::new(id).map(drop))?;
    let item = ItemColumns {
        item_id,
        quantity: fields.numbers::<UInt32Type>("quantity")?,
        unit_price: fields.amounts("unit_price")?,
        position: fields.numbers::<UInt32Type>("position")?,
    };
    Ok((lists, item))
}

fn transaction_columns(columns: &Columns<'_>) -> Result<Option<TransactionColumns>, ClickstreamError> {
    let Some(rows) = columns.structs("transaction")? else { return Ok(None) };
    let fields = columns.of_struct("transaction", &rows);
    let (id, currency) = (fields.optional_text("id")?, fields.optional_text("currency")?);
    let (revenue, tax, cost) = (fields.amounts("revenue")?, fields.amounts("tax")?, fields.amounts("cost")?);
    Ok(Some(TransactionColumns { rows, id, revenue, tax, cost, currency }))
}

/// None where the file lacks one of the two.
fn log_columns(columns: &Columns<'_>) -> Result<Option<LogColumns>, ClickstreamError> {
    let partition = columns.numbers::<Int32Type>("kafka_partition")?;
    let offset = columns.numbers::<Int64Type>("kafka_offset")?;
    let (Some(partition), Some(offset)) = (partition, offset) else { return Ok(None) };
    for row in 0..offset.len() {
        let (partition, offset) = (value(Some(&partition), row), value(Some(&offset), row));
        if partition.is_some() != offset.is_some() {
            let rule = "must be null where kafka_partition is, and only there".to_owned();
            return Err(columns.bad(row, "kafka_offset", rule));
        }
        if let Some(partition) = partition.filter(|&partition| partition < 0) {
            return Err(columns.bad(row, "kafka_partition", format!("must not be negative, is {partition}")));
        }
        if let Some(offset) = offset.filter(|&offset| offset < 0) {
            return Err(columns.bad(row, "kafka_offset", format!("must not be negative, is {offset}")));
        }
    }
    Ok(Some(LogColumns { partition, offset }))
}
