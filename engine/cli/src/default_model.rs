//! The model to use: the one named, or the starter model inside this program.

use std::path::Path;

use aesa_tract::TractModel;
use anyhow::anyhow;

/// The model that ships, so that the program needs no other file.
static STARTER: &[u8] = include_bytes!("../../../models/starter/model.onnx");

/// Loads the model at `path`, or the embedded starter model.
pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<TractModel> {
    match path {
        Some(path) => TractModel::load(path).map_err(|e| anyhow!("model {}: {e}", path.display())),
        None => {
            TractModel::from_bytes(STARTER).map_err(|e| anyhow!("the starter model in this program: {e}"))
        }
    }
}
