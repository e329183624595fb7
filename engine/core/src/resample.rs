//! Any sample rate to 16 kHz.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use crate::fbank::SAMPLE_RATE_HZ;

/// Streaming resampler of one mono signal to 16 kHz, by rubato's synchronous FFT method.
///
/// Samples are gathered into blocks of a size that only the rate decides, so how the caller cuts its input never
/// changes a bit. The filter's delay is taken out: output sample `i` is the input at `i / 16000` s, and an input of
/// `n` samples gives `ceil(n * 16000 / from_hz)`. The band kept ends near 7.9 kHz (or 98 % of the input's own half
/// rate), aliases are some 100 dB down. At 16 kHz the samples pass untouched.
///
/// It computes in f64: the FFT rounds differently on each kind of processor (as its registers are wide), and rounded to f32 that is gone,
/// but where a sample lies within 1e-14 of the middle between two f32.
///
/// Memory is asked for in `new`. Look-ahead: at most 1.5 blocks; a block is 64 to 128 ms at rates that share a
/// factor of at least 16 with 16,000 (all customary ones), at most 2 s at the oddest.
#[derive(Debug)]
pub struct Resampler {
    from_hz: u32,
    /// `None` at 16 kHz.
    converter: Option<Box<Converter>>,
}

/// What a real conversion needs.
#[derive(Debug)]
struct Converter {
    fft: Fft<f64>,
    block_in: Vec<f64>,
    num_pending: usize,
    block_out: Vec<f64>,
    num_in: u64,
    num_out: u64,
    /// Output samples still to drop: the filter's delay.
    num_to_skip: usize,
}

impl Resampler {
    /// A resampler from `from_hz` at the start of a signal.
    ///
    /// # Errors
    /// [`ResampleError::UnsupportedRate`] outside [`MIN_RATE_HZ`] to [`MAX_RATE_HZ`].
    pub fn new(from_hz: u32) -> Result<Self, ResampleError> {
        if !(MIN_RATE_HZ..=MAX_RATE_HZ).contains(&from_hz) {
            return Err(ResampleError::UnsupportedRate { actual_hz: from_hz });
        }
        let converter = match from_hz {
            SAMPLE_RATE_HZ => None,
            _ => Some(Box::new(Converter::new(from_hz)?)),
        };
        Ok(Self { from_hz, converter })
    }

    /// Takes the next samples and appends what they complete to `output`.
    pub fn process(&mut self, input: &[f32], output: &mut Vec<f32>) {
        match &mut self.converter {
            None => output.extend_from_slice(input),
            Some(converter) => converter.process(input, output),
        }
    }

    /// Ends the signal: appends its last samples to `output`; then as after [`Resampler::reset`].
    pub fn finish(&mut self, output: &mut Vec<f32>) {
        if let Some(converter) = &mut self.converter {
            let num_total = num_resampled(converter.num_in, self.from_hz);
            converter.finish(num_total, output);
        }
    }

    /// Forgets the signal; the next sample is the first of another.
    pub fn reset(&mut self) {
        if let Some(converter) = &mut self.converter {
            converter.reset();
        }
    }

    /// How many input samples past an output sample's own time have to be seen before it comes out, at most.
    pub fn latency_samples(&self) -> usize {
        self.converter.as_ref().map_or(0, |c| c.block_in.len() + c.block_in.len().div_ceil(2))
    }

    /// The output samples that input samples of these indices may change, blocks and filter included.
    pub fn output_touched_by(&self, input: Range<u64>) -> Range<u64> {
        let Some(converter) = &self.converter else { return input };
        let (len_in, len_out) = (converter.block_in.len() as u64, converter.block_out.len() as u64);
        let delay = converter.fft.output_delay() as u64;
        // A block's FFT mixes its samples with each other, and its end is added to the next block.
        let start = (input.start / len_in * len_out).saturating_sub(delay);
        start..(input.end.div_ceil(len_in) + 1) * len_out - delay
    }

    /// The most output samples that one call with `num_in` input samples, or a `finish`, can append.
    pub fn max_output_samples(&self, num_in: usize) -> usize {
        self.converter.as_ref().map_or(num_in, |c| (num_in / c.block_in.len() + 2) * c.block_out.len())
    }
}

impl Converter {
    fn new(from_hz: u32) -> Result<Self, ResampleError> {
        let (from, to) = (from_hz as usize, SAMPLE_RATE_HZ as usize);
        let common = gcd(from, to);
        // An even block has its filter's centre on a sample.
        let num_units = BLOCK_OUT_SAMPLES.div_ceil(to / common).next_multiple_of(2);
        let block_in = num_units * from / common;
        let fft = Fft::new_custom(from, to, block_in, 1, 1, WindowFunction::BlackmanHarris2, FixedSync::Both)
            .map_err(|_| ResampleError::UnsupportedRate { actual_hz: from_hz })?;
        let (block_in, block_out) = (vec![0.0; fft.input_frames_next()], vec![0.0; fft.output_frames_next()]);
        let num_to_skip = fft.output_delay();
        Ok(Self { fft, block_in, num_pending: 0, block_out, num_in: 0, num_out: 0, num_to_skip })
    }

