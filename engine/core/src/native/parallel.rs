//! A chunk through the network as several threads compute it.
//!
//! ```text
//!  positional convolution   signals by groups | product, GELU, norm by rows
//!  block                    queries, keys, values by rows | keys and values by heads | attention, feed-forward by rows
//!  weighted sum, adapter    by rows
//!  BLSTM                    by directions
//!  branches                 shared layer by rows | by branches
//! ```
//! No sum is split, and no row's result depends on the rows that are computed with it: the scores are those of one thread. Which
//! thread does what is left to chance.

use aesa_kernels::{Matrix, MatrixMut};

use super::attention::Sight;
use super::blstm::{Blstm, copy_hidden};
use super::block::Block;
use super::branch::Branch;
use super::cache::{Cache, Past, Ring};
use super::crew::{Crew, Team};
use super::head::{Head, HeadPast, tell};
use super::memory::{Parts, Scratch, State, head_parts, take};
use super::model::Model;
use super::position::{PositionConv, Signal};
use super::shape::Shape;
use crate::score::{NUM_AXES, Scores};

/// The chunk's embedded tokens to its scores.
pub(crate) fn score(
    model: &Model<'_>,
    num_tokens: usize,
    state: &mut State<'_>,
    scratch: Scratch<'_>,
    ring: Ring,
    crew: &mut Crew<'_>,
    on_step: impl FnMut(Scores),
) {
    let (shape, len) = (&model.shape, num_tokens * model.shape.width);
    let Scratch { hidden, sum, wide, .. } = scratch;
    let mut hidden = MatrixMut::new(&mut hidden[..len], shape.width);
    let mut sum = MatrixMut::new(&mut sum[..len], shape.width);
    embed(&model.position, shape, Matrix::new(state.tokens, shape.width), &mut hidden, crew);
    (0..num_tokens).for_each(|i| sum.row_mut(i).fill(0.0));
    for (layer, block) in model.blocks.iter().enumerate() {
        let mut past = Past { cache: state.block_caches.get(layer, shape.half_cache, model.kernels), ring };
        transform(block, shape, &mut hidden, model.position_bias, &mut past, wide, crew);
        by_rows(&mut crew.team, hidden.view(), &mut sum, |hidden, sum, parts| {
            model.head.add_layer(layer, hidden, sum, parts.tile);
        });
    }
    let past = HeadPast { lstm: state.lstm, caches: &mut state.branch_caches, ring };
    finish(&model.head, shape, sum.view(), past, wide, crew, on_step);
}

