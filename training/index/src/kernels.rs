//! The inner loops, once per instruction set, chosen when the index is made.
//!
//! Every path gives the same bits: the 8-bit dot products are integers, their conversion to f32 is one rounding and two
//! multiplications in a fixed order, and the f32 dot product adds the same sixteen partial sums in the same tree without
//! fused multiply-add. So an index answers alike on every machine, and one test compares all paths.

// This is where SIMD lives; every block says why it is sound.
#![allow(unsafe_code)]

use crate::rows::{BLOCK, Blocks, Codes, OFFSET, Query};
use crate::top::Candidates;
use crate::{IndexError, Simd};

/// The kernels of one instruction set. Holding one proves that this machine has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernels {
    simd: Simd,
}

/// One pass over blocks: what to look at and against what.
pub(crate) struct Scan<'a> {
    pub(crate) blocks: &'a Blocks,
    /// Rows in the blocks; places past the end are not scored.
    pub(crate) rows: usize,
    /// One bit per row, or all.
    pub(crate) mask: Option<&'a [u64]>,
    pub(crate) query: &'a Query,
    /// What the first row is called in the candidates.
    pub(crate) first: u32,
}

impl Kernels {
    /// # Errors
    /// [`IndexError::Simd`] where this machine does not have the choice.
    pub(crate) fn new(choice: Option<Simd>) -> Result<Self, IndexError> {
        let simd = choice.unwrap_or_else(Simd::best);
        if simd.is_available() { Ok(Self { simd }) } else { Err(IndexError::Simd(simd)) }
    }

    /// Offers each allowed row's approximate score, if it can still matter and `accept`s, to `candidates`.
    pub(crate) fn scan(self, scan: &Scan<'_>, candidates: &mut Candidates, accept: impl Fn(usize) -> bool) {
        match self.simd {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` saw AVX-512 F, BW and VNNI.
            Simd::Avx512 => unsafe { x86::scan_avx512(scan, candidates, accept) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` saw AVX2.
            Simd::Avx2 => unsafe { x86::scan_avx2(scan, candidates, accept) },
            _ => scan_portable(scan, candidates, accept),
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
            _ => dot_lanes(a, b),
        }
    }

