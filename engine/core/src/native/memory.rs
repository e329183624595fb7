//! One piece of memory, lent or owned, cut into the state that a clip carries and the scratch that a chunk needs.

use super::attention::Attention;
use super::blstm::Blstm;
use super::branch::Branch;
use super::cache::Cache;
use super::error::ModelError;
use super::patch::PatchEmbedding;
use super::position::PositionConv;
use super::shape::Shape;
use crate::fbank::NUM_MEL_BINS;
use crate::score::{FRAMES_PER_STEP, NUM_AXES};
use aesa_kernels::Kernels;

/// How many f32 numbers each part takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    frames: usize,
    tokens: usize,
    /// Keys and values of one block.
    block_cache: usize,
    block_caches: usize,
    /// Keys and values of one branch.
    branch_cache: usize,
    branch_caches: usize,
    lstm: usize,
    hidden: usize,
    wide: usize,
    parts: PartsLayout,
}

/// How many f32 numbers each of [`Parts`] takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartsLayout {
    head: usize,
    scores: usize,
    tile: usize,
    ffn: usize,
    quantised: usize,
}

impl PartsLayout {
    /// For `tile_rows` rows at a time of a chunk.
    pub(crate) fn new(shape: &Shape, tile_rows: usize) -> Self {
        let scores = shape.query_tile() * shape.max_keys();
        let weights = if shape.int8_attention { scores } else { 0 };
        let longest_input = [shape.width, shape.ffn, shape.adapter, 2 * shape.cells, shape.shared];
        let rows = longest_input.into_iter().max().unwrap_or(0) * shape.quantised_rows();
        Self {
            head: Attention::head_len(shape).max(Branch::head_len(shape)),
            scores,
            tile: tile_rows * shape.width,
            ffn: tile_rows * shape.ffn,
            // Two 16-bit numbers in one.
            quantised: rows.max(weights).max(PositionConv::signal_len(shape)).div_ceil(2),
        }
    }

    /// Numbers in all.
    pub(crate) fn len(&self) -> usize {
        let Self { head, scores, tile, ffn, quantised } = *self;
        head + scores + tile + ffn + quantised
    }

    /// Cuts memory of at least [`len`](Self::len) numbers.
    pub(crate) fn cut<'a>(&self, mut memory: &'a mut [f32]) -> Parts<'a> {
        let mut take = |count: usize| take(&mut memory, count);
        Parts {
            head: take(self.head),
            scores: take(self.scores),
            tile: take(self.tile),
            ffn: take(self.ffn),
            quantised: bytemuck::cast_slice_mut(take(self.quantised)),
        }
    }
}

impl Layout {
    /// # Errors
    /// [`ModelError::Sizes`] if it is more than [`MAX_NUMBERS`].
    pub(crate) fn new(shape: &Shape) -> Result<Self, ModelError> {
        let too_much = ModelError::Sizes { rule: "a stream takes at most 1 GiB" };
        // Within the sizes' bounds nothing here overflows 64 bits.
        let n = |size: u64| match usize::try_from(size) {
            Ok(size) if size <= MAX_NUMBERS => Ok(size),
            _ => Err(too_much),
        };
        let [chunk, width] = [shape.chunk_tokens, shape.width].map(|v| v as u64);
        let left = shape.left_chunks as u64 * chunk;
        let cache = |count: u64| Cache::memory_len(count, shape.half_cache);
        let block_cache = cache(2 * left * width);
        let branch_cache = cache(left * (shape.shared + shape.branch_heads) as u64);
        let layout = Self {
            frames: FRAMES_PER_STEP * NUM_MEL_BINS,
            tokens: n((shape.conv_context() as u64 + chunk) * width)?,
            block_cache: n(block_cache)?,
            block_caches: n(block_cache * shape.layers as u64)?,
            branch_cache: n(branch_cache)?,
            branch_caches: n(branch_cache * NUM_AXES as u64)?,
            lstm: 2 * shape.cells * shape.lstm_layers,
            hidden: n(chunk * width)?,
            wide: n(wide(shape))?,
            parts: PartsLayout::new(shape, shape.row_tile()),
        };
        let parts = layout.state_parts().into_iter().chain(layout.scratch_parts());
        n(parts.map(|part| part as u64).sum())?;
        Ok(layout)
    }

    /// Numbers that a clip carries from chunk to chunk.
    pub(crate) fn state_len(&self) -> usize {
        self.state_parts().iter().sum()
    }

    /// Numbers in all.
    pub(crate) fn len(&self) -> usize {
        self.state_len() + self.scratch_parts().iter().sum::<usize>()
    }

    fn state_parts(&self) -> [usize; 5] {
        [self.frames, self.tokens, self.block_caches, self.branch_caches, self.lstm]
    }

