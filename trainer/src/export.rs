//! From a run folder to an ONNX file that is checked against the network it came from.

use std::path::Path;

use aesa::fbank::{NUM_MEL_BINS, normalised_fbank};
use aesa::model::{Labels, ModelInfo};
use aesa::score::{FRAMES_PER_STEP, Scores};
use aesa_export::Tensors;
use aesa_tract::TractModel;
use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tch::{Kind, Tensor};

use crate::config::LabelSource;
use crate::evaluate::frame_scores;
use crate::model::AesaNet;
use crate::run::RunFolder;
use crate::weights;

/// The largest difference of a score (0 to 10) that export accepts between libtorch and tract.
pub const PARITY_TOLERANCE: f32 = 1e-4;

/// Writes a run's best weights as ONNX, reads the file back with tract, and compares the frame and clip
/// scores of `more_clips` (16 kHz mono) and of built-in clips: 10 s of tones and noise, a short one, silence.
/// Gives the largest difference; the file is there only if it is at most [`PARITY_TOLERANCE`].
///
/// # Errors
/// Where the run cannot be read, the file cannot be written, or the scores differ.
pub fn export(run: &RunFolder, out: &Path, more_clips: &[Vec<f32>]) -> Result<f32> {
    let (config, net) = (run.config()?, run.network()?);
    let bytes = std::fs::read(run.weights_path()).context("cannot read best.safetensors")?;
    let onnx =
        aesa_export::write_onnx(&config.model, &Tensors::from_safetensors(&bytes)?, &model_info(run)?)?;
    let model = TractModel::from_bytes(&onnx)?;
    let mut worst = 0.0_f32;
    for clip in built_in_clips().iter().chain(more_clips) {
        worst = worst.max(difference(&net, &model, clip, config.window_steps)?);
    }
    ensure!(
        worst <= PARITY_TOLERANCE,
        "the exported model is wrong: its scores differ from the trained network's by up to {worst}, \
         more than {PARITY_TOLERANCE}"
    );
    weights::replace(out, |path| Ok(std::fs::write(path, &onnx)?))?;
    Ok(worst)
}

/// The metadata of a run's model.
///
/// # Errors
/// Where the run cannot be read.
pub fn model_info(run: &RunFolder) -> Result<ModelInfo> {
    let (config, info) = (run.config()?, run.info()?);
    Ok(ModelInfo {
        id: config.id,
        version: config.version,
        target_mean: info.target_scale.mean.map(|v| v as f32),
        target_std: info.target_scale.std.map(|v| v as f32),
        window_steps: config.window_steps,
        labels: match config.labels {
            LabelSource::Human => Labels::Human,
            LabelSource::Proxy => Labels::Proxy,
        },
        run_hash: info.run_hash,
    })
}

/// The largest difference of a frame score or of the clip score.
fn difference(net: &AesaNet, model: &TractModel, clip: &[f32], window_steps: usize) -> Result<f32> {
    let features = normalised_fbank(clip);
    let step = FRAMES_PER_STEP * NUM_MEL_BINS;
    let features = &features[..features.len() / step * step];
    let actual = frame_scores(&mut model.session(), features)?;
    let mut expected = Vec::new();
    for window in features.chunks(window_steps * step) {
        expected.extend(tch_frame_scores(net, window)?);
    }
    ensure!(!actual.is_empty() && actual.len() == expected.len(), "a clip for the parity check is too short");
    let all = actual.iter().zip(&expected).flat_map(|(a, b)| a.0.iter().zip(b.0).map(|(a, b)| a - b));
    let differences: Vec<f32> = all.collect();
    ensure!(differences.iter().all(|d| d.is_finite()), "a score is not a finite number");
    // The clip score is the mean of the frame scores, so that it cannot differ more than the worst of them.
    Ok(differences.iter().fold(0.0, |worst, d| worst.max(d.abs())))
}

/// Frame scores of one window, 0 to 10: the mean of each step's eight tokens.
fn tch_frame_scores(net: &AesaNet, features: &[f32]) -> Result<Vec<Scores>> {
    let features = Tensor::from_slice(features).view([1, -1, NUM_MEL_BINS as i64]);
    let tokens = tch::no_grad(|| net.forward(&features, None, None, false)).token_scores; // (1, T, A)
    let frames = tokens.get(0).unflatten(0, [-1, TOKENS_PER_STEP]); // (steps, 8, A)
    let frames = frames.mean_dim(1, false, Kind::Float) * 10.0; // (steps, A)
    let flat = Vec::<f32>::try_from(frames.flatten(0, 1))?;
    Ok(flat.as_chunks().0.iter().map(|s| Scores(*s)).collect())
}

/// Seeded sounds at 16 kHz: an arpeggio under rising noise, a short burst, silence.
fn built_in_clips() -> Vec<Vec<f32>> {
    let mut rng = Pcg64::seed_from_u64(7);
    let tones = |n: usize, rng: &mut Pcg64| {
        let t = n as f32 / 16_000.0;
        let pitch = 220.0 * 1.25_f32.powi((t * 2.0) as i32 % 5);
        let noise = rng.random_range(-1.0_f32..1.0) * 0.02 * t;
        0.2 * (core::f32::consts::TAU * pitch * t).sin() * (1.0 - (t * 2.0).fract()) + noise
    };
    let long = (0..160_000).map(|n| tones(n, &mut rng)).collect();
    let short = (0..2_800).map(|_| rng.random_range(-0.5_f32..0.5)).collect();
    vec![long, short, vec![0.0; 40_000]]
}

/// Tokens of one step: one per patch of 16 mel bins.
const TOKENS_PER_STEP: i64 = NUM_MEL_BINS as i64 / 16;
