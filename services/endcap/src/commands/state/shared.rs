//! The same of a state that replicas share, in Valkey or Redis.

use std::path::Path;

use endcap_live::{Backup, ValkeyStore, archive};
use tokio::runtime::Runtime;

use super::{Anew, Shown};
use crate::config::Config;

pub fn show(config: &Config) -> anyhow::Result<Shown> {
    let runtime = runtime()?;
    let described =
        runtime.block_on(async { at_rest(config)?.describe().await.map_err(anyhow::Error::from) })?;
    Ok(Shown {
        shoppers: described.shoppers,
        memory_bytes: None,
        disk_bytes: None,
        watermark: described.watermark.to_string(),
        digest: described.digest,
        offsets: described.offsets,
    })
}

pub fn backup(config: &Config, to: &Path) -> anyhow::Result<Backup> {
    let runtime = runtime()?;
    runtime.block_on(async { Ok(at_rest(config)?.backup(to).await?) })
}

/// Where it was put, and what.
pub fn restore(config: &Config, from: &Path) -> anyhow::Result<(String, Backup)> {
    let runtime = runtime()?;
    let state = &config.state;
    let backup = runtime.block_on(async {
        let (store, _) =
            ValkeyStore::to_fill(&state.valkey, &config.kafka.topics.events, &state.store).await?;
        let backup = store.fill(from).await?;
        store.filled().await?;
        Ok::<_, anyhow::Error>(backup)
    })?;
    Ok((format!("{} under {}", state.valkey.addresses, state.valkey.prefix), backup))
}

pub fn rebuild(config: &Config, from: &Path) -> anyhow::Result<Anew> {
    let runtime = runtime()?;
    let (topic, state) = (&config.kafka.topics.events, &config.state);
    let (store, mut writer) = runtime.block_on(ValkeyStore::to_fill(&state.valkey, topic, &state.store))?;
    let rebuilt = archive::rebuild(from, topic, &mut writer)?;
    if rebuilt.files == 0 {
        anyhow::bail!("{}: holds nothing of topic {topic}", from.display());
    }
    let digest = runtime.block_on(async {
        store.filled().await?;
        at_rest(config)?.describe().await.map_err(anyhow::Error::from)
    })?;
    Ok(Anew { rebuilt, digest: digest.digest })
}

fn at_rest(config: &Config) -> anyhow::Result<ValkeyStore> {
    Ok(ValkeyStore::at_rest(&config.state.valkey, &config.kafka.topics.events)?)
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