    fn scratch_parts(&self) -> [usize; 4] {
        [self.hidden, self.hidden, self.wide, self.parts.len()]
    }

    /// Cuts memory of at least [`len`](Self::len) numbers.
    pub(crate) fn cut<'a>(&self, mut memory: &'a mut [f32]) -> (State<'a>, Scratch<'a>) {
        let mut take = |count: usize| take(&mut memory, count);
        let state = State {
            frames: take(self.frames),
            tokens: take(self.tokens),
            block_caches: Caches { memory: take(self.block_caches), each: self.block_cache },
            branch_caches: Caches { memory: take(self.branch_caches), each: self.branch_cache },
            lstm: take(self.lstm),
        };
        let scratch = Scratch {
            hidden: take(self.hidden),
            sum: take(self.hidden),
            wide: take(self.wide),
            parts: self.parts.cut(take(self.parts.len())),
        };
        (state, scratch)
    }
}

/// What a clip carries from chunk to chunk.
pub(crate) struct State<'a> {
    /// Frames of the step being filled: `[16, 128]`.
    pub(crate) frames: &'a mut [f32],
    /// Embedded patches: those before the chunk that the positional convolution hears, then the chunk's own.
    pub(crate) tokens: &'a mut [f32],
    pub(crate) block_caches: Caches<'a>,
    pub(crate) branch_caches: Caches<'a>,
    /// Hidden and cell state of each layer's forward direction.
    pub(crate) lstm: &'a mut [f32],
}

/// The caches of like stages, one after another.
pub(crate) struct Caches<'a> {
    memory: &'a mut [f32],
    each: usize,
}

impl Caches<'_> {
    pub(crate) fn get(&mut self, i: usize, is_half: bool, kernels: &'static Kernels) -> Cache<'_> {
        Cache::new(&mut self.memory[i * self.each..(i + 1) * self.each], is_half, kernels)
    }

    /// All `N` of them.
    #[cfg(feature = "threads")]
    pub(crate) fn all<const N: usize>(&mut self, is_half: bool, kernels: &'static Kernels) -> [Cache<'_>; N] {
        let mut memory = &mut *self.memory;
        core::array::from_fn(|_| Cache::new(take(&mut memory, self.each), is_half, kernels))
    }
}

/// What means nothing after a chunk.
pub(crate) struct Scratch<'a> {
    /// `[chunk, width]`
    pub(crate) hidden: &'a mut [f32],
    /// The head's weighted sum of the blocks' outputs: `[chunk, width]`.
    pub(crate) sum: &'a mut [f32],
    /// Whatever is wide: patches, the convolution's signal, queries with keys and values, all of the head.
    pub(crate) wide: &'a mut [f32],
    pub(crate) parts: Parts<'a>,
}

/// Scratch of attention and linear maps.
pub(crate) struct Parts<'a> {
    /// Keys and values of a block's or a branch's head.
    pub(crate) head: &'a mut [f32],
    /// `[query_tile, keys]`
    pub(crate) scores: &'a mut [f32],
    /// `[row_tile, width]`
    pub(crate) tile: &'a mut [f32],
    /// `[row_tile, ffn]`
    pub(crate) ffn: &'a mut [f32],
    /// Quantised rows, or the convolution's quantised signal.
    pub(crate) quantised: &'a mut [i16],
}

/// The most that any stage asks of [`Scratch::wide`].
fn wide(shape: &Shape) -> u64 {
    let chunk = shape.chunk_tokens;
    let per_token = |count: usize| chunk as u64 * count as u64;
    let head = head_parts(shape, chunk).iter().map(|part| *part as u64).sum();
    let stages = [PatchEmbedding::scratch_len(shape) as u64, PositionConv::signal_len(shape) as u64];
    stages.into_iter().fold(per_token(3 * shape.width).max(head), u64::max)
}

/// The head's parts of [`Scratch::wide`] for `num_tokens`: two for the BLSTM's inputs and outputs, the shared layer's
/// output, logits, and what BLSTM or branches need.
pub(crate) fn head_parts(shape: &Shape, num_tokens: usize) -> [usize; 5] {
    let sequence = num_tokens * shape.adapter.max(2 * shape.cells);
    let stages = Blstm::scratch_len(shape, num_tokens).max(Branch::wide_len(shape, num_tokens));
    [sequence, sequence, num_tokens * shape.shared, num_tokens * NUM_AXES, stages]
}

/// Cuts the first `count` numbers off.
pub(crate) fn take<'a>(memory: &mut &'a mut [f32], count: usize) -> &'a mut [f32] {
    let (first, rest) = core::mem::take(memory).split_at_mut(count);
    *memory = rest;
    first
}

/// The most that a stream may take, 1 GiB: a bound on what a made-up file can ask for, far above any model's.
const MAX_NUMBERS: usize = 1 << 28;
