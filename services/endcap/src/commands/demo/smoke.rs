//! What `endcap demo --smoke` measures: how soon a click shows, and whether slates move toward what was clicked.
//!
//! *Movement* is a difference in differences on the synthetic shop's truth. Newcomers come in pairs. Both ask for
//! a slate; one of them opens product x, the other a product from elsewhere; both ask again. The slate's
//! similarity to x (mean over its places, by the shop's own latent vectors) must have grown more for the first
//! than for the second. Whatever else moves slates is the same for both and cancels.

use std::{fmt, time::Duration};

use endcap_clickstream::synthetic::Shop;
use endcap_evaluation::{Bootstrap, Estimate};
use endcap_proto::{ItemId, VisitorId};
use hdrhistogram::Histogram;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::shopper::{Door, Slate};

/// Clicks whose latency is measured.
const CLICKS: usize = 100;
/// Pairs of newcomers.
const PAIRS: usize = 120;

/// What was measured.
pub struct Smoke {
    /// Clicks that showed, of [`CLICKS`].
    pub shown: usize,
    pub p50: Duration,
    pub p99: Duration,
    /// Growth of the similarity to what was clicked, less its growth for those who clicked elsewhere.
    pub movement: Estimate,
}

impl Smoke {
    /// Whether every click showed, and slates moved toward what was clicked.
    pub fn passed(&self) -> bool {
        self.shown == CLICKS && self.movement.is_positive()
    }

    /// Asks and clicks at the door.
    pub async fn measure(door: &Door, shop: &Shop, seed: u64) -> anyhow::Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let (shown, latencies) = latency(door, shop, &mut rng).await?;
        let movement = movement(door, shop, &mut rng, seed).await?;
        let quantile = |q| Duration::from_micros(latencies.value_at_quantile(q));
        Ok(Self { shown, p50: quantile(0.5), p99: quantile(0.99), movement })
    }
}

async fn latency(door: &Door, shop: &Shop, rng: &mut StdRng) -> anyhow::Result<(usize, Histogram<u64>)> {
    let mut latencies = Histogram::<u64>::new(3)?;
    let mut shown = 0;
    for click in 0..CLICKS {
        // Ten clicks each: long histories change less with one more.
        let visitor = VisitorId::new(format!("smoke-latency-{}", click / 10))?;
        let before = door.slate(&visitor).await?;
        let item = &shop.items()[rng.random_range(0..shop.items().len())];
        let changed = door.click(&visitor, &item.id, &before, click as u64).await?;
        if let Some(after) = changed.after {
            shown += 1;
            latencies.record(after.as_micros() as u64)?;
        }
    }
    Ok((shown, latencies))
}

async fn movement(door: &Door, shop: &Shop, rng: &mut StdRng, seed: u64) -> anyhow::Result<Estimate> {
    let mut differences = Vec::with_capacity(PAIRS);
    for pair in 0..PAIRS {
        let wanted = rng.random_range(0..shop.items().len());
        let elsewhere = loop {
            let item = rng.random_range(0..shop.items().len());
            if shop.category_of(item) != shop.category_of(wanted) {
                break item;
            }
        };
        let mut growth = Vec::with_capacity(2);
        for (side, clicked) in [("toward", wanted), ("elsewhere", elsewhere)] {
            let visitor = VisitorId::new(format!("smoke-{side}-{pair}"))?;
            let before = door.slate(&visitor).await?;
            let after = door.click(&visitor, &shop.items()[clicked].id, &before, 0).await?.slate;
            growth.push(similarity(shop, &after, wanted) - similarity(shop, &before, wanted));
        }
        differences.push(growth[0] - growth[1]);
    }
    let pairs: Vec<u32> = (0..PAIRS as u32).collect();
    Bootstrap { seed, ..Bootstrap::default() }
        .mean(&pairs, &differences)
        .ok_or_else(|| anyhow::anyhow!("no pair of newcomers was asked"))
}

/// Mean similarity of the slate's settled places to a product, by the shop's truth.
fn similarity(shop: &Shop, slate: &Slate, item: usize) -> f64 {
    let similarities: Vec<f64> = slate
        .settled()
        .filter_map(|id| shop.item_index(&ItemId::new(id).ok()?))
        .filter(|&shown| shown != item)
        .map(|shown| shop.similarity(shown, item))
        .collect();
    similarities.iter().sum::<f64>() / similarities.len().max(1) as f64
}

impl fmt::Display for Smoke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        writeln!(
            f,
            "click → changed slate   p50 {:.1} ms, p99 {:.1} ms ({} of {CLICKS} clicks showed)",
            ms(self.p50),
            ms(self.p99),
            self.shown
        )?;
        let Estimate { mean, low, high } = self.movement;
        writeln!(
            f,
            "slate → clicked taste   {mean:+.3} [{low:+.3}, {high:+.3}] similarity more than for those who clicked \
             elsewhere ({} shoppers)",
            2 * PAIRS
        )
    }
}
