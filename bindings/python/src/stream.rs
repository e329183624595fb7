//! `aesa.Stream`: one clip, chunk by chunk.

use std::sync::{Mutex, TryLockError};

use aesa::AudioSpec;
use aesa_runtime::ModelScorer;
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::error::{self, Failure};
use crate::results;
use crate::samples::Samples;
use crate::work::{self, Progress};

/// One clip that arrives piece by piece; Scorer.stream makes it.
///
/// How it is cut never changes a score. One call at a time: a call while another thread is in one raises StreamError. As a
/// context manager it frees its memory at the end of the block.
#[pyclass(frozen, module = "aesa")]
pub(crate) struct Stream {
    spec: AudioSpec,
    latency_samples: u64,
    state: Mutex<State>,
}

enum State {
    Open(Box<ModelScorer>),
    /// A signal handler raised in the middle of a chunk.
    Interrupted(Box<ModelScorer>),
    Closed,
}

impl Stream {
    pub(crate) fn new(scorer: ModelScorer) -> Self {
        let (spec, latency_samples) = (scorer.spec(), scorer.latency_samples());
        Self { spec, latency_samples, state: Mutex::new(State::Open(Box::new(scorer))) }
    }

    /// Does `work` on the state, if no other thread is at it.
    fn with<T>(&self, work: impl FnOnce(&mut State) -> PyResult<T>) -> PyResult<T> {
        match self.state.try_lock() {
            Ok(mut state) => work(&mut state),
            Err(TryLockError::WouldBlock) => Err(error::stream("the stream is in a call on another thread")),
            Err(TryLockError::Poisoned(_)) => {
                Err(error::stream("a bug in aesa ended this stream in an earlier call"))
            }
        }
    }

    /// Does `work` that a signal handler may break off, which then ends the clip.
    fn advance<'py>(
        &self,
        py: Python<'py>,
        work: impl FnOnce(&mut ModelScorer) -> PyResult<Result<(), Failure>>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.with(|state| {
            let scorer = state.scorer()?;
            match work(scorer) {
                Ok(result) => {
                    result?;
                    results::frames(py, &results::take_frames(scorer))
                }
                Err(interrupt) => {
                    state.interrupt();
                    Err(interrupt)
                }
            }
        })
    }
}

#[pymethods]
impl Stream {
    /// Takes the next samples and returns the frames that became final, a list of FrameScore.
    ///
    /// samples: as for Scorer.score, of any length; [samples, channels], or [samples] for one channel.
    ///
    /// Raises TypeError and AudioError, with nothing taken; StreamError after the end of the clip; NetworkError, which ends it.
    fn accept<'py>(&self, py: Python<'py>, samples: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let samples = Samples::new(samples)?;
        samples.check_channels(self.spec.num_channels)?;
        self.advance(py, |scorer| samples.feed(py, scorer))
    }

    /// Marks the next num_samples samples (of every channel) as lost and returns the frames that became final.
    ///
    /// Time goes on. Frames whose model heard the gap say so (has_gap); those in it (is_lost) are no part of the clip's scores.
    ///
    /// Raises AudioError for fewer than 0 samples or more than 2**40; TypeError for what is no int.
    fn gap<'py>(&self, py: Python<'py>, num_samples: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let mut num_left = gap_samples(num_samples)?;
        let piece = u64::from(self.spec.sample_rate_hz);
        self.advance(py, |scorer| {
            work::run(py, || {
                scorer.gap(num_left.min(piece))?;
                num_left = num_left.saturating_sub(piece);
                Ok(if num_left == 0 { Progress::Break(()) } else { Progress::Continue(()) })
            })
        })
    }

    /// Ends the clip and returns its ClipScore, with the frames that no accept returned.
    ///
    /// Raises TooShortError, AllLostError, NetworkError; StreamError the second time.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.with(|state| {
            let scorer = state.scorer()?;
            let clip = py.detach(|| scorer.finish()).map_err(Failure::from)?;
            results::clip(py, clip, &results::take_frames(scorer))
        })
    }

    /// Forgets the clip: the next samples begin another.
    fn reset(&self) -> PyResult<()> {
        self.with(State::reset)
    }

    /// Frees the stream's memory; no call is possible any more.
    fn close(&self) -> PyResult<()> {
        self.with(|state| {
            *state = State::Closed;
            Ok(())
        })
    }

    /// The clip's ClipScore so far, without frames; None before the first.
    #[getter]
    fn clip_so_far<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.with(|state| {
            let clip = state.scorer()?.clip_score_so_far();
            clip.map(|clip| results::clip(py, clip, &[])).transpose()
        })
    }

    /// Samples per second and channel.
    #[getter]
    fn rate(&self) -> u32 {
        self.spec.sample_rate_hz
    }

    /// How many channels an array has to have.
    #[getter]
    fn channels(&self) -> usize {
        self.spec.num_channels
    }

    /// The longest wait for a frame: how many seconds have to be heard from its start until its scores come out.
    #[getter]
    fn latency_s(&self) -> f64 {
        self.latency_samples as f64 / f64::from(self.spec.sample_rate_hz)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close()
    }

    fn __repr__(&self) -> String {
        format!("<aesa.Stream {} Hz, {} channels>", self.spec.sample_rate_hz, self.spec.num_channels)
    }
}

impl State {
    fn scorer(&mut self) -> PyResult<&mut ModelScorer> {
        match self {
            Self::Open(scorer) => Ok(scorer),
            Self::Interrupted(_) => {
                Err(error::stream("the clip was interrupted in the middle of a chunk; reset begins another"))
            }
            Self::Closed => Err(error::stream("the stream is closed")),
        }
    }

    fn interrupt(&mut self) {
        if let Self::Open(scorer) = core::mem::replace(self, Self::Closed) {
            *self = Self::Interrupted(scorer);
        }
    }

    fn reset(&mut self) -> PyResult<()> {
        match core::mem::replace(self, Self::Closed) {
            Self::Open(mut scorer) | Self::Interrupted(mut scorer) => {
                scorer.reset();
                *self = Self::Open(scorer);
                Ok(())
            }
            Self::Closed => Err(error::stream("the stream is closed")),
        }
    }
}

/// A Python int as the length of a gap.
fn gap_samples(number: &Bound<'_, PyAny>) -> PyResult<u64> {
    let cannot_be = || error::audio(format!("a gap of {number} samples cannot be"));
    match number.extract::<u64>() {
        Ok(num_samples) if num_samples <= MAX_GAP_SAMPLES => Ok(num_samples),
        Ok(_) => Err(cannot_be()),
        Err(error) if error.is_instance_of::<PyOverflowError>(number.py()) => Err(cannot_be()),
        Err(error) => Err(error),
    }
}

/// Two years at 16 kHz, as in the other bindings.
const MAX_GAP_SAMPLES: u64 = 1 << 40;
