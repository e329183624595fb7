//! Plain operations on mono signals at 16 kHz, and zero-phase filtering by FFT.

use rustfft::FftPlanner;
use rustfft::num_complex::Complex64;

/// Rate of every signal here, in Hz.
pub(crate) const RATE_HZ: usize = 16_000;

/// Samples per clip: 10 s.
pub(crate) const CLIP_SAMPLES: usize = 10 * RATE_HZ;

/// Samples per hop of the energy measurements: 100 ms.
pub(crate) const HOP_SAMPLES: usize = RATE_HZ / 10;

/// Decibels as an amplitude factor.
pub(crate) fn db_to_gain(db: f64) -> f64 {
    10f64.powf(db / 20.0)
}

/// Mean square.
pub(crate) fn power(signal: &[f32]) -> f64 {
    signal.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / signal.len().max(1) as f64
}

/// Largest magnitude.
pub(crate) fn peak(signal: &[f32]) -> f64 {
    f64::from(signal.iter().fold(0f32, |peak, x| peak.max(x.abs())))
}

/// Multiplies every sample.
pub(crate) fn scale(signal: &mut [f32], gain: f64) {
    for x in signal {
        *x = (f64::from(*x) * gain) as f32;
    }
}

/// Mean square over each hop of 100 ms.
pub(crate) fn hop_powers(signal: &[f32]) -> Vec<f64> {
    signal.chunks(HOP_SAMPLES).map(power).collect()
}

/// Mean square over the hops within 40 dB of the loudest one: how loud a source is while it sounds.
pub(crate) fn active_power(signal: &[f32]) -> f64 {
    let powers = hop_powers(signal);
    let gate = powers.iter().fold(0f64, |a, b| a.max(*b)) * 1e-4;
    let active: Vec<f64> = powers.into_iter().filter(|p| *p > gate).collect();
    active.iter().sum::<f64>() / active.len().max(1) as f64
}

/// Raised-cosine fades at both ends, in place.
pub(crate) fn fade(signal: &mut [f32], samples: usize) {
    let samples = samples.min(signal.len() / 2);
    let last = signal.len().saturating_sub(1);
    for i in 0..samples {
        let gain = (0.5 - 0.5 * (core::f64::consts::PI * (i as f64 + 0.5) / samples as f64).cos()) as f32;
        signal[i] *= gain;
        signal[last - i] *= gain;
    }
}

/// Multiplies the spectrum with a real gain per frequency (Hz): a filter without delay. The signal is padded by half a
/// second, so that its end does not reach its beginning.
pub(crate) fn filter(signal: &[f32], gain: impl Fn(f64) -> f64) -> Vec<f32> {
    let len = (signal.len() + RATE_HZ / 2).next_power_of_two();
    let mut spectrum = to_spectrum(signal, len);
    for (bin, value) in spectrum.iter_mut().enumerate() {
        let hz = bin.min(len - bin) as f64 * RATE_HZ as f64 / len as f64;
        *value *= gain(hz);
    }
    from_spectrum(spectrum, signal.len())
}

/// Convolves with an impulse response and cuts to the signal's length.
pub(crate) fn convolve(signal: &[f32], response: &[f32]) -> Vec<f32> {
    let len = (signal.len() + response.len()).next_power_of_two();
    let mut spectrum = to_spectrum(signal, len);
    for (value, factor) in spectrum.iter_mut().zip(to_spectrum(response, len)) {
        *value *= factor;
    }
    from_spectrum(spectrum, signal.len())
}

/// A low-pass's gain at `hz`: 1 up to the cut-off, then falling as a raised cosine over a tenth of it.
pub(crate) fn low_pass_gain(hz: f64, cutoff_hz: f64) -> f64 {
    let x = ((hz - cutoff_hz) / (0.1 * cutoff_hz)).clamp(0.0, 1.0);
    0.5 + 0.5 * (core::f64::consts::PI * x).cos()
}

/// The gain of Butterworth's low-pass at `ratio` times its cut-off.
pub(crate) fn butterworth_gain(ratio: f64, order: u32) -> f64 {
    1.0 / (1.0 + ratio.powi(2 * order as i32)).sqrt()
}

/// A high-pass's gain at `hz`: Butterworth's of fourth order.
pub(crate) fn high_pass_gain(hz: f64, cutoff_hz: f64) -> f64 {
    if hz > 0.0 { butterworth_gain(cutoff_hz / hz, 4) } else { 0.0 }
}

