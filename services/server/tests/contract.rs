//! The contract over real sockets: gRPC with tonic's client, HTTP by hand.

#[path = "../../recommend/tests/shop/mod.rs"]
mod shop;
mod wire;

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use endcap_proto::{
    Event, EventType, Item, ItemId,
    v1::{
        self, admin_service_client::AdminServiceClient, catalog_service_client::CatalogServiceClient,
        event_service_client::EventServiceClient, recommendation_service_client::RecommendationServiceClient,
    },
};
use endcap_recommend::{ItemChange, Position, RecommendConfig};
use endcap_server::{
    AdminError, BundleAdmin, EraseError, Eraser, EventWriter, ItemWriter, ServerConfig, ShopperId,
    StreamReport, StreamStatus, WriteError,
};
use futures::{
    StreamExt,
    future::{BoxFuture, FutureExt, join_all},
};
use serde_json::{Value, json};
use shop::{Shop, event, now};
use tonic::Code;
use tonic_types::StatusExt;
use wire::{Serving, get, post};

/// A broker that keeps everything, until it is unplugged.
#[derive(Default)]
struct Broker {
    events: Mutex<Vec<Event>>,
    /// Of the last events.
    traceparent: Mutex<Option<String>>,
    items: Mutex<Vec<Item>>,
    unplugged: std::sync::atomic::AtomicBool,
}

impl Broker {
    fn check(&self) -> Result<(), WriteError> {
        match self.unplugged.load(Ordering::Relaxed) {
            true => Err(WriteError::Unavailable { reason: "connection refused".into() }),
            false => Ok(()),
        }
    }

    fn positions(&self, count: usize) -> Vec<Position> {
        static NEXT: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);
        (0..count).map(|_| Position { partition: 0, offset: NEXT.fetch_add(1, Ordering::Relaxed) }).collect()
    }
}

impl EventWriter for Broker {
    fn write(
        &self,
        events: Vec<Event>,
        traceparent: Option<String>,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        async move {
            self.check()?;
            *self.traceparent.lock().unwrap() = traceparent;
            self.events.lock().unwrap().extend(events);
            Ok(())
        }
        .boxed()
    }
}

impl ItemWriter for Broker {
    fn upsert(&self, items: Vec<Item>) -> BoxFuture<'_, Result<Vec<Position>, WriteError>> {
        async move {
            self.check()?;
            let count = items.len();
            self.items.lock().unwrap().extend(items);
            Ok(self.positions(count))
        }
        .boxed()
    }

    fn delete(&self, ids: Vec<ItemId>) -> BoxFuture<'_, Result<Vec<Position>, WriteError>> {
        async move { self.check().map(|()| self.positions(ids.len())) }.boxed()
    }
}

/// Says whom it was asked to forget, and how many seconds it was given.
impl Eraser for Broker {
    fn erase(
        &self,
        shopper: ShopperId,
        deadline: Option<Instant>,
    ) -> BoxFuture<'_, Result<String, EraseError>> {
        async move {
            self.check().map_err(|error| EraseError::Unavailable(error.to_string()))?;
            let seconds = deadline.map(|at| at.saturating_duration_since(Instant::now()).as_secs_f64());
            Ok(json!({"shopper": format!("{shopper:?}"), "seconds": seconds}).to_string())
        }
        .boxed()
    }
}

struct Bundles;

impl Bundles {
    fn bundle(version: &str) -> v1::Bundle {
        v1::Bundle { version: version.to_owned(), active: true, ..Default::default() }
    }
}

impl BundleAdmin for Bundles {
    fn list(&self) -> BoxFuture<'_, Result<Vec<v1::Bundle>, AdminError>> {
        async { Ok(vec![Self::bundle("bundle-1")]) }.boxed()
    }

    fn activate<'a>(&'a self, version: &'a str) -> BoxFuture<'a, Result<v1::Bundle, AdminError>> {
        async move {
            match version {
                "bundle-1" => Ok(Self::bundle(version)),
                "broken" => Err(AdminError::Refused("index/index.bin is not what was published".into())),
                "../etc" => Err(AdminError::InvalidVersion("is not a bundle's name".into())),
                _ => Err(AdminError::NotFound(format!("no bundle {version}"))),
            }
        }
        .boxed()
    }

    fn rollback(&self) -> BoxFuture<'_, Result<v1::Bundle, AdminError>> {
        async { Err(AdminError::Refused("no bundle was active before".into())) }.boxed()
    }
}

