//! Writes a model with random weights, to try runtimes with: `random_model smallest|tiny|starter|base [random.onnx|random.aesa]`.
//!
//! A `model.aesa` is int8, in chunks of 6 steps that see 12 steps before them; an ONNX file is f32, or `--int8` or `--f16`.

use aesa::{Labels, ModelInfo, Policy};
use aesa_export::{ExportOptions, ModelConfig, Storage, random_tensors, write_aesa, write_onnx_with};
use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let size = arguments
        .next()
        .context("usage: random_model smallest|tiny|starter|base [FILE] [--hidden] [--int8|--f16]")?;
    let path = arguments.next().unwrap_or_else(|| "random.onnx".to_string());
    let options: Vec<String> = arguments.collect();
    let has = |option: &str| options.iter().any(|o| o == option);
    let storage = match (has("--int8"), has("--f16")) {
        (true, _) => Storage::Int8,
        (_, true) => Storage::F16,
        _ => Storage::F32,
    };
    let options = ExportOptions { storage, expose_hidden_states: has("--hidden") };
    let config = match size.as_str() {
        "smallest" => ModelConfig::smallest(),
        "tiny" => ModelConfig::tiny(),
        "starter" => ModelConfig::starter(),
        "base" => ModelConfig::default(),
        other => bail!("no size called {other}; there are smallest, tiny, starter and base"),
    };
    let info = ModelInfo {
        id: format!("random-{size}"),
        version: "0".to_string(),
        target_mean: [5.0; 4],
        target_std: [1.0; 4],
        policy: Policy::Windowed { window_steps: 62 },
        labels: Labels::Proxy,
        run_hash: "0".to_string(),
    };
    let tensors = random_tensors(&config, 1)?;
    let model = if path.ends_with(".aesa") {
        let info = ModelInfo { policy: Policy::Chunked { chunk_steps: 6, left_steps: 12 }, ..info };
        write_aesa(&config, &tensors, &info, Storage::Int8)?
    } else {
        write_onnx_with(&config, &tensors, &info, &options)?
    };
    std::fs::write(&path, &model).with_context(|| path.clone())?;
    println!("{path}: {} bytes", model.len());
    Ok(())
}
