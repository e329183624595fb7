//! Every key of a training run, with its default. A run folder's `config.toml` holds them all, so that a default that changes
//! later changes no older run.

use core::str::FromStr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use aesa_export::ModelConfig;
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg64;

use crate::chunking::Chunking;

use crate::distill::DistillConfig;
use crate::precision::Precision;

/// A training run. The defaults are the paper's where it says, else the choices of `docs/SPEC.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Short name of the model, such as `starter`.
    pub id: String,
    /// Version of the weights.
    pub version: String,
    /// Where the labels came from: `human` or `proxy`.
    pub labels: LabelSource,
    /// Seed of weights, dropout, order, crops and triplets. The same seed on the same machine gives the same
    /// model.
    pub seed: u64,
    /// CPU threads; 0 takes all. Another number adds in another order, so that one seed gives not quite the same model.
    pub threads: usize,
    /// Where the network is trained: `cpu`, `cuda` (the first GPU) or `cuda:N`. Features and the cache of hidden
    /// states stay in main memory. A GPU adds in no fixed order, so that one seed gives not quite one model there.
    pub device: DeviceName,
    /// What the operands of matrix products are while the network learns: `float32`, or `bfloat16` as PyTorch's autocast has
    /// it, which halves their memory and is faster where the device has bf16 units; [`crate::precision`] says which
    /// layers. Validation, evaluation, cached hidden states and exported models are float32 always.
    pub precision: Precision,

    /// At most this many passes over the training set.
    pub epochs: usize,
    /// Epochs over which a cosine schedule falls, for a run that another one goes on from before it has fallen; 0 is `epochs`.
    pub schedule_epochs: usize,
    /// Epochs without a better validation MSE after which training ends; 0 never ends early.
    pub patience: usize,
    /// The epoch whose weights the run keeps.
    pub keep: Keep,
    /// Clips per optimiser step; 1 in the paper. Shorter clips of a batch are padded, which changes none of their scores.
    pub batch_size: usize,
    /// Steps of 160 ms in the random crop taken of each clip in each epoch; 0 takes whole clips.
    pub crop_steps: usize,
    /// The last epochs of `epochs` take whole clips in place of crops. Where `patience` is not 0, it counts
    /// before them only, and an early end goes on with them.
    pub final_full_epochs: usize,
    /// Steps the encoder sees at once; longer clips are cut. 62 is ten seconds.
    pub window_steps: usize,

    /// Adam's learning rate for the head.
    pub learning_rate: f64,
    /// Adam's learning rate for the encoder, where it is trained.
    pub encoder_learning_rate: f64,
    /// Keeps the encoder as it is, as in the paper. It then needs weights: `init` or `init_encoder`.
    pub freeze_encoder: bool,
    /// Keeps the head's layer weights and norms as they are: in a fresh head all of the encoder's layers count alike.
    pub freeze_layer_weights: bool,
    /// How the learning rates change over the run.
    pub learning_rate_schedule: Schedule,
    /// Optimiser steps over which the learning rates rise from 0.
    pub warmup_steps: usize,
    /// Decoupled weight decay (AdamW); 0 is plain Adam.
    pub weight_decay: f64,
    /// Largest norm of the gradient; 0 does not clip.
    pub clip_grad_norm: f64,

    /// Where this is not 0, what is validated and kept is a running mean of the weights, of which every optimiser step
    /// forgets what this lacks to 1: with 0.998 it looks back over about 500 steps. The paper has none.
    pub average_decay: f64,

    /// Weight of the MSE of every token score against the clip's target, or a teacher's score of that token; 0 is the
    /// paper's equation, 1 is HAAQI-Net's.
    pub frame_weight: f64,
    /// Longest span of fbank frames blanked in each training clip; 0 blanks none.
    pub time_mask: usize,
    /// Widest band of mel bins blanked in each training clip; 0 blanks none.
    pub mel_mask: usize,
    /// Each training clip is made louder or softer by up to this many dB, alike for all clips of one family; 0 keeps its
    /// level.
    pub gain_db: f64,
    /// Each training clip goes through a random filter, a curve of up to this many dB over the mel bins, alike for all clips of
    /// one family; 0 is none.
    pub filter_db: f64,
    /// Each training clip is moved up or down by up to this many mel bins, alike for all clips of one family.
    pub mel_shift: usize,
    /// Weight of the ranking loss, which counts pairs of one domain that are scored in the wrong order; 0 turns
    /// it off, as in the paper. Where it is on, the clips of one family share a batch and are cropped alike.
    pub rank_weight: f64,
    /// Memory for the hidden states of a frozen encoder, MiB, for training's clips and again for validation's; where they
    /// would need more they are computed anew each epoch, unless `train --cache` keeps them on disk. They are kept in f16, so
    /// that what fits learns not quite the weights that it would otherwise.
    pub cache_hidden_mib: usize,

    /// A run folder, a safetensors file, or an exported model.onnx (f32) of the same sizes to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Which of its weights to take.
    pub init_parts: InitParts,
    /// A published BEATs checkpoint (`.pt`) to start the encoder from; it also sets `[model.encoder]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_encoder: Option<String>,

    /// Training for streams that are scored chunk by chunk.
    pub chunks: ChunkConfig,
    /// What a student learns from its teacher; only for `distill`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillConfig>,
    /// The triplet loss.
    pub triplet: TripletConfig,
    /// Sizes of the network.
    pub model: ModelConfig,
}

