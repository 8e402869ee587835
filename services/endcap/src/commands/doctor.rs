//! `endcap doctor`: what this machine and this configuration can do.

use std::{fmt, net::TcpListener, path::Path};

use endcap_bundle::{Bundle, BundleStore};
use endcap_index::Simd;
use endcap_live::{EventSource, KafkaSource, ValkeyStore};
use serde::Serialize;

use super::print;
use crate::{
    cli::{DoctorArgs, Output},
    config::{self, Backend, Config},
    exit::Failure,
};

pub fn run(args: DoctorArgs, output: Output) -> Result<(), Failure> {
    let config: Config = config::load(args.config.as_deref(), &args.set)?;
    config.validate().map_err(Failure::Config)?;
    let findings = Findings(vec![
        Finding::good("simd", format!("{:?}, of {:?}", Simd::best(), Simd::available())),
        Finding::good(
            "cores",
            std::thread::available_parallelism().map_or_else(|e| e.to_string(), |n| n.to_string()),
        ),
        Finding::good("memory", memory().unwrap_or_else(|| "unknown".to_owned())),
        port(&config),
        broker(&config),
        bundle(&config),
        state(&config),
    ]);
    print(&findings, output)?;
    let bad = findings.0.iter().filter(|finding| !finding.good).count();
    if bad > 0 {
        return Err(Failure::Failed(anyhow::anyhow!(
            "{bad} of {} are not as they should be",
            findings.0.len()
        )));
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(transparent)]
struct Findings(Vec<Finding>);

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    good: bool,
    found: String,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, good: true, found: found.into() }
    }

    fn of(what: &'static str, found: Result<String, String>) -> Self {
        let good = found.is_ok();
        Self { what, good, found: found.unwrap_or_else(|problem| problem) }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { what, good, found } in &self.0 {
            writeln!(f, "{} {what:<8} {found}", if *good { "ok " } else { "BAD" })?;
        }
        Ok(())
    }
}

fn port(config: &Config) -> Finding {
    let address = config.server.address;
    let free = TcpListener::bind(address).map(|_| format!("{address} is free"));
    Finding::of(
        "port",
        free.map_err(|error| format!("{address}: {error}; set server.address to another port")),
    )
}

fn broker(config: &Config) -> Finding {
    let asked = || -> Result<String, String> {
        let mut source =
            KafkaSource::new(&config.kafka, &config.kafka.topics.events).map_err(|e| e.to_string())?;
        let bounds = source.bounds().map_err(|error| error.to_string())?;
        let topic = &config.kafka.topics.events;
        Ok(format!("{} has topic {topic} with {} partitions", config.kafka.brokers, bounds.len()))
    };
    Finding::of("kafka", asked())
}

fn bundle(config: &Config) -> Finding {
    let path = &config.bundles.path;
    if !path.is_dir() {
        let problem = format!("{}: no such folder; `endcap train DIR --out {0}` makes it", path.display());
        return Finding::of("bundle", Err(problem));
    }
    let loaded = BundleStore::open(path).and_then(|store| store.load_active());
    let describe = |bundle: Bundle| {
        format!(
            "{} is sound: {} items, {} dimensions",
            bundle.manifest.version,
            bundle.index.len(),
            bundle.index.dim()
        )
    };
    Finding::of("bundle", loaded.map(describe).map_err(|error| error.to_string()))
}

fn state(config: &Config) -> Finding {
    match config.state.backend {
        Backend::Embedded => writable("state", &config.state.path),
        Backend::Valkey => {
            let asked = || -> anyhow::Result<String> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let (topic, state) = (&config.kafka.topics.events, &config.state);
                    let (store, _) = ValkeyStore::open(&state.valkey, topic, &state.store)?;
                    Ok(store.ping().await?)
                })
            };
            Finding::of("state", asked().map_err(|error| error.to_string()))
        }
    }
}

fn writable(what: &'static str, path: &Path) -> Finding {
    let parent = path.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let probe = tempfile::tempfile_in(parent);
    let found = probe.map(|_| format!("{} can be written", path.display()));
    Finding::of(what, found.map_err(|error| format!("{} cannot be written: {error}", path.display())))
}

/// Total and available memory, where the system says.
fn memory() -> Option<String> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let gib = |key: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.starts_with(key))?;
        let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib / f64::from(1u32 << 20))
    };
    Some(format!("{:.1} GiB, {:.1} available", gib("MemTotal:")?, gib("MemAvailable:")?))
}
