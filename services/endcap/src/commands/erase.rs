//! `endcap erase`: a shopper is forgotten, and a receipt says by whom and when.
//!
//! ```text
//! a running service ──Purge──► topic erasures, its state ──┐
//! none: topic erasures, the state of the configuration ────┴──► archives ──► receipt
//! ```

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use endcap_clickstream::Shopper;
use endcap_live::{
    EventSink, KafkaSink, KafkaSource, StateBackend, StateStore, ValkeyStore, archive,
    erasures::{self, ArchiveReceipt, Erasure, Erasures, Gone, Receipt, StateReceipt},
    kafka::create_topics,
};
use endcap_proto::{
    UserId, VisitorId, VisitorKey,
    v1::{PurgeEventsRequest, event_service_client::EventServiceClient, purge_events_request},
};
use endcap_recommend::StateReader;
use endcap_server::ShopperId;
use tokio::runtime::Runtime;
use tonic::{Code, Request, transport::Endpoint};

use super::print;
use crate::{
    cli::{EraseArgs, Output},
    config::{self, Backend, Config},
    exit::Failure,
    service::erase::{erasure, receipt, topics},
};

/// How long a service may take to be reached.
const REACH: Duration = Duration::from_secs(5);
/// How long it may take to forget; a state of many gigabytes is written anew.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn run(args: EraseArgs, output: Output) -> Result<(), Failure> {
    let shopper = match (args.user, args.visitor) {
        (Some(id), None) => UserId::new(id).map(ShopperId::User),
        (_, id) => VisitorId::new(id.unwrap_or_default()).map(ShopperId::Visitor),
    };
    let shopper = shopper.map_err(|error| Failure::Usage(error.to_string()))?;
    let config: Config = config::load(args.config.as_deref(), &args.set)?;
    config.validate().map_err(Failure::Config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut receipt = match ask(&runtime, &config, &shopper, args.address.as_deref())? {
        Asked::Told(receipt) => *receipt,
        Asked::Nobody(error) if args.address.is_some() => return Err(error.into()),
        Asked::Nobody(error) => forget_here(&runtime, &config, &shopper)
            .with_context(|| format!("no service answers ({error:#})"))?,
    };
    if !args.archives.is_empty() {
        receipt.archives = rewrite(&runtime, &config, &args.archives);
    }
    print(&receipt, output)?;
    let whole = receipt.state.forgotten && receipt.archives.iter().all(|archive| archive.rewritten);
    match whole {
        true => Ok(()),
        false => Err(anyhow::anyhow!(
            "not everything is forgotten yet: the receipt says what, and what comes next"
        )
        .into()),
    }
}

/// What a service said.
enum Asked {
    Told(Box<Receipt>),
    /// None is there.
    Nobody(anyhow::Error),
}

fn ask(
    runtime: &Runtime,
    config: &Config,
    shopper: &ShopperId,
    address: Option<&str>,
) -> anyhow::Result<Asked> {
    let address = address.map_or_else(|| format!("http://{}", config.server.address), str::to_owned);
    runtime.block_on(async {
        let endpoint =
            Endpoint::from_shared(address.clone()).with_context(|| format!("--address {address}"))?;
        let channel = match endpoint.connect_timeout(REACH).connect().await {
            Ok(channel) => channel,
            Err(error) => {
                let error =
                    anyhow::Error::from(error).context(format!("cannot reach the service at {address}"));
                return Ok(Asked::Nobody(error));
            }
        };
        let mut request = Request::new(PurgeEventsRequest {
            shopper: Some(match shopper {
                ShopperId::Visitor(id) => purge_events_request::Shopper::VisitorId(id.as_str().to_owned()),
                ShopperId::User(id) => purge_events_request::Shopper::UserId(id.as_str().to_owned()),
            }),
        });
        request.set_timeout(PATIENCE);
        let answer = EventServiceClient::new(channel).purge(request).await;
        let answer = answer.map_err(|status| match status.code() {
            Code::FailedPrecondition => anyhow::anyhow!("{}", status.message()),
            _ => anyhow::anyhow!("the service at {address}: {}", status.message()),
        })?;
        let receipt = serde_json::from_str(&answer.into_inner().receipt).with_context(|| {
            format!("the service at {address} answers no receipt that this version reads")
        })?;
        Ok(Asked::Told(Box::new(receipt)))
    })
}

