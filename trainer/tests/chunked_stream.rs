//! The chunked policy, run as a stream: chunk by chunk, with the past in caches and nothing else, in plain arithmetic.
//! The masked forward pass over the whole clip must give the same scores.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use aesa_export::ModelConfig;
use aesa_trainer::chunking::Chunking;
use aesa_trainer::dropout::Dropout;
use aesa_trainer::model::AesaNet;
use aesa_trainer::padding::Padding;
use tch::{Device, Kind, Tensor};

const TOKENS_PER_STEP: usize = 8;
const AXES: [&str; 4] = ["PQ", "PC", "CE", "CU"];

/// One row per token.
type Rows = Vec<Vec<f64>>;

/// A parameter, row-major.
struct Parameter {
    values: Vec<f64>,
    shape: Vec<usize>,
}

impl Parameter {
    /// A row of its last dimension.
    fn row(&self, n: usize) -> &[f64] {
        let width = *self.shape.last().unwrap();
        &self.values[n * width..(n + 1) * width]
    }
}

/// The network's parameters and what a stream keeps between chunks.
struct Stream {
    config: ModelConfig,
    parameters: HashMap<String, Parameter>,
    left_chunks: usize,
    /// Keys and values of each attention, by name, a pair per chunk: at most `left_chunks` past ones and the present.
    attention: HashMap<String, Vec<(Rows, Rows)>>,
    /// The last `conv_pos / 2` tokens before the positional convolution.
    conv: Rows,
    /// Hidden and cell state of each forward LSTM.
    lstm: HashMap<String, (Vec<f64>, Vec<f64>)>,
}

impl Stream {
    fn new(net: &AesaNet, config: &ModelConfig, chunking: Chunking) -> Self {
        let read = |(name, tensor): (String, Tensor)| {
            let shape = tensor.size().iter().map(|n| *n as usize).collect();
            let values = Vec::try_from(tensor.detach().to_kind(Kind::Double).flatten(0, -1)).unwrap();
            (name, Parameter { values, shape })
        };
        let width = config.encoder.encoder_embed_dim as usize;
        Self {
            config: config.clone(),
            parameters: net.store.variables().into_iter().map(read).collect(),
            left_chunks: chunking.left_steps.div_ceil(chunking.steps),
            attention: HashMap::new(),
            conv: vec![vec![0.0; width]; config.encoder.conv_pos as usize / 2],
            lstm: HashMap::new(),
        }
    }