/// `work` on the rows of `x` and `y`, block by block.
fn by_rows(
    team: &mut Team<'_>,
    x: Matrix<'_>,
    y: &mut MatrixMut<'_>,
    work: impl Fn(Matrix<'_>, &mut MatrixMut<'_>, &mut Parts<'_>) + Sync,
) {
    let rows = team.block_rows(x.num_rows());
    team.each(y.row_blocks_mut(rows).enumerate(), |(i, mut y), parts| {
        work(x.rows(i * rows..i * rows + y.num_rows()), &mut y, parts);
    });
}

/// [`PositionConv::forward`].
fn embed(position: &PositionConv<'_>, shape: &Shape, tokens: Matrix<'_>, y: &mut MatrixMut<'_>, crew: &mut Crew<'_>) {
    let Crew { team, signals, quantised, scales, signal_len, .. } = crew;
    let (num_rows, signal_len) = (y.num_rows(), *signal_len);
    let len = (shape.taps - 1 + num_rows) * shape.group_width();
    let signals_of_groups = signals.chunks_exact_mut(signal_len).zip(quantised.chunks_exact_mut(signal_len));
    team.each(signals_of_groups.zip(&mut **scales).enumerate(), |(g, ((signal, quantised), scale)), _| {
        *scale = position.gather(shape, g, tokens, &mut signal[..len], quantised);
    });
    let rows = team.block_rows(num_rows);
    team.each(y.row_blocks_mut(rows).enumerate(), |(i, mut y), _| {
        let signals = signals.chunks_exact(signal_len).zip(quantised.chunks_exact(signal_len)).zip(&**scales);
        for (g, ((exact, quantised), scale)) in signals.enumerate() {
            let signal = Signal { exact: &exact[..len], quantised, scale: *scale };
            position.convolve(shape, g, &signal, i * rows, &mut y);
        }
        position.add(shape, tokens.rows(i * rows..tokens.num_rows()), &mut y);
    });
}

/// [`Block::forward`].
fn transform(
    block: &Block<'_>,
    shape: &Shape,
    x: &mut MatrixMut<'_>,
    bias: Option<Matrix<'_>>,
    past: &mut Past<'_>,
    wide: &mut [f32],
    crew: &mut Crew<'_>,
) {
    let (num_tokens, num_before) = (x.num_rows(), past.ring.num_tokens());
    let mut qkv = MatrixMut::new(&mut wide[..num_tokens * 3 * shape.width], 3 * shape.width);
    let Crew { team, heads, head_len, .. } = crew;
    by_rows(team, x.view(), &mut qkv, |x, qkv, parts| block.project(shape, x, qkv, parts));
    let (projected, before) = (qkv.view(), &*past);
    team.each(heads.chunks_exact_mut(*head_len).enumerate(), |(head, memory), parts| {
        block.attention.gather(shape, head, projected, before, memory, parts.quantised);
    });
    for (head, memory) in heads.chunks_exact(*head_len).enumerate() {
        block.attention.keep(shape, head, num_tokens, past, memory);
    }
    let rows = team.block_rows(num_tokens);
    let blocks = x.row_blocks_mut(rows).zip(qkv.row_blocks_mut(rows));
    team.each(blocks.enumerate(), |(i, (mut x, mut qkv)), parts| {
        for (head, memory) in heads.chunks_exact(*head_len).enumerate() {
            let (num_keys, num_before) = (num_before + num_tokens, num_before + i * rows);
            let sight = Sight { head, memory, num_keys, num_before, bias };
            block.attention.find(shape, &sight, &mut qkv, parts.scores, parts.quantised);
        }
        block.feed_forward(shape, &mut x, qkv.view(), parts);
    });
}

/// [`Head::forward`].
fn finish(
    head: &Head<'_>,
    shape: &Shape,
    sum: Matrix<'_>,
    past: HeadPast<'_, '_>,
    mut wide: &mut [f32],
    crew: &mut Crew<'_>,
    on_step: impl FnMut(Scores),
) {
    let (num_tokens, width) = (sum.num_rows(), 2 * shape.cells);
    let [x, y, shared, logits, stages] = head_parts(shape, num_tokens).map(|count| take(&mut wide, count));
    let mut x = MatrixMut::new(x, shape.adapter).reshaped(num_tokens, shape.adapter);
    by_rows(&mut crew.team, sum, &mut x, |sum, x, parts| head.adapter.forward(sum, x, parts.quantised));
    let mut y = MatrixMut::new(y, width).reshaped(num_tokens, width);
    for (layer, state) in head.blstm.iter().zip(past.lstm.chunks_exact_mut(width)) {
        remember(layer, x.view(), &mut y, state, [&mut *stages, &mut *crew.backward], &mut crew.team);
        // The next output goes where the input was.
        core::mem::swap(&mut x, &mut y);
        y = y.reshaped(num_tokens, width);
    }
    let mut shared = MatrixMut::new(shared, shape.shared);
    by_rows(&mut crew.team, x.view(), &mut shared, |x, shared, parts| head.share(x, shared, parts.quantised));
    let caches: [Cache<'_>; NUM_AXES] = past.caches.all(shape.half_cache, head.branches[0].kernels);
    let each_wide = Branch::wide_len(shape, num_tokens);
    let branches = head.branches.iter().zip(caches);
    let branches = branches.zip(logits.chunks_exact_mut(num_tokens)).zip(crew.branches.chunks_exact_mut(each_wide));
    crew.team.each(branches, |(((branch, cache), logits), wide), parts| {
        branch.forward(shape, shared.view(), logits, &mut Past { cache, ring: past.ring }, wide, parts);
    });
    tell(logits, num_tokens, on_step);
}

/// [`Blstm::forward`]; each direction has scratch of its own.
fn remember(
    layer: &Blstm<'_>,
    x: Matrix<'_>,
    y: &mut MatrixMut<'_>,
    state: &mut [f32],
    mut scratch: [&mut [f32]; 2],
    team: &mut Team<'_>,
) {
    let cells = state.len() / 2;
    // The backward direction has no state that is carried.
    let directions = [Some(state), None].into_iter().zip(&mut scratch);
    team.each(directions, |(state, scratch), parts| match state {
        Some(state) => layer.run_forward(x, state, scratch, parts.quantised),
        None => layer.run_backward(x, cells, scratch, parts.quantised),
    });
    scratch.iter().enumerate().for_each(|(i, scratch)| copy_hidden(scratch, y, i * cells));
}
