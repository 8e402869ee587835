//! `bench-recommend`: requests a second at saturation beside an empty call of the same size, latency at half of that,
//! and where one request's time goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cpu_time::ProcessTime;
use endcap_proto::v1::{RecommendRequest, RecommendResponse};
use endcap_recommend::{Query, RecommendConfig, Recommender, Slate, SystemClock};
use endcap_server::{Options, ServerConfig};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::measure::{Extent, median};
use crate::open_loop::{Arrivals, Limits, Load, Outcome, drive, saturation};
use crate::report::{Better, Report, Row};
use crate::service::{Clients, Floor};
use crate::shop::{self, Size};

const SEED: u64 = 7;
const CONNECTIONS: usize = 4;

/// Runs the rows of Recommend: 100,000 items, histories of 50, the default models, 20 returned.
///
/// # Errors
/// Whatever a part says.
pub fn run(extent: Extent) -> anyhow::Result<Report> {
    let mut report = Report::new();
    let (server, client) = (Runtime::new()?, Runtime::new()?);
    let dir = tempfile::tempdir()?;
    let size = Size::default();
    let config = RecommendConfig { seed: Some(SEED), ..RecommendConfig::default() };
    let start = Instant::now();
    let recommender = Arc::new(shop::open(SEED, size, dir.path(), config)?);
    report.push(Row::alone("shop of 100k items, 10k shoppers, made in", start.elapsed().as_secs_f64(), "s"));
    client.block_on(stages(&mut report, &recommender, size))?;

    let drain = CancellationToken::new();
    let options = Options {
        config: ServerConfig {
            address: ([127, 0, 0, 1], 0).into(),
            drain_notice_ms: 0,
            ..ServerConfig::default()
        },
        recommender,
        events: None,
        items: None,
        eraser: None,
        bundles: None,
        stream: None,
        clock: Arc::new(SystemClock),
    };
    let (service, handle) = server.block_on(options.bind())?;
    let target = format!("http://{}", handle.address());
    let running = server.spawn(service.run(drain.clone()));
    let answer = client.block_on(async {
        let clients = Clients::connect(&target, 1).await?;
        anyhow::Ok(clients.recommend(0, request(0, size)).await?)
    })?;
    ensure!(answer.results.len() == 20, "the service answers with {} items", answer.results.len());
    let floor = server.block_on(Floor::start(answer))?;
    let seconds = Duration::from_secs(if extent == Extent::Full { 10 } else { 3 });
    client.block_on(load(&mut report, &target, &floor.target(), size, seconds))?;
    drain.cancel();
    server.block_on(running)??;
    Ok(report)
}

/// Both services under load: as much as they take, and half of that.
async fn load(
    report: &mut Report,
    target: &str,
    floor: &str,
    size: Size,
    time: Duration,
) -> anyhow::Result<()> {
    let ours = Arc::new(Side::connect(target, size).await?);
    let empty = Arc::new(Side::connect(floor, size).await?);
    let (mut ours_most, mut empty_most) = (Vec::new(), Vec::new());
    for round in 0..3 {
        empty_most.push(empty.saturation(time, round).await?);
        ours_most.push(ours.saturation(time, round).await?);
    }
    let (ours_most, empty_most) = (median(ours_most), median(empty_most));
    let work = "Recommend at saturation, 100k items, history 50";
    let peer = "empty call, same size";
    report.push(Row::beside(work, ours_most, empty_most, peer, "requests/s", Better::More).bar(0.15));

    let half = ours_most / 2.0;
    let (outcome, floor) = (ours.at(half, time).await, empty.at(half, time).await);
    let (ours, floor) = (outcome.summary(), floor.summary());
    ensure!(ours.errors.is_empty(), "errors at half of saturation: {:?}", ours.errors);
    report.push(Row::beside(
        "p50 at half of saturation",
        ours.p50_ms,
        floor.p50_ms,
        peer,
        "ms",
        Better::Less,
    ));
    let row = Row::beside("p99 at half of saturation", ours.p99_ms, 5.0, "the limit", "ms", Better::Less);
    report.push(row.bar(1.0));
    report.push(Row::alone("p99 of the empty call at that rate", floor.p99_ms, "ms"));
    Ok(())
}

