//! Published BEATs checkpoints (`.pt`), read without Python.
//!
//! A checkpoint is a zip archive of a pickle, `{'cfg': dict, 'model': state_dict}`, and of one raw
//! little-endian file per tensor storage. Source: microsoft/unilm `beats/README.md`, PyTorch
//! `torch/serialization.py`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use aesa_export::EncoderConfig;
use tch::{Kind, Tensor};
use zip::ZipArchive;

use crate::pickle::{Pickle, PickleError, StorageRef, TensorRef, Value};

/// A published BEATs checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// Sizes of the encoder.
    pub encoder: EncoderConfig,
    /// Classes of a fine-tuned checkpoint's `predictor`.
    pub num_classes: Option<i64>,
    /// Parameters by their published names, f32.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Reads a checkpoint file.
    ///
    /// # Errors
    /// [`CheckpointError`] where the file cannot be read, is no such archive, or needs what this BEATs lacks.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let mut archive = Archive::open(path)?;
        let pickle = Pickle::parse(&archive.entry("data.pkl")?)?;
        let part = |key: &'static str| {
            let found = pickle.entry(pickle.root(), key).filter(|v| pickle.entries(v).is_some());
            found.ok_or(CheckpointError::Missing { key })
        };
        let (encoder, num_classes) = read_cfg(&pickle, part("cfg")?)?;
        let mut tensors = BTreeMap::new();
        for (name, value) in pickle.entries(part("model")?).unwrap_or_default() {
            let (Value::Str(name), Some(tensor)) = (name, pickle.tensor(value)) else {
                return Err(CheckpointError::Missing { key: "a tensor in model" });
            };
            tensors.insert(name.clone(), archive.tensor(name, tensor)?);
        }
        Ok(Self { encoder, num_classes, tensors })
    }
}

/// Why a checkpoint was refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be read.
    Io(std::io::Error),
    /// The file is no zip archive, or a damaged one.
    Zip(zip::result::ZipError),
    /// The archive's pickle is outside the subset that checkpoints use.
    Pickle(PickleError),
    /// The checkpoint lacks a part.
    Missing {
        /// What is missing.
        key: &'static str,
    },
    /// The checkpoint's `cfg` asks for what this BEATs does not do.
    Config {
        /// The key in `cfg`.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A tensor is of an unsupported type, or lies outside its storage.
    Tensor {
        /// The parameter.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot read the checkpoint: {error}"),
            Self::Zip(error) => write!(f, "not a PyTorch checkpoint, or a damaged one: {error}"),
            Self::Pickle(error) => write!(f, "not a BEATs checkpoint: {error}"),
            Self::Missing { key } => write!(f, "not a BEATs checkpoint: it lacks {key}"),
            Self::Config { key, value } => {
                write!(f, "the checkpoint has {key} = {value}, which is not supported")
            }
            Self::Tensor { name, reason } => write!(f, "tensor {name} of the checkpoint {reason}"),
        }
    }
}

impl core::error::Error for CheckpointError {}

impl From<PickleError> for CheckpointError {
    fn from(error: PickleError) -> Self {
        Self::Pickle(error)
    }
}

impl From<zip::result::ZipError> for CheckpointError {
    fn from(error: zip::result::ZipError) -> Self {
        Self::Zip(error)
    }
}

/// The zip archive of a checkpoint; all entries lie in one folder, named after the file as it was saved.
struct Archive {
    zip: ZipArchive<File>,
    folder: String,
}

impl Archive {
    fn open(path: &Path) -> Result<Self, CheckpointError> {
        let zip = ZipArchive::new(File::open(path).map_err(CheckpointError::Io)?)?;
        let folder =
            zip.file_names().flatten().find_map(|name| name.strip_suffix("data.pkl").map(str::to_string));
        let mut archive = Self { zip, folder: folder.ok_or(CheckpointError::Missing { key: "data.pkl" })? };
        let order = archive.entry("byteorder").unwrap_or_else(|_| b"little".to_vec());
        if order != b"little" {
            return Err(CheckpointError::Config { key: "byteorder", value: "big".to_string() });
        }
        Ok(archive)
    }

    /// An entry's bytes. PyTorch stores without compression, so that an entry is never longer than its file.
    fn entry(&mut self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let mut entry = self.zip.by_name(&format!("{}{name}", self.folder))?;
        if entry.compression() != zip::CompressionMethod::Stored {
            return Err(zip::result::ZipError::UnsupportedArchive("compressed entry in a checkpoint").into());
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(CheckpointError::Io)?;
        Ok(bytes)
    }

    /// Reads one tensor as contiguous f32.
    fn tensor(&mut self, name: &str, tensor: &TensorRef) -> Result<Tensor, CheckpointError> {
        let fail = |reason| CheckpointError::Tensor { name: name.to_string(), reason };
        let (kind, element_bytes) = element(&tensor.storage).ok_or(fail("has an unsupported type"))?;
        let bytes = self.entry(&format!("data/{}", tensor.storage.key))?;
        let num_elements = tensor.storage.num_elements;
        if num_elements.checked_mul(element_bytes) != Some(bytes.len()) {
            return Err(fail("has a storage of another size than declared"));
        }
        if needed_elements(tensor).is_none_or(|needed| needed > num_elements) {
            return Err(fail("lies outside its storage"));
        }
        let signed = |sizes: &[usize]| sizes.iter().map(|n| *n as i64).collect::<Vec<_>>();
        let storage = Tensor::from_data_size(&bytes, &[num_elements as i64], kind);
        let view = storage.as_strided(signed(&tensor.shape), signed(&tensor.strides), tensor.offset as i64);
        Ok(view.to_kind(Kind::Float).contiguous())
    }
}

/// Element type and bytes per element of a storage class.
fn element(storage: &StorageRef) -> Option<(Kind, usize)> {
    Some(match storage.class.as_str() {
        "FloatStorage" => (Kind::Float, 4),
        "HalfStorage" => (Kind::Half, 2),
        "BFloat16Storage" => (Kind::BFloat16, 2),
        "DoubleStorage" => (Kind::Double, 8),
        "LongStorage" => (Kind::Int64, 8),
        _ => return None,
    })
}

/// One more than the last element a view touches; `None` on overflow, or for more elements than `i64` counts.
fn needed_elements(tensor: &TensorRef) -> Option<usize> {
    // A dimension of stride 0 repeats elements: the view could then be far larger than its storage.
    let count = tensor.shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d))?;
    if count > tensor.storage.num_elements {
        return None;
    }
    if count == 0 {
        return Some(0);
    }
    let last = tensor
        .shape
        .iter()
        .zip(&tensor.strides)
        .try_fold(tensor.offset, |at, (size, stride)| at.checked_add((size - 1).checked_mul(*stride)?))?;
    last.checked_add(1)
}

