//! One clip or stream through the network.

use aesa_kernels::{Matrix, MatrixMut};

use super::cache::{Past, Ring};
#[cfg(feature = "threads")]
use super::crew::CrewMemory;
use super::error::StreamError;
use super::head::HeadPast;
use super::memory::{Scratch, State};
use super::model::Model;
#[cfg(feature = "threads")]
use super::parallel;
#[cfg(feature = "threads")]
use super::threads::Threads;
use crate::encoder::TOKENS_PER_STEP;
use crate::fbank::NUM_MEL_BINS;
use crate::policy::Policy;
use crate::score::{FRAMES_PER_STEP, Scores};

/// Turns normalised fbank frames into scores, a chunk (or, for windowed models, a window) at a time.
///
/// How the caller cuts the frames never changes a number. All memory is there from the start: nothing is asked for
/// afterwards. Latency: one chunk.
///
/// `M` is the memory: a `Vec`, or a slice lent by the caller.
#[derive(Debug)]
pub struct Stream<'m, M> {
    model: &'m Model<'m>,
    memory: M,
    /// Of the step being filled.
    num_frames: usize,
    /// Of the chunk being filled.
    num_steps: usize,
    /// Since the clip began; since the window began, for windowed models.
    num_chunks: u64,
    #[cfg(feature = "threads")]
    crew: Option<CrewMemory>,
}

impl<'m, M: AsMut<[f32]>> Stream<'m, M> {
    /// A stream at the start of a clip. The memory is large enough.
    pub(crate) fn in_checked_memory(model: &'m Model<'m>, memory: M) -> Self {
        let mut stream = Self {
            model,
            memory,
            num_frames: 0,
            num_steps: 0,
            num_chunks: 0,
            #[cfg(feature = "threads")]
            crew: None,
        };
        stream.reset();
        stream
    }

    /// The same stream, whose chunks are computed by these threads from now on, in more memory, of its own. The scores stay the same
    /// to the last bit.
    #[cfg(feature = "threads")]
    #[must_use]
    pub fn with_threads(mut self, threads: &Threads) -> Self {
        self.crew = (threads.count() > 1).then(|| CrewMemory::new(&self.model.shape, threads));
        self
    }

    /// The model.
    pub fn model(&self) -> &'m Model<'m> {
        self.model
    }

    /// Forgets the clip: the stream is as new.
    pub fn reset(&mut self) {
        (self.num_frames, self.num_steps, self.num_chunks) = (0, 0, 0);
        let (state, scratch) = self.model.layout.cut(self.memory.as_mut());
        // What a chunk reads before anything is written there: the past.
        state.tokens.fill(0.0);
        state.lstm.fill(0.0);
        if cfg!(debug_assertions) {
            // It would show if anything else were.
            for scratch in [state.frames, scratch.hidden, scratch.sum, scratch.wide] {
                scratch.fill(f32::NAN);
            }
        }
    }

    /// Takes normalised log-mel frames, `[n, 128]`, and hands the scores of the steps that they complete to `on_step`, in
    /// order of time.
    ///
    /// # Errors
    /// [`StreamError::IncompleteFrame`] and [`StreamError::NotFinite`], with nothing taken.
    pub fn push(&mut self, features: &[f32], mut on_step: impl FnMut(Scores)) -> Result<(), StreamError> {
        if !features.len().is_multiple_of(NUM_MEL_BINS) {
            return Err(StreamError::IncompleteFrame { num_values: features.len() });
        }
        if let Some(index) = features.iter().position(|v| !v.is_finite()) {
            return Err(StreamError::NotFinite { index });
        }
        let mut rest = features;
        while !rest.is_empty() {
            let room = (FRAMES_PER_STEP - self.num_frames) * NUM_MEL_BINS;
            let (frames, after) = rest.split_at(room.min(rest.len()));
            rest = after;
            let (state, _) = self.model.layout.cut(self.memory.as_mut());
            state.frames[self.num_frames * NUM_MEL_BINS..][..frames.len()].copy_from_slice(frames);
            self.num_frames += frames.len() / NUM_MEL_BINS;
            if self.num_frames == FRAMES_PER_STEP {
                self.num_frames = 0;
                self.embed_step();
                if self.num_steps * TOKENS_PER_STEP == self.model.shape.chunk_tokens {
                    self.run_chunk(&mut on_step);
                }
            }
        }
        Ok(())
    }

