//! Bidirectional LSTM layers over one chunk.

use aesa_kernels::{Matrix, MatrixMut};

use super::error::ModelError;
use super::format::Kind;
use super::linear::Linear;
use super::shape::Shape;
use super::table::Table;

/// One layer: the forward direction's state is carried from chunk to chunk, the backward direction begins at zero at the
/// chunk's end.
#[derive(Clone, Debug)]
pub(crate) struct Blstm<'a> {
    forward: Direction<'a>,
    backward: Direction<'a>,
}

#[derive(Clone, Debug)]
struct Direction<'a> {
    /// Inputs to gates, with the sum of both biases.
    input: Linear<'a>,
    recurrent: Linear<'a>,
}

impl<'a> Blstm<'a> {
    pub(crate) fn read(table: &mut Table<'a>, shape: &Shape, layer: usize) -> Result<Self, ModelError> {
        let inputs = if layer == 0 { shape.adapter } else { 2 * shape.cells };
        let mut direction = |index: usize| {
            let gates = 4 * shape.cells;
            let mut input = table.linear((Kind::LstmInput, None), index, inputs, gates)?;
            let recurrent = table.linear((Kind::LstmRecurrent, None), index, shape.cells, gates)?;
            input.bias = Some(table.row(Kind::LstmBias, index, gates)?);
            Ok(Direction { input, recurrent })
        };
        Ok(Self { forward: direction(2 * layer)?, backward: direction(2 * layer + 1)? })
    }

    /// `x` `[n, inputs]` to `y` `[n, 2 * cells]`. `state` is the forward direction's `[2, cells]`, hidden and cell;
    /// `scratch` is of [`scratch_len`](Self::scratch_len).
    pub(crate) fn forward(
        &self,
        x: Matrix<'_>,
        y: &mut MatrixMut<'_>,
        state: &mut [f32],
        scratch: &mut [f32],
        quantised: &mut [i16],
    ) {
        self.run_forward(x, state, scratch, quantised);
        copy_hidden(scratch, y, 0);
        self.run_backward(x, state.len() / 2, scratch, quantised);
        copy_hidden(scratch, y, state.len() / 2);
    }

    /// The forward direction, which moves `state` on; its hidden states are left in `scratch`.
    pub(crate) fn run_forward(&self, x: Matrix<'_>, state: &mut [f32], scratch: &mut [f32], quantised: &mut [i16]) {
        self.forward.run(x, 0..x.num_rows(), state, scratch, quantised);
    }

    /// The backward direction; its hidden states are left in `scratch`.
    pub(crate) fn run_backward(&self, x: Matrix<'_>, cells: usize, scratch: &mut [f32], quantised: &mut [i16]) {
        let (scratch, state) = scratch.split_at_mut((x.num_rows() + 1) * 4 * cells);
        let state = &mut state[..2 * cells];
        state.fill(0.0);
        self.backward.run(x, (0..x.num_rows()).rev(), state, scratch, quantised);
    }

    /// Numbers that [`forward`](Self::forward) needs for `num_tokens`.
    pub(crate) fn scratch_len(shape: &Shape, num_tokens: usize) -> usize {
        (num_tokens * 4 + 4 + 2) * shape.cells
    }
}

impl Direction<'_> {
    /// The tokens of `x` in the order of `times`. A token's hidden state replaces the first of its gates, which are the rows
    /// that `scratch` begins with.
    fn run(
        &self,
        x: Matrix<'_>,
        times: impl Iterator<Item = usize>,
        state: &mut [f32],
        scratch: &mut [f32],
        quantised: &mut [i16],
    ) {
        let cells = state.len() / 2;
        let (gates, rest) = scratch.split_at_mut(x.num_rows() * 4 * cells);
        let (mut gates, recurrent) = (MatrixMut::new(gates, 4 * cells), &mut rest[..4 * cells]);
        let (hidden, cell) = state.split_at_mut(cells);
        self.input.forward(x, &mut gates, quantised);
        for t in times {
            self.recurrent.forward_row(hidden, recurrent, quantised);
            let gates = gates.row_mut(t);
            gates.iter_mut().zip(&*recurrent).for_each(|(gate, r)| *gate += r);
            self.recurrent.kernels.lstm_cell(gates, cell, hidden);
            gates[..cells].copy_from_slice(hidden);
        }
    }
}

/// A direction's hidden states, left in `scratch`, to the columns of `y` from `place` on.
pub(crate) fn copy_hidden(scratch: &[f32], y: &mut MatrixMut<'_>, place: usize) {
    let cells = y.num_cols() / 2;
    for (t, gates) in scratch.chunks_exact(4 * cells).take(y.num_rows()).enumerate() {
        y.row_mut(t)[place..place + cells].copy_from_slice(&gates[..cells]);
    }
}
