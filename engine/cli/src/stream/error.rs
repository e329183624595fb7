//! What can be wrong with a stream's audio.

use core::fmt;
use std::io;

use aesa::ScorerError;
use aesa_runtime::SessionError;

/// Why a stream ended before its input did, or has no score.
#[derive(Debug)]
pub(super) enum StreamError {
    /// The input ended before its first sample.
    NoAudio,
    /// The input ends within a sample.
    IncompleteSample {
        /// Bytes left over.
        num_bytes: usize,
        /// Bytes of one sample of every channel.
        group_bytes: usize,
    },
    /// Reading failed.
    Read(io::Error),
    /// The microphone gave up.
    #[cfg(feature = "microphone")]
    Microphone(cpal::Error),
    /// The scorer refused the audio or could not score it.
    Scorer(ScorerError<SessionError>),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAudio => f.write_str("no audio came in"),
            Self::IncompleteSample { num_bytes, group_bytes } => write!(
                f,
                "the input ends within a sample: {num_bytes} of {group_bytes} bytes; are --format and --channels right?"
            ),
            Self::Read(error) => write!(f, "cannot read standard input: {error}"),
            #[cfg(feature = "microphone")]
            Self::Microphone(error) => write!(f, "microphone: {error}"),
            Self::Scorer(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StreamError {}

impl From<ScorerError<SessionError>> for StreamError {
    fn from(error: ScorerError<SessionError>) -> Self {
        Self::Scorer(error)
    }
}
