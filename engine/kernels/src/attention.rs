//! One attention head with the gated relative position bias, a few queries at a time.
//!
//! ```text
//! score[i][j] = scale * q[i] . k[j] + gate(q[i]) * bias[distance from i to j]
//! out[i]      = sum over j of exp(score[i][j] - max) * v[j]  /  sum over j of exp(score[i][j] - max)
//! ```
//! Scores exist for up to [`MAX_QUERY_TILE`] queries at a time, the bias only by distance; neither is ever a square.

use crate::gemm_f32::gemm;
use crate::lanes;
use crate::math::{exp, sigmoid};
use crate::matrix::{Matrix, MatrixMut};

/// What a head's queries see.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// `[head_dim, num_keys]`: a key per column, in order of time.
    pub keys: Matrix<'a>,
    /// How many of the keys lie before the first query.
    pub num_before: usize,
    /// Factor of the dot products.
    pub scale: f32,
    /// The position bias, if there is one.
    pub bias: Option<RelativeBias<'a>>,
}

/// The bias of one head by distance, key minus query.
#[derive(Clone, Copy, Debug)]
pub struct RelativeBias<'a> {
    /// Entry `far + distance` for distances `-far..=far`; what is farther takes the nearer end.
    pub by_distance: &'a [f32],
    /// How much of it each query takes; all, if absent.
    pub gate: Option<Gate<'a>>,
}

/// A query's factor of the bias: `a (b grep_a - 1) + 2` with `a, b = sigmoid(weight q + bias)`.
///
/// Source: BEATs (Chen et al. 2022), `grep_linear` with the sum over its four outputs per gate taken into the weights.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    /// `[2, head_dim]`
    pub weight: Matrix<'a>,
    /// `[2]`
    pub bias: &'a [f32],
    /// Factor of the second gate.
    pub grep_a: f32,
}

/// Replaces `queries` `[num_queries, head_dim]` by what they find: `values` is `[num_keys, head_dim]`, `scratch` holds the
/// scores of some of the queries, `num_keys` numbers each: the more at a time, up to [`MAX_QUERY_TILE`], the faster.
///
/// # Panics
/// If the sizes do not fit together.
pub fn attend(queries: &mut MatrixMut<'_>, keys: &Keys<'_>, values: Matrix<'_>, scratch: &mut [f32]) {
    attend_with(queries, keys, values, scratch, |a, b, c| gemm(a, b, None, c));
}

