//! What can be wrong with an audio file, in words for the person who handed it over.

use core::fmt;
use std::io;

use aesa::resample::ResampleError;
use symphonia::core::errors::Error as SymphoniaError;

/// Why a file gave no samples, or stopped giving them.
#[derive(Debug)]
#[non_exhaustive]
pub enum MediaError {
    /// The file does not exist or cannot be read.
    Read(io::Error),
    /// The file has no bytes.
    EmptyFile,
    /// No supported container format was recognised.
    UnknownFormat,
    /// The container was recognised but its headers cannot be read.
    Header {
        /// The decoder's words.
        cause: String,
    },
    /// The container holds no audio.
    NoAudioTrack,
    /// The audio is coded in a way that no decoder here reads.
    UnsupportedCodec {
        /// The decoder's words.
        cause: String,
    },
    /// A damaged or unreadable packet.
    Decode {
        /// Where, in seconds from the start of the file.
        at_s: f64,
        /// The decoder's words.
        cause: String,
    },
    /// The file ends before its header says it does.
    Truncated {
        /// How much audio was there, in seconds.
        actual_s: f64,
        /// How much the header promises, in seconds; `None` where it does not say.
        expected_s: Option<f64>,
    },
    /// The audio has no samples at all (in the segment asked for).
    NoSamples,
    /// The sample rate or the number of channels changes in mid-file.
    SpecChange {
        /// Where, in seconds from the start of the file.
        at_s: f64,
        /// Sample rate and number of channels at the start of the file.
        expected: (u32, usize),
        /// Sample rate and number of channels from there on.
        actual: (u32, usize),
    },
    /// A segment's times are negative, not finite, or end before they start.
    Segment {
        /// The segment's start, in seconds.
        start_s: f64,
        /// The segment's end, in seconds.
        end_s: f64,
    },
    /// The sample rate cannot be converted.
    Resample(ResampleError),
}

impl MediaError {
    /// Names the cause of a failure while the container is probed; `has_signature` says that the file begins
    /// like one of the supported formats.
    pub(crate) fn from_probe(error: SymphoniaError, has_signature: bool) -> Self {
        match error {
            // The probe ran out of bytes, or of formats to try.
            SymphoniaError::IoError(e) if e.kind() != io::ErrorKind::UnexpectedEof => Self::Read(e),
            SymphoniaError::IoError(_) if has_signature => {
                Self::Header { cause: "the file ends where audio should begin (truncated?)".to_string() }
            }
            SymphoniaError::IoError(_) => Self::UnknownFormat,
            SymphoniaError::Unsupported(text) if text.contains("probe") => Self::UnknownFormat,
            SymphoniaError::Unsupported(text) if text.contains("missing") => {
                Self::Header { cause: text.to_string() }
            }
            SymphoniaError::Unsupported(text) => Self::UnsupportedCodec { cause: text.to_string() },
            other => Self::Header { cause: cause(&other) },
        }
    }
}

/// The decoder's words, without its own prefix.
pub(crate) fn cause(error: &SymphoniaError) -> String {
    match error {
        SymphoniaError::DecodeError(text) | SymphoniaError::Unsupported(text) => (*text).to_string(),
        other => other.to_string(),
    }
}

impl fmt::Display for MediaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(e) if e.kind() == io::ErrorKind::NotFound => write!(f, "the file does not exist"),
            Self::Read(e) => write!(f, "the file cannot be read: {e}"),
            Self::EmptyFile => write!(f, "the file is empty (0 bytes)"),
            Self::UnknownFormat => {
                write!(f, "not a known audio format (WAV, AIFF, FLAC, MP3, OGG/Vorbis, AAC/M4A)")
            }
            Self::Header { cause } => write!(f, "damaged header: {cause}"),
            Self::NoAudioTrack => write!(f, "the file holds no audio track"),
            Self::UnsupportedCodec { cause } => write!(f, "unsupported codec: {cause}"),
            Self::Decode { at_s, cause } => write!(f, "damaged audio at {at_s:.2} s: {cause}"),
            Self::Truncated { actual_s, expected_s: Some(expected_s) } => {
                write!(f, "truncated: {actual_s:.2} s of audio where the header promises {expected_s:.2} s")
            }
            Self::Truncated { actual_s, expected_s: None } => {
                write!(f, "truncated: the file breaks off after {actual_s:.2} s of audio")
            }
            Self::NoSamples => write!(f, "no audio samples (the file or the segment is empty)"),
            Self::SpecChange { at_s, expected, actual } => write!(
                f,
                "the audio changes from {} Hz, {} channels to {} Hz, {} channels at {at_s:.2} s",
                expected.0, expected.1, actual.0, actual.1
            ),
            Self::Segment { start_s, end_s } => {
                write!(f, "not a segment: start {start_s} s, end {end_s} s")
            }
            Self::Resample(e) => write!(f, "{e}"),
        }
    }
}

impl core::error::Error for MediaError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Read(e) => Some(e),
            Self::Resample(e) => Some(e),
            _ => None,
        }
    }
}

impl From<ResampleError> for MediaError {
    fn from(error: ResampleError) -> Self {
        Self::Resample(error)
    }
}
