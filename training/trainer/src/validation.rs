//! Validation: what is held out, and how well the towers find it among all items.

use std::{cmp::Ordering, ops::Range};

use endcap_clickstream::TimeKind;
use endcap_evaluation::{Protocol, SeenItems};
use endcap_features::gap_bucket;
use endcap_neighbours::Interaction;
use endcap_proto::EventType;
use endcap_towers::{Towers, TowersError, UserInput, dot_products, mix};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{TrainConfig, TrainingData, Validation, data::Learnable};

/// How well held-out events were found, among all items.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ValidationReport {
    /// Held-out events asked for.
    pub cases: usize,
    /// Share of them among the best 20. Ties count against us.
    pub recall_at_20: f64,
    /// Mean of `1 / log2(rank + 1)`, 0 beyond rank 20 (one relevant item each; Järvelin & Kekäläinen 2002).
    pub ndcg_at_20: f64,
}

/// What may be learnt from, and what is held out of it.
pub(crate) struct HeldOut {
    /// The part of each visitor's interactions that may be learnt from.
    pub(crate) learnt: Vec<Range<u32>>,
    cases: Vec<HeldOutCase>,
    /// Whether what a visitor has met is no answer: where visitors hardly ever come back to an item.
    mask_seen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HeldOutCase {
    /// The visitor's first interaction.
    first: u32,
    /// Where the history ends that is given.
    history_end: u32,
    /// The interaction asked for.
    target: u32,
}

const TOP: usize = 20;
/// Cases scored at a time.
const CHUNK: usize = 32;
/// Visitors who come back to fewer of their items than this are not shown them again.
const REPEATS: f64 = 0.02;

impl HeldOut {
    pub(crate) fn new(data: &TrainingData, config: &TrainConfig) -> Self {
        let visitors: Vec<Range<u32>> =
            data.visitors().map(|range| range.start as u32..range.end as u32).collect();
        let (learnt, mut cases) = match data.learnable() {
            Some(split) => by_protocol(data, visitors, split, config.validation),
            None => by_time(data, visitors, config.validation),
        };
        // Somebody without a history is not what the towers are for.
        cases.retain(|case| case.history_end > case.first);
        cases.sort_by_cached_key(|case| mix(u64::from(case.target)));
        cases.truncate(config.validation_cases);
        cases.sort_unstable_by_key(|case| case.target);
        let mask_seen = match data.learnable() {
            Some(split) => split.protocol.seen_items() == SeenItems::Mask,
            None => repeats(data, &learnt) < REPEATS,
        };
        Self { mask_seen, learnt, cases }
    }

    /// How often each item is met in what may be learnt from, in events of some types.
    pub(crate) fn counts(&self, data: &TrainingData, of_type: impl Fn(EventType) -> bool) -> Vec<u32> {
        let mut counts = vec![0; data.item_features().len()];
        let interactions = data.sequences().interactions();
        for i in self.learnt.iter().flat_map(|visitor| visitor.start as usize..visitor.end as usize) {
            counts[data.items()[i] as usize] += u32::from(of_type(interactions[i].event_type));
        }
        counts
    }

    /// Whether nothing is held out.
    pub(crate) fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// How well the towers find what is held out.
    pub(crate) fn validate(
        &self,
        data: &TrainingData,
        towers: &Towers,
    ) -> Result<ValidationReport, TowersError> {
        let items = towers.item_vectors(data.item_features())?;
        let ranks = self.cases.par_chunks(CHUNK).map(|cases| self.ranks(data, towers, &items, cases));
        let ranks: Vec<usize> = ranks.collect::<Result<Vec<_>, _>>()?.concat();
        let found = || ranks.iter().filter(|&&rank| rank <= TOP);
        let n = ranks.len().max(1) as f64;
        Ok(ValidationReport {
            cases: ranks.len(),
            recall_at_20: found().count() as f64 / n,
            ndcg_at_20: found().map(|&rank| 1.0 / (rank as f64 + 1.0).log2()).sum::<f64>() / n,
        })
    }

