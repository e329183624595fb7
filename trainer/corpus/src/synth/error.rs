//! Why a corpus could not be made.

use core::fmt;
use std::path::{Path, PathBuf};

use crate::labels::LabelsError;
use crate::manifest::ManifestError;

/// Why a corpus could not be made.
#[derive(Debug)]
pub enum SynthError {
    /// The configuration is wrong.
    Config(String),
    /// Something the configuration asks for is not on this machine; the text says what to install or change.
    Missing(String),
    /// A file cannot be read or written.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A source recording or soundfont cannot be decoded.
    Audio {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An outside program failed.
    Program {
        /// Its name.
        program: &'static str,
        /// What it said.
        reason: String,
    },
    /// A clip could not be made from any of the draws that were tried.
    Clip {
        /// Which one.
        clip: String,
        /// What was wrong with the last draw.
        reason: String,
    },
    /// The ratings for the mapping cannot be read.
    Labels(LabelsError),
    /// A corpus file cannot be written.
    Manifest(ManifestError),
}

impl SynthError {
    /// Wraps an I/O error with the path it concerns.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

impl fmt::Display for SynthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(reason) => write!(f, "synth configuration: {reason}"),
            Self::Missing(reason) => f.write_str(reason),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Audio { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Program { program, reason } => write!(f, "{program} failed: {reason}"),
            Self::Clip { clip, reason } => write!(f, "cannot make clip {clip}: {reason}"),
            Self::Labels(error) => error.fmt(f),
            Self::Manifest(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SynthError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<LabelsError> for SynthError {
    fn from(error: LabelsError) -> Self {
        Self::Labels(error)
    }
}

impl From<ManifestError> for SynthError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(error)
    }
}
