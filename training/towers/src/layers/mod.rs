//! Layers with gradients of their own, and the op that puts a chain of them on candle's tape.
//!
//! candle's autograd joins the two towers and the loss; what lies between two joints is one custom op, a
//! [`chain`] of layers. On the CPU a joint costs candle a zeroed tensor and an addition in its own
//! spinning thread pool, which was a quarter of a step when every layer was an op; so there are few.
//! The work is done by the functions in [`crate::kernels`], shard by shard over rayon. Shards are a fixed
//! partition of the rows, and their sums are added up in order, so weights come out the same on any
//! number of threads. Each layer is tested against the same computation in candle's own operations.

mod attention;
mod bags;
mod dropped;
mod feed_forward;
mod norm;
mod pool;
mod projection;

use std::{ops::Deref, sync::OnceLock};

use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Storage, Tensor};

use crate::sequences::{SHARD_ROWS, SHARDS};

pub(crate) use attention::SelfAttention;
pub(crate) use bags::{AddBags, SumBags};
pub(crate) use dropped::Dropped;
pub(crate) use feed_forward::FeedForward;
pub(crate) use norm::{LayerNorm, UnitRows};
pub(crate) use pool::Pooled;
pub(crate) use projection::AddProjection;

/// A function of rows and parameters that knows its gradient.
pub(crate) trait Layer: Send + Sync {
    /// How many parameters it has.
    fn parameters(&self) -> usize {
        0
    }

    /// `y` of `x` (rows × dim), and what the gradient needs to know of the way there.
    fn forward(&self, parameters: &[f32], x: &[f32]) -> Result<(Vec<f32>, Trace)>;

    /// The gradient of `x` from that of `y`; the parameters' is added to `dparameters`.
    fn backward(&self, step: Step<'_>, dy: Vec<f32>, dparameters: &mut [f32]) -> Vec<f32>;
}

/// What a layer keeps of a forward pass for the backward pass, at most two tensors.
pub(crate) type Trace = [Vec<f32>; 2];

/// A layer's forward pass, as its backward pass sees it.
pub(crate) struct Step<'a> {
    pub(crate) parameters: &'a [f32],
    pub(crate) x: &'a [f32],
    pub(crate) trace: &'a Trace,
}

/// `x` (rows × d) through one layer after the other; `parameters`: all of theirs, one after the other.
pub(crate) fn chain(x: &Tensor, parameters: &Tensor, layers: Vec<Box<dyn Layer>>) -> Result<Tensor> {
    x.apply_op2(parameters, Chain { layers, steps: OnceLock::new() })
}

struct Chain {
    layers: Vec<Box<dyn Layer>>,
    /// Per layer, what came out of it, and its trace.
    steps: OnceLock<Vec<(Vec<f32>, Trace)>>,
}

impl CustomOp2 for Chain {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        parameters: &CpuStorage,
        parameters_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let d = x_layout.shape().dims2()?.1;
        let x = values(x, x_layout)?;
        let mut parameters = values(parameters, parameters_layout)?;
        if parameters.len() != self.layers.iter().map(|layer| layer.parameters()).sum::<usize>() {
            candle_core::bail!("{} parameters do not fit the layers", parameters.len());
        }
        let mut steps: Vec<(Vec<f32>, Trace)> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let (own, rest) = parameters.split_at(layer.parameters());
            parameters = rest;
            steps.push(layer.forward(own, steps.last().map_or(x, |(y, _)| y))?);
        }
        let y = steps.last().map_or_else(|| x.to_vec(), |(y, _)| y.clone());
        let _ = self.steps.set(steps);
        let rows = y.len() / d;
        output(y, (rows, d))
    }

    fn bwd(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(steps) = self.steps.get() else { candle_core::bail!("backward before forward") };
        let mut dparameters = vec![0.0; parameters.elem_count()];
        let mut dy = grad.flatten_all()?.to_vec1::<f32>()?;
        {
            let (x, parameters) = (read(x)?, read(parameters)?);
            let mut end = parameters.len();
            for (number, layer) in self.layers.iter().enumerate().rev() {
                let own = end - layer.parameters()..end;
                end = own.start;
                let x = if number == 0 { &x[..] } else { &steps[number - 1].0 };
                let step = Step { parameters: &parameters[own.clone()], x, trace: &steps[number].1 };
                dy = layer.backward(step, dy, &mut dparameters[own]);
            }
        }
        Ok((Some(tensor(dy, x)?), Some(tensor(dparameters, parameters)?)))
    }
}

/// Rows of each shard of `rows`: a function of nothing else.
pub(crate) fn shard_rows(rows: usize) -> usize {
    rows.div_ceil(SHARDS).max(SHARD_ROWS)
}

