//! The network itself, from a `model.aesa` read in place: int8 or f32, in chunks, without a heap.
//!
//! ```text
//!  normalised fbank [frames, 128]
//!    |  session.rs: what a scorer sees of it (feature `alloc`)
//!    |  stream.rs: fills steps and chunks, owns the state
//!  patch.rs      16x16 patches to tokens                        [8 per step, width]
//!  position.rs   what a token hears of its neighbours           state: taps/2 tokens
//!  block.rs      attention, feed-forward; one per layer         state: keys, values of L chunks (cache.rs)
//!                int8_head.rs: keys and values in int8, for models that ask for it
//!  head.rs       weighted sum of the blocks, adapter
//!  blstm.rs      two directions                                 state: the forward one's
//!  branch.rs     attention to logits; one per axis              state: keys, values of L chunks
//!    |
//!  scores [steps, 4]
//!
//!  threads.rs, crew.rs, parallel.rs: the same by several threads (feature `threads`)
//!  format.rs the file's bytes | table.rs its tensors, checked | shape.rs its sizes | memory.rs state and scratch
//! ```
//!
//! ```no_run
//! use aesa::native::Model;
//!
//! # fn file() -> &'static [u8] { unimplemented!() }
//! # fn frames() -> [f32; 128] { unimplemented!() }
//! let model = Model::from_bytes(file())?;
//! let mut memory = [0.0; 120_000];
//! let mut stream = model.stream_in(&mut memory)?;
//! stream.push(&frames(), |scores| println!("{scores:?}"))?;
//! stream.finish(|scores| println!("{scores:?}"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! A [`Scorer`](crate::Scorer) does the rest where there is a heap: it takes audio of any rate and cut over a [`Session`].

#[cfg(feature = "alloc")]
mod aligned;
mod error;
pub mod format;
mod shape;
// The order is that in which the data meets them.
#[rustfmt::skip]
mod model;
mod table;
#[cfg(feature = "alloc")]
#[rustfmt::skip]
mod session;
#[rustfmt::skip]
mod stream;
mod patch;
#[rustfmt::skip]
mod linear;
mod position;
#[rustfmt::skip]
mod block;
mod attention;
mod cache;
mod int8_head;
#[rustfmt::skip]
mod head;
#[rustfmt::skip]
mod blstm;
mod branch;
#[rustfmt::skip]
mod memory;
#[cfg(feature = "threads")]
#[rustfmt::skip]
mod threads;
#[cfg(feature = "threads")]
mod crew;
#[cfg(feature = "threads")]
mod parallel;

pub use aesa_kernels::Kernels;
#[cfg(feature = "alloc")]
pub use aligned::AlignedBytes;
pub use error::{ModelError, StreamError};
pub use model::{MemoryRequired, Model};
#[cfg(feature = "alloc")]
pub use session::Session;
pub use shape::{MAX_LAYERS, MAX_LSTM_LAYERS};
pub use stream::Stream;
#[cfg(feature = "threads")]
pub use threads::{Threads, ThreadsError};
