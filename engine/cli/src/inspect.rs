//! `aesa inspect`: what a model file says of itself.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use aesa_tract::{TensorInfo, TractModel};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::default_model;

/// Arguments of `aesa inspect`.
#[derive(Args)]
#[command(after_help = "Examples:
  aesa inspect                      the starter model inside this program
  aesa inspect model.onnx           as a table
  aesa inspect --json model.onnx    for other programs

The file is checked as for scoring: checksum, metadata, inputs and outputs. Exit code 2 if it is no aesa model.")]
pub(crate) struct InspectArgs {
    /// Model file; the starter model inside this program if none is given.
    model: Option<PathBuf>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let model = default_model::load(args.model.as_deref())?;
    let name = args
        .model
        .as_ref()
        .map_or_else(|| "(starter model in this program)".into(), |p| p.display().to_string());
    let mut out = stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &document(&name, &model))?;
        writeln!(out)?;
    } else {
        let rows = rows(&name, &model);
        let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, value) in rows {
            writeln!(out, "{key:width$}  {value}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(name: &str, model: &TractModel) -> Vec<(String, String)> {
    let row = |key: &str, value: String| (key.to_string(), value);
    let mut rows = vec![
        row("file", name.to_string()),
        row("format", format!("ONNX, opset {}", model.opset())),
        row("size", format!("{} bytes", model.num_bytes())),
        row("parameters", model.num_parameters().to_string()),
    ];
    rows.extend(model.inputs().iter().map(|input| row("input", input.to_string())));
    rows.extend(model.outputs().iter().map(|output| row("output", output.to_string())));
    rows.extend(model.metadata().iter().cloned());
    rows
}

fn document(name: &str, model: &TractModel) -> Value {
    let tensors = |tensors: &[TensorInfo]| -> Value {
        let tensor = |t: &TensorInfo| json!({ "name": t.name, "element": t.element, "shape": t.shape });
        tensors.iter().map(tensor).collect()
    };
    let metadata: Map<String, Value> =
        model.metadata().iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    json!({
        "file": name,
        "format": "onnx",
        "opset": model.opset(),
        "num_bytes": model.num_bytes(),
        "num_parameters": model.num_parameters(),
        "inputs": tensors(model.inputs()),
        "outputs": tensors(model.outputs()),
        "metadata": metadata,
    })
}
