//! `aesa-trainer distill`

use std::path::PathBuf;

use aesa_corpus::roots::Root;
use aesa_trainer::config::{DeviceName, TrainConfig};
use aesa_trainer::distill::{DistillConfig, teacher_config};
use aesa_trainer::listing::Listing;
use aesa_trainer::train::{Options, train};
use anyhow::Result;

/// Trains a small student to say what a trained teacher says, on audio that nobody rated.
///
/// The student learns the teacher's clip scores, the score of every token, and its hidden states (through a learned
/// linear layer per pair of blocks, which is dropped afterwards). The audio is any folder of files, cut into pieces of
/// window_steps (ten seconds), of which some files are held out to validate; or the clips of a corpus or of tables, whose
/// ratings are not looked at. Silence, other languages or noise are as good as anything the student is to be used on.
///
/// The run folder is that of `train`: validation is the MSE against the teacher's scores of audio held out, in the
/// teacher's standard deviations squared; `eval` and `export` take it, and --resume goes on with an interrupted run.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  a student of half the size of the starter model that ships, on any audio:
    aesa-trainer distill --teacher models/starter/model.onnx --config trainer/recipes/starter-student.toml \\
        --audio recordings more/recordings --out runs/student
  on a corpus, without its labels, then measured with them:
    aesa-trainer distill --teacher runs/starter --config trainer/recipes/starter-student.toml \\
        --corpus corpus/starter --out runs/student
    aesa-trainer eval --model runs/student --corpus corpus/starter --split test

Keys of the config's [distill], beside those of `train`; the loss is that of `train`, with the teacher's score of a clip
as its target, and the teacher's score of each token as that token's (frame_weight):
  hidden_weight      weight of the loss on hidden states (1.0; 0 learns from the scores alone)
  hidden_loss        \"l1-cosine\" (mean absolute difference, and one minus the cosine) or \"mse\"
  layers             pairs of blocks, [[student, teacher], ...], from 1; by default evenly spread, the last at the last
  from_teacher       begins with the teacher's parameters where names and shapes agree (false)
  mix_share          share of the training crops that another one is mixed into, -15 to 15 dB (0)
  validation_share   share of the files of --audio that validate (0.05; at least one file)")]
pub(crate) struct Arguments {
    /// The model to learn from: a run folder, or an exported model.onnx (f32) with its run's config.toml beside it
    #[arg(long, value_name = "RUNDIR|FILE.onnx")]
    teacher: PathBuf,
    /// The student's training config, TOML; a missing key has its default
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folders of audio, with all below them, or audio files
    #[arg(long, value_name = "PATH", num_args = 1.., required_unless_present_any = ["corpus", "train"])]
    audio: Vec<PathBuf>,
    /// Corpus folder: the clips of train.csv to learn from, those of validation.csv to validate
    #[arg(long, value_name = "DIR", conflicts_with_all = ["audio", "train"])]
    corpus: Option<PathBuf>,
    /// Tables of clips to learn from, as `train` reads them
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "dev", conflicts_with = "audio")]
    train: Vec<PathBuf>,
    /// Tables of clips to validate on
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "train")]
    dev: Vec<PathBuf>,
    /// Where a corpus lies that the tables name; see `train --help`. May be repeated
    #[arg(long = "root", value_name = "NAME=DIR", requires = "train")]
    roots: Vec<Root>,
    /// Goes on without the files that are missing or cannot be decoded
    #[arg(long)]
    allow_missing: bool,
    /// Run folder to make
    #[arg(long, value_name = "RUNDIR")]
    out: PathBuf,
    /// Goes on with the interrupted run in --out, if there is one
    #[arg(long)]
    resume: bool,
    /// Trains on cpu, cuda or cuda:N, in place of what the config says; cuda was not tried on a GPU yet
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// Overrides a key of the config, such as distill.hidden_weight=0; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut config = TrainConfig::read(&arguments.config, &arguments.set)?;
    config.device = arguments.device.unwrap_or(config.device);
    let teacher = arguments.teacher.display().to_string();
    let distill = DistillConfig { teacher, ..config.distill.unwrap_or_default() };
    // What the teacher learned from is what the student's scores mean.
    config.labels = teacher_config(&arguments.teacher)?.labels;
    let listing = match &arguments.corpus {
        Some(folder) => Listing::of_corpus(folder)?,
        None if arguments.audio.is_empty() => {
            Listing::of_tables(&arguments.train, &arguments.dev, &arguments.roots)?
        }
        None => Listing::of_audio(&arguments.audio, distill.validation_share, config.window_steps)?,
    };
    config.distill = Some(distill);
    let options = Options { resume: arguments.resume, cache: None, allow_missing: arguments.allow_missing };
    let info = train(&config, listing, options, &arguments.out)?;
    println!(
        "best epoch {} with MSE {:.4} against the teacher (in its standard deviations squared); run folder {}",
        info.best_epoch,
        info.best_validation_mse,
        arguments.out.display()
    );
    Ok(())
}
