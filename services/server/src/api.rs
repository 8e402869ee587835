//! The methods of the contract, whatever protocol asks: one place for their rules.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Instant};

use endcap_proto::{
    Event, EventTime, FieldError, Item, ItemId, ItemKey, UserId, VisitorId,
    v1::{self, purge_events_request},
};
use endcap_recommend::{FilterExpression, ItemChange, MAX_IDS, Position, Query, Recommender};

use crate::{
    AdminError, ApiError, BundleAdmin, Code, EraseError, Eraser, EventWriter, ItemWriter, ShopperId,
    StreamStatus, limits::Limits, metrics::Metrics,
};

/// What the methods work on. Parts that are absent answer for themselves: UNAVAILABLE, and why.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) recommender: Arc<Recommender>,
    pub(crate) events: Option<Arc<dyn EventWriter>>,
    pub(crate) items: Option<Arc<dyn ItemWriter>>,
    pub(crate) eraser: Option<Arc<dyn Eraser>>,
    pub(crate) bundles: Option<Arc<dyn BundleAdmin>>,
    pub(crate) stream: Option<Arc<dyn StreamStatus>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) started: EventTime,
    pub(crate) message_bytes: usize,
}

type Answer<T> = Result<T, ApiError>;

/// Items on a page of a list when none are asked for, and the most.
const PAGE: (usize, usize) = (100, 1_000);

impl Api {
    pub(crate) async fn recommend(
        &self,
        request: v1::RecommendRequest,
        deadline: Option<Instant>,
        traceparent: Option<String>,
    ) -> Answer<v1::RecommendResponse> {
        let query = Query { deadline, traceparent, ..Query::try_from(request)? };
        if !query.labels.is_empty() {
            tracing::debug!(labels = ?query.labels, request_id = ?query.request_id, "recommend");
        }
        let slate = self.recommender.recommend(&query).await?;
        self.metrics.slate(&slate);
        Ok(slate.into())
    }

    pub(crate) async fn write_events(
        &self,
        request: v1::WriteEventsRequest,
        traceparent: Option<String>,
    ) -> Answer<v1::WriteEventsResponse> {
        at_most("events", request.events.len())?;
        let event = |(i, event): (usize, v1::Event)| {
            Event::try_from(event).map_err(|error| error.within(format_args!("events[{i}]")))
        };
        let events: Vec<Event> =
            request.events.into_iter().enumerate().map(event).collect::<Result<_, _>>()?;
        let written = events.len();
        let writer = self.events.as_ref().ok_or_else(|| absent("broker", "events cannot be written"))?;
        if written > 0 {
            writer.write(events, traceparent).await?;
        }
        self.metrics.events_written(written);
        Ok(v1::WriteEventsResponse { written: written as u32 })
    }

    pub(crate) async fn purge_events(
        &self,
        request: v1::PurgeEventsRequest,
        deadline: Option<Instant>,
    ) -> Answer<v1::PurgeEventsResponse> {
        let shopper = match request.shopper {
            Some(purge_events_request::Shopper::VisitorId(id)) => ShopperId::Visitor(VisitorId::new(id)?),
            Some(purge_events_request::Shopper::UserId(id)) => ShopperId::User(UserId::new(id)?),
            None => return Err(FieldError::new("shopper", "must be set: visitor_id or user_id").into()),
        };
        let eraser = self.eraser.as_ref().ok_or_else(|| absent("broker", "nobody can be forgotten"))?;
        Ok(v1::PurgeEventsResponse { receipt: eraser.erase(shopper, deadline).await? })
    }

