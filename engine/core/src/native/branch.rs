//! One axis of the head: self-attention whose values are one number per head and token.

use aesa_kernels::attention::Keys;
use aesa_kernels::{Kernels, Matrix, MatrixMut};

use super::cache::Past;
use super::error::ModelError;
use super::format::Kind;
use super::int8_head::{int8_keys_len, quantise_keys};
use super::linear::Linear;
use super::memory::Parts;
use super::shape::Shape;
use super::table::Table;

/// `torch.nn.MultiheadAttention` and a linear layer to one logit. Value, output and score projections are one map, since
/// nothing but sums lies between them.
#[derive(Clone, Debug)]
pub(crate) struct Branch<'a> {
    query_key: Linear<'a>,
    value: Linear<'a>,
    bias: f32,
    pub(crate) kernels: &'static Kernels,
}

impl<'a> Branch<'a> {
    pub(crate) fn read(table: &mut Table<'a>, shape: &Shape, axis: usize) -> Result<Self, ModelError> {
        let (shared, heads) = (shape.shared, shape.branch_heads);
        let query_key = (Kind::BranchQueryKey, Some(Kind::BranchQueryKeyBias));
        let value = (Kind::BranchValue, Some(Kind::BranchValueBias));
        Ok(Self {
            query_key: table.linear(query_key, axis, shared, 2 * shared)?,
            value: table.linear(value, axis, shared, heads)?,
            bias: table.row(Kind::BranchBias, axis, 1)?[0],
            kernels: table.kernels,
        })
    }

    /// The logits `[n]` of tokens `x` `[n, shared]`.
    pub(crate) fn forward(
        &self,
        shape: &Shape,
        x: Matrix<'_>,
        logits: &mut [f32],
        past: &mut Past<'_>,
        wide: &mut [f32],
        scratch: &mut Parts<'_>,
    ) {
        let Past { cache, ring } = past;
        let (shared, heads, dim) = (shape.shared, shape.branch_heads, shape.branch_head_dim());
        let (num_tokens, num_before) = (x.num_rows(), ring.num_tokens());
        let num_keys = num_before + num_tokens;
        let (query_key, rest) = wide.split_at_mut(num_tokens * 2 * shared);
        let mut query_key = MatrixMut::new(query_key, 2 * shared);
        let mut value = MatrixMut::new(&mut rest[..num_tokens * heads], heads);
        self.query_key.forward(x, &mut query_key, scratch.quantised);
        self.value.forward(x, &mut value, scratch.quantised);
        let (query_key, value) = (query_key.view(), value.view());
        logits.fill(self.bias);
        for head in 0..heads {
            // Rows of one number per token: the head's keys, dimension by dimension, then its values. A slot of the
            // cache holds these rows head by head.
            let Parts { head: memory, scores, quantised, .. } = &mut *scratch;
            let (keys, rest) = memory.split_at_mut(dim * num_keys);
            let (values, int8) = rest.split_at_mut(num_keys);
            let rows = keys.chunks_exact_mut(num_keys).chain(core::iter::once(&mut *values));
            for (d, row) in rows.enumerate() {
                let place = |slot: usize| ((slot * heads + head) * (dim + 1) + d) * ring.slot_tokens;
                for (i, slot) in ring.slots().enumerate() {
                    cache.load(place(slot), &mut row[i * ring.slot_tokens..][..ring.slot_tokens]);
                }
                let own = &mut row[num_before..];
                let (matrix, column) = if d < dim { (query_key, shared + head * dim + d) } else { (value, head) };
                own.iter_mut().enumerate().for_each(|(t, own)| *own = matrix.row(t)[column]);
                if let Some(slot) = ring.slot_for(num_tokens) {
                    cache.store(place(slot), own);
                }
            }
            let scale = 1.0 / libm::sqrtf(dim as f32);
            let queries = query_key.columns(head * dim..(head + 1) * dim);
            if shape.int8_attention {
                let keys = quantise_keys(self.kernels, keys, dim, int8, quantised);
                let keys = Keys { keys, num_before, scale, bias: None };
                self.kernels.attend_to_numbers_i8(queries, &keys, values, logits, scores, quantised);
            } else {
                let keys = Keys { keys: Matrix::new(keys, num_keys), num_before, scale, bias: None };
                self.kernels.attend_to_numbers(queries, &keys, values, logits, scores);
            }
        }
    }

    /// Numbers that a head's keys and values take while they are used.
    pub(crate) fn head_len(shape: &Shape) -> usize {
        let (keys, dim) = (shape.max_keys(), shape.branch_head_dim());
        (dim + 1) * keys + if shape.int8_attention { int8_keys_len(keys, dim) } else { 0 }
    }

    /// Numbers of `wide` that [`forward`](Self::forward) needs for `num_tokens`.
    pub(crate) fn wide_len(shape: &Shape, num_tokens: usize) -> usize {
        num_tokens * (2 * shape.shared + shape.branch_heads)
    }
}