/// The lag of `b` behind `a`, in blocks of `block` samples, at which the signals' mean magnitudes per block correlate
/// most.
pub(crate) fn envelope_lag(a: &[f32], b: &[f32], block: usize) -> isize {
    let envelope = |x: &[f32]| -> Vec<f32> {
        x.chunks(block).map(|c| c.iter().map(|x| x.abs()).sum::<f32>() / c.len() as f32).collect()
    };
    let (a, b) = (envelope(a), envelope(b));
    let len = (a.len() + b.len()).next_power_of_two();
    let mut spectrum = to_spectrum(&b, len);
    for (value, factor) in spectrum.iter_mut().zip(to_spectrum(&a, len)) {
        *value *= factor.conj();
    }
    let correlation = from_spectrum(spectrum, len);
    let best = (0..len).max_by(|i, j| correlation[*i].total_cmp(&correlation[*j])).unwrap_or(0);
    if best > len / 2 { best as isize - len as isize } else { best as isize }
}

/// FFT of the zero-padded signal, `len` bins.
fn to_spectrum(signal: &[f32], len: usize) -> Vec<Complex64> {
    let mut spectrum = vec![Complex64::default(); len];
    for (bin, x) in spectrum.iter_mut().zip(signal) {
        bin.re = f64::from(*x);
    }
    FftPlanner::new().plan_fft_forward(len).process(&mut spectrum);
    spectrum
}

/// The first `count` samples of the inverse FFT.
fn from_spectrum(mut spectrum: Vec<Complex64>, count: usize) -> Vec<f32> {
    let len = spectrum.len();
    FftPlanner::new().plan_fft_inverse(len).process(&mut spectrum);
    spectrum[..count].iter().map(|bin| (bin.re / len as f64) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64) -> Vec<f32> {
        (0..RATE_HZ).map(|n| (core::f64::consts::TAU * hz * n as f64 / RATE_HZ as f64).sin() as f32).collect()
    }

    #[test]
    fn low_pass_keeps_what_is_below_and_removes_what_is_above() {
        for (hz, expected) in [(500.0, 0.5), (1900.0, 0.5), (2400.0, 0.0), (6000.0, 0.0)] {
            let got = power(&filter(&sine(hz), |f| low_pass_gain(f, 2000.0))[2000..14_000]);
            assert!((got - expected).abs() < 1e-3, "{hz} Hz: {got}");
        }
    }

    #[test]
    fn butterworth_is_3_db_down_at_its_cut_off_and_falls_by_6_db_per_octave_and_order() {
        for order in [1, 2, 4] {
            let db = |ratio| 20.0 * butterworth_gain(ratio, order).log10();
            assert!((db(1.0) + 3.01).abs() < 0.01);
            assert!((db(64.0) - db(32.0) + 6.02 * f64::from(order)).abs() < 0.02);
            assert!((20.0 * high_pass_gain(50.0, 100.0).log10() + 24.1).abs() < 0.05);
        }
        assert_eq!(high_pass_gain(0.0, 100.0), 0.0);
    }

    #[test]
    fn convolution_equals_the_direct_sum() {
        let signal = [1.0, -2.0, 3.0, 0.5];
        let response = [0.5, 0.25, -1.0];
        let naive: Vec<f32> =
            (0..4).map(|n| (0..3).filter(|k| *k <= n).map(|k| response[k] * signal[n - k]).sum()).collect();
        let got = convolve(&signal, &response);
        assert!(got.iter().zip(&naive).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {naive:?}");
    }

    #[test]
    fn envelope_lags_are_found_in_both_directions() {
        let burst = |at: usize| {
            let mut signal = vec![0.01; RATE_HZ];
            signal[at..at + 800].fill(0.5);
            signal
        };
        for (at, expected) in [(4000, 0), (4800, 50), (3200, -50)] {
            assert_eq!(envelope_lag(&burst(4000), &burst(at), 16), expected);
        }
    }

    #[test]
    fn silence_between_does_not_count_as_active() {
        let mut signal = vec![0.0; CLIP_SAMPLES];
        signal[..RATE_HZ].fill(0.5);
        assert!((active_power(&signal) - 0.25).abs() < 1e-9);
        assert_eq!(active_power(&[0.0; 3200]), 0.0);
    }
}
