//! Our index: built in a process of its own, so that what it takes can be told, cached, and every way to search it.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, ensure};
use cpu_time::ProcessTime;
use endcap_index::{Allowed, GraphConfig, Index, IndexConfig, Retriever, Route, Selection, Snapshot, Way};
use serde::{Deserialize, Serialize};

use super::data::{DataSet, Keeps};
use super::peers::{CONSTRUCTION, EF};
use super::{DIM, K};
use crate::measure::{memory, rate};

/// Why there is no figure of memory.
const NEEDS_PROC: &str = "memory is read where Linux tells it";
/// Name of the subcommand that a measurement runs in a process of its own.
pub const CHILD: &str = "retrieval-child";

/// What the child is told to do.
const BUILD: &str = "build";
const LOAD: &str = "load";
/// How far below the k-th best the mean of a partition that is looked at may lie, in hundredths of a deviation.
const REACHES: [u32; 14] = [0, 25, 50, 75, 100, 125, 150, 175, 200, 225, 250, 300, 400, 600];

/// What an index costs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Footprint {
    /// Seconds to build it, by the clock and of all cores together.
    pub(super) build_s: f64,
    pub(super) build_cpu_s: f64,
    /// Memory while building at its most, beside the vectors that it was given.
    pub(super) build_bytes: f64,
    /// From its file to the first answer.
    pub(super) load_s: f64,
    /// Memory that answering takes.
    pub(super) serve_bytes: f64,
    pub(super) file_bytes: f64,
}

/// A way of ours to answer.
pub(super) struct Contender {
    pub(super) name: &'static str,
    /// None where the planner says how far a query goes.
    way: Option<Way>,
    snapshot: Snapshot,
    /// Its efforts, from the cheapest to the dearest.
    pub(super) ladder: Vec<u32>,
}

/// Which index of ours.
#[derive(Debug, Clone, Copy)]
pub(super) enum Build {
    /// The default: partitions, and the graph of a large catalogue.
    Default,
    /// The default without a graph.
    WithoutGraph,
    /// The default with a graph of so many neighbours, however small the catalogue.
    Graph(usize),
}

/// An index of ours and what it cost.
pub(super) struct Ours {
    pub(super) index: Index,
    pub(super) footprint: Footprint,
}

impl Build {
    fn config(self) -> IndexConfig {
        let mut config = IndexConfig::default();
        match self {
            Build::Default => {}
            Build::WithoutGraph => config.graph.from_items = usize::MAX,
            Build::Graph(neighbours) => {
                let construction = CONSTRUCTION;
                config.graph = GraphConfig { from_items: 0, neighbours, construction, ..config.graph };
            }
        }
        config
    }

    /// Where the index over these vectors is kept: another folder for other vectors, another configuration or version.
    fn folder(self, data: &DataSet, dir: &Path) -> anyhow::Result<PathBuf> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&fs::read(data.items_file())?);
        hasher.update(&serde_json::to_vec(&self.config())?);
        hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
        Ok(dir.join("cache").join(format!("endcap-{}", &hasher.finalize().to_hex()[..24])))
    }

    /// Builds the index unless it is cached: its folder, and what building it took.
    pub(super) fn run(self, data: &DataSet, dir: &Path) -> anyhow::Result<(PathBuf, Footprint)> {
        let folder = self.folder(data, dir)?;
        let built = match fs::read(folder.join("built.json")) {
            Ok(built) if Index::load(&folder).is_ok() => serde_json::from_slice(&built)?,
            _ => {
                fs::create_dir_all(&folder)?;
                let built: Footprint = in_child(BUILD, &data.items_file(), &folder, &self.config())?;
                fs::write(folder.join("built.json"), serde_json::to_vec(&built)?)?;
                built
            }
        };
        Ok((folder, built))
    }
}

impl Ours {
    /// Builds the index unless it is cached, loads it, and measures its ways on this machine as it is now: with vectors of
    /// users where the data has some.
    pub(super) fn open(data: &DataSet, build: Build, dir: &Path) -> anyhow::Result<Self> {
        let (folder, built) = build.run(data, dir)?;
        let loaded: Footprint = in_child(LOAD, &data.queries_file(), &folder, &build.config())?;
        let Footprint { load_s, serve_bytes, file_bytes, .. } = loaded;
        let footprint = Footprint { load_s, serve_bytes, file_bytes, ..built };
        let index = Index::load(&folder)?;
        index.calibrate(&data.users)?;
        Ok(Self { index, footprint })
    }

    /// What the planner chooses, then every way that there is.
    pub(super) fn contenders(&self) -> Vec<Contender> {
        let snapshot = self.index.snapshot();
        let (partitions, graph) = (snapshot.plan().partitions, snapshot.plan().graph);
        let of = |name, way, ladder| Contender { name, way, snapshot: snapshot.clone(), ladder };
        let mut all = vec![
            of("planned", None, vec![0]),
            of("scan", Some(Way::Scan), vec![0]),
            of("survivors", Some(Way::Survivors), vec![0]),
        ];
        if partitions > 0 {
            all.push(of("partitions", Some(Way::Partitions), REACHES.to_vec()));
        }
        if graph {
            all.push(of("graph", Some(Way::Graph), EF.to_vec()));
        }
        all
    }

