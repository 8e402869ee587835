//! The feed-forward layer, with its norm and its residual: in the user tower's blocks, and as the item
//! tower's MLP.

use super::{
    attention::add_columns,
    dropout::Dropout,
    math::{gelu, gelu_and_slope},
    matmul::{Matrix, MatrixMut, Write, matmul},
    norm::{layer_norm, layer_norm_backward},
    simd,
};
use crate::parameters::{Init, Spec, split, split_mut};

/// `y = x + drop(drop(GELU(norm(x) W_1 + b_1)) W_2 + b_2)`: rows of `dim`, `hidden` in between.
pub(crate) struct FeedForward<'a> {
    dim: usize,
    hidden: usize,
    gain: &'a [f32],
    bias: &'a [f32],
    up: &'a [f32],
    up_bias: &'a [f32],
    down: &'a [f32],
    down_bias: &'a [f32],
}

/// A forward pass, as the backward pass sees it.
pub(crate) struct Pass<'a> {
    /// The input: rows × dim.
    pub(crate) x: &'a [f32],
    /// `norm(x) W_1 + b_1`: rows × hidden.
    pub(crate) inner: &'a [f32],
    /// The number of the first row in the batch.
    pub(crate) first_row: usize,
    pub(crate) dropout: Dropout,
}

fn sizes(dim: usize, hidden: usize) -> [usize; 6] {
    [dim, dim, dim * hidden, hidden, hidden * dim, dim]
}

/// Dropout within the layer draws other numbers than dropout at its end.
const INNER: u64 = 1;

impl<'a> FeedForward<'a> {
    pub(crate) fn specs(dim: usize, hidden: usize) -> Vec<Spec> {
        vec![
            Spec::new("norm.gain", [dim], Init::Ones),
            Spec::new("norm.bias", [dim], Init::Zeros),
            Spec::new("up.weight", [dim, hidden], Init::Normal(1.0 / (dim as f32).sqrt())),
            Spec::new("up.bias", [hidden], Init::Zeros),
            Spec::new("down.weight", [hidden, dim], Init::Normal(0.5 / (hidden as f32).sqrt())),
            Spec::new("down.bias", [dim], Init::Zeros),
        ]
    }

    /// How many parameters there are.
    pub(crate) fn size(dim: usize, hidden: usize) -> usize {
        sizes(dim, hidden).iter().sum()
    }

    pub(crate) fn new(parameters: &'a [f32], dim: usize, hidden: usize) -> Self {
        let [gain, bias, up, up_bias, down, down_bias] = split(parameters, sizes(dim, hidden));
        Self { dim, hidden, gain, bias, up, up_bias, down, down_bias }
    }

    /// `x` and `y`: rows × dim. `inner` (rows × hidden) receives `norm(x) W_1 + b_1`, which the backward
    /// pass needs. Row r has the number `first_row + r` in the batch, which dropout counts by.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        first_row: usize,
        dropout: Dropout,
        inner: &mut [f32],
        y: &mut [f32],
    ) {
        let (d, h) = (self.dim, self.hidden);
        let rows = x.len() / d;
        layer_norm(x, self.gain, self.bias, y);
        for row in inner.chunks_exact_mut(h) {
            row.copy_from_slice(self.up_bias);
        }
        let weight = Matrix::new(self.up, d, h);
        matmul(MatrixMut::new(inner, rows, h), Write::Add, 1.0, Matrix::new(y, rows, d), weight);
        let mut active = vec![0.0; inner.len()];
        self.activate(inner, first_row, dropout, &mut active);
        for row in y.chunks_exact_mut(d) {
            row.copy_from_slice(self.down_bias);
        }
        let weight = Matrix::new(self.down, h, d);
        matmul(MatrixMut::new(y, rows, d), Write::Add, 1.0, Matrix::new(&active, rows, h), weight);
        dropout.add_to(x, first_row * d, y);
    }

    /// `active = drop(GELU(inner))`.
    fn activate(&self, inner: &[f32], first_row: usize, dropout: Dropout, active: &mut [f32]) {
        simd(
            #[inline(always)]
            || {
                for (active, &inner) in active.iter_mut().zip(inner) {
                    *active = gelu(inner);
                }
            },
        );
        dropout.layer(INNER).apply(first_row * self.hidden, active);
    }

    /// The gradient: `dx` is written, that of the parameters is added.
    pub(crate) fn backward(&self, pass: Pass<'_>, grad: &[f32], dx: &mut [f32], dparameters: &mut [f32]) {
        let Pass { x, inner, first_row, dropout } = pass;
        let (d, h) = (self.dim, self.hidden);
        let rows = x.len() / d;
        let [dgain, dbias, dup, dup_bias, ddown, ddown_bias] = split_mut(dparameters, sizes(d, h));
        let mut dout = grad.to_vec();
        dropout.apply(first_row * d, &mut dout);
        add_columns(&dout, ddown_bias);
        let mut dinner = vec![0.0; rows * h];
        {
            let dout = Matrix::new(&dout, rows, d);
            let weight = Matrix::new(self.down, h, d);
            matmul(MatrixMut::new(&mut dinner, rows, h), Write::Replace, 1.0, dout, weight.t());
            dropout.layer(INNER).apply(first_row * h, &mut dinner);
            let mut active = vec![0.0; rows * h];
            simd(
                #[inline(always)]
                || {
                    for ((active, dinner), &inner) in active.iter_mut().zip(&mut dinner).zip(inner) {
                        let (value, slope) = gelu_and_slope(inner);
                        *active = value;
                        *dinner *= slope;
                    }
                },
            );
            dropout.layer(INNER).apply(first_row * h, &mut active);
            matmul(MatrixMut::new(ddown, h, d), Write::Add, 1.0, Matrix::new(&active, rows, h).t(), dout);
        }
        add_columns(&dinner, dup_bias);
        let mut normal = dout;
        layer_norm(x, self.gain, self.bias, &mut normal);
        let dinner = Matrix::new(&dinner, rows, h);
        matmul(MatrixMut::new(dup, d, h), Write::Add, 1.0, Matrix::new(&normal, rows, d).t(), dinner);
        let mut dnormal = normal;
        let weight = Matrix::new(self.up, d, h);
        matmul(MatrixMut::new(&mut dnormal, rows, d), Write::Replace, 1.0, dinner, weight.t());
        dx.copy_from_slice(grad);
        layer_norm_backward(x, self.gain, &dnormal, dx, dgain, dbias);
    }
}
