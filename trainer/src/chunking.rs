//! The chunked policy of `docs/SPEC.md`: what each token may hear, so that one model also scores a stream chunk by chunk.
//!
//! Three places look ahead: the attention (masked to a token's own chunk and some before it), the positional convolution
//! and the backward LSTM (both run with chunks in the batch dimension, zeros past each chunk's end). Letters in shapes:
//! B clips, T tokens, N chunks, C tokens of a chunk, D width.

use core::fmt;

use aesa::encoder::TOKENS_PER_STEP;
use tch::{Device, Kind, Tensor};

use crate::padding::Padding;
use crate::upload::upload;

/// How time is cut, from the first step of what the network is given: a clip, or a crop of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    /// Steps of a chunk, at least 1. The last chunk may be shorter.
    pub steps: usize,
    /// At least as many steps before its chunk are attended to; see [`Self::left_chunks`].
    pub left_steps: usize,
}

impl Chunking {
    /// Whole chunks before its own that a token attends to: `ceil(left_steps / steps)`.
    pub const fn left_chunks(self) -> usize {
        self.left_steps.div_ceil(self.steps)
    }

    /// Itself where it cuts so many tokens; a single chunk is the full context.
    pub(crate) fn cutting(self, num_tokens: i64) -> Option<Self> {
        (self.tokens() < num_tokens).then_some(self)
    }

    /// Tokens of a chunk.
    pub(crate) fn tokens(self) -> i64 {
        (self.steps * TOKENS_PER_STEP) as i64
    }

    /// Tokens before its chunk that a token attends to, where there are so many.
    pub(crate) fn left_tokens(self) -> i64 {
        self.left_chunks() as i64 * self.tokens()
    }

    /// Each chunk with the `left` tokens before it, of `[B, T, D]`: `[B * N, D, left + C]`. Zeros stand before the
    /// first token and after the last.
    pub(crate) fn with_left_context(self, x: &Tensor, left: i64) -> Tensor {
        let (chunk, behind) = (self.tokens(), self.missing(x.size()[1]));
        let x = x.transpose(1, 2).constant_pad_nd([left, behind]); // (B, D, left + N*C)
        x.unfold(2, left + chunk, chunk).transpose(1, 2).flatten(0, 1) // (B, N, D, left + C) to (B*N, D, left + C)
    }

    /// Chunks `[B * N, C, D]` in the order of time: `[B, T, D]`.
    pub(crate) fn join(self, x: &Tensor, num_tokens: i64) -> Tensor {
        let num_chunks = (num_tokens + self.missing(num_tokens)) / self.tokens();
        x.unflatten(0, [-1, num_chunks]).flatten(1, 2).narrow(1, 0, num_tokens) // (B, N, C, D) to (B, T, D)
    }

    /// Runs `scan` backwards through each chunk by itself: it gets `[B * N, C, D]`, each chunk's last token first, and
    /// gives `[B * N, C, E]`; all is `[B, T, D]` to `[B, T, E]`.
    ///
    /// What stands past a clip's end, in a chunk or a batch, is scanned after the clip's own tokens.
    pub(crate) fn backwards(
        self,
        x: &Tensor,
        padding: Option<&Padding>,
        scan: impl FnOnce(&Tensor) -> Tensor,
    ) -> Tensor {
        let num_tokens = x.size()[1];
        let order = self.reversed(num_tokens, padding, x.device()); // (B or 1, N*C)
        let x = x.constant_pad_nd([0, 0, 0, self.missing(num_tokens)]); // (B, N*C, D)
        let y = scan(&take(&x, &order).unflatten(1, [-1, self.tokens()]).flatten(0, 1)); // (B*N, C, E)
        let y = self.join(&y, order.size()[1]); // (B, N*C, E)
        take(&y, &order).narrow(1, 0, num_tokens) // turning twice is no turn
    }

    /// Tokens that the last chunk lacks.
    fn missing(self, num_tokens: i64) -> i64 {
        (-num_tokens).rem_euclid(self.tokens())
    }

    /// Where the token lies that comes in a place when each chunk is turned: `[B, N * C]`, or `[1, N * C]` without
    /// padding.
    fn reversed(self, num_tokens: i64, padding: Option<&Padding>, device: Device) -> Tensor {
        let lengths = padding.map_or_else(|| vec![num_tokens], |p| p.lengths().to_vec());
        let lengths = upload(&Tensor::from_slice(&lengths), device).unsqueeze(1); // (B, 1)
        let place = Tensor::arange(num_tokens + self.missing(num_tokens), (Kind::Int64, device)); // (N*C)
        let start = self.of_place(&place) * self.tokens();
        let end = lengths.minimum(&(&start + self.tokens())); // (B, N*C)
        (&start + &end - 1 - &place).where_self(&place.lt_tensor(&end), &place)
    }

    /// The number of the chunk that a token lies in.
    fn of_place(self, place: &Tensor) -> Tensor {
        place.divide_scalar_mode(self.tokens(), "floor")
    }

