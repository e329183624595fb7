//! The bidirectional LSTM.
//!
//! ```text
//! i, o, f, c = x_t W^T + h_{t-1} R^T + b_w + b_r         [1, 4 * cells], in ONNX's order
//! c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(c)
//! h_t = sigmoid(o) * tanh(c_t)
//! ```

use tract_core::internal::*;
use tract_core::ops::array::{Slice, TypedConcat};
use tract_core::ops::einsum::EinSum;
use tract_core::ops::lstm_cell::LstmEpilogue;
use tract_core::ops::math::add;
use tract_core::ops::scan::{InputMapping, OutputMapping, Scan, ScanInfo};

use crate::graph::{Node, Wiring};

/// `x` `[tokens, 1, inputs]` to `y` `[tokens, 2, 1, cells]`, and where the node has three outputs, the last `h` and `c`
/// `[2, 1, cells]`. Inputs: `x`, `w` `[2, 4 * cells, inputs]`, `r` `[2, 4 * cells, cells]`, `b` `[2, 8 * cells]`, none, and
/// the `h` and `c` before, or zeros.
pub(super) fn blstm(wiring: &mut Wiring, node: &Node) -> TractResult<TVec<OutletId>> {
    ensure!(node.text("direction") == b"bidirectional", "an LSTM that is not bidirectional");
    ensure!(node.optional_input(4).is_none(), "an LSTM of sequences of several lengths");
    let num_outputs = node.proto.output.len();
    ensure!([1, 3].contains(&num_outputs), "an LSTM with {num_outputs} outputs");
    let (x, r) = (wiring.shape(node.input(0)?)?, wiring.shape(node.input(2)?)?);
    let (&[_, 1, inputs], &[2, _, cells]) = (x.as_slice(), r.as_slice()) else {
        bail!("an LSTM of {x:?} with a weight of {r:?}");
    };
    for (i, expected) in [(1, &[2, 4 * cells, inputs][..]), (2, &[2, 4 * cells, cells]), (3, &[2, 8 * cells])]
    {
        let actual = wiring.shape(node.input(i)?)?;
        ensure!(actual.as_slice() == expected, "an LSTM's input {i} of {actual:?}, not {expected:?}");
    }
    ensure!(node.int("hidden_size", cells as i64) == cells as i64, "hidden_size is not that of the weight");
    let forward = direction(wiring, node, 0, inputs, cells)?;
    let backward = direction(wiring, node, 1, inputs, cells)?;
    let both = forward.into_iter().zip(backward).take(num_outputs).enumerate();
    both.map(|(i, (forward, backward))| {
        let axis = usize::from(i == 0); // y has the tokens first
        wiring.wire(format!("{}.both_{i}", node.name()), TypedConcat::new(axis), &[forward, backward])
    })
    .collect()
}

/// One direction, 0 forward, 1 backward: `y` `[tokens, 1, 1, cells]`, `h` and `c` `[1, 1, cells]`.
fn direction(
    wiring: &mut Wiring,
    node: &Node,
    direction: usize,
    inputs: usize,
    cells: usize,
) -> TractResult<[OutletId; 3]> {
    let prefix = format!("{}.{}", node.name(), ["forward", "backward"][direction]);
    // This direction's part of an input.
    let own = |wiring: &mut Wiring, which: &str, input: OutletId| {
        wiring.wire(format!("{prefix}.{which}"), Slice::new(0, direction, direction + 1), &[input])
    };
    let matrix = |wiring: &mut Wiring, which: &str, input: OutletId| {
        let part = own(wiring, &format!("{which}.part"), input)?;
        wiring.wire(format!("{prefix}.{which}"), AxisOp::Rm(0), &[part])
    };
    // Its state before the first token, [1, 1, cells] already.
    let start = |wiring: &mut Wiring, which: &str, input: Option<OutletId>| match input {
        Some(state) => own(wiring, which, state),
        None => wiring.model.add_const(format!("{prefix}.{which}"), Tensor::zero::<f32>(&[1, 1, cells])?),
    };
    let x = wiring.wire(format!("{prefix}.x"), AxisOp::Move(1, 0), &[node.input(0)?])?; // [1, tokens, inputs]
    let w = matrix(wiring, "w", node.input(1)?)?;
    let r = matrix(wiring, "r", node.input(2)?)?;
    let b = own(wiring, "b", node.input(3)?)?; // [1, 8 * cells]
    let h = start(wiring, "h", node.optional_input(5))?;
    let c = start(wiring, "c", node.optional_input(6))?;

    let tokens = ScanInfo { axis: 1, chunk: if direction == 0 { 1 } else { -1 } };
    let (full, state) = (InputMapping::Full, InputMapping::State);
    let given = vec![InputMapping::Scan(tokens), full.clone(), full.clone(), full, state.clone(), state];
    let kept = |slot: usize, scan: Option<(usize, ScanInfo)>| OutputMapping {
        scan,
        full_dim_hint: None,
        last_value_slot: Some(slot),
        state: true,
    };
    let body = cell(&wiring.model.symbols, inputs, cells)?;
    let scan = Scan::new(body, given, vec![kept(1, Some((0, tokens))), kept(2, None)], 0)?;
    let outputs = wiring.model.wire_node(&prefix, scan, &[x, w, r, b, h, c])?;
    let y = wiring.wire(format!("{prefix}.y.tokens_first"), AxisOp::Move(1, 0), &[outputs[0]])?;
    let y = wiring.wire(format!("{prefix}.y"), AxisOp::Add(1), &[y])?;
    Ok([y, outputs[1], outputs[2]])
}

/// What happens at each token: takes `x_t`, `w`, `r`, `b`, `h` and `c`, gives `h` and `c`.
fn cell(symbols: &SymbolScope, inputs: usize, cells: usize) -> TractResult<TypedModel> {
    let mut body = Wiring::default();
    body.model.symbols = symbols.clone();
    let mut source = |name: &str, shape: &[usize]| body.model.add_source(name, f32::fact(shape));
    let x = source("x", &[1, 1, inputs])?;
    let w = source("w", &[4 * cells, inputs])?;
    let r = source("r", &[4 * cells, cells])?;
    let b = source("b", &[1, 8 * cells])?;
    let h = source("h", &[1, 1, cells])?;
    let c = source("c", &[1, 1, cells])?;
    let [x, h, c] = [("x_t", x), ("h_before", h), ("c_before", c)]
        .map(|(name, state)| body.wire(name, AxisOp::Rm(1), &[state]));
    let product = EinSum::new("mk,nk->mn".parse()?, f32::datum_type());
    let from_x = body.wire("from_x", product.clone(), &[x?, w])?;
    let from_h = body.wire("from_h", product, &[h?, r])?;
    let gates = body.wire("from_both", add(), &[from_x, from_h])?;
    let b_w = body.wire("b_w", Slice::new(1, 0, 4 * cells), &[b])?;
    let b_r = body.wire("b_r", Slice::new(1, 4 * cells, 8 * cells), &[b])?;
    let bias = body.wire("bias", add(), &[b_w, b_r])?;
    let gates = body.wire("gates", add(), &[gates, bias])?;
    let states = body.model.wire_node("cell", LstmEpilogue { hidden: cells }, &[gates, c?])?;
    let [h, c] = [("h_after", states[0]), ("c_after", states[1])]
        .map(|(name, state)| body.wire(name, AxisOp::Add(1), &[state]));
    body.model.with_output_outlets(&[h?, c?])
}