    /// The rank of each case's target, from 1.
    fn ranks(
        &self,
        data: &TrainingData,
        towers: &Towers,
        items: &[f32],
        cases: &[HeldOutCase],
    ) -> Result<Vec<usize>, TowersError> {
        let d = towers.dim();
        let interactions = data.sequences().interactions();
        let seen: Vec<Range<usize>> =
            cases.iter().map(|case| case.first as usize..case.history_end as usize).collect();
        let histories: Vec<History<'_>> = seen
            .iter()
            .zip(cases)
            .map(|(seen, case)| {
                let read = seen.end.saturating_sub(towers.length()).max(seen.start)..seen.end;
                let next = |i: usize| if i + 1 < seen.end { i + 1 } else { case.target as usize };
                let gap = |i: usize| interactions[next(i)].time.millis_since(interactions[i].time);
                History {
                    items: read.clone().map(|i| &items[data.items()[i] as usize * d..][..d]).collect(),
                    event_types: read.clone().map(|i| interactions[i].event_type).collect(),
                    gap_buckets: read.map(|i| gap_bucket(gap(i))).collect(),
                }
            })
            .collect();
        let inputs: Vec<UserInput<'_>> = histories.iter().map(History::input).collect();
        let users = towers.user_vectors(&inputs)?;
        let n = items.len() / d;
        let mut scores = vec![0.0; cases.len() * n];
        dot_products(&users, items, d, &mut scores);
        let ranks = scores.chunks_exact_mut(n).zip(cases).zip(&seen).map(|((scores, case), seen)| {
            let target = data.items()[case.target as usize] as usize;
            let score = scores[target];
            if self.mask_seen {
                for &item in &data.items()[seen.clone()] {
                    scores[item as usize] = f32::NEG_INFINITY;
                }
            }
            // One who ties is ahead of us, and so is a score that is no number.
            1 + scores
                .iter()
                .enumerate()
                .filter(|&(item, &other)| item != target && other.partial_cmp(&score) != Some(Ordering::Less))
                .count()
        });
        Ok(ranks.collect())
    }
}

/// Validation by the protocol that the data was split by.
fn by_protocol(
    data: &TrainingData,
    visitors: Vec<Range<u32>>,
    split: &Learnable,
    validation: Validation,
) -> (Vec<Range<u32>>, Vec<HeldOutCase>) {
    let interactions = data.sequences().interactions();
    let mut cases = Vec::new();
    let mut part = |(visitor, &[validating, in_the_end]): (Range<u32>, &[u32; 2])| {
        if validation == Validation::None {
            return visitor.start..visitor.start + in_the_end;
        }
        let (first, end) = (visitor.start, visitor.start + validating);
        cases.extend((end..visitor.end).map(|target| HeldOutCase {
            first,
            history_end: match split.protocol {
                Protocol::GlobalTime => before(interactions, first, target),
                Protocol::FixedSplit => end,
                Protocol::LeaveOneOut | Protocol::NextItem => target,
            },
            target,
        }));
        first..end
    };
    let learnt = visitors.into_iter().zip(&split.learnt).map(&mut part).collect();
    (learnt, cases)
}

/// Validation by time, or by each visitor's last event.
fn by_time(
    data: &TrainingData,
    visitors: Vec<Range<u32>>,
    validation: Validation,
) -> (Vec<Range<u32>>, Vec<HeldOutCase>) {
    let interactions = data.sequences().interactions();
    let ordinal = data.time_kind() == TimeKind::Ordinal || !data.is_ordered();
    let mut cases = Vec::new();
    let mut case = |first: u32, target: u32| {
        cases.push(HeldOutCase { first, history_end: before(interactions, first, target), target });
    };
    let learnt = match validation {
        Validation::None => visitors,
        Validation::Newest { share } if !ordinal => {
            let mut times: Vec<_> = interactions.iter().map(|interaction| interaction.time).collect();
            let cut = (((1.0 - share) * times.len() as f64) as usize).min(times.len() - 1);
            let cut = *times.select_nth_unstable(cut).1;
            let split = |visitor: Range<u32>| {
                let sequence = &interactions[visitor.start as usize..visitor.end as usize];
                let end = visitor.start + sequence.partition_point(|i| i.time < cut) as u32;
                (end..visitor.end).for_each(|target| case(visitor.start, target));
                visitor.start..end
            };
            visitors.into_iter().map(split).collect()
        }
        Validation::Newest { .. } | Validation::LastEvent => {
            let split = |visitor: Range<u32>| {
                if visitor.len() < 2 {
                    return visitor;
                }
                let end = visitor.end - 1;
                case(visitor.start, end);
                visitor.start..end
            };
            visitors.into_iter().map(split).collect()
        }
    };
    (learnt, cases)
}

/// Where the visitor's interactions end that lie before the target's instant: those of one instant are no history for
/// one another.
fn before(interactions: &[Interaction], first: u32, target: u32) -> u32 {
    let time = interactions[target as usize].time;
    first + interactions[first as usize..target as usize].partition_point(|i| i.time < time) as u32
}

/// A history as the user tower reads it.
struct History<'a> {
    items: Vec<&'a [f32]>,
    event_types: Vec<EventType>,
    gap_buckets: Vec<u8>,
}

impl History<'_> {
    fn input(&self) -> UserInput<'_> {
        UserInput { items: &self.items, event_types: &self.event_types, gap_buckets: &self.gap_buckets }
    }
}

