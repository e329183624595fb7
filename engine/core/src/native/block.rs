//! One transformer block of the encoder.

use core::ops::Range;

use aesa_kernels::{Kernels, Matrix, MatrixMut};

use super::attention::{Attention, Sight};
use super::cache::Past;
use super::error::ModelError;
use super::format::Kind;
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
    pub(crate) attention: Attention<'a>,
    out: Linear<'a>,
    attention_norm: Norm<'a>,
    fc1: Linear<'a>,
    fc2: Linear<'a>,
    final_norm: Norm<'a>,
    kernels: &'static Kernels,
}

impl<'a> Block<'a> {
    pub(crate) fn read(table: &mut Table<'a>, shape: &Shape, i: usize) -> Result<Self, ModelError> {
        let (width, ffn) = (shape.width, shape.ffn);
        let qkv = table.linear((Kind::Qkv, Some(Kind::QkvBias)), i, width, 3 * width)?;
        let attention = Attention::read(table, shape, i)?;
        Ok(Self {
            qkv,
            attention,
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
        self.project(shape, x.view(), &mut qkv, parts);
        let num_before = past.ring.num_tokens();
        for head in 0..shape.heads {
            let Parts { head: memory, scores, quantised, .. } = &mut *parts;
            self.attention.gather(shape, head, qkv.view(), past, memory, quantised);
            self.attention.keep(shape, head, num_tokens, past, memory);
            let sight = Sight { head, memory, num_keys: num_before + num_tokens, num_before, bias };
            self.attention.find(shape, &sight, &mut qkv, scores, quantised);
        }
        self.feed_forward(shape, x, qkv.view(), parts);
    }

    /// Queries, keys and values of all heads: `x` `[n, width]` to `qkv` `[n, 3 * width]`.
    pub(crate) fn project(&self, shape: &Shape, x: Matrix<'_>, qkv: &mut MatrixMut<'_>, scratch: &mut Parts<'_>) {
        if !shape.norm_first {
            return self.qkv.forward(x, qkv, scratch.quantised);
        }
        for rows in tiles(shape, x.num_rows(), scratch) {
            let mut tile = MatrixMut::new(&mut scratch.tile[..rows.len() * shape.width], shape.width);
            for i in rows.clone() {
                let row = tile.row_mut(i - rows.start);
                row.copy_from_slice(x.row(i));
                self.attention_norm.apply(row);
            }
            self.qkv.forward(tile.view(), &mut qkv.rows_mut(rows), scratch.quantised);
        }
    }

    /// From what attention found, in the first columns of `qkv`, to the block's output, in place of `x`.
    pub(crate) fn feed_forward(
        &self,
        shape: &Shape,
        x: &mut MatrixMut<'_>,
        qkv: Matrix<'_>,
        scratch: &mut Parts<'_>,
    ) {
        for rows in tiles(shape, x.num_rows(), scratch) {
            let found = qkv.columns(0..shape.width).rows(rows.clone());
            self.feed_forward_tile(shape, &mut x.rows_mut(rows), found, scratch);
        }
    }

    /// Some rows of `x`, from the attention's output before its projection to the block's output.
    fn feed_forward_tile(
        &self,
        shape: &Shape,
        x: &mut MatrixMut<'_>,
        found: Matrix<'_>,
        scratch: &mut Parts<'_>,
    ) {
        let num_rows = x.num_rows();
        let alpha = if shape.deep_norm { deep_norm_alpha(shape.layers) } else { 1.0 };
        let mut tile = MatrixMut::new(&mut scratch.tile[..num_rows * shape.width], shape.width);
        let mut inner = MatrixMut::new(&mut scratch.ffn[..num_rows * shape.ffn], shape.ffn);
        self.out.forward(found, &mut tile, scratch.quantised);
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

/// As many of `num_rows` rows at a time as the scratch holds.
fn tiles(shape: &Shape, num_rows: usize, scratch: &Parts<'_>) -> impl Iterator<Item = Range<usize>> + use<> {
    let tile_rows = scratch.tile.len() / shape.width;
    (0..num_rows).step_by(tile_rows).map(move |first| first..(first + tile_rows).min(num_rows))
}

/// `x = alpha * x + y`.
fn add_residual(x: &mut [f32], alpha: f32, y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x = alpha * *x + y);
}

/// `(2 * layers)^(1/4)`.
fn deep_norm_alpha(layers: usize) -> f32 {
    libm::sqrt(libm::sqrt(2.0 * layers as f64)) as f32
}
