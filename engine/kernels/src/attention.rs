//! One attention head with the gated relative position bias, a few queries at a time.
//!
//! ```text
//! score[i][j] = scale * q[i] . k[j] + gate(q[i]) * bias[distance from i to j]
//! out[i]      = sum over j of exp(score[i][j] - max) * v[j]  /  sum over j of exp(score[i][j] - max)
//! ```
//! Scores exist for up to [`MAX_QUERY_TILE`] queries at a time, the bias only by distance; neither is ever a square.

use crate::gemm_f32::gemm;
use crate::lanes;
use crate::math::{exp_of_negative, sigmoid};
use crate::matrix::{Matrix, MatrixMut};

/// What a head's queries see: keys in f32, or [in int8](crate::attention_i8::attend).
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a, K = Matrix<'a>> {
    /// `[head_dim, num_keys]`: a key per column, in order of time.
    pub keys: K,
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

/// The queries' factors of the bias.
#[derive(Clone, Copy, Debug)]
pub enum Gate<'a> {
    /// Computed from each query.
    Computed(QueryGate<'a>),
    /// Known: one per query, `[num_queries]`.
    Known(&'a [f32]),
}

/// A query's factor of the bias: `a (b grep_a - 1) + 2` with `a, b = sigmoid(weight q + bias)`.
///
/// Source: BEATs (Chen et al. 2022), `grep_linear` with the sum over its four outputs per gate taken into the weights.
#[derive(Clone, Copy, Debug)]
pub struct QueryGate<'a> {
    /// `[2, head_dim]`
    pub weight: Matrix<'a>,
    /// `[2]`
    pub bias: &'a [f32],
    /// Factor of the second gate.
    pub grep_a: f32,
}

/// Replaces `queries` `[num_queries, head_dim]` by what they find: `values` is `[num_keys, head_dim]`, `scratch` holds the
/// scores of some of the queries, `num_keys` numbers each: the more at a time, up to [`QUERY_TILE`], the faster.
///
/// # Panics
/// If the sizes do not fit together.
pub fn attend(queries: &mut MatrixMut<'_>, keys: &Keys<'_>, values: Matrix<'_>, scratch: &mut [f32]) {
    attend_with(queries, keys, values, scratch, |a, b, c| gemm(a, b, None, c), weights);
}

/// [`attend`] with another product `c = a b`, and other [`weights`].
#[inline(always)]
pub(crate) fn attend_with(
    queries: &mut MatrixMut<'_>,
    keys: &Keys<'_>,
    values: Matrix<'_>,
    scratch: &mut [f32],
    product: impl Fn(Matrix<'_>, Matrix<'_>, &mut MatrixMut<'_>),
    weights: impl Fn(&mut [f32], f32) -> f32,
) {
    let mut scores = F32Scores { keys: keys.keys, product: &product, weights };
    attend_by(queries, keys, &mut scores, |_, weights, found| product(weights, values, found), scratch);
}

/// Replaces the scores of a query, whose largest is `max`, by the weights `exp(score - max)`; gives their [sum](lanes::sum).
#[inline(always)]
pub fn weights(scores: &mut [f32], max: f32) -> f32 {
    lanes::map_and_sum(scores, |s| exp_of_negative(s - max))
}

/// How scores come about, and weights from them.
pub(crate) trait Scores {
    fn num_keys(&self) -> usize;

    /// The most queries that there is room for at a time, beside what `scratch` holds.
    fn max_queries(&self) -> usize {
        MAX_QUERY_TILE
    }

    /// Dot products of queries and keys.
    fn scores(&mut self, queries: Matrix<'_>, scores: &mut MatrixMut<'_>);

    /// The weights of the keys with these scores of query `i`, of which the largest is `max`; gives their sum. They take the scores'
    /// place, unless whoever asks for them looks for them elsewhere.
    fn weigh(&mut self, i: usize, scores: &mut [f32], max: f32) -> f32;

    /// What a query with these scores, of which the largest is `max`, finds where a value is one number. The scores are not needed after.
    fn find_number(&mut self, scores: &mut [f32], max: f32, values: &[f32]) -> f32;
}

/// In f32.
struct F32Scores<'a, P, W> {
    keys: Matrix<'a>,
    product: P,
    weights: W,
}

