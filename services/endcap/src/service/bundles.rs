//! Which bundle serves: the store's word, carried out.
//!
//! `endcap train` and `endcap models activate` change `active.json`; the watch sees it within a second, loads and
//! verifies the bundle, reads the topic `items` from the bundle's offsets on, and swaps it in. A bundle that
//! cannot serve leaves the old one where it is.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use endcap_bundle::{Bundle, BundleError, BundleStore, Manifest, Version};
use endcap_live::{
    CatalogueSink, DeadLetters, KafkaConfig, KafkaSource, PartitionOffset, Place,
    items::{self, CatalogueError},
};
use endcap_proto::{Item, ItemId, v1};
use endcap_recommend::{ItemChange, Recommender};
use endcap_server::{AdminError, BundleAdmin};
use futures::future::{BoxFuture, FutureExt};
use tokio_util::sync::CancellationToken;

use super::ports::position;

/// The bundles of a running service.
pub struct Bundles {
    store: BundleStore,
    recommender: Arc<Recommender>,
    kafka: KafkaConfig,
    dead_letters: DeadLetters,
    /// One swap at a time.
    swapping: tokio::sync::Mutex<()>,
}

/// Gathers what the topic `items` says.
#[derive(Default)]
struct Gathered(Mutex<Vec<ItemChange>>);

// === impl Bundles ===

impl Bundles {
    pub fn new(
        store: BundleStore,
        recommender: Arc<Recommender>,
        kafka: KafkaConfig,
        dead_letters: DeadLetters,
    ) -> Self {
        Self { store, recommender, kafka, dead_letters, swapping: tokio::sync::Mutex::default() }
    }

    /// Follows `active.json` until `drain`.
    pub async fn watch(self: Arc<Self>, every: Duration, drain: CancellationToken) -> anyhow::Result<()> {
        let mut refused: Option<Version> = None;
        loop {
            tokio::select! {
                () = drain.cancelled() => return Ok(()),
                () = tokio::time::sleep(every) => {}
            }
            let active = match self.store.active() {
                Ok(active) => active,
                Err(error) => {
                    tracing::warn!("{error}");
                    continue;
                }
            };
            let serving = self.recommender.status().bundle_version;
            match active {
                Some(version) if version.as_str() != serving && refused.as_ref() != Some(&version) => {
                    match self.swap(version.clone()).await {
                        Ok(()) => tracing::info!("bundle {version} serves, after {serving}"),
                        Err(error) => {
                            tracing::error!("bundle {version} does not serve, {serving} goes on: {error:#}");
                            refused = Some(version);
                        }
                    }
                }
                _ => {}
            }
            let recommender = Arc::clone(&self.recommender);
            tokio::task::spawn_blocking(move || recommender.compact_if_due()).await??;
        }
    }

    /// Loads a bundle, and lets it serve once it knows what the topic `items` knows.
    async fn swap(self: &Arc<Self>, version: Version) -> anyhow::Result<()> {
        let _one = self.swapping.lock().await;
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            if this.recommender.status().bundle_version == version.as_str() {
                return Ok(());
            }
            let bundle = Bundle::load(&this.store.path(&version))?;
            let gathered = Arc::new(Gathered::default());
            let offsets = bundle.manifest.origin.items_offsets.iter();
            items::replay(items::Options {
                source: Box::new(KafkaSource::new(&this.kafka, &this.kafka.topics.items)?),
                from: offsets
                    .map(|at| PartitionOffset { partition: at.partition, offset: at.offset })
                    .collect(),
                sink: Arc::clone(&gathered) as Arc<dyn CatalogueSink>,
                dead_letters: this.dead_letters.clone(),
            })?;
            let changes = std::mem::take(&mut *gathered.0.lock().unwrap_or_else(PoisonError::into_inner));
            Ok(this.recommender.swap(bundle, changes)?)
        })
        .await?
    }

    fn describe(&self, manifest: Manifest, active: Option<&Version>) -> v1::Bundle {
        v1::Bundle {
            active: active == Some(&manifest.version),
            version: manifest.version.to_string(),
            create_time: Some(manifest.created.to_proto()),
            items: manifest.metrics.get("items").map_or(0, |&items| items as u64),
            metrics: manifest.metrics,
        }
    }

    fn find(&self, version: &Version) -> Result<v1::Bundle, AdminError> {
        let manifest = Manifest::read(&self.store.path(version)).map_err(admin_error)?;
        Ok(self.describe(manifest, Some(version)))
    }
}

/// The bundles as the admin service sees them.
pub struct Admin(pub Arc<Bundles>);

impl BundleAdmin for Admin {
    fn list(&self) -> BoxFuture<'_, Result<Vec<v1::Bundle>, AdminError>> {
        async move {
            let active = self.0.store.active().map_err(admin_error)?;
            let manifests = self.0.store.list().map_err(admin_error)?;
            Ok(manifests.into_iter().map(|manifest| self.0.describe(manifest, active.as_ref())).collect())
        }
        .boxed()
    }

    fn activate<'a>(&'a self, version: &'a str) -> BoxFuture<'a, Result<v1::Bundle, AdminError>> {
        async move {
            let version = Version::parse(version).map_err(admin_error)?;
            self.0.store.activate(&version).map_err(admin_error)?;
            self.0.swap(version.clone()).await.map_err(|error| AdminError::Refused(format!("{error:#}")))?;
            self.0.find(&version)
        }
        .boxed()
    }

    fn rollback(&self) -> BoxFuture<'_, Result<v1::Bundle, AdminError>> {
        async move {
            let version = self.0.store.rollback().map_err(admin_error)?;
            self.0.swap(version.clone()).await.map_err(|error| AdminError::Refused(format!("{error:#}")))?;
            self.0.find(&version)
        }
        .boxed()
    }
}

fn admin_error(error: BundleError) -> AdminError {
    let message = error.to_string();
    match error {
        BundleError::Unknown { .. } => AdminError::NotFound(message),
        BundleError::VersionName(_) => AdminError::InvalidVersion(message),
        BundleError::Io { .. } => AdminError::Failed(message),
        _ => AdminError::Refused(message),
    }
}

// === impl Gathered ===

impl Gathered {
    fn push(&self, change: ItemChange) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }
}

impl CatalogueSink for Gathered {
    fn upsert(&self, item: Item, place: &Place) -> Result<(), CatalogueError> {
        self.push(ItemChange::upsert(item, Some(position(place))));
        Ok(())
    }

    fn delete(&self, item: &ItemId, place: &Place) -> Result<(), CatalogueError> {
        self.push(ItemChange::delete(item, Some(position(place))));
        Ok(())
    }
}
