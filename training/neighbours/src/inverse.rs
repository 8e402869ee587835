//! The inverse of a symmetric positive definite matrix, in place.

use rayon::prelude::*;

/// Columns that are eliminated at a time: the rows of a block and a stretch of columns stay in the cache.
const BLOCK: usize = 64;
const STRETCH: usize = 1024;

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
        panel.par_chunks_mut(n).zip(pivot.par_chunks(b)).for_each(|(out, factors)| {
            arch.dispatch(|| add_rows(out, factors, 1.0, rows, n));
            out[start..start + b].copy_from_slice(factors);
        });
        // From every other row the block's columns are taken out.
        matrix.par_chunks_mut(n).enumerate().for_each(|(number, row)| {
            if (start..start + b).contains(&number) {
                row.copy_from_slice(&panel[(number - start) * n..][..n]);
                return;
            }
            let factors: Vec<f32> = row[start..start + b].to_vec();
            row[start..start + b].fill(0.0);
            arch.dispatch(|| add_rows(row, &factors, -1.0, &panel, n));
        });
    }
}

/// `out += sign · Σ_k factors[k] · rows[k]`.
#[inline(always)]
fn add_rows(out: &mut [f32], factors: &[f32], sign: f32, rows: &[f32], n: usize) {
    for first in (0..n).step_by(STRETCH) {
        let end = (first + STRETCH).min(n);
        let out = &mut out[first..end];
        let row = |k: usize| &rows[k * n + first..k * n + end];
        let mut k = 0;
        while k + 4 <= factors.len() {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| sign * factors[k + i]);
            let (r, s, t, u) = (row(k), row(k + 1), row(k + 2), row(k + 3));
            for i in 0..out.len() {
                out[i] += a * r[i] + b * s[i] + (c * t[i] + d * u[i]);
            }
            k += 4;
        }
        for (k, &factor) in factors.iter().enumerate().skip(k) {
            out.iter_mut().zip(row(k)).for_each(|(out, value)| *out += sign * factor * value);
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
