//! The training loss as an op on candle's tape.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::{
    kernels::softmax::Cases,
    layers::{add_up, output, tensor, values},
};

/// What the rows of a batch are asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidates {
    /// The first so many of the items are candidates; per candidate, what is added to its logit where it is
    /// not the target.
    pub(crate) corrections: Vec<f32>,
    /// Per row, its target among the candidates.
    pub(crate) targets: Vec<u32>,
    /// Per row, its share of the loss; they sum to 1.
    pub(crate) shares: Vec<f32>,
    pub(crate) temperature: f32,
}

/// `Σ share · −ln softmax(x · candidates / temperature + corrections)[target]`: a scalar. The gradient is
/// made on the way, tile by tile, so rows × candidates are never held.
///
/// `x`: rows × d, `items`: n × d, of which the first are the candidates. The correction is left out for a row's own target: it is there
/// for certain, not by chance (the logQ correction of Yi et al. 2019, doi:10.1145/3298689.3346996,
/// without the bias that correcting the positive brings).
pub(crate) fn softmax_loss(x: &Tensor, items: &Tensor, cases: Arc<Candidates>) -> Result<Tensor> {
    x.apply_op2(items, SoftmaxLoss { cases, gradients: OnceLock::new() })
}

/// The most shards of the rows, each with a gradient of the candidates of its own, and the fewest rows
/// that are worth one.
const SHARDS: usize = 8;
const SHARD_ROWS: usize = 256;

struct SoftmaxLoss {
    cases: Arc<Candidates>,
    gradients: OnceLock<(Vec<f32>, Vec<f32>)>,
}

impl CustomOp2 for SoftmaxLoss {
    fn name(&self) -> &'static str {
        "softmax-loss"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        items: &CpuStorage,
        items_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Candidates { corrections, targets, shares, temperature } = &*self.cases;
        let (n, d) = x_layout.shape().dims2()?;
        let count = corrections.len();
        if (targets.len(), shares.len()) != (n, n) || count > items_layout.shape().dims2()?.0 {
            let items = items_layout.shape().dims2()?.0;
            candle_core::bail!("{} targets for {n} rows, {count} candidates of {items} items", targets.len());
        }
        if targets.iter().any(|&target| target as usize >= count) {
            candle_core::bail!("a target beyond the {count} candidates");
        }
        let (x, items) = (values(x, x_layout)?, values(items, items_layout)?);
        let candidates = &items[..count * d];
        let mut dx = vec![0.0; n * d];
        let rows = n.div_ceil(SHARDS).max(SHARD_ROWS);
        let shards = x.par_chunks(rows * d).zip(dx.par_chunks_mut(rows * d));
        let shards = shards.zip(targets.par_chunks(rows)).zip(shares.par_chunks(rows));
        let parts = shards.map(|(((x, dx), targets), shares)| {
            let inverse_temperature = 1.0 / temperature;
            let cases = Cases { candidates, corrections, targets, shares, inverse_temperature };
            let mut dcandidates = vec![0.0; candidates.len()];
            let loss = cases.loss(x, d, dx, &mut dcandidates);
            (loss, dcandidates)
        });
        let (losses, partial): (Vec<f64>, Vec<Vec<f32>>) = parts.unzip();
        let mut ditems = vec![0.0; items.len()];
        add_up(partial, &mut ditems[..count * d]);
        let _ = self.gradients.set((dx, ditems));
        output(vec![losses.iter().sum::<f64>() as f32], ())
    }

    fn bwd(
        &self,
        x: &Tensor,
        items: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some((dx, ditems)) = self.gradients.get() else { candle_core::bail!("backward before forward") };
        let scale = grad.to_scalar::<f32>()?;
        let scaled = |values: &[f32]| values.iter().map(|value| value * scale).collect();
        Ok((Some(tensor(scaled(dx), x)?), Some(tensor(scaled(ditems), items)?)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device};

    use super::*;
    use crate::layers::check::{agree, var};

    fn cases(rows: usize, count: usize) -> Candidates {
        let random = |i: usize| (crate::mix(i as u64) % 1000) as f32 / 1000.0;
        let shares: Vec<f32> = (0..rows).map(|i| 0.5 + random(i)).collect();
        let sum: f32 = shares.iter().sum();
        Candidates {
            corrections: (0..count).map(|i| 3.0 * random(i + 7)).collect(),
            targets: (0..rows).map(|i| (crate::mix(i as u64) % count as u64) as u32).collect(),
            shares: shares.iter().map(|share| share / sum).collect(),
            temperature: 0.2,
        }
    }

    #[test]
    fn softmax_loss_agrees_with_its_equation() {
        let (rows, count, d) = (500, 37, 6);
        let cases = Arc::new(cases(rows, count));
        let dense = |f: &dyn Fn(usize, usize) -> f32| {
            let values: Vec<f32> = (0..rows * count).map(|i| f(i / count, i % count)).collect();
            Tensor::from_vec(values, (rows, count), &Device::Cpu).unwrap()
        };
        let is_target = |row: usize, c: usize| cases.targets[row] as usize == c;
        let corrections = dense(&|row, c| if is_target(row, c) { 0.0 } else { cases.corrections[c] });
        let picks = dense(&|row, c| if is_target(row, c) { -cases.shares[row] } else { 0.0 });
        // Two items more than there are candidates.
        let (x, items) = (var(1, (rows, d)), var(2, (count + 2, d)));
        agree(
            &[&x, &items],
            2e-5,
            |v| softmax_loss(v[0], v[1], cases.clone()),
            |v| {
                let logits = ((v[0].matmul(&v[1].narrow(0, 0, count)?.t()?)?
                    / f64::from(cases.temperature))?
                    + &corrections)?;
                (candle_nn::ops::log_softmax(&logits, D::Minus1)? * &picks)?.sum_all()
            },
        );
    }

    #[test]
    fn a_worked_loss() {
        // One row, unit vectors at angles 0 and 90°: logits 1/0.5 and 0 + ln 3; loss = ln(1 + 3 e⁻²).
        let tensor = |values: &[f32], rows| Tensor::from_slice(values, (rows, 2), &Device::Cpu).unwrap();
        let cases = Candidates {
            corrections: vec![5.0, 3f32.ln()],
            targets: vec![0],
            shares: vec![1.0],
            temperature: 0.5,
        };
        let loss = softmax_loss(&tensor(&[1.0, 0.0], 1), &tensor(&[1.0, 0.0, 0.0, 1.0], 2), Arc::new(cases));
        let loss = loss.unwrap().to_scalar::<f32>().unwrap();
        assert!((loss - (1.0 + 3.0 * (-2f32).exp()).ln()).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn a_target_beyond_the_candidates_is_an_error() {
        let cases = Candidates { targets: vec![2], ..cases(1, 2) };
        assert!(softmax_loss(&var(1, (1, 4)), &var(2, (2, 4)), Arc::new(cases)).is_err());
    }
}
