//! Where the corpora that a table names lie on this machine.
//!
//! The challenge's files write `/your_path/LibriTTS/train-clean-100/...`: the folder in place of `/your_path/LibriTTS` is
//! this machine's. Its evaluation set is listed by ids alone, which count as files of the corpus `audiomos2025-track2`.

use core::fmt;
use core::str::FromStr;
use std::path::{Path, PathBuf};

use aesa_media::{EXTENSIONS, is_audio_extension};

use crate::labels::system_of;

/// A corpus and its folder, written `NAME=DIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The first component or components of the corpus's paths, in any case; `your_path` stands for all corpora.
    /// AudioSet and CommonVoice name their corpora, too, however the paths write them.
    pub name: String,
    /// The folder in their place.
    pub folder: PathBuf,
}

/// A text that is no `NAME=DIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootError {
    text: String,
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not NAME=DIR, such as LibriTTS=/data/LibriTTS", self.text)
    }
}

impl core::error::Error for RootError {}

impl FromStr for Root {
    type Err = RootError;

    fn from_str(text: &str) -> Result<Self, RootError> {
        let (name, folder) = text.split_once('=').unwrap_or_default();
        let name = name.trim().trim_matches('/');
        if name.is_empty() || folder.is_empty() {
            return Err(RootError { text: text.to_owned() });
        }
        Ok(Self { name: name.to_owned(), folder: PathBuf::from(folder) })
    }
}

impl Root {
    /// What follows the corpus's name in a path's components; `None` for the path of another corpus.
    fn strip<'a, 'p>(&self, components: &'a [&'p str]) -> Option<&'a [&'p str]> {
        let names: Vec<&str> = self.name.split('/').collect();
        let (start, rest) = components.split_at_checked(names.len())?;
        let is_called = start.iter().zip(names).all(|(component, name)| is_called(component, name));
        (is_called && !rest.is_empty()).then_some(rest)
    }
}

/// Where a clip should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its corpus, where the path names one.
    pub corpus: Option<String>,
    /// Its file; `None` where no root stands for the corpus.
    pub file: Option<PathBuf>,
    /// Which of the roots tells where it lies.
    pub root: Option<usize>,
}

/// Finds the place of a path that a table in `folder` writes. Of several roots that fit, the one with the longest
/// name counts; a path that no root fits begins at `folder`.
pub fn locate(path: &str, roots: &[Root], folder: &Path) -> Place {
    let mut components: Vec<&str> = path.split('/').filter(|c| !c.is_empty()).collect();
    if let [id] = components[..]
        && system_of(id).is_some_and(|_| id.starts_with(EVALUATION_SET))
    {
        components.insert(0, EVALUATION_SET);
    }
    let is_placeholder = components.first() == Some(&PLACEHOLDER);
    let inner = if is_placeholder { &components[1..] } else { &components[..] };
    let fits = roots.iter().enumerate().filter_map(|(n, root)| {
        let rest = root.strip(inner).or_else(|| root.strip(&components))?;
        Some((n, root, rest))
    });
    let best = fits.min_by_key(|(_, _, rest)| rest.len());
    let names_corpus = is_placeholder || inner.first() == Some(&EVALUATION_SET);
    let corpus = match best {
        Some((_, root, _)) if !names_corpus => Some(root.name.clone()),
        _ => inner.first().filter(|_| names_corpus).map(|name| (*name).to_owned()),
    };
    let file = match best {
        Some((_, root, rest)) => Some(root.folder.join(rest.join("/"))),
        None if is_placeholder => None,
        None => Some(folder.join(path)),
    };
    Place { corpus, file, root: best.map(|(n, ..)| n) }
}

/// The file itself or, where its name does not end like an audio file's, the one that adds such an ending.
pub fn find_audio(file: &Path) -> Option<PathBuf> {
    if file.is_file() {
        return Some(file.to_path_buf());
    }
    let with = |extension: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(".");
        name.push(extension);
        PathBuf::from(name)
    };
    let endings = EXTENSIONS.iter().filter(|_| !is_audio_extension(file));
    endings.map(|extension| with(extension)).find(|file| file.is_file())
}

