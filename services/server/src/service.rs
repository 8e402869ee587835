//! The service: one port, both protocols, from bind to drain.
//!
//! ```text
//! socket ─► connection (HTTP/1 or HTTP/2) ─► Router ─┬─ limits ─► gRPC methods ─┐
//!                                                    ├─ limits ─► JSON methods ─┴─► Api
//!                                                    ├─ health, reflection
//!                                                    └─ /healthz, /readyz, /metrics
//! ```
//!
//! Drain: say NOT_SERVING and go on answering for a while, close the port, let the answers in flight finish, end.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, middleware};
use endcap_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{
        admin_service_server::AdminServiceServer, catalog_service_server::CatalogServiceServer,
        event_service_server::EventServiceServer, recommendation_service_server::RecommendationServiceServer,
    },
};
use endcap_recommend::{Clock, Recommender};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    BundleAdmin, Eraser, EventWriter, InvalidConfig, ItemWriter, ServerConfig, StreamStatus, api::Api, http,
    limits::Limits, metrics::Metrics,
};

/// What the service needs. Parts that are `None` answer for themselves: UNAVAILABLE, and why.
pub struct Options {
    /// Where and how to listen.
    pub config: ServerConfig,
    /// Makes the slates.
    pub recommender: Arc<Recommender>,
    /// Takes events to the topic `events`.
    pub events: Option<Arc<dyn EventWriter>>,
    /// Takes changes of the catalogue to the topic `items`; without it they act on this process alone.
    pub items: Option<Arc<dyn ItemWriter>>,
    /// Forgets shoppers.
    pub eraser: Option<Arc<dyn Eraser>>,
    /// The bundles.
    pub bundles: Option<Arc<dyn BundleAdmin>>,
    /// How the stream stands.
    pub stream: Option<Arc<dyn StreamStatus>>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// The service, bound to its port.
pub struct Service {
    listener: TcpListener,
    router: Router,
    limits: Limits,
    config: ServerConfig,
    readiness: Readiness,
}

/// What the rest of the process holds of the service.
#[derive(Debug, Clone)]
pub struct Handle {
    address: SocketAddr,
    readiness: Readiness,
}

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration breaks a rule.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The address is open to others.
    #[error(
        "server.address is {0}: off loopback anybody who reaches it could read and write, and nothing is encrypted. Set \
         server.insecure = true if a private network or a proxy with TLS protects it, or listen on 127.0.0.1 (TLS of its own \
         comes in a later version)"
    )]
    NotLoopback(SocketAddr),
    /// Another process listens there.
    #[error(
        "{0} is in use by another process: stop that one, or set server.address to another port (port 0 takes a free one)"
    )]
    AddressInUse(SocketAddr),
    /// The system refuses the address.
    #[error("cannot listen on {address}: {source}; set server.address to an address of this machine")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The description of the services is not readable: a defect of the build.
    #[error("reflection: {0}")]
    Reflection(String),
    /// Answers were still in flight when the time to drain was over.
    #[error("{0} answers were still in flight after server.drain_timeout_ms; their connections were closed")]
    Drain(usize),
}

/// Whether the service wants traffic.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    ready: Arc<AtomicBool>,
    health: HealthReporter,
}

/// The services whose health is told, beside the whole ("").
const SERVICES: [&str; 5] = [
    "",
    RecommendationServiceServer::<Api>::NAME,
    EventServiceServer::<Api>::NAME,
    CatalogServiceServer::<Api>::NAME,
    AdminServiceServer::<Api>::NAME,
];
/// Bytes of all headers of a request.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// An idle HTTP/2 connection is asked whether it is alive after so long.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long connections may take to close once nothing is in flight on them.
const CLOSING: Duration = Duration::from_millis(500);

// === impl Options ===

impl Options {
    /// Takes the port. Nothing is answered before [`Service::run`].
    ///
    /// # Errors
    /// When the configuration breaks a rule, or the address cannot be taken.
    pub async fn bind(self) -> Result<(Service, Handle), Error> {
        let Self { config, recommender, events, items, eraser, bundles, stream, clock } = self;
        config.validate()?;
        let listener = listen(&config).await?;
        let address =
            listener.local_addr().map_err(|source| Error::Bind { address: config.address, source })?;
        let (health, health_server) = tonic_health::server::health_reporter();
        let readiness = Readiness { ready: Arc::default(), health };
        let metrics = Arc::new(Metrics::new(Arc::clone(&recommender), stream.clone()));
        let message_bytes = config.limits.message_bytes;
        let started = clock.now();
        let limits = Limits::new(&config.limits, Arc::clone(&metrics));
        let api = Api {
            recommender,
            events,
            items,
            eraser,
            bundles,
            stream,
            metrics,
            limits: limits.clone(),
            started,
            message_bytes,
        };
        let methods = grpc_methods(&api).merge(http::methods());
        let methods = methods
            .method_not_allowed_fallback(http::wrong_method)
            .route_layer(middleware::from_fn_with_state(limits.clone(), Limits::admit));
        let router = methods
            .merge(http::probes(readiness.clone()))
            .route_service("/grpc.health.v1.Health/{*method}", health_server)
            .merge(reflection()?)
            .fallback(http::unknown)
            .with_state(api);
        readiness.set(true).await;
        let handle = Handle { address, readiness: readiness.clone() };
        Ok((Service { listener, router, limits, config, readiness }, handle))
    }
}

