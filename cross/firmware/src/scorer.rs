//! From samples to scores, without a heap.

use aesa::audio::Sample;
use aesa::fbank::{Fbank, NUM_MEL_BINS, normalise};
use aesa::native::{Model, Stream, StreamError};
use aesa::pool::ClipMean;
use aesa::{ClipScore, Scores};

/// Turns 16 kHz i16 samples into frame scores, a chunk of the model's at a time, and a clip score.
///
/// How the caller cuts the samples changes no number. Latency: one chunk.
pub struct Scorer<'m> {
    fbank: Fbank,
    network: Network<'m>,
}

/// What comes after the log-mel features.
struct Network<'m> {
    stream: Stream<'m, &'m mut [f32]>,
    clip: ClipMean,
}

impl<'m> Scorer<'m> {
    /// A scorer at the start of a clip, in memory of at least [`MEMORY_NUMBERS`](crate::MEMORY_NUMBERS).
    ///
    /// # Errors
    /// [`StreamError::Memory`] if there is less than the model needs.
    pub fn new(model: &'m Model<'m>, memory: &'m mut [f32]) -> Result<Self, StreamError> {
        let network = Network { stream: model.stream_in(memory)?, clip: ClipMean::default() };
        Ok(Self { fbank: Fbank::new(), network })
    }

    /// Takes the next samples and hands the frame scores that they complete to `on_frame`.
    ///
    /// # Errors
    /// The engine's, which samples of 16 bits never cause.
    pub fn push(&mut self, samples: &[i16], mut on_frame: impl FnMut(Scores)) -> Result<(), StreamError> {
        let Self { fbank, network } = self;
        let mut result = Ok(());
        for block in samples.chunks(BLOCK_SAMPLES) {
            let mut waveform = [0.0; BLOCK_SAMPLES];
            waveform.iter_mut().zip(block).for_each(|(x, sample)| *x = sample.to_f32());
            fbank.accept_waveform(&waveform[..block.len()], |log_mel| {
                if result.is_ok() {
                    result = network.push(log_mel, &mut on_frame);
                }
            });
        }
        result
    }

    /// Ends the clip: hands over the frame scores that are left, and makes the scorer as new. `None` if there was no whole
    /// frame of 160 ms.
    pub fn finish(&mut self, mut on_frame: impl FnMut(Scores)) -> Option<ClipScore> {
        let Network { stream, clip } = &mut self.network;
        stream.finish(|scores| {
            clip.push(scores);
            on_frame(scores);
        });
        self.fbank.reset();
        core::mem::take(clip).mean()
    }
}

impl Network<'_> {
    fn push(
        &mut self,
        log_mel: &[f32; NUM_MEL_BINS],
        mut on_frame: impl FnMut(Scores),
    ) -> Result<(), StreamError> {
        let mut features = *log_mel;
        normalise(&mut features);
        self.stream.push(&features, |scores| {
            self.clip.push(scores);
            on_frame(scores);
        })
    }
}

/// Samples taken at a time: 10 ms.
pub const BLOCK_SAMPLES: usize = 160;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::{MEMORY_NUMBERS, clip, model_file};

    #[test]
    fn cuts_and_an_earlier_clip_change_nothing() {
        let model = Model::from_bytes(model_file()).unwrap();
        let mut memory = vec![0.0; MEMORY_NUMBERS];
        let mut scorer = Scorer::new(&model, &mut memory).unwrap();
        let mut score = |pieces: &[usize]| {
            let (mut frames, mut rest) = (Vec::new(), clip());
            for piece in pieces.iter().cycle() {
                let (now, later) = rest.split_at(rest.len().min(*piece));
                scorer.push(now, |scores| frames.push(scores)).unwrap();
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            let mean = scorer.finish(|scores| frames.push(scores)).unwrap();
            assert_eq!(mean.num_steps, frames.len() as u64);
            (frames, mean)
        };
        let whole = score(&[clip().len()]);
        for pieces in [&[1][..], &[160], &[161, 7, 4000], &[clip().len()]] {
            assert_eq!(score(pieces), whole, "{pieces:?}");
        }
        assert!(whole.0.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
