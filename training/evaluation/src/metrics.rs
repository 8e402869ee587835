//! Ranking metrics, from the ranks of the relevant items in a ranking of the whole catalogue.
//!
//! A case asks one question and has one relevant item or a set of them. A rank counts from 1; `None` stands for "not
//! within what was ranked". Equations: k the cut-off, R the relevant items, `r₁ < r₂ < …` their ranks, N how many
//! items were ranked.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Rank of a relevant item, from 1; `None` when it was not ranked.
pub type Rank = Option<u32>;

/// A metric with its cut-off.
///
/// ```
/// use endcap_evaluation::{Judged, Metric};
///
/// // One relevant item: recall is the hit rate, MAP is MRR.
/// assert_eq!(Metric::Recall(20).of(Some(20)), 1.0);
/// assert_eq!(Metric::Recall(20).of(Some(21)), 0.0);
/// assert_eq!(Metric::Ndcg(10).of(Some(3)), 0.5); // 1 / log2(4)
/// assert_eq!(Metric::Mrr(20).of(Some(4)), 0.25);
/// assert_eq!(Metric::Mrr(20).of(None), 0.0);
///
/// // Three relevant items among 100, at ranks 1 and 4 and beyond the list.
/// let case = Judged { ranks: &[Some(1), Some(4), None], ranked: 100 };
/// assert_eq!(Metric::HitRate(5).judge(case), 1.0);
/// assert_eq!(Metric::Recall(5).judge(case), 2.0 / 3.0);
/// assert_eq!(Metric::Precision(5).judge(case), 2.0 / 5.0);
/// assert_eq!(Metric::Map(5).judge(case), (1.0 + 2.0 / 4.0) / 3.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String")]
#[serde(try_from = "String")]
pub enum Metric {
    /// `hr@k = 1[r₁ ≤ k]` (Deshpande and Karypis, 2004).
    HitRate(u32),
    /// `recall@k = |{i : rᵢ ≤ k}| / |R|` (Herlocker et al., 2004).
    Recall(u32),
    /// `precision@k = |{i : rᵢ ≤ k}| / k` (Herlocker et al., 2004).
    Precision(u32),
    /// `NDCG@k = DCG / IDCG`, `DCG = Σ_{rᵢ ≤ k} 1 / log2(rᵢ + 1)`, `IDCG = Σ_{i ≤ min(|R|, k)} 1 / log2(i + 1)`
    /// (Järvelin and Kekäläinen, 2002).
    Ndcg(u32),
    /// `MRR@k = 1[r₁ ≤ k] / r₁` (Voorhees, 1999).
    Mrr(u32),
    /// `MAP@k = Σ_{rᵢ ≤ k} (i / rᵢ) / min(|R|, k)` (Buckley and Voorhees, 2000).
    Map(u32),
    /// `AUC = Σᵢ (N − |R| − (rᵢ − i)) / (|R| · (N − |R|))`: the share of the pairs of a relevant and another item that
    /// stand in the right order (Hanley and McNeil, 1982). A relevant item that was not ranked stands last.
    Auc,
    /// `novelty@k = −1/k Σ_{i in the first k} log2 p(i)`, in bits, `p(i) = (n(i) + 1) / (n + N)` an item's share of
    /// the interactions of training, counted from one (Zhou et al., 2010).
    Novelty(u32),
}

/// What a system said to a case.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The ranks of all relevant items, rising, those without one last.
    pub ranks: &'a [Rank],
    /// How many items were ranked, the relevant ones among them.
    pub ranked: u32,
}

// === impl Metric ===

impl Metric {
    /// Its value for a case with one relevant item, which stands at `rank`; within 0 and 1. AUC and novelty cannot be
    /// told from a rank alone, and are 0.
    pub fn of(self, rank: Rank) -> f64 {
        self.judge(Judged { ranks: &[rank], ranked: 1 })
    }

    /// Its value for a case; within 0 and 1. Novelty cannot be told from ranks, and is 0.
    pub fn judge(self, case: Judged<'_>) -> f64 {
        let Judged { ranks, ranked } = case;
        let relevant = ranks.len();
        let within =
            |k: u32| ranks.iter().map_while(move |rank| rank.filter(|&rank| rank <= k)).map(f64::from);
        match self {
            _ if relevant == 0 => 0.0,
            Self::HitRate(k) => f64::from(u8::from(within(k).next().is_some())),
            Self::Recall(k) => within(k).count() as f64 / relevant as f64,
            Self::Precision(k) => within(k).count() as f64 / f64::from(k),
            Self::Ndcg(k) => {
                let gain = |rank: f64| 1.0 / (rank + 1.0).log2();
                let ideal: f64 = (1..=relevant.min(k as usize)).map(|rank| gain(rank as f64)).sum();
                within(k).map(gain).sum::<f64>() / ideal
            }
            Self::Mrr(k) => within(k).next().map_or(0.0, |rank| 1.0 / rank),
            Self::Map(k) => {
                let precisions = within(k).zip(1..).map(|(rank, found)| f64::from(found) / rank);
                precisions.sum::<f64>() / relevant.min(k as usize) as f64
            }
            Self::Auc => {
                let others = (ranked as usize).saturating_sub(relevant);
                if others == 0 {
                    return 0.0;
                }
                let below = ranks.iter().zip(1u32..).map(|(rank, place)| {
                    rank.map_or(0, |rank| (others as u32).saturating_sub(rank.saturating_sub(place)))
                });
                below.map(f64::from).sum::<f64>() / (relevant as f64 * others as f64)
            }
            Self::Novelty(_) => 0.0,
        }
    }

