//! Items: the products of the catalogue, validated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    EventTime, FieldError, ItemId,
    event::{amount, optional},
    v1,
};

/// A product. See `docs/api.md` for each field.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The shop's id.
    pub id: ItemId,
    /// Its name on the page.
    pub title: Option<String>,
    /// Category paths, broadest first: `Shoes > Boots`.
    pub categories: Vec<String>,
    /// Who makes it.
    pub brand: Option<String>,
    /// What it costs now.
    pub price: Option<f64>,
    /// What it cost before the discount.
    pub original_price: Option<f64>,
    /// What it costs the shop.
    pub cost: Option<f64>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// Whether it can be sold.
    pub availability: Availability,
    /// Variants of one product share it.
    pub group_id: Option<String>,
    /// Free words.
    pub tags: Vec<String>,
    /// Anything else.
    pub attributes: BTreeMap<String, Attribute>,
    /// Its picture.
    pub image_uri: Option<String>,
    /// The shop's own vector; empty when there is none.
    pub embedding: Vec<f32>,
    /// Not recommended before.
    pub publish_time: Option<EventTime>,
    /// Not recommended from then on.
    pub expire_time: Option<EventTime>,
}

/// Text or number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// Text.
    Text(String),
    /// A finite number.
    Number(f64),
}

/// Whether a product can be sold. Numbers are those of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Availability {
    /// Can be sold.
    #[default]
    InStock = 1,
    /// Cannot be sold now.
    OutOfStock = 2,
    /// Can be ordered ahead.
    Preorder = 3,
    /// Never to be sold again.
    Discontinued = 4,
}

// === impl Item ===

impl Item {
    /// An item of which only the id is known.
    pub fn bare(id: ItemId) -> Self {
        Self {
            id,
            title: None,
            categories: Vec::new(),
            brand: None,
            price: None,
            original_price: None,
            cost: None,
            currency: None,
            availability: Availability::default(),
            group_id: None,
            tags: Vec::new(),
            attributes: BTreeMap::new(),
            image_uri: None,
            embedding: Vec::new(),
            publish_time: None,
            expire_time: None,
        }
    }

    /// Whether it may be shown at `now`: neither out of stock nor discontinued, published and not
    /// expired.
    pub fn is_recommendable(&self, now: EventTime) -> bool {
        matches!(self.availability, Availability::InStock | Availability::Preorder)
            && self.publish_time.is_none_or(|time| time <= now)
            && self.expire_time.is_none_or(|time| now < time)
    }
}

impl TryFrom<v1::Item> for Item {
    type Error = FieldError;

    fn try_from(item: v1::Item) -> Result<Self, FieldError> {
        if let Some(i) = item.embedding.iter().position(|x| !x.is_finite()) {
            return Err(FieldError::new(
                format!("embedding[{i}]"),
                format!("must be finite, is {}", item.embedding[i]),
            ));
        }
        let attributes = item
            .attributes
            .into_iter()
            .map(|(name, attribute)| {
                let value = match attribute.value {
                    Some(v1::attribute::Value::Text(text)) => Attribute::Text(text),
                    Some(v1::attribute::Value::Number(number)) if number.is_finite() => {
                        Attribute::Number(number)
                    }
                    Some(v1::attribute::Value::Number(number)) => {
                        let rule = format!("must be finite, is {number}");
                        return Err(FieldError::new(format!("attributes[{name:?}]"), rule));
                    }
                    None => {
                        return Err(FieldError::new(
                            format!("attributes[{name:?}]"),
                            "must be text or number",
                        ));
                    }
                };
                Ok((name, value))
            })
            .collect::<Result<_, _>>()?;
        let time = |field, time: Option<pbjson_types::Timestamp>| {
            time.map(|time| EventTime::from_proto(field, &time)).transpose()
        };
        Ok(Self {
            id: ItemId::new(item.id).map_err(|error| FieldError::new("id", error.rule))?,
            title: optional(item.title),
            categories: item.categories,
            brand: optional(item.brand),
            price: price("price", item.price)?,
            original_price: price("original_price", item.original_price)?,
            cost: price("cost", item.cost)?,
            currency: optional(item.currency),
            availability: match v1::Availability::try_from(item.availability) {
                Ok(v1::Availability::Unspecified | v1::Availability::InStock) => Availability::InStock,
                Ok(v1::Availability::OutOfStock) => Availability::OutOfStock,
                Ok(v1::Availability::Preorder) => Availability::Preorder,
                Ok(v1::Availability::Discontinued) => Availability::Discontinued,
                Err(_) => {
                    let rule = format!("must be a known availability, is {}", item.availability);
                    return Err(FieldError::new("availability", rule));
                }
            },
            group_id: optional(item.group_id),
            tags: item.tags,
            attributes,
            image_uri: optional(item.image_uri),
            embedding: item.embedding,
            publish_time: time("publish_time", item.publish_time)?,
            expire_time: time("expire_time", item.expire_time)?,
        })
    }
}

