//! Writes AESA-Net to ONNX and to `model.aesa`: from named tensors, without libtorch.
//!
//! ```text
//!  model.safetensors --> Tensors --> parameters.rs --> encoder.rs --> head.rs --> onnx.rs --> model.onnx
//!                        named       every name and    BEATs          AESA-Net    metadata,
//!                        f32 arrays  shape is checked  [tokens, d]    scores      hash, bytes
//!                                         '--> native.rs ---------> aesa_file.rs --> model.aesa
//!                                              tensors in order     f32 or int8
//! ```
//!
//! The ONNX file needs standard `ai.onnx` operators only (opset 17), so any ONNX runtime loads it. Its input `fbank` is
//! `[1, num_frames, 128]` with a free `num_frames`; its outputs are `frame_scores` `[1, num_steps, 4]` and
//! `clip_scores` `[1, 4]`, 0 to 10, in the order of [`aesa::score::Axis::ALL`]. Where the policy is
//! chunked the graph scores one chunk after another: `past.rs` adds what is carried between them as inputs and outputs.
//!
//! ```
//! use aesa::{Labels, ModelInfo, Policy};
//! use aesa_export::{random_tensors, write_onnx, ModelConfig};
//!
//! let config = ModelConfig::tiny();
//! let info = ModelInfo {
//!     id: "example".into(),
//!     version: "1".into(),
//!     target_mean: [5.0; 4],
//!     target_std: [1.0; 4],
//!     policy: Policy::Windowed { window_steps: 62 },
//!     labels: Labels::Proxy,
//!     run_hash: String::new(),
//! };
//! let onnx = write_onnx(&config, &random_tensors(&config, 1)?, &info)?;
//! assert!(onnx.len() > 4 * 1000);
//! # Ok::<(), aesa_export::ExportError>(())
//! ```
#![forbid(unsafe_code)]

mod aesa_file;
mod config;
mod encoder;
mod error;
mod graph;
mod head;
mod linear;
mod native;
mod onnx;
mod parameters;
mod past;
mod storage;
mod tensors;

pub use config::{EncoderConfig, HeadConfig, ModelConfig, tiny_info};
pub use error::ExportError;
pub use native::write_aesa;
pub use onnx::{ExportOptions, write_onnx, write_onnx_with};
pub use parameters::{Parameter, parameters, random_tensors};
pub use storage::Storage;
pub use tensors::{Tensor, Tensors};
