//! The one binary: `endcap demo | import | check | train | evaluate | serve | …`.

#![forbid(unsafe_code)]
// A binary has no outside: `pub` here says what a module offers to the others.
#![allow(unreachable_pub)]

mod cli;
mod commands;
mod config;
mod exit;
mod service;

use clap::Parser;
use std::{io::IsTerminal, process::ExitCode};

use crate::{
    cli::{Cli, Command},
    exit::Failure,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = log_to_stderr(&cli.log).and_then(|()| run(cli));
    exit::report(done)
}

fn run(cli: Cli) -> Result<(), Failure> {
    let output = cli.output;
    match cli.command {
        Command::Demo(args) => commands::demo::run(args),
        Command::Import(args) => commands::import::run(args, output),
        Command::Check(args) => commands::check::run(args, output),
        Command::Train(args) => commands::train::run(args, output),
        Command::Tune(args) => commands::tune::run(args, output),
        Command::Evaluate(args) => commands::evaluate::run(args, output),
        Command::Serve(args) => commands::serve::run(args),
        Command::Replay(args) => commands::replay::run(args, output),
        Command::Archive(args) => commands::archive::run(args, output),
        Command::Events(command) => commands::events::run(command, output),
        Command::State(command) => commands::state::run(command, output),
        Command::Erase(args) => commands::erase::run(args, output),
        Command::Models(command) => commands::models::run(command, output),
        Command::Doctor(args) => commands::doctor::run(args, output),
    }
}

fn log_to_stderr(filter: &str) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| Failure::Usage(format!("--log {filter:?}: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}
