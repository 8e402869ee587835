//! `endcap archive`: topics → partitioned Arrow clickstream.

use std::{collections::BTreeMap, fmt};

use endcap_live::archive::{self, Options, TopicStatus};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::print;
use crate::{
    cli::{ArchiveArgs, Output},
    config::{self, Config},
    exit::Failure,
};

pub fn run(args: ArchiveArgs, output: Output) -> Result<(), Failure> {
    let config: Config = config::load(args.config.as_deref(), &args.set)?;
    config.validate().map_err(Failure::Config)?;
    let mut options = Options::from_kafka(&config.kafka, &args.out, config.archive)?;
    options.until_end = args.until_end;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let drain = CancellationToken::new();
        let stop = drain.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.cancel();
            }
        });
        archive::run(options, drain).await
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
