//! The engine as a WebAssembly module: what `package/index.js` puts JavaScript's own manners on.
//!
//! ```text
//!  bytes    --> model.rs    Model: the starter, or any model.aesa
//!  samples  --> scorer.rs   Scorer: packed frame and clip scores
//!           --> log_mel.rs  LogMel: what the model hears of the same samples, to be drawn
//!
//!  error.rs     JavaScript errors with a kind; a panic's words
//! ```
//!
//! Only `package/index.js` calls these classes, and it checks what JavaScript would bend into the wanted type: here a rate is a number.
#![deny(unsafe_code)]

mod model;
#[rustfmt::skip]
mod log_mel;
mod error;
mod scorer;

pub use log_mel::LogMel;
pub use model::Model;
pub use scorer::Scorer;
