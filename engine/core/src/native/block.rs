//! One transformer block of the encoder.

use aesa_kernels::attention::{Gate, Keys, RelativeBias};
use aesa_kernels::{Kernels, Matrix, MatrixMut};

use super::cache::Past;
use super::error::ModelError;
use super::format::Kind;
use super::int8_head::Int8Head;
use super::linear::Linear;
use super::memory::Parts;
use super::shape::Shape;
use super::table::{Norm, Table};

/// Attention over the chunk and the chunks before it, then the feed-forward part.
///
/// ```text
/// post-norm: x = norm(alpha x + attention(x));  x = norm(alpha x + fc2(gelu(fc1(x))))
/// pre-norm:  x = x + attention(norm(x));        x = x + fc2(gelu(fc1(norm(x))))
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Block<'a> {
    qkv: Linear<'a>,
    gate: Option<BlockGate<'a>>,
    out: Linear<'a>,
    attention_norm: Norm<'a>,
    fc1: Linear<'a>,
    fc2: Linear<'a>,
    final_norm: Norm<'a>,
    kernels: &'static Kernels,
}

/// The gates of all heads: weights in common, one factor each.
#[derive(Clone, Debug)]
struct BlockGate<'a> {
    weight: Matrix<'a>,
    bias: &'a [f32],
    factors: &'a [f32],
}

impl<'a> Block<'a> {
    pub(crate) fn read(table: &mut Table<'a>, shape: &Shape, i: usize) -> Result<Self, ModelError> {
        let (width, ffn) = (shape.width, shape.ffn);
        let qkv = table.linear((Kind::Qkv, Some(Kind::QkvBias)), i, width, 3 * width)?;
        let gate = match shape.is_gated {
            true => Some(BlockGate {
                weight: table.matrix(Kind::GateWeight, i, 2, shape.head_dim())?,
                bias: table.row(Kind::GateBias, i, 2)?,
                factors: table.row(Kind::GateFactor, i, shape.heads)?,
            }),
            false => None,
        };
        Ok(Self {
            qkv,
            gate,
            out: table.linear((Kind::AttentionOut, Some(Kind::AttentionOutBias)), i, width, width)?,
            attention_norm: table.norm(Kind::AttentionNorm, i, width)?,
            fc1: table.linear((Kind::Fc1, Some(Kind::Fc1Bias)), i, width, ffn)?,
            fc2: table.linear((Kind::Fc2, Some(Kind::Fc2Bias)), i, ffn, width)?,
            final_norm: table.norm(Kind::FinalNorm, i, width)?,
            kernels: table.kernels,
        })
    }

    /// Replaces `x` `[n, width]` by the block's output. `bias` is `[heads, 2 * far + 1]`; `wide` holds `[n, 3 * width]`.
    pub(crate) fn forward(
        &self,
        shape: &Shape,
        x: &mut MatrixMut<'_>,
        bias: Option<Matrix<'_>>,
        past: &mut Past<'_>,
        wide: &mut [f32],
        parts: &mut Parts<'_>,
    ) {
        let num_tokens = x.num_rows();
        let mut qkv = MatrixMut::new(&mut wide[..num_tokens * 3 * shape.width], 3 * shape.width);
        self.project(shape, x, &mut qkv, parts);
        for head in 0..shape.heads {
            self.attend(shape, head, &mut qkv, bias, past, parts);
        }
        let tile_rows = shape.row_tile();
        for first in (0..num_tokens).step_by(tile_rows) {
            let rows = first..(first + tile_rows).min(num_tokens);
            let attended = qkv.view().columns(0..shape.width).rows(rows.clone());
            self.feed_forward(shape, &mut x.rows_mut(rows), attended, parts);
        }
    }

    /// Queries, keys and values of all heads.
    fn project(&self, shape: &Shape, x: &MatrixMut<'_>, qkv: &mut MatrixMut<'_>, scratch: &mut Parts<'_>) {
        if !shape.norm_first {
            return self.qkv.forward(x.view(), qkv, scratch.quantised);
        }
        let tile_rows = shape.row_tile();
        for first in (0..x.num_rows()).step_by(tile_rows) {
            let rows = first..(first + tile_rows).min(x.num_rows());
            let mut tile = MatrixMut::new(&mut scratch.tile[..rows.len() * shape.width], shape.width);
            for i in rows.clone() {
                let row = tile.row_mut(i - first);
                row.copy_from_slice(x.view().row(i));
                self.attention_norm.apply(row);
            }
            self.qkv.forward(tile.view(), &mut qkv.rows_mut(rows), scratch.quantised);
        }
    }

