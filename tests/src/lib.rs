//! Shared parts of the whole-path tests: where things lie, and a file scored the way the command line does it.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use aesa::{AudioSpec, ClipScore, FrameScore, Network, Scorer, ScorerError};
use aesa_media::AudioFile;
#[cfg(feature = "tract")]
use aesa_tract::{TractError, TractModel};

/// A path inside the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The model that ships.
#[cfg(feature = "tract")]
pub fn starter() -> TractModel {
    TractModel::load(&project("models/starter/model.onnx")).expect("the starter model loads")
}

/// Everything that scoring a clip gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The clip's scores.
    pub clip: ClipScore,
    /// All frame scores.
    pub frames: Vec<FrameScore>,
}

/// Scores interleaved audio handed over in chunks of the given lengths (in values), repeated until all is taken.
///
/// # Errors
/// Whatever the scorer refuses.
pub fn score<N: Network>(
    network: N,
    spec: AudioSpec,
    interleaved: &[f32],
    chunks: &[usize],
) -> Result<Scored, ScorerError<N::Error>> {
    let mut scorer = Scorer::new(network, spec)?;
    let mut frames = Vec::new();
    let mut lengths = chunks.iter().cycle();
    let mut rest = interleaved;
    while !rest.is_empty() {
        let length = lengths.next().copied().unwrap_or(rest.len()).clamp(1, rest.len());
        let (chunk, after) = rest.split_at(length);
        scorer.accept_waveform(chunk)?;
        frames.extend(core::iter::from_fn(|| scorer.next_frame()));
        rest = after;
    }
    let clip = scorer.finish()?;
    frames.extend(core::iter::from_fn(|| scorer.next_frame()));
    Ok(Scored { clip, frames })
}

/// A whole file: its interleaved samples and their layout.
pub fn read(path: &Path) -> (AudioSpec, Vec<f32>) {
    let mut file = AudioFile::open(path).expect("the clip opens");
    let spec = AudioSpec { sample_rate_hz: file.sample_rate_hz(), num_channels: file.num_channels() };
    let mut samples = Vec::new();
    while let Some(chunk) = file.next_chunk().expect("the clip decodes") {
        samples.extend_from_slice(chunk);
    }
    (spec, samples)
}

/// Scores a whole file.
///
/// # Errors
/// Whatever the scorer refuses.
#[cfg(feature = "tract")]
pub fn score_file(model: &TractModel, path: &Path) -> Result<Scored, ScorerError<TractError>> {
    let (spec, samples) = read(path);
    score(model.session(), spec, &samples, &[samples.len().max(1)])
}

/// Compiles the README's example.
#[cfg(all(doctest, feature = "tract"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;
