//! `aesa inspect`: what a model file says of itself.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use aesa::Policy;
use aesa::model::KEY_NUM_PARAMETERS;
use aesa::native::{self, format::FORMAT_VERSION};
use aesa::score::steps_to_s;
use aesa_runtime::Engine;
use aesa_tract::{TensorInfo, TractModel};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::model;
use crate::output::json::policy;

/// Arguments of `aesa inspect`.
#[derive(Args)]
#[command(after_help = "Examples:
  aesa inspect                      the starter model inside this program
  aesa inspect model.onnx           as a table
  aesa inspect model.aesa           policy, numbers, flash and RAM that a device needs
  aesa inspect --json model.onnx    for other programs

The file is checked as for scoring: checksum, metadata, tensors, inputs and outputs. Exit code 2 if it is no aesa model.")]
pub(crate) struct InspectArgs {
    /// Model file, ONNX or model.aesa; the starter model inside this program if none is given.
    model: Option<PathBuf>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let model = model::load(args.model.as_deref())?;
    let name = args
        .model
        .as_ref()
        .map_or_else(|| "(starter model in this program)".into(), |p| p.display().to_string());
    let mut out = stdout().lock();
    if args.json {
        let document = match model.engine() {
            Engine::Tract(model) => onnx_document(&name, model),
            Engine::Native(model) => native_document(&name, model),
        };
        serde_json::to_writer_pretty(&mut out, &document)?;
        writeln!(out)?;
    } else {
        let rows = match model.engine() {
            Engine::Tract(model) => onnx_rows(name, model),
            Engine::Native(model) => native_rows(name, model),
        };
        let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, value) in rows {
            writeln!(out, "{key:width$}  {value}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn onnx_rows(name: String, model: &TractModel) -> Vec<(String, String)> {
    let mut rows = vec![
        row("file", name),
        row("format", format!("ONNX, opset {}", model.opset())),
        row("size", format!("{} bytes", model.num_bytes())),
        row("parameters", model.num_parameters()),
        row("fused", model.fusion()),
    ];
    rows.extend(model.inputs().iter().map(|input| row("input", input)));
    rows.extend(model.outputs().iter().map(|output| row("output", output)));
    rows.extend(model.metadata().iter().cloned());
    rows
}

fn native_rows(name: String, model: &native::Model<'_>) -> Vec<(String, String)> {
    let memory = model.memory_required();
    let mut rows = vec![
        row("file", name),
        row("format", format!("model.aesa, version {FORMAT_VERSION}")),
        row("size", format!("{} bytes", memory.flash_bytes)),
        row("parameters", num_parameters(model).map_or_else(|| "?".to_string(), |n| n.to_string())),
        row("weights", weights(model)),
        row("attention", attention(model)),
        row("policy", model.policy().name()),
    ];
    match model.policy() {
        Policy::Windowed { window_steps } => rows.push(row("window", steps(window_steps))),
        Policy::Chunked { chunk_steps, left_steps } => {
            rows.extend([row("chunk", steps(chunk_steps)), row("left context", steps(left_steps))]);
        }
    }
    let (ram, state, scratch) = (memory.ram_bytes(), memory.state_bytes, memory.scratch_bytes);
    rows.extend([
        row("flash", format!("{} bytes", memory.flash_bytes)),
        row("RAM per stream", format!("{ram} bytes (state {state}, scratch {scratch})")),
    ]);
    rows.extend(model.metadata().map(|(key, value)| row(key, value)));
    rows
}

fn row(key: &str, value: impl ToString) -> (String, String) {
    (key.to_string(), value.to_string())
}

fn steps(num_steps: usize) -> String {
    format!("{num_steps} steps, {:.2} s", steps_to_s(num_steps as u64))
}

fn weights(model: &native::Model<'_>) -> &'static str {
    if model.is_int8() { "int8" } else { "f32" }
}

fn attention(model: &native::Model<'_>) -> &'static str {
    if model.has_int8_attention() { "int8" } else { "f32" }
}

fn num_parameters(model: &native::Model<'_>) -> Option<u64> {
    model.metadata().find(|(key, _)| *key == KEY_NUM_PARAMETERS).and_then(|(_, value)| value.parse().ok())
}

fn onnx_document(name: &str, model: &TractModel) -> Value {
    let tensors = |tensors: &[TensorInfo]| -> Value {
        let tensor = |t: &TensorInfo| json!({ "name": t.name, "element": t.element, "shape": t.shape });
        tensors.iter().map(tensor).collect()
    };
    let metadata: Map<String, Value> =
        model.metadata().iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    let fusion = model.fusion();
    let fused: Map<String, Value> =
        fusion.operators.iter().map(|(name, count)| ((*name).to_string(), (*count).into())).collect();
    json!({
        "file": name,
        "format": "onnx",
        "opset": model.opset(),
        "num_bytes": model.num_bytes(),
        "num_parameters": model.num_parameters(),
        "fused": fused,
        "left_to_tract": fusion.num_left,
        "inputs": tensors(model.inputs()),
        "outputs": tensors(model.outputs()),
        "metadata": metadata,
    })
}

fn native_document(name: &str, model: &native::Model<'_>) -> Value {
    let memory = model.memory_required();
    let metadata: Map<String, Value> =
        model.metadata().map(|(key, value)| (key.to_string(), value.into())).collect();
    json!({
        "file": name,
        "format": "aesa",
        "format_version": FORMAT_VERSION,
        "num_bytes": memory.flash_bytes,
        "num_parameters": num_parameters(model),
        "weights": weights(model),
        "attention": attention(model),
        "policy": policy(model.policy()),
        "memory": {
            "flash_bytes": memory.flash_bytes,
            "state_bytes": memory.state_bytes,
            "scratch_bytes": memory.scratch_bytes,
        },
        "metadata": metadata,
    })
}
