//! Impressions: the slates as they were served, on disk.

mod build;

use arrow::{
    array::{
        Array, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray, StructArray, UInt32Array,
    },
    datatypes::{Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type},
};
use endcap_proto::{
    EventTime, EventType, FieldError, ItemId, UserId, VisitorId,
    v1::{Context, ImpressedItem, Impression, PartitionOffset, ServedBy},
};

use crate::{
    ClickstreamError, Erased,
    columns::{Columns, Lists, OptionalText, TextLists, TextMaps, value},
    schema::Contract,
    table::{Table, TableReader, TableWriter},
};
use build::ImpressionBuilder;

/// Reads impressions from one file, a `Vec` of them at a time.
pub type ImpressionReader = TableReader<Impression>;

/// Writes impressions to one file. Times are kept to the millisecond.
pub type ImpressionWriter = TableWriter<Impression>;

impl Table for Impression {
    type Batch = Vec<Impression>;
    type Builder = ImpressionBuilder;

    fn contract() -> Contract {
        Contract::impression()
    }

    fn decode(columns: &Columns<'_>, rows: usize) -> Result<Vec<Impression>, ClickstreamError> {
        let slate_id = columns.required("slate_id", columns.text("slate_id")?)?;
        let served_time = columns.required("served_time", columns.times("served_time")?)?;
        let visitor_id = columns.required("visitor_id", columns.text("visitor_id")?)?;
        let user_id = columns.optional_text("user_id")?;
        let session_id = columns.optional_text("session_id")?;
        let placement = columns.optional_text("placement")?;
        let request_id = columns.optional_text("request_id")?;
        let (item_lists, item_values) =
            columns.struct_lists("items")?.ok_or_else(|| columns.missing("items"))?;
        let items = Items::decode(&columns.of_list("items", &item_lists, &item_values))?;
        let served_by = columns.structs("served_by")?;
        let served_by = served_by.map(|rows| Servers::decode(columns, rows)).transpose()?;
        let as_of = columns.times("as_of")?;
        let offset_lists = columns.struct_lists("applied_offsets")?;
        let offsets = offset_lists.as_ref().map(|(lists, values)| {
            Offsets::decode(&columns.of_list("applied_offsets", lists, values))
                .map(|offsets| (lists, offsets))
        });
        let offsets = offsets.transpose()?;
        let seed = columns.numbers::<UInt64Type>("seed")?;
        let degraded = columns.text_lists("degraded")?;
        let context = columns.structs("context")?;
        let context = context.map(|rows| Contexts::decode(columns, rows)).transpose()?;
        let consent = columns.bools("consent")?;
        let attribution_token = columns.optional_text("attribution_token")?;
        let time = |millis: i64| EventTime::clamped(millis).to_proto();
        let impression = |row: usize| {
            let impression = Impression {
                slate_id: slate_id.value(row).to_owned(),
                served_time: Some(time(served_time.value(row))),
                visitor_id: visitor_id.value(row).to_owned(),
                user_id: user_id.owned(row),
                session_id: session_id.owned(row),
                placement: placement.owned(row),
                request_id: request_id.owned(row),
                items: item_lists.range(row).map(|i| items.get(i)).collect(),
                served_by: served_by.as_ref().and_then(|served_by| served_by.get(row)),
                as_of: value(as_of.as_ref(), row).map(time),
                applied_offsets: offsets
                    .iter()
                    .flat_map(|(lists, offsets)| lists.range(row).map(|i| offsets.get(i)))
                    .collect(),
                seed: value(seed.as_ref(), row).unwrap_or_default(),
                degraded: degraded.owned(row),
                context: context.as_ref().and_then(|context| context.get(row)),
                consent: consent.as_ref().is_none_or(|consent| consent.is_valid(row) && consent.value(row)),
                attribution_token: attribution_token.owned(row),
            };
            match check(&impression) {
                Ok(()) => Ok(impression),
                Err(error) => Err(columns.bad(row, error.field, error.rule)),
            }
        };
        (0..rows).map(impression).collect()
    }

    fn without(mut batch: Vec<Impression>, erased: &Erased) -> Result<Vec<Impression>, ClickstreamError> {
        batch.retain(|impression| !erased.covers_impression(impression));
        Ok(batch)
    }
}

