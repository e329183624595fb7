//! How well raters agree with each other: half of them against the other half.
//!
//! ```text
//! repeat num_splits times:
//!     of each clip, draw two halves of its raters     (one is left out where their number is odd)
//!     prediction = mean of one half, truth = mean of the other
//!     take all metrics
//! give each metric's mean
//! ```
//! Files do not say who rated what, so each clip's raters are split by themselves. What is found is the agreement of
//! *half* the raters: predictions are compared with the mean of all, which is less noisy, so that a very good model may
//! come out above it.

use std::collections::HashMap;

use aesa::score::NUM_AXES;
use anyhow::{Result, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::metrics::mean;
use crate::report::{Agreement, Scored};

/// Every rater's scores, by clip id.
pub type Raters = HashMap<String, Vec<[f64; NUM_AXES]>>;

/// How to split.
#[derive(Clone, Copy, Debug)]
pub struct Splits {
    /// How many random splits; 0 for no ceiling.
    pub num_splits: usize,
    /// The same seed gives the same splits.
    pub seed: u64,
}

impl Default for Splits {
    fn default() -> Self {
        Self { num_splits: 100, seed: 1 }
    }
}

/// Metrics of half the raters against the other half.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// The smallest and the largest number of raters of a clip.
    pub num_raters: [usize; 2],
    /// Over how many splits the metrics are averaged.
    pub num_splits: usize,
    /// What decided them.
    pub seed: u64,
    /// The metrics' means.
    #[serde(flatten)]
    pub agreement: Agreement,
}

impl Splits {
    /// The ceiling on `clips`; none of no splits.
    ///
    /// # Errors
    /// Where a clip has fewer than two raters.
    pub fn ceiling(&self, clips: &[Scored], raters: &Raters) -> Result<Option<Ceiling>> {
        if self.num_splits == 0 {
            return Ok(None);
        }
        let of = |clip: &Scored| raters.get(&clip.id).map_or(&[][..], Vec::as_slice);
        let lacking: Vec<&Scored> = clips.iter().filter(|c| of(c).len() < 2).collect();
        ensure!(
            lacking.is_empty(),
            "{} of {} clips do not have the scores of two raters, the first being {}",
            lacking.len(),
            clips.len(),
            lacking[0].id
        );
        let split = |n: usize| {
            let mut rng = Pcg64::seed_from_u64(self.seed.rotate_left(32) ^ n as u64);
            let halves = clips.iter().map(|clip| {
                let [prediction, truth] = halves(of(clip), &mut rng);
                Scored { prediction, truth, ..clip.clone() }
            });
            Agreement::of(&halves.collect::<Vec<_>>())
        };
        let splits: Vec<Agreement> = (0..self.num_splits).into_par_iter().map(split).collect();
        let counts = || clips.iter().map(|c| of(c).len());
        Ok(splits.first().map(|first| Ceiling {
            num_raters: [counts().min().unwrap_or(0), counts().max().unwrap_or(0)],
            num_splits: self.num_splits,
            seed: self.seed,
            agreement: first.reduce(&splits, &|values| mean(&values)),
        }))
    }
}

