//! Bidirectional LSTM layers over one chunk.

use aesa_kernels::MatrixMut;

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
        x: &MatrixMut<'_>,
        y: &mut MatrixMut<'_>,
        state: &mut [f32],
        scratch: &mut [f32],
        quantised: &mut [i16],
    ) {
        let (num_tokens, cells) = (x.num_rows(), state.len() / 2);
        let (gates, rest) = scratch.split_at_mut(num_tokens * 4 * cells);
        let (recurrent, rest) = rest.split_at_mut(4 * cells);
        let mut gates = MatrixMut::new(gates, 4 * cells);
        let backward_state = &mut rest[..2 * cells];
        backward_state.fill(0.0);
        for (is_backward, direction, state) in
            [(false, &self.forward, state), (true, &self.backward, backward_state)]
        {
            direction.input.forward(x.view(), &mut gates, quantised);
            let (hidden, cell) = state.split_at_mut(cells);
            let place = if is_backward { cells } else { 0 };
            for i in 0..num_tokens {
                let t = if is_backward { num_tokens - 1 - i } else { i };
                direction.recurrent.forward_row(hidden, recurrent, quantised);
                let gates = gates.row_mut(t);
                gates.iter_mut().zip(&*recurrent).for_each(|(gate, r)| *gate += r);
                direction.recurrent.kernels.lstm_cell(gates, cell, hidden);
                y.row_mut(t)[place..place + cells].copy_from_slice(hidden);
            }
        }
    }

    /// Numbers that [`forward`](Self::forward) needs for `num_tokens`.
    pub(crate) fn scratch_len(shape: &Shape, num_tokens: usize) -> usize {
        (num_tokens * 4 + 4 + 2) * shape.cells
    }
}
