//! Each kind of failure as the Python exception that says so.

use std::io;
use std::path::{Path, PathBuf};

use aesa::ScorerError;
use aesa_media::MediaError;
use aesa_runtime::{LoadError, SessionError};
use pyo3::prelude::*;

/// The classes, defined in Python.
mod class {
    use pyo3::import_exception;

    import_exception!(aesa._errors, AllLostError);
    import_exception!(aesa._errors, AudioError);
    import_exception!(aesa._errors, DecodeError);
    import_exception!(aesa._errors, FileError);
    import_exception!(aesa._errors, ModelError);
    import_exception!(aesa._errors, NetworkError);
    import_exception!(aesa._errors, PolicyError);
    import_exception!(aesa._errors, StreamError);
    import_exception!(aesa._errors, TooShortError);
}

/// What can fail without Python's help.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A model that cannot be used.
    Load(LoadError),
    /// An audio file that cannot be read, and its path.
    Media(PathBuf, MediaError),
    /// Audio that cannot be scored, or a scorer that cannot go on.
    Scorer(ScorerError<SessionError>),
}

impl From<ScorerError<SessionError>> for Failure {
    fn from(error: ScorerError<SessionError>) -> Self {
        Self::Scorer(error)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Load(LoadError::Read { path, source }) => file(&path, &source),
            Failure::Load(error) => class::ModelError::new_err(error.to_string()),
            Failure::Media(path, MediaError::Read(source)) => file(&path, &source),
            Failure::Media(path, error) => {
                class::DecodeError::new_err(format!("{}: {error}", path.display()))
            }
            Failure::Scorer(error) => scorer(&error),
        }
    }
}

/// Audio that is laid out in a way that cannot be.
pub(crate) fn audio(message: impl Into<String>) -> PyErr {
    class::AudioError::new_err(message.into())
}

/// A call that comes at a time when the stream cannot take it.
pub(crate) fn stream(message: &'static str) -> PyErr {
    class::StreamError::new_err(message)
}

/// With `OSError`'s own arguments where there is a number, so that `errno`, `strerror` and `filename` are there.
fn file(path: &Path, source: &io::Error) -> PyErr {
    let words = match source.kind() {
        io::ErrorKind::NotFound => "the file does not exist".to_string(),
        io::ErrorKind::IsADirectory => "a folder, not a file".to_string(),
        _ => source.to_string(),
    };
    let path = path.display().to_string();
    match source.raw_os_error() {
        Some(number) => class::FileError::new_err((number, words, path)),
        None => class::FileError::new_err(format!("{path}: {words}")),
    }
}

fn scorer(error: &ScorerError<SessionError>) -> PyErr {
    let message = error.to_string();
    match error {
        ScorerError::TooShort { .. } => class::TooShortError::new_err(message),
        ScorerError::AllLost { .. } => class::AllLostError::new_err(message),
        ScorerError::Policy { .. } | ScorerError::NotWindowed { .. } => class::PolicyError::new_err(message),
        ScorerError::Network(_) | ScorerError::BadScore { .. } => class::NetworkError::new_err(message),
        ScorerError::Finished => class::StreamError::new_err(message),
        // SampleRate, Channels, IncompleteSample, NonFinite.
        _ => class::AudioError::new_err(message),
    }
}