/// Means of two random halves.
fn halves(raters: &[[f64; NUM_AXES]], rng: &mut Pcg64) -> [[f64; NUM_AXES]; 2] {
    let mut order: Vec<usize> = (0..raters.len()).collect();
    order.shuffle(rng);
    let half = order.len() / 2;
    let mean_of = |part: &[usize]| {
        core::array::from_fn(|axis| mean(&part.iter().map(|r| raters[*r][axis]).collect::<Vec<_>>()))
    };
    [mean_of(&order[..half]), mean_of(&order[half..2 * half])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ALL, Level};
    use aesa::score::Axis;
    use rand::RngExt;

    /// Clips of known quality under raters with noise of variance `noise`; 3 is the variance of the quality.
    fn rated(noise: f64, num_raters: usize) -> (Vec<Scored>, Raters) {
        let mut rng = Pcg64::seed_from_u64(7);
        let (mut clips, mut raters) = (Vec::new(), Raters::new());
        let spread = (3.0 * noise).sqrt();
        for n in 0..3000 {
            let quality: f64 = rng.random_range(2.0..8.0);
            let id = n.to_string();
            let scores = (0..num_raters).map(|_| {
                [quality + if spread > 0.0 { rng.random_range(-spread..spread) } else { 0.0 }; NUM_AXES]
            });
            raters.insert(id.clone(), scores.collect());
            let (system, domain) = (Some((n % 30).to_string()), None);
            clips.push(Scored {
                id,
                system,
                domain,
                prediction: [0.0; NUM_AXES],
                truth: [quality; NUM_AXES],
            });
        }
        (clips, raters)
    }

    #[test]
    fn known_noise_gives_the_known_agreement() {
        for (num_raters, half) in [(10, 5.0), (11, 5.0), (2, 1.0)] {
            let (clips, raters) = rated(2.0, num_raters);
            let ceiling = Splits { num_splits: 20, seed: 1 }.ceiling(&clips, &raters).unwrap().unwrap();
            assert_eq!(ceiling.num_raters, [num_raters; 2]);
            let found = ceiling.agreement.metrics(ALL, Axis::Ce, Level::Utterance).unwrap();
            // Noise of variance 2 in each rater; two independent halves.
            let (mse, lcc) = (2.0 * 2.0 / half, 3.0 / (3.0 + 2.0 / half));
            assert!((found.mse / mse - 1.0).abs() < 0.05, "{num_raters}: {} {mse}", found.mse);
            assert!((found.lcc - lcc).abs() < 0.02, "{num_raters}: {} {lcc}", found.lcc);
            assert!(found.bias.abs() < 0.05, "{}", found.bias);
        }
    }

    #[test]
    fn raters_who_agree_are_perfect() {
        let (clips, raters) = rated(0.0, 4);
        let ceiling = Splits { num_splits: 3, seed: 1 }.ceiling(&clips, &raters).unwrap().unwrap();
        for level in Level::ALL {
            let found = ceiling.agreement.metrics(ALL, Axis::Pq, level).unwrap();
            assert!(found.mse < 1e-24 && found.lcc > 1.0 - 1e-12, "{found:?}");
        }
    }

    #[test]
    fn one_rater_is_no_half() {
        let (clips, mut raters) = rated(1.0, 2);
        raters.get_mut("17").unwrap().pop();
        let error = Splits::default().ceiling(&clips, &raters).unwrap_err().to_string();
        assert!(error.contains("1 of 3000") && error.ends_with("17"), "{error}");
        assert!(Splits { num_splits: 0, seed: 1 }.ceiling(&clips, &raters).unwrap().is_none());
    }

    /// Found with numpy, 20 splits of each clip by itself: SRCC of utterances, then of systems.
    #[test]
    fn the_challenges_raters_agree_as_numpy_finds() {
        let labels = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/golden/metrics/audiomos2025_track2_human_annotations.jsonl"
        );
        let (labels, raters) = crate::truth::read_labels(labels.as_ref()).unwrap();
        let clips: Vec<Scored> = labels
            .into_iter()
            .map(|l| Scored {
                id: l.id,
                system: l.system,
                domain: None,
                prediction: l.scores,
                truth: l.scores,
            })
            .collect();
        let ceiling = Splits { num_splits: 10, seed: 1 }.ceiling(&clips, &raters).unwrap().unwrap();
        let expected = [(0.776, 0.987), (0.853, 0.973), (0.815, 0.988), (0.805, 0.993)];
        for (axis, expected) in Axis::ALL.into_iter().zip(expected) {
            let srcc = |level| ceiling.agreement.metrics(ALL, axis, level).unwrap().srcc;
            let found = (srcc(Level::Utterance), srcc(Level::System));
            // A single split deviates by 0.006 at most from the mean.
            let is_near = (found.0 - expected.0).abs() < 0.006 && (found.1 - expected.1).abs() < 0.006;
            assert!(is_near, "{axis}: {found:?} {expected:?}");
        }
    }
}
