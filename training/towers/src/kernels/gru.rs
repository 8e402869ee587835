//! A gated recurrent unit over ragged sequences, with its norm and its residual.

use super::{
    attention::{add_bias, add_columns},
    dropout::Dropout,
    math::sigmoid,
    matmul::{Matrix, MatrixMut, Write, matmul},
    norm::{layer_norm, layer_norm_backward},
    simd, sized,
    transpose::transpose,
};
use crate::parameters::{Init, Spec, split, split_mut};

/// `y = x + drop(h)` where, along each sequence and from h = 0 on, with u = norm(x) (Cho et al. 2014, arXiv:1406.1078; the
/// reset after the product, as cuDNN has it):
///
/// ```text
/// r = σ(u W_r + b_r + h′ U_r)      z = σ(u W_z + b_z + h′ U_z)
/// n = tanh(u W_n + b_n + r · m)    m = h′ U_n + c           h = (1 − z) · n + z · h′
/// ```
pub(crate) struct Gru<'a> {
    dim: usize,
    gain: &'a [f32],
    bias: &'a [f32],
    /// dim × 3 dim: W_r, W_z, W_n side by side, and their biases.
    input: &'a [f32],
    input_bias: &'a [f32],
    /// dim × 3 dim: U_r, U_z, U_n side by side, and c.
    recurrent: &'a [f32],
    recurrent_bias: &'a [f32],
}

/// What the backward pass reads of the forward pass. The buffers are used again and again.
#[derive(Default)]
pub(crate) struct Trace {
    /// `norm(x)`: rows × dim.
    normal: Vec<f32>,
    /// r, z, n side by side: rows × 3 dim.
    gates: Vec<f32>,
    /// m: rows × dim.
    candidates: Vec<f32>,
    /// h′, the state before each row: rows × dim.
    before: Vec<f32>,
    walk: Walk,
}

/// The matrices transposed, for the backward pass.
#[derive(Default)]
pub(crate) struct Transposed {
    input: Vec<f32>,
    recurrent: Vec<f32>,
}

/// Buffers of the backward pass, used again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    dstate: Vec<f32>,
    dgates: Vec<f32>,
    /// As `dgates`, of what comes from the state: rows × 3 dim.
    drecurrent: Vec<f32>,
    step: Vec<f32>,
    dnormal: Vec<f32>,
}

/// The sequences, longest first: those that are under way at a step are the first of them.
#[derive(Default)]
struct Walk {
    /// First row and length of each.
    sequences: Vec<(usize, usize)>,
    /// A row of each that is under way: its state, and what a step makes of it.
    state: Vec<f32>,
    step: Vec<f32>,
}

fn sizes(dim: usize) -> [usize; 6] {
    [dim, dim, 3 * dim * dim, 3 * dim, 3 * dim * dim, dim]
}

impl<'a> Gru<'a> {
    pub(crate) fn specs(dim: usize) -> Vec<Spec> {
        let spread = Init::Normal(1.0 / (dim as f32).sqrt());
        vec![
            Spec::new("norm.gain", [dim], Init::Ones),
            Spec::new("norm.bias", [dim], Init::Zeros),
            Spec::new("input.weight", [dim, 3 * dim], spread),
            Spec::new("input.bias", [3 * dim], Init::Zeros),
            Spec::new("recurrent.weight", [dim, 3 * dim], spread),
            Spec::new("recurrent.bias", [dim], Init::Zeros),
        ]
    }

    pub(crate) fn new(parameters: &'a [f32], dim: usize) -> Self {
        let [gain, bias, input, input_bias, recurrent, recurrent_bias] = split(parameters, sizes(dim));
        Self { dim, gain, bias, input, input_bias, recurrent, recurrent_bias }
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
        let d = self.dim;
        let rows = x.len() / d;
        let normal = sized(&mut trace.normal, rows * d);
        layer_norm(x, self.gain, self.bias, normal);
        let gates = sized(&mut trace.gates, rows * 3 * d);
        let weight = Matrix::new(self.input, d, 3 * d);
        matmul(MatrixMut::new(gates, rows, 3 * d), Write::Replace, 1.0, Matrix::new(normal, rows, d), weight);
        add_bias(gates, self.input_bias);
        let candidates = sized(&mut trace.candidates, rows * d);
        let before = sized(&mut trace.before, rows * d);
        let walk = &mut trace.walk;
        let steps = walk.begin(lengths);
        let state = sized(&mut walk.state, lengths.len() * d);
        state.fill(0.0);
        let weight = Matrix::new(self.recurrent, d, 3 * d);
        for step in 0..steps {
            let active = &walk.sequences[..under_way(&walk.sequences, step)];
            let state = &mut state[..active.len() * d];
            let products = sized(&mut walk.step, active.len() * 3 * d);
            let out = MatrixMut::new(products, active.len(), 3 * d);
            matmul(out, Write::Replace, 1.0, Matrix::new(state, active.len(), d), weight);
            simd(
                #[inline(always)]
                || {
                    let states = state.chunks_exact_mut(d).zip(products.chunks_exact(3 * d));
                    for (&(first, _), (state, products)) in active.iter().zip(states) {
                        let row = first + step;
                        before[row * d..][..d].copy_from_slice(state);
                        let gates = &mut gates[row * 3 * d..][..3 * d];
                        let (resets, others) = gates.split_at_mut(d);
                        let (updates, news) = others.split_at_mut(d);
                        let candidates = &mut candidates[row * d..][..d];
                        let y = &mut y[row * d..][..d];
                        for i in 0..d {
                            let reset = sigmoid(resets[i] + products[i]);
                            let update = sigmoid(updates[i] + products[d + i]);
                            let candidate = products[2 * d + i] + self.recurrent_bias[i];
                            let new = 2.0 * sigmoid(2.0 * reset.mul_add(candidate, news[i])) - 1.0;
                            let next = update.mul_add(state[i] - new, new);
                            (resets[i], updates[i], news[i]) = (reset, update, new);
                            (candidates[i], state[i], y[i]) = (candidate, next, next);
                        }
                    }
                },
            );
        }
        dropout.add_to(x, first_row * d, y);
    }

