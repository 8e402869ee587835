//! `endcap-load`: Recommend at a given rate, or at whatever rate the service keeps up with, latency counted from when
//! each request should have been sent.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use endcap_benches::open_loop::{Arrivals, Limits, Load, Outcome, drive, saturation};
use endcap_benches::service::{Clients, Floor};
use endcap_proto::v1::RecommendRequest;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Sends Recommend requests open-loop: they leave when they are due, and latency counts from then.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// The service.
    #[arg(long, default_value = "http://127.0.0.1:8500")]
    target: String,
    /// Requests a second; finds the largest that the service keeps up with when absent.
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds of one load.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before that, at the same rate, which do not count.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// How requests are spread.
    #[arg(long, value_enum, default_value_t = Spread::Poisson)]
    arrivals: Spread,
    /// HTTP/2 connections.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests come from so many visitors, `PREFIX0` and so on, at random.
    #[arg(long, default_value_t = 10_000)]
    visitors: u64,
    /// What ids of visitors begin with.
    #[arg(long, default_value = "visitor-")]
    visitor_prefix: String,
    /// The placement; the service's default one when empty.
    #[arg(long, default_value = "")]
    placement: String,
    /// Items to ask for; the service's default when 0.
    #[arg(long, default_value_t = 0)]
    page_size: i32,
    /// Keeping up means: so large a share answered well …
    #[arg(long, default_value_t = Limits::default().goodput)]
    goodput: f64,
    /// … and 99 of 100 within so many milliseconds.
    #[arg(long, default_value_t = Limits::default().p99_ms)]
    p99_ms: f64,
    /// Also measure an empty call that returns the service's own first answer, in this process.
    #[arg(long)]
    floor: bool,
    /// Of gaps and visitors.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How results are printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Spread {
    Poisson,
    Even,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let Arguments { target, rate, floor, output, .. } = &arguments;
    let clients = Clients::connect(target, arguments.connections)
        .await
        .with_context(|| format!("no service at {target}; start one with `endcap serve` or `endcap demo`"))?;
    let first =
        clients.recommend(0, arguments.request(0)).await.context("the service refuses the request")?;
    let outcome = arguments.measure(clients).await?;
    let beside = if *floor {
        let server = Floor::start(first).await?;
        let clients = Clients::connect(&server.target(), arguments.connections).await?;
        Some(arguments.measure(clients).await?)
    } else {
        None
    };

    let (summary, floor) = (outcome.summary(), beside.map(|outcome| outcome.summary()));
    if *output == Output::Json {
        println!("{}", serde_json::json!({ "target": target, "outcome": summary, "floor": floor }));
        return Ok(());
    }
    let found = if rate.is_none() { " (the largest that it keeps up with)" } else { "" };
    println!("{target}{found}\n{summary}");
    if let Some(floor) = floor {
        println!("\nempty call of the same size\n{floor}");
        if rate.is_none() {
            println!("\nshare of the empty call: {:.0} %", 100.0 * summary.achieved / floor.achieved);
        }
    }
    Ok(())
}

impl Arguments {
    fn request(&self, i: u64) -> RecommendRequest {
        let mut rng = SmallRng::seed_from_u64(self.seed ^ i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let visitor = rng.random_range(0..self.visitors.max(1));
        RecommendRequest {
            visitor_id: format!("{}{visitor}", self.visitor_prefix),
            placement: self.placement.clone(),
            page_size: self.page_size,
            ..RecommendRequest::default()
        }
    }

    async fn measure(&self, clients: Clients) -> anyhow::Result<Outcome> {
        let requests: Vec<RecommendRequest> = (0..4096).map(|i| self.request(i)).collect();
        let requests = std::sync::Arc::new(requests);
        let send = move |i: u64| {
            let (clients, request) = (clients.clone(), requests[i as usize % requests.len()].clone());
            async move {
                let answer = clients.recommend(i, request).await;
                answer.map(drop).map_err(|status| format!("{:?}: {}", status.code(), status.message()))
            }
        };
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).context("not a number of seconds");
        let Some(rate) = self.rate else {
            let limits = Limits { goodput: self.goodput, p99_ms: self.p99_ms };
            let found = saturation(limits, seconds(self.seconds)?, self.seed, send).await;
            return found.context("the service does not keep up with any rate; see its log");
        };
        if !(rate > 0.0 && rate.is_finite()) {
            bail!("--rate must be above 0");
        }
        let arrivals = match self.arrivals {
            Spread::Poisson => Arrivals::Poisson,
            Spread::Even => Arrivals::Even,
        };
        let load = Load { rate, duration: seconds(self.seconds)?, arrivals, seed: self.seed };
        drive(Load { duration: seconds(self.warm_up)?, ..load }, send.clone()).await;
        Ok(drive(load, send).await)
    }
}
