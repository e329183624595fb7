//! Human ratings as the AudioMOS 2025 challenge (track 2) and Audiobox-Aesthetics publish them.
//!
//! Two layouts are read: CSV with the mean of the raters per axis (`sample_id`, `data_path` and four axis columns) and
//! JSONL with every rater's score (`data_path` and four lists). The layout is told by the first character of the file.

use core::fmt;
use core::str::FromStr;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The four axes' columns, in the order PQ, PC, CE, CU.
pub const AXIS_COLUMNS: [&str; 4] =
    ["Production_Quality", "Production_Complexity", "Content_Enjoyment", "Content_Usefulness"];

/// The highest rating; the lowest is 0.
pub const MAX_RATING: f64 = 10.0;

/// What a clip holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// Someone speaking.
    Speech,
    /// Music, whole or single instruments.
    Music,
    /// Any other sound.
    Sound,
}

impl Domain {
    /// All domains in their fixed order.
    pub const ALL: [Self; 3] = [Self::Speech, Self::Music, Self::Sound];

    /// `speech`, `music` or `sound`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Speech => "speech",
            Self::Music => "music",
            Self::Sound => "sound",
        }
    }

    /// The domain of a natural clip by the corpus its path names; `None` for corpora that are not known.
    pub fn of_path(path: &str) -> Option<Self> {
        const CORPORA: [(&str, Domain); 8] = [
            ("LibriTTS", Domain::Speech),
            ("EARS", Domain::Speech),
            ("cv-corpus", Domain::Speech),
            ("CommonVoice", Domain::Speech),
            ("MUSDB18", Domain::Music),
            ("musiccaps", Domain::Music),
            ("unbalanced_train_segments", Domain::Sound),
            ("AudioSet", Domain::Sound),
        ];
        let lower = path.to_lowercase();
        // PAM's clips lie in `PAM/human_eval/audio/...` and `PAM/human_eval/music/...`.
        if let Some((_, inner)) = lower.split_once("pam/human_eval/") {
            return Some(if inner.starts_with("music/") { Self::Music } else { Self::Sound });
        }
        let starts = |component: &str, corpus: &str| component.starts_with(&corpus.to_lowercase());
        lower.split('/').find_map(|component| {
            CORPORA.iter().find(|(corpus, _)| starts(component, corpus)).map(|(_, d)| *d)
        })
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Domain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|domain| domain.name() == text)
            .ok_or_else(|| format!("domain is {text:?}, expected speech, music or sound"))
    }
}

/// One clip's ratings.
#[derive(Clone, Debug, PartialEq)]
pub struct Rating {
    /// The clip's id: the `sample_id` column or, in JSONL, the path's last component without extension for challenge
    /// ids and the whole path otherwise.
    pub sample_id: String,
    /// The path as written in the file.
    pub path: String,
    /// The text between `-sys` and `-utt` of the sample id, where there is one.
    pub system: Option<String>,
    /// The domain, where the path names a known corpus.
    pub domain: Option<Domain>,
    /// Mean over the raters, 0 to 10, in the order PQ, PC, CE, CU.
    pub scores: [f64; 4],
    /// Every rater's scores, where the file has them; else empty.
    pub raters: Vec<[f64; 4]>,
}

