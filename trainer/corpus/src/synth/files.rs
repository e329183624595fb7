//! Files of a corpus: audio and records, each written whole or not at all.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::SynthError;
use super::signal::RATE_HZ;
use crate::labels::Domain;

/// What is known of a finished clip before labels are mapped; lies beside its audio as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) sample_id: String,
    pub(crate) path: String,
    pub(crate) domain: Domain,
    pub(crate) system: String,
    pub(crate) family: u64,
    pub(crate) pq_raw: f64,
    pub(crate) pc_raw: f64,
    pub(crate) processing: String,
    pub(crate) sources: Vec<String>,
    pub(crate) peak_db: f64,
    pub(crate) wav_sha256: String,
    /// The configuration that made the clip.
    pub(crate) fingerprint: String,
}

impl Record {
    /// The record beside `wav`, if it and the audio are there and were made by this configuration.
    pub(crate) fn finished(wav: &Path, fingerprint: &str) -> Option<Self> {
        let text = fs::read_to_string(wav.with_extension("json")).ok()?;
        let record: Self = serde_json::from_str(&text).ok()?;
        (record.fingerprint == fingerprint && wav.is_file()).then_some(record)
    }

    /// Writes the record beside `wav`.
    pub(crate) fn write(&self, wav: &Path) -> Result<(), SynthError> {
        let json = serde_json::to_vec_pretty(self).expect("a record is plain data");
        write_whole(&wav.with_extension("json"), &json)
    }
}

/// Writes to a temporary file in the same folder and renames it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), SynthError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let temporary = path.with_file_name(name);
    fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)).map_err(SynthError::io(path))
}

/// Writes 16 kHz mono 16-bit WAV, samples beyond full scale clipped, and gives the file's SHA-256 in hex.
pub(crate) fn write_wav(path: &Path, samples: &[f32]) -> Result<String, SynthError> {
    let failed = |e: hound::Error| SynthError::Audio { path: path.to_path_buf(), reason: e.to_string() };
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE_HZ as u32,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::with_capacity(2 * samples.len() + 44));
    let mut writer = hound::WavWriter::new(&mut bytes, spec).map_err(failed)?;
    for x in samples {
        let value = (x * 32768.0).round().clamp(-32768.0, 32767.0);
        writer.write_sample(value as i16).map_err(failed)?;
    }
    writer.finalize().map_err(failed)?;
    let bytes = bytes.into_inner();
    write_whole(path, &bytes)?;
    Ok(hex::encode(Sha256::digest(&bytes)))
}
