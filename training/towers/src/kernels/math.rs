//! Sums and exponentials that vectorise.

use super::simd;

/// Partial sums of a reduction: wide enough for one 512-bit or two 256-bit registers. The order of
/// additions is part of the result, so it is the same on every instruction set.
const LANES: usize = 16;

/// `Σ f(a, b)` over two slices of one length, in a fixed order.
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_blocks.remainder(), b_blocks.remainder());
    for (a, b) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] = f(lanes[lane], a[lane], b[lane]);
        }
    }
    for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[lane] = f(lanes[lane], a, b);
    }
    fold(lanes)
}

#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    let mut lanes = lanes;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `a · b`.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum2(a, b, |sum, a, b| a.mul_add(b, sum))
}

/// `Σ a`.
#[inline(always)]
pub(crate) fn sum(a: &[f32]) -> f32 {
    sum2(a, a, |sum, a, _| sum + a)
}

/// Adds gradients up, group by group.
pub(crate) fn add_groups(sums: &mut [Vec<f32>], parts: &[Vec<f32>]) {
    simd(
        #[inline(always)]
        || {
            for (sum, part) in sums.iter_mut().zip(parts) {
                add(sum, part);
            }
        },
    );
}

/// `sum += x`.
#[inline(always)]
pub(crate) fn add(sum: &mut [f32], x: &[f32]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += x;
    }
}

/// `sum += scale · x`.
#[inline(always)]
pub(crate) fn add_scaled(sum: &mut [f32], x: &[f32], scale: f32) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum = x.mul_add(scale, *sum);
    }
}

/// The largest element; −∞ of none. A NaN is passed over.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let blocks = a.chunks_exact(LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = larger(block[lane], lanes[lane]);
        }
    }
    for &value in rest {
        lanes[0] = larger(value, lanes[0]);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, |max, lane| larger(lane, max))
}

/// One instruction, unlike `f32::max`, which minds NaN on both sides.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// `eˣ` within 2 units in the last place for −87 ≤ x ≤ 88, held at the ends outside (Cephes `expf`).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > -87.0 { x } else { -87.0 };
    let x = if x < 88.0 { x } else { 88.0 };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in 9 bits.
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 0.166_666_65);
    let p = p.mul_add(r, 0.5);
    let p = (r * r).mul_add(p, r) + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

const SQRT_8_OVER_PI: f32 = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::SQRT_2;
const CUBIC: f32 = 0.044_715;

/// `GELU(x) = x · σ(√(8/π) · (x + 0.044715 x³))`, the usual approximation (Hendrycks & Gimpel 2016,
/// arXiv:1606.08415), and its derivative.
#[inline(always)]
pub(crate) fn gelu_and_slope(x: f32) -> (f32, f32) {
    let s = sigmoid(SQRT_8_OVER_PI * (CUBIC * x * x).mul_add(x, x));
    let inner = SQRT_8_OVER_PI * (3.0 * CUBIC * x).mul_add(x, 1.0);
    (x * s, (x * s * (1.0 - s)).mul_add(inner, s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for step in -8700..=8800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.4e-7, "exp({x}) = {} ≠ {exact}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e9) < 1e-37 && exp(1e9) > 1e38 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn sums_and_maxima_take_every_element() {
        for n in [0i32, 1, 15, 16, 17, 64, 100] {
            let values: Vec<f32> = (0..n).map(|i| i as f32).collect();
            assert_eq!(sum(&values), (n * (n - 1) / 2) as f32);
            assert_eq!(dot(&values, &values), values.iter().map(|x| x * x).sum::<f32>());
            assert_eq!(max(&values), if n == 0 { f32::NEG_INFINITY } else { n as f32 - 1.0 });
        }
        assert_eq!(max(&[1.0, f32::NAN, 3.0]), 3.0);
    }

    #[test]
    fn gelu_has_its_known_values_and_its_slope_is_its_difference_quotient() {
        // tanh form: gelu(1) = 0.841192, gelu(-1) = -0.158808.
        let gelu = |x| gelu_and_slope(x).0;
        assert!((gelu(1.0) - 0.841_192).abs() < 1e-5 && (gelu(-1.0) + 0.158_808).abs() < 1e-5);
        for step in -60..=60 {
            let x = step as f32 / 10.0;
            let slope = gelu_and_slope(x).1;
            let quotient = (gelu(x + 1e-2) - gelu(x - 1e-2)) / 2e-2;
            assert!((slope - quotient).abs() < 1e-3, "{x}: {slope} ≠ {quotient}");
        }
    }
}
