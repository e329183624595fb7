//! The BEATs encoder as ONNX nodes.
//!
//! Source: `BEATs.py` and `backbone.py` of microsoft/unilm. Tokens are `[tokens, width]` throughout: the file scores one
//! window, or one chunk, at a time. What is combined at export, without changing the function: the weight norm of the positional
//! convolution, the scale of the queries, and the two linear maps before the position gate's sigmoid.

use crate::config::EncoderConfig;
use crate::error::ExportError;
use crate::graph::{Graph, Value, int, ints};
use crate::linear::Linear;
use crate::past::Past;
use crate::tensors::Tensors;
use aesa::fbank::NUM_MEL_BINS;

/// Wires the encoder after `fbank` `[1, num_frames, 128]`, which is a window or, with `kept_tokens`, a chunk.
///
/// Gives the hidden states `[tokens, width]`: the input of the first block, then the output of every block; and what is
/// carried on to the next chunk.
///
/// # Errors
/// As [`Tensors::expect`].
pub(crate) fn encoder(
    g: &mut Graph,
    config: &EncoderConfig,
    t: &Tensors,
    fbank: &Value,
    kept_tokens: Option<usize>,
) -> Result<(Vec<Value>, Past), ExportError> {
    let tokens = patch_embedding(g, config, t, fbank)?;
    let mut past = match kept_tokens {
        Some(kept) => Past::kept(g, kept, &tokens),
        None => Past::none(),
    };
    let position = positional_convolution(g, config, t, &tokens, &mut past)?;
    let mut x = g.add("beats.encoder.input", &tokens, &position);
    if !config.layer_norm_first {
        x = layer_norm(g, t, "beats.encoder.layer_norm", &x, config.encoder_embed_dim)?;
    }
    let bias = match config.relative_position_embedding {
        true => Some(position_bias(g, config, t, &x, &past)?),
        false => None,
    };
    let mut hidden = vec![x.clone()];
    for layer in 0..config.encoder_layers {
        x = block(g, config, t, layer, &x, bias.as_ref(), &mut past)?;
        hidden.push(x.clone());
    }
    Ok((hidden, past))
}

/// One token per 16x16 patch, at index `step * 8 + band`; `[tokens, width]`.
fn patch_embedding(
    g: &mut Graph,
    config: &EncoderConfig,
    t: &Tensors,
    fbank: &Value,
) -> Result<Value, ExportError> {
    let (embed, patch) = (config.embed_dim, config.input_patch_size);
    let name = "beats.patch_embedding";
    let shape = [embed as usize, 1, patch as usize, patch as usize];
    let weight = t.expect("beats.patch_embedding.weight", &shape)?;
    let weight = g.exact_weight("beats.patch_embedding.weight", &shape, weight);
    let image = g.reshape("fbank.image", fbank, &[1, 1, -1, NUM_MEL_BINS as i64]); // [1, 1, frames, 128]
    let attributes = vec![ints("kernel_shape", &[patch, patch]), ints("strides", &[patch, patch])];
    let patches = g.node(name, "Conv", &[&image, &weight], attributes); // [1, embed, steps, 8]
    let flat = g.reshape(&format!("{name}.flat"), &patches, &[embed, -1]); // [embed, tokens]
    let tokens = g.transpose(&format!("{name}.tokens"), &flat, &[1, 0]); // [tokens, embed]
    let tokens = layer_norm(g, t, "beats.layer_norm", &tokens, embed)?;
    if embed == config.encoder_embed_dim {
        return Ok(tokens);
    }
    let name = "beats.post_extract_proj";
    let map = Linear::read(t, name, embed as usize, config.encoder_embed_dim as usize)?;
    Ok(g.exact_linear(name, &tokens, &map)) // [tokens, width]
}

