//! Sizes of the network, as stored in a model's `config.toml` and in a training run.

use aesa::Policy;
use aesa::model::{Labels, ModelInfo};
use serde::{Deserialize, Serialize};

/// Sizes of encoder and head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// The BEATs encoder.
    pub encoder: EncoderConfig,
    /// The AESA-Net head.
    pub head: HeadConfig,
}

/// Sizes of a BEATs encoder; names as in a published checkpoint's `cfg`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderConfig {
    /// Side of a square patch; 16.
    pub input_patch_size: i64,
    /// Channels of the patch embedding.
    pub embed_dim: i64,
    /// Width of the blocks.
    pub encoder_embed_dim: i64,
    /// Number of blocks.
    pub encoder_layers: i64,
    /// Inner width of a block's feed-forward part.
    pub encoder_ffn_embed_dim: i64,
    /// Attention heads.
    pub encoder_attention_heads: i64,
    /// Kernel of the positional convolution, in tokens.
    pub conv_pos: i64,
    /// Groups of the positional convolution.
    pub conv_pos_groups: i64,
    /// Buckets of the relative position bias.
    pub num_buckets: i64,
    /// Distance in tokens from which all buckets are one.
    pub max_distance: i64,
    /// Whether attention has a relative position bias.
    pub relative_position_embedding: bool,
    /// Whether the bias is gated per head and query.
    pub gru_rel_pos: bool,
    /// Whether residuals are scaled by `(2 * layers)^(1/4)`.
    pub deep_norm: bool,
    /// Whether blocks normalise before (true) or after (false) attention and feed-forward.
    pub layer_norm_first: bool,
    /// Dropout inside the encoder while it is trained.
    pub dropout: f64,
}

/// Sizes of the AESA-Net head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadConfig {
    /// LayerNorm on each encoder layer's output before the weighted sum.
    pub layer_norm: bool,
    /// Output width of the adapter.
    pub adapter_dim: i64,
    /// LSTM cells per direction.
    pub lstm_dim: i64,
    /// BLSTM layers.
    pub lstm_layers: i64,
    /// Output width of the shared linear layer.
    pub shared_dim: i64,
    /// Attention heads of each branch.
    pub attention_heads: i64,
    /// Dropout after the shared linear layer.
    pub dropout: f64,
}

impl ModelConfig {
    /// The sizes of the small model that ships, `starter`.
    pub fn starter() -> Self {
        let encoder = EncoderConfig {
            embed_dim: 128,
            encoder_embed_dim: 128,
            encoder_layers: 3,
            encoder_ffn_embed_dim: 384,
            encoder_attention_heads: 4,
            conv_pos: 32,
            conv_pos_groups: 16,
            num_buckets: 64,
            max_distance: 256,
            ..EncoderConfig::default()
        };
        let head = HeadConfig {
            adapter_dim: 64,
            lstm_dim: 32,
            shared_dim: 64,
            attention_heads: 4,
            ..HeadConfig::default()
        };
        Self { encoder, head }
    }

    /// A small network with every part, to test with.
    pub fn tiny() -> Self {
        let encoder = EncoderConfig {
            embed_dim: 16,
            encoder_embed_dim: 24,
            encoder_layers: 2,
            encoder_ffn_embed_dim: 32,
            encoder_attention_heads: 2,
            conv_pos: 8,
            conv_pos_groups: 4,
            num_buckets: 16,
            max_distance: 32,
            ..EncoderConfig::default()
        };
        let head = HeadConfig {
            adapter_dim: 16,
            lstm_dim: 8,
            shared_dim: 16,
            attention_heads: 4,
            ..HeadConfig::default()
        };
        Self { encoder, head }
    }

    /// So small that every bit of a file can be tried.
    pub fn smallest() -> Self {
        let encoder = EncoderConfig {
            embed_dim: 2,
            encoder_embed_dim: 4,
            encoder_layers: 1,
            encoder_ffn_embed_dim: 3,
            encoder_attention_heads: 2,
            conv_pos: 2,
            conv_pos_groups: 2,
            num_buckets: 4,
            max_distance: 2,
            ..EncoderConfig::default()
        };
        let head = HeadConfig {
            adapter_dim: 3,
            lstm_dim: 2,
            lstm_layers: 1,
            shared_dim: 4,
            attention_heads: 2,
            ..HeadConfig::default()
        };
        Self { encoder, head }
    }
}

/// What a model of [`ModelConfig::tiny`] may say of itself, to test with: windows of 62 steps, and another scale for each axis.
pub fn tiny_info() -> ModelInfo {
    ModelInfo {
        id: "tiny".into(),
        version: "3".into(),
        target_mean: [5.0, 4.5, 3.0, 6.25],
        target_std: [1.0, 0.5, 2.0, 1.5],
        policy: Policy::Windowed { window_steps: 62 },
        labels: Labels::Proxy,
        run_hash: "ab".into(),
    }
}

impl Default for ModelConfig {
    /// The paper's head on the published BEATs size.
    fn default() -> Self {
        Self { encoder: EncoderConfig::default(), head: HeadConfig::default() }
    }
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self {
            input_patch_size: 16,
            embed_dim: 512,
            encoder_embed_dim: 768,
            encoder_layers: 12,
            encoder_ffn_embed_dim: 3072,
            encoder_attention_heads: 12,
            conv_pos: 128,
            conv_pos_groups: 16,
            num_buckets: 320,
            max_distance: 800,
            relative_position_embedding: true,
            gru_rel_pos: true,
            deep_norm: true,
            layer_norm_first: false,
            dropout: 0.0,
        }
    }
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self {
            layer_norm: true,
            adapter_dim: 256,
            lstm_dim: 100,
            lstm_layers: 2,
            shared_dim: 256,
            attention_heads: 16,
            dropout: 0.3,
        }
    }
}
