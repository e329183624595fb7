//! Audio files as a stream of samples.
//!
//! ```text
//! path --> file.rs: container, codec, segment --> interleaved f32 chunks --> mono.rs: mean of the channels, 16 kHz
//! ```
//!
//! WAV, AIFF, FLAC, MP3, OGG/Vorbis and AAC (ADTS and M4A), decoded by Symphonia. Memory does not grow with
//! the length of the file, except in [`read_mono_16k`] and [`MonoReader::read_to_end`], whose result is all of it.
//!
//! ```no_run
//! let mut file = aesa_media::AudioFile::open("talk.flac".as_ref())?;
//! println!("{} Hz, {} channels", file.sample_rate_hz(), file.num_channels());
//! while let Some(chunk) = file.next_chunk()? {
//!     println!("{} samples of all channels, interleaved", chunk.len());
//! }
//! # Ok::<(), aesa_media::MediaError>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod file;
mod mono;

pub use error::MediaError;
pub use file::{AudioFile, EXTENSIONS, is_audio_extension};
pub use mono::{MonoReader, read_mono_16k};
