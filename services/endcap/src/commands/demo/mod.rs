//! `endcap demo`: a whole shop on this machine, in one process.
//!
//! ```text
//! synthetic shop ─► clickstream files ─► train ─► bundle ─► service ◄── gRPC ── a simulated shopper
//!                                                             ▲                        │ clicks
//!                                                             └── Kafka (in process) ◄─┘
//! ```
//!
//! Nothing is special about it but the broker: the files, the bundle, the state and the service are what
//! `import`, `train` and `serve` make and run.

mod shopper;
mod smoke;

use std::{path::Path, sync::Arc, time::Instant};

use anyhow::Context;
use endcap_bundle::BundleStore;
use endcap_clickstream::{
    Dataset,
    synthetic::{Shop, ShopConfig},
};
use endcap_live::{EventProducer, KafkaSink, MockBroker};
use endcap_proto::VisitorId;
use endcap_trainer::PipelineConfig;

use self::{
    shopper::{Door, Slate, now},
    smoke::Smoke,
};
use super::train::train;
use crate::{cli::DemoArgs, config::Config, exit::Failure, service};

/// Partitions of the topic `events`.
const PARTITIONS: u16 = 4;
/// Products of a slate that are printed.
const PRINTED: usize = 5;

pub fn run(args: DemoArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(demo(args))
}

async fn demo(args: DemoArgs) -> Result<(), Failure> {
    let (dir, _temporary) = match &args.dir {
        Some(dir) => (dir.clone(), None),
        None => {
            let temporary = tempfile::Builder::new().prefix("endcap-demo-").tempdir()?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };

    let start = Instant::now();
    let shop = Shop::new(&ShopConfig { seed: args.seed, end: now(), ..ShopConfig::default() })?;
    let data = dir.join("data");
    if data.exists() {
        std::fs::remove_dir_all(&data).with_context(|| format!("cannot clear {}", data.display()))?;
    }
    let summary = shop.write(&data)?;
    say(
        "shop",
        &format!(
            "{} products, {} shoppers, {} events, {} slates in {:.1} s → {}",
            summary.items,
            shop.shoppers(),
            summary.events,
            summary.impressions,
            start.elapsed().as_secs_f64(),
            data.display()
        ),
    );

    let bundles = BundleStore::open(dir.join("bundles"))?;
    // A synthetic shop is learnt in a few epochs; a demo need not wait for the last digit.
    let mut config = PipelineConfig { refit: false, ..PipelineConfig::default() };
    config.towers.epochs = 3;
    config.towers.seed = args.seed;
    config.ranker.seed = args.seed;
    let published = tokio::task::block_in_place(|| -> anyhow::Result<_> {
        let published = train(&Dataset::open(&data)?, None, &config, &bundles, Default::default())?;
        bundles.activate(&published.version)?;
        Ok(published)
    })?;
    say("train", published.to_string().trim_end());

    let broker = MockBroker::start(PARTITIONS)?;
    let config = demo_config(&dir, &broker, args.port)?;
    let running = service::start(&config).await?;
    let address = running.address().to_string();
    say("serve", &format!("gRPC and JSON on {address}, Kafka on {}", config.kafka.brokers));

    let sink = KafkaSink::prompt(&config.kafka)?;
    let events = EventProducer::new(Arc::new(sink), config.kafka.topics.events.as_str());
    let door = Door::open(&address, events).await?;
    walk(&door, &shop, args.seed).await?;

    let smoke = Smoke::measure(&door, &shop, args.seed).await?;
    print!("\n{smoke}");
    if args.smoke {
        running.drain().await?;
        return if smoke.passed() {
            println!("smoke: passed");
            Ok(())
        } else {
            Err(Failure::Failed(anyhow::anyhow!(
                "smoke: a click did not show, or slates did not move toward what was clicked"
            )))
        };
    }
    print_how_to_call(&address, &shop);
    tokio::signal::ctrl_c().await?;
    println!("\ndraining …");
    running.drain().await?;
    Ok(())
}

/// The service's configuration where it differs from the default.
fn demo_config(dir: &Path, broker: &MockBroker, port: u16) -> anyhow::Result<Config> {
    let mut config = Config::default();
    config.server.address = format!("127.0.0.1:{port}").parse()?;
    config.kafka = broker.config().clone();
    config.bundles.path = dir.join("bundles");
    config.state.path = dir.join("state");
    config.impressions.spill_path = dir.join("spill");
    Ok(config)
}

/// A newcomer opens three products of one department, then one of another; each slate is printed.
async fn walk(door: &Door, shop: &Shop, seed: u64) -> anyhow::Result<()> {
    let visitor = VisitorId::new(format!("demo-shopper-{seed}"))?;
    let mut slate = door.slate(&visitor).await?;
    println!("\na newcomer sees");
    print_slate(&slate);
    let wanted = (seed as usize).wrapping_mul(31) % shop.categories().len();
    let other = (wanted + shop.categories().len() / 2) % shop.categories().len();
    for (click, category) in [wanted, wanted, wanted, other].into_iter().enumerate() {
        let item = shop
            .items()
            .iter()
            .enumerate()
            .filter(|(item, entry)| shop.category_of(*item) == category && entry.is_recommendable(now()))
            .map(|(_, entry)| entry)
            .nth(click)
            .context("the shop has an empty category")?;
        let changed = door.click(&visitor, &item.id, &slate, click as u64).await?;
        let title = item.title.as_deref().unwrap_or(item.id.as_str());
        match changed.after {
            Some(after) => println!("\nclicks {title:?}; {:.1} ms later sees", after.as_secs_f64() * 1e3),
            None => println!("\nclicks {title:?}; the slate stays"),
        }
        // On the product's page the storefront names it, so that it is not proposed to whoever looks at it.
        print_slate(&door.slate_beside(&visitor, Some(&item.id)).await?);
        slate = changed.slate;
    }
    Ok(())
}

fn print_slate(slate: &Slate) {
    for entry in slate.entries.iter().take(PRINTED) {
        let (title, category) = match &entry.item {
            Some(item) => (item.title.as_str(), item.categories.first().map_or("", String::as_str)),
            None => (entry.item_id.as_str(), ""),
        };
        println!(
            "  {:>2}  {title:<44.44}  {category:<32.32}  {}",
            entry.position + 1,
            entry.sources.join(" + ")
        );
    }
}

fn print_how_to_call(address: &str, shop: &Shop) {
    let item = shop.items()[0].id.as_str();
    println!(
        "\nIt keeps serving; Ctrl-C ends it. Meanwhile, from another terminal:\n\n  \
         curl -s http://{address}/v1/recommend -d '{{\"visitorId\": \"me\", \"pageSize\": 5, \"returnItem\": true}}'\n\n  \
         curl -s http://{address}/v1/events:write -d '{{\"events\": [{{\"eventId\": \"1\", \"type\": \"EVENT_TYPE_VIEW\", \
         \"eventTime\": \"'$(date -u +%FT%TZ)'\",\n    \"visitorId\": \"me\", \"consent\": true, \"items\": [{{\"itemId\": \
         \"{item}\"}}]}}]}}'\n\n  \
         grpcurl -plaintext -d '{{\"visitor_id\": \"me\", \"page_size\": 5}}' {address} \
         endcap.v1.RecommendationService/Recommend\n\n  \
         curl -s http://{address}/metrics"
    );
}

fn say(what: &str, result: &str) {
    println!("{what:<6} {result}");
}