impl From<Item> for v1::Item {
    fn from(item: Item) -> Self {
        Self {
            id: item.id.as_str().to_owned(),
            title: item.title.unwrap_or_default(),
            categories: item.categories,
            brand: item.brand.unwrap_or_default(),
            price: item.price,
            original_price: item.original_price,
            cost: item.cost,
            currency: item.currency.unwrap_or_default(),
            availability: item.availability as i32,
            group_id: item.group_id.unwrap_or_default(),
            tags: item.tags,
            attributes: item
                .attributes
                .into_iter()
                .map(|(name, attribute)| {
                    let value = match attribute {
                        Attribute::Text(text) => v1::attribute::Value::Text(text),
                        Attribute::Number(number) => v1::attribute::Value::Number(number),
                    };
                    (name, v1::Attribute { value: Some(value) })
                })
                .collect(),
            image_uri: item.image_uri.unwrap_or_default(),
            embedding: item.embedding,
            publish_time: item.publish_time.map(EventTime::to_proto),
            expire_time: item.expire_time.map(EventTime::to_proto),
        }
    }
}

impl Availability {
    /// The contract's own name: `in_stock`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InStock => "in_stock",
            Self::OutOfStock => "out_of_stock",
            Self::Preorder => "preorder",
            Self::Discontinued => "discontinued",
        }
    }

    /// The availability with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::InStock, Self::OutOfStock, Self::Preorder, Self::Discontinued]
            .into_iter()
            .find(|&availability| availability as u8 == number)
    }
}

fn price(field: &str, value: Option<f64>) -> Result<Option<f64>, FieldError> {
    match amount(field, value)? {
        Some(value) if value < 0.0 => {
            Err(FieldError::new(field, format!("must not be negative, is {value}")))
        }
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_survives_the_round_trip() {
        let mut item = Item::bare(ItemId::new("shoe").unwrap());
        item.price = Some(49.9);
        item.availability = Availability::Preorder;
        item.attributes.insert("size".into(), Attribute::Number(42.0));
        item.expire_time = EventTime::from_millis(1_700_000_000_000);
        assert_eq!(Item::try_from(v1::Item::from(item.clone())), Ok(item));
    }

    #[test]
    fn errors_name_the_field() {
        let message = |edit: fn(&mut v1::Item)| {
            let mut item = v1::Item { id: "shoe".into(), ..Default::default() };
            edit(&mut item);
            Item::try_from(item).unwrap_err().to_string()
        };
        assert_eq!(message(|i| i.id.clear()), "id: must not be empty");
        assert_eq!(message(|i| i.price = Some(-1.0)), "price: must not be negative, is -1");
        assert_eq!(message(|i| i.embedding = vec![0.0, f32::NAN]), "embedding[1]: must be finite, is NaN");
        assert_eq!(message(|i| i.availability = 9), "availability: must be a known availability, is 9");
    }

    #[test]
    fn only_what_can_be_sold_now_is_recommendable() {
        let now = EventTime::clamped(1000);
        let mut item = Item::bare(ItemId::new("shoe").unwrap());
        assert!(item.is_recommendable(now));
        item.expire_time = Some(now);
        assert!(!item.is_recommendable(now));
        item.expire_time = None;
        item.publish_time = Some(now.plus_millis(1));
        assert!(!item.is_recommendable(now));
        item.publish_time = None;
        item.availability = Availability::OutOfStock;
        assert!(!item.is_recommendable(now));
    }
}
