//! `aesa.Scorer`: a model, for whole clips and files, and the streams that it starts.

use std::path::{self, PathBuf};
use std::sync::Arc;

use aesa::{AudioSpec, Policy, WindowPolicy};
use aesa_media::AudioFile;
use aesa_runtime::{Model, ModelScorer};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyString};

use crate::error::{self, Failure};
use crate::results;
use crate::samples::Samples;
use crate::stream::Stream;
use crate::work::{self, Progress};

/// A model that scores audio: "starter" (inside this package), the path of a model file, or its bytes.
///
/// Loading happens once, here. Any number of threads may use one scorer at a time: each call has a state of its own, and
/// the GIL is released while it works. It can be pickled; one from a path is read again where it is unpickled.
#[pyclass(frozen, module = "aesa")]
pub(crate) struct Scorer {
    model: Arc<Model>,
    /// What a pickle keeps: "starter", an absolute path or the bytes.
    source: Py<PyAny>,
}

#[pymethods]
impl Scorer {
    #[new]
    #[pyo3(signature = (model = None))]
    fn new(py: Python<'_>, model: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let starter = PyString::new(py, STARTER).into_any();
        let model = model.unwrap_or(&starter);
        let (model, source) = if model.cast::<PyString>().is_ok_and(|name| *name == STARTER) {
            (Model::starter().map_err(Failure::from)?, starter)
        } else if is_bytes(model) {
            let bytes = py.get_type::<PyBytes>().call1((model,))?.cast_into::<PyBytes>()?;
            let content = bytes.as_bytes();
            (py.detach(|| Model::from_bytes(content)).map_err(Failure::from)?, bytes.into_any())
        } else {
            let path: PathBuf = model.extract().map_err(|_| wrong_model(model))?;
            let loaded = py.detach(|| Model::open(&path)).map_err(Failure::from)?;
            let absolute = path::absolute(&path).unwrap_or(path);
            (loaded, absolute.into_os_string().into_pyobject(py)?.into_any())
        };
        Ok(Self { model: Arc::new(model), source: source.unbind() })
    }

    /// Scores a whole clip.
    ///
    /// samples: numpy array, [samples] (mono) or [samples, channels] (averaged); float32 or float64 in [-1, 1], int16 or
    /// int32 of full scale. At least 175 ms. Read in place if C-contiguous (float64 is rounded to float32 in a copy).
    /// rate: samples per second and channel.
    ///
    /// Raises TypeError, AudioError, TooShortError, NetworkError.
    fn score<'py>(
        &self,
        py: Python<'py>,
        samples: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = sample_rate_hz)] rate: u32,
    ) -> PyResult<Bound<'py, PyAny>> {
        let samples = Samples::new(samples)?;
        let spec = AudioSpec { sample_rate_hz: rate, num_channels: samples.clip_channels()? };
        let mut scorer = self.start(spec, None)?;
        samples.feed(py, &mut scorer)??;
        finish(py, &mut scorer)
    }

    /// Scores an audio file: WAV, AIFF, FLAC, MP3, Ogg Vorbis, AAC or M4A, decoded piece by piece.
    ///
    /// Raises FileError where it cannot be read, DecodeError where it is damaged or of another kind, TooShortError.
    fn score_file<'py>(&self, py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyAny>> {
        let media = |error| Failure::Media(path.clone(), error);
        let mut file = py.detach(|| AudioFile::open(&path)).map_err(media)?;
        let spec = AudioSpec { sample_rate_hz: file.sample_rate_hz(), num_channels: file.num_channels() };
        let mut scorer = self.start(spec, None)?;
        work::run(py, || match file.next_chunk().map_err(media)? {
            Some(chunk) => {
                scorer.accept(chunk)?;
                Ok(Progress::Continue(()))
            }
            None => Ok(Progress::Break(())),
        })??;
        finish(py, &mut scorer)
    }

    /// Starts a stream of `channels` channels at `rate` samples per second.
    ///
    /// hop, look_ahead: seconds, for models that hear in windows only: the time from one window to the next (whole steps of
    /// 160 ms, rounded down; a whole window unless given) and how much is heard past a frame before it is scored (rounded up).
    ///
    /// Raises AudioError for a rate or number of channels that cannot be, PolicyError for hop and look_ahead.
    #[pyo3(signature = (rate, channels = 1, *, hop = None, look_ahead = None))]
    fn stream(
        &self,
        #[pyo3(from_py_with = sample_rate_hz)] rate: u32,
        #[pyo3(from_py_with = num_channels)] channels: usize,
        hop: Option<f64>,
        look_ahead: Option<f64>,
    ) -> PyResult<Stream> {
        let policy = (hop.or(look_ahead).is_some()).then(|| self.windows(hop, look_ahead));
        let spec = AudioSpec { sample_rate_hz: rate, num_channels: channels };
        Ok(Stream::new(self.start(spec, policy)?))
    }

    /// What the model says of itself.
    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        results::info(py, &self.model)
    }

    fn __repr__(&self) -> String {
        let info = self.model.info();
        format!("<aesa.Scorer {} {}, {}>", info.id, info.version, info.policy)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyAny>, (Py<PyAny>,)) {
        (slf.get_type().into_any(), (slf.get().source.clone_ref(slf.py()),))
    }
}

