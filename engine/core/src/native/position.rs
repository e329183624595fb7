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
        let (group, context, num_tokens) = (shape.group_width(), shape.conv_context(), y.num_rows());
        let signal = &mut signal[..(shape.taps - 1 + num_tokens) * group];
        for g in 0..shape.groups {
            let columns = g * group..(g + 1) * group;
            let (past_and_chunk, after) = signal.split_at_mut((context + num_tokens) * group);
            for (i, row) in past_and_chunk.chunks_exact_mut(group).enumerate() {
                row.copy_from_slice(&tokens.row(i)[columns.clone()]);
            }
            after.fill(0.0);
            self.convolve(shape, g, signal, &mut y.columns_mut(columns), quantised);
        }
        for i in 0..num_tokens {
            let row = y.row_mut(i);
            self.kernels.gelu(row);
            row.iter_mut().zip(tokens.row(context + i)).for_each(|(y, x)| *y += x);
            if let Some(norm) = &self.norm {
                norm.apply(row);
            }
        }
    }

    /// Group `g`: its signal `[taps - 1 + n, group]` to `y` `[n, group]`. A token's taps lie one after another in memory,
    /// so that the convolution is a product of overlapping rows. In int8 the whole signal has one scale.
    fn convolve(&self, shape: &Shape, g: usize, signal: &[f32], y: &mut MatrixMut<'_>, quantised: &mut [i16]) {
        let (group, num_tokens) = (shape.group_width(), y.num_rows());
        let inputs = shape.taps * group;
        let bias = Some(&self.bias[g * group..(g + 1) * group]);
        let weights = match self.weights {
            Weights::F32(weights) => {
                let rows = Matrix::strided(signal, num_tokens, inputs, group);
                return self.kernels.gemm_f32(rows, weights.rows(g * inputs..(g + 1) * inputs), bias, y);
            }
            Weights::Int8(weights) => weights.outputs(g * group..(g + 1) * group),
        };
        let quantised = &mut quantised[..signal.len()];
        let scales = [self.kernels.quantise(signal, quantised); MAX_ROWS];
        for first in (0..num_tokens).step_by(MAX_ROWS) {
            let rows = first..(first + MAX_ROWS).min(num_tokens);
            let (data, scales) = (&quantised[first * group..], &scales[..rows.len()]);
            let x = QuantisedRows { data, stride: group, scales };
            self.kernels.gemm_i8(x, weights, bias, &mut y.rows_mut(rows));
        }
    }

    /// Numbers that a group's signal takes, in f32 and once more in int8.
    pub(crate) fn signal_len(shape: &Shape) -> usize {
        (shape.taps - 1 + shape.chunk_tokens) * shape.group_width()
    }
}
