//! `endcap state`: a look at the state, backups, and rebuilding it from the archive.

mod shared;

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
        StateCommand::Show(args) => {
            let config = load(&args)?;
            match config.state.backend {
                Backend::Embedded => print(&show(&config)?, output)?,
                Backend::Valkey => print(&shared::show(&config)?, output)?,
            }
            Ok(())
        }
        StateCommand::Backup { state, to } => {
            let config = load(&state)?;
            let backup = match config.state.backend {
                Backend::Embedded => Backup::make(&config.state.path, &to, &config.state.store)?,
                Backend::Valkey => shared::backup(&config, &to)?,
            };
            let to = to.display().to_string();
            Ok(print(&Kept { verified: "read back", to, backup }, output)?)
        }
        StateCommand::Restore { state, from } => {
            let config = load(&state)?;
            let (to, backup) = match config.state.backend {
                Backend::Embedded => {
                    let path = &config.state.path;
                    (path.display().to_string(), Backup::restore(&from, path, &config.state.store)?)
                }
                Backend::Valkey => shared::restore(&config, &from)?,
            };
            let topic = &config.kafka.topics.events;
            if backup.topic != *topic {
                tracing::warn!("the backup is of topic {}, the configuration names {topic}", backup.topic);
            }
            Ok(print(&Kept { verified: "as the backup says", to, backup }, output)?)
        }
        StateCommand::Rebuild { state, from } => {
            let config = load(&state)?;
            if !from.join("events").is_dir() {
                let message = format!("{}: is no archive: there is no folder events in it", from.display());
                return Err(anyhow::anyhow!(message).into());
            }
            let anew = match config.state.backend {
                Backend::Embedded => rebuild(&config, &from)?,
                Backend::Valkey => shared::rebuild(&config, &from)?,
            };
            Ok(print(&anew, output)?)
        }
    }
}

fn load(args: &StateArgs) -> Result<Config, Failure> {
    let config: Config = config::load(args.config.as_deref(), &args.set)?;
    config.validate().map_err(Failure::Config)?;
    Ok(config)
}

fn show(config: &Config) -> anyhow::Result<Shown> {
    let path = &config.state.path;
    if !path.is_dir() {
        anyhow::bail!("{}: no such folder", path.display());
    }
    let (store, _writer) = StateStore::open(path, &config.kafka.topics.events, &config.state.store)?;
    Ok(Shown {
        shoppers: store.shoppers_in_memory(),
        memory_bytes: Some(store.shopper_bytes()),
        disk_bytes: Some(store.disk_bytes()),
        watermark: store.watermark().to_string(),
        digest: format!("{:016x}", store.digest()?),
        offsets: store.applied(),
    })
}

fn rebuild(config: &Config, from: &Path) -> anyhow::Result<Anew> {
    let path = &config.state.path;
    if path.exists() {
        anyhow::bail!(
            "{}: there is a state already; move it away, or set state.path to another folder",
            path.display()
        );
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
    // So that the first start has no journal to read.
    writer.snapshot()?;
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
    /// Of a state in this process' folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes: Option<u64>,
    watermark: String,
    digest: String,
    offsets: Vec<PartitionOffset>,
}

#[derive(Serialize)]
struct Kept {
    to: String,
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
        write!(f, "{shoppers} shoppers")?;
        if let (Some(memory), Some(disk)) = (memory_bytes, disk_bytes) {
            write!(f, " in {memory} bytes of memory, {disk} bytes on disk")?;
        }
        writeln!(f)?;
        writeln!(f, "watermark {watermark}, digest {digest}")?;
        write_offsets(f, offsets)
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Backup { topic, digest, watermark, offsets, shoppers, bytes, .. } = &self.backup;
        writeln!(f, "{}: {shoppers} shoppers of topic {topic}, {bytes} bytes", self.to)?;
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