    /// The matrices that the backward pass needs the other way round.
    pub(crate) fn transpose(&self, transposed: &mut Transposed) {
        let d = self.dim;
        transpose(self.input, 3 * d, d, 3 * d, sized(&mut transposed.input, 3 * d * d), d);
        transpose(self.recurrent, 3 * d, d, 3 * d, sized(&mut transposed.recurrent, 3 * d * d), d);
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
        let d = self.dim;
        let rows = x.len() / d;
        let [dgain, dbias, dinput, dinput_bias, drecurrent, drecurrent_bias] =
            split_mut(dparameters, sizes(d));
        // What y says of each state; what the next state says is carried backwards.
        let dnormal = sized(&mut scratch.dnormal, rows * d);
        dnormal.copy_from_slice(grad);
        dropout.apply(first_row * d, dnormal);
        let dout = &*dnormal;
        let dgates = sized(&mut scratch.dgates, rows * 3 * d);
        let dproducts = sized(&mut scratch.drecurrent, rows * 3 * d);
        let sequences = &trace.walk.sequences;
        let dstate = sized(&mut scratch.dstate, sequences.len() * d);
        dstate.fill(0.0);
        let steps = sequences.first().map_or(0, |&(_, length)| length);
        let weight = Matrix::new(&transposed.recurrent, 3 * d, d);
        for step in (0..steps).rev() {
            let active = &sequences[..under_way(sequences, step)];
            let dstate = &mut dstate[..active.len() * d];
            let own = sized(&mut scratch.step, active.len() * 3 * d);
            simd(
                #[inline(always)]
                || {
                    let carried = dstate.chunks_exact_mut(d).zip(own.chunks_exact_mut(3 * d));
                    for (&(first, _), (dstate, own)) in active.iter().zip(carried) {
                        let row = first + step;
                        let gates = &trace.gates[row * 3 * d..][..3 * d];
                        let candidates = &trace.candidates[row * d..][..d];
                        let before = &trace.before[row * d..][..d];
                        let dgates = &mut dgates[row * 3 * d..][..3 * d];
                        let dout = &dout[row * d..][..d];
                        for i in 0..d {
                            let (reset, update, new) = (gates[i], gates[d + i], gates[2 * d + i]);
                            let dh = dout[i] + dstate[i];
                            let dnew = dh * (1.0 - update) * (1.0 - new * new);
                            let dupdate = dh * (before[i] - new) * update * (1.0 - update);
                            let dreset = dnew * candidates[i] * reset * (1.0 - reset);
                            (dgates[i], dgates[d + i], dgates[2 * d + i]) = (dreset, dupdate, dnew);
                            (own[i], own[d + i], own[2 * d + i]) = (dreset, dupdate, dnew * reset);
                            dstate[i] = dh * update;
                        }
                        let dproducts = &mut dproducts[row * 3 * d..][..3 * d];
                        dproducts.copy_from_slice(own);
                    }
                },
            );
            let out = MatrixMut::new(dstate, active.len(), d);
            matmul(out, Write::Add, 1.0, Matrix::new(own, active.len(), 3 * d), weight);
        }
        let sums = sized(&mut scratch.step, 3 * d);
        sums.fill(0.0);
        add_columns(dproducts, sums);
        drecurrent_bias.iter_mut().zip(&sums[2 * d..]).for_each(|(sum, part)| *sum += part);
        let before = Matrix::new(&trace.before[..rows * d], rows, d);
        let dproducts = Matrix::new(dproducts, rows, 3 * d);
        matmul(MatrixMut::new(drecurrent, d, 3 * d), Write::Add, 1.0, before.t(), dproducts);
        add_columns(dgates, dinput_bias);
        let (normal, dgates) =
            (Matrix::new(&trace.normal[..rows * d], rows, d), Matrix::new(dgates, rows, 3 * d));
        matmul(MatrixMut::new(dinput, d, 3 * d), Write::Add, 1.0, normal.t(), dgates);
        let weight = Matrix::new(&transposed.input, 3 * d, d);
        matmul(MatrixMut::new(dnormal, rows, d), Write::Replace, 1.0, dgates, weight);
        layer_norm_backward(x, self.gain, dnormal, grad, dgain, dbias);
    }
}

impl Walk {
    /// Takes the sequences of these lengths; the steps that the longest has.
    fn begin(&mut self, lengths: &[u32]) -> usize {
        self.sequences.clear();
        let mut start = 0;
        self.sequences.extend(lengths.iter().map(|&length| {
            start += length as usize;
            (start - length as usize, length as usize)
        }));
        self.sequences.sort_by_key(|&(_, length)| std::cmp::Reverse(length));
        self.sequences.first().map_or(0, |&(_, length)| length)
    }
}

/// How many of the sequences have a row at this step.
fn under_way(sequences: &[(usize, usize)], step: usize) -> usize {
    sequences.partition_point(|&(_, length)| length > step)
}
