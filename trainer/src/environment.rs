//! Environment variables that libtorch's libraries, or what loads them, read before `main`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Starts the program anew with the variables of `DEFAULTS` that are not set, and with libtorch's CUDA half where there
/// is one; returns where all is well already.
///
/// Also returns where the system cannot do it: the variables change speed and whether a GPU is seen, never a result.
pub fn ensure() {
    let defaults = DEFAULTS.into_iter().filter(|(name, _)| env::var_os(name).is_none());
    let mut missing: Vec<(&str, OsString)> = defaults.map(|(name, value)| (name, value.into())).collect();
    let preloaded = env::var_os(PRELOAD).unwrap_or_default();
    let loaded = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    if let Some(preload) = with_cuda(&loaded, &preloaded.to_string_lossy()) {
        missing.push((PRELOAD, preload.into()));
    }
    let Ok(program) = env::current_exe() else { return };
    if !missing.is_empty() {
        replace_process(Command::new(program).args(env::args_os().skip(1)).envs(missing));
    }
}

/// What has to be loaded first for a GPU to be seen: the CUDA half of libtorch, which registers itself. Nothing in the
/// program names it, so that linkers leave it out.
///
/// `None` where it is loaded, asked for already, or not beside the half that is loaded. `loaded` is as
/// `/proc/self/maps`.
fn with_cuda(loaded: &str, preloaded: &str) -> Option<String> {
    let library = |name: &str| library(loaded, name);
    let cuda = library("/libtorch_cpu.so")?.with_file_name("libtorch_cuda.so");
    let path = cuda.to_str()?;
    // A list of paths that ends at colons and spaces.
    let can_be_named = !path.contains([':', ' ']);
    let is_done = library("/libtorch_cuda.so").is_some() || preloaded.contains(path);
    if is_done || !can_be_named || !cuda.exists() {
        return None;
    }
    Some(if preloaded.is_empty() { path.to_owned() } else { format!("{preloaded}:{path}") })
}

/// The version of the libtorch that is loaded, as the folder that it lies in tells: `2.11.0+cpu`; else `unknown`.
pub fn libtorch_version() -> String {
    let loaded = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    version_of(&loaded).unwrap_or_else(|| "unknown".to_owned())
}

/// `loaded` is as `/proc/self/maps`. Python's torch has a `version.py`, the archives of libtorch have a `build-version`.
fn version_of(loaded: &str) -> Option<String> {
    let library = library(loaded, "/libtorch_cpu.so")?;
    let folder = library.parent()?.parent()?;
    let python = fs::read_to_string(folder.join("version.py")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
        Some(line.trim_matches(['\'', '"']).to_owned())
    });
    let plain = || fs::read_to_string(folder.join("build-version")).ok().map(|text| text.trim().to_owned());
    python.or_else(plain)
}

/// Where a library lies that is loaded.
fn library(loaded: &str, name: &str) -> Option<PathBuf> {
    let line = loaded.lines().find(|line| line.ends_with(name))?;
    Some(Path::new(&line[line.find('/')?..]).to_path_buf())
}

#[cfg(unix)]
fn replace_process(command: &mut Command) {
    // Comes back only with an error.
    _ = std::os::unix::process::CommandExt::exec(command);
}

#[cfg(not(unix))]
fn replace_process(_: &mut Command) {}

const PRELOAD: &str = "LD_PRELOAD";

const DEFAULTS: [(&str, &str); 3] = [
    // libgomp's waiting threads sleep: spinning ones slow two threads on shared cores 3 to 9 times.
    ("OMP_WAIT_POLICY", "PASSIVE"),
    // glibc keeps large blocks: given back and asked for anew, their page faults cost 0.6 s beside the 1.4 s of work of
    // a training step on 16 whole ten-second clips.
    ("MALLOC_MMAP_THRESHOLD_", "4294967296"),
    ("MALLOC_TRIM_THRESHOLD_", "17179869184"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaded_libtorch_tells_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = format!("7f00-7f10 r-xp 0 08:01 42  {}/lib/libtorch_cpu.so\n", folder.path().display());
        assert_eq!(version_of(&loaded), None);
        fs::write(folder.path().join("build-version"), "2.11.0\n").unwrap();
        assert_eq!(version_of(&loaded).as_deref(), Some("2.11.0"));
        fs::write(folder.path().join("version.py"), "__all__ = []\n__version__ = '2.11.0+cu130'\n").unwrap();
        assert_eq!(version_of(&loaded).as_deref(), Some("2.11.0+cu130"));
        assert_eq!(version_of(""), None);
    }

    #[test]
    fn libtorchs_cuda_half_is_loaded_once_and_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let map = |name: &str| format!("7f00-7f10 r-xp 00000000 08:01 42    {}\n", path(name));
        let cpu = map("libtorch_cpu.so");
        assert_eq!(with_cuda(&cpu, ""), None);
        fs::write(path("libtorch_cuda.so"), "").unwrap();
        let cuda = path("libtorch_cuda.so");
        assert_eq!(with_cuda(&cpu, ""), Some(cuda.clone()));
        assert_eq!(with_cuda(&cpu, "a.so"), Some(format!("a.so:{cuda}")));
        // Loaded, or asked for in vain.
        assert_eq!(with_cuda(&(cpu.clone() + &map("libtorch_cuda.so")), ""), None);
        assert_eq!(with_cuda(&cpu, &cuda), None);
        assert_eq!(with_cuda("", ""), None);
    }
}
