//! The network's sizes, checked, in the form that the stages use.

use aesa_kernels::attention::{MAX_QUERY_TILE, QUERY_TILE};

use super::error::ModelError;
use super::format::{Sizes, flag};
use crate::encoder::TOKENS_PER_STEP;
use crate::policy::{MAX_STEPS, Policy};

/// Sizes that hold together: everything here may be used without another check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) embed: usize,
    pub(crate) width: usize,
    pub(crate) layers: usize,
    pub(crate) ffn: usize,
    pub(crate) heads: usize,
    pub(crate) taps: usize,
    pub(crate) groups: usize,
    /// Largest distance of the position bias, 0 without one.
    pub(crate) far: usize,
    pub(crate) is_gated: bool,
    pub(crate) deep_norm: bool,
    pub(crate) norm_first: bool,
    pub(crate) head_norm: bool,
    pub(crate) half_cache: bool,
    pub(crate) int8_attention: bool,
    pub(crate) adapter: usize,
    pub(crate) cells: usize,
    pub(crate) lstm_layers: usize,
    pub(crate) shared: usize,
    pub(crate) branch_heads: usize,
    pub(crate) policy: Policy,
    /// Tokens of a whole chunk (or window).
    pub(crate) chunk_tokens: usize,
    /// Chunks before its own that a token sees.
    pub(crate) left_chunks: usize,
}

/// The widest network that is narrow: its largest weights, int8, fit into a small second cache.
const NARROW: usize = 256;

/// Tokens of the longest chunk that is short.
const SHORT: usize = 64;

/// A bound on memory: a chunk has up to 8192 tokens.
const MAX_ROW_TILE: usize = 512;

/// Of a narrow network's longest rows so many are quantised at a time, of others' all that a tile of rows has at one byte a number. The kernels
/// take fewer if that suits their caches.
const MAX_QUANTISED_ROWS: usize = 64;

impl Shape {
    /// # Errors
    /// [`ModelError::Sizes`] with the first rule that does not hold.
    pub(crate) fn new(sizes: &Sizes) -> Result<Self, ModelError> {
        let rules = rules(sizes);
        if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
            return Err(ModelError::Sizes { rule });
        }
        let n = |size: u32| size as usize;
        let has = |bit: u32| sizes.flags & bit != 0;
        let (policy, steps, left_chunks) = match sizes.window_steps {
            0 => {
                let (chunk_steps, left_steps) = (n(sizes.chunk_steps), n(sizes.left_steps));
                let policy = Policy::Chunked { chunk_steps, left_steps };
                (policy, chunk_steps, left_steps.div_ceil(chunk_steps))
            }
            steps => (Policy::Windowed { window_steps: n(steps) }, n(steps), 0),
        };
        Ok(Self {
            embed: n(sizes.embed_dim),
            width: n(sizes.width),
            layers: n(sizes.layers),
            ffn: n(sizes.ffn),
            heads: n(sizes.heads),
            taps: n(sizes.conv_taps),
            groups: n(sizes.conv_groups),
            far: n(sizes.max_distance),
            is_gated: has(flag::GATED),
            deep_norm: has(flag::DEEP_NORM),
            norm_first: has(flag::NORM_FIRST),
            head_norm: has(flag::HEAD_NORM),
            half_cache: has(flag::HALF_CACHE),
            int8_attention: has(flag::INT8_ATTENTION),
            adapter: n(sizes.adapter),
            cells: n(sizes.lstm_cells),
            lstm_layers: n(sizes.lstm_layers),
            shared: n(sizes.shared),
            branch_heads: n(sizes.branch_heads),
            policy,
            chunk_tokens: steps * TOKENS_PER_STEP,
            left_chunks,
        })
    }

    /// Rows that pass through a block's feed-forward part at a time: as many as a chunk has, since weights are read once for
    /// all of them. Small devices have narrow models and short chunks, and no memory for that.
    pub(crate) fn row_tile(&self) -> usize {
        if self.is_small() { 16 } else { self.chunk_tokens.min(MAX_ROW_TILE) }
    }

    /// Whether its products are those of every processor, to the last bit.
    pub(crate) fn is_narrow(&self) -> bool {
        self.width <= NARROW
    }

    /// Queries whose scores exist at a time.
    pub(crate) fn query_tile(&self) -> usize {
        match self.int8_attention {
            _ if self.is_small() => 16,
            true => MAX_QUERY_TILE,
            false => QUERY_TILE,
        }
    }

    fn is_small(&self) -> bool {
        self.is_narrow() && self.chunk_tokens <= SHORT
    }

    /// The longest rows that are quantised at a time.
    pub(crate) fn quantised_rows(&self) -> usize {
        let most = if self.is_narrow() { MAX_QUANTISED_ROWS } else { MAX_ROW_TILE / 2 };
        self.row_tile().clamp(16, most)
    }

    /// Multiplications that a chunk of so many tokens takes, nearly all of them.
    #[cfg(feature = "threads")]
    pub(crate) fn multiplications(&self, num_tokens: usize) -> u64 {
        let weights = 4 * self.width * self.width + 2 * self.width * self.ffn;
        let attention = 2 * self.width * self.max_keys();
        (num_tokens * self.layers) as u64 * (weights + attention) as u64
    }

    pub(crate) fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    pub(crate) fn branch_head_dim(&self) -> usize {
        self.shared / self.branch_heads
    }

    pub(crate) fn group_width(&self) -> usize {
        self.width / self.groups
    }

    /// Tokens before a chunk that the positional convolution hears.
    pub(crate) fn conv_context(&self) -> usize {
        self.taps / 2
    }

    /// Tokens that one can see at most: its chunk's and those before.
    pub(crate) fn max_keys(&self) -> usize {
        (self.left_chunks + 1) * self.chunk_tokens
    }
}

