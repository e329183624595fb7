//! What benchmarks share; they are in `benches/` and `examples/`, their results in `record/`.
#![forbid(unsafe_code)]

use aesa::model::{Labels, ModelInfo};
use aesa::native::{AlignedBytes, Policy};
use aesa_export::{AesaOptions, ChunkPolicy, ModelConfig, Storage, random_tensors, write_aesa};

/// Steps of a chunk of [`starter_sized`]: 0.96 s.
pub const CHUNK_STEPS: usize = 6;

/// A `model.aesa` of the starter's sizes with random weights, in chunks that see 1.92 s before them.
pub fn starter_sized(storage: Storage) -> AlignedBytes {
    let info = ModelInfo {
        id: "random-starter".into(),
        version: "0".into(),
        target_mean: [5.0; 4],
        target_std: [1.0; 4],
        policy: Policy::Windowed { window_steps: 62 },
        labels: Labels::Proxy,
        run_hash: "0".into(),
    };
    let config = ModelConfig::starter();
    let chunks = Some(ChunkPolicy { chunk_steps: CHUNK_STEPS, left_steps: 2 * CHUNK_STEPS });
    let tensors = random_tensors(&config, 1).expect("the sizes fit");
    let bytes =
        write_aesa(&config, &tensors, &info, &AesaOptions { storage, chunks }).expect("the sizes fit");
    AlignedBytes::from(bytes.as_slice())
}
