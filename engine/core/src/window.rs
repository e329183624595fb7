//! What the network sees at once: consecutive steps of one continuous feature stream.

use alloc::vec;
use alloc::vec::Vec;

use crate::fbank::{NUM_MEL_BINS, normalise};
use crate::score::{FRAMES_PER_STEP, STEP_S, steps_to_s};

/// How windows follow one another, in steps of 160 ms, and how much must be heard past a step before it is scored.
///
/// Windows of `n` steps begin at every whole multiple of the hop, also before the clip; both ends of the clip cut
/// them short. A step's score comes from the first window that sees `look_ahead_steps` past it (at the end of the
/// clip: from the last one) and is never revised. So a score comes at most `hop_steps + look_ahead_steps` after its
/// step began, and costs `n / hop_steps` times what it costs without overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPolicy {
    /// Steps from the start of a window to that of the next; at least 1.
    pub hop_steps: usize,
    /// Steps that a window must hold after a step to give its score.
    pub look_ahead_steps: usize,
}

impl WindowPolicy {
    /// Windows without overlap, which is how files are scored.
    pub const fn without_overlap(window_steps: usize) -> Self {
        Self { hop_steps: window_steps, look_ahead_steps: 0 }
    }

    /// The whole steps that keep to seconds: hop rounded down, look-ahead rounded up.
    ///
    /// What is not a positive number counts as 0, which as a hop is refused later.
    pub fn from_seconds(hop_s: f64, look_ahead_s: f64) -> Self {
        // 0.96 / 0.16 may fall just short of 6.
        const ROUNDING: f64 = 1e-6;
        Self {
            hop_steps: libm::floor(hop_s / STEP_S + ROUNDING) as usize,
            look_ahead_steps: libm::ceil(look_ahead_s / STEP_S - ROUNDING) as usize,
        }
    }

    /// The hop in seconds.
    pub fn hop_s(self) -> f64 {
        steps_to_s(self.hop_steps as u64)
    }

    /// The look-ahead in seconds.
    pub fn look_ahead_s(self) -> f64 {
        steps_to_s(self.look_ahead_steps as u64)
    }

    /// Whether windows of `window_steps` can give every step its look-ahead: hop and look-ahead together are no
    /// longer than a window.
    pub const fn fits(self, window_steps: usize) -> bool {
        self.hop_steps >= 1 && self.hop_steps.saturating_add(self.look_ahead_steps) <= window_steps
    }
}

/// Gathers frames into windows.
///
/// Steps lie on one grid over the whole clip, step `i` over frames `[16 i, 16 i + 16)`; which of them a window holds,
/// and of which it gives the scores, is [`WindowPolicy`]'s. Memory is one window, asked for in `new`.
#[derive(Clone, Debug)]
pub struct Window {
    /// `[max_steps * 16, 128]`, normalised; NaN where no frame has been put yet.
    features: Vec<f32>,
    /// Which of its steps touch lost audio.
    is_lost: Vec<bool>,
    policy: WindowPolicy,
    num_frames: usize,
    first_step: u64,
    /// Where the window is complete.
    end_step: u64,
    /// The first step of which no window has given the score.
    next_score: u64,
}

impl Window {
    /// An empty first window of up to `max_steps` steps.
    ///
    /// # Panics
    /// If the policy does not [fit](WindowPolicy::fits) such windows.
    pub fn new(max_steps: usize, policy: WindowPolicy) -> Self {
        assert!(policy.fits(max_steps), "the policy fits the window");
        let mut window = Self {
            features: vec![f32::NAN; max_steps * STEP_VALUES],
            is_lost: vec![false; max_steps],
            policy,
            num_frames: 0,
            first_step: 0,
            end_step: 0,
            next_score: 0,
        };
        window.reset();
        window
    }

    /// How this window follows the one before.
    pub fn policy(&self) -> WindowPolicy {
        self.policy
    }

    /// Normalises a log-mel frame and appends it; true when the window has become complete.
    ///
    /// # Panics
    /// If the window is complete already: [`Window::advance`] comes first.
    pub fn push(&mut self, log_mel: &[f32; NUM_MEL_BINS], is_lost: bool) -> bool {
        let slot = &mut self.features[self.num_frames * NUM_MEL_BINS..][..NUM_MEL_BINS];
        slot.copy_from_slice(log_mel);
        normalise(slot);
        self.is_lost[self.num_frames / FRAMES_PER_STEP] |= is_lost;
        self.num_frames += 1;
        self.is_complete()
    }

