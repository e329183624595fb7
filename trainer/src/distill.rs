//! Distillation: a small student learns a teacher's hidden states and scores, on audio that nobody rated.
//!
//! ```text
//! loss = mse(clip) + frame_weight * mse(tokens) + hidden_weight * mean over pairs of blocks (difference) + ranking
//! difference(l1-cosine) = mean |P h_student - h_teacher| + 1 - cos(P h_student, h_teacher), per token
//! ```
//! Clip and token scores are compared in z with the teacher's on the same crop. `P` is a learned linear layer per pair of
//! blocks, which is dropped when the run's weights are kept. Sources: the shape of the loss on hidden states is
//! DistilHuBERT's (Chang et al. 2022, equation 1); to distil BEATs for scores is HAAQI-Net's idea.
//! Letters in shapes as in [`crate::model`].

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::config::TrainConfig;
use crate::dataset::Clip;
use crate::dropout::Dropout;
use crate::import;
use crate::inputs::Batch;
use crate::layers::Linear;
use crate::loss::{BatchLoss, Loss, Truth};
use crate::model::AesaNet;
use crate::padding;
use crate::run::{RunFolder, weights_file};
use crate::upload::upload;
use crate::weights::{self, NamedTensors};
use crate::{
    predict::{self, Policy},
    progress,
};

/// What a student learns from its teacher, beside the scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistillConfig {
    /// The teacher's run folder, or its exported model.onnx (f32) with the run's config.toml beside it; `distill --teacher`
    /// sets it.
    pub teacher: String,
    /// Weight of the loss on hidden states; 0 learns from the scores alone.
    pub hidden_weight: f64,
    /// How hidden states are compared.
    pub hidden_loss: HiddenLoss,
    /// Pairs of blocks that are compared, `[student, teacher]`, counted from 1. None spreads the student's blocks evenly
    /// over the teacher's, the last one beside the last.
    pub layers: Vec<[usize; 2]>,
    /// Whether the student begins with the teacher's parameters wherever one of the same name has the same shape, as in
    /// heads of the same sizes and the first blocks of encoders of the same width; the others begin at random. Not beside `init`.
    pub from_teacher: bool,
    /// Share of the training crops that another of the batch is mixed into, at its level or up to 15 dB above or below; the teacher
    /// scores what comes out. 0 mixes none.
    pub mix_share: f64,
    /// Share of the files of `distill --audio` that validate, at least one; which, depends on their names alone.
    pub validation_share: f64,
}

/// How hidden states are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HiddenLoss {
    /// Mean absolute difference, and one minus the cosine.
    L1Cosine,
    /// Mean squared difference.
    Mse,
}

impl Default for DistillConfig {
    fn default() -> Self {
        Self {
            teacher: String::new(),
            hidden_weight: 1.0,
            hidden_loss: HiddenLoss::L1Cosine,
            layers: Vec::new(),
            from_teacher: false,
            mix_share: 0.0,
            validation_share: 0.05,
        }
    }
}

/// A trained network that another one learns from.
#[derive(Debug)]
pub struct Teacher {
    net: AesaNet,
    window_steps: usize,
    num_layers: usize,
    width: i64,
    weights: PathBuf,
}

impl Teacher {
    /// The teacher that a config names; `None` where it has no `[distill]`.
    ///
    /// # Errors
    /// Where the teacher cannot be read or does not fit the student, or the student could not learn.
    pub fn load(config: &TrainConfig, device: Device) -> Result<Option<Self>> {
        let Some(distill) = &config.distill else { return Ok(None) };
        let path = Path::new(&distill.teacher);
        let cannot = || format!("cannot use the teacher {}", path.display());
        let theirs = teacher_config(path)?;
        let weights = weights_file(path);
        let tensors = if path.is_dir() {
            RunFolder::open(path).weights()
        } else {
            import::read_all(path, &theirs.model, "")
        };
        let mut net = AesaNet::on(device, &theirs.model);
        tensors.and_then(|tensors| weights::load(&mut net.store, &tensors, "")).with_context(cannot)?;
        net.store.freeze();
        let num_layers = theirs.model.encoder.encoder_layers as usize;
        check(config, distill, &theirs, num_layers)?;
        let width = theirs.model.encoder.encoder_embed_dim;
        Ok(Some(Self { net, window_steps: theirs.window_steps, num_layers, width, weights }))
    }

