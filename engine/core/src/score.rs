//! Scores: the four axes, a score per axis, and where in time a frame score belongs.

use core::fmt;
use core::ops::{Index, IndexMut};

use crate::fbank::{FRAME_SHIFT_SAMPLES, SAMPLE_RATE_HZ};

/// One aesthetic axis, in the order used everywhere: PQ, PC, CE, CU.
///
/// Source: the axes of Meta Audiobox Aesthetics and of the AudioMOS 2025 challenge, track 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// Production Quality: technical fidelity of the recording.
    Pq,
    /// Production Complexity: how many things sound at once.
    Pc,
    /// Content Enjoyment: how enjoyable the content is.
    Ce,
    /// Content Usefulness: how useful it is as material for other content.
    Cu,
}

impl Axis {
    /// All axes in their fixed order.
    pub const ALL: [Self; NUM_AXES] = [Self::Pq, Self::Pc, Self::Ce, Self::Cu];

    /// `PQ`, `PC`, `CE` or `CU`.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Pq => "PQ",
            Self::Pc => "PC",
            Self::Ce => "CE",
            Self::Cu => "CU",
        }
    }

    /// The axis's whole name, as in `Production Quality`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pq => "Production Quality",
            Self::Pc => "Production Complexity",
            Self::Ce => "Content Enjoyment",
            Self::Cu => "Content Usefulness",
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short_name())
    }
}

/// One score per axis, on the raters' scale of 0 to 10.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores(pub [f32; NUM_AXES]);

impl Index<Axis> for Scores {
    type Output = f32;

    fn index(&self, axis: Axis) -> &f32 {
        &self.0[axis as usize]
    }
}

impl IndexMut<Axis> for Scores {
    fn index_mut(&mut self, axis: Axis) -> &mut f32 {
        &mut self.0[axis as usize]
    }
}

/// The scores of one step of 160 ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameScore {
    /// Which step of the clip, from 0.
    pub index: u64,
    /// The step's scores, 0 to 10.
    pub scores: Scores,
    /// Lost audio lies in what the network saw for it (its window; its chunk and those before that it attends to),
    /// [`is_lost`](Self::is_lost) or not.
    pub has_gap: bool,
    /// The step itself touches lost audio: its scores are no part of the clip's.
    pub is_lost: bool,
}

impl FrameScore {
    /// When the step begins, in seconds from the start of the clip.
    pub fn start_s(&self) -> f64 {
        steps_to_s(self.index)
    }

    /// When the step ends, in seconds from the start of the clip.
    pub fn end_s(&self) -> f64 {
        steps_to_s(self.index + 1)
    }
}

/// The scores of a whole clip: the mean of its frame scores, but for those of steps that touch lost audio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipScore {
    /// The clip's scores, 0 to 10.
    pub scores: Scores,
    /// How many steps they are the mean of.
    pub num_steps: u64,
}

/// The length of so many steps in seconds, rounded once: no time is a sum of others.
pub fn steps_to_s(num_steps: u64) -> f64 {
    num_steps as f64 * STEP_SAMPLES as f64 / f64::from(SAMPLE_RATE_HZ)
}

/// How many axes there are.
pub const NUM_AXES: usize = 4;

/// Fbank frames per step: the height of one patch of the encoder.
pub const FRAMES_PER_STEP: usize = 16;

/// Samples at 16 kHz from one step to the next: 160 ms.
pub const STEP_SAMPLES: usize = FRAMES_PER_STEP * FRAME_SHIFT_SAMPLES;

/// Seconds from one step to the next: 0.16.
pub const STEP_S: f64 = STEP_SAMPLES as f64 / SAMPLE_RATE_HZ as f64;
