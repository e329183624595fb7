//! A clip's scores on a microcontroller, and the same on this machine.
//!
//! ```text
//!  assets.rs   the model and the clip, in flash
//!  scorer.rs   16 kHz i16 -> log-mel -> native engine -> frame scores, clip score; memory lent by the caller
//!  report.rs   the lines that both programs print
//!
//!  device/     SysTick interrupt -> heapless queue -> scorer.rs, on a Cortex-M: lines over semihosting
//!  host.rs     the clip at once -> scorer.rs, here: lines on standard output
//! ```
#![no_std]

mod assets;
mod report;
mod scorer;

pub use assets::{CHUNK_STEPS, CLIP_SAMPLES, MEMORY_NUMBERS, MHZ, MODEL_BYTES, clip, model_file};
pub use report::{clip_line, frame_line, model_line};
pub use scorer::{BLOCK_SAMPLES, Scorer};
