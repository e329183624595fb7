//! From a run folder to an ONNX file or a `model.aesa` that is checked against the network it came from.

use std::path::Path;

use aesa::encoder::TOKENS_PER_STEP;
use aesa::fbank::{NUM_MEL_BINS, normalised_fbank};
use aesa::model::{Labels, ModelInfo};
use aesa::score::{FRAMES_PER_STEP, Scores};
use aesa_export::{ExportOptions, Storage, Tensors, write_aesa, write_onnx_with};
use aesa_runtime::{Engine, Model};
use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tch::{Kind, Tensor};

use crate::chunking::Chunking;
use crate::config::LabelSource;
use crate::dropout::Dropout;
use crate::evaluate::frame_scores;
use crate::model::AesaNet;
use crate::predict::Policy;
use crate::run::RunFolder;
use crate::weights;

/// The largest difference of a score (0 to 10) that export accepts between libtorch and tract.
pub const PARITY_TOLERANCE: f32 = 1e-4;

/// What int8 may change on real clips, on average: docs/SPEC.md, "Quantisation".
const MAX_MEAN_DIFFERENCE: f32 = 0.05;

/// What int8 may change on real clips at most.
const MAX_DIFFERENCE: f32 = 0.2;

/// A model file's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ONNX, for tract or any other runtime.
    Onnx,
    /// `model.aesa`, for the native engine.
    Aesa,
}

/// What an export found.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// The largest difference of a score between libtorch and the file's runtime in f32, both under the file's policy.
    pub parity: f32,
    /// What the file's storage changes under its own policy, all clips and frames: mean and largest difference.
    pub storage: Difference,
    /// The same for the clips given beside the built-in ones.
    pub real: Difference,
    /// Bytes of the file.
    pub num_bytes: usize,
    /// What a `model.aesa` asks of a device.
    pub memory: Option<aesa::native::MemoryRequired>,
}

/// Absolute differences of frame scores, 0 to 10.
#[derive(Clone, Copy, Debug, Default)]
pub struct Difference {
    /// Their mean.
    pub mean: f32,
    /// The largest.
    pub max: f32,
}

/// Writes a run's best weights, for windows or for chunk after chunk, and checks the file as the runtime that will use it runs it: tract
/// ONNX, the native engine a `model.aesa`.
///
/// In f32, the frame and clip scores of `more_clips` (16 kHz mono) and of built-in clips (10 s of tones and noise, a short one,
/// silence) must equal libtorch's within [`PARITY_TOLERANCE`]; stored as asked they must be within docs/SPEC.md's bounds,
/// "Quantisation", of those on `more_clips`. The file is there only if they are.
///
/// # Errors
/// Where the run cannot be read, the format does not know the storage, the file cannot be written, or the scores differ.
pub fn export(
    run: &RunFolder,
    out: &Path,
    format: Format,
    storage: Storage,
    chunks: Option<Chunking>,
    more_clips: &[Vec<f32>],
) -> Result<Report> {
    let (config, net, tensors) = (run.config()?, run.network()?, tensors(run)?);
    let info = in_chunks(model_info(run)?, chunks);
    let write = |storage| match format {
        Format::Onnx => {
            let options = ExportOptions { storage, ..ExportOptions::default() };
            write_onnx_with(&config.model, &tensors, &info, &options)
        }
        Format::Aesa => write_aesa(&config.model, &tensors, &info, storage),
    };
    let file = write(storage)?;
    let model = Model::from_bytes(&file)?;
    let exact = match storage {
        Storage::F32 => None,
        _ => Some(Model::from_bytes(&write(Storage::F32)?)?),
    };
    let policy = Policy::new(chunks, config.window_steps);
    let parity = check(&net, exact.as_ref().unwrap_or(&model), more_clips, policy)?;
    let [storage, real] = match &exact {
        Some(exact) => stored(exact, &model, more_clips)?,
        None => [Difference::default(); 2],
    };
    weights::replace(out, |path| Ok(std::fs::write(path, &file)?))?;
    let memory = match model.engine() {
        Engine::Native(model) => Some(model.memory_required()),
        Engine::Tract(_) => None,
    };
    Ok(Report { parity, storage, real, num_bytes: file.len(), memory })
}