/// Chunks of time beyond which a token hears nothing, in some of the optimiser steps; see [`Chunking`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChunkConfig {
    /// Sizes in steps of 160 ms, of which each optimiser step draws one; none trains with full context only.
    pub steps: Vec<usize>,
    /// At least as many steps before its chunk are attended to, rounded up to whole chunks; 0 is a token's chunk alone.
    pub left_steps: usize,
    /// Share of the optimiser steps that see the full context; 0 to 1.
    pub full_context_share: f64,
}

impl ChunkConfig {
    /// What an optimiser step may hear. Without sizes it draws nothing from `rng`.
    pub fn draw(&self, rng: &mut Pcg64) -> Option<Chunking> {
        if self.steps.is_empty() || rng.random_bool(self.full_context_share) {
            return None;
        }
        self.steps.choose(rng).map(|&steps| Chunking { steps, left_steps: self.left_steps })
    }
}

/// The triplet loss and its buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TripletConfig {
    /// Weight of the triplet loss; 0 turns it off. 0.2 in the paper.
    pub alpha: f64,
    /// Targets this close, in standard deviations, are alike.
    pub eps: f64,
    /// How much nearer (squared distance) the like must be than the unlike.
    pub margin: f64,
    /// Clips kept in the buffer; the oldest leave first.
    pub capacity: usize,
    /// Scales embeddings to length 1 before they are compared.
    pub normalise: bool,
    /// One triplet per clip, whose clips are alike where all axes are, instead of one per clip and axis.
    pub shared: bool,
}

/// Where a network is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// The processor.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl DeviceName {
    /// The device, where libtorch sees it.
    ///
    /// # Errors
    /// Where a GPU was asked for that is not there; training never moves to the CPU by itself.
    pub fn find(self) -> Result<tch::Device> {
        let Self::Cuda(number) = self else { return Ok(tch::Device::Cpu) };
        let count = if tch::Cuda::is_available() { tch::Cuda::device_count() } else { 0 };
        ensure!(
            count > 0,
            "cuda:{number} was asked for, but this libtorch sees no CUDA device: the one that trainer/setup-libtorch.sh installs is for \
             CPUs; with LD_LIBRARY_PATH=.../torch/lib before the command it is that of Python's torch 2.11.0"
        );
        ensure!(
            (number as i64) < count,
            "cuda:{number} was asked for, but this libtorch sees {count} CUDA devices, counted from 0"
        );
        Ok(tch::Device::Cuda(number))
    }
}

