//! Registers of eight 32-bit lanes: loads and stores of parts, transposition, sums across.

use core::arch::x86_64::*;

use super::product::Register;
use crate::parts::padded;

/// The first 8 numbers, or as many as there are; the other lanes are 0.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_f32(x: &[f32]) -> __m256 {
    let x = padded::<f32, 8>(x);
    // SAFETY: the array is as large as the register.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

/// The first 16 numbers, or as many as there are; the other lanes are 0.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_i16(x: &[i16]) -> __m256i {
    let x = padded::<i16, 16>(x);
    // SAFETY: the array is as large as the register.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

/// The first 16 numbers, or as many as there are; the other lanes are 0.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_i8(x: &[i8]) -> __m128i {
    let x = padded::<i8, 16>(x);
    // SAFETY: the array is as large as the register.
    unsafe { _mm_loadu_si128(x.as_ptr().cast()) }
}

/// The first 32 numbers, or as many as there are; the other bytes are 0.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_wide_i8(x: &[i8]) -> __m256i {
    let x = padded::<i8, 32>(x);
    // SAFETY: the array is as large as the register.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

/// What [`to_array`] gives.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_lanes(x: &[i32; 8]) -> __m256i {
    // SAFETY: the array is as large as the register.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

/// Stores as many numbers as there is room for.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_f32(x: &mut [f32], values: __m256) {
    if let Some(x) = x.first_chunk_mut::<8>() {
        // SAFETY: the array is as large as the register.
        return unsafe { _mm256_storeu_ps(x.as_mut_ptr(), values) };
    }
    let values = to_array(_mm256_castps_si256(values));
    x.iter_mut().zip(values).for_each(|(x, value)| *x = f32::from_bits(value.cast_unsigned()));
}

/// The lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn to_array(x: __m256i) -> [i32; 8] {
    let mut lanes = [0; 8];
    // SAFETY: the array is as large as the register.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), x) };
    lanes
}

/// Lane `i` of register `j` goes to lane `j` of register `i`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn transpose(rows: &[__m256i; 8]) -> [__m256i; 8] {
    // Within halves first, then the halves.
    let mut fours = [_mm256_setzero_si256(); 8];
    for i in [0, 4] {
        let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        fours[i] = _mm256_unpacklo_epi64(ab_low, cd_low);
        fours[i + 1] = _mm256_unpackhi_epi64(ab_low, cd_low);
        fours[i + 2] = _mm256_unpacklo_epi64(ab_high, cd_high);
        fours[i + 3] = _mm256_unpackhi_epi64(ab_high, cd_high);
    }
    let mut columns = [_mm256_setzero_si256(); 8];
    for i in 0..4 {
        columns[i] = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20);
        columns[i + 4] = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31);
    }
    columns
}

/// Lane `i` is the sum of all lanes of register `i`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn reduce(x: &[__m256i; 8]) -> __m256i {
    let [a, b, c, d, e, f, g, h] = *x;
    let low = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let high = _mm256_hadd_epi32(_mm256_hadd_epi32(e, f), _mm256_hadd_epi32(g, h));
    let [first, second] =
        [_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31)];
    _mm256_add_epi32(first, second)
}

// Its callers have the instructions, and pointers to numbers that are there: what Register's functions ask for.
impl Register for __m256 {
    const LANES: usize = 8;
    const NUM_SUMS: usize = 12;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(x: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn load_part(x: &[f32]) -> Self {
        // SAFETY: the caller's promise.
        unsafe { load_f32(x) }
    }

    #[inline(always)]
    unsafe fn store(self, x: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(x, self) }
    }

    #[inline(always)]
    unsafe fn store_part(self, x: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe { store_f32(x, self) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, y: Self, z: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_fmadd_ps(self, y, z) }
    }

    #[inline(always)]
    unsafe fn multiply_then_add(self, y: Self, z: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_add_ps(_mm256_mul_ps(self, y), z) }
    }

    #[inline(always)]
    unsafe fn multiply(self, y: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_mul_ps(self, y) }
    }

    #[inline(always)]
    unsafe fn add(self, y: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_add_ps(self, y) }
    }

    #[inline(always)]
    unsafe fn larger(self, y: Self) -> Self {
        // SAFETY: the caller's promise. The instruction gives its second operand where one is NaN.
        unsafe { _mm256_max_ps(y, self) }
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        // SAFETY: the caller's promise. The shift drops all bits of the rounder but those that n changes.
        unsafe {
            let bits = _mm256_slli_epi32::<23>(_mm256_castps_si256(self));
            _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_castps_si256(_mm256_set1_ps(1.0))))
        }
    }
}
