//! `aesa`: perceptual audio scores on the command line.
//!
//! ```text
//! inputs.rs --> score.rs: workers --> clip.rs: decode, resample, score --> output: table, json, jsonl, csv
//! files,                  in order                     '--> spectrogram.rs --> plot.rs: SVG
//! folders, manifests
//!
//! stream/: standard input or microphone, signals --> PCM --> scorer --> JSON lines, or meters and a chart
//! ```
#![forbid(unsafe_code)]

mod atomic_file;
mod clip;
mod inputs;
mod inspect;
mod model;
mod output;
mod plot;
mod png;
mod progress;
mod score;
mod spectrogram;
mod stream;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Scores audio as listeners would: production quality and complexity, content enjoyment and usefulness, 0 to 10.
#[derive(Parser)]
#[command(name = "aesa", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Score files, folders or manifests.
    Score(Box<score::ScoreArgs>),
    /// Score raw PCM while it comes in, from standard input.
    Stream(Box<stream::StreamArgs>),
    /// Show what a model file says of itself.
    Inspect(inspect::InspectArgs),
}

const EXAMPLES: &str = "Examples:
  aesa score talk.wav song.flac         a table of four scores per file
  aesa score --plot talk.svg talk.wav   the scores over time, drawn over the spectrogram
  arecord -f S16_LE -r 16000 | aesa stream   scores while the audio comes in, as JSON lines
  aesa inspect model.onnx               which model this is, and how it was trained
  aesa score --model model.aesa talk.wav   scores by the native engine

Exit code: 0 if everything was scored, 1 if some inputs failed, 2 if nothing could be done (wrong use, no model).";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Score(args) => score::run(args),
        Command::Stream(args) => stream::run(args),
        Command::Inspect(args) => inspect::run(args),
    };
    match result {
        Ok(code) => code,
        // Whoever reads the output has seen enough.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aesa: {error:#}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        let csv = cause.downcast_ref::<csv::Error>().and_then(|e| match e.kind() {
            csv::ErrorKind::Io(e) => Some(e.kind()),
            _ => None,
        });
        [io, json, csv].contains(&Some(ErrorKind::BrokenPipe))
    })
}

/// Exit code where some inputs could not be scored.
const EXIT_SOME_FAILED: u8 = 1;

/// Exit code where nothing could be done at all; clap uses the same.
const EXIT_USAGE: u8 = 2;
