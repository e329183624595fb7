//! Linear maps, in f32 or int8, several of one input as one.
//!
//! ```text
//! f32   y = x W + b                    MatMul, Add
//! int8  y = scales (q W) scales + b    Abs, ReduceMax, Mul, Max, Div, Round, Cast;  MatMulInteger, Cast, Mul, Mul, Add
//!       then gelu(y) = y/2 (1 + erf(y / sqrt 2))    Mul, Erf, Add, Mul, Mul    or max(y, 0)    Relu
//! ```

use aesa_kernels::gemm_i8::Int8Weights;
use aesa_kernels::{Kernels, Matrix, MatrixMut};
use aesa_onnx::{DataType, NodeProto};
use tract_core::internal::*;

use super::{Engine, Found, Fused, changed, filled, numbers, rows};
use crate::constants::{Constants, Floats};
use crate::pattern::{Trace, int, ints};

/// A linear map as the file has it.
#[derive(Clone, Debug)]
pub(super) struct LinearPattern<'a> {
    pub(super) x: &'a str,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    weights: StoredWeights,
    bias: Floats,
}

#[derive(Clone, Debug)]
enum StoredWeights {
    F32(Floats),
    /// Integers `[inputs, outputs]`, and scales `[outputs]`.
    Int8(String, Floats),
}

impl<'a> LinearPattern<'a> {
    /// The map that gives `value`, which the pattern takes `num_takers` times.
    pub(super) fn find(trace: &mut Trace<'a, '_>, value: &str, num_takers: usize) -> Option<Self> {
        trace.attempt(|trace| {
            let sum = trace.inner_for(value, "Add", num_takers)?;
            Self::find_in(trace, sum)
        })
    }

    /// The map that ends with this node.
    fn find_in(trace: &mut Trace<'a, '_>, sum: &'a NodeProto) -> Option<Self> {
        trace.either(sum, |trace, product, bias| {
            let bias = trace.floats(bias)?;
            let found = Self::exact(trace, product, &bias);
            found.or_else(|| trace.attempt(|trace| Self::integer(trace, product, &bias)))
        })
    }

    fn exact(trace: &mut Trace<'a, '_>, product: &str, bias: &Floats) -> Option<Self> {
        trace.attempt(|trace| {
            let node = trace.inner(product, "MatMul")?;
            let [x, weight] = node.input.as_slice() else { return None };
            let weight = trace.floats(weight)?;
            let &[inputs, outputs] = weight.shape.as_slice() else { return None };
            let weights = StoredWeights::F32(weight);
            Self { x, inputs, outputs, weights, bias: bias.clone() }.checked()
        })
    }

    fn integer(trace: &mut Trace<'a, '_>, product: &str, bias: &Floats) -> Option<Self> {
        let product = trace.inner(product, "Mul")?;
        let (by_row, weight_scales) =
            trace.either(product, |trace, by_row, scales| Some((by_row, trace.plain_floats(scales)?)))?;
        let by_row = trace.inner(by_row, "Mul")?;
        trace.either(by_row, |trace, sums, scales| {
            let cast = trace.inner(sums, "Cast")?;
            let sums = trace.inner(&cast.input[0], "MatMulInteger")?;
            let [integers, weight] = sums.input.as_slice() else { return None };
            let [inputs, outputs] = trace.constant(weight, DataType::Int8)?[..] else { return None };
            let x = quantised(trace, integers, scales)?;
            let fits = int(cast, "to") == Some(DataType::Float as i64) && weight_scales.shape == [outputs];
            let weights = StoredWeights::Int8(weight.clone(), weight_scales.clone());
            fits.then_some(Self { x, inputs, outputs, weights, bias: bias.clone() })?.checked()
        })
    }

    fn checked(self) -> Option<Self> {
        let fits = self.inputs > 0 && self.outputs > 0 && self.inputs < MAX_INPUTS;
        (fits && self.bias.shape == [self.outputs]).then_some(self)
    }

    fn is_int8(&self) -> bool {
        matches!(self.weights, StoredWeights::Int8(..))
    }

    /// Whether `others` can be one map with this: they take the same, and multiply in the same numbers.
    pub(super) fn goes_with(&self, others: &[&Self]) -> bool {
        others.iter().all(|other| {
            other.x == self.x && other.is_int8() == self.is_int8() && other.inputs == self.inputs
        })
    }

    /// What it is without the names of the graph.
    pub(super) fn parts(&self) -> LinearParts {
        LinearParts {
            inputs: self.inputs,
            outputs: self.outputs,
            weights: self.weights.clone(),
            bias: self.bias.clone(),
        }
    }
}

