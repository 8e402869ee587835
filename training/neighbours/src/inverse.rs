//! The inverse of a symmetric positive definite matrix, in place.

use rayon::prelude::*;

/// Columns that are eliminated at a time.
const BLOCK: usize = 128;
/// Rows of a product at a time.
const ROWS: usize = 96;

/// Inverts `matrix` (n × n) by blockwise Gauss-Jordan elimination. Without pivoting, which a symmetric positive
/// definite matrix does not need (Higham, *Accuracy and stability of numerical algorithms*, 2002). The result does not
/// depend on the number of threads.
pub(crate) fn invert(matrix: &mut [f32], n: usize) {
    let arch = pulp::Arch::new();
    let mut panel = Vec::new();
    for start in (0..n).step_by(BLOCK) {
        let b = BLOCK.min(n - start);
        // The block's own inverse, in double precision.
        let mut pivot: Vec<f64> = Vec::with_capacity(b * b);
        for row in matrix[start * n..(start + b) * n].chunks_exact(n) {
            pivot.extend(row[start..start + b].iter().map(|&value| f64::from(value)));
        }
        invert_small(&mut pivot, b);
        let pivot: Vec<f32> = pivot.into_iter().map(|value| value as f32).collect();
        // Its rows, times that inverse; its own columns become the inverse.
        panel.clear();
        panel.resize(b * n, 0.0);
        let rows = &matrix[start * n..(start + b) * n];
        panel.par_chunks_mut(ROWS * n).zip(pivot.par_chunks(ROWS * b)).for_each(|(out, factors)| {
            arch.dispatch(AddProduct { out, factors, sign: 1.0, rows, n });
            for (out, factors) in out.chunks_exact_mut(n).zip(factors.chunks_exact(b)) {
                out[start..start + b].copy_from_slice(factors);
            }
        });
        // From every other row the block's columns are taken out.
        let (above, rest) = matrix.split_at_mut(start * n);
        let (own, below) = rest.split_at_mut(b * n);
        own.copy_from_slice(&panel);
        above.par_chunks_mut(ROWS * n).chain(below.par_chunks_mut(ROWS * n)).for_each(|rows| {
            let mut factors = Vec::with_capacity(rows.len() / n * b);
            for row in rows.chunks_exact_mut(n) {
                factors.extend_from_slice(&row[start..start + b]);
                row[start..start + b].fill(0.0);
            }
            arch.dispatch(AddProduct { out: rows, factors: &factors, sign: -1.0, rows: &panel, n });
        });
    }
}

/// Columns of a product at a time: what is read of the factors' rows stays in the first cache.
const STRETCH: usize = 512;

/// `out += sign · factors · rows`; `out`: m × n, `factors`: m × b, `rows`: b × n. In this thread.
struct AddProduct<'a> {
    out: &'a mut [f32],
    factors: &'a [f32],
    sign: f32,
    rows: &'a [f32],
    n: usize,
}

// A closure as long as this is called, not inlined, and then knows no vectors.
impl pulp::NullaryFnOnce for AddProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { out, factors, sign, rows, n } = self;
        let b = rows.len() / n;
        for first in (0..n).step_by(STRETCH) {
            let end = (first + STRETCH).min(n);
            let row = |k: usize| &rows[k * n + first..k * n + end];
            for (out, factors) in out.chunks_exact_mut(n).zip(factors.chunks_exact(b)) {
                let out = &mut out[first..end];
                let eights = b / 8 * 8;
                for k in (0..eights).step_by(8) {
                    let f = |i: usize| sign * factors[k + i];
                    let (f0, f1, f2, f3) = (f(0), f(1), f(2), f(3));
                    let (f4, f5, f6, f7) = (f(4), f(5), f(6), f(7));
                    let (r0, r1, r2, r3) = (row(k), row(k + 1), row(k + 2), row(k + 3));
                    let (r4, r5, r6, r7) = (row(k + 4), row(k + 5), row(k + 6), row(k + 7));
                    for i in 0..out.len() {
                        let even = f0.mul_add(r0[i], f2.mul_add(r2[i], f4.mul_add(r4[i], f6 * r6[i])));
                        let odd = f1.mul_add(r1[i], f3.mul_add(r3[i], f5.mul_add(r5[i], f7 * r7[i])));
                        out[i] += even + odd;
                    }
                }
                for (k, &factor) in factors.iter().enumerate().skip(eights) {
                    for (out, &value) in out.iter_mut().zip(row(k)) {
                        *out = (sign * factor).mul_add(value, *out);
                    }
                }
            }
        }
    }
}

fn invert_small(matrix: &mut [f64], n: usize) {
    for k in 0..n {
        let pivot = 1.0 / matrix[k * n + k];
        matrix[k * n + k] = 1.0;
        matrix[k * n..(k + 1) * n].iter_mut().for_each(|value| *value *= pivot);
        let row = matrix[k * n..(k + 1) * n].to_vec();
        for other in (0..n).filter(|&other| other != k) {
            let factor = std::mem::take(&mut matrix[other * n + k]);
            let out = &mut matrix[other * n..(other + 1) * n];
            out.iter_mut().zip(&row).for_each(|(out, value)| *out -= factor * value);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        for n in [1, 3, BLOCK, BLOCK + 1, 3 * BLOCK - 7] {
            // XᵀX + λI of random 0 and 1.
            let mut rng = StdRng::seed_from_u64(n as u64);
            let x: Vec<f32> =
                (0..2 * n * n).map(|_| f32::from(u8::from(rng.random::<f32>() < 0.1))).collect();
            let mut matrix = vec![0.0; n * n];
            for row in x.chunks_exact(n) {
                for i in 0..n {
                    (0..n).for_each(|j| matrix[i * n + j] += row[i] * row[j]);
                }
            }
            (0..n).for_each(|i| matrix[i * n + i] += 5.0);
            let mut inverse = matrix.clone();
            invert(&mut inverse, n);
            for i in 0..n {
                for j in 0..n {
                    let product: f64 =
                        (0..n).map(|k| f64::from(matrix[i * n + k]) * f64::from(inverse[k * n + j])).sum();
                    let expected = f64::from(u8::from(i == j));
                    assert!((product - expected).abs() < 1e-4, "n {n}, {i} {j}: {product}");
                }
            }
        }
    }
}
