//! A head branch's self-attention, from its input to logits: a value is one number per head and token.
//!
//! ```text
//! logit[i] = bias + sum over h of softmax(q[h][i] k[h]) v[h]
//! ```

use aesa_kernels::attention::{Keys, QUERY_TILE};
use aesa_kernels::{Matrix, MatrixMut};
use aesa_onnx::NodeProto;
use tract_core::internal::*;

use super::attention::part;
use super::heads::{Past, Sight, Split, check_pasts, gather_keys, keep_columns, keep_rows, visible};
use super::linear::{Linear, LinearPattern};
use super::{Engine, Found, Fused, filled, numbers, rows};
use crate::pattern::{Trace, int};

/// A branch whose logits `anchor` gives.
pub(crate) fn find<'a>(trace: &mut Trace<'a, '_>, anchor: &'a NodeProto) -> Option<Found> {
    if anchor.op_type != "Add" {
        return None;
    }
    let (sum, bias) = trace.either(anchor, |trace, sum, bias| {
        let bias = trace.plain_floats(bias).filter(|bias| bias.shape == [1])?;
        let reduce = trace.inner(sum, "ReduceSum")?;
        let sums_heads = trace.ints(&reduce.input[1])? == [0] && int(reduce, "keepdims") == Some(0);
        sums_heads.then(|| (reduce.input[0].as_str(), bias))
    })?;
    let weighted = trace.inner(sum, "MatMul")?;
    let [weights, values] = weighted.input.as_slice() else { return None };
    let (values, past_values) = Past::find(trace, values, 1, weighted)?;
    let softmax = trace.inner(weights, "Softmax")?;
    let is_last_axis = matches!(int(softmax, "axis"), None | Some(-1 | 2));
    let mut mask = Sight { kept: past_values.as_ref().map_or(0, |past| past.kept), ..Sight::default() };
    let product = mask.unmasked(trace, &softmax.input[0]);
    let product = trace.inner(product, "MatMul")?;
    let [queries, keys] = product.input.as_slice() else { return None };
    let (keys, past_keys) = Past::find(trace, keys, 2, product)?;
    let sight = Sight { before: mask.before, counted: mask.counted, ..Sight::new(past_keys, past_values)? };
    let query = Split::find(trace, queries, &[1, 0, 2])?;
    let key = Split::find(trace, keys, &[1, 2, 0])?;
    let (rows, extents) = trace.reshaped(values)?;
    let columns = trace.transposed(rows, &[1, 0])?;
    let value = LinearPattern::find(trace, columns, 1)?;
    let (heads, dim) = (query.heads, query.dim);
    let fits = is_last_axis
        && (key.heads, key.dim) == (heads, dim)
        && query.map.goes_with(&[&key.map])
        && value.x == query.map.x
        && value.outputs == heads
        && extents == [heads as i64, -1, 1];
    fits.then(|| {
        let mut inputs = vec![value.x.to_string()];
        inputs.extend(sight.inputs());
        let mut outputs = anchor.output.clone();
        outputs.extend(sight.pasts.iter().map(|past| past.present.to_string()));
        let (kept, is_counted) = (sight.kept, sight.before.is_some());
        let (query_key, value) = ([query.map.parts(), key.map.parts()], [value.parts()]);
        Found {
            inputs,
            outputs,
            counted: sight.counted.iter().map(|value| (*value).to_string()).collect(),
            make: Box::new(move |constants| {
                let (query_key, value) = (Linear::new(&query_key, constants), Linear::new(&value, constants));
                let bias = constants.floats(&bias).first().copied().unwrap_or(0.0);
                Arc::new(Branch { heads, dim, kept, is_counted, query_key, value, bias })
            }),
        }
    })
}

struct Branch {
    heads: usize,
    dim: usize,
    /// Tokens before the chunk in the states.
    kept: usize,
    /// Whether an input says how many of them there are.
    is_counted: bool,
    /// Queries and keys of all heads.
    query_key: Linear,
    /// To a number per head.
    value: Linear,
    bias: f32,
}

