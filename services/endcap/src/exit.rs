//! How a command ends: the exit codes of the contract, and what is said on the way out.

use std::process::ExitCode;

use crate::config::ConfigError;

/// Why a command did not end with 0.
#[derive(Debug)]
pub enum Failure {
    /// 1: it failed.
    Failed(anyhow::Error),
    /// 2: it was called wrongly.
    Usage(String),
    /// 3: `check` says no-go; the report was printed.
    NoGo,
    /// 78: the configuration is wrong (`EX_CONFIG` of sysexits.h).
    Config(ConfigError),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into().downcast() {
            Ok(error) => Self::Config(error),
            Err(error) => Self::Failed(error),
        }
    }
}

/// Prints why, and gives the code.
pub fn report(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => {
            let mut said = error.to_string();
            eprintln!("error: {said}");
            // Some errors say their cause themselves.
            for cause in error.chain().skip(1).map(ToString::to_string) {
                if !said.contains(&cause) {
                    eprintln!("  because: {cause}");
                }
                said = cause;
            }
            ExitCode::from(1)
        }
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
        Err(Failure::NoGo) => ExitCode::from(3),
        Err(Failure::Config(error)) => {
            eprintln!("error: {error}");
            ExitCode::from(78)
        }
    }
}
