//! A block's self-attention, from its input to what it finds: projections, gates, and all heads, whose scores and bias are never
//! there for all queries at once.
//!
//! ```text
//! scores[h][i][j] = q[h][i] . k[h][j] + gate[h][i] * table[h][clamp(j - i)]
//! gate = a * (b * grep_a - 1) + 2,  a, b = sigmoid(linear(x))
//! y[i] = softmax(scores[h][i]) v[h]
//! ```

use aesa_kernels::attention::{Gate, Keys, QUERY_TILE, RelativeBias};
use aesa_kernels::math::sigmoid;
use aesa_kernels::{Matrix, MatrixMut};
use aesa_onnx::{DataType, NodeProto};
use tract_core::internal::*;

use super::heads::{
    Past, Sight, Split, check_pasts, gather_keys, keep_columns, keep_rows, token_index, visible,
};
use super::linear::{Linear, LinearPattern};
use super::{Engine, Found, Fused, filled, numbers, rows};
use crate::constants::{Constants, Floats};
use crate::pattern::{Trace, int};

/// Attention whose heads `anchor` joins.
pub(crate) fn find<'a>(trace: &mut Trace<'a, '_>, anchor: &'a NodeProto) -> Option<Found> {
    if anchor.op_type != "Reshape" {
        return None;
    }
    let (joined, extents) = trace.reshape(anchor)?;
    let heads_first = trace.transposed(joined, &[1, 0, 2])?;
    let weighted = trace.inner(heads_first, "MatMul")?;
    let [weights, values] = weighted.input.as_slice() else { return None };
    let (values, past_values) = Past::find(trace, values, 1, weighted)?;
    let softmax = trace.inner(weights, "Softmax")?;
    let is_last_axis = matches!(int(softmax, "axis"), None | Some(-1 | 2));
    let (scores, bias, sight) = scores(trace, &softmax.input[0], past_values)?;
    let [queries, keys] = scores;
    let query = Split::find(trace, queries, &[1, 0, 2])?;
    let key = Split::find(trace, keys, &[1, 2, 0])?;
    let value = Split::find(trace, values, &[1, 0, 2])?;
    let (heads, dim, x) = (query.heads, query.dim, query.map.x);
    let fits = is_last_axis
        && [&key, &value].iter().all(|other| other.heads == heads && other.dim == dim)
        && query.map.goes_with(&[&key.map, &value.map])
        && extents == [-1, (heads * dim) as i64]
        && bias.as_ref().is_none_or(|bias| bias.fits(heads, x));
    fits.then(|| found(anchor, [query, key, value], bias, &sight))
}

