//! aesa for Kotlin and Swift: what [UniFFI](https://mozilla.github.io/uniffi-rs) makes their code from.
//!
//! ```text
//!  path or bytes --> model.rs    Model: shared by threads, never changes
//!                      |
//!  samples --------> scorer.rs   Scorer: one clip or stream, behind a lock
//!                      |
//!  frames, clip <--- types.rs    plain records
//!
//!  error.rs          one enum of errors, thrown there
//! ```
//!
//! `bindings/kotlin` and `bindings/swift` put on top of it what is usual in their language. Counts are signed here, since Java
//! has no other integers.
//!
//! # Features
//! - `starter` (default): [`Model::starter`], 0.8 MB of weights inside the library.
//! - `tract`: models in ONNX.
//! - `bindgen`: the program `uniffi-bindgen`, which writes the Kotlin and Swift code.

mod error;
mod model;
mod scorer;
mod types;

pub use error::AesaError;
pub use model::{Model, version};
pub use scorer::Scorer;
pub use types::{Clip, Frame, ModelInfo, Scores};

uniffi::setup_scaffolding!("aesa");