/// What storing the weights changes: on all clips, and on those beside the built-in ones.
///
/// # Errors
/// Where that is beyond docs/SPEC.md's bounds, or a clip cannot be scored.
fn stored(exact: &Model, stored: &Model, more_clips: &[Vec<f32>]) -> Result<[Difference; 2]> {
    let (mut all, mut real) = (Vec::new(), Vec::new());
    let built_in = built_in_clips();
    for (n, clip) in built_in.iter().chain(more_clips).enumerate() {
        let features = normalised_fbank(clip);
        let scores = |model: &Model| frame_scores(&mut model.session(), &features);
        let pairs = scores(exact)?.into_iter().zip(scores(stored)?);
        let differences = pairs.flat_map(|(a, b)| a.0.into_iter().zip(b.0)).map(|(a, b)| (a - b).abs());
        let differences: Vec<f32> = differences.collect();
        if n >= built_in.len() {
            real.extend(&differences);
        }
        all.extend(differences);
    }
    let (all, real) = (difference(&all), difference(&real));
    ensure!(
        real.mean <= MAX_MEAN_DIFFERENCE && real.max <= MAX_DIFFERENCE,
        "storing the weights this way changes the scores of the check clips by {:.3} on average and by up to \
         {:.3}, more than {MAX_MEAN_DIFFERENCE} and {MAX_DIFFERENCE}; --dtype f32 keeps them",
        real.mean,
        real.max
    );
    Ok([all, real])
}

/// Values of one step's features.
const STEP_VALUES: usize = FRAMES_PER_STEP * NUM_MEL_BINS;

/// What a file says of itself that hears a clip in chunks, if any.
fn in_chunks(info: ModelInfo, chunks: Option<Chunking>) -> ModelInfo {
    let chunked = |c: Chunking| aesa::Policy::Chunked { chunk_steps: c.steps, left_steps: c.left_steps };
    ModelInfo { policy: chunks.map_or(info.policy, chunked), ..info }
}

fn tensors(run: &RunFolder) -> Result<Tensors> {
    let bytes = std::fs::read(run.weights_path()).context("cannot read best.safetensors")?;
    Ok(Tensors::from_safetensors(&bytes)?)
}

fn difference(values: &[f32]) -> Difference {
    let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
    Difference {
        mean: (sum / values.len().max(1) as f64) as f32,
        max: values.iter().copied().fold(0.0, f32::max),
    }
}

/// The largest difference between the network's and a file's frame scores on the built-in and other clips.
fn check(net: &AesaNet, model: &Model, more_clips: &[Vec<f32>], policy: Policy) -> Result<f32> {
    let mut worst = 0.0_f32;
    for clip in built_in_clips().iter().chain(more_clips) {
        worst = worst.max(parity(net, model, clip, policy)?);
    }
    ensure!(
        worst <= PARITY_TOLERANCE,
        "the exported model is wrong: its scores differ from the trained network's by up to {worst}, \
         more than {PARITY_TOLERANCE}"
    );
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
        policy: aesa::Policy::Windowed { window_steps: config.window_steps },
        labels: match config.labels {
            LabelSource::Human => Labels::Human,
            LabelSource::Proxy => Labels::Proxy,
        },
        run_hash: info.run_hash,
    })
}

/// The largest difference of a frame score or of the clip score.
fn parity(net: &AesaNet, model: &Model, clip: &[f32], policy: Policy) -> Result<f32> {
    let features = normalised_fbank(clip);
    let features = &features[..features.len() / STEP_VALUES * STEP_VALUES];
    let actual = frame_scores(&mut model.session(), features)?;
    let mut expected = Vec::new();
    for part in features.chunks(policy.window_steps().saturating_mul(STEP_VALUES)) {
        expected.extend(tch_frame_scores(net, part, policy.chunking())?);
    }
    ensure!(!actual.is_empty() && actual.len() == expected.len(), "a clip for the parity check is too short");
    let all = actual.iter().zip(&expected).flat_map(|(a, b)| a.0.iter().zip(b.0).map(|(a, b)| a - b));
    let differences: Vec<f32> = all.collect();
    ensure!(differences.iter().all(|d| d.is_finite()), "a score is not a finite number");
    // The clip score is the mean of the frame scores, so that it cannot differ more than the worst of them.
    Ok(differences.iter().fold(0.0, |worst, d| worst.max(d.abs())))
}

/// Frame scores of one window, or of a whole clip in chunks, 0 to 10: the mean of each step's eight tokens.
fn tch_frame_scores(net: &AesaNet, features: &[f32], chunking: Option<Chunking>) -> Result<Vec<Scores>> {
    let features = Tensor::from_slice(features).view([1, -1, NUM_MEL_BINS as i64]);
    let tokens = tch::no_grad(|| net.forward(&features, None, chunking, Dropout::Off)).token_scores; // (1, T, A)
    let frames = tokens.get(0).unflatten(0, [-1, TOKENS_PER_STEP as i64]); // (steps, 8, A)
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
