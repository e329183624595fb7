//! Training, top to bottom: load, build, then per epoch learn, validate, keep the best.

use core::time::Duration;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Instant;

use aesa::score::{Axis, NUM_AXES};
use anyhow::{Context, Result, bail, ensure};
use indicatif::{HumanDuration, ProgressBar};
use rand::SeedableRng;
use rand_pcg::Pcg64;
use tch::{Device, Kind, Tensor};

use crate::adam::AdamW;
use crate::cache::States;
use crate::checkpoint::Checkpoint;
use crate::config::{InitParts, Keep, Schedule, TrainConfig};
use crate::dataset::Clip;
use crate::distill::{self, Distillation, Teacher};
use crate::import;
use crate::inputs::{Batch, Heard, Inputs};
use crate::listing::{Clips, Listing};
use crate::loss::{BatchLoss, Loss, TargetScale, Truth};
use crate::metrics::Metrics;
use crate::model::{AesaNet, ENCODER_PREFIX, LAYER_PREFIXES};
use crate::order::Order;
use crate::predict::{self, Policy};
use crate::prefetch;
use crate::progress;
use crate::resume;
use crate::run::{EpochRecord, NUM_LOSSES, Origin, RunFolder, RunInfo, run_hash};
use crate::weights::{self, NamedTensors};

/// How a run is made; its config and its clips decide what comes out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Goes on with an interrupted run.
    pub resume: bool,
    /// Folder that keeps the hidden states of a frozen encoder for later runs.
    pub cache: Option<&'a Path>,
    /// Trains without the clips that are missing or cannot be decoded.
    pub allow_missing: bool,
}

