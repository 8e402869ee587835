//! Events: what a shopper did, validated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EventId, EventTime, FieldError, ItemId, UserId, VisitorId, v1};

/// What a shopper did. See `docs/api.md` for each field.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The client's id; repeats are dropped.
    pub event_id: EventId,
    /// What happened.
    pub event_type: EventType,
    /// When, by the client's clock.
    pub time: EventTime,
    /// Whose browser or device.
    pub visitor_id: VisitorId,
    /// Whose account, when logged in.
    pub user_id: Option<UserId>,
    /// The client's session; else a gap of 30 minutes starts one.
    pub session_id: Option<String>,
    /// The products concerned.
    pub items: Vec<EventItem>,
    /// For purchases and refunds.
    pub transaction: Option<Transaction>,
    /// For searches.
    pub search_query: Option<String>,
    /// Category paths of the page.
    pub page_categories: Vec<String>,
    /// Where on the site.
    pub placement: Option<String>,
    /// Joins the event to the slate that led to it.
    pub attribution_token: Option<String>,
    /// Experiments the shopper was in.
    pub experiment_ids: Vec<String>,
    /// Anything else.
    pub attributes: BTreeMap<String, String>,
    /// The shopper agreed to be remembered.
    pub consent: bool,
}

/// A product within an event.
#[derive(Debug, Clone, PartialEq)]
pub struct EventItem {
    /// Which product.
    pub item_id: ItemId,
    /// How many.
    pub quantity: u32,
    /// Price of one, in the transaction's currency.
    pub unit_price: Option<f64>,
    /// Place on the slate, from 0.
    pub position: Option<u32>,
}

/// What was paid.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transaction {
    /// The shop's order number.
    pub id: String,
    /// What the shopper paid.
    pub revenue: Option<f64>,
    /// Tax within it.
    pub tax: Option<f64>,
    /// What it cost the shop.
    pub cost: Option<f64>,
    /// ISO 4217.
    pub currency: String,
}

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $proto:ident, [$($alias:literal),*];)*) => {
        /// The kinds of event. Numbers are those of the wire and of state, and never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum EventType {
            $($(#[$doc])* $variant = $number,)*
        }

        impl EventType {
            /// Every kind, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The contract's own name: `add_to_cart`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The kind with this number.
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            fn from_proto(value: v1::EventType) -> Option<Self> {
                match value {
                    v1::EventType::Unspecified => None,
                    $(v1::EventType::$proto => Some(Self::$variant),)*
                }
            }

            fn to_proto(self) -> v1::EventType {
                match self { $(Self::$variant => v1::EventType::$proto,)* }
            }
        }

        impl std::str::FromStr for EventType {
            type Err = UnknownEventType;

            /// Takes the contract's names and those of Google Retail, GA4 and Segment, in any case.
            fn from_str(name: &str) -> Result<Self, UnknownEventType> {
                match name.trim().to_ascii_lowercase().as_str() {
                    $($name $(| $alias)* => Ok(Self::$variant),)*
                    _ => Err(UnknownEventType(name.to_owned())),
                }
            }
        }
    };
}