/// One of the two services, and the requests it gets.
struct Side {
    clients: Clients,
    requests: Vec<RecommendRequest>,
}

impl Side {
    async fn connect(target: &str, size: Size) -> anyhow::Result<Self> {
        let requests = (0..4096).map(|number| request(number, size)).collect();
        Ok(Self { clients: Clients::connect(target, CONNECTIONS).await?, requests })
    }

    async fn send(&self, number: u64) -> Result<(), String> {
        let request = self.requests[number as usize % self.requests.len()].clone();
        let answer: Result<RecommendResponse, _> = self.clients.recommend(number, request).await;
        answer.map(drop).map_err(|status| format!("{:?}: {}", status.code(), status.message()))
    }

    async fn saturation(self: &Arc<Self>, time: Duration, seed: u64) -> anyhow::Result<f64> {
        let found = saturation(Limits::default(), time, seed, self.sender()).await;
        Ok(found.context("the service keeps up with no rate")?.achieved())
    }

    async fn at(self: &Arc<Self>, rate: f64, time: Duration) -> Outcome {
        drive(Load { rate, duration: 2 * time, arrivals: Arrivals::Poisson, seed: SEED }, self.sender()).await
    }

    fn sender(
        self: &Arc<Self>,
    ) -> impl Fn(u64) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Clone + use<>
    {
        let side = Arc::clone(self);
        move |number| {
            let side = Arc::clone(&side);
            Box::pin(async move { side.send(number).await })
        }
    }
}

fn request(number: usize, size: Size) -> RecommendRequest {
    RecommendRequest {
        visitor_id: shop::shopper(number * 7919 % size.shoppers),
        ..RecommendRequest::default()
    }
}

/// Requests whose stages are timed.
const TRACED: usize = 2_000;

/// One request at a time, no network: where the time goes.
async fn stages(report: &mut Report, recommender: &Recommender, size: Size) -> anyhow::Result<()> {
    let mut slates: Vec<Slate> = Vec::with_capacity(TRACED);
    for number in 0..TRACED / 4 {
        recommender.recommend(&Query::try_from(request(number, size))?).await?;
    }
    let (start, cpu) = (Instant::now(), ProcessTime::now());
    for number in 0..TRACED {
        slates.push(recommender.recommend(&Query::try_from(request(number, size))?).await?);
    }
    let (wall, cpu) = (start.elapsed(), cpu.elapsed());
    for slate in &slates {
        ensure!(slate.degraded.is_empty(), "a slate is degraded: {:?}", slate.degraded);
        ensure!(slate.places.len() == 20, "a slate has {} places", slate.places.len());
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / TRACED as f64;
    report.push(Row::alone("one request, no network", each(wall), "µs"));
    report.push(Row::alone("one request, no network, CPU", each(cpu), "µs"));
    type Stage = (&'static str, fn(&Slate) -> Duration);
    let stages: [Stage; 7] = [
        ("read the state", |slate| slate.trace.hydration),
        ("features and user tower", |slate| slate.trace.user_vector),
        ("sources", |slate| slate.trace.funnel.sources),
        ("rules", |slate| slate.trace.funnel.rules),
        ("ranker's inputs", |slate| slate.trace.funnel.features),
        ("ranker", |slate| slate.trace.funnel.scoring),
        ("places, answer, impression", |slate| slate.trace.finish),
    ];
    for (name, of) in stages {
        let times = slates.iter().map(|slate| of(slate).as_secs_f64() * 1e6).collect();
        report.push(Row::alone(format!("  stage: {name}, median"), median(times), "µs"));
    }
    Ok(())
}
