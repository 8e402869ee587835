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

    fn start(masters: usize) -> Option<Self> {
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
        command.arg(script).arg("run").arg(masters.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().expect("bash");
        let mut addresses = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut addresses).unwrap();
        assert!(addresses.contains(':'), "redis.sh started no server: {:?}", script.wait());
        // The script ends with its standard input, which this process holds.
        Some(Self { addresses: addresses.trim().to_owned(), masters, _script: script })
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
