//! The layers as operations of candle's autograd: each a custom op with a gradient of its own.
//!
//! candle keeps the tape; the work is done by the functions in [`crate::kernels`], shard by shard over
//! rayon. Shards are a fixed partition of the rows, and their sums are added up in order, so weights
//! come out the same on any number of threads. Each op is tested against the same layer made of
//! candle's own operations (`tests/gradients.rs` in spirit, here beside the op).

mod attention;
mod bags;
mod feed_forward;
mod linear;
mod norm;
mod pool;
mod softmax;

use std::ops::Deref;

use crate::sequences::{SHARD_ROWS, SHARDS};
use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Storage, Tensor};

pub(crate) use attention::self_attention;
pub(crate) use bags::{dropped, sum_bags};
pub(crate) use feed_forward::feed_forward;
pub(crate) use linear::linear;
pub(crate) use norm::{layer_norm, unit_rows};
pub(crate) use pool::pool;
pub(crate) use softmax::{Candidates, softmax_loss};

/// Rows of each shard of `rows`: a function of nothing else.
fn shard_rows(rows: usize) -> usize {
    rows.div_ceil(SHARDS).max(SHARD_ROWS)
}

/// What [`read`] gives.
struct Values<S> {
    storage: S,
    start: usize,
    end: usize,
}

/// Borrows the values of a contiguous f32 tensor in memory.
fn read(tensor: &Tensor) -> Result<Values<impl Deref<Target = Storage> + '_>> {
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
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) = range(layout)?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

fn range(layout: &Layout) -> Result<(usize, usize)> {
    layout.contiguous_offsets().ok_or_else(|| candle_core::Error::msg("needs a contiguous tensor"))
}

fn output(values: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(values), shape.into()))
}

fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    debug_assert_eq!(like.dtype(), DType::F32);
    Tensor::from_vec(values, like.shape(), &Device::Cpu)
}

/// The sum of the shards' partial sums, in their order.
fn total(mut partial: Vec<Vec<f32>>) -> Vec<f32> {
    let Some((first, others)) = partial.split_first_mut() else { return Vec::new() };
    for other in others {
        for (sum, &value) in first.iter_mut().zip(other.iter()) {
            *sum += value;
        }
    }
    std::mem::take(first)
}

/// An op's gradient agrees with that of the same computation in candle's own operations.
#[cfg(test)]
pub(crate) mod check {
    use candle_core::{Device, Result, Tensor, Var};

    /// Numbers in −1..1 that look random.
    pub(crate) fn var(seed: u64, shape: impl Into<candle_core::Shape>) -> Var {
        let shape = shape.into();
        let value = |i: u64| (crate::mix(seed << 32 | i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        let values: Vec<f32> = (0..shape.elem_count() as u64).map(value).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
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
            let grads: Vec<Tensor> = vars.iter().map(|var| grads.get(var).unwrap().clone()).collect();
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
            compare(format!("gradient of argument {i}"), fused, plain);
        }
    }
}
