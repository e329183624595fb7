//! One clip or stream after another.

use aesa::audio::Sample;
use aesa::{AudioSpec, ClipScore, FrameScore, WindowPolicy};
use aesa_runtime::ModelScorer;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::AesaError;
use crate::model::Model;

/// A scorer whose answers are rows of numbers.
///
/// A frame is `[index, PQ, PC, CE, CU, flags]`, flags 1 for a gap in what was heard and 2 for a lost step; a clip is
/// `[num_steps, PQ, PC, CE, CU]`.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Scorer(ModelScorer);

#[wasm_bindgen]
impl Scorer {
    /// A scorer at the start of a clip.
    ///
    /// # Errors
    /// Kinds `sample-rate` and `channels`.
    #[wasm_bindgen(constructor)]
    pub fn new(model: &Model, sample_rate_hz: u32, num_channels: u32) -> Result<Self, AesaError> {
        Ok(Self(ModelScorer::new(model.0.clone(), spec(sample_rate_hz, num_channels))?))
    }

    /// A scorer whose windows follow each other otherwise than without overlap.
    ///
    /// # Errors
    /// Also kinds `policy` and `not-windowed`.
    #[wasm_bindgen(js_name = withPolicy)]
    pub fn with_policy(
        model: &Model,
        sample_rate_hz: u32,
        num_channels: u32,
        hop_steps: u32,
        look_ahead_steps: u32,
    ) -> Result<Self, AesaError> {
        let policy =
            WindowPolicy { hop_steps: hop_steps as usize, look_ahead_steps: look_ahead_steps as usize };
        Ok(Self(ModelScorer::with_policy(model.0.clone(), spec(sample_rate_hz, num_channels), policy)?))
    }

    /// Takes interleaved samples, full scale 1; gives the frames that are ready.
    ///
    /// # Errors
    /// Kinds `incomplete-sample` and `non-finite`, nothing being taken; `network` and `bad-score`, which end the clip; `finished`.
    #[wasm_bindgen(js_name = acceptF32)]
    pub fn accept_f32(&mut self, interleaved: &[f32]) -> Result<Vec<f64>, AesaError> {
        self.accept(interleaved)
    }

    /// [`accept_f32`](Self::accept_f32) for 16-bit samples.
    ///
    /// # Errors
    /// As that.
    #[wasm_bindgen(js_name = acceptI16)]
    pub fn accept_i16(&mut self, interleaved: &[i16]) -> Result<Vec<f64>, AesaError> {
        self.accept(interleaved)
    }

    /// Marks so many samples of every channel as lost; gives the frames that are ready.
    ///
    /// # Errors
    /// Kinds `network`, `bad-score` and `finished`.
    pub fn gap(&mut self, num_samples: f64) -> Result<Vec<f64>, AesaError> {
        self.0.gap(num_samples as u64)?;
        Ok(self.frames())
    }

    /// Ends the clip; the last frames are [`frames`](Self::frames) then.
    ///
    /// # Errors
    /// Kinds `too-short`, `all-lost`, `network`, `bad-score` and `finished`.
    pub fn finish(&mut self) -> Result<Vec<f64>, AesaError> {
        Ok(clip_row(self.0.finish()?))
    }

    /// The frames that are ready and not yet taken.
    pub fn frames(&mut self) -> Vec<f64> {
        core::iter::from_fn(|| self.0.next_frame()).flat_map(frame_row).collect()
    }

    /// The clip's scores so far, if there are any.
    #[wasm_bindgen(js_name = clipSoFar)]
    pub fn clip_so_far(&self) -> Option<Vec<f64>> {
        self.0.clip_score_so_far().map(clip_row)
    }

    /// Forgets the clip; the next samples begin another.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// The longest wait for a frame, in samples per channel.
    #[wasm_bindgen(getter, js_name = latencySamples)]
    pub fn latency_samples(&self) -> f64 {
        self.0.latency_samples() as f64
    }
}

impl Scorer {
    fn accept<S: Sample>(&mut self, interleaved: &[S]) -> Result<Vec<f64>, AesaError> {
        self.0.accept(interleaved)?;
        Ok(self.frames())
    }
}

fn spec(sample_rate_hz: u32, num_channels: u32) -> AudioSpec {
    AudioSpec { sample_rate_hz, num_channels: num_channels as usize }
}

fn frame_row(frame: FrameScore) -> [f64; 6] {
    let [pq, pc, ce, cu] = frame.scores.0.map(f64::from);
    let flags = f64::from(u8::from(frame.has_gap) + 2 * u8::from(frame.is_lost));
    [frame.index as f64, pq, pc, ce, cu, flags]
}

fn clip_row(clip: ClipScore) -> Vec<f64> {
    core::iter::once(clip.num_steps as f64).chain(clip.scores.0.map(f64::from)).collect()
}
