//! Kaldi log-mel filter bank.

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
