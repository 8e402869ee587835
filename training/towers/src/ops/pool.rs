//! Pooling as an op.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{output, read, tensor, values};
use crate::{Sequences, kernels::pool::Pool};

/// Each row's mean over the rows of its sequence that it sees.
pub(crate) fn pool(x: &Tensor, sequences: Arc<Sequences>, pool: Pool) -> Result<Tensor> {
    x.apply_op1(PoolOp { sequences, pool })
}

struct PoolOp {
    sequences: Arc<Sequences>,
    pool: Pool,
}

impl PoolOp {
    fn apply(&self, x: &[f32], d: usize, run: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
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

impl CustomOp1 for PoolOp {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, d) = layout.shape().dims2()?;
        self.sequences.check(n)?;
        output(self.apply(values(x, layout)?, d, |x, y| self.pool.forward(x, d, y)), (n, d))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let d = x.dim(1)?;
        let dx = self.apply(&read(&grad)?, d, |grad, dx| self.pool.backward(grad, d, dx));
        Ok(Some(tensor(dx, x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{agree, var};

    #[test]
    fn pools_agree_with_their_matrices() {
        let sequences = Arc::new(Sequences::from_lengths([3, 1, 170, 2, 90]));
        let n = sequences.total();
        for kind in [Pool::Prefix, Pool::Others] {
            let mut matrix = vec![0f32; n * n];
            for sequence in 0..sequences.len() {
                let rows = sequences.rows(sequence);
                for t in rows.clone() {
                    let seen = |s: usize| match kind {
                        Pool::Prefix => s <= t,
                        Pool::Others => s != t || rows.len() == 1,
                    };
                    let count = rows.clone().filter(|&s| seen(s)).count();
                    for s in rows.clone().filter(|&s| seen(s)) {
                        matrix[t * n + s] = 1.0 / count as f32;
                    }
                }
            }
            let matrix = Tensor::from_vec(matrix, (n, n), &candle_core::Device::Cpu).unwrap();
            let x = var(1, (n, 5));
            agree(&[&x], 2e-5, |v| pool(v[0], sequences.clone(), kind), |v| matrix.matmul(v[0]));
        }
    }
}
