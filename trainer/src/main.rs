//! `aesa-trainer`: makes corpora, trains AESA-Net, measures it and exports it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod commands;

/// Makes corpora, trains AESA-Net on them, measures models and exports them to ONNX.
///
/// The way from sound to a model: `synth` (or your own rated corpus), `train`, `eval`, `export`; `aesa score`
/// then uses the model.
#[derive(Parser)]
#[command(name = "aesa-trainer", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Synth(commands::synth::Arguments),
    Train(commands::train::Arguments),
    Distill(commands::distill::Arguments),
    Study(commands::study::Arguments),
    Mean(commands::mean::Arguments),
    Eval(commands::eval::Arguments),
    Export(commands::export::Arguments),
    Features(commands::features::Arguments),
}

fn main() -> ExitCode {
    aesa_trainer::environment::ensure();
    let result = match Arguments::parse().command {
        Command::Synth(arguments) => commands::synth::run(&arguments),
        Command::Train(arguments) => commands::train::run(&arguments),
        Command::Distill(arguments) => commands::distill::run(&arguments),
        Command::Study(arguments) => commands::study::run(&arguments),
        Command::Mean(arguments) => commands::mean::run(&arguments),
        Command::Eval(arguments) => commands::eval::run(&arguments),
        Command::Export(arguments) => commands::export::run(&arguments),
        Command::Features(arguments) => commands::features::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
