//! What the binary says to bad input: each message names what is wrong and where, and the exit code is the contract's.

mod program;
mod shop;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use endcap_clickstream::synthetic::{Shop, ShopConfig};
use endcap_live::{KafkaConfig, MockBroker};
use endcap_proto::v1::{RecommendRequest, WriteEventsRequest};
use program::{Client, PATIENCE, Service, run, settings};
use shop::{QUICK, copy, files, fixture, now, view};
use tonic::Code;

#[test]
fn the_help_of_every_command_is_this() {
    let commands = [
        "",
        "demo",
        "import",
        "check",
        "train",
        "tune",
        "evaluate",
        "serve",
        "replay",
        "archive",
        "archive fetch",
        "events",
        "events produce",
        "events tail",
        "events lag",
        "events redrive",
        "models",
        "models list",
        "models activate",
        "models rollback",
        "doctor",
    ];
    let mut text = String::new();
    for command in commands {
        let help = run(command.split_whitespace().chain(["--help"])).done();
        text += format!("$ endcap {command}").trim_end();
        text += " --help\n";
        for line in help.lines() {
            text += line.trim_end();
            text += "\n";
        }
        text += "\n";
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn a_wrong_flag_is_named() {
    run(["serve", "--bogus"]).refused(2, &["'--bogus'", "--help"]);
    run(["train"]).refused(2, &["--out", "DIR"]);
    run(["train", "data", "--out", "bundles", "--device", "tpu"])
        .refused(2, &["--device", "cpu, candle, cuda"]);
    run(["doctor", "--log", "!?"]).refused(2, &["--log", "!?"]);
}

#[test]
fn a_search_keeps_its_trials_and_writes_the_best_configuration() {
    let shop = fixture();
    let folder = tempfile::tempdir().unwrap();
    let (space, out) = (folder.path().join("space.toml"), folder.path().join("out"));
    let text =
        "[search]\ntrials = 3\nepochs = [1, 2]\n[ranges]\n\"towers.dropout\" = { uniform = [0.0, 0.4] }\n";
    let tune = |text: &str| {
        std::fs::write(&space, text).unwrap();
        let [data, space, out] = [&shop.data, &space, &out].map(|path| path.to_str().unwrap());
        let small = ["--set", "towers.dim=16", "--set", "towers.hidden=16"];
        run([&["tune", data, "--space", space, "--out", out, "--output", "json"][..], &small[..]].concat())
    };
    tune(&text.replace("uniform", "unequal")).refused(78, &["towers.dropout", "unequal"]);
    let first = tune(text).done();
    let table: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(table["trials"].as_array().unwrap().len(), 4, "three for an epoch, the best for two");
    let best = std::fs::read_to_string(out.join("best.toml")).unwrap();
    let drawn = table["best"][0].as_str().unwrap().split_once('=').unwrap().1.parse::<f64>().unwrap();
    let config: toml::Table = best.parse().unwrap();
    assert!((config["towers"]["dropout"].as_float().unwrap() - drawn).abs() < 1e-6, "{best}");
    // Again: nothing is run twice, so even the times are the same.
    assert_eq!(tune(text).done(), first);
}

#[test]
fn a_bundle_that_knew_the_answers_is_refused_and_two_that_did_not_are_compared() {
    let shop = fixture();
    let (data, bundles) = (shop.data.to_str().unwrap(), shop.bundles.to_str().unwrap());
    run(["evaluate", bundles, data]).refused(1, &[bundles, "was trained on events up to", "--holdout"]);
    run(["evaluate", data, "--protocol", "next-item"])
        .refused(1, &[data, "no train and test set of its own"]);
    let odd = ["evaluate", data, "--protocol", "leave-one-out", "--holdout", "0.1"];
    run(odd).refused(2, &["--holdout", "leave-one-out"]);
    run(["evaluate", data, "--k", "0"]).refused(2, &["--k", "0"]);

    let dir = tempfile::tempdir().unwrap();
    let held = dir.path().join("bundles");
    let held = held.to_str().unwrap();
    let train = ["train", data, "--out", held, "--protocol", "leave-one-out"];
    run(train.iter().chain(&QUICK)).done();
    run(["evaluate", held, data]).refused(1, &["was trained on events up to"]);
    let evaluate =
        ["evaluate", held, held, data, "--protocol", "leave-one-out", "--k", "5,10", "--cases", "100"];
    let text = run(evaluate).done();
    for part in [
        "bundles A = ",
        "seen items masked",
        "ties against",
        "recall@5",
        "B: funnel",
        "EASE",
        "not told apart",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let report: serde_json::Value =
        serde_json::from_str(&run(evaluate.iter().chain(&["--output", "json"])).done()).unwrap();
    let (group, row) = (&report["groups"][0], &report["groups"][0]["rows"][0]);
    assert_eq!((&row["system"], &group["cases"]), (&"popularity".into(), &group["relevant"]));
    let metrics: Vec<&str> =
        row["estimates"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap()).collect();
    assert!(["hr@5", "map@10", "auc", "novelty@10"].iter().all(|name| metrics.contains(name)), "{metrics:?}");
}

#[test]
fn an_unknown_key_is_named_with_those_that_are_known() {
    for command in [&["serve"][..], &["doctor"], &["archive", "--out", "nowhere"]] {
        let args = command.iter().chain(&["--set", "server.adress=127.0.0.1:1"]);
        run(args).refused(78, &["key `server.adress`", "`address`", "--set"]);
    }
    let train = ["train", "nowhere", "--out", "nowhere", "--set", "towers.epoch=1"];
    run(train).refused(78, &["key `towers.epoch`", "`epochs`"]);
    run(["serve", "--set", "archive.path=gs://shop"])
        .refused(78, &["key `archive.path`", "s3://bucket/prefix"]);
    run(["archive", "--until-end"]).refused(2, &["--out", "archive.path"]);
    run(["archive", "--out", "gs://shop"]).refused(2, &["--out", "s3://bucket/prefix"]);
    run(["serve", "--set", "recommend.sources.towers=many"]).refused(78, &["key `recommend.sources.towers`"]);
    run(["serve", "--set", "kafka.properties.\"group.id\"=\"a\""]).refused(78, &["kafka", "group.id"]);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("endcap.toml");
    fs::write(&file, "[kafka]\nbrokers = \"localhost:9092\"\nbroker = \"localhost:9092\"\n").unwrap();
    let args = ["serve".as_ref(), "--config".as_ref(), file.as_os_str()];
    run(args).refused(78, &[&file.display().to_string(), "key `kafka.broker`", "`brokers`"]);
}

#[test]
fn a_truncated_arrow_file_is_named() {
    let shop = fixture();
    let sound = run(["check".as_ref(), shop.data.as_os_str()]);
    assert_eq!(sound.code, 0, "{sound:?}");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    copy(&shop.data, &data);
    let arrow: Vec<_> =
        files(&data).into_iter().filter(|path| path.extension() == Some("arrow".as_ref())).collect();
    assert!(arrow.len() >= 2, "events and items: {arrow:?}");
    for path in arrow.iter().filter(|path| !path.starts_with(data.join("impressions"))) {
        let whole = fs::read(path).unwrap();
        fs::write(path, &whole[..whole.len() / 2]).unwrap();
        run(["check".as_ref(), data.as_os_str()]).refused(1, &[&path.display().to_string(), "cut off"]);
        fs::write(path, whole).unwrap();
    }
}

#[test]
fn too_little_data_is_no_go() {
    let dir = tempfile::tempdir().unwrap();
    let config = ShopConfig {
        items: 100,
        shoppers: 10,
        days: 2,
        images: false,
        slate_size: 10,
        end: now(),
        ..ShopConfig::default()
    };
    Shop::new(&config).unwrap().write(dir.path()).unwrap();
    let said = run(["check".as_ref(), dir.path().as_os_str()]);
    assert_eq!((said.code, said.stderr.as_str()), (3, ""), "{said:?}");
    assert!(said.stdout.contains("No-go") && said.stdout.contains("visitors"), "{}", said.stdout);
    println!("{}", said.stdout);
    let nowhere = dir.path().join("nowhere");
    run(["check".as_ref(), nowhere.as_os_str()])
        .refused(1, &[&nowhere.display().to_string(), "No such file"]);
}

#[test]
fn one_flipped_byte_in_any_file_of_a_bundle_is_found_before_it_is_parsed() {
    let shop = fixture();
    let dir = tempfile::tempdir().unwrap();
    let bundles = dir.path().join("bundles");
    copy(&shop.bundles, &bundles);
    let broker = MockBroker::start(1).unwrap();
    let settings = settings(broker.config(), &bundles, &dir.path().join("state"));
    let command = |name: &str| run(std::iter::once(name).chain(settings.iter().map(String::as_str)));
    assert!(command("doctor").done().contains(&format!("{} is sound", shop.version)));

    let bundle_files = files(&bundles.join(&shop.version));
    assert!(bundle_files.len() > 8, "{bundle_files:?}");
    for (i, path) in bundle_files.iter().enumerate() {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, &bytes).unwrap();
        let said = command("doctor");
        assert_eq!(said.code, 1, "{said:?}");
        let line = said.stdout.lines().find(|line| line.starts_with("BAD")).unwrap();
        // What parses a file names it otherwise: the difference was found before.
        let refusal = format!("{} is not what was published", path.display());
        assert!(line.starts_with("BAD bundle") && line.contains(&refusal), "{line}");
        println!("{line}");
        if i == 0 {
            command("serve").refused(1, &[&refusal, "cannot load the active bundle"]);
        }
        bytes[middle] ^= 1;
        fs::write(path, &bytes).unwrap();
    }
    assert!(command("doctor").done().contains("is sound"), "as it was");
}

#[test]
fn a_folder_without_a_bundle_says_what_makes_one() {
    let dir = tempfile::tempdir().unwrap();
    let serve = |bundles: &Path| run(["serve", "--set", &format!("bundles.path={}", bundles.display())]);
    let train = format!("endcap train DIR --out {}", dir.path().display());
    serve(dir.path()).refused(1, &["no active bundle", &train]);
    let nowhere = dir.path().join("nowhere");
    serve(&nowhere).refused(1, &["no such folder", &train]);
    assert!(!nowhere.exists(), "a mistyped path makes no folder");
}

#[test]
fn a_port_in_use_is_named() {
    let shop = fixture();
    let broker = MockBroker::start(1).unwrap();
    let state = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut args = vec!["serve".to_owned()];
    args.extend(settings(broker.config(), &shop.bundles, state.path()));
    args.extend(["--set".to_owned(), format!("server.address={address}")]);
    run(args).refused(1, &[&address, "in use by another process", "server.address"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_it_answers_and_says_so() {
    let shop = fixture();
    let state = tempfile::tempdir().unwrap();
    let away = nobody();
    let mut args = settings(&KafkaConfig::new(&away), &shop.bundles, state.path());
    let quick = ["bundles.catch_up_timeout_ms=500", "impressions.drain_timeout_ms=100"];
    args.extend(quick.iter().flat_map(|entry| ["--set".to_owned(), (*entry).to_owned()]));
    let began = Instant::now();
    let service = Service::start(&args);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it waited {:?} for a broker that is away",
        began.elapsed()
    );
    println!("{}", service.log().trim_end());

    let mut client = service.client().await;
    let slate =
        client.recommend(RecommendRequest { visitor_id: "anna".into(), ..Default::default() }).await.unwrap();
    assert_eq!(slate.results.len(), 20);

    let written = WriteEventsRequest { events: vec![view("anna", &shop.item(0).id, 1).into()] };
    let refused = client.events.write(written).await.unwrap_err();
    println!("{}", refused.message());
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("broker is not available") && refused.message().contains(&away));

    let degraded = loop {
        let degraded = service.degraded();
        if degraded.len() >= 2 {
            break degraded;
        }
        assert!(began.elapsed() < PATIENCE, "{degraded:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    println!("{}", degraded.join("\n"));
    assert!(!degraded.iter().any(|reason| reason.matches("topic ").count() > 1), "{degraded:?}");
    for topic in ["topic events", "topic items"] {
        assert!(
            degraded.iter().any(|reason| reason.contains(topic) && reason.contains(&away)),
            "{degraded:?}"
        );
    }

    // A question that the broker owes an answer to is given up within seconds.
    let told = Instant::now();
    drop(service);
    assert!(told.elapsed() < Duration::from_secs(12), "it took {:?} to stop", told.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_break_a_rule_name_the_field() {
    let shop = fixture();
    let broker = MockBroker::start(1).unwrap();
    let state = tempfile::tempdir().unwrap();
    let service = Service::start(&settings(broker.config(), &shop.bundles, state.path()));
    let client = service.client().await;
    let anna = || RecommendRequest { visitor_id: "anna".into(), ..Default::default() };

    let request = RecommendRequest { page_size: -1, ..anna() };
    refused(&client, request, Code::InvalidArgument, "page_size: must not be negative, is -1").await;
    refused(&client, RecommendRequest::default(), Code::InvalidArgument, "visitor_id: must not be empty")
        .await;
    // A million ids that fit into a message, and a million that do not.
    let request = RecommendRequest { candidate_ids: vec!["a".into(); 1_000_000], ..anna() };
    let message = "candidate_ids holds 1000000 entries, the most is 10000";
    refused(&client, request, Code::ResourceExhausted, message).await;
    let request = RecommendRequest { exclude_item_ids: vec!["sku-1234567".into(); 1_000_000], ..anna() };
    refused(&client, request, Code::ResourceExhausted, "4194304").await;
    let request = RecommendRequest { filter: "price < \"10\"".into(), ..anna() };
    let message = "filter: price is a number: write 10 without quotes (at character 9)";
    refused(&client, request, Code::InvalidArgument, message).await;
    let request = RecommendRequest { page_token: "next".into(), ..anna() };
    refused(&client, request, Code::Unimplemented, "page_token does not act in this version").await;
    let request = RecommendRequest { experiment_ids: vec!["a".into()], ..anna() };
    refused(&client, request, Code::Unimplemented, "experiment_ids does not act in this version").await;
    let request = RecommendRequest { placement: "attic".into(), ..anna() };
    refused(&client, request, Code::InvalidArgument, "placement").await;
    client.recommend(anna()).await.unwrap();
    service.stop();
}

async fn refused(client: &Client, request: RecommendRequest, code: Code, words: &str) {
    let status = client.recommend(request).await.unwrap_err();
    println!("{:?}: {}", status.code(), status.message());
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(words), "{status}");
}

/// An address where nobody listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_closed_pipe_is_no_failure() {
    for command in ["serve", "train"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut dump = Command::new(env!("CARGO_BIN_EXE_endcap"));
        let output = dump.args([command, "--dump-config"]).stdout(writer).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}