/// Share of the interactions with an item that the visitor had met before.
fn repeats(data: &TrainingData, visitors: &[Range<u32>]) -> f64 {
    let (mut all, mut distinct) = (0, 0);
    let mut items = Vec::new();
    for visitor in visitors {
        items.clear();
        items.extend_from_slice(&data.items()[visitor.start as usize..visitor.end as usize]);
        all += items.len();
        items.sort_unstable();
        items.dedup();
        distinct += items.len();
    }
    (all - distinct) as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use endcap_features::{UserState, features_at};
    use endcap_proto::ItemKey;
    use endcap_towers::Weights;

    use super::*;
    use crate::testing::{data, events};

    fn config() -> TrainConfig {
        TrainConfig { dim: 8, hidden: 8, length: 6, ..TrainConfig::default() }
    }

    #[test]
    fn what_is_held_out_is_newer_than_what_is_learnt_from() {
        let data = data(&events(40, 60), 60);
        let interactions = data.sequences().interactions();
        let held_out =
            HeldOut::new(&data, &TrainConfig { validation: Validation::Newest { share: 0.3 }, ..config() });
        let learnt = held_out.learnt.iter().flat_map(|range| range.clone());
        let newest = learnt.clone().map(|i| interactions[i as usize].time).max().unwrap();
        assert!(held_out.cases.iter().all(|case| interactions[case.target as usize].time > newest));
        let share = 1.0 - learnt.clone().count() as f64 / interactions.len() as f64;
        assert!((0.3..0.45).contains(&share), "equal times stay together: {share}");
        assert_eq!(held_out.counts(&data, |_| true).iter().sum::<u32>() as usize, learnt.count());

        let last = HeldOut::new(&data, &TrainConfig { validation: Validation::LastEvent, ..config() });
        assert!(
            last.learnt.iter().zip(data.visitors()).all(|(learnt, all)| learnt.len() == all.len().max(2) - 1)
        );
        assert!(HeldOut::new(&data, &TrainConfig { validation: Validation::None, ..config() }).is_empty());
    }

    #[test]
    fn ranks_are_those_of_serving() {
        let events = events(25, 60);
        let data = data(&events, 60);
        let mut held_out =
            HeldOut::new(&data, &TrainConfig { validation: Validation::Newest { share: 0.4 }, ..config() });
        let vocabulary = data.vocabulary();
        let weights =
            Weights::new(config().shape(true, 0), vocabulary.items(), vocabulary.words(), 3).unwrap();
        let towers = Towers::new(weights);
        let vectors = towers.item_vectors(data.item_features()).unwrap();
        let place = |key: ItemKey| data.item_features().iter().position(|item| item.key == key).unwrap();
        let vector = |key: ItemKey| &vectors[place(key) * 8..][..8];
        for mask_seen in [false, true] {
            held_out.mask_seen = mask_seen;
            let (mut found, mut gain) = (0.0, 0.0);
            for case in &held_out.cases {
                let visitor = data.visitors().position(|range| range.start == case.first as usize).unwrap();
                let key = data.sequences().get(visitor).0;
                let mut state = UserState::default();
                events
                    .iter()
                    .filter(|event| event.visitor_id.key() == key)
                    .for_each(|event| _ = state.apply(event));
                let target = &data.sequences().interactions()[case.target as usize];
                let features = features_at(&state, target.time, towers.length());
                let items: Vec<&[f32]> = features.history.iter().map(|entry| vector(entry.item)).collect();
                let event_types: Vec<_> = features.history.iter().map(|entry| entry.event_type).collect();
                let gap_buckets: Vec<_> = features.history.iter().map(|entry| entry.gap_bucket).collect();
                let input = UserInput { items: &items, event_types: &event_types, gap_buckets: &gap_buckets };
                let user = towers.user_vectors(&[input]).unwrap();
                let score = |key| vector(key).iter().zip(&user).map(|(a, b)| a * b).sum::<f32>();
                let seen = |key| state.history().iter().any(|e| e.time < target.time && e.item == key);
                let others =
                    data.item_features().iter().map(|item| item.key).filter(|&key| key != target.item);
                let ahead = others
                    .filter(|&key| !(mask_seen && seen(key)) && score(key) >= score(target.item))
                    .count();
                if ahead < TOP {
                    found += 1.0;
                    gain += 1.0 / (ahead as f64 + 2.0).log2();
                }
            }
            let report = held_out.validate(&data, &towers).unwrap();
            let n = held_out.cases.len() as f64;
            assert!(n > 20.0 && report.cases == held_out.cases.len());
            // A tie in the last bit may fall either way.
            assert!((report.recall_at_20 - found / n).abs() <= 1.5 / n, "{report:?} {found}");
            assert!((report.ndcg_at_20 - gain / n).abs() <= 1.5 / n, "{report:?} {gain}");
        }
    }
}
