//! Impressions, gathered into columns.

use std::{mem, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray},
    buffer::NullBuffer,
    datatypes::{Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type},
};
use endcap_proto::{
    EventTime, EventType, FieldError,
    v1::{Context, ImpressedItem, Impression, ServedBy},
};

use super::{check, context_type};
use crate::{
    builders::{Names, NumberLists, Numbers, Offsets, TextLists, TextMaps, Texts, Times, structure},
    table::Builder,
};

/// Gathers impressions into columns.
#[derive(Default)]
pub struct ImpressionBuilder {
    slate_id: Texts,
    served_time: Times,
    visitor_id: Texts,
    user_id: Texts,
    session_id: Texts,
    placement: Texts,
    request_id: Texts,
    items: Offsets,
    item: Items,
    served_by: Servers,
    as_of: Times,
    offsets: Offsets,
    topic: Texts,
    partition: Numbers<Int32Type>,
    offset: Numbers<Int64Type>,
    seed: Numbers<UInt64Type>,
    degraded: TextLists,
    context: Contexts,
    consent: Vec<bool>,
    attribution_token: Texts,
}

impl Builder for ImpressionBuilder {
    type Row = Impression;

    fn append(&mut self, impression: &Impression) -> Result<(), FieldError> {
        check(impression)?;
        let time = |field, time: &Option<_>| {
            time.as_ref().map(|time| EventTime::from_proto(field, time)).transpose()
        };
        let (served_time, as_of) =
            (time("served_time", &impression.served_time)?, time("as_of", &impression.as_of)?);
        self.slate_id.push(&impression.slate_id);
        self.served_time.push(served_time);
        self.visitor_id.push(&impression.visitor_id);
        self.user_id.push_optional(Some(&impression.user_id));
        self.session_id.push_optional(Some(&impression.session_id));
        self.placement.push_optional(Some(&impression.placement));
        self.request_id.push_optional(Some(&impression.request_id));
        self.items.push(impression.items.len());
        impression.items.iter().for_each(|item| self.item.push(item));
        self.served_by.push(impression.served_by.as_ref());
        self.as_of.push(as_of);
        self.offsets.push(impression.applied_offsets.len());
        for applied in &impression.applied_offsets {
            self.topic.push(&applied.topic);
            self.partition.push(applied.partition);
            self.offset.push(applied.offset);
        }
        self.seed.push(impression.seed);
        self.degraded.push(&impression.degraded);
        self.context.push(impression.context.as_ref());
        self.consent.push(impression.consent);
        self.attribution_token.push_optional(Some(&impression.attribution_token));
        Ok(())
    }

    fn bytes(&self) -> usize {
        let texts =
            [&self.slate_id, &self.visitor_id, &self.item.item_id, &self.topic, &self.attribution_token];
        texts.iter().map(|texts| texts.bytes()).sum::<usize>()
            + self.item.sources.bytes()
            + self.item.features.bytes()
            + self.context.bytes()
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let item = self.item.finish();
        let offset = structure(
            [
                ("topic", false, self.topic.finish()),
                ("partition", false, self.partition.finish()),
                ("offset", false, self.offset.finish()),
            ],
            None,
        );
        vec![
            self.slate_id.finish(),
            self.served_time.finish(),
            self.visitor_id.finish(),
            self.user_id.finish(),
            self.session_id.finish(),
            self.placement.finish(),
            self.request_id.finish(),
            self.items.finish_lists(item),
            self.served_by.finish(),
            self.as_of.finish(),
            self.offsets.finish_lists(Arc::new(offset)),
            self.seed.finish(),
            self.degraded.finish(),
            self.context.finish(),
            Arc::new(BooleanArray::from(mem::take(&mut self.consent))),
            self.attribution_token.finish(),
        ]
    }
}

#[derive(Default)]
struct Items {
    item_id: Texts,
    position: Numbers<UInt32Type>,
    score: Numbers<Float64Type>,
    propensity: Numbers<Float64Type>,
    explored: Vec<bool>,
    sources: TextLists,
    features: NumberLists<Float32Type>,
}

impl Items {
    fn push(&mut self, item: &ImpressedItem) {
        self.item_id.push(&item.item_id);
        self.position.push(item.position);
        self.score.push(item.score);
        self.propensity.push(item.propensity);
        self.explored.push(item.explored);
        self.sources.push(&item.sources);
        self.features.push(&item.features);
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(structure(
            [
                ("item_id", false, self.item_id.finish()),
                ("position", false, self.position.finish()),
                ("score", false, self.score.finish()),
                ("propensity", false, self.propensity.finish()),
                ("explored", false, Arc::new(BooleanArray::from(mem::take(&mut self.explored)))),
                ("sources", false, self.sources.finish()),
                ("features", false, self.features.finish()),
            ],
            None,
        ))
    }
}

#[derive(Default)]
struct Servers {
    present: Vec<bool>,
    bundle_version: Texts,
    index_version: Texts,
    experiment_arms: TextMaps,
}

impl Servers {
    fn push(&mut self, served_by: Option<&ServedBy>) {
        self.present.push(served_by.is_some());
        self.bundle_version.push_optional(served_by.map(|served_by| served_by.bundle_version.as_str()));
        self.index_version.push_optional(served_by.map(|served_by| served_by.index_version.as_str()));
        let arms: Vec<_> = served_by.iter().flat_map(|served_by| &served_by.experiment_arms).collect();
        self.experiment_arms.push(arms.into_iter());
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(structure(
            [
                ("bundle_version", true, self.bundle_version.finish()),
                ("index_version", true, self.index_version.finish()),
                ("experiment_arms", false, self.experiment_arms.finish()),
            ],
            Some(NullBuffer::from(mem::take(&mut self.present))),
        ))
    }
}

struct Contexts {
    present: Vec<bool>,
    event_type: Names,
    item_ids: TextLists,
    cart_item_ids: TextLists,
    page_categories: TextLists,
    search_query: Texts,
}

impl Default for Contexts {
    fn default() -> Self {
        Self {
            present: Vec::new(),
            event_type: Names::of(EventType::ALL.iter().map(|event_type| event_type.as_str())),
            item_ids: TextLists::default(),
            cart_item_ids: TextLists::default(),
            page_categories: TextLists::default(),
            search_query: Texts::default(),
        }
    }
}

impl Contexts {
    fn push(&mut self, context: Option<&Context>) {
        let lists = |of: fn(&Context) -> &Vec<String>| context.map(of).map_or(&[][..], Vec::as_slice);
        let event_type = context.and_then(context_type);
        self.present.push(context.is_some());
        self.event_type
            .push(event_type.and_then(|own| EventType::ALL.iter().position(|&event_type| event_type == own)));
        self.item_ids.push(lists(|context| &context.item_ids));
        self.cart_item_ids.push(lists(|context| &context.cart_item_ids));
        self.page_categories.push(lists(|context| &context.page_categories));
        self.search_query.push_optional(context.map(|context| context.search_query.as_str()));
    }

    fn bytes(&self) -> usize {
        self.item_ids.bytes()
            + self.cart_item_ids.bytes()
            + self.page_categories.bytes()
            + self.search_query.bytes()
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(structure(
            [
                ("type", true, self.event_type.finish()),
                ("item_ids", false, self.item_ids.finish()),
                ("cart_item_ids", false, self.cart_item_ids.finish()),
                ("page_categories", false, self.page_categories.finish()),
                ("search_query", true, self.search_query.finish()),
            ],
            Some(NullBuffer::from(mem::take(&mut self.present))),
        ))
    }
}
