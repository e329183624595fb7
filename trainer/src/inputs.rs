//! What a training step reads: crops of features, or of hidden states that a frozen encoder computed once.

use std::path::Path;

use aesa::encoder::TOKENS_PER_STEP;
use aesa::fbank::{NORM_MEAN, NORM_STD, NUM_MEL_BINS};
use aesa::score::FRAMES_PER_STEP;
use anyhow::{Result, ensure};
use rand::RngExt;
use rand_pcg::Pcg64;
use tch::{Device, Kind, Tensor};

use crate::cache::HiddenCache;
use crate::chunking::Chunking;
use crate::config::TrainConfig;
use crate::dataset::Clip;
use crate::dropout::{Dropout, Families};
use crate::model::{AesaNet, ENCODER_PREFIX, Prediction};
use crate::padding::Padding;
use crate::progress;
use crate::upload::upload;
use crate::weights;

/// A part of a clip, in steps of 160 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Index of the clip.
    pub clip: usize,
    /// First step.
    pub start: usize,
    /// How many steps.
    pub steps: usize,
}

impl Crop {
    /// A part of at most `steps` steps at a random place.
    pub fn random(clip: usize, total_steps: usize, steps: usize, rng: &mut Pcg64) -> Self {
        let steps = steps.min(total_steps);
        Self { clip, start: rng.random_range(0..=total_steps - steps), steps }
    }
}

/// What an optimiser step looks at.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// All clips.
    pub clips: &'a [Clip],
    /// The parts of them.
    pub crops: &'a [Crop],
    /// What a token of them may hear; all without it.
    pub chunking: Option<Chunking>,
}

impl Batch<'_> {
    /// Something of each crop's clip.
    pub fn of_clips<T>(&self, what: impl Fn(&Clip) -> T) -> Vec<T> {
        self.crops.iter().map(|crop| what(&self.clips[crop.clip])).collect()
    }
}

/// Where a training step's input comes from.
#[derive(Debug)]
pub enum Inputs {
    /// Features through encoder and head. The encoder learns unless it is frozen.
    Features {
        /// Whether the encoder keeps its weights.
        frozen: bool,
        /// Longest span of frames blanked.
        time_mask: usize,
        /// Widest band of mel bins blanked.
        mel_mask: usize,
        /// Largest change of level, in dB.
        gain_db: f64,
        /// Largest change of a band's level, in dB.
        filter_db: f64,
        /// Furthest shift, in mel bins.
        mel_shift: usize,
    },
    /// The hidden states of a frozen encoder through the head. A crop of them has heard its whole window.
    Hidden {
        /// Per clip and window, one after the other, in main memory or mapped: f16 `[layers, T, D]`.
        states: Vec<Vec<Tensor>>,
        /// Steps of a window; a clip's last may be shorter.
        window_steps: usize,
    },
}

impl Inputs {
    /// Chooses the way that the config allows: hidden states if the encoder is frozen, features stay as they are, no clip is
    /// cut into chunks, and they fit in `cache_hidden_mib`.
    ///
    /// With `cache` they may be of any size: they are kept in that folder and mapped from it.
    ///
    /// # Errors
    /// Where the cache cannot be written, or is asked for where states change from step to step.
    pub fn new(config: &TrainConfig, net: &AesaNet, clips: &[Clip], cache: Option<&Path>) -> Result<Self> {
        let &TrainConfig {
            freeze_encoder: frozen, time_mask, mel_mask, gain_db, filter_db, mel_shift, ..
        } = config;
        let features = Self::Features { frozen, time_mask, mel_mask, gain_db, filter_db, mel_shift };
        if let Some(reason) = why_states_change(config) {
            ensure!(
                cache.is_none(),
                "--cache keeps a frozen encoder's hidden states of whole windows, but {reason}"
            );
            return Ok(features);
        }
        let encoder = &config.model.encoder;
        let bytes_per_step =
            TOKENS_PER_STEP * (encoder.encoder_layers * encoder.encoder_embed_dim * 2) as usize;
        let bytes = clips.iter().map(|c| c.num_steps() * bytes_per_step).sum::<usize>();
        if cache.is_none() && bytes > config.cache_hidden_mib << 20 {
            return Ok(features);
        }
        let cache = cache.map(|folder| {
            let mut parameters = weights::snapshot(&net.store);
            parameters.retain(|name, _| name.starts_with(ENCODER_PREFIX));
            HiddenCache::open(folder, encoder, &parameters)
        });
        let cache = cache.transpose()?;
        let mut origins = [0; 3];
        let bar = progress::bar(clips.len() as u64, "hidden states");
        let mut of_window = |features: Tensor| {
            let compute = || {
                let features = features.unsqueeze(0).to_kind(Kind::Float).to_device(net.device()); // (1, F, 128)
                let encoded = tch::no_grad(|| net.beats.forward(&features, None, None, Dropout::Off));
                Tensor::cat(&encoded.hidden[1..], 0).to_kind(Kind::Half).to_device(Device::Cpu) // (layers, T, D)
            };
            let Some(cache) = &cache else { return Ok(compute()) };
            let (hidden, origin) = cache.get(&features, compute)?;
            origins[origin as usize] += 1;
            Ok(hidden)
        };
        let window_steps = config.window_steps;
        let states = clips.iter().map(|clip| {
            bar.inc(1);
            clip.features
                .split((window_steps * FRAMES_PER_STEP) as i64, 0)
                .into_iter()
                .map(&mut of_window)
                .collect()
        });
        let states = states.collect::<Result<_>>()?;
        bar.finish_and_clear();
        if cache.is_some() {
            let [kept, new, replaced] = origins;
            eprintln!("hidden states: {kept} from the cache, {new} new, {replaced} damaged and made again");
        }
        Ok(Self::Hidden { states, window_steps })
    }

