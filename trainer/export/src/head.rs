//! The AESA-Net head as ONNX nodes.
//!
//! Source: docs/SPEC.md, "Head". What is combined at export, without changing the function: the softmax of the layer
//! weights with each layer's norm, and each branch's value, output and score projections: nothing but sums lies between
//! them, so that a head's values are one number per token.

use crate::config::{HeadConfig, ModelConfig};
use crate::error::ExportError;
use crate::graph::{Attributes, Graph, Value, int, ints, text};
use crate::linear::Linear;
use crate::past::Past;
use crate::tensors::Tensors;
use aesa::encoder::TOKENS_PER_STEP;
use aesa::score::{Axis, NUM_AXES};

/// Wires the head after `layers`, the outputs `[tokens, width]` of the encoder's blocks.
///
/// Gives frame scores `[1, num_steps, 4]`, 0 to 10.
///
/// # Errors
/// As [`Tensors::expect`].
pub(crate) fn head(
    g: &mut Graph,
    config: &ModelConfig,
    t: &Tensors,
    layers: &[Value],
    past: &mut Past,
) -> Result<Value, ExportError> {
    let width = config.encoder.encoder_embed_dim as usize;
    let head = &config.head;
    let x = layer_sum(g, head, t, layers, width)?;
    let adapter = Linear::read(t, "head.adapter", width, head.adapter_dim as usize)?;
    let mut x = g.linear("head.adapter", &x, &adapter); // [tokens, adapter_dim]
    for layer in 0..head.lstm_layers {
        x = blstm(g, head, t, layer, &x, past)?; // [tokens, 2 * lstm_dim]
    }
    let shared = Linear::read(t, "head.shared", 2 * head.lstm_dim as usize, head.shared_dim as usize)?;
    let x = g.linear("head.shared", &x, &shared);
    let x = g.node("head.relu", "Relu", &[&x], vec![]); // [tokens, shared_dim]
    let mut logits = Vec::with_capacity(NUM_AXES);
    for axis in Axis::ALL {
        logits.push(branch(g, head, t, axis, &x, past)?); // [tokens, 1]
    }
    Ok(pool(g, &logits))
}

/// Token logits `[tokens, 1]` per axis to frame scores `[1, steps, 4]`.
fn pool(g: &mut Graph, logits: &[Value]) -> Value {
    let logits: Vec<&Value> = logits.iter().collect();
    let logits = g.node("head.logits", "Concat", &logits, vec![int("axis", 1)]); // [tokens, 4]
    let tokens = g.node("head.token_scores", "Sigmoid", &[&logits], vec![]);
    let shape = [1, -1, TOKENS_PER_STEP as i64, NUM_AXES as i64];
    let steps = g.reshape("head.steps", &tokens, &shape); // [1, steps, 8, 4]
    let frame = g.node("head.frame_means", "ReduceMean", &[&steps], mean_over(2)); // [1, steps, 4]
    let ten = g.scalar(10.0);
    g.mul("head.frame_scores", &frame, &ten)
}

/// The mean of frame scores `[1, steps, 4]`: `[1, 4]`.
pub(crate) fn clip_mean(g: &mut Graph, frame: &Value) -> Value {
    g.node("head.clip_scores", "ReduceMean", &[frame], mean_over(1))
}

fn mean_over(axis: i64) -> Attributes {
    vec![ints("axes", &[axis]), int("keepdims", 0)]
}

/// The layers' sum, each normalised and times its softmaxed weight: `[tokens, width]`.
fn layer_sum(
    g: &mut Graph,
    config: &HeadConfig,
    t: &Tensors,
    layers: &[Value],
    width: usize,
) -> Result<Value, ExportError> {
    let shares = softmax(t.expect("head.layer_weights", &[layers.len()])?);
    let mut sum: Option<Value> = None;
    for (i, (layer, share)) in layers.iter().zip(shares).enumerate() {
        let weighted = if config.layer_norm {
            let name = format!("head.layer_norms.{i}");
            let scaled = |which: &str| {
                let values = t.expect(&format!("{name}.{which}"), &[width])?;
                Ok::<Vec<f32>, ExportError>(values.iter().map(|&v| (f64::from(v) * share) as f32).collect())
            };
            let (weight, bias) = (scaled("weight")?, scaled("bias")?);
            g.layer_norm(&name, layer, &weight, &bias)
        } else {
            let share = g.scalar(share as f32);
            g.mul(&format!("head.weighted.{i}"), layer, &share)
        };
        sum = Some(match sum {
            Some(sum) => g.add(&format!("head.layer_sum.{i}"), &sum, &weighted),
            None => weighted,
        });
    }
    sum.ok_or(ExportError::Config { reason: "encoder_layers is at least 1" })
}

