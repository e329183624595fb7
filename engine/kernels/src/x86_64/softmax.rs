//! Attention's weights in registers: the definition's exponential, two registers at a time, so that one's operations fill the time in
//! which the other's wait for each other.

use core::array::from_fn;

use super::product::Register;
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
