//! Lost audio: which frames it touches.

use core::ops::Range;

use crate::fbank::{FRAME_LENGTH_SAMPLES, FRAME_SHIFT_SAMPLES};

/// Remembers where audio was lost, at 16 kHz, until all frames that it touches have passed.
///
/// Memory is one range, however many gaps there are: when a gap is marked, all samples before it have become frames,
/// but for those of frames that reach into it; so an earlier gap either touches the same frames or none any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps {
    latest: Range<u64>,
}

impl Gaps {
    /// Marks samples as lost; no frame that ends behind `samples.start` may have passed yet.
    pub(crate) fn mark(&mut self, samples: Range<u64>) {
        let is_near = samples.start < self.latest.end + FRAME_LENGTH_SAMPLES as u64;
        let start = if is_near && !self.latest.is_empty() { self.latest.start } else { samples.start };
        self.latest = start..samples.end.max(self.latest.end);
    }

    /// Whether the fbank frame of that index covers a lost sample. Frames have to be asked for in order.
    pub(crate) fn touch(&self, frame: u64) -> bool {
        let start = frame * FRAME_SHIFT_SAMPLES as u64;
        start < self.latest.end && self.latest.start < start + FRAME_LENGTH_SAMPLES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_that_cover_a_lost_sample() {
        let mut gaps = Gaps::default();
        assert!(!gaps.touch(0));
        // Frame 2 covers 320..720, frame 4 640..1040, frame 5 800..1200.
        gaps.mark(719..720);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|f| gaps.touch(f)), [false, false, true, true, true, false]);
    }

    #[test]
    fn near_gaps_merge_and_far_ones_are_forgotten() {
        let mut gaps = Gaps::default();
        gaps.mark(0..1);
        gaps.mark(400..401);
        // No frame lies wholly between the two.
        assert!(gaps.touch(0) && gaps.touch(1) && gaps.touch(2) && !gaps.touch(3));
        let mut gaps = Gaps::default();
        gaps.mark(0..1);
        gaps.mark(1601..1602);
        assert_eq!([7, 8, 10, 11].map(|f| gaps.touch(f)), [false, true, true, false]);
    }
}