/// The value whose rows, quantised, are `integers`, and their scales `scales`. What does so may be shared by many maps.
///
/// ```text
/// scales = max(max |x| * 1/127, least);  integers = round(x / scales)
/// ```
fn quantised<'a>(trace: &Trace<'a, '_>, integers: &str, scales: &str) -> Option<&'a str> {
    let cast = trace.shared(integers, "Cast")?;
    let round = trace.shared(&cast.input[0], "Round")?;
    let div = trace.shared(&round.input[0], "Div")?;
    let [x, divisor] = div.input.as_slice() else { return None };
    let max = trace.shared(divisor, "Max")?;
    let of_127 = trace.shared(&max.input[0], "Mul")?;
    let largest = trace.shared(&of_127.input[0], "ReduceMax")?;
    let sizes = trace.shared(&largest.input[0], "Abs")?;
    let least = trace.scalar(&max.input[1])?;
    let fits = divisor == scales
        && int(cast, "to") == Some(DataType::Int8 as i64)
        && (0.0..=MAX_LEAST).contains(&least)
        && trace.scalar(&of_127.input[1]) == Some(1.0 / 127.0)
        && matches!(ints(largest, "axes"), Some([-1 | 1]))
        && int(largest, "keepdims").unwrap_or(1) == 1
        && sizes.input[0] == *x;
    fits.then_some(x.as_str())
}

/// The kernels take rows whose largest number is below this for zeros: such a row gives the bias, to f32's last bit.
const MAX_LEAST: f32 = 1e-30;

/// Above, a sum of int8 products could overflow.
const MAX_INPUTS: usize = 1 << 17;

/// A [`LinearPattern`] without its place in the graph.
pub(super) struct LinearParts {
    inputs: usize,
    outputs: usize,
    weights: StoredWeights,
    bias: Floats,
}

/// A linear map to all outputs of the maps it was made of, one after another.
pub(super) struct Linear {
    inputs: usize,
    bias: Vec<f32>,
    weights: Weights,
}

enum Weights {
    /// `[inputs, outputs]`
    F32(Vec<f32>),
    /// `[outputs, inputs]`, a scale per output.
    Int8(Vec<i8>, Vec<f32>),
}

impl Linear {
    /// Maps that [go together](LinearPattern::goes_with), as one.
    pub(super) fn new(parts: &[LinearParts], constants: &mut Constants) -> Self {
        let outputs: usize = parts.iter().map(|part| part.outputs).sum();
        let inputs = parts.first().map_or(0, |part| part.inputs);
        let bias = parts.iter().flat_map(|part| constants.floats(&part.bias)).collect();
        let mut exact = Vec::new();
        let (mut integers, mut scales) = (Vec::new(), Vec::new());
        let mut place = 0;
        for part in parts {
            match &part.weights {
                StoredWeights::F32(weights) if part.outputs == outputs => exact = constants.floats(weights),
                StoredWeights::F32(weights) => {
                    exact.resize(inputs * outputs, 0.0);
                    let weights = constants.floats(weights);
                    for (row, own) in exact.chunks_exact_mut(outputs).zip(weights.chunks_exact(part.outputs))
                    {
                        row[place..][..part.outputs].copy_from_slice(own);
                    }
                }
                StoredWeights::Int8(weights, weight_scales) => {
                    integers.extend(transposed(&constants.int8(weights), inputs, part.outputs));
                    scales.extend(constants.floats(weight_scales));
                }
            }
            place += part.outputs;
        }
        let weights = if scales.is_empty() { Weights::F32(exact) } else { Weights::Int8(integers, scales) };
        Self { inputs, bias, weights }
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    pub(super) fn is_int8(&self) -> bool {
        matches!(self.weights, Weights::Int8(..))
    }

    /// Rows `x` to rows `y`; `quantised` holds rows of inputs.
    pub(super) fn forward(
        &self,
        kernels: &Kernels,
        x: Matrix<'_>,
        y: &mut MatrixMut<'_>,
        quantised: &mut [i16],
    ) {
        match &self.weights {
            Weights::F32(weights) => {
                kernels.gemm_f32(x, Matrix::new(weights, self.outputs()), Some(&self.bias), y);
            }
            Weights::Int8(weights, scales) => {
                let weights = Int8Weights::new(weights, scales, self.inputs);
                kernels.linear_i8(x, weights, Some(&self.bias), y, quantised);
            }
        }
    }
}

/// `[inputs, outputs]` as `[outputs, inputs]`, block by block, as caches like it.
fn transposed(weights: &[i8], inputs: usize, outputs: usize) -> Vec<i8> {
    let mut transposed = vec![0; weights.len()];
    for first in (0..inputs).step_by(BLOCK) {
        for j in 0..outputs {
            let end = inputs.min(first + BLOCK);
            let row = &mut transposed[j * inputs..][first..end];
            let column = weights[first * outputs + j..].iter().step_by(outputs);
            row.iter_mut().zip(column).for_each(|(place, weight)| *place = *weight);
        }
    }
    transposed
}

const BLOCK: usize = 64;

/// What comes after a map.
#[derive(Clone, Copy)]
enum Then {
    Nothing,
    Gelu,
    Relu,
}

/// A map alone that `anchor` ends.
pub(crate) fn find<'a>(trace: &mut Trace<'a, '_>, anchor: &'a NodeProto) -> Option<Found> {
    let map = (anchor.op_type == "Add").then(|| LinearPattern::find_in(trace, anchor))??;
    Some(found(&map, anchor, Then::Nothing))
}