    /// Makes the teacher's scores the clips' targets.
    pub fn label(&self, clips: &mut [Clip]) {
        let bar = progress::bar(clips.len() as u64, "teacher's scores");
        let features: Vec<&Tensor> = clips.iter().map(|clip| &clip.features).collect();
        let scores = predict::clip_scores(
            &self.net,
            &features,
            Policy::Windowed { window_steps: self.window_steps },
            |n| bar.inc(n as u64),
        );
        bar.finish_and_clear();
        clips.iter_mut().zip(scores).for_each(|(clip, scores)| clip.targets = scores);
    }

    /// Lets a student begin with its parameters where names and shapes agree, if the config asks for it; how many.
    pub fn give(&self, config: &TrainConfig, student: &mut AesaNet) -> Option<usize> {
        let asked = config.distill.as_ref().is_some_and(|distill| distill.from_teacher);
        asked.then(|| weights::load_alike(&mut student.store, &self.net.store))
    }

    /// The file of its weights.
    pub fn weights_path(&self) -> &Path {
        &self.weights
    }
}

/// How a teacher was trained: what its run folder says, or the `config.toml` beside an exported model.
///
/// # Errors
/// Where it is neither, or there is no such config.
pub fn teacher_config(path: &Path) -> Result<TrainConfig> {
    let cannot = || format!("cannot use the teacher {}", path.display());
    if path.is_dir() {
        return RunFolder::open(path).config().with_context(cannot);
    }
    ensure!(
        path.is_file() && path.extension().is_some_and(|extension| extension == "onnx"),
        "the teacher {path:?} is no run folder, and no model.onnx that was exported from one"
    );
    let config = path.with_file_name("config.toml");
    ensure!(
        config.is_file(),
        "cannot use the teacher {}: its sizes are in its run's config.toml, which has to lie beside it",
        path.display()
    );
    TrainConfig::read(&config, &[]).with_context(cannot)
}

/// Whether a teacher fits the student of `config`, and the student can learn.
fn check(
    config: &TrainConfig,
    distill: &DistillConfig,
    teacher: &TrainConfig,
    num_layers: usize,
) -> Result<()> {
    let (ours, theirs) = (config.model.encoder.input_patch_size, teacher.model.encoder.input_patch_size);
    ensure!(
        ours == theirs,
        "teacher and student make other tokens of a step: input_patch_size is {theirs} and {ours}"
    );
    ensure!(
        config.window_steps <= teacher.window_steps,
        "the student's window_steps, {}, exceeds the teacher's, {}",
        config.window_steps,
        teacher.window_steps
    );
    ensure!(!config.freeze_encoder, "a student's encoder has to learn: set freeze_encoder = false");
    ensure!(distill.hidden_weight >= 0.0, "distill.hidden_weight must not be negative");
    ensure!(
        !distill.from_teacher || config.init.is_none(),
        "init and distill.from_teacher both say what the student begins with: leave one out"
    );
    ensure!(
        (0.0..=1.0).contains(&distill.mix_share),
        "distill.mix_share is {}, expected 0 to 1",
        distill.mix_share
    );
    ensure!(
        distill.validation_share > 0.0 && distill.validation_share < 1.0,
        "distill.validation_share must lie between 0 and 1"
    );
    let own_layers = config.model.encoder.encoder_layers as usize;
    for &[student, of_teacher] in &distill.layers {
        ensure!(
            (1..=own_layers).contains(&student) && (1..=num_layers).contains(&of_teacher),
            "distill.layers has the pair [{student}, {of_teacher}], but there are {own_layers} blocks in the student \
             and {num_layers} in the teacher"
        );
    }
    Ok(())
}

/// A teacher and the layers that its student's hidden states pass before they are compared.
#[derive(Debug)]
pub struct Distillation {
    teacher: Teacher,
    config: DistillConfig,
    /// Blocks of student and teacher, counted from 1, and what makes the one's width the other's.
    pairs: Vec<([usize; 2], Linear)>,
}

/// What the names of the projections' parameters begin with.
const PREFIX: &str = "distill.";

/// A network's parameters without the projections, which only learning needs.
pub fn without_projections(mut parameters: NamedTensors) -> NamedTensors {
    parameters.retain(|name, _| !name.starts_with(PREFIX));
    parameters
}