/// Archives without anybody that the topic names. One that cannot be rewritten is a line of the receipt: the shopper is
/// erased all the same.
fn rewrite(runtime: &Runtime, config: &Config, archives: &[PathBuf]) -> Vec<ArchiveReceipt> {
    let failed = |dir: &PathBuf, error: anyhow::Error| ArchiveReceipt {
        archive: dir.display().to_string(),
        said: format!("{error:#}; `endcap erase` for the same shopper tries again"),
        ..ArchiveReceipt::default()
    };
    let known = match known(runtime, config) {
        Ok(known) => known,
        Err(error) => {
            let said = format!("{error:#}");
            return archives.iter().map(|dir| failed(dir, anyhow::anyhow!(said.clone()))).collect();
        }
    };
    let rewrite =
        |dir: &PathBuf| archive::erase(dir, &known).unwrap_or_else(|error| failed(dir, error.into()));
    let receipts = archives.iter().map(rewrite).collect();
    if let Err(error) = known.flush(REACH) {
        tracing::warn!("visitors that were found in an archive are not announced: {error}");
    }
    receipts
}

/// All erasures that the topic holds now.
fn known(runtime: &Runtime, config: &Config) -> anyhow::Result<Erasures> {
    let kafka = &config.kafka;
    let key = config.erasure_key()?;
    if key.is_none() {
        anyhow::bail!(erasures::Error::NoKey { what: "a shopper is to be erased".to_owned() });
    }
    if kafka.create_topics.enabled {
        runtime.block_on(create_topics(kafka))?;
    }
    let sink: Arc<dyn EventSink> = Arc::new(KafkaSink::prompt(kafka)?);
    let source = Box::new(KafkaSource::new(kafka, &kafka.topics.erasures)?);
    Ok(erasures::Service::new(erasures::Options { source, sink, key }).0.load()?)
}

/// Without a service: the topic, and the state where it is.
fn forget_here(runtime: &Runtime, config: &Config, shopper: &ShopperId) -> anyhow::Result<Receipt> {
    let known = known(runtime, config)?;
    let mut state = State::open(runtime, config)?;
    let erasure = runtime.block_on(erasure(shopper, state.as_ref().map(|state| &*state.reader)));
    let places = runtime.block_on(known.erase(&[erasure]))?;
    known.hear([erasure]);
    let said = match &mut state {
        Some(state) => state.forget(runtime, &known, erasure)?,
        None => StateReceipt {
            forgotten: true,
            said: format!(
                "there is none at {}; each service forgets when it reads the topic",
                config.state.path.display()
            ),
            gone: Gone::default(),
        },
    };
    let topics = runtime.block_on(topics(&config.kafka));
    Ok(receipt(shopper, erasure, places.iter().map(ToString::to_string).collect(), said, topics))
}

/// A state that no service uses.
struct State {
    writer: Box<dyn StateBackend>,
    reader: Arc<dyn StateReader>,
    said: String,
}

impl State {
    /// None where there is no such folder.
    fn open(runtime: &Runtime, config: &Config) -> anyhow::Result<Option<Self>> {
        let (topic, state) = (&config.kafka.topics.events, &config.state);
        match state.backend {
            Backend::Embedded if !state.path.is_dir() => Ok(None),
            Backend::Embedded => {
                let (store, writer) = StateStore::open(&state.path, topic, &state.store)
                    .context("the state cannot be told here; --address names the service that uses it")?;
                let said = format!("{}, on disk as well", state.path.display());
                Ok(Some(Self { writer: Box::new(writer), reader: Arc::new(store), said }))
            }
            Backend::Valkey => {
                let _runtime = runtime.enter();
                let (store, writer) = ValkeyStore::open(&state.valkey, topic, &state.store)?;
                let said = format!("{} under {}", state.valkey.addresses, state.valkey.prefix);
                Ok(Some(Self { writer: Box::new(writer), reader: Arc::new(store), said }))
            }
        }
    }

    /// Forgets, tells the topic of visitors who go with the account, and waits until it is for good.
    fn forget(
        &mut self,
        runtime: &Runtime,
        known: &Erasures,
        erasure: Erasure,
    ) -> anyhow::Result<StateReceipt> {
        let gone = self.writer.erase(&[erasure])?.pop().unwrap_or_default();
        let linked: Vec<_> = gone
            .linked
            .iter()
            .map(|&key| Erasure { shopper: Shopper::Visitor(VisitorKey(key)), ..erasure })
            .collect();
        runtime.block_on(known.erase(&linked))?;
        known.hear(linked);
        while !self.writer.is_forgotten_for_good() {
            self.writer.wait_for_flush()?;
            self.writer.begin_flush(Box::new(|| true))?;
            self.writer.wait_for_flush()?;
            if let Some(trouble) = self.writer.trouble() {
                anyhow::bail!(trouble);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(StateReceipt { forgotten: true, said: self.said.clone(), gone })
    }
}