/// Why a labels file could not be read.
#[derive(Debug)]
pub enum LabelsError {
    /// The file cannot be opened or read.
    Io {
        /// The labels file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds no ratings.
    Empty {
        /// The labels file.
        path: PathBuf,
    },
    /// A column (CSV) or key (JSONL) is missing.
    MissingColumn {
        /// The labels file.
        path: PathBuf,
        /// The missing column's name.
        column: String,
    },
    /// A line cannot be parsed.
    Malformed {
        /// The labels file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A rating is outside 0..10 or not a number.
    OutOfRange {
        /// The labels file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The axis column.
        column: &'static str,
        /// The rating found.
        value: f64,
    },
    /// Two lines have the same sample id.
    Duplicate {
        /// The labels file.
        path: PathBuf,
        /// Line number of the second one, from 1.
        line: usize,
        /// The id.
        sample_id: String,
    },
}

impl fmt::Display for LabelsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: cannot read labels: {source}", path.display()),
            Self::Empty { path } => write!(f, "{}: holds no ratings", path.display()),
            Self::MissingColumn { path, column } => write!(
                f,
                "{}: no column {column:?} (a labels file has data_path and {})",
                path.display(),
                AXIS_COLUMNS.join(", ")
            ),
            Self::Malformed { path, line, reason } => write!(f, "{}:{line}: {reason}", path.display()),
            Self::OutOfRange { path, line, column, value } => {
                write!(f, "{}:{line}: {column} is {value}, expected 0 to {MAX_RATING}", path.display())
            }
            Self::Duplicate { path, line, sample_id } => {
                write!(f, "{}:{line}: sample id {sample_id:?} occurs twice", path.display())
            }
        }
    }
}

impl core::error::Error for LabelsError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The system in a challenge id: the text between `-sys` and the last `-utt`.
///
/// Source: ids of the AudioMOS 2025 challenge, `audiomos2025-track2-sysNAME-uttN`.
pub fn system_of(sample_id: &str) -> Option<&str> {
    let (_, after) = sample_id.split_once("-sys")?;
    let (system, _) = after.rsplit_once("-utt")?;
    (!system.is_empty()).then_some(system)
}

/// Reads a labels file, CSV or JSONL.
///
/// Errors: see [`LabelsError`]; each names the file and, where it applies, the line.
pub fn read_ratings(path: impl AsRef<Path>) -> Result<Vec<Rating>, LabelsError> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path)
        .map_err(|source| LabelsError::Io { path: path.to_path_buf(), source })?;
    let text = text.trim_start_matches('\u{feff}');
    let rows = match text.trim_start().chars().next() {
        None => return Err(LabelsError::Empty { path: path.to_path_buf() }),
        Some('{') => parse_jsonl(path, text)?,
        Some(_) => parse_csv(path, text)?,
    };
    if rows.is_empty() {
        return Err(LabelsError::Empty { path: path.to_path_buf() });
    }
    check_unique(path, &rows)?;
    Ok(rows.into_iter().map(|(_, rating)| rating).collect())
}

/// The rows of the CSV layout, each with its line number.
fn parse_csv(path: &Path, text: &str) -> Result<Vec<(usize, Rating)>, LabelsError> {
    let malformed = |line, reason| LabelsError::Malformed { path: path.to_path_buf(), line, reason };
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| malformed(1, e.to_string()))?.clone();
    let find = |column: &str| headers.iter().position(|name| name.trim() == column);
    let need = |column: &str| {
        find(column)
            .ok_or_else(|| LabelsError::MissingColumn { path: path.to_path_buf(), column: column.to_owned() })
    };
    let path_column = need("data_path")?;
    let id_column = find("sample_id").unwrap_or(path_column);
    let mut axis_columns = [0; 4];
    for (index, column) in axis_columns.iter_mut().zip(AXIS_COLUMNS) {
        *index = need(column)?;
    }

    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| {
            let line = e.position().map_or(0, |position| position.line() as usize);
            malformed(line, e.to_string())
        })?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        let mut scores = [0.0; 4];
        for (axis, score) in scores.iter_mut().enumerate() {
            let field = record[axis_columns[axis]].trim();
            let value = field
                .parse()
                .map_err(|_| malformed(line, format!("{} is {field:?}, not a number", AXIS_COLUMNS[axis])))?;
            *score = in_range(path, line, AXIS_COLUMNS[axis], value)?;
        }
        rows.push((line, rating(&record[id_column], &record[path_column], scores, Vec::new())));
    }
    Ok(rows)
}