/// What gives the scores: queries and keys, the bias, and which tokens before the chunk are seen.
fn scores<'a>(
    trace: &mut Trace<'a, '_>,
    value: &'a str,
    past_values: Option<Past<'a>>,
) -> Option<([&'a str; 2], Option<Bias<'a>>, Sight<'a>)> {
    let mut mask = Sight { kept: past_values.as_ref().map_or(0, |past| past.kept), ..Sight::default() };
    let biased = mask.unmasked(trace, value);
    let found = trace.attempt(|trace| {
        let sum = trace.inner(biased, "Add")?;
        trace.either(sum, |trace, product, bias| {
            let bias = Bias::find(trace, bias)?;
            Some((product, bias))
        })
    });
    let (product, bias) = found.map_or((biased, None), |(product, bias)| (product, Some(bias)));
    let product = trace.inner(product, "MatMul")?;
    let [queries, keys] = product.input.as_slice() else { return None };
    let (keys, past_keys) = Past::find(trace, keys, 2, product)?;
    let sight = Sight { before: mask.before, counted: mask.counted, ..Sight::new(past_keys, past_values)? };
    (bias.as_ref().is_none_or(|bias| bias.kept == sight.kept)).then_some((
        [queries.as_str(), keys],
        bias,
        sight,
    ))
}

fn found(
    anchor: &NodeProto,
    [query, key, value]: [Split<'_>; 3],
    bias: Option<Bias<'_>>,
    sight: &Sight<'_>,
) -> Found {
    let (heads, dim, kept, is_counted) = (query.heads, query.dim, sight.kept, sight.before.is_some());
    let mut inputs = vec![query.map.x.to_string()];
    inputs.extend(sight.inputs());
    let mut outputs = anchor.output.clone();
    outputs.extend(sight.pasts.iter().map(|past| past.present.to_string()));
    let counted = sight.counted.iter().copied().chain(bias.as_ref().map(|bias| bias.tokens));
    let counted = counted.map(str::to_string).collect();
    let parts = [&query, &key, &value].map(|split| split.map.parts());
    let bias = bias.map(|bias| {
        let gate = bias.gate.map(|gate| (gate.maps.map(|map| map.parts()), gate.grep_a));
        (bias.table.to_string(), gate)
    });
    let make = move |constants: &mut Constants| -> Arc<dyn Fused> {
        let bias = bias.map(|(table, gate)| BiasOp {
            table: constants.shared_floats(&table),
            gate: gate.map(|(maps, grep_a)| GateOp {
                map: Linear::new(&maps, constants),
                grep_a: constants.floats(&grep_a),
            }),
        });
        Arc::new(Attention { heads, dim, kept, is_counted, qkv: Linear::new(&parts, constants), bias })
    };
    Found { inputs, outputs, counted, make: Box::new(make) }
}

/// A position bias.
struct Bias<'a> {
    /// `[heads, 2 * far + 1]`
    table: &'a str,
    heads: usize,
    kept: usize,
    tokens: &'a str,
    gate: Option<GatePattern<'a>>,
}

/// How much of the bias each query and head takes.
struct GatePattern<'a> {
    maps: [LinearPattern<'a>; 2],
    /// `[heads]`
    grep_a: Floats,
    heads: usize,
}

impl<'a> Bias<'a> {
    fn find(trace: &mut Trace<'a, '_>, value: &'a str) -> Option<Self> {
        if let Some(bias) = Self::by_distance(trace, value) {
            return Some(bias);
        }
        let gated = trace.inner(value, "Mul")?;
        trace.either(gated, |trace, gate, bias| {
            let bias = Self::by_distance(trace, bias)?;
            Some(Self { gate: Some(GatePattern::find(trace, gate)?), ..bias })
        })
    }

    /// ```text
    /// Gather(table, min(max(key - query, -far), far) + far)
    /// ```
    fn by_distance(trace: &Trace<'a, '_>, value: &str) -> Option<Self> {
        let gather = trace.shared(value, "Gather")?;
        let entry = trace.shared(&gather.input[1], "Add")?;
        let at_most = trace.shared(&entry.input[0], "Min")?;
        let at_least = trace.shared(&at_most.input[0], "Max")?;
        let distance = trace.shared(&at_least.input[0], "Sub")?;
        let index = |value: &str, extents: [i64; 2]| {
            let (index, actual) = trace.shared(value, "Reshape").and_then(|node| trace.reshape(node))?;
            (actual == extents).then(|| token_index(trace, index))?
        };
        let (first_key, counted) = index(&distance.input[0], [1, -1])?;
        let (first_query, tokens) = index(&distance.input[1], [-1, 1])?;
        let far = trace.int(&entry.input[1])?;
        let [heads, entries] = trace.constant(&gather.input[0], DataType::Float)?[..] else { return None };
        let fits = int(gather, "axis") == Some(1)
            && (1..1 << 20).contains(&far)
            && trace.int(&at_most.input[1]) == Some(far)
            && trace.int(&at_least.input[1]) == Some(-far)
            && entries == 2 * far as usize + 1
            && first_query == 0
            && counted == tokens;
        let kept = usize::try_from(first_key.checked_neg()?).ok()?;
        fits.then_some(Self { table: &gather.input[0], heads, kept, tokens, gate: None })
    }

    fn fits(&self, heads: usize, x: &str) -> bool {
        let gate_fits = |gate: &GatePattern<'_>| {
            gate.heads == heads && gate.maps.iter().all(|map| map.x == x && map.outputs == heads)
        };
        self.heads == heads && self.gate.as_ref().is_none_or(gate_fits)
    }
}

