//! Self-attention of a block: keys and values of a head are gathered, then its queries replaced by what they find.

use aesa_kernels::attention::{Gate, Keys, QueryGate, RelativeBias};
use aesa_kernels::{Kernels, Matrix, MatrixMut};

use super::cache::{Past, Ring};
use super::error::ModelError;
use super::format::Kind;
use super::int8_head::Int8Head;
use super::shape::Shape;
use super::table::Table;

/// The heads of one block, between its projections.
#[derive(Clone, Debug)]
pub(crate) struct Attention<'a> {
    gates: Option<Gates<'a>>,
    kernels: &'static Kernels,
}

/// The gates of all heads: weights in common, one factor each.
#[derive(Clone, Debug)]
struct Gates<'a> {
    weight: Matrix<'a>,
    bias: &'a [f32],
    factors: &'a [f32],
}

/// What the queries of one head see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'s> {
    pub(crate) head: usize,
    /// Keys and values, as [`Attention::gather`] left them.
    pub(crate) memory: &'s [f32],
    pub(crate) num_keys: usize,
    /// Tokens before the first query.
    pub(crate) num_before: usize,
    /// By distance, of all heads: `[heads, 2 * far + 1]`.
    pub(crate) bias: Option<Matrix<'s>>,
}

impl<'a> Attention<'a> {
    pub(crate) fn read(table: &mut Table<'a>, shape: &Shape, block: usize) -> Result<Self, ModelError> {
        let gates = match shape.is_gated {
            true => Some(Gates {
                weight: table.matrix(Kind::GateWeight, block, 2, shape.head_dim())?,
                bias: table.row(Kind::GateBias, block, 2)?,
                factors: table.row(Kind::GateFactor, block, shape.heads)?,
            }),
            false => None,
        };
        Ok(Self { gates, kernels: table.kernels })
    }

    /// Numbers that a head's keys and values take while they are used.
    pub(crate) fn head_len(shape: &Shape) -> usize {
        2 * shape.head_dim() * shape.max_keys() + Int8Head::memory_len(shape)
    }

    /// Puts keys `[head_dim, keys]` and values `[keys, head_dim]` of `head` into `memory`, of [`head_len`](Self::head_len):
    /// those of past chunks, then the chunk's own from `qkv` `[n, 3 * width]`. Where attention is in int8, whose sums go along
    /// the rows of both, keys and values change places, and follow once more in int8.
    pub(crate) fn gather(
        &self,
        shape: &Shape,
        head: usize,
        qkv: Matrix<'_>,
        past: &Past<'_>,
        memory: &mut [f32],
        quantised: &mut [i16],
    ) {
        let Past { cache, ring } = past;
        let (width, dim) = (shape.width, shape.head_dim());
        let (num_tokens, num_before) = (qkv.num_rows(), ring.num_tokens());
        let num_keys = num_before + num_tokens;
        let (keys, rest) = memory.split_at_mut(dim * num_keys);
        let (values, int8) = rest.split_at_mut(num_keys * dim);
        let [key_place, value_place] = if shape.int8_attention { [2, 1] } else { [1, 2] };
        let slots = Slots::new(shape, head, ring);
        for (i, slot) in ring.slots().enumerate() {
            for (d, keys) in keys.chunks_exact_mut(num_keys).enumerate() {
                let own = &mut keys[i * ring.slot_tokens..][..ring.slot_tokens];
                cache.load(slots.keys(slot) + d * ring.slot_tokens, own);
            }
            cache.load(slots.values(slot), &mut values[i * slots.part..][..slots.part]);
        }
        for t in 0..num_tokens {
            let row = qkv.row(t);
            let key = &row[key_place * width + head * dim..][..dim];
            keys.chunks_exact_mut(num_keys).zip(key).for_each(|(keys, k)| keys[num_before + t] = *k);
            let value = &row[value_place * width + head * dim..][..dim];
            values[(num_before + t) * dim..][..dim].copy_from_slice(value);
        }
        if shape.int8_attention {
            Int8Head::quantise(self.kernels, [values, keys], dim, int8, quantised);
        }
    }

    /// Keeps what was gathered of the chunk's `num_tokens` for the chunks to come, where it has to be.
    pub(crate) fn keep(&self, shape: &Shape, head: usize, num_tokens: usize, past: &mut Past<'_>, memory: &[f32]) {
        let Past { cache, ring } = past;
        let slots = Slots::new(shape, head, ring);
        let Some(slot) = ring.slot_for(num_tokens) else { return };
        let (dim, num_before) = (shape.head_dim(), ring.num_tokens());
        let num_keys = num_before + num_tokens;
        let (keys, values) = memory.split_at(dim * num_keys);
        for (d, keys) in keys.chunks_exact(num_keys).enumerate() {
            cache.store(slots.keys(slot) + d * ring.slot_tokens, &keys[num_before..]);
        }
        cache.store(slots.values(slot), &values[num_before * dim..num_keys * dim]);
    }

    /// Replaces a head's queries in `qkv` `[n, 3 * width]`, which may be some rows of a chunk's, by what they find.
    pub(crate) fn find(
        &self,
        shape: &Shape,
        sight: &Sight<'_>,
        qkv: &mut MatrixMut<'_>,
        scores: &mut [f32],
        quantised: &mut [i16],
    ) {
        let &Sight { head, memory, num_keys, num_before, .. } = sight;
        let dim = shape.head_dim();
        let scale = 1.0 / libm::sqrtf(dim as f32);
        let bias = sight.bias.map(|bias| self.relative_bias(bias.row(head), head));
        let mut queries = qkv.columns_mut(head * dim..(head + 1) * dim);
        let (keys, rest) = memory.split_at(dim * num_keys);
        let (values, int8) = rest.split_at(num_keys * dim);
        if shape.int8_attention {
            let head = Int8Head::in_memory(int8, num_keys, dim);
            let keys = Keys { keys: head.keys, num_before, scale, bias };
            self.kernels.attend_i8(&mut queries, &keys, head.values, scores, quantised);
        } else {
            let keys = Keys { keys: Matrix::new(keys, num_keys), num_before, scale, bias };
            self.kernels.attend(&mut queries, &keys, Matrix::new(values, dim), scores);
        }
    }

    fn relative_bias<'b>(&'b self, by_distance: &'b [f32], head: usize) -> RelativeBias<'b> {
        let gate = self.gates.as_ref();
        let gate = gate.map(|g| QueryGate { weight: g.weight, bias: g.bias, grep_a: g.factors[head] });
        let gate = gate.map(Gate::Computed);
        RelativeBias { by_distance, gate }
    }
}

/// Where a cache holds one head: in a slot come, head by head, keys `[head_dim, tokens]`; after those of all slots, in the same
/// order, values `[tokens, head_dim]`.
struct Slots {
    /// Numbers of a head's keys or values.
    part: usize,
    heads: usize,
    head: usize,
    num_slots: usize,
}

impl Slots {
    fn new(shape: &Shape, head: usize, ring: &Ring) -> Self {
        Self { part: ring.slot_tokens * shape.head_dim(), heads: shape.heads, head, num_slots: ring.num_slots }
    }

    fn keys(&self, slot: usize) -> usize {
        (slot * self.heads + self.head) * self.part
    }

    fn values(&self, slot: usize) -> usize {
        self.keys(self.num_slots) - self.keys(0) + self.keys(slot)
    }
}
