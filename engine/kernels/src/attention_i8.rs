//! One attention head as in [`attention`](crate::attention), with the products of queries and keys, and of weights and values, in int8.
//!
//! ```text
//! score[i][j]  = scale * (qs[i] * ks[j]) * (sum over d of q8[i][d] * k8[j][d]) + gate(q[i]) * bias[distance from i to j]
//! weight[i][j] = round(127 exp(score[i][j] - max))                                  0..=127, ties to even
//! out[i][d]    = vs[d] * (sum over j of weight[i][j] * v8[j][d])  /  sum over j of weight[i][j]
//! ```
//! A query has a scale of its own, and so has a key; a dimension of the values has one for all keys. The sums are exact; a weight that is
//! rounded to 0 is missing in the sum of weights, too.

use crate::attention::{Keys, Products, attend_by};
use crate::gemm_i8::Int8Weights;
use crate::math::{exp_of_negative, whole};
use crate::matrix::{Matrix, MatrixMut};
use crate::{Kernels, lanes};

/// Replaces `queries` `[num_queries, head_dim]` by what they find: keys are `[num_keys, head_dim]`, `values` `[head_dim, num_keys]`,
/// `scratch` as for [`attention::attend`](crate::attention::attend), `quantised` holds a query and a row of weights at least.
///
/// # Panics
/// If the sizes do not fit together.
pub fn attend(
    queries: &mut MatrixMut<'_>,
    keys: &Keys<'_, Int8Weights<'_>>,
    values: Int8Weights<'_>,
    scratch: &mut [f32],
    quantised: &mut [i16],
) {
    attend_with(queries, keys, values, scratch, quantised, Kernels::SCALAR);
}

/// [`attend`] with a table's products.
#[inline(always)]
pub(crate) fn attend_with(
    queries: &mut MatrixMut<'_>,
    keys: &Keys<'_, Int8Weights<'_>>,
    values: Int8Weights<'_>,
    scratch: &mut [f32],
    quantised: &mut [i16],
    kernels: &'static Kernels,
) {
    attend_by(queries, keys, &mut Int8Products { keys: keys.keys, values, quantised, kernels }, scratch);
}

struct Int8Products<'a> {
    keys: Int8Weights<'a>,
    values: Int8Weights<'a>,
    quantised: &'a mut [i16],
    kernels: &'static Kernels,
}

impl Products for Int8Products<'_> {
    #[inline(always)]
    fn num_keys(&self) -> usize {
        self.keys.num_outputs()
    }

    #[inline(always)]
    fn scores(&mut self, queries: Matrix<'_>, scores: &mut MatrixMut<'_>) {
        self.kernels.linear_i8(queries, self.keys, None, scores, self.quantised);
    }

    #[inline(always)]
    fn weights(&self, scores: &mut [f32], max: f32) -> f32 {
        lanes::map_and_sum(scores, |s| whole(127.0 * exp_of_negative(s - max)))
    }

    /// The largest weight of a row is 127, that of the largest score: the rows are int8 with a scale of 1.
    #[inline(always)]
    fn weighted(&mut self, weights: Matrix<'_>, found: &mut MatrixMut<'_>) {
        self.kernels.linear_i8(weights, self.values, None, found, self.quantised);
    }
}

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
            attend(
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
        attend(&mut queries, &keys, values, &mut [0.0; 4], &mut [0; 4]);
        assert_eq!(query, [10.0, 4.0]);
    }
}
