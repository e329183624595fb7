//! TensorBoard's event file of a run: one record per epoch, with every scalar of `metrics.csv`.
//!
//! ```text
//! record: length (u64), masked CRC-32C of the length (u32), an Event in protobuf, its masked CRC-32C (u32); little-endian
//! ```
//! Sources: TensorFlow's `tfrecord` format and its `event.proto` and `summary.proto`, of which only scalars are written.
//! The file grows at its end and keeps its name, since TensorBoard follows it while it is open.
//!
//! `prost` and `crc32c` do the encoding. No crate for whole event files is maintained: `tensorboard-rs` calls itself
//! inactive, `tfrecord` 0.15 and `tboard` 0.1 stand at prost 0.12, and `tboard` wants protoc where it is built; none goes
//! on with a file that a killed run left.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use prost::Message;

/// Brings the event file in `folder` up to these epochs, of which the last is new; step `n + 1` is `epochs[n]`, one value
/// per tag.
///
/// Records of earlier epochs stay as they are. Those of later ones, which a killed run left behind, and a record that it
/// left half written are cut off, so that a run that goes on has every step once.
///
/// # Errors
/// Where the folder or the file cannot be written.
pub fn write_epochs(folder: &Path, tags: &[String], epochs: &[Vec<f64>]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = event_file(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    update(&path, tags, epochs).with_context(|| format!("cannot write {}", path.display()))
}

fn update(path: &Path, tags: &[String], epochs: &[Vec<f64>]) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    let (num_kept, kept_bytes) = kept(&fs::read(path)?, epochs.len().saturating_sub(1));
    let mut new = Vec::new();
    let wall_time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    if kept_bytes == 0 {
        let file_version = Some(FILE_VERSION.to_owned());
        push(&mut new, &Event { wall_time, file_version, ..Event::default() });
    }
    for (n, values) in epochs.iter().enumerate().skip(num_kept) {
        let scalars = tags.iter().zip(values);
        let value = scalars.map(|(tag, v)| Value { tag: tag.clone(), simple_value: Some(*v as f32) });
        let summary = Some(Summary { value: value.collect() });
        push(&mut new, &Event { wall_time, step: n as i64 + 1, summary, ..Event::default() });
    }
    file.set_len(kept_bytes as u64)?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(&new)?;
    Ok(file.sync_data()?)
}

/// The folder's event file; TensorBoard knows it by the start of its name.
fn event_file(folder: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(NAME_START)) {
            return Ok(path);
        }
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(folder.join(format!("{NAME_START}{seconds:010}.aesa-trainer")))
}

/// How many epochs, at most `most`, the file holds whole and in order, and where they end.
fn kept(bytes: &[u8], most: usize) -> (usize, usize) {
    let is_version = |event: &Event| event.file_version.as_deref() == Some(FILE_VERSION);
    let Some(mut end) = first_record(bytes).filter(|(event, _)| is_version(event)).map(|(_, size)| size)
    else {
        return (0, 0);
    };
    for num_kept in 0..most {
        match first_record(&bytes[end..]) {
            Some((event, size)) if event.step == num_kept as i64 + 1 && event.summary.is_some() => {
                end += size;
            }
            _ => return (num_kept, end),
        }
    }
    (most, end)
}

/// The record that the bytes begin with, and its size; `None` where it is not whole.
fn first_record(bytes: &[u8]) -> Option<(Event, usize)> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (length_crc, rest) = rest.split_first_chunk::<4>()?;
    let is_length = u32::from_le_bytes(*length_crc) == masked_crc(length);
    let size = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|_| is_length)?;
    let (data, rest) = rest.split_at_checked(size)?;
    let crc = u32::from_le_bytes(*rest.first_chunk::<4>()?);
    let event = Event::decode(data).ok().filter(|_| crc == masked_crc(data))?;
    Some((event, 8 + 4 + size + 4))
}

fn push(bytes: &mut Vec<u8>, event: &Event) {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(&data);
    bytes.extend(masked_crc(&data).to_le_bytes());
}

/// TFRecord's CRC-32C, masked so that the CRC of data that holds CRCs stays a good one.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

const NAME_START: &str = "events.out.tfevents.";
const FILE_VERSION: &str = "brain.Event:2";

/// `tensorflow.Event`, as far as scalars need it.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(bytes: &[u8]) -> Vec<(i64, f32)> {
        let (mut found, mut rest) = (Vec::new(), bytes);
        while let Some((event, size)) = first_record(rest) {
            rest = &rest[size..];
            if let Some(value) = event.summary.and_then(|s| s.value.first()?.simple_value) {
                found.push((event.step, value));
            }
        }
        assert!(rest.is_empty());
        found
    }

    #[test]
    fn the_crc_is_the_one_of_rfc_3720() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn every_step_is_there_once_whatever_was_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let tags = ["loss".to_owned()];
        let epochs = |values: &[f64]| values.iter().map(|v| vec![*v]).collect::<Vec<_>>();
        let write = |values: &[f64]| write_epochs(folder.path(), &tags, &epochs(values)).unwrap();
        let path = || event_file(folder.path()).unwrap();
        write(&[3.0]);
        write(&[3.0, 0.0]);
        assert_eq!(values(&fs::read(path()).unwrap()), [(1, 3.0), (2, 0.0)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        // The run was killed after the third epoch's record and before its state: the epoch is done again.
        write(&[3.0, 0.0, 1.5]);
        write(&[3.0, 0.0, 1.25]);
        assert_eq!(values(&fs::read(path()).unwrap()), [(1, 3.0), (2, 0.0), (3, 1.25)]);

        let whole = fs::read(path()).unwrap();
        for (name, bytes) in [
            ("half a record", whole[..whole.len() - 3].to_vec()),
            ("no file", Vec::new()),
            ("another file", b"something else entirely".to_vec()),
            ("a damaged value", whole.iter().enumerate().map(|(n, b)| b ^ u8::from(n == 70)).collect()),
        ] {
            fs::write(path(), bytes).unwrap();
            write(&[3.0, 0.0, 1.25, 1.0]);
            assert_eq!(
                values(&fs::read(path()).unwrap()),
                [(1, 3.0), (2, 0.0), (3, 1.25), (4, 1.0)],
                "{name}"
            );
        }
    }
}
