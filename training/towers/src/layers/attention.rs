//! Self-attention as a layer.

use std::{ops::Range, sync::Arc};

use candle_core::Result;
use rayon::prelude::*;

use super::{Layer, Step, Trace, add_up};
use crate::{Dropout, Sequences, kernels::attention as kernel};

/// `y = x + drop(attention(norm(x)))` over each sequence by itself; rows × dim.
pub(crate) struct SelfAttention {
    pub(crate) sequences: Arc<Sequences>,
    pub(crate) dim: usize,
    pub(crate) heads: usize,
    pub(crate) dropout: Dropout,
}

impl Layer for SelfAttention {
    fn parameters(&self) -> usize {
        kernel::SelfAttention::size(self.dim)
    }

    fn forward(&self, parameters: &[f32], x: &[f32]) -> Result<(Vec<f32>, Trace)> {
        let (sequences, d) = (&self.sequences, self.dim);
        sequences.check(x.len() / d)?;
        let layer = kernel::SelfAttention::new(parameters, d, self.heads);
        let (mut qkv, mut mixed, mut y) = (vec![0.0; 3 * x.len()], vec![0.0; x.len()], vec![0.0; x.len()]);
        let shards = sequences.shards();
        let parts = sequences.split_mut(&shards, 3 * d, &mut qkv).into_par_iter();
        let parts = parts.zip(sequences.split_mut(&shards, d, &mut mixed));
        let parts = parts.zip(sequences.split_mut(&shards, d, &mut y));
        shards.par_iter().zip(parts).for_each(|(shard, ((qkv, mixed), y))| {
            let rows = sequences.shard_rows(shard);
            let x = &x[rows.start * d..rows.end * d];
            layer.forward(x, sequences.lengths(shard), rows.start, self.dropout, (qkv, mixed), y);
        });
        Ok((y, [qkv, mixed]))
    }

    fn backward(&self, step: Step<'_>, dy: Vec<f32>, dparameters: &mut [f32]) -> Vec<f32> {
        let (sequences, d) = (&self.sequences, self.dim);
        let layer = kernel::SelfAttention::new(step.parameters, d, self.heads);
        let [qkv, mixed] = step.trace;
        let mut dx = vec![0.0; dy.len()];
        let shards = sequences.shards();
        let parts = shards.par_iter().zip(sequences.split_mut(&shards, d, &mut dx));
        let gradient = |(shard, dx): (&Range<usize>, &mut [f32])| {
            let rows = sequences.shard_rows(shard);
            let part = |width: usize| rows.start * width..rows.end * width;
            let pass = kernel::Pass {
                x: &step.x[part(d)],
                qkv: &qkv[part(3 * d)],
                mixed: &mixed[part(d)],
                first_row: rows.start,
                dropout: self.dropout,
            };
            let mut dparameters = vec![0.0; step.parameters.len()];
            layer.backward(pass, sequences.lengths(shard), &dy[part(d)], dx, &mut dparameters);
            dparameters
        };
        add_up(parts.map(gradient).collect(), dparameters);
        dx
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device, Tensor};

    use super::*;
    use crate::layers::{
        LayerNorm, chain,
        check::{layer_agrees, var},
    };

    #[test]
    fn self_attention_agrees_with_its_equation() {
        let (d, heads, width) = (8, 2, 4);
        let sequences = Arc::new(Sequences::from_lengths([3, 1, 170, 2, 60]));
        let n = sequences.total();
        let (x, parameters) = (var(1, (n, d)), var(2, 2 * d + 3 * d * d + 3 * d + d * d + d));
        for dropout in [Dropout::NONE, Dropout::new(0.4, 3)] {
            let factors: Vec<f32> = (0..(n * d) as u32).map(|place| dropout.factor(place)).collect();
            let factors = Tensor::from_vec(factors, (n, d), &Device::Cpu).unwrap();
            let plain = |x: &Tensor, parameters: &Tensor| -> Result<Tensor> {
                let mut start = 0;
                let mut take = |size: usize| {
                    start += size;
                    parameters.narrow(0, start - size, size)
                };
                let (norm, qkv, qkv_bias) =
                    (take(2 * d)?, take(3 * d * d)?.reshape((d, 3 * d))?, take(3 * d)?);
                let (out, out_bias) = (take(d * d)?.reshape((d, d))?, take(d)?);
                let qkv = chain(x, &norm, vec![Box::new(LayerNorm { dim: d })])?
                    .matmul(&qkv)?
                    .broadcast_add(&qkv_bias)?;
                let mut mixed = Vec::new();
                for sequence in 0..sequences.len() {
                    let rows = sequences.rows(sequence);
                    let qkv = qkv.narrow(0, rows.start, rows.len())?;
                    let mut outputs = Vec::new();
                    for head in 0..heads {
                        let part = |part: usize| qkv.narrow(1, part * d + head * width, width)?.contiguous();
                        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
                        let scores = (q.matmul(&k.t()?)? / (width as f64).sqrt())?;
                        let mask: Vec<f32> = (0..rows.len() * rows.len())
                            .map(|i| if i % rows.len() <= i / rows.len() { 0.0 } else { -1e9 })
                            .collect();
                        let mask = Tensor::from_vec(mask, (rows.len(), rows.len()), &Device::Cpu)?;
                        outputs.push(candle_nn::ops::softmax(&(scores + mask)?, D::Minus1)?.matmul(&v)?);
                    }
                    mixed.push(Tensor::cat(&outputs, 1)?);
                }
                let y = Tensor::cat(&mixed, 0)?.matmul(&out)?.broadcast_add(&out_bias)?;
                x + (y * &factors)?
            };
            let layer = || SelfAttention { sequences: sequences.clone(), dim: d, heads, dropout };
            layer_agrees(&x, &parameters, 2e-5, layer, plain);
        }
    }
}
