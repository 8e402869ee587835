//! The peers: a Python process for each index (`benches/peers/retrieval.py`), asked in JSON lines.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::{Value, json};

use super::data::{DataSet, Keeps, Truth};
use super::ours::Footprint;

const PYTHON: &str = "venv/bin/python";
/// The script, and where it is looked for: in the working folder, else where this crate was built.
const SCRIPT: &str = "benches/peers/retrieval.py";
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/retrieval.py");

/// A library that is measured beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Library {
    /// HNSW.
    Hnswlib,
    /// HNSW over f32 and over 8-bit vectors.
    Usearch,
    /// HNSW, inverted lists, inverted lists of product quantised vectors with re-scoring.
    Faiss,
}

/// An index of a peer and the settings of its search.
pub(super) struct Kind {
    pub(super) name: String,
    library: &'static str,
    parameters: Value,
    /// From the cheapest to the dearest.
    pub(super) ladder: Ladder,
}

/// Settings of a search.
pub(super) enum Ladder {
    /// One number, which may be anything between two steps.
    Steps(Vec<u32>),
    /// Lists to probe, and how many times k are re-scored.
    Pairs(Vec<[u32; 2]>),
}

/// A peer that is ready to search.
pub(super) struct Peer {
    pub(super) kind: Kind,
    pub(super) ready: Ready,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What a peer says when it is ready.
#[derive(Debug, Deserialize)]
pub(super) struct Ready {
    pub(super) version: String,
    /// How it filters, if it does.
    pub(super) filtered: Option<String>,
    #[serde(flatten)]
    pub(super) footprint: Footprint,
}

/// ef while graphs are built.
pub(super) const CONSTRUCTION: usize = 200;
/// Neighbours in graphs.
pub(super) const NEIGHBOURS: [usize; 2] = [16, 32];
/// ef of walks through graphs.
pub(super) const EF: [u32; 11] = [100, 140, 200, 280, 400, 560, 800, 1_120, 1_600, 2_400, 3_600];

impl Library {
    /// The indexes of it that are measured over `items` vectors.
    pub(super) fn kinds(self, items: usize) -> Vec<Kind> {
        let graph = |library: &'static str, name: String, parameters: Value| Kind {
            name,
            library,
            parameters,
            ladder: Ladder::Steps(EF.to_vec()),
        };
        let neighbours = NEIGHBOURS;
        match self {
            Library::Hnswlib => neighbours
                .map(|m| {
                    graph(
                        "hnswlib",
                        format!("hnswlib M {m}"),
                        json!({"M": m, "ef_construction": CONSTRUCTION}),
                    )
                })
                .into(),
            Library::Usearch => ["f32", "i8"]
                .into_iter()
                .flat_map(|dtype| neighbours.map(|m| (dtype, m)))
                .map(|(dtype, m)| {
                    let parameters =
                        json!({"dtype": dtype, "connectivity": m, "expansion_add": CONSTRUCTION});
                    graph("usearch", format!("usearch {dtype} M {m}"), parameters)
                })
                .collect(),
            Library::Faiss => {
                // Some 4 √n lists, rounded to a power of two.
                let lists = (4.0 * (items as f64).sqrt()).log2().round().exp2() as u32;
                let probes: Vec<u32> =
                    [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1_024]
                        .into_iter()
                        .filter(|&probes| probes <= lists)
                        .collect();
                let pairs =
                    probes.iter().skip(2).flat_map(|&probes| [4, 8, 16].map(|factor| [probes, factor]));
                let list = |factory: String, name: String, ladder: Ladder| Kind {
                    name,
                    library: "faiss",
                    parameters: json!({"factory": factory}),
                    ladder,
                };
                let mut kinds = vec![
                    list(
                        format!("IVF{lists},PQ32x4fs,RFlat"),
                        format!("faiss IVF{lists} PQ32x4fs refined"),
                        Ladder::Pairs(pairs.collect()),
                    ),
                    list(format!("IVF{lists},Flat"), format!("faiss IVF{lists} flat"), Ladder::Steps(probes)),
                ];
                kinds.extend(neighbours.map(|m| {
                    let parameters = json!({"factory": format!("HNSW{m}"), "ef_construction": CONSTRUCTION});
                    graph("faiss", format!("faiss HNSW{m}"), parameters)
                }));
                kinds
            }
        }
    }
}

impl Ladder {
    /// What its steps are.
    pub(super) fn name(&self, library: &str) -> &'static str {
        match self {
            Ladder::Pairs(_) => "nprobe, factor",
            Ladder::Steps(_) if library.contains("IVF") => "nprobe",
            Ladder::Steps(_) => "ef",
        }
    }
}

