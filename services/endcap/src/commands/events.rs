//! `endcap events`: the topics from the command line.

mod lag;
mod produce;
mod redrive;
mod tail;

use std::io::Write;

use serde::Serialize;

use crate::{
    cli::{EventsCommand, Output, TopicArgs},
    config::{self, Config},
    exit::Failure,
};

pub fn run(command: EventsCommand, output: Output) -> Result<(), Failure> {
    match command {
        EventsCommand::Produce(args) => produce::run(&args, output),
        EventsCommand::Tail(args) => tail::run(&args, output),
        EventsCommand::Lag(args) => lag::run(&args, output),
        EventsCommand::Redrive(args) => redrive::run(&args, output),
    }
}

fn load(args: &TopicArgs) -> Result<Config, Failure> {
    let config: Config = config::load(args.config.as_deref(), &args.set)?;
    config.validate().map_err(Failure::Config)?;
    Ok(config)
}

/// Prints one line of many; false when nobody reads them any more.
fn line(text: &str) -> anyhow::Result<bool> {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// One result of many: a line for people, or a line of JSON.
fn row<R: Serialize + std::fmt::Display>(row: &R, output: Output) -> anyhow::Result<bool> {
    match output {
        Output::Text => line(row.to_string().trim_end()),
        Output::Json => line(&serde_json::to_string(row)?),
    }
}

/// Bytes as text where they are, else in hexadecimal.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t') => text.to_owned(),
        _ => bytes.iter().fold("0x".to_owned(), |mut hex, byte| {
            hex.push_str(&format!("{byte:02x}"));
            hex
        }),
    }
}