/// Sizes and number of classes from `cfg`; absent keys have the defaults of the official `BEATsConfig`.
fn read_cfg(pickle: &Pickle, cfg: &Value) -> Result<(EncoderConfig, Option<i64>), CheckpointError> {
    let read = |key: &'static str| pickle.entry(cfg, key);
    let wrong = |key, value: &Value| CheckpointError::Config { key, value: format!("{value:?}") };
    let size = |key, default, max| match read(key) {
        None => Ok(default),
        Some(Value::Int(n)) if (1..=max).contains(n) => Ok(*n),
        Some(value) => Err(wrong(key, value)),
    };
    let flag = |key| match read(key) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::Int(value)) => Ok(*value != 0),
        Some(value) => Err(wrong(key, value)),
    };
    if let Some(value) = read("activation_fn").filter(|v| **v != Value::Str("gelu".to_string())) {
        return Err(wrong("activation_fn", value));
    }
    if flag("conv_bias")? {
        return Err(wrong("conv_bias", &Value::Bool(true)));
    }
    let config = EncoderConfig {
        input_patch_size: size("input_patch_size", 16, 16)?,
        embed_dim: size("embed_dim", 512, 1 << 14)?,
        encoder_embed_dim: size("encoder_embed_dim", 768, 1 << 14)?,
        encoder_layers: size("encoder_layers", 12, 1 << 10)?,
        encoder_ffn_embed_dim: size("encoder_ffn_embed_dim", 3072, 1 << 16)?,
        encoder_attention_heads: size("encoder_attention_heads", 12, 1 << 10)?,
        conv_pos: size("conv_pos", 128, 1 << 12)?,
        conv_pos_groups: size("conv_pos_groups", 16, 1 << 12)?,
        num_buckets: size("num_buckets", 320, 1 << 16)?,
        max_distance: size("max_distance", 1280, 1 << 20)?,
        relative_position_embedding: flag("relative_position_embedding")?,
        gru_rel_pos: flag("gru_rel_pos")?,
        deep_norm: flag("deep_norm")?,
        layer_norm_first: flag("layer_norm_first")?,
        dropout: match read("dropout") {
            Some(Value::Float(p)) if (0.0..1.0).contains(p) => *p,
            _ => 0.0,
        },
    };
    let classes = if flag("finetuned_model")? { Some(size("predictor_class", 527, 1 << 20)?) } else { None };
    Ok((config, classes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/beats/beats-tiny.pt");

    #[test]
    fn reads_sizes_and_names() {
        let checkpoint = Checkpoint::read(Path::new(TINY)).unwrap();
        assert_eq!(checkpoint.encoder.encoder_embed_dim, 96);
        assert_eq!(checkpoint.encoder.encoder_layers, 3);
        assert_eq!(checkpoint.num_classes, None);
        let g = &checkpoint.tensors["encoder.pos_conv.0.weight_g"];
        assert_eq!(g.size(), [1, 1, checkpoint.encoder.conv_pos]);
    }

    #[test]
    fn a_view_outside_its_storage_is_refused() {
        let storage = StorageRef { class: "FloatStorage".into(), key: "0".into(), num_elements: 6 };
        let cases = [
            ("inside", 0, vec![2, 3], vec![3, 1], true),
            ("transposed", 0, vec![3, 2], vec![1, 3], true),
            ("past the end", 1, vec![2, 3], vec![3, 1], false),
            ("overflow", 0, vec![2, 3], vec![usize::MAX, 1], false),
            ("huge", 0, vec![usize::MAX, 2], vec![0, 0], false),
            ("empty", 0, vec![0, 3], vec![3, 1], true),
        ];
        for (name, offset, shape, strides, expected) in cases {
            let tensor = TensorRef { storage: storage.clone(), offset, shape, strides };
            assert_eq!(needed_elements(&tensor).is_some_and(|n| n <= 6), expected, "{name}");
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let bytes = std::fs::read(TINY).unwrap();
        for (name, bytes) in
            [("empty", &[][..]), ("truncated", &bytes[..bytes.len() / 2]), ("text", b"hello")]
        {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(bytes).unwrap();
            assert!(Checkpoint::read(file.path()).is_err(), "{name}");
        }
    }
}
