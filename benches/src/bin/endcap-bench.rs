//! `endcap-bench NAME`: measures one part beside its peers, prints a table, writes `target/bench/NAME.json`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use endcap_benches::retrieval::{self, Extent};

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    /// What to measure.
    name: Name,
    /// Also what takes minutes.
    #[arg(long)]
    full: bool,
    /// Where NAME.json goes.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Retrieval,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let extent = if arguments.full { Extent::Full } else { Extent::Short };
    let (name, report) = match arguments.name {
        Name::Retrieval => ("retrieval", retrieval::run(extent)?),
    };
    println!("\n{} · {} · {}", report.machine, report.simd, report.commit);
    println!("written to {}", report.write(&arguments.out, name)?.display());
    Ok(())
}
