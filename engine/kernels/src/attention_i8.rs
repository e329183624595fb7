//! One attention head as in [`attention`](crate::attention), with the products of queries and keys, and of weights and values, in int8.
//!
//! ```text
//! score[i][j]  = scale * (qs[i] * ks[j]) * (sum over d of q8[i][d] * k8[j][d]) + gate(q[i]) * bias[distance from i to j]
//! weight[i][j] = round(127 exp(score[i][j] - max))                                  0..=127, ties to even
//! out[i][d]    = vs[d] * (sum over j of weight[i][j] * v8[j][d])  /  sum over j of weight[i][j]
//! ```
//! A query has a scale of its own, and so has a key; a dimension of the values has one for all keys. The sums of int8 are exact; a weight that
//! is rounded to 0 is missing in the sum of weights, too. Where a value is one number it stays in f32, and weights are not rounded.
//!
//! The exponential is one that is good enough for that: `n = round(x)`, `f = x - n` of `x = (score - max) / ln 2`, -120 at least, and
//! `127 e^(score - max) = 2^n (127 + f (c1 + f (c2 + f c3)))`, which is off by 1.1e-4 of it at most. That of the largest score is 127.

use core::hint::black_box;

use crate::Kernels;
use crate::attention::{Keys, MAX_QUERY_TILE, Scores, attend_by, attend_to_numbers_by};
use crate::gemm_i8::{Int8Weights, QuantisedRows};
use crate::lanes::{self, LANES};
use crate::math::ROUNDER;
use crate::matrix::{Matrix, MatrixMut};

/// Replaces `queries` `[num_queries, head_dim]` by what they find: keys are `[num_keys, head_dim]`, `values` `[head_dim, num_keys]`,
/// `scratch` as for [`attention::attend`](crate::attention::attend); `quantised` holds a query and a row of weights at least, and
/// limits the queries at a time like `scratch`. The products are those of `kernels`.
///
/// # Panics
/// If the sizes do not fit together.
#[inline(always)]
pub fn attend(
    kernels: &Kernels,
    queries: &mut MatrixMut<'_>,
    keys: &Keys<'_, Int8Weights<'_>>,
    values: Int8Weights<'_>,
    scratch: &mut [f32],
    quantised: &mut [i16],
) {
    let num_keys = keys.keys.num_outputs();
    let mut scores = Int8Scores { keys: keys.keys, quantised, kernels };
    let weighted = |scores: &Int8Scores<'_>, weights: Matrix<'_>, found: &mut MatrixMut<'_>| {
        let scales = &[1.0; MAX_QUERY_TILE][..weights.num_rows()];
        let rows = QuantisedRows { data: scores.quantised, stride: num_keys, scales };
        kernels.gemm_i8(rows, values, None, found);
    };
    attend_by(queries, keys, &mut scores, weighted, scratch);
}

/// Adds to `out` `[num_queries]` what the `queries` find where a value is one number, in f32: `values` is `[num_keys]`, all else as for
/// [`attend`].
///
/// # Panics
/// If the sizes do not fit together.
#[inline(always)]
pub fn attend_to_numbers(
    kernels: &Kernels,
    queries: Matrix<'_>,
    keys: &Keys<'_, Int8Weights<'_>>,
    values: &[f32],
    out: &mut [f32],
    scratch: &mut [f32],
    quantised: &mut [i16],
) {
    let mut scores = Int8Scores { keys: keys.keys, quantised, kernels };
    attend_to_numbers_by(queries, keys, values, out, &mut scores, scratch);
}

/// Scores of int8; weights in int8, too, which go to `quantised`.
struct Int8Scores<'a> {
    keys: Int8Weights<'a>,
    quantised: &'a mut [i16],
    kernels: &'a Kernels,
}

impl Scores for Int8Scores<'_> {
    #[inline(always)]
    fn num_keys(&self) -> usize {
        self.keys.num_outputs()
    }

    #[inline(always)]
    fn max_queries(&self) -> usize {
        self.quantised.len() / self.num_keys().max(1)
    }

    #[inline(always)]
    fn scores(&mut self, queries: Matrix<'_>, scores: &mut MatrixMut<'_>) {
        self.kernels.linear_i8(queries, self.keys, None, scores, self.quantised);
    }

    #[inline(always)]
    fn weigh(&mut self, i: usize, scores: &mut [f32], max: f32) -> f32 {
        let num_keys = scores.len();
        self.kernels.weights_i8(scores, max, &mut self.quantised[i * num_keys..][..num_keys])
    }

    #[inline(always)]
    fn find_number(&mut self, scores: &mut [f32], max: f32, values: &[f32]) -> f32 {
        self.kernels.mean_i8(scores, max, values)
    }
}

