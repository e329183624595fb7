//! numpy arrays as the scorer's samples.

use aesa::audio::{self, Sample};
use aesa_runtime::ModelScorer;
use numpy::{Element, PyArrayDyn, PyReadonlyArrayDyn, PyUntypedArray, prelude::*};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::error::{self, Failure};
use crate::work::{self, Progress};

/// Samples of one of the formats that are read where they lie: C order, aligned, the machine's byte order.
pub(crate) struct Samples<'py> {
    values: Values<'py>,
    layout: Layout,
}

enum Values<'py> {
    F32(PyReadonlyArrayDyn<'py, f32>),
    I16(PyReadonlyArrayDyn<'py, i16>),
    I32(PyReadonlyArrayDyn<'py, i32>),
}

/// `[num_samples]`, which is mono, or `[num_samples, num_channels]`.
#[derive(Clone, Copy)]
struct Layout {
    num_samples: usize,
    num_channels: usize,
    is_1d: bool,
}

impl<'py> Samples<'py> {
    /// Looks at an array; only what cannot be read in place is copied (strides, another byte order, float64).
    ///
    /// # Errors
    /// `TypeError` for what is no array of float32, float64, int16 or int32; `AudioError` for another number of dimensions, or a
    /// masked array.
    pub(crate) fn new(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let array = object.cast::<PyUntypedArray>().map_err(|_| {
            let actual = object.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
            PyTypeError::new_err(format!("samples must be a numpy array, not {actual}: see numpy.asarray"))
        })?;
        refuse_masked(array)?;
        let layout = Layout::new(array.shape())?;
        let dtype = array.dtype();
        let values = match (dtype.kind(), dtype.itemsize()) {
            (b'f', 4 | 8) => Values::F32(readable(array, "=f4")?),
            (b'i', 2) => Values::I16(readable(array, "=i2")?),
            (b'i', 4) => Values::I32(readable(array, "=i4")?),
            _ => {
                let message = format!("samples must be float32, float64, int16 or int32, not {dtype}");
                return Err(PyTypeError::new_err(message));
            }
        };
        Ok(Self { values, layout })
    }

    /// The number of channels of a whole clip.
    ///
    /// # Errors
    /// `AudioError` for an array that has its axes in the other order.
    pub(crate) fn clip_channels(&self) -> PyResult<usize> {
        let Layout { num_samples, num_channels, is_1d } = self.layout;
        // A clip of fewer samples than channels is too short at any rate.
        if !is_1d && num_channels > num_samples && num_samples > 0 {
            let message = format!(
                "{num_samples} samples of {num_channels} channels: the array has to be [samples, channels]; pass its .T"
            );
            return Err(error::audio(message));
        }
        Ok(num_channels)
    }

    /// Hands all samples to a scorer, without the GIL; the outer error is a signal handler's, and leaves some of them accepted.
    ///
    /// # Errors
    /// `AudioError` for another number of channels than the scorer's; its own errors.
    pub(crate) fn feed(&self, py: Python<'_>, scorer: &mut ModelScorer) -> PyResult<Result<(), Failure>> {
        match &self.values {
            Values::F32(array) => feed(py, scorer, slice(array)?),
            Values::I16(array) => feed(py, scorer, slice(array)?),
            Values::I32(array) => feed(py, scorer, slice(array)?),
        }
    }

    /// That the array fits a stream of so many channels.
    ///
    /// # Errors
    /// `AudioError`.
    pub(crate) fn check_channels(&self, expected: usize) -> PyResult<()> {
        let Layout { num_channels, is_1d, .. } = self.layout;
        if num_channels == expected {
            return Ok(());
        }
        let actual = if is_1d { "is 1-D, which is mono".into() } else { format!("has {num_channels}") };
        Err(error::audio(format!(
            "the stream has {expected} channels, the array {actual}; it has to be [samples, channels]"
        )))
    }
}

impl Layout {
    fn new(shape: &[usize]) -> PyResult<Self> {
        match *shape {
            [num_samples] => Ok(Self { num_samples, num_channels: 1, is_1d: true }),
            [num_samples, num_channels] => Ok(Self { num_samples, num_channels, is_1d: false }),
            _ => Err(error::audio(format!(
                "an array of {} dimensions: it has to be [samples] or [samples, channels]",
                shape.len()
            ))),
        }
    }
}

/// A masked array's values lie where others' do, so that what is masked would be heard.
fn refuse_masked(array: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
    static MASKED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    // Only for a subclass is numpy.ma worth importing.
    if array.is_exact_instance_of::<PyUntypedArray>() {
        return Ok(());
    }
    if array.is_instance(MASKED.import(array.py(), "numpy.ma", "MaskedArray")?)? {
        return Err(error::audio(
            "samples are a numpy.ma.MaskedArray: fill it first, or mark what is missing with Stream.gap",
        ));
    }
    Ok(())
}

/// The array itself where its values can be read in place as `dtype`, a copy where not: `numpy.require` sees to it.
fn readable<'py, T: Element>(
    array: &Bound<'py, PyUntypedArray>,
    dtype: &str,
) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    static REQUIRE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let require = REQUIRE.import(array.py(), "numpy", "require")?;
    let array = require.call1((array, dtype, ("C", "A")))?.cast_into::<PyArrayDyn<T>>()?;
    array.try_readonly().map_err(|e| error::audio(format!("the array is being written to: {e}")))
}

fn slice<'a, T: Element>(array: &'a PyReadonlyArrayDyn<'_, T>) -> PyResult<&'a [T]> {
    // `readable` saw to it; a caller that changes the array's flags meanwhile is told so.
    array.as_slice().map_err(|e| error::audio(e.to_string()))
}

fn feed<S: Sample + Sync>(
    py: Python<'_>,
    scorer: &mut ModelScorer,
    interleaved: &[S],
) -> PyResult<Result<(), Failure>> {
    let spec = scorer.spec();
    let piece = (spec.sample_rate_hz as usize).saturating_mul(spec.num_channels);
    let mut pieces = interleaved.chunks(piece);
    let mut is_checked = false;
    work::run(py, || {
        if !is_checked {
            is_checked = true;
            // The scorer says what is wrong with the whole, and takes nothing of it. None is too little for the loop below.
            if interleaved.is_empty() || audio::first_unusable(interleaved).is_some() {
                scorer.accept(interleaved)?;
            }
        }
        Ok(match pieces.next() {
            Some(piece) => {
                scorer.accept(piece)?;
                Progress::Continue(())
            }
            None => Progress::Break(()),
        })
    })
}
