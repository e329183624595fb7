//! What training minimises: squared errors of clip and token scores, the triplet loss, and a ranking loss.
//!
//! ```text
//! loss = mse(clip) + frame_weight * mse(tokens) + alpha * triplet + rank_weight * rank
//! ```
//! Source: the AESA-Net paper, section III; the token term is HAAQI-Net's. The ranking loss is RankNet's (Burges
//! et al. 2005) over the pairs of one domain: MSE alone hardly notices an axis on which a domain's labels lie close
//! together. Letters in shapes as in [`crate::model`].

use aesa::score::NUM_AXES;
use aesa_corpus::labels::Domain;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::buffer::TripletBuffer;
use crate::config::{TrainConfig, TripletConfig};
use crate::model::Prediction;
use crate::padding;
use crate::upload::upload;

/// Mean and standard deviation of the training targets per axis, on the scale of 0 to 10.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetScale {
    /// Means.
    pub mean: [f64; NUM_AXES],
    /// Standard deviations over the whole set (divided by its size); 1 where all targets are equal.
    pub std: [f64; NUM_AXES],
}

impl TargetScale {
    /// The scale of a set of targets.
    pub fn of(targets: &[[f64; NUM_AXES]]) -> Self {
        let count = targets.len().max(1) as f64;
        let mean = core::array::from_fn(|a| targets.iter().map(|t| t[a]).sum::<f64>() / count);
        let std = core::array::from_fn(|a: usize| {
            let squares = targets.iter().map(|t| (t[a] - mean[a]).powi(2));
            let std = (squares.sum::<f64>() / count).sqrt();
            if std > 1e-6 { std } else { 1.0 }
        });
        Self { mean, std }
    }

    /// A target in standard deviations from the mean.
    pub fn z(&self, target: &[f64; NUM_AXES]) -> [f64; NUM_AXES] {
        core::array::from_fn(|a| (target[a] - self.mean[a]) / self.std[a])
    }

    /// Scores of 0 to 1, `[.., A]`, in standard deviations from the mean.
    fn z_of_scores(&self, scores: &Tensor) -> Tensor {
        let row = |values: &[f64; NUM_AXES]| {
            upload(&Tensor::from_slice(&values.map(|v| v as f32)), scores.device())
        };
        (scores * 10.0 - row(&self.mean)) / row(&self.std)
    }
}

/// The loss of one batch, part by part, `[]` each; add a term here and in [`Loss::of`].
#[derive(Debug)]
pub struct BatchLoss {
    /// What is minimised.
    pub total: Tensor,
    /// MSE of the clip scores, in z.
    pub clip: Tensor,
    /// MSE of the token scores, in z.
    pub frame: Tensor,
    /// Triplet loss; 0 while the buffer has no triplet.
    pub triplet: Tensor,
    /// Ranking loss, in z; 0 where it is off.
    pub rank: Tensor,
    /// Difference from a teacher's hidden states, which [`crate::distill`] adds; else 0.
    pub hidden: Tensor,
}

impl BatchLoss {
    /// All of them in this order, `[6]`, without gradient and still on the network's device.
    pub fn values(&self) -> Tensor {
        let Self { total, clip, frame, triplet, rank, hidden } = self;
        Tensor::stack(&[total, clip, frame, triplet, rank, hidden].map(Tensor::detach), 0)
    }
}

/// What is known of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Truth<'a> {
    /// Targets on the scale of 0 to 10, one per clip.
    pub targets: &'a [[f64; NUM_AXES]],
    /// Domains, one per clip; clips without a domain are ranked among themselves.
    pub domains: &'a [Option<Domain>],
    /// Families, one per clip: what tells the clips of one domain and family apart is their degradation alone.
    pub families: &'a [Option<u64>],
    /// A teacher's score of every token, 0 to 1, `[B, T, A]`; without them a clip's tokens share its target.
    pub tokens: Option<&'a Tensor>,
}

/// Computes losses and keeps the triplet buffer.
#[derive(Debug)]
pub struct Loss {
    scale: TargetScale,
    frame_weight: f64,
    rank_weight: f64,
    triplet: TripletConfig,
    buffer: TripletBuffer,
}

impl Loss {
    /// The loss of a run; the buffer is empty.
    pub fn new(config: &TrainConfig, scale: TargetScale) -> Self {
        let triplet = config.triplet.clone();
        Self {
            scale,
            frame_weight: config.frame_weight,
            rank_weight: config.rank_weight,
            buffer: TripletBuffer::new(triplet.capacity),
            triplet,
        }
    }

    /// The buffer that triplets are drawn from.
    pub fn buffer(&mut self) -> &mut TripletBuffer {
        &mut self.buffer
    }

