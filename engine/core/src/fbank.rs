//! Kaldi log-mel filter bank, as `torchaudio.compliance.kaldi.fbank` (2.11) computes it for BEATs.
//!
//! ```text
//! x * 2^15 -> 400 samples every 160 -> minus their mean -> y[i] = x[i] - 0.97 x[i-1] (x[-1] = x[0])
//!   -> * hann^0.85 (Povey) -> zeros to 512 -> |rfft|^2 -> 128 mel triangles, 20 Hz..8 kHz -> ln(max(., eps))
//! ```

#[cfg(feature = "alloc")]
use alloc::vec::Vec;

use crate::fft::RealFft512;
use crate::povey::POVEY;

/// Streaming log-mel filter bank of one 16 kHz mono signal.
///
/// Memory is constant: one frame's samples and the tables. A frame's values depend only on the 400 samples it
/// covers, so how the caller cuts its input never changes a number. Frame `i` covers samples
/// `[160 i, 160 i + 400)`; no sample is made up at either end (`snip_edges`). Latency: none beyond the frame's own
/// 25 ms.
///
/// ```
/// use aesa::fbank::{Fbank, NUM_MEL_BINS};
///
/// let mut fbank = Fbank::new();
/// let mut num_frames = 0;
/// fbank.accept_waveform(&[0.0; 560], |frame: &[f32; NUM_MEL_BINS]| {
///     assert!(frame.iter().all(|v| *v == f32::EPSILON.ln()));
///     num_frames += 1;
/// });
/// assert_eq!(num_frames, 2);
/// assert_eq!(fbank.num_frames_ready(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Fbank {
    tables: Tables,
    /// The samples of the frame being filled, scaled to 16-bit range.
    pending: [f32; FRAME_LENGTH_SAMPLES],
    num_pending: usize,
    num_frames: u64,
}

impl Fbank {
    /// A filter bank at the start of a signal.
    pub fn new() -> Self {
        Self { tables: Tables::new(), pending: [0.0; FRAME_LENGTH_SAMPLES], num_pending: 0, num_frames: 0 }
    }

    /// Takes the next samples (16 kHz mono, f32, full scale 1) and calls `on_frame` with each frame they complete.
    ///
    /// A frame is natural logarithms of mel energies, at least `ln(f32::EPSILON)`; see [`normalise`].
    pub fn accept_waveform(&mut self, waveform: &[f32], mut on_frame: impl FnMut(&[f32; NUM_MEL_BINS])) {
        let mut rest = waveform;
        while !rest.is_empty() {
            let free = &mut self.pending[self.num_pending..];
            let (taken, after) = rest.split_at(rest.len().min(free.len()));
            for (slot, x) in free.iter_mut().zip(taken) {
                *slot = x * SAMPLE_SCALE;
            }
            self.num_pending += taken.len();
            rest = after;
            if self.num_pending == FRAME_LENGTH_SAMPLES {
                on_frame(&self.tables.log_mel(&self.pending));
                self.num_frames += 1;
                self.pending.copy_within(FRAME_SHIFT_SAMPLES.., 0);
                self.num_pending = FRAME_LENGTH_SAMPLES - FRAME_SHIFT_SAMPLES;
            }
        }
    }

    /// How many frames the signal has given so far.
    pub fn num_frames_ready(&self) -> u64 {
        self.num_frames
    }

    /// Forgets the signal; the next sample is the first of another.
    pub fn reset(&mut self) {
        self.num_pending = 0;
        self.num_frames = 0;
    }
}

impl Default for Fbank {
    fn default() -> Self {
        Self::new()
    }
}

/// How many frames a signal of `num_samples` samples at 16 kHz has.
pub const fn num_frames(num_samples: u64) -> u64 {
    if num_samples < FRAME_LENGTH_SAMPLES as u64 {
        0
    } else {
        (num_samples - FRAME_LENGTH_SAMPLES as u64) / FRAME_SHIFT_SAMPLES as u64 + 1
    }
}

/// Brings log-mel values to the encoder's scale, in place: `(x - NORM_MEAN) / (2 * NORM_STD)`.
pub fn normalise(log_mel: &mut [f32]) {
    for x in log_mel {
        *x = (*x - NORM_MEAN) / (2.0 * NORM_STD);
    }
}

/// Normalised log-mel features of a whole clip: `[num_frames, 128]`, row-major, [`num_frames`] of them.
///
/// `waveform_16k` is 16 kHz mono, full scale 1. The same numbers as [`Fbank`] and [`normalise`] give.
#[cfg(feature = "alloc")]
pub fn normalised_fbank(waveform_16k: &[f32]) -> Vec<f32> {
    let mut features = Vec::with_capacity(num_frames(waveform_16k.len() as u64) as usize * NUM_MEL_BINS);
    Fbank::new().accept_waveform(waveform_16k, |frame| features.extend_from_slice(frame));
    normalise(&mut features);
    features
}

