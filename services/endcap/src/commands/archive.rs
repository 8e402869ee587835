//! `endcap archive`: topics → partitioned Arrow clickstream, in a folder or a bucket; and back from the bucket.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use endcap_live::{
    KafkaSink, KafkaSource,
    archive::{self, Fetched, Options, TopicStatus},
    erasures,
    kafka::create_topics,
};
use serde::Serialize;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::print;
use crate::{
    cli::{ArchiveArgs, ArchiveCommand, FetchArgs, Output},
    config::{self, Config},
    exit::Failure,
};

/// How long is waited for what was announced of erased shoppers.
const FLUSH: Duration = Duration::from_secs(5);

pub fn run(args: ArchiveArgs, output: Output) -> Result<(), Failure> {
    let ArchiveArgs { command, config, set, out, until_end } = args;
    if let Some(ArchiveCommand::Fetch(args)) = command {
        return fetch(args, output);
    }
    let config = load(config.as_deref(), &set)?;
    let to = out.or_else(|| config.archive.path.clone()).ok_or_else(|| {
        Failure::Usage(
            "say where to: --out DIR, --out s3://bucket/prefix, or archive.path in the configuration"
                .to_owned(),
        )
    })?;
    let mut options = || {
        let options = Options::from_kafka(&config.kafka, to.clone(), config.archive.clone())?;
        Ok(Options { until_end, ..options })
    };
    let kafka = &config.kafka;
    let (following, erasures) = erasures::Service::new(erasures::Options {
        source: Box::new(KafkaSource::new(kafka, &kafka.topics.erasures)?),
        sink: Arc::new(KafkaSink::patient(kafka)?),
        key: config.erasure_key()?,
    });
    let runtime = runtime()?;
    let status = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        if kafka.create_topics.enabled {
            create_topics(kafka).await?;
        }
        let drain = CancellationToken::new();
        let stop = drain.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            stop.cancel();
        });
        let followed = drain.child_token();
        let following = tokio::spawn(following.run(followed.clone()));
        let handle = archive::Handle::default();
        let archived = archive::run_without(&mut options, &erasures, &handle, drain).await;
        followed.cancel();
        // What ended it is said first: an erasure that cannot be opened keeps anything from being archived.
        following.await.context("reading erasures panicked")??;
        erasures.flush(FLUSH)?;
        archived?;
        Ok::<_, anyhow::Error>(handle.status())
    })?;
    print(
        &Archived(status.iter().map(|(topic, status)| (topic.to_string(), Topic::from(status))).collect()),
        output,
    )?;
    Ok(())
}

fn fetch(args: FetchArgs, output: Output) -> Result<(), Failure> {
    let FetchArgs { config, set, from, to } = args;
    let config = load(config.as_deref(), &set)?;
    let fetched = runtime()?.block_on(archive::fetch(&from, &config.archive.s3, &to))?;
    print(&Copied { to: to.display().to_string(), fetched }, output)?;
    Ok(())
}

fn load(file: Option<&Path>, set: &[String]) -> Result<Config, Failure> {
    let config: Config = config::load(file, set)?;
    config.validate().map_err(Failure::Config)?;
    Ok(config)
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

#[derive(Serialize)]
#[serde(transparent)]
struct Archived(BTreeMap<String, Topic>);

#[derive(Serialize)]
struct Topic {
    archived: u64,
    without_consent: u64,
    rejected: u64,
    files: u64,
}

#[derive(Serialize)]
struct Copied {
    to: String,
    #[serde(flatten)]
    fetched: Fetched,
}

impl From<&TopicStatus> for Topic {
    fn from(status: &TopicStatus) -> Self {
        let &TopicStatus { archived, without_consent, rejected, files, .. } = status;
        Self { archived, without_consent, rejected, files }
    }
}

impl fmt::Display for Archived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (topic, Topic { archived, without_consent, rejected, files }) in &self.0 {
            writeln!(
                f,
                "{topic:<14} {archived} archived in {files} files, {without_consent} without consent, {rejected} rejected"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fetched { files, bytes, kept } = self.fetched;
        write!(f, "{}: {files} files of {bytes} bytes fetched, {kept} were there", self.to)
    }
}
