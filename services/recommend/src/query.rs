//! A request, validated: the one way from `v1::RecommendRequest` into the pipeline.
//!
//! Every field of the message is looked at here. It acts, or it breaks a rule
//! ([`RecommendError::InvalidArgument`] names the field and the rule), or it does not act yet
//! ([`RecommendError::Unimplemented`] names the field): none is ignored.

use std::{collections::BTreeMap, time::Instant};

use endcap_proto::{Event, EventType, FieldError, ItemId, UserId, VisitorId, v1};

use crate::{FilterExpression, MAX_FILTER_VALUES, RecommendError};

/// The most entries that a list of ids may have.
pub const MAX_IDS: usize = 10_000;
/// The most `recent_events`.
pub const MAX_RECENT_EVENTS: usize = 1_000;
/// The most `labels`.
pub const MAX_LABELS: usize = 64;
/// The most bytes of `session_id`, `request_id`, and of a label's name and value.
pub const MAX_TEXT_BYTES: usize = 512;
/// What `page_size` 0 means.
pub const DEFAULT_PAGE_SIZE: usize = 20;
/// What a larger `page_size` is taken as.
pub const MAX_PAGE_SIZE: usize = 500;
/// The placement that an empty name means.
pub const DEFAULT_PLACEMENT: &str = "default";

/// What is asked, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Name of the placement; whether it exists is the configuration's to say.
    pub placement: String,
    /// Who asks.
    pub visitor: VisitorId,
    /// The account, when logged in.
    pub user: Option<UserId>,
    /// The client's session.
    pub session: Option<String>,
    /// What the shopper has before them.
    pub context: Context,
    /// Events for this answer only, in the order given.
    pub recent_events: Vec<Event>,
    /// How many products, 1 to [`MAX_PAGE_SIZE`].
    pub page_size: usize,
    /// Products that must not be there.
    pub exclude: Vec<ItemId>,
    /// Rank these only, when there are any; without repeats.
    pub candidates: Vec<ItemId>,
    /// What the products must be like.
    pub filter: Option<FilterExpression>,
    /// Whether the answer may be shorter than asked where too few products pass the filter. Otherwise products that
    /// do not pass come after those that do.
    pub strict_filtering: bool,
    /// Say why each product is there.
    pub explain: bool,
    /// Add the catalogue's entry of each product.
    pub return_item: bool,
    /// Check the request and answer an empty slate.
    pub validate_only: bool,
    /// The client's id of the request.
    pub request_id: Option<String>,
    /// The client's labels, for traces.
    pub labels: Vec<(String, String)>,
    /// When the answer is of no use any more. Not part of the message: the edge sets it.
    pub deadline: Option<Instant>,
    /// The request's W3C `traceparent`, as it came, which goes out with its impression. The edge sets it, too.
    pub traceparent: Option<String>,
}

/// What the shopper has before them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Context {
    /// What page this is.
    pub page: Option<EventType>,
    /// The products on it: they count as looked at now, and are not recommended.
    pub items: Vec<ItemId>,
    /// The products in the cart: they count as put there, and are not recommended.
    pub cart: Vec<ItemId>,
}

// === impl Query ===

impl Query {
    /// The plainest query: a page of the default placement for `visitor`.
    pub fn of(visitor: VisitorId) -> Self {
        Self {
            placement: DEFAULT_PLACEMENT.to_owned(),
            visitor,
            user: None,
            session: None,
            context: Context::default(),
            recent_events: Vec::new(),
            page_size: DEFAULT_PAGE_SIZE,
            exclude: Vec::new(),
            candidates: Vec::new(),
            filter: None,
            strict_filtering: true,
            explain: false,
            return_item: false,
            validate_only: false,
            request_id: None,
            labels: Vec::new(),
            deadline: None,
            traceparent: None,
        }
    }
}

impl TryFrom<v1::RecommendRequest> for Query {
    type Error = RecommendError;

