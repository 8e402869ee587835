//! The service: what runs between a bundle and a port, and in which order it starts and stops.
//!
//! ```text
//! bundle ─► Recommender ◄── StateStore ◄── consumer ◄── topics events, erasures
//!            ▲    │ └──────► impressions ─────────────► topic impressions
//!            │    ▼
//!  topic items    server ◄── storefronts          topics ─► archive, where it is configured
//! ```
//!
//! Start: the active bundle is loaded and verified, the state opened, the topic `items` read to its end; then
//! the port opens. Stop: the port first, then what feeds it, then what it feeds, each awaited.

mod bundles;
pub mod erase;
mod ports;
pub mod state;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use endcap_bundle::BundleStore;
use endcap_live::{
    DeadLetters, EventProducer, EventSink, ItemProducer, KafkaConfig, KafkaSink, KafkaSource,
    PartitionOffset, archive, consumer, erasures, impressions, items, kafka::create_topics,
};
use endcap_recommend::{Recommender, SystemClock};
use endcap_server as server;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::{
    bundles::{Admin, Bundles},
    erase::Eraser,
    ports::{Catalogue, Events, Items, Stream},
    state::State,
};
use crate::config::Config;

/// A running service.
pub struct Running {
    address: SocketAddr,
    server: Task,
    /// What takes in and sends out, in the order in which it stops.
    tasks: Vec<Task>,
}

/// A named part that runs until its token is cancelled.
struct Task {
    name: &'static str,
    drain: CancellationToken,
    done: JoinHandle<anyhow::Result<()>>,
}

