//! The seam between the core and whatever runs the network.

#[cfg(feature = "alloc")]
use core::fmt;

use crate::fbank::NUM_MEL_BINS;
#[cfg(feature = "alloc")]
use crate::model::ModelInfo;
use crate::score::FRAMES_PER_STEP;
#[cfg(feature = "alloc")]
use crate::score::Scores;

/// A network that turns the features of one window, or of a clip's next chunk, into frame scores.
///
/// The core owns audio, features, windows and pooling; an implementation owns the weights and, where
/// [`ModelInfo::policy`] is chunked, what is carried from chunk to chunk. tract's is in the crate `aesa-tract`, the native
/// engine's is [`native::Session`](crate::native::Session).
#[cfg(feature = "alloc")]
pub trait Network {
    /// What can go wrong while the network runs.
    type Error: core::error::Error;

    /// What the model file says of itself.
    fn info(&self) -> &ModelInfo;

    /// Scores one window or, where the policy is chunked, the clip's next chunk.
    ///
    /// `features` is `[num_steps * 16, 128]`, row-major, normalised log-mel fbank; `scores` has `num_steps`
    /// entries, each overwritten with that step's scores, 0 to 10. `num_steps` is 1 to
    /// [`Policy::max_steps`](crate::Policy::max_steps).
    ///
    /// A window's scores depend on nothing but `features`; a chunk's also on the chunks since [`reset`](Self::reset).
    /// A chunk of fewer steps than the policy's is the clip's last: `reset` comes next.
    ///
    /// # Errors
    /// Whatever the runtime reports; the scores are then unspecified, and a chunked clip cannot go on.
    fn score_window(&mut self, features: &[f32], scores: &mut [Scores]) -> Result<(), Self::Error>;

    /// Forgets the clip: the next chunk is the first of another, scored as by a new network.
    ///
    /// Does nothing unless implemented, which is right for networks that know windows only.
    fn reset(&mut self) {}
}

/// A network of one of two kinds, for a program that learns which when it reads the model file; its errors are of one of two
/// kinds likewise.
#[cfg(feature = "alloc")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The one.
    A(A),
    /// The other.
    B(B),
}

#[cfg(feature = "alloc")]
impl<A: Network, B: Network> Network for Either<A, B> {
    type Error = Either<A::Error, B::Error>;

    fn info(&self) -> &ModelInfo {
        match self {
            Self::A(network) => network.info(),
            Self::B(network) => network.info(),
        }
    }

    fn score_window(&mut self, features: &[f32], scores: &mut [Scores]) -> Result<(), Self::Error> {
        match self {
            Self::A(network) => network.score_window(features, scores).map_err(Either::A),
            Self::B(network) => network.score_window(features, scores).map_err(Either::B),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::A(network) => network.reset(),
            Self::B(network) => network.reset(),
        }
    }
}

#[cfg(feature = "alloc")]
impl<A: fmt::Display, B: fmt::Display> fmt::Display for Either<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(error) => error.fmt(f),
            Self::B(error) => error.fmt(f),
        }
    }
}

#[cfg(feature = "alloc")]
impl<A: core::error::Error, B: core::error::Error> core::error::Error for Either<A, B> {}

/// Tokens that the encoder makes of one step, one per patch of 16 frames times 16 mel bins: 8.
pub const TOKENS_PER_STEP: usize = NUM_MEL_BINS / FRAMES_PER_STEP;
