//! A bidirectional LSTM layer.
//!
//! ```text
//! y = Reshape(LSTM(Reshape(x)))    [tokens, inputs] to [tokens, 2 * cells]
//! ```
//! From chunk to chunk, the forward direction goes on: its state is `Concat`ed to zeros, and what it leaves `Slice`d off.

use aesa_kernels::{Matrix, MatrixMut};
use aesa_onnx::NodeProto;
use tract_core::internal::*;

use super::{Engine, Found, Fused, filled, numbers, rows};
use crate::constants::Constants;
use crate::pattern::{Trace, int, text};

/// A layer whose directions `anchor` joins.
pub(crate) fn find<'a>(trace: &mut Trace<'a, '_>, anchor: &'a NodeProto) -> Option<Found> {
    if anchor.op_type != "Reshape" {
        return None;
    }
    let (y, joined) = trace.reshape(anchor)?;
    let lstm = trace.shared(y, "LSTM")?;
    // The caller may not take it either.
    let only_here = trace.takers(y)?.len() == 1 && lstm.output.first().map(String::as_str) == Some(y);
    only_here.then_some(())?;
    trace.add_inner(lstm)?;
    let (x, extents) = trace.reshaped(&lstm.input[0])?;
    let [w, r, b] =
        [trace.floats(&lstm.input[1])?, trace.floats(&lstm.input[2])?, trace.floats(lstm.input.get(3)?)?];
    let (&[2, gates, inputs], &[2, _, cells]) = (w.shape.as_slice(), r.shape.as_slice()) else { return None };
    let states = match (lstm.input.get(4..), lstm.output.get(1..)) {
        (None | Some([]), Some([])) => None,
        (Some([none, h, c]), Some([h_after, c_after])) if none.is_empty() => {
            Some([state(trace, h, h_after, cells)?, state(trace, c, c_after, cells)?])
        }
        _ => return None,
    };
    let fits = text(lstm, "direction") == Some(b"bidirectional")
        && int(lstm, "hidden_size").is_none_or(|n| n == cells as i64)
        && (1..1 << 20).contains(&cells)
        && gates == 4 * cells
        && inputs > 0
        && r.shape[1] == gates
        && b.shape == [2, 2 * gates]
        && extents == [-1, 1, inputs as i64]
        && joined == [-1, 2 * cells as i64];
    let is_going_on = states.is_some();
    fits.then(|| Found {
        inputs: core::iter::once(x)
            .chain(states.iter().flatten().map(|s| s[0]))
            .map(str::to_string)
            .collect(),
        outputs: anchor
            .output
            .iter()
            .cloned()
            .chain(states.iter().flatten().map(|s| s[1].to_string()))
            .collect(),
        counted: Vec::new(),
        make: Box::new(move |constants: &mut Constants| {
            let [w, r, b] = [w, r, b].map(|floats| constants.floats(&floats));
            let directions = [0, 1].map(|i| Direction::new([&w, &r, &b], i, inputs, cells));
            Arc::new(Blstm { inputs, cells, is_going_on, directions })
        }),
    })
}

/// The forward direction's state before the chunk and after it.
fn state<'a>(
    trace: &mut Trace<'a, '_>,
    before: &'a str,
    after: &'a str,
    cells: usize,
) -> Option<[&'a str; 2]> {
    let both = trace.inner(before, "Concat")?;
    let [forward, backward] = both.input.as_slice() else { return None };
    let [slice] = trace.takers(after)?[..] else { return None };
    trace.add_inner(slice)?;
    let start = trace.plain_floats(backward)?;
    let fits = slice.op_type == "Slice"
        && trace.slice(slice, 0)? == (0, 1)
        && int(both, "axis") == Some(0)
        && start.shape == [1, 1, cells]
        && trace.is_zero(backward);
    fits.then_some([forward.as_str(), slice.output.first()?.as_str()])
}

struct Blstm {
    inputs: usize,
    cells: usize,
    /// Whether the forward direction takes up a state, and gives it on.
    is_going_on: bool,
    directions: [Direction; 2],
}

struct Direction {
    /// `[inputs, 4 * cells]`, gates in the kernels' order.
    input: Vec<f32>,
    /// `[cells, 4 * cells]`
    recurrent: Vec<f32>,
    bias: Vec<f32>,
}