impl Distillation {
    /// Adds fresh projections to the student's parameters.
    pub fn new(teacher: Teacher, config: &TrainConfig, student: &AesaNet) -> Self {
        let distill = config.distill.clone().unwrap_or_default();
        let own_layers = config.model.encoder.encoder_layers as usize;
        let pairs = match &distill.layers[..] {
            [] => spread(own_layers, teacher.num_layers),
            pairs => pairs.to_vec(),
        };
        let root = student.store.root() / PREFIX.trim_end_matches('.');
        let (dim, their_dim) = (config.model.encoder.encoder_embed_dim, teacher.width);
        let project = |(n, pair): (usize, [usize; 2])| {
            (pair, Linear::with_default_init(&(&root / "projections" / n), dim, their_dim))
        };
        let pairs = if distill.hidden_weight > 0.0 { pairs } else { Vec::new() };
        Self { teacher, config: distill, pairs: pairs.into_iter().enumerate().map(project).collect() }
    }

    /// The loss of a student on a batch of crops, in training mode. The teacher hears all of a crop, whatever chunks the
    /// student has to do with.
    pub fn loss(
        &self,
        student: &AesaNet,
        loss: &mut Loss,
        clips: &[Clip],
        batch: &Batch,
        rng: &mut Pcg64,
    ) -> BatchLoss {
        let (chunking, padding) = (batch.chunking, || batch.padding(student.device()));
        let features = upload(&batch.data, student.device()); // (B, F, 128)
        let mask = padding();
        let (taught, truth) = tch::no_grad(|| {
            let encoded = self.teacher.net.beats.forward(&features, mask.as_ref(), None, Dropout::Off);
            let truth = self.teacher.net.head.forward(&encoded.hidden[1..], padding(), None, Dropout::Off);
            (encoded.hidden, truth)
        });
        let encoded = student.beats.forward(&features, mask.as_ref(), chunking, Dropout::PerClip);
        let prediction = student.head.forward(&encoded.hidden[1..], padding(), chunking, Dropout::PerClip);

        let targets = predict::read_scores(&(truth.clip_scores() * 10.0));
        let (domains, families) =
            (batch.of_clips(clips, |clip| clip.domain), batch.of_clips(clips, |clip| clip.family));
        let tokens = Some(&truth.token_scores);
        let truth = Truth { targets: &targets, domains: &domains, families: &families, tokens };
        let mut sum = loss.of(&prediction, truth, rng);
        if !self.pairs.is_empty() {
            let hidden = self.hidden_loss(&encoded.hidden, &taught, mask.as_ref());
            sum.hidden = hidden.detach();
            sum.total += hidden * self.config.hidden_weight;
        }
        sum
    }

    /// Mean difference of the paired hidden states; the lists begin with the first block's input.
    fn hidden_loss(
        &self,
        student: &[Tensor],
        teacher: &[Tensor],
        padding: Option<&padding::Padding>,
    ) -> Tensor {
        let differences = self.pairs.iter().map(|([own, theirs], projection)| {
            let (x, y) = (projection.forward(&student[*own]), &teacher[*theirs]); // (B, T, D of the teacher)
            let difference = match self.config.hidden_loss {
                HiddenLoss::Mse => mean_over_width(&(x - y).square()), // (B, T, 1)
                HiddenLoss::L1Cosine => {
                    let cosine = Tensor::cosine_similarity(&x, y, 2, 1e-6).unsqueeze(2); // (B, T, 1)
                    mean_over_width(&(x - y).abs()) + 1.0 - cosine // (B, T, 1)
                }
            };
            padding::mean(&difference, padding).mean(Kind::Float)
        });
        let differences: Vec<Tensor> = differences.collect();
        Tensor::stack(&differences, 0).mean(Kind::Float)
    }
}

fn mean_over_width(x: &Tensor) -> Tensor {
    x.mean_dim([-1].as_slice(), true, Kind::Float)
}

