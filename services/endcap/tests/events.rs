//! `endcap events` against a broker in this process: write, look, lag, dead letters again.

mod program;

use std::{path::Path, sync::Arc, time::Duration};

use endcap_live::{
    DeadLetters, EventSink, KafkaConfig, KafkaSink, KafkaSource, Message, MockBroker, StateStore,
    StoreConfig, consumer,
};
use program::{run, settings};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// `endcap events ARGS` for this broker.
fn events(broker: &MockBroker, state: &Path, args: &[&str]) -> program::Said {
    let args = ["events"].into_iter().chain(args.iter().copied()).map(str::to_owned);
    run(args.chain(settings(broker.config(), Path::new("bundles"), state)))
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn event(id: &str, event_type: &str, visitor: &str) -> String {
    json!({
        "eventId": id, "type": event_type, "eventTime": "2026-01-01T00:00:00Z", "visitorId": visitor,
        "items": [{"itemId": "shoe"}], "consent": true,
    })
    .to_string()
}

#[test]
fn what_is_produced_is_seen_and_a_bad_row_is_named() {
    let broker = MockBroker::start(2).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let file = dir.path().join("events.jsonl");
    let lines = [
        event("e1", "view_item", "v1"),
        event("e2", "Product Added", "v2"),
        String::new(),
        event("e3", "EVENT_TYPE_CLICK", "v1"),
        event("e4", "gaze", "v1"),
        event("e5", "view", ""),
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let path = file.to_str().unwrap();

    let said = events(&broker, &state, &["produce", path]);
    said.refused(1, &[path, "line 5", "gaze", "3 rows before it were written"]);
    let said = events(&broker, &state, &["produce", path, "--skip-bad", "--output", "json"]);
    said.refused(1, &["line 5", "line 6: visitor_id: must not be empty", "2 rows"]);
    let counts: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(counts, json!({"written": 3, "bad": 2}));

    let all = ["tail", "events", "--from", "beginning", "--until-end", "--output", "json"];
    let seen = rows(&events(&broker, &state, &all).done());
    assert_eq!(seen.len(), 6, "{seen:?}");
    let of = |args: &[&str]| rows(&events(&broker, &state, &[&all[..], args].concat()).done()).len();
    assert_eq!(of(&["--visitor", "v1"]), 4);
    assert_eq!(of(&["--type", "add_to_cart"]), 2);
    assert_eq!(of(&["--visitor", "v1", "--type", "click", "--limit", "1"]), 1);
    let text = events(&broker, &state, &["tail", "--from", "1", "--until-end"]).done();
    // One of each partition that holds any.
    assert!(text.contains("\"visitorId\"") && (1..=2).contains(&text.lines().count()), "{text}");
    events(&broker, &state, &["tail", "--from", "yesterday"]).refused(2, &["beginning", "yesterday"]);
    events(&broker, &state, &["tail", "--partition", "7"]).refused(2, &["no such partition"]);

    let items = dir.path().join("items.jsonl");
    std::fs::write(
        &items,
        "{\"id\": \"shoe\", \"title\": \"Shoe\", \"price\": 9.5}\n{\"title\": \"no id\"}\n",
    )
    .unwrap();
    let said = events(&broker, &state, &["produce", items.to_str().unwrap(), "--topic", "items"]);
    said.refused(1, &["line 2", "id"]);
    let seen = rows(
        &events(
            &broker,
            &state,
            &["tail", "items", "--from", "beginning", "--until-end", "--output", "json"],
        )
        .done(),
    );
    assert_eq!(seen[0]["value"]["title"], "Shoe");
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_told_and_a_dead_letter_is_seen_and_redriven() {
    let broker = MockBroker::start(2).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let config = broker.config().clone();
    let sink = KafkaSink::prompt(&config).unwrap();
    for (key, value) in [("v1", event("e1", "view", "v1")), ("v2", event("e2", "gaze", "v2"))] {
        let message = Message::new("events", key, value).header("content-type", "application/json");
        (&sink as &dyn EventSink).deliver(message).await.unwrap();
    }
    events(&broker, &state, &["lag"]).refused(1, &["no such folder"]);
    consume(&config, &state).await;
    let message =
        Message::new("events", "v1", event("e3", "view", "v1")).header("content-type", "application/json");
    (&sink as &dyn EventSink).deliver(message).await.unwrap();
    let lag: Value =
        serde_json::from_str(&events(&broker, &state, &["lag", "--output", "json"]).done()).unwrap();
    assert_eq!((&lag["lag"], &lag["offsets_from"]), (&json!(1), &json!("state")), "{lag}");

    let letters = ["tail", "dead-letters", "--from", "beginning", "--until-end", "--output", "json"];
    let seen = rows(&events(&broker, &state, &letters).done());
    let letter = &seen[0]["dead_letter"];
    assert_eq!((seen.len(), &letter["stage"]), (1, &json!("decode")), "{seen:?}");
    assert!(
        letter["reason"].as_str().unwrap().contains("gaze")
            && seen[0]["raw"].as_str().unwrap().contains("e2")
    );
    let dry = events(&broker, &state, &["redrive", "--dry-run"]).done();
    assert!(dry.contains("1 would be sent") && dry.contains("still rejected"), "{dry}");
    let redrive = |args: &[&str]| -> Value {
        let args = [&["redrive", "--output", "json"], args].concat();
        serde_json::from_str(&events(&broker, &state, &args).done()).unwrap()
    };
    assert_eq!(redrive(&["--reason", "something else"])["sent"], 0);
    assert_eq!(redrive(&["--sound-only"])["kept"], 1);
    let sent = redrive(&["--stage", "decode", "--list"]);
    assert_eq!((&sent["sent"], &sent["letters"][0]["topic"]), (&json!(1), &json!("events")), "{sent}");
    assert_eq!(redrive(&[])["redriven_before"], 1);
    consume(&config, &state).await;
    assert_eq!(
        rows(&events(&broker, &state, &letters).done()).len(),
        3,
        "letter, mark, and the letter of its return"
    );
}

/// Applies what is there.
async fn consume(config: &KafkaConfig, state: &Path) {
    let (_, writer) = StateStore::open(state, &config.topics.events, &StoreConfig::default()).unwrap();
    let letters = Arc::new(KafkaSink::patient(config).unwrap());
    let (service, handle) = consumer::Service::new(consumer::Options {
        erasures: None,
        source: Box::new(KafkaSource::new(config, &config.topics.events).unwrap()),
        writer: Box::new(writer),
        dead_letters: DeadLetters::new(letters, config.topics.dead_letters.as_str()),
        config: consumer::ConsumerConfig::default(),
    });
    let drain = CancellationToken::new();
    let running = tokio::spawn(service.run(drain.clone()));
    assert!(tokio::time::timeout(Duration::from_secs(60), handle.caught_up()).await.unwrap());
    drain.cancel();
    running.await.unwrap().unwrap();
}
