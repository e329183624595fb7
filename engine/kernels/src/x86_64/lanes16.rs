//! Registers of sixteen 32-bit lanes: loads and stores of parts, transposition, sums across.

use core::arch::x86_64::*;

use super::product::Register;
use crate::parts::tail;

/// The first 16 numbers, or as many as there are; the other lanes are 0.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_f32(x: &[f32]) -> __m512 {
    let mask = first_lanes(x.len(), 16) as __mmask16;
    // SAFETY: every lane of the mask lies in the slice; the others are not accessed.
    unsafe { _mm512_maskz_loadu_ps(mask, x.as_ptr()) }
}

/// The first 32 numbers, or as many as there are; the other lanes are 0.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn load_i16(x: &[i16]) -> __m512i {
    let mask = first_lanes(x.len(), 32) as __mmask32;
    // SAFETY: every lane of the mask lies in the slice; the others are not accessed.
    unsafe { _mm512_maskz_loadu_epi16(mask, x.as_ptr()) }
}

/// The first 64 numbers, or as many as there are; the other lanes are 0.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn load_i8(x: &[i8]) -> __m512i {
    let mask = first_lanes(x.len(), 64);
    // SAFETY: every lane of the mask lies in the slice; the others are not accessed.
    unsafe { _mm512_maskz_loadu_epi8(mask, x.as_ptr()) }
}

/// The first 32 numbers in 16 bits, or as many as there are; the other lanes are 0.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
pub(super) fn load_i8_as_i16(x: &[i8]) -> __m512i {
    let mask = first_lanes(x.len(), 32) as __mmask32;
    // SAFETY: every lane of the mask lies in the slice; the others are not accessed.
    _mm512_cvtepi8_epi16(unsafe { _mm256_maskz_loadu_epi8(mask, x.as_ptr()) })
}

/// The first 64 numbers in int8, or as many as there are; the other lanes are 0. Each number is an int8 one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load_i16_as_i8(x: &[i16]) -> __m512i {
    let low = _mm512_cvtepi16_epi8(load_i16(x));
    let high = _mm512_cvtepi16_epi8(load_i16(tail(x, 32)));
    _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1)
}

/// The first 64 numbers, or as many as there are, times `factor` in int8; the other lanes are 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load_f32_as_i8(x: &[f32], factor: __m512) -> __m512i {
    let quarter = |n: usize| {
        let numbers = match x.first_chunk::<64>() {
            // Known to be whole: no mask has to be made.
            Some(x) => load_f32(&x[16 * n..16 * n + 16]),
            None => load_f32(tail(x, 16 * n)),
        };
        _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(numbers, factor)))
    };
    let low = _mm256_inserti128_si256(_mm256_castsi128_si256(quarter(0)), quarter(1), 1);
    let high = _mm256_inserti128_si256(_mm256_castsi128_si256(quarter(2)), quarter(3), 1);
    _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1)
}

/// Stores as many numbers as there is room for.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_f32(x: &mut [f32], values: __m512) {
    if let Some(x) = x.first_chunk_mut::<16>() {
        // SAFETY: the array is as large as the register. (Without a mask: those stores are slow on Zen 4.)
        return unsafe { _mm512_storeu_ps(x.as_mut_ptr(), values) };
    }
    let mask = first_lanes(x.len(), 16) as __mmask16;
    // SAFETY: every lane of the mask lies in the slice; the others are not accessed.
    unsafe { _mm512_mask_storeu_ps(x.as_mut_ptr(), mask, values) }
}

/// A bit for each of the first `len` of `lanes` (at most 64) lanes.
#[inline(always)]
fn first_lanes(len: usize, lanes: usize) -> u64 {
    let missing = lanes - len.min(lanes);
    if missing == lanes { 0 } else { u64::MAX >> (64 - lanes + missing) }
}

/// Lane `i` of register `j` goes to lane `j` of register `i`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(rows: &[__m512i; 16]) -> [__m512i; 16] {
    // Within parts of four lanes first, then the parts.
    let mut fours = [_mm512_setzero_si512(); 16];
    for i in (0..16).step_by(4) {
        let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        fours[i] = _mm512_unpacklo_epi64(ab_low, cd_low);
        fours[i + 1] = _mm512_unpackhi_epi64(ab_low, cd_low);
        fours[i + 2] = _mm512_unpacklo_epi64(ab_high, cd_high);
        fours[i + 3] = _mm512_unpackhi_epi64(ab_high, cd_high);
    }
    let mut columns = [_mm512_setzero_si512(); 16];
    for i in 0..4 {
        let [a, b, c, d] = [fours[i], fours[i + 4], fours[i + 8], fours[i + 12]];
        let (ab_even, ab_odd) = (_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
        let (cd_even, cd_odd) = (_mm512_shuffle_i32x4(c, d, 0x88), _mm512_shuffle_i32x4(c, d, 0xdd));
        columns[i] = _mm512_shuffle_i32x4(ab_even, cd_even, 0x88);
        columns[i + 4] = _mm512_shuffle_i32x4(ab_odd, cd_odd, 0x88);
        columns[i + 8] = _mm512_shuffle_i32x4(ab_even, cd_even, 0xdd);
        columns[i + 12] = _mm512_shuffle_i32x4(ab_odd, cd_odd, 0xdd);
    }
    columns
}

/// Lane `i` is the sum of all lanes of register `i`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn reduce(x: &[__m512i; 16]) -> __m512i {
    let mut parts = [_mm512_setzero_si512(); 4];
    for (part, x) in parts.iter_mut().zip(x.as_chunks::<4>().0) {
        let [a, b, c, d] = *x;
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        *part = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    }
    let [a, b, c, d] = parts;
    let ab = _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x44), _mm512_shuffle_i32x4(a, b, 0xee));
    let cd = _mm512_add_epi32(_mm512_shuffle_i32x4(c, d, 0x44), _mm512_shuffle_i32x4(c, d, 0xee));
    _mm512_add_epi32(_mm512_shuffle_i32x4(ab, cd, 0x88), _mm512_shuffle_i32x4(ab, cd, 0xdd))
}

// Its callers have the instructions, and pointers to numbers that are there: what Register's functions ask for.
impl Register for __m512 {
    const LANES: usize = 16;
    const NUM_SUMS: usize = 24;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(x: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn load_part(x: &[f32]) -> Self {
        // SAFETY: the caller's promise.
        unsafe { load_f32(x) }
    }

    #[inline(always)]
    unsafe fn store(self, x: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(x, self) }
    }

    #[inline(always)]
    unsafe fn store_part(self, x: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe { store_f32(x, self) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, y: Self, z: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_fmadd_ps(self, y, z) }
    }

    #[inline(always)]
    unsafe fn multiply_then_add(self, y: Self, z: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_add_ps(_mm512_mul_ps(self, y), z) }
    }

    #[inline(always)]
    unsafe fn multiply(self, y: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mul_ps(self, y) }
    }

    #[inline(always)]
    unsafe fn add(self, y: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_add_ps(self, y) }
    }

    #[inline(always)]
    unsafe fn larger(self, y: Self) -> Self {
        // SAFETY: the caller's promise. The instruction gives its second operand where one is NaN.
        unsafe { _mm512_max_ps(y, self) }
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        // SAFETY: the caller's promise. The shift drops all bits of the rounder but those that n changes.
        unsafe {
            let bits = _mm512_slli_epi32::<23>(_mm512_castps_si512(self));
            _mm512_castsi512_ps(_mm512_add_epi32(bits, _mm512_castps_si512(_mm512_set1_ps(1.0))))
        }
    }
}
