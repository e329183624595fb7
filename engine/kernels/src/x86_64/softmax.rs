//! Attention's weights in registers: the definition's exponential, two registers at a time, so that one's operations fill the time in
//! which the other's wait for each other.

use core::arch::x86_64::*;
use core::array::from_fn;

use super::lanes16::{load_f32, store_f32};
use super::product::Register;
use crate::attention_i8::{LEAST_POWER, POWER_OF_TWO};
use crate::lanes::{LANES, fold};
use crate::math::{EXP, LEAST_EXPONENT, LN_2_HIGH, LN_2_LOW, ROUNDER};

/// [`attention::weights`](crate::attention::weights), but for the rounding that the register's `multiply_add` has.
///
/// # Safety
/// The processor has the register's instructions.
#[inline(always)]
pub(super) unsafe fn weights<R: Register>(scores: &mut [f32], max: f32) -> f32 {
    let num_whole = scores.len() / LANES * LANES;
    let (whole, rest) = scores.split_at_mut(num_whole);
    let mut pairs = whole.chunks_exact_mut(2 * R::LANES);
    // SAFETY: the processor has the instructions, the caller says; a register's numbers are in the slices it is loaded from and
    // stored to.
    unsafe {
        // One register of sixteen lanes, or two of eight.
        let mut sums = [R::splat(0.0); 2];
        for pair in &mut pairs {
            let (a, b) = pair.split_at_mut(R::LANES);
            let [x, y] = exps([R::load(a.as_ptr()), R::load(b.as_ptr())], max);
            x.store(a.as_mut_ptr());
            y.store(b.as_mut_ptr());
            sums[0] = sums[0].add(x);
            let second = LANES / R::LANES - 1;
            sums[second] = sums[second].add(y);
        }
        let odd = pairs.into_remainder();
        if let Some(odd) = odd.get_mut(..R::LANES) {
            let [x] = exps([R::load(odd.as_ptr())], max);
            x.store(odd.as_mut_ptr());
            sums[0] = sums[0].add(x);
        }
        for rest in rest.chunks_mut(R::LANES) {
            let [x] = exps([R::load_part(rest)], max);
            x.store_part(rest);
        }
        let mut lanes = [0.0; LANES];
        for (lanes, sum) in lanes.chunks_exact_mut(R::LANES).zip(sums) {
            sum.store(lanes.as_mut_ptr());
        }
        rest.iter().fold(fold(lanes, |a, b| a + b), |sum, v| sum + v)
    }
}

/// `e^(x - max)`, as [`math::exp_of_negative`](crate::math) has it.
///
/// # Safety
/// The processor has the register's instructions.
#[inline(always)]
unsafe fn exps<R: Register, const N: usize>(x: [R; N], max: f32) -> [R; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let [c2, c3, c4, c5, c6] = EXP.map(|c| R::splat(c));
        let (rounder, one) = (R::splat(ROUNDER), R::splat(1.0));
        let x = x.map(|x| x.add(R::splat(-max)).larger(R::splat(LEAST_EXPONENT)));
        let shifted = x.map(|x| x.multiply_add(R::splat(core::f32::consts::LOG2_E), rounder));
        let n = shifted.map(|shifted| shifted.add(R::splat(-ROUNDER)));
        let r: [R; N] = from_fn(|i| n[i].multiply_add(R::splat(-LN_2_HIGH), x[i]));
        let r: [R; N] = from_fn(|i| n[i].multiply_add(R::splat(-LN_2_LOW), r[i]));
        let square = r.map(|r| r.multiply(r));
        let high: [R; N] = from_fn(|i| square[i].multiply_add(c6, r[i].multiply_add(c5, c4)));
        let low = r.map(|r| r.multiply_add(c3, c2));
        let p: [R; N] = from_fn(|i| square[i].multiply_add(high[i], low[i]));
        let p: [R; N] = from_fn(|i| square[i].multiply_add(p[i], r[i]));
        from_fn(|i| p[i].add(one).multiply(shifted[i].power_of_two()))
    }
}

/// [`attention_i8::weights`](crate::attention_i8::weights), with instructions of AVX-512 that round and scale.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn weights_i8(scores: &[f32], max: f32, weights: &mut [i16]) -> f32 {
    assert_eq!(scores.len(), weights.len());
    let ((blocks, rest), (places, places_rest)) = (scores.as_chunks::<16>(), weights.as_chunks_mut::<16>());
    let mut sums = _mm512_setzero_si512();
    for (block, place) in blocks.iter().zip(places) {
        let weights = _mm512_cvtps_epi32(weights_of(load_f32(block), max));
        sums = _mm512_add_epi32(sums, weights);
        // SAFETY: the array is as large as the register.
        unsafe { _mm256_storeu_si256(place.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(weights)) };
    }
    let mut sum = _mm512_reduce_add_epi32(sums);
    let weights = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(weights_of(load_f32(rest), max)));
    let mut lanes = [0; 16];
    // SAFETY: the array is as large as the register.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), weights) };
    for (place, weight) in places_rest.iter_mut().zip(lanes) {
        *place = weight;
        sum += i32::from(weight);
    }
    sum as f32
}

/// [`attention_i8::mean`](crate::attention_i8::mean), likewise.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn mean_i8(scores: &[f32], max: f32, values: &[f32]) -> f32 {
    assert_eq!(scores.len(), values.len());
    let ((blocks, rest), (value_blocks, values_rest)) = (scores.as_chunks::<16>(), values.as_chunks::<16>());
    let (mut sums, mut products) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    for (block, values) in blocks.iter().zip(value_blocks) {
        let weights = weights_of(load_f32(block), max);
        sums = _mm512_add_ps(sums, weights);
        products = _mm512_add_ps(products, _mm512_mul_ps(weights, load_f32(values)));
    }
    let (mut sum, mut product) = (across(sums), across(products));
    let mut weights = [0.0; LANES];
    store_f32(&mut weights, weights_of(load_f32(rest), max));
    for (weight, value) in weights.into_iter().zip(values_rest) {
        sum += weight;
        product += weight * value;
    }
    product / sum
}

/// The sum of the lanes, in the definition's order.
#[inline]
#[target_feature(enable = "avx512f")]
fn across(register: __m512) -> f32 {
    let mut lanes = [0.0; LANES];
    store_f32(&mut lanes, register);
    fold(lanes, |a, b| a + b)
}

/// The weights of 16 scores before they are rounded.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn weights_of(scores: __m512, max: f32) -> __m512 {
    let multiply_add = |a, b, c| _mm512_add_ps(_mm512_mul_ps(a, b), c);
    let log2_e = _mm512_set1_ps(core::f32::consts::LOG2_E);
    let x = _mm512_mul_ps(_mm512_sub_ps(scores, _mm512_set1_ps(max)), log2_e);
    let x = _mm512_max_ps(_mm512_set1_ps(LEAST_POWER), x);
    let n = _mm512_roundscale_ps::<NEAREST>(x);
    let f = _mm512_sub_ps(x, n);
    let [c1, c2, c3] = POWER_OF_TWO.map(|c| _mm512_set1_ps(c));
    let p = multiply_add(f, multiply_add(f, multiply_add(f, c3, c2), c1), _mm512_set1_ps(127.0));
    _mm512_scalef_ps(p, n)
}

/// To whole numbers, ties to even.
const NEAREST: i32 = 0;