/// Trains on the clips of a listing and fills a run folder; gives the best validation MSE (in z).
///
/// The best weights so far and the whole state are on disk after every epoch. With `resume`, a run that was interrupted
/// goes on from there and ends with the same weights, on the same CPU with the same number of threads.
///
/// # Errors
/// Where the device is not there, a frozen encoder has nothing to start from, clips are missing (see [`Listing::read`]),
/// starting weights cannot be read, the run folder cannot be written or is taken, the run to resume is finished or was
/// begun with another config or other clips, or the loss or the validation MSE stops being a number.
pub fn train(config: &TrainConfig, listing: Listing, options: Options<'_>, out: &Path) -> Result<RunInfo> {
    set_threads(config.threads);
    let device = config.device.find()?;
    let teacher = Teacher::load(config, device)?;
    ensure!(
        !config.freeze_encoder || config.init.is_some() || config.init_encoder.is_some(),
        "freeze_encoder = true keeps the encoder's random weights, since nothing is read into it: name a published BEATs \
         checkpoint with --init-encoder CKPT.pt (the key init_encoder) or a trained model with --set init=RUN, or let the \
         encoder learn with --set freeze_encoder=false"
    );
    tch::manual_seed(config.seed as i64);
    let (config, start) = resolve_init(config)?;
    let mut run = if options.resume { RunFolder::resume(out, &config)? } else { RunFolder::create(out)? };

    let (mut tables, unlisted) = (listing.tables().to_vec(), listing.unlisted_files());
    let Clips { train: mut clips, mut validation, left_out } = listing.read(options.allow_missing, out)?;
    let notes = left_out.iter().map(|id| format!("without {id}"));
    let notes: Vec<String> = notes.chain(unlisted.iter().map(|id| format!("file {id}"))).collect();
    if let Some(teacher) = &teacher {
        tables.push(teacher.weights_path().to_path_buf());
        [&mut clips, &mut validation].into_iter().for_each(|clips| teacher.label(clips));
    }
    run.write_config(&config)?;
    let scale = TargetScale::of(&clips.iter().map(|c| c.targets).collect::<Vec<_>>());
    let mut net = build(device, &config, &scale, start)?;
    if let Some(count) = teacher.as_ref().and_then(|teacher| teacher.give(&config, &mut net)) {
        eprintln!("begins with {count} of the teacher's parameters");
    }
    let heard = heard(&config, &clips, &validation, options.cache.is_some())?;
    let mut info = RunInfo {
        target_scale: scale,
        run_hash: run_hash(&config, &tables, &notes)?,
        num_parameters: count_parameters(&net),
        best_epoch: 0,
        best_validation_mse: f64::INFINITY,
        heard: Some(heard),
        finished: false,
        origin: Origin::of(&config, &tables)?,
    };
    eprintln!(
        "{} training and {} validation clips; {} of {} parameters learn",
        clips.len(),
        validation.len(),
        info.num_parameters[0],
        info.num_parameters[1]
    );

    if let Some(note) = Inputs::note(&config, &clips, options.cache.is_some()) {
        eprintln!("{note}");
    }

    let distillation = teacher.map(|teacher| Distillation::new(teacher, &config, &net));
    let mut learner = Learner::new(&config, &net, Loss::new(&config, scale), clips.len(), distillation);
    let mut course = Course::new(&config);
    if run.is_interrupted() {
        ensure!(
            run.info()?.run_hash == info.run_hash,
            "the run in {} was begun with other clips{}: its tables, or which of their clips are missing, have changed",
            out.display(),
            if config.distill.is_some() { " or another teacher" } else { "" }
        );
        check_heard(run.info()?.heard, heard, out)?;
        let records =
            resume::read(&run.state_path(), &mut net.store, &mut learner.optimiser, learner.loss.buffer())?;
        records.iter().for_each(|record| _ = course.record(record.validation_mse));
        run.restore(records);
        eprintln!("goes on after epoch {}", course.epoch);
    }
    let inputs = Inputs::new(&config, &net, &clips, options.cache)?;
    let validated = match heard[1] {
        Heard::HiddenStates => Some(Inputs::new(&config, &net, &validation, options.cache)?),
        Heard::Features => None,
    };
    let hidden = match &validated {
        Some(Inputs::Hidden { states, .. }) => Some(&states[..]),
        _ => None,
    };
    let bar = progress::bar((config.epochs * learner.batches_per_epoch) as u64, "training");
    bar.set_position((course.epoch * learner.batches_per_epoch) as u64);
    while course.epoch < course.end {
        let started = Instant::now();
        let mut rng = seed_epoch(&config, course.epoch);
        let train = learner.epoch(&net, &inputs, &clips, course.crop_steps(), &mut rng, &bar)?;
        let trained = started.elapsed().as_secs_f64();
        let (validation_mse, metrics, best) = learner.optimiser.averaged(|| -> Result<_> {
            let (mse, metrics) = validate(&net, &validation, hidden, &scale, config.window_steps)?;
            // Nothing of this epoch is written: its weights would be no start for a run that goes on.
            ensure!(
                mse.is_finite(),
                "the validation MSE of epoch {} is {mse}, and nothing of that epoch is kept: {ADVICE}",
                course.epoch + 1
            );
            let best = course.record(mse).then(|| weights::snapshot(&net.store));
            Ok((mse, metrics, best))
        })?;
        let seconds = [trained, started.elapsed().as_secs_f64() - trained];

        let is_best = best.is_some();
        if let Some(parameters) = best {
            weights::write(&run.weights_path(), &distill::without_projections(parameters))?;
        }
        (info.best_epoch, info.best_validation_mse) = (course.best_epoch, course.best_mse);
        run.write_info(&info)?;
        let learning_rate = learner.learning_rate();
        let epoch = course.epoch;
        let record =
            EpochRecord { epoch, seconds, learning_rate, train, validation_mse, validation: metrics };
        let left_s = (started.elapsed().as_secs_f64() * (course.end - epoch) as f64).round();
        let left = HumanDuration(Duration::from_secs_f64(left_s));
        bar.suspend(|| eprintln!("{}  {left:#} left", log_line(&record, is_best)));
        run.record(record)?;
        resume::write(
            &run.state_path(),
            &net.store,
            &learner.optimiser,
            learner.loss.buffer(),
            run.records(),
        )?;
    }
    bar.finish_and_clear();
    let best = run.records().iter().find(|record| record.epoch == course.best_epoch);
    // A single clip has no order to be scored in.
    let is_undefined = |record: &EpochRecord| record.validation.iter().any(|metrics| metrics.srcc.is_nan());
    if validation.len() > 1 && best.is_some_and(is_undefined) {
        eprintln!(
            "warning: even the best epoch scores all validation clips alike on some axis: lower the learning rates?"
        );
    }
    ensure!(course.best_epoch > 0, "no epoch gave a validation MSE that is a number: {ADVICE}");
    info = RunInfo {
        best_epoch: course.best_epoch,
        best_validation_mse: course.best_mse,
        finished: true,
        ..info
    };
    run.finish(&info)?;
    Ok(info)
}

