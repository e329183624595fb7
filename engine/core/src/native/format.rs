//! The bytes of `model.aesa`: docs/SPEC.md, "model.aesa". The exporter writes by these constants, [`Model`] reads by them.
//!
//! ```text
//! header (128 bytes) | tensor table (32 bytes each) | metadata | data: tensors and scales, each at a multiple of 64
//! ```
//! All numbers are little-endian. The checksum is CRC-32 (IEEE 802.3) over the whole file with the checksum's own four
//! bytes read as zero.
//!
//! [`Model`]: super::Model

use crc32fast::Hasher;

/// What a file begins with: a name, and bytes that a transfer as text would change.
pub const MAGIC: [u8; 8] = *b"AESA\r\n\x1a\n";

/// The layout that this engine reads.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 128;

/// Bytes of an entry of the tensor table.
pub const ENTRY_BYTES: usize = 32;

/// What a tensor's data begins at a multiple of.
pub const ALIGNMENT: usize = 64;

/// Where the header's fields are.
pub mod offset {
    /// Format version, u32.
    pub const VERSION: usize = 8;
    /// Checksum, u32.
    pub const CHECKSUM: usize = 12;
    /// Bytes of the file, u64.
    pub const FILE_BYTES: usize = 16;
    /// Entries of the tensor table, u32.
    pub const NUM_TENSORS: usize = 24;
    /// Bytes of the metadata, u32.
    pub const METADATA_BYTES: usize = 28;
    /// The sizes, u32 each, in the order of [`Sizes::to_array`](crate::native::format::Sizes::to_array).
    pub const SIZES: usize = 32;
    /// Zeros up to the header's end.
    pub const RESERVED: usize = SIZES + 4 * super::NUM_SIZES;
}

/// How many numbers [`Sizes`] holds.
pub const NUM_SIZES: usize = 17;

/// The network's sizes, as the header holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Channels of the patch embedding.
    pub embed_dim: u32,
    /// Width of the encoder's blocks.
    pub width: u32,
    /// Number of blocks.
    pub layers: u32,
    /// Inner width of a block's feed-forward part.
    pub ffn: u32,
    /// Attention heads of a block.
    pub heads: u32,
    /// Taps of the positional convolution.
    pub conv_taps: u32,
    /// Groups of the positional convolution.
    pub conv_groups: u32,
    /// Distance in tokens from which all are one; 0 without a position bias.
    pub max_distance: u32,
    /// [`flag`]s.
    pub flags: u32,
    /// Output width of the head's adapter.
    pub adapter: u32,
    /// LSTM cells per direction.
    pub lstm_cells: u32,
    /// BLSTM layers.
    pub lstm_layers: u32,
    /// Output width of the head's shared layer.
    pub shared: u32,
    /// Attention heads of a branch.
    pub branch_heads: u32,
    /// Steps of the windows that are scored alone; 0 if the policy is chunked.
    pub window_steps: u32,
    /// Steps of a chunk; 0 if the policy is windowed.
    pub chunk_steps: u32,
    /// Steps before its chunk that a token sees, at least.
    pub left_steps: u32,
}

impl Sizes {
    /// The numbers in file order: that of the fields.
    pub fn to_array(&self) -> [u32; NUM_SIZES] {
        let head = [self.adapter, self.lstm_cells, self.lstm_layers, self.shared, self.branch_heads];
        let encoder = [self.embed_dim, self.width, self.layers, self.ffn, self.heads];
        let position = [self.conv_taps, self.conv_groups, self.max_distance, self.flags];
        let policy = [self.window_steps, self.chunk_steps, self.left_steps];
        let mut all = [0; NUM_SIZES];
        let values = encoder.iter().chain(&position).chain(&head).chain(&policy);
        all.iter_mut().zip(values).for_each(|(slot, value)| *slot = *value);
        all
    }

    /// The reverse of [`to_array`](Self::to_array).
    pub fn from_array(values: [u32; NUM_SIZES]) -> Self {
        let [embed_dim, width, layers, ffn, heads, conv_taps, conv_groups, max_distance, flags, rest @ ..] = values;
        let [adapter, lstm_cells, lstm_layers, shared, branch_heads, window_steps, chunk_steps, left_steps] = rest;
        Self {
            embed_dim,
            width,
            layers,
            ffn,
            heads,
            conv_taps,
            conv_groups,
            max_distance,
            flags,
            adapter,
            lstm_cells,
            lstm_layers,
            shared,
            branch_heads,
            window_steps,
            chunk_steps,
            left_steps,
        }
    }
}

/// Bits of [`Sizes::flags`].
pub mod flag {
    /// The position bias is gated per head and query.
    pub const GATED: u32 = 1;
    /// Residuals are scaled by `(2 * layers)^(1/4)`.
    pub const DEEP_NORM: u32 = 2;
    /// Blocks normalise before attention and feed-forward, not after.
    pub const NORM_FIRST: u32 = 4;
    /// The head normalises each block's output before it sums them.
    pub const HEAD_NORM: u32 = 8;
    /// Keys and values of past chunks are kept as f16, not as f32.
    pub const HALF_CACHE: u32 = 16;
    /// Blocks multiply queries with keys and weights with values in int8.
    pub const INT8_ATTENTION: u32 = 32;
    /// All of them.
    pub const ALL: u32 = 63;
}

