//! Ranking metrics of a case with one relevant item, from its rank.
//!
//! A case asks one question: at which rank, from 1, does the ranking of the whole catalogue hold
//! the item that the shopper went to next? `None` stands for "not within what was ranked". With one
//! relevant item, hit rate and recall are the same number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Rank of the relevant item, from 1; `None` when it was not ranked.
pub type Rank = Option<u32>;

/// A metric with its cut-off.
///
/// ```
/// use endcap_evaluation::Metric;
///
/// assert_eq!(Metric::Recall(20).of(Some(20)), 1.0);
/// assert_eq!(Metric::Recall(20).of(Some(21)), 0.0);
/// assert_eq!(Metric::Ndcg(10).of(Some(3)), 0.5); // 1 / log2(4)
/// assert_eq!(Metric::Mrr(20).of(Some(4)), 0.25);
/// assert_eq!(Metric::Mrr(20).of(None), 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String")]
#[serde(try_from = "String")]
pub enum Metric {
    /// `recall@k = 1[rank ≤ k]` (Herlocker et al., 2004), equal to the hit rate and, but for the factor
    /// 1/k, to precision.
    Recall(u32),
    /// `NDCG@k = 1[rank ≤ k] / log2(rank + 1)`; the ideal DCG is 1 (Järvelin and Kekäläinen, 2002).
    Ndcg(u32),
    /// `MRR@k = 1[rank ≤ k] / rank` (Voorhees, 1999); with one relevant item it equals MAP@k.
    Mrr(u32),
}

// === impl Metric ===

impl Metric {
    /// Its value for a case whose relevant item stands at `rank`; within 0 and 1.
    pub fn of(self, rank: Rank) -> f64 {
        let Some(rank) = rank.filter(|&rank| rank <= self.cutoff()) else { return 0.0 };
        match self {
            Self::Recall(_) => 1.0,
            Self::Ndcg(_) => 1.0 / f64::from(rank + 1).log2(),
            Self::Mrr(_) => 1.0 / f64::from(rank),
        }
    }

    /// Its k.
    pub fn cutoff(self) -> u32 {
        match self {
            Self::Recall(k) | Self::Ndcg(k) | Self::Mrr(k) => k,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recall(k) => write!(f, "recall@{k}"),
            Self::Ndcg(k) => write!(f, "ndcg@{k}"),
            Self::Mrr(k) => write!(f, "mrr@{k}"),
        }
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.to_string()
    }
}

/// A text that names no metric.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric {0:?}: recall@K, ndcg@K and mrr@K are known, K from 1")]
pub struct UnknownMetric(String);

impl std::str::FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        let unknown = || UnknownMetric(text.to_owned());
        let (name, k) = text.split_once('@').ok_or_else(unknown)?;
        let k = k.parse().ok().filter(|&k| k > 0).ok_or_else(unknown)?;
        match name.to_ascii_lowercase().as_str() {
            "recall" | "hr" => Ok(Self::Recall(k)),
            "ndcg" => Ok(Self::Ndcg(k)),
            "mrr" => Ok(Self::Mrr(k)),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for Metric {
    type Error = UnknownMetric;

    fn try_from(text: String) -> Result<Self, UnknownMetric> {
        text.parse()
    }
}

/// Rank of the target in a full ranking by `scores`, ties broken against it: one more than the number
/// of other items that score at least as much. `masked` items are left out. A target that scores NaN
/// comes last; another item's NaN never outranks it.
///
/// ```
/// use endcap_evaluation::rank_of;
///
/// let scores = [0.5, 0.9, 0.5, f32::NAN];
/// assert_eq!(rank_of(&scores, 0, |_| false), 3); // behind 1 and, tied, behind 2
/// assert_eq!(rank_of(&scores, 0, |item| item == 1), 2);
/// assert_eq!(rank_of(&scores, 3, |_| false), 4);
/// ```
pub fn rank_of(scores: &[f32], target: usize, masked: impl Fn(usize) -> bool) -> u32 {
    let bar = scores[target];
    let outranks =
        |(item, &score): (usize, &f32)| item != target && (bar.is_nan() || score >= bar) && !masked(item);
    1 + scores.iter().enumerate().filter(|&pair| outranks(pair)).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_a_worked_table() {
        // Five cases with ranks 1, 2, 5, 11 and none, worked by hand.
        let ranks = [Some(1), Some(2), Some(5), Some(11), None];
        let mean = |metric: Metric| ranks.iter().map(|&rank| metric.of(rank)).sum::<f64>() / 5.0;
        assert!((mean(Metric::Recall(10)) - 0.6).abs() < 1e-12);
        assert!((mean(Metric::Mrr(10)) - (1.0 + 0.5 + 0.2) / 5.0).abs() < 1e-12);
        // 1 + 1/log2(3) + 1/log2(6) = 1 + 0.630930 + 0.386853
        assert!((mean(Metric::Ndcg(10)) - 2.017_783 / 5.0).abs() < 1e-6);
        assert!((mean(Metric::Recall(20)) - 0.8).abs() < 1e-12);
    }

    #[test]
    fn names_survive_the_round_trip() {
        for metric in [Metric::Recall(20), Metric::Ndcg(10), Metric::Mrr(5)] {
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
        for bad in ["recall", "recall@0", "recall@x", "auc@5", "@"] {
            assert!(bad.parse::<Metric>().is_err(), "{bad}");
        }
    }
}
