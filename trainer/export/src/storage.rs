//! How an ONNX file stores weights, and the nodes that compute with what is stored.
//!
//! ```text
//!  f32    weight ------------------------------------------> MatMul --> Add
//!  f16    weight --> Cast ---------------------------------> MatMul --> Add
//!  int8   x --> Abs, ReduceMax, Mul, Max --> scale of each row [tokens, 1]
//!         x --> Div by it, Round, Cast ----> MatMulInteger --> Cast, Mul by both scales --> Add
//! ```
//!
//! In int8 a linear map multiplies integers as the native engine does: docs/SPEC.md, "Quantisation". Convolutions and LSTMs have
//! no such operators; their int8 weights are made f32 by DequantizeLinear and save room alone.

use aesa_onnx::DataType;
use half::f16;

use crate::graph::{Graph, Value, int, ints};
use crate::linear::Linear;

/// How the weights of linear maps, convolutions and LSTMs are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// As they are.
    F32,
    /// In half the room; every computation is in f32. In ONNX only.
    F16,
    /// int8, symmetric, a scale per output channel.
    #[default]
    Int8,
    /// The same, and the blocks' attention in int8, too: its scores and what it finds. In a `model.aesa` only.
    Int8Attention,
}

/// What a row of activations was made: integers and the scale of each row.
#[derive(Clone)]
pub(crate) struct Quantised {
    /// int8, `[tokens, inputs]`
    integers: Value,
    /// f32, `[tokens, 1]`
    scales: Value,
}

impl Graph {
    /// `x` is `[tokens, inputs]`, the result `[tokens, outputs]`; in int8 if the file is.
    pub(crate) fn linear(&mut self, name: &str, x: &Value, map: &Linear) -> Value {
        match self.storage() {
            Storage::F32 | Storage::F16 => self.exact_linear(name, x, map),
            Storage::Int8 | Storage::Int8Attention => self.integer_linear(name, x, map),
        }
    }

    /// As [`Self::linear`], in f32 where the file is int8: for what makes most of its error, or is too small to matter.
    pub(crate) fn exact_linear(&mut self, name: &str, x: &Value, map: &Linear) -> Value {
        let shape = [map.inputs, map.outputs()];
        let weight = self.exact_weight(&format!("{name}.weight"), &shape, &map.transposed_weight());
        let bias = self.weight(&format!("{name}.bias"), &[map.outputs()], &map.bias);
        let product = self.matmul(&format!("{name}.matmul"), x, &weight);
        self.add(name, &product, &bias)
    }

    /// Weights that stay f32 where the file is int8.
    pub(crate) fn exact_weight(&mut self, name: &str, shape: &[usize], data: &[f32]) -> Value {
        match self.storage() {
            Storage::F16 => self.half_weight(name, shape, data),
            Storage::F32 | Storage::Int8 | Storage::Int8Attention => self.weight(name, shape, data),
        }
    }

    /// The weights of a convolution or an LSTM, rows of `inputs` numbers: f32 to the node that takes them.
    pub(crate) fn stored_weight(
        &mut self,
        name: &str,
        shape: &[usize],
        data: &[f32],
        inputs: usize,
    ) -> Value {
        match self.storage() {
            Storage::F32 | Storage::F16 => self.exact_weight(name, shape, data),
            Storage::Int8 | Storage::Int8Attention => {
                let (integers, scales) = quantised_rows(data, inputs);
                let rows = scales.len();
                let integers = self.bytes(&format!("{name}.int8"), &[rows, inputs], &integers);
                let scales = self.weight(&format!("{name}.scales"), &[rows], &scales);
                let zeros = self.bytes(&format!("{name}.zeros"), &[rows], &vec![0; rows]);
                let operands = [&integers, &scales, &zeros];
                let flat = format!("{name}.rows");
                let flat = self.node(&flat, "DequantizeLinear", &operands, vec![int("axis", 0)]);
                let extents: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
                self.reshape(name, &flat, &extents)
            }
        }
    }

    fn half_weight(&mut self, name: &str, shape: &[usize], data: &[f32]) -> Value {
        let bytes = data.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let stored = self.initializer(&format!("{name}.f16"), shape, DataType::Float16, bytes);
        self.cast(name, &stored, DataType::Float)
    }

