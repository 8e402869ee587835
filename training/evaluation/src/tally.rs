//! What every system said to every case, in 4 bytes a target, until it is summed up.

use std::collections::HashMap;

use endcap_features::KeyMap;
use endcap_proto::ItemKey;

use crate::{
    Bootstrap, Catalogue, Comparison, Estimate, Group, Judged, Metric, Ranking, Row, Split, bootstrap::Sums,
};

/// A question that was put to all systems.
pub(crate) struct Case {
    /// The shopper.
    pub(crate) user: u32,
    /// Rows of the targets.
    pub(crate) targets: Vec<Option<u32>>,
    /// Whether each was hidden from training.
    pub(crate) hidden: Vec<bool>,
    /// How many items were ranked.
    pub(crate) ranked: u32,
    /// Whether the shopper had a history.
    pub(crate) history: bool,
    /// Whether the targets are one case; else each is one.
    pub(crate) is_set: bool,
}

/// Two systems that are compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contest {
    /// The one …
    pub(crate) system: usize,
    /// … less the other.
    pub(crate) baseline: usize,
}

/// What was said so far.
pub(crate) struct Tally {
    cutoffs: Vec<u32>,
    metrics: Vec<Metric>,
    /// Bits that each item of the catalogue says, −log2 of its share.
    surprise: Vec<f32>,
    /// Whether an item was met in training.
    warm: Vec<bool>,
    systems: Vec<Said>,
    questions: Vec<Asked>,
}

/// What one system said.
struct Said {
    /// Ranks of the targets of all questions, one after the other; 0 for none.
    ranks: Vec<u32>,
    /// Mean surprise of the first places, question after question, a number a cut-off.
    novelty: Vec<f32>,
    /// The best place, from 1, that each item has had on any list; 0 for none.
    places: Vec<u32>,
}

struct Asked {
    user: u32,
    first: usize,
    ranked: u32,
    history: bool,
    is_set: bool,
    /// Of each target: warm, hidden.
    targets: Vec<(bool, bool)>,
}

/// Which cases a group holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Include {
    All,
    Warm,
    Hidden,
    WithoutHistory,
}

// === impl Tally ===

impl Tally {
    /// Nothing said. `counts`: interactions of training, by id.
    pub(crate) fn new(
        catalogue: &Catalogue,
        counts: &[(Box<str>, u64)],
        systems: usize,
        cutoffs: &[u32],
    ) -> Self {
        let counts: KeyMap<ItemKey, u64> =
            counts.iter().map(|(id, count)| (ItemKey::of(id), *count)).collect();
        let count = |key: &ItemKey| counts.get(key).copied().unwrap_or_default();
        let total = counts.values().sum::<u64>() + catalogue.len() as u64;
        let surprise = |key| -(((count(key) + 1) as f64 / total as f64).log2()) as f32;
        let families: [fn(u32) -> Metric; 7] = [
            Metric::HitRate,
            Metric::Recall,
            Metric::Precision,
            Metric::Ndcg,
            Metric::Mrr,
            Metric::Map,
            Metric::Novelty,
        ];
        let metrics = cutoffs.iter().flat_map(|&k| families.map(|family| family(k)));
        let said = || Said { ranks: Vec::new(), novelty: Vec::new(), places: vec![0; catalogue.len()] };
        Self {
            cutoffs: cutoffs.to_vec(),
            metrics: metrics.chain([Metric::Auc]).collect(),
            surprise: catalogue.keys().iter().map(surprise).collect(),
            warm: catalogue.keys().iter().map(|key| count(key) > 0).collect(),
            systems: (0..systems).map(|_| said()).collect(),
            questions: Vec::new(),
        }
    }

