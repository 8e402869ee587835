//! Ranks in a full ranking, and the first places of it.
//!
//! Scores of many questions for the whole catalogue are made a block of items at a time (a matrix product that stays
//! in the cache) and read once: how many items score at least as much as each target, and which are the best. No list
//! is sorted and nothing of the size questions × items is kept.

use endcap_towers::dot_products;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Rank;

/// Who goes first among items of one score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ties {
    /// Every other item: ties are broken against the system.
    #[default]
    Against,
    /// The one that the system lists first: what a shopper would see.
    Listed,
}

/// What a system says to a question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranking {
    /// The rank of each target, in the question's order.
    pub ranks: Vec<Rank>,
    /// Catalogue rows of the first places, best first; as many as were asked for, or as there are.
    pub top: Vec<u32>,
}

/// What is ranked for: targets and items that are left out, as rows of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Each target's row; `None` where the catalogue lacks it. Distinct.
    pub targets: Vec<Option<u32>>,
    /// Rows that are left out, rising; no target is one.
    pub masked: Vec<u32>,
}

/// Scores that differ by less are one score: dot products of unit vectors are not exact beyond.
const SAME: f32 = 1e-6;
/// Questions and items of a block: 128 × 2048 scores are 1 MiB.
const QUESTIONS: usize = 128;
const ITEMS: usize = 2048;

/// Rankings of all items by `users · itemsᵀ`, one per row of `users`, on all threads. An item whose vector is no number
/// goes before nothing.
///
/// # Panics
/// When `wanted` is not one per user.
pub fn by_vectors(
    users: &[f32],
    items: &[f32],
    d: usize,
    wanted: &[&Wanted],
    top: usize,
    ties: Ties,
) -> Vec<Ranking> {
    assert_eq!(users.len(), wanted.len() * d);
    let blocks = users.par_chunks(QUESTIONS * d).zip(wanted.par_chunks(QUESTIONS));
    blocks.flat_map_iter(|(users, wanted)| block(users, items, d, wanted, top, ties)).collect()
}

fn block(users: &[f32], items: &[f32], d: usize, wanted: &[&Wanted], top: usize, ties: Ties) -> Vec<Ranking> {
    let mut counts: Vec<Count<'_>> = users
        .chunks_exact(d)
        .zip(wanted)
        .map(|(user, wanted)| {
            let bar = |row: u32| {
                let item = &items[row as usize * d..][..d];
                user.iter().zip(item).map(|(a, b)| a * b).sum::<f32>() - SAME
            };
            Count::new(wanted, bar, top)
        })
        .collect();
    let mut scores = vec![0.0; wanted.len() * ITEMS];
    for (number, items) in items.chunks(ITEMS * d).enumerate() {
        let n = items.len() / d;
        let scores = &mut scores[..wanted.len() * n];
        dot_products(users, items, d, scores);
        for (scores, count) in scores.chunks_exact_mut(n).zip(&mut counts) {
            count.read(scores, (number * ITEMS) as u32, ties);
        }
    }
    counts.into_iter().map(Count::finish).collect()
}

/// The ranking by one score per item of the catalogue.
pub(crate) fn by_scores(scores: &mut [f32], wanted: &Wanted, top: usize, ties: Ties) -> Ranking {
    let mut count = Count::new(wanted, |row| scores[row as usize], top);
    count.read(scores, 0, ties);
    count.finish()
}

/// The ranking by a list, best first; what is not on it has no rank. Masked items are passed over.
pub(crate) fn by_list(list: &[(u32, f32)], wanted: &Wanted, top: usize, ties: Ties) -> Ranking {
    let is_masked = |row: u32| wanted.masked.binary_search(&row).is_ok();
    let shown: Vec<(u32, f32)> = list.iter().copied().filter(|&(row, _)| !is_masked(row)).collect();
    let is_target = |row: u32| wanted.targets.contains(&Some(row));
    let mut found: Vec<(usize, usize, f32)> = shown
        .iter()
        .enumerate()
        .filter_map(|(place, &(row, score))| {
            let target = wanted.targets.iter().position(|&target| target == Some(row))?;
            Some((target, place, score))
        })
        .collect();
    found.sort_by_key(|&(_, place, _)| place);
    let mut ranks = vec![None; wanted.targets.len()];
    for (before, &(target, place, score)) in found.iter().enumerate() {
        // Relevant items that tie stand in a row, behind all others that tie.
        let rank = match ties {
            Ties::Listed => place + 1,
            Ties::Against => {
                let ahead = shown.iter().filter(|&&(row, other)| other >= score && !is_target(row)).count();
                ahead + before + 1
            }
        };
        ranks[target] = Some(rank as u32);
    }
    Ranking { ranks, top: shown.iter().take(top).map(|&(row, _)| row).collect() }
}

