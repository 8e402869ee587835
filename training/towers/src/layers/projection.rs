//! A projection of constants as a layer.

use candle_core::Result;
use rayon::prelude::*;

use super::{Layer, Step, Trace, add_up, shard_rows};
use crate::kernels::matmul::{Matrix, MatrixMut, Write, matmul};

/// `y = x + C W`, where C (rows × width) is constant and W (width × dim) are the parameters.
pub(crate) struct AddProjection {
    pub(crate) constants: Vec<f32>,
    pub(crate) width: usize,
    pub(crate) dim: usize,
}

impl Layer for AddProjection {
    fn parameters(&self) -> usize {
        self.width * self.dim
    }

    fn forward(&self, parameters: &[f32], x: &[f32]) -> Result<(Vec<f32>, Trace)> {
        let Self { constants, width, dim } = self;
        if constants.len() / width != x.len() / dim {
            candle_core::bail!("{} constant rows, added to {}", constants.len() / width, x.len() / dim);
        }
        let weight = Matrix::new(parameters, *width, *dim);
        let mut y = x.to_vec();
        let rows = shard_rows(x.len() / dim);
        let shards = constants.par_chunks(rows * width).zip(y.par_chunks_mut(rows * dim));
        shards.for_each(|(constants, y)| {
            let n = y.len() / dim;
            matmul(MatrixMut::new(y, n, *dim), Write::Add, 1.0, Matrix::new(constants, n, *width), weight);
        });
        Ok((y, Trace::default()))
    }

    fn backward(&self, _: Step<'_>, dy: Vec<f32>, dparameters: &mut [f32]) -> Vec<f32> {
        let Self { constants, width, dim } = self;
        let rows = shard_rows(dy.len() / dim);
        let shards = constants.par_chunks(rows * width).zip(dy.par_chunks(rows * dim));
        let gradient = |(constants, dy): (&[f32], &[f32])| {
            let n = dy.len() / dim;
            let mut dweight = vec![0.0; width * dim];
            let (constants, dy) = (Matrix::new(constants, n, *width), Matrix::new(dy, n, *dim));
            matmul(MatrixMut::new(&mut dweight, *width, *dim), Write::Replace, 1.0, constants.t(), dy);
            dweight
        };
        add_up(shards.map(gradient).collect(), dparameters);
        dy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::check::{layer_agrees, var};

    #[test]
    fn a_projection_agrees_with_its_equation() {
        let constants = var(3, (300, 7));
        let layer = || AddProjection {
            constants: constants.flatten_all().unwrap().to_vec1().unwrap(),
            width: 7,
            dim: 5,
        };
        layer_agrees(&var(1, (300, 5)), &var(2, 7 * 5), 2e-5, layer, |x, parameters| {
            x + constants.matmul(&parameters.reshape((7, 5))?)?
        });
    }
}
