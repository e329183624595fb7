//! One clip from its file to its scores, as a stream.

use aesa::{AudioSpec, ClipScore, FrameScore, Scorer};
use aesa_media::{AudioFile, MonoReader};
use aesa_runtime::Model;
use anyhow::bail;

use crate::inputs::Input;
use crate::spectrogram::Spectrogram;

/// What is known of a clip after scoring.
pub(crate) struct Clip {
    /// How much audio there was, in seconds.
    pub(crate) duration_s: f64,
    /// The clip's scores.
    pub(crate) score: ClipScore,
    /// Frame scores, if asked for.
    pub(crate) frames: Vec<FrameScore>,
}

/// Decodes and scores a clip, chunk by chunk; `progress` hears how much of it is done and, if known, its length, in seconds.
///
/// # Errors
/// Whatever is wrong with the file or its audio, in words for the user.
pub(crate) fn score(
    model: &Model,
    input: &Input,
    keeps_frames: bool,
    progress: &dyn Fn(f64, Option<f64>),
) -> anyhow::Result<Clip> {
    let mut file = open(input)?;
    let (sample_rate_hz, num_channels) = (file.sample_rate_hz(), file.num_channels());
    let total_s = file.duration_s();
    let mut scorer = Scorer::new(model.session(), AudioSpec { sample_rate_hz, num_channels })?;
    if !keeps_frames {
        scorer = scorer.without_frames();
    }
    let seconds = |num_samples: u64| num_samples as f64 / f64::from(sample_rate_hz);
    let mut frames = Vec::new();
    while let Some(chunk) = file.next_chunk()? {
        scorer.accept_waveform(chunk)?;
        frames.extend(core::iter::from_fn(|| scorer.next_frame()));
        progress(seconds(scorer.num_samples()), total_s);
    }
    let score = scorer.finish()?;
    frames.extend(core::iter::from_fn(|| scorer.next_frame()));
    Ok(Clip { duration_s: seconds(scorer.num_samples()), score, frames })
}

/// Reads a clip once more, for its picture.
///
/// # Errors
/// As [`score`].
pub(crate) fn spectrogram(input: &Input) -> anyhow::Result<Spectrogram> {
    let mut reader = MonoReader::new(open(input)?)?;
    let mut spectrogram = Spectrogram::new();
    while let Some(samples) = reader.next_chunk()? {
        spectrogram.accept_waveform(samples);
    }
    Ok(spectrogram)
}

fn open(input: &Input) -> anyhow::Result<AudioFile> {
    if let Some(error) = &input.error {
        bail!("{error}");
    }
    let is_whole = input.start_s.is_none() && input.end_s.is_none();
    let file = if is_whole {
        AudioFile::open(&input.path)?
    } else {
        AudioFile::open_segment(&input.path, input.start_s, input.end_s)?
    };
    Ok(file)
}
