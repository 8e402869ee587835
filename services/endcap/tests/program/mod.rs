//! The built binary: commands that run to their end, and a service that runs until it is dropped.

#![allow(dead_code, unreachable_pub)] // each test file uses its own part

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use endcap_live::KafkaConfig;
use endcap_proto::v1::{
    RecommendRequest, RecommendResponse, catalog_service_client::CatalogServiceClient,
    event_service_client::EventServiceClient, recommendation_service_client::RecommendationServiceClient,
};
use tonic::{Request, Status, transport::Channel};

/// How long anything may take that should be quick; machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// `endcap serve`; stopped when dropped.
pub struct Service {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
}

/// Clients of a service.
#[derive(Clone)]
pub struct Client {
    recommendation: RecommendationServiceClient<Channel>,
    pub catalogue: CatalogServiceClient<Channel>,
    pub events: EventServiceClient<Channel>,
}

/// `endcap ARGS`, with nothing of the surroundings' settings.
fn endcap(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_endcap"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The width of help, whatever the terminal's.
    command.env_remove("ENDCAP_CONFIG").env_remove("ENDCAP_LOG").env("COLUMNS", "100");
    command
}

/// Runs a command to its end.
pub fn run(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Said {
    let output = endcap(args).output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `--set` entries for a service, or what else reads its configuration.
pub fn settings(kafka: &KafkaConfig, bundles: &Path, state: &Path) -> Vec<String> {
    let KafkaConfig { brokers, topics, create_topics, fetch_wait_ms, .. } = kafka;
    let entries = [
        "server.address=127.0.0.1:0".to_owned(),
        format!("bundles.path={}", bundles.display()),
        format!("state.path={}", state.display()),
        format!("impressions.spill_path={}", state.with_extension("spill").display()),
        format!("kafka.brokers={brokers}"),
        format!("kafka.fetch_wait_ms={fetch_wait_ms}"),
        format!("kafka.create_topics.enabled={}", create_topics.enabled),
        format!("kafka.create_topics.partitions={}", create_topics.partitions),
        format!("kafka.topics.events={}", topics.events),
        format!("kafka.topics.items={}", topics.items),
        format!("kafka.topics.impressions={}", topics.impressions),
        format!("kafka.topics.erasures={}", topics.erasures),
        format!("kafka.topics.dead_letters={}", topics.dead_letters),
    ];
    entries.into_iter().flat_map(|entry| ["--set".to_owned(), entry]).collect()
}

// === impl Said ===

impl Said {
    /// It succeeded; its standard output.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// It ended with `code`, and said all of `words` on standard error.
    #[track_caller]
    pub fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is missing: {}", self.stderr);
        }
        println!("{}", self.stderr.trim_end());
    }
}

// === impl Service ===

impl Service {
    /// Serves with these arguments; returns when it does.
    pub fn start(args: &[String]) -> Self {
        let mut child = endcap(std::iter::once(&"serve".to_owned()).chain(args)).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (tell, told) = mpsc::channel();
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("serving on ") {
                    let _ = tell.send(address.parse().unwrap());
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        match told.recv_timeout(PATIENCE) {
            Ok(address) => Self { child, address, log },
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("it does not serve: {}", log.lock().unwrap());
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it said on standard error up to now.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub async fn client(&self) -> Client {
        let channel =
            Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap();
        Client {
            recommendation: RecommendationServiceClient::new(channel.clone()),
            catalogue: CatalogServiceClient::new(channel.clone()),
            events: EventServiceClient::new(channel),
        }
    }

    /// The body of what `GET path` answers.
    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        body.to_owned()
    }

    /// What `GET /v1/status` says is not as it should be.
    pub fn degraded(&self) -> Vec<String> {
        let status: serde_json::Value = serde_json::from_str(&self.get("/v1/status")).unwrap();
        let reasons = status.get("degraded").and_then(|reasons| reasons.as_array());
        reasons.into_iter().flatten().map(|reason| reason.as_str().unwrap().to_owned()).collect()
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }

    /// Tells it to stop, as an orchestrator does, and waits; it drains and ends with 0.
    pub fn stop(mut self) {
        let status = self.terminate();
        assert!(status.is_some_and(|status| status.success()), "{status:?}: {}", self.log());
    }

    /// Kills it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn terminate(&mut self) -> Option<ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        let _ = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        let told = Instant::now();
        while told.elapsed() < Duration::from_secs(20) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.terminate().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("the service said: {}", self.log());
        }
    }
}

// === impl Client ===

impl Client {
    /// Asks with a deadline that a busy machine keeps.
    pub async fn recommend(&self, request: RecommendRequest) -> Result<RecommendResponse, Status> {
        self.ask(Request::new(request)).await
    }

    /// With metadata of its own.
    pub async fn ask(&self, mut request: Request<RecommendRequest>) -> Result<RecommendResponse, Status> {
        request.set_timeout(PATIENCE);
        self.recommendation.clone().recommend(request).await.map(tonic::Response::into_inner)
    }
}
