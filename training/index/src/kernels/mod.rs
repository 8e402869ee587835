//! The inner loops, once per instruction set, chosen when the index is made.
//!
//! Every path gives the same bits: the 8-bit dot products are integers, their conversion to f32 is one rounding and two
//! multiplications in a fixed order, and the f32 dot product adds the same sixteen partial sums in the same tree without
//! fused multiply-add. So an index answers alike on every machine, and one test compares all paths.

// This is where SIMD lives; every block says why it is sound.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::mask::Mask;
use crate::rows::{BLOCK, Blocks, Codes, OFFSET, Query};
use crate::{IndexError, Simd};

/// The kernels of one instruction set. Holding one proves that this machine has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernels {
    simd: Simd,
}

/// One pass over blocks: what to look at and against what.
pub(crate) struct Scan<'a> {
    pub(crate) blocks: &'a Blocks,
    /// Which rows of them: all others are not scored.
    pub(crate) rows: Range<usize>,
    /// Which of those count.
    pub(crate) mask: Mask<'a>,
    pub(crate) query: &'a Query,
}

/// What takes the scores of a pass.
pub(crate) trait Sink {
    /// Scores below this are of no use at present.
    fn threshold(&self) -> f32;

    /// The scores of a block's rows, of which the first is `first`, and which of them count.
    fn take(&mut self, first: usize, counting: u16, scores: &[f32; BLOCK]);
}

impl Kernels {
    /// # Errors
    /// [`IndexError::Simd`] where this machine does not have the choice.
    pub(crate) fn new(choice: Option<Simd>) -> Result<Self, IndexError> {
        let simd = choice.unwrap_or_else(Simd::best);
        if simd.is_available() { Ok(Self { simd }) } else { Err(IndexError::Simd(simd)) }
    }