    /// A part of at most `steps` steps of a clip, at a random place; of hidden states, of one window.
    pub fn random_crop(&self, clip: usize, total_steps: usize, steps: usize, rng: &mut Pcg64) -> Crop {
        match *self {
            Self::Hidden { window_steps, .. } if total_steps > window_steps => {
                let step = rng.random_range(0..total_steps);
                let first = step - step % window_steps;
                let crop = Crop::random(clip, window_steps.min(total_steps - first), steps, rng);
                Crop { start: first + crop.start, ..crop }
            }
            _ => Crop::random(clip, total_steps, steps, rng),
        }
    }

    /// Features of crops as the network is to hear them, changed at random where the config asks for it; shorter ones end
    /// with zeros: `[B, F, 128]`.
    pub fn features(&self, clips: &[Clip], crops: &[Crop], rng: &mut Pcg64) -> Tensor {
        let part = |crop: &Crop| cut(&clips[crop.clip].features, 0, crop, FRAMES_PER_STEP);
        let mut parts: Vec<Tensor> = crops.iter().map(part).collect();
        let &Self::Features { time_mask, mel_mask, gain_db, filter_db, mel_shift, .. } = self else {
            return stack(&parts, 0, 0).to_kind(Kind::Float);
        };
        let kin = kin(clips, crops);
        if mel_shift > 0 {
            shift_bins(&mut parts, mel_shift as i64, &kin, rng);
        }
        let mut features = stack(&parts, 0, 0).to_kind(Kind::Float); // (B, F, 128)
        if gain_db > 0.0 || filter_db > 0.0 {
            features = change_level(&features, gain_db, filter_db, &kin, rng);
        }
        blank(&features, 1, time_mask, rng);
        blank(&features, 2, mel_mask, rng);
        features
    }

    /// What a step on crops brings to the device, still in main memory: features `[B, F, 128]`, or hidden states
    /// `[layers, B, T, D]`, f16.
    pub fn batch(&self, clips: &[Clip], crops: &[Crop], rng: &mut Pcg64) -> Tensor {
        match self {
            Self::Features { .. } => self.features(clips, crops, rng),
            Self::Hidden { states, window_steps } => {
                let part = |crop: &Crop| {
                    let within = Crop { start: crop.start % window_steps, ..*crop };
                    cut(&states[crop.clip][crop.start / window_steps], 1, &within, TOKENS_PER_STEP)
                };
                let parts: Vec<Tensor> = crops.iter().map(part).collect();
                stack(&parts, 1, 1)
            }
        }
    }

    /// Which tokens of a batch of crops are none, for tensors on `device`.
    pub fn padding(crops: &[Crop], device: Device) -> Option<Padding> {
        let lengths: Vec<i64> = crops.iter().map(|c| (c.steps * TOKENS_PER_STEP) as i64).collect();
        Padding::of(&lengths, device)
    }