/// Counts, score by score, what stands before the targets of one question.
struct Count<'a> {
    wanted: &'a Wanted,
    /// Targets that the catalogue has: place among the targets, row, score to be reached.
    targets: Vec<(usize, u32, f32)>,
    /// How many other items, targets left out, reach it.
    ahead: Vec<u32>,
    /// The best so far, worst first.
    best: Vec<(f32, u32)>,
    top: usize,
}

impl<'a> Count<'a> {
    fn new(wanted: &'a Wanted, bar: impl Fn(u32) -> f32, top: usize) -> Self {
        let rows = wanted.targets.iter().enumerate().filter_map(|(place, row)| Some((place, (*row)?)));
        let mut targets: Vec<_> = rows.map(|(place, row)| (place, row, bar(row))).collect();
        // Best first; one that is no number last.
        let order = |bar: f32| if bar.is_nan() { f32::NEG_INFINITY } else { bar };
        targets.sort_by(|a, b| order(b.2).total_cmp(&order(a.2)).then(a.1.cmp(&b.1)));
        Self { wanted, ahead: vec![0; targets.len()], targets, best: Vec::with_capacity(top), top }
    }

    /// Reads the scores of the rows from `first` on, and overwrites some of them.
    fn read(&mut self, scores: &mut [f32], first: u32, ties: Ties) {
        let end = first + scores.len() as u32;
        // What is left out reaches nothing.
        let masked = &self.wanted.masked;
        let from = masked.partition_point(|&row| row < first);
        for &row in masked[from..].iter().take_while(|&&row| row < end) {
            scores[(row - first) as usize] = f32::NAN;
        }
        self.keep_best(scores, first);
        // Targets do not count one another.
        for &(_, row, _) in self.targets.iter().filter(|target| (first..end).contains(&target.1)) {
            scores[(row - first) as usize] = f32::NAN;
        }
        for (ahead, &(_, row, bar)) in self.ahead.iter_mut().zip(&self.targets) {
            if bar.is_nan() {
                *ahead += scores.iter().filter(|score| !score.is_nan()).count() as u32;
                continue;
            }
            *ahead += match ties {
                Ties::Against => reach(scores, bar),
                Ties::Listed => {
                    // Those before the target win a tie, those after it lose it.
                    let before = &scores[..scores.len().min(row.saturating_sub(first) as usize)];
                    reach(before, bar) + exceed(&scores[before.len()..], bar)
                }
            };
        }
    }

    fn keep_best(&mut self, scores: &[f32], first: u32) {
        if self.top == 0 {
            return;
        }
        for (chunk, start) in scores.chunks(64).zip((first..).step_by(64)) {
            let full = self.best.len() == self.top;
            let bar = if full { self.best[0].0 } else { f32::NEG_INFINITY };
            if full && exceed(chunk, bar) == 0 {
                continue;
            }
            for (&score, row) in chunk.iter().zip(start..) {
                let full = self.best.len() == self.top;
                if score.is_nan() || full && score <= self.best[0].0 {
                    continue;
                }
                if full {
                    self.best.remove(0);
                }
                // Later rows go behind earlier ones of the same score.
                let place = self.best.partition_point(|&(other, _)| other < score);
                self.best.insert(place, (score, row));
            }
        }
    }

    fn finish(self) -> Ranking {
        let mut ranks = vec![None; self.wanted.targets.len()];
        for (before, (&(place, ..), ahead)) in self.targets.iter().zip(&self.ahead).enumerate() {
            ranks[place] = Some(ahead + before as u32 + 1);
        }
        Ranking { ranks, top: self.best.iter().rev().map(|&(_, row)| row).collect() }
    }
}

/// How many scores are at least `bar`; those that are no number are not.
fn reach(scores: &[f32], bar: f32) -> u32 {
    scores.iter().map(|&score| u32::from(score >= bar)).sum()
}

