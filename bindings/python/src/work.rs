//! Long work without the GIL, in which Python's signal handlers still run.

use core::ops::ControlFlow;
use core::time::Duration;
use std::time::Instant;

use pyo3::prelude::*;

use crate::error::Failure;

/// Whether there is more to do.
pub(crate) type Progress = ControlFlow<()>;

/// Calls `step` until it breaks off, because all is done, or fails. The GIL is released but for a moment every
/// [`SIGNAL_INTERVAL`], when signal handlers run: ctrl-C raises `KeyboardInterrupt`.
///
/// # Errors
/// The outer one is a signal handler's, the inner one `step`'s.
pub(crate) fn run(
    py: Python<'_>,
    mut step: impl FnMut() -> Result<Progress, Failure> + Send,
) -> PyResult<Result<(), Failure>> {
    loop {
        let progress = py.detach(|| {
            let start = Instant::now();
            while start.elapsed() < SIGNAL_INTERVAL {
                if step()?.is_break() {
                    return Ok(Progress::Break(()));
                }
            }
            Ok(Progress::Continue(()))
        });
        match progress {
            Ok(Progress::Continue(())) => py.check_signals()?,
            Ok(Progress::Break(())) => return Ok(Ok(())),
            Err(failure) => return Ok(Err(failure)),
        }
    }
}

/// Taking the GIL back may mean waiting for another thread's time slice, 5 ms: seldom enough not to matter.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);
