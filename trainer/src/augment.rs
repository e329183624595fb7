//! Random changes of training clips: another clip mixed in, level, filter, shifted spectrum, blanked spans. Each is off
//! unless the config asks for it, and the clips of one family, which differ in their degradation alone, are changed alike.

use aesa::fbank::{NORM_MEAN, NORM_STD, NUM_MEL_BINS};
use rand::RngExt;
use rand_pcg::Pcg64;
use tch::{Kind, Tensor};

use crate::config::TrainConfig;
use crate::padding;

/// How much clips change at random; 0 is off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augment {
    /// Share of clips that another one is mixed into; what is heard then has no label but a teacher's.
    pub mix_share: f64,
    /// Longest span of frames blanked.
    pub time_mask: usize,
    /// Widest band of mel bins blanked.
    pub mel_mask: usize,
    /// Largest change of level, in dB.
    pub gain_db: f64,
    /// Largest change of a band's level, in dB.
    pub filter_db: f64,
    /// Furthest shift, in mel bins.
    pub mel_shift: usize,
}

impl Augment {
    /// What a config asks for.
    pub fn of(config: &TrainConfig) -> Self {
        let &TrainConfig { time_mask, mel_mask, gain_db, filter_db, mel_shift, .. } = config;
        let mix_share = config.distill.as_ref().map_or(0.0, |distill| distill.mix_share);
        Self { mix_share, time_mask, mel_mask, gain_db, filter_db, mel_shift }
    }

    /// Whether clips stay as they are.
    pub fn is_off(&self) -> bool {
        let &Self { mix_share, time_mask, mel_mask, gain_db, filter_db, mel_shift } = self;
        mix_share <= 0.0
            && time_mask == 0
            && mel_mask == 0
            && gain_db <= 0.0
            && filter_db <= 0.0
            && mel_shift == 0
    }

    /// Changes features `[F, 128]` of several lengths; shorter ones end with zeros: `[B, F, 128]`. Where `kin(n)`, clip n
    /// is of the family of the one before it.
    pub fn apply(&self, mut parts: Vec<Tensor>, kin: impl Fn(usize) -> bool, rng: &mut Pcg64) -> Tensor {
        let &Self { mix_share, time_mask, mel_mask, gain_db, filter_db, mel_shift } = self;
        if mix_share > 0.0 {
            mix(&mut parts, mix_share, &kin, rng);
        }
        if mel_shift > 0 {
            shift_bins(&mut parts, mel_shift as i64, &kin, rng);
        }
        let mut features = padding::stack(&parts, 0, 0).to_kind(Kind::Float); // (B, F, 128)
        if gain_db > 0.0 || filter_db > 0.0 {
            features = change_level(&features, gain_db, filter_db, &kin, rng);
        }
        blank(&features, 1, time_mask, rng);
        blank(&features, 2, mel_mask, rng);
        features
    }
}

/// Mixes into a share of the clips another of the batch, up to [`MIX_DB`] louder or softer than it is, as long as both last: a mel
/// bin's power becomes the sum of both. Where `kin(n)`, clip n gets what the one before it got, which is none of their family.
fn mix(parts: &mut [Tensor], share: f64, kin: impl Fn(usize) -> bool, rng: &mut Pcg64) {
    let originals: Vec<Tensor> = parts.iter().map(|part| part.to_kind(Kind::Float)).collect();
    let mut other = None;
    for (n, part) in parts.iter_mut().enumerate() {
        if !kin(n) {
            let family = 1 + (n + 1..originals.len()).take_while(|&m| kin(m)).count();
            let strangers = originals.len() - family;
            other = (strangers > 0 && rng.random_bool(share)).then(|| {
                let stranger = rng.random_range(0..strangers);
                let clip = if stranger < n { stranger } else { stranger + family };
                (clip, rng.random_range(-MIX_DB..=MIX_DB))
            });
        }
        let Some((other, gain_db)) = other else { continue };
        let (own, theirs) = (&originals[n], &originals[other]); // (F, 128), each its own F
        let frames = own.size()[0].min(theirs.size()[0]);
        let theirs = theirs.narrow(0, 0, frames) + gain_db * UNITS_PER_DB;
        let sum = (own.narrow(0, 0, frames) * LOG_POWER).logaddexp(&(theirs * LOG_POWER)) / LOG_POWER;
        *part = Tensor::cat(&[sum, own.narrow(0, frames, own.size()[0] - frames)], 0);
    }
}

/// How much louder or softer than it is a clip is mixed into another.
const MIX_DB: f64 = 15.0;

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

/// Natural logarithms of power per unit of normalised features.
const LOG_POWER: f64 = 2.0 * NORM_STD as f64;

/// Normalised features per dB.
const UNITS_PER_DB: f64 = core::f64::consts::LN_10 / 10.0 / LOG_POWER;

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
    use rand::SeedableRng;
    use tch::Device;

    use super::*;

    #[test]
    fn clips_are_mixed_as_powers_add_and_kin_alike() {
        let mut rng = Pcg64::seed_from_u64(4);
        // Steady tones of other pitch, so that phases do not matter; the second is shorter.
        let tone = |hz: f32, len: usize| -> Vec<f32> {
            (0..len).map(|n| 0.1 * (core::f32::consts::TAU * hz * n as f32 / 16_000.0).sin()).collect()
        };
        let fbank = |w: &[f32]| Tensor::from_slice(&aesa::fbank::normalised_fbank(w)).view([-1, 128]);
        let (low, high) = (tone(500.0, 4800), tone(3000.0, 3200));
        let originals = [fbank(&low), fbank(&high)];
        let mut parts = originals.each_ref().map(Tensor::shallow_clone);
        mix(&mut parts, 1.0, |_| false, &mut rng);
        let short = originals[1].size()[0];
        let tail = |x: &Tensor| x.narrow(0, short, x.size()[0] - short);
        assert_eq!(tail(&parts[0]), tail(&originals[0]));
        // In the other's bins the change of level is what there is to hear; the front end then makes the same of the sum.
        let loudest = originals[1].get(0).argmax(0, false).int64_value(&[]);
        let gain = parts[0].double_value(&[0, loudest]) - originals[1].double_value(&[0, loudest]);
        let factor = 10f64.powf(gain / UNITS_PER_DB / 20.0) as f32;
        assert!(gain.abs() <= MIX_DB * UNITS_PER_DB + 1e-3 && gain != 0.0, "{gain}");
        let sum: Vec<f32> = low.iter().zip(&high).map(|(a, b)| a + factor * b).collect();
        let difference = (fbank(&sum) - parts[0].narrow(0, 0, short)).abs();
        assert!(difference.mean(Kind::Float).double_value(&[]) < 0.02, "{difference}");

        // The first two are kin: both get the third, which gets one of them.
        let mut kin = [0, 0, 1].map(|n: usize| originals[n].shallow_clone());
        mix(&mut kin, 1.0, |n| n == 1, &mut rng);
        assert_eq!(kin[0], kin[1]);
        assert!(kin[0] != originals[0] && kin[2] != originals[1]);
        let mut alone = [originals[0].shallow_clone()];
        mix(&mut alone, 1.0, |_| false, &mut rng);
        assert_eq!(alone[0], originals[0]);
        let mut untouched = originals.each_ref().map(Tensor::shallow_clone);
        mix(&mut untouched, 0.0, |_| false, &mut rng);
        assert_eq!(untouched, originals);
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