    /// Which token (row) may attend to which (column): 0 or minus infinity, `[T, T]`.
    fn mask(self, num_tokens: i64, device: Device) -> Tensor {
        let chunk = self.of_place(&Tensor::arange(num_tokens, (Kind::Int64, device)));
        let back = chunk.unsqueeze(1) - chunk.unsqueeze(0); // (T, T), chunks from key to query
        let is_hidden = back.lt(0).logical_or(&back.gt(self.left_chunks() as i64));
        Tensor::zeros([num_tokens, num_tokens], (Kind::Float, device))
            .masked_fill(&is_hidden, f64::NEG_INFINITY)
    }
}

impl fmt::Display for Chunking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunked, {} steps, {} to the left", self.steps, self.left_steps)
    }
}

/// What is added to attention logits `[B, H, T, T]`: `[B or 1, 1, T or 1, T]`.
///
/// Without chunks it hides the padding from all queries. With chunks that would leave some padded queries without any
/// key, and the softmax of nothing is NaN: there each token attends to itself, whatever it is.
pub(crate) fn attention_mask(
    padding: Option<&Padding>,
    chunking: Option<Chunking>,
    num_tokens: i64,
    device: Device,
) -> Option<Tensor> {
    let Some(chunking) = chunking.and_then(|c| c.cutting(num_tokens)) else {
        return padding.map(|padding| padding.key_mask().shallow_clone()); // (B, 1, 1, T)
    };
    let mask = chunking.mask(num_tokens, device).unsqueeze(0).unsqueeze(0); // (1, 1, T, T)
    let Some(padding) = padding else { return Some(mask) };
    let itself = Tensor::eye(num_tokens, (Kind::Bool, device));
    Some((mask + padding.key_mask()).masked_fill(&itself, 0.0)) // (B, 1, T, T)
}

/// `[B, T, D]` with its tokens in the order `[B or 1, T]`.
fn take(x: &Tensor, order: &Tensor) -> Tensor {
    x.gather(1, &order.unsqueeze(2).expand_as(x), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(x: &Tensor) -> Vec<Vec<i64>> {
        x.unbind(0).iter().map(|row| Vec::try_from(row.to_kind(Kind::Int64)).unwrap()).collect()
    }

    #[test]
    fn left_steps_are_rounded_up_to_chunks() {
        for (steps, left_steps, left_chunks) in [(6, 12, 2), (24, 12, 1), (5, 12, 3), (12, 0, 0), (1, 1, 1)] {
            assert_eq!(Chunking { steps, left_steps }.left_chunks(), left_chunks);
        }
    }

    #[test]
    fn a_single_chunk_cuts_nothing() {
        let chunking = Chunking { steps: 2, left_steps: 0 };
        assert_eq!((chunking.cutting(16), chunking.cutting(17)), (None, Some(chunking)));
        assert!(attention_mask(None, Some(chunking), 16, Device::Cpu).is_none());
    }

    #[test]
    fn a_token_attends_to_its_chunk_and_those_before() {
        for (left_steps, left_chunks) in [(0, 0), (1, 1), (2, 2)] {
            let chunking = Chunking { steps: 1, left_steps };
            let mask = attention_mask(None, Some(chunking), 28, Device::Cpu).unwrap();
            let hears = |query: i64, key: i64| mask.double_value(&[0, 0, query, key]) == 0.0;
            for query in 0..28 {
                for key in 0..28 {
                    let expected = key / 8 <= query / 8 && query / 8 <= key / 8 + left_chunks;
                    assert_eq!(hears(query, key), expected, "{left_steps}: {query} {key}");
                }
            }
        }
    }

    #[test]
    fn chunks_are_turned_up_to_each_clips_end() {
        let chunking = Chunking { steps: 1, left_steps: 0 };
        let padding = Padding::of(&[11, 3], Device::Cpu);
        let order = rows(&chunking.reversed(11, padding.as_ref(), Device::Cpu));
        assert_eq!(order[0], [7, 6, 5, 4, 3, 2, 1, 0, 10, 9, 8, 11, 12, 13, 14, 15]);
        assert_eq!(order[1], [2, 1, 0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(rows(&chunking.reversed(11, None, Device::Cpu)), order[..1]);
        let x = Tensor::arange(22, (Kind::Float, Device::Cpu)).view([2, 11, 1]);
        assert_eq!(chunking.backwards(&x, padding.as_ref(), |y| y * 2.0), &x * 2.0);
        // What a running sum has gathered from a chunk's end.
        let sums = chunking.backwards(&Tensor::ones_like(&x), None, |y| y.cumsum(1, Kind::Float));
        assert_eq!(rows(&sums.squeeze_dim(2))[1], [8, 7, 6, 5, 4, 3, 2, 1, 3, 2, 1]);
    }

    #[test]
    fn left_context_is_the_tokens_before_a_chunk() {
        let chunking = Chunking { steps: 1, left_steps: 0 };
        let x = Tensor::arange_start(1, 12, (Kind::Float, Device::Cpu)).view([1, 11, 1]);
        let parts = chunking.with_left_context(&x, 3);
        assert_eq!(
            rows(&parts.squeeze_dim(1)),
            [[0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], [6, 7, 8, 9, 10, 11, 0, 0, 0, 0, 0]]
        );
        assert_eq!(chunking.join(&parts.narrow(2, 3, 8).transpose(1, 2), 11), x);
    }
}
