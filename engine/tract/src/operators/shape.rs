//! Operators that move numbers, or compute with shapes.

use tract_core::internal::*;
use tract_core::ops::array::{Gather, Slice, TypedConcat};

use crate::graph::{Node, Wiring, axis};

pub(super) fn concat(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let inputs = node.inputs()?;
    let axis = axis(node.int("axis", 0), wiring.shape(inputs[0])?.len())?;
    Ok(tvec!(wiring.wire(node.name(), TypedConcat::new(axis), &inputs)?))
}

pub(super) fn gather(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let inputs = node.inputs()?;
    let axis = axis(node.int("axis", 0), wiring.shape(inputs[0])?.len())?;
    Ok(tvec!(wiring.wire(node.name(), Gather::new(axis), &inputs)?))
}

/// A constant: every shape is known.
pub(super) fn extents(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let extents: Vec<i64> = wiring.shape(node.input(0)?)?.iter().map(|n| *n as i64).collect();
    Ok(tvec!(wiring.model.add_const(node.name(), tensor1(&extents))?))
}

/// A constant, from numbers that follow from shapes.
pub(super) fn range(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let bounds = node.inputs()?.into_iter().map(|input| wiring.ints(input));
    let bounds: Vec<i64> = bounds.collect::<TractResult<Vec<_>>>()?.concat();
    let &[start, limit, 1] = bounds.as_slice() else { bail!("a range in steps of other than 1") };
    ensure!(limit.saturating_sub(start) <= MAX_RANGE, "a range of more than {MAX_RANGE} numbers");
    let numbers: Vec<i64> = (start..limit).collect();
    Ok(tvec!(wiring.model.add_const(node.name(), tensor1(&numbers))?))
}

/// Far more tokens than a window has: a bound on what a file can make of memory.
const MAX_RANGE: i64 = 1 << 20;

pub(super) fn reshape(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let mut x = node.input(0)?;
    let from: TVec<TDim> = wiring.shape(x)?.iter().map(ToDim::to_dim).collect();
    let to: TVec<TDim> = wiring.ints(node.input(1)?)?.iter().map(ToDim::to_dim).collect();
    for (i, op) in to_axis_ops_with_onnx_rules(&from, &to, false)?.into_iter().enumerate() {
        x = wiring.wire(format!("{}.{i}", node.name()), op, &[x])?;
    }
    Ok(tvec!(x))
}

pub(super) fn slice(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let mut x = node.input(0)?;
    let shape = wiring.shape(x)?;
    let [starts, ends, axes] = [1, 2, 3].map(|i| wiring.ints(node.input(i)?));
    let (starts, ends, axes) = (starts?, ends?, axes?);
    ensure!(starts.len() == axes.len() && ends.len() == axes.len(), "starts, ends and axes are not as many");
    for (i, at) in axes.into_iter().enumerate() {
        let axis = axis(at, shape.len())?;
        let extent = shape[axis] as i64;
        let position = |n: i64| if n < 0 { n.saturating_add(extent).max(0) } else { n.min(extent) } as usize;
        let (start, end) = (position(starts[i]), position(ends[i]));
        ensure!(start < end, "nothing is left of axis {axis}");
        x = wiring.wire(format!("{}.{i}", node.name()), Slice::new(axis, start, end), &[x])?;
    }
    Ok(tvec!(x))
}

pub(super) fn transpose(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let mut x = node.input(0)?;
    let order = node.sizes("perm", &(0..wiring.shape(x)?.len()).rev().collect::<TVec<_>>())?;
    ensure!((0..order.len()).all(|axis| order.contains(&axis)), "perm {order:?} is not an order of the axes");
    for (i, op) in perm_to_ops(&order).into_iter().enumerate() {
        x = wiring.wire(format!("{}.{i}", node.name()), op, &[x])?;
    }
    Ok(tvec!(x))
}
