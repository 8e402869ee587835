//! Products of matrices, block by block in registers.
//!
//! A block of the output stays in registers while `k` runs; the right matrix's rows are read as vectors as they lie,
//! the left one's elements are broadcast, whatever their strides. So nothing is packed, and the shapes of a training
//! step (64 columns, 64 to some thousand terms) run near the machine's peak. Each element is one chain of fused
//! multiply-adds in the order of `k`, so the result is the same on every instruction set and for every block.

use pulp::{MemMask, Simd, WithSimd};

/// `out = scale · a b`, or `out += scale · a b`.
///
/// Element (r, c) of a matrix lies at `r · row + c · column` from its pointer; the columns of `b` and `out` are
/// contiguous.
pub(super) struct Product {
    /// Rows of `a` and `out`.
    pub(super) m: usize,
    /// Columns of `b` and `out`.
    pub(super) n: usize,
    /// Columns of `a`, rows of `b`.
    pub(super) k: usize,
    pub(super) a: *const f32,
    pub(super) a_row: usize,
    pub(super) a_column: usize,
    pub(super) b: *const f32,
    pub(super) b_row: usize,
    pub(super) out: *mut f32,
    pub(super) out_row: usize,
    pub(super) scale: f32,
    /// Whether `out` is added to, not replaced.
    pub(super) add: bool,
}

impl Product {
    /// Makes it, with the best instructions of this machine.
    ///
    /// # Safety
    /// Every element of `a`, `b` and `out` lies in memory that may be read, and that of `out` written; nothing
    /// overlaps `out`.
    pub(super) unsafe fn make(self) {
        pulp::Arch::new().dispatch(self);
    }
}

impl WithSimd for Product {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = S::F32_LANES;
        let mut j = 0;
        // SAFETY: the columns j.. that a strip covers are within n, a mask holds the rest of the last vector back, and
        // `make`'s caller vouches for all of m × n.
        unsafe {
            if lanes != 8 && lanes != 1 {
                // 32 registers: 24 sums, 4 vectors of `b`, and the broadcast.
                while self.n - j >= 4 * lanes {
                    self.strip::<S, 6, 4>(simd, j);
                    j += 4 * lanes;
                }
                if self.n - j >= 2 * lanes {
                    self.strip::<S, 12, 2>(simd, j);
                    j += 2 * lanes;
                }
            } else {
                // 16 registers.
                while self.n - j >= 2 * lanes {
                    self.strip::<S, 6, 2>(simd, j);
                    j += 2 * lanes;
                }
            }
            while self.n - j >= lanes {
                self.strip::<S, 12, 1>(simd, j);
                j += lanes;
            }
            if j < self.n {
                self.last_strip(simd, j);
            }
        }
    }
}

impl Product {
    /// Columns `j..j + V · lanes`, R rows at a time.
    #[inline(always)]
    unsafe fn strip<S: Simd, const R: usize, const V: usize>(&self, simd: S, j: usize) {
        let mut i = 0;
        // SAFETY: rows i.. of each block are within m.
        unsafe {
            while self.m - i >= R {
                self.block::<S, R, V>(simd, i, j);
                i += R;
            }
            if R > 6 && self.m - i >= 6 {
                self.block::<S, 6, V>(simd, i, j);
                i += 6;
            }
            if self.m - i >= 3 {
                self.block::<S, 3, V>(simd, i, j);
                i += 3;
            }
            while self.m > i {
                self.block::<S, 1, V>(simd, i, j);
                i += 1;
            }
        }
    }

    #[inline(always)]
    unsafe fn block<S: Simd, const R: usize, const V: usize>(&self, simd: S, i: usize, j: usize) {
        let lanes = S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        // SAFETY: rows i..i + R and columns j..j + V · lanes are within the product, which `make`'s caller vouches for.
        unsafe {
            let mut a = self.a.add(i * self.a_row);
            let mut b = self.b.add(j);
            for _ in 0..self.k {
                let mut vectors = [simd.splat_f32s(0.0); V];
                for (v, vector) in vectors.iter_mut().enumerate() {
                    *vector = load::<S>(b.add(v * lanes));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let element = simd.splat_f32s(*a.add(r * self.a_row));
                    for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                        *sum = simd.mul_add_f32s(element, vector, *sum);
                    }
                }
                a = a.add(self.a_column);
                b = b.add(self.b_row);
            }
            let scale = simd.splat_f32s(self.scale);
            for (r, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    let out = self.out.add((i + r) * self.out_row + j + v * lanes);
                    let value = if self.add {
                        simd.mul_add_f32s(sum, scale, load::<S>(out))
                    } else {
                        simd.mul_f32s(sum, scale)
                    };
                    out.cast::<S::f32s>().write_unaligned(value);
                }
            }
        }
    }

    /// The columns from `j` on, fewer than a vector's.
    #[inline(always)]
    unsafe fn last_strip<S: Simd>(&self, simd: S, j: usize) {
        let mask = simd.mask_between_m32s(0, (self.n - j) as u32);
        let mut i = 0;
        // SAFETY: as for `strip`; the mask keeps to the columns that there are.
        unsafe {
            while self.m - i >= 6 {
                self.masked_block::<S, 6>(simd, mask, i, j);
                i += 6;
            }
            while self.m > i {
                self.masked_block::<S, 1>(simd, mask, i, j);
                i += 1;
            }
        }
    }

    #[inline(always)]
    unsafe fn masked_block<S: Simd, const R: usize>(
        &self,
        simd: S,
        mask: MemMask<S::m32s>,
        i: usize,
        j: usize,
    ) {
        let mut sums = [simd.splat_f32s(0.0); R];
        // SAFETY: as for `block`; the mask keeps to the columns that there are.
        unsafe {
            let mut a = self.a.add(i * self.a_row);
            let mut b = self.b.add(j);
            for _ in 0..self.k {
                let vector = simd.mask_load_ptr_f32s(mask, b);
                for (r, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.mul_add_f32s(simd.splat_f32s(*a.add(r * self.a_row)), vector, *sum);
                }
                a = a.add(self.a_column);
                b = b.add(self.b_row);
            }
            let scale = simd.splat_f32s(self.scale);
            for (r, &sum) in sums.iter().enumerate() {
                let out = self.out.add((i + r) * self.out_row + j);
                let value = if self.add {
                    simd.mul_add_f32s(sum, scale, simd.mask_load_ptr_f32s(mask, out))
                } else {
                    simd.mul_f32s(sum, scale)
                };
                simd.mask_store_ptr_f32s(mask, out, value);
            }
        }
    }
}

/// # Safety
/// A vector may be read from `from`, aligned or not.
#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: the caller vouches for it.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}
