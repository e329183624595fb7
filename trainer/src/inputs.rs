//! What a training step reads: crops of features, or of hidden states that a frozen encoder computed once.

use core::fmt;
use std::path::Path;

use aesa::encoder::TOKENS_PER_STEP;
use aesa::score::FRAMES_PER_STEP;
use anyhow::{Result, ensure};
use rand::RngExt;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::augment::Augment;
use crate::cache::{HiddenCache, States};
use crate::chunking::Chunking;
use crate::config::TrainConfig;
use crate::dataset::Clip;
use crate::dropout::{Dropout, Families};
use crate::model::{AesaNet, ENCODER_PREFIX, Prediction};
use crate::padding::{self, Padding};
use crate::upload::upload;
use crate::{progress, weights};

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

/// What an optimiser step looks at, in main memory.
#[derive(Debug)]
pub struct Batch {
    /// The parts of clips.
    pub crops: Vec<Crop>,
    /// What a token of them may hear; all without it.
    pub chunking: Option<Chunking>,
    /// Features `[B, F, 128]`, or hidden states `[layers, B, T, D]`, f16. Shorter crops end with zeros.
    pub data: Tensor,
}

impl Batch {
    /// Something of each crop's clip.
    pub fn of_clips<T>(&self, clips: &[Clip], what: impl Fn(&Clip) -> T) -> Vec<T> {
        self.crops.iter().map(|crop| what(&clips[crop.clip])).collect()
    }

    /// Which tokens are none, for tensors on `device`.
    pub fn padding(&self, device: Device) -> Option<Padding> {
        let lengths: Vec<i64> = self.crops.iter().map(|c| (c.steps * TOKENS_PER_STEP) as i64).collect();
        Padding::of(&lengths, device)
    }
}

/// What a network hears of clips. Hidden states are kept in f16, so that the one gives not quite what the other does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heard {
    /// Features, through encoder and head.
    Features,
    /// Hidden states that a frozen encoder computed once, through the head.
    HiddenStates,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Features => "features",
            Self::HiddenStates => "kept hidden states",
        })
    }
}

