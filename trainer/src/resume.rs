//! What an interrupted run goes on from: one file, written whole after every epoch.
//!
//! Random numbers need not be kept: each epoch draws its own from the seed and its number.

use std::path::Path;

use anyhow::{Context, Result};
use tch::nn::VarStore;
use tch::{Kind, Tensor};

use crate::adam::AdamW;
use crate::buffer::TripletBuffer;
use crate::run::EpochRecord;
use crate::weights::{self, NamedTensors};

const WEIGHTS: &str = "weights.";
const OPTIMISER: &str = "optimiser.";
const EMBEDDINGS: &str = "buffer.embeddings";
const TARGETS: &str = "buffer.targets";
const RECORDS: &str = "records";

/// Writes the state at the end of an epoch.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(
    path: &Path,
    store: &VarStore,
    optimiser: &AdamW,
    buffer: &TripletBuffer,
    records: &[EpochRecord],
) -> Result<()> {
    let mut tensors = weights::prefixed(weights::snapshot(store), WEIGHTS);
    tensors.extend(weights::prefixed(optimiser.state(), OPTIMISER));
    if !buffer.is_empty() {
        tensors.insert(EMBEDDINGS.to_owned(), buffer.embeddings());
        tensors.insert(TARGETS.to_owned(), buffer.targets());
    }
    tensors.insert(RECORDS.to_owned(), Tensor::from_slice(&serde_json::to_vec(records)?));
    weights::write(path, &tensors)
}

/// Sets network, optimiser and buffer as they were; gives the epochs so far.
///
/// # Errors
/// Where the file cannot be read or is of another network.
pub fn read(
    path: &Path,
    store: &mut VarStore,
    optimiser: &mut AdamW,
    buffer: &mut TripletBuffer,
) -> Result<Vec<EpochRecord>> {
    let tensors = weights::read(path)?;
    let below = |prefix: &str| -> NamedTensors {
        let names = tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?, t)));
        names.map(|(name, t)| (name.to_owned(), t.shallow_clone())).collect()
    };
    weights::load(store, &below(WEIGHTS), "")?;
    optimiser.load_state(&below(OPTIMISER))?;
    if let Some((embeddings, targets)) = tensors.get(EMBEDDINGS).zip(tensors.get(TARGETS)) {
        let targets = Vec::<f64>::try_from(targets.flatten(0, -1))?;
        buffer.push(&embeddings.to_device(store.device()), targets.as_chunks().0);
    }
    let records = tensors.get(RECORDS).with_context(|| format!("{} lacks {RECORDS}", path.display()))?;
    Ok(serde_json::from_slice(&Vec::<u8>::try_from(records.to_kind(Kind::Uint8))?)?)
}
