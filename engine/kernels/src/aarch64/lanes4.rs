//! Registers of four 32-bit lanes: loads and stores of parts, transposition, sums across.

use core::arch::aarch64::*;

use crate::parts::padded;

/// The first 4 numbers, or as many as there are; the other lanes are 0.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_f32(x: &[f32]) -> float32x4_t {
    let x = padded::<f32, 4>(x);
    // SAFETY: the array is as large as the register.
    unsafe { vld1q_f32(x.as_ptr()) }
}

/// The first 16 numbers, or as many as there are, their low bytes; the other bytes are 0.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_i16_as_i8(x: &[i16]) -> int32x4_t {
    let x = padded::<i16, 16>(x);
    // SAFETY: the array is as large as two registers.
    let (low, high) = unsafe { (vld1q_s16(x.as_ptr()), vld1q_s16(x[8..].as_ptr())) };
    vreinterpretq_s32_s8(vcombine_s8(vmovn_s16(low), vmovn_s16(high)))
}

/// The first 16 numbers, or as many as there are; the other bytes are 0.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_i8(x: &[i8]) -> int32x4_t {
    let x = padded::<i8, 16>(x);
    // SAFETY: the array is as large as the register.
    vreinterpretq_s32_s8(unsafe { vld1q_s8(x.as_ptr()) })
}

/// Stores as many numbers as there is room for.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_f32(x: &mut [f32], values: float32x4_t) {
    let mut lanes = [0.0; 4];
    // SAFETY: the array is as large as the register.
    unsafe { vst1q_f32(lanes.as_mut_ptr(), values) };
    match x.first_chunk_mut::<4>() {
        Some(x) => *x = lanes,
        None => x.iter_mut().zip(lanes).for_each(|(x, value)| *x = value),
    }
}

/// Lane `i` of register `j` goes to lane `j` of register `i`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn transpose(rows: &[int32x4_t; 4]) -> [int32x4_t; 4] {
    let [a, b, c, d] = *rows;
    let (ab_even, ab_odd) = (vtrn1q_s32(a, b), vtrn2q_s32(a, b));
    let (cd_even, cd_odd) = (vtrn1q_s32(c, d), vtrn2q_s32(c, d));
    let [ab_even, ab_odd, cd_even, cd_odd] = [
        vreinterpretq_s64_s32(ab_even),
        vreinterpretq_s64_s32(ab_odd),
        vreinterpretq_s64_s32(cd_even),
        vreinterpretq_s64_s32(cd_odd),
    ];
    [
        vreinterpretq_s32_s64(vtrn1q_s64(ab_even, cd_even)),
        vreinterpretq_s32_s64(vtrn1q_s64(ab_odd, cd_odd)),
        vreinterpretq_s32_s64(vtrn2q_s64(ab_even, cd_even)),
        vreinterpretq_s32_s64(vtrn2q_s64(ab_odd, cd_odd)),
    ]
}

/// Lane `i` is the sum of all lanes of register `i`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn reduce(x: &[int32x4_t; 4]) -> int32x4_t {
    let [a, b, c, d] = *x;
    vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))
}
