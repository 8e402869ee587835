//! Where the time of one request goes: `cargo run --release -p endcap-recommend --example stages -- 100000`.
//!
//! Medians over requests of shoppers with a history of 50 items, in process, over the tests' shop.

#[path = "../tests/shop/mod.rs"]
mod shop;

use std::time::{Duration, Instant};

use endcap_proto::VisitorId;
use endcap_recommend::Query;
use shop::Shop;

const REQUESTS: usize = 3_000;

fn main() {
    let items = std::env::args().nth(1).and_then(|items| items.parse().ok()).unwrap_or(3_000);
    let shop = Shop::new(items);
    for shopper in 0..100 {
        shop.views(&format!("visitor-{shopper}"), (0..50).map(|i| (shopper * 7_919 + i * 31) % items));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut times: Vec<[Duration; 8]> = Vec::new();
    for request in 0..REQUESTS {
        let query = Query::of(VisitorId::new(format!("visitor-{}", request % 100)).unwrap());
        let begun = Instant::now();
        let slate = runtime.block_on(shop.recommender.recommend(&query)).unwrap();
        let whole = begun.elapsed();
        let (trace, funnel) = (&slate.trace, &slate.trace.funnel);
        times.push([
            trace.hydration,
            trace.user_vector,
            funnel.sources,
            funnel.rules,
            funnel.features,
            funnel.scoring,
            trace.finish,
            whole,
        ]);
    }
    let names = ["hydration", "user vector", "sources", "rules", "features", "scoring", "places", "whole"];
    for (stage, name) in names.into_iter().enumerate() {
        let mut stage: Vec<_> = times.iter().map(|times| times[stage]).collect();
        stage.sort_unstable();
        println!("{name:>12}  p50 {:>9.1?}  p99 {:>9.1?}", stage[REQUESTS / 2], stage[REQUESTS * 99 / 100]);
    }
}