    /// How many whole steps the window holds.
    pub fn num_steps(&self) -> usize {
        self.num_frames / FRAMES_PER_STEP
    }

    /// The features of its whole steps, `[num_steps * 16, 128]`, row-major.
    pub fn features(&self) -> &[f32] {
        &self.features[..self.num_steps() * STEP_VALUES]
    }

    /// Which step of the clip the window begins with.
    pub fn first_step(&self) -> u64 {
        self.first_step
    }

    /// Which of the window's whole steps touch lost audio, `[num_steps]`.
    pub fn lost_steps(&self) -> &[bool] {
        &self.is_lost[..self.num_steps()]
    }

    /// The steps of the clip whose scores this window gives: those that no window before gave and that have their
    /// look-ahead; all of the former where the clip ends before the window is complete.
    pub fn scored_steps(&self) -> core::ops::Range<u64> {
        let end = self.first_step + self.num_steps() as u64;
        let look_ahead = if self.is_complete() { self.policy.look_ahead_steps as u64 } else { 0 };
        self.next_score..end - look_ahead
    }

    /// Moves on to the next window of the grid.
    pub fn advance(&mut self) {
        let max_steps = self.is_lost.len();
        self.next_score = self.scored_steps().end;
        self.end_step += self.policy.hop_steps as u64;
        let first_step = self.end_step.saturating_sub(max_steps as u64);
        let num_gone = ((first_step - self.first_step) as usize).min(self.num_steps());
        let num_kept = self.num_steps() - num_gone;
        self.first_step = first_step;
        self.features.copy_within(num_gone * STEP_VALUES..(num_gone + num_kept) * STEP_VALUES, 0);
        self.is_lost.copy_within(num_gone..num_gone + num_kept, 0);
        self.clear_from(num_kept);
    }

    /// Back to the start of a clip.
    pub fn reset(&mut self) {
        let Self { policy: WindowPolicy { hop_steps, look_ahead_steps }, .. } = *self;
        let max_steps = self.is_lost.len();
        self.first_step = 0;
        self.next_score = 0;
        // Of the windows that begin at `-k * hop_steps`, the first that gives a score.
        self.end_step = (max_steps - (max_steps - look_ahead_steps - 1) / hop_steps * hop_steps) as u64;
        self.clear_from(0);
    }

    fn is_complete(&self) -> bool {
        self.num_frames as u64 == (self.end_step - self.first_step) * FRAMES_PER_STEP as u64
    }

    /// Forgets all but the first `num_steps`.
    fn clear_from(&mut self, num_steps: usize) {
        self.num_frames = num_steps * FRAMES_PER_STEP;
        // A stale frame that leaked into a later window would look plausible; NaN shows.
        self.features[num_steps * STEP_VALUES..].fill(f32::NAN);
        self.is_lost[num_steps..].fill(false);
    }
}

/// Feature values of one step.
const STEP_VALUES: usize = FRAMES_PER_STEP * NUM_MEL_BINS;

#[cfg(test)]
mod tests {
    use super::*;

    /// `(first step, steps, scored steps)` of each window that `num_steps` make, the one cut short by the end included.
    fn windows(max_steps: usize, policy: WindowPolicy, num_steps: usize) -> Vec<(u64, usize, u64, u64)> {
        let mut window = Window::new(max_steps, policy);
        let mut seen = Vec::new();
        let mut look = |window: &mut Window| {
            let scored = window.scored_steps();
            seen.push((window.first_step(), window.num_steps(), scored.start, scored.end));
            let first = normalised(window.first_step() as usize * FRAMES_PER_STEP);
            assert_eq!(window.features().first(), Some(&first).filter(|_| window.num_steps() > 0));
            assert!(window.features().iter().all(|x| x.is_finite()));
            window.advance();
        };
        for i in 0..num_steps * FRAMES_PER_STEP + 10 {
            if window.push(&[i as f32; NUM_MEL_BINS], false) {
                look(&mut window);
            }
        }
        look(&mut window);
        seen
    }

    fn normalised(frame: usize) -> f32 {
        let mut x = [frame as f32];
        normalise(&mut x);
        x[0]
    }

