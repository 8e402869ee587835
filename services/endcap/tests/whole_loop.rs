//! The whole loop through the binary: a click changes a slate, slates and clicks are archived and trained on, the
//! new bundle serves without a failing request, and nothing is forgotten on the way.

mod broker;
mod program;
mod shop;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use broker::Kafka;
use endcap_bundle::BundleStore;
use endcap_clickstream::Dataset;
use endcap_live::{
    EventProducer, EventSource, KafkaConfig, KafkaSink, KafkaSource, MockBroker, PartitionOffset,
    decode_impression,
};
use endcap_proto::{
    Item, ItemId,
    v1::{
        DeleteItemsRequest, GetItemRequest, Impression, RecommendRequest, RecommendResponse,
        UpsertItemsRequest,
    },
};
use program::{Client, PATIENCE, Service, run, settings};
use shop::{copy, fixture, train, view};
use tokio_util::sync::CancellationToken;
use tonic::Code;

/// Of the request whose impression is looked at.
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// How soon a click must show.
const PROMPT: Duration = Duration::from_secs(10);
/// How soon an activated bundle must serve.
const SWAPPED: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn over_the_broker_within_this_process() {
    let broker = MockBroker::start(4).unwrap();
    whole_loop(broker.config()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_real_kafka() {
    let Some(broker) = tokio::task::spawn_blocking(Kafka::start).await.unwrap() else { return };
    whole_loop(&broker.config()).await;
}

async fn whole_loop(kafka: &KafkaConfig) {
    let shop = tokio::task::spawn_blocking(fixture).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (bundles, archived) = (dir.path().join("bundles"), dir.path().join("archive"));
    copy(&shop.bundles, &bundles);
    let mut settings = settings(kafka, &bundles, &dir.path().join("state"));
    // A machine that is busy training may keep a broker from answering at once.
    settings.extend(["--set", "server.limits.deadline_ms=10000"].map(str::to_owned));
    let service = Service::start(&settings);
    let client = service.client().await;

    // A click shows.
    let sink = Arc::new(KafkaSink::prompt(kafka).unwrap());
    let producer = EventProducer::new(sink, kafka.topics.events.as_str());
    let before = ask(&client, "anna").await;
    assert!(!knows_a_history(&before), "{before:?}");
    let click = view("anna", &shop.item(7).id, 1);
    producer.write(vec![click.clone()]).await.unwrap();
    let after = answer_that(&client, "anna", PROMPT, |slate| settled(slate) != settled(&before)).await;
    assert!(knows_a_history(&after), "{after:?}");

    // The slate goes out as it was served.
    let request = RecommendRequest { request_id: "the-one".into(), ..request("anna") };
    let mut request = tonic::Request::new(request);
    request.metadata_mut().insert("traceparent", TRACEPARENT.parse().unwrap());
    let slate = client.ask(request).await.unwrap();
    let (impression, traceparent) = {
        let kafka = kafka.clone();
        tokio::task::spawn_blocking(move || find_impression(&kafka, "the-one")).await.unwrap()
    };
    as_served(&impression, &slate);
    assert_eq!(traceparent.as_deref(), Some(TRACEPARENT), "in the trace of its request");

    // The catalogue changes.
    let mut wooden = Item { title: Some("A wooden owl".into()), group_id: None, ..shop.item(7).clone() };
    wooden.id = ItemId::new("wooden-owl").unwrap();
    let gone = settled(&ask(&client, "bert").await)[0].clone();
    let mut catalogue = client.catalogue.clone();
    let upsert = UpsertItemsRequest { items: vec![wooden.clone().into()] };
    assert_eq!(catalogue.upsert(upsert).await.unwrap().into_inner().upserted, 1);
    let delete = DeleteItemsRequest { item_ids: vec![gone.clone()] };
    assert_eq!(catalogue.delete(delete).await.unwrap().into_inner().deleted, 1);
    catalogue_is_changed(&client, &wooden, &gone).await;

    // Events, slates and catalogue come back as files.
    archive(&settings, &archived).await;
    let dataset = Dataset::open(&archived).unwrap();
    let events: Vec<_> = dataset
        .events()
        .unwrap()
        .flat_map(|batch| batch.unwrap().iter().map(|e| e.to_event()).collect::<Vec<_>>())
        .collect();
    assert_eq!(events, [click]);
    assert_eq!(dataset.items().unwrap(), [wooden.clone()]);
    let impressions: Vec<_> = dataset.impressions().unwrap().flat_map(Result::unwrap).collect();
    assert!(impressions.contains(&impression), "{} impressions", impressions.len());
    assert!(
        impressions.iter().all(|impression| impression.visitor_id == "anna"),
        "who did not agree is not kept"
    );

    // They are trained on, and the second bundle serves without a failing request.
    let stop = CancellationToken::new();
    let asking = tokio::spawn(keep_asking(client.clone(), stop.clone()));
    let second = {
        let (data, archived, bundles) = (shop.data.clone(), archived.clone(), bundles.clone());
        tokio::task::spawn_blocking(move || train(&[&data, &archived], &bundles)).await.unwrap()
    };
    assert_ne!(second, shop.version);
    let manifests = BundleStore::open(&bundles).unwrap().list().unwrap();
    let events_of =
        |version: &str| manifests.iter().find(|m| m.version.as_str() == version).unwrap().origin.events;
    assert_eq!(events_of(&second), events_of(&shop.version) + 1, "the archived click was trained on");
    answer_that(&client, "anna", SWAPPED, |slate| version_of(slate) == second).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.cancel();
    let versions = asking.await.unwrap();
    let mut distinct = versions.clone();
    distinct.dedup();
    assert_eq!(distinct, [shop.version.clone(), second.clone()], "of {} answers", versions.len());
    catalogue_is_changed(&client, &wooden, &gone).await;
    let slate = ask(&client, "anna").await;
    assert!(knows_a_history(&slate), "{slate:?}");

    // Nor does a restart forget: not the catalogue, not the shopper, without reading an event again.
    service.stop();
    let service = Service::start(&settings);
    let client = service.client().await;
    catalogue_is_changed(&client, &wooden, &gone).await;
    let again = ask(&client, "anna").await;
    assert_eq!(version_of(&again), second);
    assert!(knows_a_history(&again), "{again:?}");
    assert!(!knows_a_history(&ask(&client, "bert").await));
    // The stream is whole once the topic of erasures is read.
    let began = Instant::now();
    while !service.degraded().is_empty() {
        assert!(began.elapsed() < PATIENCE, "{:?}", service.degraded());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(service.metric("endcap_events_applied_total"), 0.0);

    // Nothing is archived twice.
    archive(&settings, &archived).await;
    assert_eq!(
        Dataset::open(&archived).unwrap().events().unwrap().map(|batch| batch.unwrap().len()).sum::<usize>(),
        1
    );
    service.stop();
}

fn request(visitor: &str) -> RecommendRequest {
    RecommendRequest { visitor_id: visitor.into(), ..Default::default() }
}

async fn ask(client: &Client, visitor: &str) -> RecommendResponse {
    client.recommend(request(visitor)).await.unwrap()
}

/// Asks until an answer is as it should be.
async fn answer_that(
    client: &Client,
    visitor: &str,
    within: Duration,
    holds: impl Fn(&RecommendResponse) -> bool,
) -> RecommendResponse {
    let began = Instant::now();
    loop {
        let slate = ask(client, visitor).await;
        if holds(&slate) {
            println!("seen after {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
            return slate;
        }
        assert!(began.elapsed() < within, "not within {within:?}: {slate:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Asks until told to stop; which bundle made each answer. A failing request fails the test.
async fn keep_asking(client: Client, stop: CancellationToken) -> Vec<String> {
    let mut versions = Vec::new();
    while !stop.is_cancelled() {
        let slate = ask(&client, "carl").await;
        assert_eq!(slate.results.len(), 20);
        versions.push(version_of(&slate));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    versions
}

fn version_of(slate: &RecommendResponse) -> String {
    slate.served_by.as_ref().unwrap().bundle_version.clone()
}

/// The products whose places follow from the scores. The others are drawn anew each time.
fn settled(slate: &RecommendResponse) -> Vec<String> {
    slate.results.iter().filter(|result| !result.explored).map(|result| result.item_id.clone()).collect()
}

/// Whether a source had its say that works from what a shopper did before.
fn knows_a_history(slate: &RecommendResponse) -> bool {
    let mut sources = slate.results.iter().flat_map(|result| &result.sources);
    sources.any(|source| source == "next_item_rules" || source == "item_knn")
}

/// One product is there now, the other no more.
async fn catalogue_is_changed(client: &Client, there: &Item, gone: &str) {
    let mut catalogue = client.catalogue.clone();
    let found =
        catalogue.get(GetItemRequest { item_id: there.id.as_str().into() }).await.unwrap().into_inner();
    assert_eq!(Item::try_from(found).unwrap(), *there);
    let missing = catalogue.get(GetItemRequest { item_id: gone.into() }).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "{missing}");
    let candidate_ids = vec![gone.to_owned(), there.id.as_str().to_owned()];
    let slate = client.recommend(RecommendRequest { candidate_ids, ..request("bert") }).await.unwrap();
    assert_eq!(
        slate.results.iter().map(|result| result.item_id.as_str()).collect::<Vec<_>>(),
        [there.id.as_str()]
    );
    assert_eq!(slate.missing_ids, [gone]);
    let slate = ask(client, "bert").await;
    assert!(slate.results.iter().all(|result| result.item_id != gone), "{slate:?}");
}

/// Reads the topic of impressions until the slate of this request comes by; its trace context, too.
fn find_impression(kafka: &KafkaConfig, request_id: &str) -> (Impression, Option<String>) {
    let mut source = KafkaSource::new(kafka, &kafka.topics.impressions).unwrap();
    let bounds = source.bounds().unwrap();
    let starts = bounds.iter().map(|at| PartitionOffset { partition: at.partition, offset: at.first });
    source.assign(&starts.collect::<Vec<_>>()).unwrap();
    let (began, mut found) = (Instant::now(), None);
    while found.is_none() {
        assert!(began.elapsed() < PATIENCE, "the impression does not come: {:?}", source.trouble());
        let mut look = |record: endcap_live::Record<'_>| {
            let impression = decode_impression(&record).unwrap();
            if impression.request_id == request_id {
                let traceparent = record.header("traceparent");
                found =
                    Some((impression, traceparent.map(|header| String::from_utf8(header.to_vec()).unwrap())));
            }
        };
        source.poll(100, Duration::from_millis(100), &mut |record| look(record)).unwrap();
    }
    found.unwrap()
}

/// The impression says what the shopper saw, how likely it was, and what was known.
fn as_served(impression: &Impression, slate: &RecommendResponse) {
    assert_eq!(impression.visitor_id, "anna");
    assert_eq!(impression.served_by, slate.served_by);
    assert_eq!(impression.attribution_token, slate.attribution_token);
    assert!(impression.consent);
    assert_eq!(impression.applied_offsets.iter().map(|at| at.offset).sum::<i64>(), 1, "the one click");
    assert_eq!((impression.items.len(), slate.results.len()), (20, 20));
    for (logged, shown) in impression.items.iter().zip(&slate.results) {
        assert_eq!(
            (&logged.item_id, logged.position, logged.score, logged.propensity, logged.explored),
            (&shown.item_id, shown.position, shown.score, shown.propensity, shown.explored)
        );
        match logged.explored {
            true => assert!(0.0 < logged.propensity && logged.propensity < 1.0, "{logged:?}"),
            false => assert_eq!(logged.propensity, 1.0),
        }
    }
    let explored: BTreeSet<u32> =
        impression.items.iter().filter(|item| item.explored).map(|item| item.position).collect();
    assert_eq!(explored, BTreeSet::from([18, 19]), "the last two places are drawn");
}

/// `endcap archive` to the ends that the topics have now.
async fn archive(settings: &[String], out: &Path) {
    let mut args =
        vec!["archive".to_owned(), "--until-end".into(), "--out".into(), out.display().to_string()];
    args.extend_from_slice(settings);
    tokio::task::spawn_blocking(move || run(args).done()).await.unwrap();
}
