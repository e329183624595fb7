//! Why a file is no model that can run here.

use core::error::Error;
use core::fmt;
use std::io;
use std::path::PathBuf;

use aesa::ModelInfoError;
use aesa::native::ModelError;
#[cfg(feature = "threads")]
use aesa::native::ThreadsError;
#[cfg(feature = "tract")]
use aesa_tract::TractError;

/// What can go wrong between a model file and a [`Model`](crate::Model).
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    Read {
        /// Where it was looked for.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A file that was read is no model.
    File {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong with its bytes.
        source: Box<Self>,
    },
    /// The bytes begin as a `model.aesa` does, and go on otherwise.
    Native(ModelError),
    /// The metadata of a `model.aesa` are missing or not for this engine.
    Info(ModelInfoError),
    /// The bytes are no ONNX model, or none of aesa's.
    #[cfg(feature = "tract")]
    Tract(TractError),
    /// The bytes are no `model.aesa`, and nothing else runs here: the feature `tract` is off.
    Unsupported,
    /// As many threads as were asked for are not to be had.
    #[cfg(feature = "threads")]
    Threads(ThreadsError),
    /// Several threads were asked for, and tract, which runs the model, takes one.
    #[cfg(feature = "threads")]
    OneThread,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } if source.kind() == io::ErrorKind::NotFound => {
                write!(f, "{}: the file does not exist", path.display())
            }
            Self::Read { path, source } => write!(f, "{}: the file cannot be read: {source}", path.display()),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Native(error) => error.fmt(f),
            Self::Info(error) => error.fmt(f),
            #[cfg(feature = "tract")]
            Self::Tract(error) => error.fmt(f),
            Self::Unsupported => f.write_str("not a model.aesa; this build has no support for other models"),
            #[cfg(feature = "threads")]
            Self::Threads(error) => error.fmt(f),
            #[cfg(feature = "threads")]
            Self::OneThread => {
                f.write_str("a model in ONNX is scored on one thread; a model.aesa takes more")
            }
        }
    }
}

impl Error for LoadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::File { source, .. } => Some(source),
            Self::Native(error) => Some(error),
            Self::Info(error) => Some(error),
            #[cfg(feature = "tract")]
            Self::Tract(error) => Some(error),
            Self::Unsupported => None,
            #[cfg(feature = "threads")]
            Self::Threads(error) => Some(error),
            #[cfg(feature = "threads")]
            Self::OneThread => None,
        }
    }
}
