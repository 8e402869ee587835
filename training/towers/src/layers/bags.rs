//! Lookups as layers.

use candle_core::Result;
use rayon::prelude::*;

use super::{Layer, Step, Trace, shard_rows};
use crate::kernels::bags::Bags;

/// Bag o of `x`: `Σ weight · x[row]`; inputs × dim → bags × dim.
pub(crate) struct SumBags {
    pub(crate) bags: Bags,
    pub(crate) dim: usize,
}

/// `x + bags of the parameters` (inputs × dim): embeddings that are parameters.
pub(crate) struct AddBags {
    pub(crate) bags: Bags,
    pub(crate) dim: usize,
}

fn sum(bags: &Bags, x: &[f32], d: usize) -> Vec<f32> {
    let mut out = vec![0.0; bags.len() * d];
    let rows = shard_rows(bags.len());
    out.par_chunks_mut(rows * d).enumerate().for_each(|(shard, out)| bags.apply(x, d, shard * rows, out));
    out
}

impl Layer for SumBags {
    fn forward(&self, _: &[f32], x: &[f32]) -> Result<(Vec<f32>, Trace)> {
        if x.len() != self.bags.inputs() * self.dim {
            candle_core::bail!("bags over {} rows, applied to {}", self.bags.inputs(), x.len() / self.dim);
        }
        Ok((sum(&self.bags, x, self.dim), Trace::default()))
    }

    fn backward(&self, _: Step<'_>, dy: Vec<f32>, _: &mut [f32]) -> Vec<f32> {
        sum(&self.bags.transpose(), &dy, self.dim)
    }
}

impl Layer for AddBags {
    fn parameters(&self) -> usize {
        self.bags.inputs() * self.dim
    }

    fn forward(&self, parameters: &[f32], x: &[f32]) -> Result<(Vec<f32>, Trace)> {
        if x.len() != self.bags.len() * self.dim {
            candle_core::bail!("{} bags, added to {} rows", self.bags.len(), x.len() / self.dim);
        }
        let mut y = sum(&self.bags, parameters, self.dim);
        y.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
        Ok((y, Trace::default()))
    }

    fn backward(&self, _: Step<'_>, dy: Vec<f32>, dparameters: &mut [f32]) -> Vec<f32> {
        let gradient = sum(&self.bags.transpose(), &dy, self.dim);
        dparameters.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
        dy
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::layers::check::{layer_agrees, var};

    /// Some bags, and the matrix that they are.
    fn bags(inputs: usize, n: usize) -> (Bags, Tensor) {
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
        (bags, Tensor::from_vec(dense, (n, inputs), &Device::Cpu).unwrap())
    }

    #[test]
    fn sums_of_bags_are_a_product_with_a_sparse_matrix() {
        let (bags, matrix) = bags(40, 500);
        let (x, none) = (var(1, (40, 6)), var(2, 0));
        layer_agrees(&x, &none, 1e-5, || SumBags { bags: bags.clone(), dim: 6 }, |x, _| matrix.matmul(x));
    }

    #[test]
    fn bags_of_parameters_are_added() {
        let (bags, matrix) = bags(40, 500);
        let (x, parameters) = (var(1, (500, 6)), var(2, 40 * 6));
        let layer = || AddBags { bags: bags.clone(), dim: 6 };
        layer_agrees(&x, &parameters, 1e-5, layer, |x, p| x + matrix.matmul(&p.reshape((40, 6))?)?);
    }
}