event_types! {
    /// A slate was seen.
    Impression = 1, "impression", Impression, ["view_item_list", "product list viewed"];
    /// A product of a slate was clicked.
    Click = 2, "click", Click, ["select_item", "product clicked"];
    /// A product's page was opened.
    View = 3, "view", View, ["view_item", "detail-page-view", "product viewed"];
    /// Put into the cart.
    AddToCart = 4, "add_to_cart", AddToCart, ["add-to-cart", "product added", "addtocart", "cart"];
    /// Taken out of the cart.
    RemoveFromCart = 5, "remove_from_cart", RemoveFromCart, ["remove-from-cart", "product removed"];
    /// Kept for later.
    AddToWishlist = 6, "add_to_wishlist", AddToWishlist, ["product added to wishlist"];
    /// The cart was opened.
    CartView = 7, "cart_view", CartView, ["shopping-cart-page-view", "view_cart", "cart viewed"];
    /// Checkout began.
    Checkout = 8, "checkout", Checkout, ["begin_checkout", "checkout started"];
    /// Bought.
    Purchase = 9, "purchase", Purchase, ["purchase-complete", "order completed", "transaction"];
    /// Given back.
    Refund = 10, "refund", Refund, ["order refunded"];
    /// Searched.
    Search = 11, "search", Search, ["products searched"];
    /// The home page was opened.
    HomeView = 12, "home_view", HomeView, ["home-page-view"];
    /// A category's page was opened.
    CategoryView = 13, "category_view", CategoryView, ["category-page-view", "page_view", "page"];
    /// Not interested.
    Dismiss = 14, "dismiss", Dismiss, [];
    /// Rated; the value is the attribute `rating`.
    Rate = 15, "rate", Rate, [];
    /// Links visitor and user.
    Login = 16, "login", Login, [];
}

/// A name that is no event type's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown event type {0:?}")]
pub struct UnknownEventType(pub String);

impl EventType {
    /// Whether the event must name at least one product.
    pub fn needs_items(self) -> bool {
        use EventType::*;
        matches!(
            self,
            Impression
                | Click
                | View
                | AddToCart
                | RemoveFromCart
                | AddToWishlist
                | Purchase
                | Refund
                | Dismiss
                | Rate
        )
    }

    /// Whether the event says that the shopper wants its products: these make up histories and
    /// training targets.
    pub fn is_interest(self) -> bool {
        use EventType::*;
        matches!(self, Click | View | AddToCart | AddToWishlist | Purchase | Rate)
    }
}

impl std::fmt::Display for EventType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Event ===

impl TryFrom<v1::Event> for Event {
    type Error = FieldError;

    fn try_from(event: v1::Event) -> Result<Self, FieldError> {
        let event_type =
            v1::EventType::try_from(event.r#type).ok().and_then(EventType::from_proto).ok_or_else(|| {
                FieldError::new("type", format!("must be a known event type, is {}", event.r#type))
            })?;
        let time = event.event_time.as_ref().ok_or_else(|| FieldError::new("event_time", "must be set"))?;
        if event_type.needs_items() && event.items.is_empty() {
            return Err(FieldError::new("items", format!("must not be empty for {event_type}")));
        }
        let items = event.items.into_iter().enumerate().map(|(i, item)| {
            EventItem::try_from(item).map_err(|error| error.within(format_args!("items[{i}]")))
        });
        Ok(Self {
            event_id: EventId::new(event.event_id)?,
            event_type,
            time: EventTime::from_proto("event_time", time)?,
            visitor_id: VisitorId::new(event.visitor_id)?,
            user_id: optional(event.user_id).map(UserId::new).transpose()?,
            session_id: optional(event.session_id),
            items: items.collect::<Result<_, _>>()?,
            transaction: event.transaction.map(Transaction::try_from).transpose()?,
            search_query: optional(event.search_query),
            page_categories: event.page_categories,
            placement: optional(event.placement),
            attribution_token: optional(event.attribution_token),
            experiment_ids: event.experiment_ids,
            attributes: event.attributes,
            consent: event.consent,
        })
    }
}

impl From<Event> for v1::Event {
    fn from(event: Event) -> Self {
        Self {
            event_id: event.event_id.as_str().to_owned(),
            r#type: event.event_type.to_proto().into(),
            event_time: Some(event.time.to_proto()),
            visitor_id: event.visitor_id.as_str().to_owned(),
            user_id: event.user_id.map(|id| id.as_str().to_owned()).unwrap_or_default(),
            session_id: event.session_id.unwrap_or_default(),
            items: event.items.into_iter().map(Into::into).collect(),
            transaction: event.transaction.map(Into::into),
            search_query: event.search_query.unwrap_or_default(),
            page_categories: event.page_categories,
            placement: event.placement.unwrap_or_default(),
            attribution_token: event.attribution_token.unwrap_or_default(),
            experiment_ids: event.experiment_ids,
            attributes: event.attributes,
            consent: event.consent,
        }
    }
}

impl TryFrom<v1::EventItem> for EventItem {
    type Error = FieldError;

