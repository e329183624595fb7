//! AESA-Net as the tensors that the native engine reads: docs/SPEC.md, "model.aesa".
//!
//! What is combined, without changing the function: queries, keys and values as one map, the weight norm of the positional
//! convolution, the position bias by distance, the two linear maps before the gate's sigmoid, both biases of an LSTM, and
//! each branch's value, output and score projections.

use aesa::Policy;
use aesa::fbank::NUM_MEL_BINS;
use aesa::model::{KEY_NUM_PARAMETERS, ModelInfo};
use aesa::native::format::{Kind, Sizes, flag};
use aesa::native::{AlignedBytes, Model};
use aesa::score::{Axis, FRAMES_PER_STEP};

use crate::aesa_file::AesaFile;
use crate::config::ModelConfig;
use crate::encoder::{bias_table, head_gates, weight_normed};
use crate::error::ExportError;
use crate::head::{softmax, value_maps};
use crate::linear::Linear;
use crate::parameters::parameters;
use crate::storage::Storage;
use crate::tensors::Tensors;

/// The bytes of a `model.aesa` that computes the network.
///
/// Tensors beyond those that [`parameters`] lists are ignored.
///
/// # Errors
/// [`ExportError`] if the sizes contradict each other or are beyond the native engine, the storage is f16, or a tensor is missing, of another
/// shape, or not finite.
pub fn write_aesa(
    config: &ModelConfig,
    tensors: &Tensors,
    info: &ModelInfo,
    storage: Storage,
) -> Result<Vec<u8>, ExportError> {
    if storage == Storage::F16 {
        return Err(ExportError::Config { reason: "a model.aesa stores f32 or int8" });
    }
    let mut num_parameters = 0;
    for p in parameters(config)? {
        num_parameters += tensors.expect(&p.name, &p.shape)?.len();
    }
    let mut writer = Writer { config, t: tensors, storage, file: AesaFile::default() };
    writer.front()?;
    for layer in 0..config.encoder.encoder_layers as usize {
        writer.block(layer)?;
    }
    writer.head()?;
    let mut metadata = info.to_pairs();
    metadata.push((KEY_NUM_PARAMETERS.to_string(), num_parameters.to_string()));
    let file = writer.file.finish(&sizes(config, info.policy, storage), &metadata);
    match Model::from_bytes(&AlignedBytes::from(file.as_slice())) {
        Ok(_) => Ok(file),
        Err(error) => Err(ExportError::Native(error)),
    }
}

fn sizes(config: &ModelConfig, policy: Policy, storage: Storage) -> Sizes {
    let (e, h) = (&config.encoder, &config.head);
    let flags = [
        (e.gru_rel_pos && e.relative_position_embedding, flag::GATED),
        (e.deep_norm, flag::DEEP_NORM),
        (e.layer_norm_first, flag::NORM_FIRST),
        (h.layer_norm, flag::HEAD_NORM),
        (storage != Storage::F32, flag::HALF_CACHE),
        (storage == Storage::Int8Attention, flag::INT8_ATTENTION),
    ];
    let steps = |steps: usize| u32::try_from(steps).unwrap_or(u32::MAX);
    let [window_steps, chunk_steps, left_steps] = match policy {
        Policy::Windowed { window_steps } => [steps(window_steps), 0, 0],
        Policy::Chunked { chunk_steps, left_steps } => [0, steps(chunk_steps), steps(left_steps)],
    };
    Sizes {
        embed_dim: e.embed_dim as u32,
        width: e.encoder_embed_dim as u32,
        layers: e.encoder_layers as u32,
        ffn: e.encoder_ffn_embed_dim as u32,
        heads: e.encoder_attention_heads as u32,
        conv_taps: e.conv_pos as u32,
        conv_groups: e.conv_pos_groups as u32,
        max_distance: if e.relative_position_embedding { e.max_distance as u32 } else { 0 },
        flags: flags.iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum(),
        adapter: h.adapter_dim as u32,
        lstm_cells: h.lstm_dim as u32,
        lstm_layers: h.lstm_layers as u32,
        shared: h.shared_dim as u32,
        branch_heads: h.attention_heads as u32,
        window_steps,
        chunk_steps,
        left_steps,
    }
}

struct Writer<'t> {
    config: &'t ModelConfig,
    t: &'t Tensors,
    storage: Storage,
    file: AesaFile,
}