    /// Scores crops in training mode; shorter ones are padded. Chunks begin where a crop does. Neighbours of one family
    /// share dropout's masks.
    pub fn forward(
        &self,
        net: &AesaNet,
        clips: &[Clip],
        crops: &[Crop],
        chunking: Option<Chunking>,
        rng: &mut Pcg64,
    ) -> Prediction {
        let padding = Self::padding(crops, net.device());
        let batch = upload(&self.batch(clips, crops, rng), net.device());
        let families = Families::of(crops.len(), kin(clips, crops), net.device());
        let dropout = families.as_ref().map_or(Dropout::PerClip, Dropout::PerFamily);
        match self {
            Self::Features { frozen, .. } => {
                if *frozen {
                    let encode = || net.beats.forward(&batch, padding.as_ref(), chunking, Dropout::Off);
                    let encoded = tch::no_grad(encode);
                    net.head.forward(&encoded.hidden[1..], padding, chunking, dropout)
                } else {
                    net.forward(&batch, padding, chunking, dropout)
                }
            }
            Self::Hidden { .. } => {
                net.head.forward(&batch.to_kind(Kind::Float).unbind(0), padding, chunking, dropout)
            }
        }
    }
}

/// Why the hidden states of a window are not the same in every step, where they are not.
fn why_states_change(config: &TrainConfig) -> Option<&'static str> {
    let &TrainConfig { time_mask, mel_mask, gain_db, filter_db, mel_shift, .. } = config;
    if !config.freeze_encoder {
        Some("the encoder learns: set freeze_encoder = true")
    } else if !config.chunks.steps.is_empty() {
        Some("tokens hear chunks: set chunks.steps = []")
    } else if time_mask > 0 || mel_mask > 0 || gain_db > 0.0 || filter_db > 0.0 || mel_shift > 0 {
        Some("clips change at random: set time_mask, mel_mask, gain_db, filter_db and mel_shift to 0")
    } else {
        None
    }
}

/// Whether the crop at a place is of the same family as the one before it.
fn kin<'a>(clips: &'a [Clip], crops: &'a [Crop]) -> impl Fn(usize) -> bool + 'a {
    |n| n > 0 && clips[crops[n].clip].is_kin(&clips[crops[n - 1].clip])
}

fn cut(tensor: &Tensor, dim: i64, crop: &Crop, per_step: usize) -> Tensor {
    tensor.narrow(dim, (crop.start * per_step) as i64, (crop.steps * per_step) as i64)
}

/// Stacks tensors along a new dimension; those shorter in `dim` get zeros at its end.
fn stack(parts: &[Tensor], new_dim: i64, dim: usize) -> Tensor {
    let longest = parts.iter().map(|part| part.size()[dim]).max().unwrap_or(0);
    let padded: Vec<Tensor> = parts
        .iter()
        .map(|part| {
            if part.size()[dim] == longest {
                return part.shallow_clone();
            }
            let behind = 2 * (part.dim() - 1 - dim); // pad() counts from the last dimension
            let mut amounts = vec![0; behind + 2];
            amounts[behind + 1] = longest - part.size()[dim];
            part.pad(&amounts, "constant", 0.0)
        })
        .collect();
    Tensor::stack(&padded, new_dim)
}

/// Moves each clip's spectrum by up to `furthest` mel bins; the outermost bin fills the gap. Where `kin(n)`, clip n moves
/// as the one before it.
fn shift_bins(parts: &mut [Tensor], furthest: i64, kin: impl Fn(usize) -> bool, rng: &mut Pcg64) {
    let mut shift = 0;
    for (n, part) in parts.iter_mut().enumerate() {
        if !kin(n) {
            shift = rng.random_range(-furthest..=furthest);
        }
        let last = NUM_MEL_BINS as i64 - 1;
        let bins = Tensor::arange(NUM_MEL_BINS as i64, (Kind::Int64, part.device()));
        *part = part.index_select(1, &(bins - shift).clamp(0, last));
    }
}