impl TryFrom<String> for DeviceName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            other => other.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        number.map(Self::Cuda).ok_or_else(|| format!("device is {text:?}, expected cpu, cuda or cuda:N"))
    }
}

impl From<DeviceName> for String {
    fn from(device: DeviceName) -> Self {
        match device {
            DeviceName::Cpu => "cpu".to_string(),
            DeviceName::Cuda(number) => format!("cuda:{number}"),
        }
    }
}

/// Where labels came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelSource {
    /// People rated the audio.
    Human,
    /// Computed stand-ins for ratings.
    Proxy,
}

/// How a learning rate changes after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls to a hundredth along half a cosine over all `epochs`.
    Cosine,
}

/// Which weights a run keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// Those of the epoch with the best validation MSE.
    Best,
    /// Those of the last epoch so far: where the validation MSE is not what is asked for.
    Last,
}

/// Weights to take from [`TrainConfig::init`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitParts {
    /// The encoder.
    Encoder,
    /// Encoder and head.
    All,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            id: "model".to_string(),
            version: "1".to_string(),
            labels: LabelSource::Proxy,
            seed: 1,
            threads: 0,
            device: DeviceName::Cpu,
            precision: Precision::Float32,
            epochs: 100,
            schedule_epochs: 0,
            patience: 10,
            keep: Keep::Best,
            batch_size: 1,
            crop_steps: 0,
            final_full_epochs: 0,
            window_steps: 62,
            learning_rate: 1e-4,
            encoder_learning_rate: 1e-5,
            freeze_encoder: true,
            freeze_layer_weights: false,
            learning_rate_schedule: Schedule::Constant,
            warmup_steps: 0,
            weight_decay: 0.0,
            clip_grad_norm: 0.0,
            average_decay: 0.0,
            frame_weight: 1.0,
            time_mask: 0,
            mel_mask: 0,
            gain_db: 0.0,
            filter_db: 0.0,
            mel_shift: 0,
            rank_weight: 0.0,
            cache_hidden_mib: 4096,
            init: None,
            init_parts: InitParts::All,
            init_encoder: None,
            chunks: ChunkConfig::default(),
            distill: None,
            triplet: TripletConfig::default(),
            model: ModelConfig::default(),
        }
    }
}

impl Default for ChunkConfig {
    fn default() -> Self {
        Self { steps: Vec::new(), left_steps: 12, full_context_share: 0.5 }
    }
}

impl Default for TripletConfig {
    fn default() -> Self {
        Self { alpha: 0.2, eps: 0.5, margin: 0.5, capacity: 256, normalise: true, shared: false }
    }
}

