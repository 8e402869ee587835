//! The feed-forward layer as a layer.

use candle_core::Result;
use rayon::prelude::*;

use super::{Layer, Step, Trace, add_up, shard_rows};
use crate::{Dropout, kernels::feed_forward as kernel};

/// `y = x + drop(drop(GELU(norm(x) W_1 + b_1)) W_2 + b_2)`; rows × dim.
#[derive(Clone, Copy)]
pub(crate) struct FeedForward {
    pub(crate) dim: usize,
    pub(crate) hidden: usize,
    pub(crate) dropout: Dropout,
}

impl Layer for FeedForward {
    fn parameters(&self) -> usize {
        kernel::FeedForward::size(self.dim, self.hidden)
    }

    fn forward(&self, parameters: &[f32], x: &[f32]) -> Result<(Vec<f32>, Trace)> {
        let Self { dim, hidden, dropout } = *self;
        let n = x.len() / dim;
        let layer = kernel::FeedForward::new(parameters, dim, hidden);
        let (mut inner, mut y) = (vec![0.0; n * hidden], vec![0.0; x.len()]);
        let rows = shard_rows(n);
        let shards = x.par_chunks(rows * dim).zip(inner.par_chunks_mut(rows * hidden));
        let shards = shards.zip(y.par_chunks_mut(rows * dim)).enumerate();
        shards.for_each(|(shard, ((x, inner), y))| layer.forward(x, shard * rows, dropout, inner, y));
        Ok((y, [inner, Vec::new()]))
    }

    fn backward(&self, step: Step<'_>, dy: Vec<f32>, dparameters: &mut [f32]) -> Vec<f32> {
        let Self { dim, hidden, dropout } = *self;
        let layer = kernel::FeedForward::new(step.parameters, dim, hidden);
        let mut dx = vec![0.0; dy.len()];
        let rows = shard_rows(dy.len() / dim);
        let shards = step.x.par_chunks(rows * dim).zip(step.trace[0].par_chunks(rows * hidden));
        let shards = shards.zip(dy.par_chunks(rows * dim)).zip(dx.par_chunks_mut(rows * dim)).enumerate();
        let partial = shards.map(|(shard, (((x, inner), dy), dx))| {
            let pass = kernel::Pass { x, inner, first_row: shard * rows, dropout };
            let mut dparameters = vec![0.0; step.parameters.len()];
            layer.backward(pass, dy, dx, &mut dparameters);
            dparameters
        });
        add_up(partial.collect(), dparameters);
        dx
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::layers::{
        LayerNorm, chain,
        check::{layer_agrees, var},
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
                let inner = chain(x, &norm, vec![Box::new(LayerNorm { dim: d })])?
                    .matmul(&up)?
                    .broadcast_add(&up_bias)?
                    .gelu()?;
                let y = (inner * &inner_factors)?.matmul(&down)?.broadcast_add(&down_bias)?;
                x + (y * &factors)?
            };
            layer_agrees(&x, &parameters, 5e-5, || FeedForward { dim: d, hidden: h, dropout }, plain);
        }
    }
}
