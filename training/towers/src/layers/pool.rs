//! Pooling as a layer.

use std::sync::Arc;

use candle_core::Result;
use rayon::prelude::*;

use super::{Layer, Step, Trace};
use crate::{Sequences, kernels::pool::Pool};

/// Each row's mean over the rows of its sequence that it sees.
pub(crate) struct Pooled {
    pub(crate) sequences: Arc<Sequences>,
    pub(crate) pool: Pool,
    pub(crate) dim: usize,
}

impl Pooled {
    fn apply(&self, x: &[f32], run: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
        let d = self.dim;
        let mut out = vec![0.0; x.len()];
        let shards = self.sequences.shards();
        let parts = self.sequences.split_mut(&shards, d, &mut out);
        shards.par_iter().zip(parts).for_each(|(shard, mut out)| {
            for sequence in shard.clone() {
                let rows = self.sequences.rows(sequence);
                let (part, rest) = out.split_at_mut(rows.len() * d);
                run(&x[rows.start * d..rows.end * d], part);
                out = rest;
            }
        });
        out
    }
}

impl Layer for Pooled {
    fn forward(&self, _: &[f32], x: &[f32]) -> Result<(Vec<f32>, Trace)> {
        self.sequences.check(x.len() / self.dim)?;
        Ok((self.apply(x, |x, y| self.pool.forward(x, self.dim, y)), Trace::default()))
    }

    fn backward(&self, _: Step<'_>, dy: Vec<f32>, _: &mut [f32]) -> Vec<f32> {
        self.apply(&dy, |dy, dx| self.pool.backward(dy, self.dim, dx))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::layers::check::{layer_agrees, var};

    #[test]
    fn pools_agree_with_their_matrices() {
        let sequences = Arc::new(Sequences::from_lengths([3, 1, 170, 2, 90]));
        let n = sequences.total();
        for pool in [Pool::Prefix, Pool::Others] {
            let mut matrix = vec![0f32; n * n];
            for sequence in 0..sequences.len() {
                let rows = sequences.rows(sequence);
                for t in rows.clone() {
                    let seen = |s: usize| match pool {
                        Pool::Prefix => s <= t,
                        Pool::Others => s != t || rows.len() == 1,
                    };
                    let count = rows.clone().filter(|&s| seen(s)).count();
                    for s in rows.clone().filter(|&s| seen(s)) {
                        matrix[t * n + s] = 1.0 / count as f32;
                    }
                }
            }
            let matrix = Tensor::from_vec(matrix, (n, n), &Device::Cpu).unwrap();
            let layer = || Pooled { sequences: sequences.clone(), pool, dim: 5 };
            layer_agrees(&var(1, (n, 5)), &var(2, 0), 2e-5, layer, |x, _| matrix.matmul(x));
        }
    }
}
