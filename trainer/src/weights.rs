//! Named tensors in safetensors files, and their way into a network.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

/// Tensors by name, sorted.
pub type NamedTensors = BTreeMap<String, Tensor>;

/// Reads a safetensors file.
///
/// # Errors
/// Where the file cannot be read or is no safetensors file.
pub fn read(path: &Path) -> Result<NamedTensors> {
    fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    // tch tells what is wrong with a file as Rust's debug output: no words for people.
    let tensors = Tensor::read_safetensors(path).ok();
    let tensors = tensors
        .with_context(|| format!("{} is no safetensors file of weights, or a damaged one", path.display()))?;
    Ok(tensors.into_iter().collect())
}

/// Writes a safetensors file whole or not at all.
///
/// # Errors
/// Where the folder cannot be written.
pub fn write(path: &Path, tensors: &NamedTensors) -> Result<()> {
    let in_memory = |t: &Tensor| t.detach().to_device(Device::Cpu).contiguous();
    let contiguous: Vec<_> = tensors.iter().map(|(name, t)| (name, in_memory(t))).collect();
    replace(path, |temporary| Ok(Tensor::write_safetensors(&contiguous, temporary)?))
}

/// Lets `write` fill a temporary file beside `path`, which then, on the disk as a whole, takes its place.
///
/// # Errors
/// Those of `write`, or where the folder cannot be written.
pub fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = &temporary(path);
    write(temporary)
        .and_then(|()| Ok(on_disk(temporary)?))
        .and_then(|()| Ok(fs::rename(temporary, path)?))
        // Half a file on a full disk helps nobody; it may not even be there.
        .inspect_err(|_| _ = fs::remove_file(temporary))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes all files, or none: each beside its place first, then all take theirs.
///
/// # Errors
/// Where one of them cannot be written; the message names it.
pub fn replace_all(files: &[(PathBuf, &[u8])]) -> Result<()> {
    let temporaries: Vec<PathBuf> = files.iter().map(|(path, _)| temporary(path)).collect();
    let naming = |path: &Path| format!("cannot write {}", path.display());
    let all = || {
        for ((path, bytes), temporary) in files.iter().zip(&temporaries) {
            fs::write(temporary, bytes).and_then(|()| on_disk(temporary)).with_context(|| naming(path))?;
        }
        for ((path, _), temporary) in files.iter().zip(&temporaries) {
            fs::rename(temporary, path).with_context(|| naming(path))?;
        }
        Ok(())
    };
    all().inspect_err(|_| temporaries.iter().for_each(|temporary| _ = fs::remove_file(temporary)))
}

/// Waits until the file is on the disk: a new name is there after a power cut, the bytes behind it need not be.
fn on_disk(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.sync_all()
}

/// Where a file is written before it takes its place.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    // Another process may be writing the same file, one of a cache for example.
    name.push(format!(".{}.part", std::process::id()));
    name.into()
}

