//! aesa for C and C++: a small, stable ABI. `include/aesa.h` is what its users read; README.md has a quick start.
//!
//! ```text
//!  path or bytes --> model.rs      AesaModel: shared, never changes
//!                      |
//!  PCM ------------> scorer.rs     AesaScorer: one clip or stream
//!                      |
//!  types.rs          AesaFrame, AesaClip;   status.rs  codes
//!
//!  error.rs          nothing unwinds into C: a panic is a code, too; a thread's last message
//!  pointers.rs       what is checked of a pointer before it is used
//! ```
//!
//! All `unsafe` is in `pointers.rs` and in the functions that C calls. A handle is only ever borrowed shared, with a lock
//! behind it, so that a caller who uses one in two threads at once gets a code.

#[rustfmt::skip]
pub mod types;
pub mod status;
#[rustfmt::skip]
pub mod model;
#[rustfmt::skip]
pub mod scorer;
mod error;
#[rustfmt::skip]
mod pointers;

pub use error::aesa_last_error;
pub use model::AesaModel;
pub use scorer::AesaScorer;
pub use status::AesaStatus;
pub use types::{AesaAudio, AesaAxis, AesaClip, AesaFrame, AesaFrameFlag, AesaModelInfo};

use core::ffi::c_char;

/// The library's version, as in `0.1.0`. Lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn aesa_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
