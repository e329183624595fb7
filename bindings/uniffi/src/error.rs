//! Every way to fail, as one enum that other languages throw.

use core::fmt;

use aesa::ScorerError;
use aesa_runtime::{LoadError, SessionError};

/// Why aesa refused its input or gave up; the message has the words.
#[derive(Debug, uniffi::Error)]
#[uniffi(flat_error)]
#[non_exhaustive]
pub enum AesaError {
    /// The file cannot be read.
    Read(String),
    /// The bytes are no model, or a damaged one, or one that this library cannot run.
    Model(String),
    /// The library was built without what was asked for.
    Unsupported(String),
    /// A sample rate, number of channels, hop, look-ahead or gap that cannot be.
    InvalidArgument(String),
    /// Half a sample, or values that are not finite. Nothing of the chunk was taken; the clip can go on.
    Audio(String),
    /// The clip ended before its first 175 ms were complete.
    TooShort(String),
    /// Audio was lost in every step of the clip.
    AllLost(String),
    /// The clip has ended, by finish or by an error; reset begins another.
    Finished(String),
    /// The network failed; the clip has ended.
    Network(String),
    /// A bug in aesa: the scorer is of no use any more.
    Internal(String),
}

impl AesaError {
    fn message(&self) -> &str {
        match self {
            Self::Read(message)
            | Self::Model(message)
            | Self::Unsupported(message)
            | Self::InvalidArgument(message)
            | Self::Audio(message)
            | Self::TooShort(message)
            | Self::AllLost(message)
            | Self::Finished(message)
            | Self::Network(message)
            | Self::Internal(message) => message,
        }
    }
}

impl fmt::Display for AesaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl core::error::Error for AesaError {}

impl From<LoadError> for AesaError {
    fn from(error: LoadError) -> Self {
        let message = error.to_string();
        if matches!(error, LoadError::Read { .. }) { Self::Read(message) } else { Self::Model(message) }
    }
}

impl From<ScorerError<SessionError>> for AesaError {
    fn from(error: ScorerError<SessionError>) -> Self {
        let message = error.to_string();
        match error {
            ScorerError::SampleRate { .. } | ScorerError::Channels { .. } => Self::InvalidArgument(message),
            ScorerError::Policy { .. } | ScorerError::NotWindowed { .. } => Self::InvalidArgument(message),
            ScorerError::IncompleteSample { .. } | ScorerError::NonFinite { .. } => Self::Audio(message),
            ScorerError::TooShort { .. } => Self::TooShort(message),
            ScorerError::AllLost { .. } => Self::AllLost(message),
            ScorerError::Finished => Self::Finished(message),
            ScorerError::Network(_) | ScorerError::BadScore { .. } => Self::Network(message),
            _ => Self::Internal(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use aesa::ModelInfoError;

    use super::*;

    #[test]
    fn every_error_keeps_its_kind_and_words() {
        type Error = ScorerError<SessionError>;
        let cases = [
            ("TooShort", Error::TooShort { num_samples: 1, needed: 2800 }),
            ("InvalidArgument", Error::SampleRate { actual_hz: 1 }),
            ("InvalidArgument", Error::Channels { num_channels: 0 }),
            ("InvalidArgument", Error::Policy { hop_steps: 0, look_ahead_steps: 0, window_steps: 62 }),
            ("InvalidArgument", Error::NotWindowed { chunk_steps: 6 }),
            ("Audio", Error::IncompleteSample { num_values: 1, num_channels: 2 }),
            ("Audio", Error::NonFinite { index: 3 }),
            ("AllLost", Error::AllLost { num_steps: 4 }),
            ("Network", Error::BadScore { step: 5 }),
            ("Finished", Error::Finished),
        ];
        for (kind, error) in cases {
            let words = error.to_string();
            let actual = AesaError::from(error);
            assert_eq!(format!("{actual:?}"), format!("{kind}({words:?})"));
            assert_eq!(actual.to_string(), words);
        }
        let read = LoadError::Read { path: "x".into(), source: io::Error::other("broken") };
        assert!(matches!(AesaError::from(read), AesaError::Read(message) if message.contains("broken")));
        let model = LoadError::Info(ModelInfoError::Missing { key: "aesa.id" });
        assert!(matches!(AesaError::from(model), AesaError::Model(_)));
    }
}
