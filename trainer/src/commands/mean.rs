//! `aesa-trainer mean`

use std::path::PathBuf;

use aesa_trainer::mean::mean;
use anyhow::Result;

/// Takes the mean of several runs' weights.
///
/// The result is a run folder that `eval` and `export` take like any other. The runs must be of one model, and should have begun with the
/// same weights (`--set init=RUNDIR`): the mean of others is noise. How good it is, only `eval` tells.
#[derive(clap::Args)]
#[command(after_help = "Example:
  aesa-trainer mean runs/seed1 runs/seed2 --out runs/mean
  aesa-trainer eval --model runs/mean --corpus corpus/starter --split test")]
pub(crate) struct Arguments {
    /// Run folders of `aesa-trainer train`, two or more
    #[arg(value_name = "RUNDIR", num_args = 2.., required = true)]
    runs: Vec<PathBuf>,
    /// Run folder to make
    #[arg(long, value_name = "RUNDIR")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let info = mean(&arguments.runs, &arguments.out)?;
    println!(
        "wrote {}: the mean of {} runs, {}",
        arguments.out.display(),
        arguments.runs.len(),
        info.run_hash
    );
    Ok(())
}
