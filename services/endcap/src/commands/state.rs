//! `endcap state`: a look at the embedded state, backups, and rebuilding it from the archive.

use std::{fmt, path::Path};

use anyhow::Context as _;
use endcap_live::{
    Backup, PartitionOffset, StateStore,
    archive::{self, Rebuilt},
};
use serde::Serialize;

use super::print;
use crate::{
    cli::{Output, StateArgs, StateCommand},
    config::{self, Backend, Config},
    exit::Failure,
};

pub fn run(command: StateCommand, output: Output) -> Result<(), Failure> {
    match command {
        StateCommand::Show(args) => show(&load(&args)?, output),
        StateCommand::Backup { state, to } => {
            let config = load(&state)?;
            let backup = Backup::make(&config.state.path, &to, &config.state.store)?;
            Ok(print(&Kept { verified: "read back", to: &to, backup }, output)?)
        }
        StateCommand::Restore { state, from } => {
            let config = load(&state)?;
            let backup = Backup::restore(&from, &config.state.path, &config.state.store)?;
            let topic = &config.kafka.topics.events;
            if backup.topic != *topic {
                tracing::warn!("the backup is of topic {}, the configuration names {topic}", backup.topic);
            }
            Ok(print(&Kept { verified: "as the backup says", to: &config.state.path, backup }, output)?)
        }
        StateCommand::Rebuild { state, from } => {
            let config = load(&state)?;
            Ok(print(&rebuild(&config, &from)?, output)?)
        }
    }
}

fn load(args: &StateArgs) -> Result<Config, Failure> {
    let config: Config = config::load(args.config.as_deref(), &args.set)?;
    config.validate().map_err(Failure::Config)?;
    if config.state.backend != Backend::Embedded {
        let message = "`endcap state` is for the embedded state; what Valkey or Redis keep is backed up with their \
                       own tools, and read again from the topic";
        return Err(Failure::Usage(message.to_owned()));
    }
    Ok(config)
}

fn show(config: &Config, output: Output) -> Result<(), Failure> {
    let path = &config.state.path;
    if !path.is_dir() {
        return Err(anyhow::anyhow!("{}: no such folder", path.display()).into());
    }
    let (store, _writer) = StateStore::open(path, &config.kafka.topics.events, &config.state.store)?;
    let shown = Shown {
        shoppers: store.shoppers_in_memory(),
        memory_bytes: store.shopper_bytes(),
        disk_bytes: store.disk_bytes(),
        watermark: store.watermark().to_string(),
        digest: format!("{:016x}", store.digest()?),
        offsets: store.applied(),
    };
    Ok(print(&shown, output)?)
}

fn rebuild(config: &Config, from: &Path) -> anyhow::Result<Anew> {
    let path = &config.state.path;
    if path.exists() {
        anyhow::bail!(
            "{}: there is a state already; move it away, or set state.path to another folder",
            path.display()
        );
    }
    if !from.join("events").is_dir() {
        anyhow::bail!("{}: is no archive: there is no folder events in it", from.display());
    }
    let topic = &config.kafka.topics.events;
    // It gets its name when it is whole: a service must not read on from half an archive.
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".unfinished");
    let unfinished = path.with_file_name(name);
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    let (store, mut writer) = StateStore::open(&unfinished, topic, &config.state.store)?;
    let rebuilt = archive::rebuild(from, topic, &mut writer)?;
    let digest = format!("{:016x}", store.digest()?);
    drop((writer, store));
    if rebuilt.files == 0 {
        std::fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot remove {}", unfinished.display()))?;
        anyhow::bail!("{}: holds nothing of topic {topic}", from.display());
    }
    std::fs::rename(&unfinished, path).with_context(|| format!("cannot rename to {}", path.display()))?;
    Ok(Anew { rebuilt, digest })
}

#[derive(Serialize)]
struct Shown {
    shoppers: usize,
    memory_bytes: usize,
    disk_bytes: u64,
    watermark: String,
    digest: String,
    offsets: Vec<PartitionOffset>,
}

#[derive(Serialize)]
struct Kept<'a> {
    to: &'a Path,
    #[serde(skip)]
    verified: &'static str,
    #[serde(flatten)]
    backup: Backup,
}

#[derive(Serialize)]
struct Anew {
    #[serde(flatten)]
    rebuilt: Rebuilt,
    digest: String,
}

fn write_offsets(f: &mut fmt::Formatter<'_>, offsets: &[PartitionOffset]) -> fmt::Result {
    for PartitionOffset { partition, offset } in offsets {
        writeln!(f, "  partition {partition:<4} next offset {offset}")?;
    }
    Ok(())
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shoppers, memory_bytes, disk_bytes, watermark, digest, offsets } = self;
        writeln!(f, "{shoppers} shoppers in {memory_bytes} bytes of memory, {disk_bytes} bytes on disk")?;
        writeln!(f, "watermark {watermark}, digest {digest}")?;
        write_offsets(f, offsets)
    }
}

impl fmt::Display for Kept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Backup { topic, digest, watermark, offsets, shoppers, bytes, .. } = &self.backup;
        writeln!(f, "{}: {shoppers} shoppers of topic {topic}, {bytes} bytes", self.to.display())?;
        writeln!(f, "watermark {watermark}, digest {digest} ({})", self.verified)?;
        write_offsets(f, offsets)
    }
}

impl fmt::Display for Anew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rebuilt { files, applied, passed_over, missing, offsets } = &self.rebuilt;
        writeln!(
            f,
            "{applied} events of {files} files applied, {passed_over} passed over; digest {}",
            self.digest
        )?;
        for (partition, missing) in missing {
            writeln!(f, "  partition {partition}: {missing} offsets are missing in the archive")?;
        }
        write_offsets(f, offsets)
    }
}
