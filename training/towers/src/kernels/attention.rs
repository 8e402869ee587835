//! Causal multi-head self-attention over ragged sequences, with its norm and its residual.

use std::ops::Range;

use super::{
    dropout::Dropout,
    math::{dot, exp, max, sum},
    matmul::{Matrix, MatrixMut, Write, matmul},
    norm::{layer_norm, layer_norm_backward},
    simd,
};
use crate::parameters::{Init, Spec, split, split_mut};

/// `y = x + drop(A(norm(x)) W_o + b_o)`, where A is causal self-attention in `heads` heads over each
/// sequence by itself: `softmax(Q Kᵀ / √d_h) V`, position t sees positions 0..=t (Vaswani et al. 2017,
/// arXiv:1706.03762; pre-norm, Xiong et al. 2020).
pub(crate) struct SelfAttention<'a> {
    dim: usize,
    heads: usize,
    gain: &'a [f32],
    bias: &'a [f32],
    /// dim × 3 dim: queries, keys, values; each head's columns together.
    qkv: &'a [f32],
    qkv_bias: &'a [f32],
    out: &'a [f32],
    out_bias: &'a [f32],
}

/// A forward pass, as the backward pass sees it.
pub(crate) struct Pass<'a> {
    /// The input: rows × dim.
    pub(crate) x: &'a [f32],
    /// Queries, keys, values: rows × 3 dim.
    pub(crate) qkv: &'a [f32],
    /// The heads' outputs, before the output projection: rows × dim.
    pub(crate) mixed: &'a [f32],
    /// The number of the first row in the batch.
    pub(crate) first_row: usize,
    pub(crate) dropout: Dropout,
}

fn sizes(dim: usize) -> [usize; 6] {
    [dim, dim, 3 * dim * dim, 3 * dim, dim * dim, dim]
}

impl<'a> SelfAttention<'a> {
    pub(crate) fn specs(dim: usize) -> Vec<Spec> {
        let spread = Init::Normal(1.0 / (dim as f32).sqrt());
        vec![
            Spec::new("norm.gain", [dim], Init::Ones),
            Spec::new("norm.bias", [dim], Init::Zeros),
            Spec::new("qkv.weight", [dim, 3 * dim], spread),
            Spec::new("qkv.bias", [3 * dim], Init::Zeros),
            Spec::new("out.weight", [dim, dim], Init::Normal(0.5 / (dim as f32).sqrt())),
            Spec::new("out.bias", [dim], Init::Zeros),
        ]
    }

    /// How many parameters there are.
    pub(crate) fn size(dim: usize) -> usize {
        sizes(dim).iter().sum()
    }

    pub(crate) fn new(parameters: &'a [f32], dim: usize, heads: usize) -> Self {
        let [gain, bias, qkv, qkv_bias, out, out_bias] = split(parameters, sizes(dim));
        Self { dim, heads, gain, bias, qkv, qkv_bias, out, out_bias }
    }

