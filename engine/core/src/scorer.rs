//! Owns the state between chunks and feeds the stages; one path for files and streams.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use crate::audio::{self, AudioSpec, Sample};
use crate::encoder::Network;
use crate::error::ScorerError;
use crate::fbank::{FRAME_LENGTH_SAMPLES, FRAME_SHIFT_SAMPLES, Fbank, NUM_MEL_BINS, SAMPLE_RATE_HZ};
use crate::gap::Gaps;
use crate::model::ModelInfo;
use crate::policy::Policy;
use crate::pool::ClipMean;
#[cfg(feature = "std")]
use crate::resample::Resampler;
use crate::score::{ClipScore, FRAMES_PER_STEP, FrameScore, STEP_SAMPLES, Scores};
use crate::window::{Window, WindowPolicy};

/// Scores one clip or stream at a time.
///
/// Hand over audio in chunks of any size with [`accept_waveform`](Self::accept_waveform), take frame scores as they
/// come with [`next_frame`](Self::next_frame), and end the clip with [`finish`](Self::finish). How the audio is cut
/// never changes a number: windows are placed by absolute position in the clip. They follow one another without
/// overlap, which suits files; [`with_policy`](Self::with_policy) chooses a smaller hop and a look-ahead, which suit
/// streams. A model whose [policy](ModelInfo::policy) is chunked carries its state from chunk to chunk instead, and gives
/// scores once per chunk. Audio that was lost on its way is marked with [`gap`](Self::gap).
///
/// Memory is asked for in [`new`](Self::new) and does not grow with the length of the audio, provided that frame
/// scores are taken as they come, or not kept ([`without_frames`](Self::without_frames)).
#[derive(Debug)]
pub struct Scorer<N> {
    spec: AudioSpec,
    #[cfg(feature = "std")]
    resampler: Resampler,
    /// One block at 16 kHz.
    resampled: Vec<f32>,
    fbank: Fbank,
    gaps: Gaps,
    back: Back<N>,
    num_samples: u64,
    num_samples_16k: u64,
    is_ended: bool,
}

/// Everything after the filter bank.
#[derive(Debug)]
struct Back<N> {
    network: N,
    /// What is gathered for the network: a window, or a chunk.
    window: Window,
    /// Steps before it that its scores come from, too: those that a chunk attends to.
    steps_before: u64,
    /// The latest step that touches lost audio, of those handed to the network.
    last_lost: Option<u64>,
    /// Room for the scores of one window.
    scores: Vec<Scores>,
    pool: ClipMean,
    /// Frame scores not yet taken.
    ready: VecDeque<FrameScore>,
    keeps_frames: bool,
}

impl<N: Network> Scorer<N> {
    /// A scorer at the start of a clip laid out as `spec` says.
    ///
    /// # Errors
    /// [`ScorerError::SampleRate`] for a rate that cannot be resampled (without the feature `std`: any but 16 kHz),
    /// [`ScorerError::Channels`] for none.
    pub fn new(network: N, spec: AudioSpec) -> Result<Self, ScorerError<N::Error>> {
        let AudioSpec { sample_rate_hz, num_channels } = spec;
        if num_channels == 0 {
            return Err(ScorerError::Channels { num_channels });
        }
        let bad_rate = ScorerError::SampleRate { actual_hz: sample_rate_hz };
        #[cfg(feature = "std")]
        let Ok(resampler) = Resampler::new(sample_rate_hz) else {
            return Err(bad_rate);
        };
        #[cfg(not(feature = "std"))]
        if sample_rate_hz != SAMPLE_RATE_HZ {
            return Err(bad_rate);
        }
        #[cfg(feature = "std")]
        let resampled = Vec::with_capacity(resampler.max_output_samples(BLOCK_SAMPLES));
        #[cfg(not(feature = "std"))]
        let resampled = Vec::with_capacity(BLOCK_SAMPLES);
        Ok(Self {
            spec,
            #[cfg(feature = "std")]
            resampler,
            resampled,
            fbank: Fbank::new(),
            gaps: Gaps::default(),
            back: Back::new(network),
            num_samples: 0,
            num_samples_16k: 0,
            is_ended: false,
        })
    }

