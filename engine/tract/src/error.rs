//! Why a model was refused, or a window not scored.

use core::fmt;
use std::io;

use aesa::model::ModelInfoError;

/// What can go wrong between a model file and a score.
#[derive(Debug)]
#[non_exhaustive]
pub enum TractError {
    /// The file cannot be read.
    Read(io::Error),
    /// The bytes are no ONNX model: another kind of file, or a damaged one.
    NotOnnx {
        /// The parser's words.
        cause: String,
    },
    /// The metadata is missing or is not for this engine.
    Info(ModelInfoError),
    /// The file's hash does not match its contents: it was damaged or changed.
    Hash {
        /// The metadata key of the hash.
        key: &'static str,
    },
    /// The inputs, outputs or tensors are not those of an aesa model.
    Interface {
        /// What was expected and what was found.
        cause: String,
    },
    /// A node of the graph is of an operator, or of a variant of one, that no file of the trainer's has.
    Operator {
        /// The operator's name in ONNX.
        operator: String,
        /// The node's name.
        node: String,
        /// What is not known of it.
        cause: String,
    },
    /// The network cannot be built.
    Build {
        /// The runtime's words.
        cause: String,
    },
    /// The caller's buffers do not fit each other or the model.
    WindowSize {
        /// Numbers in the features.
        num_features: usize,
        /// Entries for scores.
        num_steps: usize,
        /// The most steps that the model takes at once.
        max_steps: usize,
    },
    /// A feature is NaN or infinite.
    NotFinite {
        /// Its index in the features.
        index: usize,
    },
    /// The network failed while running.
    Run {
        /// The runtime's words.
        cause: String,
    },
}

impl fmt::Display for TractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(e) if e.kind() == io::ErrorKind::NotFound => write!(f, "the file does not exist"),
            Self::Read(e) => write!(f, "the file cannot be read: {e}"),
            Self::NotOnnx { cause } => write!(f, "not an ONNX model, or a damaged one: {cause}"),
            Self::Info(e) => write!(f, "{e}"),
            Self::Hash { key } => {
                write!(f, "the model file is damaged: its contents do not match its checksum ({key})")
            }
            Self::Interface { cause } => write!(f, "not an aesa model, or a damaged one: {cause}"),
            Self::Operator { operator, node, cause } => {
                write!(f, "the operator {operator} of node {node} {cause}")
            }
            Self::Build { cause } => write!(f, "the network cannot be built: {cause}"),
            Self::WindowSize { num_features, num_steps, max_steps } => write!(
                f,
                "a window of {num_features} numbers does not make {num_steps} steps of 16 x 128 (1 to {max_steps})"
            ),
            Self::NotFinite { index } => write!(f, "feature {index} is not a finite number"),
            Self::Run { cause } => write!(f, "the network failed: {cause}"),
        }
    }
}

impl core::error::Error for TractError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Read(e) => Some(e),
            Self::Info(e) => Some(e),
            _ => None,
        }
    }
}
