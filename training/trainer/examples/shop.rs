//! Fits the towers on the synthetic shop, and asks how many of the clicks that the shop's own oracle would
//! get their twenty best products get; beside popularity.
//!
//! ```text
//! cargo run --release -p endcap-trainer --example shop -- [CONFIG.json]
//! ```

use std::{env, fs, time::Instant};

use endcap_clickstream::{
    Dataset,
    synthetic::{Shop, ShopConfig},
};
use endcap_features::{UserState, features_at};
use endcap_proto::ItemKey;
use endcap_towers::{Towers, UserInput, dot_products};
use endcap_trainer::{EpochReport, LoadOptions, Progress, TrainConfig, TrainingData, fit_towers};

const TOP: usize = 20;

struct Print;

impl Progress for Print {
    fn epoch(&mut self, epoch: &EpochReport) {
        let [recall, ndcg] = epoch.validation.map_or([f64::NAN; 2], |v| [v.recall_at_20, v.ndcg_at_20]);
        let EpochReport { epoch, loss, positions_per_second, seconds, .. } = epoch;
        println!(
            "epoch {epoch}: loss {loss:.4}, validation recall@20 {recall:.4} NDCG@20 {ndcg:.4}, \
             {positions_per_second:.0} positions/s, {seconds:.2} s"
        );
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config: TrainConfig = match env::args().nth(1) {
        Some(path) => serde_json::from_str(&fs::read_to_string(path)?)?,
        None => TrainConfig::default(),
    };
    let dir = tempfile::tempdir()?;
    let shop = Shop::new(&ShopConfig::default())?;
    println!("{:?}", shop.write(dir.path())?);
    let start = Instant::now();
    let data = TrainingData::load(&Dataset::open(dir.path())?, &LoadOptions::default())?;
    let interactions = data.sequences().interactions().len();
    println!(
        "{interactions} interactions, {} words, read in {:.2?}",
        data.vocabulary().words(),
        start.elapsed()
    );
    let fitted = fit_towers(&data, &config, &mut Print)?;
    println!("best epoch {}, {:.1} s", fitted.report.best_epoch, fitted.report.seconds);

    let towers = Towers::load(fitted.config, &fitted.weights)?;
    let d = towers.dim();
    let vectors = towers.item_vectors(&data.item_features()[..shop.items().len()])?;
    let place = |key: ItemKey| shop.items().iter().position(|item| item.id.key() == key);
    let mut popular: Vec<usize> = (0..shop.items().len()).collect();
    popular.sort_by_key(|&item| std::cmp::Reverse(data.item_counts()[item]));
    popular.truncate(TOP);
    let mut scores = vec![0.0; shop.items().len()];
    let [mut ours, mut popularity, mut oracle] = [0.0; 3];
    for shopper in (0..shop.shoppers()).step_by(shop.shoppers().div_ceil(500)) {
        let mut state = UserState::default();
        shop.history_of(shopper).0.iter().for_each(|event| _ = state.apply(event));
        let features = features_at(&state, shop.config().end, towers.length());
        let known: Vec<_> =
            features.history.iter().filter_map(|entry| Some((entry, place(entry.item)?))).collect();
        let items: Vec<&[f32]> = known.iter().map(|(_, item)| &vectors[item * d..][..d]).collect();
        let event_types: Vec<_> = known.iter().map(|(entry, _)| entry.event_type).collect();
        let gap_buckets: Vec<_> = known.iter().map(|(entry, _)| entry.gap_bucket).collect();
        let user = UserInput { items: &items, event_types: &event_types, gap_buckets: &gap_buckets };
        dot_products(&towers.user_vectors(&[user])?, &vectors, d, &mut scores);
        let mut best: Vec<usize> = (0..scores.len()).collect();
        best.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let (_, taste) = shop.shopper_at_end(shopper);
        ours += shop.expected_clicks(&taste, &best[..TOP]);
        popularity += shop.expected_clicks(&taste, &popular);
        oracle += shop.expected_clicks(&taste, &shop.oracle_top(&taste, TOP));
    }
    println!(
        "of the oracle's expected clicks: {:.1} %, popularity {:.1} %",
        100.0 * ours / oracle,
        100.0 * popularity / oracle
    );
    Ok(())
}