/// Blocks of the student and the teacher's at the same share of the way.
fn spread(student: usize, teacher: usize) -> Vec<[usize; 2]> {
    (1..=student).map(|n| [n, (n * teacher).div_ceil(student)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_spread_and_end_together() {
        assert_eq!(spread(3, 3), [[1, 1], [2, 2], [3, 3]]);
        assert_eq!(spread(2, 12), [[1, 6], [2, 12]]);
        assert_eq!(spread(3, 4), [[1, 2], [2, 3], [3, 4]]);
        assert_eq!(spread(2, 1), [[1, 1], [2, 1]]);
    }

    #[test]
    fn an_exported_teacher_scores_as_its_network() {
        use aesa_export::{ModelConfig, random_tensors, tiny_info, write_onnx};

        let config =
            TrainConfig { model: ModelConfig::tiny(), freeze_encoder: false, ..TrainConfig::default() };
        let tensors = random_tensors(&config.model, 5).unwrap();
        let mut net = AesaNet::new(&config.model);
        let named = tensors.0.iter().map(|(name, tensor)| {
            let shape: Vec<i64> = tensor.shape.iter().map(|n| *n as i64).collect();
            (name.clone(), Tensor::from_slice(&tensor.data).view(&shape[..]))
        });
        weights::load(&mut net.store, &named.collect(), "").unwrap();

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, write_onnx(&config.model, &tensors, &tiny_info()).unwrap()).unwrap();
        let distill = DistillConfig { teacher: path.display().to_string(), ..DistillConfig::default() };
        let student = TrainConfig { distill: Some(distill), ..config.clone() };
        let error = Teacher::load(&student, Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("config.toml, which has to lie beside it"), "{error}");
        std::fs::write(folder.path().join("config.toml"), config.to_toml().unwrap()).unwrap();
        let teacher = Teacher::load(&student, Device::Cpu).unwrap().unwrap();
        assert_eq!(teacher.weights_path(), path);
        let features = Tensor::randn([1, 16 * 9, 128], (Kind::Float, Device::Cpu));
        let scores =
            |net: &AesaNet| tch::no_grad(|| net.forward(&features, None, None, Dropout::Off).token_scores);
        let (a, b) = (scores(&net), scores(&teacher.net));
        assert!(a.std(false).double_value(&[]) > 1e-3);
        assert!((a - b).abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn differences_are_means_over_own_tokens() {
        tch::manual_seed(1);
        let config = TrainConfig {
            model: aesa_export::ModelConfig::tiny(),
            distill: Some(DistillConfig { hidden_loss: HiddenLoss::Mse, ..DistillConfig::default() }),
            ..TrainConfig::default()
        };
        let (net, student) = (AesaNet::new(&config.model), AesaNet::new(&config.model));
        let num_layers = config.model.encoder.encoder_layers as usize;
        let width = config.model.encoder.encoder_embed_dim;
        let teacher = Teacher { net, window_steps: 62, num_layers, width, weights: PathBuf::new() };
        let mut distillation = Distillation::new(teacher, &config, &student);
        for (_, projection) in &mut distillation.pairs {
            tch::no_grad(|| {
                projection.weight.copy_(&Tensor::eye(width, (Kind::Float, Device::Cpu)));
                _ = projection.bias.zero_();
            });
        }
        let states = |value: f64| -> Vec<Tensor> {
            (0..=num_layers).map(|_| Tensor::full([1, 2, width], value, (Kind::Float, Device::Cpu))).collect()
        };
        let loss =
            |d: &Distillation, a: f64, b: f64| d.hidden_loss(&states(a), &states(b), None).double_value(&[]);
        assert!((loss(&distillation, 1.0, 3.0) - 4.0).abs() < 1e-5);
        distillation.config.hidden_loss = HiddenLoss::L1Cosine;
        assert!((loss(&distillation, 1.0, 3.0) - 2.0).abs() < 1e-5);
        assert!((loss(&distillation, 1.0, -3.0) - (4.0 + 2.0)).abs() < 1e-5);
        // The second token is padding, and differs.
        let mut other = states(1.0);
        other.iter_mut().for_each(|x| _ = x.narrow(1, 1, 1).fill_(f64::NAN));
        let padded: Vec<Tensor> = other.iter().map(|x| Tensor::cat(&[x, &states(1.0)[0]], 0)).collect();
        let truth: Vec<Tensor> = (0..=num_layers).map(|_| Tensor::ones_like(&padded[0])).collect();
        let padding = padding::Padding::of(&[1, 2], Device::Cpu);
        let found = distillation.hidden_loss(&padded, &truth, padding.as_ref()).double_value(&[]);
        assert!(found.abs() < 1e-5, "{found}");
    }
}
