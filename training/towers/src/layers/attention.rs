//! Self-attention as an op.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{output, read, tensor, total, values};
use crate::{
    Dropout, Sequences,
    kernels::attention::{SelfAttention, Trace},
};

/// `x + drop(attention(norm(x)))` over each sequence by itself; `x`: rows × dim.
pub(crate) fn self_attention(
    x: &Tensor,
    parameters: &Tensor,
    sequences: Arc<Sequences>,
    heads: usize,
    dropout: Dropout,
) -> Result<Tensor> {
    x.apply_op2(parameters, Attention { sequences, heads, dropout, trace: OnceLock::new() })
}

struct Attention {
    sequences: Arc<Sequences>,
    heads: usize,
    dropout: Dropout,
    /// Queries, keys and values; and the heads' outputs: kept by the forward pass for the backward pass.
    trace: OnceLock<(Vec<f32>, Vec<f32>)>,
}

impl CustomOp2 for Attention {
    fn name(&self) -> &'static str {
        "self-attention"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        parameters: &CpuStorage,
        parameters_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, d) = x_layout.shape().dims2()?;
        let sequences = &self.sequences;
        sequences.check(n)?;
        let x = values(x, x_layout)?;
        let layer = SelfAttention::new(values(parameters, parameters_layout)?, d, self.heads);
        let (mut qkv, mut mixed, mut y) = (vec![0.0; n * 3 * d], vec![0.0; n * d], vec![0.0; n * d]);
        let shards = sequences.shards();
        let parts = sequences.split_mut(&shards, 3 * d, &mut qkv).into_par_iter();
        let parts = parts.zip(sequences.split_mut(&shards, d, &mut mixed));
        let parts = parts.zip(sequences.split_mut(&shards, d, &mut y));
        shards.par_iter().zip(parts).for_each(|(shard, ((qkv, mixed), y))| {
            let rows = sequences.shard_rows(shard);
            let x = &x[rows.start * d..rows.end * d];
            layer.forward(x, sequences.lengths(shard), rows.start, self.dropout, (qkv, mixed), y);
        });
        let _ = self.trace.set((qkv, mixed));
        output(y, (n, d))
    }

    fn bwd(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some((qkv, mixed)) = self.trace.get() else { candle_core::bail!("backward before forward") };
        let grad = grad.contiguous()?;
        let (n, d) = x.dims2()?;
        let sequences = &self.sequences;
        let shards = sequences.shards();
        let mut dx = vec![0.0; n * d];
        let partial: Vec<Vec<f32>> = {
            let (x, parameters, grad) = (read(x)?, read(parameters)?, read(&grad)?);
            let layer = SelfAttention::new(&parameters, d, self.heads);
            let parts = shards.par_iter().zip(sequences.split_mut(&shards, d, &mut dx));
            let gradient = |(shard, dx): (&std::ops::Range<usize>, &mut [f32])| {
                let rows = sequences.shard_rows(shard);
                let part = |width: usize| rows.start * width..rows.end * width;
                let mut dparameters = vec![0.0; parameters.len()];
                let trace = Trace { qkv: &qkv[part(3 * d)], mixed: &mixed[part(d)] };
                layer.backward(
                    &x[part(d)],
                    sequences.lengths(shard),
                    rows.start,
                    self.dropout,
                    trace,
                    &grad[part(d)],
                    (dx, &mut dparameters),
                );
                dparameters
            };
            parts.map(gradient).collect()
        };
        Ok((Some(tensor(dx, x)?), Some(tensor(total(partial), parameters)?)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device};

    use super::*;
    use crate::ops::{
        check::{agree, var},
        layer_norm,
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
                let (norm, qkv, qkv_bias) = (take(2 * d)?, take(3 * d * d)?.reshape((d, 3 * d))?, take(3 * d)?);
                let (out, out_bias) = (take(d * d)?.reshape((d, d))?, take(d)?);
                let qkv = layer_norm(x, &norm)?.matmul(&qkv)?.broadcast_add(&qkv_bias)?;
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
            agree(
                &[&x, &parameters],
                2e-5,
                |v| self_attention(v[0], v[1], sequences.clone(), heads, dropout),
                |v| plain(v[0], v[1]),
            );
        }
    }
}