    /// Keeps no frame scores, for a caller who wants clip scores only: [`next_frame`](Self::next_frame) then never
    /// has one.
    #[must_use]
    pub fn without_frames(mut self) -> Self {
        self.back.keeps_frames = false;
        self.back.ready.clear();
        self
    }

    /// Another hop and look-ahead than [`WindowPolicy::without_overlap`]; before the first chunk.
    ///
    /// # Errors
    /// [`ScorerError::Policy`] where the model's windows cannot give them, [`ScorerError::NotWindowed`] where it has none.
    pub fn with_policy(mut self, policy: WindowPolicy) -> Result<Self, ScorerError<N::Error>> {
        let window_steps = match self.info().policy {
            Policy::Windowed { window_steps } => window_steps,
            Policy::Chunked { chunk_steps, .. } => return Err(ScorerError::NotWindowed { chunk_steps }),
        };
        if !policy.fits(window_steps) {
            let WindowPolicy { hop_steps, look_ahead_steps } = policy;
            return Err(ScorerError::Policy { hop_steps, look_ahead_steps, window_steps });
        }
        self.back.window = Window::new(window_steps, policy);
        self.reset();
        Ok(self)
    }

    /// Takes the next chunk: interleaved f32, full scale 1, any length.
    ///
    /// # Errors
    /// [`ScorerError::IncompleteSample`] and [`ScorerError::NonFinite`], with nothing of the chunk taken, so that
    /// the clip can go on; [`ScorerError::Network`] and [`ScorerError::BadScore`], which end it;
    /// [`ScorerError::Finished`] after its end.
    pub fn accept_waveform(&mut self, interleaved: &[f32]) -> Result<(), ScorerError<N::Error>> {
        self.accept(interleaved)
    }

    /// [`accept_waveform`](Self::accept_waveform) for 16-bit samples.
    ///
    /// # Errors
    /// As [`accept_waveform`](Self::accept_waveform).
    pub fn accept_i16(&mut self, interleaved: &[i16]) -> Result<(), ScorerError<N::Error>> {
        self.accept(interleaved)
    }

    /// [`accept_waveform`](Self::accept_waveform) for any [`Sample`] format.
    ///
    /// # Errors
    /// As [`accept_waveform`](Self::accept_waveform).
    pub fn accept<S: Sample>(&mut self, interleaved: &[S]) -> Result<(), ScorerError<N::Error>> {
        let num_channels = self.spec.num_channels;
        if self.is_ended {
            return Err(ScorerError::Finished);
        }
        if !interleaved.len().is_multiple_of(num_channels) {
            return Err(ScorerError::IncompleteSample { num_values: interleaved.len(), num_channels });
        }
        if let Some(at) = audio::first_unusable(interleaved) {
            return Err(ScorerError::NonFinite { index: self.num_samples + (at / num_channels) as u64 });
        }
        for block in interleaved.chunks(BLOCK_SAMPLES.saturating_mul(num_channels)) {
            let mono: heapless::Vec<f32, BLOCK_SAMPLES> = audio::mono(block, num_channels).collect();
            self.accept_mono(&mono)?;
        }
        Ok(())
    }

    /// Marks the next `num_samples` samples (per channel, at the caller's rate) as lost: dropped by a sound card, or
    /// missing from a network.
    ///
    /// Time goes on; the network hears digital silence for them and needs as long as for any audio. Every frame score
    /// whose window touches them (in chunks: whose chunk, or one before that it attends to) says so
    /// ([`FrameScore::has_gap`]), and steps that do so themselves ([`FrameScore::is_lost`]) are left out of the clip
    /// score. A step touches them if one of its samples at 16 kHz could have been another without the gap; at other
    /// rates the resampler's blocks add up to 1.5 blocks on either side.
    ///
    /// # Errors
    /// [`ScorerError::Network`] and [`ScorerError::BadScore`], which end the clip; [`ScorerError::Finished`] after its
    /// end.
    pub fn gap(&mut self, num_samples: u64) -> Result<(), ScorerError<N::Error>> {
        if self.is_ended {
            return Err(ScorerError::Finished);
        }
        if num_samples == 0 {
            return Ok(());
        }
        let lost = self.num_samples..self.num_samples.saturating_add(num_samples);
        #[cfg(feature = "std")]
        let lost = self.resampler.output_touched_by(lost);
        self.gaps.mark(lost);
        let mut num_left = num_samples;
        while num_left > 0 {
            let silence = &[0.0; BLOCK_SAMPLES][..num_left.min(BLOCK_SAMPLES as u64) as usize];
            self.accept_mono(silence)?;
            num_left -= silence.len() as u64;
        }
        Ok(())
    }

