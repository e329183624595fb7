//! The way back from an exported ONNX file to weights that can learn, so that training can start from a model of which only the
//! file is at hand.
//!
//! The export combines what it can: softmaxed layer weights lie in the layer norms, the gates in the query projection, each
//! branch's value, output and score projections in one map. What comes back computes the same scores; where parameters
//! cannot be told apart again, they are chosen: equal layer weights, an identity as the output projection, random value projections that
//! fit. Letters in shapes as in [`crate::model`].

use std::collections::BTreeMap;
use std::path::Path;

use aesa_export::{ModelConfig, parameters};
use aesa_onnx::{DataType, Message, ModelProto, TensorProto};
use anyhow::{Context, Result, bail, ensure};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tch::{Device, Kind, Tensor};

use crate::beats;
use crate::weights::NamedTensors;

/// Reads the weights of a network of these sizes, those whose names begin with `prefix`, from an ONNX file that `export` wrote
/// in f32.
///
/// # Errors
/// Where the file cannot be read, is no such file, stores weights as int8 or f16, or is of another size.
pub fn read(path: &Path, config: &ModelConfig, prefix: &str) -> Result<NamedTensors> {
    read_all(path, config, prefix).with_context(|| format!("cannot start from {}", path.display()))
}

/// As [`read`]; the message does not name the file.
pub(crate) fn read_all(path: &Path, config: &ModelConfig, prefix: &str) -> Result<NamedTensors> {
    Import::new(&std::fs::read(path)?, config)?.all(prefix)
}

/// An exported file's constants, and the sizes that they should have.
struct Import<'a> {
    config: &'a ModelConfig,
    constants: BTreeMap<String, TensorProto>,
    rng: Pcg64,
}

impl<'a> Import<'a> {
    fn new(bytes: &[u8], config: &'a ModelConfig) -> Result<Self> {
        let graph = ModelProto::decode(bytes).ok().and_then(|model| model.graph);
        let constants = graph.context("it is no ONNX file")?.initializer;
        let constants = constants.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        Ok(Self { config, constants, rng: Pcg64::seed_from_u64(1) })
    }

    fn all(mut self, prefix: &str) -> Result<NamedTensors> {
        let mut tensors = NamedTensors::new();
        for parameter in parameters(self.config)?.into_iter().filter(|p| p.name.starts_with(prefix)) {
            let shape: Vec<i64> = parameter.shape.iter().map(|n| *n as i64).collect();
            if !tensors.contains_key(&parameter.name) {
                self.parameter(&parameter.name, &shape, &mut tensors)?;
            }
        }
        Ok(tensors)
    }

    /// A constant, f64.
    fn constant(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let Some(tensor) = self.constants.get(name) else {
            for storage in ["int8", "f16"] {
                let other = self.constants.contains_key(&format!("{name}.{storage}"));
                ensure!(!other, "it stores {name} as {storage}, not f32");
            }
            bail!("it lacks {name}: it is no AESA-Net that this trainer exported, or one of other sizes")
        };
        ensure!(tensor.data_type == DataType::Float as i32, "it does not store {name} as f32");
        ensure!(
            tensor.dims == shape && tensor.raw_data.len() as i64 == 4 * shape.iter().product::<i64>(),
            "{name} is {:?} in it and {shape:?} in the network",
            tensor.dims
        );
        let values: Vec<f32> =
            tensor.raw_data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok(Tensor::from_slice(&values).view(shape).to_kind(Kind::Double))
    }

