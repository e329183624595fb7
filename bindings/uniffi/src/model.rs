//! Models, as Kotlin and Swift see them.

use std::sync::Arc;

use aesa::score::steps_to_s;
use aesa::{Labels, Policy};

use crate::error::AesaError;
use crate::scorer::Scorer;
use crate::types::ModelInfo;

/// A loaded model; never changes. Any number of scorers may use it, in any threads; they keep what they need when it is
/// closed.
#[derive(Debug, uniffi::Object)]
pub struct Model(pub(crate) Arc<aesa_runtime::Model>);

#[uniffi::export]
impl Model {
    /// The starter model inside the library.
    ///
    /// # Errors
    /// `Unsupported` where the library was built without it.
    #[uniffi::constructor]
    pub fn starter() -> Result<Arc<Self>, AesaError> {
        #[cfg(feature = "starter")]
        return Ok(Self::new(aesa_runtime::Model::starter()?));
        #[cfg(not(feature = "starter"))]
        Err(AesaError::Unsupported("this library was built without the starter model".into()))
    }

    /// Reads a `model.aesa` or (where tract is built in) a `model.onnx`; which it is shows in its contents. The file is read
    /// once.
    ///
    /// # Errors
    /// `Read`, `Model`.
    #[uniffi::constructor]
    pub fn open(path: String) -> Result<Arc<Self>, AesaError> {
        Ok(Self::new(aesa_runtime::Model::open(path)?))
    }

    /// A model from its file's bytes, which are copied.
    ///
    /// # Errors
    /// `Model`.
    #[uniffi::constructor]
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Arc<Self>, AesaError> {
        Ok(Self::new(aesa_runtime::Model::from_bytes(&bytes)?))
    }

    // Not constructors of the scorer: in Kotlin a closed object can be told as what a method is called on, not as an argument.

    /// A scorer at the start of a clip; `num_channels` interleaved channels are averaged.
    ///
    /// # Errors
    /// `InvalidArgument` for a rate or number of channels that cannot be.
    pub fn scorer(&self, sample_rate_hz: i32, num_channels: i32) -> Result<Arc<Scorer>, AesaError> {
        Scorer::new(self, sample_rate_hz, num_channels).map(Arc::new)
    }

    /// A scorer at the start of a clip that gives scores every `hop_steps` steps of 160 ms, `look_ahead_steps` after their
    /// frame; for windowed models.
    ///
    /// # Errors
    /// `InvalidArgument`, also for a model in chunks.
    pub fn scorer_with_hop(
        &self,
        sample_rate_hz: i32,
        num_channels: i32,
        hop_steps: i32,
        look_ahead_steps: i32,
    ) -> Result<Arc<Scorer>, AesaError> {
        Scorer::with_hop(self, sample_rate_hz, num_channels, hop_steps, look_ahead_steps).map(Arc::new)
    }

    /// What it says of itself.
    pub fn info(&self) -> ModelInfo {
        let info = self.0.info();
        let labels = match info.labels {
            Labels::Human => "human",
            Labels::Proxy => "proxy",
        };
        let policy = match info.policy {
            Policy::Windowed { .. } => "windowed",
            Policy::Chunked { .. } => "chunked",
        };
        ModelInfo {
            id: info.id.to_string(),
            version: info.version.to_string(),
            labels: labels.into(),
            engine: self.0.engine().name().into(),
            policy: policy.into(),
            window_s: steps_to_s(info.policy.max_steps() as u64),
        }
    }
}

impl Model {
    fn new(model: aesa_runtime::Model) -> Arc<Self> {
        Arc::new(Self(Arc::new(model)))
    }
}

/// aesa's version.
#[uniffi::export]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").into()
}
