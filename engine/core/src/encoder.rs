//! The seam between the core and whatever runs the network.

use crate::fbank::NUM_MEL_BINS;
#[cfg(feature = "alloc")]
use crate::model::ModelInfo;
use crate::score::FRAMES_PER_STEP;
#[cfg(feature = "alloc")]
use crate::score::Scores;

/// A network that turns the features of one window into frame scores.
///
/// The core owns audio, features, windows and pooling; an implementation owns the weights. tract's is in the
/// crate `aesa-tract`.
#[cfg(feature = "alloc")]
pub trait Network {
    /// What can go wrong while the network runs.
    type Error: core::error::Error;

    /// What the model file says of itself.
    fn info(&self) -> &ModelInfo;

    /// Scores one window.
    ///
    /// `features` is `[num_steps * 16, 128]`, row-major, normalised log-mel fbank; `scores` has `num_steps`
    /// entries, each overwritten with that step's scores, 0 to 10. `num_steps` is 1 to
    /// [`ModelInfo::window_steps`]. The result depends on nothing but `features`: no state is kept between windows.
    ///
    /// # Errors
    /// Whatever the runtime reports; the scores are then unspecified.
    fn score_window(&mut self, features: &[f32], scores: &mut [Scores]) -> Result<(), Self::Error>;
}

/// Tokens that the encoder makes of one step, one per patch of 16 frames times 16 mel bins: 8.
pub const TOKENS_PER_STEP: usize = NUM_MEL_BINS / FRAMES_PER_STEP;