/// Transform and mel triangles.
#[derive(Clone, Debug)]
struct Tables {
    fft: RealFft512,
    filters: [Filter; NUM_MEL_BINS],
    /// The weights of all triangles, one after the other.
    weights: [f32; MAX_WEIGHTS],
}

/// One mel triangle: `num_bins` weights for the FFT bins from `first_bin`.
#[derive(Clone, Copy, Debug, Default)]
struct Filter {
    first_bin: u16,
    num_bins: u16,
}

impl Tables {
    fn new() -> Self {
        let mut filters = [Filter::default(); NUM_MEL_BINS];
        let mut weights = [0.0; MAX_WEIGHTS];
        let mut num_weights = 0;
        for (m, filter) in filters.iter_mut().enumerate() {
            for bin in 0..NUM_FFT_BINS {
                let weight = mel_weight(m, bin);
                if weight > 0.0 {
                    if filter.num_bins == 0 {
                        filter.first_bin = bin as u16;
                    }
                    filter.num_bins += 1;
                    weights[num_weights] = weight;
                    num_weights += 1;
                }
            }
        }
        Self { fft: RealFft512::new(), filters, weights }
    }

    /// Log-mel energies of one frame of samples in 16-bit range.
    fn log_mel(&self, samples: &[f32; FRAME_LENGTH_SAMPLES]) -> [f32; NUM_MEL_BINS] {
        let mut padded = [0.0; FFT_LENGTH];
        analyse(samples, &mut padded);
        let power = self.fft.power(&padded);
        let mut weights = &self.weights[..];
        let mut log_mel = [0.0; NUM_MEL_BINS];
        for (out, filter) in log_mel.iter_mut().zip(&self.filters) {
            let (triangle, after) = weights.split_at(usize::from(filter.num_bins));
            let bins = &power[usize::from(filter.first_bin)..];
            let energy: f32 = triangle.iter().zip(bins).map(|(w, p)| w * p).sum();
            *out = libm::logf(energy.max(f32::EPSILON));
            weights = after;
        }
        log_mel
    }
}

/// Removes the mean, pre-emphasises and windows; `out` beyond the frame's length is left as it is.
fn analyse(samples: &[f32; FRAME_LENGTH_SAMPLES], out: &mut [f32; FFT_LENGTH]) {
    let mean = mean(samples);
    let mut previous = samples[0] - mean;
    for ((out, x), w) in out.iter_mut().zip(samples).zip(&POVEY) {
        let x = x - mean;
        *out = (x - PREEMPHASIS * previous) * w;
        previous = x;
    }
}

/// Mean of a frame, added up in torch's order: 32 sums side by side, then pairwise into 8, then one by one.
fn mean(samples: &[f32; FRAME_LENGTH_SAMPLES]) -> f32 {
    let mut sums = [[0.0f32; 8]; 4];
    let (eights, _) = samples.as_chunks::<8>();
    for (i, eight) in eights.iter().enumerate() {
        // The last two of 50 do not fill a round of four.
        let sums = &mut sums[if i < 48 { i % 4 } else { 0 }];
        for (sum, x) in sums.iter_mut().zip(eight) {
            *sum += x;
        }
    }
    let [mut total, others @ ..] = sums;
    for other in &others {
        for (sum, x) in total.iter_mut().zip(other) {
            *sum += x;
        }
    }
    total.iter().sum::<f32>() / FRAME_LENGTH_SAMPLES as f32
}

/// Weight of an FFT bin in a mel triangle, with torchaudio's f32 roundings; 0 or less outside it.
///
/// ```text
/// min((mel - left) / (centre - left), (right - mel) / (right - centre))
/// ```
fn mel_weight(filter: usize, fft_bin: usize) -> f32 {
    let low = mel_f64(LOW_FREQ_HZ);
    let delta = (mel_f64(f64::from(SAMPLE_RATE_HZ) / 2.0) - low) / (NUM_MEL_BINS + 1) as f64;
    let edge = |i: usize| low as f32 + i as f32 * delta as f32;
    let (left, centre, right) = (edge(filter), edge(filter + 1), edge(filter + 2));
    let freq_hz = fft_bin as f32 * (SAMPLE_RATE_HZ as f32 / FFT_LENGTH as f32);
    let mel = 1127.0 * libm::logf(1.0 + freq_hz / 700.0);
    ((mel - left) / (centre - left)).min((right - mel) / (right - centre))
}

/// HTK's mel scale with natural logarithms: `1127 ln(1 + f / 700)`.
fn mel_f64(freq_hz: f64) -> f64 {
    1127.0 * libm::log(1.0 + freq_hz / 700.0)
}

/// Sample rate of everything after the resampler.
pub const SAMPLE_RATE_HZ: u32 = 16_000;
/// Samples in one analysis frame: 25 ms.
pub const FRAME_LENGTH_SAMPLES: usize = 400;
/// Samples from one analysis frame to the next: 10 ms.
pub const FRAME_SHIFT_SAMPLES: usize = 160;
/// Mel bins per frame.
pub const NUM_MEL_BINS: usize = 128;
/// Subtracted from each log-mel value: the mean over AudioSet that BEATs uses.
pub const NORM_MEAN: f32 = 15.41663;
/// Half of the divisor applied after [`NORM_MEAN`]: the standard deviation over AudioSet that BEATs uses.
pub const NORM_STD: f32 = 6.55582;

