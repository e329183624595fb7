//! `aesa-trainer features`

use std::path::PathBuf;

use aesa_trainer::beats::Beats;
use aesa_trainer::checkpoint::Checkpoint;
use aesa_trainer::dataset::read_features;
use aesa_trainer::dropout::Dropout;
use aesa_trainer::weights::{self, NamedTensors};
use anyhow::{Context, Result};
use tch::nn::VarStore;
use tch::{Device, Kind};

/// Saves what a published BEATs encoder makes of an audio file.
///
/// The safetensors file holds, [tokens, width] each: `patch_embedding`; `hidden.0`, the first block's input
/// (after the encoder's first norm); `hidden.1` to `hidden.N`, the blocks' outputs; and for a fine-tuned
/// checkpoint `class_probabilities` [classes]. Eight tokens, one per 16 mel bins, make one step of 160 ms.
/// The whole file is encoded at once.
#[derive(clap::Args)]
#[command(after_help = "Example:
  aesa-trainer features --encoder BEATs_iter3_plus_AS2M.pt clip.wav -o clip.safetensors")]
pub(crate) struct Arguments {
    /// Published BEATs checkpoint
    #[arg(long, value_name = "CKPT.pt")]
    encoder: PathBuf,
    /// Audio of any supported format, at least 175 ms
    #[arg(value_name = "AUDIO")]
    audio: PathBuf,
    /// File to write
    #[arg(short, long, value_name = "FILE.safetensors")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let checkpoint = Checkpoint::read(&arguments.encoder)
        .with_context(|| format!("cannot use {}", arguments.encoder.display()))?;
    let mut store = VarStore::new(Device::Cpu);
    let beats = Beats::new(&store.root(), &checkpoint.encoder, checkpoint.num_classes);
    weights::load(&mut store, &checkpoint.tensors, "")?;
    let features = read_features(&arguments.audio, Kind::Float)?.unsqueeze(0); // (1, F, 128)
    let encoded = tch::no_grad(|| beats.forward(&features, None, None, Dropout::Off));
    let mut tensors = NamedTensors::new();
    tensors.insert("patch_embedding".to_string(), encoded.patch_embedding.get(0));
    for (n, hidden) in encoded.hidden.iter().enumerate() {
        tensors.insert(format!("hidden.{n}"), hidden.get(0));
    }
    if let Some(probabilities) = tch::no_grad(|| beats.class_probabilities(&encoded)) {
        tensors.insert("class_probabilities".to_string(), probabilities.get(0));
    }
    weights::write(&arguments.out, &tensors)?;
    let size = encoded.hidden[0].size();
    println!(
        "wrote {}: {} hidden states of {} tokens by {}",
        arguments.out.display(),
        encoded.hidden.len(),
        size[1],
        size[2]
    );
    Ok(())
}
