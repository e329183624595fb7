//! The model to use, whichever engine runs it: the one named, or the starter model inside this program.

use core::fmt;
use std::fs;
use std::path::Path;

use aesa::native::{self, AlignedBytes, StreamError, format::MAGIC};
use aesa::{ModelInfo, Network, Scores};
use aesa_tract::{TractError, TractModel, TractSession};
use anyhow::{Result, anyhow};

/// The model that ships, so that the program needs no other file: for windows.
static STARTER: &[u8] = include_bytes!("../../../models/starter/model.onnx");

/// The same network in int8 for chunks, read where it lies.
static STARTER_IN_CHUNKS: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../models/starter/model.aesa"));

/// Begins where the native engine's tensors may.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

/// A loaded model, shared by all threads.
pub(crate) enum Model {
    /// From ONNX, run by tract.
    Tract(TractModel),
    /// From a `model.aesa`, run by the native engine; the program's only one, read in place until it ends.
    Native {
        /// What runs.
        model: &'static native::Model<'static>,
        /// What its file says of itself.
        info: ModelInfo,
    },
}

impl Model {
    /// Loads the file at `path`, which is read once, or the starter model in this program, in windows. What the file is shows
    /// in its first bytes.
    ///
    /// # Errors
    /// In words for the user, the path among them.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            let starter = TractModel::from_bytes(STARTER);
            return starter.map(Self::Tract).map_err(|e| anyhow!("the starter model in this program: {e}"));
        };
        // In one line: an error's own words hold its cause's.
        Self::read(path).map_err(|e| anyhow!("model {}: {e}", path.display()))
    }

    /// The starter model in this program, in chunks.
    ///
    /// # Errors
    /// None, unless the program was built with a broken one.
    pub(crate) fn starter_in_chunks() -> Result<Self> {
        Self::native(&STARTER_IN_CHUNKS.0).map_err(|e| anyhow!("the starter model in this program: {e}"))
    }

    fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(TractError::Read)?;
        // A damaged beginning of a file of that name is told as such.
        let is_native = bytes.starts_with(&MAGIC) || path.extension().is_some_and(|e| e == "aesa");
        if !is_native {
            return Ok(Self::Tract(TractModel::from_bytes(&bytes)?));
        }
        // There is one model, and it lives as long as the program.
        let file: &'static AlignedBytes = Box::leak(Box::new(AlignedBytes::from(bytes.as_slice())));
        Self::native(file)
    }

    fn native(file: &'static [u8]) -> Result<Self> {
        let model: &'static native::Model<'static> = Box::leak(Box::new(native::Model::from_bytes(file)?));
        Ok(Self::Native { info: model.info()?, model })
    }

    /// What the file says of itself.
    pub(crate) fn info(&self) -> &ModelInfo {
        match self {
            Self::Tract(model) => model.info(),
            Self::Native { info, .. } => info,
        }
    }

    /// What a scorer needs; sessions share the weights.
    pub(crate) fn session(&self) -> Session {
        match self {
            Self::Tract(model) => Session::Tract(model.session()),
            Self::Native { model, .. } => {
                Session::Native(Box::new(model.session().expect("its metadata were read when it was loaded")))
            }
        }
    }

    /// What runs the network: `tract` or `native`.
    pub(crate) fn runtime(&self) -> &'static str {
        match self {
            Self::Tract(_) => "tract",
            Self::Native { .. } => "native",
        }
    }

    /// The kind of numbers that linear maps are computed in, where the engine knows it.
    pub(crate) fn weights(&self) -> Option<&'static str> {
        match self {
            Self::Tract(_) => None,
            Self::Native { model, .. } => Some(if model.is_int8() { "int8" } else { "f32" }),
        }
    }
}

/// One clip's way through the network.
pub(crate) enum Session {
    Tract(TractSession),
    Native(Box<native::Session<'static>>),
}

impl Network for Session {
    type Error = SessionError;

    fn info(&self) -> &ModelInfo {
        match self {
            Self::Tract(session) => session.info(),
            Self::Native(session) => session.info(),
        }
    }

    fn score_window(&mut self, features: &[f32], scores: &mut [Scores]) -> Result<(), SessionError> {
        match self {
            Self::Tract(session) => session.score_window(features, scores).map_err(SessionError::Tract),
            Self::Native(session) => session.score_window(features, scores).map_err(SessionError::Native),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Tract(session) => session.reset(),
            Self::Native(session) => session.reset(),
        }
    }
}

/// Why a network gave no scores.
#[derive(Debug)]
pub(crate) enum SessionError {
    Tract(TractError),
    Native(StreamError),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tract(error) => error.fmt(f),
            Self::Native(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SessionError {}
