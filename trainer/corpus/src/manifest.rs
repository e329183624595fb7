//! A corpus folder's CSV files.

use core::fmt;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use csv::StringRecord;
use serde::{Deserialize, Serialize};

use crate::labels::{Domain, MAX_RATING};

/// One labelled clip: a row of `train.csv`, `validation.csv` or `test.csv`. Columns not named here are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clip {
    /// Unique id; in a test set `audiomos2025-track2-sys<system>-utt<n>`.
    pub sample_id: String,
    /// The audio file, relative to the corpus folder.
    pub path: String,
    /// What the clip holds.
    pub domain: Domain,
    /// The system that made it; empty outside a test set.
    #[serde(default)]
    pub system: String,
    /// Production quality, 0 to 10.
    #[serde(rename = "PQ")]
    pub pq: f64,
    /// Production complexity, 0 to 10.
    #[serde(rename = "PC")]
    pub pc: f64,
    /// Content enjoyment, 0 to 10.
    #[serde(rename = "CE")]
    pub ce: f64,
    /// Content usefulness, 0 to 10.
    #[serde(rename = "CU")]
    pub cu: f64,
    /// What the PQ label was made from (ViSQOL's MOS-LQO, 1 to 5); absent in corpora with human ratings.
    #[serde(default)]
    pub pq_raw: Option<f64>,
    /// What the PC label was made from (the effective number of sources, from 1); absent with human ratings.
    #[serde(default)]
    pub pc_raw: Option<f64>,
    /// The clips made from one clean mix have the same number.
    #[serde(default)]
    pub family: Option<u64>,
    /// The processing, in words: `clean`, `noise(white,snr=12.3dB)+mp3(32kbit/s)`.
    #[serde(default)]
    pub processing: String,
}

impl Clip {
    /// The four labels in the order PQ, PC, CE, CU.
    pub fn scores(&self) -> [f64; 4] {
        [self.pq, self.pc, self.ce, self.cu]
    }
}

/// One clip of a ladder (a row of `ladders.csv`): the same audio, degraded step by step. It has no labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LadderClip {
    /// `noise`, `lowpass` or `mp3`.
    pub ladder: String,
    /// Which clean clip it was made from.
    pub clip: String,
    /// 0 = least degraded.
    pub step: usize,
    /// The step's setting: SNR in dB, cut-off in Hz, or bit rate in kbit/s.
    pub value: f64,
    /// The audio file, relative to the corpus folder.
    pub path: String,
}

/// Why a corpus file could not be read or written.
#[derive(Debug)]
pub enum ManifestError {
    /// The file cannot be read, parsed or written.
    Csv {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A label is empty or no number.
    NotANumber {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The axis.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// A label is outside 0..10.
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The axis.
        column: &'static str,
        /// The label.
        value: f64,
    },
    /// Two clips have the same id.
    Duplicate {
        /// The file.
        path: PathBuf,
        /// Line of the second one, from 1.
        line: usize,
        /// The id.
        sample_id: String,
    },
    /// The file has no rows.
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Csv { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::NotANumber { path, line, column, text } => {
                write!(f, "{}:{line}: {column} is {text:?}, not a number", path.display())
            }
            Self::OutOfRange { path, line, column, value } => {
                write!(f, "{}:{line}: {column} is {value}, expected 0 to {MAX_RATING}", path.display())
            }
            Self::Duplicate { path, line, sample_id } => {
                write!(f, "{}:{line}: sample id {sample_id:?} occurs twice", path.display())
            }
            Self::Empty { path } => write!(f, "{}: holds no clips", path.display()),
        }
    }
}

impl core::error::Error for ManifestError {}

/// Reads `train.csv`, `validation.csv` or `test.csv`.
///
/// Errors: unreadable or malformed file, missing columns, labels that are no numbers or outside 0..10, an id that occurs
/// twice, no rows.
pub fn read_clips(path: impl AsRef<Path>) -> Result<Vec<Clip>, ManifestError> {
    let path = path.as_ref();
    let mut seen = HashSet::new();
    for_each_row(path, |line, header, row| {
        check_labels(path, line, header, row)?;
        let clip: Clip = row.deserialize(Some(header)).map_err(|e| malformed(path, &e))?;
        if seen.insert(clip.sample_id.clone()) {
            Ok(clip)
        } else {
            Err(ManifestError::Duplicate { path: path.to_path_buf(), line, sample_id: clip.sample_id })
        }
    })
}