impl TrainConfig {
    /// Reads a TOML file and lays `key=value` overrides over it; a key within a table is written
    /// `triplet.alpha=0`.
    ///
    /// # Errors
    /// Where the file or an override cannot be read, names an unknown key, or has an impossible value.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let parse = || -> Result<Self> {
            let mut table: toml::Table = text.parse()?;
            for entry in overrides {
                override_key(&mut table, entry)?;
            }
            let config: Self = table.try_into()?;
            config.check()?;
            Ok(config)
        };
        parse().with_context(|| format!("in the training config {}", path.display()))
    }

    /// The whole config as TOML.
    ///
    /// # Errors
    /// Never for a config that was read; TOML has no number above `i64::MAX`, so a larger seed fails.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// The config as a run's hash knows it: [`Self::to_toml`] without the keys that came later than the hash, where they are
    /// as by default. So runs keep the hash that they had before there was a choice.
    ///
    /// # Errors
    /// Those of [`Self::to_toml`].
    pub fn to_hashed_toml(&self) -> Result<String> {
        let text = self.to_toml()?;
        // A table and an empty line after it: tables follow the keys of none.
        let tables = text.split("\n\n").filter_map(|table| {
            let name = table.lines().next().filter(|line| line.starts_with('[')).unwrap_or_default();
            let is_late = |line: &str| LATER_KEYS.iter().any(|(of, key)| *of == name && *key == line);
            let kept: Vec<&str> = table.split('\n').filter(|line| !is_late(line)).collect();
            (name != "[chunks]" || self.chunks != ChunkConfig::default()).then(|| kept.join("\n"))
        });
        Ok(tables.collect::<Vec<_>>().join("\n\n"))
    }

    /// Whether every value is one that a run can be made with.
    ///
    /// # Errors
    /// Where one is not; the message names its key.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_sizes()?;
        for (name, count) in
            [("epochs", self.epochs), ("batch_size", self.batch_size), ("window_steps", self.window_steps)]
        {
            ensure!(count > 0, "{name} is 0, expected 1 or more");
        }
        ensure!(self.threads <= MAX_THREADS, "threads is {}, expected 0 to {MAX_THREADS}", self.threads);
        ensure!(self.crop_steps <= self.window_steps, "crop_steps must not exceed window_steps");
        ensure!(self.final_full_epochs <= self.epochs, "final_full_epochs must not exceed epochs");
        ensure!(
            self.keep == Keep::Best || self.patience == 0,
            "keep = \"last\" takes the weights of the last epoch, whatever the validation MSE: patience must be 0"
        );
        for (name, value) in [
            ("learning_rate", self.learning_rate),
            ("encoder_learning_rate", self.encoder_learning_rate),
            ("weight_decay", self.weight_decay),
            ("clip_grad_norm", self.clip_grad_norm),
            ("frame_weight", self.frame_weight),
            ("rank_weight", self.rank_weight),
            ("gain_db", self.gain_db),
            ("filter_db", self.filter_db),
            ("triplet.alpha", self.triplet.alpha),
            ("triplet.eps", self.triplet.eps),
            ("triplet.margin", self.triplet.margin),
        ] {
            ensure!(value.is_finite() && value >= 0.0, "{name} is {value}, expected a number of 0 or more");
        }
        ensure!(self.learning_rate > 0.0, "learning_rate is 0, expected more");
        ensure!((0.0..1.0).contains(&self.average_decay), "average_decay must be at least 0 and below 1");
        ensure!(self.mel_shift < 64, "mel_shift must be below 64");
        ensure!(!self.chunks.steps.contains(&0), "chunks.steps must be positive");
        ensure!(
            (0.0..=1.0).contains(&self.chunks.full_context_share),
            "chunks.full_context_share must be 0 to 1"
        );
        ensure!(
            self.triplet.alpha == 0.0 || self.triplet.capacity > 1,
            "triplet.capacity must be at least 2"
        );
        Ok(())
    }

    /// Whether the sizes make a network: none of libtorch's own checks stands before its arithmetic.
    fn check_sizes(&self) -> Result<()> {
        let (encoder, head) = (&self.model.encoder, &self.model.head);
        for (name, size) in [
            ("encoder.embed_dim", encoder.embed_dim),
            ("encoder.encoder_embed_dim", encoder.encoder_embed_dim),
            ("encoder.encoder_layers", encoder.encoder_layers),
            ("encoder.encoder_ffn_embed_dim", encoder.encoder_ffn_embed_dim),
            ("encoder.encoder_attention_heads", encoder.encoder_attention_heads),
            ("encoder.conv_pos", encoder.conv_pos),
            ("encoder.conv_pos_groups", encoder.conv_pos_groups),
            ("head.adapter_dim", head.adapter_dim),
            ("head.lstm_dim", head.lstm_dim),
            ("head.lstm_layers", head.lstm_layers),
            ("head.shared_dim", head.shared_dim),
            ("head.attention_heads", head.attention_heads),
        ] {
            ensure!(size > 0, "model.{name} is {size}, expected 1 or more");
        }
        ensure!(encoder.input_patch_size == 16, "model.encoder.input_patch_size must be 16");
        ensure!(
            encoder.num_buckets >= 4 && encoder.max_distance > encoder.num_buckets / 4,
            "model.encoder.max_distance must exceed a quarter of num_buckets, and num_buckets be 4 or more"
        );
        for (name, p) in [("encoder", encoder.dropout), ("head", head.dropout)] {
            ensure!((0.0..1.0).contains(&p), "model.{name}.dropout must be at least 0 and below 1");
        }
        // What cannot be exported need not be trained.
        aesa_export::parameters(&self.model).context("in [model]")?;
        Ok(())
    }
}

