//! The arithmetic, on plain slices, in one thread: each layer's forward pass and its gradient.
//!
//! Serving calls the forward passes as they are; training calls the same functions, chunk by chunk,
//! from [`crate::training`]. So there is one truth for both. A matrix is a slice of rows,
//! row after row. Loops are written so that they vectorise, and run under [`simd`], which compiles them
//! for each instruction set and picks one when the program runs.

pub(crate) mod attention;
pub(crate) mod bags;
pub(crate) mod dropout;
pub(crate) mod feed_forward;
pub(crate) mod gru;
pub(crate) mod math;
pub(crate) mod matmul;
pub(crate) mod norm;
pub(crate) mod pool;
mod product;
pub(crate) mod softmax;
pub(crate) mod transpose;

/// Runs `kernel` compiled for the best instruction set of this machine. What `kernel` calls must be
/// `#[inline(always)]`, or it stays at the baseline.
#[inline]
pub fn simd<R>(kernel: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(kernel)
}

/// The first `n` numbers of a buffer that grows when it must, and keeps what it holds.
pub(crate) fn sized(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    &mut buffer[..n]
}
