//! NEON, as every AArch64 machine has it.

use std::arch::aarch64::*;

use super::{Scan, Sink, code_dots_with, dots_with, scan_blocks};
use crate::rows::{BLOCK, Codes, OFFSET, Query};

/// Sixteen bytes less [`OFFSET`], times sixteen of the query, added to eight sums: neighbouring products together.
#[target_feature(enable = "neon")]
fn accumulate(
    sums: (int32x4_t, int32x4_t),
    offset_codes: uint8x16_t,
    query: int8x16_t,
) -> (int32x4_t, int32x4_t) {
    let codes = vreinterpretq_s8_u8(veorq_u8(offset_codes, vdupq_n_u8(OFFSET)));
    let low = vmull_s8(vget_low_s8(codes), vget_low_s8(query));
    let high = vmull_s8(vget_high_s8(codes), vget_high_s8(query));
    (vpadalq_s16(sums.0, low), vpadalq_s16(sums.1, high))
}

#[target_feature(enable = "neon")]
pub(super) fn scan_neon(scan: &Scan<'_>, sink: &mut impl Sink) {
    let query = scan.query;
    scan_blocks(scan, sink, |codes, scales, threshold, scores| {
        let zero = vdupq_n_s32(0);
        // Four rows a quarter: two sums of each row, until the end.
        let mut quarters = [(zero, zero); BLOCK / 4];
        for (group, &word) in codes.as_chunks::<{ 4 * BLOCK }>().0.iter().zip(&query.words) {
            let word = vreinterpretq_s8_s32(vdupq_n_s32(word));
            for (sums, codes) in quarters.iter_mut().zip(group.as_chunks::<16>().0) {
                // SAFETY: `codes` is 16 bytes.
                *sums = accumulate(*sums, unsafe { vld1q_u8(codes.as_ptr()) }, word);
            }
        }
        let bits = [1u32, 2, 4, 8];
        // SAFETY: `bits` is four numbers.
        let bits = unsafe { vld1q_u32(bits.as_ptr()) };
        let mut reached = 0;
        let scales = scales.as_chunks::<4>().0;
        for (index, (((low, high), scales), scores)) in
            quarters.into_iter().zip(scales).zip(scores.as_chunks_mut::<4>().0).enumerate()
        {
            let dots = vcvtq_f32_s32(vpaddq_s32(low, high));
            // SAFETY: `scales` is four numbers.
            let scale = vmulq_n_f32(unsafe { vld1q_f32(scales.as_ptr()) }, query.scale);
            let score = vmulq_f32(dots, scale);
            // SAFETY: `scores` is four numbers.
            unsafe { vst1q_f32(scores.as_mut_ptr(), score) };
            let over = vandq_u32(vcgeq_f32(score, vdupq_n_f32(threshold)), bits);
            reached |= (vaddvq_u32(over) as u16) << (4 * index);
        }
        reached
    });
}

/// The sixteen partial sums and the tree of [`super::dot_lanes`], without fused multiply-add.
#[target_feature(enable = "neon")]
pub(super) fn dot_neon(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [vdupq_n_f32(0.0); 4];
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0)) {
            // SAFETY: each is four numbers.
            let (a, b) = unsafe { (vld1q_f32(a.as_ptr()), vld1q_f32(b.as_ptr())) };
            *sum = vaddq_f32(*sum, vmulq_f32(a, b));
        }
    }
    let four = vaddq_f32(vaddq_f32(sums[0], sums[2]), vaddq_f32(sums[1], sums[3]));
    let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
}

#[target_feature(enable = "neon")]
pub(super) fn dots_neon(query: &[f32], vectors: &[f32], rows: &[u32], out: &mut [f32]) {
    dots_with(query, vectors, rows, out, |a, b| dot_neon(a, b));
}

#[target_feature(enable = "neon")]
pub(super) fn code_dots_neon(query: &Query, codes: Codes<'_>, rows: &[u32], out: &mut [f32]) {
    code_dots_with(query, codes, rows, out, |row, query| {
        let mut sums = (vdupq_n_s32(0), vdupq_n_s32(0));
        for (codes, query) in row.as_chunks::<16>().0.iter().zip(query.codes.as_chunks::<16>().0) {
            // SAFETY: each is 16 bytes.
            let (codes, query) = unsafe { (vld1q_u8(codes.as_ptr()), vld1q_s8(query.as_ptr())) };
            sums = accumulate(sums, codes, query);
        }
        vaddvq_s32(vaddq_s32(sums.0, sums.1))
    });
}