/// More than any machine has.
const MAX_THREADS: usize = 1024;

/// Keys that came later than the hash of a run, each by its table and with its default; `[chunks]` came later as a whole.
/// A new key has to be added here.
const LATER_KEYS: [(&str, &str); 10] = [
    ("", "device = \"cpu\""),
    ("", "precision = \"float32\""),
    ("", "schedule_epochs = 0"),
    ("", "keep = \"best\""),
    ("", "freeze_layer_weights = false"),
    ("", "average_decay = 0.0"),
    ("", "filter_db = 0.0"),
    ("[triplet]", "shared = false"),
    ("[distill]", "from_teacher = false"),
    ("[distill]", "mix_share = 0.0"),
];

/// Sets one `a.b.c=value`; the value is TOML, or else taken as a string.
fn override_key(table: &mut toml::Table, entry: &str) -> Result<()> {
    let Some((key, value)) = entry.split_once('=') else { bail!("--set {entry}: expected key=value") };
    let (key, value) = (key.trim(), value.trim());
    let value = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
    let value = value
        .unwrap_or_else(|| toml::Value::String(entry[key.len()..].trim_start_matches([' ', '=']).into()));
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut table = table;
    for part in parts {
        let inner = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = inner.as_table_mut().with_context(|| format!("--set {entry}: {part} is not a table"))?;
    }
    table.insert(last.to_string(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, overrides: &[&str]) -> Result<TrainConfig> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        TrainConfig::read(file.path(), &overrides)
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        let config = read("", &[]).unwrap();
        assert_eq!(config, TrainConfig::default());
        assert_eq!((config.batch_size, config.learning_rate, config.triplet.alpha), (1, 1e-4, 0.2));
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let config = TrainConfig { init: Some("runs/a".into()), crop_steps: 16, ..TrainConfig::default() };
        assert_eq!(read(&config.to_toml().unwrap(), &[]).unwrap(), config);
    }

    #[test]
    fn every_key_is_written_and_old_runs_keep_their_hash() {
        let text = TrainConfig::default().to_toml().unwrap();
        for line in [
            "device = \"cpu\"",
            "precision = \"float32\"",
            "average_decay = 0.0",
            "[chunks]",
            "shared = false",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        // Written before there were these keys.
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/starter/config.toml");
        let old = std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&old, &[]).unwrap().to_hashed_toml().unwrap(), old);
        let without_chunks = |text: &str| {
            let (start, end) = (text.find("[chunks]").unwrap(), text.find("[triplet]").unwrap());
            format!("{}{}", &text[..start], &text[end..])
        };
        let config = read(&old, &["chunks.steps=[]"]).unwrap();
        assert_eq!(config.to_hashed_toml().unwrap(), without_chunks(&old));
        // Another value than the default counts.
        for setting in [
            "device=cuda",
            "precision=bfloat16",
            "schedule_epochs=1",
            "keep=last",
            "freeze_layer_weights=true",
            "filter_db=1",
        ] {
            let changed = read(&old, &[setting]).unwrap().to_hashed_toml().unwrap();
            let key = setting.split_once('=').unwrap().0;
            assert!(changed.contains(&format!("\n{key} = ")), "{changed}");
        }
        assert!(
            read(&old, &["triplet.shared=true"]).unwrap().to_hashed_toml().unwrap().contains("shared = true")
        );
    }

    #[test]
    fn overrides_reach_tables_and_strings() {
        let overrides =
            ["triplet.alpha=0", "model.encoder.encoder_layers=3", "init=runs/x", "freeze_encoder=false"];
        let config = read("[triplet]\nmargin = 2.0\n", &overrides[1..]).unwrap();
        assert_eq!((config.triplet.margin, config.model.encoder.encoder_layers), (2.0, 3));
        assert_eq!((config.init.as_deref(), config.freeze_encoder), (Some("runs/x"), false));
        assert_eq!(read("", &overrides[..1]).unwrap().triplet.alpha, 0.0);
    }

    #[test]
    fn devices_are_named_and_never_replaced() {
        for (text, device, name) in [
            ("cpu", DeviceName::Cpu, "cpu"),
            ("cuda", DeviceName::Cuda(0), "cuda:0"),
            ("cuda:3", DeviceName::Cuda(3), "cuda:3"),
        ] {
            let config = read(&format!("device = '{text}'"), &[]).unwrap();
            assert_eq!(config.device, device);
            assert_eq!(String::from(config.device), name);
            assert_eq!(read(&config.to_toml().unwrap(), &[]).unwrap(), config);
        }
        for text in ["gpu", "cuda:", "cuda:x", "CPU", ""] {
            let error = format!("{:#}", read(&format!("device = '{text}'"), &[]).unwrap_err());
            assert!(error.contains("expected cpu, cuda or cuda:N"), "{error}");
        }
        assert_eq!(DeviceName::Cpu.find().unwrap(), tch::Device::Cpu);
        // No machine has this many.
        let error = DeviceName::Cuda(4096).find().unwrap_err().to_string();
        assert!(error.contains("was asked for, but this libtorch sees"), "{error}");
    }

    #[test]
    fn every_recipe_is_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let config = TrainConfig::read(&path, &[]).unwrap();
            names.push(path.file_stem().unwrap().to_str().unwrap().to_string());
            assert_eq!(Some(&config.id), names.last());
        }
        names.sort();
        assert_eq!(
            names,
            [
                "paper",
                "starter",
                "starter-crops",
                "starter-finer",
                "starter-head",
                "starter-student",
                "triplet-study"
            ]
        );
    }

    #[test]
    fn the_papers_recipe_says_what_the_paper_says_and_names_every_key() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/paper.toml");
        let config = TrainConfig::read(Path::new(path), &[]).unwrap();
        let stated = TrainConfig {
            id: "paper".to_string(),
            labels: LabelSource::Human,
            frame_weight: 0.0,
            ..TrainConfig::default()
        };
        assert_eq!(config, stated);
        // A new key has to be told of: what it does, and whether the paper states it.
        let text = std::fs::read_to_string(path).unwrap();
        let is_bare = |line: &&str| line.contains(" = ") && !line.contains('#');
        assert_eq!(text.lines().find(is_bare), None);
        let written: toml::Table = text.parse().unwrap();
        let mut all: toml::Table = config.to_toml().unwrap().parse().unwrap();
        // Without `init` there are no parts of it.
        all.remove("init_parts");
        // The encoder's sizes are its checkpoint's; the checkpoint knows no dropout.
        let encoder = |table: &toml::Table| table["model"]["encoder"].as_table().unwrap().clone();
        assert!(encoder(&written).keys().eq(["dropout"]) && encoder(&all).contains_key("dropout"));
        let keys = |table: &toml::Table| -> Vec<String> {
            let inner = |(key, value): (&String, &toml::Value)| match value.as_table() {
                Some(table) => table.keys().map(|name| format!("{key}.{name}")).collect(),
                None => vec![key.clone()],
            };
            table.iter().flat_map(inner).collect()
        };
        assert_eq!(keys(&written), keys(&all));
        let head = |table: &toml::Table| keys(table["model"]["head"].as_table().unwrap());
        assert_eq!(head(&written), head(&all));
    }

    #[test]
    fn chunks_are_drawn_only_where_they_are_asked_for() {
        use rand::SeedableRng;

        let default = TrainConfig::default();
        let mut rng = Pcg64::seed_from_u64(1);
        assert_eq!(default.chunks.draw(&mut rng), None);
        assert_eq!(rng, Pcg64::seed_from_u64(1));

        let config =
            read("[chunks]\nsteps = [6, 24]\nleft_steps = 0\nfull_context_share = 0.2", &[]).unwrap();
        assert_eq!(read(&config.to_toml().unwrap(), &[]).unwrap(), config);
        let draws: Vec<_> = (0..1000).map(|_| config.chunks.draw(&mut rng)).collect();
        let share = |steps: Option<usize>| {
            let wanted = steps.map(|steps| Chunking { steps, left_steps: 0 });
            draws.iter().filter(|drawn| **drawn == wanted).count() as f64 / 1000.0
        };
        // Three standard deviations of a share of 0.4 are 0.05.
        for (steps, expected) in [(None, 0.2), (Some(6), 0.4), (Some(24), 0.4)] {
            assert!((share(steps) - expected).abs() < 0.05, "{steps:?}: {}", share(steps));
        }
        let always = read("", &["chunks.steps=[3]", "chunks.full_context_share=0"]).unwrap().chunks;
        assert_eq!(always.draw(&mut rng), Some(Chunking { steps: 3, left_steps: 12 }));
    }

    #[test]
    fn wrong_keys_and_values_are_refused() {
        for text in [
            "bathc_size = 2",
            "batch_size = 0",
            "precision = 'float16'",
            "crop_steps = 99",
            "keep = 'last'",
            "[model.head]\nattention_heads = 7",
            "[chunks]\nsteps = [6, 0]",
            "[chunks]\nsteps = 6",
            "[chunks]\nsteps = [-6]",
            "[chunks]\nleft = 1",
            "[chunks]\nfull_context_share = 1.5",
            "[chunks]\nfull_context_share = nan",
        ] {
            assert!(read(text, &[]).is_err(), "{text}");
        }
        assert!(read("", &["no_equals_sign"]).is_err());
    }

    #[test]
    fn impossible_values_are_named() {
        for setting in [
            "model.encoder.embed_dim=0",
            "model.encoder.encoder_embed_dim=-768",
            "model.encoder.encoder_layers=0",
            "model.encoder.encoder_ffn_embed_dim=0",
            "model.encoder.encoder_attention_heads=0",
            "model.encoder.conv_pos=0",
            "model.encoder.conv_pos_groups=0",
            "model.head.adapter_dim=0",
            "model.head.lstm_dim=0",
            "model.head.lstm_layers=0",
            "model.head.shared_dim=0",
            "model.head.attention_heads=0",
            "epochs=0",
            "batch_size=0",
            "window_steps=0",
            "threads=100000",
            "learning_rate=0",
            "learning_rate=inf",
            "encoder_learning_rate=-1e-5",
            "weight_decay=nan",
            "clip_grad_norm=-1",
            "frame_weight=-1",
            "rank_weight=inf",
            "gain_db=-3",
            "filter_db=nan",
            "triplet.alpha=-0.2",
            "triplet.eps=nan",
            "triplet.margin=-1",
        ] {
            let error = format!("{:#}", read("final_full_epochs = 0", &[setting]).unwrap_err());
            let (key, value) = setting.split_once('=').unwrap();
            let value = value.replace("nan", "NaN").replace("-1e-5", "-0.00001");
            assert!(error.contains(&format!("{key} is {value}, expected")), "{setting}: {error}");
        }
        // Sizes that are none together.
        for (setting, expected) in [
            ("model.encoder.encoder_attention_heads=7", "encoder_attention_heads divides encoder_embed_dim"),
            ("model.encoder.conv_pos_groups=7", "conv_pos_groups divides encoder_embed_dim"),
            ("model.head.attention_heads=7", "attention_heads divides shared_dim"),
            ("model.encoder.layer_norm_first=true", "deep_norm excludes layer_norm_first"),
            ("model.head.lstm_dim=1000000", "every size is 1 to 65536"),
        ] {
            let error = format!("{:#}", read("", &[setting]).unwrap_err());
            assert!(error.contains(expected), "{setting}: {error}");
        }
    }
}
