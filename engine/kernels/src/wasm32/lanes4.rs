//! Registers of four 32-bit lanes: loads and stores of parts, transposition, sums across.

use core::arch::wasm32::*;

use crate::parts::padded;

/// The first 4 numbers, or as many as there are; the other lanes are 0.
#[inline(always)]
pub(super) fn load_f32(x: &[f32]) -> v128 {
    let [a, b, c, d] = padded::<f32, 4>(x);
    f32x4(a, b, c, d)
}

/// The first 8 numbers, or as many as there are; the other lanes are 0.
#[inline(always)]
pub(super) fn load_i16(x: &[i16]) -> v128 {
    let [a, b, c, d, e, f, g, h] = padded::<i16, 8>(x);
    i16x8(a, b, c, d, e, f, g, h)
}

/// The first 8 numbers, or as many as there are, in 16 bits; the other lanes are 0.
#[inline(always)]
pub(super) fn load_i8(x: &[i8]) -> v128 {
    let low = u64::from_le_bytes(padded::<i8, 8>(x).map(i8::cast_unsigned));
    i16x8_extend_low_i8x16(u64x2(low, 0))
}

/// Stores as many numbers as there is room for.
#[inline(always)]
pub(super) fn store_f32(x: &mut [f32], values: v128) {
    let lanes = [
        f32x4_extract_lane::<0>(values),
        f32x4_extract_lane::<1>(values),
        f32x4_extract_lane::<2>(values),
        f32x4_extract_lane::<3>(values),
    ];
    match x.first_chunk_mut::<4>() {
        Some(x) => *x = lanes,
        None => x.iter_mut().zip(lanes).for_each(|(x, value)| *x = value),
    }
}

/// Lane `i` of register `j` goes to lane `j` of register `i`.
#[inline(always)]
pub(super) fn transpose(rows: &[v128; 4]) -> [v128; 4] {
    let [a, b, c, d] = *rows;
    let (ab_low, ab_high) = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<2, 6, 3, 7>(a, b));
    let (cd_low, cd_high) = (i32x4_shuffle::<0, 4, 1, 5>(c, d), i32x4_shuffle::<2, 6, 3, 7>(c, d));
    [
        i64x2_shuffle::<0, 2>(ab_low, cd_low),
        i64x2_shuffle::<1, 3>(ab_low, cd_low),
        i64x2_shuffle::<0, 2>(ab_high, cd_high),
        i64x2_shuffle::<1, 3>(ab_high, cd_high),
    ]
}

/// Lane `i` is the sum of all lanes of register `i`.
#[inline(always)]
pub(super) fn reduce(x: &[v128; 4]) -> v128 {
    let [a, b, c, d] = transpose(x);
    i32x4_add(i32x4_add(a, b), i32x4_add(c, d))
}
