//! The peer: PyTorch in a process of its own (`benches/peers/training.py`), asked in JSON lines.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

/// The script, and where it is looked for: in the working folder, else where this crate was built.
const SCRIPT: &str = "benches/peers/training.py";
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/training.py");
/// What is installed: pinned, so that a figure can be made again.
const TORCH: &str = "torch==2.15.0";
/// Where it is installed, once.
const VENV: &str = "target/torch-venv";
/// Settings of other libraries' kernels that would slow the peer's down.
const UNSET: [&str; 6] = [
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "MKL_NUM_THREADS",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY",
];

pub(super) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

#[derive(Debug, Deserialize)]
struct Round {
    seconds: f64,
    examples: f64,
}

impl Peer {
    /// Starts the peer with these settings.
    ///
    /// # Errors
    /// When Python or PyTorch cannot be had.
    pub(super) fn start(settings: &Value, threads: usize) -> anyhow::Result<Self> {
        let python = install()?;
        let script = if Path::new(SCRIPT).exists() { SCRIPT } else { SOURCE };
        let mut command = Command::new(python);
        command
            .arg(script)
            .env("ENDCAP_THREADS", threads.to_string())
            .env("OMP_NUM_THREADS", threads.to_string());
        UNSET.iter().for_each(|name| _ = command.env_remove(name));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("no pipes to the peer")
        };
        let mut peer = Self { child, input, output: BufReader::new(output) };
        let _ready: Value = peer.ask(settings)?;
        Ok(peer)
    }

    /// Examples a second over so many steps.
    pub(super) fn rate(&mut self, steps: usize) -> anyhow::Result<f64> {
        let round: Round = serde_json::from_value(self.ask(&json!({ "steps": steps }))?)?;
        Ok(round.examples / round.seconds)
    }

    /// Seconds a step takes.
    pub(super) fn step_seconds(&mut self, steps: usize) -> anyhow::Result<f64> {
        let round: Round = serde_json::from_value(self.ask(&json!({ "steps": steps }))?)?;
        Ok(round.seconds / steps as f64)
    }

    fn ask(&mut self, question: &Value) -> anyhow::Result<Value> {
        writeln!(self.input, "{question}")?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the peer ended: {:?}", self.child.wait()?);
        serde_json::from_str(&line).with_context(|| format!("the peer said {line:?}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It has nothing to put away.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python of a virtual environment with PyTorch, which is made where there is none (5 GB: PyPI's wheel brings the
/// libraries of a GPU along).
fn install() -> anyhow::Result<PathBuf> {
    let python = PathBuf::from(VENV).join("bin/python");
    let has_torch = Command::new(&python).args(["-c", "import torch"]).stderr(Stdio::null()).status();
    if has_torch.is_ok_and(|status| status.success()) {
        return Ok(python);
    }
    println!("installing {TORCH} into {VENV} (5 GB, once)");
    let run = |program: &Path, arguments: &[&str]| -> anyhow::Result<()> {
        let status = Command::new(program).args(arguments).status()?;
        ensure!(status.success(), "{} {}: {status}", program.display(), arguments.join(" "));
        Ok(())
    };
    run(Path::new("python3"), &["-m", "venv", VENV])?;
    run(&python, &["-m", "pip", "install", "--quiet", TORCH, "numpy"])?;
    Ok(python)
}
