//! Items: the catalogue on disk.

use arrow::{
    array::ArrayRef,
    datatypes::{Float32Type, Float64Type},
};
use endcap_proto::{Attribute, Availability, EventTime, FieldError, Item, v1};

use crate::{
    ClickstreamError, Erased,
    builders::{Names, NumberLists, Numbers, Offsets, TextLists, TextMaps, Texts, Times},
    columns::{Columns, value},
    schema::Contract,
    table::{Builder, Table, TableReader, TableWriter},
};

/// Reads items from one file, a `Vec` of them at a time.
pub type ItemReader = TableReader<Item>;

/// Writes items to one file.
pub type ItemWriter = TableWriter<Item>;

const AVAILABILITIES: [Availability; 4] =
    [Availability::InStock, Availability::OutOfStock, Availability::Preorder, Availability::Discontinued];

/// Gathers items into columns.
pub struct ItemBuilder {
    id: Texts,
    title: Texts,
    categories: TextLists,
    brand: Texts,
    price: Numbers<Float64Type>,
    original_price: Numbers<Float64Type>,
    cost: Numbers<Float64Type>,
    currency: Texts,
    availability: Names,
    group_id: Texts,
    tags: TextLists,
    attributes: TextMaps,
    number_attributes: Offsets,
    number_attribute_names: Texts,
    number_attribute_values: Numbers<Float64Type>,
    image_uri: Texts,
    embedding: NumberLists<Float32Type>,
    publish_time: Times,
    expire_time: Times,
}

impl Default for ItemBuilder {
    fn default() -> Self {
        Self {
            id: Texts::default(),
            title: Texts::default(),
            categories: TextLists::default(),
            brand: Texts::default(),
            price: Numbers::default(),
            original_price: Numbers::default(),
            cost: Numbers::default(),
            currency: Texts::default(),
            availability: Names::of(AVAILABILITIES.map(Availability::as_str)),
            group_id: Texts::default(),
            tags: TextLists::default(),
            attributes: TextMaps::default(),
            number_attributes: Offsets::default(),
            number_attribute_names: Texts::default(),
            number_attribute_values: Numbers::default(),
            image_uri: Texts::default(),
            embedding: NumberLists::default(),
            publish_time: Times::default(),
            expire_time: Times::default(),
        }
    }
}

impl Builder for ItemBuilder {
    type Row = Item;

    fn append(&mut self, item: &Item) -> Result<(), FieldError> {
        check(item)?;
        let text = |attribute: &'_ Attribute| matches!(attribute, Attribute::Text(_));
        self.id.push(item.id.as_str());
        self.title.push_optional(item.title.as_deref());
        self.categories.push(&item.categories);
        self.brand.push_optional(item.brand.as_deref());
        self.price.push(item.price);
        self.original_price.push(item.original_price);
        self.cost.push(item.cost);
        self.currency.push_optional(item.currency.as_deref());
        self.availability
            .push(AVAILABILITIES.iter().position(|&availability| availability == item.availability));
        self.group_id.push_optional(item.group_id.as_deref());
        self.tags.push(&item.tags);
        let texts: Vec<_> = item
            .attributes
            .iter()
            .filter_map(|(name, attribute)| match attribute {
                Attribute::Text(text) => Some((name, text)),
                Attribute::Number(_) => None,
            })
            .collect();
        self.attributes.push(texts.into_iter());
        self.number_attributes.push(item.attributes.values().filter(|attribute| !text(attribute)).count());
        for (name, attribute) in &item.attributes {
            if let Attribute::Number(number) = attribute {
                self.number_attribute_names.push(name);
                self.number_attribute_values.push(*number);
            }
        }
        self.image_uri.push_optional(item.image_uri.as_deref());
        self.embedding.push(&item.embedding);
        self.publish_time.push(item.publish_time);
        self.expire_time.push(item.expire_time);
        Ok(())
    }

    fn bytes(&self) -> usize {
        let texts = [
            &self.id,
            &self.title,
            &self.brand,
            &self.group_id,
            &self.image_uri,
            &self.number_attribute_names,
        ];
        texts.iter().map(|texts| texts.bytes()).sum::<usize>()
            + self.categories.bytes()
            + self.tags.bytes()
            + self.attributes.bytes()
            + self.embedding.bytes()
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let number_attribute_names = self.number_attribute_names.finish();
        let number_attribute_values = self.number_attribute_values.finish();
        vec![
            self.id.finish(),
            self.title.finish(),
            self.categories.finish(),
            self.brand.finish(),
            self.price.finish(),
            self.original_price.finish(),
            self.cost.finish(),
            self.currency.finish(),
            self.availability.finish(),
            self.group_id.finish(),
            self.tags.finish(),
            self.attributes.finish(),
            self.number_attributes.finish_maps(number_attribute_names, number_attribute_values),
            self.image_uri.finish(),
            self.embedding.finish(),
            self.publish_time.finish(),
            self.expire_time.finish(),
        ]
    }
}