    /// Adds a parameter, and those that can only be found with it.
    fn parameter(&mut self, name: &str, shape: &[i64], found: &mut NamedTensors) -> Result<()> {
        let (encoder, head) = (&self.config.encoder, &self.config.head);
        let (owner, kind) = name.rsplit_once('.').unwrap_or(("", name));
        let transposed =
            || Ok::<_, anyhow::Error>(self.constant(name, &[shape[1], shape[0]])?.transpose(0, 1));
        let value = if let Some(branch) = name.strip_suffix(".attention.in_proj_weight") {
            return self.branch(branch, found);
        } else if let Some(attention) = name.strip_suffix(".grep_linear.weight") {
            return self.gates(attention, found);
        } else if owner.ends_with("q_proj") {
            // The export scales queries by 1 / sqrt(head_dim).
            let head_dim = encoder.encoder_embed_dim / encoder.encoder_attention_heads;
            let scaled = if kind == "weight" { transposed()? } else { self.constant(name, shape)? };
            scaled * (head_dim as f64).sqrt()
        } else if kind == "grep_a" {
            self.constant(name, &[encoder.encoder_attention_heads])?.view(shape)
        } else if owner.ends_with("relative_attention_bias") {
            let (buckets, far) = (encoder.num_buckets, encoder.max_distance);
            let table = self.constant("beats.encoder.position_bias.table", &[shape[1], 2 * far + 1])?;
            let index = beats::buckets(buckets, far, far + 1, Device::Cpu); // (2 far + 1)
            let table = table.transpose(0, 1); // (2 far + 1, H)
            let by_bucket = Tensor::zeros(shape, (Kind::Double, Device::Cpu)).index_copy(0, &index, &table);
            // The file holds no buckets, so that a wrong number of them shows only here.
            ensure!(
                by_bucket.index_select(0, &index) == table,
                "its position bias is of another num_buckets than {buckets}"
            );
            by_bucket
        } else if let Some(part) = name.strip_prefix("beats.encoder.pos_conv.0.") {
            let groups = encoder.conv_pos_groups;
            let (width, kernel) = (encoder.encoder_embed_dim, encoder.conv_pos);
            let weight = self.constant("beats.encoder.pos_conv.weight", &[width, width / groups, kernel])?;
            match part {
                "bias" => self.constant("beats.encoder.pos_conv.bias", shape)?,
                "weight_v" => weight,
                _ => weight.square().sum_dim_intlist([0, 1].as_slice(), true, Kind::Double).sqrt(),
            }
        } else if name == "head.layer_weights" {
            ensure!(head.layer_norm, "without layer norms in the head, layer weights cannot be read back");
            Tensor::zeros(shape, (Kind::Double, Device::Cpu))
        } else if name.starts_with("head.layer_norms.") {
            // Each holds its layer's share, which equal layer weights make the same.
            self.constant(name, shape)? * encoder.encoder_layers as f64
        } else if let Some(part) = name.strip_prefix("head.blstm.") {
            self.lstm(part, shape, head.lstm_dim)?
        } else if kind == "weight" && shape.len() == 2 {
            transposed()?
        } else {
            self.constant(name, shape)?
        };
        _ = found.insert(name.to_owned(), value);
        Ok(())
    }

    /// A parameter of the BLSTM, `weight_ih_l0_reverse` for example.
    fn lstm(&self, part: &str, shape: &[i64], cells: i64) -> Result<Tensor> {
        let (part, direction) = match part.strip_suffix("_reverse") {
            Some(part) => (part, 1),
            None => (part, 0),
        };
        let (which, layer) = part.rsplit_once("_l").context("an LSTM's parameter has no layer")?;
        let (name, columns) = match which {
            "weight_ih" => ("w", shape[1]),
            "weight_hh" => ("r", shape[1]),
            _ => ("b", 2),
        };
        let constant = format!("head.blstm.{layer}.{name}");
        let rows = match which {
            "weight_ih" | "weight_hh" => {
                self.constant(&constant, &[2, 4 * cells, columns])?.get(direction).contiguous()
            }
            _ => {
                let both = self.constant(&constant, &[2, 8 * cells])?.get(direction);
                both.narrow(0, if which == "bias_ih" { 0 } else { 4 * cells }, 4 * cells)
            }
        };
        // From ONNX's order (input, output, forget, cell) to PyTorch's (input, forget, cell, output).
        let gate = |n: i64| rows.narrow(0, n * cells, cells);
        Ok(Tensor::cat(&[gate(0), gate(2), gate(3), gate(1)], 0))
    }

