//! What the network sees at once: consecutive steps of one continuous feature stream.

use alloc::vec;
use alloc::vec::Vec;

use crate::fbank::{NUM_MEL_BINS, normalise};
use crate::score::FRAMES_PER_STEP;

/// Gathers frames into windows.
///
/// Steps lie on one grid over the whole clip, step `i` over frames `[16 i, 16 i + 16)`; windows follow one another
/// without overlap, so window `w` holds steps `[w n, w n + n)` of `n` steps each, and only the last is shorter.
/// Memory is one window, asked for in `new`.
#[derive(Clone, Debug)]
pub struct Window {
    /// `[max_steps * 16, 128]`, normalised; NaN where no frame has been put yet.
    features: Vec<f32>,
    num_frames: usize,
    first_step: u64,
}

impl Window {
    /// An empty first window of up to `max_steps` steps.
    pub fn new(max_steps: usize) -> Self {
        Self {
            features: vec![f32::NAN; max_steps * FRAMES_PER_STEP * NUM_MEL_BINS],
            num_frames: 0,
            first_step: 0,
        }
    }

    /// Normalises a log-mel frame and appends it; true when the window has become full.
    ///
    /// # Panics
    /// If the window is full already: [`Window::advance`] comes first.
    pub fn push(&mut self, log_mel: &[f32; NUM_MEL_BINS]) -> bool {
        let slot = &mut self.features[self.num_frames * NUM_MEL_BINS..][..NUM_MEL_BINS];
        slot.copy_from_slice(log_mel);
        normalise(slot);
        self.num_frames += 1;
        self.num_frames * NUM_MEL_BINS == self.features.len()
    }

    /// How many whole steps the window holds.
    pub fn num_steps(&self) -> usize {
        self.num_frames / FRAMES_PER_STEP
    }

    /// The features of its whole steps, `[num_steps * 16, 128]`, row-major.
    pub fn features(&self) -> &[f32] {
        &self.features[..self.num_steps() * FRAMES_PER_STEP * NUM_MEL_BINS]
    }

    /// Which step of the clip the window begins with.
    pub fn first_step(&self) -> u64 {
        self.first_step
    }

    /// Moves on to the next window; frames past the last whole step are dropped.
    pub fn advance(&mut self) {
        self.first_step += self.num_steps() as u64;
        self.clear();
    }

    /// Back to the start of a clip.
    pub fn reset(&mut self) {
        self.first_step = 0;
        self.clear();
    }

    fn clear(&mut self) {
        self.num_frames = 0;
        // A stale frame that leaked into a later window would look plausible; NaN shows.
        self.features.fill(f32::NAN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_one_another_on_the_step_grid() {
        let mut window = Window::new(2);
        let mut seen = Vec::new();
        for i in 0..90 {
            if window.push(&[i as f32; NUM_MEL_BINS]) {
                seen.push((window.first_step(), window.num_steps(), window.features()[0]));
                window.advance();
            }
        }
        let at = |frame: usize| {
            let mut x = [frame as f32];
            normalise(&mut x);
            x[0]
        };
        assert_eq!(seen, [(0, 2, at(0)), (2, 2, at(32))]);
        // 26 frames are left: one whole step.
        assert_eq!((window.first_step(), window.num_steps()), (4, 1));
        assert_eq!(window.features().len(), FRAMES_PER_STEP * NUM_MEL_BINS);
        assert!(window.features().iter().all(|x| x.is_finite()));
    }

    #[test]
    fn nothing_stays_after_reset() {
        let mut window = Window::new(1);
        for _ in 0..FRAMES_PER_STEP {
            window.push(&[1.0; NUM_MEL_BINS]);
        }
        window.advance();
        window.reset();
        assert_eq!((window.first_step(), window.num_steps()), (0, 0));
        assert!(window.features.iter().all(|x| x.is_nan()));
    }
}
