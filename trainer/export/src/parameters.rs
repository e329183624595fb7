//! Every parameter of a network of given sizes: its name, its shape, and how to draw it at random.

use core::f64::consts::TAU;

use crate::config::{EncoderConfig, HeadConfig, ModelConfig};
use crate::error::ExportError;
use crate::tensors::Tensors;
use aesa::score::{Axis, FRAMES_PER_STEP};

/// One parameter of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Name in a model file.
    pub name: String,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Mean of a random draw.
    pub mean: f64,
    /// Standard deviation of a random draw, chosen so that activations stay of order one.
    pub std: f64,
}

/// All parameters that a network of these sizes needs, each once.
///
/// The relative position table is `beats.encoder.layers.0.self_attn.relative_attention_bias.weight`; the copies that
/// a checkpoint stores in its other layers are the same table and are not listed.
///
/// # Errors
/// [`ExportError::Config`] if the sizes contradict each other.
pub fn parameters(config: &ModelConfig) -> Result<Vec<Parameter>, ExportError> {
    check(config)?;
    let mut list = List(Vec::new());
    list.encoder(&config.encoder);
    list.head(&config.head, &config.encoder);
    Ok(list.0)
}

/// A network of these sizes with random weights: the same `seed` gives the same bits.
///
/// # Errors
/// [`ExportError::Config`] if the sizes contradict each other.
pub fn random_tensors(config: &ModelConfig, seed: u64) -> Result<Tensors, ExportError> {
    let mut normal = Normal { state: seed };
    let mut tensors = Tensors::default();
    for p in parameters(config)? {
        let data = (0..p.shape.iter().product()).map(|_| (p.mean + p.std * normal.next()) as f32).collect();
        tensors.insert(&p.name, &p.shape, data);
    }
    Ok(tensors)
}

/// Refuses sizes that contradict each other or that the engine's features do not fit.
fn check(config: &ModelConfig) -> Result<(), ExportError> {
    let (e, h) = (&config.encoder, &config.head);
    let sizes = [e.embed_dim, e.encoder_embed_dim, e.encoder_layers, e.encoder_ffn_embed_dim];
    let more =
        [e.encoder_attention_heads, e.conv_pos, e.conv_pos_groups, h.adapter_dim, h.lstm_dim, h.lstm_layers];
    let all = sizes.iter().chain(&more).chain([&h.shared_dim, &h.attention_heads]);
    let rules = [
        (all.into_iter().all(|&n| (1..=1 << 16).contains(&n)), "every size is 1 to 65536"),
        (e.input_patch_size == FRAMES_PER_STEP as i64, "input_patch_size is 16"),
        (
            divides(e.encoder_attention_heads, e.encoder_embed_dim),
            "encoder_attention_heads divides encoder_embed_dim",
        ),
        (divides(e.conv_pos_groups, e.encoder_embed_dim), "conv_pos_groups divides encoder_embed_dim"),
        (divides(h.attention_heads, h.shared_dim), "attention_heads divides shared_dim"),
        (!(e.deep_norm && e.layer_norm_first), "deep_norm excludes layer_norm_first"),
        (
            !e.relative_position_embedding || (4..=1 << 16).contains(&e.num_buckets),
            "num_buckets is 4 to 65536",
        ),
        (
            !e.relative_position_embedding || (e.num_buckets / 4 + 1..=1 << 16).contains(&e.max_distance),
            "max_distance is more than num_buckets / 4, at most 65536",
        ),
    ];
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, reason)) => Err(ExportError::Config { reason }),
        None => Ok(()),
    }
}

fn divides(part: i64, whole: i64) -> bool {
    part > 0 && whole % part == 0
}

struct List(Vec<Parameter>);

impl List {
    fn encoder(&mut self, config: &EncoderConfig) {
        let (embed, width) = (config.embed_dim as usize, config.encoder_embed_dim as usize);
        let patch = config.input_patch_size as usize;
        self.push("beats.patch_embedding.weight", &[embed, 1, patch, patch], 0.0, 1.0 / patch as f64);
        self.norm("beats.layer_norm", embed);
        if embed != width {
            self.linear("beats.post_extract_proj", embed, width);
        }
        let (kernel, channels) = (config.conv_pos as usize, width / config.conv_pos_groups as usize);
        let std = (4.0 / (kernel * width) as f64).sqrt();
        let norm = std * ((width * channels) as f64).sqrt();
        self.push("beats.encoder.pos_conv.0.bias", &[width], 0.0, 0.02);
        self.push("beats.encoder.pos_conv.0.weight_g", &[1, 1, kernel], norm, 0.1 * norm);
        self.push("beats.encoder.pos_conv.0.weight_v", &[width, channels, kernel], 0.0, std);
        self.norm("beats.encoder.layer_norm", width);
        for layer in 0..config.encoder_layers {
            self.block(config, layer);
        }
    }