/// What the network is to hear of the training clips, then of the validation clips.
fn heard(config: &TrainConfig, clips: &[Clip], validation: &[Clip], cache: bool) -> Result<[Heard; 2]> {
    let train = Inputs::choose(config, clips, cache)?;
    // Where learning has to run the encoder, validation may as well.
    let validated = match train {
        Heard::HiddenStates => Inputs::choose(config, validation, cache)?,
        Heard::Features => Heard::Features,
    };
    Ok([train, validated])
}

/// Refuses to go on hearing other things than before: the weights would be those of neither run.
fn check_heard(before: Option<[Heard; 2]>, now: [Heard; 2], out: &Path) -> Result<()> {
    let Some(before) = before else { return Ok(()) };
    for (what, (before, now)) in ["learned from", "validated on"].into_iter().zip(before.into_iter().zip(now))
    {
        let hint = if before == Heard::HiddenStates { "with" } else { "without" };
        ensure!(
            before == now,
            "the run in {} {what} {before} and would now go on with {now}, which gives other weights: go on {hint} --cache, as it \
             was begun",
            out.display()
        );
    }
    Ok(())
}

/// Learns for all epochs without validation; the network keeps its last weights, or their running mean.
///
/// # Errors
/// Where the loss stops being a number.
pub(crate) fn learn(
    config: &TrainConfig,
    net: &AesaNet,
    inputs: &Inputs,
    clips: &[Clip],
    scale: TargetScale,
) -> Result<()> {
    let mut learner = Learner::new(config, net, Loss::new(config, scale), clips.len(), None);
    let mut course = Course::new(config);
    while course.epoch < course.end {
        let mut rng = seed_epoch(config, course.epoch);
        learner.epoch(net, inputs, clips, course.crop_steps(), &mut rng, &ProgressBar::hidden())?;
        course.record(f64::NAN);
    }
    learner.optimiser.keep_average();
    Ok(())
}

/// The network at the start of a run, on its device.
///
/// # Errors
/// Where the device is not there or the starting weights cannot be read.
pub(crate) fn fresh(config: &TrainConfig, scale: &TargetScale) -> Result<AesaNet> {
    let device = config.device.find()?;
    tch::manual_seed(config.seed as i64);
    let (config, start) = resolve_init(config)?;
    build(device, &config, scale, start)
}

/// Decides all that is random in an epoch.
fn seed_epoch(config: &TrainConfig, epoch: usize) -> Pcg64 {
    let seed = config.seed.wrapping_mul(SEED_STRIDE).wrapping_add(epoch as u64);
    tch::manual_seed(seed as i64);
    Pcg64::seed_from_u64(seed)
}

/// Seeds of one run's epochs lie next to each other, those of two runs this far apart.
const SEED_STRIDE: u64 = 1_000_003;

/// Where a run is: which epoch, which was best, when whole clips begin and when it ends.
#[derive(Debug)]
struct Course<'a> {
    config: &'a TrainConfig,
    /// Epochs done.
    epoch: usize,
    /// From 1; 0 before the first.
    best_epoch: usize,
    best_mse: f64,
    /// Epochs from this one on take whole clips; an early end moves them forward.
    full_from: usize,
    end: usize,
}

impl<'a> Course<'a> {
    fn new(config: &'a TrainConfig) -> Self {
        let full_from = config.epochs - config.final_full_epochs;
        Self { config, epoch: 0, best_epoch: 0, best_mse: f64::INFINITY, full_from, end: config.epochs }
    }

    /// The longest crop of the coming epoch, in steps.
    fn crop_steps(&self) -> usize {
        match self.config.crop_steps {
            steps if steps > 0 && self.epoch < self.full_from => steps,
            _ => self.config.window_steps,
        }
    }

