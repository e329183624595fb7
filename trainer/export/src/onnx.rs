//! The whole file: encoder, head, metadata and hash.

use sha2::{Digest, Sha256};

use aesa::Policy;
use aesa::encoder::TOKENS_PER_STEP;
use aesa::fbank::NUM_MEL_BINS;
use aesa::model::{KEY_FILE_SHA256, KEY_NUM_PARAMETERS, KEY_WEIGHTS_SHA256, ModelInfo};
use aesa::score::NUM_AXES;
use aesa_onnx::{GraphProto, Message, ModelProto, OperatorSetIdProto, StringStringEntryProto};

use crate::config::ModelConfig;
use crate::encoder::encoder;
use crate::error::ExportError;
use crate::graph::{Dim, Graph};
use crate::head::{clip_mean, head};
use crate::parameters::parameters;
use crate::storage::Storage;
use crate::tensors::Tensors;

/// What a file holds beyond the scores, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// How the weights of linear maps, convolutions and LSTMs are stored; f32 if nothing else is said.
    pub storage: Storage,
    /// Adds outputs `hidden.0` (input of the first block) to `hidden.N` (output of block N), each `[num_tokens, width]`,
    /// to compare the encoder with another one.
    pub expose_hidden_states: bool,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { storage: Storage::F32, expose_hidden_states: false }
    }
}

/// The bytes of an ONNX file that computes the network; see the crate's documentation for inputs and outputs.
///
/// Where the policy in `info` is chunked, the graph scores one chunk after another: every input `past.NAME` is an output
/// `present.NAME` of the call before, zeros at the start of a clip. There are frame scores only; the clip's are their mean.
///
/// Tensors beyond those that [`parameters`] lists are ignored.
///
/// # Errors
/// [`ExportError`] if the sizes contradict each other, a chunk has no steps, a tensor is missing, of another shape, or not
/// finite, or attention is to be in int8.
pub fn write_onnx(config: &ModelConfig, tensors: &Tensors, info: &ModelInfo) -> Result<Vec<u8>, ExportError> {
    write_onnx_with(config, tensors, info, &ExportOptions::default())
}

/// As [`write_onnx`], with options.
///
/// # Errors
/// As [`write_onnx`].
pub fn write_onnx_with(
    config: &ModelConfig,
    tensors: &Tensors,
    info: &ModelInfo,
    options: &ExportOptions,
) -> Result<Vec<u8>, ExportError> {
    if options.storage == Storage::Int8Attention {
        return Err(ExportError::Config { reason: "an ONNX file has its attention in f32" });
    }
    let mut num_parameters = 0;
    for p in parameters(config)? {
        num_parameters += tensors.expect(&p.name, &p.shape)?.len();
    }
    let graph = graph(config, tensors, info.policy, options)?;
    let mut metadata = info.to_pairs();
    metadata.push((KEY_NUM_PARAMETERS.to_string(), num_parameters.to_string()));
    metadata.push((KEY_WEIGHTS_SHA256.to_string(), weights_sha256(&graph)));
    metadata.push((KEY_FILE_SHA256.to_string(), "0".repeat(HASH_DIGITS)));
    let model = ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "aesa".to_string(),
        producer_version: env!("CARGO_PKG_VERSION").to_string(),
        metadata_props: metadata
            .into_iter()
            .map(|(key, value)| StringStringEntryProto { key, value })
            .collect(),
        graph: Some(graph),
    };
    Ok(sealed(model.encode_to_vec()))
}

fn graph(
    config: &ModelConfig,
    tensors: &Tensors,
    policy: Policy,
    options: &ExportOptions,
) -> Result<GraphProto, ExportError> {
    let mut g = Graph::new(options.storage);
    let fbank = g.input("fbank", &[Dim::Fixed(1), Dim::Free("num_frames"), Dim::Fixed(NUM_MEL_BINS)]);
    let kept_tokens = match policy {
        Policy::Windowed { .. } => None,
        Policy::Chunked { chunk_steps: 0, .. } => {
            return Err(ExportError::Config { reason: "a chunk has at least one step" });
        }
        Policy::Chunked { .. } => Some(policy.steps_before() * TOKENS_PER_STEP),
    };
    let (hidden, mut past) = encoder(&mut g, &config.encoder, tensors, &fbank, kept_tokens)?;
    let frame = head(&mut g, config, tensors, &hidden[1..], &mut past)?;
    g.output("frame_scores", &frame, &[Dim::Fixed(1), Dim::Free("num_steps"), Dim::Fixed(NUM_AXES)]);
    if let Policy::Windowed { .. } = policy {
        let clip = clip_mean(&mut g, &frame);
        g.output("clip_scores", &clip, &[Dim::Fixed(1), Dim::Fixed(NUM_AXES)]);
    }
    past.finish(&mut g);
    if options.expose_hidden_states {
        let shape = [Dim::Free("num_tokens"), Dim::Fixed(config.encoder.encoder_embed_dim as usize)];
        for (i, state) in hidden.iter().enumerate() {
            g.output(&format!("hidden.{i}"), state, &shape);
        }
    }
    Ok(g.finish("aesa"))
}

/// SHA-256 of all initialisers' bytes in file order, lower-case hexadecimal.
fn weights_sha256(graph: &GraphProto) -> String {
    let mut hash = Sha256::new();
    graph.initializer.iter().for_each(|tensor| hash.update(&tensor.raw_data));
    hex::encode(hash.finalize())
}

/// Puts the hash of the whole file in the place that its zeros hold.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    // In protobuf the value follows the key as field 2 with its length.
    let entry = [KEY_FILE_SHA256.as_bytes(), &[0x12, HASH_DIGITS as u8]].concat();
    let found = file.windows(entry.len()).position(|window| window == entry);
    let start = found.expect("the metadata was just written") + entry.len();
    let hash = hex::encode(Sha256::digest(&file));
    file[start..start + HASH_DIGITS].copy_from_slice(hash.as_bytes());
    file
}

const HASH_DIGITS: usize = 64;

/// The newest intermediate representation that opset 17's first release knew.
const IR_VERSION: i64 = 8;

/// The first operator set with LayerNormalization.
const OPSET: i64 = 17;