    pub(super) fn selection(&self, keeps: Keeps) -> Selection {
        Selection::new(&self.index.snapshot(), move |label| keeps.keeps(label))
    }
}

impl Contender {
    fn retriever(&self, effort: u32) -> Box<dyn Retriever> {
        match self.way {
            None => Box::new(self.snapshot.clone()),
            Some(way) => Box::new(self.snapshot.by_route(Route { way, effort: effort as usize })),
        }
    }

    /// The rows that each query finds.
    pub(super) fn find(
        &self,
        effort: u32,
        data: &DataSet,
        allowed: &Allowed<'_>,
    ) -> anyhow::Result<Vec<Vec<i32>>> {
        let (queries, retriever) = (data.vectors.queries.chunks_exact(DIM), self.retriever(effort));
        let found = queries.map(|query| {
            let hits = retriever.retrieve(query, K, allowed)?;
            Ok(hits.iter().map(|hit| hit.label as i32).collect())
        });
        found.collect()
    }

    /// Queries a second, all of them given at once to `threads`.
    pub(super) fn batch_rate(
        &self,
        effort: u32,
        data: &DataSet,
        time: Duration,
        threads: usize,
    ) -> anyhow::Result<f64> {
        let retriever = &*self.retriever(effort);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let start = Instant::now();
        let mut done = 0;
        while start.elapsed() < time {
            let queries = &data.vectors.queries;
            std::hint::black_box(pool.install(|| retriever.retrieve_batch(queries, K, &Allowed::All))?);
            done += data.queries();
        }
        Ok(done as f64 / start.elapsed().as_secs_f64())
    }

    /// Queries a second, one at a time on each of `threads`.
    pub(super) fn rate(
        &self,
        effort: u32,
        data: &DataSet,
        allowed: &Allowed<'_>,
        time: Duration,
        threads: usize,
    ) -> f64 {
        let retriever = &*self.retriever(effort);
        let run = move |thread: usize| {
            let first = thread * data.queries() / threads;
            rate(time, |i| {
                std::hint::black_box(retriever.retrieve(data.vectors.query(first + i), K, allowed)).ok();
            })
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || run(thread))).collect();
            run(0) + others.into_iter().map(|other| other.join().unwrap_or(f64::NAN)).sum::<f64>()
        })
    }
}

fn in_child(verb: &str, vectors: &Path, folder: &Path, config: &IndexConfig) -> anyhow::Result<Footprint> {
    let config = serde_json::to_string(config)?;
    let output = Command::new(std::env::current_exe()?)
        .arg(CHILD)
        .args(["--child".as_ref(), verb.as_ref(), vectors.as_os_str(), folder.as_os_str(), config.as_ref()])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{verb} of {} failed: {}", folder.display(), output.status);
    serde_json::from_slice(&output.stdout).context("what the child says")
}

/// What runs in the child: a verb, ITEMS to build or QUERIES to load with, INDEX, the configuration. Prints a footprint as
/// JSON.
///
/// # Errors
/// Whatever the index or the file system says.
pub fn child(arguments: &[String]) -> anyhow::Result<()> {
    let [verb, vectors, folder, config] = arguments else {
        anyhow::bail!("expected a verb, two paths and a configuration")
    };
    let (vectors, folder) = (read(Path::new(vectors))?, Path::new(folder));
    let config: IndexConfig = serde_json::from_str(config)?;
    let mut footprint = Footprint {
        build_s: 0.0,
        build_cpu_s: 0.0,
        build_bytes: 0.0,
        load_s: 0.0,
        serve_bytes: 0.0,
        file_bytes: 0.0,
    };
    let ((before, _), start, cpu) = (memory().context(NEEDS_PROC)?, Instant::now(), ProcessTime::now());
    if verb != LOAD {
        let labels: Vec<u64> = (0..vectors.len() as u64 / DIM as u64).collect();
        let index = Index::build(&labels, &vectors, DIM, &config)?;
        footprint.build_s = start.elapsed().as_secs_f64();
        footprint.build_cpu_s = cpu.elapsed().as_secs_f64();
        footprint.build_bytes = (memory().context(NEEDS_PROC)?.1 - before) as f64;
        index.save(folder)?;
    } else {
        let mut bytes = 0;
        for entry in fs::read_dir(folder)? {
            // Into the system's cache, as the peers' files are.
            let mut file = BufReader::with_capacity(1 << 20, fs::File::open(entry?.path())?);
            bytes += std::io::copy(&mut file.by_ref(), &mut std::io::sink())?;
        }
        let start = Instant::now();
        let index = Index::load(folder)?;
        for query in vectors.chunks_exact(DIM).take(8) {
            index.search(query, K, &Allowed::All)?;
        }
        footprint.load_s = start.elapsed().as_secs_f64();
        footprint.serve_bytes = memory().context(NEEDS_PROC)?.0.saturating_sub(before) as f64;
        footprint.file_bytes = bytes as f64;
    }
    println!("{}", serde_json::to_string(&footprint)?);
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<f32>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}