    /// Counts an epoch; true if its weights are to be kept: as a rule, if it is the best so far.
    fn record(&mut self, validation_mse: f64) -> bool {
        self.epoch += 1;
        let is_best = validation_mse < self.best_mse || self.config.keep == Keep::Last;
        if is_best {
            (self.best_epoch, self.best_mse) = (self.epoch, validation_mse);
        }
        let patience = self.config.patience;
        if patience > 0 && self.epoch < self.full_from && self.epoch - self.best_epoch >= patience {
            (self.full_from, self.end) = (self.epoch, self.epoch + self.config.final_full_epochs);
        }
        is_best
    }
}

/// The optimiser, the loss and where in the schedule they are.
struct Learner<'a> {
    config: &'a TrainConfig,
    optimiser: AdamW,
    loss: Loss,
    batches_per_epoch: usize,
    /// What a student learns from; `None` where labels teach.
    distillation: Option<Distillation>,
}

impl<'a> Learner<'a> {
    fn new(
        config: &'a TrainConfig,
        net: &AesaNet,
        loss: Loss,
        num_clips: usize,
        distillation: Option<Distillation>,
    ) -> Self {
        let optimiser = AdamW::new(&net.store, config.weight_decay, config.average_decay);
        let batches_per_epoch = num_clips.div_ceil(config.batch_size);
        Self { config, optimiser, loss, batches_per_epoch, distillation }
    }

    /// One pass over the clips in random order, in crops of at most `steps`; gives the mean losses.
    fn epoch(
        &mut self,
        net: &AesaNet,
        inputs: &Inputs,
        clips: &[Clip],
        steps: usize,
        rng: &mut Pcg64,
        bar: &ProgressBar,
    ) -> Result<[f64; NUM_LOSSES]> {
        let order = Order::new(self.config, clips, steps, rng);
        prefetch::ahead(order.batches(inputs.share(), clips), |batches| {
            let mut sums = [0.0; NUM_LOSSES];
            // To read a loss is to wait for the device: each is read when the next step is on its way there.
            let mut unread: Option<Unread> = None;
            for (number, batch) in batches.enumerate() {
                let batch = batch?;
                let loss = self.config.precision.scope(|| match &self.distillation {
                    Some(distillation) => distillation.loss(net, &mut self.loss, clips, &batch, rng),
                    None => self.labelled_loss(net, inputs, clips, &batch, rng),
                });
                let losses =
                    Unread { losses: loss.values(), number: number + 1, num_clips: batch.crops.len() };
                let factor = self.factor();
                let TrainConfig { learning_rate, encoder_learning_rate, clip_grad_norm, .. } = *self.config;
                self.optimiser.step(&loss.total, clip_grad_norm, |name| {
                    factor
                        * if name.starts_with(ENCODER_PREFIX) { encoder_learning_rate } else { learning_rate }
                });
                if let Some(earlier) = unread.replace(losses) {
                    earlier.add_to(&mut sums, clips.len())?;
                }
                bar.inc(1);
            }
            if let Some(last) = unread {
                last.add_to(&mut sums, clips.len())?;
            }
            Ok(sums)
        })
    }

    /// The loss of a batch against its clips' labels.
    fn labelled_loss(
        &mut self,
        net: &AesaNet,
        inputs: &Inputs,
        clips: &[Clip],
        batch: &Batch,
        rng: &mut Pcg64,
    ) -> BatchLoss {
        let targets = batch.of_clips(clips, |clip| clip.targets);
        let domains = batch.of_clips(clips, |clip| clip.domain);
        let families = batch.of_clips(clips, |clip| clip.family);
        let truth = Truth { targets: &targets, domains: &domains, families: &families, tokens: None };
        self.loss.of(&inputs.forward(net, clips, batch), truth, rng)
    }

    fn learning_rate(&self) -> f64 {
        self.config.learning_rate * self.factor()
    }

    fn factor(&self) -> f64 {
        let TrainConfig { epochs, schedule_epochs, .. } = *self.config;
        let epochs = if schedule_epochs > 0 { schedule_epochs } else { epochs };
        learning_rate_factor(self.config, self.optimiser.steps_done(), self.batches_per_epoch * epochs)
    }
}