struct Stream;

impl StreamStatus for Stream {
    fn report(&self) -> StreamReport {
        let lag =
            v1::PartitionLag { topic: "events".into(), partition: 3, applied_offset: 40, end_offset: 42 };
        StreamReport { visitors: 5, applied: 40, lag: vec![lag], ..Default::default() }
    }
}

/// A shop of 100 items behind a server, with everything that a server can have.
async fn serve(edit: impl FnOnce(&mut ServerConfig)) -> (Serving, Shop, Arc<Broker>) {
    let shop = Shop::new(100);
    let broker = Arc::new(Broker::default());
    let serving = Serving::start(&shop, edit, |options| {
        options.events = Some(Arc::clone(&broker) as Arc<dyn EventWriter>);
        options.items = Some(Arc::clone(&broker) as Arc<dyn ItemWriter>);
        options.eraser = Some(Arc::clone(&broker) as Arc<dyn Eraser>);
        options.bundles = Some(Arc::new(Bundles));
        options.stream = Some(Arc::new(Stream));
    })
    .await;
    (serving, shop, broker)
}

async fn recommender(serving: &Serving) -> RecommendationServiceClient<tonic::transport::Channel> {
    RecommendationServiceClient::new(serving.channel().await)
}

fn request(visitor: &str) -> v1::RecommendRequest {
    v1::RecommendRequest { visitor_id: visitor.into(), ..Default::default() }
}

#[tokio::test]
async fn recommend_says_the_same_over_grpc_and_http() {
    let (serving, shop, _) = serve(|_| {}).await;
    shop.views("anna", [3, 4, 5]);
    let asked = v1::RecommendRequest {
        page_size: 10,
        explain: true,
        return_item: true,
        request_id: "r-1".into(),
        candidate_ids: (0..8).map(|i| format!("item-{i}")).chain(["gone".into()]).collect(),
        ..request("anna")
    };
    let over_grpc = recommender(&serving).await.recommend(asked.clone()).await.unwrap().into_inner();
    let (status, over_http) = post(&serving, "/v1/recommend", &serde_json::to_value(&asked).unwrap()).await;
    assert_eq!(status, 200);
    let over_http: v1::RecommendResponse = serde_json::from_value(over_http).unwrap();
    let plain = |response: &v1::RecommendResponse| {
        let mut results: Vec<_> = response
            .results
            .iter()
            .map(|result| {
                // The last digit of a number may not survive JSON.
                let score = (result.score * 1e12) as i64;
                (result.item_id.clone(), score, result.sources.clone(), result.item.clone())
            })
            .collect();
        // Drawn places may differ.
        results.sort_by(|a, b| a.0.cmp(&b.0));
        (results, response.missing_ids.clone(), response.request_id.clone(), response.served_by.clone())
    };
    assert_eq!(plain(&over_grpc), plain(&over_http));
    assert_eq!(over_grpc.results.len(), 8);
    assert_eq!(over_grpc.missing_ids, ["gone"]);
    assert_eq!(over_grpc.request_id, "r-1");
    for (position, result) in over_grpc.results.iter().enumerate() {
        assert_eq!(result.position as usize, position);
        assert_eq!(result.item.as_ref().unwrap().id, result.item_id);
        assert!(result.sources.contains(&"request".to_owned()) && !result.explanation.is_empty());
        assert_eq!(result.objective_scores.keys().collect::<Vec<_>>(), ["cart", "click", "purchase"]);
    }
    serving.stop().await.unwrap();
}