impl Peer {
    /// Builds the index unless it is cached, loads it, and waits until it answers.
    ///
    /// # Errors
    /// What the process said.
    pub(super) fn start(
        kind: Kind,
        data: &DataSet,
        dir: &Path,
        only_build: bool,
    ) -> anyhow::Result<Option<Self>> {
        let (python, script) = (dir.join(PYTHON), Path::new(SCRIPT));
        let script = if script.exists() { script } else { Path::new(SOURCE) };
        ensure!(
            python.exists(),
            "{} is not there: `just bench-retrieval` makes it (or measure --alone)",
            python.display()
        );
        let cache = dir.join("cache");
        fs::create_dir_all(&cache)?;
        let first = match &kind.ladder {
            Ladder::Steps(steps) => json!(steps.first()),
            Ladder::Pairs(pairs) => json!(pairs.first()),
        };
        let order = json!({
            "library": kind.library, "parameters": kind.parameters, "search": first,
            "items": data.items_file(), "queries": data.queries_file(), "count": data.len(),
            "cache": cache, "threads": std::thread::available_parallelism().map_or(1, usize::from),
        });
        let path = data.dir.join(format!("{}.json", kind.name.replace(' ', "-")));
        fs::write(&path, order.to_string())?;
        let command = |verb: &str| {
            let mut command = Command::new(&python);
            // The kernels that the machine has, whatever the environment says: OpenBLAS does not know every processor.
            command.env_remove("OPENBLAS_L2_SIZE").env_remove("OPENBLAS_CORETYPE");
            if let Some(core) = blas_core() {
                command.env("OPENBLAS_CORETYPE", core);
            }
            command.arg(script).arg(verb).arg(&path);
            command
        };
        let built = command("build").status().with_context(|| python.display().to_string())?;
        ensure!(built.success(), "{} over {} was not built: {built}", kind.name, data.name);
        if only_build {
            return Ok(None);
        }
        let mut child = command("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("no pipes to {}", kind.name)
        };
        let mut output = BufReader::new(output);
        let ready = read(&mut output).with_context(|| format!("{} does not start", kind.name))?;
        Ok(Some(Self { kind, ready, child, input, output }))
    }

    /// Filters from now on.
    pub(super) fn filter(&mut self, data: &DataSet, keeps: Option<Keeps>) -> anyhow::Result<()> {
        let allowed = keeps.map(|keeps| data.allowed_file(keeps)).transpose()?;
        self.ask::<Value>(&json!({"op": "filter", "allowed": allowed})).map(drop)
    }

    /// Recall of all queries with this setting.
    pub(super) fn recall(&mut self, truth: &Truth, search: &Value) -> anyhow::Result<f64> {
        #[derive(Deserialize)]
        struct Answer {
            recall: f64,
        }
        let asked = json!({"op": "recall", "truth": truth.path, "search": search});
        self.ask::<Answer>(&asked).map(|answer| answer.recall)
    }

    /// Queries a second, one at a time.
    pub(super) fn rate(&mut self, search: &Value, seconds: f64, threads: usize) -> anyhow::Result<f64> {
        self.measure("rate", search, seconds, threads)
    }

    /// Queries a second, all of them given at once.
    pub(super) fn batch_rate(&mut self, search: &Value, seconds: f64, threads: usize) -> anyhow::Result<f64> {
        self.measure("batch", search, seconds, threads)
    }

    fn measure(&mut self, what: &str, search: &Value, seconds: f64, threads: usize) -> anyhow::Result<f64> {
        #[derive(Deserialize)]
        struct Answer {
            rate: f64,
        }
        let asked = json!({"op": what, "search": search, "seconds": seconds, "threads": threads});
        self.ask::<Answer>(&asked).map(|answer| answer.rate)
    }

    fn ask<T: for<'a> Deserialize<'a>>(&mut self, asked: &Value) -> anyhow::Result<T> {
        let mut ask = || {
            writeln!(self.input, "{asked}")?;
            self.input.flush()?;
            read(&mut self.output)
        };
        ask().with_context(|| format!("{} was asked {asked}", self.kind.name))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It holds nothing that is not in the cache.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn read<T: for<'a> Deserialize<'a>>(output: &mut impl BufRead) -> anyhow::Result<T> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    ensure!(!line.is_empty(), "its process ended; what it said stands above");
    serde_json::from_str(&line).with_context(|| line)
}

/// The name that OpenBLAS has for the best kernels that the machine can run.
fn blas_core() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return Some("SkylakeX");
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            return Some("Haswell");
        }
    }
    None
}
