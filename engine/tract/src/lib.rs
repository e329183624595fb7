//! AESA-Net from an ONNX file, run by tract.
//!
//! ```text
//! model.onnx --> file.rs: metadata, hash, --> fuse.rs: patterns --> graph.rs, operators.rs: --> model.rs: plans ---> session.rs: scores
//!                inputs and outputs           of nodes as fused.rs   nodes as tract's,           whole window once,   of a window
//!                checked once                                        per number of steps         tails on demand
//!
//! pattern.rs     who gives and takes what;   constants.rs   weights on their way into our operators;   fused/   the operators
//! ```
//!
//! What the exporter writes with standard operators (linear maps, int8 or not; attention; layer norms; BLSTMs; convolutions) is computed by
//! `aesa-kernels`, as the native engine does. A pattern that does not match is left to tract: slower, with the same scores. [`TractModel::fusion`]
//! tells.
//!
//! A [`TractModel`] is loaded once and never changes; each thread scores through its own [`TractSession`]. The same
//! features give the same bits in any thread and, in windows, after any other window; a graph for chunks carries its state in the session.
//!
//! ```no_run
//! use aesa::encoder::Network;
//! use aesa::score::Scores;
//!
//! let model = aesa_tract::TractModel::load("model.onnx".as_ref())?;
//! println!("{} {}", model.info().id, model.info().version);
//! let mut session = model.session();
//! let features = vec![0.0; 2 * 16 * 128];
//! let mut scores = [Scores::default(); 2];
//! session.score_window(&features, &mut scores)?;
//! # Ok::<(), aesa_tract::TractError>(())
//! ```
#![forbid(unsafe_code)]

mod constants;
mod error;
mod file;
mod fuse;
mod fused;
mod graph;
mod model;
mod operators;
mod pattern;
mod session;

pub use error::TractError;
pub use fuse::Fusion;
pub use model::{TensorInfo, TractModel};
pub use session::TractSession;
