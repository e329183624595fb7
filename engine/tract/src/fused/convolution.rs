//! The positional convolution with its GELU: over tokens, in groups of channels.
//!
//! ```text
//! y[t] = gelu(bias + sum over taps j of w[j] x[t + j - before])
//! ```
//! `x` is `[tokens, width]`; before it stand the tokens of a state, or zeros, and zeros past its end.

use aesa_kernels::{Matrix, MatrixMut};
use aesa_onnx::NodeProto;
use tract_core::internal::*;

use super::heads::{Past, keep_columns};
use super::linear::gelu;
use super::{Engine, Found, Fused, filled, numbers, rows};
use crate::constants::Constants;
use crate::pattern::{Trace, int, ints};

/// A convolution whose GELU `anchor` ends.
pub(crate) fn find<'a>(trace: &mut Trace<'a, '_>, anchor: &'a NodeProto) -> Option<Found> {
    let by_token = gelu(trace, anchor)?;
    let transpose = trace.inner_for(by_token, "Transpose", 2)?;
    let (channels_first, flat) = trace.reshaped(&transpose.input[0])?;
    let conv = trace.inner(channels_first, "Conv")?;
    let [signal, weight, bias] = conv.input.as_slice() else { return None };
    let (weight, bias) = (trace.floats(weight)?, trace.floats(bias)?);
    let (own, past) = Past::find(trace, signal, 2, conv)?;
    let (columns, extents) = trace.reshaped(own)?;
    let x = trace.transposed(columns, &[1, 0])?;
    let &[width, group, taps] = weight.shape.as_slice() else { return None };
    let &[before, after] = ints(conv, "pads")? else { return None };
    let kept = past.as_ref().map_or(0, |past| past.kept);
    let num_before = usize::try_from(before).ok()?.checked_add(kept)?;
    let fits = ints(transpose, "perm") == Some(&[1, 0])
        && ints(conv, "strides").is_none_or(|strides| strides == [1])
        && ints(conv, "kernel_shape").is_none_or(|shape| shape == [taps as i64])
        && (past.is_none() || before == 0)
        && (1..1 << 16).contains(&taps)
        && num_before < taps
        && usize::try_from(after).ok()? == taps - 1 - num_before
        && (group > 0 && width > 0 && width.is_multiple_of(group))
        && int(conv, "group") == Some((width / group) as i64)
        && bias.shape == [width]
        && flat == [width as i64, -1]
        && extents == [1, width as i64, -1];
    fits.then(|| Found {
        inputs: core::iter::once(x).chain(past.as_ref().map(|p| p.past)).map(str::to_string).collect(),
        outputs: anchor.output.iter().cloned().chain(past.as_ref().map(|p| p.present.to_string())).collect(),
        counted: Vec::new(),
        make: Box::new(move |constants: &mut Constants| {
            let weights = by_tap(&constants.floats(&weight), group, taps);
            let bias = constants.floats(&bias);
            Arc::new(Convolution { width, group, taps, num_before, is_going_on: kept > 0, weights, bias })
        }),
    })
}

/// `[width, group, taps]` as a map `[taps * group, group]` for each group, taps outermost.
fn by_tap(weights: &[f32], group: usize, taps: usize) -> Vec<f32> {
    let mut maps = vec![0.0; weights.len()];
    let each = taps * group * group;
    for (own, map) in weights.chunks_exact(each).zip(maps.chunks_exact_mut(each)) {
        for (output, rows) in own.chunks_exact(group * taps).enumerate() {
            for (input, taps) in rows.chunks_exact(taps).enumerate() {
                taps.iter().enumerate().for_each(|(tap, w)| map[(tap * group + input) * group + output] = *w);
            }
        }
    }
    maps
}

struct Convolution {
    width: usize,
    /// Channels of a group.
    group: usize,
    taps: usize,
    /// Taps before a token's own.
    num_before: usize,
    /// Whether a state stands before the chunk.
    is_going_on: bool,
    /// `[groups, taps * group, group]`
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Fused for Convolution {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn shapes(&self, inputs: &[&[usize]]) -> TractResult<TVec<TVec<usize>>> {
        let (x, states) = inputs.split_first().context("no input")?;
        rows(x, self.width)?;
        let expected: &[&[usize]] = if self.is_going_on { &[&[1, self.width, self.num_before]] } else { &[] };
        ensure!(states == expected, "states of {states:?}, not {expected:?}");
        Ok(inputs.iter().map(|shape| (*shape).into()).collect())
    }

    fn run(&self, engine: &Engine, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = Matrix::new(numbers(&inputs[0])?, self.width);
        let past = inputs.get(1).map(|past| numbers(past)).transpose()?;
        let (group, num_tokens) = (self.group, x.num_rows());
        let num_inputs = self.taps * group;
        let y = filled(&[num_tokens, self.width], |y| {
            let mut y = MatrixMut::new(y, self.width);
            engine.with_scratch((self.taps - 1 + num_tokens) * group, 0, |signal, _| {
                for (g, weights) in self.weights.chunks_exact(num_inputs * group).enumerate() {
                    let columns = g * group..(g + 1) * group;
                    self.gather(x.columns(columns.clone()), past, g, signal);
                    let rows = Matrix::strided(signal, num_tokens, num_inputs, group);
                    let (weights, bias) = (Matrix::new(weights, group), Some(&self.bias[columns.clone()]));
                    engine.kernels.gemm_f32(rows, weights, bias, &mut y.columns_mut(columns));
                }
            });
            (0..num_tokens).for_each(|t| engine.kernels.gelu(y.row_mut(t)));
        })?;
        let mut outputs = tvec![y];
        if let Some(past) = past {
            outputs.push(filled(inputs[1].shape(), |present| keep_columns(past, x, present))?);
        }
        Ok(outputs)
    }
}

impl Convolution {
    /// What group `g` hears, `[taps - 1 + tokens, group]`: a token's taps lie one after another, so that the convolution is a
    /// product of overlapping rows.
    fn gather(&self, own: Matrix<'_>, past: Option<&[f32]>, g: usize, signal: &mut [f32]) {
        let group = self.group;
        let (before, rest) = signal.split_at_mut(self.num_before * group);
        let (chunk, after) = rest.split_at_mut(own.num_rows() * group);
        match past {
            Some(past) => {
                let channels = past.chunks_exact(self.num_before).skip(g * group).take(group);
                for (i, channel) in channels.enumerate() {
                    before.iter_mut().skip(i).step_by(group).zip(channel).for_each(|(place, v)| *place = *v);
                }
            }
            None => before.fill(0.0),
        }
        chunk.chunks_exact_mut(group).enumerate().for_each(|(t, row)| row.copy_from_slice(own.row(t)));
        after.fill(0.0);
    }
}
