//! One runtime behind a pipe, for `run.py`: it loads a model, then scores the same ten seconds whenever it is told to.
//!
//! Standard input says `run` or `end`, one a line. Standard output answers with one JSON line each: after loading
//! and a first run `{"open_ms", "load_ms"}`, after a run `{"ms"}`, at the end `{"peak_rss_bytes", "scores"}`.

use std::io::{BufRead, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::Instant;

use aesa::fbank::{NUM_MEL_BINS, normalised_fbank};
use aesa::score::FRAMES_PER_STEP;
use aesa::{Network, Policy, Scores};
use aesa_export::{
    ExportOptions, ModelConfig, Storage, random_tensors, tiny_info, write_aesa, write_onnx_with,
};
use aesa_runtime::{Model, Session};
use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

/// Ten seconds: what a window of the models here holds.
const NUM_STEPS: usize = 62;

const STEP_VALUES: usize = FRAMES_PER_STEP * NUM_MEL_BINS;

#[derive(Parser)]
#[command(about)]
enum Command {
    /// Writes FOLDER/f32.onnx, f32.aesa, int8.aesa, int8-attention.aesa and weights.safetensors (with config.json) of the same random
    /// weights, and features.f32 of a clip
    Make { size: Size, clip: PathBuf, folder: PathBuf },
    /// Scores features with a model as told on standard input
    Run {
        runtime: Runtime,
        model: PathBuf,
        features: PathBuf,
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    Starter,
    Base,
}

#[derive(Clone, Copy, ValueEnum)]
enum Runtime {
    /// The native engine or tract, as the model file asks
    Aesa,
    Rten,
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Make { size, clip, folder } => make(size, &clip, &folder),
        Command::Run { runtime: Runtime::Aesa, model, features, threads } => {
            run_aesa(&model, &read_features(&features)?, threads)
        }
        Command::Run { runtime: Runtime::Rten, model, features, threads } => {
            ensure!(
                std::env::var("RTEN_NUM_THREADS") == Ok(threads.to_string()),
                "rten reads RTEN_NUM_THREADS"
            );
            run_rten(&model, read_features(&features)?)
        }
    }
}

fn make(size: Size, clip: &Path, folder: &Path) -> Result<()> {
    let config = match size {
        Size::Starter => ModelConfig::starter(),
        Size::Base => ModelConfig::default(),
    };
    let mut info = tiny_info();
    info.policy = Policy::Windowed { window_steps: NUM_STEPS };
    let tensors = random_tensors(&config, 1)?;
    std::fs::write(
        folder.join("f32.onnx"),
        write_onnx_with(&config, &tensors, &info, &ExportOptions::default())?,
    )?;
    std::fs::write(folder.join("f32.aesa"), write_aesa(&config, &tensors, &info, Storage::F32)?)?;
    std::fs::write(folder.join("int8.aesa"), write_aesa(&config, &tensors, &info, Storage::Int8)?)?;
    let int8_attention = write_aesa(&config, &tensors, &info, Storage::Int8Attention)?;
    std::fs::write(folder.join("int8-attention.aesa"), int8_attention)?;
    std::fs::write(folder.join("weights.safetensors"), tensors.to_safetensors()?)?;
    std::fs::write(folder.join("config.json"), serde_json::to_vec(&config)?)?;
    let waveform = aesa_media::read_mono_16k(clip).with_context(|| clip.display().to_string())?;
    // Short clips go round again.
    let waveform: Vec<f32> = waveform.iter().copied().cycle().take(10 * 16_000 + 400).collect();
    let features = normalised_fbank(&waveform);
    let bytes: Vec<u8> = features[..NUM_STEPS * STEP_VALUES].iter().flat_map(|v| v.to_le_bytes()).collect();
    Ok(std::fs::write(folder.join("features.f32"), bytes)?)
}

fn read_features(path: &Path) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

fn run_aesa(path: &Path, features: &[f32], threads: usize) -> Result<()> {
    let start = Instant::now();
    let model = Model::open(path)?.with_threads(threads)?;
    let mut session = model.session();
    let mut scores = vec![Scores::default(); NUM_STEPS];
    serve(start, |run| -> Result<Vec<f32>> {
        if run {
            score(&mut session, features, &mut scores)?;
        }
        Ok(scores.iter().flat_map(|s| s.0).collect())
    })
}

fn score(session: &mut Session<'_>, features: &[f32], scores: &mut [Scores]) -> Result<()> {
    session.reset();
    Ok(session.score_window(features, scores)?)
}

fn run_rten(path: &Path, features: Vec<f32>) -> Result<()> {
    let start = Instant::now();
    let model = rten::ModelOptions::with_all_ops().prepack_weights(true).load_file(path)?;
    let input = NdTensor::from_data([1, NUM_STEPS * FRAMES_PER_STEP, NUM_MEL_BINS], features);
    let mut scores = Vec::new();
    serve(start, |run| -> Result<Vec<f32>> {
        if run {
            let output = model.run_one(input.view().into(), None)?;
            let output: NdTensor<f32, 3> = output.try_into().ok().context("frame scores have three axes")?;
            scores = output.to_vec();
        }
        Ok(scores.clone())
    })
}

/// Answers standard input; `work(true)` scores, `work(false)` gives the scores again.
fn serve(start: Instant, mut work: impl FnMut(bool) -> Result<Vec<f32>>) -> Result<()> {
    let mut out = stdout().lock();
    let open_ms = 1e3 * start.elapsed().as_secs_f64();
    // Ready to score is what has scored: some runtimes build at the first run.
    work(true)?;
    writeln!(out, "{{\"open_ms\": {open_ms}, \"load_ms\": {}}}", 1e3 * start.elapsed().as_secs_f64())?;
    out.flush()?;
    for line in stdin().lock().lines() {
        match line?.as_str() {
            "run" => {
                let start = Instant::now();
                work(true)?;
                writeln!(out, "{{\"ms\": {}}}", 1e3 * start.elapsed().as_secs_f64())?;
            }
            "end" => {
                let scores = work(false)?;
                writeln!(out, "{{\"peak_rss_bytes\": {}, \"scores\": {scores:?}}}", peak_rss_bytes()?)?;
                break;
            }
            other => bail!("{other}: neither run nor end"),
        }
        out.flush()?;
    }
    Ok(out.flush()?)
}

/// The most memory that this process has had, on Linux.
fn peak_rss_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
