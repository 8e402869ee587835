//! The logging policy: which slates shoppers saw during the written period, and with what
//! probability.
//!
//! Places are filled one after the other. With q(i) = popular · (share of i in this week's sales) +
//! personal · (the same within the categories looked at last) + random / (items on sale), place k is
//! drawn from the items not yet on the slate, so the propensity of item i in place k, given the
//! places before it, is q(i) / (1 − Σ q of the places before).

use super::{LoggingPolicyConfig, World, draws::Draws};

/// What fills a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Popular,
    Personal,
    Random,
}

/// A filled place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placed {
    pub(super) item: usize,
    /// q(i).
    pub(super) share: f64,
    /// Given the places before.
    pub(super) propensity: f64,
    /// What proposed it.
    pub(super) source: Source,
}

/// The policy as it stands for one shopper on one day.
#[derive(Debug)]
pub(super) struct LoggingPolicy<'a> {
    world: &'a World,
    day: usize,
    shares: [f64; 3],
    /// Categories looked at last, with their shares; their sum is 1 unless there are none.
    leanings: Vec<(usize, f64)>,
}

const SOURCES: [Source; 3] = [Source::Popular, Source::Personal, Source::Random];

impl<'a> LoggingPolicy<'a> {
    /// `recent`: categories of the products that the shopper opened last, once for each.
    pub(super) fn new(world: &'a World, day: usize, recent: impl IntoIterator<Item = u16>) -> Self {
        let mut leanings: Vec<(usize, f64)> = Vec::new();
        for category in recent.into_iter().map(usize::from) {
            if let Some((_, count)) = leanings.iter_mut().find(|(known, _)| *known == category) {
                *count += 1.0;
            } else if world.season.has(day, category) {
                leanings.push((category, 1.0));
            }
        }
        let total: f64 = leanings.iter().map(|(_, count)| count).sum();
        for (_, count) in &mut leanings {
            *count /= total;
        }
        let LoggingPolicyConfig { popular, personal, random } = world.config.policy;
        let shares =
            if leanings.is_empty() { [popular + personal, 0.0, random] } else { [popular, personal, random] };
        Self { world, day, shares, leanings }
    }

    /// q(i) of an item on sale.
    pub(super) fn share(&self, item: usize) -> f64 {
        let World { season, catalogue, .. } = self.world;
        let category = usize::from(catalogue.traits[item].category);
        let personal = self
            .leanings
            .iter()
            .find(|(leaning, _)| *leaning == category)
            .map_or(0.0, |(_, share)| share * season.share_within(self.day, category, item));
        self.shares[0] * season.share(self.day, item)
            + self.shares[1] * personal
            + self.shares[2] / season.on_sale(self.day) as f64
    }

    /// Fills a slate of `size` places, fewer where fewer items are on sale.
    pub(super) fn slate(&self, size: usize, draws: &mut Draws) -> Vec<Placed> {
        let mut slate: Vec<Placed> = Vec::with_capacity(size);
        let mut left = 1.0;
        while slate.len() < size.min(self.world.season.on_sale(self.day)) {
            let (item, source) = self.propose(draws);
            if slate.iter().any(|placed| placed.item == item) {
                continue;
            }
            let share = self.share(item);
            slate.push(Placed { item, share, propensity: (share / left).min(1.0), source });
            left -= share;
        }
        slate
    }

    fn propose(&self, draws: &mut Draws) -> (usize, Source) {
        let World { season, catalogue, .. } = self.world;
        let source = SOURCES[draws.weighted(&self.shares).unwrap_or(2)];
        let item = match source {
            Source::Popular => season.draw(self.day, catalogue, draws),
            Source::Random => season.draw_any(self.day, catalogue, draws),
            Source::Personal => {
                let shares: Vec<f64> = self.leanings.iter().map(|(_, share)| *share).collect();
                let (category, _) = self.leanings[draws.weighted(&shares).unwrap_or(0)];
                season.draw_within(self.day, category, catalogue, draws)
            }
        };
        (item, source)
    }
}

impl Source {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Popular => "popular",
            Self::Personal => "personal",
            Self::Random => "random",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{Shop, ShopConfig, draws::Domain};

    fn shop() -> Shop {
        Shop::new(&ShopConfig { items: 120, shoppers: 1, slate_size: 3, ..ShopConfig::default() }).unwrap()
    }

    #[test]
    fn shares_of_all_items_on_sale_add_up_to_one() {
        let shop = shop();
        let world = &*shop.world;
        for (day, recent) in [(0, vec![]), (9, vec![1, 1, 2]), (27, vec![4])] {
            let policy = LoggingPolicy::new(world, day, recent);
            let on_sale = |&item: &usize| world.catalogue.traits[item].days.contains(&(day as u32));
            let sum: f64 = (0..120).filter(on_sale).map(|item| policy.share(item)).sum();
            assert!((sum - 1.0).abs() < 1e-9, "day {day}: {sum}");
        }
    }

    /// For each place: the number of slates with item i there, against the sum of the probabilities
    /// that i is placed there given the places before. Their difference is a sum of independent
    /// terms with mean 0 and variance p(1 − p): within 4.5 standard deviations for each of 360
    /// pairs (a false alarm once in 400 seeds).
    #[test]
    fn propensities_are_the_frequencies_with_which_items_are_placed() {
        const SLATES: usize = 40_000;
        let shop = shop();
        let world = &*shop.world;
        let (day, size) = (14, 3);
        let policy = LoggingPolicy::new(world, day, [0, 0, 3]);
        let share: Vec<f64> = (0..120)
            .map(|item| {
                let on_sale = world.catalogue.traits[item].days.contains(&(day as u32));
                if on_sale { policy.share(item) } else { 0.0 }
            })
            .collect();
        let mut draws = Draws::at(5, Domain::Visits, &[]);
        let mut placed = vec![[0.0; 3]; 120];
        let (mut expected, mut variance) = (vec![[0.0; 3]; 120], vec![[0.0; 3]; 120]);
        for _ in 0..SLATES {
            let slate = policy.slate(size, &mut draws);
            for (k, place) in slate.iter().enumerate() {
                let before: Vec<usize> = slate[..k].iter().map(|placed| placed.item).collect();
                let left = 1.0 - before.iter().map(|&item| share[item]).sum::<f64>();
                assert!((place.propensity - share[place.item] / left).abs() < 1e-12);
                placed[place.item][k] += 1.0;
                for item in (0..120).filter(|item| !before.contains(item)) {
                    let p = share[item] / left;
                    expected[item][k] += p;
                    variance[item][k] += p * (1.0 - p);
                }
            }
        }
        for item in 0..120 {
            for k in 0..size {
                let difference: f64 = placed[item][k] - expected[item][k];
                assert!(difference.abs() <= 4.5 * variance[item][k].sqrt() + 1e-9, "item {item}, place {k}");
            }
        }
    }
}
