//! Small models and features.

use aesa::native::{AlignedBytes, Model};
use aesa::score::Scores;
use aesa::{ModelInfo, Policy};
use aesa_export::{ModelConfig, Storage, Tensors, random_tensors, tiny_info, write_aesa};

pub(crate) fn weights(config: &ModelConfig) -> Tensors {
    random_tensors(config, 5).unwrap()
}

/// A file of random weights, in windows or in chunks of the given steps and steps before.
pub(crate) fn file(config: &ModelConfig, storage: Storage, chunks: Option<(usize, usize)>) -> AlignedBytes {
    let windows = tiny_info().policy;
    let policy =
        chunks.map_or(windows, |(chunk_steps, left_steps)| Policy::Chunked { chunk_steps, left_steps });
    let info = ModelInfo { policy, ..tiny_info() };
    let bytes = write_aesa(config, &weights(config), &info, storage).unwrap();
    AlignedBytes::from(bytes.as_slice())
}

/// `[16 * num_steps + extra, 128]`, about as large and as uneven as normalised speech.
pub(crate) fn features(num_frames: usize) -> Vec<f32> {
    let wave = |i: usize| ((i * 7919 % 1009) as f32 / 1009.0 - 0.5) * (1.2 + (i as f32 * 7e-4).sin());
    (0..num_frames * 128).map(wave).collect()
}

/// Frame scores of features handed over in pieces of the given numbers of frames, repeated.
pub(crate) fn score(model: &Model<'_>, features: &[f32], pieces: &[usize]) -> Vec<Scores> {
    let (mut stream, mut scores) = (model.stream(), Vec::new());
    let mut rest = features;
    for piece in pieces.iter().cycle() {
        let (now, later) = rest.split_at((piece * 128).min(rest.len()));
        stream.push(now, |s| scores.push(s)).unwrap();
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    stream.finish(|s| scores.push(s));
    scores
}

/// The largest difference of any score.
pub(crate) fn worst<'a>(a: &[Scores], b: impl IntoIterator<Item = &'a [f64; 4]>) -> f64 {
    let b: Vec<&[f64; 4]> = b.into_iter().collect();
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b).flat_map(|(a, b)| a.0.into_iter().zip(*b));
    pairs.map(|(a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max)
}
