//! A model on whichever engine runs it, and one clip's way through it.

use core::fmt;
use core::ops::Deref;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

#[cfg(feature = "tract")]
use aesa::encoder::Either;
#[cfg(feature = "threads")]
use aesa::native::Threads;
use aesa::native::{self, AlignedBytes, format::MAGIC};
use aesa::{ModelInfo, Network};
#[cfg(any(unix, windows))]
use aesa_kernels::FileMap;
#[cfg(feature = "tract")]
use aesa_tract::{TractModel, TractSession};
use self_cell::self_cell;

use crate::error::LoadError;

/// A loaded model; never changes. Any number of scorers may use it, in any threads.
pub struct Model(Kind);

enum Kind {
    #[cfg(feature = "tract")]
    Tract(TractModel),
    Native {
        model: OwnedModel,
        info: ModelInfo,
        #[cfg(feature = "threads")]
        threads: Option<Threads>,
    },
}

self_cell!(
    /// A native model and the bytes that it reads in place.
    struct OwnedModel {
        owner: FileBytes,
        #[covariant]
        dependent: NativeModel,
    }
);

type NativeModel<'a> = native::Model<'a>;

/// Where the bytes of a `model.aesa` are.
enum FileBytes {
    #[cfg(feature = "starter")]
    BuiltIn(&'static [u8]),
    #[cfg(any(unix, windows))]
    Mapped(FileMap),
    Read(AlignedBytes),
}

impl FileBytes {
    /// A whole file, where the native engine can use it in place: it is in memory once.
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        #[cfg(any(unix, windows))]
        if metadata.is_file()
            && let Ok(map) = FileMap::new(&file)
        {
            return Ok(Self::Mapped(map));
        }
        // Of what is no file, a pipe for example, nobody knows the length.
        let num_bytes = if metadata.is_file() { metadata.len() } else { 0 };
        let mut bytes = AlignedBytes::zeros(usize::try_from(num_bytes).map_err(io::Error::other)?);
        file.read_exact(&mut bytes)?;
        let mut rest = Vec::new();
        Ok(Self::Read(match file.read_to_end(&mut rest)? {
            0 => bytes,
            _ => AlignedBytes::from([&bytes, &rest[..]].concat().as_slice()),
        }))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            #[cfg(feature = "starter")]
            Self::BuiltIn(bytes) => bytes,
            #[cfg(any(unix, windows))]
            Self::Mapped(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

/// What runs a model.
#[derive(Clone, Copy, Debug)]
pub enum Engine<'m> {
    /// tract, from ONNX.
    #[cfg(feature = "tract")]
    Tract(&'m TractModel),
    /// The native engine, from a `model.aesa`.
    Native(&'m native::Model<'m>),
}

impl Model {
    /// Opens the file at `path`; what it is shows in its first bytes. A `model.aesa` is mapped into memory, where the system can, and used
    /// where it lies: it must not be written over while the model lives, only replaced by renaming another file. Where that cannot be
    /// promised, read it and call [`Self::from_bytes`].
    ///
    /// # Errors
    /// [`LoadError::Read`]; [`LoadError::File`] around those of [`Self::from_bytes`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let bytes = FileBytes::open(path).map_err(|source| LoadError::Read { path: path.into(), source })?;
        // A damaged beginning of a file of that name is told as such.
        let is_native = bytes.starts_with(&MAGIC) || path.extension().is_some_and(|e| e == "aesa");
        let model = if is_native { Self::native(bytes) } else { Self::other(&bytes) };
        model.map_err(|e| LoadError::File { path: path.into(), source: Box::new(e) })
    }

    /// Checks the bytes of a model file, which are copied; which kind it is shows in the first of them.
    ///
    /// # Errors
    /// [`LoadError::Native`] and [`LoadError::Info`] for a `model.aesa`; for all else [`LoadError::Tract`] or, where that is not
    /// built in, [`LoadError::Unsupported`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        if bytes.starts_with(&MAGIC) {
            Self::native(FileBytes::Read(bytes.into()))
        } else {
            Self::other(bytes)
        }
    }

