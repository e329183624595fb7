//! A model file, checked, and read in place.

#[cfg(feature = "alloc")]
use alloc::vec;
#[cfg(feature = "alloc")]
use alloc::vec::Vec;

use aesa_kernels::{Kernels, Matrix};

use super::block::Block;
use super::error::{ModelError, StreamError};
use super::format::{
    self, ENTRY_BYTES, Entry, FORMAT_VERSION, HEADER_BYTES, Kind, MAGIC, NUM_SIZES, Sizes, checksum, dtype, offset,
};
use super::head::{Head, push};
use super::memory::Layout;
use super::patch::PatchEmbedding;
use super::position::PositionConv;
#[cfg(feature = "alloc")]
use super::session::Session;
use super::shape::{MAX_LAYERS, Shape};
use super::stream::Stream;
use super::table::Table;
#[cfg(feature = "alloc")]
use crate::model::{KEY_POLICY, ModelInfo, ModelInfoError};
use crate::policy::Policy;

/// An AESA-Net whose weights stay where the file's bytes are: in flash, in a memory map, in a `Vec`.
///
/// [`from_bytes`](Self::from_bytes) checks everything; after it nothing can fail. A model never changes; any number of
/// [`Stream`]s may use it.
#[derive(Clone, Debug)]
pub struct Model<'a> {
    pub(crate) shape: Shape,
    pub(crate) layout: Layout,
    pub(crate) patch: PatchEmbedding<'a>,
    pub(crate) position: PositionConv<'a>,
    /// `[heads, 2 * far + 1]`
    pub(crate) position_bias: Option<Matrix<'a>>,
    pub(crate) blocks: heapless::Vec<Block<'a>, MAX_LAYERS>,
    pub(crate) head: Head<'a>,
    pub(crate) kernels: &'static Kernels,
    metadata: &'a [u8],
    num_bytes: usize,
    is_int8: bool,
}

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRequired {
    /// The file, which is only read.
    pub flash_bytes: usize,
    /// What a clip carries from chunk to chunk.
    pub state_bytes: usize,
    /// What a chunk needs while it is computed.
    pub scratch_bytes: usize,
}

impl MemoryRequired {
    /// State and scratch: what a [`Stream`] is lent, or owns.
    pub fn ram_bytes(&self) -> usize {
        self.state_bytes + self.scratch_bytes
    }

    /// The same as a number of f32.
    pub fn ram_numbers(&self) -> usize {
        self.ram_bytes() / size_of::<f32>()
    }
}

impl<'a> Model<'a> {
    /// Checks the bytes of a `model.aesa`, which must begin at a multiple of 4 (better 64), and finds the tensors in them.
    /// A network at most 256 wide has the same scores on every processor, to the last bit; a wider one takes
    /// [fused](Kernels::is_fused) products where there are any.
    ///
    /// # Errors
    /// [`ModelError`], in the order: big-endian processor, magic, version, length, checksum, sizes, metadata, tensors.
    pub fn from_bytes(file: &'a [u8]) -> Result<Self, ModelError> {
        Self::read(file, |shape| if shape.is_narrow() { Kernels::detect() } else { Kernels::detect_fastest() })
    }

    /// [`from_bytes`](Self::from_bytes) with kernels of the caller's choice. The choice changes the time; scores
    /// are the same to the last bit where both or neither of two [are fused](Kernels::is_fused), else nearly the same.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes).
    pub fn with_kernels(file: &'a [u8], kernels: &'static Kernels) -> Result<Self, ModelError> {
        Self::read(file, |_| kernels)
    }

    fn read(file: &'a [u8], kernels: impl Fn(&Shape) -> &'static Kernels) -> Result<Self, ModelError> {
        if cfg!(target_endian = "big") {
            return Err(ModelError::BigEndian);
        }
        let header = file.first_chunk::<HEADER_BYTES>().ok_or(ModelError::NotAModel)?;
        check_header(file, header)?;
        let sizes = Sizes::from_array(core::array::from_fn::<_, NUM_SIZES, _>(|i| word(header, offset::SIZES + 4 * i)));
        let shape = Shape::new(&sizes)?;
        let (layout, kernels) = (Layout::new(&shape)?, kernels(&shape));
        let num_tensors = word(header, offset::NUM_TENSORS) as usize;
        let metadata_bytes = word(header, offset::METADATA_BYTES) as usize;
        let rest = &file[HEADER_BYTES..];
        let table_bytes = num_tensors.checked_mul(ENTRY_BYTES).filter(|bytes| *bytes <= rest.len());
        let (entries, rest) = rest.split_at(table_bytes.ok_or(ModelError::Tensor { entry: 0 })?);
        let metadata = rest.get(..metadata_bytes).ok_or(ModelError::Metadata)?;
        check_metadata(metadata)?;
        let data = (HEADER_BYTES + entries.len() + metadata.len()) as u64;
        let mut table = Table::new(file, entries.as_chunks().0, data, kernels);
        let (patch, position) = (PatchEmbedding::read(&mut table, &shape)?, PositionConv::read(&mut table, &shape)?);
        let position_bias = match shape.far {
            0 => None,
            far => Some(table.matrix(Kind::PositionBias, 0, shape.heads, 2 * far + 1)?),
        };
        let mut blocks = heapless::Vec::new();
        for i in 0..shape.layers {
            push(&mut blocks, Block::read(&mut table, &shape, i)?);
        }
        let head = Head::read(&mut table, &shape)?;
        table.finish()?;
        let (num_bytes, entries) = (file.len(), entries.as_chunks::<ENTRY_BYTES>().0);
        let is_int8 = entries.iter().filter_map(Entry::from_bytes).any(|entry| entry.dtype == dtype::I8);
        Ok(Self {
            shape,
            layout,
            patch,
            position,
            position_bias,
            blocks,
            head,
            kernels,
            metadata,
            num_bytes,
            is_int8,
        })
    }