/// Refuses a row whose labels are no ratings; a column that is missing is found with the rest of the row.
fn check_labels(
    path: &Path,
    line: usize,
    header: &StringRecord,
    row: &StringRecord,
) -> Result<(), ManifestError> {
    for column in ["PQ", "PC", "CE", "CU"] {
        let place = header.iter().position(|name| name == column);
        let Some(text) = place.and_then(|place| row.get(place)) else { continue };
        match text.parse::<f64>() {
            Ok(value) if (0.0..=MAX_RATING).contains(&value) => (),
            Ok(value) => {
                return Err(ManifestError::OutOfRange { path: path.to_path_buf(), line, column, value });
            }
            Err(_) => {
                let (path, text) = (path.to_path_buf(), text.to_owned());
                return Err(ManifestError::NotANumber { path, line, column, text });
            }
        }
    }
    Ok(())
}

/// Reads `ladders.csv`.
///
/// Errors: unreadable or malformed file, missing columns, no rows.
pub fn read_ladders(path: impl AsRef<Path>) -> Result<Vec<LadderClip>, ManifestError> {
    let path = path.as_ref();
    for_each_row(path, |_, header, row| row.deserialize(Some(header)).map_err(|e| malformed(path, &e)))
}

/// Writes rows with a header, whole or not at all (a temporary file is renamed).
///
/// Errors: the folder cannot be written to.
pub fn write_rows<T: Serialize>(path: impl AsRef<Path>, rows: &[T]) -> Result<(), ManifestError> {
    let path = path.as_ref();
    let failed = |reason: String| ManifestError::Csv { path: path.to_path_buf(), reason };
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(|e| failed(e.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(e.to_string()))?;
    let temporary = path.with_extension("csv.part");
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|e| failed(e.to_string()))
}

/// Reads all rows of a CSV file with a header; `read` also hears the row's line, from 1.
fn for_each_row<T>(
    path: &Path,
    mut read: impl FnMut(usize, &StringRecord, &StringRecord) -> Result<T, ManifestError>,
) -> Result<Vec<T>, ManifestError> {
    let mut reader = csv::Reader::from_path(path).map_err(|e| malformed(path, &e))?;
    let header = reader.headers().map_err(|e| malformed(path, &e))?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| malformed(path, &e))?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        rows.push(read(line, &header, &record)?);
    }
    if rows.is_empty() {
        return Err(ManifestError::Empty { path: path.to_path_buf() });
    }
    Ok(rows)
}

fn malformed(path: &Path, error: &csv::Error) -> ManifestError {
    ManifestError::Csv { path: path.to_path_buf(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_survive_a_round_trip_and_extra_columns_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.csv");
        let clip = Clip {
            sample_id: "a".to_owned(),
            path: "audio/a, b.wav".to_owned(),
            domain: Domain::Music,
            system: String::new(),
            pq: 1.5,
            pc: 2.0,
            ce: 3.25,
            cu: 10.0,
            pq_raw: Some(4.5),
            pc_raw: None,
            family: Some(7),
            processing: "clean".to_owned(),
        };
        write_rows(&path, core::slice::from_ref(&clip)).unwrap();
        assert_eq!(read_clips(&path).unwrap(), [clip]);

        fs::write(&path, "sample_id,path,domain,system,PQ,PC,CE,CU,mood\na,b.wav,sound,,1,2,3,4,blue\n")
            .unwrap();
        assert_eq!(read_clips(&path).unwrap()[0].scores(), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn bad_clips_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.csv");
        let good = "sample_id,path,domain,system,PQ,PC,CE,CU\ng,g.wav,sound,,1,2,3,4\n";
        for (row, expected) in [
            ("a,b.wav,sound,,11,2,3,4", "train.csv:3: PQ is 11, expected 0 to 10"),
            ("a,b.wav,sound,,1,2,-0.5,4", "train.csv:3: CE is -0.5, expected 0 to 10"),
            ("a,b.wav,sound,,1,NaN,3,4", "train.csv:3: PC is NaN, expected 0 to 10"),
            ("a,b.wav,sound,,1,2,3,good", "train.csv:3: CU is \"good\", not a number"),
            ("a,b.wav,sound,,1,2,3,", "train.csv:3: CU is \"\", not a number"),
            ("g,b.wav,sound,,1,2,3,4", "train.csv:3: sample id \"g\" occurs twice"),
            ("a,b.wav,noise,,1,2,3,4", "line: 3"),
            ("a,b.wav,sound,1,2", "line: 3"),
        ] {
            fs::write(&path, format!("{good}{row}\n")).unwrap();
            let error = read_clips(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{row}: {error}");
        }
        for (text, expected) in [
            ("sample_id,path,domain,PQ,PC,CE\na,b.wav,sound,1,2,3\n", "missing field `CU`"),
            ("sample_id,path,domain,system,PQ,PC,CE,CU\n", "holds no clips"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read_clips(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
