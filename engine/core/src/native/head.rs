//! AESA-Net's head: the blocks' outputs to scores.

use aesa_kernels::math::sigmoid;
use aesa_kernels::{Matrix, MatrixMut};

use super::blstm::Blstm;
use super::branch::Branch;
use super::cache::{Past, Ring};
use super::error::ModelError;
use super::format::Kind;
use super::linear::Linear;
use super::memory::{Caches, Parts, head_parts, take};
use super::shape::{MAX_LAYERS, MAX_LSTM_LAYERS, Shape};
use super::table::{Norm, Table};
use crate::encoder::TOKENS_PER_STEP;
use crate::score::{NUM_AXES, Scores};

/// Weighted sum of layers, adapter, BLSTM, shared layer, four branches.
#[derive(Clone, Debug)]
pub(crate) struct Head<'a> {
    layer_norms: heapless::Vec<Norm<'a>, MAX_LAYERS>,
    layer_shares: &'a [f32],
    pub(crate) adapter: Linear<'a>,
    pub(crate) blstm: heapless::Vec<Blstm<'a>, MAX_LSTM_LAYERS>,
    shared: Linear<'a>,
    pub(crate) branches: [Branch<'a>; NUM_AXES],
}

impl<'a> Head<'a> {
    pub(crate) fn read(table: &mut Table<'a>, shape: &Shape) -> Result<Self, ModelError> {
        let mut layer_norms = heapless::Vec::new();
        for layer in 0..if shape.head_norm { shape.layers } else { 0 } {
            push(&mut layer_norms, table.norm(Kind::LayerNorm, layer, shape.width)?);
        }
        let layer_shares = table.row(Kind::LayerShares, 0, shape.layers)?;
        let adapter = table.linear((Kind::Adapter, Some(Kind::AdapterBias)), 0, shape.width, shape.adapter)?;
        let mut blstm = heapless::Vec::new();
        for layer in 0..shape.lstm_layers {
            push(&mut blstm, Blstm::read(table, shape, layer)?);
        }
        let shared = table.linear((Kind::Shared, Some(Kind::SharedBias)), 0, 2 * shape.cells, shape.shared)?;
        let mut branch = |axis| Branch::read(table, shape, axis);
        let branches = [branch(0)?, branch(1)?, branch(2)?, branch(3)?];
        Ok(Self { layer_norms, layer_shares, adapter, blstm, shared, branches })
    }

    /// Adds the output of block `layer` to the weighted sum; `row` holds one row.
    pub(crate) fn add_layer(&self, layer: usize, hidden: Matrix<'_>, sum: &mut MatrixMut<'_>, row: &mut [f32]) {
        let share = self.layer_shares[layer];
        let row = &mut row[..hidden.num_cols()];
        for i in 0..hidden.num_rows() {
            row.copy_from_slice(hidden.row(i));
            if let Some(norm) = self.layer_norms.get(layer) {
                norm.apply(row);
            }
            sum.row_mut(i).iter_mut().zip(&*row).for_each(|(sum, v)| *sum += share * v);
        }
    }

    /// The scores of the chunk's steps from the weighted sum `[n, width]`.
    pub(crate) fn forward(
        &self,
        shape: &Shape,
        sum: Matrix<'_>,
        past: HeadPast<'_, '_>,
        mut wide: &mut [f32],
        parts: &mut Parts<'_>,
        on_step: impl FnMut(Scores),
    ) {
        let num_tokens = sum.num_rows();
        let [x, y, shared, logits, stages] = head_parts(shape, num_tokens).map(|count| take(&mut wide, count));
        let mut x = MatrixMut::new(x, shape.adapter).reshaped(num_tokens, shape.adapter);
        self.adapter.forward(sum, &mut x, parts.quantised);
        let mut y = MatrixMut::new(y, 2 * shape.cells).reshaped(num_tokens, 2 * shape.cells);
        for (layer, state) in self.blstm.iter().zip(past.lstm.chunks_exact_mut(2 * shape.cells)) {
            layer.forward(x.view(), &mut y, state, stages, parts.quantised);
            // The next output goes where the input was.
            core::mem::swap(&mut x, &mut y);
            y = y.reshaped(num_tokens, 2 * shape.cells);
        }
        let mut shared = MatrixMut::new(shared, shape.shared);
        self.share(x.view(), &mut shared, parts.quantised);
        for (axis, (branch, logits)) in self.branches.iter().zip(logits.chunks_exact_mut(num_tokens)).enumerate() {
            let cache = past.caches.get(axis, shape.half_cache, branch.kernels);
            branch.forward(shape, shared.view(), logits, &mut Past { cache, ring: past.ring }, stages, parts);
        }
        tell(logits, num_tokens, on_step);
    }

    /// The layer that all branches share, of some rows.
    pub(crate) fn share(&self, x: Matrix<'_>, shared: &mut MatrixMut<'_>, quantised: &mut [i16]) {
        self.shared.forward(x, shared, quantised);
        (0..x.num_rows()).for_each(|i| shared.row_mut(i).iter_mut().for_each(|v| *v = v.max(0.0)));
    }
}

/// Hands the steps' scores from logits `[axes, num_tokens]` to `on_step`.
pub(crate) fn tell(logits: &[f32], num_tokens: usize, mut on_step: impl FnMut(Scores)) {
    for step in 0..num_tokens / TOKENS_PER_STEP {
        on_step(Scores(core::array::from_fn(|axis| {
            let tokens = &logits[axis * num_tokens + step * TOKENS_PER_STEP..][..TOKENS_PER_STEP];
            tokens.iter().map(|logit| sigmoid(*logit)).sum::<f32>() * (10.0 / TOKENS_PER_STEP as f32)
        })));
    }
}

/// What the head carries from chunk to chunk.
pub(crate) struct HeadPast<'p, 'm> {
    pub(crate) lstm: &'p mut [f32],
    pub(crate) caches: &'p mut Caches<'m>,
    pub(crate) ring: Ring,
}

/// Appends where the checked sizes say that there is room.
pub(crate) fn push<T, const N: usize>(list: &mut heapless::Vec<T, N>, value: T) {
    assert!(list.push(value).is_ok(), "the sizes are within the lists' capacities");
}
