//! Linear maps with f32 or int8 weights.

use aesa_kernels::gemm_i8::{Int8Weights, MAX_ROWS, QuantisedRows};
use aesa_kernels::{Kernels, Matrix, MatrixMut};

/// The weights of a linear map.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weights<'a> {
    /// `[inputs, outputs]`
    F32(Matrix<'a>),
    Int8(Int8Weights<'a>),
}

/// `y = x W + b`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear<'a> {
    pub(crate) weights: Weights<'a>,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) kernels: &'static Kernels,
}

impl Linear<'_> {
    /// `x` `[rows, inputs]` to `y` `[rows, outputs]`; `quantised` holds at least [`Shape::row_tile`](super::shape::Shape::row_tile) rows of inputs. As many rows as
    /// it holds are multiplied at a time.
    pub(crate) fn forward(&self, x: Matrix<'_>, y: &mut MatrixMut<'_>, quantised: &mut [i16]) {
        let weights = match self.weights {
            Weights::F32(weights) => return self.kernels.gemm_f32(x, weights, self.bias, y),
            Weights::Int8(weights) => weights,
        };
        let inputs = x.num_cols();
        let tile_rows = (quantised.len() / inputs).min(MAX_ROWS);
        let mut scales = [0.0; MAX_ROWS];
        for first in (0..x.num_rows()).step_by(tile_rows) {
            let rows = first..(first + tile_rows).min(x.num_rows());
            for (i, q) in rows.clone().zip(quantised.chunks_exact_mut(inputs)) {
                scales[i - first] = self.kernels.quantise(x.row(i), q);
            }
            let tile = QuantisedRows { data: quantised, stride: inputs, scales: &scales[..rows.len()] };
            self.kernels.gemm_i8(tile, weights, self.bias, &mut y.rows_mut(rows));
        }
    }

    /// One row.
    pub(crate) fn forward_row(&self, x: &[f32], y: &mut [f32], quantised: &mut [i16]) {
        let (inputs, outputs) = (x.len(), y.len());
        self.forward(Matrix::new(x, inputs), &mut MatrixMut::new(y, outputs), quantised);
    }
}