/// Starts the service; it serves when this returns.
///
/// # Errors
/// When there is no sound active bundle, the state cannot be opened, or the port cannot be had. A broker that is
/// away is no error: the service answers from what it has, and says so.
pub async fn start(config: &Config) -> anyhow::Result<Running> {
    config.validate()?;
    let folder = &config.bundles.path;
    if !folder.is_dir() {
        // Opening a store makes its folder, which a mistyped path should not.
        anyhow::bail!("{}: no such folder; `endcap train DIR --out {0}` makes it", folder.display());
    }
    let store = BundleStore::open(folder)?;
    let loading = store.clone();
    let bundle = tokio::task::spawn_blocking(move || loading.load_active())
        .await?
        .with_context(|| format!("cannot load the active bundle of {}", folder.display()))?;

    // A broker that is away must not keep the shop from being answered.
    let patience = Duration::from_millis(config.bundles.catch_up_timeout_ms);
    let catch_up_by = Instant::now() + patience;
    let topics = &config.kafka.topics;
    if config.kafka.create_topics.enabled {
        match timeout_at(catch_up_by, create_topics(&config.kafka)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!("topics are not checked: {error}"),
            Err(_) => tracing::warn!("topics are not checked: {} does not answer", config.kafka.brokers),
        }
    }
    let key = config.erasure_key()?;
    let (state, writer) = State::open(config)?;
    let prompt: Arc<dyn EventSink> = Arc::new(KafkaSink::prompt(&within_deadline(config))?);
    let patient: Arc<dyn EventSink> = Arc::new(KafkaSink::patient(&config.kafka)?);
    let dead_letters = DeadLetters::new(Arc::clone(&patient), topics.dead_letters.as_str());

    let (sending, impressions) = impressions::Service::new(impressions::Options {
        sink: Arc::clone(&patient),
        topic: topics.impressions.as_str().into(),
        config: config.impressions.clone(),
    });
    let items_from = bundle.manifest.origin.items_offsets.iter();
    let items_from: Vec<PartitionOffset> =
        items_from.map(|at| PartitionOffset { partition: at.partition, offset: at.offset }).collect();
    let recommender = Arc::new(Recommender::new(
        bundle,
        state.reader(),
        Arc::new(impressions.clone()),
        Arc::new(SystemClock),
        config.recommend.clone(),
    )?);

    let (erasing, erasures) = erasures::Service::new(erasures::Options {
        source: Box::new(KafkaSource::new(&config.kafka, &topics.erasures)?),
        sink: Arc::clone(&prompt),
        key,
    });
    let (consuming, consumer) = consumer::Service::new(consumer::Options {
        source: Box::new(KafkaSource::member(
            &config.kafka,
            &topics.events,
            config.consumer.membership().as_ref(),
        )?),
        writer,
        dead_letters: dead_letters.clone(),
        erasures: Some(erasures.clone()),
        config: config.consuming(),
    });
    let (feeding, feed) = items::Service::new(items::Options {
        source: Box::new(KafkaSource::new(&config.kafka, &topics.items)?),
        from: items_from,
        sink: Arc::new(Catalogue(Arc::clone(&recommender))),
        dead_letters: dead_letters.clone(),
    });
    let archive = config.archive.path.is_some().then(archive::Handle::default);
    let bundles = Arc::new(Bundles::new(store, Arc::clone(&recommender), config.kafka.clone(), dead_letters));

    let sending = Task::spawn("impressions", |drain| async move { Ok(sending.run(drain).await?) });
    let erasing = Task::spawn("erasures", |drain| async move { Ok(erasing.run(drain).await?) });
    let consuming = Task::spawn("events", |drain| async move { Ok(consuming.run(drain).await?) });
    let feeding = Task::spawn("items", |drain| async move { Ok(feeding.run(drain).await?) });
    let watching = {
        let (bundles, every) =
            (Arc::clone(&bundles), Duration::from_millis(config.bundles.watch_interval_ms.max(10)));
        Task::spawn("bundles", move |drain| bundles.watch(every, drain))
    };

    let archiving = config.archive.path.clone().zip(archive.clone()).map(|(to, handle)| {
        let (config, erasures) = (config.clone(), erasures.clone());
        Task::spawn("archive", |drain| async move {
            let mut options =
                || archive::Options::from_kafka(&config.kafka, to.clone(), config.archive.clone());
            Ok(archive::run_without(&mut options, &erasures, &handle, drain).await?)
        })
    });

    if !matches!(timeout_at(catch_up_by, feed.caught_up()).await, Ok(true)) {
        tracing::warn!(
            "the topic {} is not read to its end after {patience:?}; serving all the same",
            topics.items
        );
    }
    let (service, handle) = server::Options {
        config: config.server.clone(),
        recommender,
        events: Some(Arc::new(Events(EventProducer::new(Arc::clone(&prompt), topics.events.as_str())))),
        items: Some(Arc::new(Items(ItemProducer::new(prompt, topics.items.as_str())))),
        eraser: Some(Arc::new(Eraser {
            erasures: erasures.clone(),
            consumer: consumer.clone(),
            state: state.clone(),
            kafka: config.kafka.clone(),
        })),
        bundles: Some(Arc::new(Admin(bundles))),
        stream: Some(Arc::new(Stream {
            consumer,
            erasures,
            feed,
            impressions,
            archive,
            state,
            topics: topics.clone(),
        })),
        clock: Arc::new(SystemClock),
    }
    .bind()
    .await?;
    let address = handle.address();
    let server = Task::spawn("server", |drain| async move { Ok(service.run(drain).await?) });
    let tasks = [watching, feeding, consuming, erasing, sending].into_iter().chain(archiving).collect();
    Ok(Running { address, server, tasks })
}

/// How to reach Kafka for a request that waits: given up soon enough to tell the request why.
fn within_deadline(config: &Config) -> KafkaConfig {
    let deadline = u32::try_from(config.server.limits.deadline_ms).unwrap_or(u32::MAX);
    let most = (deadline / 10 * 9).max(1);
    KafkaConfig { delivery_timeout_ms: config.kafka.delivery_timeout_ms.min(most), ..config.kafka.clone() }
}

// === impl Running ===

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until `stop` is done or a part ends by itself; then drains.
    ///
    /// # Errors
    /// The first error of a part.
    pub async fn until(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
            if self.server.done.is_finished() || self.tasks.iter().any(|task| task.done.is_finished()) {
                tracing::error!("a part of the service ended by itself; draining");
                break;
            }
        }
        self.drain().await
    }

    /// Stops part by part, and waits for each.
    ///
    /// # Errors
    /// The first error of a part.
    pub async fn drain(self) -> anyhow::Result<()> {
        let mut first = self.server.stop().await;
        for task in self.tasks {
            let stopped = task.stop().await;
            first = first.and(stopped);
        }
        first
    }
}

// === impl Task ===

impl Task {
    fn spawn<F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let drain = CancellationToken::new();
        let done = tokio::spawn(run(drain.clone()));
        Self { name, drain, done }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.drain.cancel();
        self.done.await.context("panicked").flatten().with_context(|| format!("{} stopped", self.name))
    }
}
