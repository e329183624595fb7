//! Operators that sum over axes.

use tract_core::internal::*;
use tract_core::ops::math::{add, div, mul, rsqrt, square, sub};
use tract_core::ops::nn::{Reduce, Reducer};

use crate::graph::{Node, Wiring, axis};

/// Over the axes that the second input names or, where the operator has none, the attribute `axes`.
pub(super) fn reduce(wiring: &mut Wiring, node: &Node, reducer: Reducer) -> TractResult<TVec<OutletId>> {
    let axes = reduced_axes(wiring, node)?;
    let reduced = wiring.wire(node.name(), Reduce { axes: axes.clone(), reducer }, &[node.input(0)?])?;
    Ok(tvec!(without_axes(wiring, node, reduced, &axes)?))
}

pub(super) fn mean(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let (x, axes) = (node.input(0)?, reduced_axes(wiring, node)?);
    let mean = mean_over(wiring, node.name(), x, &axes)?;
    Ok(tvec!(without_axes(wiring, node, mean, &axes)?))
}

/// ```text
/// d = x - mean(x)
/// y = d / sqrt(mean(d^2) + epsilon) * weight + bias
/// ```
pub(super) fn layer_norm(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    let (x, name) = (node.input(0)?, node.name());
    let rank = wiring.shape(x)?.len();
    let axes: TVec<usize> = (axis(node.int("axis", -1), rank)?..rank).collect();
    let mean = mean_over(wiring, &format!("{name}.mean"), x, &axes)?;
    let centred = wiring.wire(format!("{name}.centred"), sub(), &[x, mean])?;
    let squares = wiring.wire(format!("{name}.squares"), square(), &[centred])?;
    let variance = mean_over(wiring, &format!("{name}.variance"), squares, &axes)?;
    let epsilon = wiring.scalar(format!("{name}.epsilon"), node.float("epsilon", 1e-5), rank)?;
    let variance = wiring.wire(format!("{name}.at_least"), add(), &[variance, epsilon])?;
    let gain = wiring.wire(format!("{name}.gain"), rsqrt(), &[variance])?;
    let normed = wiring.wire(format!("{name}.normed"), mul(), &[centred, gain])?;
    let scaled = wiring.wire_broadcast(&format!("{name}.scaled"), mul(), &[normed, node.input(1)?])?;
    Ok(tvec!(wiring.wire_broadcast(name, add(), &[scaled, node.input(2)?])?))
}

/// The mean over `axes`, each of which stays with an extent of 1.
fn mean_over(wiring: &mut Wiring, name: &str, x: OutletId, axes: &[usize]) -> TractResult<OutletId> {
    let shape = wiring.shape(x)?;
    let count: usize = axes.iter().map(|axis| shape[*axis]).product();
    let sum = Reduce { axes: axes.into(), reducer: Reducer::Sum };
    let sum = wiring.wire(format!("{name}.sum"), sum, &[x])?;
    let count = wiring.scalar(format!("{name}.count"), count as f32, shape.len())?;
    wiring.wire(name, div(), &[sum, count])
}

/// In rising order.
fn reduced_axes(wiring: &Wiring, node: &Node) -> TractResult<TVec<usize>> {
    let axes = match node.optional_input(1) {
        Some(axes) => wiring.ints(axes)?,
        None => node.ints("axes").context("no axes to reduce")?.to_vec(),
    };
    let rank = wiring.shape(node.input(0)?)?.len();
    let mut axes: TVec<usize> = axes.into_iter().map(|at| axis(at, rank)).collect::<TractResult<_>>()?;
    axes.sort_unstable();
    axes.dedup();
    Ok(axes)
}

/// Takes the reduced axes away, unless they are to be kept.
fn without_axes(wiring: &mut Wiring, node: &Node, x: OutletId, axes: &[usize]) -> TractResult<OutletId> {
    if node.int("keepdims", 1) != 0 {
        return Ok(x);
    }
    axes.iter().rev().try_fold(x, |x, axis| {
        wiring.wire(format!("{}.without_{axis}", node.name()), AxisOp::Rm(*axis), &[x])
    })
}
