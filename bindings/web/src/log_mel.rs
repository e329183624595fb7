//! What a model hears, to be drawn.

use aesa::audio;
use aesa::fbank::{Fbank, NUM_MEL_BINS};
use aesa::resample::Resampler;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::{AesaError, check_channels};

/// The log-mel energies that a scorer computes of the same samples: 128 per frame, a frame every 10 ms.
#[wasm_bindgen]
#[derive(Debug)]
pub struct LogMel {
    num_channels: usize,
    resampler: Resampler,
    resampled: Vec<f32>,
    fbank: Fbank,
}

#[wasm_bindgen]
impl LogMel {
    /// A filter bank at the start of a clip.
    ///
    /// # Errors
    /// Kinds `sample-rate` and `channels`.
    #[wasm_bindgen(constructor)]
    pub fn new(sample_rate_hz: u32, num_channels: u32) -> Result<Self, AesaError> {
        Ok(Self {
            num_channels: check_channels(num_channels)?,
            resampler: Resampler::new(sample_rate_hz)?,
            resampled: Vec::new(),
            fbank: Fbank::new(),
        })
    }

    /// Takes interleaved samples, full scale 1; gives `[num_frames, 128]` natural logarithms, row-major. Values that a scorer
    /// refuses count as 0, a sample that lacks channels is left out.
    #[wasm_bindgen(js_name = acceptF32)]
    pub fn accept_f32(&mut self, interleaved: &[f32]) -> Vec<f32> {
        let usable = |x: f32| if audio::first_unusable(&[x]).is_some() { 0.0 } else { x };
        let mono: Vec<f32> = audio::mono(interleaved, self.num_channels).map(usable).collect();
        self.resampled.clear();
        self.resampler.process(&mono, &mut self.resampled);
        self.frames()
    }

    /// [`accept_f32`](Self::accept_f32) for 16-bit samples.
    #[wasm_bindgen(js_name = acceptI16)]
    pub fn accept_i16(&mut self, interleaved: &[i16]) -> Vec<f32> {
        let mono: Vec<f32> = audio::mono(interleaved, self.num_channels).collect();
        self.resampled.clear();
        self.resampler.process(&mono, &mut self.resampled);
        self.frames()
    }

    /// Ends the clip: its last frames. The next samples begin another.
    pub fn finish(&mut self) -> Vec<f32> {
        self.resampled.clear();
        self.resampler.finish(&mut self.resampled);
        let frames = self.frames();
        self.fbank.reset();
        frames
    }

    /// Forgets the clip; the next samples begin another.
    pub fn reset(&mut self) {
        self.resampler.reset();
        self.fbank.reset();
    }
}

impl LogMel {
    fn frames(&mut self) -> Vec<f32> {
        let mut frames = Vec::with_capacity(self.resampled.len() / 160 * NUM_MEL_BINS);
        self.fbank.accept_waveform(&self.resampled, |frame| frames.extend_from_slice(frame));
        frames
    }
}