/// Removes what processes that no longer run have left half written in a folder.
///
/// Where the system does not tell which processes run, nothing is removed.
///
/// # Errors
/// Where the folder cannot be read, or such a file not be removed.
pub fn remove_leftovers(folder: &Path) -> Result<()> {
    let cannot = || format!("cannot clear {}", folder.display());
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let writer = path.file_name().and_then(|name| writer_of(name.to_str()?));
        if writer.is_some_and(|writer| !is_running(writer)) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// The process that a temporary file is named after.
fn writer_of(name: &str) -> Option<u32> {
    name.strip_suffix(".part")?.rsplit_once('.')?.1.parse().ok()
}

/// Whether a process may be writing. This one is not yet: a file of its number is of an earlier one.
fn is_running(process: u32) -> bool {
    let processes = Path::new("/proc");
    process != std::process::id()
        && (!processes.join("self").exists() || processes.join(process.to_string()).exists())
}

/// All parameters of a network, copied to main memory.
pub fn snapshot(store: &VarStore) -> NamedTensors {
    store.variables().into_iter().map(|(name, t)| (name, t.detach().to_device(Device::Cpu).copy())).collect()
}

/// The same tensors, each name with `prefix` before it.
pub fn prefixed(tensors: NamedTensors, prefix: &str) -> NamedTensors {
    tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
}

/// Copies tensors into the parameters of the same name, of those whose names begin with `prefix`.
///
/// Tensors that the network has no parameter for are left aside: published checkpoints repeat the position
/// table in every block.
///
/// # Errors
/// Where a parameter has no tensor, or one of another shape.
pub fn load(store: &mut VarStore, tensors: &NamedTensors, prefix: &str) -> Result<()> {
    for (name, mut parameter) in store.variables() {
        if !name.starts_with(prefix) {
            continue;
        }
        let Some(tensor) = tensors.get(&name) else { bail!("the weights lack {name}") };
        if tensor.size() != parameter.size() {
            bail!("{name} is {:?} in the weights and {:?} in the network", tensor.size(), parameter.size());
        }
        tch::no_grad(|| parameter.copy_(&tensor.to_kind(Kind::Float)));
    }
    Ok(())
}

/// Copies those parameters of another network that have the same name and shape; how many numbers.
pub fn load_alike(store: &mut VarStore, other: &VarStore) -> usize {
    let mut count = 0;
    let others = other.variables();
    for (name, mut parameter) in store.variables() {
        if let Some(tensor) = others.get(&name).filter(|tensor| tensor.size() == parameter.size()) {
            tch::no_grad(|| parameter.copy_(tensor));
            count += parameter.numel();
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_and_load_give_the_same_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let mut store = VarStore::new(Device::Cpu);
        let mut w = (store.root() / "head").randn_standard("w", &[3, 2]);
        let before = snapshot(&store);
        write(&path, &before).unwrap();
        _ = tch::no_grad(|| w.fill_(7.0));
        load(&mut store, &read(&path).unwrap(), "").unwrap();
        assert!(w.equal(&before["head.w"]));
    }

    #[test]
    fn what_is_alike_is_copied_and_the_rest_stays() {
        let [mut own, other] = [Device::Cpu, Device::Cpu].map(VarStore::new);
        let root = other.root();
        let (same, _wider, _theirs) =
            (root.randn_standard("same", &[3, 2]), root.ones("shape", &[4]), root.ones("theirs", &[2]));
        let (copied, shape) = (own.root().zeros("same", &[3, 2]), own.root().zeros("shape", &[3]));
        assert_eq!(load_alike(&mut own, &other), 6);
        assert_eq!(copied, same);
        assert_eq!(shape.abs().sum(Kind::Float).double_value(&[]), 0.0);
    }

    #[test]
    fn what_is_no_file_of_weights_is_told_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("cannot read") && error.contains("No such file"), "{error}");
        fs::write(&path, "no weights").unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert_eq!(error, format!("{} is no safetensors file of weights, or a damaged one", path.display()));
    }

    #[test]
    fn another_shape_or_a_missing_tensor_is_an_error() {
        let mut store = VarStore::new(Device::Cpu);
        _ = store.root().zeros("w", &[3]);
        assert!(load(&mut store, &NamedTensors::new(), "").is_err());
        let wrong = NamedTensors::from([("w".to_string(), Tensor::zeros([2], (Kind::Float, Device::Cpu)))]);
        assert!(load(&mut store, &wrong, "").is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_dead_left_half_written_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        // Linux numbers processes up to 4194304; number 1 always runs.
        let (own, dead) = (std::process::id(), 4_194_305);
        let kept = ["a.1.part", "a.part", "a.x.part", "best.safetensors"];
        let removed = [format!("a.json.{own}.part"), format!("last.safetensors.{dead}.part")];
        for name in kept.into_iter().chain(removed.iter().map(String::as_str)) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        remove_leftovers(folder.path()).unwrap();
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, kept);
        assert!(remove_leftovers(&folder.path().join("none")).is_err());
    }

    #[test]
    fn files_that_belong_together_are_written_together_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let names = || {
            let entries = fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        fs::write(path("a"), "old").unwrap();
        let error = replace_all(&[(path("a"), b"new"), (path("b"), b"new"), (path("no/folder"), b"new")])
            .unwrap_err();
        assert!(error.to_string().contains("folder"), "{error}");
        assert!(names() == ["a"] && fs::read(path("a")).unwrap() == b"old");
        replace_all(&[(path("a"), b"new"), (path("b"), b"new")]).unwrap();
        assert!(names() == ["a", "b"] && fs::read(path("a")).unwrap() == b"new");
    }
}
