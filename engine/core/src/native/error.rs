//! Why a model file or a caller's memory was refused.

use core::fmt;

/// Why [`Model::from_bytes`](super::Model::from_bytes) refused a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelError {
    /// The bytes are no `model.aesa`.
    NotAModel,
    /// A layout that this engine does not read.
    Version {
        /// What the file says.
        actual: u32,
    },
    /// The file has been cut, or something was added.
    Length {
        /// What the header says.
        expected: u64,
        /// What was given.
        actual: u64,
    },
    /// The bytes have been changed since they were written.
    Checksum,
    /// The bytes do not begin at an address that f32 numbers may have (a multiple of 4).
    Alignment,
    /// The sizes contradict each other, or are beyond what the engine runs.
    Sizes {
        /// The rule that does not hold.
        rule: &'static str,
    },
    /// The tensor table does not hold what the sizes ask for, there.
    Tensor {
        /// Which entry, from 0.
        entry: usize,
    },
    /// A tensor's elements are stored in a way that this engine does not read there.
    Storage {
        /// Which entry of the tensor table, from 0.
        entry: usize,
    },
    /// A tensor holds NaN or infinity.
    NotFinite {
        /// Which entry of the tensor table, from 0.
        entry: usize,
    },
    /// The metadata cannot be read.
    Metadata,
    /// A big-endian processor: numbers are read in place, little-endian.
    BigEndian,
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAModel => f.write_str("not a model.aesa file"),
            Self::Version { actual } => {
                write!(f, "format version {actual}; this engine reads {}", super::format::FORMAT_VERSION)
            }
            Self::Length { expected, actual } => write!(f, "{actual} bytes; the header says {expected}"),
            Self::Checksum => f.write_str("the checksum is wrong: the file is damaged"),
            Self::Alignment => f.write_str("the model's bytes must begin at a multiple of 4"),
            Self::Sizes { rule } => write!(f, "the model's sizes do not fit: {rule}"),
            Self::Tensor { entry } => write!(f, "tensor {entry} is not what the model's sizes ask for"),
            Self::Storage { entry } => write!(f, "tensor {entry} is stored in a way that this engine does not read"),
            Self::NotFinite { entry } => write!(f, "tensor {entry} holds NaN or infinity"),
            Self::Metadata => f.write_str("the metadata cannot be read"),
            Self::BigEndian => f.write_str("the native engine runs on little-endian processors only"),
        }
    }
}

impl core::error::Error for ModelError {}

/// Why a [`Stream`](super::Stream) refused its memory or its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// The memory lent is too small.
    Memory {
        /// Numbers needed.
        needed: usize,
        /// Numbers lent.
        actual: usize,
    },
    /// Features that are not whole frames of 128. Nothing of them was taken.
    IncompleteFrame {
        /// Numbers handed over.
        num_values: usize,
    },
    /// NaN or infinity. Nothing of what was handed over was taken.
    NotFinite {
        /// Which number of those handed over.
        index: usize,
    },
    /// A [`Session`](super::Session)'s window or chunk: features and scores that do not fit each other or the model. Nothing
    /// of them was taken.
    WindowSize {
        /// Numbers in the features.
        num_features: usize,
        /// Entries for scores.
        num_steps: usize,
        /// The most steps at once.
        max_steps: usize,
    },
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { needed, actual } => write!(f, "memory for {actual} numbers; the model needs {needed}"),
            Self::IncompleteFrame { num_values } => write!(f, "{num_values} features are not whole frames of 128"),
            Self::NotFinite { index } => write!(f, "feature {index} is not a finite number"),
            Self::WindowSize { num_features, num_steps, max_steps } => write!(
                f,
                "{num_features} features do not make {num_steps} steps of 16 x 128 (1 to {max_steps} at once)"
            ),
        }
    }
}

impl core::error::Error for StreamError {}
