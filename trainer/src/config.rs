//! Every key of a training run, with its default. A run folder's `config.toml` holds them all, but a `device` that is the
//! CPU and a `precision` that is float32.

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
    /// CPU threads; 0 takes all.
    pub threads: usize,
    /// Where the network is trained: `cpu`, `cuda` (the first GPU) or `cuda:N`. Features and the cache of hidden
    /// states stay in main memory. A GPU adds in no fixed order, so that one seed gives not quite one model there.
    ///
    /// The CPU is not written: runs on it have the hash that they had before there was a choice.
    #[serde(skip_serializing_if = "DeviceName::is_cpu")]
    pub device: DeviceName,
    /// What the operands of matrix products are while the network learns: `float32`, or `bfloat16` as PyTorch's autocast has
    /// it, which halves their memory and is faster where the device has bf16 units; [`crate::precision`] says which
    /// layers. Validation, evaluation, cached hidden states and exported models are float32 always.
    #[serde(skip_serializing_if = "Precision::is_float32")]
    pub precision: Precision,

    /// At most this many passes over the training set.
    pub epochs: usize,
    /// Epochs over which a cosine schedule falls, for a run that another one goes on from before it has fallen; 0 is `epochs`.
    #[serde(skip_serializing_if = "is_zero")]
    pub schedule_epochs: usize,
    /// Epochs without a better validation MSE after which training ends; 0 never ends early.
    pub patience: usize,
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
    /// Keeps the encoder as it is, as in the paper.
    pub freeze_encoder: bool,
    /// Keeps the head's layer weights and norms as they are: in a fresh head all of the encoder's layers count alike. Not
    /// written where they learn: such runs have the hash that they had before there was a choice.
    #[serde(skip_serializing_if = "is_zero")]
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
    #[serde(skip_serializing_if = "is_zero")]
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
    #[serde(skip_serializing_if = "is_zero")]
    pub filter_db: f64,
    /// Each training clip is moved up or down by up to this many mel bins, alike for all clips of one family.
    pub mel_shift: usize,
    /// Weight of the ranking loss, which counts pairs of one domain that are scored in the wrong order; 0 turns
    /// it off, as in the paper. Where it is on, the clips of one family share a batch and are cropped alike.
    pub rank_weight: f64,
    /// Memory for the hidden states of a frozen encoder, MiB, for training's clips and again for validation's; where they
    /// would need more they are computed anew each epoch, unless `train --cache` keeps them on disk.
    pub cache_hidden_mib: usize,

    /// A run folder, a safetensors file, or an exported model.onnx (f32) of the same sizes to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Which of its weights to take.
    pub init_parts: InitParts,
    /// A published BEATs checkpoint (`.pt`) to start the encoder from; it also sets `[model.encoder]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_encoder: Option<String>,

    /// Training for streams that are scored chunk by chunk. Not written where it is as by default: such runs have the
    /// hash that they had before there was a choice.
    #[serde(skip_serializing_if = "ChunkConfig::is_default")]
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
    /// Whether the config need not be written.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

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
    #[serde(skip_serializing_if = "is_zero")]
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
    /// Whether it is the processor.
    fn is_cpu(&self) -> bool {
        *self == Self::Cpu
    }

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

    fn check(&self) -> Result<()> {
        let (encoder, head) = (&self.model.encoder, &self.model.head);
        let divides = |part: i64, whole: i64| part > 0 && whole > 0 && whole % part == 0;
        ensure!(encoder.input_patch_size == 16, "model.encoder.input_patch_size must be 16");
        ensure!(encoder.encoder_layers > 0, "model.encoder.encoder_layers must be positive");
        ensure!(
            divides(encoder.encoder_attention_heads, encoder.encoder_embed_dim)
                && divides(encoder.conv_pos_groups, encoder.encoder_embed_dim),
            "model.encoder.encoder_embed_dim must be a multiple of its attention heads and conv_pos_groups"
        );
        ensure!(
            divides(head.attention_heads, head.shared_dim),
            "model.head.shared_dim must be a multiple of attention_heads"
        );
        ensure!(
            encoder.num_buckets >= 4 && encoder.max_distance > encoder.num_buckets / 4,
            "model.encoder.max_distance must exceed a quarter of num_buckets, and num_buckets be 4 or more"
        );
        for (name, p) in [("encoder", encoder.dropout), ("head", head.dropout)] {
            ensure!((0.0..1.0).contains(&p), "model.{name}.dropout must be at least 0 and below 1");
        }
        ensure!(self.batch_size > 0, "batch_size must be positive");
        ensure!(self.window_steps > 0, "window_steps must be positive");
        ensure!(self.crop_steps <= self.window_steps, "crop_steps must not exceed window_steps");
        ensure!(self.final_full_epochs <= self.epochs, "final_full_epochs must not exceed epochs");
        ensure!(
            self.learning_rate > 0.0 && self.encoder_learning_rate >= 0.0,
            "learning rates must be positive"
        );
        ensure!((0.0..1.0).contains(&self.average_decay), "average_decay must be at least 0 and below 1");
        ensure!(
            self.gain_db >= 0.0 && self.filter_db >= 0.0 && self.rank_weight >= 0.0 && self.mel_shift < 64,
            "gain_db, filter_db and rank_weight must not be negative, and mel_shift must be below 64"
        );
        ensure!(!self.chunks.steps.contains(&0), "chunks.steps must be positive");
        ensure!(
            (0.0..=1.0).contains(&self.chunks.full_context_share),
            "chunks.full_context_share must be 0 to 1"
        );
        ensure!(
            self.triplet.eps >= 0.0 && self.triplet.margin >= 0.0,
            "triplet.eps and margin must not be negative"
        );
        ensure!(
            self.triplet.alpha == 0.0 || self.triplet.capacity > 1,
            "triplet.capacity must be at least 2"
        );
        Ok(())
    }
}

/// Whether a key need not be written.
fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

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
    fn an_empty_file_is_the_paper() {
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
        assert!(!TrainConfig::default().to_toml().unwrap().contains("device"));
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
            ["paper", "starter", "starter-crops", "starter-head", "starter-student", "triplet-study"]
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
        // A new key has to be told of: stated by the paper, or open.
        let written: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        let chunks = ChunkConfig { steps: vec![6], ..ChunkConfig::default() };
        let complete = TrainConfig {
            device: DeviceName::Cuda(0),
            precision: Precision::Bfloat16,
            freeze_layer_weights: true,
            schedule_epochs: 1,
            average_decay: 0.5,
            filter_db: 1.0,
            triplet: TripletConfig { shared: true, ..TripletConfig::default() },
            chunks,
            ..config
        };
        let mut all: toml::Table = complete.to_toml().unwrap().parse().unwrap();
        // Without `init` there are no parts of it.
        all.remove("init_parts");
        // The encoder's sizes are its checkpoint's.
        all["model"].as_table_mut().unwrap().remove("encoder");
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
        assert!(!default.to_toml().unwrap().contains("chunks"));
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
}