    /// Ends the clip: scores the whole steps that are left, and makes the stream as new. Frames past the last whole step
    /// have no score.
    pub fn finish(&mut self, mut on_step: impl FnMut(Scores)) {
        if self.num_steps > 0 {
            self.run_chunk(&mut on_step);
        }
        self.reset();
    }

    /// The frames of a step become its tokens.
    fn embed_step(&mut self) {
        let (model, shape) = (self.model, &self.model.shape);
        let (state, scratch) = model.layout.cut(self.memory.as_mut());
        let first = shape.conv_context() + self.num_steps * TOKENS_PER_STEP;
        let mut tokens = MatrixMut::new(state.tokens, shape.width);
        model.patch.forward(state.frames, &mut tokens.rows_mut(first..first + TOKENS_PER_STEP), scratch.wide);
        self.num_steps += 1;
    }

    /// The chunk's tokens become scores; the state moves on.
    fn run_chunk(&mut self, on_step: &mut impl FnMut(Scores)) {
        let (model, shape) = (self.model, &self.model.shape);
        let num_tokens = self.num_steps * TOKENS_PER_STEP;
        let ring = Ring { num_chunks: self.num_chunks, num_slots: shape.left_chunks, slot_tokens: shape.chunk_tokens };
        let (mut state, scratch) = model.layout.cut(self.memory.as_mut());
        #[cfg(feature = "threads")]
        match self.crew.as_mut().and_then(|crew| crew.for_chunk(shape, num_tokens)) {
            Some(mut crew) => parallel::score(model, num_tokens, &mut state, scratch, ring, &mut crew, on_step),
            None => score(model, num_tokens, &mut state, scratch, ring, on_step),
        }
        #[cfg(not(feature = "threads"))]
        score(model, num_tokens, &mut state, scratch, ring, on_step);
        // The last tokens are what the next chunk's convolution hears.
        state.tokens.copy_within(num_tokens * shape.width..(num_tokens + shape.conv_context()) * shape.width, 0);
        self.num_steps = 0;
        match shape.policy {
            Policy::Chunked { .. } => self.num_chunks += 1,
            Policy::Windowed { .. } => {
                state.tokens.fill(0.0);
                state.lstm.fill(0.0);
            }
        }
    }
}

/// The chunk's embedded tokens to its scores, on one thread.
fn score(
    model: &Model<'_>,
    num_tokens: usize,
    state: &mut State<'_>,
    mut scratch: Scratch<'_>,
    ring: Ring,
    on_step: impl FnMut(Scores),
) {
    encode(model, num_tokens, state, &mut scratch, ring);
    let (shape, Scratch { sum, wide, mut parts, .. }) = (&model.shape, scratch);
    let sum = Matrix::new(&sum[..num_tokens * shape.width], shape.width);
    let past = HeadPast { lstm: state.lstm, caches: &mut state.branch_caches, ring };
    model.head.forward(shape, sum, past, wide, &mut parts, on_step);
}

/// Positional convolution and blocks; the head's weighted sum is left in `scratch.sum`.
fn encode(model: &Model<'_>, num_tokens: usize, state: &mut State<'_>, scratch: &mut Scratch<'_>, ring: Ring) {
    let (shape, len) = (&model.shape, num_tokens * model.shape.width);
    let mut hidden = MatrixMut::new(&mut scratch.hidden[..len], shape.width);
    let mut sum = MatrixMut::new(&mut scratch.sum[..len], shape.width);
    let tokens = Matrix::new(state.tokens, shape.width);
    model.position.forward(shape, tokens, &mut hidden, scratch.wide, scratch.parts.quantised);
    (0..num_tokens).for_each(|i| sum.row_mut(i).fill(0.0));
    for (layer, block) in model.blocks.iter().enumerate() {
        let mut past = Past { cache: state.block_caches.get(layer, shape.half_cache, model.kernels), ring };
        block.forward(shape, &mut hidden, model.position_bias, &mut past, scratch.wide, &mut scratch.parts);
        model.head.add_layer(layer, hidden.view(), &mut sum, scratch.parts.tile);
    }
}
