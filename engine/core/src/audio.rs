//! What a caller hands over: its rate, channels and sample formats, made mono.

/// How the caller's audio is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioSpec {
    /// Samples per second and channel.
    pub sample_rate_hz: u32,
    /// Channels, interleaved; at least 1.
    pub num_channels: usize,
}

impl AudioSpec {
    /// One channel at 16 kHz: what the network hears, untouched.
    pub const MONO_16K: Self = Self { sample_rate_hz: crate::fbank::SAMPLE_RATE_HZ, num_channels: 1 };
}

/// A sample format, brought to f32 with full scale 1.
pub trait Sample: Copy {
    /// The value in [-1, 1] for integers; f32 as it is.
    fn to_f32(self) -> f32;
}

impl Sample for f32 {
    fn to_f32(self) -> f32 {
        self
    }
}

impl Sample for i16 {
    fn to_f32(self) -> f32 {
        f32::from(self) / 32_768.0
    }
}

impl Sample for i32 {
    fn to_f32(self) -> f32 {
        self as f32 / 2_147_483_648.0
    }
}

/// A packed 24-bit sample, little-endian, as WAV stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct I24(pub [u8; 3]);

impl Sample for I24 {
    fn to_f32(self) -> f32 {
        let [low, middle, high] = self.0;
        // In the upper three bytes the sign comes by itself; an f32 holds 24 bits exactly.
        i32::from_le_bytes([0, low, middle, high]).to_f32()
    }
}

/// The mean over channels of each group of `num_channels` samples; an incomplete last group is left out.
///
/// # Panics
/// If `num_channels` is 0.
pub fn mono<S: Sample>(interleaved: &[S], num_channels: usize) -> impl Iterator<Item = f32> + '_ {
    let divisor = num_channels as f32;
    interleaved.chunks_exact(num_channels).map(move |group| {
        let sum: f32 = group.iter().map(|s| s.to_f32()).sum();
        sum / divisor
    })
}

/// Where in `interleaved` the first value lies that is NaN, infinite or beyond [`MAX_ABS_SAMPLE`].
pub fn first_unusable<S: Sample>(interleaved: &[S]) -> Option<usize> {
    // NaN compares false.
    interleaved.iter().position(|s| !matches!(s.to_f32().abs(), a if a <= MAX_ABS_SAMPLE))
}

/// Largest magnitude accepted; beyond it the power spectrum could leave f32's range.
pub const MAX_ABS_SAMPLE: f32 = 1e9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_share_one_scale() {
        let cases: [(&str, f32, f32); 9] = [
            ("i16 lowest", i16::MIN.to_f32(), -1.0),
            ("i16 half", 16_384i16.to_f32(), 0.5),
            ("i24 lowest", I24([0, 0, 0x80]).to_f32(), -1.0),
            ("i24 half", I24([0, 0, 0x40]).to_f32(), 0.5),
            ("i24 smallest", I24([1, 0, 0]).to_f32(), 1.0 / 8_388_608.0),
            ("i24 minus one", I24([0xff, 0xff, 0xff]).to_f32(), -1.0 / 8_388_608.0),
            ("i32 lowest", i32::MIN.to_f32(), -1.0),
            ("i32 half", (1i32 << 30).to_f32(), 0.5),
            ("f32", 1.5f32.to_f32(), 1.5),
        ];
        for (name, actual, expected) in cases {
            assert_eq!(actual, expected, "{name}");
        }
    }

    #[test]
    fn channels_are_averaged() {
        let stereo = [1.0f32, 0.0, -0.5, 0.5, 0.25, 0.75];
        assert!(mono(&stereo, 2).eq([0.5, 0.0, 0.5]));
        assert!(mono(&stereo, 1).eq(stereo));
        assert!(mono(&[3i16; 12], 6).eq([3.0 / 32_768.0; 2]));
    }

    #[test]
    fn unusable_values_are_found() {
        assert_eq!(first_unusable(&[0.0, -1.0, MAX_ABS_SAMPLE]), None);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2e9] {
            assert_eq!(first_unusable(&[0.0, bad, bad]), Some(1), "{bad}");
        }
        assert_eq!(first_unusable(&[i32::MIN, i32::MAX]), None);
    }
}
