//! `endcap-bench NAME`: measures one part beside its peers, prints a table, writes `target/bench/NAME.json`.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use endcap_benches::broker::Which;
use endcap_benches::measure::Extent;
use endcap_benches::report::Report;
use endcap_benches::{broker, evaluation, live, recommend, retrieval, training};

/// Measures one part beside its peers, in turn on this machine; prints a table and writes NAME.json.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// What to measure.
    name: Name,
    /// Also what takes minutes.
    #[arg(long)]
    full: bool,
    /// Kafka for `live`; one is started when absent.
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// Measure `live` against librdkafka's mock broker, in a process of its own.
    #[arg(long, conflicts_with = "brokers")]
    mock: bool,
    /// Which rows of `live`.
    #[arg(long, value_delimiter = ',', default_value = "memory,pure,applied,visible,shared,restart")]
    rows: Vec<live::Rows>,
    #[command(flatten)]
    retrieval: retrieval::Options,
    /// What a measurement hands to a process of its own.
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true)]
    child: Vec<String>,
    /// Events of `training-memory`.
    #[arg(long, default_value_t = 10_000_000)]
    events: usize,
    /// Where NAME.json goes, and what is kept from run to run.
    #[arg(long, default_value = "target/bench", value_name = "DIR")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Name {
    /// Examples learnt from per second beside PyTorch, and how that changes with the catalogue.
    Training,
    /// Peak memory of a fit on ten million events.
    TrainingMemory,
    /// Queries per second of the index: scan, graph, filters, changes, files.
    Retrieval,
    /// Events applied per second, and how soon one is visible.
    Live,
    /// Cases ranked against a whole catalogue per second.
    Evaluation,
    /// Requests per second of the service, and where their time goes.
    Recommend,
    /// All of them, one after the other.
    All,
    /// The mock broker of `live`, by itself.
    #[value(name = broker::BROKER, hide = true)]
    Broker,
    /// An index of `retrieval`, built or loaded by itself.
    #[value(name = retrieval::CHILD, hide = true)]
    RetrievalChild,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let names = match arguments.name {
        Name::Broker => return broker::serve(),
        Name::RetrievalChild => return retrieval::child(&arguments.child),
        Name::All => vec![Name::Training, Name::Retrieval, Name::Live, Name::Recommend, Name::Evaluation],
        name => vec![name],
    };
    for name in names {
        arguments.measure(name)?;
    }
    Ok(())
}

impl Arguments {
    fn measure(&self, name: Name) -> anyhow::Result<()> {
        let extent = if self.full { Extent::Full } else { Extent::Short };
        let which = match self.brokers.as_deref() {
            Some(brokers) => Which::Named(brokers),
            None if self.mock => Which::Mock,
            None => Which::Started,
        };
        match name {
            Name::Training => write("training", &training::run(extent)?, &self.out),
            Name::TrainingMemory => write("training-memory", &training::memory(self.events)?, &self.out),
            Name::Retrieval => {
                let report = retrieval::run(extent, &self.retrieval, &self.out)?;
                if self.retrieval.only_build {
                    return Ok(());
                }
                write("retrieval", &report.over(&self.out, "retrieval")?, &self.out)
            }
            Name::Evaluation => write("evaluation", &evaluation::run(extent)?, &self.out),
            Name::Live => {
                let report = live::run(extent, which, &self.rows)?;
                write("live", &report.over(&self.out, "live")?, &self.out)
            }
            Name::Recommend => write("recommend", &recommend::run(extent)?, &self.out),
            Name::All | Name::Broker | Name::RetrievalChild => Ok(()),
        }
    }
}

fn write(name: &str, report: &Report, dir: &Path) -> anyhow::Result<()> {
    println!("\n{} · {} · {}", report.machine, report.simd, report.commit);
    println!("written to {}\n", report.write(dir, name)?.display());
    Ok(())
}