    fn parameter(&self, name: &str) -> &Parameter {
        self.parameters.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn linear(&self, name: &str, x: &Rows) -> Rows {
        let (weight, bias) =
            (self.parameter(&format!("{name}.weight")), self.parameter(&format!("{name}.bias")));
        x.iter().map(|x| affine(weight, &bias.values, x)).collect()
    }

    fn norm(&self, name: &str, x: &Rows) -> Rows {
        let (weight, bias) =
            (self.parameter(&format!("{name}.weight")), self.parameter(&format!("{name}.bias")));
        let one = |x: &Vec<f64>| -> Vec<f64> {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
            let scaled = x.iter().map(|v| (v - mean) / (variance + 1e-5).sqrt());
            scaled.zip(&weight.values).zip(&bias.values).map(|((v, w), b)| v * w + b).collect()
        };
        x.iter().map(one).collect()
    }

    /// Scores of a chunk's tokens; `features` are its frames.
    fn push(&mut self, features: &[Vec<f64>]) -> Rows {
        let x = self.patches(features);
        let x = self.norm("beats.layer_norm", &x);
        let x = self.linear("beats.post_extract_proj", &x);
        let y = self.pos_conv(&x);
        let mut x = self.norm("beats.encoder.layer_norm", &add(&x, &y, 1.0));
        let layers = self.config.encoder.encoder_layers;
        let alpha = (2.0 * layers as f64).powf(0.25);
        let mut sum: Rows = Vec::new();
        let weights = softmax(&self.parameter("head.layer_weights").values.clone());
        for (layer, weight) in weights.into_iter().enumerate() {
            let path = format!("beats.encoder.layers.{layer}");
            let y = self.block_attention(&path, &x);
            x = self.norm(&format!("{path}.self_attn_layer_norm"), &add(&y, &x, alpha));
            let mut y = self.linear(&format!("{path}.fc1"), &x);
            y.iter_mut().flatten().for_each(|v| *v = gelu(*v));
            let y = self.linear(&format!("{path}.fc2"), &y);
            x = self.norm(&format!("{path}.final_layer_norm"), &add(&y, &x, alpha));
            let normed = self.norm(&format!("head.layer_norms.{layer}"), &x);
            sum = add(&vec![vec![0.0; x[0].len()]; x.len()], &normed, weight)
                .into_iter()
                .enumerate()
                .map(|(n, row)| sum.get(n).map_or(row.clone(), |old| plus(old, &row, 1.0)))
                .collect();
        }
        let mut x = self.linear("head.adapter", &sum);
        for layer in 0..self.config.head.lstm_layers {
            let ahead = self.lstm(&format!("l{layer}"), &x, true);
            x.reverse();
            let mut back = self.lstm(&format!("l{layer}_reverse"), &x, false);
            back.reverse();
            x = ahead.into_iter().zip(back).map(|(a, b)| [a, b].concat()).collect();
        }
        let mut x = self.linear("head.shared", &x);
        x.iter_mut().flatten().for_each(|v| *v = v.max(0.0));
        let scores = AXES.map(|axis| self.branch(axis, &x));
        (0..x.len()).map(|n| scores.iter().map(|s| s[n]).collect()).collect()
    }

    /// 16 frames by 16 bins to one token.
    fn patches(&self, features: &[Vec<f64>]) -> Rows {
        let weight = self.parameter("beats.patch_embedding.weight"); // (E, 1, 16, 16)
        let mut tokens = Vec::new();
        for frames in features.chunks_exact(16) {
            for band in 0..TOKENS_PER_STEP {
                let patch: Vec<f64> =
                    frames.iter().flat_map(|frame| frame[16 * band..16 * (band + 1)].to_vec()).collect();
                tokens.push(weight.values.chunks(256).map(|w| dot(w, &patch)).collect());
            }
        }
        tokens
    }

    fn pos_conv(&mut self, x: &Rows) -> Rows {
        let path = "beats.encoder.pos_conv.0";
        let (g, v) =
            (self.parameter(&format!("{path}.weight_g")), self.parameter(&format!("{path}.weight_v")));
        let (kernel, per_group) = (v.shape[2], v.shape[1]);
        let width = v.shape[0];
        let norm = |k: usize| v.values.iter().skip(k).step_by(kernel).map(|w| w * w).sum::<f64>().sqrt();
        let scale: Vec<f64> = (0..kernel).map(|k| g.values[k] / norm(k)).collect();
        let bias = &self.parameter(&format!("{path}.bias")).values;
        let mut heard = [self.conv.clone(), x.clone()].concat();
        let kept = heard[heard.len() - kernel / 2..].to_vec();
        heard.extend(vec![vec![0.0; width]; kernel / 2]); // nothing of the next chunk
        let output = |t: usize, d: usize| {
            let first = d / per_group * per_group;
            let tap = |k: usize| {
                (0..per_group)
                    .map(|i| v.values[(d * per_group + i) * kernel + k] * scale[k] * heard[t + k][first + i])
                    .sum::<f64>()
            };
            gelu(bias[d] + (0..kernel).map(tap).sum::<f64>())
        };
        let y = (0..x.len()).map(|t| (0..width).map(|d| output(t, d)).collect()).collect();
        self.conv = kept;
        y
    }

    /// Adds the present chunk's keys and values to the cache, drops what is too old, and gives all that is heard.
    fn remember(&mut self, name: &str, keys: Rows, values: Rows) -> (Rows, Rows) {
        let cache = self.attention.entry(name.to_string()).or_default();
        cache.push((keys, values));
        if cache.len() > self.left_chunks + 1 {
            cache.remove(0);
        }
        let keys = cache.iter().flat_map(|(k, _)| k.clone()).collect();
        (keys, cache.iter().flat_map(|(_, v)| v.clone()).collect())
    }

    fn block_attention(&mut self, path: &str, x: &Rows) -> Rows {
        let path = format!("{path}.self_attn");
        let [q, k, v] = ["q", "k", "v"].map(|name| self.linear(&format!("{path}.{name}_proj"), x));
        let (keys, values) = self.remember(&path, k, v);
        let past = keys.len() - x.len();
        let heads = self.config.encoder.encoder_attention_heads as usize;
        let table = self.parameter("beats.encoder.layers.0.self_attn.relative_attention_bias.weight");
        let a = self.parameter(&format!("{path}.grep_a"));
        let bias = |head: usize, query: usize, key: usize, q: &[f64]| {
            let gates = self.linear(&format!("{path}.grep_linear"), &vec![q.to_vec()]).remove(0);
            let gate = |part: &[f64]| sigmoid(part.iter().sum());
            let gate = gate(&gates[..4]) * (gate(&gates[4..]) * a.values[head] - 1.0) + 2.0;
            gate * table.row(self.bucket(key as i64 - (past + query) as i64))[head]
        };
        let y = attend(heads, &q, &keys, &values, bias);
        self.linear(&format!("{path}.out_proj"), &y)
    }

    /// The bucket of a distance from query to key.
    fn bucket(&self, distance: i64) -> usize {
        let half = self.config.encoder.num_buckets / 2;
        let exact = half / 2;
        let size = distance.abs();
        let bucket = if size < exact {
            size
        } else {
            let range = (self.config.encoder.max_distance as f64 / exact as f64).ln();
            let log = (size as f64 / exact as f64).ln() / range;
            (exact + (log * (half - exact) as f64) as i64).min(half - 1)
        };
        (bucket + if distance > 0 { half } else { 0 }) as usize
    }

    /// One direction of one layer, in the order in which `x` comes; `carried` goes on from the last chunk.
    fn lstm(&mut self, name: &str, x: &Rows, carried: bool) -> Rows {
        let dim = self.config.head.lstm_dim as usize;
        let zero = (vec![0.0; dim], vec![0.0; dim]);
        let (mut h, mut c) = if carried { self.lstm.remove(name).unwrap_or(zero) } else { zero };
        let [w_ih, w_hh, b_ih, b_hh] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
            .map(|part| self.parameter(&format!("head.blstm.{part}_{name}")));
        let mut outputs = Vec::new();
        for x in x {
            let gates = plus(&affine(w_ih, &b_ih.values, x), &affine(w_hh, &b_hh.values, &h), 1.0);
            for n in 0..dim {
                let (input, forget) = (sigmoid(gates[n]), sigmoid(gates[dim + n]));
                c[n] = forget * c[n] + input * gates[2 * dim + n].tanh();
            }
            h = (0..dim).map(|n| sigmoid(gates[3 * dim + n]) * c[n].tanh()).collect();
            outputs.push(h.clone());
        }
        if carried {
            self.lstm.insert(name.to_string(), (h, c));
        }
        outputs
    }

    fn branch(&mut self, axis: &str, x: &Rows) -> Vec<f64> {
        let path = format!("head.branches.{axis}");
        let weight = self.parameter(&format!("{path}.attention.in_proj_weight"));
        let bias = self.parameter(&format!("{path}.attention.in_proj_bias"));
        let qkv: Rows = x.iter().map(|x| affine(weight, &bias.values, x)).collect();
        let dim = self.config.head.shared_dim as usize;
        let part =
            |n: usize| -> Rows { qkv.iter().map(|row| row[n * dim..(n + 1) * dim].to_vec()).collect() };
        let (q, k, v) = (part(0), part(1), part(2));
        let (keys, values) = self.remember(axis, k, v);
        let y =
            attend(self.config.head.attention_heads as usize, &q, &keys, &values, |_, _, _, _: &[f64]| 0.0);
        let y = self.linear(&format!("{path}.attention.out_proj"), &y);
        self.linear(&format!("{path}.score"), &y).iter().map(|row| sigmoid(row[0])).collect()
    }
}

/// Multi-head attention; `bias` gets the head, the query's and key's places, and the head's query.
fn attend(
    heads: usize,
    q: &Rows,
    keys: &Rows,
    values: &Rows,
    bias: impl Fn(usize, usize, usize, &[f64]) -> f64,
) -> Rows {
    let dim = q[0].len() / heads;
    let one = |(query, q): (usize, &Vec<f64>)| {
        let head = |head: usize| {
            let own = head * dim..(head + 1) * dim;
            let q = &q[own.clone()];
            let logit = |key: usize| {
                dot(q, &keys[key][own.clone()]) / (dim as f64).sqrt() + bias(head, query, key, q)
            };
            let weights = softmax(&(0..keys.len()).map(logit).collect::<Vec<_>>());
            own.clone().map(|d| weights.iter().zip(values).map(|(w, v)| w * v[d]).sum()).collect::<Vec<f64>>()
        };
        (0..heads).flat_map(head).collect()
    };
    q.iter().enumerate().map(one).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn affine(weight: &Parameter, bias: &[f64], x: &[f64]) -> Vec<f64> {
    bias.iter().enumerate().map(|(n, b)| b + dot(weight.row(n), x)).collect()
}

fn plus(a: &[f64], b: &[f64], factor: f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + factor * b).collect()
}

/// `a + factor * b`
fn add(a: &Rows, b: &Rows, factor: f64) -> Rows {
    a.iter().zip(b).map(|(a, b)| plus(a, b, factor)).collect()
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|v| (v - top).exp()).sum();
    x.iter().map(|v| (v - top).exp() / sum).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// By erf, as its series: arguments here are small.
fn gelu(x: f64) -> f64 {
    let z = x / core::f64::consts::SQRT_2;
    assert!(z.abs() < 5.0, "the series does not hold for {z}");
    let (mut term, mut sum) = (z, z);
    for n in 1..200 {
        term *= -z * z / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    0.5 * x * (1.0 + sum * core::f64::consts::FRAC_2_SQRT_PI)
}

/// A network whose every part matters: fresh weights with zeros (biases, gates) replaced by small numbers.
fn network(config: &ModelConfig) -> AesaNet {
    tch::manual_seed(11);
    let net = AesaNet::new(config);
    for (name, mut parameter) in net.store.variables() {
        let noise =
            Tensor::randn_like(&parameter) * if name.contains("relative_attention") { 1.0 } else { 0.2 };
        tch::no_grad(|| parameter += noise);
    }
    net
}

/// Even, about as large as normalised features, and no random numbers, which other tests may draw at the same time.
fn features(num_steps: i64) -> Tensor {
    let n = Tensor::arange(16 * num_steps * 128, (Kind::Double, Device::Cpu));
    (&n * 0.7 + (&n * 0.013).sin() * 3.0).sin().to_kind(Kind::Float).view([1, -1, 128])
}

/// Scores of all tokens, `[T, A]`.
fn offline(net: &AesaNet, features: &Tensor, chunking: Option<Chunking>) -> Tensor {
    tch::no_grad(|| net.forward(features, None, chunking, Dropout::Off)).token_scores.get(0)
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

const CHUNKINGS: [Chunking; 6] = [
    Chunking { steps: 1, left_steps: 0 },
    Chunking { steps: 1, left_steps: 2 },
    Chunking { steps: 2, left_steps: 3 },
    Chunking { steps: 3, left_steps: 3 },
    Chunking { steps: 4, left_steps: 12 },
    Chunking { steps: 7, left_steps: 1 },
];

/// Kernels that are shorter and longer than a chunk, and an odd one.
const KERNELS: [i64; 3] = [8, 40, 9];

#[test]
fn a_stream_with_caches_equals_the_mask() {
    for conv_pos in KERNELS {
        let mut config = ModelConfig::tiny();
        config.encoder.conv_pos = conv_pos;
        let net = network(&config);
        let features = features(10);
        let frames: Vec<Vec<f64>> =
            features.get(0).to_kind(Kind::Double).unbind(0).iter().map(|f| f.try_into().unwrap()).collect();
        for chunking in CHUNKINGS {
            let mut stream = Stream::new(&net, &config, chunking);
            let scores: Vec<f64> =
                frames.chunks(16 * chunking.steps).flat_map(|chunk| stream.push(chunk)).flatten().collect();
            let streamed = Tensor::from_slice(&scores).view([-1, 4]);
            let difference =
                difference(&streamed, &offline(&net, &features, Some(chunking)).to_kind(Kind::Double));
            assert!(difference < 1e-5, "{conv_pos} taps, {chunking}: {difference}");
            // The policy is not the full context under another name.
            let full = offline(&net, &features, None).to_kind(Kind::Double);
            assert!((streamed - full).abs().max().double_value(&[]) > 1e-4, "{chunking}");
        }
    }
}

/// Beyond some 600 tokens the mask is never made whole: the queries are taken in blocks.
#[test]
fn a_long_clip_scores_as_its_stream() {
    let config = ModelConfig::tiny();
    let net = network(&config);
    let features = features(90);
    let frames: Vec<Vec<f64>> =
        features.get(0).to_kind(Kind::Double).unbind(0).iter().map(|f| f.try_into().unwrap()).collect();
    for (steps, left_steps) in [(6, 12), (1, 3)] {
        let chunking = Chunking { steps, left_steps };
        let mut stream = Stream::new(&net, &config, chunking);
        let scores: Vec<f64> =
            frames.chunks(16 * steps).flat_map(|chunk| stream.push(chunk)).flatten().collect();
        let streamed = Tensor::from_slice(&scores).view([-1, 4]);
        let difference =
            difference(&streamed, &offline(&net, &features, Some(chunking)).to_kind(Kind::Double));
        assert!(difference < 1e-5, "{chunking}: {difference}");
    }
}

#[test]
fn what_comes_after_a_chunk_changes_none_of_its_scores() {
    for conv_pos in KERNELS {
        let mut config = ModelConfig::tiny();
        config.encoder.conv_pos = conv_pos;
        let net = network(&config);
        let features = features(10);
        for chunking in CHUNKINGS {
            let before = offline(&net, &features, Some(chunking));
            let step = chunking.steps as i64;
            for end in (step..10).step_by(chunking.steps) {
                let other = features.copy();
                _ = other.narrow(1, 16 * end, 16 * (10 - end)).fill_(2.5);
                let after = offline(&net, &other, Some(chunking));
                assert_eq!(before.narrow(0, 0, 8 * end), after.narrow(0, 0, 8 * end), "{chunking}, {end}");
                let next = |scores: &Tensor| scores.narrow(0, 8 * end, 8);
                assert!(difference(&next(&before), &next(&after)) > 1e-4, "{chunking}, {end}");
            }
            // Within a chunk, the end is heard at the beginning.
            let other = features.copy();
            _ = other.narrow(1, 16 * step - 16, 16).fill_(2.5);
            let after = offline(&net, &other, Some(chunking));
            assert!(difference(&before.get(0), &after.get(0)) > 1e-4, "{chunking}");
        }
    }
}

/// The encoder forgets what lies further back than its blocks reach: each hears the chunks to the left of those that the
/// one before it heard, and the convolution the tokens before these.
#[test]
fn hidden_states_hear_only_their_receptive_field() {
    let config = ModelConfig::tiny();
    let net = network(&config);
    let features = features(10);
    for (steps, left_steps) in [(1, 0), (1, 2), (2, 2), (3, 1)] {
        let chunking = Chunking { steps, left_steps };
        let hidden = |features: &Tensor| {
            tch::no_grad(|| net.beats.forward(features, None, Some(chunking), Dropout::Off))
                .hidden
                .pop()
                .unwrap()
                .get(0)
        };
        let before = hidden(&features);
        let first = 8 * (9 / steps) * steps; // of the last chunk's tokens
        let reach = config.encoder.encoder_layers as usize * chunking.left_chunks() * steps * 8
            + config.encoder.conv_pos as usize / 2;
        let oldest = first.saturating_sub(reach) / 8; // the step of the oldest token that is heard
        let changed = |step: usize| {
            let other = features.copy();
            _ = other.narrow(1, 16 * step as i64, 16).fill_(2.5);
            difference(&hidden(&other).narrow(0, first as i64, 8), &before.narrow(0, first as i64, 8))
        };
        for step in 0..oldest {
            assert_eq!(changed(step), 0.0, "{chunking}: step {step} is heard");
        }
        assert!(changed(oldest) > 0.0, "{chunking}: step {oldest} is not heard");
    }
}

#[test]
fn a_padded_clip_scores_in_chunks_as_alone() {
    let net = network(&ModelConfig::tiny());
    let steps = [3_i64, 10, 1, 6];
    let clip = |n: i64| features(10).narrow(1, 0, 16 * n);
    let pad = |n: &i64| clip(*n).constant_pad_nd([0, 0, 0, 16 * (10 - n)]);
    let batch = Tensor::cat(&steps.iter().map(pad).collect::<Vec<_>>(), 0);
    for chunking in CHUNKINGS {
        let padding = Padding::of(&steps.map(|n| 8 * n), Device::Cpu);
        let together = tch::no_grad(|| net.forward(&batch, padding, Some(chunking), Dropout::Off));
        for (n, steps) in steps.iter().enumerate() {
            let alone = tch::no_grad(|| net.forward(&clip(*steps), None, Some(chunking), Dropout::Off));
            let own = together.token_scores.narrow(0, n as i64, 1).narrow(1, 0, 8 * steps);
            assert!(difference(&own, &alone.token_scores) < 1e-5, "{chunking}, clip {n}");
            let embedding = together.embedding.narrow(0, n as i64, 1);
            assert!(difference(&embedding, &alone.embedding) < 1e-5, "{chunking}, clip {n}");
            let scores = together.clip_scores().narrow(0, n as i64, 1);
            assert!(difference(&scores, &alone.clip_scores()) < 1e-5, "{chunking}, clip {n}");
        }
    }
}

#[test]
fn a_chunk_as_long_as_the_clip_is_the_full_context() {
    let net = network(&ModelConfig::tiny());
    let features = features(10);
    let full = offline(&net, &features, None);
    for steps in [10, 11, 1000] {
        let chunking = Chunking { steps, left_steps: 12 };
        assert_eq!(offline(&net, &features, Some(chunking)), full, "{steps}");
    }
}

#[test]
fn gradients_are_numbers_also_where_padding_hears_padding() {
    let net = network(&ModelConfig::tiny());
    let batch = features(10).expand([2, -1, -1], false);
    let padding = Padding::of(&[8, 80], Device::Cpu);
    let chunking = Some(Chunking { steps: 2, left_steps: 2 });
    net.forward(&batch, padding, chunking, Dropout::PerClip).clip_scores().sum(Kind::Float).backward();
    for (name, parameter) in net.store.variables() {
        let gradient = parameter.grad();
        assert!(gradient.defined(), "{name} gets no gradient");
        assert!(gradient.abs().sum(Kind::Float).double_value(&[]).is_finite(), "{name}");
    }
}
