//! Where a state may be kept: a folder, a Redis server, a cluster of three. One suite of laws holds for all.
//!
//! `deploy/redis/redis.sh` starts the servers. Without redis-server the tests that need one are skipped, unless
//! `ENDCAP_REQUIRE` names `redis`.
#![allow(dead_code)] // each test file uses its own part

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use endcap_live::{StateBackend, StateStore, StoreConfig, ValkeyConfig, ValkeyStore};
use endcap_recommend::StateReader;
use tokio::runtime::Runtime;

/// A state as it is opened: its writer, its readers, a hash of what was flushed.
pub(crate) struct Opened {
    pub(crate) writer: Box<dyn StateBackend>,
    pub(crate) reader: Arc<dyn StateReader>,
    pub(crate) digest: Box<dyn Fn() -> u64 + Send>,
}

/// Somewhere to keep one state.
pub(crate) trait Place: Send + Sync {
    /// Opens what is kept there, or begins.
    fn open(&self, config: &StoreConfig) -> Opened;
}

/// On disk, in a folder of its own.
pub(crate) struct Folder(tempfile::TempDir);

/// On a server, under a prefix of its own.
pub(crate) struct Prefix(pub(crate) ValkeyConfig);

/// A server, or a cluster, that runs until this process ends.
pub(crate) struct Server {
    addresses: String,
    masters: usize,
    _script: Child,
}

pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    &RUNTIME
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Place for Folder {
    fn open(&self, config: &StoreConfig) -> Opened {
        let (store, writer) = StateStore::open(self.0.path(), "events", config).unwrap();
        let digests = store.clone();
        Opened {
            writer: Box::new(writer),
            reader: Arc::new(store),
            digest: Box::new(move || digests.digest().unwrap()),
        }
    }
}

impl Place for Prefix {
    fn open(&self, config: &StoreConfig) -> Opened {
        let _runtime = runtime().enter();
        let (store, writer) = ValkeyStore::open(&self.0, "events", config).unwrap();
        let digests = store.clone();
        Opened {
            writer: Box::new(writer),
            reader: Arc::new(store),
            // From a thread that may be the runtime's own.
            digest: Box::new(move || {
                let store = digests.clone();
                std::thread::spawn(move || runtime().block_on(store.digest()).unwrap()).join().unwrap()
            }),
        }
    }
}

impl Server {
    /// One server; none where this machine has no Redis.
    pub(crate) fn one() -> Option<&'static Self> {
        static ONE: OnceLock<Option<Server>> = OnceLock::new();
        ONE.get_or_init(|| Self::start(1)).as_ref()
    }

    /// A cluster of three masters.
    pub(crate) fn cluster() -> Option<&'static Self> {
        static CLUSTER: OnceLock<Option<Server>> = OnceLock::new();
        CLUSTER.get_or_init(|| Self::start(3)).as_ref()
    }

    /// One that wants TLS and a password; and the folder of its certificates.
    pub(crate) fn secure() -> Option<(Self, PathBuf)> {
        let (mut server, tls) = Self::run("secure")?;
        server.masters = 1;
        Some((server, tls.strip_prefix("tls=").expect("a folder of certificates").into()))
    }

    fn start(masters: usize) -> Option<Self> {
        Some(Self { masters, ..Self::run(&masters.to_string())?.0 })
    }

    /// What it is, and the line that follows its addresses.
    fn run(kind: &str) -> Option<(Self, String)> {
        let there_is = |tool: &str| {
            Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        };
        if !there_is("redis-server") && !there_is("valkey-server") {
            let required = std::env::var("ENDCAP_REQUIRE").unwrap_or_default();
            assert!(
                !required.split([',', ' ']).any(|what| what == "redis"),
                "redis is required, and there is no redis-server"
            );
            return None;
        }
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/redis/redis.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg("run").arg(kind).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().expect("bash");
        let mut addresses = String::new();
        let mut output = BufReader::new(script.stdout.take().unwrap());
        output.read_line(&mut addresses).unwrap();
        assert!(addresses.contains(':'), "redis.sh started no server: {:?}", script.wait());
        let mut more = String::new();
        if kind == "secure" {
            output.read_line(&mut more).unwrap();
        }
        // The script ends with its standard input, which this process holds.
        let server = Self { addresses: addresses.trim().to_owned(), masters: 1, _script: script };
        Some((server, more.trim().to_owned()))
    }

    pub(crate) fn config(&self, prefix: &str) -> ValkeyConfig {
        ValkeyConfig {
            addresses: self.addresses.clone(),
            cluster: self.masters > 1,
            prefix: prefix.to_owned(),
            poll_interval_ms: 20,
            ..ValkeyConfig::default()
        }
    }

    /// Where nothing is kept yet.
    pub(crate) fn place(&self) -> Prefix {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        Prefix(self.config(&format!("{}-{}:", std::process::id(), PLACES.fetch_add(1, Relaxed))))
    }
}

