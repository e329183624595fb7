//! Linear maps with f32 or int8 weights.

use aesa_kernels::gemm_i8::Int8Weights;
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
    /// `x` `[rows, inputs]` to `y` `[rows, outputs]`; `quantised` holds a row of inputs at least. As many rows as it holds are
    /// multiplied at a time.
    pub(crate) fn forward(&self, x: Matrix<'_>, y: &mut MatrixMut<'_>, quantised: &mut [i16]) {
        match self.weights {
            Weights::F32(weights) => self.kernels.gemm_f32(x, weights, self.bias, y),
            Weights::Int8(weights) => self.kernels.linear_i8(x, weights, self.bias, y, quantised),
        }
    }

    /// One row.
    pub(crate) fn forward_row(&self, x: &[f32], y: &mut [f32], quantised: &mut [i16]) {
        let (inputs, outputs) = (x.len(), y.len());
        self.forward(Matrix::new(x, inputs), &mut MatrixMut::new(y, outputs), quantised);
    }
}
