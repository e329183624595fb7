//! BEATs, the encoder: patches of log-mel features to hidden states.
//!
//! Source: Chen et al., "BEATs: Audio Pre-Training with Acoustic Tokenizers" (2022), and the official code,
//! microsoft/unilm `beats/{BEATs,backbone,modules}.py`, which this equals. Letters in shapes: B clips, F
//! fbank frames, T tokens, D `encoder_embed_dim`, H heads.

use aesa_export::EncoderConfig;
use tch::nn::{Init, Path};
use tch::{Device, Kind, Tensor};

use crate::attention::{PositionBias, Reach};
use crate::chunking::Chunking;
use crate::dropout::Dropout;
use crate::layers::{LayerNorm, Linear, xavier_normal};
use crate::padding::Padding;
use crate::precision::{full, operand};

/// A BEATs encoder of any size.
#[derive(Debug)]
pub struct Beats {
    config: EncoderConfig,
    patch_embedding: Tensor,
    layer_norm: LayerNorm,
    post_extract_proj: Option<Linear>,
    pos_conv: PosConv,
    encoder_layer_norm: LayerNorm,
    relative_position: Option<RelativePosition>,
    blocks: Vec<Block>,
    predictor: Option<Linear>,
}

/// What the encoder computes on its way.
#[derive(Debug)]
pub struct Encoded {
    /// Patches in the encoder's width, before the positional convolution: `[B, T, D]`.
    pub patch_embedding: Tensor,
    /// Input of the first block (after the encoder's first norm), then the output of each block: `[B, T, D]`
    /// each.
    pub hidden: Vec<Tensor>,
}

impl Beats {
    /// An encoder with fresh weights under `path`; `num_classes` adds the predictor of a fine-tuned
    /// checkpoint.
    pub fn new(path: &Path, config: &EncoderConfig, num_classes: Option<i64>) -> Self {
        let (dim, embed_dim, patch) = (config.encoder_embed_dim, config.embed_dim, config.input_patch_size);
        let encoder = path / "encoder";
        let fan_in = (patch * patch) as f64;
        let patch_init = Init::Uniform { lo: -1.0 / fan_in.sqrt(), up: 1.0 / fan_in.sqrt() };
        Self {
            patch_embedding: (path / "patch_embedding").var(
                "weight",
                &[embed_dim, 1, patch, patch],
                patch_init,
            ),
            layer_norm: LayerNorm::new(&(path / "layer_norm"), embed_dim),
            post_extract_proj: (embed_dim != dim)
                .then(|| Linear::with_default_init(&(path / "post_extract_proj"), embed_dim, dim)),
            pos_conv: PosConv::new(&(&encoder / "pos_conv" / 0), config),
            encoder_layer_norm: LayerNorm::new(&(&encoder / "layer_norm"), dim),
            relative_position: config.relative_position_embedding.then(|| {
                RelativePosition::new(
                    &(&encoder / "layers" / 0 / "self_attn" / "relative_attention_bias"),
                    config,
                )
            }),
            blocks: (0..config.encoder_layers)
                .map(|n| Block::new(&(&encoder / "layers" / n), config))
                .collect(),
            predictor: num_classes.map(|n| Linear::with_default_init(&(path / "predictor"), dim, n)),
            config: config.clone(),
        }
    }