/// The losses of an optimiser step, still on the device.
struct Unread {
    losses: Tensor,
    /// Of the batch, from 1.
    number: usize,
    num_clips: usize,
}

impl Unread {
    /// Adds the share of this batch to the means over `num_clips` clips.
    ///
    /// # Errors
    /// Where the loss is not a number. The weights are none by then: the run's last state and best weights are those of an
    /// earlier epoch.
    fn add_to(&self, sums: &mut [f64; NUM_LOSSES], num_clips: usize) -> Result<()> {
        let losses = Vec::<f64>::try_from(self.losses.to_device(Device::Cpu).to_kind(Kind::Double))?;
        if !losses[0].is_finite() {
            bail!("the loss is {} in batch {} of an epoch: {ADVICE}", losses[0], self.number);
        }
        for (sum, loss) in sums.iter_mut().zip(losses) {
            *sum += loss * self.num_clips as f64 / num_clips as f64;
        }
        Ok(())
    }
}

/// What the learning rates are multiplied by at an optimiser step.
fn learning_rate_factor(config: &TrainConfig, step: usize, total_steps: usize) -> f64 {
    let warmup = config.warmup_steps;
    if step < warmup {
        return (step + 1) as f64 / warmup as f64;
    }
    match config.learning_rate_schedule {
        Schedule::Constant => 1.0,
        Schedule::Cosine => {
            let progress = (step - warmup) as f64 / total_steps.saturating_sub(warmup).max(1) as f64;
            let cosine = 0.5 * (1.0 + (core::f64::consts::PI * progress.min(1.0)).cos());
            LAST_FACTOR + (1.0 - LAST_FACTOR) * cosine
        }
    }
}

/// Sets libtorch's threads; 0 takes all CPUs.
pub fn set_threads(threads: usize) {
    let all = || std::thread::available_parallelism().map_or(1, |n| n.get());
    tch::set_num_threads(if threads == 0 { all() } else { threads } as i32);
}