/// A map with GELU or ReLU.
pub(crate) fn find_activated<'a>(trace: &mut Trace<'a, '_>, anchor: &'a NodeProto) -> Option<Found> {
    let (map, then) = match anchor.op_type.as_str() {
        "Relu" => (LinearPattern::find(trace, &anchor.input[0], 1)?, Then::Relu),
        _ => {
            let x = gelu(trace, anchor)?;
            (LinearPattern::find(trace, x, 2)?, Then::Gelu)
        }
    };
    Some(found(&map, anchor, then))
}

fn found(map: &LinearPattern<'_>, anchor: &NodeProto, then: Then) -> Found {
    let parts = map.parts();
    Found {
        inputs: vec![map.x.to_string()],
        outputs: anchor.output.clone(),
        counted: Vec::new(),
        make: Box::new(move |constants| Arc::new(LinearOp { map: Linear::new(&[parts], constants), then })),
    }
}

/// The number whose GELU ends with this node, and which it takes twice.
pub(super) fn gelu<'a>(trace: &mut Trace<'a, '_>, product: &'a NodeProto) -> Option<&'a str> {
    if product.op_type != "Mul" {
        return None;
    }
    let factor = |trace: &mut Trace<'a, '_>, value: &str, operator: &str, expected: f32| {
        let node = trace.inner(value, operator)?;
        trace.either(node, |trace, x, factor| (trace.scalar(factor) == Some(expected)).then_some(x))
    };
    trace.either(product, |trace, halved, gate| {
        let x = factor(trace, halved, "Mul", 0.5)?;
        let erf = factor(trace, gate, "Add", 1.0)?;
        let scaled = &trace.inner(erf, "Erf")?.input[0];
        (factor(trace, scaled, "Mul", core::f32::consts::FRAC_1_SQRT_2)? == x).then_some(x)
    })
}

/// GELU alone, after something else than a map.
pub(crate) fn find_gelu<'a>(trace: &mut Trace<'a, '_>, anchor: &'a NodeProto) -> Option<Found> {
    let x = gelu(trace, anchor)?;
    Some(Found {
        inputs: vec![x.to_string()],
        outputs: anchor.output.clone(),
        counted: Vec::new(),
        make: Box::new(|_| Arc::new(Gelu)),
    })
}

struct LinearOp {
    map: Linear,
    then: Then,
}

impl Fused for LinearOp {
    fn name(&self) -> &'static str {
        if self.map.is_int8() { "linear (int8)" } else { "linear (f32)" }
    }

    fn shapes(&self, inputs: &[&[usize]]) -> TractResult<TVec<TVec<usize>>> {
        let &[x] = inputs else { bail!("a linear map of {} inputs", inputs.len()) };
        Ok(tvec![tvec![rows(x, self.map.inputs())?, self.map.outputs()]])
    }

    fn run(&self, engine: &Engine, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (x, outputs) = (numbers(&inputs[0])?, self.map.outputs());
        let x = Matrix::new(x, self.map.inputs());
        let y = filled(&[x.num_rows(), outputs], |y| {
            engine.with_scratch(0, self.map.inputs(), |_, quantised| {
                self.map.forward(engine.kernels, x, &mut MatrixMut::new(y, outputs), quantised);
            });
            match self.then {
                Then::Nothing => (),
                Then::Gelu => y.chunks_exact_mut(outputs).for_each(|row| engine.kernels.gelu(row)),
                Then::Relu => y.iter_mut().for_each(|v| *v = v.max(0.0)),
            }
        })?;
        Ok(tvec![y])
    }
}

struct Gelu;

impl Fused for Gelu {
    fn name(&self) -> &'static str {
        "GELU"
    }

    fn shapes(&self, inputs: &[&[usize]]) -> TractResult<TVec<TVec<usize>>> {
        Ok(inputs.iter().map(|x| (*x).into()).collect())
    }

    fn run(&self, engine: &Engine, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = inputs.pop().context("no input")?;
        Ok(tvec![changed(x, |x| engine.kernels.gelu(x))?])
    }
}