    /// The starter model inside this program: int8, in chunks, read where it lies.
    ///
    /// # Errors
    /// None, unless the program was built with a broken one.
    #[cfg(feature = "starter")]
    pub fn starter() -> Result<Self, LoadError> {
        static STARTER: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../models/starter/model.aesa"));
        Self::native(FileBytes::BuiltIn(&STARTER.0))
    }

    fn native(bytes: FileBytes) -> Result<Self, LoadError> {
        let model = OwnedModel::try_new(bytes, |bytes| native::Model::from_bytes(bytes))
            .map_err(LoadError::Native)?;
        let info = model.borrow_dependent().info().map_err(LoadError::Info)?;
        Ok(Self(Kind::Native {
            model,
            info,
            #[cfg(feature = "threads")]
            threads: None,
        }))
    }

    #[cfg(feature = "tract")]
    fn other(bytes: &[u8]) -> Result<Self, LoadError> {
        TractModel::from_bytes(bytes).map(|model| Self(Kind::Tract(model))).map_err(LoadError::Tract)
    }

    #[cfg(not(feature = "tract"))]
    fn other(_: &[u8]) -> Result<Self, LoadError> {
        Err(LoadError::Unsupported)
    }

    /// The same model, whose windows and chunks are computed by `count` threads from now on: the one that asks for scores, and
    /// helpers in one pool, which all sessions of this model share. 1 unless set; no number changes a score.
    ///
    /// # Errors
    /// [`LoadError::Threads`] for 0 threads, or more than the system starts; [`LoadError::OneThread`] for more than 1 where tract runs the
    /// model.
    #[cfg(feature = "threads")]
    pub fn with_threads(self, count: usize) -> Result<Self, LoadError> {
        let started = Threads::new(count).map_err(LoadError::Threads)?;
        match self.0 {
            #[cfg(feature = "tract")]
            Kind::Tract(_) if count > 1 => Err(LoadError::OneThread),
            #[cfg(feature = "tract")]
            Kind::Tract(_) => Ok(self),
            Kind::Native { model, info, .. } => {
                Ok(Self(Kind::Native { model, info, threads: Some(started) }))
            }
        }
    }

    /// What the file says of itself.
    pub fn info(&self) -> &ModelInfo {
        match &self.0 {
            #[cfg(feature = "tract")]
            Kind::Tract(model) => model.info(),
            Kind::Native { info, .. } => info,
        }
    }

    /// What runs it.
    pub fn engine(&self) -> Engine<'_> {
        match &self.0 {
            #[cfg(feature = "tract")]
            Kind::Tract(model) => Engine::Tract(model),
            Kind::Native { model, .. } => Engine::Native(model.borrow_dependent()),
        }
    }

    /// What a [`Scorer`](aesa::Scorer) needs; sessions share the weights.
    pub fn session(&self) -> Session<'_> {
        match &self.0 {
            #[cfg(feature = "tract")]
            Kind::Tract(model) => Session::A(model.session()),
            Kind::Native {
                model,
                #[cfg(feature = "threads")]
                threads,
                ..
            } => {
                let session = model.borrow_dependent().session();
                let session = session.expect("the metadata were read when the model was");
                #[cfg(feature = "threads")]
                let session = match threads {
                    Some(threads) => session.with_threads(threads),
                    None => session,
                };
                #[cfg(feature = "tract")]
                let session = Session::B(session);
                session
            }
        }
    }
}

impl Engine<'_> {
    /// `tract` or `native`.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "tract")]
            Self::Tract(_) => "tract",
            Self::Native(_) => "native",
        }
    }

    /// The kind of numbers that linear maps are computed in, `int8` or `f32`, where the engine knows it.
    pub fn weights(self) -> Option<&'static str> {
        match self {
            #[cfg(feature = "tract")]
            Self::Tract(_) => None,
            Self::Native(model) => Some(if model.is_int8() { "int8" } else { "f32" }),
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("engine", &self.engine().name()).field("info", self.info()).finish()
    }
}

/// One clip's way through a network.
#[cfg(feature = "tract")]
pub type Session<'m> = Either<TractSession, native::Session<'m>>;

/// One clip's way through a network.
#[cfg(not(feature = "tract"))]
pub type Session<'m> = native::Session<'m>;

/// Why a network gave no scores.
pub type SessionError = <Session<'static> as Network>::Error;

/// Begins where the native engine's tensors may.
#[cfg(feature = "starter")]
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);
