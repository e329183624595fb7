//! Layer norm over the last axis, of a sum or added to one.
//!
//! ```text
//! y = norm(x)    y = norm(alpha x + r)    y = s + norm(x)
//! ```

use aesa_onnx::NodeProto;
use tract_core::internal::*;

use super::{Engine, Found, Fused, changed, numbers, rows};
use crate::pattern::{Trace, float, int};

/// What is done beside the norm.
#[derive(Clone, Copy)]
enum Sum {
    None,
    /// Of the first input times this and the second, before it.
    Residual(f32),
    /// To the first input, of the second's norm.
    Running,
}

/// A sum and a norm that is added to it, which nothing else takes.
pub(crate) fn find_running<'a>(trace: &mut Trace<'a, '_>, anchor: &'a NodeProto) -> Option<Found> {
    if anchor.op_type != "Add" {
        return None;
    }
    let (norm, inputs) = trace.either(anchor, |trace, sum, normed| {
        let norm = trace.inner(normed, "LayerNormalization")?;
        Some((norm, [sum, norm.input[0].as_str()]))
    })?;
    found(trace, norm, &inputs, anchor, Sum::Running)
}

/// A norm, alone or of a sum that nothing else takes.
pub(crate) fn find<'a>(trace: &mut Trace<'a, '_>, anchor: &'a NodeProto) -> Option<Found> {
    if anchor.op_type != "LayerNormalization" {
        return None;
    }
    let x = anchor.input[0].as_str();
    let (sum, inputs) = residual(trace, x).unwrap_or((Sum::None, vec![x]));
    found(trace, anchor, &inputs, anchor, sum)
}

fn found<'a>(
    trace: &mut Trace<'a, '_>,
    norm: &NodeProto,
    inputs: &[&str],
    anchor: &NodeProto,
    sum: Sum,
) -> Option<Found> {
    let [weight, bias] = [trace.floats(&norm.input[1])?, trace.floats(&norm.input[2])?];
    let fits = float(norm, "epsilon").unwrap_or(1e-5) == 1e-5
        && matches!(int(norm, "axis"), None | Some(-1 | 1))
        && weight.shape.len() == 1
        && weight.shape == bias.shape;
    fits.then(|| Found {
        inputs: inputs.iter().map(|input| (*input).to_string()).collect(),
        outputs: anchor.output.clone(),
        counted: Vec::new(),
        make: Box::new(move |constants| {
            Arc::new(Norm { weight: constants.floats(&weight), bias: constants.floats(&bias), sum })
        }),
    })
}

/// `alpha x + r`, or `x + r`, that nothing but the norm takes.
fn residual<'a>(trace: &mut Trace<'a, '_>, value: &str) -> Option<(Sum, Vec<&'a str>)> {
    trace.attempt(|trace| {
        let add = trace.inner(value, "Add")?;
        let scaled = trace.either(add, |trace, scaled, rest| {
            let node = trace.inner(scaled, "Mul")?;
            trace.either(node, |trace, x, alpha| Some((Sum::Residual(trace.scalar(alpha)?), vec![x, rest])))
        });
        let plain = || (Sum::Residual(1.0), add.input.iter().map(String::as_str).collect());
        Some(scaled.unwrap_or_else(plain))
    })
}

struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    sum: Sum,
}

impl Fused for Norm {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn shapes(&self, inputs: &[&[usize]]) -> TractResult<TVec<TVec<usize>>> {
        let count = if let Sum::None = self.sum { 1 } else { 2 };
        ensure!(inputs.len() == count && inputs.iter().all(|x| *x == inputs[0]), "a norm of {inputs:?}");
        rows(inputs[0], self.weight.len())?;
        Ok(tvec![inputs[0].into()])
    }

    fn run(&self, engine: &Engine, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let width = self.weight.len();
        let norm = |row: &mut [f32]| engine.kernels.layer_norm(row, &self.weight, &self.bias);
        let last = inputs.pop().context("no input")?;
        let y = match self.sum {
            Sum::None => changed(last, |y| y.chunks_exact_mut(width).for_each(norm)),
            Sum::Residual(alpha) => {
                let x = numbers(&inputs[0])?;
                changed(last, |y| {
                    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        y.iter_mut().zip(x).for_each(|(y, x)| *y += alpha * x);
                        norm(y);
                    }
                })
            }
            Sum::Running => {
                let sum = inputs.pop().context("no sum")?;
                let x = numbers(&last)?;
                changed(sum, |sum| {
                    engine.with_scratch(width, 0, |row, _| {
                        for (sum, x) in sum.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                            row.copy_from_slice(x);
                            norm(row);
                            sum.iter_mut().zip(&*row).for_each(|(sum, v)| *sum += v);
                        }
                    });
                })
            }
        }?;
        Ok(tvec![y])
    }
}
