//! Events, gathered into columns.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray},
    buffer::NullBuffer,
    datatypes::{Float64Type, Int32Type, Int64Type, UInt32Type},
};
use endcap_proto::{Event, EventType, FieldError};

use crate::{
    builders::{Names, Numbers, Offsets, TextLists, TextMaps, Texts, Times, structure},
    event::LogPosition,
    table::Builder,
};

/// Gathers events into columns.
pub struct EventBuilder {
    event_id: Texts,
    event_type: Names,
    time: Times,
    visitor_id: Texts,
    user_id: Texts,
    session_id: Texts,
    items: Offsets,
    item: Items,
    transaction: Transactions,
    search_query: Texts,
    page_categories: TextLists,
    placement: Texts,
    attribution_token: Texts,
    experiment_ids: TextLists,
    attributes: TextMaps,
    consent: Vec<bool>,
    kafka_partition: Numbers<Int32Type>,
    kafka_offset: Numbers<Int64Type>,
}

#[derive(Default)]
struct Items {
    item_id: Texts,
    quantity: Numbers<UInt32Type>,
    unit_price: Numbers<Float64Type>,
    position: Numbers<UInt32Type>,
}

#[derive(Default)]
struct Transactions {
    present: Vec<bool>,
    id: Texts,
    revenue: Numbers<Float64Type>,
    tax: Numbers<Float64Type>,
    cost: Numbers<Float64Type>,
    currency: Texts,
}

impl Default for EventBuilder {
    fn default() -> Self {
        Self {
            event_id: Texts::default(),
            event_type: Names::of(EventType::ALL.iter().map(|event_type| event_type.as_str())),
            time: Times::default(),
            visitor_id: Texts::default(),
            user_id: Texts::default(),
            session_id: Texts::default(),
            items: Offsets::default(),
            item: Items::default(),
            transaction: Transactions::default(),
            search_query: Texts::default(),
            page_categories: TextLists::default(),
            placement: Texts::default(),
            attribution_token: Texts::default(),
            experiment_ids: TextLists::default(),
            attributes: TextMaps::default(),
            consent: Vec::new(),
            kafka_partition: Numbers::default(),
            kafka_offset: Numbers::default(),
        }
    }
}

impl EventBuilder {
    /// Adds an event, and where in its topic it was, or says which field breaks which rule and adds nothing.
    pub(super) fn append_at(&mut self, event: &Event, at: Option<LogPosition>) -> Result<(), FieldError> {
        check(event)?;
        self.event_id.push(event.event_id.as_str());
        self.event_type.push(EventType::ALL.iter().position(|&event_type| event_type == event.event_type));
        self.time.push(event.time);
        self.visitor_id.push(event.visitor_id.as_str());
        self.user_id.push_optional(event.user_id.as_ref().map(|id| id.as_str()));
        self.session_id.push_optional(event.session_id.as_deref());
        self.items.push(event.items.len());
        for item in &event.items {
            self.item.item_id.push(item.item_id.as_str());
            self.item.quantity.push(item.quantity);
            self.item.unit_price.push(item.unit_price);
            self.item.position.push(item.position);
        }
        let transaction = event.transaction.as_ref();
        self.transaction.present.push(transaction.is_some());
        self.transaction.id.push_optional(transaction.map(|transaction| transaction.id.as_str()));
        self.transaction.revenue.push(transaction.and_then(|transaction| transaction.revenue));
        self.transaction.tax.push(transaction.and_then(|transaction| transaction.tax));
        self.transaction.cost.push(transaction.and_then(|transaction| transaction.cost));
        self.transaction.currency.push_optional(transaction.map(|transaction| transaction.currency.as_str()));
        self.search_query.push_optional(event.search_query.as_deref());
        self.page_categories.push(&event.page_categories);
        self.placement.push_optional(event.placement.as_deref());
        self.attribution_token.push_optional(event.attribution_token.as_deref());
        self.experiment_ids.push(&event.experiment_ids);
        self.attributes.push(event.attributes.iter());
        self.consent.push(event.consent);
        self.kafka_partition.push(at.map(|at| at.partition));
        self.kafka_offset.push(at.map(|at| at.offset));
        Ok(())
    }
}

impl Builder for EventBuilder {
    type Row = Event;

    fn append(&mut self, event: &Event) -> Result<(), FieldError> {
        self.append_at(event, None)
    }

    fn bytes(&self) -> usize {
        let texts = [
            &self.event_id,
            &self.visitor_id,
            &self.user_id,
            &self.session_id,
            &self.item.item_id,
            &self.search_query,
            &self.placement,
            &self.attribution_token,
        ];
        texts.iter().map(|texts| texts.bytes()).sum::<usize>()
            + self.page_categories.bytes()
            + self.experiment_ids.bytes()
            + self.attributes.bytes()
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let Self { item, transaction, .. } = self;
        let item = structure(
            [
                ("item_id", false, item.item_id.finish()),
                ("quantity", false, item.quantity.finish()),
                ("unit_price", true, item.unit_price.finish()),
                ("position", true, item.position.finish()),
            ],
            None,
        );
        let transaction = structure(
            [
                ("id", true, transaction.id.finish()),
                ("revenue", true, transaction.revenue.finish()),
                ("tax", true, transaction.tax.finish()),
                ("cost", true, transaction.cost.finish()),
                ("currency", true, transaction.currency.finish()),
            ],
            Some(NullBuffer::from(std::mem::take(&mut transaction.present))),
        );
        vec![
            self.event_id.finish(),
            self.event_type.finish(),
            self.time.finish(),
            self.visitor_id.finish(),
            self.user_id.finish(),
            self.session_id.finish(),
            self.items.finish_lists(Arc::new(item)),
            Arc::new(transaction),
            self.search_query.finish(),
            self.page_categories.finish(),
            self.placement.finish(),
            self.attribution_token.finish(),
            self.experiment_ids.finish(),
            self.attributes.finish(),
            Arc::new(BooleanArray::from(std::mem::take(&mut self.consent))),
            self.kafka_partition.finish(),
            self.kafka_offset.finish(),
        ]
    }
}

/// The rules that an [`Event`]'s types do not hold by themselves.
fn check(event: &Event) -> Result<(), FieldError> {
    if event.event_type.needs_items() && event.items.is_empty() {
        return Err(FieldError::new("items", format!("must not be empty for {}", event.event_type)));
    }
    for (i, item) in event.items.iter().enumerate() {
        finite(item.unit_price, || format!("items[{i}].unit_price"))?;
    }
    if let Some(transaction) = &event.transaction {
        finite(transaction.revenue, || "transaction.revenue".into())?;
        finite(transaction.tax, || "transaction.tax".into())?;
        finite(transaction.cost, || "transaction.cost".into())?;
    }
    Ok(())
}

fn finite(value: Option<f64>, field: impl FnOnce() -> String) -> Result<(), FieldError> {
    match value {
        Some(value) if !value.is_finite() => {
            Err(FieldError::new(field(), format!("must be finite, is {value}")))
        }
        _ => Ok(()),
    }
}
