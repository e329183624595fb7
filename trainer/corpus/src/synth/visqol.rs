//! ViSQOL in wideband (speech) mode, the raw label of production quality.

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use visqol_rs::AudioSignal;
use visqol_rs::constants::NUM_BANDS_SPEECH;
use visqol_rs::variant::Variant;
use visqol_rs::visqol_manager::VisqolManager;

use super::signal::{RATE_HZ, envelope_lag, power};

/// Samples per block of the envelopes whose lag is looked at: 1 ms.
const ENVELOPE_BLOCK: usize = RATE_HZ / 1000;

/// Largest lag of the envelopes, in ms: ViSQOL's frames are 20 ms apart.
const MAX_LAG: isize = 20;

/// Compares a processed clip with its clean mix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visqol {
    samples: usize,
    search_patches: usize,
}

impl Visqol {
    /// Compares `seconds` from the middle of the clips, searching `search_patches` patches to each side.
    pub(crate) fn new(seconds: f64, search_patches: usize) -> Self {
        Self { samples: (seconds * RATE_HZ as f64) as usize, search_patches }
    }

    /// MOS-LQO, 1 (bad) to 5 (excellent), of `processed` against `clean`, both at 16 kHz and aligned.
    ///
    /// Errors: the reason, where ViSQOL has nothing to compare (silence, or signals without anything in common).
    pub(crate) fn mos(&self, clean: &[f32], processed: &[f32]) -> Result<f64, String> {
        let (clean, processed) = (self.middle(clean), self.middle(processed));
        if power(clean) < 1e-9 || power(processed) < 1e-9 {
            return Err("silence".to_owned());
        }
        if !has_active_part(clean) {
            return Err("no part is loud enough for ViSQOL".to_owned());
        }
        // ViSQOL first shifts the processed signal by the lag of its envelope. Aligned signals without a clear envelope
        // can get a wrong shift of seconds, and then any score.
        let lag_ms = envelope_lag(clean, processed, ENVELOPE_BLOCK);
        if lag_ms.abs() > MAX_LAG {
            return Err(format!("ViSQOL would shift the aligned signals by about {lag_ms} ms"));
        }
        let variant = Variant::Wideband { use_unscaled_mos_mapping: false };
        let mut manager = VisqolManager::<NUM_BANDS_SPEECH>::new(variant, self.search_patches);
        let (mut clean, mut processed) = (signal(clean), signal(processed));
        // The crate's own indexing may still panic on odd signals.
        let result = catch_unwind(AssertUnwindSafe(|| manager.compute_results(&mut clean, &mut processed)));
        let result = result.map_err(|_| "ViSQOL found nothing to compare".to_owned())?;
        let mos = result.map_err(|e| e.to_string())?.moslqo;
        if mos.is_finite() { Ok(mos) } else { Err(format!("ViSQOL gave {mos}")) }
    }

    /// The middle part of a clip.
    fn middle<'a>(&self, clip: &'a [f32]) -> &'a [f32] {
        let samples = self.samples.min(clip.len());
        let start = (clip.len() - samples) / 2;
        &clip[start..start + samples]
    }
}

/// Whether a frame of 20 ms beyond the first patch of 30 frames has an RMS of 5000/32768 of the maximum, as the crate's
/// activity detector asks; with less, it has no patch to compare and panics.
fn has_active_part(signal: &[f32]) -> bool {
    const FRAME_SAMPLES: usize = RATE_HZ / 50;
    const FRAMES_PER_PATCH: usize = 30;
    let max = f64::from(signal.iter().fold(0f32, |max, x| max.max(*x)));
    let threshold = (5000.0 / 32768.0 * max).powi(2);
    // The detector's frames begin at sample 14 (the crate counts a frame index as samples), and only whole patches count.
    let frames = signal.get(14..).unwrap_or_default().chunks_exact(FRAME_SAMPLES);
    let whole = (frames.len().saturating_sub(16)) / FRAMES_PER_PATCH * FRAMES_PER_PATCH;
    // It scales the maximum to full scale and clips below the opposite.
    let clipped_power = |frame: &[f32]| {
        frame.iter().map(|x| f64::from(*x).max(-max).powi(2)).sum::<f64>() / FRAME_SAMPLES as f64
    };
    frames.take(whole).skip(FRAMES_PER_PATCH).any(|frame| clipped_power(frame) > threshold)
}

/// The crate's signal type.
fn signal(samples: &[f32]) -> AudioSignal {
    let samples: Vec<f64> = samples.iter().map(|x| f64::from(*x)).collect();
    AudioSignal::new(&samples, RATE_HZ as u32)
}

#[cfg(test)]
mod tests {
    use super::super::signal::CLIP_SAMPLES;
    use super::*;

    #[test]
    fn what_visqol_cannot_compare_is_an_error() {
        let visqol = Visqol::new(4.0, 2);
        let steady: Vec<f32> = (0..CLIP_SAMPLES).map(|n| 0.3 * (0.3 * n as f32).sin()).collect();
        let mut click = vec![0.0; CLIP_SAMPLES];
        click[80_000] = 0.5;
        let mut early = vec![0.001; CLIP_SAMPLES];
        let mut late = early.clone();
        early[60_000..62_000].fill(0.5);
        late[90_000..92_000].fill(0.5);
        let cases = [
            ("silence", &vec![0.0; CLIP_SAMPLES], &steady, "silence"),
            ("nothing left", &steady, &vec![0.0; CLIP_SAMPLES], "silence"),
            ("one click", &click, &click, "loud enough"),
            ("another time", &early, &late, "shift"),
        ];
        for (name, clean, processed, expected) in cases {
            let reason = visqol.mos(clean, processed).unwrap_err();
            assert!(reason.contains(expected), "{name}: {reason}");
        }
    }
}