/// Says that a test did not run.
pub(crate) fn skipped() {
    println!("SKIPPED: needs redis (redis-server 7)");
}

/// A broker that runs until this process ends, also where it is held by a static.
pub(crate) struct Broker {
    pub(crate) addresses: String,
    _script: Child,
}

impl Broker {
    /// None where this machine cannot start it.
    pub(crate) fn start() -> Option<Self> {
        if !Kafka::can_start() {
            return None;
        }
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kafka/kafka.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg("run").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().expect("bash");
        let mut addresses = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut addresses).unwrap();
        assert!(addresses.contains(':'), "kafka.sh started no broker: {:?}", script.wait());
        // The script ends with its standard input, which this process holds.
        Some(Self { addresses: addresses.trim().to_owned(), _script: script })
    }
}

/// An Apache Kafka of one broker or several, for as long as this is held.
pub(crate) struct Kafka {
    pub(crate) addresses: String,
    dir: tempfile::TempDir,
}

impl Kafka {
    /// Whether this machine has Java and Maven; where it lacks them, that is said.
    fn can_start() -> bool {
        let there_is = |tool: &str| {
            Command::new(tool).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        };
        let can = ["java", "mvn"].into_iter().all(there_is);
        if !can {
            let required = std::env::var("ENDCAP_REQUIRE").unwrap_or_default();
            assert!(!required.split([',', ' ']).any(|what| what == "kafka"), "kafka is required");
            println!("SKIPPED: needs kafka (java 17 and mvn)");
        }
        can
    }

    /// None where this machine cannot start it.
    pub(crate) fn start(brokers: usize, advertised: Option<&str>) -> Option<Self> {
        if !Self::can_start() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut kafka = Self { addresses: String::new(), dir };
        let mut start = kafka.script("start");
        start.arg(brokers.to_string());
        if let Some(advertised) = advertised {
            start.env("ENDCAP_KAFKA_ADVERTISED", advertised);
        }
        let output = start.output().unwrap();
        kafka.addresses = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        assert!(kafka.addresses.contains(':'), "{}", String::from_utf8_lossy(&output.stderr));
        Some(kafka)
    }

    fn script(&self, verb: &str) -> Command {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kafka/kafka.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg(verb).arg(self.dir.path());
        command
    }

    /// Kills a broker as a power cut would.
    pub(crate) fn kill(&self, broker: usize) {
        assert!(self.script("kill").arg(broker.to_string()).status().unwrap().success());
    }

    /// Stops all of it as it likes to be stopped.
    pub(crate) fn stop(&self) {
        assert!(self.script("stop").status().unwrap().success());
    }

    /// Starts what does not run.
    pub(crate) fn start_again(&self) {
        assert!(self.script("start").output().unwrap().status.success());
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = self.script("kill").status();
    }
}

/// A Toxiproxy, for as long as this is held.
pub(crate) struct Toxiproxy {
    api: String,
    script: Child,
}

impl Toxiproxy {
    pub(crate) fn start() -> Self {
        let mut script =
            Self::script().arg("run").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut api = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut api).unwrap();
        assert!(api.contains(':'), "toxiproxy.sh started nothing: {:?}", script.wait());
        Self { api: api.trim().to_owned(), script }
    }

    fn script() -> Command {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/toxiproxy/toxiproxy.sh");
        let mut command = Command::new("bash");
        command.arg(script);
        command
    }

    /// Runs a verb on a proxy; what it prints.
    pub(crate) fn tell(&self, verb: &str, name: &str, more: &[&str]) -> String {
        let output = Self::script().arg(verb).arg(&self.api).arg(name).args(more).output().unwrap();
        assert!(output.status.success(), "{verb} {name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Toxiproxy {
    fn drop(&mut self) {
        drop(self.script.stdin.take()); // which ends it
        let _ = self.script.wait();
    }
}