    /// What a system says to the next questions.
    pub(crate) fn add<'r>(&mut self, system: usize, rankings: impl IntoIterator<Item = &'r Ranking>) {
        let said = &mut self.systems[system];
        for ranking in rankings {
            said.ranks.extend(ranking.ranks.iter().map(|rank| rank.unwrap_or_default()));
            for &k in &self.cutoffs {
                let first = &ranking.top[..ranking.top.len().min(k as usize)];
                let bits: f32 = first.iter().map(|&row| self.surprise[row as usize]).sum();
                said.novelty.push(bits / first.len().max(1) as f32);
            }
            for (&row, place) in ranking.top.iter().zip(1..) {
                let best = &mut said.places[row as usize];
                *best = if *best == 0 { place } else { place.min(*best) };
            }
        }
    }

    /// The next question; all systems have said what they say to it, or will.
    pub(crate) fn asked(&mut self, case: &Case) {
        let first = self.questions.last().map_or(0, |last| last.first + last.targets.len());
        let is_warm = |row: &Option<u32>| row.is_some_and(|row| self.warm[row as usize]);
        self.questions.push(Asked {
            user: case.user,
            first,
            ranked: case.ranked,
            history: case.history,
            is_set: case.is_set,
            targets: case.targets.iter().map(is_warm).zip(case.hidden.iter().copied()).collect(),
        });
    }

    /// The tables of all cases, and of parts of them.
    pub(crate) fn groups(
        &self,
        split: &Split,
        names: &[String],
        contests: &[Contest],
        bootstrap: &Bootstrap,
        among_hidden: bool,
    ) -> Vec<Group> {
        let group = |name, include| self.group(name, include, names, contests, bootstrap);
        let groups = if among_hidden {
            vec![group("hidden items, ranked among themselves", Include::All)]
        } else if split.protocol().targets_are_a_set() {
            vec![group("all", Include::All)]
        } else {
            let mut groups = vec![group("all", Include::All), group("warm items", Include::Warm)];
            if !split.hidden().is_empty() {
                groups.push(group("hidden items, ranked among all", Include::Hidden));
            }
            groups.push(group("without history", Include::WithoutHistory));
            groups
        };
        let mut groups: Vec<Group> = groups.into_iter().flatten().collect();
        // A part that is everything says nothing new.
        let all = groups.first().map_or(0, |group| group.cases);
        let mut first = true;
        groups.retain(|group| std::mem::take(&mut first) || group.cases < all);
        groups
    }

    fn group(
        &self,
        name: &str,
        include: Include,
        names: &[String],
        contests: &[Contest],
        bootstrap: &Bootstrap,
    ) -> Option<Group> {
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let chosen: Vec<(usize, usize, usize)> = self.cases(include).collect();
        for &(question, ..) in &chosen {
            let next = numbers.len() as u32;
            numbers.entry(self.questions[question].user).or_insert(next);
        }
        let metrics = self.metrics.len();
        let compared = self.compared();
        let columns = names.len() * metrics + contests.len() * compared.len();
        let mut sums = Sums::new(numbers.len(), columns);
        let mut values = vec![0.0; columns];
        let mut ranks = Vec::new();
        for &(question, from, to) in &chosen {
            let asked = &self.questions[question];
            for (system, said) in self.systems.iter().enumerate() {
                ranks.clear();
                let found = &said.ranks[asked.first + from..asked.first + to];
                ranks.extend(found.iter().map(|&rank| (rank > 0).then_some(rank)));
                ranks.sort_unstable_by_key(|rank| rank.unwrap_or(u32::MAX));
                let judged = Judged { ranks: &ranks, ranked: asked.ranked };
                let novelty = &said.novelty[question * self.cutoffs.len()..];
                let values = &mut values[system * metrics..(system + 1) * metrics];
                let mut cutoff = 0;
                for (value, metric) in values.iter_mut().zip(&self.metrics) {
                    *value = match metric {
                        Metric::Novelty(_) => {
                            cutoff += 1;
                            f64::from(novelty[cutoff - 1])
                        }
                        metric => metric.judge(judged),
                    };
                }
            }
            let (own, differences) = values.split_at_mut(names.len() * metrics);
            let pairs =
                contests.iter().flat_map(|contest| compared.iter().map(move |&metric| (contest, metric)));
            for (difference, (contest, metric)) in differences.iter_mut().zip(pairs) {
                *difference =
                    own[contest.system * metrics + metric] - own[contest.baseline * metrics + metric];
            }
            sums.add(numbers[&asked.user], &values);
        }
        let means: Vec<Estimate> = bootstrap.means(&sums)?;
        let (own, differences) = means.split_at(names.len() * metrics);
        let rows =
            names.iter().zip(own.chunks_exact(metrics)).zip(&self.systems).map(|((name, own), said)| Row {
                system: name.clone(),
                estimates: self.metrics.iter().copied().zip(own.iter().copied()).collect(),
                coverage: if include == Include::All { self.coverage(said) } else { Vec::new() },
            });
        let pairs = contests.iter().flat_map(|contest| compared.iter().map(move |&metric| (contest, metric)));
        let comparisons = pairs.zip(differences).map(|((contest, metric), &difference)| Comparison {
            system: names[contest.system].clone(),
            baseline: names[contest.baseline].clone(),
            metric: self.metrics[metric],
            difference,
        });
        Some(Group {
            name: name.to_owned(),
            cases: chosen.len(),
            users: numbers.len(),
            relevant: chosen.iter().map(|&(_, from, to)| to - from).sum(),
            rows: rows.collect(),
            comparisons: comparisons.collect(),
        })
    }

    /// Cases: question, and the first and last of its targets.
    fn cases(&self, include: Include) -> impl Iterator<Item = (usize, usize, usize)> {
        self.questions.iter().enumerate().flat_map(move |(number, asked)| {
            let n = asked.targets.len();
            let (count, size) = if asked.is_set { (1, n) } else { (n, 1) };
            (0..count).map(move |case| (number, case * size, (case + 1) * size)).filter(
                move |&(_, from, to)| {
                    let targets = &asked.targets[from..to];
                    match include {
                        Include::All => true,
                        Include::Warm => targets.iter().all(|&(warm, _)| warm),
                        Include::Hidden => targets.iter().all(|&(_, hidden)| hidden),
                        Include::WithoutHistory => !asked.history,
                    }
                },
            )
        })
    }

    /// Share of the catalogue that stands on anybody's first k places, for each k.
    fn coverage(&self, said: &Said) -> Vec<(u32, f64)> {
        let shown = |k: u32| said.places.iter().filter(|&&place| place > 0 && place <= k).count();
        let share = |&k: &u32| (k, shown(k) as f64 / said.places.len().max(1) as f64);
        self.cutoffs.iter().map(share).collect()
    }

    /// By which metrics systems are compared: recall, NDCG and MRR at each cut-off.
    fn compared(&self) -> Vec<usize> {
        let is_compared =
            |metric: &Metric| matches!(metric, Metric::Recall(_) | Metric::Ndcg(_) | Metric::Mrr(_));
        (0..self.metrics.len()).filter(|&metric| is_compared(&self.metrics[metric])).collect()
    }
}
