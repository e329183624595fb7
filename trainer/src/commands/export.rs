//! `aesa-trainer export`

use std::path::PathBuf;

use aesa_trainer::export::export;
use aesa_trainer::run::RunFolder;
use anyhow::{Context, Result};

/// Writes a run's best weights as model.onnx, and checks the file.
///
/// The file is read back by the runtime that `aesa score` uses. Only if its frame and clip scores equal the
/// trained network's within 1e-4 on the check clips is it written.
#[derive(clap::Args)]
#[command(after_help = "Example:
  aesa-trainer export --run runs/starter-1 --out model.onnx --check talk.wav
  aesa score --model model.onnx talk.wav")]
pub(crate) struct Arguments {
    /// Run folder of `aesa-trainer train`
    #[arg(long, value_name = "RUNDIR")]
    run: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,
    /// More audio to check with, beside the built-in clips; may be repeated
    #[arg(long, value_name = "AUDIO")]
    check: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let read = |path: &PathBuf| {
        aesa_media::read_mono_16k(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let clips = arguments.check.iter().map(read).collect::<Result<Vec<_>>>()?;
    let worst = export(&RunFolder::open(&arguments.run), &arguments.out, &clips)?;
    println!("wrote {}; largest difference of a score: {worst:.1e}", arguments.out.display());
    Ok(())
}