    /// Encodes normalised fbank features `[B, F, 128]`; a remainder of `F` below one patch is dropped.
    ///
    /// `padding` says which tokens are none; what comes out in their places means nothing. `chunking` says what a token
    /// may hear, which is all without it.
    pub fn forward(
        &self,
        features: &Tensor,
        padding: Option<&Padding>,
        chunking: Option<Chunking>,
        dropout: Dropout<'_>,
    ) -> Encoded {
        let stride = self.config.input_patch_size;
        let x = features.unsqueeze(1); // (B, 1, F, 128)
        let weight = operand(&self.patch_embedding);
        let x = operand(&x).conv2d(&weight, None::<&Tensor>, [stride, stride], [0, 0], [1, 1], 1); // (B, E, F/16, 8)
        let x = x.flatten(2, 3).transpose(1, 2); // (B, T, E)
        let x = self.layer_norm.forward(&x); // (B, T, E)
        let project = |p: &Linear| p.forward(&x);
        let patch_embedding = full(&self.post_extract_proj.as_ref().map_or(x.shallow_clone(), project)); // (B, T, D)

        let patch_embedding = padding.map_or(patch_embedding.shallow_clone(), |p| p.zero(&patch_embedding));
        let mut x = &patch_embedding + self.pos_conv.forward(&patch_embedding, chunking); // (B, T, D)
        if !self.config.layer_norm_first {
            x = self.encoder_layer_norm.forward(&x);
        }
        x = dropout.apply(&x, self.config.dropout);
        let reach = Reach::new(padding, chunking, x.size()[1], x.device());
        let bias = self.relative_position.as_ref().map(|r| r.forward(reach.span())); // (H, span, span)
        let mut hidden = vec![x.shallow_clone()];
        for block in &self.blocks {
            x = block.forward(&x, bias.as_ref(), &reach, dropout);
            hidden.push(x.shallow_clone());
        }
        Encoded { patch_embedding, hidden }
    }

    /// Class probabilities `[B, classes]` of a fine-tuned checkpoint: logits averaged over tokens, then
    /// sigmoid.
    ///
    /// `None` without a predictor.
    pub fn class_probabilities(&self, encoded: &Encoded) -> Option<Tensor> {
        let last = encoded.hidden.last()?; // (B, T, D)
        let x = if self.config.layer_norm_first {
            self.encoder_layer_norm.forward(last)
        } else {
            last.shallow_clone()
        };
        let logits = self.predictor.as_ref()?.forward(&x); // (B, T, classes)
        Some(logits.mean_dim(1, false, Kind::Float).sigmoid()) // (B, classes)
    }
}

/// The convolutional position embedding: weight norm over the kernel axis, then GELU.
#[derive(Debug)]
struct PosConv {
    weight_g: Tensor,
    weight_v: Tensor,
    bias: Tensor,
    groups: i64,
}

impl PosConv {
    fn new(path: &Path, config: &EncoderConfig) -> Self {
        let (dim, kernel, groups) = (config.encoder_embed_dim, config.conv_pos, config.conv_pos_groups);
        let stdev = (4.0 * (1.0 - config.dropout) / (kernel * dim) as f64).sqrt();
        let weight_v = path.var("weight_v", &[dim, dim / groups, kernel], Init::Randn { mean: 0.0, stdev });
        let norm =
            tch::no_grad(|| weight_v.square().sum_dim_intlist([0, 1].as_slice(), true, Kind::Float).sqrt());
        Self {
            weight_g: path.var_copy("weight_g", &norm),
            weight_v,
            bias: path.zeros("bias", &[dim]),
            groups,
        }
    }

    /// `[B, T, D]` to `[B, T, D]`. With chunks, output t hears the tokens from `t - K/2`, of any chunk, to
    /// `t + (K-1)/2`, and zeros in place of those past its chunk's end.
    fn forward(&self, x: &Tensor, chunking: Option<Chunking>) -> Tensor {
        let num_tokens = x.size()[1];
        let weight = operand(&Tensor::internal_weight_norm(&self.weight_v, &self.weight_g, 2)); // (D, D/groups, K)
        let bias = operand(&self.bias);
        let x = operand(x);
        let kernel = weight.size()[2];
        let padding = kernel / 2;
        if let Some(chunking) = chunking.and_then(|c| c.cutting(num_tokens)) {
            let x = chunking.with_left_context(&x, padding).constant_pad_nd([0, kernel - 1 - padding]); // (B*N, D, C+K-1)
            let y = x.conv1d(&weight, Some(&bias), 1, 0, 1, self.groups); // (B*N, D, C)
            return chunking.join(&y.gelu("none").transpose(1, 2), num_tokens); // (B, T, D)
        }
        let x = x.transpose(1, 2); // (B, D, T)
        let y = x.conv1d(&weight, Some(&bias), 1, padding, 1, self.groups); // (B, D, T or T+1)
        // An even kernel with this padding gives one output too many, dropped as the official SamePad does.
        y.narrow(2, 0, num_tokens).gelu("none").transpose(1, 2) // (B, T, D)
    }
}