    /// The next frame score that is ready, in order of time.
    ///
    /// A frame's score is final. It comes at most [`latency_samples`](Self::latency_samples) after its step began, or
    /// at the end of the clip.
    pub fn next_frame(&mut self) -> Option<FrameScore> {
        self.back.ready.pop_front()
    }

    /// Ends the clip: scores what is left and returns the mean of all frame scores (but for
    /// [lost](FrameScore::is_lost) ones).
    ///
    /// The last frame scores can be taken afterwards. Audio past the last whole step (less than 160 ms of frames) has
    /// no score.
    ///
    /// # Errors
    /// [`ScorerError::TooShort`] where the clip holds no whole step, [`ScorerError::AllLost`] where it holds none
    /// without a gap; the network's errors; [`ScorerError::Finished`] the second time.
    pub fn finish(&mut self) -> Result<ClipScore, ScorerError<N::Error>> {
        if self.is_ended {
            return Err(ScorerError::Finished);
        }
        self.is_ended = true;
        #[cfg(feature = "std")]
        {
            self.resampled.clear();
            self.resampler.finish(&mut self.resampled);
            self.analyse()?;
        }
        self.back.score_window()?;
        let num_steps = self.back.window.scored_steps().start;
        self.clip_score_so_far().ok_or(match num_steps {
            0 => ScorerError::TooShort { num_samples: self.num_samples_16k, needed: MIN_SAMPLES },
            num_steps => ScorerError::AllLost { num_steps },
        })
    }

    /// The mean of the frame scores so far, taken or not; `None` before the first that is not
    /// [lost](FrameScore::is_lost).
    pub fn clip_score_so_far(&self) -> Option<ClipScore> {
        self.back.pool.mean()
    }

    /// Forgets the clip; the next chunk is the start of another. Frame scores not taken are dropped.
    pub fn reset(&mut self) {
        #[cfg(feature = "std")]
        self.resampler.reset();
        self.fbank.reset();
        self.gaps = Gaps::default();
        self.back.reset();
        self.num_samples = 0;
        self.num_samples_16k = 0;
        self.is_ended = false;
    }

    /// How many samples of the clip have been accepted or marked as lost, per channel, at the caller's rate.
    pub fn num_samples(&self) -> u64 {
        self.num_samples
    }

    /// The longest wait for a frame score: how many samples at the caller's rate have to be seen from the start of a
    /// step until its score comes out. Hop and look-ahead, or a chunk; the 15 ms by which the last frame reaches beyond
    /// its step; and the resampler's blocks.
    pub fn latency_samples(&self) -> u64 {
        let WindowPolicy { hop_steps, look_ahead_steps } = self.policy();
        let overhang = FRAME_LENGTH_SAMPLES - FRAME_SHIFT_SAMPLES;
        let window = ((hop_steps + look_ahead_steps) * STEP_SAMPLES + overhang) as u64;
        let at_callers_rate = (window * u64::from(self.spec.sample_rate_hz)).div_ceil(u64::from(SAMPLE_RATE_HZ));
        at_callers_rate + self.resampler_latency()
    }

    /// How windows follow one another; chunks do so without overlap.
    pub fn policy(&self) -> WindowPolicy {
        self.back.window.policy()
    }

    /// How the audio is laid out.
    pub fn spec(&self) -> AudioSpec {
        self.spec
    }

    /// What the model says of itself.
    pub fn info(&self) -> &ModelInfo {
        self.back.network.info()
    }

