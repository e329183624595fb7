//! From frame scores to a clip score.

use crate::score::{ClipScore, NUM_AXES, Scores};

/// Running mean of frame scores, which is the clip score: every step counts the same, also in a short last window.
///
/// Sums are f64, so that hours of frames lose nothing that f32 could show.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClipMean {
    sums: [f64; NUM_AXES],
    num_steps: u64,
}

impl ClipMean {
    /// Adds the scores of one more step.
    pub fn push(&mut self, scores: Scores) {
        for (sum, score) in self.sums.iter_mut().zip(scores.0) {
            *sum += f64::from(score);
        }
        self.num_steps += 1;
    }

    /// The mean so far; `None` before the first step.
    pub fn mean(&self) -> Option<ClipScore> {
        let divisor = self.num_steps as f64;
        (self.num_steps > 0).then(|| ClipScore {
            scores: Scores(self.sums.map(|sum| (sum / divisor) as f32)),
            num_steps: self.num_steps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_of_steps() {
        let mut pool = ClipMean::default();
        assert_eq!(pool.mean(), None);
        pool.push(Scores([1.0, 2.0, 3.0, 4.0]));
        pool.push(Scores([2.0, 2.0, 5.0, 0.0]));
        assert_eq!(pool.mean(), Some(ClipScore { scores: Scores([1.5, 2.0, 4.0, 2.0]), num_steps: 2 }));
    }

    #[test]
    fn a_long_clip_loses_nothing() {
        let mut pool = ClipMean::default();
        // Two days of one score: an f32 sum would have stopped growing.
        for _ in 0..1_080_000 {
            pool.push(Scores([7.3; NUM_AXES]));
        }
        assert_eq!(pool.mean().map(|m| m.scores), Some(Scores([7.3; NUM_AXES])));
    }
}