/// T5-like buckets of the distance from query to key; one table for all blocks.
#[derive(Debug)]
struct RelativePosition {
    weight: Tensor,
    num_buckets: i64,
    max_distance: i64,
}

impl RelativePosition {
    fn new(path: &Path, config: &EncoderConfig) -> Self {
        let shape = [config.num_buckets, config.encoder_attention_heads];
        let weight = path.var("weight", &shape, Init::Randn { mean: 0.0, stdev: 0.02 });
        Self { weight, num_buckets: config.num_buckets, max_distance: config.max_distance }
    }

    /// The bias of every query and key, `[H, T, T]`.
    ///
    /// It depends on the distance alone: the table is read once per distance, `2 T - 1` times in place of
    /// `T^2`.
    fn forward(&self, num_tokens: i64) -> Tensor {
        let by_distance = self.weight.index_select(0, &self.buckets(num_tokens)); // (2T-1, H)
        let by_distance = by_distance.transpose(0, 1).contiguous(); // (H, 2T-1), distance -(T-1) first
        by_distance.unfold(1, num_tokens, 1).flip([1]) // (H, T, T)
    }

    fn buckets(&self, num_tokens: i64) -> Tensor {
        buckets(self.num_buckets, self.max_distance, num_tokens, self.weight.device())
    }
}

/// The bucket of each distance from `-(T-1)` to `T-1`, key minus query: `[2T-1]`.
pub(crate) fn buckets(num_buckets: i64, max_distance: i64, num_tokens: i64, device: Device) -> Tensor {
    let half = num_buckets / 2;
    let max_exact = half / 2;
    let distance = Tensor::arange_start(1 - num_tokens, num_tokens, (Kind::Int64, device));
    let right = distance.gt(0).to_kind(Kind::Int64) * half;
    let distance = distance.abs();
    let ratio = (distance.to_kind(Kind::Float) / max_exact as f64).log();
    let log_range = (max_distance as f64 / max_exact as f64).ln();
    let large =
        (ratio / log_range * (half - max_exact) as f64).clamp_min(0.0).to_kind(Kind::Int64) + max_exact;
    let large = large.clamp_max(half - 1);
    right + distance.where_self(&distance.lt(max_exact), &large)
}

/// One transformer block.
#[derive(Debug)]
struct Block {
    attention: Attention,
    self_attn_layer_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: LayerNorm,
    layer_norm_first: bool,
    /// Factor of the residual: `(2 * layers)^(1/4)` with deep norm.
    alpha: f64,
    dropout: f64,
}

impl Block {
    fn new(path: &Path, config: &EncoderConfig) -> Self {
        let (dim, inner) = (config.encoder_embed_dim, config.encoder_ffn_embed_dim);
        let layers = config.encoder_layers as f64;
        let init = |dim_in, dim_out| linear_init(config, dim_in, dim_out);
        Self {
            attention: Attention::new(&(path / "self_attn"), config),
            self_attn_layer_norm: LayerNorm::new(&(path / "self_attn_layer_norm"), dim),
            fc1: Linear::new(&(path / "fc1"), dim, inner, init(dim, inner)),
            fc2: Linear::new(&(path / "fc2"), inner, dim, init(inner, dim)),
            final_layer_norm: LayerNorm::new(&(path / "final_layer_norm"), dim),
            layer_norm_first: config.layer_norm_first,
            alpha: if config.deep_norm { (2.0 * layers).powf(0.25) } else { 1.0 },
            dropout: config.dropout,
        }
    }

    /// `[B, T, D]` to `[B, T, D]`; `bias` is by distance, `[H, span, span]`.
    fn forward(&self, x: &Tensor, bias: Option<&Tensor>, reach: &Reach, dropout: Dropout<'_>) -> Tensor {
        let attend = |x: &Tensor| dropout.apply(&self.attention.forward(x, bias, reach), self.dropout);
        let feed =
            |x: &Tensor| dropout.apply(&self.fc2.forward(&self.fc1.forward(x).gelu("none")), self.dropout);
        if self.layer_norm_first {
            let x = x + attend(&self.self_attn_layer_norm.forward(x));
            &x + feed(&self.final_layer_norm.forward(&x))
        } else {
            let x = self.self_attn_layer_norm.forward(&(x * self.alpha + attend(x)));
            self.final_layer_norm.forward(&(&x * self.alpha + feed(&x)))
        }
    }
}