/// Where a training step's input comes from.
#[derive(Debug)]
pub enum Inputs {
    /// Features through encoder and head. The encoder learns unless it is frozen.
    Features {
        /// Whether the encoder keeps its weights.
        frozen: bool,
        /// How clips change from step to step.
        augment: Augment,
    },
    /// The hidden states of a frozen encoder through the head. A crop of them has heard its whole window.
    Hidden {
        /// Per clip and window, one after the other.
        states: Vec<Vec<States>>,
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
    /// Where `cache` is asked for where states change from step to step.
    pub fn choose(config: &TrainConfig, clips: &[Clip], cache: bool) -> Result<Heard> {
        if let Some(reason) = why_states_change(config) {
            ensure!(!cache, "--cache keeps a frozen encoder's hidden states of whole windows, but {reason}");
            return Ok(Heard::Features);
        }
        let fits = cache || hidden_bytes(config, clips) <= config.cache_hidden_mib << 20;
        Ok(if fits { Heard::HiddenStates } else { Heard::Features })
    }

    /// What to tell of a frozen encoder that runs in every epoch, only because the hidden states of so many clips do not fit
    /// in `cache_hidden_mib`.
    pub fn note(config: &TrainConfig, clips: &[Clip], cache: bool) -> Option<String> {
        let bytes = hidden_bytes(config, clips);
        let could_be_kept = why_states_change(config).is_none() && !cache;
        (could_be_kept && bytes > config.cache_hidden_mib << 20).then(|| {
            format!(
                "hidden states would take {:.1} GB, more than cache_hidden_mib: the encoder runs every epoch; --cache DIR keeps them",
                bytes as f64 / 1e9
            )
        })
    }

    /// What is heard of clips by the way that [`Self::choose`] finds.
    ///
    /// # Errors
    /// Those of [`Self::choose`], or where the cache cannot be written.
    pub fn new(config: &TrainConfig, net: &AesaNet, clips: &[Clip], cache: Option<&Path>) -> Result<Self> {
        if Self::choose(config, clips, cache.is_some())? == Heard::Features {
            return Ok(Self::Features { frozen: config.freeze_encoder, augment: Augment::of(config) });
        }
        let encoder = &config.model.encoder;
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
            let Some(cache) = &cache else { return Ok(States::Memory(compute())) };
            let (file, origin) = cache.get(&features, compute)?;
            origins[origin as usize] += 1;
            Ok(States::File(file))
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

    /// Puts a batch of crops together, changed at random where the config asks for it.
    ///
    /// # Errors
    /// Those of [`States::tensor`].
    pub fn batch(
        &self,
        clips: &[Clip],
        crops: Vec<Crop>,
        chunking: Option<Chunking>,
        rng: &mut Pcg64,
    ) -> Result<Batch> {
        let data = match self {
            Self::Features { augment, .. } => {
                let part = |crop: &Crop| cut(&clips[crop.clip].features, 0, crop, FRAMES_PER_STEP);
                augment.apply(crops.iter().map(part).collect(), kin(clips, &crops), rng)
            }
            Self::Hidden { states, window_steps } => {
                let part = |crop: &Crop| {
                    let within = Crop { start: crop.start % window_steps, ..*crop };
                    let window = states[crop.clip][crop.start / window_steps].tensor()?;
                    Ok(cut(&window, 1, &within, TOKENS_PER_STEP))
                };
                let parts = crops.iter().map(part).collect::<Result<Vec<Tensor>>>()?;
                padding::stack(&parts, 1, 1)
            }
        };
        Ok(Batch { crops, chunking, data })
    }

    /// The same inputs, for another thread; tensors are shared, not copied.
    pub fn share(&self) -> Self {
        match self {
            &Self::Features { frozen, augment } => Self::Features { frozen, augment },
            Self::Hidden { states, window_steps } => {
                let of_clip = |windows: &Vec<States>| windows.iter().map(States::share).collect();
                Self::Hidden { states: states.iter().map(of_clip).collect(), window_steps: *window_steps }
            }
        }
    }

    /// Scores a batch in training mode. Chunks begin where a crop does. Neighbours of one family share dropout's masks.
    pub fn forward(&self, net: &AesaNet, clips: &[Clip], batch: &Batch) -> Prediction {
        let Batch { crops, chunking, data } = batch;
        let (chunking, padding) = (*chunking, batch.padding(net.device()));
        let data = upload(data, net.device());
        let families = Families::of(crops.len(), kin(clips, crops), net.device());
        let dropout = families.as_ref().map_or(Dropout::PerClip, Dropout::PerFamily);
        match self {
            Self::Features { frozen, .. } => {
                if *frozen {
                    let encode = || net.beats.forward(&data, padding.as_ref(), chunking, Dropout::Off);
                    let encoded = tch::no_grad(encode);
                    net.head.forward(&encoded.hidden[1..], padding, chunking, dropout)
                } else {
                    net.forward(&data, padding, chunking, dropout)
                }
            }
            Self::Hidden { .. } => {
                net.head.forward(&data.to_kind(Kind::Float).unbind(0), padding, chunking, dropout)
            }
        }
    }
}

/// What the hidden states of clips take.
fn hidden_bytes(config: &TrainConfig, clips: &[Clip]) -> usize {
    let encoder = &config.model.encoder;
    let bytes_per_step = TOKENS_PER_STEP * (encoder.encoder_layers * encoder.encoder_embed_dim * 2) as usize;
    clips.iter().map(|c| c.num_steps() * bytes_per_step).sum()
}

/// Why the hidden states of a window are not the same in every step, where they are not.
fn why_states_change(config: &TrainConfig) -> Option<&'static str> {
    if !config.freeze_encoder {
        Some("the encoder learns: set freeze_encoder = true")
    } else if !config.chunks.steps.is_empty() {
        Some("tokens hear chunks: set chunks.steps = []")
    } else if !Augment::of(config).is_off() {
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

    fn score(
        inputs: &Inputs,
        net: &AesaNet,
        clips: &[Clip],
        crops: &[Crop],
        chunking: Option<Chunking>,
    ) -> Prediction {
        let batch = inputs.batch(clips, crops.to_vec(), chunking, &mut Pcg64::seed_from_u64(1)).unwrap();
        inputs.forward(net, clips, &batch)
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
        let a = score(&cached, &net, &clips, &crops, None).token_scores;
        let b = score(&fresh, &net, &clips, &crops, None).token_scores;
        // Half precision keeps three digits.
        assert!((a - b).abs().max().double_value(&[]) < 2e-3);
    }

    #[test]
    fn hidden_states_that_do_not_fit_are_told() {
        let base = TrainConfig::default();
        let mut clip = clips(1);
        clip[0].features = Tensor::zeros([62 * 16, 128], (Kind::Half, Device::Cpu));
        // 12 blocks of 496 tokens of 768 numbers of two bytes are 9.1 MB.
        let small = TrainConfig { cache_hidden_mib: 8, ..base.clone() };
        let note = Inputs::note(&small, &clip, false).unwrap();
        assert!(note.contains("would take 0.0 GB") && note.contains("--cache DIR"), "{note}");
        assert_eq!(hidden_bytes(&base, &clip), 12 * 496 * 768 * 2);
        assert_eq!(Inputs::note(&base, &clip, false), None);
        assert_eq!(Inputs::note(&small, &clip, true), None);
        assert_eq!(Inputs::note(&TrainConfig { gain_db: 3.0, ..small.clone() }, &clip, false), None);
        assert_eq!(Inputs::note(&TrainConfig { freeze_encoder: false, ..small }, &clip, false), None);
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
        let tokens = |window: &States| window.tensor().unwrap().size()[1];
        assert_eq!(states[0].iter().map(tokens).collect::<Vec<_>>(), [32, 16]);
        let mut rng = Pcg64::seed_from_u64(3);
        let crops: Vec<Crop> = (0..50).map(|_| inputs.random_crop(0, 6, 4, &mut rng)).collect();
        for crop in [Crop { clip: 0, start: 0, steps: 4 }, Crop { clip: 0, start: 4, steps: 2 }] {
            assert!(crops.contains(&crop) && crops.iter().all(|c| [0, 4].contains(&c.start)), "{crops:?}");
            let kept = score(&inputs, &net, &clips, &[crop], None).token_scores;
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
        let net = AesaNet::new(&config.model);
        let clips = clips(1);
        let crops = [Crop { clip: 0, start: 1, steps: 5 }];
        let frozen = Inputs::new(&config, &net, &clips, None).unwrap();
        config.freeze_encoder = false;
        let learning = Inputs::new(&config, &net, &clips, None).unwrap();
        let part = clips[0].features.narrow(0, 16, 80).unsqueeze(0);
        let expected = net.forward(&part, None, chunking, Dropout::Off).token_scores;
        for inputs in [frozen, learning] {
            let scores = score(&inputs, &net, &clips, &crops, chunking).token_scores;
            assert!((scores - &expected).abs().max().double_value(&[]) < 1e-6);
        }
    }

    #[test]
    fn crops_of_several_lengths_score_as_alone() {
        let mut config = TrainConfig { model: ModelConfig::tiny(), ..TrainConfig::default() };
        config.model.head.dropout = 0.0;
        let (net, clips) = (AesaNet::new(&config.model), clips(2));
        let crops = [Crop { clip: 0, start: 0, steps: 2 }, Crop { clip: 1, start: 1, steps: 5 }];
        for cache_hidden_mib in [0, 4096] {
            let inputs =
                Inputs::new(&TrainConfig { cache_hidden_mib, ..config.clone() }, &net, &clips, None).unwrap();
            let batch = inputs.batch(&clips, crops.to_vec(), None, &mut Pcg64::seed_from_u64(1)).unwrap();
            // The first crop lacks three steps, of 16 frames or 8 tokens: in the padding no number is heard.
            let time = batch.data.dim() - 2;
            let per_step = batch.data.size()[time] / 5;
            let first = batch.data.narrow(time as i64 - 1, 0, 1);
            _ = first.narrow(time as i64, 2 * per_step, 3 * per_step).fill_(f64::NAN);
            let together = inputs.forward(&net, &clips, &batch).clip_scores();
            for (n, crop) in crops.iter().enumerate() {
                let alone = score(&inputs, &net, &clips, core::slice::from_ref(crop), None).clip_scores();
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
}
