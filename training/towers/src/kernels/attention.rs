//! Causal multi-head self-attention over ragged sequences, with its norm and its residual.

use std::ops::Range;

use super::{
    dropout::Dropout,
    math::{dot, exp, max, sum},
    matmul::{Matrix, MatrixMut, Write, matmul},
    norm::{layer_norm, layer_norm_backward},
    simd, sized,
    transpose::transpose,
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

/// What the backward pass reads of the forward pass. The buffers are used again and again.
#[derive(Default)]
pub(crate) struct Trace {
    /// `norm(x)`: rows × dim.
    normal: Vec<f32>,
    /// Queries, keys, values: rows × 3 dim.
    qkv: Vec<f32>,
    /// What each position gives each one before it: per sequence and head, n × (n rounded up).
    shares: Vec<f32>,
    /// The heads' outputs, before the output projection: rows × dim.
    mixed: Vec<f32>,
    /// One head's keys, or values, in columns.
    columns: Vec<f32>,
}

/// The projections' matrices transposed, for the backward pass.
#[derive(Default)]
pub(crate) struct Transposed {
    qkv: Vec<f32>,
    out: Vec<f32>,
}

/// Buffers of the backward pass, used again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    dout: Vec<f32>,
    dmixed: Vec<f32>,
    dqkv: Vec<f32>,
    dshares: Vec<f32>,
    columns: Vec<f32>,
}