/// The weights of keys with these scores, of which the largest is `max`; gives their sum, which is exact.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn weights(scores: &[f32], max: f32, weights: &mut [i16]) -> f32 {
    assert_eq!(scores.len(), weights.len());
    let ((blocks, rest), (places, places_rest)) =
        (scores.as_chunks::<LANES>(), weights.as_chunks_mut::<LANES>());
    let mut lanes = [0.0; LANES];
    for (block, place) in blocks.iter().zip(places) {
        let mut shifted = [0.0; LANES];
        for ((lane, shifted), s) in lanes.iter_mut().zip(&mut shifted).zip(block) {
            *shifted = weight(*s, max) + ROUNDER;
            *lane += *shifted - ROUNDER;
        }
        place.iter_mut().zip(&shifted).for_each(|(place, shifted)| *place = low_bits(*shifted));
    }
    let mut sum = lanes::fold(black_box(lanes), |a, b| a + b);
    for (s, place) in rest.iter().zip(places_rest) {
        let shifted = weight(*s, max) + ROUNDER;
        *place = low_bits(shifted);
        sum += shifted - ROUNDER;
    }
    sum
}

/// The mean of `values`, weighed by what the [`weights`] of keys with these scores, of which the largest is `max`, are before they are
/// rounded; sums are taken as in [`lanes::dot`].
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn mean(scores: &[f32], max: f32, values: &[f32]) -> f32 {
    assert_eq!(scores.len(), values.len());
    let ((blocks, rest), (value_blocks, values_rest)) =
        (scores.as_chunks::<LANES>(), values.as_chunks::<LANES>());
    let (mut sums, mut products) = ([0.0; LANES], [0.0; LANES]);
    for (block, values) in blocks.iter().zip(value_blocks) {
        for (((sum, product), s), v) in sums.iter_mut().zip(&mut products).zip(block).zip(values) {
            let weight = weight(*s, max);
            *sum += weight;
            *product += weight * v;
        }
    }
    let [mut sum, mut product] = [sums, products].map(|lanes| lanes::fold(black_box(lanes), |a, b| a + b));
    for (s, v) in rest.iter().zip(values_rest) {
        let weight = weight(*s, max);
        sum += weight;
        product += weight * v;
    }
    product / sum
}