/// The rows of the JSONL layout, each with its line number.
fn parse_jsonl(path: &Path, text: &str) -> Result<Vec<(usize, Rating)>, LabelsError> {
    let mut rows = Vec::new();
    for (index, json) in text.lines().enumerate().filter(|(_, json)| !json.trim().is_empty()) {
        let line = index + 1;
        let malformed = |reason| LabelsError::Malformed { path: path.to_path_buf(), line, reason };
        let value: serde_json::Value = serde_json::from_str(json).map_err(|e| malformed(e.to_string()))?;
        let key = |name: &str| {
            value.get(name).ok_or_else(|| LabelsError::MissingColumn {
                path: path.to_path_buf(),
                column: name.to_owned(),
            })
        };
        let data_path =
            key("data_path")?.as_str().ok_or_else(|| malformed("data_path is not text".to_owned()))?;

        let mut lists: [Vec<f64>; 4] = Default::default();
        for (list, column) in lists.iter_mut().zip(AXIS_COLUMNS) {
            let values: Vec<f64> = Vec::deserialize(key(column)?)
                .map_err(|_| malformed(format!("{column} is not a list of numbers")))?;
            for rating in values {
                list.push(in_range(path, line, column, rating)?);
            }
        }
        let num_raters = lists[0].len();
        if num_raters == 0 || lists.iter().any(|list| list.len() != num_raters) {
            return Err(malformed("the axes' lists of ratings differ in length or are empty".to_owned()));
        }
        let raters: Vec<[f64; 4]> = (0..num_raters).map(|r| core::array::from_fn(|a| lists[a][r])).collect();
        let means = core::array::from_fn(|a| lists[a].iter().sum::<f64>() / num_raters as f64);
        rows.push((line, rating(&id_of_path(data_path), data_path, means, raters)));
    }
    Ok(rows)
}

/// One rating with what its id and path tell.
fn rating(sample_id: &str, path: &str, scores: [f64; 4], raters: Vec<[f64; 4]>) -> Rating {
    Rating {
        sample_id: sample_id.to_owned(),
        path: path.to_owned(),
        system: system_of(sample_id).map(str::to_owned),
        domain: Domain::of_path(path),
        scores,
        raters,
    }
}

/// The challenge's id where the path's last component is one, else the whole path.
fn id_of_path(data_path: &str) -> String {
    let name = data_path.rsplit('/').next().unwrap_or(data_path);
    let stem = [".wav", ".flac", ".mp3"].iter().find_map(|e| name.strip_suffix(e)).unwrap_or(name);
    if system_of(stem).is_some() { stem.to_owned() } else { data_path.to_owned() }
}

/// `value` where it is a rating.
fn in_range(path: &Path, line: usize, column: &'static str, value: f64) -> Result<f64, LabelsError> {
    if (0.0..=MAX_RATING).contains(&value) {
        Ok(value)
    } else {
        Err(LabelsError::OutOfRange { path: path.to_path_buf(), line, column, value })
    }
}