    fn process(&mut self, input: &[f32], output: &mut Vec<f32>) {
        self.num_in += input.len() as u64;
        let mut rest = input;
        while !rest.is_empty() {
            let free = &mut self.block_in[self.num_pending..];
            let (taken, after) = rest.split_at(rest.len().min(free.len()));
            free.iter_mut().zip(taken).for_each(|(to, &sample)| *to = f64::from(sample));
            self.num_pending += taken.len();
            rest = after;
            if self.num_pending == self.block_in.len() {
                self.convert_block(u64::MAX, output);
            }
        }
    }

    fn finish(&mut self, num_total: u64, output: &mut Vec<f32>) {
        while self.num_out < num_total {
            self.block_in[self.num_pending..].fill(0.0);
            self.convert_block(num_total, output);
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.fft.reset();
        self.num_pending = 0;
        self.num_in = 0;
        self.num_out = 0;
        self.num_to_skip = self.fft.output_delay();
    }

    /// Converts the full block and appends its output, up to `num_total` samples in all.
    fn convert_block(&mut self, num_total: u64, output: &mut Vec<f32>) {
        let (len_in, len_out) = (self.block_in.len(), self.block_out.len());
        let source = InterleavedSlice::new(&self.block_in, 1, len_in).expect("the slice has this length");
        let mut target =
            InterleavedSlice::new_mut(&mut self.block_out, 1, len_out).expect("the slice has this length");
        self.fft
            .process_into_buffer(&source, &mut target, None)
            .expect("both blocks have the sizes asked for");
        self.num_pending = 0;
        let skipped = self.num_to_skip.min(len_out);
        self.num_to_skip -= skipped;
        let num_left = usize::try_from(num_total - self.num_out).unwrap_or(usize::MAX);
        let wanted = &self.block_out[skipped..];
        let wanted = &wanted[..wanted.len().min(num_left)];
        output.extend(wanted.iter().map(|&sample| sample as f32));
        self.num_out += wanted.len() as u64;
    }
}

/// How many samples at 16 kHz `num_samples` at `from_hz` become: `ceil(num_samples * 16000 / from_hz)`.
pub const fn num_resampled(num_samples: u64, from_hz: u32) -> u64 {
    (num_samples as u128 * SAMPLE_RATE_HZ as u128).div_ceil(from_hz as u128) as u64
}

/// Why a signal cannot be resampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResampleError {
    /// The rate lies outside [`MIN_RATE_HZ`] to [`MAX_RATE_HZ`].
    UnsupportedRate {
        /// The rate asked for.
        actual_hz: u32,
    },
}

impl fmt::Display for ResampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedRate { actual_hz } => {
                write!(f, "sample rate {actual_hz} Hz is outside {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
            }
        }
    }
}

impl core::error::Error for ResampleError {}

/// Lowest sample rate accepted.
pub const MIN_RATE_HZ: u32 = 4_000;
/// Highest sample rate accepted.
pub const MAX_RATE_HZ: u32 = 768_000;