impl<'a> GatePattern<'a> {
    /// `[heads, tokens, 1]`, from two maps to `[tokens, heads]`.
    fn find(trace: &mut Trace<'a, '_>, value: &str) -> Option<Self> {
        let (heads_first, extents) = trace.reshaped(value)?;
        let &[heads, -1, 1] = extents.as_slice() else { return None };
        let by_token = trace.transposed(heads_first, &[1, 0])?;
        let plus = |trace: &mut Trace<'a, '_>, value: &str, number: f32| {
            let sum = trace.inner(value, "Add")?;
            trace.either(sum, |trace, x, n| (trace.scalar(n) == Some(number)).then_some(x))
        };
        let product = plus(trace, by_token, 2.0)?;
        let product = trace.inner(product, "Mul")?;
        let (a, (b, grep_a)) = trace.either(product, |trace, a, shifted| {
            let scaled = plus(trace, shifted, -1.0)?;
            let scaled = trace.inner(scaled, "Mul")?;
            Some((a, trace.either(scaled, |trace, b, grep_a| Some((b, trace.floats(grep_a)?)))?))
        })?;
        let mut map = |value: &str| {
            let sigmoid = trace.inner(value, "Sigmoid")?;
            LinearPattern::find(trace, &sigmoid.input[0], 1)
        };
        let maps = [map(a)?, map(b)?];
        let heads = usize::try_from(heads).ok()?;
        (grep_a.shape == [heads] && maps[0].goes_with(&[&maps[1]])).then_some(Self { maps, grep_a, heads })
    }
}

struct Attention {
    heads: usize,
    dim: usize,
    /// Tokens before the chunk in the states.
    kept: usize,
    /// Whether an input says how many of them there are.
    is_counted: bool,
    /// Queries, keys and values of all heads.
    qkv: Linear,
    bias: Option<BiasOp>,
}

struct BiasOp {
    /// `[heads, 2 * far + 1]`
    table: Arc<[f32]>,
    gate: Option<GateOp>,
}

struct GateOp {
    /// To `a` of all heads, then `b`.
    map: Linear,
    /// `[heads]`
    grep_a: Vec<f32>,
}

