//! The feed-forward layer as an op.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{output, read, shard_rows, tensor, total, values};
use crate::{Dropout, kernels::feed_forward::FeedForward as Layer};

/// `x + drop(drop(GELU(norm(x) W_1 + b_1)) W_2 + b_2)`; `x`: rows × dim.
pub(crate) fn feed_forward(x: &Tensor, parameters: &Tensor, hidden: usize, dropout: Dropout) -> Result<Tensor> {
    x.apply_op2(parameters, FeedForward { hidden, dropout, inner: OnceLock::new() })
}

struct FeedForward {
    hidden: usize,
    dropout: Dropout,
    /// `norm(x) W_1 + b_1`: kept by the forward pass for the backward pass.
    inner: OnceLock<Vec<f32>>,
}

impl CustomOp2 for FeedForward {
    fn name(&self) -> &'static str {
        "feed-forward"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        parameters: &CpuStorage,
        parameters_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, d) = x_layout.shape().dims2()?;
        let x = values(x, x_layout)?;
        let layer = Layer::new(values(parameters, parameters_layout)?, d, self.hidden);
        let (mut inner, mut y) = (vec![0.0; n * self.hidden], vec![0.0; n * d]);
        let rows = shard_rows(n);
        let shards = x.par_chunks(rows * d).zip(inner.par_chunks_mut(rows * self.hidden));
        let shards = shards.zip(y.par_chunks_mut(rows * d)).enumerate();
        shards.for_each(|(shard, ((x, inner), y))| layer.forward(x, shard * rows, self.dropout, inner, y));
        let _ = self.inner.set(inner);
        output(y, (n, d))
    }

    fn bwd(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(inner) = self.inner.get() else { candle_core::bail!("backward before forward") };
        let grad = grad.contiguous()?;
        let (n, d) = x.dims2()?;
        let mut dx = vec![0.0; n * d];
        let partial: Vec<Vec<f32>> = {
            let (x, parameters, grad) = (read(x)?, read(parameters)?, read(&grad)?);
            let layer = Layer::new(&parameters, d, self.hidden);
            let rows = shard_rows(n);
            let shards = x.par_chunks(rows * d).zip(inner.par_chunks(rows * self.hidden));
            let shards = shards.zip(grad.par_chunks(rows * d)).zip(dx.par_chunks_mut(rows * d)).enumerate();
            let gradient = |(shard, (((x, inner), grad), dx)): (usize, (((&[f32], &[f32]), &[f32]), &mut [f32]))| {
                let mut dparameters = vec![0.0; parameters.len()];
                layer.backward(x, shard * rows, self.dropout, inner, grad, (dx, &mut dparameters));
                dparameters
            };
            shards.map(gradient).collect()
        };
        Ok((Some(tensor(dx, x)?), Some(tensor(total(partial), parameters)?)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::ops::{
        check::{agree, var},
        layer_norm,
    };

    #[test]
    fn feed_forward_agrees_with_its_equation() {
        let (n, d, h) = (300, 6, 10);
        let (x, parameters) = (var(1, (n, d)), var(2, 2 * d + d * h + h + h * d + d));
        for dropout in [Dropout::NONE, Dropout::new(0.4, 3)] {
            let factors = |dropout: Dropout, width: usize| {
                let factors: Vec<f32> = (0..(n * width) as u32).map(|place| dropout.factor(place)).collect();
                Tensor::from_vec(factors, (n, width), &Device::Cpu).unwrap()
            };
            let (inner_factors, factors) = (factors(dropout.layer(1), h), factors(dropout, d));
            let plain = |x: &Tensor, parameters: &Tensor| -> Result<Tensor> {
                let take = |start, size| parameters.narrow(0, start, size);
                let (norm, rest) = (take(0, 2 * d)?, 2 * d);
                let (up, up_bias) = (take(rest, d * h)?.reshape((d, h))?, take(rest + d * h, h)?);
                let rest = rest + d * h + h;
                let (down, down_bias) = (take(rest, h * d)?.reshape((h, d))?, take(rest + h * d, d)?);
                let inner = layer_norm(x, &norm)?.matmul(&up)?.broadcast_add(&up_bias)?.gelu()?;
                let y = (inner * &inner_factors)?.matmul(&down)?.broadcast_add(&down_bias)?;
                x + (y * &factors)?
            };
            agree(&[&x, &parameters], 5e-5, |v| feed_forward(v[0], v[1], h, dropout), |v| plain(v[0], v[1]));
        }
    }
}