    fn try_from(request: v1::RecommendRequest) -> Result<Self, RecommendError> {
        at_most("exclude_item_ids", request.exclude_item_ids.len(), MAX_IDS)?;
        at_most("candidate_ids", request.candidate_ids.len(), MAX_IDS)?;
        at_most("recent_events", request.recent_events.len(), MAX_RECENT_EVENTS)?;
        at_most("labels", request.labels.len(), MAX_LABELS)?;
        at_most("filter_values", request.filter_values.len(), MAX_FILTER_VALUES)?;
        refuse_what_does_not_act(&request)?;
        let visitor = VisitorId::new(request.visitor_id)?;
        let mut candidates = ids("candidate_ids", request.candidate_ids)?;
        let mut seen = std::collections::HashSet::with_capacity(candidates.len());
        candidates.retain(|id| seen.insert(id.key()));
        for (name, value) in &request.labels {
            text(&format!("labels[{name:?}]"), name)?;
            text(&format!("labels[{name:?}]"), value)?;
        }
        Ok(Self {
            placement: match request.placement.is_empty() {
                true => DEFAULT_PLACEMENT.to_owned(),
                false => request.placement,
            },
            user: given(request.user_id).map(UserId::new).transpose()?,
            session: given(request.session_id).map(|id| text("session_id", &id).map(|()| id)).transpose()?,
            context: request.context.map(Context::try_from).transpose()?.unwrap_or_default(),
            recent_events: recent_events(&visitor, request.recent_events)?,
            page_size: page_size(request.page_size)?,
            exclude: ids("exclude_item_ids", request.exclude_item_ids)?,
            candidates,
            filter: filter(&request.filter, &request.filter_values)?,
            strict_filtering: request.strict_filtering.unwrap_or(true),
            explain: request.explain,
            return_item: request.return_item,
            validate_only: request.validate_only,
            request_id: given(request.request_id)
                .map(|id| text("request_id", &id).map(|()| id))
                .transpose()?,
            labels: request.labels.into_iter().collect(),
            deadline: None,
            traceparent: None,
            visitor,
        })
    }
}

fn refuse_what_does_not_act(request: &v1::RecommendRequest) -> Result<(), RecommendError> {
    let diversity = v1::Diversity::try_from(request.diversity).map_err(|_| {
        FieldError::new("diversity", format!("must be a known diversity, is {}", request.diversity))
    })?;
    let context = request.context.as_ref();
    let set = [
        ("page_token", !request.page_token.is_empty()),
        ("promotions", !request.promotions.is_empty()),
        ("diversity", !matches!(diversity, v1::Diversity::Unspecified | v1::Diversity::None)),
        ("experiment_ids", !request.experiment_ids.is_empty()),
        ("context.page_categories", context.is_some_and(|context| !context.page_categories.is_empty())),
        ("context.search_query", context.is_some_and(|context| !context.search_query.is_empty())),
    ];
    match set.into_iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => Err(RecommendError::Unimplemented { field }),
        None => Ok(()),
    }
}

/// The events of a request. Where an event names no visitor it is the request's; it cannot be another.
fn recent_events(visitor: &VisitorId, events: Vec<v1::Event>) -> Result<Vec<Event>, RecommendError> {
    let event = |(i, mut event): (usize, v1::Event)| {
        if event.visitor_id.is_empty() {
            event.visitor_id = visitor.as_str().to_owned();
        } else if event.visitor_id != visitor.as_str() {
            return Err(FieldError::new("visitor_id", "must be the request's, or empty"))
                .map_err(|error| error.within(format_args!("recent_events[{i}]")));
        }
        Event::try_from(event).map_err(|error| error.within(format_args!("recent_events[{i}]")))
    };
    Ok(events.into_iter().enumerate().map(event).collect::<Result<_, _>>()?)
}

fn filter(text: &str, values: &BTreeMap<String, String>) -> Result<Option<FilterExpression>, FieldError> {
    if let Some(name) =
        values.keys().find(|name| name.len() > MAX_TEXT_BYTES || values[*name].len() > MAX_TEXT_BYTES)
    {
        let name: String = name.chars().take(40).collect();
        let rule = format!("name and value must be at most {MAX_TEXT_BYTES} bytes");
        return Err(FieldError::new(format!("filter_values[{name:?}]"), rule));
    }
    Ok(FilterExpression::parse(text, values)?)
}

fn page_size(asked: i32) -> Result<usize, FieldError> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT_PAGE_SIZE),
        Ok(size) => Ok(size.min(MAX_PAGE_SIZE)),
        Err(_) => Err(FieldError::new("page_size", format!("must not be negative, is {asked}"))),
    }
}

fn ids(field: &str, ids: Vec<String>) -> Result<Vec<ItemId>, FieldError> {
    let id = |(i, id)| ItemId::new(id).map_err(|error| FieldError::new(format!("{field}[{i}]"), error.rule));
    ids.into_iter().enumerate().map(id).collect()
}

fn at_most(field: &'static str, length: usize, limit: usize) -> Result<(), RecommendError> {
    match length <= limit {
        true => Ok(()),
        false => Err(RecommendError::TooLarge { field, length, limit }),
    }
}

fn text(field: &str, text: &str) -> Result<(), FieldError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(FieldError::new(
            field,
            format!("must be at most {MAX_TEXT_BYTES} bytes, is {}", text.len()),
        ));
    }
    match text.chars().any(char::is_control) {
        true => Err(FieldError::new(field, "must not hold control characters")),
        false => Ok(()),
    }
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

// === impl Context ===

