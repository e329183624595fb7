//! The attention of encoder and head: which tokens hear which, and in what pieces that is computed.
//!
//! With chunks a token hears few others, however long the clip is. A long clip's queries are taken in blocks of whole chunks, each with
//! just the keys that the mask lets through, so that memory grows with the clip's length and not with its square. Letters
//! in shapes as in [`crate::chunking`]; H heads, d width of a head.

use tch::{Device, Tensor};

use crate::chunking::{self, Chunking};
use crate::padding::Padding;
use crate::precision::operand;

/// What each token of a batch may hear.
#[derive(Debug)]
pub(crate) struct Reach {
    /// Of queries (or all alike) and keys, the first `span` of each.
    mask: Option<Tensor>,
    blocks: Vec<Block>,
    span: i64,
}

/// Queries from `start` to `end`, and the keys from `first_key` to the same end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    start: i64,
    end: i64,
    first_key: i64,
}

/// What the distance of two tokens adds to their logit.
#[derive(Debug)]
pub(crate) struct PositionBias<'a> {
    /// Of each query and key, as many as [`Reach::span`] says: `[H, span, span]`.
    pub(crate) by_pair: &'a Tensor,
    /// Factor of each query, `[B, H, T, 1]`; 1 without it.
    pub(crate) gate: Option<Tensor>,
}

impl Reach {
    /// All of a clip but its padding, or what chunks leave of it.
    pub(crate) fn new(
        padding: Option<&Padding>,
        chunking: Option<Chunking>,
        num_tokens: i64,
        device: Device,
    ) -> Self {
        let (span, blocks) = match chunking.filter(|_| padding.is_none()) {
            Some(chunking) => blocks(chunking, num_tokens),
            None => (num_tokens, vec![Block { start: 0, end: num_tokens, first_key: 0 }]),
        };
        Self { mask: chunking::attention_mask(padding, chunking, span, device), blocks, span }
    }

    /// The number of tokens whose distances a position bias has to cover.
    pub(crate) fn span(&self) -> i64 {
        self.span
    }

    /// Scaled dot-product attention of `[B, H, T, d]`.
    pub(crate) fn attend(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        bias: Option<&PositionBias<'_>>,
    ) -> Tensor {
        if let [_] = self.blocks[..] {
            let logits = self.logits(q.size()[0], bias, |x| x.shallow_clone(), |x| x.shallow_clone());
            return attend(q, k, v, logits);
        }
        let of_block = |block: &Block| {
            let (len, num_keys) = (block.end - block.start, block.end - block.first_key);
            let queries = |x: &Tensor| x.narrow(2, block.start, len);
            let keys = |x: &Tensor| x.narrow(2, block.first_key, num_keys);
            // What lies at the same distance hears alike: the corner of the table will do for any block.
            let corner = |x: &Tensor| x.narrow(-2, num_keys - len, len).narrow(-1, 0, num_keys);
            let logits = self.logits(q.size()[0], bias, queries, corner);
            attend(&queries(q), &keys(k), &keys(v), logits)
        };
        let parts: Vec<Tensor> = self.blocks.iter().map(of_block).collect();
        Tensor::cat(&parts, 2) // (B, H, T, d)
    }

    /// What is added to the logits of some queries and keys; `queries` takes the former of `[B, H, T, 1]`, `pairs` both of
    /// `[.., span, span]`.
    fn logits(
        &self,
        num_clips: i64,
        bias: Option<&PositionBias<'_>>,
        queries: impl Fn(&Tensor) -> Tensor,
        pairs: impl Fn(&Tensor) -> Tensor,
    ) -> Option<Tensor> {
        let bias = bias.map(|bias| match &bias.gate {
            Some(gate) => queries(gate) * pairs(bias.by_pair), // (B, H, queries, keys)
            None => pairs(bias.by_pair).unsqueeze(0).expand([num_clips, -1, -1, -1], false),
        });
        let mask = self.mask.as_ref().map(pairs);
        match (bias, mask) {
            (Some(bias), Some(mask)) => Some(bias + mask), // (B, H, queries, keys)
            (None, Some(mask)) => Some(mask),              // (B or 1, 1, queries or 1, keys)
            (bias, None) => bias,
        }
    }
}

