//! Why a model could not be written.

use core::fmt;

use aesa::native::ModelError;
use safetensors::SafeTensorError;

/// Why a model could not be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExportError {
    /// The sizes do not make a network that the engine can run.
    Config {
        /// What is wrong, with the keys' names.
        reason: &'static str,
    },
    /// A tensor that the sizes ask for is absent.
    Missing {
        /// The tensor's name.
        name: String,
    },
    /// A tensor's shape differs from what the sizes ask for.
    Shape {
        /// The tensor's name.
        name: String,
        /// Shape by the sizes.
        expected: Vec<usize>,
        /// Shape found.
        actual: Vec<usize>,
    },
    /// A tensor's elements are not f32.
    NotF32 {
        /// The tensor's name.
        name: String,
    },
    /// A tensor holds NaN or infinity.
    NotFinite {
        /// The tensor's name.
        name: String,
    },
    /// The native engine cannot run a network of these sizes.
    Native(ModelError),
    /// The bytes are not a safetensors file.
    Safetensors(SafeTensorError),
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { reason } => write!(f, "the model's sizes do not fit: {reason}"),
            Self::Missing { name } => write!(f, "tensor {name} is missing"),
            Self::Shape { name, expected, actual } => {
                write!(f, "tensor {name} has shape {actual:?}, the model's sizes ask for {expected:?}")
            }
            Self::NotF32 { name } => write!(f, "tensor {name} is not stored as f32"),
            Self::NotFinite { name } => write!(f, "tensor {name} holds NaN or infinity"),
            Self::Native(_) => f.write_str("the native engine cannot run this model"),
            Self::Safetensors(_) => f.write_str("not a readable safetensors file"),
        }
    }
}

impl core::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Safetensors(e) => Some(e),
            Self::Native(e) => Some(e),
            _ => None,
        }
    }
}

impl From<SafeTensorError> for ExportError {
    fn from(e: SafeTensorError) -> Self {
        Self::Safetensors(e)
    }
}
