//! What can go wrong while audio is scored.

use core::fmt;

/// Why a [`Scorer`](crate::scorer::Scorer) refused its input or gave up; `E` is the network's own error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScorerError<E> {
    /// The clip ended before its first step of 160 ms was complete.
    TooShort {
        /// What the clip had, counted at 16 kHz.
        num_samples: u64,
        /// What the first step needs, at 16 kHz.
        needed: u64,
    },
    /// A sample rate that cannot be resampled; without the feature `std`, any rate but 16 kHz.
    SampleRate {
        /// The rate asked for.
        actual_hz: u32,
    },
    /// Audio without channels.
    Channels {
        /// The number of channels asked for.
        num_channels: usize,
    },
    /// A chunk that does not hold a whole number of samples of every channel. Nothing of it was taken.
    IncompleteSample {
        /// Values in the chunk.
        num_values: usize,
        /// Interleaved channels.
        num_channels: usize,
    },
    /// A NaN, an infinity or a magnitude beyond [`MAX_ABS_SAMPLE`](crate::audio::MAX_ABS_SAMPLE). Nothing of its
    /// chunk was taken.
    NonFinite {
        /// Which sample of the clip (of any channel), from 0, at the caller's rate.
        index: u64,
    },
    /// Hop and look-ahead that windows of this model cannot give: no hop, or together longer than the window.
    Policy {
        /// The hop asked for, in steps.
        hop_steps: usize,
        /// The look-ahead asked for, in steps.
        look_ahead_steps: usize,
        /// The model's window.
        window_steps: usize,
    },
    /// Hop and look-ahead for a model that hears the clip in chunks, on one grid.
    NotWindowed {
        /// The steps of its chunks.
        chunk_steps: usize,
    },
    /// Every step of the clip touches lost audio, so that none is left to score.
    AllLost {
        /// How many steps the clip has.
        num_steps: u64,
    },
    /// The network failed; the clip is lost.
    Network(E),
    /// The network gave a score that is not a number; the clip is lost.
    BadScore {
        /// Which step of the clip, from 0.
        step: u64,
    },
    /// The clip has ended, by `finish` or by an error; `reset` begins another.
    Finished,
}

impl<E: fmt::Display> fmt::Display for ScorerError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { num_samples, needed } => {
                write!(f, "too short: {num_samples} samples at 16 kHz, at least {needed} (0.175 s) are needed")
            }
            #[cfg(feature = "std")]
            Self::SampleRate { actual_hz } => {
                let (min, max) = (crate::resample::MIN_RATE_HZ, crate::resample::MAX_RATE_HZ);
                write!(f, "sample rate {actual_hz} Hz is outside {min} to {max} Hz")
            }
            #[cfg(not(feature = "std"))]
            Self::SampleRate { actual_hz } => {
                write!(f, "sample rate {actual_hz} Hz: only 16000 Hz is supported in this build")
            }
            Self::Channels { num_channels } => write!(f, "{num_channels} channels: at least 1 is needed"),
            Self::IncompleteSample { num_values, num_channels } => {
                write!(f, "a chunk of {num_values} values cannot be split among {num_channels} channels")
            }
            Self::NonFinite { index } => write!(f, "sample {index} is not a finite number in range"),
            Self::Policy { hop_steps, look_ahead_steps, window_steps } => write!(
                f,
                "a hop of {hop_steps} and a look-ahead of {look_ahead_steps} steps of 160 ms: the hop has to be at least \
                 1, both together at most {window_steps}"
            ),
            Self::NotWindowed { chunk_steps } => write!(
                f,
                "the model hears chunks of {chunk_steps} steps of 160 ms: hop and look-ahead are for windows"
            ),
            Self::AllLost { num_steps } => {
                write!(f, "audio was lost in each of the clip's {num_steps} steps of 160 ms")
            }
            Self::Network(error) => write!(f, "the network failed: {error}"),
            Self::BadScore { step } => write!(f, "the network's score of step {step} is not a number"),
            Self::Finished => f.write_str("the clip has ended; reset begins another"),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for ScorerError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Network(error) => Some(error),
            _ => None,
        }
    }
}