/// Adds up to `gain_db` dB of either sign to each clip of `[B, F, 128]`, and a filter: a curve over the mel bins, straight
/// between [`FILTER_KNOTS`], each up to `filter_db` dB of either sign (after FilterAugment, Nam et al., ICASSP 2022). Bins of
/// digital silence stay. Where `kin(n)`, clip n gets what the one before it got: a codec's traces are smaller than a change
/// of level.
fn change_level(
    features: &Tensor,
    gain_db: f64,
    filter_db: f64,
    kin: impl Fn(usize) -> bool,
    rng: &mut Pcg64,
) -> Tensor {
    let batch = features.size()[0];
    let mut knots = [0f32; FILTER_KNOTS];
    let draw = |n: i64| {
        if !kin(n as usize) {
            let gain = rng.random_range(-gain_db..=gain_db);
            knots = core::array::from_fn(|_| {
                ((gain + rng.random_range(-filter_db..=filter_db)) * UNITS_PER_DB) as f32
            });
        }
        knots
    };
    let knots: Vec<f32> = (0..batch).flat_map(draw).collect();
    let changes = Tensor::from_slice(&knots).view([batch, 1, FILTER_KNOTS as i64]).upsample_linear1d(
        [NUM_MEL_BINS as i64],
        true,
        None::<f64>,
    ); // (B, 1, 128)
    let silence = (f64::from(f32::EPSILON).ln() - f64::from(NORM_MEAN)) / (2.0 * f64::from(NORM_STD));
    let silent = features.le(silence + 1e-2);
    let changed = features + changes.to_device(features.device());
    changed.where_self(&silent.logical_not(), features)
}

/// Where a random filter's curve may bend: evenly over the mel bins, the outermost two included.
const FILTER_KNOTS: usize = 5;

/// Normalised features per dB: they are natural logarithms of power over twice [`NORM_STD`].
const UNITS_PER_DB: f64 = core::f64::consts::LN_10 / 10.0 / (2.0 * NORM_STD as f64);