/// [`attend`] with another product `c = a b`.
#[inline(always)]
pub(crate) fn attend_with(
    queries: &mut MatrixMut<'_>,
    keys: &Keys<'_>,
    values: Matrix<'_>,
    scratch: &mut [f32],
    product: impl Fn(Matrix<'_>, Matrix<'_>, &mut MatrixMut<'_>) + Copy,
) {
    let num_queries = queries.num_rows();
    let tile_queries = tile_queries(keys, scratch);
    for first in (0..num_queries).step_by(tile_queries) {
        let mut tile = queries.rows_mut(first..(first + tile_queries).min(num_queries));
        let (mut weights, sums) = weights(tile.view(), keys, first, scratch, product);
        product(weights.rows_mut(0..tile.num_rows()).view(), values, &mut tile);
        for (i, sum) in sums[..tile.num_rows()].iter().enumerate() {
            let factor = 1.0 / sum;
            tile.row_mut(i).iter_mut().for_each(|v| *v *= factor);
        }
    }
}

/// Adds to `out` `[num_queries]` what the `queries` find where a value is one number: `values` is `[num_keys]`.
///
/// # Panics
/// If the sizes do not fit together.
pub fn attend_to_numbers(
    queries: Matrix<'_>,
    keys: &Keys<'_>,
    values: &[f32],
    out: &mut [f32],
    scratch: &mut [f32],
) {
    attend_to_numbers_with(queries, keys, values, out, scratch, |a, b, c| gemm(a, b, None, c));
}

/// [`attend_to_numbers`] with another product `c = a b`.
#[inline(always)]
pub(crate) fn attend_to_numbers_with(
    queries: Matrix<'_>,
    keys: &Keys<'_>,
    values: &[f32],
    out: &mut [f32],
    scratch: &mut [f32],
    product: impl Fn(Matrix<'_>, Matrix<'_>, &mut MatrixMut<'_>) + Copy,
) {
    let tile_queries = tile_queries(keys, scratch);
    for first in (0..queries.num_rows()).step_by(tile_queries) {
        let tile = queries.rows(first..(first + tile_queries).min(queries.num_rows()));
        let (weights, sums) = weights(tile, keys, first, scratch, product);
        for i in 0..tile.num_rows() {
            out[first + i] += lanes::dot(weights.view().row(i), values) / sums[i];
        }
    }
}

/// Queries whose scores `scratch` holds.
#[inline(always)]
fn tile_queries(keys: &Keys<'_>, scratch: &[f32]) -> usize {
    (scratch.len() / keys.keys.num_cols().max(1)).clamp(1, MAX_QUERY_TILE)
}

/// `exp(score - max)` of each query and key, and each query's sum of them. The first of the queries is query `first`.
#[inline(always)]
fn weights<'s>(
    queries: Matrix<'_>,
    keys: &Keys<'_>,
    first: usize,
    scratch: &'s mut [f32],
    product: impl Fn(Matrix<'_>, Matrix<'_>, &mut MatrixMut<'_>),
) -> (MatrixMut<'s>, [f32; MAX_QUERY_TILE]) {
    let (num_queries, num_keys) = (queries.num_rows(), keys.keys.num_cols());
    let mut scores = MatrixMut::new(&mut scratch[..num_queries * num_keys], num_keys);
    let mut sums = [0.0; MAX_QUERY_TILE];
    product(queries, keys.keys, &mut scores);
    for (i, sum) in sums[..num_queries].iter_mut().enumerate() {
        let row = scores.row_mut(i);
        row.iter_mut().for_each(|s| *s *= keys.scale);
        if let Some(bias) = &keys.bias {
            let nearest = -((keys.num_before + first + i) as isize);
            add_bias(row, bias.by_distance, nearest, bias.gate.map_or(1.0, |gate| gate.of(queries.row(i))));
        }
        let max = lanes::max(row);
        row.iter_mut().for_each(|s| *s = exp(*s - max));
        *sum = lanes::sum(row);
    }
    (scores, sums)
}

/// Adds `factor` times the bias to a row of scores whose first key lies at `distance` from the query.
#[inline(always)]
fn add_bias(row: &mut [f32], by_distance: &[f32], distance: isize, factor: f32) {
    let far = (by_distance.len() / 2) as isize;
    let index = |d: isize| (d + far).clamp(0, 2 * far) as usize;
    // Keys before the table's first distance, then those within it, then those past its last.
    let num_before = (-far - distance).clamp(0, row.len() as isize) as usize;
    let (before, rest) = row.split_at_mut(num_before);
    let start = index(distance + num_before as isize);
    let num_within = rest.len().min(by_distance.len() - start);
    let (within, after) = rest.split_at_mut(num_within);
    before.iter_mut().for_each(|s| *s += factor * by_distance[0]);
    within.iter_mut().zip(&by_distance[start..]).for_each(|(s, b)| *s += factor * b);
    after.iter_mut().for_each(|s| *s += factor * by_distance[by_distance.len() - 1]);
}

impl Gate<'_> {
    #[inline(always)]
    fn of(&self, query: &[f32]) -> f32 {
        let (a, b) = (self.part(0, query), self.part(1, query));
        a * (b * self.grep_a - 1.0) + 2.0
    }

    #[inline(always)]
    fn part(&self, i: usize, query: &[f32]) -> f32 {
        sigmoid(lanes::dot(self.weight.row(i), query) + self.bias[i])
    }
}

/// The most queries whose scores exist at a time.
pub const MAX_QUERY_TILE: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    /// Plain attention in f64.
    fn reference(q: &[f32], keys: &Keys<'_>, v: &[f32], dim: usize) -> Vec<f64> {
        let (num_keys, wide) = (keys.keys.num_cols(), |x: f32| f64::from(x));
        let mut out = Vec::new();
        for (i, q) in q.chunks_exact(dim).enumerate() {
            let score = |j: usize| {
                let dot: f64 = (0..dim).map(|d| wide(q[d]) * wide(keys.keys.row(d)[j])).sum();
                let bias = keys.bias.map_or(0.0, |bias| {
                    let far = (bias.by_distance.len() / 2) as isize;
                    let distance = j as isize - (keys.num_before + i) as isize;
                    let gate = bias.gate.map_or(1.0, |gate| {
                        let [a, b] = [0, 1].map(|g| {
                            let x: f64 =
                                gate.weight.row(g).iter().zip(q).map(|(w, q)| wide(*w) * wide(*q)).sum();
                            1.0 / (1.0 + (-x - wide(gate.bias[g])).exp())
                        });
                        a * (b * wide(gate.grep_a) - 1.0) + 2.0
                    });
                    gate * wide(bias.by_distance[(distance.clamp(-far, far) + far) as usize])
                });
                wide(keys.scale) * dot + bias
            };
            let weights: Vec<f64> = (0..num_keys).map(|j| score(j).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let width = v.len() / num_keys;
            out.extend(
                (0..width)
                    .map(|d| (0..num_keys).map(|j| weights[j] * wide(v[j * width + d])).sum::<f64>() / sum),
            );
        }
        out
    }

    #[test]
    fn equals_plain_attention() {
        for (num_queries, num_before, far, gated) in
            [(1, 0, 3, true), (20, 0, 100, true), (16, 32, 5, true), (40, 8, 48, false), (3, 29, 2, true)]
        {
            let (dim, num_keys) = (6, num_before + num_queries);
            let (q, k, v) =
                (numbers(num_queries * dim, 1), numbers(dim * num_keys, 2), numbers(num_keys * dim, 3));
            let (table, gate_weight) = (numbers(2 * far + 1, 4), numbers(2 * dim, 5));
            let gate = Gate { weight: Matrix::new(&gate_weight, dim), bias: &[0.1, -0.2], grep_a: 1.3 };
            for bias in [None, Some(RelativeBias { by_distance: &table, gate: gated.then_some(gate) })] {
                let keys = Keys { keys: Matrix::new(&k, num_keys), num_before, scale: 0.4, bias };
                let expected = reference(&q, &keys, &v, dim);
                let mut scratch = vec![f32::NAN; MAX_QUERY_TILE * num_keys];
                let mut actual = q.clone();
                attend(&mut MatrixMut::new(&mut actual, dim), &keys, Matrix::new(&v, dim), &mut scratch);
                let numbers = &v[..num_keys];
                let mut logits = vec![1.0; num_queries];
                attend_to_numbers(Matrix::new(&q, dim), &keys, numbers, &mut logits, &mut scratch);
                let expected_logits = reference(&q, &keys, numbers, dim);
                assert!(actual.iter().zip(&expected).all(|(a, e)| (f64::from(*a) - e).abs() < 2e-6));
                assert!(
                    logits.iter().zip(&expected_logits).all(|(a, e)| (f64::from(*a) - 1.0 - e).abs() < 2e-6)
                );
            }
        }
    }
}
