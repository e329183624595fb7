//! `aesa-trainer study`

use std::path::PathBuf;

use aesa_trainer::config::TrainConfig;
use aesa_trainer::study::{self, Grid, Material};
use anyhow::Result;

/// Answers whether the triplet loss helps: trains many heads on one frozen encoder and compares them seed by seed.
///
/// For each alpha, buffer capacity and eps, and once without triplet loss, a fresh head learns per seed from the first
/// clips of the corpus's train.csv and scores its test.csv. Heads of one seed begin with the same weights and the same
/// order of clips. The hidden states of the encoder are computed once. Runs that are there already are not made again, so
/// that an interrupted study goes on with the same command, and a larger grid or more seeds add to it.
#[derive(clap::Args)]
#[command(after_help = "Example:
  aesa-trainer study --config trainer/recipes/triplet-study.toml --init runs/starter --corpus corpus/starter \\
      --cache hidden --out triplet-study

Files in --out:
  runs/NAME/config.toml      every key of a run
  runs/NAME/predictions.csv  its scores of the test clips, and their labels
  results.csv                metrics of every run, domain, axis and level
  differences.csv            MSE and SRCC: mean difference from alpha = 0 over the seeds, with its interval
  table.md                   the same over the axes; printed at the end, too
  study.json                 the last command, and the SHA-256 of the corpus's tables and of the encoder's file

Intervals are Student's, 95 %, over the seeds: they hold for this encoder, these clips and these systems.")]
pub(crate) struct Arguments {
    /// Training config of the heads, TOML; triplet.alpha, capacity, eps and seed are the grid's
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Run folder (or safetensors file, or exported model.onnx in f32) whose encoder the heads stand on; the config's
    /// `init`, if not given
    #[arg(long, value_name = "RUN")]
    init: Option<PathBuf>,
    /// Corpus folder
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// Folder of the study
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Weights of the triplet loss, beside 0
    #[arg(long, value_name = "A,..", value_delimiter = ',', default_value = "0.1,0.2,0.5")]
    alpha: Vec<f64>,
    /// Clips in the buffer
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "64,512")]
    capacity: Vec<usize>,
    /// Targets this close are alike, in standard deviations
    #[arg(long, value_name = "E,..", value_delimiter = ',', default_value = "0.25,1")]
    eps: Vec<f64>,
    /// Seeds
    #[arg(long, value_name = "S,..", value_delimiter = ',', default_value = "1,2,3,4,5")]
    seeds: Vec<u64>,
    /// Learn from the first N clips of train.csv; 0 takes all
    #[arg(long, value_name = "N", default_value_t = 0)]
    clips: usize,
    /// Keeps the hidden states in this folder, where later runs find them
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Overrides a key of the config; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut config = TrainConfig::read(&arguments.config, &arguments.set)?;
    if let Some(init) = &arguments.init {
        config.init = Some(init.display().to_string());
    }
    let grid = Grid {
        alphas: arguments.alpha.clone(),
        capacities: arguments.capacity.clone(),
        eps: arguments.eps.clone(),
        seeds: arguments.seeds.clone(),
    };
    let material =
        Material { corpus: &arguments.corpus, num_clips: arguments.clips, cache: arguments.cache.as_deref() };
    print!("{}", study::run(&config, &grid, material, &arguments.out)?);
    Ok(())
}