/// Adds up the shards' partial sums, in their order.
pub(crate) fn add_up(partial: Vec<Vec<f32>>, sums: &mut [f32]) {
    for part in partial {
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
}

/// What [`read`] gives.
pub(crate) struct Values<S> {
    storage: S,
    start: usize,
    end: usize,
}

/// Borrows the values of a contiguous f32 tensor in memory.
pub(crate) fn read(tensor: &Tensor) -> Result<Values<impl Deref<Target = Storage> + '_>> {
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = range(layout)?;
    match &*storage {
        Storage::Cpu(CpuStorage::F32(_)) => {}
        _ => candle_core::bail!("needs f32 on the CPU, is {:?} on {:?}", tensor.dtype(), tensor.device()),
    }
    Ok(Values { storage, start, end })
}

impl<S: Deref<Target = Storage>> Deref for Values<S> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.end],
            _ => &[],
        }
    }
}

/// The values behind a custom op's argument.
pub(crate) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) = range(layout)?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

fn range(layout: &Layout) -> Result<(usize, usize)> {
    layout.contiguous_offsets().ok_or_else(|| candle_core::Error::msg("needs a contiguous tensor"))
}

pub(crate) fn output(values: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(values), shape.into()))
}

pub(crate) fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    debug_assert_eq!(like.dtype(), DType::F32);
    Tensor::from_vec(values, like.shape(), &Device::Cpu)
}

/// A layer's gradient agrees with that of the same computation in candle's own operations.
#[cfg(test)]
pub(crate) mod check {
    use candle_core::{Device, Result, Tensor, Var};

    use super::{Layer, chain};

    /// Numbers in −1..1 that look random.
    pub(crate) fn var(seed: u64, shape: impl Into<candle_core::Shape>) -> Var {
        let shape = shape.into();
        let value = |i: u64| (crate::mix(seed << 32 | i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        let values: Vec<f32> = (0..shape.elem_count() as u64).map(value).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// [`agree`] for one layer.
    pub(crate) fn layer_agrees<L: Layer + 'static>(
        x: &Var,
        parameters: &Var,
        tolerance: f32,
        layer: impl Fn() -> L,
        plain: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) {
        let fused = |vars: &[&Var]| chain(vars[0], vars[1], vec![Box::new(layer())]);
        agree(&[x, parameters], tolerance, fused, |vars| plain(vars[0], vars[1]));
    }

    /// Both functions, and their gradients along a random direction, agree within `tolerance`, relative
    /// to the largest value of each tensor.
    pub(crate) fn agree(
        vars: &[&Var],
        tolerance: f32,
        fused: impl Fn(&[&Var]) -> Result<Tensor>,
        plain: impl Fn(&[&Var]) -> Result<Tensor>,
    ) {
        let run = |f: &dyn Fn(&[&Var]) -> Result<Tensor>| {
            let out = f(vars).unwrap();
            let direction = var(99, out.shape().clone());
            let loss = (&out * direction.as_tensor()).unwrap().sum_all().unwrap();
            let grads = loss.backward().unwrap();
            let grads: Vec<Option<Tensor>> = vars.iter().map(|var| grads.get(var).cloned()).collect();
            (out, grads)
        };
        let (fused, plain) = (run(&fused), run(&plain));
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let compare = |what: String, a: &Tensor, b: &Tensor| {
            assert_eq!(a.dims(), b.dims(), "{what}");
            let (a, b) = (flat(a), flat(b));
            let scale = b.iter().fold(1e-3f32, |max, x| max.max(x.abs()));
            assert!(b.iter().any(|&x| x != 0.0), "{what} is zero throughout: the test sees nothing");
            for (i, (a, b)) in a.iter().zip(&b).enumerate() {
                assert!((a - b).abs() <= tolerance * scale, "{what}[{i}]: {a} ≠ {b}");
            }
        };
        compare("output".into(), &fused.0, &plain.0);
        for (i, (fused, plain)) in fused.1.iter().zip(&plain.1).enumerate() {
            match (fused, plain) {
                (Some(fused), Some(plain)) => compare(format!("gradient of argument {i}"), fused, plain),
                // A layer without parameters.
                (Some(fused), None) => assert_eq!(fused.elem_count(), 0),
                _ => panic!("no gradient of argument {i}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        check::{agree, var},
        *,
    };

    #[test]
    fn a_chain_is_its_layers_one_after_the_other() {
        let (n, d, hidden) = (200, 6, 9);
        let forward = FeedForward { dim: d, hidden, dropout: crate::Dropout::NONE };
        let size = forward.parameters();
        let (x, parameters) = (var(1, (n, d)), var(2, size + 2 * d));
        let norm = || Box::new(LayerNorm { dim: d });
        agree(
            &[&x, &parameters],
            2e-5,
            |v| chain(v[0], v[1], vec![Box::new(forward), norm(), Box::new(UnitRows { dim: d })]),
            |v| {
                let y = chain(v[0], &v[1].narrow(0, 0, size)?, vec![Box::new(forward)])?;
                let y = chain(&y, &v[1].narrow(0, size, 2 * d)?, vec![norm()])?;
                chain(&y, &v[1].narrow(0, 0, 0)?, vec![Box::new(UnitRows { dim: d })])
            },
        );
        assert!(chain(&x, &var(2, 5), vec![norm()]).is_err(), "5 parameters are no layer norm's");
    }
}
