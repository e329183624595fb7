//! Scorers, as Kotlin and Swift see them.

use std::sync::{Mutex, MutexGuard};

use aesa::audio::Sample;
use aesa::{AudioSpec, WindowPolicy};
use aesa_runtime::ModelScorer;

use crate::error::AesaError;
use crate::model::Model;
use crate::types::{Clip, Frame};

/// Scores one clip or stream at a time. A call from a second thread waits until the first one's has ended.
///
/// Samples come as the bytes of an array, in the machine's own order, since arrays of numbers would be copied one by one.
#[derive(Debug, uniffi::Object)]
pub struct Scorer(Mutex<ModelScorer>);

#[uniffi::export]
impl Scorer {
    /// Takes the next chunk of interleaved 32-bit floats, full scale 1. How the audio is cut never changes a score.
    ///
    /// # Errors
    /// `Audio` for half a sample and for values that are not finite (nothing is taken then), `Finished` after the clip's
    /// end, `Network`, which ends it.
    pub fn accept_f32(&self, interleaved: &[u8]) -> Result<(), AesaError> {
        self.accept(interleaved, f32::from_ne_bytes)
    }

    /// Takes the next chunk of interleaved 16-bit samples.
    ///
    /// # Errors
    /// Those of `accept_f32`.
    pub fn accept_i16(&self, interleaved: &[u8]) -> Result<(), AesaError> {
        self.accept(interleaved, i16::from_ne_bytes)
    }

    /// Marks the next samples of every channel as lost. Time goes on; frames that touch them are no part of the clip's
    /// scores. It takes as long as so much audio would.
    ///
    /// # Errors
    /// `InvalidArgument` for a number below 0 or beyond 2^40; those of `accept_f32`.
    pub fn gap(&self, num_samples: i64) -> Result<(), AesaError> {
        if !(0..=MAX_GAP_SAMPLES).contains(&num_samples) {
            let message = format!("a gap of {num_samples} samples cannot be in a recording");
            return Err(AesaError::InvalidArgument(message));
        }
        Ok(self.lock()?.gap(num_samples.unsigned_abs())?)
    }

    /// The frames that have become ready, in order; each is given once, and final. Those not taken wait in memory, also after
    /// `finish`.
    ///
    /// # Errors
    /// `Internal`.
    pub fn next_frames(&self) -> Result<Vec<Frame>, AesaError> {
        let mut scorer = self.lock()?;
        Ok(core::iter::from_fn(|| scorer.next_frame()).map(Frame::from).collect())
    }

    /// The clip's scores so far; none before the first frame.
    ///
    /// # Errors
    /// `Internal`.
    pub fn clip_so_far(&self) -> Result<Option<Clip>, AesaError> {
        Ok(self.lock()?.clip_score_so_far().map(Clip::from))
    }

    /// Ends the clip: scores what is left, for the last frames and the clip.
    ///
    /// # Errors
    /// `TooShort`, `AllLost`, `Network`; `Finished` the second time.
    pub fn finish(&self) -> Result<Clip, AesaError> {
        Ok(self.lock()?.finish()?.into())
    }

    /// Forgets the clip; the next chunk is the start of another. Frames not taken are dropped.
    ///
    /// # Errors
    /// `Internal`.
    pub fn reset(&self) -> Result<(), AesaError> {
        self.lock()?.reset();
        Ok(())
    }

    /// The longest wait for a frame: how many samples (per channel, at the caller's rate) have to be seen from a frame's
    /// start until its scores come out.
    ///
    /// # Errors
    /// `Internal`.
    pub fn latency_samples(&self) -> Result<i64, AesaError> {
        Ok(self.lock()?.latency_samples() as i64)
    }
}

impl Scorer {
    pub(crate) fn new(model: &Model, sample_rate_hz: i32, num_channels: i32) -> Result<Self, AesaError> {
        Ok(Self(Mutex::new(ModelScorer::new(model.0.clone(), spec(sample_rate_hz, num_channels)?)?)))
    }

    pub(crate) fn with_hop(
        model: &Model,
        sample_rate_hz: i32,
        num_channels: i32,
        hop_steps: i32,
        look_ahead_steps: i32,
    ) -> Result<Self, AesaError> {
        let policy = WindowPolicy {
            hop_steps: count(hop_steps, "a hop", "steps")?,
            look_ahead_steps: count(look_ahead_steps, "a look-ahead", "steps")?,
        };
        let spec = spec(sample_rate_hz, num_channels)?;
        Ok(Self(Mutex::new(ModelScorer::with_policy(model.0.clone(), spec, policy)?)))
    }