/// What a tensor is for, in file order: the encoder's, then each block's, then the head's. `index` counts from 0.
///
/// A norm is `[2, n]`: weights, then biases. A linear map is stored as its element type asks for: f32 as
/// `[inputs, outputs]`, int8 as `[outputs, inputs]` with a scale per output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// `[256, embed_dim]`: from the frames of a patch, each with its 16 mel bins.
    PatchEmbedding = 1,
    /// Norm of the patch embedding.
    PatchNorm = 2,
    /// `[embed_dim, width]`; absent where they are equal.
    Projection = 3,
    /// `[1, width]`; absent with the projection.
    ProjectionBias = 4,
    /// Per group a map from `taps * width / groups` (taps outermost) to `width / groups`, one after another.
    PositionConv = 5,
    /// `[1, width]`
    PositionConvBias = 6,
    /// Norm before the blocks; absent where blocks normalise first.
    EncoderNorm = 7,
    /// `[heads, 2 * max_distance + 1]`: the bias by distance, key minus query.
    PositionBias = 8,
    /// Block `index`: `width` to queries, keys and values of `width` each.
    Qkv = 16,
    /// `[1, 3 * width]`
    QkvBias = 17,
    /// `[2, width / heads]`: the gates of the position bias from a head's query.
    GateWeight = 18,
    /// `[1, 2]`
    GateBias = 19,
    /// `[1, heads]`
    GateFactor = 20,
    /// `width` to `width`.
    AttentionOut = 21,
    /// `[1, width]`
    AttentionOutBias = 22,
    /// Norm around the attention.
    AttentionNorm = 23,
    /// `width` to `ffn`.
    Fc1 = 24,
    /// `[1, ffn]`
    Fc1Bias = 25,
    /// `ffn` to `width`.
    Fc2 = 26,
    /// `[1, width]`
    Fc2Bias = 27,
    /// Norm around the feed-forward part.
    FinalNorm = 28,
    /// Norm of block `index`'s output in the head; absent without [`flag::HEAD_NORM`].
    LayerNorm = 32,
    /// `[1, layers]`: factors of the blocks' outputs, after the softmax.
    LayerShares = 33,
    /// `width` to `adapter`.
    Adapter = 34,
    /// `[1, adapter]`
    AdapterBias = 35,
    /// LSTM layer `index / 2`, forward (even) or backward: inputs to four gates (input, forget, cell, output).
    LstmInput = 36,
    /// `cells` to four gates.
    LstmRecurrent = 37,
    /// `[1, 4 * cells]`
    LstmBias = 38,
    /// `2 * cells` to `shared`.
    Shared = 39,
    /// `[1, shared]`
    SharedBias = 40,
    /// Branch `index`: `shared` to queries and keys of `shared` each.
    BranchQueryKey = 41,
    /// `[1, 2 * shared]`
    BranchQueryKeyBias = 42,
    /// `shared` to one number per head: value, output and score projections in one.
    BranchValue = 43,
    /// `[1, branch_heads]`
    BranchValueBias = 44,
    /// `[1, 1]`: what is added to the logit.
    BranchBias = 45,
}

/// Element type of a tensor: how it is written in the table.
pub mod dtype {
    /// f32.
    pub const F32: u8 = 0;
    /// int8 with an f32 scale per row.
    pub const I8: u8 = 1;
}

/// One entry of the tensor table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The [`Kind`]'s number.
    pub kind: u16,
    /// Which block, direction or branch.
    pub index: u16,
    /// One of [`dtype`].
    pub dtype: u8,
    /// First extent.
    pub rows: u32,
    /// Second extent.
    pub cols: u32,
    /// Where the elements begin, from the start of the file.
    pub offset: u64,
    /// Where the `rows` scales begin; 0 if there are none.
    pub scales: u64,
}

impl Entry {
    /// The entry's bytes: kind u16, index u16, dtype u8, three zeros, rows u32, cols u32, offset u64, scales u64.
    pub fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0..2].copy_from_slice(&self.kind.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.index.to_le_bytes());
        bytes[4] = self.dtype;
        bytes[8..12].copy_from_slice(&self.rows.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.cols.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.scales.to_le_bytes());
        bytes
    }

    /// Reads an entry; `None` if its padding is not zero.
    pub fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let [k0, k1, i0, i1, dtype, 0, 0, 0, rest @ ..] = *bytes else { return None };
        let (words, _) = rest.as_chunks::<4>();
        let word = |i: usize| u32::from_le_bytes(words[i]);
        let long = |i: usize| u64::from(word(i)) | u64::from(word(i + 1)) << 32;
        Some(Self {
            kind: u16::from_le_bytes([k0, k1]),
            index: u16::from_le_bytes([i0, i1]),
            dtype,
            rows: word(0),
            cols: word(1),
            offset: long(2),
            scales: long(4),
        })
    }
}

/// The checksum of a file's bytes, which begin with a header.
///
/// # Panics
/// If they are shorter than a header.
pub fn checksum(file: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&file[..offset::CHECKSUM]);
    hasher.update(&[0; 4]);
    hasher.update(&file[offset::CHECKSUM + 4..]);
    hasher.finalize()
}

/// The next multiple of [`ALIGNMENT`].
pub fn aligned(offset: u64) -> u64 {
    offset.next_multiple_of(ALIGNMENT as u64)
}