/// GELU of the grouped convolution over time; an even kernel's last output is dropped by padding one less on the right.
/// On the left stand the tokens before, or zeros.
fn positional_convolution(
    g: &mut Graph,
    config: &EncoderConfig,
    t: &Tensors,
    tokens: &Value,
    past: &mut Past,
) -> Result<Value, ExportError> {
    let (width, kernel, groups) = (config.encoder_embed_dim, config.conv_pos, config.conv_pos_groups);
    let name = "beats.encoder.pos_conv";
    let shape = [width as usize, (width / groups) as usize, kernel as usize];
    let inputs = shape[1] * shape[2];
    let weight = weight_normed(t, &shape)?;
    let weight = g.stored_weight("beats.encoder.pos_conv.weight", &shape, &weight, inputs);
    let bias = t.expect("beats.encoder.pos_conv.0.bias", &shape[..1])?;
    let bias = g.weight("beats.encoder.pos_conv.bias", &shape[..1], bias);
    let columns = g.transpose(&format!("{name}.columns"), tokens, &[1, 0]); // [width, tokens]
    let signal = g.reshape(&format!("{name}.signal"), &columns, &[1, width, -1]); // [1, width, tokens]
    let left = kernel / 2;
    let signal = past.before(g, name, &signal, 2, &[1, width as usize, left as usize]); // [1, width, left + tokens]
    let attributes = vec![
        ints("kernel_shape", &[kernel]),
        ints("pads", &[if past.is_kept() { 0 } else { left }, (kernel - 1) / 2]),
        int("group", groups),
    ];
    let y = g.node(&format!("{name}.conv"), "Conv", &[&signal, &weight, &bias], attributes);
    let y = g.reshape(&format!("{name}.flat"), &y, &[width, -1]); // [width, tokens]
    let y = g.transpose(&format!("{name}.tokens"), &y, &[1, 0]); // [tokens, width]
    Ok(g.gelu(name, &y))
}

/// `g * v / ||v||`, the norm taken per kernel position: `torch.nn.utils.weight_norm` with `dim=2`.
pub(crate) fn weight_normed(t: &Tensors, shape: &[usize; 3]) -> Result<Vec<f32>, ExportError> {
    let kernel = shape[2];
    let gain = t.expect("beats.encoder.pos_conv.0.weight_g", &[1, 1, kernel])?;
    let direction = t.expect("beats.encoder.pos_conv.0.weight_v", shape)?;
    let mut squares = vec![0.0; kernel];
    for row in direction.chunks_exact(kernel) {
        squares.iter_mut().zip(row).for_each(|(s, &v)| *s += f64::from(v) * f64::from(v));
    }
    let factors: Vec<f64> = gain.iter().zip(&squares).map(|(&g, &s)| f64::from(g) / s.sqrt()).collect();
    Ok(direction.iter().zip(factors.iter().cycle()).map(|(&v, f)| (f64::from(v) * f) as f32).collect())
}

/// The relative position bias of every head, query and key: `[heads, tokens, past + tokens]`.
///
/// A table by distance is gathered at `clamp(key - query, -max_distance, max_distance) + max_distance`. It depends on
/// nothing but the number of tokens, so a runtime that knows that number computes it once, when it loads the file.
fn position_bias(
    g: &mut Graph,
    config: &EncoderConfig,
    t: &Tensors,
    tokens: &Value,
    past: &Past,
) -> Result<Value, ExportError> {
    let name = "beats.encoder.position_bias";
    let (heads, far) = (config.encoder_attention_heads as usize, config.max_distance);
    let table = g.weight(&format!("{name}.table"), &[heads, 2 * far as usize + 1], &bias_table(config, t)?);
    let index = g.token_index(&format!("{name}.index"), tokens, 0); // [tokens]
    let keys = match past.kept_tokens() {
        0 => index.clone(),
        kept => g.token_index(&format!("{name}.key_index"), tokens, -(kept as i64)), // [past + tokens]
    };
    let keys = g.reshape(&format!("{name}.keys"), &keys, &[1, -1]); // [1, past + tokens]
    let queries = g.reshape(&format!("{name}.queries"), &index, &[-1, 1]); // [tokens, 1]
    let distance = g.node(&format!("{name}.distance"), "Sub", &[&keys, &queries], vec![]); // [tokens, past + tokens]
    let (far, near) = (g.int_scalar(far), g.int_scalar(-far));
    let bounded = g.node(&format!("{name}.at_least"), "Max", &[&distance, &near], vec![]);
    let bounded = g.node(&format!("{name}.at_most"), "Min", &[&bounded, &far], vec![]);
    let entry = g.add(&format!("{name}.entry"), &bounded, &far);
    Ok(g.node(name, "Gather", &[&table, &entry], vec![int("axis", 1)]))
}