/// A weight, not rounded.
#[inline(always)]
fn weight(score: f32, max: f32) -> f32 {
    let x = (score - max) * core::f32::consts::LOG2_E;
    let x = if x < LEAST_POWER { LEAST_POWER } else { x };
    let shifted = x + ROUNDER;
    let f = x - (shifted - ROUNDER);
    let [c1, c2, c3] = POWER_OF_TWO;
    let p = 127.0 + f * (c1 + f * (c2 + f * c3));
    // The low bits of `shifted` hold n, which is added to the exponent.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// The whole number, 0 to 127, of its sum with [`ROUNDER`].
#[inline(always)]
fn low_bits(shifted: f32) -> i16 {
    shifted.to_bits() as i16
}

/// Of two, the least that a weight takes.
pub(crate) const LEAST_POWER: f32 = -120.0;

/// `c1` to `c3`: the polynomial whose error, relative to `2^f` for `f` from -1/2 to 1/2, is the least, 1.0e-4.
pub(crate) const POWER_OF_TWO: [f32; 3] = [88.046_93, 30.760_792, 6.986_134_5];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{RelativeBias, attend as attend_exactly};
    use crate::gemm_i8::quantise;
    use std::vec;
    use std::vec::Vec;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    /// `[rows, cols]` in int8, and the scales of the rows.
    fn in_int8(x: &[f32], cols: usize) -> (Vec<i8>, Vec<f32>) {
        let mut q = vec![0; cols];
        let rows = x.chunks_exact(cols).map(|row| {
            let scale = quantise(row, &mut q);
            (q.iter().map(|q| *q as i8).collect::<Vec<_>>(), scale)
        });
        let (rows, scales): (Vec<_>, Vec<_>) = rows.unzip();
        (rows.concat(), scales)
    }

    fn transposed(x: &[f32], cols: usize) -> Vec<f32> {
        (0..cols).flat_map(|j| x.iter().skip(j).step_by(cols).copied()).collect()
    }

    #[test]
    fn is_near_attention_in_f32() {
        let (dim, num_queries, num_before) = (16, 40, 30);
        let num_keys = num_before + num_queries;
        for (size, bound) in [(0.2, 0.01), (1.0, 0.02), (5.0, 0.05)] {
            let mut q = numbers(num_queries * dim, 1);
            q.iter_mut().for_each(|q| *q *= size);
            // [num_keys, dim]
            let (k, v) = (numbers(num_keys * dim, 2), numbers(num_keys * dim, 3));
            let by_distance = numbers(41, 4);
            let bias = Some(RelativeBias { by_distance: &by_distance, gate: None });
            let mut scratch = vec![f32::NAN; 48 * num_keys];
            let k_columns = transposed(&k, dim);
            let keys = Keys { keys: Matrix::new(&k_columns, num_keys), num_before, scale: 0.25, bias };
            let mut expected = q.clone();
            attend_exactly(
                &mut MatrixMut::new(&mut expected, dim),
                &keys,
                Matrix::new(&v, dim),
                &mut scratch,
            );
            let ((k8, key_scales), (v8, value_scales)) =
                (in_int8(&k, dim), in_int8(&transposed(&v, dim), num_keys));
            let keys = Keys { keys: Int8Weights::new(&k8, &key_scales, dim), num_before, scale: 0.25, bias };
            let values = Int8Weights::new(&v8, &value_scales, num_keys);
            let mut actual = q.clone();
            Kernels::SCALAR.attend_i8(
                &mut MatrixMut::new(&mut actual, dim),
                &keys,
                values,
                &mut scratch,
                &mut vec![0; 5 * num_keys],
            );
            let largest = actual.iter().zip(&expected).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max);
            assert!(largest > 0.0 && largest < bound, "{size}: {largest}");
        }
    }

    #[test]
    fn weights_are_near_the_exponential() {
        let scores: Vec<f32> =
            (0..60_001).map(|i| i as f32 * -1e-3).chain([-1e30, f32::NEG_INFINITY]).collect();
        for max in [0.0, -3.3, 17.0] {
            let scores: Vec<f32> = scores.iter().map(|s| s + max).collect();
            let mut found = vec![-1; scores.len()];
            let sum = weights(&scores, max, &mut found);
            assert_eq!(sum, found.iter().map(|w| f32::from(*w)).sum::<f32>());
            assert_eq!((found[0], found.iter().min(), found.iter().max()), (127, Some(&0), Some(&127)));
            for (s, w) in scores.iter().zip(&found) {
                let exact = 127.0 * f64::from(s - max).exp();
                assert!((f64::from(*w) - exact).abs() < 0.52, "{s} {max}: {w} {exact}");
                // Of two scores, the mean of 0 and 1 is the second's share.
                let share = f64::from(mean(&[max, *s], max, &[0.0, 1.0]));
                assert!(
                    (share / (exact / (127.0 + exact)) - 1.0).abs() < 1.5e-4 || exact < 1e-30,
                    "{s} {max}: {share}"
                );
            }
        }
    }

    #[test]
    fn a_key_far_above_the_others_is_found_alone() {
        let keys = [0, 0, 127, 0, 0, 0, -127, 0];
        let values = [10, 20, 127, 40];
        let keys =
            Keys { keys: Int8Weights::new(&keys, &[1.0; 4], 2), num_before: 3, scale: 1.0, bias: None };
        let mut query = [1.0, 0.0];
        let mut queries = MatrixMut::new(&mut query[..2], 2);
        let values = [values, [1, 2, 3, 4]].concat();
        let values = Int8Weights::new(&values, &[0.5, 2.0], 4);
        // The second key's score is 127, the others' are 0 and -127.
        Kernels::SCALAR.attend_i8(&mut queries, &keys, values, &mut [0.0; 4], &mut [0; 4]);
        assert_eq!(query, [10.0, 4.0]);
    }
}
