//! Perceptual audio scores on the device: how well produced, how complex, how enjoyable and how useful a sound is.
//!
//! The crate owns everything around the network: it takes audio of any rate and number of channels, makes the
//! features that BEATs hears, cuts them into windows, and turns the network's answers into frame and clip scores.
//! One path serves files and streams, and how a caller cuts its audio never changes a number.
//!
//! ```text
//!  interleaved chunk: i16, i24, i32 or f32, 1..N channels, any rate
//!    |
//!  audio      mean of the channels                          [samples]
//!  resample   16 kHz (feature `std`)                        [samples]
//!  fbank      log-mel, 25 ms every 10 ms                    [frames, 128]
//!  window     normalised, a window's or a chunk's steps      [steps * 16, 128]
//!  encoder    the trait a network runtime implements        [steps, 4]
//!  pool       mean over steps                               [4]
//!  score      axes, frame scores with times, clip scores
//!    '------- scorer: owns the state, feeds the stages ------'
//! ```
//!
//! A network is anything that implements [`Network`]; the crate `aesa-tract` runs aesa models from ONNX, [`native`] those in
//! its own format, in chunks, too. Here, a stand-in:
//!
//! ```
//! # #[cfg(feature = "alloc")] {
//! use aesa::{AudioSpec, Axis, Labels, ModelInfo, Network, Policy, Scorer, Scores};
//!
//! /// Scores the mean of each step's features, on all axes.
//! struct Level(ModelInfo);
//!
//! impl Network for Level {
//!     type Error = std::convert::Infallible;
//!
//!     fn info(&self) -> &ModelInfo {
//!         &self.0
//!     }
//!
//!     fn score_window(&mut self, features: &[f32], scores: &mut [Scores]) -> Result<(), Self::Error> {
//!         for (step, scores) in features.chunks(16 * 128).zip(scores) {
//!             let mean = step.iter().sum::<f32>() / step.len() as f32;
//!             *scores = Scores([(5.0 + 2.0 * mean).clamp(0.0, 10.0); 4]);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let info = ModelInfo {
//!     id: "level".into(),
//!     version: "1".into(),
//!     target_mean: [5.0; 4],
//!     target_std: [1.0; 4],
//!     policy: Policy::Windowed { window_steps: 62 },
//!     labels: Labels::Proxy,
//!     run_hash: "0".into(),
//! };
//! let stereo = AudioSpec { sample_rate_hz: 16_000, num_channels: 2 };
//! let mut scorer = Scorer::new(Level(info), stereo)?;
//! let mut num_frames = 0;
//! for chunk in [0.0; 64_000].chunks(1000) {
//!     scorer.accept_waveform(chunk)?;
//!     while let Some(frame) = scorer.next_frame() {
//!         num_frames += 1;
//!     }
//! }
//! let clip = scorer.finish()?;
//! while let Some(frame) = scorer.next_frame() {
//!     num_frames += 1;
//! }
//! assert_eq!(num_frames, 12); // whole steps of 160 ms in two seconds
//! assert_eq!(clip.num_steps, 12);
//! assert!(clip.scores[Axis::Pq] < 1.0); // silence
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//! - `std` (default): resampling of any rate. Changes no other result.
//! - `threads`: `native::Threads`, several threads for each window or chunk of the native engine. Changes no result.
//! - `alloc`: [`Scorer`] and model metadata; only 16 kHz is accepted.
//! - neither: audio formats, log-mel features and pooling, in constant memory without a heap.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod audio;
#[cfg(feature = "std")]
pub mod resample;
// The order is that in which the data meets them.
#[rustfmt::skip]
pub mod fbank;
mod povey;
#[rustfmt::skip]
mod fft;
#[cfg(feature = "alloc")]
mod gap;
#[rustfmt::skip]
pub mod policy;
#[cfg(feature = "alloc")]
pub mod window;
#[rustfmt::skip]
pub mod encoder;
#[rustfmt::skip]
pub mod native;
pub mod pool;
pub mod score;
#[cfg(feature = "alloc")]
#[rustfmt::skip]
pub mod scorer;
#[cfg(feature = "alloc")]
#[rustfmt::skip]
pub mod model;
#[rustfmt::skip]
pub mod error;

pub use audio::AudioSpec;
#[cfg(feature = "alloc")]
pub use encoder::Network;
pub use error::ScorerError;
#[cfg(feature = "alloc")]
pub use model::{Labels, ModelInfo, ModelInfoError};
pub use policy::Policy;
pub use score::{Axis, ClipScore, FrameScore, Scores};
#[cfg(feature = "alloc")]
pub use scorer::Scorer;
#[cfg(feature = "alloc")]
pub use window::WindowPolicy;