/// The bias by head and distance `-max_distance..=max_distance`: `[heads, 2 * max_distance + 1]`.
pub(crate) fn bias_table(config: &EncoderConfig, t: &Tensors) -> Result<Vec<f32>, ExportError> {
    let (buckets, heads) = (config.num_buckets as usize, config.encoder_attention_heads as usize);
    let weight =
        t.expect("beats.encoder.layers.0.self_attn.relative_attention_bias.weight", &[buckets, heads])?;
    let distances = -config.max_distance..=config.max_distance;
    let rows: Vec<usize> =
        distances.map(|d| bucket(d, config.num_buckets, config.max_distance) as usize).collect();
    Ok((0..heads).flat_map(|h| rows.iter().map(move |row| weight[row * heads + h])).collect())
}

/// The bucket of `distance = key - query`, in tokens: exact up to a quarter of the buckets, then logarithmic up to
/// `max_distance`, from where all share the last one.
///
/// Source: `_relative_positions_bucket` of `backbone.py`; in f32 as there, because a distance whose logarithm falls on a
/// bucket's edge is sorted by f32 rounding.
fn bucket(distance: i64, num_buckets: i64, max_distance: i64) -> i64 {
    let half = num_buckets / 2;
    let exact = half / 2;
    let side = if distance > 0 { half } else { 0 };
    let size = distance.abs();
    if size < exact {
        return side + size;
    }
    let scale = (max_distance as f64 / exact as f64).ln() as f32;
    let octaves = (size as f32 / exact as f32).ln() / scale;
    let log = (octaves * (half - exact) as f32) as i64;
    side + (exact + log).min(half - 1)
}

/// One transformer block, `[tokens, width]` to the same.
fn block(
    g: &mut Graph,
    config: &EncoderConfig,
    t: &Tensors,
    layer: i64,
    x: &Value,
    bias: Option<&Value>,
    past: &mut Past,
) -> Result<Value, ExportError> {
    let name = format!("beats.encoder.layers.{layer}");
    let (first, last) = (format!("{name}.self_attn_layer_norm"), format!("{name}.final_layer_norm"));
    let width = config.encoder_embed_dim;
    if config.layer_norm_first {
        let normed = layer_norm(g, t, &first, x, width)?;
        let attended = attention(g, config, t, &format!("{name}.self_attn"), &normed, bias, past)?;
        let x = g.add(&format!("{name}.attended"), x, &attended);
        let normed = layer_norm(g, t, &last, &x, width)?;
        let fed = feed_forward(g, config, t, &name, &normed)?;
        return Ok(g.add(&format!("{name}.output"), &x, &fed));
    }
    let attended = attention(g, config, t, &format!("{name}.self_attn"), x, bias, past)?;
    let sum = residual(g, config, &format!("{name}.attended"), x, &attended);
    let x = layer_norm(g, t, &first, &sum, width)?;
    let fed = feed_forward(g, config, t, &name, &x)?;
    let sum = residual(g, config, &format!("{name}.output"), &x, &fed);
    layer_norm(g, t, &last, &sum, width)
}

/// `alpha * x + y`, alpha being deep norm's `(2 * layers)^(1/4)` or 1.
fn residual(g: &mut Graph, config: &EncoderConfig, name: &str, x: &Value, y: &Value) -> Value {
    if !config.deep_norm {
        return g.add(name, x, y);
    }
    let alpha = g.scalar((2.0 * config.encoder_layers as f64).powf(0.25) as f32);
    let scaled = g.mul(&format!("{name}.scaled"), x, &alpha);
    g.add(name, &scaled, y)
}

fn feed_forward(
    g: &mut Graph,
    config: &EncoderConfig,
    t: &Tensors,
    block: &str,
    x: &Value,
) -> Result<Value, ExportError> {
    let (width, inner) = (config.encoder_embed_dim, config.encoder_ffn_embed_dim);
    let y = linear(g, t, &format!("{block}.fc1"), x, width, inner)?;
    let y = g.gelu(&format!("{block}.gelu"), &y);
    linear(g, t, &format!("{block}.fc2"), &y, inner, width)
}

