//! `endcap events lag`: how far the state is behind each partition's end.
//!
//! The offsets are the state's own, for none is committed to a group: a running service is asked for them, and where
//! there is none, the state's folder, or Valkey.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::Context;
use endcap_live::{EventSource, KafkaSource, StateStore, ValkeyStore};
use endcap_proto::v1::{GetStatusRequest, admin_service_client::AdminServiceClient};
use serde::Serialize;
use tonic::transport::Endpoint;

use crate::{
    cli::{LagArgs, Output},
    commands::print,
    config::{Backend, Config},
    exit::Failure,
};

/// How long a service may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(args: &LagArgs, output: Output) -> Result<(), Failure> {
    let config = super::load(&args.topic)?;
    let (from, applied) = match ask(&config, args.address.as_deref()) {
        Ok(applied) => ("service", applied),
        Err(error) if args.address.is_some() => return Err(error.into()),
        Err(error) => ("state", read(&config).with_context(|| format!("no service answers ({error:#})"))?),
    };
    let topic = &config.kafka.topics.events;
    let bounds = KafkaSource::new(&config.kafka, topic)?.bounds()?;
    let partitions: Vec<_> = bounds
        .iter()
        .map(|at| {
            let next = applied.get(&at.partition).copied();
            Partition {
                partition: at.partition,
                applied: next,
                first: at.first,
                end: at.end,
                lag: u64::try_from(at.end - next.unwrap_or(at.first)).unwrap_or_default(),
            }
        })
        .collect();
    let lag = partitions.iter().map(|at| at.lag).sum();
    print(&Lag { topic: topic.clone(), offsets_from: from, lag, partitions }, output)?;
    Ok(())
}

/// The next offset of each partition, by a running service.
fn ask(config: &Config, address: Option<&str>) -> anyhow::Result<BTreeMap<i32, i64>> {
    let address = address.map_or_else(|| format!("http://{}", config.server.address), str::to_owned);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = Endpoint::from_shared(address.clone())
            .with_context(|| format!("--address {address}"))?
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE)
            .connect()
            .await
            .with_context(|| format!("cannot reach the service at {address}"))?;
        let status = AdminServiceClient::new(channel)
            .get_status(GetStatusRequest {})
            .await
            .with_context(|| format!("the service at {address} does not tell its status"))?
            .into_inner();
        let topic = &config.kafka.topics.events;
        let own = status.lag.iter().filter(|at| at.topic == *topic);
        Ok(own.map(|at| (at.partition, at.applied_offset)).collect())
    })
}

/// The same, by the state itself: a folder, which no service may be using, or Valkey.
fn read(config: &Config) -> anyhow::Result<BTreeMap<i32, i64>> {
    if config.state.backend == Backend::Valkey {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(async {
            let (topic, state) = (&config.kafka.topics.events, &config.state);
            let (store, _) = ValkeyStore::open(&state.valkey, topic, &state.store)?;
            Ok(store.flushed().await?.into_iter().map(|at| (at.partition, at.offset)).collect())
        });
    }
    let path = &config.state.path;
    if !path.is_dir() {
        anyhow::bail!("{}: no such folder, so nothing was applied", path.display());
    }
    let (store, _writer) = StateStore::open(path, &config.kafka.topics.events, &config.state.store)?;
    Ok(store.applied().into_iter().map(|at| (at.partition, at.offset)).collect())
}

#[derive(Serialize)]
struct Lag {
    topic: String,
    /// Who said how far the state is: `service`, or `state`, its folder or Valkey.
    offsets_from: &'static str,
    lag: u64,
    partitions: Vec<Partition>,
}

#[derive(Serialize)]
struct Partition {
    partition: i32,
    /// The next offset; none where nothing was applied.
    applied: Option<i64>,
    first: i64,
    end: i64,
    lag: u64,
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "topic {}, offsets of the {}", self.topic, self.offsets_from)?;
        writeln!(f, "partition      applied          end          lag")?;
        for Partition { partition, applied, end, lag, .. } in &self.partitions {
            let applied = applied.map_or_else(|| "-".to_owned(), |next| next.to_string());
            writeln!(f, "{partition:>9} {applied:>12} {end:>12} {lag:>12}")?;
        }
        writeln!(f, "{:>9} {:>12} {:>12} {:>12}", "all", "", "", self.lag)
    }
}