impl<P, W> Scores for F32Scores<'_, P, W>
where
    P: Fn(Matrix<'_>, Matrix<'_>, &mut MatrixMut<'_>),
    W: Fn(&mut [f32], f32) -> f32,
{
    #[inline(always)]
    fn num_keys(&self) -> usize {
        self.keys.num_cols()
    }

    #[inline(always)]
    fn scores(&mut self, queries: Matrix<'_>, scores: &mut MatrixMut<'_>) {
        (self.product)(queries, self.keys, scores);
    }

    #[inline(always)]
    fn weigh(&mut self, _: usize, scores: &mut [f32], max: f32) -> f32 {
        (self.weights)(scores, max)
    }

    #[inline(always)]
    fn find_number(&mut self, scores: &mut [f32], max: f32, values: &[f32]) -> f32 {
        let sum = (self.weights)(scores, max);
        lanes::dot(scores, values) / sum
    }
}

/// [`attend`], tile by tile of queries; `weighted` sums values, each times its weight.
#[inline(always)]
pub(crate) fn attend_by<K, S: Scores>(
    queries: &mut MatrixMut<'_>,
    keys: &Keys<'_, K>,
    scores: &mut S,
    weighted: impl Fn(&S, Matrix<'_>, &mut MatrixMut<'_>),
    scratch: &mut [f32],
) {
    let num_queries = queries.num_rows();
    let tile_queries = tile_queries(scores, scratch);
    for first in (0..num_queries).step_by(tile_queries) {
        let mut tile = queries.rows_mut(first..(first + tile_queries).min(num_queries));
        let mut rows = product(tile.view(), scores, scratch);
        let mut sums = [0.0; MAX_QUERY_TILE];
        for (i, sum) in sums[..tile.num_rows()].iter_mut().enumerate() {
            let row = rows.row_mut(i);
            let max = keys.finish(row, first + i, tile.view().row(i));
            *sum = scores.weigh(i, row, max);
        }
        weighted(scores, rows.view(), &mut tile);
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
    attend_to_numbers_with(queries, keys, values, out, scratch, |a, b, c| gemm(a, b, None, c), weights);
}

/// [`attend_to_numbers`] with another product `c = a b`, and other [`weights`].
#[inline(always)]
pub(crate) fn attend_to_numbers_with(
    queries: Matrix<'_>,
    keys: &Keys<'_>,
    values: &[f32],
    out: &mut [f32],
    scratch: &mut [f32],
    product: impl Fn(Matrix<'_>, Matrix<'_>, &mut MatrixMut<'_>),
    weights: impl Fn(&mut [f32], f32) -> f32,
) {
    attend_to_numbers_by(
        queries,
        keys,
        values,
        out,
        &mut F32Scores { keys: keys.keys, product, weights },
        scratch,
    );
}

/// [`attend_to_numbers`], tile by tile of queries.
#[inline(always)]
pub(crate) fn attend_to_numbers_by<K, S: Scores>(
    queries: Matrix<'_>,
    keys: &Keys<'_, K>,
    values: &[f32],
    out: &mut [f32],
    scores: &mut S,
    scratch: &mut [f32],
) {
    let tile_queries = tile_queries(scores, scratch);
    for first in (0..queries.num_rows()).step_by(tile_queries) {
        let tile = queries.rows(first..(first + tile_queries).min(queries.num_rows()));
        let mut rows = product(tile, scores, scratch);
        for i in 0..tile.num_rows() {
            let row = rows.row_mut(i);
            let max = keys.finish(row, first + i, tile.row(i));
            out[first + i] += scores.find_number(row, max, values);
        }
    }
}

/// Queries that there is room for at a time.
#[inline(always)]
fn tile_queries(scores: &impl Scores, scratch: &[f32]) -> usize {
    (scratch.len() / scores.num_keys().max(1)).min(scores.max_queries()).clamp(1, MAX_QUERY_TILE)
}

/// The dot product of each query and key.
#[inline(always)]
fn product<'s>(queries: Matrix<'_>, scores: &mut impl Scores, scratch: &'s mut [f32]) -> MatrixMut<'s> {
    let (num_queries, num_keys) = (queries.num_rows(), scores.num_keys());
    let mut rows = MatrixMut::new(&mut scratch[..num_queries * num_keys], num_keys);
    scores.scores(queries, &mut rows);
    rows
}

impl<K> Keys<'_, K> {
    /// From dot products to scores, of query `i`; gives the largest.
    #[inline(always)]
    fn finish(&self, row: &mut [f32], i: usize, query: &[f32]) -> f32 {
        match &self.bias {
            Some(bias) => {
                let distance = -((self.num_before + i) as isize);
                let factor = match &bias.gate {
                    Some(gate) => gate.of(i, query),
                    None => 1.0,
                };
                bias.scale_and_add(row, self.scale, distance, factor)
            }
            None => lanes::map_and_max(row, |s| s * self.scale),
        }
    }
}

impl RelativeBias<'_> {
    /// Scales a row of scores whose first key lies at `distance` from the query, and adds `factor` times the bias; gives the
    /// largest.
    #[inline(always)]
    fn scale_and_add(&self, row: &mut [f32], scale: f32, distance: isize, factor: f32) -> f32 {
        let by_distance = self.by_distance;
        let far = (by_distance.len() / 2) as isize;
        let index = |d: isize| (d + far).clamp(0, 2 * far) as usize;
        // Keys before the table's first distance, then those within it, then those past its last.
        let num_before = (-far - distance).clamp(0, row.len() as isize) as usize;
        let (before, rest) = row.split_at_mut(num_before);
        let start = index(distance + num_before as isize);
        let num_within = rest.len().min(by_distance.len() - start);
        let (within, after) = rest.split_at_mut(num_within);
        let [first, last] = [by_distance[0], by_distance[by_distance.len() - 1]].map(|b| factor * b);
        let before = lanes::map_and_max(before, |s| s * scale + first);
        let biases = &by_distance[start..start + num_within];
        let within = lanes::zip_and_max(within, biases, |s, b| s * scale + factor * b);
        let after = lanes::map_and_max(after, |s| s * scale + last);
        lanes::larger(lanes::larger(before, within), after)
    }
}

impl Gate<'_> {
    /// The factor of query `i`.
    #[inline(always)]
    fn of(&self, i: usize, query: &[f32]) -> f32 {
        match self {
            Self::Computed(gate) => gate.of(query),
            Self::Known(factors) => factors[i],
        }
    }
}