/// How many scores are above `bar`; those that are no number are not.
fn exceed(scores: &[f32], bar: f32) -> u32 {
    scores.iter().map(|&score| u32::from(score > bar)).sum()
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    fn wanted(targets: &[u32], masked: &[u32]) -> Wanted {
        Wanted { targets: targets.iter().copied().map(Some).collect(), masked: masked.to_vec() }
    }

    #[test]
    fn ties_are_broken_against_the_system_and_relevant_items_stand_in_a_row() {
        let mut scores = [0.5, 0.9, 0.5, 0.5, 0.1];
        let ranking = by_scores(&mut scores.clone(), &wanted(&[0, 2], &[]), 2, Ties::Against);
        // 1 and 3 go before both; then the two targets, one after the other.
        assert_eq!(ranking.ranks, [Some(3), Some(4)]);
        assert_eq!(ranking.top, [1, 0]);
        let listed = by_scores(&mut scores.clone(), &wanted(&[2], &[]), 0, Ties::Listed);
        assert_eq!(listed.ranks, [Some(3)], "1 before, 0 listed before it, 3 after it");
        let masked = by_scores(&mut scores, &wanted(&[2], &[0, 1]), 3, Ties::Against);
        assert_eq!((masked.ranks, masked.top), (vec![Some(2)], vec![2, 3, 4]));

        let list = [(1, 0.9), (0, 0.5), (2, 0.5), (3, 0.5), (4, 0.1)];
        assert_eq!(by_list(&list, &wanted(&[0, 2], &[]), 2, Ties::Against), ranking);
        assert_eq!(by_list(&list, &wanted(&[2], &[]), 0, Ties::Listed).ranks, [Some(3)]);
        assert_eq!(by_list(&list, &wanted(&[2, 9], &[0, 1]), 0, Ties::Against).ranks, [Some(2), None]);
    }

    #[test]
    fn a_target_that_the_catalogue_lacks_has_no_rank_and_one_that_scores_nan_comes_last() {
        let mut scores = [0.5, f32::NAN, 0.2];
        let none = Wanted { targets: vec![None, Some(1)], masked: vec![] };
        assert_eq!(by_scores(&mut scores, &none, 5, Ties::Against).ranks, [None, Some(3)]);
    }

    #[test]
    fn blocks_rank_as_a_sorted_list_does() {
        let (d, n, m) = (8, 5000, 300);
        let mut rng = StdRng::seed_from_u64(3);
        // Coarse numbers, so that many products tie exactly.
        let mut draw =
            |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random_range(-2..3) as f32).collect() };
        let (users, items) = (draw(m * d), draw(n * d));
        let mut rng = StdRng::seed_from_u64(4);
        let all: Vec<Wanted> = (0..m)
            .map(|_| {
                let mut rows: Vec<u32> = (0..8).map(|_| rng.random_range(0..n as u32)).collect();
                rows.sort_unstable();
                rows.dedup();
                let masked = rows.split_off(rows.len() / 2);
                wanted(&rows, &masked)
            })
            .collect();
        let wanted: Vec<&Wanted> = all.iter().collect();
        for ties in [Ties::Against, Ties::Listed] {
            let rankings = by_vectors(&users, &items, d, &wanted, 20, ties);
            for ((user, wanted), ranking) in users.chunks(d).zip(&wanted).zip(&rankings) {
                let score = |row: u32| -> f32 {
                    user.iter().zip(&items[row as usize * d..]).map(|(a, b)| a * b).sum()
                };
                let is_target = |row: &u32| wanted.targets.contains(&Some(*row));
                let mut order: Vec<u32> = (0..n as u32).filter(|row| !wanted.masked.contains(row)).collect();
                order.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
                let top: Vec<u32> = order.iter().copied().take(20).collect();
                assert_eq!(ranking.top, top);
                if ties == Ties::Against {
                    order.sort_by_key(|row| (std::cmp::Reverse(score(*row) as i32), is_target(row), *row));
                }
                if ties == Ties::Against || wanted.targets.len() == 1 {
                    for (target, rank) in wanted.targets.iter().zip(&ranking.ranks) {
                        let place = order.iter().position(|row| Some(*row) == *target).unwrap();
                        assert_eq!(*rank, Some(place as u32 + 1));
                    }
                }
            }
        }
    }
}
