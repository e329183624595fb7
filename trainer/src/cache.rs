//! Hidden states of a frozen encoder, kept on disk from one run to the next.
//!
//! ```text
//! FOLDER/<hash of the encoder>/<hash of a window's features>.hidden
//!     f16 [layers, tokens, width], little-endian; then the trailer: magic, the three sizes as u32, SHA-256 of all before
//! ```
//! Files are mapped into memory, not read: what an epoch touches comes from the page cache. A process may hold only so many maps
//! (65,530 on Linux, unless set otherwise), so each is there for as long as a batch is put together, and a corpus may have any number of
//! windows. An hour of audio takes `360 kB * layers * width`: 3.3 GB for BEATs-base, 138 MB for the starter model.

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

/// The hidden states of a window, f16 `[layers, T, D]`.
#[derive(Debug)]
pub enum States {
    /// In main memory.
    Memory(Tensor),
    /// In a file of the cache.
    File(StatesFile),
}

impl States {
    /// The states; those in a file are mapped while the tensor lives.
    ///
    /// # Errors
    /// Where the file has gone, or is not as long as it was.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Memory(states) => Ok(states.shallow_clone()),
            Self::File(file) => file.map().with_context(|| {
                format!("{} was there and cannot be mapped any more; run again", file.path.display())
            }),
        }
    }

    /// T.
    pub fn num_tokens(&self) -> i64 {
        match self {
            Self::Memory(states) => states.size()[1],
            Self::File(file) => file.sizes[1],
        }
    }

    /// The same states, for another thread; they are shared, not copied.
    pub fn share(&self) -> Self {
        match self {
            Self::Memory(states) => Self::Memory(states.shallow_clone()),
            Self::File(file) => Self::File(file.clone()),
        }
    }
}

/// A file of the cache that was found sound.
#[derive(Clone, Debug)]
pub struct StatesFile {
    path: PathBuf,
    sizes: [i64; 3],
}

impl StatesFile {
    /// The file, if it is there, of this layout, and not damaged.
    fn check(path: PathBuf) -> Option<Self> {
        let mut bytes = Vec::new();
        File::open(&path).ok()?.read_to_end(&mut bytes).ok()?;
        let (states, trailer) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER_BYTES)?)?;
        let (magic, rest) = trailer.split_at(MAGIC.len());
        let (sizes, sum) = rest.split_at(3 * size_of::<u32>());
        let sizes: [[u8; 4]; 3] = sizes.as_chunks().0.try_into().ok()?;
        let sizes = sizes.map(|size| i64::from(u32::from_le_bytes(size)));
        let is_sound = magic == MAGIC
            && sizes.iter().product::<i64>() as usize == states.len() / 2
            && Sha256::digest(&bytes[..bytes.len() - sum.len()])[..] == *sum;
        is_sound.then_some(Self { path, sizes })
    }

    /// Maps the states. `None` where the file cannot be, or has another length.
    fn map(&self) -> Option<Tensor> {
        let num_values = self.sizes.iter().product::<i64>();
        // With another length it is not the file that was checked.
        let num_bytes = num_values as u64 * 2 + TRAILER_BYTES as u64;
        if fs::metadata(&self.path).ok()?.len() != num_bytes {
            return None;
        }
        let options = (Kind::Half, Device::Cpu);
        let mapped = Tensor::f_from_file(self.path.to_str()?, false, num_values, options).ok()?;
        mapped.f_view(&self.sizes[..]).ok()
    }
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

    /// The hidden states of a window; `compute` makes them where they are missing or damaged.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn get(&self, features: &Tensor, compute: impl FnOnce() -> Tensor) -> Result<(StatesFile, Origin)> {
        let key = hex::encode(&Sha256::digest(bytes_of(features))[..12]);
        let path = self.folder.join(format!("{key}.hidden"));
        if let Some(file) = StatesFile::check(path.clone()) {
            return Ok((file, Origin::Kept));
        }
        let origin = if path.exists() { Origin::Replaced } else { Origin::New };
        write(&path, &compute().to_kind(Kind::Half))?;
        let file = StatesFile::check(path.clone());
        let file = file.with_context(|| format!("{} was written but reads back wrong", path.display()))?;
        Ok((file, origin))
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
        let (file, origin) = cache.get(&features, || hidden(1)).unwrap();
        assert_eq!((file.map(), origin), (Some(hidden(1)), Origin::New));
        let (file, origin) = cache.get(&features, || unreachable!("it is kept")).unwrap();
        assert_eq!((file.map(), origin), (Some(hidden(1)), Origin::Kept));
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
            assert!(StatesFile::check(file.clone()).is_none(), "byte {position}");
        }
        for length in [0, TRAILER_BYTES - 1, TRAILER_BYTES, sound.len() - 1] {
            fs::write(&file, &sound[..length]).unwrap();
            let (file, origin) = cache.get(&features, || hidden(1)).unwrap();
            assert_eq!((file.map(), origin), (Some(hidden(1)), Origin::Replaced), "{length} bytes");
        }
        assert_eq!(fs::read(only_file(folder.path())).unwrap(), sound);
    }

    #[test]
    fn a_file_that_went_later_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = HiddenCache::open(folder.path(), &EncoderConfig::default(), &parameters(1.0)).unwrap();
        let (file, _) = cache.get(&Tensor::from_slice(&[1.0f32]), || hidden(1)).unwrap();
        let (path, states) = (only_file(folder.path()), States::File(file));
        let mapped = states.share().tensor().unwrap();
        fs::write(&path, &fs::read(&path).unwrap()[..100]).unwrap();
        let error = states.tensor().unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(states.tensor().is_err());
        drop(mapped);
    }

    /// Nothing of a map stays behind.
    #[cfg(target_os = "linux")]
    #[test]
    fn states_in_files_hold_no_maps() {
        let folder = tempfile::tempdir().unwrap();
        let cache = HiddenCache::open(folder.path(), &EncoderConfig::default(), &parameters(1.0)).unwrap();
        let maps = || {
            let maps = fs::read_to_string("/proc/self/maps").unwrap();
            maps.matches(folder.path().to_str().unwrap()).count()
        };
        let get = |n: i64| {
            let features = Tensor::from_slice(&[n as f32]);
            States::File(cache.get(&features, || hidden(n)).unwrap().0)
        };
        let states: Vec<States> = (1..6).map(get).collect();
        assert_eq!(maps(), 0);
        let batch: Vec<Tensor> = states[..2].iter().map(|states| states.tensor().unwrap()).collect();
        assert_eq!((maps(), &batch[1]), (2, &hidden(2)));
        drop(batch);
        assert_eq!(maps(), 0);
    }
}
