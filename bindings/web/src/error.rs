//! What JavaScript is thrown.

use core::fmt::Display;
use std::panic;

use aesa::ScorerError;
use aesa::resample::ResampleError;
use aesa_runtime::{LoadError, SessionError};
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen(raw_module = "./error.js")]
extern "C" {
    /// The package's `AesaError`: an `Error` with a `kind`.
    pub type AesaError;

    #[wasm_bindgen(constructor)]
    fn new(kind: &str, message: &str) -> AesaError;

    /// Keeps the words of a panic for the error that is thrown for the trap after it.
    #[wasm_bindgen(js_name = rememberPanic)]
    fn remember_panic(message: &str);
}

impl AesaError {
    fn of(kind: &str, error: impl Display) -> Self {
        Self::new(kind, &error.to_string())
    }
}

impl From<ScorerError<SessionError>> for AesaError {
    fn from(error: ScorerError<SessionError>) -> Self {
        let kind = match &error {
            ScorerError::TooShort { .. } => "too-short",
            ScorerError::SampleRate { .. } => "sample-rate",
            ScorerError::Channels { .. } => "channels",
            ScorerError::IncompleteSample { .. } => "incomplete-sample",
            ScorerError::NonFinite { .. } => "non-finite",
            ScorerError::Policy { .. } => "policy",
            ScorerError::NotWindowed { .. } => "not-windowed",
            ScorerError::AllLost { .. } => "all-lost",
            ScorerError::Network(_) => "network",
            ScorerError::BadScore { .. } => "bad-score",
            ScorerError::Finished => "finished",
            _ => "internal",
        };
        Self::of(kind, error)
    }
}

impl From<LoadError> for AesaError {
    fn from(error: LoadError) -> Self {
        let kind = match &error {
            LoadError::Native(_) => "model",
            LoadError::Info(_) => "model-info",
            // Bytes of something else; files are JavaScript's to read.
            _ => "model-unsupported",
        };
        Self::of(kind, error)
    }
}

impl From<ResampleError> for AesaError {
    fn from(error: ResampleError) -> Self {
        Self::of("sample-rate", error)
    }
}

/// Interleaved channels, none of which is none.
pub(crate) fn check_channels(num_channels: u32) -> Result<usize, AesaError> {
    match num_channels as usize {
        0 => Err(ScorerError::Channels { num_channels: 0 }.into()),
        num_channels => Ok(num_channels),
    }
}

#[wasm_bindgen(start)]
fn start() {
    panic::set_hook(Box::new(|info| remember_panic(&info.to_string())));
}
