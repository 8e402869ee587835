//! Matrix products over strided views: the one door to [`Product`], and to `gemm` where the right matrix lies in columns.

use super::product::Product;

/// A matrix within a slice: element (r, c) is `data[r · row_stride + c · column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// A matrix to be written: rows of `columns` elements, `row_stride` apart.
pub(crate) struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

/// What happens to what the output held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Replace,
    Add,
}

impl<'a> Matrix<'a> {
    /// `rows` × `columns`, row after row.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "a {rows} × {columns} matrix");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// `columns` columns, from `first`, of a matrix whose rows are `width` long.
    pub(crate) fn columns(data: &'a [f32], width: usize, first: usize, columns: usize) -> Self {
        assert!(
            data.len().is_multiple_of(width) && first + columns <= width,
            "columns {first}+{columns} of {width}"
        );
        let rows = data.len() / width;
        Self {
            data: data.get(first..).unwrap_or_default(),
            rows,
            columns,
            row_stride: width,
            column_stride: 1,
        }
    }

    /// `rows` rows of `columns` elements, `row_stride` apart.
    pub(crate) fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The transpose: the same elements, rows and columns exchanged.
    pub(crate) fn t(self) -> Self {
        let Self { data, rows, columns, row_stride, column_stride } = self;
        Self { data, rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride }
    }

    /// Some of the rows.
    pub(crate) fn rows(self, rows: &std::ops::Range<usize>) -> Self {
        assert!(rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        let data = self.data.get(rows.start * self.row_stride..).unwrap_or_default();
        Self { data, rows: rows.len(), ..self }
    }

    fn last(&self) -> usize {
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
    }
}

impl<'a> MatrixMut<'a> {
    /// `rows` × `columns`, row after row.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "a {rows} × {columns} matrix");
        Self { data, rows, columns, row_stride: columns }
    }

    /// `rows` rows of `columns` elements, `row_stride` apart.
    pub(crate) fn strided(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { data, rows, columns, row_stride }
    }
}

/// `out = scale · a b`, or `out += scale · a b`, in this thread.
pub(crate) fn matmul(out: MatrixMut<'_>, write: Write, scale: f32, a: Matrix<'_>, b: Matrix<'_>) {
    let (m, n, k) = (out.rows, out.columns, a.columns);
    assert_eq!((a.rows, b.rows, b.columns), (m, k, n), "the shapes of a product");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if write == Write::Replace {
            for row in 0..m {
                out.data[row * out.row_stride..][..n].fill(0.0);
            }
        }
        return;
    }
    assert!(a.last() < a.data.len() && b.last() < b.data.len(), "operands lie within their slices");
    assert!((m - 1) * out.row_stride + n <= out.data.len(), "the output lies within its slice");
    // SAFETY, for both: every element that is read or written is at most at the offset of the last one, and the
    // asserts above hold that within its slice; the output is borrowed mutably, so nothing overlaps it.
    if b.column_stride == 1 {
        let product = Product {
            m,
            n,
            k,
            a: a.data.as_ptr(),
            a_row: a.row_stride,
            a_column: a.column_stride,
            b: b.data.as_ptr(),
            b_row: b.row_stride,
            out: out.data.as_mut_ptr(),
            out_row: out.row_stride,
            scale,
            add: write == Write::Add,
        };
        // SAFETY: see above.
        unsafe { product.make() };
        return;
    }
    let (alpha, read) = (1.0, write == Write::Add);
    // SAFETY: see above.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data.as_mut_ptr(),
            1,
            out.row_stride as isize,
            read,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            alpha,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_views_are_products() {
        // a = [1 2; 3 4; 5 6], b = the last two columns of [0 1 2; 0 3 4].
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [0.0, 1.0, 2.0, 0.0, 3.0, 4.0];
        let mut out = [1.0; 9];
        let product = |out: &mut [f32], write, scale| {
            let out = MatrixMut::strided(out, 3, 2, 3);
            matmul(out, write, scale, Matrix::new(&a, 3, 2), Matrix::columns(&b, 3, 1, 2));
        };
        product(&mut out, Write::Replace, 1.0);
        assert_eq!(out, [7.0, 10.0, 1.0, 15.0, 22.0, 1.0, 23.0, 34.0, 1.0]);
        product(&mut out, Write::Add, -1.0);
        assert_eq!(out, [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
        let mut gram = [0.0; 4];
        let view = Matrix::new(&a, 3, 2);
        matmul(MatrixMut::new(&mut gram, 2, 2), Write::Replace, 1.0, view.t(), view);
        assert_eq!(gram, [35.0, 44.0, 44.0, 56.0]);
    }

    #[test]
    fn every_block_of_a_product_is_a_product() {
        let value = |i: usize| (crate::mix(i as u64) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        for m in [1, 2, 5, 6, 11, 12, 13, 31] {
            for n in [1, 7, 15, 16, 17, 33, 48, 63, 64, 131] {
                for k in [1, 3, 40] {
                    let a: Vec<f32> = (0..m * k).map(value).collect();
                    let b: Vec<f32> = (0..k * n).map(|i| value(i + 999)).collect();
                    let before: Vec<f32> = (0..m * (n + 3)).map(|i| value(i + 77)).collect();
                    for (write, transposed) in
                        [(Write::Add, false), (Write::Replace, true), (Write::Add, true)]
                    {
                        let view = if transposed { Matrix::new(&a, k, m).t() } else { Matrix::new(&a, m, k) };
                        let mut out = before.clone();
                        let rows = MatrixMut::strided(&mut out, m, n, n + 3);
                        matmul(rows, write, 0.5, view, Matrix::new(&b, k, n));
                        for (place, (&out, &before)) in out.iter().zip(&before).enumerate() {
                            let (r, c) = (place / (n + 3), place % (n + 3));
                            let a = |i: usize| if transposed { a[i * m + r] } else { a[r * k + i] };
                            let product: f64 =
                                (0..k).map(|i| f64::from(a(i)) * f64::from(b[(i * n + c) % b.len()])).sum();
                            let want = match write {
                                _ if c >= n => f64::from(before),
                                Write::Add => f64::from(before) + 0.5 * product,
                                Write::Replace => 0.5 * product,
                            };
                            assert!((f64::from(out) - want).abs() < 1e-5, "{m}×{n}×{k} ({r}, {c})");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn empty_products_are_zero() {
        let mut out = [5.0; 4];
        matmul(
            MatrixMut::new(&mut out, 2, 2),
            Write::Replace,
            1.0,
            Matrix::new(&[], 2, 0),
            Matrix::new(&[], 0, 2),
        );
        assert_eq!(out, [0.0; 4]);
    }
}
