//! Registers of four 32-bit lanes: loads and stores of parts, transposition, sums across.

use core::arch::wasm32::*;

use crate::parts::padded;

/// The first 4 numbers, or as many as there are; the other lanes are 0.
#[inline(always)]
pub(super) fn load_f32(x: &[f32]) -> v128 {
    let x = padded::<f32, 4>(x);
    // SAFETY: the array is as large as the register.
    unsafe { v128_load(x.as_ptr().cast()) }
}

/// The first 8 numbers, or as many as there are; the other lanes are 0.
#[inline(always)]
pub(super) fn load_i16(x: &[i16]) -> v128 {
    let x = padded::<i16, 8>(x);
    // SAFETY: the array is as large as the register.
    unsafe { v128_load(x.as_ptr().cast()) }
}

/// The first 8 numbers, or as many as there are, in 16 bits; the other lanes are 0.
#[inline(always)]
pub(super) fn load_i8(x: &[i8]) -> v128 {
    let x = padded::<i8, 8>(x);
    // SAFETY: the array holds the eight bytes that are read.
    unsafe { i16x8_load_extend_i8x8(x.as_ptr()) }
}

/// The four lanes.
#[inline(always)]
pub(super) fn to_array(x: v128) -> [i32; 4] {
    let mut lanes = [0; 4];
    // SAFETY: the array is as large as the register.
    unsafe { v128_store(lanes.as_mut_ptr().cast(), x) };
    lanes
}

/// Stores as many numbers as there is room for.
#[inline(always)]
pub(super) fn store_f32(x: &mut [f32], values: v128) {
    let mut lanes = [0.0; 4];
    // SAFETY: the array is as large as the register.
    unsafe { v128_store(lanes.as_mut_ptr().cast(), values) };
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
