//! `endcap archive`: topics → partitioned Arrow clickstream.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use anyhow::Context as _;
use endcap_live::{
    KafkaSink, KafkaSource,
    archive::{self, Options, TopicStatus},
    erasures,
    kafka::create_topics,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::print;
use crate::{
    cli::{ArchiveArgs, Output},
    config::{self, Config},
    exit::Failure,
};

/// How long is waited for what was announced of erased shoppers.
const FLUSH: Duration = Duration::from_secs(5);

pub fn run(args: ArchiveArgs, output: Output) -> Result<(), Failure> {
    let config: Config = config::load(args.config.as_deref(), &args.set)?;
    config.validate().map_err(Failure::Config)?;
    let mut options = || {
        let mut options = Options::from_kafka(&config.kafka, &args.out, config.archive.clone())?;
        options.until_end = args.until_end;
        Ok(options)
    };
    let kafka = &config.kafka;
    let (following, erasures) = erasures::Service::new(erasures::Options {
        source: Box::new(KafkaSource::new(kafka, &kafka.topics.erasures)?),
        sink: Arc::new(KafkaSink::patient(kafka)?),
        key: config.erasure_key()?,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        if kafka.create_topics.enabled {
            create_topics(kafka).await?;
        }
        let drain = CancellationToken::new();
        let stop = drain.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.cancel();
            }
        });
        let followed = drain.child_token();
        let following = tokio::spawn(following.run(followed.clone()));
        let status = archive::run_without(&mut options, &erasures, drain).await;
        followed.cancel();
        // What ended it is said first: an erasure that cannot be opened keeps anything from being archived.
        following.await.context("reading erasures panicked")??;
        erasures.flush(FLUSH)?;
        Ok::<_, anyhow::Error>(status?)
    })?;
    print(
        &Archived(status.iter().map(|(topic, status)| (topic.to_string(), Topic::from(status))).collect()),
        output,
    )?;
    Ok(())
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
