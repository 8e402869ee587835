//! The feed-forward layer, with its norm and its residual: in the user tower's blocks, and as the item
//! tower's MLP.

use super::{
    attention::{add_bias, add_columns},
    dropout::Dropout,
    math::gelu_and_slope,
    matmul::{Matrix, MatrixMut, Write, matmul},
    norm::{layer_norm, layer_norm_backward},
    simd, sized,
    transpose::transpose,
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

/// What the backward pass reads of the forward pass. The buffers are used again and again.
#[derive(Default)]
pub(crate) struct Trace {
    /// `norm(x)`: rows × dim.
    normal: Vec<f32>,
    /// `drop(GELU(norm(x) W_1 + b_1))`: rows × hidden.
    active: Vec<f32>,
    /// Its slope: rows × hidden.
    slope: Vec<f32>,
}

/// The matrices transposed, for the backward pass.
#[derive(Default)]
pub(crate) struct Transposed {
    up: Vec<f32>,
    down: Vec<f32>,
}

/// Buffers of the backward pass, used again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    dout: Vec<f32>,
    dinner: Vec<f32>,
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

    pub(crate) fn new(parameters: &'a [f32], dim: usize, hidden: usize) -> Self {
        let [gain, bias, up, up_bias, down, down_bias] = split(parameters, sizes(dim, hidden));
        Self { dim, hidden, gain, bias, up, up_bias, down, down_bias }
    }

    /// `x` and `y`: rows × dim. Row r has the number `first_row + r` in the batch, which dropout counts by.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        first_row: usize,
        dropout: Dropout,
        trace: &mut Trace,
        y: &mut [f32],
    ) {
        let (d, h) = (self.dim, self.hidden);
        let rows = x.len() / d;
        self.inner(x, first_row, dropout, trace);
        let active = &trace.active[..rows * h];
        let weight = Matrix::new(self.down, h, d);
        matmul(MatrixMut::new(y, rows, d), Write::Replace, 1.0, Matrix::new(active, rows, h), weight);
        add_bias(y, self.down_bias);
        dropout.add_to(x, first_row * d, y);
    }

    /// What [`Self::backward`] reads of the forward pass, made alone.
    pub(crate) fn inner(&self, x: &[f32], first_row: usize, dropout: Dropout, trace: &mut Trace) {
        let (d, h) = (self.dim, self.hidden);
        let rows = x.len() / d;
        let normal = sized(&mut trace.normal, rows * d);
        layer_norm(x, self.gain, self.bias, normal);
        let active = sized(&mut trace.active, rows * h);
        let weight = Matrix::new(self.up, d, h);
        matmul(MatrixMut::new(active, rows, h), Write::Replace, 1.0, Matrix::new(normal, rows, d), weight);
        self.activate(first_row * h, dropout.layer(INNER), active, sized(&mut trace.slope, rows * h));
    }

    /// `active = drop(GELU(active + b_1))`, and its slope; the first element has the place `first`.
    fn activate(&self, first: usize, dropout: Dropout, active: &mut [f32], slope: &mut [f32]) {
        let h = self.hidden;
        simd(
            #[inline(always)]
            || {
                for (row, (active, slope)) in
                    active.chunks_exact_mut(h).zip(slope.chunks_exact_mut(h)).enumerate()
                {
                    let elements = active.iter_mut().zip(slope).zip(self.up_bias);
                    if dropout.is_none() {
                        for ((active, slope), &bias) in elements {
                            (*active, *slope) = gelu_and_slope(*active + bias);
                        }
                        continue;
                    }
                    for (place, ((active, slope), &bias)) in ((first + row * h) as u32..).zip(elements) {
                        let factor = dropout.factor(place);
                        let (value, change) = gelu_and_slope(*active + bias);
                        (*active, *slope) = (value * factor, change * factor);
                    }
                }
            },
        );
    }

    /// The matrices that the backward pass needs the other way round.
    pub(crate) fn transpose(&self, transposed: &mut Transposed) {
        let (d, h) = (self.dim, self.hidden);
        transpose(self.up, h, d, h, sized(&mut transposed.up, h * d), d);
        transpose(self.down, d, h, d, sized(&mut transposed.down, d * h), h);
    }

    /// The gradient: `grad` comes in as that of `y` and leaves as that of `x`; that of the parameters is added.
    #[expect(clippy::too_many_arguments, reason = "the pass and its buffers, which live in different places")]
    pub(crate) fn backward(
        &self,
        x: &[f32],
        first_row: usize,
        dropout: Dropout,
        trace: &Trace,
        transposed: &Transposed,
        scratch: &mut Scratch,
        grad: &mut [f32],
        dparameters: &mut [f32],
    ) {
        let (d, h) = (self.dim, self.hidden);
        let rows = x.len() / d;
        let [dgain, dbias, dup, dup_bias, ddown, ddown_bias] = split_mut(dparameters, sizes(d, h));
        let (active, slope) = (&trace.active[..rows * h], &trace.slope[..rows * h]);
        let buffer = sized(&mut scratch.dout, rows * d);
        buffer.copy_from_slice(grad);
        dropout.apply(first_row * d, buffer);
        add_columns(buffer, ddown_bias);
        let dout = Matrix::new(buffer, rows, d);
        let dinner = sized(&mut scratch.dinner, rows * h);
        let weight = Matrix::new(&transposed.down, d, h);
        matmul(MatrixMut::new(dinner, rows, h), Write::Replace, 1.0, dout, weight);
        matmul(MatrixMut::new(ddown, h, d), Write::Add, 1.0, Matrix::new(active, rows, h).t(), dout);
        simd(
            #[inline(always)]
            || {
                for (dinner, slope) in dinner.chunks_exact_mut(h).zip(slope.chunks_exact(h)) {
                    for ((dinner, &slope), sum) in dinner.iter_mut().zip(slope).zip(&mut *dup_bias) {
                        *dinner *= slope;
                        *sum += *dinner;
                    }
                }
            },
        );
        let normal = Matrix::new(&trace.normal[..rows * d], rows, d);
        let dinner = Matrix::new(dinner, rows, h);
        matmul(MatrixMut::new(dup, d, h), Write::Add, 1.0, normal.t(), dinner);
        let dnormal = buffer;
        let weight = Matrix::new(&transposed.up, h, d);
        matmul(MatrixMut::new(dnormal, rows, d), Write::Replace, 1.0, dinner, weight);
        layer_norm_backward(x, self.gain, dnormal, grad, dgain, dbias);
    }
}
