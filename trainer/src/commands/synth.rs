//! `aesa-trainer synth`

use std::path::PathBuf;

use aesa_corpus::synth::{self, Progress, SynthConfig};
use anyhow::Result;

/// Makes a corpus with proxy labels from folders of recordings.
///
/// Mixes and degrades recordings, and labels the results without listeners: PQ from ViSQOL against the clean
/// mix, PC from the number of sources heard, CE and CU by regression on human ratings of other clips. The
/// same command gives the same corpus; an interrupted one continues where it stopped. Needs ffmpeg and
/// espeak-ng and two SoundFonts, unless the config leaves them out.
#[derive(clap::Args)]
#[command(after_help = "Example:
  apt-get install ffmpeg espeak-ng fluid-soundfont-gm timgm6mb-soundfont
  aesa-trainer synth --config trainer/corpus/recipes/starter.toml --audio recordings --labels labels --out corpus/starter")]
pub(crate) struct Arguments {
    /// Corpus config, TOML; its [[sources]] name the folders of recordings
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folder that the config's sources lie in; replaces its `audio`
    #[arg(long, value_name = "DIR")]
    audio: Option<PathBuf>,
    /// Folder of human ratings (the challenge's lists); replaces the config's `labels`
    #[arg(long, value_name = "DIR")]
    labels: Option<PathBuf>,
    /// Corpus folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut config = SynthConfig::read(&arguments.config)?;
    if let Some(audio) = &arguments.audio {
        config.audio.clone_from(audio);
    }
    if let Some(labels) = &arguments.labels {
        config.labels.clone_from(labels);
    }
    let info = synth::run(&config, &arguments.out, &Progress::stderr())?;
    for (table, count) in &info.num_clips {
        println!("{table}: {count} clips");
    }
    println!("corpus {} in {}", info.sha256, arguments.out.display());
    Ok(())
}
