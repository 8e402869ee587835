//! A small search: successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943).
//!
//! Every trial is fitted for a few epochs; the better part of them, for more; and so on. So most of the time goes to what
//! looks good, and what looks bad costs little.

use serde::{Deserialize, Serialize};

/// How a search goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Halving {
    /// Trials at the start.
    pub trials: usize,
    /// Epochs of each round, fewest first.
    pub epochs: Vec<usize>,
    /// Share of a round's trials that goes on to the next, at least one.
    pub keep: f64,
}

/// One trial of one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Which of the trials, from 0.
    pub trial: usize,
    /// Its round, from 0, and how many epochs that allows.
    pub round: usize,
    /// Most epochs.
    pub epochs: usize,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The best epoch's validation.
    Validated {
        /// NDCG@20, by which trials are compared.
        ndcg_at_20: f64,
        /// Recall@20.
        recall_at_20: f64,
        /// The epoch.
        best_epoch: usize,
        /// Time it took.
        seconds: f64,
    },
    /// It failed; the others go on.
    Failed(String),
}

impl Default for Halving {
    fn default() -> Self {
        Self { trials: 12, epochs: vec![2, 6, 18], keep: 1.0 / 3.0 }
    }
}

impl Halving {
    /// Checks every field.
    ///
    /// # Errors
    /// A sentence that names the field and its rule.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=10_000).contains(&self.trials) {
            return Err(format!("trials must lie in 1..=10000, is {}", self.trials));
        }
        if self.epochs.is_empty() || self.epochs[0] == 0 || !self.epochs.is_sorted_by(|a, b| a < b) {
            return Err(format!(
                "epochs must be positive and grow from round to round, are {:?}",
                self.epochs
            ));
        }
        if !(self.keep > 0.0 && self.keep < 1.0) {
            return Err(format!("keep must lie between 0 and 1, is {}", self.keep));
        }
        Ok(())
    }
}

/// Runs a search; `run(trial, epochs)` fits a trial. Every trial of every round, in the order of running; the best one is
/// the best of the last round.
///
/// # Errors
/// What `run` says.
pub fn halve<E>(
    halving: &Halving,
    mut run: impl FnMut(usize, usize) -> Result<Outcome, E>,
) -> Result<Vec<Trial>, E> {
    let mut all: Vec<Trial> = Vec::new();
    let mut alive: Vec<usize> = (0..halving.trials).collect();
    for (round, &epochs) in halving.epochs.iter().enumerate() {
        let start = all.len();
        for &trial in &alive {
            all.push(Trial { trial, round, epochs, outcome: run(trial, epochs)? });
        }
        let mut ranked: Vec<&Trial> = all[start..].iter().filter(|trial| trial.ndcg().is_some()).collect();
        ranked.sort_by(|a, b| b.ndcg().unwrap_or(0.0).total_cmp(&a.ndcg().unwrap_or(0.0)));
        let keep = ((alive.len() as f64 * halving.keep).round() as usize).max(1);
        alive = ranked.iter().take(keep).map(|trial| trial.trial).collect();
        alive.sort_unstable();
    }
    Ok(all)
}

impl Trial {
    /// Its validation NDCG@20; nothing where it failed.
    pub fn ndcg(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Validated { ndcg_at_20, .. } => Some(ndcg_at_20),
            Outcome::Failed(_) => None,
        }
    }

    /// The best of the last round in which a trial did not fail.
    pub fn best(trials: &[Self]) -> Option<&Self> {
        let last = trials.iter().filter(|trial| trial.ndcg().is_some()).map(|trial| trial.round).max()?;
        let of_last = trials.iter().filter(|trial| trial.round == last && trial.ndcg().is_some());
        of_last.max_by(|a, b| a.ndcg().unwrap_or(0.0).total_cmp(&b.ndcg().unwrap_or(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_part_of_each_round_goes_on() {
        let halving = Halving { trials: 9, epochs: vec![1, 3, 9], keep: 1.0 / 3.0 };
        halving.validate().unwrap();
        // Trial 4 fails; of the others, a larger number is better; 8 looks good at first only.
        let trials = halve(&halving, |trial, epochs| {
            Ok::<_, ()>(match trial {
                4 => Outcome::Failed("diverged".into()),
                _ => Outcome::Validated {
                    ndcg_at_20: if trial == 8 && epochs > 1 { 0.0 } else { trial as f64 / 100.0 },
                    recall_at_20: 0.0,
                    best_epoch: epochs,
                    seconds: 0.0,
                },
            })
        })
        .unwrap();
        let run: Vec<(usize, usize)> = trials.iter().map(|trial| (trial.trial, trial.epochs)).collect();
        let first: Vec<(usize, usize)> = (0..9).map(|trial| (trial, 1)).collect();
        assert_eq!(run, [&first[..], &[(6, 3), (7, 3), (8, 3)], &[(7, 9)]].concat());
        assert_eq!(Trial::best(&trials).map(|best| (best.trial, best.round)), Some((7, 2)));
    }

    #[test]
    fn a_search_without_a_plan_is_refused() {
        let refused = |halving: Halving| halving.validate().unwrap_err();
        assert!(refused(Halving { trials: 0, ..Halving::default() }).starts_with("trials"));
        assert!(refused(Halving { epochs: vec![3, 3], ..Halving::default() }).starts_with("epochs"));
        assert!(refused(Halving { keep: 1.0, ..Halving::default() }).starts_with("keep"));
    }
}
