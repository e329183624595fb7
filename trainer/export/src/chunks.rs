//! The chunked policy of a file: docs/SPEC.md, "Windows and streams".

use aesa::Policy;
use aesa::encoder::TOKENS_PER_STEP;
use aesa::model::{KEY_WINDOW_STEPS, ModelInfo};

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

/// How a file hears a clip: in chunks, if asked for, else as the model was made to.
pub(crate) fn policy_of(info: &ModelInfo, chunks: Option<ChunkPolicy>) -> Policy {
    chunks.map_or(info.policy, |c| Policy::Chunked { chunk_steps: c.chunk_steps, left_steps: c.left_steps })
}

/// A model's metadata under a file's own policy; a chunked one's windows are those it was trained in.
pub(crate) fn policy_metadata(info: &ModelInfo, policy: Policy) -> Vec<(String, String)> {
    let mut pairs = ModelInfo { policy, ..info.clone() }.to_pairs();
    if let (Policy::Windowed { window_steps }, Policy::Chunked { .. }) = (info.policy, policy) {
        pairs.push((KEY_WINDOW_STEPS.to_string(), window_steps.to_string()));
    }
    pairs
}
