//! How long one user's vector and many items' vectors take, on one thread each.
//!
//! ```text
//! cargo run --release -p endcap-towers --example latency
//! ```

use std::{hint::black_box, time::Instant};

use endcap_features::ItemFeatures;
use endcap_proto::{EventType, ItemKey};
use endcap_towers::{Towers, TowersConfig, TowersError, UserInput, Weights};

/// Median time of a call, in microseconds.
fn median_us(calls: usize, mut call: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..calls)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[calls / 2]
}

fn main() -> Result<(), TowersError> {
    for blocks in [1, 2] {
        let config = TowersConfig { blocks, ..TowersConfig::default() };
        let towers = Towers::new(Weights::new(config, 10_000, 5_000, 1)?);
        let item = |i: u32| ItemFeatures {
            key: ItemKey(u64::from(i)),
            id_row: Some(i),
            words: (0..30).map(|word| (i * 31 + word * 7) % 5_000).collect(),
            vector: Vec::new(),
        };
        let items: Vec<ItemFeatures> = (0..10_000).map(item).collect();
        let vectors = towers.item_vectors(&items)?;
        for length in [0, 5, 50] {
            let history: Vec<&[f32]> = vectors.chunks(towers.dim()).take(length).collect();
            let input = UserInput {
                items: &history,
                event_types: &vec![EventType::View; length],
                gap_buckets: &vec![10; length],
            };
            let us = median_us(2000, || _ = black_box(towers.user_vectors(&[input])));
            println!("{blocks} block(s), history of {length}: {us:.0} µs a user");
        }
        let us = median_us(20, || _ = black_box(towers.item_vectors(&items)));
        println!("{} items of 30 words: {:.2} µs an item", items.len(), us / items.len() as f64);
    }
    Ok(())
}