    fn try_from(item: v1::EventItem) -> Result<Self, FieldError> {
        Ok(Self {
            item_id: ItemId::new(item.item_id)?,
            quantity: item.quantity.unwrap_or(1),
            unit_price: amount("unit_price", item.unit_price)?,
            position: item.position,
        })
    }
}

impl From<EventItem> for v1::EventItem {
    fn from(item: EventItem) -> Self {
        Self {
            item_id: item.item_id.as_str().to_owned(),
            quantity: Some(item.quantity),
            unit_price: item.unit_price,
            position: item.position,
        }
    }
}

impl TryFrom<v1::Transaction> for Transaction {
    type Error = FieldError;

    fn try_from(transaction: v1::Transaction) -> Result<Self, FieldError> {
        let amount = |field, value| amount(field, value).map_err(|error| error.within("transaction"));
        Ok(Self {
            id: transaction.id,
            revenue: amount("revenue", transaction.revenue)?,
            tax: amount("tax", transaction.tax)?,
            cost: amount("cost", transaction.cost)?,
            currency: transaction.currency,
        })
    }
}

impl From<Transaction> for v1::Transaction {
    fn from(transaction: Transaction) -> Self {
        let Transaction { id, revenue, tax, cost, currency } = transaction;
        Self { id, revenue, tax, cost, currency }
    }
}

pub(crate) fn optional(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(crate) fn amount(field: &str, value: Option<f64>) -> Result<Option<f64>, FieldError> {
    match value {
        Some(value) if !value.is_finite() => {
            Err(FieldError::new(field, format!("must be finite, is {value}")))
        }
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> v1::Event {
        v1::Event {
            event_id: "e1".into(),
            r#type: v1::EventType::View.into(),
            event_time: Some(EventTime::clamped(1_700_000_000_123).to_proto()),
            visitor_id: "v1".into(),
            items: vec![v1::EventItem { item_id: "shoe".into(), ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn an_event_survives_the_round_trip() {
        let event = Event::try_from(view()).unwrap();
        assert_eq!(Event::try_from(v1::Event::from(event.clone())), Ok(event));
    }

    #[test]
    fn errors_name_the_field() {
        let message = |edit: fn(&mut v1::Event)| {
            let mut event = view();
            edit(&mut event);
            Event::try_from(event).unwrap_err().to_string()
        };
        assert_eq!(message(|e| e.event_id.clear()), "event_id: must not be empty");
        assert_eq!(message(|e| e.r#type = 99), "type: must be a known event type, is 99");
        assert_eq!(message(|e| e.event_time = None), "event_time: must be set");
        assert_eq!(message(|e| e.items.clear()), "items: must not be empty for view");
        assert_eq!(message(|e| e.items[0].item_id.clear()), "items[0].item_id: must not be empty");
        assert_eq!(
            message(|e| e.items[0].unit_price = Some(f64::NAN)),
            "items[0].unit_price: must be finite, is NaN"
        );
    }

    #[test]
    fn numbers_names_and_proto_agree() {
        for &kind in EventType::ALL {
            assert_eq!(EventType::from_number(kind as u8), Some(kind));
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(kind.to_proto() as i32, kind as i32);
            assert_eq!(EventType::from_proto(kind.to_proto()), Some(kind));
        }
        assert_eq!("Product Added to Wishlist".parse(), Ok(EventType::AddToWishlist));
        assert!("bought".parse::<EventType>().is_err());
    }

    #[test]
    fn json_is_proto3_json() {
        let json = serde_json::to_value(view()).unwrap();
        assert_eq!(json["type"], "EVENT_TYPE_VIEW");
        assert_eq!(json["eventTime"], "2023-11-14T22:13:20.123+00:00");
        assert_eq!(serde_json::from_value::<v1::Event>(json).unwrap(), view());
    }
}