/// Sets one random span of `dim`, 0 to `longest` wide, to 0 (the features' mean) in each clip.
fn blank(features: &Tensor, dim: i64, longest: usize, rng: &mut Pcg64) {
    let size = features.size()[dim as usize] as usize;
    let longest = longest.min(size);
    if longest == 0 {
        return;
    }
    for clip in features.unbind(0) {
        let width = rng.random_range(0..=longest);
        let start = rng.random_range(0..=size - width);
        _ = clip.narrow(dim - 1, start as i64, width as i64).zero_();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aesa_corpus::labels::Domain;
    use aesa_export::ModelConfig;
    use rand::SeedableRng;

    fn clips(count: usize) -> Vec<Clip> {
        let clip = |n| Clip {
            id: format!("{n}"),
            domain: Some(Domain::Speech),
            system: None,
            family: None,
            targets: [5.0; 4],
            features: Tensor::randn([96, 128], (Kind::Float, Device::Cpu)),
        };
        (0..count).map(clip).collect()
    }

    #[test]
    fn cached_hidden_states_give_the_same_scores() {
        let mut config = TrainConfig { model: ModelConfig::tiny(), ..TrainConfig::default() };
        config.model.head.dropout = 0.0;
        let (net, clips) = (AesaNet::new(&config.model), clips(3));
        let cached = Inputs::new(&config, &net, &clips, None).unwrap();
        assert!(matches!(cached, Inputs::Hidden { .. }));
        let fresh = Inputs::new(&TrainConfig { cache_hidden_mib: 0, ..config }, &net, &clips, None).unwrap();
        assert!(matches!(fresh, Inputs::Features { frozen: true, .. }));
        let crops = [Crop { clip: 2, start: 0, steps: 6 }, Crop { clip: 0, start: 0, steps: 6 }];
        let mut rng = Pcg64::seed_from_u64(1);
        let a = cached.forward(&net, &clips, &crops, None, &mut rng).token_scores;
        let b = fresh.forward(&net, &clips, &crops, None, &mut rng).token_scores;
        // Half precision keeps three digits.
        assert!((a - b).abs().max().double_value(&[]) < 2e-3);
    }

    #[test]
    fn a_cache_is_refused_where_states_change() {
        let plain = TrainConfig { model: ModelConfig::tiny(), ..TrainConfig::default() };
        let mut chunks = plain.clone();
        chunks.chunks.steps = vec![2];
        let cases = [
            (chunks, "chunks.steps = []"),
            (TrainConfig { freeze_encoder: false, ..plain.clone() }, "freeze_encoder = true"),
            (TrainConfig { gain_db: 3.0, ..plain.clone() }, "gain_db"),
        ];
        let (net, clips) = (AesaNet::new(&plain.model), clips(2));
        let folder = tempfile::tempdir().unwrap();
        for (config, reason) in cases {
            let inputs = Inputs::new(&config, &net, &clips, None).unwrap();
            assert!(matches!(inputs, Inputs::Features { .. }));
            let error = Inputs::new(&config, &net, &clips, Some(folder.path())).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_clip_longer_than_a_window_is_kept_window_by_window() {
        let mut config =
            TrainConfig { model: ModelConfig::tiny(), window_steps: 4, ..TrainConfig::default() };
        config.model.head.dropout = 0.0;
        let (net, clips) = (AesaNet::new(&config.model), clips(1));
        let folder = tempfile::tempdir().unwrap();
        let inputs = Inputs::new(&config, &net, &clips, Some(folder.path())).unwrap();
        let Inputs::Hidden { states, .. } = &inputs else { panic!("{inputs:?}") };
        assert_eq!(states[0].iter().map(|window| window.size()[1]).collect::<Vec<_>>(), [32, 16]);
        let mut rng = Pcg64::seed_from_u64(3);
        let crops: Vec<Crop> = (0..50).map(|_| inputs.random_crop(0, 6, 4, &mut rng)).collect();
        for crop in [Crop { clip: 0, start: 0, steps: 4 }, Crop { clip: 0, start: 4, steps: 2 }] {
            assert!(crops.contains(&crop) && crops.iter().all(|c| [0, 4].contains(&c.start)), "{crops:?}");
            let kept = inputs.forward(&net, &clips, &[crop], None, &mut rng).token_scores;
            let part = cut(&clips[0].features, 0, &crop, FRAMES_PER_STEP).unsqueeze(0);
            let fresh = net.forward(&part, None, None, Dropout::Off).token_scores;
            assert!((kept - fresh).abs().max().double_value(&[]) < 2e-3);
        }
        // A crop shorter than a window stays within one.
        let short: Vec<Crop> = (0..50).map(|_| inputs.random_crop(0, 6, 2, &mut rng)).collect();
        assert!(
            short.iter().all(|c| c.start / 4 == (c.start + c.steps - 1) / 4 && c.steps == 2),
            "{short:?}"
        );
    }

    #[test]
    fn a_crop_begins_a_chunk() {
        let mut config = TrainConfig { model: ModelConfig::tiny(), ..TrainConfig::default() };
        config.model.head.dropout = 0.0;
        config.chunks.steps = vec![2];
        let chunking = Some(Chunking { steps: 2, left_steps: 0 });
        let mut rng = Pcg64::seed_from_u64(1);
        let net = AesaNet::new(&config.model);
        let clips = clips(1);
        let crops = [Crop { clip: 0, start: 1, steps: 5 }];
        let frozen = Inputs::new(&config, &net, &clips, None).unwrap();
        config.freeze_encoder = false;
        let learning = Inputs::new(&config, &net, &clips, None).unwrap();
        let part = clips[0].features.narrow(0, 16, 80).unsqueeze(0);
        let expected = net.forward(&part, None, chunking, Dropout::Off).token_scores;
        for inputs in [frozen, learning] {
            let scores = inputs.forward(&net, &clips, &crops, chunking, &mut rng).token_scores;
            assert!((scores - &expected).abs().max().double_value(&[]) < 1e-6);
        }
    }

    #[test]
    fn crops_of_several_lengths_score_as_alone() {
        let mut config = TrainConfig { model: ModelConfig::tiny(), ..TrainConfig::default() };
        config.model.head.dropout = 0.0;
        let (net, clips) = (AesaNet::new(&config.model), clips(2));
        let mut rng = Pcg64::seed_from_u64(1);
        let crops = [Crop { clip: 0, start: 0, steps: 2 }, Crop { clip: 1, start: 1, steps: 5 }];
        for cache_hidden_mib in [0, 4096] {
            let inputs =
                Inputs::new(&TrainConfig { cache_hidden_mib, ..config.clone() }, &net, &clips, None).unwrap();
            let together = inputs.forward(&net, &clips, &crops, None, &mut rng).clip_scores();
            for (n, crop) in crops.iter().enumerate() {
                let alone =
                    inputs.forward(&net, &clips, core::slice::from_ref(crop), None, &mut rng).clip_scores();
                let difference = (together.get(n as i64) - alone.get(0)).abs().max().double_value(&[]);
                assert!(difference < 1e-5, "crop {n}, cache {cache_hidden_mib}: {difference}");
            }
        }
    }

    #[test]
    fn crops_lie_inside() {
        let mut rng = Pcg64::seed_from_u64(1);
        let starts: Vec<usize> = (0..200).map(|_| Crop::random(0, 10, 4, &mut rng).start).collect();
        assert_eq!((starts.iter().min(), starts.iter().max()), (Some(&0), Some(&6)));
        assert_eq!(Crop::random(0, 3, 4, &mut rng), Crop { clip: 0, start: 0, steps: 3 });
    }

    #[test]
    fn shifted_bins_keep_their_order_and_kin_moves_alike() {
        let ramp = Tensor::arange(128, (Kind::Float, Device::Cpu)).view([1, 128]);
        let mut parts = vec![ramp.shallow_clone(), ramp.shallow_clone()];
        shift_bins(&mut parts, 9, |n| n > 0, &mut Pcg64::seed_from_u64(5));
        let bins = Vec::<f32>::try_from(parts[0].flatten(0, 1)).unwrap();
        let shift = 64.0 - bins[64];
        assert!(shift != 0.0 && shift.abs() <= 9.0, "{shift}");
        assert!(bins.iter().enumerate().all(|(n, bin)| *bin == (n as f32 - shift).clamp(0.0, 127.0)));
        assert_eq!(parts[0], parts[1]);
    }

    #[test]
    fn a_level_change_is_what_the_front_end_makes_of_a_louder_waveform() {
        let mut rng = Pcg64::seed_from_u64(1);
        let waveform: Vec<f32> = (0..2800).map(|_| rng.random_range(-0.1..0.1)).collect();
        let half: Vec<f32> = waveform.iter().map(|x| 0.5 * x).collect();
        let [quiet, loud] = [half, waveform]
            .map(|w| Tensor::from_slice(&aesa::fbank::normalised_fbank(&w)).view([1, -1, 128]));
        // Some of the lowest mel bins lie between two FFT bins and are always empty; they stay.
        let silent = quiet.le_tensor(&quiet.min());
        let step = 20.0 * 2f64.log10() * UNITS_PER_DB;
        let difference = (&loud - &quiet).masked_select(&silent.logical_not()) - step;
        assert!(difference.abs().max().double_value(&[]) < 1e-4);

        let changed = change_level(&quiet, 6.0, 0.0, |_| false, &mut Pcg64::seed_from_u64(1)) - &quiet;
        let steps = changed.masked_select(&silent.logical_not());
        let (low, high) = (steps.min().double_value(&[]), steps.max().double_value(&[]));
        assert!(high - low < 1e-6 && high != 0.0 && high.abs() <= 6.0 * UNITS_PER_DB, "{low} {high}");
        assert_eq!(changed.masked_select(&silent).abs().max().double_value(&[]), 0.0);
        let silence = Tensor::from_slice(&aesa::fbank::normalised_fbank(&[0.0; 2800])).view([1, -1, 128]);
        assert_eq!(change_level(&silence, 6.0, 3.0, |_| false, &mut Pcg64::seed_from_u64(1)), silence);
    }

    #[test]
    fn a_filter_is_straight_between_its_knots_and_stays_within_its_bounds() {
        let features = Tensor::zeros([1, 2, 128], (Kind::Float, Device::Cpu));
        let changed =
            change_level(&features, 0.0, 6.0, |_| false, &mut Pcg64::seed_from_u64(1)) / UNITS_PER_DB;
        let [first, second] = [0, 1].map(|frame| Vec::<f32>::try_from(changed.get(0).get(frame)).unwrap());
        assert_eq!(first, second);
        assert!(first.iter().all(|db| db.abs() <= 6.0));
        assert!(first.iter().any(|db| (db - first[0]).abs() > 1.0), "{first:?}");
        let bends = first.windows(3).filter(|w| (w[0] - 2.0 * w[1] + w[2]).abs() > 1e-3).count();
        // A bend between two bins shows in both windows that hold it.
        assert!((1..=2 * (FILTER_KNOTS - 2)).contains(&bends), "{bends}");
    }

    #[test]
    fn kin_changes_its_level_alike() {
        let features = Tensor::zeros([3, 4, 128], (Kind::Float, Device::Cpu));
        let changed = change_level(&features, 6.0, 3.0, |n| n == 1, &mut Pcg64::seed_from_u64(1)).unbind(0);
        assert_eq!(changed[0], changed[1]);
        assert_ne!(changed[1], changed[2]);
    }

    #[test]
    fn blanking_is_one_span() {
        let mut rng = Pcg64::seed_from_u64(2);
        let features = Tensor::ones([1, 50, 128], (Kind::Float, Device::Cpu));
        blank(&features, 1, 20, &mut rng);
        let rows = Vec::<f32>::try_from(features.select(2, 0).flatten(0, 1)).unwrap();
        let edges = rows.windows(2).filter(|w| w[0] != w[1]).count();
        let blanked = rows.iter().filter(|v| **v == 0.0).count();
        assert!(edges <= 2 && (1..=20).contains(&blanked), "{edges} {blanked}");
    }
}