/// Whether a path's component is the corpus that a user calls `name`.
fn is_called(component: &str, name: &str) -> bool {
    let is_alias = |(start, alias): &(&str, &str)| {
        component.starts_with(start) && (alias.eq_ignore_ascii_case(name) || start.eq_ignore_ascii_case(name))
    };
    component.eq_ignore_ascii_case(name) || ALIASES.iter().any(is_alias)
}

/// How components of corpora begin that go by another name.
const ALIASES: [(&str, &str); 2] = [("unbalanced_train_segments", "AudioSet"), ("cv-corpus", "CommonVoice")];

/// What the challenge's files write in place of a folder.
const PLACEHOLDER: &str = "your_path";

/// How the ids of the challenge's evaluation set begin.
const EVALUATION_SET: &str = "audiomos2025-track2";

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, roots: &[&str]) -> (Option<String>, Option<String>) {
        let roots: Vec<Root> = roots.iter().map(|root| root.parse().unwrap()).collect();
        let Place { corpus, file, .. } = locate(path, &roots, Path::new("/tables"));
        (corpus, file.map(|file| file.display().to_string()))
    }

    #[test]
    fn paths_of_the_challenge_begin_at_their_root() {
        let cases: [(&str, &[&str], &str, Option<&str>); 11] = [
            (
                "/your_path/LibriTTS/a/b.wav",
                &["LibriTTS=/data/libri"],
                "LibriTTS",
                Some("/data/libri/a/b.wav"),
            ),
            ("/your_path/LibriTTS/a/b.wav", &["libritts=rel"], "LibriTTS", Some("rel/a/b.wav")),
            ("/your_path/LibriTTS/a/b.wav", &["EARS=/data/EARS"], "LibriTTS", None),
            ("/your_path/LibriTTS2/b.wav", &["LibriTTS=/data/libri"], "LibriTTS2", None),
            ("/your_path/EARS/a.wav", &["your_path=/all"], "EARS", Some("/all/EARS/a.wav")),
            ("/your_path/EARS/a.wav", &["your_path=/all", "EARS=/ears"], "EARS", Some("/ears/a.wav")),
            ("/your_path/PAM/human_eval/x.wav", &["PAM/human_eval=/h", "PAM=/p"], "PAM", Some("/h/x.wav")),
            (
                "/your_path/cv-corpus-13.0/en/x.mp3",
                &["CommonVoice=/cv"],
                "cv-corpus-13.0",
                Some("/cv/en/x.mp3"),
            ),
            (
                "/your_path/cv-corpus-13.0/en/x.mp3",
                &["cv-corpus=/cv"],
                "cv-corpus-13.0",
                Some("/cv/en/x.mp3"),
            ),
            (
                "/your_path/unbalanced_train_segments/x",
                &["audioset=/as"],
                "unbalanced_train_segments",
                Some("/as/x"),
            ),
            (
                "audiomos2025-track2-sys1-utt2",
                &["audiomos2025-track2=/e"],
                "audiomos2025-track2",
                Some("/e/audiomos2025-track2-sys1-utt2"),
            ),
        ];
        for (path, roots, corpus, file) in cases {
            let expected = (Some(corpus.to_owned()), file.map(str::to_owned));
            assert_eq!(place(path, roots), expected, "{path} {roots:?}");
        }
    }

    #[test]
    fn other_paths_begin_at_the_tables_folder() {
        assert_eq!(place("a/b.wav", &[]), (None, Some("/tables/a/b.wav".to_owned())));
        assert_eq!(place("/data/b.wav", &[]), (None, Some("/data/b.wav".to_owned())));
        assert_eq!(place("set/b.wav", &["set=/s"]), (Some("set".to_owned()), Some("/s/b.wav".to_owned())));
        for text in ["LibriTTS", "=x", "LibriTTS=", ""] {
            assert!(text.parse::<Root>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_id_finds_its_audio_file() {
        let folder = tempfile::tempdir().unwrap();
        let (id, file) = (folder.path().join("a-utt1"), folder.path().join("a-utt1.flac"));
        assert_eq!(find_audio(&id), None);
        std::fs::write(&file, "").unwrap();
        assert_eq!(find_audio(&id), Some(file.clone()));
        assert_eq!(find_audio(&file), Some(file));
        // The name of an audio file stays as it is.
        std::fs::write(folder.path().join("b.wav.flac"), "").unwrap();
        assert_eq!(find_audio(&folder.path().join("b.wav")), None);
    }
}