/// Every rule, and whether it holds.
fn rules(s: &Sizes) -> [(bool, &'static str); 11] {
    let sizes = [s.embed_dim, s.width, s.ffn, s.heads, s.conv_taps, s.conv_groups];
    let more = [s.adapter, s.lstm_cells, s.shared, s.branch_heads];
    let divides = |part: u32, whole: u32| part > 0 && whole.is_multiple_of(part);
    let is_size = |n: &u32| (1..=MAX_SIZE).contains(n);
    let is_steps = |n: u32| (1..=MAX_STEPS as u32).contains(&n);
    let taps_of_group = u64::from(s.width) * u64::from(s.conv_taps);
    [
        (sizes.iter().chain(&more).all(is_size), "every size is 1 to 8192"),
        ((1..=MAX_LAYERS as u32).contains(&s.layers), "there are 1 to 24 blocks"),
        ((1..=MAX_LSTM_LAYERS as u32).contains(&s.lstm_layers), "there are 1 to 4 BLSTM layers"),
        (divides(s.heads, s.width), "heads divide the width"),
        (divides(s.conv_groups, s.width), "groups divide the width"),
        (taps_of_group < u64::from(s.conv_groups) << 17, "a group's taps are fewer than 2^17"),
        (divides(s.branch_heads, s.shared), "a branch's heads divide the shared width"),
        (s.flags & !flag::ALL == 0, "all flags are known"),
        (s.max_distance <= 1 << 16, "the position bias ends at 65536 tokens"),
        (s.max_distance > 0 || s.flags & flag::GATED == 0, "gates need a position bias"),
        (
            match s.window_steps {
                0 => is_steps(s.chunk_steps) && s.left_steps <= MAX_STEPS as u32,
                steps => is_steps(steps) && s.chunk_steps == 0 && s.left_steps == 0,
            },
            "either windows or chunks, of 1 to 1024 steps",
        ),
    ]
}

/// The most blocks a model may have.
pub const MAX_LAYERS: usize = 24;

/// The most BLSTM layers a model may have.
pub const MAX_LSTM_LAYERS: usize = 4;

/// The largest width of anything.
const MAX_SIZE: u32 = 8192;