impl Writer<'_> {
    /// Everything before the blocks.
    fn front(&mut self) -> Result<(), ExportError> {
        let e = &self.config.encoder;
        let (embed, width) = (e.embed_dim as usize, e.encoder_embed_dim as usize);
        let patch =
            self.t.expect("beats.patch_embedding.weight", &[embed, 1, FRAMES_PER_STEP, FRAMES_PER_STEP])?;
        let inputs = FRAMES_PER_STEP * FRAMES_PER_STEP;
        let patch = Linear { inputs, weight: patch.to_vec(), bias: vec![0.0; embed] };
        self.file.weights(Kind::PatchEmbedding, 0, &patch, Storage::F32);
        self.norm(Kind::PatchNorm, 0, "beats.layer_norm", embed)?;
        if embed != width {
            let projection = Linear::read(self.t, "beats.post_extract_proj", embed, width)?;
            self.linear((Kind::Projection, Kind::ProjectionBias), 0, &projection, Storage::F32);
        }
        self.position_conv()?;
        if !e.layer_norm_first {
            self.norm(Kind::EncoderNorm, 0, "beats.encoder.layer_norm", width)?;
        }
        if e.relative_position_embedding {
            self.file.floats(Kind::PositionBias, 0, 2 * e.max_distance as usize + 1, &bias_table(e, self.t)?);
        }
        Ok(())
    }

    /// The convolution's groups as maps from all taps, those of one token next to each other.
    fn position_conv(&mut self) -> Result<(), ExportError> {
        let e = &self.config.encoder;
        let (width, taps) = (e.encoder_embed_dim as usize, e.conv_pos as usize);
        let group = width / e.conv_pos_groups as usize;
        let weight = weight_normed(self.t, &[width, group, taps])?;
        let maps: Vec<Linear> = weight
            .chunks_exact(group * group * taps)
            .map(|weight| {
                // [outputs, inputs, taps] to [outputs, taps, inputs]
                let at = |i: usize| i / (taps * group) * group * taps + i % group * taps + i / group % taps;
                let weight = (0..weight.len()).map(|i| weight[at(i)]).collect();
                Linear { inputs: taps * group, weight, bias: vec![0.0; group] }
            })
            .collect();
        self.file.groups(Kind::PositionConv, 0, &maps, self.storage);
        self.file.floats(
            Kind::PositionConvBias,
            0,
            width,
            self.t.expect("beats.encoder.pos_conv.0.bias", &[width])?,
        );
        Ok(())
    }

    fn block(&mut self, i: usize) -> Result<(), ExportError> {
        let e = &self.config.encoder;
        let (width, ffn) = (e.encoder_embed_dim as usize, e.encoder_ffn_embed_dim as usize);
        let heads = e.encoder_attention_heads as usize;
        let block = format!("beats.encoder.layers.{i}");
        let attention = format!("{block}.self_attn");
        let mut qkv = Linear { inputs: width, weight: Vec::new(), bias: Vec::new() };
        for which in ["q_proj", "k_proj", "v_proj"] {
            let part = Linear::read(self.t, &format!("{attention}.{which}"), width, width)?;
            qkv.weight.extend(part.weight);
            qkv.bias.extend(part.bias);
        }
        self.linear((Kind::Qkv, Kind::QkvBias), i, &qkv, self.storage);
        if e.relative_position_embedding && e.gru_rel_pos {
            let [a, b] = head_gates(self.t, &attention, width / heads)?;
            self.file.floats(Kind::GateWeight, i, width / heads, &[a.weight, b.weight].concat());
            self.file.floats(Kind::GateBias, i, 2, &[a.bias, b.bias].concat());
            let factors = self.t.expect(&format!("{attention}.grep_a"), &[1, heads, 1, 1])?;
            self.file.floats(Kind::GateFactor, i, heads, factors);
        }
        let read = |t: &Tensors, name: &str, inputs, outputs| {
            Linear::read(t, &format!("{block}.{name}"), inputs, outputs)
        };
        let out = read(self.t, "self_attn.out_proj", width, width)?;
        self.linear((Kind::AttentionOut, Kind::AttentionOutBias), i, &out, self.storage);
        self.norm(Kind::AttentionNorm, i, &format!("{block}.self_attn_layer_norm"), width)?;
        let (fc1, fc2) = (read(self.t, "fc1", width, ffn)?, read(self.t, "fc2", ffn, width)?);
        self.linear((Kind::Fc1, Kind::Fc1Bias), i, &fc1, self.storage);
        self.linear((Kind::Fc2, Kind::Fc2Bias), i, &fc2, self.storage);
        self.norm(Kind::FinalNorm, i, &format!("{block}.final_layer_norm"), width)
    }

    fn head(&mut self) -> Result<(), ExportError> {
        let (e, h) = (&self.config.encoder, &self.config.head);
        let (width, layers) = (e.encoder_embed_dim as usize, e.encoder_layers as usize);
        for layer in 0..if h.layer_norm { layers } else { 0 } {
            self.norm(Kind::LayerNorm, layer, &format!("head.layer_norms.{layer}"), width)?;
        }
        let shares = softmax(self.t.expect("head.layer_weights", &[layers])?);
        let shares: Vec<f32> = shares.iter().map(|v| *v as f32).collect();
        self.file.floats(Kind::LayerShares, 0, layers, &shares);
        let adapter = Linear::read(self.t, "head.adapter", width, h.adapter_dim as usize)?;
        self.linear((Kind::Adapter, Kind::AdapterBias), 0, &adapter, self.storage);
        for layer in 0..h.lstm_layers as usize {
            self.lstm(layer, "", 2 * layer)?;
            self.lstm(layer, "_reverse", 2 * layer + 1)?;
        }
        let shared = Linear::read(self.t, "head.shared", 2 * h.lstm_dim as usize, h.shared_dim as usize)?;
        self.linear((Kind::Shared, Kind::SharedBias), 0, &shared, self.storage);
        Axis::ALL.iter().try_for_each(|axis| self.branch(*axis))
    }

    /// One direction of one layer.
    fn lstm(&mut self, layer: usize, suffix: &str, index: usize) -> Result<(), ExportError> {
        let h = &self.config.head;
        let cells = h.lstm_dim as usize;
        let inputs = if layer == 0 { h.adapter_dim as usize } else { 2 * cells };
        let read = |which: &str, shape: &[usize]| {
            self.t.expect(&format!("head.blstm.{which}_l{layer}{suffix}"), shape)
        };
        let map =
            |weight: &[f32], inputs| Linear { inputs, weight: weight.to_vec(), bias: vec![0.0; 4 * cells] };
        let input = map(read("weight_ih", &[4 * cells, inputs])?, inputs);
        let recurrent = map(read("weight_hh", &[4 * cells, cells])?, cells);
        let biases = read("bias_ih", &[4 * cells])?.iter().zip(read("bias_hh", &[4 * cells])?);
        let bias: Vec<f32> = biases.map(|(a, b)| a + b).collect();
        self.file.weights(Kind::LstmInput, index, &input, self.storage);
        self.file.weights(Kind::LstmRecurrent, index, &recurrent, self.storage);
        self.file.floats(Kind::LstmBias, index, 4 * cells, &bias);
        Ok(())
    }

    fn branch(&mut self, axis: Axis) -> Result<(), ExportError> {
        let h = &self.config.head;
        let (shared, heads, index) = (h.shared_dim as usize, h.attention_heads as usize, axis as usize);
        let name = format!("head.branches.{axis}");
        let projections = Linear {
            inputs: shared,
            weight: self
                .t
                .expect(&format!("{name}.attention.in_proj_weight"), &[3 * shared, shared])?
                .to_vec(),
            bias: self.t.expect(&format!("{name}.attention.in_proj_bias"), &[3 * shared])?.to_vec(),
        };
        let (value, bias) = value_maps(self.t, &name, &projections.rows(2 * shared, shared), heads)?;
        let query_key = projections.rows(0, 2 * shared);
        self.linear((Kind::BranchQueryKey, Kind::BranchQueryKeyBias), index, &query_key, self.storage);
        // One number per head: too few weights to save, and each counts.
        self.linear((Kind::BranchValue, Kind::BranchValueBias), index, &value, Storage::F32);
        self.file.floats(Kind::BranchBias, index, 1, &[bias]);
        Ok(())
    }

    fn linear(&mut self, kinds: (Kind, Kind), index: usize, map: &Linear, storage: Storage) {
        self.file.weights(kinds.0, index, map, storage);
        self.file.floats(kinds.1, index, map.outputs(), &map.bias);
    }

    fn norm(&mut self, kind: Kind, index: usize, name: &str, width: usize) -> Result<(), ExportError> {
        let read = |which: &str| self.t.expect(&format!("{name}.{which}"), &[width]);
        self.file.floats(kind, index, width, &[read("weight")?, read("bias")?].concat());
        Ok(())
    }
}

const _: () = assert!(NUM_MEL_BINS.is_multiple_of(FRAMES_PER_STEP));