/// The rules of the wire: the same conversion checks them on both ways.
fn check(item: &Item) -> Result<(), FieldError> {
    let prices = [("price", item.price), ("original_price", item.original_price), ("cost", item.cost)];
    for (field, price) in prices {
        if let Some(price) = price.filter(|price| !price.is_finite() || *price < 0.0) {
            return Err(FieldError::new(field, format!("must be finite and not negative, is {price}")));
        }
    }
    for (name, attribute) in &item.attributes {
        if let Attribute::Number(number) = attribute
            && !number.is_finite()
        {
            return Err(FieldError::new(
                format!("attributes[{name:?}]"),
                format!("must be finite, is {number}"),
            ));
        }
    }
    match item.embedding.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(FieldError::new(
            format!("embedding[{i}]"),
            format!("must be finite, is {}", item.embedding[i]),
        )),
        None => Ok(()),
    }
}

impl Table for Item {
    type Batch = Vec<Item>;
    type Builder = ItemBuilder;

    fn contract() -> Contract {
        Contract::item()
    }

    fn decode(columns: &Columns<'_>, rows: usize) -> Result<Vec<Item>, ClickstreamError> {
        let id = columns.required("id", columns.text("id")?)?;
        let title = columns.optional_text("title")?;
        let categories = columns.text_lists("categories")?;
        let brand = columns.optional_text("brand")?;
        let price = columns.numbers::<Float64Type>("price")?;
        let original_price = columns.numbers::<Float64Type>("original_price")?;
        let cost = columns.numbers::<Float64Type>("cost")?;
        let currency = columns.optional_text("currency")?;
        let availability = columns.names("availability", parse_availability)?;
        let group_id = columns.optional_text("group_id")?;
        let tags = columns.text_lists("tags")?;
        let attributes = columns.text_maps("attributes")?;
        let number_attributes = columns.number_maps("number_attributes")?;
        let image_uri = columns.optional_text("image_uri")?;
        let embedding = columns.number_lists::<Float32Type>("embedding")?;
        let publish_time = columns.times("publish_time")?;
        let expire_time = columns.times("expire_time")?;
        let time = |millis: Option<i64>| millis.map(|millis| EventTime::clamped(millis).to_proto());
        let attribute = |value| v1::Attribute { value: Some(value) };
        let item = |row: usize| {
            let texts = attributes.get(row).map(|(name, text)| {
                (name.to_owned(), attribute(v1::attribute::Value::Text(text.to_owned())))
            });
            let numbers = number_attributes.iter().flat_map(|(lists, names, numbers)| {
                lists.range(row).map(|i| {
                    (names.value(i).to_owned(), attribute(v1::attribute::Value::Number(numbers.value(i))))
                })
            });
            let availability =
                availability.as_ref().and_then(|availability| availability[row]).unwrap_or_default();
            let item = v1::Item {
                id: id.value(row).to_owned(),
                title: title.owned(row),
                categories: categories.owned(row),
                brand: brand.owned(row),
                price: value(price.as_ref(), row),
                original_price: value(original_price.as_ref(), row),
                cost: value(cost.as_ref(), row),
                currency: currency.owned(row),
                availability: availability as i32,
                group_id: group_id.owned(row),
                tags: tags.owned(row),
                attributes: texts.chain(numbers).collect(),
                image_uri: image_uri.owned(row),
                embedding: embedding
                    .as_ref()
                    .map_or_else(Vec::new, |(lists, numbers)| numbers.values()[lists.range(row)].to_vec()),
                publish_time: time(value(publish_time.as_ref(), row)),
                expire_time: time(value(expire_time.as_ref(), row)),
            };
            Item::try_from(item).map_err(|error| columns.bad(row, error.field, error.rule))
        };
        (0..rows).map(item).collect()
    }

    /// Products are no shoppers.
    fn without(batch: Vec<Item>, _: &Erased) -> Result<Vec<Item>, ClickstreamError> {
        Ok(batch)
    }
}

fn parse_availability(name: &str) -> Result<Availability, String> {
    let plain = name.trim().to_ascii_lowercase().replace([' ', '-'], "_");
    let known = AVAILABILITIES.iter().find(|availability| availability.as_str() == plain);
    known
        .copied()
        .ok_or_else(|| format!("must be one of in_stock, out_of_stock, preorder, discontinued, is {name:?}"))
}