    #[test]
    fn windows_lie_on_the_grid_of_hops() {
        let policy = |hop_steps, look_ahead_steps| WindowPolicy { hop_steps, look_ahead_steps };
        type Case<'a> = (&'a str, WindowPolicy, usize, &'a [(u64, usize, u64, u64)]);
        let cases: [Case<'_>; 5] = [
            ("files", policy(4, 0), 10, &[(0, 4, 0, 4), (4, 4, 4, 8), (8, 2, 8, 10)]),
            ("nothing left", policy(4, 0), 8, &[(0, 4, 0, 4), (4, 4, 4, 8), (8, 0, 8, 8)]),
            (
                "a hop that does not divide the window",
                policy(3, 0),
                8,
                &[(0, 1, 0, 1), (0, 4, 1, 4), (3, 4, 4, 7), (6, 2, 7, 8)],
            ),
            ("look-ahead", policy(2, 2), 7, &[(0, 4, 0, 2), (2, 4, 2, 4), (4, 3, 4, 7)]),
            ("one by one", policy(1, 1), 4, &[(0, 2, 0, 1), (0, 3, 1, 2), (0, 4, 2, 3), (1, 3, 3, 4)]),
        ];
        for (name, policy, num_steps, expected) in cases {
            assert_eq!(windows(4, policy, num_steps), expected, "{name}");
        }
    }

    #[test]
    fn every_step_is_scored_once_with_its_look_ahead() {
        for max_steps in 1..=7 {
            for hop_steps in 1..=max_steps {
                for look_ahead_steps in 0..=max_steps - hop_steps {
                    let policy = WindowPolicy { hop_steps, look_ahead_steps };
                    for num_steps in 1..30 {
                        let seen = windows(max_steps, policy, num_steps);
                        let mut next = 0;
                        let (last, complete) = seen.split_last().unwrap();
                        for (first, len, from, to) in complete {
                            assert_eq!(
                                (first + *len as u64) % hop_steps as u64,
                                (max_steps % hop_steps) as u64
                            );
                            assert_eq!(*from, next);
                            assert!(first <= from && to + look_ahead_steps as u64 == first + *len as u64);
                            assert!(to - from <= hop_steps as u64 && from < to);
                            next = *to;
                        }
                        assert_eq!((last.2, last.3), (next, num_steps as u64), "{policy:?} of {max_steps}");
                        assert!(last.0 <= next);
                    }
                }
            }
        }
    }

    #[test]
    fn lost_steps_move_with_their_window() {
        let mut window = Window::new(3, WindowPolicy { hop_steps: 1, look_ahead_steps: 0 });
        let mut lost = Vec::new();
        for i in 0..6 * FRAMES_PER_STEP {
            // The last frame of step 1.
            if window.push(&[0.0; NUM_MEL_BINS], i == 31) {
                lost.push(window.lost_steps().iter().position(|is_lost| *is_lost));
                window.advance();
            }
        }
        assert_eq!(lost, [None, Some(1), Some(1), Some(0), None, None]);
    }

    #[test]
    fn nothing_stays_after_reset() {
        let mut window = Window::new(2, WindowPolicy { hop_steps: 1, look_ahead_steps: 1 });
        for _ in 0..2 * FRAMES_PER_STEP {
            window.push(&[1.0; NUM_MEL_BINS], true);
        }
        window.advance();
        window.reset();
        assert_eq!((window.first_step(), window.num_steps(), window.scored_steps()), (0, 0, 0..0));
        assert!(window.features.iter().all(|x| x.is_nan()));
        assert!(!window.is_lost.contains(&true));
    }

    #[test]
    fn seconds_become_whole_steps() {
        for (hop_s, look_ahead_s, hop_steps, look_ahead_steps) in [
            (0.96, 0.96, 6, 6),
            (1.0, 1.0, 6, 7),
            (9.92, 0.0, 62, 0),
            (0.1, 0.01, 0, 1),
            (-1.0, -1.0, 0, 0),
            (f64::NAN, f64::NAN, 0, 0),
        ] {
            let policy = WindowPolicy::from_seconds(hop_s, look_ahead_s);
            assert_eq!(policy, WindowPolicy { hop_steps, look_ahead_steps }, "{hop_s}, {look_ahead_s}");
        }
        assert!(!WindowPolicy::from_seconds(f64::INFINITY, f64::INFINITY).fits(62));
        let policy = WindowPolicy { hop_steps: 62, look_ahead_steps: 1 };
        assert_eq!((policy.hop_s(), policy.look_ahead_s(), policy.fits(62)), (9.92, 0.16, false));
    }
}
