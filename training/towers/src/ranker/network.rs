//! The ranker's network: forward pass, loss, gradient.

use rayon::prelude::*;

use crate::{
    kernels::{
        attention::add_columns,
        math::sigmoid,
        matmul::{Matrix, MatrixMut, Write, matmul},
        simd,
    },
    mix,
};

/// Layers of `ReLU(x W + b)`, the last one without ReLU: a logit per head. Their parameters lie one after
/// the other: weight (inputs × outputs) and bias of the first layer, of the second …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankerNetwork {
    /// Inputs, hidden layers, outputs.
    sizes: Vec<usize>,
}

/// Rows at a time, in training and serving alike.
const CHUNK: usize = 256;

impl RankerNetwork {
    /// A network from `inputs` over `hidden` layers to `outputs` logits.
    pub fn new(inputs: usize, hidden: &[usize], outputs: usize) -> Self {
        Self { sizes: [&[inputs], hidden, &[outputs]].concat() }
    }

    /// Numbers that it consists of.
    pub fn parameters(&self) -> usize {
        self.layers().map(|(inputs, outputs)| (inputs + 1) * outputs).sum()
    }

    /// Inputs and outputs of each layer.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (usize, usize)> {
        self.sizes.windows(2).map(|pair| (pair[0], pair[1]))
    }

    pub(crate) fn inputs(&self) -> usize {
        self.sizes[0]
    }

    pub(crate) fn outputs(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }

    /// Parameters to begin with (He et al. 2015); a function of the seed. The last layer begins at zero.
    pub fn begin(&self, seed: u64) -> Vec<f32> {
        let last = self.sizes.len() - 2;
        let mut parameters = Vec::with_capacity(self.parameters());
        for (number, (inputs, outputs)) in self.layers().enumerate() {
            // Uniform numbers of the same variance do as well as normal ones.
            let width = if number == last { 0.0 } else { (6.0 / inputs as f32).sqrt() };
            let weight = (0..inputs * outputs).map(|i| {
                let bits = mix(seed ^ (number as u64) << 32 ^ i as u64) >> 40;
                (bits as f32 / (1u64 << 23) as f32 - 1.0) * width
            });
            parameters.extend(weight);
            parameters.resize(parameters.len() + outputs, 0.0);
        }
        parameters
    }

    /// Logits of `x` (n × inputs): n × outputs.
    pub(crate) fn logits(&self, parameters: &[f32], x: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(x.len() / self.inputs() * self.outputs());
        for x in x.chunks(CHUNK * self.inputs()) {
            out.append(&mut self.forward(parameters, x).pop().unwrap_or_default());
        }
        out
    }

    /// The outputs of each layer.
    fn forward(&self, mut parameters: &[f32], x: &[f32]) -> Vec<Vec<f32>> {
        let n = x.len() / self.inputs();
        let last = self.sizes.len() - 2;
        let mut outs: Vec<Vec<f32>> = Vec::with_capacity(last + 1);
        for (number, (inputs, outputs)) in self.layers().enumerate() {
            let (weight, rest) = parameters.split_at(inputs * outputs);
            let (bias, rest) = rest.split_at(outputs);
            parameters = rest;
            let mut out = bias.repeat(n);
            let x = Matrix::new(outs.last().map_or(x, Vec::as_slice), n, inputs);
            matmul(
                MatrixMut::new(&mut out, n, outputs),
                Write::Add,
                1.0,
                x,
                Matrix::new(weight, inputs, outputs),
            );
            if number != last {
                out.iter_mut().for_each(|value| *value = value.max(0.0));
            }
            outs.push(out);
        }
        outs
    }

    /// Mean binary cross-entropy, in nats, over the labels that are known (0 or 1; a NaN is unknown), and
    /// its gradient. `x`: n × inputs; `labels`: n × outputs; `weights`: a row each.
    ///
    /// ```
    /// use endcap_towers::RankerNetwork;
    /// // Logistic regression on two features: logit 0.5 · 2 − 1 · 1 + 0.5 = 0.5 for a label of 1.
    /// let network = RankerNetwork::new(2, &[], 1);
    /// let (loss, gradient) = network.gradient(&[0.5, -1.0, 0.5], &[2.0, 1.0], &[1.0], &[1.0]);
    /// assert!((loss - 0.474_077).abs() < 1e-6); // ln(1 + e^−0.5)
    /// assert!((gradient[0] + 0.755_081).abs() < 1e-6); // (σ(0.5) − 1) · 2
    /// ```
    ///
    /// # Panics
    /// When the slices do not fit the network.
    pub fn gradient(
        &self,
        parameters: &[f32],
        x: &[f32],
        labels: &[f32],
        weights: &[f32],
    ) -> (f64, Vec<f32>) {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        assert_eq!(
            (x.len(), labels.len()),
            (weights.len() * inputs, weights.len() * outputs),
            "rows of one number"
        );
        let known = |labels: &[f32]| labels.iter().filter(|label| !label.is_nan()).count() as f32;
        let rows = labels.chunks_exact(outputs).zip(weights);
        let total = rows.map(|(labels, weight)| known(labels) * weight).sum::<f32>().max(f32::MIN_POSITIVE);
        let chunks = x.par_chunks(CHUNK * inputs).zip(labels.par_chunks(CHUNK * outputs));
        let partial: Vec<(f64, Vec<f32>)> = chunks
            .zip(weights.par_chunks(CHUNK))
            .map(|((x, labels), weights)| self.chunk_gradient(parameters, x, labels, weights, 1.0 / total))
            .collect();
        // In order, so that the sum is the same on any number of threads.
        let mut sum = (0.0, vec![0.0; parameters.len()]);
        for (loss, gradient) in partial {
            sum.0 += loss;
            sum.1.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
        }
        sum
    }

    fn chunk_gradient(
        &self,
        parameters: &[f32],
        x: &[f32],
        labels: &[f32],
        weights: &[f32],
        scale: f32,
    ) -> (f64, Vec<f32>) {
        let n = weights.len();
        let mut outs = self.forward(parameters, x);
        let mut grad = outs.pop().unwrap_or_default();
        let mut loss = 0.0;
        for ((logits, labels), weight) in
            grad.chunks_exact_mut(self.outputs()).zip(labels.chunks_exact(self.outputs())).zip(weights)
        {
            for (logit, &label) in logits.iter_mut().zip(labels) {
                let share = if label.is_nan() { 0.0 } else { weight * scale };
                let z = *logit;
                // ln(1 + eᶻ) − y z, without overflow.
                let value = z.max(0.0) + (-z.abs()).exp().ln_1p() - if label > 0.5 { z } else { 0.0 };
                loss += f64::from(share * value);
                *logit = share * (sigmoid(z) - if label > 0.5 { 1.0 } else { 0.0 });
            }
        }
        let mut dparameters = vec![0.0; parameters.len()];
        let mut end = parameters.len();
        for (number, (inputs, outputs)) in self.layers().enumerate().collect::<Vec<_>>().into_iter().rev() {
            let start = end - (inputs + 1) * outputs;
            let (dweight, dbias) = dparameters[start..end].split_at_mut(inputs * outputs);
            let below = if number == 0 { x } else { &outs[number - 1] };
            let dout = Matrix::new(&grad, n, outputs);
            matmul(
                MatrixMut::new(dweight, inputs, outputs),
                Write::Replace,
                1.0,
                Matrix::new(below, n, inputs).t(),
                dout,
            );
            add_columns(&grad, dbias);
            if number > 0 {
                let weight = Matrix::new(&parameters[start..start + inputs * outputs], inputs, outputs);
                let mut dx = vec![0.0; n * inputs];
                matmul(MatrixMut::new(&mut dx, n, inputs), Write::Replace, 1.0, dout, weight.t());
                simd(
                    #[inline(always)]
                    || {
                        for (dx, &value) in dx.iter_mut().zip(below) {
                            *dx = if value > 0.0 { *dx } else { 0.0 };
                        }
                    },
                );
                grad = dx;
            }
            end = start;
        }
        (loss, dparameters)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device, Tensor, Var};

    use super::*;

    #[test]
    fn the_gradient_agrees_with_autograd() {
        let network = RankerNetwork::new(5, &[7, 4], 3);
        let n = 300;
        let random = |salt: u64, n: usize| -> Vec<f32> {
            (0..n as u64).map(|i| (mix(salt << 32 | i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
        };
        let (parameters, x) = (random(1, network.parameters()), random(2, n * 5));
        let labels: Vec<f32> = random(3, n * 3)
            .into_iter()
            .map(|u| if u < -0.8 { f32::NAN } else { f32::from(u > 0.3) })
            .collect();
        let weights: Vec<f32> = random(4, n).into_iter().map(|u| u + 1.5).collect();
        let (loss, gradient) = network.gradient(&parameters, &x, &labels, &weights);

        let var = Var::from_slice(&parameters, parameters.len(), &Device::Cpu).unwrap();
        let plain = || -> candle_core::Result<Tensor> {
            let mut h = Tensor::from_slice(&x, (n, 5), &Device::Cpu)?;
            let mut start = 0;
            for (inputs, outputs) in [(5, 7), (7, 4), (4, 3)] {
                let weight = var.narrow(0, start, inputs * outputs)?.reshape((inputs, outputs))?;
                let bias = var.narrow(0, start + inputs * outputs, outputs)?;
                h = h.matmul(&weight)?.broadcast_add(&bias)?;
                h = if outputs == 3 { h } else { h.relu()? };
                start += (inputs + 1) * outputs;
            }
            let known: Vec<f32> = labels.iter().map(|l| f32::from(!l.is_nan())).collect();
            let shares: Vec<f32> = known.iter().zip(0..).map(|(k, i)| k * weights[i / 3]).collect();
            let total: f32 = shares.iter().sum();
            let shares = Tensor::from_vec(shares, (n, 3), &Device::Cpu)?;
            let labels: Vec<f32> = labels.iter().map(|l| if l.is_nan() { 0.0 } else { *l }).collect();
            let labels = Tensor::from_vec(labels, (n, 3), &Device::Cpu)?;
            // ln(1 + eᶻ) − y z
            let loss = ((h.exp()? + 1.0)?.log()? - (h * labels)?)?;
            (loss * shares)?.sum(D::Minus1)?.sum_all()? / f64::from(total)
        };
        let plain_loss = plain().unwrap();
        let plain_gradient = plain_loss.backward().unwrap().get(&var).unwrap().to_vec1::<f32>().unwrap();
        assert!((loss - f64::from(plain_loss.to_scalar::<f32>().unwrap())).abs() < 1e-5);
        for (i, (a, b)) in gradient.iter().zip(&plain_gradient).enumerate() {
            assert!((a - b).abs() < 1e-5, "{i}: {a} ≠ {b}");
        }
        assert!(plain_gradient.iter().any(|g| g.abs() > 0.01));
    }

    #[test]
    fn a_worked_logistic_regression() {
        // z = 2 · 0.5 − 1 · 1 + 0.5 = 0.5, y = 1: loss ln(1 + e^−0.5), gradient (σ(z) − 1) · (x, 1).
        let network = RankerNetwork::new(2, &[], 1);
        let (loss, gradient) = network.gradient(&[0.5, -1.0, 0.5], &[2.0, 1.0], &[1.0], &[1.0]);
        assert!((loss - 0.474_077).abs() < 1e-6);
        let slope = -0.377_541;
        for (got, want) in gradient.iter().zip([2.0 * slope, slope, slope]) {
            assert!((got - want).abs() < 1e-6);
        }
    }
}
