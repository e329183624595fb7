//! The chunked policy of a file: docs/SPEC.md, "Windows and streams".

use aesa::encoder::TOKENS_PER_STEP;
use aesa::model::{KEY_POLICY, ModelInfo};

/// The chunked policy: docs/SPEC.md, "Windows and streams".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPolicy {
    /// Steps of a chunk.
    pub chunk_steps: usize,
    /// Steps before its chunk that a token sees, rounded up to whole chunks.
    pub left_steps: usize,
}

impl ChunkPolicy {
    /// Tokens before a chunk whose keys and values are kept.
    pub(crate) fn kept_tokens(self) -> usize {
        let left = self.left_steps.div_ceil(self.chunk_steps.max(1)).saturating_mul(self.chunk_steps);
        left.saturating_mul(TOKENS_PER_STEP)
    }
}

/// A model's metadata, with chunks in place of windows where there are any.
pub(crate) fn policy_metadata(info: &ModelInfo, chunks: Option<ChunkPolicy>) -> Vec<(String, String)> {
    let mut pairs = info.to_pairs();
    if let Some(chunks) = chunks {
        let policy = pairs.iter_mut().filter(|(key, _)| key == KEY_POLICY);
        policy.for_each(|(_, value)| *value = "chunked".to_string());
        pairs.push((KEY_CHUNK_STEPS.to_string(), chunks.chunk_steps.to_string()));
        pairs.push((KEY_LEFT_STEPS.to_string(), chunks.left_steps.to_string()));
    }
    pairs
}

/// Metadata key: steps of a chunk.
pub const KEY_CHUNK_STEPS: &str = "aesa.chunk_steps";

/// Metadata key: steps before its chunk that a token sees, at least.
pub const KEY_LEFT_STEPS: &str = "aesa.left_steps";
