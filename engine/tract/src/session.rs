//! One thread's way to score windows, or a clip's chunks.

use aesa::encoder::Network;
use aesa::fbank::NUM_MEL_BINS;
use aesa::model::ModelInfo;
use aesa::score::{FRAMES_PER_STEP, NUM_AXES, Scores};
use tract_core::prelude::*;

use crate::error::TractError;
use crate::model::{TractModel, guarded};

/// A [`Network`] over a shared [`TractModel`]. Keeps no state between windows, and between chunks what the graph puts out.
#[derive(Clone, Debug)]
pub struct TractSession {
    model: TractModel,
    /// What the next chunk takes from those before it, in the order of the graph's inputs; empty at the start of a clip.
    states: TVec<TValue>,
}

impl TractSession {
    pub(crate) fn new(model: TractModel) -> Self {
        Self { model, states: tvec!() }
    }

    /// The model that this session runs.
    pub fn model(&self) -> &TractModel {
        &self.model
    }

    fn check_features(&self, features: &[f32], num_steps: usize) -> Result<(), TractError> {
        let max_steps = self.model.info().policy.max_steps();
        let fits = features.len() == num_steps * FRAMES_PER_STEP * NUM_MEL_BINS;
        if !fits || num_steps == 0 || num_steps > max_steps {
            return Err(TractError::WindowSize { num_features: features.len(), num_steps, max_steps });
        }
        // The network's own maxima would swallow a NaN.
        match features.iter().position(|x| !x.is_finite()) {
            Some(index) => Err(TractError::NotFinite { index }),
            None => Ok(()),
        }
    }
}

impl Network for TractSession {
    type Error = TractError;

    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    /// Scores one window, or the next chunk; see [`Network::score_window`].
    ///
    /// # Errors
    /// [`TractError::WindowSize`], [`TractError::NotFinite`], [`TractError::Build`] when a window of this length comes up for the first time,
    /// [`TractError::Run`] where the network fails or its scores are not finite.
    fn score_window(&mut self, features: &[f32], scores: &mut [Scores]) -> Result<(), TractError> {
        self.check_features(features, scores.len())?;
        let plan = self.model.plan(scores.len())?;
        let failed = |e: RuntimeError| TractError::Run { cause: format!("{e:#}") };
        let shape = [1, scores.len() * FRAMES_PER_STEP, NUM_MEL_BINS];
        if self.states.is_empty() {
            self.states = self.model.start_states()?.into_iter().map(IntoTValue::into_tvalue).collect();
        }
        let mut inputs = tvec!(Tensor::from_shape(&shape, features).map_err(failed)?.into_tvalue());
        inputs.extend(self.states.iter().cloned());
        let mut outputs = guarded(|| plan.run(inputs)).map_err(|cause| TractError::Run { cause })?;
        let values = outputs[0].to_plain_array_view::<f32>().map_err(failed)?;
        let values = values.as_slice().filter(|v| v.len() == scores.len() * NUM_AXES);
        let values = values.ok_or(TractError::Run { cause: "an output of another size".to_string() })?;
        if !values.iter().all(|v| v.is_finite()) {
            return Err(TractError::Run { cause: "a score is not a finite number".to_string() });
        }
        for (score, step) in scores.iter_mut().zip(values.chunks_exact(NUM_AXES)) {
            score.0.copy_from_slice(step);
        }
        // Only now: what failed has changed nothing.
        self.states = outputs.drain(1..).collect();
        Ok(())
    }

    fn reset(&mut self) {
        self.states.clear();
    }
}

type RuntimeError = tract_core::prelude::TractError;