/// Blocks are at least this long at 16 kHz: the longer, the closer to 8 kHz the filter's edge (1024: 7.9 kHz).
const BLOCK_OUT_SAMPLES: usize = 1024;

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use core::f64::consts::PI;

    use proptest::prelude::*;

    use super::*;

    const RATES_HZ: [u32; 13] = [
        4000, 8000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 44_101, 48_000, 96_000, 192_000, 768_000,
    ];

    #[test]
    fn sines_keep_their_level_and_place() {
        for from_hz in RATES_HZ {
            let freq_hz = 1000.0;
            let input = sine(freq_hz, from_hz, from_hz as usize);
            let output = resample(from_hz, &[&input]);
            assert_eq!(output.len(), 16_000, "{from_hz}");
            let expected = sine(freq_hz, SAMPLE_RATE_HZ, output.len());
            // Away from the ends, where the signal begins and stops abruptly.
            let inner = 2000..14_000;
            let worst = inner.map(|i| (output[i] - expected[i]).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{from_hz}: {worst}");
        }
    }

    #[test]
    fn what_is_above_8_khz_is_gone() {
        for from_hz in [22_050, 44_100, 48_000, 96_000] {
            let output = resample(from_hz, &[&sine(8_500.0, from_hz, from_hz as usize)]);
            let worst = output[2000..14_000].iter().fold(0.0f32, |a, x| a.max(x.abs()));
            assert!(worst < 1e-5, "{from_hz}: {worst}");
        }
    }

    #[test]
    fn samples_change_no_output_outside_their_reach() {
        for from_hz in RATES_HZ {
            let resampler = Resampler::new(from_hz).unwrap();
            let input = sine(700.0, from_hz, 6 * resampler.latency_samples().max(1000));
            let lost = input.len() / 2..input.len() / 2 + 333;
            let mut other = input.clone();
            other[lost.clone()].fill(0.0);
            let (a, b) = (resample(from_hz, &[&input]), resample(from_hz, &[&other]));
            let touched = resampler.output_touched_by(lost.start as u64..lost.end as u64);
            let differs = |i: usize| a[i].to_bits() != b[i].to_bits();
            assert!((0..a.len()).all(|i| !differs(i) || touched.contains(&(i as u64))), "{from_hz}");
            assert!((0..a.len()).any(differs), "{from_hz}");
        }
    }

    #[test]
    fn length_is_rounded_up() {
        for from_hz in RATES_HZ {
            for len in [0, 1, 2, 399, 1000, 44_100] {
                let output = resample(from_hz, &[&vec![0.25; len]]);
                assert_eq!(output.len() as u64, num_resampled(len as u64, from_hz), "{from_hz}, {len}");
            }
        }
        assert_eq!(num_resampled(44_100, 44_100), 16_000);
        assert_eq!(num_resampled(1, 44_100), 1);
    }

    #[test]
    fn at_16_khz_nothing_changes() {
        let input = sine(440.0, SAMPLE_RATE_HZ, 5000);
        assert_eq!(resample(SAMPLE_RATE_HZ, &[&input]), input);
    }

    #[test]
    fn odd_rates_are_refused() {
        for actual_hz in [0, 1, 3999, 768_001, u32::MAX] {
            assert_eq!(Resampler::new(actual_hz).err(), Some(ResampleError::UnsupportedRate { actual_hz }));
        }
    }

    #[test]
    fn reset_and_finish_start_afresh() {
        let input = sine(300.0, 44_100, 10_000);
        let expected = resample(44_100, &[&input]);
        let mut resampler = Resampler::new(44_100).unwrap();
        let mut output = Vec::new();
        resampler.process(&input[..7777], &mut output);
        resampler.reset();
        for _ in 0..2 {
            output.clear();
            resampler.process(&input, &mut output);
            resampler.finish(&mut output);
            assert_eq!(output, expected);
        }
    }

    #[test]
    fn output_stays_within_what_was_announced() {
        let mut resampler = Resampler::new(8000).unwrap();
        for len in [1, 511, 512, 5000] {
            let mut output = Vec::new();
            resampler.process(&vec![0.1; len], &mut output);
            assert!(output.len() <= resampler.max_output_samples(len));
        }
        let mut output = Vec::new();
        resampler.finish(&mut output);
        assert!(output.len() <= resampler.max_output_samples(0));
    }

    #[test]
    fn every_processor_gives_the_same_bits() {
        let checksums = [8000, 22_050, 44_100, 48_000, 96_000].map(|from_hz| {
            let output = resample(from_hz, &[&noisy_sine(from_hz)]);
            let bytes: Vec<u8> = output.iter().flat_map(|x| x.to_le_bytes()).collect();
            crc32fast::hash(&bytes)
        });
        // As a processor with AVX gives them.
        assert_eq!(checksums, [770_306_282, 3_570_205_632, 1_445_175_852, 2_402_369_216, 1_819_393_455]);
    }

    proptest! {
        // 26, fewer where PROPTEST_CASES asks for fewer than its 256.
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(10)))]
        #[test]
        fn cuts_change_nothing(
            from_hz in prop::sample::select(&RATES_HZ[1..10]),
            cuts in prop::collection::vec(0..9000usize, 0..20),
        ) {
            let input = sine(1234.5, from_hz, 40_000);
            let mut chunks = Vec::new();
            let mut rest = &input[..];
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(head);
                rest = tail;
            }
            chunks.push(rest);
            prop_assert_eq!(resample(from_hz, &chunks), resample(from_hz, &[&input]));
        }
    }

    fn resample(from_hz: u32, chunks: &[&[f32]]) -> Vec<f32> {
        let mut resampler = Resampler::new(from_hz).unwrap();
        let mut output = Vec::new();
        for chunk in chunks {
            resampler.process(chunk, &mut output);
        }
        resampler.finish(&mut output);
        output
    }

    /// A second of a tone with noise, the same everywhere.
    fn noisy_sine(rate_hz: u32) -> Vec<f32> {
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0 - 0.5
        };
        sine(440.0, rate_hz, rate_hz as usize).iter().map(|x| 0.5 * x + 0.1 * noise()).collect()
    }

    fn sine(freq_hz: f64, rate_hz: u32, len: usize) -> Vec<f32> {
        let step = 2.0 * PI * freq_hz / f64::from(rate_hz);
        (0..len).map(|i| libm::sin(i as f64 * step) as f32).collect()
    }
}