    /// Approximate scores of some rows, as [`scan`](Self::scan) has them.
    pub(crate) fn code_dots(self, query: &Query, codes: &Codes, rows: &[u32], out: &mut [f32]) {
        match self.simd {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` saw AVX-512 F, BW and VNNI.
            Simd::Avx512 => unsafe { x86::code_dots_avx512(query, codes, rows, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` saw AVX2.
            Simd::Avx2 => unsafe { x86::code_dots_avx2(query, codes, rows, out) },
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
    #[cfg(not(target_arch = "x86_64"))]
    let _ = slice;
}

/// The walk over blocks that all scans share. `score` gets a block, its scales and the threshold; it fills in the
/// approximate scores where any reaches the threshold, and says which do.
#[inline(always)]
fn scan_blocks(
    scan: &Scan<'_>,
    candidates: &mut Candidates,
    accept: impl Fn(usize) -> bool,
    score: impl Fn(&[u8], &[f32; BLOCK], f32, &mut [f32; BLOCK]) -> u16,
) {
    let bytes = BLOCK * scan.query.codes.len();
    let mut scores = [0.0; BLOCK];
    let blocks = scan.blocks.codes.chunks_exact(bytes).zip(scan.blocks.scales.as_chunks::<BLOCK>().0);
    for (index, (codes, scales)) in blocks.enumerate() {
        let first = index * BLOCK;
        let mut allowed = match scan.mask {
            None => u16::MAX,
            Some(words) => (words[first / 64] >> (first % 64)) as u16,
        };
        if allowed == 0 {
            continue;
        }
        if scan.rows - first < BLOCK {
            allowed &= (1 << (scan.rows - first)) - 1;
        }
        let mut reached = score(codes, scales, candidates.threshold, &mut scores) & allowed;
        while reached != 0 {
            let lane = reached.trailing_zeros() as usize;
            reached &= reached - 1;
            if accept(first + lane) {
                candidates.push(scores[lane], scan.first + (first + lane) as u32);
            }
        }
    }
}

fn scan_portable(scan: &Scan<'_>, candidates: &mut Candidates, accept: impl Fn(usize) -> bool) {
    let query = scan.query;
    scan_blocks(scan, candidates, accept, |codes, scales, threshold, scores| {
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
    codes: &Codes,
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Scan, code_dots_with, dots_with, scan_blocks};
    use crate::rows::{BLOCK, Codes, OFFSET, Query};
    use crate::top::Candidates;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn scan_avx512(scan: &Scan<'_>, candidates: &mut Candidates, accept: impl Fn(usize) -> bool) {
        let query = scan.query;
        let correction = _mm512_set1_epi32(query.correction);
        let query_scale = _mm512_set1_ps(query.scale);
        scan_blocks(scan, candidates, accept, |codes, scales, threshold, scores| {
            let (mut even, mut odd) = (correction, _mm512_setzero_si512());
            for (pair, words) in codes.as_chunks::<128>().0.iter().zip(query.words.as_chunks::<2>().0) {
                // SAFETY: `pair` is 128 bytes, which two unaligned loads read.
                let (low, high) = unsafe {
                    (
                        _mm512_loadu_si512(pair.as_ptr().cast()),
                        _mm512_loadu_si512(pair.as_ptr().add(64).cast()),
                    )
                };
                even = _mm512_dpbusd_epi32(even, low, _mm512_set1_epi32(words[0]));
                odd = _mm512_dpbusd_epi32(odd, high, _mm512_set1_epi32(words[1]));
            }
            let dots = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
            // SAFETY: `scales` is sixteen numbers.
            let scale = _mm512_mul_ps(unsafe { _mm512_loadu_ps(scales.as_ptr()) }, query_scale);
            let score = _mm512_mul_ps(dots, scale);
            let reached = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(score, _mm512_set1_ps(threshold));
            if reached != 0 {
                // SAFETY: `scores` is sixteen numbers.
                unsafe { _mm512_storeu_ps(scores.as_mut_ptr(), score) };
            }
            reached
        });
    }

    /// Sums of four neighbouring products of signed bytes. AVX2 multiplies unsigned by signed bytes only, so the sign of
    /// the first moves over to the second; two products of at most 127 · 127 fit the 16 bits between.
    #[target_feature(enable = "avx2")]
    fn products_avx2(offset_codes: __m256i, query: __m256i) -> __m256i {
        let codes = _mm256_xor_si256(offset_codes, _mm256_set1_epi8(OFFSET as i8));
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(query, codes));
        _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn scan_avx2(scan: &Scan<'_>, candidates: &mut Candidates, accept: impl Fn(usize) -> bool) {
        let query = scan.query;
        let query_scale = _mm256_set1_ps(query.scale);
        scan_blocks(scan, candidates, accept, |codes, scales, threshold, scores| {
            let mut dots = [_mm256_setzero_si256(); 2];
            for (group, &word) in codes.as_chunks::<64>().0.iter().zip(&query.words) {
                let word = _mm256_set1_epi32(word);
                for (dots, half) in dots.iter_mut().zip(group.as_chunks::<32>().0) {
                    // SAFETY: `half` is 32 bytes.
                    let codes = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
                    *dots = _mm256_add_epi32(*dots, products_avx2(codes, word));
                }
            }
            let threshold = _mm256_set1_ps(threshold);
            let mut reached = 0;
            let scales = scales.as_chunks::<8>().0;
            let halves = dots.iter().zip(scales).zip(scores.as_chunks_mut::<8>().0).zip([0, BLOCK / 2]);
            for (((dots, scales), scores), lane) in halves {
                // SAFETY: `scales` is eight numbers.
                let scale = _mm256_mul_ps(unsafe { _mm256_loadu_ps(scales.as_ptr()) }, query_scale);
                let score = _mm256_mul_ps(_mm256_cvtepi32_ps(*dots), scale);
                // SAFETY: `scores` is eight numbers.
                unsafe { _mm256_storeu_ps(scores.as_mut_ptr(), score) };
                let over = _mm256_cmp_ps::<_CMP_GE_OQ>(score, threshold);
                reached |= (_mm256_movemask_ps(over) as u16) << lane;
            }
            reached
        });
    }

    /// The upper rungs of [`super::dot_lanes`]'s tree: eight partial sums, four, two, one.
    #[target_feature(enable = "avx2")]
    fn sum_avx2(eight: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }

    #[target_feature(enable = "avx512f,avx2")]
    pub(super) fn dot_avx512(a: &[f32], b: &[f32]) -> f32 {
        let mut sums = _mm512_setzero_ps();
        for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
            // SAFETY: each is sixteen numbers.
            let (a, b) = unsafe { (_mm512_loadu_ps(a.as_ptr()), _mm512_loadu_ps(b.as_ptr())) };
            sums = _mm512_add_ps(sums, _mm512_mul_ps(a, b));
        }
        let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sums)));
        sum_avx2(_mm256_add_ps(_mm512_castps512_ps256(sums), upper))
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
        let mut sums = [_mm256_setzero_ps(); 2];
        for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
            let halves = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
            for (sum, (a, b)) in sums.iter_mut().zip(halves) {
                // SAFETY: each is eight numbers.
                let (a, b) = unsafe { (_mm256_loadu_ps(a.as_ptr()), _mm256_loadu_ps(b.as_ptr())) };
                *sum = _mm256_add_ps(*sum, _mm256_mul_ps(a, b));
            }
        }
        sum_avx2(_mm256_add_ps(sums[0], sums[1]))
    }

    #[target_feature(enable = "avx512f,avx2")]
    pub(super) fn dots_avx512(query: &[f32], vectors: &[f32], rows: &[u32], out: &mut [f32]) {
        dots_with(query, vectors, rows, out, |a, b| dot_avx512(a, b));
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn dots_avx2(query: &[f32], vectors: &[f32], rows: &[u32], out: &mut [f32]) {
        dots_with(query, vectors, rows, out, |a, b| dot_avx2(a, b));
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn code_dots_avx512(query: &Query, codes: &Codes, rows: &[u32], out: &mut [f32]) {
        code_dots_with(query, codes, rows, out, |row, query| {
            let mut sum = _mm512_setzero_si512();
            for (codes, query) in row.chunks(64).zip(query.codes.chunks(64)) {
                let lanes = u64::MAX >> (64 - codes.len());
                // SAFETY: the masked loads read `codes.len()` bytes of each, which is 16 to 64 and the same for both.
                let (codes, query) = unsafe {
                    (
                        _mm512_maskz_loadu_epi8(lanes, codes.as_ptr().cast()),
                        _mm512_maskz_loadu_epi8(lanes, query.as_ptr()),
                    )
                };
                sum = _mm512_dpbusd_epi32(sum, codes, query);
            }
            _mm512_reduce_add_epi32(sum) + query.correction
        });
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn code_dots_avx2(query: &Query, codes: &Codes, rows: &[u32], out: &mut [f32]) {
        code_dots_with(query, codes, rows, out, |row, query| {
            let mut sum = _mm256_setzero_si256();
            for (codes, query) in row.as_chunks::<16>().0.iter().zip(query.codes.as_chunks::<16>().0) {
                // SAFETY: each is 16 bytes.
                let (codes, query) = unsafe {
                    (_mm_loadu_si128(codes.as_ptr().cast()), _mm_loadu_si128(query.as_ptr().cast()))
                };
                // Sixteen products of 16-bit numbers: half as wide as the scan's, and no upper half to pad.
                let codes =
                    _mm256_sub_epi16(_mm256_cvtepu8_epi16(codes), _mm256_set1_epi16(i16::from(OFFSET)));
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(codes, _mm256_cvtepi8_epi16(query)));
            }
            let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
            let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
        });
    }
}
