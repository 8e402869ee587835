//! Layer norm, and rows of length 1.

use super::{
    math::{dot, sum, sum2},
    simd,
};

const EPSILON: f32 = 1e-5;
/// Keeps the direction of a row that is all but zero.
const UNIT_EPSILON: f32 = 1e-12;

/// Mean and 1 / standard deviation of a row.
#[inline(always)]
fn moments(x: &[f32]) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum(x) / n;
    let variance = sum2(x, x, |sum, x, _| (x - mean).mul_add(x - mean, sum)) / n;
    (mean, 1.0 / (variance + EPSILON).sqrt())
}

/// `y = (x − mean) / √(variance + ε) · gain + bias`, row by row (Ba et al. 2016, arXiv:1607.06450).
pub(crate) fn layer_norm(x: &[f32], gain: &[f32], bias: &[f32], out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (x, out) in x.chunks_exact(gain.len()).zip(out.chunks_exact_mut(gain.len())) {
                let (mean, scale) = moments(x);
                for (((out, &x), &gain), &bias) in out.iter_mut().zip(x).zip(gain).zip(bias) {
                    *out = ((x - mean) * scale).mul_add(gain, bias);
                }
            }
        },
    );
}

/// The gradient of [`layer_norm`]: of `x` added to `dx`, of gain and bias added to theirs.
pub(crate) fn layer_norm_backward(
    x: &[f32],
    gain: &[f32],
    grad: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
    dbias: &mut [f32],
) {
    let d = gain.len();
    simd(
        #[inline(always)]
        || {
            for ((x, grad), dx) in x.chunks_exact(d).zip(grad.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
                let (mean, scale) = moments(x);
                let along_ones = dot(grad, gain) / d as f32;
                // With n = (x − mean) · scale: Σ g · gain · n.
                let along_x = sum3(grad, gain, x, mean) * scale / d as f32;
                let columns = x.iter().zip(grad).zip(gain).zip(&mut *dgain).zip(&mut *dbias).zip(dx);
                for (((((&x, &grad), &gain), dgain), dbias), dx) in columns {
                    let normal = (x - mean) * scale;
                    *dgain = grad.mul_add(normal, *dgain);
                    *dbias += grad;
                    *dx += scale * (grad * gain - along_ones - normal * along_x);
                }
            }
        },
    );
}

/// `Σ a · b · (c − mean)`.
#[inline(always)]
fn sum3(a: &[f32], b: &[f32], c: &[f32], mean: f32) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0f32; LANES];
    let blocks = a.chunks_exact(LANES).zip(b.chunks_exact(LANES)).zip(c.chunks_exact(LANES));
    for ((a, b), c) in blocks {
        for lane in 0..LANES {
            lanes[lane] = (a[lane] * b[lane]).mul_add(c[lane] - mean, lanes[lane]);
        }
    }
    for i in a.len() / LANES * LANES..a.len() {
        lanes[i % LANES] = (a[i] * b[i]).mul_add(c[i] - mean, lanes[i % LANES]);
    }
    sum(&lanes)
}

/// `y = x / |x|`, row by row.
pub(crate) fn unit_rows(x: &[f32], d: usize, out: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
                let scale = 1.0 / (dot(x, x) + UNIT_EPSILON).sqrt();
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = x * scale;
                }
            }
        },
    );
}

/// The gradient of [`unit_rows`]: the part of `grad` across the row, over the row's length.
pub(crate) fn unit_rows_backward(x: &[f32], d: usize, grad: &[f32], dx: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for ((x, grad), dx) in x.chunks_exact(d).zip(grad.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
                let square = dot(x, x) + UNIT_EPSILON;
                let scale = 1.0 / square.sqrt();
                let along = dot(x, grad) / square;
                for ((dx, &x), &grad) in dx.iter_mut().zip(x).zip(grad) {
                    *dx = scale * (grad - x * along);
                }
            }
        },
    );
}
