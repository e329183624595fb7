//! The convolutional position embedding: what a token hears of its neighbours, before the blocks.

use aesa_kernels::gemm_i8::{MAX_ROWS, QuantisedRows};
use aesa_kernels::{Kernels, Matrix, MatrixMut};

use super::error::ModelError;
use super::format::Kind;
use super::linear::Weights;
use super::shape::Shape;
use super::table::{Norm, Table};

/// Grouped convolution over tokens, GELU, residual, norm.
///
/// ```text
/// y[t] = x[t] + gelu(bias + sum over taps j of w[j] x[t + j - taps/2])
/// ```
/// `x` before the clip and past the chunk's end is zero.
#[derive(Clone, Debug)]
pub(crate) struct PositionConv<'a> {
    weights: Weights<'a>,
    bias: &'a [f32],
    norm: Option<Norm<'a>>,
    kernels: &'static Kernels,
}

impl<'a> PositionConv<'a> {
    pub(crate) fn read(table: &mut Table<'a>, shape: &Shape) -> Result<Self, ModelError> {
        let group = shape.group_width();
        let weights = table.weights(Kind::PositionConv, 0, shape.groups, shape.taps * group, group)?;
        let bias = table.row(Kind::PositionConvBias, 0, shape.width)?;
        let norm = match shape.norm_first {
            true => None,
            false => Some(table.norm(Kind::EncoderNorm, 0, shape.width)?),
        };
        Ok(Self { weights, bias, norm, kernels: table.kernels })
    }

    /// `tokens` `[taps / 2 + n, width]`, the first of them those before the chunk, to `y` `[n, width]`.
    pub(crate) fn forward(
        &self,
        shape: &Shape,
        tokens: Matrix<'_>,
        y: &mut MatrixMut<'_>,
        signal: &mut [f32],
        quantised: &mut [i16],
    ) {
        let signal = &mut signal[..(shape.taps - 1 + y.num_rows()) * shape.group_width()];
        for g in 0..shape.groups {
            let scale = self.gather(shape, g, tokens, signal, quantised);
            let signal = Signal { exact: signal, quantised, scale };
            self.convolve(shape, g, &signal, 0, y);
        }
        self.add(shape, tokens, y);
    }

    /// The signal of group `g`, `[taps - 1 + n, group]`, from `tokens`, and the same in int8 with the scale that is returned,
    /// where weights are int8.
    pub(crate) fn gather(
        &self,
        shape: &Shape,
        g: usize,
        tokens: Matrix<'_>,
        signal: &mut [f32],
        quantised: &mut [i16],
    ) -> f32 {
        let group = shape.group_width();
        let num_after = shape.taps - 1 - shape.conv_context();
        let (past_and_chunk, after) = signal.split_at_mut(signal.len() - num_after * group);
        for (i, row) in past_and_chunk.chunks_exact_mut(group).enumerate() {
            row.copy_from_slice(&tokens.row(i)[g * group..(g + 1) * group]);
        }
        after.fill(0.0);
        match self.weights {
            Weights::F32(_) => 1.0,
            Weights::Int8(_) => self.kernels.quantise(signal, &mut quantised[..signal.len()]),
        }
    }

    /// Group `g` to its columns of `y`, rows of which the first is that of the chunk's token `first`. A token's taps lie one
    /// after another in memory, so that the convolution is a product of overlapping rows.
    pub(crate) fn convolve(&self, shape: &Shape, g: usize, signal: &Signal<'_>, first: usize, y: &mut MatrixMut<'_>) {
        let (group, num_tokens) = (shape.group_width(), y.num_rows());
        let inputs = shape.taps * group;
        let columns = g * group..(g + 1) * group;
        let bias = Some(&self.bias[columns.clone()]);
        let mut y = y.columns_mut(columns.clone());
        let weights = match self.weights {
            Weights::F32(weights) => {
                let rows = Matrix::strided(&signal.exact[first * group..], num_tokens, inputs, group);
                return self.kernels.gemm_f32(rows, weights.rows(g * inputs..(g + 1) * inputs), bias, &mut y);
            }
            Weights::Int8(weights) => weights.outputs(columns),
        };
        let (scales, quantised) = ([signal.scale; MAX_ROWS], &signal.quantised[..signal.exact.len()]);
        for begin in (0..num_tokens).step_by(MAX_ROWS) {
            let rows = begin..(begin + MAX_ROWS).min(num_tokens);
            let (data, scales) = (&quantised[(first + begin) * group..], &scales[..rows.len()]);
            let x = QuantisedRows { data, stride: group, scales };
            self.kernels.gemm_i8(x, weights, bias, &mut y.rows_mut(rows));
        }
    }

    /// From the convolution's output to the stage's, in place. `tokens` begins `taps / 2` rows before the first of `y`.
    pub(crate) fn add(&self, shape: &Shape, tokens: Matrix<'_>, y: &mut MatrixMut<'_>) {
        for i in 0..y.num_rows() {
            let row = y.row_mut(i);
            self.kernels.gelu(row);
            row.iter_mut().zip(tokens.row(shape.conv_context() + i)).for_each(|(y, x)| *y += x);
            if let Some(norm) = &self.norm {
                norm.apply(row);
            }
        }
    }

    /// Numbers that a group's signal takes, in f32 and once more in int8.
    pub(crate) fn signal_len(shape: &Shape) -> usize {
        (shape.taps - 1 + shape.chunk_tokens) * shape.group_width()
    }
}

/// What one group hears: its columns of the tokens before the chunk, of the chunk's own, and zeros past its end.
pub(crate) struct Signal<'a> {
    /// `[taps - 1 + n, group]`
    pub(crate) exact: &'a [f32],
    /// The same in int8, if weights are: the whole signal has one scale.
    pub(crate) quantised: &'a [i16],
    pub(crate) scale: f32,
}
