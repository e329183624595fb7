//! What to score: files, the audio files of folders, and the lines of manifests.

use std::fs;
use std::path::{Path, PathBuf};

use aesa_media::is_audio_extension;
use anyhow::{Context, bail};
use serde::Deserialize;
use walkdir::{DirEntry, WalkDir};

/// One clip: a file, or a part of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Input {
    /// Where the file is.
    pub(crate) path: PathBuf,
    /// What to call it in the output: as it was written in the argument or in the manifest.
    pub(crate) name: String,
    /// Where the clip starts in the file, in seconds; at its start if absent.
    pub(crate) start_s: Option<f64>,
    /// Where the clip ends in the file, in seconds; at its end if absent.
    pub(crate) end_s: Option<f64>,
    /// Why there is nothing to open, if the search for files has already failed.
    pub(crate) error: Option<String>,
}

impl Input {
    fn file(path: PathBuf) -> Self {
        Self { name: path.display().to_string(), path, ..Self::default() }
    }

    fn failed(path: &Path, error: impl ToString) -> Self {
        Self { error: Some(error.to_string()), ..Self::file(path.to_path_buf()) }
    }
}

/// All clips that the arguments stand for, in order.
///
/// # Errors
/// A manifest that cannot be read, named with its line.
pub(crate) fn expand(arguments: &[PathBuf]) -> anyhow::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for path in arguments {
        if path.is_dir() {
            inputs.extend(folder(path));
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("jsonl")) {
            inputs.extend(manifest(path)?);
        } else {
            inputs.push(Input::file(path.clone()));
        }
    }
    Ok(inputs)
}

/// The audio files of a folder and the folders in it, by name; hidden ones are left out.
fn folder(root: &Path) -> Vec<Input> {
    let is_visible = |entry: &DirEntry| {
        entry.depth() == 0 || !entry.file_name().to_str().is_some_and(|name| name.starts_with('.'))
    };
    let entries = WalkDir::new(root).follow_links(true).sort_by_file_name().into_iter();
    let inputs: Vec<Input> = entries
        .filter_entry(is_visible)
        .filter_map(|entry| match entry {
            Ok(entry) if entry.file_type().is_file() && is_audio_extension(entry.path()) => {
                Some(Input::file(entry.into_path()))
            }
            Ok(_) => None,
            Err(error) => Some(Input::failed(error.path().unwrap_or(root), &error)),
        })
        .collect();
    if inputs.is_empty() {
        return vec![Input::failed(root, "the folder holds no audio files")];
    }
    inputs
}

/// One line of a manifest, as the official Audiobox Aesthetics tool reads it; other keys are ignored.
#[derive(Deserialize)]
struct Line {
    path: String,
    start_time: Option<f64>,
    end_time: Option<f64>,
}

fn manifest(path: &Path) -> anyhow::Result<Vec<Input>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read manifest {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let inputs = parse_manifest(&text, folder).with_context(|| format!("manifest {}", path.display()))?;
    if inputs.is_empty() {
        bail!("manifest {}: it has no lines", path.display());
    }
    Ok(inputs)
}

/// Clips by the lines of a manifest; relative paths start at `folder`, or where the program runs.
fn parse_manifest(text: &str, folder: &Path) -> anyhow::Result<Vec<Input>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            let line: Line = serde_json::from_str(line).with_context(|| format!("line {}", i + 1))?;
            let beside = folder.join(&line.path);
            let here = PathBuf::from(&line.path);
            let path = if beside.exists() || !here.exists() { beside } else { here };
            Ok(Input { path, name: line.path, start_s: line.start_time, end_s: line.end_time, error: None })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_lines_give_paths_and_times() {
        let text = "{\"path\": \"/a/x.wav\"}\n\n{\"path\": \"b.mp3\", \"start_time\": 1, \"end_time\": 2.5, \"k\": 0}\n";
        let inputs = parse_manifest(text, Path::new("/data")).unwrap();
        assert_eq!(inputs.len(), 2);
        assert_eq!(inputs[0], Input::file("/a/x.wav".into()));
        assert_eq!(inputs[1].path, Path::new("/data/b.mp3"));
        assert_eq!(inputs[1].name, "b.mp3");
        assert_eq!((inputs[1].start_s, inputs[1].end_s), (Some(1.0), Some(2.5)));
    }

    #[test]
    fn null_times_are_no_times() {
        let inputs = parse_manifest("{\"path\": \"a\", \"start_time\": null}", Path::new("")).unwrap();
        assert_eq!((inputs[0].start_s, inputs[0].end_s), (None, None));
    }

    #[test]
    fn broken_lines_are_named() {
        for text in [
            "{\"path\": \"a\"}\nnot json",
            "{\"path\": \"a\"}\n{\"file\": \"b\"}",
            "{\"path\": \"a\"}\n{\"path\": 1}",
        ] {
            let error = format!("{:#}", parse_manifest(text, Path::new("")).unwrap_err());
            assert!(error.contains("line 2"), "{error}");
        }
    }

    #[test]
    fn folders_are_searched_in_order_without_hidden_files() {
        let dir = tempfile::TempDir::new().unwrap();
        let root = dir.path();
        for name in ["b.WAV", "a/z.flac", "a/.hidden.wav", ".git/x.wav", "notes.txt", "c.mp3", "model.onnx"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), b"").unwrap();
        }
        let inputs = expand(&[root.to_path_buf()]).unwrap();
        let names: Vec<_> =
            inputs.iter().map(|i| i.path.strip_prefix(root).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a/z.flac", "b.WAV", "c.mp3"]);
        assert!(inputs.iter().all(|i| i.error.is_none()));
        let none = expand(&[root.join("a/..").join(".git")]).unwrap();
        assert_eq!(none.len(), 1);
        fs::create_dir(root.join("empty")).unwrap();
        assert!(expand(&[root.join("empty")]).unwrap()[0].error.is_some());
    }
}