impl TryFrom<v1::Context> for Context {
    type Error = RecommendError;

    fn try_from(context: v1::Context) -> Result<Self, RecommendError> {
        at_most("context.item_ids", context.item_ids.len(), MAX_IDS)?;
        at_most("context.cart_item_ids", context.cart_item_ids.len(), MAX_IDS)?;
        let page = match context.r#type {
            0 => None,
            number => Some(u8::try_from(number).ok().and_then(EventType::from_number).ok_or_else(|| {
                FieldError::new("context.type", format!("must be a known event type, is {number}"))
            })?),
        };
        Ok(Self {
            page,
            items: ids("context.item_ids", context.item_ids)?,
            cart: ids("context.cart_item_ids", context.cart_item_ids)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> v1::RecommendRequest {
        v1::RecommendRequest { visitor_id: "anna".into(), ..Default::default() }
    }

    fn check(edit: impl FnOnce(&mut v1::RecommendRequest)) -> Result<Query, RecommendError> {
        let mut request = request();
        edit(&mut request);
        Query::try_from(request)
    }

    fn message(edit: impl FnOnce(&mut v1::RecommendRequest)) -> String {
        check(edit).unwrap_err().to_string()
    }

    #[test]
    fn page_size_0_is_the_default_and_more_than_500_is_500() {
        let size = |asked| check(|request| request.page_size = asked).map(|query| query.page_size);
        assert_eq!(size(0), Ok(20));
        assert_eq!(size(1), Ok(1));
        assert_eq!(size(501), Ok(500));
        assert_eq!(size(i32::MAX), Ok(500));
        assert_eq!(size(-1).unwrap_err().to_string(), "page_size: must not be negative, is -1");
    }

    #[test]
    fn errors_name_the_path_of_the_field() {
        assert_eq!(message(|r| r.visitor_id.clear()), "visitor_id: must not be empty");
        assert_eq!(
            message(|r| r.exclude_item_ids = vec!["a".into(), String::new()]),
            "exclude_item_ids[1]: must not be empty"
        );
        assert_eq!(
            message(|r| r.context = Some(v1::Context { r#type: 99, ..Default::default() })),
            "context.type: must be a known event type, is 99"
        );
        let view = v1::Event {
            event_id: "e".into(),
            r#type: 3,
            event_time: Some(Default::default()),
            ..Default::default()
        };
        assert_eq!(
            message(|r| r.recent_events = vec![view.clone()]),
            "recent_events[0].items: must not be empty for view"
        );
        let item = v1::EventItem::default();
        let nameless = v1::Event { items: vec![item], ..view.clone() };
        assert_eq!(
            message(|r| r.recent_events = vec![nameless]),
            "recent_events[0].items[0].item_id: must not be empty"
        );
        let foreign = v1::Event { visitor_id: "bert".into(), ..view };
        assert_eq!(
            message(|r| r.recent_events = vec![foreign]),
            "recent_events[0].visitor_id: must be the request's, or empty"
        );
    }

    #[test]
    fn lists_past_their_limit_are_too_large_before_any_id_is_looked_at() {
        let error = check(|request| request.candidate_ids = vec![String::new(); 1_000_000]).unwrap_err();
        assert_eq!(
            error,
            RecommendError::TooLarge { field: "candidate_ids", length: 1_000_000, limit: MAX_IDS }
        );
        assert!(check(|request| request.candidate_ids = vec!["a".into(); MAX_IDS]).is_ok());
    }

    #[test]
    fn every_field_that_does_not_act_yet_names_itself() {
        let field = |edit: fn(&mut v1::RecommendRequest)| match check(edit).unwrap_err() {
            RecommendError::Unimplemented { field } => field,
            other => panic!("{other}"),
        };
        assert_eq!(field(|r| r.page_token = "t".into()), "page_token");
        assert_eq!(field(|r| r.promotions.push(Default::default())), "promotions");
        assert_eq!(field(|r| r.diversity = v1::Diversity::High as i32), "diversity");
        assert_eq!(field(|r| r.experiment_ids.push("e".into())), "experiment_ids");
        assert_eq!(
            field(|r| r.context = Some(v1::Context { search_query: "boot".into(), ..Default::default() })),
            "context.search_query"
        );
        assert!(check(|r| r.diversity = v1::Diversity::None as i32).is_ok());
        assert!(message(|r| r.diversity = 17).starts_with("diversity: must be a known"));
    }

    #[test]
    fn candidates_are_named_once() {
        let query = check(|r| r.candidate_ids = ["a", "b", "a"].map(Into::into).to_vec()).unwrap();
        assert_eq!(query.candidates.iter().map(ItemId::as_str).collect::<Vec<_>>(), ["a", "b"]);
    }
}
