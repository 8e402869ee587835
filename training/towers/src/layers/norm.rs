//! Layer norm and unit rows as layers.

use candle_core::Result;
use rayon::prelude::*;

use super::{Layer, Step, Trace, add_up, shard_rows};
use crate::kernels::norm;

/// Each row normalised, times gain plus bias; the parameters are the gain, then the bias.
pub(crate) struct LayerNorm {
    pub(crate) dim: usize,
}

impl Layer for LayerNorm {
    fn parameters(&self) -> usize {
        2 * self.dim
    }

    fn forward(&self, parameters: &[f32], x: &[f32]) -> Result<(Vec<f32>, Trace)> {
        let (gain, bias) = parameters.split_at(self.dim);
        let mut y = vec![0.0; x.len()];
        let length = shard_rows(x.len() / self.dim) * self.dim;
        let shards = x.par_chunks(length).zip(y.par_chunks_mut(length));
        shards.for_each(|(x, y)| norm::layer_norm(x, gain, bias, y));
        Ok((y, Trace::default()))
    }

    fn backward(&self, step: Step<'_>, dy: Vec<f32>, dparameters: &mut [f32]) -> Vec<f32> {
        let d = self.dim;
        let mut dx = vec![0.0; dy.len()];
        let length = shard_rows(dy.len() / d) * d;
        let shards = step.x.par_chunks(length).zip(dy.par_chunks(length)).zip(dx.par_chunks_mut(length));
        let gradient = |((x, dy), dx): ((&[f32], &[f32]), &mut [f32])| {
            let mut dparameters = vec![0.0; 2 * d];
            let (dgain, dbias) = dparameters.split_at_mut(d);
            norm::layer_norm_backward(x, &step.parameters[..d], dy, dx, dgain, dbias);
            dparameters
        };
        add_up(shards.map(gradient).collect(), dparameters);
        dx
    }
}

/// `y = x / |x|`, row by row.
pub(crate) struct UnitRows {
    pub(crate) dim: usize,
}

impl Layer for UnitRows {
    fn forward(&self, _: &[f32], x: &[f32]) -> Result<(Vec<f32>, Trace)> {
        let mut y = vec![0.0; x.len()];
        let length = shard_rows(x.len() / self.dim) * self.dim;
        let shards = x.par_chunks(length).zip(y.par_chunks_mut(length));
        shards.for_each(|(x, y)| norm::unit_rows(x, self.dim, y));
        Ok((y, Trace::default()))
    }

    fn backward(&self, step: Step<'_>, dy: Vec<f32>, _: &mut [f32]) -> Vec<f32> {
        let mut dx = vec![0.0; dy.len()];
        let length = shard_rows(dy.len() / self.dim) * self.dim;
        let shards = step.x.par_chunks(length).zip(dy.par_chunks(length)).zip(dx.par_chunks_mut(length));
        shards.for_each(|((x, dy), dx)| norm::unit_rows_backward(x, self.dim, dy, dx));
        dx
    }
}

#[cfg(test)]
mod tests {
    use candle_core::D;

    use super::*;
    use crate::layers::check::{layer_agrees, var};

    #[test]
    fn layer_norm_agrees_with_its_equation() {
        for d in [5, 64] {
            layer_agrees(
                &var(1, (300, d)),
                &var(2, 2 * d),
                2e-5,
                || LayerNorm { dim: d },
                |x, parameters| {
                    let (gain, bias) = (parameters.narrow(0, 0, d)?, parameters.narrow(0, d, d)?);
                    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
                    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
                    centred
                        .broadcast_div(&(variance + 1e-5)?.sqrt()?)?
                        .broadcast_mul(&gain)?
                        .broadcast_add(&bias)
                },
            );
        }
    }

    #[test]
    fn unit_rows_agree_with_their_equation() {
        layer_agrees(
            &var(1, (300, 7)),
            &var(2, 0),
            2e-5,
            || UnitRows { dim: 7 },
            |x, _| x.broadcast_div(&(x.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?),
        );
    }
}
