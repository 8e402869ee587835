//! Transposes: so that what is read along its columns lies in rows.

/// `out[c · out_row + r] = x[r · row + c]` for r below `rows` and c below `columns`.
///
/// # Panics
/// When an element lies beyond its slice.
pub(crate) fn transpose(x: &[f32], row: usize, rows: usize, columns: usize, out: &mut [f32], out_row: usize) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * row + columns <= x.len(), "the matrix lies within its slice");
    assert!((columns - 1) * out_row + rows <= out.len(), "the transpose lies within its slice");
    let (whole_rows, whole_columns) = (rows / 4 * 4, columns / 4 * 4);
    for c in (0..whole_columns).step_by(4) {
        for r in (0..whole_rows).step_by(4) {
            square(&x[r * row + c..], row, &mut out[c * out_row + r..], out_row);
        }
    }
    for r in 0..rows {
        let first = if r < whole_rows { whole_columns } else { 0 };
        for c in first..columns {
            out[c * out_row + r] = x[r * row + c];
        }
    }
}

/// Four rows of four.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn square(x: &[f32], row: usize, out: &mut [f32], out_row: usize) {
    use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
    let (x, out) = (&x[..3 * row + 4], &mut out[..3 * out_row + 4]);
    // SAFETY: SSE is part of x86_64; four floats lie at each of the four offsets, as the slices above hold.
    unsafe {
        let load = |r: usize| _mm_loadu_ps(x.as_ptr().add(r * row));
        let [mut a, mut b, mut c, mut d] = [load(0), load(1), load(2), load(3)];
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        for (r, values) in [a, b, c, d].into_iter().enumerate() {
            _mm_storeu_ps(out.as_mut_ptr().add(r * out_row), values);
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn square(x: &[f32], row: usize, out: &mut [f32], out_row: usize) {
    for r in 0..4 {
        for c in 0..4 {
            out[c * out_row + r] = x[r * row + c];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transpose_exchanges_rows_and_columns() {
        for (rows, columns) in [(1, 1), (4, 4), (5, 9), (51, 32), (7, 3)] {
            let x: Vec<f32> = (0..rows * (columns + 2)).map(|i| i as f32).collect();
            let mut out = vec![-1.0; columns * (rows + 1)];
            transpose(&x, columns + 2, rows, columns, &mut out, rows + 1);
            for r in 0..rows {
                for c in 0..columns {
                    assert_eq!(out[c * (rows + 1) + r], x[r * (columns + 2) + c]);
                }
            }
            assert!((0..columns).all(|c| out[c * (rows + 1) + rows] == -1.0), "nothing else is written");
        }
    }
}
