//! Environment variables that libtorch's libraries read before `main`.

use std::env;
use std::process::Command;

/// Starts the program anew with the variables of [`DEFAULTS`] that are not set; returns where all are set already.
///
/// Also returns where the system cannot do it: the variables change speed, never a result.
pub(crate) fn ensure() {
    let missing: Vec<(&str, &str)> =
        DEFAULTS.into_iter().filter(|(name, _)| env::var_os(name).is_none()).collect();
    let Ok(program) = env::current_exe() else { return };
    if !missing.is_empty() {
        replace_process(Command::new(program).args(env::args_os().skip(1)).envs(missing));
    }
}

#[cfg(unix)]
fn replace_process(command: &mut Command) {
    // Comes back only with an error.
    _ = std::os::unix::process::CommandExt::exec(command);
}

#[cfg(not(unix))]
fn replace_process(_: &mut Command) {}

const DEFAULTS: [(&str, &str); 3] = [
    // libgomp's waiting threads sleep: spinning ones slow two threads on shared cores 3 to 9 times.
    ("OMP_WAIT_POLICY", "PASSIVE"),
    // glibc keeps large blocks: given back and asked for anew, their page faults cost 0.6 s beside the 1.4 s of work of
    // a training step on 16 whole ten-second clips.
    ("MALLOC_MMAP_THRESHOLD_", "4294967296"),
    ("MALLOC_TRIM_THRESHOLD_", "17179869184"),
];
