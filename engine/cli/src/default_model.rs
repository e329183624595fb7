//! The model to use: the one named, or the starter model inside this program.

use std::path::Path;

use aesa_tract::TractModel;
use anyhow::anyhow;

/// Loads the model at `path`, or the embedded starter model.
pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<TractModel> {
    match path {
        Some(path) => TractModel::load(path).map_err(|e| anyhow!("model {}: {e}", path.display())),
        None => starter(),
    }
}

#[cfg(has_starter_model)]
fn starter() -> anyhow::Result<TractModel> {
    let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/starter/model.onnx"));
    TractModel::from_bytes(bytes).map_err(|e| anyhow!("the starter model in this program: {e}"))
}

#[cfg(not(has_starter_model))]
fn starter() -> anyhow::Result<TractModel> {
    anyhow::bail!("this program was built without the starter model; name a model file with --model PATH")
}
