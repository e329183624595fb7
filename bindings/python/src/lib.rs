//! The compiled half of the Python package `aesa`: scorers and streams over [`aesa_runtime`].
//!
//! ```text
//!  numpy array --> samples.rs   read in place where it can be
//!                     |
//!  scorer.rs  a model: whole clips and files      stream.rs  one clip, chunk by chunk
//!                     |                                |
//!                     '------> work.rs <---------------'   without the GIL; ctrl-C gets through
//!                                 |
//!                             results.rs   `aesa._results`: clip and frame scores
//!
//!  error.rs   `aesa._errors`
//! ```
//!
//! What Python's users read is in `python/aesa`: the types' signatures in `_aesa.pyi`, results and errors in Python itself.
#![forbid(unsafe_code)]

mod error;
mod results;
mod samples;
mod scorer;
mod stream;
mod work;

use pyo3::prelude::*;

/// What `aesa/__init__.py` takes from here.
#[pymodule]
mod _aesa {
    use pyo3::prelude::*;
    use pyo3::types::PyModule;

    #[pymodule_export]
    use crate::scorer::Scorer;
    #[pymodule_export]
    use crate::stream::Stream;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
