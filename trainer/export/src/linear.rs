//! Affine maps, combined at export where nothing lies between them.

use crate::error::ExportError;
use crate::tensors::Tensors;

/// `y = weight * x + bias`.
pub(crate) struct Linear {
    pub(crate) inputs: usize,
    /// `[outputs, inputs]`, row-major.
    pub(crate) weight: Vec<f32>,
    /// `[outputs]`
    pub(crate) bias: Vec<f32>,
}

impl Linear {
    /// The map stored as `NAME.weight` `[outputs, inputs]` and `NAME.bias` `[outputs]`.
    pub(crate) fn read(t: &Tensors, name: &str, inputs: usize, outputs: usize) -> Result<Self, ExportError> {
        let weight = t.expect(&format!("{name}.weight"), &[outputs, inputs])?.to_vec();
        let bias = t.expect(&format!("{name}.bias"), &[outputs])?.to_vec();
        Ok(Self { inputs, weight, bias })
    }

    pub(crate) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Outputs `first..first + count` alone.
    pub(crate) fn rows(&self, first: usize, count: usize) -> Self {
        let weight = self.weight[first * self.inputs..(first + count) * self.inputs].to_vec();
        Self { inputs: self.inputs, weight, bias: self.bias[first..first + count].to_vec() }
    }

    /// All outputs times `factor`.
    pub(crate) fn scaled(&self, factor: f64) -> Self {
        let scale = |v: &Vec<f32>| v.iter().map(|&v| (f64::from(v) * factor) as f32).collect();
        Self { inputs: self.inputs, weight: scale(&self.weight), bias: scale(&self.bias) }
    }

    /// This map followed by `next`, as one map; summed in f64.
    pub(crate) fn then(&self, next: &Linear) -> Self {
        let mut weight = Vec::with_capacity(next.outputs() * self.inputs);
        let mut bias = Vec::with_capacity(next.outputs());
        for (row, &next_bias) in next.weight.chunks_exact(next.inputs).zip(&next.bias) {
            let mut sums = vec![0.0; self.inputs];
            let mut sum = f64::from(next_bias);
            for (i, &factor) in row.iter().enumerate().filter(|(_, f)| **f != 0.0) {
                let own = &self.weight[i * self.inputs..(i + 1) * self.inputs];
                sums.iter_mut().zip(own).for_each(|(s, &w)| *s += f64::from(factor) * f64::from(w));
                sum += f64::from(factor) * f64::from(self.bias[i]);
            }
            weight.extend(sums.iter().map(|&s| s as f32));
            bias.push(sum as f32);
        }
        Self { inputs: self.inputs, weight, bias }
    }

    /// The weight as `[inputs, outputs]`, which MatMul takes on its right.
    pub(crate) fn transposed_weight(&self) -> Vec<f32> {
        let outputs = self.outputs();
        (0..self.inputs * outputs).map(|i| self.weight[(i % outputs) * self.inputs + i / outputs]).collect()
    }
}
