//! The model to use: the one named, or the starter model inside this program.

use core::num::NonZeroUsize;
use std::path::Path;

use aesa_runtime::Model;
use anyhow::{Context, Result, anyhow};

/// The model that ships, so that the program needs no other file: for windows. The runtime has it for chunks.
static STARTER: &[u8] = include_bytes!("../../../models/starter/model.onnx");

/// Loads the file at `path`, or the starter model in this program, in windows.
///
/// # Errors
/// In words for the user, the path among them.
pub(crate) fn load(path: Option<&Path>) -> Result<Model> {
    match path {
        Some(path) => Model::open(path).map_err(|e| anyhow!("model {e}")),
        None => Model::from_bytes(STARTER).map_err(|e| anyhow!("the starter model in this program: {e}")),
    }
}

/// The starter model in this program, in chunks.
///
/// # Errors
/// None, unless the program was built with a broken one.
pub(crate) fn starter_in_chunks() -> Result<Model> {
    Model::starter().map_err(|e| anyhow!("the starter model in this program: {e}"))
}

/// The model, each of whose windows or chunks is computed by so many threads.
///
/// # Errors
/// In words for the user: threads that are not to be had, or several for a model in ONNX.
pub(crate) fn with_threads(model: Model, threads: NonZeroUsize) -> Result<Model> {
    model.with_threads(threads.get()).with_context(|| format!("--threads {threads}"))
}
