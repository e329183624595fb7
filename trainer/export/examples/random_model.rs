//! Writes a model with random weights, to try runtimes with: `random_model tiny|starter|base [random.onnx|random.aesa]`.
//!
//! A `model.aesa` is int8, in chunks of 6 steps that see 12 steps before them.

use aesa::model::{Labels, ModelInfo};
use aesa_export::{
    AesaOptions, ChunkPolicy, EncoderConfig, ExportOptions, HeadConfig, ModelConfig, Storage, random_tensors,
    write_aesa, write_onnx_with,
};
use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let size = arguments.next().context("usage: random_model tiny|starter|base [FILE] [--hidden]")?;
    let path = arguments.next().unwrap_or_else(|| "random.onnx".to_string());
    let options = ExportOptions { expose_hidden_states: arguments.any(|a| a == "--hidden") };
    let config = match size.as_str() {
        "tiny" => small(32, 1, 64, 16),
        "starter" => small(128, 3, 384, 32),
        "base" => ModelConfig::default(),
        other => bail!("no size called {other}; there are tiny, starter and base"),
    };
    let info = ModelInfo {
        id: format!("random-{size}"),
        version: "0".to_string(),
        target_mean: [5.0; 4],
        target_std: [1.0; 4],
        window_steps: 62,
        labels: Labels::Proxy,
        run_hash: "0".to_string(),
    };
    let tensors = random_tensors(&config, 1)?;
    let model = if path.ends_with(".aesa") {
        let chunks = ChunkPolicy { chunk_steps: 6, left_steps: 12 };
        write_aesa(&config, &tensors, &info, &AesaOptions { storage: Storage::Int8, chunks: Some(chunks) })?
    } else {
        write_onnx_with(&config, &tensors, &info, &options)?
    };
    std::fs::write(&path, &model).with_context(|| path.clone())?;
    println!("{path}: {} bytes", model.len());
    Ok(())
}

/// An encoder of `width` with `layers` blocks, and a head to match.
fn small(width: i64, layers: i64, ffn: i64, conv_pos: i64) -> ModelConfig {
    let encoder = EncoderConfig {
        embed_dim: width,
        encoder_embed_dim: width,
        encoder_layers: layers,
        encoder_ffn_embed_dim: ffn,
        encoder_attention_heads: 4,
        conv_pos,
        conv_pos_groups: 16,
        num_buckets: 64,
        max_distance: 256,
        ..EncoderConfig::default()
    };
    let head = HeadConfig {
        adapter_dim: 64,
        lstm_dim: 32,
        lstm_layers: 2,
        shared_dim: 64,
        attention_heads: 4,
        ..HeadConfig::default()
    };
    ModelConfig { encoder, head }
}
