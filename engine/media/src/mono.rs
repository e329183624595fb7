//! The samples the scorer wants: mono, 16 kHz.

use std::path::Path;

use aesa::audio::mono;
use aesa::resample::Resampler;

use crate::error::MediaError;
use crate::file::AudioFile;

/// Reads an [`AudioFile`] as 16 kHz mono, chunk by chunk.
///
/// Channels are averaged, then resampled by [`Resampler`]; memory does not grow with the length of the file.
pub struct MonoReader {
    file: AudioFile,
    resampler: Resampler,
    mono: Vec<f32>,
    output: Vec<f32>,
    is_finished: bool,
}

impl MonoReader {
    /// Wraps an open file.
    ///
    /// # Errors
    /// [`MediaError::Resample`] where the file's sample rate cannot be converted.
    pub fn new(file: AudioFile) -> Result<Self, MediaError> {
        let resampler = Resampler::new(file.sample_rate_hz())?;
        Ok(Self { file, resampler, mono: Vec::new(), output: Vec::new(), is_finished: false })
    }

    /// The next 16 kHz mono samples; `None` at the end.
    ///
    /// # Errors
    /// As [`AudioFile::next_chunk`].
    pub fn next_chunk(&mut self) -> Result<Option<&[f32]>, MediaError> {
        self.output.clear();
        while self.output.is_empty() && !self.is_finished {
            let num_channels = self.file.num_channels();
            match self.file.next_chunk()? {
                Some(chunk) => {
                    self.mono.clear();
                    self.mono.extend(mono(chunk, num_channels));
                    self.resampler.process(&self.mono, &mut self.output);
                }
                None => {
                    self.is_finished = true;
                    self.resampler.finish(&mut self.output);
                }
            }
        }
        Ok((!self.output.is_empty()).then_some(&self.output))
    }

    /// All samples from here to the end, f32 in [-1, 1].
    ///
    /// # Errors
    /// As [`AudioFile::next_chunk`].
    pub fn read_to_end(mut self) -> Result<Vec<f32>, MediaError> {
        let mut samples = Vec::new();
        while let Some(chunk) = self.next_chunk()? {
            samples.extend_from_slice(chunk);
        }
        Ok(samples)
    }
}

/// Reads a whole file as 16 kHz mono samples, f32 in [-1, 1].
///
/// # Errors
/// As [`AudioFile::open`] and [`AudioFile::next_chunk`].
pub fn read_mono_16k(path: &Path) -> Result<Vec<f32>, MediaError> {
    MonoReader::new(AudioFile::open(path)?)?.read_to_end()
}
