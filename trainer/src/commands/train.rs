//! `aesa-trainer train`

use std::path::PathBuf;

use aesa_trainer::config::TrainConfig;
use aesa_trainer::train::{Options, train};
use anyhow::Result;

/// Trains a model on a corpus.
///
/// The corpus folder holds train.csv and validation.csv (columns sample_id, path, domain, system, PQ, PC, CE,
/// CU) and the audio they name; `aesa-trainer synth` makes one. The run folder receives config.toml (every
/// key, with its value), metrics.csv and curves.svg (updated after each epoch), run.json and best.safetensors
/// (the best weights so far). An interrupted run goes on with the same command and --resume.
#[derive(clap::Args)]
#[command(after_help = "Example:
  aesa-trainer train --config trainer/recipes/starter.toml --corpus corpus/starter --out runs/starter-1
  aesa-trainer train --config trainer/recipes/starter.toml --corpus corpus/starter --out runs/no-triplet \\
      --set triplet.alpha=0 --set seed=2")]
pub(crate) struct Arguments {
    /// Training config, TOML; a missing key has its default, an empty file is the paper's setting
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Corpus folder
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// Run folder to make
    #[arg(long, value_name = "RUNDIR")]
    out: PathBuf,
    /// Goes on with the interrupted run in --out, if there is one; it ends with the weights it would have had anyway
    #[arg(long)]
    resume: bool,
    /// Keeps the hidden states of a frozen encoder in this folder, where later runs find them (f16; 3.3 GB per hour of
    /// audio for BEATs-base)
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Overrides a key of the config, such as triplet.alpha=0; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Published BEATs checkpoint (.pt) to start the encoder from; its sizes replace [model.encoder]
    #[arg(long, value_name = "CKPT.pt")]
    init_encoder: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut config = TrainConfig::read(&arguments.config, &arguments.set)?;
    if let Some(path) = &arguments.init_encoder {
        config.init_encoder = Some(path.display().to_string());
    }
    let options = Options { resume: arguments.resume, cache: arguments.cache.as_deref() };
    let info = train(&config, &arguments.corpus, &arguments.out, options)?;
    println!(
        "best epoch {} with validation MSE {:.4} (in standard deviations squared); run folder {}",
        info.best_epoch,
        info.best_validation_mse,
        arguments.out.display()
    );
    Ok(())
}