/// Multi-head self-attention with the gated relative position bias.
#[derive(Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    gate: Option<Gate>,
    heads: i64,
}

impl Attention {
    fn new(path: &Path, config: &EncoderConfig) -> Self {
        let (dim, heads) = (config.encoder_embed_dim, config.encoder_attention_heads);
        let scaled = linear_init(config, dim, dim);
        let plain = if config.deep_norm { xavier_normal(dim, dim, 1.0) } else { scaled };
        let linear = |name: &str, init| Linear::new(&(path / name), dim, dim, init);
        Self {
            q_proj: linear("q_proj", plain),
            k_proj: linear("k_proj", plain),
            v_proj: linear("v_proj", scaled),
            out_proj: linear("out_proj", scaled),
            gate: (config.gru_rel_pos && config.relative_position_embedding)
                .then(|| Gate::new(path, heads, dim / heads)),
            heads,
        }
    }

    /// `[B, T, D]` to `[B, T, D]`.
    ///
    /// The official code divides the query by 32 before the product and multiplies by 32 inside the softmax,
    /// which is the same number with a smaller range for half precision.
    fn forward(&self, x: &Tensor, bias: Option<&Tensor>, reach: &Reach) -> Tensor {
        let split = |y: Tensor| y.unflatten(2, [self.heads, -1]).transpose(1, 2); // (B, H, T, d)
        let (q, k, v) =
            (split(self.q_proj.forward(x)), split(self.k_proj.forward(x)), split(self.v_proj.forward(x)));
        let gate = || self.gate.as_ref().map(|gate| gate.forward(&q)); // (B, H, T, 1)
        let bias = bias.map(|by_pair| PositionBias { by_pair, gate: gate() });
        let y = reach.attend(&q, &k, &v, bias.as_ref());
        let y = y.transpose(1, 2).flatten(2, 3); // (B, H, T, d) to (B, T, D)
        self.out_proj.forward(&y) // (B, T, D)
    }
}

/// How much of the position bias each query and head takes.
#[derive(Debug)]
struct Gate {
    grep_linear: Linear,
    grep_a: Tensor,
}

impl Gate {
    fn new(path: &Path, heads: i64, head_dim: i64) -> Self {
        let init = Init::Randn { mean: 0.0, stdev: 0.02 };
        Self {
            grep_linear: Linear::new(&(path / "grep_linear"), head_dim, 8, init),
            grep_a: path.ones("grep_a", &[1, heads, 1, 1]),
        }
    }

    /// Unscaled queries `[B, H, T, d]` to factors `[B, H, T, 1]`.
    fn forward(&self, q: &Tensor) -> Tensor {
        let gates = self.grep_linear.forward(q).unflatten(3, [2, 4]); // (B, H, T, 2, 4)
        let gates = gates.sum_dim_intlist([-1].as_slice(), false, Kind::Float).sigmoid(); // (B, H, T, 2)
        let (a, b) = (gates.narrow(3, 0, 1), gates.narrow(3, 1, 1)); // (B, H, T, 1)
        a * (b * &self.grep_a - 1.0) + 2.0
    }
}

