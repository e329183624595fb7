//! Scores as the Python classes of `aesa._results`.

use aesa::score::{NUM_AXES, STEP_S};
use aesa::{ClipScore, FrameScore, ModelInfo, Policy};
use aesa_runtime::{Engine, Model, ModelScorer};
use numpy::{PyArray1, PyArray2, prelude::*};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyList;

/// All frames that a scorer has ready.
pub(crate) fn take_frames(scorer: &mut ModelScorer) -> Vec<FrameScore> {
    core::iter::from_fn(|| scorer.next_frame()).collect()
}

/// `ClipScore(scores [4], num_frames, frames [n, 4], times [n], flags [n])`
pub(crate) fn clip<'py>(
    py: Python<'py>,
    clip: ClipScore,
    frames: &[FrameScore],
) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let rows: Vec<f32> = frames.iter().flat_map(|frame| frame.scores.0).collect();
    let rows: Bound<'_, PyArray2<f32>> = PyArray1::from_vec(py, rows).reshape([frames.len(), NUM_AXES])?;
    let times = PyArray1::from_iter(py, frames.iter().map(FrameScore::start_s));
    let flags = PyArray1::from_iter(py, frames.iter().map(flags));
    let scores = PyArray1::from_slice(py, &clip.scores.0);
    CLASS.import(py, "aesa._results", "ClipScore")?.call1((scores, clip.num_steps, rows, times, flags))
}

/// A list of `FrameScore(start_s, pq, pc, ce, cu, has_gap, is_lost)`.
pub(crate) fn frames<'py>(py: Python<'py>, frames: &[FrameScore]) -> PyResult<Bound<'py, PyList>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CLASS.import(py, "aesa._results", "FrameScore")?;
    let frame = |frame: &FrameScore| {
        let [pq, pc, ce, cu] = frame.scores.0;
        class.call1((frame.start_s(), pq, pc, ce, cu, frame.has_gap, frame.is_lost))
    };
    PyList::new(py, frames.iter().map(frame).collect::<PyResult<Vec<_>>>()?)
}

/// `ModelInfo(id, version, labels, policy, step_s, runtime, weights, run_hash)`
pub(crate) fn info<'py>(py: Python<'py>, model: &Model) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let ModelInfo { id, version, policy, labels, run_hash, .. } = model.info();
    let engine: Engine<'_> = model.engine();
    let policy: &Policy = policy;
    CLASS.import(py, "aesa._results", "ModelInfo")?.call1((
        id,
        version,
        labels.name(),
        policy.name(),
        policy.max_steps() as f64 * STEP_S,
        engine.name(),
        engine.weights(),
        run_hash,
    ))
}

/// Bit 0: lost audio lies in what the network saw for the frame; bit 1: in the frame itself.
fn flags(frame: &FrameScore) -> u8 {
    u8::from(frame.has_gap) | (u8::from(frame.is_lost) << 1)
}