    /// Gives each allowed row's approximate score, if it can still matter, to `sink`.
    pub(crate) fn scan(self, scan: &Scan<'_>, sink: &mut impl Sink) {
        match self.simd {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` saw AVX-512 F, BW and VNNI.
            Simd::Avx512 => unsafe { x86::scan_avx512(scan, sink) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` saw AVX2.
            Simd::Avx2 => unsafe { x86::scan_avx2(scan, sink) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `new` saw NEON.
            Simd::Neon => unsafe { arm::scan_neon(scan, sink) },
            _ => scan_portable(scan, sink),
        }
    }

    /// Dot products of the query and some rows of `vectors`, which are `query.len()` wide.
    pub(crate) fn dots(self, query: &[f32], vectors: &[f32], rows: &[u32], out: &mut [f32]) {
        match self.simd {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` saw AVX-512 F and AVX2.
            Simd::Avx512 => unsafe { x86::dots_avx512(query, vectors, rows, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` saw AVX2.
            Simd::Avx2 => unsafe { x86::dots_avx2(query, vectors, rows, out) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `new` saw NEON.
            Simd::Neon => unsafe { arm::dots_neon(query, vectors, rows, out) },
            _ => dots_with(query, vectors, rows, out, dot_lanes),
        }
    }

    /// Dot product of two vectors of one length, a multiple of sixteen.
    pub(crate) fn dot(self, a: &[f32], b: &[f32]) -> f32 {
        match self.simd {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` saw AVX-512 F and AVX2.
            Simd::Avx512 => unsafe { x86::dot_avx512(a, b) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` saw AVX2.
            Simd::Avx2 => unsafe { x86::dot_avx2(a, b) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `new` saw NEON.
            Simd::Neon => unsafe { arm::dot_neon(a, b) },
            _ => dot_lanes(a, b),
        }
    }

    /// Approximate scores of some rows, as [`scan`](Self::scan) has them.
    pub(crate) fn code_dots(self, query: &Query, codes: Codes<'_>, rows: &[u32], out: &mut [f32]) {
        match self.simd {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` saw AVX-512 F, BW and VNNI.
            Simd::Avx512 => unsafe { x86::code_dots_avx512(query, codes, rows, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` saw AVX2.
            Simd::Avx2 => unsafe { x86::code_dots_avx2(query, codes, rows, out) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `new` saw NEON.
            Simd::Neon => unsafe { arm::code_dots_neon(query, codes, rows, out) },
            _ => code_dots_with(query, codes, rows, out, code_dot_portable),
        }
    }
}

/// Asks the processor for the cache lines of a slice that is read soon.
#[inline(always)]
pub(crate) fn prefetch<T>(slice: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = slice.as_ptr().cast::<i8>();
        for line in (0..std::mem::size_of_val(slice)).step_by(64) {
            // SAFETY: the address is inside the slice, and a prefetch reads nothing that the program sees.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(line)) };
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let start = slice.as_ptr().cast::<u8>();
        for line in (0..std::mem::size_of_val(slice)).step_by(64) {
            // SAFETY: the address is inside the slice, and a prefetch reads nothing that the program sees.
            unsafe {
                std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) start.add(line), options(nostack, readonly));
            }
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = slice;
}

/// The walk over blocks that all scans share. `score` gets a block, its scales and the threshold; it fills in the
/// approximate scores where any reaches the threshold, and says which do.
#[inline(always)]
fn scan_blocks(
    scan: &Scan<'_>,
    sink: &mut impl Sink,
    score: impl Fn(&[u8], &[f32; BLOCK], f32, &mut [f32; BLOCK]) -> u16,
) {
    let Range { start, end } = scan.rows;
    let (from, bytes) = (start / BLOCK, BLOCK * scan.query.codes.len());
    let mut scores = [0.0; BLOCK];
    let scales = scan.blocks.scales.as_chunks::<BLOCK>().0;
    let blocks = scan.blocks.codes.chunks_exact(bytes).zip(scales);
    for (index, (codes, scales)) in blocks.enumerate().take(end.div_ceil(BLOCK)).skip(from) {
        let first = index * BLOCK;
        let mut allowed = (scan.mask.word(first / 64) >> (first % 64)) as u16;
        if first < start {
            allowed &= u16::MAX << (start - first);
        }
        if end - first < BLOCK {
            allowed &= (1 << (end - first)) - 1;
        }
        if allowed == 0 {
            continue;
        }
        let reached = score(codes, scales, sink.threshold(), &mut scores) & allowed;
        if reached != 0 {
            sink.take(first, reached, &scores);
        }
    }
}

fn scan_portable(scan: &Scan<'_>, sink: &mut impl Sink) {
    let query = scan.query;
    scan_blocks(scan, sink, |codes, scales, threshold, scores| {
        let mut dots = [0i32; BLOCK];
        for (group, word) in codes.as_chunks::<{ 4 * BLOCK }>().0.iter().zip(query.codes.as_chunks::<4>().0) {
            for lane in 0..BLOCK {
                for d in 0..4 {
                    let code = i16::from(group[lane * 4 + d]) - i16::from(OFFSET);
                    dots[lane] += i32::from(code) * i32::from(word[d]);
                }
            }
        }
        let mut reached = 0;
        for lane in 0..BLOCK {
            scores[lane] = dots[lane] as f32 * (scales[lane] * query.scale);
            reached |= u16::from(scores[lane] >= threshold) << lane;
        }
        reached
    });
}

/// Sixteen partial sums, then a tree: the same on every instruction set, since nothing is fused or reordered.
#[inline(always)]
fn dot_lanes(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    sums[0]
}

/// Rows ahead of the one being scored whose cache lines are asked for.
const AHEAD: usize = 8;

/// The loop over rows that all f32 kernels share.
#[inline(always)]
fn dots_with(
    query: &[f32],
    vectors: &[f32],
    rows: &[u32],
    out: &mut [f32],
    dot: impl Fn(&[f32], &[f32]) -> f32,
) {
    let vector = |row: u32| &vectors[row as usize * query.len()..][..query.len()];
    for (place, (&row, out)) in rows.iter().zip(out).enumerate() {
        if let Some(&later) = rows.get(place + AHEAD) {
            prefetch(vector(later));
        }
        *out = dot(query, vector(row));
    }
}

/// The loop over rows that all 8-bit kernels share; `dot` gets a row's bytes and the query's codes.
#[inline(always)]
fn code_dots_with(
    query: &Query,
    codes: Codes<'_>,
    rows: &[u32],
    out: &mut [f32],
    dot: impl Fn(&[u8], &Query) -> i32,
) {
    for (place, (&row, out)) in rows.iter().zip(out).enumerate() {
        if let Some(&later) = rows.get(place + AHEAD) {
            prefetch(codes.row(later));
        }
        *out = dot(codes.row(row), query) as f32 * (codes.scale(row) * query.scale);
    }
}

fn code_dot_portable(row: &[u8], query: &Query) -> i32 {
    row.iter().zip(&query.codes).map(|(&x, &q)| (i32::from(x) - i32::from(OFFSET)) * i32::from(q)).sum()
}

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Rows, by_row};

    /// Rows one by one, in any number and order, score as they do in the portable kernel: of every width, and repeated.
    #[test]
    fn scattered_rows_score_alike_on_every_instruction_set() {
        for dim in [1, 16, 50, 64, 65, 130, 200] {
            let number = |i: usize| ((i * 7_919 + dim) % 2_003) as f32 / 1_000.0 - 1.0;
            let vectors: Vec<f32> = (0..90 * dim).map(number).collect();
            let padded = crate::rows::pad((&vectors[..]).into(), dim).into_owned();
            let rows = Rows::of(dim, (0..90).collect(), padded);
            let by_row = by_row(&rows);
            let codes = Codes { width: rows.width, codes: &by_row, scales: &rows.blocks.scales };
            let query: Vec<f32> = (0..dim).map(|i| number(i * 31 + 5)).collect();
            let query = Query::new(&query, dim).unwrap();
            for count in [0, 1, 15, 16, 17, 31, 64, 90] {
                let which: Vec<u32> = (0..count).map(|i| (i * 37 % 90) as u32).collect();
                let scores = |simd| {
                    let mut scores = vec![f32::NAN; count];
                    Kernels::new(Some(simd)).unwrap().code_dots(&query, codes, &which, &mut scores);
                    scores
                };
                for simd in Simd::available() {
                    assert_eq!(scores(simd), scores(Simd::Portable), "{simd}, dim {dim}, {count} rows");
                }
            }
        }
    }
}