    /// `x` and `y`: rows × dim; `lengths` of the sequences that the rows make up. Row r of these has the
    /// number `first_row + r` in the batch, which dropout counts by.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        lengths: impl Iterator<Item = usize>,
        first_row: usize,
        dropout: Dropout,
        (qkv, mixed): (&mut [f32], &mut [f32]),
        y: &mut [f32],
    ) {
        let d = self.dim;
        let rows = x.len() / d;
        layer_norm(x, self.gain, self.bias, y);
        for row in qkv.chunks_exact_mut(3 * d) {
            row.copy_from_slice(self.qkv_bias);
        }
        let weight = Matrix::new(self.qkv, d, 3 * d);
        matmul(MatrixMut::new(qkv, rows, 3 * d), Write::Add, 1.0, Matrix::new(y, rows, d), weight);
        let mut scores = Vec::new();
        let mut start = 0;
        for n in lengths.filter(|&n| n > 0) {
            let rows = start..start + n;
            scores.resize(n * n, 0.0);
            for head in 0..self.heads {
                self.attend(&qkv[rows.start * 3 * d..rows.end * 3 * d], n, head, &mut scores);
                let values = self.view(qkv, &rows, 2, head);
                let out = &mut mixed[rows.start * d..rows.end * d];
                let out = MatrixMut::columns(out, d, head * self.width(), self.width());
                matmul(out, Write::Replace, 1.0, Matrix::new(&scores, n, n), values);
            }
            start += n;
        }
        for row in y.chunks_exact_mut(d) {
            row.copy_from_slice(self.out_bias);
        }
        let weight = Matrix::new(self.out, d, d);
        matmul(MatrixMut::new(y, rows, d), Write::Add, 1.0, Matrix::new(mixed, rows, d), weight);
        dropout.add_to(x, first_row * d, y);
    }

    /// The last row of [`Self::forward`] over one sequence without dropout, at the cost of the keys and
    /// values alone.
    pub(crate) fn last_row(&self, x: &[f32]) -> Vec<f32> {
        let (d, width) = (self.dim, self.width());
        let rows = x.len() / d;
        let last = &x[(rows - 1) * d..];
        let mut normal = vec![0.0; rows * d];
        layer_norm(x, self.gain, self.bias, &mut normal);
        let mut kv = Vec::with_capacity(rows * 2 * d);
        for _ in 0..rows {
            kv.extend_from_slice(&self.qkv_bias[d..]);
        }
        let weight = Matrix::columns(self.qkv, 3 * d, d, 2 * d);
        matmul(MatrixMut::new(&mut kv, rows, 2 * d), Write::Add, 1.0, Matrix::new(&normal, rows, d), weight);
        let mut query = self.qkv_bias[..d].to_vec();
        let weight = Matrix::columns(self.qkv, 3 * d, 0, d);
        let last_normal = Matrix::new(&normal[(rows - 1) * d..], 1, d);
        matmul(MatrixMut::new(&mut query, 1, d), Write::Add, 1.0, last_normal, weight);
        let mut scores = vec![0.0; rows];
        let mut mixed = vec![0.0; d];
        for head in 0..self.heads {
            let columns = head * width;
            simd(
                #[inline(always)]
                || {
                    let query = &query[columns..columns + width];
                    for (score, kv) in scores.iter_mut().zip(kv.chunks_exact(2 * d)) {
                        *score = dot(query, &kv[columns..columns + width]) * self.scale();
                    }
                    softmax(&mut scores);
                    let mixed = &mut mixed[columns..columns + width];
                    for (&score, kv) in scores.iter().zip(kv.chunks_exact(2 * d)) {
                        let value = &kv[d + columns..d + columns + width];
                        for (mixed, &value) in mixed.iter_mut().zip(value) {
                            *mixed = score.mul_add(value, *mixed);
                        }
                    }
                },
            );
        }
        let mut y = self.out_bias.to_vec();
        let weight = Matrix::new(self.out, d, d);
        matmul(MatrixMut::new(&mut y, 1, d), Write::Add, 1.0, Matrix::new(&mixed, 1, d), weight);
        Dropout::NONE.add_to(last, 0, &mut y);
        y
    }

    /// The gradient: `dx` is written, that of the parameters is added.
    pub(crate) fn backward(
        &self,
        pass: Pass<'_>,
        lengths: impl Iterator<Item = usize>,
        grad: &[f32],
        dx: &mut [f32],
        dparameters: &mut [f32],
    ) {
        let Pass { x, qkv, mixed, first_row, dropout } = pass;
        let d = self.dim;
        let rows = x.len() / d;
        let [dgain, dbias, dqkv_weight, dqkv_bias, dout_weight, dout_bias] = split_mut(dparameters, sizes(d));
        // Through the output projection.
        let mut dout = grad.to_vec();
        dropout.apply(first_row * d, &mut dout);
        add_columns(&dout, dout_bias);
        let (dout, mixed) = (Matrix::new(&dout, rows, d), Matrix::new(mixed, rows, d));
        matmul(MatrixMut::new(dout_weight, d, d), Write::Add, 1.0, mixed.t(), dout);
        let mut dmixed = vec![0.0; rows * d];
        let weight = Matrix::new(self.out, d, d);
        matmul(MatrixMut::new(&mut dmixed, rows, d), Write::Replace, 1.0, dout, weight.t());
        // Through attention, sequence by sequence.
        let mut dqkv = vec![0.0; rows * 3 * d];
        let (mut scores, mut dscores) = (Vec::new(), Vec::new());
        let mut start = 0;
        for n in lengths.filter(|&n| n > 0) {
            scores.resize(n * n, 0.0);
            dscores.resize(n * n, 0.0);
            let rows = start..start + n;
            for head in 0..self.heads {
                self.attend(&qkv[rows.start * 3 * d..rows.end * 3 * d], n, head, &mut scores);
                let [q, k, v] = [0, 1, 2].map(|part| self.view(qkv, &rows, part, head));
                let dout = &dmixed[rows.start * d..rows.end * d];
                let dout = Matrix::columns(dout, d, head * self.width(), self.width());
                matmul(MatrixMut::new(&mut dscores, n, n), Write::Replace, 1.0, dout, v.t());
                simd(
                    #[inline(always)]
                    || {
                        for (p, dp) in scores.chunks_exact(n).zip(dscores.chunks_exact_mut(n)) {
                            let mean = dot(p, dp);
                            for (dp, &p) in dp.iter_mut().zip(p) {
                                *dp = p * (*dp - mean);
                            }
                        }
                    },
                );
                let (p, ds) = (Matrix::new(&scores, n, n), Matrix::new(&dscores, n, n));
                let dqkv = &mut dqkv[rows.start * 3 * d..rows.end * 3 * d];
                let mut write = |part: usize, scale, a, b| {
                    let columns =
                        MatrixMut::columns(dqkv, 3 * d, part * d + head * self.width(), self.width());
                    matmul(columns, Write::Replace, scale, a, b);
                };
                write(0, self.scale(), ds, k);
                write(1, self.scale(), ds.t(), q);
                write(2, 1.0, p.t(), dout);
            }
            start += n;
        }
        // Through the input projection and the norm.
        let mut normal = vec![0.0; rows * d];
        layer_norm(x, self.gain, self.bias, &mut normal);
        add_columns(&dqkv, dqkv_bias);
        let (normal, dqkv) = (Matrix::new(&normal, rows, d), Matrix::new(&dqkv, rows, 3 * d));
        matmul(MatrixMut::new(dqkv_weight, d, 3 * d), Write::Add, 1.0, normal.t(), dqkv);
        let mut dnormal = dmixed;
        let weight = Matrix::new(self.qkv, d, 3 * d);
        matmul(MatrixMut::new(&mut dnormal, rows, d), Write::Replace, 1.0, dqkv, weight.t());
        dx.copy_from_slice(grad);
        layer_norm_backward(x, self.gain, &dnormal, dx, dgain, dbias);
    }

    /// `scores = softmax(Q Kᵀ / √d_h)` of one head of one sequence: n × n, zero above the diagonal.
    fn attend(&self, qkv: &[f32], n: usize, head: usize, scores: &mut [f32]) {
        let [q, k] = [0, 1].map(|part| self.view(qkv, &(0..n), part, head));
        matmul(MatrixMut::new(scores, n, n), Write::Replace, self.scale(), q, k.t());
        simd(
            #[inline(always)]
            || {
                for (t, row) in scores.chunks_exact_mut(n).enumerate() {
                    let (seen, unseen) = row.split_at_mut(t + 1);
                    softmax(seen);
                    unseen.fill(0.0);
                }
            },
        );
    }

    /// One head's queries (`part` 0), keys (1) or values (2) of some rows.
    fn view<'m>(&self, qkv: &'m [f32], rows: &Range<usize>, part: usize, head: usize) -> Matrix<'m> {
        let stride = 3 * self.dim;
        let qkv = &qkv[rows.start * stride..rows.end * stride];
        Matrix::columns(qkv, stride, part * self.dim + head * self.width(), self.width())
    }

    fn width(&self) -> usize {
        self.dim / self.heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.width() as f32).sqrt()
    }
}

#[inline(always)]
fn softmax(row: &mut [f32]) {
    let top = max(row);
    for value in row.iter_mut() {
        *value = exp(*value - top);
    }
    let scale = 1.0 / sum(row);
    for value in row.iter_mut() {
        *value *= scale;
    }
}

/// Adds every row of `x` to `sums`.
pub(crate) fn add_columns(x: &[f32], sums: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for row in x.chunks_exact(sums.len()) {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += value;
                }
            }
        },
    );
}
