//! The two layers that everything else is made of, with PyTorch's names and initialisation.

use tch::Tensor;
use tch::nn::{Init, Path};

use crate::precision::{full, operand};

/// `y = x W^T + b`.
#[derive(Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Tensor,
    /// `[out]`
    pub bias: Tensor,
}

impl Linear {
    /// A layer under `path`, its weight drawn from `weight_init` and its bias zero.
    pub fn new(path: &Path, dim_in: i64, dim_out: i64, weight_init: Init) -> Self {
        Self {
            weight: path.var("weight", &[dim_out, dim_in], weight_init),
            bias: path.zeros("bias", &[dim_out]),
        }
    }

    /// A layer initialised as `torch.nn.Linear`: uniform within `1 / sqrt(dim_in)`.
    pub fn with_default_init(path: &Path, dim_in: i64, dim_out: i64) -> Self {
        let init = uniform(dim_in);
        Self {
            weight: path.var("weight", &[dim_out, dim_in], init),
            bias: path.var("bias", &[dim_out], init),
        }
    }

    /// `[.., in]` to `[.., out]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        operand(x).linear(&operand(&self.weight), Some(&operand(&self.bias)))
    }
}

/// Normalises the last dimension; epsilon 1e-5.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    /// A layer under `path`, at first the plain normalisation.
    pub fn new(path: &Path, dim: i64) -> Self {
        Self { weight: path.ones("weight", &[dim]), bias: path.zeros("bias", &[dim]) }
    }

    /// Same shape out as in.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        full(x).layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), 1e-5, false)
    }
}

/// Uniform within `1 / sqrt(dim)`, which PyTorch uses for linear layers and LSTMs.
pub fn uniform(dim: i64) -> Init {
    let bound = 1.0 / (dim as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

/// Normal with the Xavier variance of a linear layer, times `gain`.
pub fn xavier_normal(dim_in: i64, dim_out: i64, gain: f64) -> Init {
    Init::Randn { mean: 0.0, stdev: gain * (2.0 / (dim_in + dim_out) as f64).sqrt() }
}
