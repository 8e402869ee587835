//! AVX2 and AVX-512.

use std::arch::x86_64::*;

use super::{Scan, Sink, code_dots_with, dots_with, prefetch, scan_blocks};
use crate::rows::{BLOCK, Codes, OFFSET, Query};

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn scan_avx512(scan: &Scan<'_>, sink: &mut impl Sink) {
    let query = scan.query;
    let correction = _mm512_set1_epi32(query.correction);
    let query_scale = _mm512_set1_ps(query.scale);
    scan_blocks(scan, sink, |codes, scales, threshold, scores| {
        let (mut even, mut odd) = (correction, _mm512_setzero_si512());
        for (pair, words) in codes.as_chunks::<128>().0.iter().zip(query.words.as_chunks::<2>().0) {
            // SAFETY: `pair` is 128 bytes, which two unaligned loads read.
            let (low, high) = unsafe {
                (_mm512_loadu_si512(pair.as_ptr().cast()), _mm512_loadu_si512(pair.as_ptr().add(64).cast()))
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
pub(super) fn scan_avx2(scan: &Scan<'_>, sink: &mut impl Sink) {
    let query = scan.query;
    let query_scale = _mm256_set1_ps(query.scale);
    scan_blocks(scan, sink, |codes, scales, threshold, scores| {
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

/// One register of two: half as many sums are left to do for each.
#[target_feature(enable = "avx512f")]
fn halve(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b))
}

/// The sums of the sixteen numbers of each: that of register `i` in lane `i`.
#[target_feature(enable = "avx512f")]
fn sum_each(registers: &[__m512i; 16]) -> __m512i {
    let mut fours = [_mm512_setzero_si512(); 4];
    for (four, [a, b, c, d]) in fours.iter_mut().zip(registers.as_chunks::<4>().0) {
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(*a, *b), _mm512_unpackhi_epi32(*a, *b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(*c, *d), _mm512_unpackhi_epi32(*c, *d));
        *four = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    }
    halve(halve(fours[0], fours[1]), halve(fours[2], fours[3]))
}

/// Sixteens of rows ahead of those being scored whose cache lines are asked for.
const GROUPS_AHEAD: usize = 3;

/// The approximate scores of sixteen rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn code_scores_avx512(query: &Query, codes: Codes<'_>, rows: &[u32; 16], out: &mut [f32; 16]) {
    let mut sums = [_mm512_setzero_si512(); 16];
    for (sum, &row) in sums.iter_mut().zip(rows) {
        for (codes, query) in codes.row(row).chunks(64).zip(query.codes.chunks(64)) {
            let lanes = u64::MAX >> (64 - codes.len());
            // SAFETY: the masked loads read `codes.len()` bytes of each, which is 16 to 64 and the same for both.
            let (codes, query) = unsafe {
                (
                    _mm512_maskz_loadu_epi8(lanes, codes.as_ptr().cast()),
                    _mm512_maskz_loadu_epi8(lanes, query.as_ptr()),
                )
            };
            *sum = _mm512_dpbusd_epi32(*sum, codes, query);
        }
    }
    let dots = _mm512_cvtepi32_ps(_mm512_add_epi32(sum_each(&sums), _mm512_set1_epi32(query.correction)));
    let scales = rows.map(|row| codes.scale(row));
    // SAFETY: `scales` and `out` are sixteen numbers.
    unsafe {
        let scale = _mm512_mul_ps(_mm512_loadu_ps(scales.as_ptr()), _mm512_set1_ps(query.scale));
        _mm512_storeu_ps(out.as_mut_ptr(), _mm512_mul_ps(dots, scale));
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn code_dots_avx512(query: &Query, codes: Codes<'_>, rows: &[u32], out: &mut [f32]) {
    let (groups, rest) = rows.as_chunks::<16>();
    let (scores, last) = out.as_chunks_mut::<16>();
    let ask = |rows: &[u32]| rows.iter().for_each(|&row| prefetch(codes.row(row)));
    groups.iter().take(GROUPS_AHEAD).for_each(|group| ask(group));
    ask(rest);
    for (place, (group, scores)) in groups.iter().zip(scores).enumerate() {
        if let Some(later) = groups.get(place + GROUPS_AHEAD) {
            ask(later);
        }
        code_scores_avx512(query, codes, group, scores);
    }
    if let Some(&row) = rest.last() {
        let (mut group, mut scores) = ([row; 16], [0.0; 16]);
        group[..rest.len()].copy_from_slice(rest);
        code_scores_avx512(query, codes, &group, &mut scores);
        last[..rest.len()].copy_from_slice(&scores[..rest.len()]);
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn code_dots_avx2(query: &Query, codes: Codes<'_>, rows: &[u32], out: &mut [f32]) {
    code_dots_with(query, codes, rows, out, |row, query| {
        let mut sum = _mm256_setzero_si256();
        for (codes, query) in row.as_chunks::<16>().0.iter().zip(query.codes.as_chunks::<16>().0) {
            // SAFETY: each is 16 bytes.
            let (codes, query) =
                unsafe { (_mm_loadu_si128(codes.as_ptr().cast()), _mm_loadu_si128(query.as_ptr().cast())) };
            // Sixteen products of 16-bit numbers: half as wide as the scan's, and no upper half to pad.
            let codes = _mm256_sub_epi16(_mm256_cvtepu8_epi16(codes), _mm256_set1_epi16(i16::from(OFFSET)));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(codes, _mm256_cvtepi8_epi16(query)));
        }
        let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
    });
}
