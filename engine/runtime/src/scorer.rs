//! A scorer that keeps its model alive.

use core::fmt;
use std::sync::Arc;

use aesa::audio::Sample;
use aesa::{AudioSpec, ClipScore, FrameScore, ModelInfo, Scorer, ScorerError, WindowPolicy};
use self_cell::self_cell;

use crate::model::{Model, Session, SessionError};

/// Scores one clip or stream at a time: an [`aesa::Scorer`] with a share of its model, for owners that know no lifetimes.
pub struct ModelScorer(OwnedScorer);

self_cell!(
    struct OwnedScorer {
        owner: Arc<Model>,
        #[not_covariant]
        dependent: SessionScorer,
    }
);

type SessionScorer<'m> = Scorer<Session<'m>>;

impl ModelScorer {
    /// A scorer at the start of a clip.
    ///
    /// # Errors
    /// Those of [`Scorer::new`].
    pub fn new(model: Arc<Model>, spec: AudioSpec) -> Result<Self, ScorerError<SessionError>> {
        OwnedScorer::try_new(model, |model| Scorer::new(model.session(), spec)).map(Self)
    }

    /// A scorer at the start of a clip whose windows follow each other as `policy` says.
    ///
    /// # Errors
    /// Those of [`Scorer::new`] and [`Scorer::with_policy`].
    pub fn with_policy(
        model: Arc<Model>,
        spec: AudioSpec,
        policy: WindowPolicy,
    ) -> Result<Self, ScorerError<SessionError>> {
        OwnedScorer::try_new(model, |model| Scorer::new(model.session(), spec)?.with_policy(policy)).map(Self)
    }

    /// The next chunk of interleaved samples; see [`Scorer::accept`].
    ///
    /// # Errors
    /// Those of [`Scorer::accept`].
    pub fn accept<S: Sample>(&mut self, interleaved: &[S]) -> Result<(), ScorerError<SessionError>> {
        self.0.with_dependent_mut(|_, scorer| scorer.accept(interleaved))
    }

    /// Marks the next samples of every channel as lost; see [`Scorer::gap`].
    ///
    /// # Errors
    /// Those of [`Scorer::gap`].
    pub fn gap(&mut self, num_samples: u64) -> Result<(), ScorerError<SessionError>> {
        self.0.with_dependent_mut(|_, scorer| scorer.gap(num_samples))
    }

    /// The next frame that is ready; see [`Scorer::next_frame`].
    pub fn next_frame(&mut self) -> Option<FrameScore> {
        self.0.with_dependent_mut(|_, scorer| scorer.next_frame())
    }

    /// Ends the clip; see [`Scorer::finish`].
    ///
    /// # Errors
    /// Those of [`Scorer::finish`].
    pub fn finish(&mut self) -> Result<ClipScore, ScorerError<SessionError>> {
        self.0.with_dependent_mut(|_, scorer| scorer.finish())
    }

    /// The clip's scores so far; `None` before the first frame.
    pub fn clip_score_so_far(&self) -> Option<ClipScore> {
        self.0.with_dependent(|_, scorer| scorer.clip_score_so_far())
    }

    /// Forgets the clip; the next chunk is the start of another.
    pub fn reset(&mut self) {
        self.0.with_dependent_mut(|_, scorer| scorer.reset());
    }

    /// The longest wait for a frame, in samples per channel; see [`Scorer::latency_samples`].
    pub fn latency_samples(&self) -> u64 {
        self.0.with_dependent(|_, scorer| scorer.latency_samples())
    }

    /// The audio that is expected.
    pub fn spec(&self) -> AudioSpec {
        self.0.with_dependent(|_, scorer| scorer.spec())
    }

    /// What the model says of itself.
    pub fn info(&self) -> &ModelInfo {
        self.0.borrow_owner().info()
    }
}

impl fmt::Debug for ModelScorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelScorer").field("spec", &self.spec()).field("info", self.info()).finish()
    }
}

const _: () = {
    const fn is_shared_by_threads<T: Send + Sync>() {}
    is_shared_by_threads::<Model>();
    is_shared_by_threads::<ModelScorer>();
};
