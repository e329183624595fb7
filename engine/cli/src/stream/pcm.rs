//! Raw PCM: bytes as they come to samples.

use core::mem::size_of;

use aesa::audio::Sample;
use clap::ValueEnum;

/// How a sample is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PcmFormat {
    /// 16-bit integers, little-endian.
    S16le,
    /// 32-bit floating point, little-endian, full scale 1.
    F32le,
}

impl PcmFormat {
    /// Bytes of one sample of one channel.
    pub(super) const fn num_bytes(self) -> usize {
        match self {
            Self::S16le => size_of::<i16>(),
            Self::F32le => size_of::<f32>(),
        }
    }
}

/// Cuts bytes into whole samples of all channels; keeps what is left for the next call.
#[derive(Debug)]
pub(super) struct Decoder {
    format: PcmFormat,
    /// Bytes of one sample of every channel.
    group_bytes: usize,
    pending: Vec<u8>,
    samples: Vec<f32>,
}

impl Decoder {
    pub(super) fn new(format: PcmFormat, num_channels: usize) -> Self {
        let group_bytes = format.num_bytes() * num_channels;
        Self { format, group_bytes, pending: Vec::new(), samples: Vec::new() }
    }

    /// The interleaved samples that the next bytes complete.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> &[f32] {
        self.pending.extend_from_slice(bytes);
        let whole = self.pending.len() / self.group_bytes * self.group_bytes;
        let whole = &self.pending[..whole];
        self.samples.clear();
        match self.format {
            PcmFormat::S16le => {
                self.samples.extend(whole.as_chunks().0.iter().map(|b| i16::from_le_bytes(*b).to_f32()));
            }
            PcmFormat::F32le => {
                self.samples.extend(whole.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
            }
        }
        self.pending.drain(..whole.len());
        &self.samples
    }

    /// Bytes left over: less than one sample of every channel.
    pub(super) fn num_left_over(&self) -> usize {
        self.pending.len()
    }

    /// Bytes of one sample of every channel.
    pub(super) fn group_bytes(&self) -> usize {
        self.group_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_samples_however_they_come() {
        let bytes = [0x00, 0x80, 0x00, 0x40, 0xff, 0xff, 0x01, 0x00, 0x07];
        let expected = [-1.0, 0.5, -1.0 / 32_768.0, 1.0 / 32_768.0];
        for step in 1..=bytes.len() {
            let mut decoder = Decoder::new(PcmFormat::S16le, 2);
            let mut samples = Vec::new();
            for chunk in bytes.chunks(step) {
                let decoded = decoder.decode(chunk);
                assert!(decoded.len().is_multiple_of(2));
                samples.extend_from_slice(decoded);
            }
            assert_eq!(samples, expected, "{step} at a time");
            assert_eq!((decoder.num_left_over(), decoder.group_bytes()), (1, 4));
        }
    }

    #[test]
    fn floats_stay_as_they_are() {
        let mut decoder = Decoder::new(PcmFormat::F32le, 1);
        let bytes: Vec<u8> = [1.5f32, -0.25].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(decoder.decode(&bytes[..5]), [1.5]);
        assert_eq!(decoder.decode(&bytes[5..]), [-0.25]);
        assert_eq!(decoder.num_left_over(), 0);
    }
}