fn attend(q: &Tensor, k: &Tensor, v: &Tensor, logits: Option<Tensor>) -> Tensor {
    let logits = logits.map(|logits| operand(&logits));
    Tensor::scaled_dot_product_attention(q, k, v, logits, 0.0, false, None, false)
}

/// The blocks of a clip, and how many keys one of them hears at most. It is one block where more would save nothing.
fn blocks(chunking: Chunking, num_tokens: i64) -> (i64, Vec<Block>) {
    let (chunk, left) = (chunking.tokens(), chunking.left_tokens());
    let len = chunk * (BLOCK_TOKENS / chunk).max(1);
    if num_tokens <= left + len {
        return (num_tokens, vec![Block { start: 0, end: num_tokens, first_key: 0 }]);
    }
    let of_start = |start: usize| {
        let start = start as i64;
        Block { start, end: num_tokens.min(start + len), first_key: (start - left).max(0) }
    };
    (left + len, (0..num_tokens as usize).step_by(len as usize).map(of_start).collect())
}

/// Queries of a block, about: a window of ten seconds has 496 tokens and stays whole.
const BLOCK_TOKENS: i64 = 512;

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn blocks_hold_all_queries_and_the_keys_they_may_hear() {
        for (steps, left_steps, num_tokens) in
            [(6, 12, 4000), (1, 0, 1025), (5, 200, 5000), (100, 12, 2401), (100, 0, 2400)]
        {
            let chunking = Chunking { steps, left_steps };
            let (span, blocks) = blocks(chunking, num_tokens);
            assert!(blocks.len() > 1);
            let mut next = 0;
            for block in &blocks {
                assert_eq!(block.start, next);
                assert_eq!((block.start % chunking.tokens(), block.first_key % chunking.tokens()), (0, 0));
                assert!(block.end - block.first_key <= span);
                assert!(block.first_key == 0 || block.start - block.first_key == chunking.left_tokens());
                next = block.end;
            }
            assert_eq!(next, num_tokens);
        }
        // A training window.
        assert_eq!(blocks(Chunking { steps: 1, left_steps: 0 }, 496).1.len(), 1);
    }

    #[test]
    fn blocks_of_queries_give_what_the_whole_mask_gives() {
        let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
        for (steps, left_steps) in [(6, 12), (1, 1), (5, 90), (100, 0)] {
            let chunking = Some(Chunking { steps, left_steps });
            let num_tokens = 1900;
            let [q, k, v] = [(); 3].map(|()| random(&[1, 2, num_tokens, 4]));
            let in_blocks = Reach::new(None, chunking, num_tokens, Device::Cpu);
            assert!(in_blocks.blocks.len() > 1);
            let whole = Reach {
                mask: chunking::attention_mask(None, chunking, num_tokens, Device::Cpu),
                blocks: vec![Block { start: 0, end: num_tokens, first_key: 0 }],
                span: num_tokens,
            };
            // By distance, as a position bias is.
            let by_distance = random(&[2, 2 * num_tokens - 1]);
            let by_pair = |span: i64| {
                let middle = by_distance.narrow(1, num_tokens - span, 2 * span - 1).contiguous();
                middle.unfold(1, span, 1).flip([1]) // (H, span, span)
            };
            let gate = random(&[1, 2, num_tokens, 1]);
            for is_gated in [false, true] {
                let attend = |reach: &Reach| {
                    let by_pair = by_pair(reach.span());
                    let gate = is_gated.then(|| gate.shallow_clone());
                    reach.attend(&q, &k, &v, Some(&PositionBias { by_pair: &by_pair, gate }))
                };
                let difference = (attend(&in_blocks) - attend(&whole)).abs().max().double_value(&[]);
                assert!(difference < 1e-5, "{steps}, {left_steps}: {difference}");
            }
            let difference = in_blocks.attend(&q, &k, &v, None) - whole.attend(&q, &k, &v, None);
            assert!(difference.abs().max().double_value(&[]) < 1e-5);
        }
    }
}
