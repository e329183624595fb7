//! The operators that the trainer's files are made of: what tract computes for each.
//!
//! One table of them, no more. tract's own reader of ONNX knows every operator there is, and a program that holds it is more than
//! twice as large. The meanings are those of [`OPSET`].

mod linear;
mod lstm;
mod reduction;
mod shape;

use aesa_onnx::{DataType, NodeProto};
use tract_core::internal::*;
use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::cast::cast;
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::math;
use tract_core::ops::nn::{self, Reducer};

use crate::error::TractError;
use crate::graph::{Node, Wiring, axis};

/// The version of ONNX's operators (<https://onnx.ai/onnx/operators/>) that is read here; other versions mean other things by some.
pub(crate) const OPSET: i64 = 17;

/// An operator: how many inputs it takes, the attributes that it heeds, and what it is to tract.
pub(crate) struct Operator {
    name: &'static str,
    num_inputs: core::ops::RangeInclusive<usize>,
    attributes: &'static [&'static str],
    /// Gives one value per output of the node.
    pub(crate) wire: fn(&mut Wiring, &Node) -> TractResult<TVec<OutletId>>,
}

/// The operator of this name.
pub(crate) fn find(name: &str) -> Option<&'static Operator> {
    OPERATORS.iter().find(|operator| operator.name == name)
}

/// Refuses a node that would be computed otherwise than it says.
///
/// # Errors
/// [`TractError::Operator`] for an operator that is not in the table, another number of inputs, or an attribute that would not be
/// heeded.
pub(crate) fn check(node: &NodeProto) -> Result<(), TractError> {
    let refuse = |what: String| {
        Err(TractError::Operator { operator: node.op_type.clone(), node: node.name.clone(), cause: what })
    };
    let Some(operator) = find(&node.op_type).filter(|_| node.domain.is_empty() || node.domain == "ai.onnx")
    else {
        return refuse("is none of this engine's".to_string());
    };
    if !operator.num_inputs.contains(&node.input.len()) {
        return refuse(format!("has {} inputs", node.input.len()));
    }
    match node.attribute.iter().find(|attribute| !operator.attributes.contains(&attribute.name.as_str())) {
        Some(attribute) => {
            refuse(format!("has the attribute {}, which this engine's has not", attribute.name))
        }
        None => Ok(()),
    }
}

const OPERATORS: &[Operator] = &[
    operator("Abs", 1..=1, &[], |w, n| unary(w, n, math::abs())),
    operator("Add", 2..=2, &[], |w, n| binary(w, n, math::add())),
    operator("Cast", 1..=1, &["to"], cast_to),
    operator("Concat", 1..=usize::MAX, &["axis"], shape::concat),
    operator("Conv", 2..=3, &["group", "kernel_shape", "pads", "strides"], linear::conv),
    operator("DequantizeLinear", 3..=3, &["axis"], linear::dequantize),
    operator("Div", 2..=2, &[], |w, n| binary(w, n, math::div())),
    operator("Erf", 1..=1, &[], |w, n| unary(w, n, math::erf())),
    operator("Gather", 2..=2, &["axis"], shape::gather),
    operator("Identity", 1..=1, &[], |_, n| Ok(tvec!(n.input(0)?))),
    operator("LSTM", 4..=7, &["direction", "hidden_size"], lstm::blstm),
    operator("LayerNormalization", 3..=3, &["axis", "epsilon"], reduction::layer_norm),
    operator("MatMul", 2..=2, &[], linear::matmul),
    operator("MatMulInteger", 2..=2, &[], linear::integer_matmul),
    operator("Max", 2..=2, &[], |w, n| binary(w, n, math::max())),
    operator("Min", 2..=2, &[], |w, n| binary(w, n, math::min())),
    operator("Mul", 2..=2, &[], |w, n| binary(w, n, math::mul())),
    operator("Range", 3..=3, &[], shape::range),
    operator("ReduceMax", 1..=1, &["axes", "keepdims"], |w, n| reduction::reduce(w, n, Reducer::Max)),
    operator("ReduceMean", 1..=1, &["axes", "keepdims"], reduction::mean),
    operator("ReduceSum", 2..=2, &["keepdims"], |w, n| reduction::reduce(w, n, Reducer::Sum)),
    operator("Relu", 1..=1, &[], relu),
    operator("Reshape", 2..=2, &[], shape::reshape),
    operator("Round", 1..=1, &[], |w, n| unary(w, n, math::round_half_to_even())),
    operator("Shape", 1..=1, &[], shape::extents),
    operator("Sigmoid", 1..=1, &[], |w, n| unary(w, n, nn::sigmoid())),
    operator("Slice", 4..=4, &[], shape::slice),
    operator("Softmax", 1..=1, &["axis"], softmax),
    operator("Sub", 2..=2, &[], |w, n| binary(w, n, math::sub())),
    operator("Transpose", 1..=1, &["perm"], shape::transpose),
];

const fn operator(
    name: &'static str,
    num_inputs: core::ops::RangeInclusive<usize>,
    attributes: &'static [&'static str],
    wire: fn(&mut Wiring, &Node) -> TractResult<TVec<OutletId>>,
) -> Operator {
    Operator { name, num_inputs, attributes, wire }
}

fn unary(wiring: &mut Wiring, node: &Node, op: ElementWiseOp) -> TractResult<TVec<OutletId>> {
    Ok(tvec!(wiring.wire(node.name(), op, &[node.input(0)?])?))
}

fn binary(wiring: &mut Wiring, node: &Node, op: TypedBinOp) -> TractResult<TVec<OutletId>> {
    let inputs = node.inputs()?;
    let [left, right] = [wiring.datum_type(inputs[0])?, wiring.datum_type(inputs[1])?];
    ensure!(left == right, "its inputs are of two types, {left:?} and {right:?}");
    Ok(tvec!(wiring.wire_broadcast(node.name(), op, &inputs)?))
}

fn cast_to(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let to = match DataType::try_from(i32::try_from(node.int("to", 0))?) {
        Ok(DataType::Float) => f32::datum_type(),
        Ok(DataType::Int8) => i8::datum_type(),
        _ => bail!("a cast to another type than f32 and i8"),
    };
    Ok(tvec!(wiring.wire(node.name(), cast(to), &[node.input(0)?])?))
}

fn relu(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let x = node.input(0)?;
    let rank = wiring.shape(x)?.len();
    let zero = wiring.scalar(format!("{}.zero", node.name()), 0.0, rank)?;
    Ok(tvec!(wiring.wire(node.name(), math::max(), &[x, zero])?))
}

fn softmax(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let x = node.input(0)?;
    let axis = axis(node.int("axis", -1), wiring.shape(x)?.len())?;
    let op = nn::Softmax { axes: tvec![axis], ..nn::Softmax::default() };
    Ok(tvec!(wiring.wire(node.name(), op, &[x])?))
}