    /// The loss of a batch; the batch enters the buffer afterwards.
    pub fn of(&mut self, prediction: &Prediction, batch: Truth<'_>, rng: &mut Pcg64) -> BatchLoss {
        let z: Vec<[f64; NUM_AXES]> = batch.targets.iter().map(|t| self.scale.z(t)).collect();
        let flat: Vec<f32> = z.iter().flatten().map(|v| *v as f32).collect();
        let truth = Tensor::from_slice(&flat).view([-1, NUM_AXES as i64]);
        let truth = upload(&truth, prediction.token_scores.device()); // (B, A)
        let token_z = self.scale.z_of_scores(&prediction.token_scores); // (B, T, A)
        let mean = |x: &Tensor| padding::mean(x, prediction.padding.as_ref());
        let clip_z = mean(&token_z); // (B, A), since z is linear in the score
        let clip = (&clip_z - &truth).square().mean(Kind::Float);
        let token_truth = match batch.tokens {
            Some(scores) => self.scale.z_of_scores(scores), // (B, T, A)
            None => truth.unsqueeze(1),                     // (B, 1, A)
        };
        let frame = mean(&(token_z - token_truth).square()).mean(Kind::Float);
        let mut total = &clip + &frame * self.frame_weight;
        let zero = || clip.detach().zeros_like();
        let mut rank_value = zero();
        if self.rank_weight != 0.0 {
            let rank = rank_loss(&clip_z, &truth, batch.domains, batch.families);
            rank_value = rank.detach();
            total += rank * self.rank_weight;
        }
        let mut triplet_value = zero();
        if self.triplet.alpha != 0.0 {
            let embedding = self.embedding(prediction);
            if let Some(triplet) = self.triplet_loss(&embedding, &z, rng) {
                triplet_value = triplet.detach();
                total += triplet * self.triplet.alpha;
            }
            self.buffer.push(&embedding, &z);
        }
        let hidden = zero();
        BatchLoss { total, clip, frame, triplet: triplet_value, rank: rank_value, hidden }
    }

    /// The embeddings that are compared, `[B, S]`.
    fn embedding(&self, prediction: &Prediction) -> Tensor {
        let z = &prediction.embedding;
        if !self.triplet.normalise {
            return z.shallow_clone();
        }
        let norm = z.square().sum_dim_intlist([1].as_slice(), true, Kind::Float).sqrt();
        z / norm.clamp_min(1e-6)
    }

    /// `max(|a - p|^2 - |a - n|^2 + margin, 0)`, averaged over all triplets drawn; `None` where none was
    /// found.
    fn triplet_loss(&self, embedding: &Tensor, z: &[[f64; NUM_AXES]], rng: &mut Pcg64) -> Option<Tensor> {
        let triplets = self.buffer.draw(z, self.triplet.eps, self.triplet.shared, rng);
        if triplets.is_empty() {
            return None;
        }
        let index = |pick: fn(&crate::buffer::Triplet) -> usize| {
            let places: Vec<i64> = triplets.iter().map(|t| pick(t) as i64).collect();
            upload(&Tensor::from_slice(&places), embedding.device())
        };
        let recent = self.buffer.embeddings(); // (len, S)
        let anchor = embedding.index_select(0, &index(|t| t.anchor)); // (triplets, S)
        let distance =
            |other: Tensor| (&anchor - other).square().sum_dim_intlist([1].as_slice(), false, Kind::Float);
        let positive = distance(recent.index_select(0, &index(|t| t.positive))); // (triplets)
        let negative = distance(recent.index_select(0, &index(|t| t.negative))); // (triplets)
        Some((positive - negative + self.triplet.margin).relu().mean(Kind::Float))
    }
}

/// `softness * softplus(-d / softness)`, averaged over axes and pairs of one domain; `d` is how far the clip with
/// the higher target is scored above the other. The closer the targets are, within `FULL_DIFFERENCE`, the less a pair
/// counts. Pairs of one family, where nothing but the degradation differs, have a mean of their own, which is added:
/// they are few, and `FULL_DIFFERENCE_OF_KIN` is enough. Clips without a domain count among themselves.
fn rank_loss(
    clip_z: &Tensor,
    truth: &Tensor,
    domains: &[Option<Domain>],
    families: &[Option<u64>],
) -> Tensor {
    let differences = |x: &Tensor| x.unsqueeze(1) - x.unsqueeze(0); // (B, B, A)
    let equal = |numbers: &[i64]| {
        let numbers = upload(&Tensor::from_slice(numbers), truth.device());
        numbers.unsqueeze(1).eq_tensor(&numbers.unsqueeze(0)).unsqueeze(2) // (B, B, 1)
    };
    let same_domain = equal(&domains.iter().map(|d| d.map_or(-1, |d| d as i64)).collect::<Vec<_>>());
    let strangers = (0..).map(|clip: i64| -1 - clip);
    let families = families.iter().zip(strangers).map(|(family, none)| family.map_or(none, |f| f as i64));
    let same_family = equal(&families.collect::<Vec<_>>());
    let softplus = (differences(clip_z) / -SOFTNESS).softplus() * SOFTNESS; // (B, B, A)
    let mean = |pairs: Tensor, full: f64| {
        let counts = (differences(truth) / full).clamp(0.0, 1.0) * pairs; // (B, B, A)
        (&softplus * &counts).sum(Kind::Float) / counts.sum(Kind::Float).clamp_min(1e-3)
    };
    let strangers = same_domain.logical_and(&same_family.logical_not());
    mean(strangers, FULL_DIFFERENCE) + mean(same_domain.logical_and(&same_family), FULL_DIFFERENCE_OF_KIN)
}