impl Scorer {
    fn start(&self, spec: AudioSpec, policy: Option<WindowPolicy>) -> Result<ModelScorer, Failure> {
        let model = self.model.clone();
        Ok(match policy {
            Some(policy) => ModelScorer::with_policy(model, spec, policy)?,
            None => ModelScorer::new(model, spec)?,
        })
    }

    /// What is not given is as for files.
    fn windows(&self, hop_s: Option<f64>, look_ahead_s: Option<f64>) -> WindowPolicy {
        let max_steps = match self.model.info().policy {
            Policy::Windowed { window_steps } => window_steps,
            Policy::Chunked { chunk_steps, .. } => chunk_steps,
        };
        let hop_s = hop_s.unwrap_or_else(|| WindowPolicy::without_overlap(max_steps).hop_s());
        WindowPolicy::from_seconds(hop_s, look_ahead_s.unwrap_or(0.0))
    }
}

/// A rate that is no number of samples is refused in the scorer's words where it can be, in these where not.
fn sample_rate_hz(rate: &Bound<'_, PyAny>) -> PyResult<u32> {
    rate.extract().map_err(|e| where_too_large(rate, e, || format!("sample rate {rate} Hz cannot be")))
}

fn num_channels(channels: &Bound<'_, PyAny>) -> PyResult<usize> {
    channels.extract().map_err(|e| where_too_large(channels, e, || format!("{channels} channels cannot be")))
}

/// `AudioError` in place of Python's `OverflowError`, which it raises for negative integers, too.
fn where_too_large(value: &Bound<'_, PyAny>, error: PyErr, message: impl FnOnce() -> String) -> PyErr {
    if error.is_instance_of::<PyOverflowError>(value.py()) { error::audio(message()) } else { error }
}

fn finish<'py>(py: Python<'py>, scorer: &mut ModelScorer) -> PyResult<Bound<'py, PyAny>> {
    let clip = py.detach(|| scorer.finish()).map_err(Failure::from)?;
    results::clip(py, clip, &results::take_frames(scorer))
}

fn is_bytes(object: &Bound<'_, PyAny>) -> bool {
    object.cast::<PyBytes>().is_ok()
        || object.cast::<PyByteArray>().is_ok()
        || object.cast::<PyMemoryView>().is_ok()
}

fn wrong_model(object: &Bound<'_, PyAny>) -> PyErr {
    let actual = object.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
    PyTypeError::new_err(format!("model must be \"starter\", a path or a model file's bytes, not {actual}"))
}

const STARTER: &str = "starter";