pub(crate) fn softmax(values: &[f32]) -> Vec<f64> {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp: Vec<f64> = values.iter().map(|&v| f64::from(v - max).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.iter().map(|v| v / sum).collect()
}

/// One bidirectional LSTM layer, `[tokens, inputs]` to `[tokens, 2 * cells]`. From chunk to chunk, the forward direction goes on.
fn blstm(
    g: &mut Graph,
    config: &HeadConfig,
    t: &Tensors,
    layer: i64,
    x: &Value,
    past: &mut Past,
) -> Result<Value, ExportError> {
    let cells = config.lstm_dim as usize;
    let inputs = if layer == 0 { config.adapter_dim as usize } else { 2 * cells };
    let name = format!("head.blstm.{layer}");
    let (mut w, mut r, mut b) = (Vec::new(), Vec::new(), Vec::new());
    for direction in ["", "_reverse"] {
        let read = |which: &str, columns: &[usize]| {
            let shape = [&[4 * cells], columns].concat();
            let data = t.expect(&format!("head.blstm.{which}_l{layer}{direction}"), &shape)?;
            Ok::<_, ExportError>(onnx_gates(data))
        };
        w.extend(read("weight_ih", &[inputs])?);
        r.extend(read("weight_hh", &[cells])?);
        b.extend(read("bias_ih", &[])?);
        b.extend(read("bias_hh", &[])?);
    }
    let w = g.stored_weight(&format!("{name}.w"), &[2, 4 * cells, inputs], &w, inputs);
    let r = g.stored_weight(&format!("{name}.r"), &[2, 4 * cells, cells], &r, cells);
    let b = g.weight(&format!("{name}.b"), &[2, 8 * cells], &b);
    let sequence = g.reshape(&format!("{name}.sequence"), x, &[-1, 1, inputs as i64]); // [tokens, 1, inputs]
    let attributes = vec![text("direction", "bidirectional"), int("hidden_size", cells as i64)];
    let y = match past.is_kept() {
        true => lstm_going_on(g, &name, [&sequence, &w, &r, &b], attributes, cells, past),
        false => g.node(&name, "LSTM", &[&sequence, &w, &r, &b], attributes),
    }; // [tokens, 2, 1, cells]
    Ok(g.reshape(&format!("{name}.joined"), &y, &[-1, 2 * cells as i64]))
}

/// An LSTM node whose forward direction takes up the state that it left, and whose backward one begins with zeros.
fn lstm_going_on(
    g: &mut Graph,
    name: &str,
    [sequence, w, r, b]: [&Value; 4],
    attributes: Attributes,
    cells: usize,
    past: &mut Past,
) -> Value {
    let (none, names) = (Value(String::new()), ["h", "c"].map(|which| format!("{name}.{which}")));
    let backward = g.weight(&format!("{name}.backward_start"), &[1, 1, cells], &vec![0.0; cells]);
    let [h, c] = names.each_ref().map(|state| {
        let forward = past.input(g, state, &[1, 1, cells]);
        g.node(&format!("{state}.start"), "Concat", &[&forward, &backward], vec![int("axis", 0)]) // [2, 1, cells]
    });
    let inputs = [sequence, w, r, b, &none, &h, &c];
    let [y, h, c] = g.node_with(name, "LSTM", &inputs, attributes);
    for (state, end) in names.iter().zip([h, c]) {
        let forward = g.slice(&format!("{state}.end"), &end, 0, 0, 1);
        past.carry(state, &[1, 1, cells], forward);
    }
    y
}

/// Rows of the four gates from PyTorch's order (input, forget, cell, output) to ONNX's (input, output, forget, cell).
fn onnx_gates(rows: &[f32]) -> Vec<f32> {
    let gate = |i: usize| &rows[i * rows.len() / 4..(i + 1) * rows.len() / 4];
    [gate(0), gate(3), gate(1), gate(2)].concat()
}

/// One axis's self-attention and score, `[tokens, shared_dim]` to logits `[tokens, 1]`.
fn branch(
    g: &mut Graph,
    config: &HeadConfig,
    t: &Tensors,
    axis: Axis,
    x: &Value,
    past: &mut Past,
) -> Result<Value, ExportError> {
    let (width, heads) = (config.shared_dim as usize, config.attention_heads as usize);
    let head_dim = width / heads;
    let name = format!("head.branches.{axis}");
    let projections = Linear {
        inputs: width,
        weight: t.expect(&format!("{name}.attention.in_proj_weight"), &[3 * width, width])?.to_vec(),
        bias: t.expect(&format!("{name}.attention.in_proj_bias"), &[3 * width])?.to_vec(),
    };
    let split = |g: &mut Graph, which: &str, map: &Linear, order: &[i64]| {
        let y = g.linear(&format!("{name}.{which}"), x, map);
        let y = g.reshape(&format!("{name}.{which}.split"), &y, &[-1, heads as i64, head_dim as i64]);
        g.transpose(&format!("{name}.{which}.heads"), &y, order)
    };
    let query = projections.rows(0, width).scaled((head_dim as f64).powf(-0.5));
    let q = split(g, "query", &query, &[1, 0, 2]); // [heads, tokens, head_dim]
    let k = split(g, "key", &projections.rows(width, width), &[1, 2, 0]); // [heads, head_dim, tokens]
    let (values, bias) = value_maps(t, &name, &projections.rows(2 * width, width), heads)?;
    let v = g.exact_linear(&format!("{name}.value"), x, &values); // [tokens, heads]
    let v = g.transpose(&format!("{name}.value.rows"), &v, &[1, 0]); // [heads, tokens]
    let v = g.reshape(&format!("{name}.value.heads"), &v, &[heads as i64, -1, 1]); // [heads, tokens, 1]
    let k = past.tokens_before(g, &format!("{name}.keys"), &k, 2, [heads, head_dim, 0]); // [heads, head_dim, past + tokens]
    let v = past.tokens_before(g, &format!("{name}.values"), &v, 1, [heads, 0, 1]); // [heads, past + tokens, 1]
    let scores = g.matmul(&format!("{name}.scores"), &q, &k); // [heads, tokens, past + tokens]
    let scores = past.masked(g, &format!("{name}.scores"), scores);
    let weights = g.softmax(&format!("{name}.softmax"), &scores);
    let y = g.matmul(&format!("{name}.weighted"), &weights, &v); // [heads, tokens, 1]
    let axes = g.ints(&format!("{name}.axes"), &[0]);
    let y = g.node(&format!("{name}.sum"), "ReduceSum", &[&y, &axes], vec![int("keepdims", 0)]); // [tokens, 1]
    let bias = g.weight(&format!("{name}.bias"), &[1], &[bias]);
    Ok(g.add(&name, &y, &bias))
}

/// Value, output and score projections as one map to `[heads]`, whose weighted values sum to the logit less the bias
/// returned beside it.
pub(crate) fn value_maps(
    t: &Tensors,
    name: &str,
    value: &Linear,
    heads: usize,
) -> Result<(Linear, f32), ExportError> {
    let width = value.inputs;
    let output = Linear::read(t, &format!("{name}.attention.out_proj"), width, width)?;
    let score = output.then(&Linear::read(t, &format!("{name}.score"), width, 1)?); // [width] to [1]
    let head_dim = width / heads;
    let mut weight = vec![0.0; heads * width];
    for head in 0..heads {
        let own = head * head_dim..(head + 1) * head_dim;
        weight[head * width..][own.clone()].copy_from_slice(&score.weight[own]);
    }
    Ok((value.then(&Linear { inputs: width, weight, bias: vec![0.0; heads] }), score.bias[0]))
}