    /// Its k; none of AUC.
    pub fn cutoff(self) -> Option<u32> {
        match self {
            Self::HitRate(k)
            | Self::Recall(k)
            | Self::Precision(k)
            | Self::Ndcg(k)
            | Self::Mrr(k)
            | Self::Map(k)
            | Self::Novelty(k) => Some(k),
            Self::Auc => None,
        }
    }

    /// Its name without the cut-off.
    pub fn family(self) -> &'static str {
        match self {
            Self::HitRate(_) => "hr",
            Self::Recall(_) => "recall",
            Self::Precision(_) => "precision",
            Self::Ndcg(_) => "ndcg",
            Self::Mrr(_) => "mrr",
            Self::Map(_) => "map",
            Self::Auc => "auc",
            Self::Novelty(_) => "novelty",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cutoff() {
            Some(k) => write!(f, "{}@{k}", self.family()),
            None => f.write_str(self.family()),
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
#[error(
    "unknown metric {0:?}: auc, and hr, recall, precision, ndcg, mrr, map and novelty with @K are known, K from 1"
)]
pub struct UnknownMetric(String);

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        let unknown = || UnknownMetric(text.to_owned());
        let text = text.to_ascii_lowercase();
        if text == "auc" {
            return Ok(Self::Auc);
        }
        let (name, k) = text.split_once('@').ok_or_else(unknown)?;
        let k = k.parse().ok().filter(|&k| k > 0).ok_or_else(unknown)?;
        let families: [fn(u32) -> Self; 7] =
            [Self::HitRate, Self::Recall, Self::Precision, Self::Ndcg, Self::Mrr, Self::Map, Self::Novelty];
        families.iter().map(|family| family(k)).find(|metric| metric.family() == name).ok_or_else(unknown)
    }
}

impl TryFrom<String> for Metric {
    type Error = UnknownMetric;

    fn try_from(text: String) -> Result<Self, UnknownMetric> {
        text.parse()
    }
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
        assert!((mean(Metric::HitRate(10)) - 0.6).abs() < 1e-12);
        assert!((mean(Metric::Precision(10)) - 0.06).abs() < 1e-12);
        assert!((mean(Metric::Mrr(10)) - (1.0 + 0.5 + 0.2) / 5.0).abs() < 1e-12);
        assert!((mean(Metric::Map(10)) - (1.0 + 0.5 + 0.2) / 5.0).abs() < 1e-12);
        // 1 + 1/log2(3) + 1/log2(6) = 1 + 0.630930 + 0.386853
        assert!((mean(Metric::Ndcg(10)) - 2.017_783 / 5.0).abs() < 1e-6);
        assert!((mean(Metric::Recall(20)) - 0.8).abs() < 1e-12);
    }

    #[test]
    fn metrics_of_a_worked_set() {
        // Four relevant items among ten, at ranks 2, 3, 7 and none.
        let case = Judged { ranks: &[Some(2), Some(3), Some(7), None], ranked: 10 };
        let of = |metric: Metric| metric.judge(case);
        assert_eq!(of(Metric::HitRate(1)), 0.0);
        assert_eq!(of(Metric::HitRate(2)), 1.0);
        assert_eq!(of(Metric::Recall(5)), 0.5);
        assert_eq!(of(Metric::Precision(5)), 0.4);
        assert_eq!(of(Metric::Mrr(5)), 0.5);
        // 1/2 + 2/3 over min(4, 5); with k = 2: 1/2 over min(4, 2).
        assert!((of(Metric::Map(5)) - (0.5 + 2.0 / 3.0) / 4.0).abs() < 1e-12);
        assert!((of(Metric::Map(2)) - 0.25).abs() < 1e-12);
        // DCG 1/log2(3) + 1/log2(4) = 0.630930 + 0.5; IDCG of four 1 + 0.630930 + 0.5 + 0.430677 = 2.561606.
        assert!((of(Metric::Ndcg(5)) - 1.130_930 / 2.561_606).abs() < 1e-6);
        // Six others. Above the first stands one, so 5 pairs are right; 5 and 2 for the next; 0 for the last: 12 of 24.
        // (ranks 2, 3, 7: others above are 1, 1, 4.)
        assert!((of(Metric::Auc) - (5.0 + 5.0 + 2.0) / 24.0).abs() < 1e-12);
    }

    #[test]
    fn auc_is_one_at_the_top_and_nothing_at_the_bottom() {
        let auc = |ranks: &[Rank], ranked| Metric::Auc.judge(Judged { ranks, ranked });
        assert_eq!(auc(&[Some(1)], 100), 1.0);
        assert_eq!(auc(&[Some(100)], 100), 0.0);
        assert_eq!(auc(&[None], 100), 0.0);
        assert_eq!(auc(&[Some(1), Some(2)], 5), 1.0);
        assert_eq!(auc(&[Some(1)], 1), 0.0, "nothing to tell apart");
    }

    #[test]
    fn names_survive_the_round_trip() {
        for metric in [
            Metric::HitRate(1),
            Metric::Recall(20),
            Metric::Precision(3),
            Metric::Ndcg(10),
            Metric::Mrr(5),
            Metric::Map(7),
            Metric::Auc,
            Metric::Novelty(9),
        ] {
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
        for bad in ["recall", "recall@0", "recall@x", "auc@5", "@"] {
            assert!(bad.parse::<Metric>().is_err(), "{bad}");
        }
    }
}
