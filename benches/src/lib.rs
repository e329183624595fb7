//! What benchmarks share; they are in `benches/` and `examples/`, their results in `record/`.
#![forbid(unsafe_code)]

use aesa::native::AlignedBytes;
use aesa::{ModelInfo, Policy};
use aesa_export::{ModelConfig, Storage, random_tensors, tiny_info, write_aesa};

/// Steps of a chunk of [`starter_sized`]: 0.96 s.
pub const CHUNK_STEPS: usize = 6;

/// A `model.aesa` of the starter's sizes with random weights, in chunks that see 1.92 s before them.
pub fn starter_sized(storage: Storage) -> AlignedBytes {
    let policy = Policy::Chunked { chunk_steps: CHUNK_STEPS, left_steps: 2 * CHUNK_STEPS };
    let info = ModelInfo { id: "random-starter".into(), policy, ..tiny_info() };
    let config = ModelConfig::starter();
    let tensors = random_tensors(&config, 1).expect("the sizes fit");
    let bytes = write_aesa(&config, &tensors, &info, storage).expect("the sizes fit");
    AlignedBytes::from(bytes.as_slice())
}