/// Multi-head self-attention with the gated position bias, `[tokens, width]` to the same.
fn attention(
    g: &mut Graph,
    config: &EncoderConfig,
    t: &Tensors,
    name: &str,
    x: &Value,
    bias: Option<&Value>,
    past: &mut Past,
) -> Result<Value, ExportError> {
    let (width, heads) = (config.encoder_embed_dim, config.encoder_attention_heads);
    let head_dim = width / heads;
    let read = |which: &str| Linear::read(t, &format!("{name}.{which}"), width as usize, width as usize);
    let query = read("q_proj")?;
    let split = |g: &mut Graph, which: &str, map: &Linear, order: &[i64]| {
        let y = g.linear(&format!("{name}.{which}"), x, map);
        let y = g.reshape(&format!("{name}.{which}.split"), &y, &[-1, heads, head_dim]);
        g.transpose(&format!("{name}.{which}.heads"), &y, order)
    };
    let q = split(g, "q_proj", &query.scaled((head_dim as f64).powf(-0.5)), &[1, 0, 2]); // [heads, tokens, head_dim]
    let k = split(g, "k_proj", &read("k_proj")?, &[1, 2, 0]); // [heads, head_dim, tokens]
    let v = split(g, "v_proj", &read("v_proj")?, &[1, 0, 2]); // [heads, tokens, head_dim]
    let (num_heads, dim) = (heads as usize, head_dim as usize);
    let k = past.tokens_before(g, &format!("{name}.keys"), &k, 2, [num_heads, dim, 0]); // [heads, head_dim, past + tokens]
    let v = past.tokens_before(g, &format!("{name}.values"), &v, 1, [num_heads, 0, dim]); // [heads, past + tokens, head_dim]
    let mut scores = g.matmul(&format!("{name}.scores"), &q, &k); // [heads, tokens, past + tokens]
    if let Some(bias) = bias {
        let bias = match config.gru_rel_pos {
            true => gated(g, config, t, name, &query, x, bias)?,
            false => bias.clone(),
        };
        scores = g.add(&format!("{name}.biased"), &scores, &bias);
    }
    let scores = past.masked(g, &format!("{name}.scores"), scores);
    let weights = g.softmax(&format!("{name}.softmax"), &scores);
    let y = g.matmul(&format!("{name}.weighted"), &weights, &v); // [heads, tokens, head_dim]
    let y = g.transpose(&format!("{name}.joined"), &y, &[1, 0, 2]); // [tokens, heads, head_dim]
    let y = g.reshape(&format!("{name}.merged"), &y, &[-1, width]); // [tokens, width]
    linear(g, t, &format!("{name}.out_proj"), &y, width, width)
}

/// `bias` times the gate of each head and query, computed from the projected query:
///
/// ```text
/// a, b = sigmoid(grep_linear(query).view(2, 4).sum(-1))
/// gate = a * (b * grep_a - 1) + 2
/// ```
fn gated(
    g: &mut Graph,
    config: &EncoderConfig,
    t: &Tensors,
    name: &str,
    query: &Linear,
    x: &Value,
    bias: &Value,
) -> Result<Value, ExportError> {
    let heads = config.encoder_attention_heads as usize;
    let grep_a = t.expect(&format!("{name}.grep_a"), &[1, heads, 1, 1])?;
    let maps = gate_maps(config, t, name)?;
    let [a, b] = [(0, "gate_a"), (1, "gate_b")].map(|(i, which)| {
        let logit = g.exact_linear(&format!("{name}.{which}.logit"), x, &query.then(&maps[i]));
        g.node(&format!("{name}.{which}"), "Sigmoid", &[&logit], vec![]) // [tokens, heads]
    });
    let grep_a = g.weight(&format!("{name}.grep_a"), &[heads], grep_a);
    let (minus_one, two) = (g.scalar(-1.0), g.scalar(2.0));
    let b = g.mul(&format!("{name}.gate_b.scaled"), &b, &grep_a);
    let b = g.add(&format!("{name}.gate_b.shifted"), &b, &minus_one);
    let gate = g.mul(&format!("{name}.gate.product"), &a, &b);
    let gate = g.add(&format!("{name}.gate.tokens"), &gate, &two);
    let gate = g.transpose(&format!("{name}.gate.heads"), &gate, &[1, 0]); // [heads, tokens]
    let gate = g.reshape(&format!("{name}.gate"), &gate, &[heads as i64, -1, 1]); // [heads, tokens, 1]
    Ok(g.mul(&format!("{name}.gated_bias"), &gate, bias)) // [heads, tokens, past + tokens]
}

