//! Softmax over candidates shared by all rows of a batch, without ever holding rows × candidates.

use super::{
    math::{exp, max, sum},
    matmul::{Matrix, MatrixMut, Write, matmul},
    simd,
};

/// Rows of logits held at a time.
const TILE: usize = 64;

/// What each row is asked: which of the candidates came next.
pub(crate) struct Cases<'a> {
    /// Candidates × d.
    pub(crate) candidates: &'a [f32],
    /// Added to a candidate's logit where it is not the target: − ln of its chance to be drawn.
    pub(crate) corrections: &'a [f32],
    /// Per row, its target among the candidates.
    pub(crate) targets: &'a [u32],
    /// Per row, its share of the loss; they sum to 1 over the batch.
    pub(crate) shares: &'a [f32],
    pub(crate) inverse_temperature: f32,
}

impl Cases<'_> {
    /// `Σ share · (ln Σ_c exp(s_c) − s_target)` over these rows, where `s = x · candidate / temperature`,
    /// corrected. The gradient of `x` (rows × d) is written, that of the candidates is added.
    pub(crate) fn loss(&self, x: &[f32], d: usize, dx: &mut [f32], dcandidates: &mut [f32]) -> f64 {
        let n = self.corrections.len();
        let candidates = Matrix::new(self.candidates, n, d);
        let mut logits = vec![0f32; TILE.min(self.targets.len()) * n];
        let mut loss = 0.0;
        let rows = self.targets.chunks(TILE).zip(self.shares.chunks(TILE));
        for ((x, dx), (targets, shares)) in x.chunks(TILE * d).zip(dx.chunks_mut(TILE * d)).zip(rows) {
            let m = targets.len();
            let x = Matrix::new(x, m, d);
            let logits = &mut logits[..m * n];
            let scale = self.inverse_temperature;
            matmul(MatrixMut::new(logits, m, n), Write::Replace, scale, x, candidates.t());
            for ((row, &target), &share) in logits.chunks_exact_mut(n).zip(targets).zip(shares) {
                loss += f64::from(share) * self.row(row, target as usize, share);
            }
            let gradient = Matrix::new(logits, m, n);
            matmul(MatrixMut::new(dx, m, d), Write::Replace, scale, gradient, candidates);
            matmul(MatrixMut::new(dcandidates, n, d), Write::Add, scale, gradient.t(), x);
        }
        loss
    }

    /// The loss of one row; its logits become their gradient, times `share`.
    fn row(&self, row: &mut [f32], target: usize, share: f32) -> f64 {
        simd(
            #[inline(always)]
            || {
                let positive = row[target];
                for (logit, &correction) in row.iter_mut().zip(self.corrections) {
                    *logit += correction;
                }
                row[target] = positive;
                let top = max(row);
                for logit in row.iter_mut() {
                    *logit = exp(*logit - top);
                }
                let total = sum(row);
                let scale = share / total;
                for value in row.iter_mut() {
                    *value *= scale;
                }
                row[target] -= share;
                f64::from(total.ln() + (top - positive))
            },
        )
    }
}
