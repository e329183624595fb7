//! What a training step reads: crops of features, or of hidden states that a frozen encoder computed once.

use aesa::fbank::NUM_MEL_BINS;
use aesa::score::FRAMES_PER_STEP;
use rand::RngExt;
use rand_pcg::Pcg64;
use tch::{Kind, Tensor};

use crate::config::TrainConfig;
use crate::dataset::Clip;
use crate::model::{AesaNet, Prediction};
use crate::progress;

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
    },
    /// Per clip the hidden states of a frozen encoder, f16 `[layers, T, D]`, through the head. A crop of them
    /// has heard the whole clip.
    Hidden(Vec<Tensor>),
}

impl Inputs {
    /// Chooses the way that the config allows: hidden states if the encoder is frozen, nothing is blanked, no
    /// clip exceeds the window, and they fit in `cache_hidden_mib`.
    pub fn new(config: &TrainConfig, net: &AesaNet, clips: &[Clip]) -> Self {
        let encoder = &config.model.encoder;
        let bytes_per_step =
            TOKENS_PER_STEP * (encoder.encoder_layers * encoder.encoder_embed_dim * 2) as usize;
        let bytes = clips.iter().map(|c| c.num_steps() * bytes_per_step).sum::<usize>();
        let fits = bytes <= config.cache_hidden_mib << 20
            && clips.iter().all(|c| c.num_steps() <= config.window_steps);
        let (frozen, time_mask, mel_mask) = (config.freeze_encoder, config.time_mask, config.mel_mask);
        if !(frozen && time_mask == 0 && mel_mask == 0 && fits) {
            return Self::Features { frozen, time_mask, mel_mask };
        }
        let bar = progress::bar(clips.len() as u64, "hidden states");
        let hidden = clips.iter().map(|clip| {
            bar.inc(1);
            let features = clip.features.unsqueeze(0).to_kind(Kind::Float); // (1, F, 128)
            let encoded = tch::no_grad(|| net.beats.forward(&features, false));
            Tensor::cat(&encoded.hidden[1..], 0).to_kind(Kind::Half) // (layers, T, D)
        });
        let hidden = hidden.collect();
        bar.finish_and_clear();
        Self::Hidden(hidden)
    }

    /// Scores crops of one length in training mode.
    pub fn forward(&self, net: &AesaNet, clips: &[Clip], crops: &[Crop], rng: &mut Pcg64) -> Prediction {
        match self {
            Self::Features { frozen, time_mask, mel_mask } => {
                let part = |crop: &Crop| cut(&clips[crop.clip].features, 0, crop, FRAMES_PER_STEP);
                let parts: Vec<Tensor> = crops.iter().map(part).collect();
                let features = Tensor::stack(&parts, 0).to_kind(Kind::Float); // (B, F, 128)
                blank(&features, 1, *time_mask, rng);
                blank(&features, 2, *mel_mask, rng);
                if *frozen {
                    let encoded = tch::no_grad(|| net.beats.forward(&features, false));
                    net.head.forward(&encoded.hidden[1..], true)
                } else {
                    net.forward(&features, true)
                }
            }
            Self::Hidden(hidden) => {
                let parts: Vec<Tensor> =
                    crops.iter().map(|c| cut(&hidden[c.clip], 1, c, TOKENS_PER_STEP)).collect();
                let hidden = Tensor::stack(&parts, 1).to_kind(Kind::Float); // (layers, B, T, D)
                net.head.forward(&hidden.unbind(0), true)
            }
        }
    }
}

/// Tokens of one step: one per patch of 16 mel bins.
const TOKENS_PER_STEP: usize = NUM_MEL_BINS / 16;

fn cut(tensor: &Tensor, dim: i64, crop: &Crop, per_step: usize) -> Tensor {
    tensor.narrow(dim, (crop.start * per_step) as i64, (crop.steps * per_step) as i64)
}

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
    use aesa_corpus::labels::Domain;
    use rand::SeedableRng;
    use tch::Device;

    use super::*;
    use crate::config::tiny_model;

    fn clips(count: usize) -> Vec<Clip> {
        let clip = |n| Clip {
            id: format!("{n}"),
            domain: Domain::Speech,
            system: None,
            targets: [5.0; 4],
            features: Tensor::randn([96, 128], (Kind::Float, Device::Cpu)),
        };
        (0..count).map(clip).collect()
    }

    #[test]
    fn cached_hidden_states_give_the_same_scores() {
        let mut config = TrainConfig { model: tiny_model(), ..TrainConfig::default() };
        config.model.head.dropout = 0.0;
        let (net, clips) = (AesaNet::new(&config.model), clips(3));
        let cached = Inputs::new(&config, &net, &clips);
        assert!(matches!(cached, Inputs::Hidden(_)));
        let fresh = Inputs::new(&TrainConfig { cache_hidden_mib: 0, ..config }, &net, &clips);
        assert!(matches!(fresh, Inputs::Features { frozen: true, .. }));
        let crops = [Crop { clip: 2, start: 0, steps: 6 }, Crop { clip: 0, start: 0, steps: 6 }];
        let mut rng = Pcg64::seed_from_u64(1);
        let a = cached.forward(&net, &clips, &crops, &mut rng).token_scores;
        let b = fresh.forward(&net, &clips, &crops, &mut rng).token_scores;
        // Half precision keeps three digits.
        assert!((a - b).abs().max().double_value(&[]) < 2e-3);
    }

    #[test]
    fn crops_lie_inside() {
        let mut rng = Pcg64::seed_from_u64(1);
        let starts: Vec<usize> = (0..200).map(|_| Crop::random(0, 10, 4, &mut rng).start).collect();
        assert_eq!((starts.iter().min(), starts.iter().max()), (Some(&0), Some(&6)));
        assert_eq!(Crop::random(0, 3, 4, &mut rng), Crop { clip: 0, start: 0, steps: 3 });
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