/// `grep_linear(query).view(2, 4).sum(-1)` as two maps from one head's query `[head_dim]` to `[1]`.
pub(crate) fn head_gates(t: &Tensors, name: &str, head_dim: usize) -> Result<[Linear; 2], ExportError> {
    let grep = Linear::read(t, &format!("{name}.grep_linear"), head_dim, 8)?;
    let sum = Linear { inputs: 4, weight: vec![1.0; 4], bias: vec![0.0] };
    Ok([0, 1].map(|half| grep.rows(4 * half, 4).then(&sum)))
}

/// `grep_linear(query).view(2, 4).sum(-1)` as two maps from all heads' queries `[width]` to `[heads]`.
fn gate_maps(config: &EncoderConfig, t: &Tensors, name: &str) -> Result<[Linear; 2], ExportError> {
    let (width, heads) = (config.encoder_embed_dim as usize, config.encoder_attention_heads as usize);
    let head_dim = width / heads;
    Ok(head_gates(t, name, head_dim)?.map(|one_head| {
        let mut weight = vec![0.0; heads * width];
        for head in 0..heads {
            weight[head * width + head * head_dim..][..head_dim].copy_from_slice(&one_head.weight);
        }
        Linear { inputs: width, weight, bias: vec![one_head.bias[0]; heads] }
    }))
}

fn linear(
    g: &mut Graph,
    t: &Tensors,
    name: &str,
    x: &Value,
    inputs: i64,
    outputs: i64,
) -> Result<Value, ExportError> {
    Ok(g.linear(name, x, &Linear::read(t, name, inputs as usize, outputs as usize)?))
}

fn layer_norm(g: &mut Graph, t: &Tensors, name: &str, x: &Value, width: i64) -> Result<Value, ExportError> {
    let weight = t.expect(&format!("{name}.weight"), &[width as usize])?;
    let bias = t.expect(&format!("{name}.bias"), &[width as usize])?;
    Ok(g.layer_norm(name, x, weight, bias))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With 64 buckets up to 256 tokens a side has 16 exact ones, then 16 over four octaves: bucket `16 + k` begins where
    /// `(d / 16)^4 >= 2^k`, which integers decide.
    #[test]
    fn buckets_equal_integer_thresholds() {
        for size in 0..400_i64 {
            let log = (0..16).rev().find(|&k| size.pow(4) >= 16_i64.pow(4) << k).map_or(0, |k| 16 + k);
            let expected = if size < 16 { size } else { log };
            assert_eq!(bucket(-size, 64, 256), expected, "distance -{size}");
            if size > 0 {
                assert_eq!(bucket(size, 64, 256), 32 + expected, "distance {size}");
            }
        }
    }

    /// The table ends at `max_distance`, so that everything beyond must share its last bucket.
    #[test]
    fn all_distances_from_max_distance_on_share_a_bucket() {
        for (num_buckets, max_distance) in [(320, 800), (320, 1280), (64, 256), (32, 128), (4, 2), (6, 1000)]
        {
            let half = num_buckets / 2;
            for far in max_distance..max_distance + 2000 {
                assert_eq!(
                    bucket(-far, num_buckets, max_distance),
                    half - 1,
                    "{num_buckets} {max_distance} {far}"
                );
                assert_eq!(
                    bucket(far, num_buckets, max_distance),
                    2 * half - 1,
                    "{num_buckets} {max_distance} {far}"
                );
            }
        }
    }

    /// In the published size no distance lies so near a bucket's edge that rounding decides: four f32 roundings move a
    /// number below 80 by less than 2e-5.
    #[test]
    fn published_buckets_do_not_hang_on_rounding() {
        for size in 81..800_i64 {
            let place = (size as f64 / 80.0).ln() / 10_f64.ln() * 80.0;
            assert!((place - place.round()).abs() > 2e-5, "distance {size} at {place}");
            assert_eq!(bucket(-size, 320, 800), 80 + place as i64, "distance {size}");
        }
    }
}