impl Fused for Branch {
    fn name(&self) -> &'static str {
        "attention to logits"
    }

    fn shapes(&self, inputs: &[&[usize]]) -> TractResult<TVec<TVec<usize>>> {
        let (x, pasts) = inputs.split_first().context("no input")?;
        let num_tokens = rows(x, self.query_key.inputs())?;
        rows(x, self.value.inputs())?;
        check_pasts(pasts, self.kept, [self.heads, self.dim, 1], self.is_counted)?;
        let states = pasts.iter().filter(|past| past.len() == 3).map(|past| (*past).into());
        Ok(core::iter::once(tvec![num_tokens, 1]).chain(states).collect())
    }

    fn run(&self, engine: &Engine, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = Matrix::new(numbers(&inputs[0])?, self.query_key.inputs());
        let states: TVec<&[f32]> =
            inputs[1..].iter().map(|input| numbers(input)).collect::<TractResult<_>>()?;
        let (pasts, before) = states.split_at(if self.kept > 0 { 2 } else { 0 });
        let visible = visible(before.first().copied(), self.kept);
        let (num_tokens, width) = (x.num_rows(), self.heads * self.dim);
        let num_keys = visible + num_tokens;
        let parts = [
            num_tokens * 2 * width,
            num_tokens * self.heads,
            self.dim * num_keys,
            num_keys,
            QUERY_TILE * num_keys,
        ];
        let mut presents: TVec<TValue> = tvec![];
        let logits =
            engine.with_scratch(parts.iter().sum(), self.query_key.inputs(), |mut memory, quantised| {
                let [query_key, value, keys, values, scores] =
                    parts.map(|n| memory.split_off_mut(..n).expect("the parts' sum"));
                self.query_key.forward(
                    engine.kernels,
                    x,
                    &mut MatrixMut::new(query_key, 2 * width),
                    quantised,
                );
                self.value.forward(engine.kernels, x, &mut MatrixMut::new(value, self.heads), quantised);
                let (query_key, value) = (Matrix::new(query_key, 2 * width), Matrix::new(value, self.heads));
                let own_keys =
                    |head: usize| query_key.columns(width + head * self.dim..width + (head + 1) * self.dim);
                let past = |which: usize, head: usize| part(pasts.get(which).copied(), self.heads, head);
                let logits = filled(&[num_tokens, 1], |logits| {
                    logits.fill(self.bias);
                    for head in 0..self.heads {
                        gather_keys(
                            past(0, head),
                            visible,
                            own_keys(head),
                            &mut MatrixMut::new(keys, num_keys),
                        );
                        values[..visible].copy_from_slice(&past(1, head)[self.kept - visible..]);
                        values[visible..].iter_mut().enumerate().for_each(|(t, v)| *v = value.row(t)[head]);
                        let keys = Keys {
                            keys: Matrix::new(keys, num_keys),
                            num_before: visible,
                            scale: 1.0,
                            bias: None,
                        };
                        let queries = query_key.columns(head * self.dim..(head + 1) * self.dim);
                        engine.kernels.attend_to_numbers(queries, &keys, values, logits, scores);
                    }
                })?;
                if let [_, _] = pasts {
                    presents.push(filled(inputs[1].shape(), |present| {
                        let heads = present.chunks_exact_mut(self.kept * self.dim).enumerate();
                        heads
                            .for_each(|(head, present)| keep_columns(past(0, head), own_keys(head), present));
                    })?);
                    presents.push(filled(inputs[2].shape(), |present| {
                        let heads = present.chunks_exact_mut(self.kept).enumerate();
                        heads.for_each(|(head, present)| {
                            keep_rows(past(1, head), value.columns(head..head + 1), present)
                        });
                    })?);
                }
                TractResult::Ok(logits)
            })?;
        Ok(core::iter::once(logits).chain(presents).collect())
    }
}