/// Fails on the first id that occurs twice.
fn check_unique(path: &Path, rows: &[(usize, Rating)]) -> Result<(), LabelsError> {
    let mut seen = HashSet::new();
    for (line, rating) in rows {
        if !seen.insert(rating.sample_id.as_str()) {
            return Err(LabelsError::Duplicate {
                path: path.to_path_buf(),
                line: *line,
                sample_id: rating.sample_id.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "sample_id,data_path,Production_Quality,Production_Complexity,Content_Enjoyment,Content_Usefulness";

    fn read(text: &str) -> Result<Vec<Rating>, LabelsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels");
        std::fs::write(&path, text).unwrap();
        read_ratings(&path)
    }

    #[test]
    fn csv_gives_means_systems_and_domains() {
        let text = format!(
            "{HEADER}\na-1,/your_path/EARS/p001/x.wav,1,2.5,3,10\n\
             audiomos2025-track2-sysAb-utt3,\"/your_path/MUSDB18/test/A, B/bass.wav\",0,2,3,4\n"
        );
        let ratings = read(&text).unwrap();
        assert_eq!(ratings[0].scores, [1.0, 2.5, 3.0, 10.0]);
        assert_eq!((ratings[0].domain, ratings[0].system.as_deref()), (Some(Domain::Speech), None));
        assert_eq!((ratings[1].domain, ratings[1].system.as_deref()), (Some(Domain::Music), Some("Ab")));
        assert!(ratings[1].raters.is_empty());
    }

    #[test]
    fn jsonl_gives_raters_and_their_means() {
        let text = r#"{"data_path":"audiomos2025-track2-sys0v-utt0d","Production_Quality":[3,4],"Production_Complexity":[7,6],"Content_Enjoyment":[2,1],"Content_Usefulness":[3,3.5]}"#;
        let ratings = read(text).unwrap();
        assert_eq!(ratings[0].scores, [3.5, 6.5, 1.5, 3.25]);
        assert_eq!(ratings[0].raters, [[3.0, 7.0, 2.0, 3.0], [4.0, 6.0, 1.0, 3.5]]);
        assert_eq!(ratings[0].system.as_deref(), Some("0v"));
        assert_eq!(ratings[0].sample_id, "audiomos2025-track2-sys0v-utt0d");
    }

    #[test]
    fn bad_files_give_typed_errors() {
        type IsExpected = fn(&LabelsError) -> bool;
        let cases: [(&str, String, IsExpected); 8] = [
            ("empty", String::new(), |e| matches!(e, LabelsError::Empty { .. })),
            ("header only", format!("{HEADER}\n"), |e| matches!(e, LabelsError::Empty { .. })),
            ("wrong columns", "a,b\n1,2\n".to_owned(), |e| matches!(e, LabelsError::MissingColumn { .. })),
            ("above ten", format!("{HEADER}\na,b,1,2,3,10.5\n"), |e| {
                matches!(e, LabelsError::OutOfRange { line: 2, column: "Content_Usefulness", .. })
            }),
            ("not a number", format!("{HEADER}\na,b,1,x,3,4\n"), |e| {
                matches!(e, LabelsError::Malformed { line: 2, .. })
            }),
            ("NaN", format!("{HEADER}\na,b,1,NaN,3,4\n"), |e| matches!(e, LabelsError::OutOfRange { .. })),
            ("duplicate", format!("{HEADER}\na,b,1,2,3,4\na,c,1,2,3,4\n"), |e| {
                matches!(e, LabelsError::Duplicate { line: 3, .. })
            }),
            (
                "ragged lists",
                r#"{"data_path":"x","Production_Quality":[3,4],"Production_Complexity":[7],"Content_Enjoyment":[2,1],"Content_Usefulness":[3,3]}"#.to_owned(),
                |e| matches!(e, LabelsError::Malformed { line: 1, .. }),
            ),
        ];
        for (name, text, expected) in cases {
            let error = read(&text).unwrap_err();
            assert!(expected(&error), "{name}: {error:?}");
        }
        assert!(matches!(read_ratings("/no/such/file"), Err(LabelsError::Io { .. })));
    }

    #[test]
    fn corpora_tell_the_domain() {
        for (path, domain) in [
            ("/your_path/cv-corpus-13.0-2023-03-09/en/clips/a.mp3", Some(Domain::Speech)),
            ("/your_path/unbalanced_train_segments/audio/a.flac", Some(Domain::Sound)),
            ("/your_path/PAM/human_eval/audio/audiogen_m/a.wav", Some(Domain::Sound)),
            ("/your_path/PAM/human_eval/music/musicldm/a.wav", Some(Domain::Music)),
            ("audiomos2025-track2-sys0v-utt0d", None),
        ] {
            assert_eq!(Domain::of_path(path), domain, "{path}");
        }
    }

    #[test]
    fn systems_are_between_sys_and_utt() {
        assert_eq!(system_of("audiomos2025-track2-sysspeech-k2-clean-utt001"), Some("speech-k2-clean"));
        assert_eq!(system_of("audiomos2025-track2-audio-x"), None);
        assert_eq!(system_of("a-sys-utt1"), None);
    }
}
