//! This trainer's half of `run.py`: training steps behind a pipe, of the network that `make` wrote.
//!
//! Standard input says `run N` (N optimiser steps in a row) or `end`. Standard output answers with one JSON line each: once
//! ready `{"scores", "batch_ms"}` of the batch and the time of putting it together in main memory, after a run
//! `{"ms", "losses"}`, at the end `{"peak_rss_bytes"}`.

use std::io::{BufRead, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::Instant;

use aesa_export::ModelConfig;
use aesa_trainer::adam::AdamW;
use aesa_trainer::config::{DeviceName, TrainConfig, TripletConfig};
use aesa_trainer::dataset::Clip;
use aesa_trainer::inputs::{Batch, Crop, Inputs};
use aesa_trainer::loss::{Loss, TargetScale, Truth};
use aesa_trainer::model::{AesaNet, ENCODER_PREFIX};
use aesa_trainer::precision::Precision;
use aesa_trainer::{environment, prefetch, train, weights};
use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use rand::SeedableRng;
use rand_pcg::Pcg64;
use tch::{Device, Kind, Tensor};

/// Ten seconds.
const NUM_STEPS: usize = 62;

/// As in `step.py`.
const SCALE: TargetScale = TargetScale { mean: [5.0; 4], std: [2.0; 4] };

#[derive(Parser)]
#[command(about)]
enum Command {
    /// Writes config.json, weights.safetensors (random) and batch.safetensors (random features and targets) into FOLDER
    Make { size: Size, batch: i64, folder: PathBuf },
    /// Takes training steps as told on standard input
    Serve {
        folder: PathBuf,
        encoder: Encoder,
        precision: String,
        #[arg(long, default_value = "cpu")]
        device: String,
        #[arg(long, default_value_t = 0)]
        threads: usize,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    Base,
    Starter,
    Tiny,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Encoder {
    /// Run in each step, and not changed
    Frozen,
    /// Run once; its hidden states are kept in main memory
    Cached,
    /// Trained, too
    FineTuned,
}

fn main() -> Result<()> {
    environment::ensure();
    match Command::parse() {
        Command::Make { size, batch, folder } => make(size, batch, &folder),
        Command::Serve { folder, encoder, precision, device, threads } => {
            train::set_threads(threads);
            let config = TrainConfig {
                device: DeviceName::try_from(device).map_err(anyhow::Error::msg)?,
                precision: match precision.as_str() {
                    "float32" => Precision::Float32,
                    "bfloat16" => Precision::Bfloat16,
                    other => bail!("unknown precision {other:?}"),
                },
                freeze_encoder: encoder != Encoder::FineTuned,
                cache_hidden_mib: if encoder == Encoder::Cached { 1 << 20 } else { 0 },
                triplet: TripletConfig { alpha: 0.0, ..TripletConfig::default() },
                model: serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?,
                ..TrainConfig::default()
            };
            serve(&config, &folder)
        }
    }
}

fn make(size: Size, batch: i64, folder: &Path) -> Result<()> {
    let mut config = match size {
        Size::Base => ModelConfig::default(),
        Size::Starter => ModelConfig::starter(),
        Size::Tiny => ModelConfig::tiny(),
    };
    // Both sides are to take the same steps.
    config.head.dropout = 0.0;
    tch::manual_seed(1);
    let net = AesaNet::new(&config);
    std::fs::write(folder.join("config.json"), serde_json::to_vec(&config)?)?;
    weights::write(&folder.join("weights.safetensors"), &weights::snapshot(&net.store))?;
    let options = (Kind::Float, Device::Cpu);
    let features = Tensor::randn([batch, 16 * NUM_STEPS as i64, 128], options).to_kind(Kind::Half);
    let targets = Tensor::rand([batch, 4], options) * 10.0;
    let tensors = [("features".to_owned(), features), ("targets".to_owned(), targets)];
    weights::write(&folder.join("batch.safetensors"), &tensors.into_iter().collect())
}

/// What a step works on.
struct Trainer<'a> {
    config: &'a TrainConfig,
    net: AesaNet,
    clips: Vec<Clip>,
    crops: Vec<Crop>,
    inputs: Inputs,
    loss: Loss,
    optimiser: AdamW,
    rng: Pcg64,
}

impl<'a> Trainer<'a> {
    fn new(config: &'a TrainConfig, folder: &Path) -> Result<Self> {
        let mut net = AesaNet::on(config.device.find()?, &config.model);
        weights::load(&mut net.store, &weights::read(&folder.join("weights.safetensors"))?, "")?;
        for (name, parameter) in net.store.variables() {
            _ = parameter.set_requires_grad(!(config.freeze_encoder && name.starts_with(ENCODER_PREFIX)));
        }
        let batch = weights::read(&folder.join("batch.safetensors"))?;
        let targets = Vec::<Vec<f64>>::try_from(batch["targets"].to_kind(Kind::Double))?;
        let clip = |(features, targets): (Tensor, Vec<f64>)| Clip {
            id: String::new(),
            domain: None,
            system: None,
            family: None,
            targets: [targets[0], targets[1], targets[2], targets[3]],
            features,
        };
        let clips: Vec<Clip> = batch["features"].unbind(0).into_iter().zip(targets).map(clip).collect();
        Ok(Self {
            config,
            crops: (0..clips.len()).map(|clip| Crop { clip, start: 0, steps: NUM_STEPS }).collect(),
            inputs: Inputs::new(config, &net, &clips, None)?,
            loss: Loss::new(config, SCALE),
            optimiser: AdamW::new(&net.store, 0.0, 0.0),
            rng: Pcg64::seed_from_u64(1),
            net,
            clips,
        })
    }

    /// Scores of the batch, 0 to 1.
    fn scores(&mut self) -> Result<Vec<f64>> {
        let batch = self.batch();
        let scores = tch::no_grad(|| self.inputs.forward(&self.net, &self.clips, &batch).clip_scores());
        Ok(Vec::try_from(scores.to_device(Device::Cpu).to_kind(Kind::Double).flatten(0, 1))?)
    }

    /// Milliseconds of putting a batch together, the median of several.
    fn batch_ms(&mut self) -> f64 {
        let mut times: Vec<f64> = (0..21)
            .map(|_| {
                let start = Instant::now();
                _ = self.batch();
                1e3 * start.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    /// The batch, in main memory.
    fn batch(&mut self) -> Batch {
        self.inputs
            .batch(&self.clips, self.crops.clone(), None, &mut self.rng)
            .expect("nobody touches the cache")
    }

    /// One step; gives its loss, which may still be on its way.
    fn step(&mut self, batch: &Batch) -> Tensor {
        let targets: Vec<_> = self.clips.iter().map(|clip| clip.targets).collect();
        let domains = vec![None; targets.len()];
        let loss = self.config.precision.scope(|| {
            let prediction = self.inputs.forward(&self.net, &self.clips, batch);
            let families = vec![None; targets.len()];
            let truth = Truth { targets: &targets, domains: &domains, families: &families, tokens: None };
            self.loss.of(&prediction, truth, &mut self.rng)
        });
        let values = loss.values();
        let TrainConfig { learning_rate, encoder_learning_rate, .. } = *self.config;
        self.optimiser.step(&loss.total, 0.0, |name| {
            if name.starts_with(ENCODER_PREFIX) { encoder_learning_rate } else { learning_rate }
        });
        values
    }

    /// Steps in a row, as training takes them: batches are made ahead, and a loss is read when the next step is on its way.
    fn run(&mut self, count: usize) -> Vec<f64> {
        let read = |values: Tensor| values.double_value(&[0]);
        let (mut losses, mut unread) = (Vec::new(), None);
        let (inputs, crops) = (self.inputs.share(), self.crops.clone());
        let clips: Vec<Clip> = self.clips.iter().map(Clip::share).collect();
        let mut rng = Pcg64::from_rng(&mut self.rng);
        let make = (0..count).map(move |_| inputs.batch(&clips, crops.clone(), None, &mut rng));
        prefetch::ahead(make, |batches| {
            for batch in batches {
                let values = self.step(&batch.expect("nobody touches the cache"));
                losses.extend(unread.replace(values).map(read));
            }
        });
        losses.extend(unread.map(read));
        if let Device::Cuda(number) = self.net.device() {
            tch::Cuda::synchronize(number as i64);
        }
        losses
    }
}

fn serve(config: &TrainConfig, folder: &Path) -> Result<()> {
    let mut trainer = Trainer::new(config, folder)?;
    answer(&serde_json::json!({ "scores": trainer.scores()?, "batch_ms": trainer.batch_ms() }))?;
    for line in stdin().lock().lines() {
        let line = line?;
        let Some(count) = line.strip_prefix("run ") else { break };
        let start = Instant::now();
        let losses = trainer.run(count.parse()?);
        let ms = 1e3 * start.elapsed().as_secs_f64();
        answer(&serde_json::json!({ "ms": ms, "losses": losses }))?;
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    answer(&serde_json::json!({ "peak_rss_bytes": 1024 * kib }))
}

fn answer(json: &serde_json::Value) -> Result<()> {
    println!("{json}");
    Ok(stdout().flush()?)
}