    pub(crate) async fn upsert_items(
        &self,
        request: v1::UpsertItemsRequest,
    ) -> Answer<v1::UpsertItemsResponse> {
        at_most("items", request.items.len())?;
        let item = |(i, item): (usize, v1::Item)| {
            let item = Item::try_from(item).and_then(|item| self.recommender.check(&item).map(|()| item));
            item.map_err(|error: FieldError| error.within(format_args!("items[{i}]")))
        };
        let items: Vec<Item> = request.items.into_iter().enumerate().map(item).collect::<Result<_, _>>()?;
        let upserted = items.len() as u32;
        let positions = match &self.items {
            Some(writer) if upserted > 0 => {
                writer.upsert(items.clone()).await?.into_iter().map(Some).collect()
            }
            _ => vec![None; items.len()],
        };
        let changes =
            items.into_iter().zip(positions).map(|(item, position)| ItemChange::upsert(item, position));
        self.change(changes.collect()).await?;
        Ok(v1::UpsertItemsResponse { upserted })
    }

    pub(crate) async fn delete_items(
        &self,
        request: v1::DeleteItemsRequest,
    ) -> Answer<v1::DeleteItemsResponse> {
        at_most("item_ids", request.item_ids.len())?;
        let id =
            |(i, id)| ItemId::new(id).map_err(|error| FieldError::new(format!("item_ids[{i}]"), error.rule));
        let ids: Vec<ItemId> = request.item_ids.into_iter().enumerate().map(id).collect::<Result<_, _>>()?;
        let known = |id: &&ItemId| self.recommender.item(id).is_some();
        let deleted =
            ids.iter().filter(known).map(ItemId::key).collect::<std::collections::HashSet<_>>().len();
        let positions: Vec<Option<Position>> = match &self.items {
            Some(writer) if !ids.is_empty() => {
                writer.delete(ids.clone()).await?.into_iter().map(Some).collect()
            }
            _ => vec![None; ids.len()],
        };
        let changes = ids.iter().zip(positions).map(|(id, position)| ItemChange::delete(id, position));
        self.change(changes.collect()).await?;
        Ok(v1::DeleteItemsResponse { deleted: deleted as u32 })
    }

    /// Lets changes act here and now, without waiting for the topic to bring them back. The item tower is run on a
    /// thread that may be kept busy.
    async fn change(&self, changes: Vec<ItemChange>) -> Answer<()> {
        let count = changes.len();
        let recommender = Arc::clone(&self.recommender);
        let changed = tokio::task::spawn_blocking(move || recommender.apply(changes)).await;
        changed.map_err(ApiError::defect)??;
        self.metrics.items_changed(count);
        Ok(())
    }

    pub(crate) fn get_item(&self, request: v1::GetItemRequest) -> Answer<v1::Item> {
        let id = ItemId::new(request.item_id)?;
        let item = self.recommender.item(&id);
        item.map(Into::into)
            .ok_or_else(|| ApiError::new(Code::NotFound, format!("the catalogue has no item {id:?}")))
    }

