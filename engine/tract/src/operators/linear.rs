//! Operators that multiply by weights.

use tract_core::internal::*;
use tract_core::ops::cast::cast;
use tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_core::ops::einsum::EinSum;
use tract_core::ops::math::{mul, sub};
use tract_core::ops::nn::DataFormat;

use crate::graph::{Node, Wiring, axis};

/// Of matrices, or of as many matrices on either side.
pub(super) fn matmul(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let inputs = node.inputs()?;
    let axes = match [wiring.shape(inputs[0])?.len(), wiring.shape(inputs[1])?.len()] {
        [2, 2] => "mk,kn->mn",
        [3, 3] => "amk,akn->amn",
        ranks => bail!("a product of values with {ranks:?} axes"),
    };
    let op = EinSum::new(axes.parse()?, wiring.datum_type(inputs[0])?);
    Ok(tvec!(wiring.wire(node.name(), op, &inputs)?))
}

/// Of i8 matrices, to i32.
pub(super) fn integer_matmul(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let mut inputs = node.inputs()?;
    for input in &inputs {
        ensure!(wiring.datum_type(*input)? == i8::datum_type(), "a product of other integers than i8");
        ensure!(wiring.shape(*input)?.len() == 2, "a product of integers that is not of matrices");
    }
    // tract's product of integers takes more: a bias, and the zero and the scale of each side and of the result.
    let zero = wiring.model.add_const(format!("{}.zero", node.name()), tensor0(0_i32))?;
    let one = wiring.model.add_const(format!("{}.one", node.name()), tensor0(1_f32))?;
    inputs.extend([zero, zero, one, zero, one, zero, one]);
    let sums = i32::datum_type();
    let op = EinSum::newq("mk,kn,,,,,,,->mn".parse()?, sums, sums);
    Ok(tvec!(wiring.wire(node.name(), op, &inputs)?))
}

/// In one or two dimensions, grouped.
pub(super) fn conv(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let (x, weight) = (node.input(0)?, node.input(1)?);
    let (x_shape, weight_shape) = (wiring.shape(x)?, wiring.shape(weight)?);
    ensure!(x_shape.len() >= 3 && x_shape.len() == weight_shape.len(), "a convolution without a dimension");
    let kernel: TVec<usize> = weight_shape[2..].into();
    ensure!(node.sizes("kernel_shape", &kernel)? == kernel, "kernel_shape is not that of the weight");
    let group = usize::try_from(node.int("group", 1))?;
    let channels = (x_shape[1], weight_shape[0]);
    let fits = group > 0 && channels.0 == group * weight_shape[1] && channels.1.is_multiple_of(group);
    ensure!(fits, "{channels:?} channels in {group} groups with a weight of {weight_shape:?}");
    let pads = node.sizes("pads", &tvec![0; 2 * kernel.len()])?;
    let (before, after) = pads.split_at(kernel.len());
    let strides = node.sizes("strides", &tvec![1; kernel.len()])?;
    ensure!(!strides.contains(&0), "a stride of 0");
    let pool = PoolSpec::new(
        DataFormat::NCHW,
        kernel,
        PaddingSpec::Explicit(before.into(), after.into()),
        None,
        Some(strides),
        channels.0,
        channels.1,
    );
    let bias = match node.optional_input(2) {
        Some(bias) => bias,
        None => wiring.model.add_const(format!("{}.bias", node.name()), tensor0(0_f32))?,
    };
    let op = Conv::new(pool, KernelFormat::OIHW, group, None);
    Ok(tvec!(wiring.wire(node.name(), op, &[x, weight, bias])?))
}

/// f32 from i8, with a scale and a zero per entry along one axis.
pub(super) fn dequantize(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let (integers, name) = (node.input(0)?, node.name());
    let rank = wiring.shape(integers)?.len();
    let axis = axis(node.int("axis", 1), rank)?;
    let mut along_axis = |which: &str, mut param: OutletId| {
        ensure!(wiring.shape(param)?.len() == 1, "the {which} are not one per entry of an axis");
        for at in (0..rank).filter(|at| *at != axis) {
            param = wiring.wire(format!("{name}.{which}.axis_{at}"), AxisOp::Add(at), &[param])?;
        }
        Ok(param)
    };
    let (scales, zeros) = (along_axis("scales", node.input(1)?)?, along_axis("zeros", node.input(2)?)?);
    let numbers = wiring.wire(format!("{name}.numbers"), cast(f32::datum_type()), &[integers])?;
    let zeros = wiring.wire(format!("{name}.zeros"), cast(f32::datum_type()), &[zeros])?;
    let numbers = wiring.wire(format!("{name}.less_zeros"), sub(), &[numbers, zeros])?;
    Ok(tvec!(wiring.wire(name, mul(), &[numbers, scales])?))
}