impl Direction {
    /// Direction `i` of ONNX's `w` `[2, 4 * cells, inputs]`, `r` `[2, 4 * cells, cells]` and `b` `[2, 8 * cells]`.
    fn new([w, r, b]: [&[f32]; 3], i: usize, inputs: usize, cells: usize) -> Self {
        let part = |all: &[f32]| all[i * all.len() / 2..(i + 1) * all.len() / 2].to_vec();
        let (w, r, b) = (part(w), part(r), part(b));
        // Input, output, forget, cell there; input, forget, cell, output here.
        let order: Vec<usize> =
            [0, 2, 3, 1].iter().flat_map(|gate| gate * cells..(gate + 1) * cells).collect();
        let columns = |rows: &[f32], width: usize| -> Vec<f32> {
            (0..width).flat_map(|l| order.iter().map(move |gate| rows[gate * width + l])).collect()
        };
        let bias = order.iter().map(|gate| b[*gate] + b[4 * cells + gate]).collect();
        Self { input: columns(&w, inputs), recurrent: columns(&r, cells), bias }
    }

    /// The tokens of `x` in the order of `times`; a token's hidden state goes to `keep`.
    fn run(
        &self,
        engine: &Engine,
        x: Matrix<'_>,
        times: impl Iterator<Item = usize>,
        [hidden, cell]: [&mut [f32]; 2],
        memory: &mut [f32],
        mut keep: impl FnMut(usize, &[f32]),
    ) {
        let cells = hidden.len();
        let (gates, recurrent) = memory.split_at_mut(x.num_rows() * 4 * cells);
        let mut gates = MatrixMut::new(gates, 4 * cells);
        engine.kernels.gemm_f32(x, Matrix::new(&self.input, 4 * cells), Some(&self.bias), &mut gates);
        let weights = Matrix::new(&self.recurrent, 4 * cells);
        for t in times {
            let mut product = MatrixMut::new(recurrent, 4 * cells);
            engine.kernels.gemm_f32(Matrix::new(hidden, cells), weights, None, &mut product);
            let gates = gates.row_mut(t);
            gates.iter_mut().zip(&*recurrent).for_each(|(gate, r)| *gate += r);
            engine.kernels.lstm_cell(gates, cell, hidden);
            keep(t, hidden);
        }
    }
}

impl Fused for Blstm {
    fn name(&self) -> &'static str {
        "BLSTM"
    }

    fn shapes(&self, inputs: &[&[usize]]) -> TractResult<TVec<TVec<usize>>> {
        let (x, states) = inputs.split_first().context("no input")?;
        let num_tokens = rows(x, self.inputs)?;
        let state: TVec<usize> = tvec![1, 1, self.cells];
        let fits =
            states.len() == if self.is_going_on { 2 } else { 0 } && states.iter().all(|s| *s == &state[..]);
        ensure!(fits, "states of {states:?}");
        let after = states.iter().map(|_| state.clone());
        Ok(core::iter::once(tvec![num_tokens, 2 * self.cells]).chain(after).collect())
    }

    fn run(&self, engine: &Engine, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = Matrix::new(numbers(&inputs[0])?, self.inputs);
        let (cells, num_tokens) = (self.cells, x.num_rows());
        let mut forward = [vec![0.0; cells], vec![0.0; cells]];
        for (state, input) in forward.iter_mut().zip(&inputs[1..]) {
            state.copy_from_slice(numbers(input)?);
        }
        let mut backward = [vec![0.0; cells], vec![0.0; cells]];
        let y = filled(&[num_tokens, 2 * cells], |y| {
            let mut y = MatrixMut::new(y, 2 * cells);
            engine.with_scratch((num_tokens + 1) * 4 * cells, 0, |memory, _| {
                let [ahead, back] = &self.directions;
                let states = forward.each_mut().map(Vec::as_mut_slice);
                ahead.run(engine, x, 0..num_tokens, states, memory, |t, h| {
                    y.row_mut(t)[..cells].copy_from_slice(h)
                });
                let states = backward.each_mut().map(Vec::as_mut_slice);
                let times = (0..num_tokens).rev();
                back.run(engine, x, times, states, memory, |t, h| y.row_mut(t)[cells..].copy_from_slice(h));
            });
        })?;
        let mut outputs = tvec![y];
        if self.is_going_on {
            for state in &forward {
                outputs.push(Tensor::from_shape(&[1, 1, cells], state)?.into_tvalue());
            }
        }
        Ok(outputs)
    }
}