    pub(crate) fn list_items(&self, request: v1::ListItemsRequest) -> Answer<v1::ListItemsResponse> {
        let filter = FilterExpression::parse(&request.filter, &BTreeMap::new()).map_err(FieldError::from)?;
        let size = match usize::try_from(request.page_size) {
            Ok(0) => PAGE.0,
            Ok(size) => size.min(PAGE.1),
            Err(_) => {
                let rule = format!("must not be negative, is {}", request.page_size);
                return Err(FieldError::new("page_size", rule).into());
            }
        };
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(PageToken::read(token, filter.as_ref())?),
        };
        let mut items = self.recommender.list(filter.as_ref(), after, size + 1);
        let more = items.len() > size;
        items.truncate(size);
        let next = items.last().filter(|_| more);
        let next = next.map(|item| PageToken::of(item.id.key(), filter.as_ref()).to_string());
        Ok(v1::ListItemsResponse {
            items: items.into_iter().map(Into::into).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    pub(crate) async fn list_bundles(&self) -> Answer<v1::ListBundlesResponse> {
        Ok(v1::ListBundlesResponse { bundles: self.bundles()?.list().await? })
    }

    pub(crate) async fn activate_bundle(
        &self,
        request: v1::ActivateBundleRequest,
    ) -> Answer<v1::ActivateBundleResponse> {
        if request.version.is_empty() {
            return Err(FieldError::new("version", "must not be empty").into());
        }
        Ok(v1::ActivateBundleResponse { bundle: Some(self.bundles()?.activate(&request.version).await?) })
    }

    pub(crate) async fn rollback_bundle(&self) -> Answer<v1::RollbackBundleResponse> {
        Ok(v1::RollbackBundleResponse { bundle: Some(self.bundles()?.rollback().await?) })
    }

    pub(crate) fn status(&self) -> v1::Status {
        let status = self.recommender.status();
        let stream = self.stream.as_ref().map(|stream| stream.report()).unwrap_or_default();
        v1::Status {
            bundle_version: status.bundle_version,
            items: status.items as u64,
            live_items: status.live_items as u64,
            visitors: stream.visitors,
            lag: stream.lag,
            degraded: stream.degraded,
            start_time: Some(self.started.to_proto()),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn bundles(&self) -> Answer<&dyn BundleAdmin> {
        self.bundles
            .as_deref()
            .ok_or_else(|| absent("folder of bundles", "bundles cannot be listed or changed"))
    }
}

fn absent(part: &str, so: &str) -> ApiError {
    ApiError::new(Code::Unavailable, format!("this service runs without a {part}: {so}"))
}

fn at_most(field: &'static str, length: usize) -> Answer<()> {
    match length <= MAX_IDS {
        true => Ok(()),
        false => {
            let message = format!("{field} holds {length} entries, the most is {MAX_IDS}");
            Err(ApiError::about(
                Code::ResourceExhausted,
                message,
                field,
                format!("must hold at most {MAX_IDS} entries"),
            ))
        }
    }
}

/// Where a list goes on, and of which filter it is.
struct PageToken {
    after: ItemKey,
    filter: Option<u64>,
}

impl PageToken {
    fn of(after: ItemKey, filter: Option<&FilterExpression>) -> Self {
        Self { after, filter: filter.map(FilterExpression::fingerprint) }
    }

    /// Where a list of `filter` goes on.
    fn read(token: &str, filter: Option<&FilterExpression>) -> Result<ItemKey, FieldError> {
        let number = |digits: &str| {
            let digits = Some(digits).filter(|digits| digits.len() == 16 && !digits.starts_with('+'))?;
            u64::from_str_radix(digits, 16).ok()
        };
        let parse = || {
            let (key, of) = match token.strip_prefix('k')?.split_once('-') {
                Some((key, of)) => (key, Some(number(of)?)),
                None => (token.strip_prefix('k')?, None),
            };
            Some(Self { after: ItemKey(number(key)?), filter: of })
        };
        let wrong = |rule| FieldError::new("page_token", rule);
        let token = parse().ok_or_else(|| wrong("must be one that a list answered"))?;
        match token.filter == filter.map(FilterExpression::fingerprint) {
            true => Ok(token.after),
            false => Err(wrong(
                "is of a list with another filter: leave it unset to begin, or ask with that filter",
            )),
        }
    }
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{:016x}", self.after.0)?;
        self.filter.map_or(Ok(()), |filter| write!(f, "-{filter:016x}"))
    }
}

impl From<EraseError> for ApiError {
    fn from(error: EraseError) -> Self {
        let code = match error {
            EraseError::Refused(_) => Code::FailedPrecondition,
            EraseError::Unavailable(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        let message = error.to_string();
        match error {
            AdminError::NotFound(_) => Self::new(Code::NotFound, message),
            AdminError::InvalidVersion(rule) => Self::about(Code::InvalidArgument, message, "version", rule),
            AdminError::Refused(_) => Self::new(Code::FailedPrecondition, message),
            AdminError::Failed(_) => Self::defect(message),
        }
    }
}