    /// Replaces a head's queries by what they find, and keeps its keys and values.
    fn attend(
        &self,
        shape: &Shape,
        head: usize,
        qkv: &mut MatrixMut<'_>,
        bias: Option<Matrix<'_>>,
        past: &mut Past<'_>,
        scratch: &mut Parts<'_>,
    ) {
        let Past { cache, ring } = past;
        let (width, dim) = (shape.width, shape.head_dim());
        let (num_tokens, num_before) = (qkv.num_rows(), ring.num_tokens());
        let num_keys = num_before + num_tokens;
        let keys = &mut scratch.keys[..dim * num_keys];
        let values = &mut scratch.values[..num_keys * dim];
        // A slot holds, head by head, keys [dim, tokens] and, after those of all slots, values [tokens, dim]. Where attention is in int8,
        // whose sums go along the rows of both, keys and values change places.
        let [key_place, value_place] = if shape.int8_attention { [2, 1] } else { [1, 2] };
        let part = ring.slot_tokens * dim;
        let place = |slot: usize| (slot * shape.heads + head) * part;
        let values_start = ring.num_slots * shape.heads * part;
        for (i, slot) in ring.slots().enumerate() {
            for (d, keys) in keys.chunks_exact_mut(num_keys).enumerate() {
                let own = &mut keys[i * ring.slot_tokens..][..ring.slot_tokens];
                cache.load(place(slot) + d * ring.slot_tokens, own);
            }
            cache.load(values_start + place(slot), &mut values[i * part..][..part]);
        }
        for t in 0..num_tokens {
            let row = qkv.view().row(t);
            let key = &row[key_place * width + head * dim..][..dim];
            keys.chunks_exact_mut(num_keys).zip(key).for_each(|(keys, k)| keys[num_before + t] = *k);
            let value = &row[value_place * width + head * dim..][..dim];
            values[(num_before + t) * dim..][..dim].copy_from_slice(value);
        }
        if let Some(slot) = ring.slot_for(num_tokens) {
            for (d, keys) in keys.chunks_exact(num_keys).enumerate() {
                cache.store(place(slot) + d * ring.slot_tokens, &keys[num_before..]);
            }
            cache.store(values_start + place(slot), &values[num_before * dim..]);
        }
        let scale = 1.0 / libm::sqrtf(dim as f32);
        let bias = bias.map(|bias| self.relative_bias(bias.row(head), head));
        let mut queries = qkv.columns_mut(head * dim..(head + 1) * dim);
        if shape.int8_attention {
            let Parts { int8_head, scores, quantised, .. } = scratch;
            let head = Int8Head::quantise(self.kernels, [values, keys], dim, int8_head, quantised);
            let keys = Keys { keys: head.keys, num_before, scale, bias };
            self.kernels.attend_i8(&mut queries, &keys, head.values, scores, quantised);
        } else {
            let keys = Keys { keys: Matrix::new(keys, num_keys), num_before, scale, bias };
            self.kernels.attend(&mut queries, &keys, Matrix::new(values, dim), scratch.scores);
        }
    }

    fn relative_bias<'b>(&'b self, by_distance: &'b [f32], head: usize) -> RelativeBias<'b> {
        let gate = self.gate.as_ref();
        let gate = gate.map(|g| Gate { weight: g.weight, bias: g.bias, grep_a: g.factors[head] });
        RelativeBias { by_distance, gate }
    }

    /// Some rows of `x`, from the attention's output before its projection to the block's output.
    fn feed_forward(
        &self,
        shape: &Shape,
        x: &mut MatrixMut<'_>,
        attended: Matrix<'_>,
        scratch: &mut Parts<'_>,
    ) {
        let num_rows = x.num_rows();
        let alpha = if shape.deep_norm { deep_norm_alpha(shape.layers) } else { 1.0 };
        let mut tile = MatrixMut::new(&mut scratch.tile[..num_rows * shape.width], shape.width);
        let mut inner = MatrixMut::new(&mut scratch.ffn[..num_rows * shape.ffn], shape.ffn);
        self.out.forward(attended, &mut tile, scratch.quantised);
        for i in 0..num_rows {
            add_residual(x.row_mut(i), alpha, tile.view().row(i));
            if shape.norm_first {
                tile.row_mut(i).copy_from_slice(x.view().row(i));
                self.final_norm.apply(tile.row_mut(i));
            } else {
                self.attention_norm.apply(x.row_mut(i));
            }
        }
        let input = if shape.norm_first { tile.view() } else { x.view() };
        self.fc1.forward(input, &mut inner, scratch.quantised);
        (0..num_rows).for_each(|i| self.kernels.gelu(inner.row_mut(i)));
        self.fc2.forward(inner.view(), &mut tile, scratch.quantised);
        for i in 0..num_rows {
            add_residual(x.row_mut(i), alpha, tile.view().row(i));
            if !shape.norm_first {
                self.final_norm.apply(x.row_mut(i));
            }
        }
    }
}

/// `x = alpha * x + y`.
fn add_residual(x: &mut [f32], alpha: f32, y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x = alpha * *x + y);
}

/// `(2 * layers)^(1/4)`.
fn deep_norm_alpha(layers: usize) -> f32 {
    libm::sqrt(libm::sqrt(2.0 * layers as f64)) as f32
}
