//! Keeping the best: of exact scores, and of approximate ones whose error is bounded.

use std::cmp::Ordering;

use crate::Hit;

/// Best first: by score, then by ascending label. A NaN (there is none: vectors and queries are checked) would sink.
pub(crate) fn best_first(a: &Hit, b: &Hit) -> Ordering {
    let key = |score: f32| if score.is_nan() { f32::NEG_INFINITY } else { score };
    key(b.score).total_cmp(&key(a.score)).then(a.label.cmp(&b.label))
}

/// The `k` best hits of a stream of exact scores.
pub(crate) struct Best {
    k: usize,
    /// Scores below this cannot be among the best.
    threshold: f32,
    hits: Vec<Hit>,
}

impl Best {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, threshold: if k == 0 { f32::INFINITY } else { f32::NEG_INFINITY }, hits: Vec::new() }
    }

    #[inline(always)]
    pub(crate) fn offer(&mut self, score: f32, label: impl FnOnce() -> Option<u64>) {
        // −0 and 0 are one score, so that they tie.
        let score = score + 0.0;
        if score >= self.threshold
            && let Some(label) = label()
        {
            self.keep(Hit { label, score });
        }
    }

    fn keep(&mut self, hit: Hit) {
        self.hits.push(hit);
        if self.hits.len() >= 2 * self.k + 64 {
            self.hits.select_nth_unstable_by(self.k - 1, best_first);
            self.hits.truncate(self.k);
            self.threshold = self.hits[self.k - 1].score;
        }
    }

    pub(crate) fn finish(mut self) -> Vec<Hit> {
        if 0 < self.k && self.k < self.hits.len() {
            self.hits.select_nth_unstable_by(self.k - 1, best_first);
        }
        self.hits.truncate(self.k);
        self.hits.sort_unstable_by(best_first);
        self.hits
    }
}

/// The first place from `first` on whose score reaches the threshold. Few do, so that eight are passed over at a time.
#[inline(always)]
fn next_reaching(scores: &[f32], first: usize, threshold: f32) -> Option<usize> {
    let mut place = first;
    while let Some(eight) = scores.get(place..).and_then(|scores| scores.first_chunk::<8>()) {
        if eight.iter().fold(false, |any, &score| any | (score >= threshold)) {
            break;
        }
        place += 8;
    }
    Some(place + scores.get(place..)?.iter().position(|&score| score >= threshold)?)
}

/// The rows that can be among the `k` best, of a stream of scores each off by at most half of `margin`.
///
/// Where the k-th best approximate score so far is `s`, k rows have true scores of at least `s − margin/2`; a row whose
/// approximate score is below `s − margin` has a true one below that, so it is out.
pub(crate) struct Candidates {
    k: usize,
    margin: f32,
    /// Scores below this are out.
    pub(crate) threshold: f32,
    found: Vec<(f32, u32)>,
    limit: usize,
    /// Rows left by the last look at the k-th best.
    settled: usize,
}

impl Candidates {
    pub(crate) fn new(k: usize, margin: f32) -> Self {
        let threshold = if k == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
        Self { k, margin, threshold, found: Vec::new(), limit: 3 * k + 128, settled: 0 }
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, score: f32, row: u32) {
        self.found.push((score, row));
        if self.found.len() >= self.limit {
            self.tighten();
        }
    }

    /// Pushes each row whose score can still matter; `row` says which one has the score at a place.
    #[inline(always)]
    pub(crate) fn push_all(&mut self, scores: &[f32], row: impl Fn(usize) -> u32) {
        let mut first = 0;
        while let Some(place) = next_reaching(scores, first, self.threshold) {
            self.push(scores[place], row(place));
            first = place + 1;
        }
    }

    /// The k-th best score so far; nothing is known of it before k rows were found.
    pub(crate) fn kth(&mut self) -> f32 {
        if self.found.len() > self.settled {
            self.tighten();
        }
        self.threshold + self.margin
    }

    #[cold]
    fn tighten(&mut self) {
        if self.found.len() > self.k {
            self.found.select_nth_unstable_by(self.k - 1, |a, b| b.0.total_cmp(&a.0));
            self.threshold = self.found[self.k - 1].0 - self.margin;
            self.found.retain(|&(score, _)| score >= self.threshold);
        }
        self.limit = self.limit.max(2 * self.found.len());
        self.settled = self.found.len();
    }

    /// The rows, in no order.
    pub(crate) fn finish(mut self) -> Vec<u32> {
        if self.k > 0 {
            self.tighten();
        }
        self.found.into_iter().map(|(_, row)| row).collect()
    }
}