/// The rules of an impression, when it is written and when it is read.
fn check(impression: &Impression) -> Result<(), FieldError> {
    if impression.slate_id.is_empty() {
        return Err(FieldError::new("slate_id", "must not be empty"));
    }
    let served_time = impression.served_time.as_ref();
    let served_time = served_time.ok_or_else(|| FieldError::new("served_time", "must be set"))?;
    EventTime::from_proto("served_time", served_time)?;
    if let Some(as_of) = &impression.as_of {
        EventTime::from_proto("as_of", as_of)?;
    }
    VisitorId::new(&impression.visitor_id)?;
    if !impression.user_id.is_empty() {
        UserId::new(&impression.user_id)?;
    }
    if let Some(context) = impression.context.as_ref().filter(|context| context.r#type != 0) {
        context_type(context).ok_or_else(|| {
            FieldError::new("context.type", format!("must be a known event type, is {}", context.r#type))
        })?;
    }
    for (i, item) in impression.items.iter().enumerate() {
        check_item(item).map_err(|error| error.within(format_args!("items[{i}]")))?;
    }
    Ok(())
}

fn check_item(item: &ImpressedItem) -> Result<(), FieldError> {
    ItemId::new(&item.item_id)?;
    if !item.score.is_finite() {
        return Err(FieldError::new("score", format!("must be finite, is {}", item.score)));
    }
    if !(item.propensity > 0.0 && item.propensity <= 1.0) {
        return Err(FieldError::new(
            "propensity",
            format!("must lie within 0 (exclusive) and 1, is {}", item.propensity),
        ));
    }
    match item.features.iter().position(|feature| !feature.is_finite()) {
        Some(i) => {
            Err(FieldError::new(format!("features[{i}]"), format!("must be finite, is {}", item.features[i])))
        }
        None => Ok(()),
    }
}

fn context_type(context: &Context) -> Option<EventType> {
    u8::try_from(context.r#type).ok().and_then(EventType::from_number)
}

// === The structures within an impression, as columns ===

struct Items {
    item_id: StringArray,
    position: UInt32Array,
    score: Float64Array,
    propensity: Float64Array,
    explored: Option<BooleanArray>,
    sources: TextLists,
    features: Option<(Lists, arrow::array::Float32Array)>,
}

impl Items {
    fn decode(columns: &Columns<'_>) -> Result<Self, ClickstreamError> {
        Ok(Self {
            item_id: columns.required("item_id", columns.text("item_id")?)?,
            position: columns.required("position", columns.numbers::<UInt32Type>("position")?)?,
            score: columns.required("score", columns.numbers::<Float64Type>("score")?)?,
            propensity: columns.required("propensity", columns.numbers::<Float64Type>("propensity")?)?,
            explored: columns.bools("explored")?,
            sources: columns.text_lists("sources")?,
            features: columns.number_lists::<Float32Type>("features")?,
        })
    }

    fn get(&self, i: usize) -> ImpressedItem {
        ImpressedItem {
            item_id: self.item_id.value(i).to_owned(),
            position: self.position.value(i),
            score: self.score.value(i),
            propensity: self.propensity.value(i),
            explored: self
                .explored
                .as_ref()
                .is_some_and(|explored| explored.is_valid(i) && explored.value(i)),
            sources: self.sources.owned(i),
            features: match &self.features {
                Some((lists, features)) => features.values()[lists.range(i)].to_vec(),
                None => Vec::new(),
            },
        }
    }
}

struct Servers {
    rows: StructArray,
    bundle_version: OptionalText,
    index_version: OptionalText,
    experiment_arms: TextMaps,
}

impl Servers {
    fn decode(outer: &Columns<'_>, rows: StructArray) -> Result<Self, ClickstreamError> {
        let columns = outer.of_struct("served_by", &rows);
        let bundle_version = columns.optional_text("bundle_version")?;
        let index_version = columns.optional_text("index_version")?;
        let experiment_arms = columns.text_maps("experiment_arms")?;
        Ok(Self { rows, bundle_version, index_version, experiment_arms })
    }

    fn get(&self, row: usize) -> Option<ServedBy> {
        self.rows.is_valid(row).then(|| ServedBy {
            bundle_version: self.bundle_version.owned(row),
            index_version: self.index_version.owned(row),
            experiment_arms: self.experiment_arms.owned(row),
        })
    }
}

struct Offsets {
    topic: StringArray,
    partition: Int32Array,
    offset: Int64Array,
}

impl Offsets {
    fn decode(columns: &Columns<'_>) -> Result<Self, ClickstreamError> {
        Ok(Self {
            topic: columns.required("topic", columns.text("topic")?)?,
            partition: columns.required("partition", columns.numbers::<Int32Type>("partition")?)?,
            offset: columns.required("offset", columns.numbers::<Int64Type>("offset")?)?,
        })
    }

    fn get(&self, i: usize) -> PartitionOffset {
        PartitionOffset {
            topic: self.topic.value(i).to_owned(),
            partition: self.partition.value(i),
            offset: self.offset.value(i),
        }
    }
}

struct Contexts {
    rows: StructArray,
    event_type: Option<Vec<Option<EventType>>>,
    item_ids: TextLists,
    cart_item_ids: TextLists,
    page_categories: TextLists,
    search_query: OptionalText,
}

impl Contexts {
    fn decode(outer: &Columns<'_>, rows: StructArray) -> Result<Self, ClickstreamError> {
        let columns = outer.of_struct("context", &rows);
        let event_type =
            columns.names("type", |name| name.parse::<EventType>().map_err(|error| error.to_string()))?;
        let item_ids = columns.text_lists("item_ids")?;
        let cart_item_ids = columns.text_lists("cart_item_ids")?;
        let page_categories = columns.text_lists("page_categories")?;
        let search_query = columns.optional_text("search_query")?;
        Ok(Self { rows, event_type, item_ids, cart_item_ids, page_categories, search_query })
    }

    fn get(&self, row: usize) -> Option<Context> {
        self.rows.is_valid(row).then(|| Context {
            r#type: self
                .event_type
                .as_ref()
                .and_then(|types| types[row])
                .map_or(0, |event_type| event_type as i32),
            item_ids: self.item_ids.owned(row),
            cart_item_ids: self.cart_item_ids.owned(row),
            page_categories: self.page_categories.owned(row),
            search_query: self.search_query.owned(row),
        })
    }
}
