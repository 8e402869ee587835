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

/// Rows and columns of the product that are summed in registers.
const TILE_ROWS: usize = 6;
const TILE: usize = 32;

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
        // A strip of `rows`, its lines one after the other.
        let mut strip = vec![[0f32; TILE]; b];
        for first in (0..n).step_by(TILE) {
            let width = TILE.min(n - first);
            for (line, row) in strip.iter_mut().zip(rows.chunks_exact(n)) {
                line[..width].copy_from_slice(&row[first..first + width]);
            }
            let tiles = out.chunks_mut(TILE_ROWS * n).zip(factors.chunks(TILE_ROWS * b));
            for (out, factors) in tiles {
                let mut sums = [[0f32; TILE]; TILE_ROWS];
                if factors.len() == TILE_ROWS * b {
                    let (one, rest) = factors.split_at(b);
                    let (two, rest) = rest.split_at(b);
                    let (three, rest) = rest.split_at(b);
                    let (four, rest) = rest.split_at(b);
                    let (five, six) = rest.split_at(b);
                    for (k, line) in strip.iter().enumerate() {
                        multiply_add(&mut sums[0], one[k], line);
                        multiply_add(&mut sums[1], two[k], line);
                        multiply_add(&mut sums[2], three[k], line);
                        multiply_add(&mut sums[3], four[k], line);
                        multiply_add(&mut sums[4], five[k], line);
                        multiply_add(&mut sums[5], six[k], line);
                    }
                } else {
                    for (sums, factors) in sums.iter_mut().zip(factors.chunks_exact(b)) {
                        for (line, &factor) in strip.iter().zip(factors) {
                            multiply_add(sums, factor, line);
                        }
                    }
                }
                for (out, sums) in out.chunks_exact_mut(n).zip(&sums) {
                    for (out, sum) in out[first..first + width].iter_mut().zip(sums) {
                        *out = sum.mul_add(sign, *out);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn multiply_add(sums: &mut [f32; TILE], factor: f32, line: &[f32; TILE]) {
    for (sum, &value) in sums.iter_mut().zip(line) {
        *sum = factor.mul_add(value, *sum);
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
