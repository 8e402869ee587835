//! `endcap-bench NAME`: measures one part beside its peers, prints a table, writes `target/bench/NAME.json`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use endcap_benches::measure::Extent;
use endcap_benches::{broker, live, recommend, retrieval, training};

/// Measures one part beside its peers, in turn on this machine; prints a table and writes NAME.json.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// What to measure.
    name: Name,
    /// Also what takes minutes.
    #[arg(long)]
    full: bool,
    /// Kafka for `live`; a mock broker in a process of its own when absent.
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// Where NAME.json goes.
    #[arg(long, default_value = "target/bench", value_name = "DIR")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Training,
    Retrieval,
    Live,
    Recommend,
    /// The mock broker of `live`, by itself.
    #[value(name = broker::BROKER, hide = true)]
    Broker,
}

fn main() -> anyhow::Result<()> {
    let Arguments { name, full, brokers, out } = Arguments::parse();
    let extent = if full { Extent::Full } else { Extent::Short };
    let (name, report) = match name {
        Name::Training => ("training", training::run(extent)?),
        Name::Retrieval => ("retrieval", retrieval::run(extent)?),
        Name::Live => ("live", live::run(extent, brokers.as_deref())?),
        Name::Recommend => ("recommend", recommend::run(extent)?),
        Name::Broker => return broker::serve(),
    };
    println!("\n{} · {} · {}", report.machine, report.simd, report.commit);
    println!("written to {}", report.write(&out, name)?.display());
    Ok(())
}