    /// `grep_linear` of an attention. The export applies the sum of its four rows per gate to the projected query; the
    /// rows come back as a quarter each.
    fn gates(&self, attention: &str, found: &mut NamedTensors) -> Result<()> {
        let (width, heads) =
            (self.config.encoder.encoder_embed_dim, self.config.encoder.encoder_attention_heads);
        let head_dim = width / heads;
        let scale = (head_dim as f64).sqrt();
        let query = self.constant(&format!("{attention}.q_proj.weight"), &[width, width])? * scale; // [in, out]
        let query_bias = self.constant(&format!("{attention}.q_proj.bias"), &[width])? * scale;
        let by_head = query.view([width, heads, head_dim]).transpose(0, 1).reshape([heads * width, head_dim]);
        let inverse = by_head.linalg_pinv(1e-12, false); // (head_dim, H * width)
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for gate in ["gate_a", "gate_b"] {
            let logit = self.constant(&format!("{attention}.{gate}.logit.weight"), &[width, heads])?;
            let bias = self.constant(&format!("{attention}.{gate}.logit.bias"), &[heads])?;
            let row = inverse.mv(&logit.transpose(0, 1).reshape([-1])); // (head_dim)
            let own = bias - query_bias.view([heads, head_dim]).mv(&row); // (H), all alike
            weights.push((row / 4.0).unsqueeze(0).repeat([4, 1]));
            biases.push((own.mean(Kind::Double) / 4.0).repeat([4]));
        }
        _ = found.insert(format!("{attention}.grep_linear.weight"), Tensor::cat(&weights, 0));
        _ = found.insert(format!("{attention}.grep_linear.bias"), Tensor::cat(&biases, 0));
        Ok(())
    }

