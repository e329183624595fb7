//! A loaded model.

use std::sync::Arc;

use aesa::Policy;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::AesaError;

/// A model; scorers share it and keep it alive.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Model(pub(crate) Arc<aesa_runtime::Model>);

#[wasm_bindgen]
impl Model {
    /// The starter model, which is inside the module.
    ///
    /// # Errors
    /// None, unless the module was built with a broken one.
    pub fn starter() -> Result<Self, AesaError> {
        Ok(Self(Arc::new(aesa_runtime::Model::starter()?)))
    }

    /// A model from the bytes of a `model.aesa`.
    ///
    /// # Errors
    /// Kinds `model`, `model-info` and `model-unsupported`.
    #[wasm_bindgen(js_name = fromBytes)]
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AesaError> {
        Ok(Self(Arc::new(aesa_runtime::Model::from_bytes(bytes)?)))
    }

    /// Its short name.
    #[wasm_bindgen(getter)]
    pub fn id(&self) -> String {
        self.0.info().id.clone()
    }

    /// The version of its weights.
    #[wasm_bindgen(getter)]
    pub fn version(&self) -> String {
        self.0.info().version.clone()
    }

    /// `human` or `proxy`: where its training labels came from.
    #[wasm_bindgen(getter)]
    pub fn labels(&self) -> String {
        self.0.info().labels.name().into()
    }

    /// `int8` or `f32`.
    #[wasm_bindgen(getter)]
    pub fn weights(&self) -> Option<String> {
        self.0.engine().weights().map(Into::into)
    }

    /// Steps of a window, 0 for a model that hears chunks.
    #[wasm_bindgen(getter, js_name = windowSteps)]
    pub fn window_steps(&self) -> usize {
        match self.0.info().policy {
            Policy::Windowed { window_steps } => window_steps,
            Policy::Chunked { .. } => 0,
        }
    }

    /// Steps of a chunk, 0 for a model that hears windows.
    #[wasm_bindgen(getter, js_name = chunkSteps)]
    pub fn chunk_steps(&self) -> usize {
        match self.0.info().policy {
            Policy::Windowed { .. } => 0,
            Policy::Chunked { chunk_steps, .. } => chunk_steps,
        }
    }

    /// Steps before its chunk that a token sees, at least; 0 for a model that hears windows.
    #[wasm_bindgen(getter, js_name = leftSteps)]
    pub fn left_steps(&self) -> usize {
        match self.0.info().policy {
            Policy::Windowed { .. } => 0,
            Policy::Chunked { left_steps, .. } => left_steps,
        }
    }
}