impl Fused for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn shapes(&self, inputs: &[&[usize]]) -> TractResult<TVec<TVec<usize>>> {
        let (x, pasts) = inputs.split_first().context("no input")?;
        let num_tokens = rows(x, self.qkv.inputs())?;
        check_pasts(pasts, self.kept, [self.heads, self.dim, self.dim], self.is_counted)?;
        let states = pasts.iter().filter(|past| past.len() == 3).map(|past| (*past).into());
        Ok(core::iter::once(tvec![num_tokens, self.heads * self.dim]).chain(states).collect())
    }

    fn run(&self, engine: &Engine, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = Matrix::new(numbers(&inputs[0])?, self.qkv.inputs());
        let states: TVec<&[f32]> =
            inputs[1..].iter().map(|input| numbers(input)).collect::<TractResult<_>>()?;
        let (pasts, before) = states.split_at(if self.kept > 0 { 2 } else { 0 });
        let visible = visible(before.first().copied(), self.kept);
        let (num_tokens, width) = (x.num_rows(), self.heads * self.dim);
        let num_keys = visible + num_tokens;
        let parts = [
            num_tokens * 3 * width,
            self.heads * num_tokens,
            2 * self.heads * num_tokens,
            self.dim * num_keys,
            num_keys * self.dim,
            QUERY_TILE * num_keys,
        ];
        let mut presents: TVec<TValue> = tvec![];
        let y = engine.with_scratch(parts.iter().sum(), self.qkv.inputs(), |mut memory, quantised| {
            let [qkv, factors, logits, keys, values, scores] =
                parts.map(|n| memory.split_off_mut(..n).expect("the parts' sum"));
            self.qkv.forward(engine.kernels, x, &mut MatrixMut::new(qkv, 3 * width), quantised);
            let qkv = Matrix::new(qkv, 3 * width);
            if let Some(gate) = self.bias.as_ref().and_then(|bias| bias.gate.as_ref()) {
                gate.factors(engine, x, logits, quantised, factors);
            }
            let factors = Matrix::new(factors, num_tokens);
            let y = filled(&[num_tokens, width], |y| {
                let mut y = MatrixMut::new(y, width);
                (0..num_tokens).for_each(|t| y.row_mut(t).copy_from_slice(&qkv.row(t)[..width]));
                for head in 0..self.heads {
                    let own = |which: usize| {
                        qkv.columns(which * width + head * self.dim..which * width + (head + 1) * self.dim)
                    };
                    let past = |which: usize| part(pasts.get(which).copied(), self.heads, head);
                    let (own_keys, own_values) = (own(1), own(2));
                    gather_keys(past(0), visible, own_keys, &mut MatrixMut::new(keys, num_keys));
                    let (old, new) = values.split_at_mut(visible * self.dim);
                    old.copy_from_slice(&past(1)[(self.kept - visible) * self.dim..]);
                    new.chunks_exact_mut(self.dim)
                        .enumerate()
                        .for_each(|(t, v)| v.copy_from_slice(own_values.row(t)));
                    let bias = self.bias.as_ref().map(|bias| RelativeBias {
                        by_distance: part(Some(&bias.table), self.heads, head),
                        gate: bias.gate.as_ref().map(|_| Gate::Known(factors.row(head))),
                    });
                    let keys =
                        Keys { keys: Matrix::new(keys, num_keys), num_before: visible, scale: 1.0, bias };
                    let mut queries = y.columns_mut(head * self.dim..(head + 1) * self.dim);
                    engine.kernels.attend(&mut queries, &keys, Matrix::new(values, self.dim), scores);
                }
            })?;
            if let [past_keys, past_values] = pasts {
                type Keep = fn(&[f32], Matrix<'_>, &mut [f32]);
                for (i, past, keep) in
                    [(1, past_keys, keep_columns as Keep), (2, past_values, keep_rows as Keep)]
                {
                    presents.push(filled(inputs[i].shape(), |present| {
                        for (head, present) in present.chunks_exact_mut(self.kept * self.dim).enumerate() {
                            let first = i * width + head * self.dim;
                            keep(
                                part(Some(*past), self.heads, head),
                                qkv.columns(first..first + self.dim),
                                present,
                            );
                        }
                    })?);
                }
            }
            TractResult::Ok(y)
        })?;
        Ok(core::iter::once(y).chain(presents).collect())
    }
}

/// A head's part of what all heads have; nothing of nothing.
pub(super) fn part(all: Option<&[f32]>, heads: usize, head: usize) -> &[f32] {
    all.map_or(&[], |all| {
        let each = all.len() / heads;
        &all[head * each..][..each]
    })
}

impl GateOp {
    /// Each query's factor, by head: `[heads, tokens]`.
    fn factors(
        &self,
        engine: &Engine,
        x: Matrix<'_>,
        logits: &mut [f32],
        quantised: &mut [i16],
        factors: &mut [f32],
    ) {
        let (heads, num_tokens) = (self.grep_a.len(), x.num_rows());
        self.map.forward(engine.kernels, x, &mut MatrixMut::new(logits, 2 * heads), quantised);
        for (t, logits) in logits.chunks_exact(2 * heads).enumerate() {
            let (a, b) = logits.split_at(heads);
            for (head, grep_a) in self.grep_a.iter().enumerate() {
                factors[head * num_tokens + t] = sigmoid(a[head]) * (sigmoid(b[head]) * grep_a - 1.0) + 2.0;
            }
        }
    }
}