    /// All parameters of an axis's branch. The value, output and score projections are one map in the file, a row per head: each
    /// head's score weights and value projection are drawn, and the projection is moved by the least that gives the row.
    fn branch(&mut self, branch: &str, found: &mut NamedTensors) -> Result<()> {
        let (width, heads) = (self.config.head.shared_dim, self.config.head.attention_heads);
        let head_dim = width / heads;
        let projection = |which: &str, factor: f64| {
            let weight = self.constant(&format!("{branch}.{which}.weight"), &[width, width])?;
            let bias = self.constant(&format!("{branch}.{which}.bias"), &[width])?;
            Ok::<_, anyhow::Error>((weight.transpose(0, 1) * factor, bias * factor))
        };
        let (query, query_bias) = projection("query", (head_dim as f64).sqrt())?;
        let (key, key_bias) = projection("key", 1.0)?;
        let rows = self.constant(&format!("{branch}.value.weight"), &[width, heads])?.transpose(0, 1); // (H, S)
        let row_biases = self.constant(&format!("{branch}.value.bias"), &[heads])?;
        let bias = self.constant(&format!("{branch}.bias"), &[1])?;

        let limit = (3.0 / width as f64).sqrt();
        let mut draw = |shape: &[i64]| {
            let count = shape.iter().product::<i64>();
            let values: Vec<f64> = (0..count).map(|_| self.rng.random_range(-limit..=limit)).collect();
            Tensor::from_slice(&values).view(shape)
        };
        let score = draw(&[heads, 1, head_dim]);
        let value = draw(&[heads, head_dim, width]);
        let squares = score.square().sum_dim_intlist([2].as_slice(), true, Kind::Double); // (H, 1, 1)
        let missing = rows.unsqueeze(1) - score.matmul(&value); // (H, 1, S)
        let value = value + score.transpose(1, 2).matmul(&missing) / &squares; // (H, head_dim, S)
        let value_bias = score.transpose(1, 2) * row_biases.view([heads, 1, 1]) / &squares; // (H, head_dim, 1)

        let of_attention = |part: &str| format!("{branch}.attention.{part}");
        found.extend([
            (of_attention("in_proj_weight"), Tensor::cat(&[query, key, value.reshape([width, width])], 0)),
            (of_attention("in_proj_bias"), Tensor::cat(&[query_bias, key_bias, value_bias.reshape([-1])], 0)),
            (of_attention("out_proj.weight"), Tensor::eye(width, (Kind::Double, Device::Cpu))),
            (of_attention("out_proj.bias"), Tensor::zeros([width], (Kind::Double, Device::Cpu))),
            (format!("{branch}.score.weight"), score.reshape([1, width])),
            (format!("{branch}.score.bias"), bias),
        ]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aesa_export::{ExportOptions, Storage, Tensors, random_tensors, tiny_info, write_onnx_with};

    use super::*;
    use crate::dropout::Dropout;
    use crate::model::AesaNet;
    use crate::weights;

    fn exported(config: &ModelConfig, tensors: &Tensors, storage: Storage) -> Vec<u8> {
        let options = ExportOptions { storage, ..ExportOptions::default() };
        write_onnx_with(config, tensors, &tiny_info(), &options).unwrap()
    }

    fn load(config: &ModelConfig, tensors: &NamedTensors) -> AesaNet {
        let mut net = AesaNet::new(config);
        weights::load(&mut net.store, tensors, "").unwrap();
        net
    }

    #[test]
    fn what_comes_back_scores_as_what_was_exported() {
        for config in [ModelConfig::tiny(), ModelConfig::starter()] {
            let tensors = random_tensors(&config, 7).unwrap();
            let own = tensors.0.iter().map(|(name, tensor)| {
                let shape: Vec<i64> = tensor.shape.iter().map(|n| *n as i64).collect();
                (name.clone(), Tensor::from_slice(&tensor.data).view(&shape[..]))
            });
            let before = load(&config, &own.collect());
            let file = exported(&config, &tensors, Storage::F32);
            let after =
                load(&config, &Import::new(&file, &config).and_then(|import| import.all("")).unwrap());
            let features = Tensor::randn([2, 16 * 20, 128], (Kind::Float, Device::Cpu));
            let scores = |net: &AesaNet| {
                tch::no_grad(|| net.forward(&features, None, None, Dropout::Off).token_scores)
            };
            let (a, b) = (scores(&before), scores(&after));
            assert!(a.std(false).double_value(&[]) > 1e-3);
            let worst = (a - b).abs().max().double_value(&[]);
            assert!(worst < 1e-5, "{worst}");
        }
    }

    #[test]
    fn another_file_size_or_storage_is_refused_by_name() {
        let config = ModelConfig::tiny();
        let tensors = random_tensors(&config, 7).unwrap();
        let refusal = |bytes: &[u8], config: &ModelConfig| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("model.onnx");
            std::fs::write(&path, bytes).unwrap();
            format!("{:#}", read(&path, config, "").unwrap_err())
        };
        let file = exported(&config, &tensors, Storage::F32);
        let mut other_buckets = config.clone();
        other_buckets.encoder.num_buckets = 12;
        let cases = [
            (refusal(b"RIFF", &config), "no ONNX file"),
            (refusal(&file[..file.len() / 2], &config), "no ONNX file"),
            (refusal(&exported(&config, &tensors, Storage::Int8), &config), "as int8, not f32"),
            (refusal(&exported(&config, &tensors, Storage::F16), &config), "as f16, not f32"),
            (refusal(&file, &ModelConfig::starter()), "in the network"),
            (refusal(&file, &other_buckets), "another num_buckets than 12"),
        ];
        for (message, reason) in cases {
            assert!(message.contains("cannot start from") && message.contains(reason), "{message}");
        }
        // The encoder alone asks nothing of the head's sizes.
        let mut other_head = config.clone();
        other_head.head.shared_dim *= 2;
        let read = |prefix: &str| Import::new(&file, &other_head).and_then(|import| import.all(prefix));
        assert!(read("").is_err());
        assert!(read("beats.").unwrap().keys().all(|name| name.starts_with("beats.")));
        assert!(super::read(Path::new("no/such.onnx"), &config, "").is_err());
    }
}