    /// How the model hears a clip.
    pub fn policy(&self) -> Policy {
        self.shape.policy
    }

    /// Whether linear maps are computed in int8; else all is f32.
    pub fn is_int8(&self) -> bool {
        self.is_int8
    }

    /// Whether attention's products, too, are computed in int8.
    pub fn has_int8_attention(&self) -> bool {
        self.shape.int8_attention
    }

    /// What the model computes with.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// What the model takes: flash for the file, RAM for each stream.
    pub fn memory_required(&self) -> MemoryRequired {
        let state_bytes = self.layout.state_len() * size_of::<f32>();
        let all = self.layout.len() * size_of::<f32>();
        MemoryRequired { flash_bytes: self.num_bytes, state_bytes, scratch_bytes: all - state_bytes }
    }

    /// Key and value pairs that the file says of itself; docs/SPEC.md lists them.
    pub fn metadata(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        Pairs { bytes: self.metadata }.flatten()
    }

    /// The metadata, checked: the model belongs to this engine and its front end.
    ///
    /// # Errors
    /// [`ModelInfoError`], as [`ModelInfo::from_pairs`]; [`ModelInfoError::Contradiction`] where they name another policy
    /// than the header.
    #[cfg(feature = "alloc")]
    pub fn info(&self) -> Result<ModelInfo, ModelInfoError> {
        let info = ModelInfo::from_pairs(self.metadata())?;
        match info.policy == self.policy() {
            true => Ok(info),
            false => Err(ModelInfoError::Contradiction { key: KEY_POLICY }),
        }
    }

    /// What a [`Scorer`](crate::Scorer) asks of a network, in memory of its own; sessions share the model's weights.
    ///
    /// # Errors
    /// As [`info`](Self::info).
    #[cfg(feature = "alloc")]
    pub fn session(&self) -> Result<Session<'_>, ModelInfoError> {
        Ok(Session::new(self.info()?, self.stream()))
    }

    /// A stream in memory of its own.
    #[cfg(feature = "alloc")]
    pub fn stream(&self) -> Stream<'_, Vec<f32>> {
        Stream::in_checked_memory(self, vec![0.0; self.layout.len()])
    }

    /// A stream in memory lent by the caller, of at least
    /// [`memory_required().ram_numbers()`](MemoryRequired::ram_numbers) numbers.
    ///
    /// # Errors
    /// [`StreamError::Memory`] if there is less.
    pub fn stream_in<'m>(&'m self, memory: &'m mut [f32]) -> Result<Stream<'m, &'m mut [f32]>, StreamError> {
        let (needed, actual) = (self.layout.len(), memory.len());
        match actual < needed {
            true => Err(StreamError::Memory { needed, actual }),
            false => Ok(Stream::in_checked_memory(self, memory)),
        }
    }
}

/// Everything but sizes, table and metadata.
fn check_header(file: &[u8], header: &[u8; HEADER_BYTES]) -> Result<(), ModelError> {
    if !header.starts_with(&MAGIC) {
        return Err(ModelError::NotAModel);
    }
    let version = word(header, offset::VERSION);
    if version != FORMAT_VERSION {
        return Err(ModelError::Version { actual: version });
    }
    let low = word(header, offset::FILE_BYTES);
    let expected = u64::from(low) | u64::from(word(header, offset::FILE_BYTES + 4)) << 32;
    if expected != file.len() as u64 {
        return Err(ModelError::Length { expected, actual: file.len() as u64 });
    }
    if checksum(file) != word(header, offset::CHECKSUM) {
        return Err(ModelError::Checksum);
    }
    if !file.as_ptr().cast::<f32>().is_aligned() {
        return Err(ModelError::Alignment);
    }
    match header[offset::RESERVED..].iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(ModelError::Sizes { rule: "the header's reserved bytes are zero" }),
    }
}

fn word(header: &[u8; HEADER_BYTES], offset: usize) -> u32 {
    u32::from_le_bytes(core::array::from_fn(|i| header[offset + i]))
}

fn check_metadata(bytes: &[u8]) -> Result<(), ModelError> {
    match (Pairs { bytes }).all(|pair| pair.is_some()) {
        true => Ok(()),
        false => Err(ModelError::Metadata),
    }
}

/// Metadata in bytes: per pair the lengths of key and value (u16 each), then both as UTF-8. What cannot be read is `None`
/// and the end.
struct Pairs<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Option<(&'a str, &'a str)>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = core::mem::take(&mut self.bytes);
        if bytes.is_empty() {
            return None;
        }
        Some(bytes.split_first_chunk::<4>().and_then(|([k0, k1, v0, v1], rest)| {
            let (key, rest) = rest.split_at_checked(u16::from_le_bytes([*k0, *k1]).into())?;
            let (value, rest) = rest.split_at_checked(u16::from_le_bytes([*v0, *v1]).into())?;
            let pair = (core::str::from_utf8(key).ok()?, core::str::from_utf8(value).ok()?);
            self.bytes = rest;
            Some(pair)
        }))
    }
}

const _: () = assert!(offset::RESERVED <= HEADER_BYTES && format::ALIGNMENT.is_power_of_two());