impl QueryGate<'_> {
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

/// Queries whose scores exist at a time; more are no faster in f32.
pub const QUERY_TILE: usize = 48;

/// The most of them: in int8 keys and values are read anew for each such tile, of which fewer are faster.
pub const MAX_QUERY_TILE: usize = 3 * QUERY_TILE;

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    /// A query's factor in f64.
    fn factor(gate: &QueryGate<'_>, q: &[f32]) -> f64 {
        let wide = |x: f32| f64::from(x);
        let [a, b] = [0, 1].map(|g| {
            let x: f64 = gate.weight.row(g).iter().zip(q).map(|(w, q)| wide(*w) * wide(*q)).sum();
            1.0 / (1.0 + (-x - wide(gate.bias[g])).exp())
        });
        a * (b * wide(gate.grep_a) - 1.0) + 2.0
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
                    let gate = match bias.gate {
                        Some(Gate::Computed(gate)) => factor(&gate, q),
                        Some(Gate::Known(factors)) => wide(factors[i]),
                        None => 1.0,
                    };
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
            let gate = QueryGate { weight: Matrix::new(&gate_weight, dim), bias: &[0.1, -0.2], grep_a: 1.3 };
            let factors: Vec<f32> = q.chunks_exact(dim).map(|q| factor(&gate, q) as f32).collect();
            let gates = [Gate::Computed(gate), Gate::Known(&factors)].map(|gate| gated.then_some(gate));
            let biases = gates.map(|gate| Some(RelativeBias { by_distance: &table, gate }));
            for bias in [None].into_iter().chain(biases) {
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