/// Where the ranking loss bends, in z: pairs further apart than a few times this, in the right order, cost nothing.
const SOFTNESS: f64 = 0.2;

/// Pairs whose targets are this far apart, in z, count in full.
const FULL_DIFFERENCE: f64 = 0.25;

/// The same within a family.
const FULL_DIFFERENCE_OF_KIN: f64 = 0.05;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use tch::Device;

    use super::*;

    const TARGETS: [[f64; 4]; 2] = [[4.0, 4.0, 4.0, 4.0], [8.0, 6.0, 4.0, 4.0]];

    fn prediction(scores: &[f32], embedding: &[f32]) -> Prediction {
        Prediction {
            token_scores: Tensor::from_slice(scores).view([-1, 2, 4]),
            embedding: Tensor::from_slice(embedding).view([-1, 2]),
            padding: None,
        }
    }

    fn value(x: &Tensor) -> f64 {
        x.double_value(&[])
    }

    fn speech(targets: &[[f64; 4]]) -> Truth<'_> {
        let domains = &[Some(Domain::Speech); 2][..targets.len()];
        Truth { targets, domains, families: &[None; 2][..targets.len()], tokens: None }
    }

    #[test]
    fn scale_is_mean_and_population_deviation() {
        let scale = TargetScale::of(&TARGETS);
        assert_eq!(scale.mean, [6.0, 5.0, 4.0, 4.0]);
        assert_eq!(scale.std, [2.0, 1.0, 1.0, 1.0]);
        assert_eq!(scale.z(&TARGETS[1]), [1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn squared_errors_are_in_standard_deviations() {
        let scale = TargetScale { mean: [5.0; 4], std: [2.0; 4] };
        let mut loss = Loss::new(&TrainConfig::default(), scale);
        // Token scores 0.3 and 0.7 mean 5.0 (z 0); the target 7 is z 1: clip error 1, token errors 4 and 0.
        let prediction = prediction(&[0.3, 0.3, 0.3, 0.3, 0.7, 0.7, 0.7, 0.7], &[1.0, 0.0]);
        let batch = loss.of(&prediction, speech(&[[7.0; 4]]), &mut Pcg64::seed_from_u64(1));
        assert!((value(&batch.clip) - 1.0).abs() < 1e-5, "{batch:?}");
        assert!((value(&batch.frame) - 2.0).abs() < 1e-5, "{batch:?}");
        assert_eq!(value(&batch.triplet), 0.0);
        assert!((batch.total.double_value(&[]) - 3.0).abs() < 1e-5);
    }

    #[test]
    fn a_teachers_tokens_are_targets_of_their_own() {
        let scale = TargetScale { mean: [5.0; 4], std: [2.0; 4] };
        let mut loss = Loss::new(&TrainConfig::default(), scale);
        let prediction = prediction(&[0.3, 0.3, 0.3, 0.3, 0.7, 0.7, 0.7, 0.7], &[1.0, 0.0]);
        // The first token is right, the second 0.4 (z 2) too high: token errors 0 and 4.
        let tokens = Tensor::from_slice(&[0.3f32; 8]).view([-1, 2, 4]);
        let truth = Truth { tokens: Some(&tokens), ..speech(&[[3.0; 4]]) };
        let batch = loss.of(&prediction, truth, &mut Pcg64::seed_from_u64(1));
        assert!(
            (value(&batch.frame) - 2.0).abs() < 1e-5 && (value(&batch.clip) - 1.0).abs() < 1e-5,
            "{batch:?}"
        );
    }

    #[test]
    fn a_batch_with_padding_costs_the_mean_of_its_clips() {
        let scale = TargetScale { mean: [5.0; 4], std: [1.0; 4] };
        let loss = |prediction: &Prediction, targets: &[[f64; 4]]| {
            let mut loss = Loss::new(&TrainConfig::default(), scale);
            loss.of(prediction, speech(targets), &mut Pcg64::seed_from_u64(1)).total.double_value(&[])
        };
        let mut scores = [0.1, 0.3, 0.5, 0.7, 0.2, 0.4, 0.6, 0.8, 0.9, 0.9, 0.9, 0.9, 0.0, 0.0, 0.0, 0.0];
        scores[12..].fill(f32::NAN);
        let mut batch = prediction(&scores, &[0.0; 4]);
        batch.padding = padding::Padding::of(&[2, 1], Device::Cpu);
        let first = loss(&prediction(&scores[..8], &[0.0; 2]), &TARGETS[..1]);
        let mut second = prediction(&scores[8..], &[0.0; 2]);
        second.token_scores = second.token_scores.narrow(1, 0, 1);
        let second = loss(&second, &TARGETS[1..]);
        assert!((loss(&batch, &TARGETS) - 0.5 * (first + second)).abs() < 1e-5);
    }

    #[test]
    fn triplet_pulls_the_like_nearer() {
        let scale = TargetScale { mean: [5.0; 4], std: [1.0; 4] };
        let triplet = TripletConfig { normalise: false, margin: 1.0, ..TripletConfig::default() };
        let config = TrainConfig { triplet, ..TrainConfig::default() };
        let mut loss = Loss::new(&config, scale);
        let mut rng = Pcg64::seed_from_u64(1);
        let scores = [0.5; 16];
        loss.of(&prediction(&scores, &[0.0, 0.0, 3.0, 0.0]), speech(&[[5.0; 4], [9.0; 4]]), &mut rng);
        // Anchor at 1 with target 5: the like lies at 0 (distance 1), the unlike at 3 (distance 4): max(1 - 4
        // + 1, 0) = 0.
        let near = loss.of(&prediction(&scores[..8], &[1.0, 0.0]), speech(&[[5.0; 4]]), &mut rng);
        assert_eq!(value(&near.triplet), 0.0);
        let mut loss = Loss::new(&config, scale);
        loss.of(&prediction(&scores, &[0.0, 0.0, 3.0, 0.0]), speech(&[[5.0; 4], [9.0; 4]]), &mut rng);
        // Anchor at 2: max(4 - 1 + 1, 0) = 4.
        let far = loss.of(&prediction(&scores[..8], &[2.0, 0.0]), speech(&[[5.0; 4]]), &mut rng);
        assert!((value(&far.triplet) - 4.0).abs() < 1e-5, "{far:?}");
    }

    #[test]
    fn ranking_counts_pairs_of_one_domain_in_the_wrong_order() {
        let truth = Tensor::from_slice2(&[[0.0f32], [1.0]]);
        let loss = |scores: [[f32; 1]; 2], domains: [Option<Domain>; 2]| {
            rank_loss(&Tensor::from_slice2(&scores), &truth, &domains, &[None; 2]).double_value(&[])
        };
        let speech = [Some(Domain::Speech); 2];
        assert!((loss([[0.5], [0.5]], speech) - SOFTNESS * 2f64.ln()).abs() < 1e-6);
        assert!((loss([[2.0], [0.0]], speech) - 2.0).abs() < 1e-4);
        assert!(loss([[0.0], [2.0]], speech) < 1e-4);
        assert_eq!(loss([[2.0], [0.0]], [Some(Domain::Speech), Some(Domain::Music)]), 0.0);
        assert_eq!(loss([[2.0], [0.0]], [Some(Domain::Speech), None]), 0.0);
        assert!((loss([[2.0], [0.0]], [None; 2]) - 2.0).abs() < 1e-4);
    }

    #[test]
    fn a_small_difference_counts_in_full_within_a_family() {
        // Three clips in the wrong order; the second and third targets are near each other.
        let (truth, scores) = ([[1.0f32], [0.06], [0.0]], [[0.0f32], [1.0], [3.0]]);
        let loss = |families: [Option<u64>; 3]| {
            let speech = [Some(Domain::Speech); 3];
            let [scores, truth] = [&scores, &truth].map(|rows| Tensor::from_slice2(rows));
            rank_loss(&scores, &truth, &speech, &families).double_value(&[])
        };
        // Differences 1, 3 and 2 count 1, 1 and 0.06 / 0.25 among strangers.
        let strangers = (1.0 + 3.0 + 0.24 * 2.0) / 2.24;
        assert!((loss([None; 3]) - strangers).abs() < 2e-3);
        assert!((loss([Some(1), Some(2), Some(3)]) - strangers).abs() < 2e-3);
        // Strangers 1 and 3 wrong, kin 2.
        assert!((loss([None, Some(7), Some(7)]) - (2.0 + 2.0)).abs() < 2e-3);
    }
}
