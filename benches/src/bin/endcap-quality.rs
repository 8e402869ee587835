//! `endcap-quality ROW`: a row of the quality table again, from the raw files.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::Parser;
use endcap_benches::quality::{Outcome, Row, Table};
use endcap_evaluation::HeldOut;

/// Makes a row of the quality table again from the raw files: imports, trains the towers alone, asks the protocol's
/// questions, and prints the row beside the baselines. Exits with 1 where the mean over the seeds misses the bar.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Which row: a file of benches/quality.
    row: String,
    /// How many seeds. Seeds that are finished with this configuration are kept.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Choose by validation: the test is not looked at, nothing is kept, no bar is judged.
    #[arg(long)]
    validation: bool,
    /// The baselines alone.
    #[arg(long)]
    baselines: bool,
    /// Where the raw files are.
    #[arg(long, env = "ENDCAP_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where rows and results are.
    #[arg(long, default_value = "benches/quality", value_name = "DIR")]
    rows: PathBuf,
    /// Where imported data is kept.
    #[arg(long, default_value = "target/quality", value_name = "DIR")]
    work: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let row = Row::read(&arguments.rows, &arguments.row)?;
    let data =
        arguments.data.as_deref().context("give --data DIR, or set ENDCAP_DATA: the folder of raw files")?;
    if !data.is_dir() {
        bail!("{}: no such folder (--data, ENDCAP_DATA)", data.display());
    }
    let dataset = row.dataset(data, &arguments.work)?;
    if arguments.validation {
        let (mut baselines, mut seeds) = (None, Vec::new());
        if arguments.baselines {
            baselines = Some(row.run_baselines(&dataset, HeldOut::Validation)?);
        } else {
            seeds.push(row.run_seed(&dataset, 1, true)?);
        }
        // What is chosen by is not what bars are for.
        let row = Row { bars: Vec::new(), published: Vec::new(), ..row };
        println!("VALIDATION\n{}", Table { row: &row, baselines: baselines.as_ref(), seeds: &seeds });
        return Ok(ExitCode::SUCCESS);
    }
    let results = arguments.rows.join("results");
    let path = results.join(format!("{}-baselines.json", row.name));
    let baselines = match Outcome::kept(&path, &row.baselines_digest()) {
        Some(kept) => kept,
        None => {
            let outcome = row.run_baselines(&dataset, HeldOut::Test)?;
            outcome.keep(&path)?;
            outcome
        }
    };
    let mut seeds = Vec::new();
    for seed in 1..=arguments.seeds {
        let path = results.join(format!("{}-seed-{seed}.json", row.name));
        match Outcome::kept(&path, &row.digest()) {
            Some(kept) => seeds.push(kept),
            None if arguments.baselines => {}
            None => {
                let outcome = row.run_seed(&dataset, seed, false)?;
                outcome.keep(&path)?;
                seeds.push(outcome);
            }
        }
    }
    let table = Table { row: &row, baselines: Some(&baselines), seeds: &seeds };
    println!("{table}");
    let missed = table.missed();
    if missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let missed: Vec<String> = missed.iter().map(ToString::to_string).collect();
    eprintln!("below the must: {}", missed.join(", "));
    Ok(ExitCode::FAILURE)
}
