//! Hidden states of a frozen encoder, kept on disk from one run to the next.
//!
//! ```text
//! FOLDER/<hash of the encoder>/<hash of a window's features>.hidden
//!     f16 [layers, tokens, width], little-endian; then the trailer: magic, the three sizes as u32, SHA-256 of all before
//! ```
//! Files are mapped into memory, not read: what an epoch touches comes from the page cache. An hour of audio takes
//! `360 kB * layers * width`: 3.3 GB for BEATs-base, 138 MB for the starter model.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use aesa_export::EncoderConfig;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use crate::weights::{self, NamedTensors};

const MAGIC: &[u8; 8] = b"AESAHID1";
const TRAILER_BYTES: usize = MAGIC.len() + 3 * size_of::<u32>() + 32;

/// The cache of one encoder.
#[derive(Debug)]
pub struct HiddenCache {
    folder: PathBuf,
}

/// Where hidden states came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The cache.
    Kept,
    /// They were not there.
    New,
    /// What was there was damaged.
    Replaced,
}

impl HiddenCache {
    /// The cache of the encoder with these sizes and parameters, below `root`.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn open(root: &Path, config: &EncoderConfig, parameters: &NamedTensors) -> Result<Self> {
        let mut hash = Sha256::new();
        hash.update(format!("{config:?}"));
        for (name, tensor) in parameters {
            hash.update(name);
            hash.update(bytes_of(tensor));
        }
        let folder = root.join(hex::encode(&hash.finalize()[..12]));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The hidden states of a window, f16 `[layers, T, D]`, mapped from disk; `compute` makes them where they are missing or
    /// damaged.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn get(&self, features: &Tensor, compute: impl FnOnce() -> Tensor) -> Result<(Tensor, Origin)> {
        let key = hex::encode(&Sha256::digest(bytes_of(features))[..12]);
        let path = self.folder.join(format!("{key}.hidden"));
        if let Some(hidden) = read(&path) {
            return Ok((hidden, Origin::Kept));
        }
        let origin = if path.exists() { Origin::Replaced } else { Origin::New };
        write(&path, &compute().to_kind(Kind::Half))?;
        let hidden =
            read(&path).with_context(|| format!("{} was written but reads back wrong", path.display()))?;
        Ok((hidden, origin))
    }
}

/// Writes states whole or not at all.
fn write(path: &Path, hidden: &Tensor) -> Result<()> {
    let mut bytes = bytes_of(hidden);
    bytes.extend(MAGIC);
    for size in hidden.size() {
        bytes.extend(u32::try_from(size)?.to_le_bytes());
    }
    let sum = Sha256::digest(&bytes);
    bytes.extend(sum);
    weights::replace(path, |temporary| Ok(fs::write(temporary, &bytes)?))
}

/// The states in a file; `None` where it is missing, of another layout, or damaged.
fn read(path: &Path) -> Option<Tensor> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.read_to_end(&mut bytes).ok()?;
    let (states, trailer) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER_BYTES)?)?;
    let (magic, rest) = trailer.split_at(MAGIC.len());
    let (sizes, sum) = rest.split_at(3 * size_of::<u32>());
    let sizes: Vec<i64> = sizes.as_chunks().0.iter().map(|b| i64::from(u32::from_le_bytes(*b))).collect();
    let num_values = states.len() / 2;
    let is_sound = magic == MAGIC
        && sizes.iter().product::<i64>() as usize == num_values
        && Sha256::digest(&bytes[..bytes.len() - sum.len()])[..] == *sum;
    if !is_sound {
        return None;
    }
    let options = (Kind::Half, Device::Cpu);
    let mapped = Tensor::f_from_file(path.to_str()?, false, (bytes.len() / 2) as i64, options).ok()?;
    mapped.narrow(0, 0, num_values as i64).f_view(sizes.as_slice()).ok()
}

/// A tensor's values as they lie in memory (little-endian on every machine that libtorch runs on).
fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().contiguous();
    let num_values = tensor.numel();
    let mut bytes = vec![0; num_values * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, num_values);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(seed: i64) -> Tensor {
        let values = Tensor::arange(80, (Kind::Float, Device::Cpu)) * seed;
        values.sin().view([2, 8, 5]).to_kind(Kind::Half)
    }

    fn parameters(value: f32) -> NamedTensors {
        NamedTensors::from([("w".to_owned(), Tensor::from_slice(&[value]))])
    }

    /// The only file below a folder.
    fn only_file(folder: &Path) -> PathBuf {
        let inner = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
        let files: Vec<_> = fs::read_dir(inner).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    #[test]
    fn what_was_kept_is_not_computed_again() {
        let folder = tempfile::tempdir().unwrap();
        let open =
            |value| HiddenCache::open(folder.path(), &EncoderConfig::default(), &parameters(value)).unwrap();
        let (cache, features) = (open(1.0), Tensor::from_slice(&[1.0f32, 2.0]));
        let (states, origin) = cache.get(&features, || hidden(1)).unwrap();
        assert_eq!((&states, origin), (&hidden(1), Origin::New));
        let (states, origin) = cache.get(&features, || unreachable!("it is kept")).unwrap();
        assert_eq!((&states, origin), (&hidden(1), Origin::Kept));
        assert_eq!(cache.get(&(features.shallow_clone() + 1.0), || hidden(2)).unwrap().1, Origin::New);
        assert_eq!(open(2.0).get(&features, || hidden(3)).unwrap().1, Origin::New);
        assert_eq!(open(1.0).get(&features, || hidden(3)).unwrap().1, Origin::Kept);
    }

    #[test]
    fn damage_is_noticed_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        let cache = HiddenCache::open(folder.path(), &EncoderConfig::default(), &parameters(1.0)).unwrap();
        let features = Tensor::from_slice(&[1.0f32]);
        _ = cache.get(&features, || hidden(1)).unwrap();
        let file = only_file(folder.path());
        let sound = fs::read(&file).unwrap();
        for position in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[position] ^= 0x10;
            fs::write(&file, damaged).unwrap();
            assert!(read(&file).is_none(), "byte {position}");
        }
        for length in [0, TRAILER_BYTES - 1, TRAILER_BYTES, sound.len() - 1] {
            fs::write(&file, &sound[..length]).unwrap();
            let (states, origin) = cache.get(&features, || hidden(1)).unwrap();
            assert_eq!((&states, origin), (&hidden(1), Origin::Replaced), "{length} bytes");
        }
        assert_eq!(fs::read(only_file(folder.path())).unwrap(), sound);
    }
}