async fn listen(config: &ServerConfig) -> Result<TcpListener, Error> {
    let address = config.address;
    if !(address.ip().is_loopback() || config.insecure) {
        return Err(Error::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::AddressInUse(address),
        _ => Error::Bind { address, source },
    })
}

fn grpc_methods(api: &Api) -> Router<Api> {
    let most = api.message_bytes;
    let recommendation = RecommendationServiceServer::new(api.clone()).max_decoding_message_size(most);
    let events = EventServiceServer::new(api.clone()).max_decoding_message_size(most);
    let catalog = CatalogServiceServer::new(api.clone()).max_decoding_message_size(most);
    let admin = AdminServiceServer::new(api.clone()).max_decoding_message_size(most);
    Router::new()
        .route_service(&path(&recommendation), recommendation)
        .route_service(&path(&events), events)
        .route_service(&path(&catalog), catalog)
        .route_service(&path(&admin), admin)
}

/// Both versions that clients ask for.
fn reflection() -> Result<Router<Api>, Error> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let failed = |error: tonic_reflection::server::Error| Error::Reflection(error.to_string());
    let (new, old) = (builder().build_v1().map_err(failed)?, builder().build_v1alpha().map_err(failed)?);
    Ok(Router::new().route_service(&path(&new), new).route_service(&path(&old), old))
}

fn path<S: NamedService>(_: &S) -> String {
    format!("/{}/{{*method}}", S::NAME)
}

// === impl Service ===

impl Service {
    /// Answers until `drain` is cancelled, then drains.
    ///
    /// # Errors
    /// [`Error::Drain`] when answers had to be cut off.
    pub async fn run(self, drain: CancellationToken) -> Result<(), Error> {
        let Self { listener, router, limits, config, readiness } = self;
        let builder = connections(&config);
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(config.limits.connections));
        let mut open = JoinSet::new();
        let closing = async {
            drain.cancelled().await;
            readiness.set(false).await;
            sleep(Duration::from_millis(config.drain_notice_ms)).await;
        };
        tokio::pin!(closing);
        loop {
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, accept(&listener).await)
            };
            tokio::select! {
                () = &mut closing => break,
                // Ended connections are forgotten as they end.
                Some(_) = open.join_next() => {}
                (place, stream) = accepted => {
                    let service = TowerToHyperService::new(router.clone());
                    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                    let connection = graceful.watch(connection);
                    open.spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%error, "connection");
                        }
                        drop(place);
                    });
                }
            }
        }
        drop(listener);
        limits.close();
        let end = Instant::now() + Duration::from_millis(config.drain_timeout_ms);
        let asked_to_close = tokio::spawn(graceful.shutdown());
        while limits.in_flight() > 0 && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
        let left = limits.in_flight();
        // What is left now are idle connections and watches of health, which end when they are told to, or are cut.
        let closed = async { while open.join_next().await.is_some() {} };
        let _ = timeout_at(end.min(Instant::now() + CLOSING), closed).await;
        open.shutdown().await;
        asked_to_close.abort();
        match left {
            0 => Ok(()),
            left => Err(Error::Drain(left)),
        }
    }
}

fn connections(config: &ServerConfig) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.limits.header_timeout_ms))
        .max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.limits.streams_per_connection)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEP_ALIVE);
    builder
}

/// The next connection. A refusal of the system (no file descriptors left) passes; it is waited out.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "nodelay");
                }
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

// === impl Handle ===

impl Handle {
    /// The address that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells load balancers whether this replica wants traffic. It answers what comes all the same.
    pub async fn set_ready(&self, ready: bool) {
        self.readiness.set(ready).await;
    }
}

// === impl Readiness ===

impl Readiness {
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    async fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            self.health.set_service_status(service, status).await;
        }
    }
}
