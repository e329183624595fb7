//! Any model file on the engine that runs it, for programs and bindings that learn which when they read it.
//!
//! ```text
//!  path or bytes --> model.rs    Model: shared by threads, never changes; native or tract
//!                      |
//!  samples --------> scorer.rs   ModelScorer: one clip or stream; keeps its model alive
//!
//!  error.rs          why a file is no model
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use aesa::AudioSpec;
//! use aesa_runtime::{Model, ModelScorer};
//!
//! let model = Arc::new(Model::open("model.aesa")?);
//! let mut scorer = ModelScorer::new(model, AudioSpec { sample_rate_hz: 44_100, num_channels: 2 })?;
//! scorer.accept(&[0i16; 88_200])?;
//! while let Some(frame) = scorer.next_frame() {
//!     println!("{:.2} s: {:?}", frame.start_s(), frame.scores);
//! }
//! println!("{:?}", scorer.finish()?.scores);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//! - `tract` (default): models in ONNX.
//! - `threads`: `Model::with_threads`, several threads for each window or chunk of a `model.aesa`.
//! - `starter`: [`Model::starter`], 0.8 MB of weights inside the program.
#![forbid(unsafe_code)]

mod model;
#[rustfmt::skip]
mod scorer;
mod error;

pub use error::LoadError;
pub use model::{Engine, Model, Session, SessionError};
pub use scorer::ModelScorer;