    /// Gives the network back.
    pub fn into_network(self) -> N {
        self.back.network
    }

    fn resampler_latency(&self) -> u64 {
        #[cfg(feature = "std")]
        return self.resampler.latency_samples() as u64;
        #[cfg(not(feature = "std"))]
        0
    }

    fn accept_mono(&mut self, samples: &[f32]) -> Result<(), ScorerError<N::Error>> {
        self.num_samples += samples.len() as u64;
        self.resampled.clear();
        #[cfg(feature = "std")]
        self.resampler.process(samples, &mut self.resampled);
        #[cfg(not(feature = "std"))]
        self.resampled.extend_from_slice(samples);
        self.analyse()
    }

    /// Features of what the resampler gave, and the windows that they complete.
    fn analyse(&mut self) -> Result<(), ScorerError<N::Error>> {
        self.num_samples_16k += self.resampled.len() as u64;
        let mut result = Ok(());
        let mut frame = self.fbank.num_frames_ready();
        self.fbank.accept_waveform(&self.resampled, |log_mel| {
            if result.is_ok() {
                result = self.back.accept_frame(log_mel, self.gaps.touch(frame));
            }
            frame += 1;
        });
        self.is_ended |= result.is_err();
        result
    }
}

impl<N: Network> Back<N> {
    fn new(network: N) -> Self {
        let policy = network.info().policy;
        let max_steps = policy.max_steps();
        let mut back = Self {
            window: Window::new(max_steps, WindowPolicy::without_overlap(max_steps)),
            steps_before: policy.steps_before() as u64,
            last_lost: None,
            scores: vec![Scores::default(); max_steps],
            pool: ClipMean::default(),
            ready: VecDeque::with_capacity(2 * max_steps),
            keeps_frames: true,
            network,
        };
        // The network may have been another scorer's.
        back.reset();
        back
    }

    fn reset(&mut self) {
        self.network.reset();
        self.window.reset();
        self.last_lost = None;
        self.pool = ClipMean::default();
        self.ready.clear();
    }

    fn accept_frame(
        &mut self,
        log_mel: &[f32; NUM_MEL_BINS],
        is_lost: bool,
    ) -> Result<(), ScorerError<N::Error>> {
        if self.window.push(log_mel, is_lost) { self.score_window() } else { Ok(()) }
    }

    /// Scores the whole steps of the window or chunk, however many, keeps what is its to give, and moves on.
    fn score_window(&mut self) -> Result<(), ScorerError<N::Error>> {
        let scored = self.window.scored_steps();
        if scored.is_empty() {
            return Ok(());
        }
        let scores = &mut self.scores[..self.window.num_steps()];
        scores.fill(Scores([f32::NAN; _]));
        self.network.score_window(self.window.features(), scores).map_err(ScorerError::Network)?;
        let first = self.window.first_step();
        let lost = self.window.lost_steps().iter().rposition(|is_lost| *is_lost);
        self.last_lost = lost.map(|i| first + i as u64).or(self.last_lost);
        let has_gap = self.last_lost.is_some_and(|step| step + self.steps_before >= first);
        let steps = (first..).zip(&*scores).zip(self.window.lost_steps());
        for ((index, &scores), &is_lost) in steps.filter(|((index, _), _)| scored.contains(index)) {
            if !scores.0.iter().all(|s| s.is_finite()) {
                return Err(ScorerError::BadScore { step: index });
            }
            if !is_lost {
                self.pool.push(scores);
            }
            if self.keeps_frames {
                self.ready.push_back(FrameScore { index, scores, has_gap, is_lost });
            }
        }
        self.window.advance();
        Ok(())
    }
}

/// The shortest clip that scores, at 16 kHz: one step of frames.
pub const MIN_SAMPLES: u64 = (FRAME_LENGTH_SAMPLES + (FRAMES_PER_STEP - 1) * FRAME_SHIFT_SAMPLES) as u64;

/// Samples per channel that pass through the stages at a time; bounds memory, changes no number.
const BLOCK_SAMPLES: usize = 1024;

#[cfg(test)]
#[path = "scorer_tests.rs"]
mod tests;
