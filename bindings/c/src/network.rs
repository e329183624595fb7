//! A model on whichever engine runs it, and one clip's way through it.

use core::fmt;

use aesa::native::{self, AlignedBytes, StreamError, format::MAGIC};
use aesa::{ModelInfo, Network, Scores};
#[cfg(feature = "tract")]
use aesa_tract::{TractError, TractModel, TractSession};
use self_cell::self_cell;

use crate::error::Failure;
use crate::status::AesaStatus;

/// A loaded model; never changes.
pub(crate) enum Model {
    #[cfg(feature = "tract")]
    Tract(TractModel),
    Native {
        model: OwnedModel,
        info: ModelInfo,
    },
}

self_cell!(
    /// A native model and the bytes that it reads in place.
    pub(crate) struct OwnedModel {
        owner: AlignedBytes,
        #[covariant]
        dependent: NativeModel,
    }
);

type NativeModel<'a> = native::Model<'a>;

impl Model {
    /// Checks the bytes of a model file; which kind shows in the first of them.
    ///
    /// # Errors
    /// [`AesaStatus::Model`]; where tract is not built in for all but `model.aesa`.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        if bytes.starts_with(&MAGIC) { Self::native(bytes) } else { Self::tract(bytes) }
    }

    fn native(bytes: &[u8]) -> Result<Self, Failure> {
        let refused = |error: &dyn fmt::Display| Failure::new(AesaStatus::Model, error);
        let model = OwnedModel::try_new(AlignedBytes::from(bytes), |bytes| native::Model::from_bytes(bytes));
        let model = model.map_err(|e| refused(&e))?;
        Ok(Self::Native { info: model.borrow_dependent().info().map_err(|e| refused(&e))?, model })
    }

    #[cfg(feature = "tract")]
    fn tract(bytes: &[u8]) -> Result<Self, Failure> {
        TractModel::from_bytes(bytes).map(Self::Tract).map_err(|e| Failure::new(AesaStatus::Model, e))
    }

    #[cfg(not(feature = "tract"))]
    fn tract(_: &[u8]) -> Result<Self, Failure> {
        let message = "not a model.aesa; this library was built without support for other models";
        Err(Failure::new(AesaStatus::Model, message))
    }

    /// What the file says of itself.
    pub(crate) fn info(&self) -> &ModelInfo {
        match self {
            #[cfg(feature = "tract")]
            Self::Tract(model) => model.info(),
            Self::Native { info, .. } => info,
        }
    }

    /// `native` or `tract`.
    pub(crate) fn runtime(&self) -> &'static core::ffi::CStr {
        match self {
            #[cfg(feature = "tract")]
            Self::Tract(_) => c"tract",
            Self::Native { .. } => c"native",
        }
    }

    /// What a scorer needs; sessions share the weights.
    ///
    /// # Errors
    /// [`AesaStatus::Model`], which loading has ruled out.
    pub(crate) fn session(&self) -> Result<Session<'_>, Failure> {
        match self {
            #[cfg(feature = "tract")]
            Self::Tract(model) => Ok(Session::Tract(model.session())),
            Self::Native { model, .. } => {
                let session = model.borrow_dependent().session();
                session.map(|s| Session::Native(Box::new(s))).map_err(|e| Failure::new(AesaStatus::Model, e))
            }
        }
    }
}

/// One clip's way through the network.
pub(crate) enum Session<'m> {
    #[cfg(feature = "tract")]
    Tract(TractSession),
    Native(Box<native::Session<'m>>),
}

impl Network for Session<'_> {
    type Error = SessionError;

    fn info(&self) -> &ModelInfo {
        match self {
            #[cfg(feature = "tract")]
            Self::Tract(session) => session.info(),
            Self::Native(session) => session.info(),
        }
    }

    fn score_window(&mut self, features: &[f32], scores: &mut [Scores]) -> Result<(), SessionError> {
        match self {
            #[cfg(feature = "tract")]
            Self::Tract(session) => session.score_window(features, scores).map_err(SessionError::Tract),
            Self::Native(session) => session.score_window(features, scores).map_err(SessionError::Native),
        }
    }

    fn reset(&mut self) {
        match self {
            #[cfg(feature = "tract")]
            Self::Tract(session) => session.reset(),
            Self::Native(session) => session.reset(),
        }
    }
}

/// Why a network gave no scores.
#[derive(Debug)]
pub(crate) enum SessionError {
    #[cfg(feature = "tract")]
    Tract(TractError),
    Native(StreamError),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "tract")]
            Self::Tract(error) => error.fmt(f),
            Self::Native(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SessionError {}
