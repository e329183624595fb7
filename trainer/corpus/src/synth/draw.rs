//! Seeded random draws: every clip has its own generator, so the order of work never changes a corpus.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use sha2::{Digest, Sha256};

/// A random generator for one purpose of one clip.
pub(crate) struct Draw(Pcg64Mcg);

impl Draw {
    /// The generator of `key`, e.g. `train/mix/12/0`, under `seed`. Equal arguments give equal draws.
    pub(crate) fn new(seed: u64, key: &str) -> Self {
        let digest = Sha256::digest(format!("{seed}/{key}").as_bytes());
        let mut state = [0; 16];
        state.copy_from_slice(&digest[..16]);
        Self(Pcg64Mcg::from_seed(state))
    }

    /// Uniform in `low..high`.
    pub(crate) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.random::<f64>()
    }

    /// Uniform in the logarithm between `low` and `high`, both above 0.
    pub(crate) fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.0.random::<f64>())
    }

    /// A whole number in `0..count`.
    ///
    /// Panics if `count` is 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    /// One of `items`.
    ///
    /// Panics if there are none.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// An index, drawn with the given weights (not all 0).
    pub(crate) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.uniform(0.0, weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        weights.iter().rposition(|w| *w > 0.0).unwrap_or(0)
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.0.random::<f64>() < p
    }

    /// Normal with mean 0 and variance 1 (Box-Muller).
    pub(crate) fn gauss(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.0.random::<f64>()).ln()).sqrt();
        radius * (core::f64::consts::TAU * self.0.random::<f64>()).cos()
    }

    /// `items` in random order (Fisher-Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_seed_and_key_only() {
        let draw = |seed, key| Draw::new(seed, key).uniform(0.0, 1.0);
        assert_eq!(draw(1, "a/1"), draw(1, "a/1"));
        assert_ne!(draw(1, "a/1"), draw(1, "a/2"));
        assert_ne!(draw(1, "a/1"), draw(2, "a/1"));
    }

    #[test]
    fn weights_of_zero_are_never_drawn() {
        let mut draw = Draw::new(0, "w");
        let counts = (0..3000).fold([0; 4], |mut counts, _| {
            counts[draw.weighted(&[0.0, 1.0, 3.0, 0.0])] += 1;
            counts
        });
        assert_eq!((counts[0], counts[3]), (0, 0));
        assert!((0.7..0.8).contains(&(f64::from(counts[2]) / 3000.0)), "{counts:?}");
    }

    #[test]
    fn gauss_has_unit_variance() {
        let mut draw = Draw::new(0, "g");
        let power = (0..20_000).map(|_| draw.gauss().powi(2)).sum::<f64>() / 20_000.0;
        assert!((power - 1.0).abs() < 0.05, "{power}");
    }
}
