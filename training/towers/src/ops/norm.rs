//! Layer norm and unit rows as ops.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{output, read, shard_rows, tensor, total, values};
use crate::kernels::norm;

/// `x` (n × d) with each row normalised, times gain plus bias; `parameters` are the gain, then the bias.
pub(crate) fn layer_norm(x: &Tensor, parameters: &Tensor) -> Result<Tensor> {
    x.apply_op2(parameters, LayerNorm)
}

struct LayerNorm;

impl CustomOp2 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
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
        let (gain, bias) = values(parameters, parameters_layout)?.split_at(d);
        let mut out = vec![0.0; n * d];
        let length = shard_rows(n) * d;
        let shards = x.par_chunks(length).zip(out.par_chunks_mut(length));
        shards.for_each(|(x, out)| norm::layer_norm(x, gain, bias, out));
        output(out, (n, d))
    }

    fn bwd(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (n, d) = x.dims2()?;
        let mut dx = vec![0.0; n * d];
        let length = shard_rows(n) * d;
        let partial: Vec<Vec<f32>> = {
            let (x, parameters, grad) = (read(x)?, read(parameters)?, read(&grad)?);
            let shards = x.par_chunks(length).zip(grad.par_chunks(length)).zip(dx.par_chunks_mut(length));
            let shard = |((x, grad), dx): ((&[f32], &[f32]), &mut [f32])| {
                let mut dparameters = vec![0.0; 2 * d];
                let (dgain, dbias) = dparameters.split_at_mut(d);
                norm::layer_norm_backward(x, &parameters[..d], grad, dx, dgain, dbias);
                dparameters
            };
            shards.map(shard).collect()
        };
        Ok((Some(tensor(dx, x)?), Some(tensor(total(partial), parameters)?)))
    }
}

/// `x / |x|`, row by row.
pub(crate) fn unit_rows(x: &Tensor) -> Result<Tensor> {
    x.apply_op1(UnitRows)
}

struct UnitRows;

impl CustomOp1 for UnitRows {
    fn name(&self) -> &'static str {
        "unit-rows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, d) = layout.shape().dims2()?;
        let x = values(x, layout)?;
        let mut out = vec![0.0; n * d];
        let length = shard_rows(n) * d;
        let shards = x.par_chunks(length).zip(out.par_chunks_mut(length));
        shards.for_each(|(x, out)| norm::unit_rows(x, d, out));
        output(out, (n, d))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let (n, d) = x.dims2()?;
        let mut dx = vec![0.0; n * d];
        let length = shard_rows(n) * d;
        {
            let (x, grad) = (read(x)?, read(&grad)?);
            let shards = x.par_chunks(length).zip(grad.par_chunks(length)).zip(dx.par_chunks_mut(length));
            shards.for_each(|((x, grad), dx)| norm::unit_rows_backward(x, d, grad, dx));
        }
        Ok(Some(tensor(dx, x)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::D;

    use super::*;
    use crate::ops::check::{agree, var};

    pub(crate) fn plain_layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        centred.broadcast_div(&(variance + 1e-5)?.sqrt()?)?.broadcast_mul(gain)?.broadcast_add(bias)
    }

    #[test]
    fn layer_norm_agrees_with_its_equation() {
        for d in [5, 64] {
            let (x, parameters) = (var(1, (300, d)), var(2, 2 * d));
            agree(&[&x, &parameters], 2e-5, |v| layer_norm(v[0], v[1]), |v| {
                plain_layer_norm(v[0], &v[1].narrow(0, 0, d)?, &v[1].narrow(0, d, d)?)
            });
        }
    }

    #[test]
    fn unit_rows_agree_with_their_equation() {
        let x = var(1, (300, 7));
        agree(&[&x], 2e-5, |v| unit_rows(v[0]), |v| {
            v[0].broadcast_div(&(v[0].sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?)
        });
    }
}