/// Reads the weights to start from; a published encoder also sets the encoder's sizes.
fn resolve_init(config: &TrainConfig) -> Result<(TrainConfig, Vec<(NamedTensors, &'static str)>)> {
    let mut config = config.clone();
    let mut start = Vec::new();
    if let Some(path) = &config.init {
        let prefix = if config.init_parts == InitParts::Encoder { "beats." } else { "" };
        let path = Path::new(path);
        ensure!(path.exists(), "init is {}, and there is no such run folder or file", path.display());
        let tensors = match path.extension().and_then(OsStr::to_str) {
            Some("onnx") => import::read(path, &config.model, prefix)?,
            Some("aesa") => bail!("{}: start from the model.onnx of the same run, in f32", path.display()),
            _ if path.is_dir() => RunFolder::open(path).weights()?,
            _ => weights::read(path)?,
        };
        start.push((tensors, prefix));
    }
    if let Some(path) = &config.init_encoder {
        let checkpoint =
            Checkpoint::read(Path::new(path)).with_context(|| format!("cannot start from {path}"))?;
        let dropout = config.model.encoder.dropout;
        config.model.encoder = aesa_export::EncoderConfig { dropout, ..checkpoint.encoder };
        config.check()?;
        start.push((weights::prefixed(checkpoint.tensors, "beats."), "beats."));
    }
    Ok((config, start))
}

/// The network at the start of training.
fn build(
    device: Device,
    config: &TrainConfig,
    scale: &TargetScale,
    start: Vec<(NamedTensors, &str)>,
) -> Result<AesaNet> {
    let mut net = AesaNet::on(device, &config.model);
    net.head.centre_scores(scale.mean.map(|m| m / 10.0));
    for (tensors, prefix) in start {
        weights::load(&mut net.store, &tensors, prefix)?;
    }
    let stays = |name: &str| {
        config.freeze_encoder && name.starts_with(ENCODER_PREFIX)
            || config.freeze_layer_weights && LAYER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    for (name, parameter) in net.store.variables() {
        if stays(&name) {
            _ = parameter.set_requires_grad(false);
        }
    }
    Ok(net)
}

/// Learning parameters, and all.
fn count_parameters(net: &AesaNet) -> [usize; 2] {
    let parameters: Vec<_> = net.store.variables().into_values().collect();
    let count = |learning: bool| {
        parameters.iter().filter(|p| !learning || p.requires_grad()).map(|p| p.numel()).sum()
    };
    [count(true), count(false)]
}

/// MSE in z over all axes, and metrics per axis on the scale of 0 to 10; from the clips' hidden states, where they are kept.
///
/// # Errors
/// Those of [`States::tensor`].
fn validate(
    net: &AesaNet,
    clips: &[Clip],
    hidden: Option<&[Vec<States>]>,
    scale: &TargetScale,
    window_steps: usize,
) -> Result<(f64, [Metrics; NUM_AXES])> {
    let scores = match hidden {
        Some(hidden) => predict::head_scores(net, hidden)?,
        None => {
            let features: Vec<_> = clips.iter().map(|c| &c.features).collect();
            predict::clip_scores(net, &features, Policy::Windowed { window_steps }, |_| ())
        }
    };
    let metrics = core::array::from_fn(|axis| {
        let prediction: Vec<f64> = scores.iter().map(|s| s[axis]).collect();
        let truth: Vec<f64> = clips.iter().map(|c| c.targets[axis]).collect();
        Metrics::of(&prediction, &truth)
    });
    let in_z = metrics.iter().zip(scale.std).map(|(m, std)| m.mse / (std * std));
    Ok((in_z.sum::<f64>() / NUM_AXES as f64, metrics))
}

fn log_line(record: &EpochRecord, is_best: bool) -> String {
    let hidden = Some(record.train[5]).filter(|loss| *loss > 0.0);
    let hidden = hidden.map_or(String::new(), |loss| format!(", hidden {loss:.4}"));
    let srcc: Vec<String> =
        Axis::ALL.iter().map(|a| format!("{a} {:.3}", record.validation[*a as usize].srcc)).collect();
    format!(
        "epoch {:3}  loss {:.4} (clip {:.4}, triplet {:.4}, rank {:.4}{hidden})  validation MSE {:.4}, SRCC {}  lr {:.1e}  \
         {:.1} + {:.1} s{}",
        record.epoch,
        record.train[0],
        record.train[1],
        record.train[3],
        record.train[4],
        record.validation_mse,
        srcc.join(" "),
        record.learning_rate,
        record.seconds[0],
        record.seconds[1],
        if is_best { "  best" } else { "" }
    )
}

/// What helps where numbers stop being any.
const ADVICE: &str = "lower learning_rate and encoder_learning_rate, or set warmup_steps or clip_grad_norm";

/// Where a cosine schedule ends.
const LAST_FACTOR: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_end_goes_on_with_whole_clips() {
        let config = TrainConfig {
            epochs: 20,
            patience: 2,
            crop_steps: 8,
            final_full_epochs: 3,
            ..TrainConfig::default()
        };
        let mut course = Course::new(&config);
        assert!(course.record(0.5));
        assert!(!course.record(0.5) && course.crop_steps() == 8 && course.end == 20);
        assert!(!course.record(0.6) && course.crop_steps() == config.window_steps);
        assert_eq!((course.end, course.best_epoch), (6, 1));
        assert!(course.record(0.4) && course.end == 6);
    }

    #[test]
    fn the_last_epoch_is_kept_where_that_is_asked_for() {
        let config = TrainConfig { patience: 0, keep: Keep::Last, ..TrainConfig::default() };
        let mut course = Course::new(&config);
        assert!(course.record(0.4) && course.record(0.5));
        assert_eq!((course.best_epoch, course.best_mse), (2, 0.5));
    }

    #[test]
    fn learning_rate_rises_then_falls() {
        let config = TrainConfig {
            warmup_steps: 10,
            learning_rate_schedule: Schedule::Cosine,
            ..TrainConfig::default()
        };
        let at = |step| learning_rate_factor(&config, step, 110);
        assert_eq!((at(0), at(9), at(10)), (0.1, 1.0, 1.0));
        assert!((at(60) - 0.505).abs() < 1e-12);
        assert!((at(110) - LAST_FACTOR).abs() < 1e-12);
        assert_eq!(learning_rate_factor(&TrainConfig::default(), 5000, 10), 1.0);
    }
}
