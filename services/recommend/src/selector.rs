//! From a ranking to places: the first ones follow from the scores, the last ones are drawn.
//!
//! Let r be the candidates that are left, best first, when a drawn place is filled, and m how many of them take
//! part (at most `pool`). The chance of candidate i is
//!
//! ```text
//! p(i | places before) = (1 − u) · sᵢ^(1/T) / Σⱼ sⱼ^(1/T)  +  u / m
//! ```
//!
//! with scores s ≥ 0, temperature T and share u of [`ExploreConfig`]: a Plackett–Luce draw without replacement, mixed
//! with a uniform one so that no weight 1/p is above m/u. That chance is what the impression logs as propensity:
//! it is computed before the draw and is the one that the draw uses.

use crate::{config::ExploreConfig, draws::Draws};

/// A place of the slate and who got it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    /// Its place in the ranking, from 0.
    pub(crate) rank: usize,
    /// The chance that it got this place, given the places before.
    pub(crate) propensity: f64,
    /// Whether the place was drawn.
    pub(crate) explored: bool,
}

/// Fills `page_size` places, or as many as there are candidates. `scores` are those of the ranking, best first.
pub(crate) fn select(
    scores: &[f64],
    page_size: usize,
    explore: &ExploreConfig,
    draws: &mut Draws,
) -> Vec<Place> {
    let places = page_size.min(scores.len());
    let drawn = explore.slots.min(places / 5);
    let certain = places - drawn;
    let mut slate: Vec<Place> =
        (0..certain).map(|rank| Place { rank, propensity: 1.0, explored: false }).collect();
    let end = scores.len().min(certain + explore.pool.max(drawn));
    let mut left: Vec<(usize, f64)> =
        (certain..end).map(|rank| (rank, weight(scores, certain, rank, explore))).collect();
    for _ in 0..drawn {
        let total: f64 = left.iter().map(|&(_, weight)| weight).sum();
        let even = 1.0 / left.len() as f64;
        let chance = |weight: f64| match total > 0.0 {
            true => (1.0 - explore.uniform) * weight / total + explore.uniform * even,
            false => even,
        };
        let mut rest = draws.unit();
        // Rounding may leave a sliver past the last candidate: it is the last one's.
        let mut taken = left.len() - 1;
        for (i, &(_, weight)) in left.iter().enumerate() {
            rest -= chance(weight);
            if rest < 0.0 {
                taken = i;
                break;
            }
        }
        let propensity = chance(left[taken].1);
        let (rank, _) = left.remove(taken);
        slate.push(Place { rank, propensity, explored: true });
    }
    slate
}

/// (s / s_best)^(1/T): relative to the best of the pool, so that it neither overflows nor vanishes for all.
fn weight(scores: &[f64], best: usize, rank: usize, explore: &ExploreConfig) -> f64 {
    match scores[best] > 0.0 {
        true => (scores[rank].max(0.0) / scores[best]).powf(1.0 / explore.temperature),
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const SCORES: [f64; 16] =
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3, 0.2, 0.1, 0.05, 0.01, 0.001, 0.0, 0.0];

    fn explore() -> ExploreConfig {
        ExploreConfig { slots: 2, pool: 6, temperature: 0.7, uniform: 0.2 }
    }

    #[test]
    fn the_logged_propensity_is_the_share_of_slates_that_show_it() {
        let slates = 200_000;
        // Given the first drawn place (or none): how often it came, and per candidate how often and at what chance.
        let mut before: HashMap<Option<usize>, f64> = HashMap::new();
        let mut shown: HashMap<(Option<usize>, usize), (f64, f64)> = HashMap::new();
        let mut draws = Draws::new(7);
        for _ in 0..slates {
            let slate = select(&SCORES, 10, &explore(), &mut draws);
            let first = slate[8];
            for (given, place) in [(None, first), (Some(first.rank), slate[9])] {
                *before.entry(given).or_default() += 1.0;
                let entry = shown.entry((given, place.rank)).or_insert((0.0, place.propensity));
                entry.0 += 1.0;
                assert_eq!(entry.1, place.propensity, "one situation, one chance");
            }
        }
        assert_eq!(shown.len(), 6 + 6 * 5, "every candidate of the pool is drawn in every situation");
        for ((given, rank), (count, chance)) in shown {
            let trials = before[&given];
            let deviation = (count - trials * chance) / (trials * chance * (1.0 - chance)).sqrt();
            assert!(deviation.abs() < 4.5, "{given:?} → {rank}: {count} of {trials}, logged {chance}");
        }
    }

    #[test]
    fn chances_are_the_formula() {
        // Pool of ranks 4 and 5 with scores 3 and 1, T = 1, u = 0.2: 0.8 · 3/4 + 0.1 and 0.8 · 1/4 + 0.1.
        let scores = [9.0, 8.0, 7.0, 6.0, 3.0, 1.0];
        let explore = ExploreConfig { slots: 1, pool: 2, temperature: 1.0, uniform: 0.2 };
        for seed in 0..20 {
            let place = select(&scores, 5, &explore, &mut Draws::new(seed))[4];
            let expected = if place.rank == 4 { 0.7 } else { 0.3 };
            assert!((place.propensity - expected).abs() < 1e-12);
            assert!(place.explored);
        }
    }

    #[test]
    fn places_that_are_not_drawn_keep_the_ranking_at_propensity_1() {
        let slate = select(&SCORES, 10, &explore(), &mut Draws::new(1));
        for (rank, place) in slate[..8].iter().enumerate() {
            assert_eq!(*place, Place { rank, propensity: 1.0, explored: false });
        }
    }

    #[test]
    fn at_most_a_fifth_of_a_page_is_drawn() {
        let explored = |page| {
            let slate = select(&SCORES, page, &explore(), &mut Draws::new(3));
            slate.iter().filter(|place| place.explored).count()
        };
        assert_eq!([1, 4, 5, 9, 10, 16].map(explored), [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn nobody_gets_two_places_whatever_the_scores() {
        for scores in [vec![0.0; 12], vec![f64::MAX; 12], vec![f64::MIN_POSITIVE; 12], vec![-1.0; 12]] {
            for seed in 0..200 {
                let slate = select(&scores, 12, &explore(), &mut Draws::new(seed));
                let mut ranks: Vec<_> = slate.iter().map(|place| place.rank).collect();
                ranks.sort_unstable();
                assert_eq!(ranks, (0..12).collect::<Vec<_>>());
                assert!(slate.iter().all(|place| place.propensity > 0.0 && place.propensity <= 1.0 + 1e-12));
            }
        }
    }

    #[test]
    fn no_candidates_fill_no_places() {
        assert_eq!(select(&[], 20, &explore(), &mut Draws::new(0)), []);
    }
}