/// Rows of scores at a time: what they cannot see is left out, but for the last block's corner.
const BLOCK: usize = 24;
/// Rows of scores begin at a multiple of so many.
const ALIGN: usize = 16;

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

    pub(crate) fn new(parameters: &'a [f32], dim: usize, heads: usize) -> Self {
        let [gain, bias, qkv, qkv_bias, out, out_bias] = split(parameters, sizes(dim));
        Self { dim, heads, gain, bias, qkv, qkv_bias, out, out_bias }
    }

    /// `x` and `y`: rows × dim; `lengths` of the sequences that the rows make up. Row r of these has the
    /// number `first_row + r` in the batch, which dropout counts by.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        lengths: &[u32],
        first_row: usize,
        dropout: Dropout,
        trace: &mut Trace,
        y: &mut [f32],
    ) {
        let (d, width) = (self.dim, self.width());
        let rows = x.len() / d;
        let normal = sized(&mut trace.normal, rows * d);
        layer_norm(x, self.gain, self.bias, normal);
        let qkv = sized(&mut trace.qkv, rows * 3 * d);
        let weight = Matrix::new(self.qkv, d, 3 * d);
        matmul(MatrixMut::new(qkv, rows, 3 * d), Write::Replace, 1.0, Matrix::new(normal, rows, d), weight);
        add_bias(qkv, self.qkv_bias);
        let mixed = sized(&mut trace.mixed, rows * d);
        let mut shares = &mut sized(&mut trace.shares, self.shares(lengths))[..];
        let mut start = 0;
        for n in lengths.iter().map(|&n| n as usize) {
            let stride = n.next_multiple_of(ALIGN);
            let keys = sized(&mut trace.columns, width * stride);
            for head in 0..self.heads {
                let (scores, rest) = std::mem::take(&mut shares).split_at_mut(n * stride);
                shares = rest;
                transpose(&qkv[self.offset(start, 1, head)..], 3 * d, n, width, keys, stride);
                let [q, _, v] = self.views(qkv, start, n, head);
                let out = &mut mixed[start * d + head * width..];
                for block in blocks(n) {
                    // Scores up to a whole vector, of which those to be seen are kept.
                    let columns = block.end.next_multiple_of(ALIGN);
                    let keys = Matrix::strided(keys, width, columns, stride);
                    let part = &mut scores[block.start * stride..block.end * stride];
                    let part_rows = MatrixMut::strided(part, block.len(), columns, stride);
                    matmul(part_rows, Write::Replace, self.scale(), q.rows(&block), keys);
                    simd(
                        #[inline(always)]
                        || {
                            for (t, row) in block.clone().zip(part.chunks_exact_mut(stride)) {
                                let (seen, unseen) = row[..block.end].split_at_mut(t + 1);
                                softmax(seen);
                                unseen.fill(0.0);
                            }
                        },
                    );
                    let part = Matrix::strided(part, block.len(), block.end, stride);
                    let out = MatrixMut::strided(&mut out[block.start * d..], block.len(), width, d);
                    matmul(out, Write::Replace, 1.0, part, v.rows(&(0..block.end)));
                }
            }
            start += n;
        }
        let weight = Matrix::new(self.out, d, d);
        matmul(MatrixMut::new(y, rows, d), Write::Replace, 1.0, Matrix::new(mixed, rows, d), weight);
        add_bias(y, self.out_bias);
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

    /// The matrices that the backward pass needs the other way round.
    pub(crate) fn transpose(&self, transposed: &mut Transposed) {
        let d = self.dim;
        transpose(self.qkv, 3 * d, d, 3 * d, sized(&mut transposed.qkv, 3 * d * d), d);
        transpose(self.out, d, d, d, sized(&mut transposed.out, d * d), d);
    }

    /// The gradient: `grad` comes in as that of `y` and leaves as that of `x`; that of the parameters is added.
    #[expect(clippy::too_many_arguments, reason = "the pass and its buffers, which live in different places")]
    pub(crate) fn backward(
        &self,
        x: &[f32],
        lengths: &[u32],
        first_row: usize,
        dropout: Dropout,
        trace: &Trace,
        transposed: &Transposed,
        scratch: &mut Scratch,
        grad: &mut [f32],
        dparameters: &mut [f32],
    ) {
        let (d, width) = (self.dim, self.width());
        let rows = x.len() / d;
        let [dgain, dbias, dqkv_weight, dqkv_bias, dout_weight, dout_bias] = split_mut(dparameters, sizes(d));
        // Through the output projection.
        let dout = sized(&mut scratch.dout, rows * d);
        dout.copy_from_slice(grad);
        dropout.apply(first_row * d, dout);
        add_columns(dout, dout_bias);
        let dout = Matrix::new(dout, rows, d);
        let mixed = Matrix::new(&trace.mixed[..rows * d], rows, d);
        matmul(MatrixMut::new(dout_weight, d, d), Write::Add, 1.0, mixed.t(), dout);
        let dmixed = sized(&mut scratch.dmixed, rows * d);
        let weight = Matrix::new(&transposed.out, d, d);
        matmul(MatrixMut::new(dmixed, rows, d), Write::Replace, 1.0, dout, weight);
        // Through attention, sequence by sequence.
        let qkv = &trace.qkv[..rows * 3 * d];
        let dqkv = sized(&mut scratch.dqkv, rows * 3 * d);
        let mut shares = &trace.shares[..];
        let mut start = 0;
        for n in lengths.iter().map(|&n| n as usize) {
            let stride = n.next_multiple_of(ALIGN);
            let values = sized(&mut scratch.columns, width * stride);
            let dshares = sized(&mut scratch.dshares, n * stride);
            for head in 0..self.heads {
                let (shares_of_head, rest) = shares.split_at(n * stride);
                shares = rest;
                transpose(&qkv[self.offset(start, 2, head)..], 3 * d, n, width, values, stride);
                let [q, k, _] = self.views(qkv, start, n, head);
                let dout = Matrix::strided(&dmixed[start * d + head * width..], n, width, d);
                let mut write = |part: usize, rows: &Range<usize>, scale, a: Matrix<'_>, b: Matrix<'_>| {
                    let first = self.offset(start + rows.start, part, head);
                    let out = MatrixMut::strided(&mut dqkv[first..], rows.len(), width, 3 * d);
                    matmul(out, Write::Replace, scale, a, b);
                };
                for block in blocks(n) {
                    let columns = block.end.next_multiple_of(ALIGN);
                    let values = Matrix::strided(values, width, columns, stride);
                    let part = block.start * stride..block.end * stride;
                    let (p, dp) = (&shares_of_head[part.clone()], &mut dshares[part]);
                    let out = MatrixMut::strided(dp, block.len(), columns, stride);
                    matmul(out, Write::Replace, 1.0, dout.rows(&block), values);
                    simd(
                        #[inline(always)]
                        || {
                            let rows = p.chunks_exact(stride).zip(dp.chunks_exact_mut(stride));
                            for (t, (p, dp)) in block.clone().zip(rows) {
                                let (seen, unseen) = dp[..block.end].split_at_mut(t + 1);
                                let mean = dot(&p[..t + 1], seen);
                                for (dp, &p) in seen.iter_mut().zip(p) {
                                    *dp = p * (*dp - mean);
                                }
                                unseen.fill(0.0);
                            }
                        },
                    );
                    let ds = Matrix::strided(dp, block.len(), block.end, stride);
                    write(0, &block, self.scale(), ds, k.rows(&(0..block.end)));
                }
                // A key and a value are read from their own position on.
                for block in blocks(n) {
                    let (from, first) = (block.start..n, block.start * stride + block.start);
                    let part = |shares| Matrix::strided(shares, from.len(), block.len(), stride).t();
                    write(1, &block, self.scale(), part(&dshares[first..]), q.rows(&from));
                    write(2, &block, 1.0, part(&shares_of_head[first..]), dout.rows(&from));
                }
            }
            start += n;
        }
        // Through the input projection and the norm.
        add_columns(dqkv, dqkv_bias);
        let (normal, dqkv) =
            (Matrix::new(&trace.normal[..rows * d], rows, d), Matrix::new(dqkv, rows, 3 * d));
        matmul(MatrixMut::new(dqkv_weight, d, 3 * d), Write::Add, 1.0, normal.t(), dqkv);
        let dnormal = dmixed;
        let weight = Matrix::new(&transposed.qkv, 3 * d, d);
        matmul(MatrixMut::new(dnormal, rows, d), Write::Replace, 1.0, dqkv, weight);
        layer_norm_backward(x, self.gain, dnormal, grad, dgain, dbias);
    }

    /// Numbers that [`Trace::shares`] holds.
    fn shares(&self, lengths: &[u32]) -> usize {
        let of = |&n: &u32| n as usize * (n as usize).next_multiple_of(ALIGN);
        self.heads * lengths.iter().map(of).sum::<usize>()
    }

    /// Where one head's query (`part` 0), key (1) or value (2) of a row begins.
    fn offset(&self, row: usize, part: usize, head: usize) -> usize {
        (row * 3 + part) * self.dim + head * self.width()
    }

    /// One head's queries, keys and values of `n` rows from `start` on.
    fn views<'m>(&self, qkv: &'m [f32], start: usize, n: usize, head: usize) -> [Matrix<'m>; 3] {
        let view = |part: usize| {
            Matrix::strided(&qkv[self.offset(start, part, head)..], n, self.width(), 3 * self.dim)
        };
        [0, 1, 2].map(view)
    }

    fn width(&self) -> usize {
        self.dim / self.heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.width() as f32).sqrt()
    }
}

fn blocks(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(n))
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

/// Adds `bias` to every row of `x`.
pub(crate) fn add_bias(x: &mut [f32], bias: &[f32]) {
    simd(
        #[inline(always)]
        || {
            for row in x.chunks_exact_mut(bias.len()) {
                for (value, &bias) in row.iter_mut().zip(bias) {
                    *value += bias;
                }
            }
        },
    );
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
