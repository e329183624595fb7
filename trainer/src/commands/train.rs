//! `aesa-trainer train`

use std::path::PathBuf;

use aesa_corpus::roots::Root;
use aesa_trainer::config::{DeviceName, TrainConfig};
use aesa_trainer::listing::Listing;
use aesa_trainer::train::{Options, train};
use anyhow::{Result, ensure};

/// Trains a model on rated clips.
///
/// The clips come from tables of ratings: the AudioMOS 2025 challenge's lists (CSV), Audiobox-Aesthetics' scores of
/// every rater (JSONL), or a CSV or Parquet file of your own with the columns path, PQ, PC, CE, CU (ratings from 0 to
/// 10) and, as you like, sample_id, system, domain (speech, music or sound), start and end (seconds: the part of the
/// file that was rated) and family. A relative path begins at the table's folder; --root says where the corpora
/// lie that a path like /your_path/LibriTTS/... names. Or from a corpus folder with train.csv and validation.csv, such
/// as `aesa-trainer synth` makes.
///
/// Before training starts, the clips of each corpus are counted. If some are missing or cannot be decoded,
/// RUNDIR/missing.txt lists them with the reason, and nothing is trained without --allow-missing. Clips of --train that
/// are in --dev, too, are left out of training.
///
/// The run folder receives config.toml (every key, with its value), metrics.csv and curves.svg (updated after each
/// epoch), run.json and best.safetensors (the best weights so far). An interrupted run goes on with the same command and
/// --resume.
///
/// trainer/recipes/paper.toml lists every key with its meaning and default, and what the paper says of it.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  The challenge's lists, each corpus where it lies (--root your_path=/data is a folder of them all):
  aesa-trainer train --config trainer/recipes/paper.toml --init-encoder BEATs_iter3_plus_AS2M.pt \\
      --train audiomos2025-track2-train_list.csv --dev audiomos2025-track2-dev_list.csv \\
      --root LibriTTS=/data/LibriTTS --root CommonVoice=/data/cv-corpus-13.0-2023-03-09 \\
      --root EARS=/data/EARS --root MUSDB18=/data/MUSDB18 --root MusicCaps=/data/musiccaps \\
      --root AudioSet=/data/unbalanced_train_segments --cache hidden --out runs/paper
  (hidden takes 9 MB per ten seconds of audio; the frozen encoder then runs once, not in each of up to 100 epochs)

  Every rater's scores; the clips of the dev list are left out of training:
  aesa-trainer train --config trainer/recipes/paper.toml --init-encoder BEATs_iter3_plus_AS2M.pt \\
      --train AES_natural_speech.jsonl AES_natural_music.jsonl AES_natural_sound.jsonl \\
      --dev audiomos2025-track2-dev_list.csv --root your_path=/data --cache hidden --out runs/raters

  Ratings of your own, a new head on the starter model's encoder:
  aesa-trainer train --config trainer/recipes/starter-head.toml --set init=models/starter/model.onnx \\
      --set init_parts=encoder --set labels=human \\
      --train mine.csv --dev mine-dev.parquet --out runs/mine

  A corpus folder, and another setting of two keys:
  aesa-trainer train --config trainer/recipes/starter-crops.toml --corpus corpus/starter \\
      --out runs/no-triplet --set triplet.alpha=0 --set seed=2")]
pub(crate) struct Arguments {
    /// Training config, TOML; a missing key has its default. The paper's setting is trainer/recipes/paper.toml, not an empty
    /// file: frame_weight is 1.0 and labels are proxy where nothing is said
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Tables of ratings to learn from: the challenge's CSV or JSONL, or CSV or Parquet of your own
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "dev", required_unless_present = "corpus")]
    train: Vec<PathBuf>,
    /// Tables of ratings that decide which epoch is best and when to stop
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "train")]
    dev: Vec<PathBuf>,
    /// Where a corpus lies that the tables name: NAME is what follows /your_path/ in its paths, in any case, or AudioSet
    /// or CommonVoice; your_path=DIR is a folder of all corpora. May be repeated
    #[arg(long = "root", value_name = "NAME=DIR", requires = "train")]
    roots: Vec<Root>,
    /// Corpus folder with train.csv and validation.csv, in place of --train and --dev
    #[arg(long, value_name = "DIR", conflicts_with_all = ["train", "dev"])]
    corpus: Option<PathBuf>,
    /// Trains without the clips that are missing or cannot be decoded
    #[arg(long)]
    allow_missing: bool,
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
    /// Trains on cpu, cuda or cuda:N, in place of what the config says; cuda was not tried on a GPU yet
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// Overrides a key of the config, such as triplet.alpha=0; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Published BEATs checkpoint (.pt) to start the encoder from; its sizes replace [model.encoder]
    #[arg(long, value_name = "CKPT.pt")]
    init_encoder: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut config = TrainConfig::read(&arguments.config, &arguments.set)?;
    config.device = arguments.device.unwrap_or(config.device);
    if let Some(path) = &arguments.init_encoder {
        config.init_encoder = Some(path.display().to_string());
    }
    ensure!(config.distill.is_none(), "the config has [distill], which `aesa-trainer distill` reads");
    let listing = match &arguments.corpus {
        Some(folder) => Listing::of_corpus(folder)?,
        None => Listing::of_tables(&arguments.train, &arguments.dev, &arguments.roots)?,
    };
    let options = Options {
        resume: arguments.resume,
        cache: arguments.cache.as_deref(),
        allow_missing: arguments.allow_missing,
    };
    let info = train(&config, listing, options, &arguments.out)?;
    println!(
        "best epoch {} with validation MSE {:.4} (in standard deviations squared); run folder {}",
        info.best_epoch,
        info.best_validation_mse,
        arguments.out.display()
    );
    Ok(())
}
