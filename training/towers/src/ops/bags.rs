//! Lookups and dropout as ops.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{output, read, shard_rows, tensor, values};
use crate::{Dropout, kernels::bags::Bags};

/// Bag o of `x` (inputs × d): `Σ weight · x[row]`; bags × d.
pub(crate) fn sum_bags(x: &Tensor, bags: Arc<Bags>) -> Result<Tensor> {
    x.apply_op1(SumBags(bags))
}

struct SumBags(Arc<Bags>);

fn apply(bags: &Bags, x: &[f32], d: usize) -> Vec<f32> {
    let mut out = vec![0.0; bags.len() * d];
    let rows = shard_rows(bags.len());
    out.par_chunks_mut(rows * d).enumerate().for_each(|(shard, out)| bags.apply(x, d, shard * rows, out));
    out
}

impl CustomOp1 for SumBags {
    fn name(&self) -> &'static str {
        "sum-bags"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, d) = layout.shape().dims2()?;
        if rows != self.0.inputs() {
            candle_core::bail!("bags over {} rows, applied to {rows}", self.0.inputs());
        }
        output(apply(&self.0, values(storage, layout)?, d), (self.0.len(), d))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let dx = apply(&self.0.transpose(), &read(&grad)?, x.dim(1)?);
        Ok(Some(tensor(dx, x)?))
    }
}

/// `drop(x)`.
pub(crate) fn dropped(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    if dropout.is_none() { Ok(x.clone()) } else { x.apply_op1(Dropped(dropout)) }
}

struct Dropped(Dropout);

impl Dropped {
    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut out = x.to_vec();
        let length = shard_rows(x.len());
        let shards = out.par_chunks_mut(length).enumerate();
        shards.for_each(|(shard, out)| self.0.apply(shard * length, out));
        out
    }
}

impl CustomOp1 for Dropped {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        output(self.apply(values(storage, layout)?), layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let dx = self.apply(&read(&grad)?);
        Ok(Some(tensor(dx, x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{agree, var};

    #[test]
    fn sums_of_bags_are_a_product_with_a_sparse_matrix() {
        let (inputs, n, d) = (40, 500, 6);
        let mut bags = Bags::new(inputs);
        let mut dense = vec![0f32; n * inputs];
        for bag in 0..n as u64 {
            for entry in 0..bag % 4 {
                let row = crate::mix(bag << 8 | entry) % inputs as u64;
                bags.add(row as u32, 0.5 + entry as f32);
                dense[bag as usize * inputs + row as usize] += 0.5 + entry as f32;
            }
            bags.close();
        }
        let matrix = Tensor::from_vec(dense, (n, inputs), &candle_core::Device::Cpu).unwrap();
        let bags = Arc::new(bags);
        let x = var(1, (inputs, d));
        agree(&[&x], 1e-5, |v| sum_bags(v[0], bags.clone()), |v| matrix.matmul(v[0]));
    }

    #[test]
    fn dropout_is_a_product_with_its_factors() {
        let dropout = Dropout::new(0.3, 5);
        let x = var(1, (300, 7));
        let factors: Vec<f32> = (0..300 * 7).map(|place| dropout.factor(place)).collect();
        let factors = Tensor::from_vec(factors, (300, 7), &candle_core::Device::Cpu).unwrap();
        agree(&[&x], 0.0, |v| dropped(v[0], dropout), |v| v[0].as_tensor() * &factors);
    }
}
