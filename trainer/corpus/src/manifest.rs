//! A corpus folder's CSV files.

use core::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
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
    /// A label is outside 0..10.
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// The clip's id.
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
            Self::OutOfRange { path, sample_id } => {
                write!(f, "{}: clip {sample_id:?} has a label outside 0 to {MAX_RATING}", path.display())
            }
            Self::Empty { path } => write!(f, "{}: holds no clips", path.display()),
        }
    }
}

impl core::error::Error for ManifestError {}

/// Reads `train.csv`, `validation.csv` or `test.csv`.
///
/// Errors: unreadable or malformed file, missing columns, labels outside 0..10, no rows.
pub fn read_clips(path: impl AsRef<Path>) -> Result<Vec<Clip>, ManifestError> {
    let path = path.as_ref();
    let clips: Vec<Clip> = read_rows(path)?;
    let bad = clips.iter().find(|clip| clip.scores().iter().any(|s| !(0.0..=MAX_RATING).contains(s)));
    match bad {
        Some(clip) => {
            Err(ManifestError::OutOfRange { path: path.to_path_buf(), sample_id: clip.sample_id.clone() })
        }
        None => Ok(clips),
    }
}

/// Reads `ladders.csv`.
///
/// Errors: unreadable or malformed file, missing columns, no rows.
pub fn read_ladders(path: impl AsRef<Path>) -> Result<Vec<LadderClip>, ManifestError> {
    read_rows(path.as_ref())
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

/// All rows of a CSV file with a header.
fn read_rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ManifestError> {
    let failed = |e: csv::Error| ManifestError::Csv { path: path.to_path_buf(), reason: e.to_string() };
    let mut reader = csv::Reader::from_path(path).map_err(failed)?;
    let rows: Vec<T> = reader.deserialize().collect::<Result<_, _>>().map_err(failed)?;
    if rows.is_empty() {
        return Err(ManifestError::Empty { path: path.to_path_buf() });
    }
    Ok(rows)
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
        for (name, text) in [
            ("label", "sample_id,path,domain,system,PQ,PC,CE,CU\na,b.wav,sound,,11,2,3,4\n"),
            ("domain", "sample_id,path,domain,system,PQ,PC,CE,CU\na,b.wav,noise,,1,2,3,4\n"),
            ("column", "sample_id,path,domain,PQ,PC,CE\na,b.wav,sound,1,2,3\n"),
            ("no rows", "sample_id,path,domain,system,PQ,PC,CE,CU\n"),
        ] {
            fs::write(&path, text).unwrap();
            assert!(read_clips(&path).is_err(), "{name}");
        }
    }
}