    /// A panic in an earlier call left the scorer half-way: it answers no more.
    fn lock(&self) -> Result<MutexGuard<'_, ModelScorer>, AesaError> {
        let message = "a bug in aesa ended this scorer in an earlier call";
        self.0.lock().map_err(|_| AesaError::Internal(message.into()))
    }

    fn accept<S: Sample, const N: usize>(
        &self,
        bytes: &[u8],
        sample: impl Fn([u8; N]) -> S,
    ) -> Result<(), AesaError> {
        let (values, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            let message = format!("a chunk of {} bytes is not made of samples of {N} bytes", bytes.len());
            return Err(AesaError::Audio(message));
        }
        let values: Vec<S> = values.iter().map(|&bytes| sample(bytes)).collect();
        Ok(self.lock()?.accept(&values)?)
    }
}

fn spec(sample_rate_hz: i32, num_channels: i32) -> Result<AudioSpec, AesaError> {
    Ok(AudioSpec {
        sample_rate_hz: u32::try_from(sample_rate_hz)
            .map_err(|_| AesaError::InvalidArgument(format!("a sample rate of {sample_rate_hz} Hz")))?,
        num_channels: count(num_channels, "audio", "channels")?,
    })
}

fn count(value: i32, what: &str, of: &str) -> Result<usize, AesaError> {
    usize::try_from(value).map_err(|_| AesaError::InvalidArgument(format!("{what} of {value} {of}")))
}

/// Longer gaps are mistakes.
const MAX_GAP_SAMPLES: i64 = 1 << 40;

#[cfg(test)]
#[cfg(feature = "starter")]
mod tests {
    use super::*;

    fn scorer() -> Scorer {
        Scorer::new(&Model::starter().unwrap(), 16_000, 1).unwrap()
    }

    #[test]
    fn a_panic_ends_the_scorer_and_nothing_else() {
        let (broken, other) = (scorer(), scorer());
        std::thread::scope(|threads| {
            let panics = || {
                let _scorer = broken.lock();
                panic!("on purpose");
            };
            assert!(threads.spawn(panics).join().is_err());
        });
        assert!(matches!(broken.accept_f32(&[0; 64]), Err(AesaError::Internal(_))));
        assert!(matches!(broken.next_frames(), Err(AesaError::Internal(_))));
        assert!(matches!(broken.reset(), Err(AesaError::Internal(_))));
        other.accept_f32(&[0; 64]).unwrap();
    }

    #[test]
    fn a_second_thread_waits() {
        let scorer = scorer();
        std::thread::scope(|threads| {
            let guard = scorer.lock().unwrap();
            let second = threads.spawn(|| scorer.accept_i16(&[0; 64]));
            std::thread::sleep(core::time::Duration::from_millis(50));
            assert!(!second.is_finished());
            drop(guard);
            second.join().unwrap().unwrap();
        });
    }

    #[test]
    fn sizes_that_cannot_be_are_told() {
        let model = Model::starter().unwrap();
        for (sample_rate_hz, num_channels) in [(-1, 1), (0, 1), (16_000, 0), (16_000, -2)] {
            let new = Scorer::new(&model, sample_rate_hz, num_channels);
            assert!(matches!(new, Err(AesaError::InvalidArgument(_))), "{sample_rate_hz} {num_channels}");
        }
        let scorer = Scorer::new(&model, 16_000, 2).unwrap();
        for bytes in [1, 2, 3, 6] {
            assert!(matches!(scorer.accept_i16(&vec![0; bytes]), Err(AesaError::Audio(_))), "{bytes}");
        }
        for samples in [-1, i64::MIN, i64::MAX] {
            assert!(matches!(scorer.gap(samples), Err(AesaError::InvalidArgument(_))), "{samples}");
        }
        assert!(matches!(Scorer::with_hop(&model, 16_000, 1, 6, -1), Err(AesaError::InvalidArgument(_))));
    }

    #[test]
    fn bytes_are_samples_wherever_they_lie() {
        let bytes: Vec<u8> = (0..32_001u32).map(|i| (i * i % 251) as u8).collect();
        let (even, odd) = (scorer(), scorer());
        even.accept_i16(&bytes[1..]).unwrap();
        let moved = bytes[1..].to_vec();
        odd.accept_i16(&moved).unwrap();
        assert_eq!(even.finish().unwrap(), odd.finish().unwrap());
    }
}