    fn integer_linear(&mut self, name: &str, x: &Value, map: &Linear) -> Value {
        let Quantised { integers, scales } = self.quantised(x);
        let (weight, weight_scales) = quantised_rows(&map.weight, map.inputs);
        let outputs = map.outputs();
        // MatMulInteger takes the weight as [inputs, outputs].
        let transposed: Vec<i8> =
            (0..weight.len()).map(|i| weight[(i % outputs) * map.inputs + i / outputs]).collect();
        let weight = self.bytes(&format!("{name}.weight"), &[map.inputs, outputs], &transposed);
        let weight_scales = self.weight(&format!("{name}.scales"), &[outputs], &weight_scales);
        let bias = self.weight(&format!("{name}.bias"), &[outputs], &map.bias);
        let sums = self.node(&format!("{name}.sums"), "MatMulInteger", &[&integers, &weight], vec![]);
        let sums = self.cast(&format!("{name}.sums_f32"), &sums, DataType::Float);
        let by_row = self.mul(&format!("{name}.by_row"), &sums, &scales);
        let product = self.mul(&format!("{name}.product"), &by_row, &weight_scales);
        self.add(name, &product, &bias)
    }

    /// Rows of integers, the largest of each row 127 or -127; a value is made so once, for all maps that take it.
    fn quantised(&mut self, x: &Value) -> Quantised {
        if let Some(known) = self.quantised_values().get(&x.0) {
            return known.clone();
        }
        let name = format!("{}.int8", x.0);
        let (step, least) = (self.scalar(1.0 / 127.0), self.scalar(f32::MIN_POSITIVE));
        let sizes = self.node(&format!("{name}.sizes"), "Abs", &[x], vec![]);
        let rows = vec![ints("axes", &[-1]), int("keepdims", 1)];
        let largest = self.node(&format!("{name}.largest"), "ReduceMax", &[&sizes], rows); // [tokens, 1]
        let scales = self.mul(&format!("{name}.of_127"), &largest, &step);
        // A row of zeros divides by something.
        let scales = self.node(&format!("{name}.scales"), "Max", &[&scales, &least], vec![]);
        let steps = self.node(&format!("{name}.steps"), "Div", &[x, &scales], vec![]);
        let whole = self.node(&format!("{name}.whole"), "Round", &[&steps], vec![]);
        let quantised = Quantised { integers: self.cast(&name, &whole, DataType::Int8), scales };
        self.quantised_values().insert(x.0.clone(), quantised.clone());
        quantised
    }

    fn bytes(&mut self, name: &str, shape: &[usize], data: &[i8]) -> Value {
        self.initializer(name, shape, DataType::Int8, data.iter().map(|v| *v as u8).collect())
    }
}

/// Rows of `inputs` numbers as integers, and each row's scale.
pub(crate) fn quantised_rows(data: &[f32], inputs: usize) -> (Vec<i8>, Vec<f32>) {
    let (mut integers, mut scales) = (Vec::with_capacity(data.len()), Vec::new());
    for row in data.chunks_exact(inputs) {
        let (scale, row) = quantised_row(row);
        integers.extend(row);
        scales.push(scale);
    }
    (integers, scales)
}

/// A row's scale and numbers: `round(w / scale)` with the largest at 127.
fn quantised_row(row: &[f32]) -> (f32, Vec<i8>) {
    let largest = row.iter().fold(0.0_f32, |max, w| max.max(w.abs()));
    let scale = largest / 127.0;
    if scale == 0.0 {
        return (0.0, vec![0; row.len()]);
    }
    (scale, row.iter().map(|w| (w / scale).round().clamp(-127.0, 127.0) as i8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_within_half_a_step_of_their_scale() {
        let row = [0.5, -1.27, 0.004, 0.0];
        let (scale, numbers) = quantised_row(&row);
        assert_eq!(numbers, [50, -127, 0, 0]);
        assert!(row.iter().zip(&numbers).all(|(w, q)| (w - f32::from(*q) * scale).abs() <= 0.5001 * scale));
        assert_eq!(quantised_row(&[0.0; 3]), (0.0, vec![0; 3]));
        // Too small for a scale of its own: zero, not NaN.
        assert_eq!(quantised_row(&[1e-45]), (0.0, vec![0]));
        assert_eq!(
            quantised_rows(&[1.0, -1.0, 0.0, 0.0], 2),
            (vec![127, -127, 0, 0], vec![1.0 / 127.0, 0.0])
        );
    }
}