/// Kaldi works on 16-bit numbers.
const SAMPLE_SCALE: f32 = 32768.0;
const PREEMPHASIS: f32 = 0.97;
const LOW_FREQ_HZ: f64 = 20.0;
const FFT_LENGTH: usize = 512;
/// The Nyquist bin is left out: the last triangle ends there with weight 0.
const NUM_FFT_BINS: usize = FFT_LENGTH / 2;
/// An FFT bin lies in at most two triangles.
const MAX_WEIGHTS: usize = 2 * NUM_FFT_BINS;

#[cfg(all(test, feature = "alloc"))]
mod tests {
    extern crate std;

    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use safetensors::SafeTensors;

    use super::*;

    /// What is left is torch's logarithm, which is one unit in the last place off at some mel edges.
    const TOLERANCE: f32 = 1e-4;

    #[test]
    fn equals_torchaudio_on_clips_and_edge_cases() {
        let mut num_clips = 0;
        for file in ["fbank", "fbank-edge"] {
            let path = std::format!("{}/../../tests/golden/{file}.safetensors", env!("CARGO_MANIFEST_DIR"));
            let bytes = std::fs::read(path).unwrap();
            let golden = SafeTensors::deserialize(&bytes).unwrap();
            for clip in golden.names().iter().filter_map(|n| n.strip_suffix(".waveform")) {
                let tensor =
                    |what: &str| floats(golden.tensor(&std::format!("{clip}.{what}")).unwrap().data());
                let waveform = tensor("waveform");
                assert_close(clip, &normalised_fbank(&waveform), &tensor("normalised"));
                if file == "fbank" {
                    assert_close(clip, &log_mel(&[&waveform]), &tensor("fbank"));
                }
                num_clips += 1;
            }
        }
        assert_eq!(num_clips, 9);
    }

    #[test]
    fn silence_and_dc_are_the_floor() {
        // Levels whose sums are exact; others leave a rounding of the mean, as in torchaudio.
        for level in [0.0, 0.5, -0.25, 0.001_953_125] {
            assert!(log_mel(&[&[level; 2800]]).iter().all(|v| *v == libm::logf(f32::EPSILON)), "{level}");
        }
    }

    #[test]
    fn mel_bin_3_holds_no_fft_bin() {
        let noise = noise(4000, 1);
        for frame in normalised_fbank(&noise).chunks(NUM_MEL_BINS) {
            assert!((frame[3] + 2.3917).abs() < 1e-4);
        }
        assert_eq!(Tables::new().filters.iter().filter(|f| f.num_bins == 0).count(), 1);
    }

    #[test]
    fn number_of_frames_follows_snip_edges() {
        for (samples, frames) in [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (2800, 16), (160_000, 998)]
        {
            assert_eq!(num_frames(samples as u64), frames, "{samples}");
            assert_eq!(log_mel(&[&noise(samples, 2)]).len(), frames as usize * NUM_MEL_BINS, "{samples}");
        }
    }

    #[test]
    fn reset_starts_afresh() {
        let signal = noise(3000, 3);
        let mut fbank = Fbank::new();
        fbank.accept_waveform(&noise(777, 4), |_| {});
        fbank.reset();
        let mut frames = Vec::new();
        fbank.accept_waveform(&signal, |f| frames.extend_from_slice(f));
        assert_eq!(frames, log_mel(&[&signal]));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(cuts in prop::collection::vec(0..3000usize, 0..20)) {
            let signal = noise(12_000, 5);
            let mut chunks = Vec::new();
            let mut rest = &signal[..];
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(head);
                rest = tail;
            }
            chunks.push(rest);
            prop_assert_eq!(log_mel(&chunks), log_mel(&[&signal]));
        }
    }

    fn log_mel(chunks: &[&[f32]]) -> Vec<f32> {
        let mut frames = Vec::new();
        let mut fbank = Fbank::new();
        for chunk in chunks {
            fbank.accept_waveform(chunk, |f| frames.extend_from_slice(f));
        }
        frames
    }

    fn noise(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut out = vec![0.0; len];
        for x in &mut out {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *x = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
        }
        out
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn assert_close(name: &str, actual: &[f32], expected: &[f32]) {
        assert_eq!(actual.len(), expected.len(), "{name}");
        let (mut worst, mut at) = (0.0, 0);
        for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
            if (a - e).abs() > worst || a.is_nan() {
                (worst, at) = ((a - e).abs(), i);
            }
        }
        std::println!("{name}: worst difference {worst:e}");
        assert!(
            worst <= TOLERANCE,
            "{name}: frame {}, bin {}: {worst}",
            at / NUM_MEL_BINS,
            at % NUM_MEL_BINS
        );
    }
}
