//! `endcap archive`: topics → partitioned Arrow clickstream, in a folder or a bucket; and back from the bucket.

use std::{collections::BTreeMap, fmt, path::Path};

use endcap_live::archive::{self, Fetched, Options, TopicStatus};
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
    let options = Options { until_end, ..Options::from_kafka(&config.kafka, to, config.archive)? };
    let runtime = runtime()?;
    let status = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let drain = CancellationToken::new();
        let stop = drain.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            stop.cancel();
        });
        Ok::<_, anyhow::Error>(archive::run(options, drain).await?)
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