/// Bad input, each row with what it answers: over gRPC, and the same over HTTP.
#[tokio::test]
async fn bad_input_names_the_field_and_the_rule() {
    let (serving, _shop, _) = serve(|_| {}).await;
    let mut client = recommender(&serving).await;
    let with = |edit: fn(&mut v1::RecommendRequest)| {
        let mut request = request("anna");
        edit(&mut request);
        request
    };
    let many = |count: usize| vec!["a".to_owned(); count];
    let too_many = v1::RecommendRequest { exclude_item_ids: many(20_000), ..request("anna") };
    let rows = [
        (with(|r| r.page_size = -1), Code::InvalidArgument, "page_size", 400),
        (with(|r| r.visitor_id.clear()), Code::InvalidArgument, "visitor_id", 400),
        (with(|r| r.candidate_ids = vec![String::new()]), Code::InvalidArgument, "candidate_ids[0]", 400),
        (
            with(|r| r.recent_events.push(Default::default())),
            Code::InvalidArgument,
            "recent_events[0].type",
            400,
        ),
        (with(|r| r.placement = "attic".into()), Code::InvalidArgument, "placement", 400),
        (with(|r| r.filter = "price < cheap".into()), Code::InvalidArgument, "filter", 400),
        (
            with(|r| {
                r.filter = "price < $max".into();
                r.filter_values.insert("max".into(), "cheap".into());
            }),
            Code::InvalidArgument,
            "filter_values[\"max\"]",
            400,
        ),
        (with(|r| r.promotions.push(Default::default())), Code::Unimplemented, "promotions", 501),
        (with(|r| r.page_token = "x".into()), Code::Unimplemented, "page_token", 501),
        (with(|r| r.experiment_ids.push("x".into())), Code::Unimplemented, "experiment_ids", 501),
        (too_many, Code::ResourceExhausted, "exclude_item_ids", 429),
    ];
    for (asked, code, field, http) in rows {
        let status = client.recommend(asked.clone()).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field);
        let (answered, error) = post(&serving, "/v1/recommend", &serde_json::to_value(&asked).unwrap()).await;
        assert_eq!(answered, http, "{error}");
        assert_eq!(error["code"], code as i32);
        assert_eq!(error["message"], status.message());
        assert_eq!(error["details"][0]["@type"], "type.googleapis.com/google.rpc.BadRequest");
        assert_eq!(error["details"][0]["fieldViolations"][0]["field"], field);
    }
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn filters_select_over_grpc_and_http_and_follow_the_catalogue() {
    let (serving, _shop, _) = serve(|_| {}).await;
    let (mut client, mut catalog) =
        (recommender(&serving).await, CatalogServiceClient::new(serving.channel().await));
    let asked = v1::RecommendRequest {
        filter: "category: \"Things > Kind 3\" AND price < $max OR brand = $brand".into(),
        filter_values: [("max", "40"), ("brand", "New \"one\"")].map(|(a, b)| (a.into(), b.into())).into(),
        ..request("anna")
    };
    let over_grpc = client.recommend(asked.clone()).await.unwrap().into_inner();
    let mut found: Vec<_> = over_grpc.results.into_iter().map(|result| result.item_id).collect();
    found.sort_unstable();
    // Prices go from 5 up by 1, and begin again at item 90.
    assert_eq!(found, ["item-13", "item-23", "item-3", "item-33", "item-93"]);
    let new = v1::Item {
        id: "new".into(),
        categories: vec!["Things>Kind 3".into()],
        brand: "New \"one\"".into(),
        ..Default::default()
    };
    catalog.upsert(v1::UpsertItemsRequest { items: vec![new] }).await.unwrap();
    catalog.delete(v1::DeleteItemsRequest { item_ids: vec!["item-13".into()] }).await.unwrap();
    let (status, answer) = post(&serving, "/v1/recommend", &serde_json::to_value(&asked).unwrap()).await;
    assert_eq!(status, 200, "{answer}");
    let results = answer["results"].as_array().unwrap();
    let mut found: Vec<_> = results.iter().map(|result| result["itemId"].as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, ["item-23", "item-3", "item-33", "item-93", "new"]);
    let relaxed = json!({"visitorId": "anna", "filter": "id = item-3", "strictFiltering": false});
    let (_, answer) = post(&serving, "/v1/recommend", &relaxed).await;
    assert_eq!(answer["results"].as_array().unwrap().len(), 20);
    assert_eq!(answer["results"][0]["itemId"], "item-3");
    assert_eq!(answer["degraded"], json!(["filter: 1 of 20 places match it: the rest do not"]));
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn probed_queries_show_their_recall_by_how_much_the_filter_passes() {
    let config = RecommendConfig { recall_probe: 1.0, seed: Some(7), ..Default::default() };
    let shop = Shop::with((0..100).map(shop::item).collect(), config);
    let serving = Serving::start(&shop, |_| {}, |_| {}).await;
    let mut client = recommender(&serving).await;
    for filter in ["", "price < 50", "brand = \"Brand 3\" price < 30", "id = item-3"] {
        let asked = v1::RecommendRequest { filter: filter.into(), ..request("anna") };
        client.recommend(asked).await.unwrap();
    }
    let tally = |page: &str, name: &str, passes: &str| {
        let row = format!("endcap_retrieval_recall_{name}{{");
        let class = format!("passes=\"{passes}\"");
        let line = page.lines().find(|line| line.starts_with(&row) && line.contains(&class))?;
        line.rsplit(' ').next().map(str::to_owned)
    };
    let classes = ["all", "10-100%", "1-10%", "0.1-1%"];
    let mut page = String::new();
    for _ in 0..2_000 {
        let answer = wire::send(&serving, "GET", "/metrics", &[], b"").await;
        page = String::from_utf8(answer.body).unwrap();
        // The probe runs beside the requests.
        if classes.iter().all(|class| tally(&page, "count", class).is_some()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for class in classes {
        assert_eq!(tally(&page, "count", class).unwrap(), "1", "{class}");
        assert_eq!(tally(&page, "sum", class).unwrap(), "1.0", "{class}: the scan is exact");
        assert_eq!(tally(&page, "bucket", class).unwrap(), "0", "{class}: none up to .5");
    }
    assert!(page.contains("endcap_recall_probes_skipped_total 0\n"), "{page}");
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn json_that_is_no_request_names_the_place() {
    let (serving, _shop, _) = serve(|_| {}).await;
    for (body, field) in [
        ("{\"visitorId\": \"anna\"", "body"),
        ("[1]", "body"),
        ("{\"visitorId\": \"anna\", \"pageSizee\": 3}", "pageSizee"),
        ("{\"visitorId\": \"anna\", \"context\": {\"type\": \"licked\"}}", "context.type"),
        ("{\"visitorId\": \"anna\", \"pageSize\": 2147483648}", "pageSize"),
        ("\u{0}\u{1}", "body"),
    ] {
        let (status, error) =
            wire::send(&serving, "POST", "/v1/recommend", &[], body.as_bytes()).await.json();
        assert_eq!((status, &error["code"]), (400, &json!(3)), "{body}: {error}");
        assert_eq!(error["details"][0]["fieldViolations"][0]["field"], field, "{error}");
    }
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn a_million_ids_are_refused_at_once() {
    let (serving, _shop, _) = serve(|_| {}).await;
    let ids = |id: &str| vec![id.to_owned(); 1_000_000];
    let mut client = recommender(&serving).await;
    // 3 MB: the message fits, the list is too long. 12 MB: the message itself is too large.
    for (id, says) in [("a", "candidate_ids holds 1000000 entries"), ("0123456789", "message")] {
        let asked = v1::RecommendRequest { candidate_ids: ids(id), ..request("anna") };
        let status = client.recommend(asked).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
    let asked = v1::RecommendRequest { candidate_ids: ids("0123456789"), ..request("anna") };
    let (status, error) = post(&serving, "/v1/recommend", &serde_json::to_value(&asked).unwrap()).await;
    assert_eq!((status, &error["code"]), (429, &json!(8)), "{error}");
    assert!(error["message"].as_str().unwrap().contains("4194304 bytes"), "{error}");
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn vectors_that_are_not_finite_are_refused() {
    let (serving, _shop, _) = serve(|_| {}).await;
    let mut client = CatalogServiceClient::new(serving.channel().await);
    let item = v1::Item { id: "x".into(), embedding: vec![0.0, f32::NAN], ..Default::default() };
    let status = client.upsert(v1::UpsertItemsRequest { items: vec![item] }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "items[0].embedding[1]");
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn events_reach_the_broker_whole_or_not_at_all() {
    let (serving, _shop, broker) = serve(|_| {}).await;
    let mut client = EventServiceClient::new(serving.channel().await);
    let view = |number| v1::Event::from(event("anna", EventType::View, number, now()));
    let mut two = tonic::Request::new(v1::WriteEventsRequest { events: vec![view(1), view(2)] });
    two.metadata_mut().insert("traceparent", "of-this-request".parse().unwrap());
    let written = client.write(two).await.unwrap();
    assert_eq!(written.into_inner().written, 2);
    assert_eq!(broker.traceparent.lock().unwrap().as_deref(), Some("of-this-request"));
    // One bad event, and none is written.
    let bad = v1::WriteEventsRequest { events: vec![view(3), v1::Event { items: Vec::new(), ..view(4) }] };
    let status = client.write(bad).await.unwrap_err();
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "events[1].items");
    let batches: Vec<_> =
        (10..15).map(|number| v1::WriteEventsRequest { events: vec![view(number); 3] }).collect();
    let written = client.write_stream(futures::stream::iter(batches)).await.unwrap();
    assert_eq!(written.into_inner().written, 15);
    let body = json!({"events": [{
        "eventId": "e-1", "type": "add_to_cart", "eventTime": "2026-11-24T10:15:00Z", "visitorId": "anna",
        "items": [{"itemId": "item-7"}], "consent": true
    }]});
    assert_eq!(post(&serving, "/v1/events:write", &body).await, (200, json!({"written": 1})));
    let events = broker.events.lock().unwrap().clone();
    assert_eq!(events.len(), 18);
    assert_eq!(events[17].event_type, EventType::AddToCart);
    broker.unplugged.store(true, Ordering::Relaxed);
    let status = client.write(v1::WriteEventsRequest { events: vec![view(9)] }).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("connection refused"), "{status}");
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn a_shopper_is_forgotten_by_one_method_and_the_answer_is_a_receipt() {
    let (serving, _shop, broker) = serve(|_| {}).await;
    let mut client = EventServiceClient::new(serving.channel().await);
    let purge = |shopper| v1::PurgeEventsRequest { shopper };
    let anna = purge(Some(v1::purge_events_request::Shopper::UserId("anna".into())));
    let mut request = tonic::Request::new(anna.clone());
    request.set_timeout(Duration::from_secs(30));
    let answer = client.purge(request).await.unwrap().into_inner();
    let receipt: Value = serde_json::from_str(&answer.receipt).unwrap();
    assert_eq!(receipt["shopper"], "User(\"anna\")");
    assert!((20.0..=30.0).contains(&receipt["seconds"].as_f64().unwrap()), "{receipt}");
    let (status, answer) = post(&serving, "/v1/events:purge", &json!({"visitorId": "v-1"})).await;
    assert_eq!(status, 200);
    assert!(answer["receipt"].as_str().unwrap().contains("Visitor("), "{answer}");
    // Nobody, and nobody's id.
    let status = client.purge(purge(None)).await.unwrap_err();
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "shopper");
    let (status, error) = post(&serving, "/v1/events:purge", &json!({"userId": ""})).await;
    assert_eq!((status, error["code"].as_i64()), (400, Some(3)), "{error}");
    broker.unplugged.store(true, Ordering::Relaxed);
    let status = client.purge(anna).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("nothing was forgotten"), "{status}");
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn an_upserted_item_is_in_the_next_answer_and_a_deleted_one_is_not() {
    let (serving, _shop, broker) = serve(|_| {}).await;
    let mut catalog = CatalogServiceClient::new(serving.channel().await);
    let mut client = recommender(&serving).await;
    let item =
        v1::Item { id: "brand-new".into(), title: "New".into(), price: Some(9.0), ..Default::default() };
    let upserted =
        catalog.upsert(v1::UpsertItemsRequest { items: vec![item.clone()] }).await.unwrap().into_inner();
    assert_eq!(upserted.upserted, 1);
    assert_eq!(broker.items.lock().unwrap().len(), 1);
    let all = v1::RecommendRequest { page_size: 500, ..request("anna") };
    let shown =
        |response: v1::RecommendResponse| response.results.iter().any(|result| result.item_id == "brand-new");
    assert!(shown(client.recommend(all.clone()).await.unwrap().into_inner()));
    let got = catalog.get(v1::GetItemRequest { item_id: "brand-new".into() }).await.unwrap().into_inner();
    assert_eq!((got.title, got.price), (item.title, item.price));
    assert_eq!(get(&serving, "/v1/items/brand-new").await.1["title"], "New");
    let deletes = json!({"itemIds": ["brand-new", "brand-new", "never-was"]});
    assert_eq!(post(&serving, "/v1/items:delete", &deletes).await, (200, json!({"deleted": 1})));
    assert!(!shown(client.recommend(all).await.unwrap().into_inner()));
    let (status, error) = get(&serving, "/v1/items/brand-new").await;
    assert_eq!((status, &error["code"]), (404, &json!(5)));
    // The broker away: nothing is written, nothing acts.
    broker.unplugged.store(true, Ordering::Relaxed);
    let status =
        catalog.delete(v1::DeleteItemsRequest { item_ids: vec!["item-1".into()] }).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(get(&serving, "/v1/items/item-1").await.0, 200);
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn a_list_goes_through_the_catalogue_page_by_page() {
    let (serving, shop, _) = serve(|_| {}).await;
    let list = async |filter: &str| {
        let (mut token, mut ids) = (String::new(), Vec::new());
        loop {
            let query = format!("/v1/items?pageSize=2&filter={filter}&pageToken={token}");
            let (status, page) = get(&serving, &query).await;
            assert_eq!(status, 200, "{page}");
            let items = page["items"].as_array().cloned().unwrap_or_default();
            ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            match page["nextPageToken"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break,
            }
        }
        ids.sort();
        ids
    };
    let everything: Vec<String> = (0..100).map(|number| shop::id(number).as_str().to_owned()).collect();
    let those = |law: &dyn Fn(usize) -> bool| {
        let mut ids: Vec<_> =
            (0..100).filter(|&number| law(number)).map(|number| everything[number].clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(list("").await, those(&|_| true));
    // price < 20 AND brand = "Brand 3"
    let filter = "price%20%3C%2020%20AND%20brand%20%3D%20%22Brand%203%22";
    let cheap = |number: usize| 5 + number % 90 < 20 && number % 7 == 3;
    assert_eq!(list(filter).await, those(&cheap));
    assert_eq!(list("price%20%3C%200").await, those(&|_| false));
    // What changed since the bundle is listed as it is now.
    let dear = Item { price: Some(500.0), ..shop::item(3) };
    shop.recommender.apply(vec![ItemChange::upsert(dear, None)]).unwrap();
    shop.recommender.delete(&shop::id(10)).unwrap();
    assert_eq!(list(filter).await, those(&|number| cheap(number) && number != 3 && number != 10));

    let (_, page) = get(&serving, "/v1/items?pageSize=2&filter=price%20%3C%2020").await;
    let token = page["nextPageToken"].as_str().unwrap();
    for (query, field) in [
        ("pageSize=-1", "page_size"),
        ("pageToken=x", "page_token"),
        (&*format!("pageToken={token}"), "page_token"),
        (&*format!("pageToken={token}&filter=price%20%3C%2021"), "page_token"),
        ("filter=a", "filter"),
        ("filter=price%20%3C%20%24max", "filter"),
        ("size=3", "query"),
    ] {
        let (_, error) = get(&serving, &format!("/v1/items?{query}")).await;
        assert_eq!(error["details"][0]["fieldViolations"][0]["field"], field, "{error}");
    }
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn operators_see_bundles_and_status() {
    let (serving, _shop, _) = serve(|_| {}).await;
    let mut client = AdminServiceClient::new(serving.channel().await);
    let bundles = client.list_bundles(v1::ListBundlesRequest {}).await.unwrap().into_inner().bundles;
    assert_eq!(bundles[0].version, "bundle-1");
    for (version, code, http) in [
        ("", Code::InvalidArgument, None),
        ("../etc", Code::InvalidArgument, None),
        ("nothing", Code::NotFound, Some(404)),
        ("broken", Code::FailedPrecondition, Some(400)),
    ] {
        let status =
            client.activate_bundle(v1::ActivateBundleRequest { version: version.into() }).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        if let Some(http) = http {
            assert_eq!(post(&serving, &format!("/v1/bundles/{version}:activate"), &json!({})).await.0, http);
        }
    }
    assert_eq!(
        post(&serving, "/v1/bundles/bundle-1:activate", &json!({})).await.1["bundle"]["version"],
        "bundle-1"
    );
    assert_eq!(post(&serving, "/v1/bundles:rollback", &json!({})).await.0, 400);
    let status = client.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.bundle_version.as_str(), status.items, status.visitors), ("bundle-1", 100, 5));
    assert_eq!(status.lag[0].end_offset, 42);
    assert_eq!(get(&serving, "/v1/status").await.1["bundleVersion"], "bundle-1");
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_absent_says_so() {
    let shop = Shop::new(30);
    let serving = Serving::start(&shop, |_| {}, |_| {}).await;
    let body = json!({"events": []});
    let (status, error) = post(&serving, "/v1/events:write", &body).await;
    assert_eq!((status, &error["code"]), (503, &json!(14)));
    assert_eq!(error["message"], "this service runs without a broker: events cannot be written");
    assert_eq!(get(&serving, "/v1/bundles").await.0, 503);
    // Items act on this process alone.
    let items = json!({"items": [{"id": "only-here"}]});
    assert_eq!(post(&serving, "/v1/items:upsert", &items).await, (200, json!({"upserted": 1})));
    assert_eq!(get(&serving, "/v1/items/only-here").await.0, 200);
    assert_eq!(get(&serving, "/v1/nothing").await.0, 404);
    assert_eq!(get(&serving, "/v1/recommend").await.0, 405);
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn health_reflection_and_metrics_answer() {
    let (serving, _shop, _) = serve(|_| {}).await;
    let channel = serving.channel().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    for service in ["", "endcap.v1.RecommendationService", "endcap.v1.AdminService"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.into() };
        let status = health.check(request).await.unwrap().into_inner().status;
        assert_eq!(
            status,
            tonic_health::pb::health_check_response::ServingStatus::Serving as i32,
            "{service:?}"
        );
    }
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let symbol = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol("endcap.v1.RecommendRequest".into())),
    };
    let requests = futures::stream::iter([list, symbol]);
    let mut answers =
        ServerReflectionClient::new(channel).server_reflection_info(requests).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(services)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["RecommendationService", "EventService", "CatalogService", "AdminService"] {
        assert!(names.contains(&format!("endcap.v1.{name}").as_str()), "{names:?}");
    }
    assert!(matches!(
        answers.message().await.unwrap().unwrap().message_response,
        Some(MessageResponse::FileDescriptorResponse(_))
    ));
    recommender(&serving).await.recommend(request("anna")).await.unwrap();
    let _ = recommender(&serving).await.recommend(request("")).await;
    let page = wire::send(&serving, "GET", "/metrics", &[], b"").await;
    assert_eq!(page.status, 200);
    let page = String::from_utf8(page.body).unwrap();
    for line in [
        "endcap_requests_total{method=\"RecommendationService.Recommend\",code=\"OK\"} 1",
        "endcap_requests_total{method=\"RecommendationService.Recommend\",code=\"INVALID_ARGUMENT\"} 1",
        "endcap_request_seconds_count{method=\"RecommendationService.Recommend\"} 2",
        "endcap_recommend_stage_seconds_count{stage=\"sources\"} 1",
        "endcap_index_items 100",
        "endcap_bundle_info{version=\"bundle-1\"} 1",
        "endcap_consumer_lag{topic=\"events\",partition=\"3\"} 2",
        "endcap_events_applied_total 40",
        "endcap_requests_in_flight 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    assert_eq!(get(&serving, "/healthz").await.0, 200);
    assert_eq!(get(&serving, "/readyz").await.0, 200);
    serving.handle.set_ready(false).await;
    assert_eq!(get(&serving, "/readyz").await.0, 503);
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn an_expired_deadline_answers_deadline_exceeded_and_stops_the_work() {
    let (serving, shop, _) = serve(|_| {}).await;
    shop.states.delay_ms.store(700, Ordering::Relaxed);
    // By hand: tonic's own client would give up before the server does, and say CANCELLED.
    let anna = [&[0, 0, 0, 0, 6, 0x12, 4][..], b"anna"].concat();
    let path = "/endcap.v1.RecommendationService/Recommend";
    let late =
        |timeout| [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", timeout)];
    let answer = wire::send_http2(&serving, path, &late("5m"), anna.clone()).await;
    assert_eq!(answer.headers["grpc-status"], "4");
    let response =
        wire::send(&serving, "POST", "/v1/recommend", &[("grpc-timeout", "5m")], b"{\"visitorId\":\"a\"}")
            .await;
    assert_eq!(response.json().0, 504);
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(shop.states.reads.load(Ordering::Relaxed), 0, "no work after the deadline");
    assert_eq!(shop.impressions.taken.lock().unwrap().len(), 0);
    shop.states.delay_ms.store(0, Ordering::Relaxed);
    let answer = wire::send_http2(&serving, path, &late("5S"), anna).await;
    assert_eq!(answer.headers.get("grpc-status"), None, "an answer, with its status in the trailers");
    assert_eq!(shop.impressions.taken.lock().unwrap().len(), 1);
    let response = wire::send(&serving, "POST", "/v1/recommend", &[("grpc-timeout", "soon")], b"{}").await;
    assert_eq!(response.json().0, 400);
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_server_refuses_at_once_over_all_connections() {
    let (serving, shop, _) = serve(|config| {
        config.limits.in_flight = 2;
        config.limits.deadline_ms = 5_000;
    })
    .await;
    shop.states.delay_ms.store(18, Ordering::Relaxed);
    let calls = (0..12).map(|_| async {
        // A connection of its own each.
        let mut client = recommender(&serving).await;
        let begun = Instant::now();
        let answered = client.recommend(request("anna")).await;
        (answered.map_err(|status| status.code()).map(drop), begun.elapsed())
    });
    let answers = join_all(calls).await;
    let refused = answers.iter().filter(|(answer, _)| *answer == Err(Code::ResourceExhausted)).count();
    let served = answers.iter().filter(|(answer, _)| answer.is_ok()).count();
    assert_eq!(refused + served, 12, "{answers:?}");
    assert!(served >= 2 && refused >= 1, "{answers:?}");
    // The permits come back.
    shop.states.delay_ms.store(0, Ordering::Relaxed);
    recommender(&serving).await.recommend(request("anna")).await.unwrap();
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn a_drain_says_so_first_and_finishes_what_is_in_flight() {
    let (serving, shop, _) = serve(|config| config.drain_notice_ms = 150).await;
    let channel = serving.channel().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    // A watch is open all the while: it must not hold the drain up.
    let mut watch = health.watch(tonic_health::pb::HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    serving.drain.cancel();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2, "NOT_SERVING");
    // New work is still taken, and what is in flight when the port closes is finished.
    shop.states.delay_ms.store(15, Ordering::Relaxed);
    let mut client = RecommendationServiceClient::new(channel);
    let begun = Instant::now();
    let mut answered = 0;
    while begun.elapsed() < Duration::from_millis(120) {
        client.recommend(request("anna")).await.unwrap();
        answered += 1;
    }
    assert!(answered > 0);
    let address = serving.handle.address();
    serving.stop().await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn idle_streams_of_events_hold_nothing_and_end_with_the_drain() {
    let (serving, _shop, broker) = serve(|config| config.limits.in_flight = 2).await;
    let mut streams = Vec::new();
    for number in 0..6 {
        let mut client = EventServiceClient::new(serving.channel().await);
        let view = v1::Event::from(event("anna", EventType::View, number, now()));
        let batches = futures::stream::iter([v1::WriteEventsRequest { events: vec![view] }]);
        let open = batches.chain(futures::stream::pending());
        streams.push(tokio::spawn(async move { client.write_stream(open).await }));
    }
    while broker.events.lock().unwrap().len() < 6 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    recommender(&serving).await.recommend(request("anna")).await.unwrap();
    serving.stop().await.unwrap();
    for stream in streams {
        assert_eq!(stream.await.unwrap().unwrap().into_inner().written, 1, "what was written is answered");
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_taken_says_what_to_do() {
    let (serving, shop, _) = serve(|_| {}).await;
    let taken = serving.handle.address();
    let refuse = async |edit: fn(&mut ServerConfig), address: Option<std::net::SocketAddr>| {
        let mut config = ServerConfig::default();
        config.address = address.unwrap_or(config.address);
        edit(&mut config);
        match wire::options(&shop, config).bind().await {
            Ok(_) => panic!("it was taken"),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(
        refuse(|_| {}, Some(taken)).await,
        format!(
            "{taken} is in use by another process: stop that one, or set server.address to another port (port 0 takes a free one)"
        )
    );
    let open = refuse(|config| config.address = "0.0.0.0:0".parse().unwrap(), None).await;
    assert!(open.starts_with("server.address is 0.0.0.0:0: off loopback"), "{open}");
    assert!(open.contains("server.insecure = true"), "{open}");
    let absent = refuse(
        |config| {
            config.address = "192.0.2.1:0".parse().unwrap();
            config.insecure = true;
        },
        None,
    )
    .await;
    assert!(absent.contains("cannot listen on 192.0.2.1:0"), "{absent}");
    let wrong = refuse(|config| config.limits.message_bytes = 1, None).await;
    assert_eq!(wrong, "server.limits.message_bytes: must lie within 1024 and 1073741824, is 1");
    serving.stop().await.unwrap();
}

#[tokio::test]
async fn garbage_on_the_wire_ends_its_own_connection_only() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (serving, _shop, _) = serve(|_| {}).await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff",
        b"GET\r\n\r\n",
    ] {
        let mut socket = tokio::net::TcpStream::connect(serving.handle.address()).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(2), socket.read_to_end(&mut answer)).await.unwrap();
    }
    // A protobuf that is none.
    let framed = [&[0, 0, 0, 0, 4][..], &[0xff; 4]].concat();
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let response =
        wire::send_http2(&serving, "/endcap.v1.RecommendationService/Recommend", &headers, framed).await;
    assert_eq!(response.headers["grpc-status"], "3");
    recommender(&serving).await.recommend(request("anna")).await.unwrap();
    let value: Value = get(&serving, "/v1/status").await.1;
    assert_eq!(value["bundleVersion"], "bundle-1");
    serving.stop().await.unwrap();
}