/// Initial weights of a block's value, output and feed-forward layers: Xavier times `(8 * layers)^(-1/4)`
/// with deep norm, else BERT's normal of 0.02.
fn linear_init(config: &EncoderConfig, dim_in: i64, dim_out: i64) -> Init {
    if config.deep_norm {
        xavier_normal(dim_in, dim_out, (8.0 * config.encoder_layers as f64).powf(-0.25))
    } else {
        Init::Randn { mean: 0.0, stdev: 0.02 }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;

    use tch::Device;
    use tch::nn::VarStore;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::weights;

    /// The largest difference allowed from the official code's f32 on the same weights. Hidden states are
    /// normalised, so about 1 in size; summing in another order moves them by some 1e-6.
    const TOLERANCE: f64 = 1e-4;

    fn difference(a: &Tensor, b: &Tensor) -> f64 {
        assert_eq!(a.size(), b.size());
        (a - b).abs().max().double_value(&[])
    }

    fn check_golden(name: &str) {
        let folder = FilePath::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/beats"));
        let checkpoint = Checkpoint::read(&folder.join(format!("{name}.pt"))).unwrap();
        let mut store = VarStore::new(Device::Cpu);
        let beats = Beats::new(&store.root(), &checkpoint.encoder, checkpoint.num_classes);
        weights::load(&mut store, &checkpoint.tensors, "").unwrap();
        let expected = weights::read(&folder.join(format!("{name}.expected.safetensors"))).unwrap();
        for clip in ["speech", "music"] {
            let waveform = Vec::<f32>::try_from(&expected[&format!("{clip}.waveform")]).unwrap();
            let features = Tensor::from_slice(&aesa::fbank::normalised_fbank(&waveform)).view([1, -1, 128]);
            let encoded = tch::no_grad(|| beats.forward(&features, None, None, Dropout::Off));
            let mut worst =
                difference(&encoded.patch_embedding.get(0), &expected[&format!("{clip}.patch_embedding")]);
            for (n, hidden) in encoded.hidden.iter().enumerate() {
                worst = worst.max(difference(&hidden.get(0), &expected[&format!("{clip}.hidden.{n}")]));
            }
            assert_eq!(encoded.hidden.len() as i64, checkpoint.encoder.encoder_layers + 1);
            let last = &expected[&format!("{clip}.extract_features")];
            worst = worst.max(match beats.class_probabilities(&encoded) {
                Some(probabilities) => difference(&probabilities.get(0), last),
                None => difference(&encoded.hidden[encoded.hidden.len() - 1].get(0), last),
            });
            println!("{name} {clip}: {worst:.2e}");
            assert!(worst < TOLERANCE, "{name} {clip}: {worst}");
        }
    }

    #[test]
    fn equals_the_official_encoder() {
        check_golden("beats-tiny");
    }

    #[test]
    fn equals_the_official_fine_tuned_encoder() {
        check_golden("beats-tiny-finetuned");
    }

    #[test]
    fn bias_of_a_pair_is_its_distance_entry() {
        let store = VarStore::new(Device::Cpu);
        let config = EncoderConfig { num_buckets: 32, max_distance: 40, ..EncoderConfig::default() };
        let relative = RelativePosition::new(&store.root(), &config);
        let (num_tokens, bias) = (50, relative.forward(50));
        let buckets = Vec::<i64>::try_from(relative.buckets(num_tokens)).unwrap();
        for (query, key) in [(0, 0), (0, 49), (49, 0), (10, 13), (13, 10)] {
            let bucket = buckets[(key - query + num_tokens - 1) as usize];
            let expected = relative.weight.double_value(&[bucket, 2]);
            assert_eq!(bias.double_value(&[2, query, key]), expected, "{query} {key}");
        }
    }

    #[test]
    fn pre_norm_blocks_run_and_learn() {
        let store = VarStore::new(Device::Cpu);
        let config = EncoderConfig {
            embed_dim: 32,
            encoder_embed_dim: 32,
            encoder_layers: 2,
            encoder_ffn_embed_dim: 64,
            encoder_attention_heads: 4,
            conv_pos: 16,
            layer_norm_first: true,
            deep_norm: false,
            ..EncoderConfig::default()
        };
        let beats = Beats::new(&store.root(), &config, None);
        let encoded = beats.forward(
            &Tensor::randn([2, 50, 128], (Kind::Float, Device::Cpu)),
            None,
            None,
            Dropout::PerClip,
        );
        assert_eq!(encoded.hidden[2].size(), [2, 24, 32]);
        encoded.hidden[2].square().sum(Kind::Float).backward();
        let table = &store.variables()["encoder.layers.0.self_attn.relative_attention_bias.weight"];
        assert!(table.grad().abs().sum(Kind::Float).double_value(&[]) > 0.0);
    }
}
