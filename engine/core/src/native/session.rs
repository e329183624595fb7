//! The native engine behind the [`Scorer`](crate::Scorer).

use alloc::vec::Vec;

use super::error::StreamError;
use super::model::Model;
use super::stream::Stream;
#[cfg(feature = "threads")]
use super::threads::Threads;
use crate::encoder::Network;
use crate::fbank::NUM_MEL_BINS;
use crate::model::ModelInfo;
use crate::score::{FRAMES_PER_STEP, Scores};

/// A [`Network`] over a shared [`Model`], windowed or chunked: its metadata, and a [`Stream`] in memory of its own. Scoring
/// asks for no more.
#[derive(Debug)]
pub struct Session<'m> {
    info: ModelInfo,
    stream: Stream<'m, Vec<f32>>,
}

impl<'m> Session<'m> {
    /// A session whose chunks go through `stream`, which is at the start of a clip.
    pub(crate) fn new(info: ModelInfo, stream: Stream<'m, Vec<f32>>) -> Self {
        Self { info, stream }
    }

    /// The same session, whose windows and chunks are computed by these threads; without, by the caller's alone. See
    /// [`Stream::with_threads`].
    #[cfg(feature = "threads")]
    #[must_use]
    pub fn with_threads(self, threads: &Threads) -> Self {
        Self { stream: self.stream.with_threads(threads), ..self }
    }

    /// The model that this session runs.
    pub fn model(&self) -> &'m Model<'m> {
        self.stream.model()
    }
}

impl Network for Session<'_> {
    type Error = StreamError;

    fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Scores one window, or the next chunk; see [`Network::score_window`].
    ///
    /// # Errors
    /// [`StreamError::WindowSize`] and [`StreamError::NotFinite`], with nothing taken.
    fn score_window(&mut self, features: &[f32], scores: &mut [Scores]) -> Result<(), StreamError> {
        let max_steps = self.info.policy.max_steps();
        let num_steps = scores.len();
        let fits = features.len() == num_steps * FRAMES_PER_STEP * NUM_MEL_BINS;
        if !fits || num_steps == 0 || num_steps > max_steps {
            return Err(StreamError::WindowSize { num_features: features.len(), num_steps, max_steps });
        }
        let mut slots = scores.iter_mut();
        let mut put = |scored| {
            if let Some(slot) = slots.next() {
                *slot = scored;
            }
        };
        self.stream.push(features, &mut put)?;
        if num_steps < max_steps {
            // A short one is scored when it is said to be the last; the stream is then as new.
            self.stream.finish(&mut put);
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.stream.reset();
    }
}
