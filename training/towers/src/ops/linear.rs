//! A projection as an op.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{output, read, shard_rows, tensor, total, values};
use crate::kernels::matmul::{Matrix, MatrixMut, Write, matmul};

/// `x W`; `x`: n × inputs, a constant, `weight`: inputs × outputs.
pub(crate) fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.apply_op2(weight, Linear)
}

struct Linear;

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((n, inputs), (rows, outputs)) = (x_layout.shape().dims2()?, weight_layout.shape().dims2()?);
        if inputs != rows {
            candle_core::bail!("{inputs} inputs for a weight of {rows} rows");
        }
        let weight = Matrix::new(values(weight, weight_layout)?, inputs, outputs);
        let mut out = vec![0.0; n * outputs];
        let rows = shard_rows(n);
        let shards = values(x, x_layout)?.par_chunks(rows * inputs).zip(out.par_chunks_mut(rows * outputs));
        shards.for_each(|(x, out)| {
            let n = x.len() / inputs;
            matmul(MatrixMut::new(out, n, outputs), Write::Replace, 1.0, Matrix::new(x, n, inputs), weight);
        });
        output(out, (n, outputs))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (inputs, outputs) = weight.dims2()?;
        let rows = shard_rows(x.dim(0)?);
        let partial: Vec<Vec<f32>> = {
            let (x, grad) = (read(x)?, read(&grad)?);
            let shards = x.par_chunks(rows * inputs).zip(grad.par_chunks(rows * outputs));
            let gradient = |(x, grad): (&[f32], &[f32])| {
                let n = x.len() / inputs;
                let mut dweight = vec![0.0; inputs * outputs];
                let (x, grad) = (Matrix::new(x, n, inputs), Matrix::new(grad, n, outputs));
                matmul(MatrixMut::new(&mut dweight, inputs, outputs), Write::Replace, 1.0, x.t(), grad);
                dweight
            };
            shards.map(gradient).collect()
        };
        let dweight = if partial.is_empty() { vec![0.0; inputs * outputs] } else { total(partial) };
        Ok((None, Some(tensor(dweight, weight)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{agree, var};

    #[test]
    fn linear_agrees_with_its_equation() {
        let (x, weight) = (var(1, (300, 7)), var(2, (7, 5)));
        agree(&[&weight], 2e-5, |v| linear(&x, v[0]), |v| x.matmul(v[0]));
    }
}
