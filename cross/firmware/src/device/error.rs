//! Why a run failed.

use core::fmt;

use aesa::native::{ModelError, StreamError};

#[derive(Debug)]
pub(crate) enum Error {
    /// SysTick is in use, or does not count.
    Clock,
    /// The semihosting host takes no output.
    Output,
    Model(ModelError),
    Stream(StreamError),
    /// More frame scores at once than a chunk has steps.
    TooManyFrames,
    /// No whole frame of 160 ms, or too many at the end.
    TooShort,
    /// The queue was full when these came.
    Lost {
        num_samples: u32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock => f.write_str("SysTick does not count"),
            Self::Output => f.write_str("no output over semihosting"),
            Self::Model(error) => write!(f, "model: {error}"),
            Self::Stream(error) => write!(f, "stream: {error}"),
            Self::TooManyFrames => f.write_str("more frame scores at once than a chunk has steps"),
            Self::TooShort => f.write_str("no clip score: the clip has no whole frame"),
            Self::Lost { num_samples } => write!(f, "{num_samples} samples came when the queue was full"),
        }
    }
}

impl core::error::Error for Error {}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl From<fmt::Error> for Error {
    fn from(_: fmt::Error) -> Self {
        Self::Output
    }
}