    fn block(&mut self, config: &EncoderConfig, layer: i64) {
        let width = config.encoder_embed_dim as usize;
        let (heads, ffn) = (config.encoder_attention_heads as usize, config.encoder_ffn_embed_dim as usize);
        let block = format!("beats.encoder.layers.{layer}");
        let attention = format!("{block}.self_attn");
        if config.relative_position_embedding && layer == 0 {
            let name = format!("{attention}.relative_attention_bias.weight");
            self.push(&name, &[config.num_buckets as usize, heads], 0.0, 0.3);
        }
        if config.relative_position_embedding && config.gru_rel_pos {
            self.push(&format!("{attention}.grep_a"), &[1, heads, 1, 1], 1.0, 0.1);
            self.linear(&format!("{attention}.grep_linear"), width / heads, 8);
        }
        for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            self.linear(&format!("{attention}.{projection}"), width, width);
        }
        self.norm(&format!("{block}.self_attn_layer_norm"), width);
        self.linear(&format!("{block}.fc1"), width, ffn);
        self.linear(&format!("{block}.fc2"), ffn, width);
        self.norm(&format!("{block}.final_layer_norm"), width);
    }

    fn head(&mut self, config: &HeadConfig, encoder: &EncoderConfig) {
        let (layers, width) = (encoder.encoder_layers as usize, encoder.encoder_embed_dim as usize);
        if config.layer_norm {
            for layer in 0..layers {
                self.norm(&format!("head.layer_norms.{layer}"), width);
            }
        }
        self.push("head.layer_weights", &[layers], 0.0, 0.5);
        self.linear("head.adapter", width, config.adapter_dim as usize);
        self.blstm(config);
        let shared = config.shared_dim as usize;
        self.linear("head.shared", 2 * config.lstm_dim as usize, shared);
        for axis in Axis::ALL {
            let branch = format!("head.branches.{axis}");
            let std = (1.0 / shared as f64).sqrt();
            self.push(&format!("{branch}.attention.in_proj_weight"), &[3 * shared, shared], 0.0, std);
            self.push(&format!("{branch}.attention.in_proj_bias"), &[3 * shared], 0.0, 0.02);
            self.linear(&format!("{branch}.attention.out_proj"), shared, shared);
            self.linear(&format!("{branch}.score"), shared, 1);
        }
    }

    /// Names and layout of `torch.nn.LSTM`, bidirectional.
    fn blstm(&mut self, config: &HeadConfig) {
        let cells = config.lstm_dim as usize;
        let std = (1.0 / (3 * cells) as f64).sqrt();
        for layer in 0..config.lstm_layers {
            let inputs = if layer == 0 { config.adapter_dim as usize } else { 2 * cells };
            for direction in ["", "_reverse"] {
                let suffix = format!("l{layer}{direction}");
                self.push(&format!("head.blstm.weight_ih_{suffix}"), &[4 * cells, inputs], 0.0, std);
                self.push(&format!("head.blstm.weight_hh_{suffix}"), &[4 * cells, cells], 0.0, std);
                self.push(&format!("head.blstm.bias_ih_{suffix}"), &[4 * cells], 0.0, std);
                self.push(&format!("head.blstm.bias_hh_{suffix}"), &[4 * cells], 0.0, std);
            }
        }
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.push(
            &format!("{name}.weight"),
            &[outputs, inputs],
            0.0,
            (2.0 / (inputs + outputs) as f64).sqrt(),
        );
        self.push(&format!("{name}.bias"), &[outputs], 0.0, 0.02);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.push(&format!("{name}.weight"), &[width], 1.0, 0.1);
        self.push(&format!("{name}.bias"), &[width], 0.0, 0.1);
    }

    fn push(&mut self, name: &str, shape: &[usize], mean: f64, std: f64) {
        self.0.push(Parameter { name: name.to_string(), shape: shape.to_vec(), mean, std });
    }
}

/// Standard normal numbers: SplitMix64 (Steele, Lea and Flood 2014) through Box and Muller's transform.
struct Normal {
    state: u64,
}

impl Normal {
    fn next(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// In (0, 1].
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11).wrapping_add(1) as f64 / (1u64 << 53) as f64
    }
}
