//! What comes back: plain records.

use aesa::score::STEP_S;
use aesa::{Axis, ClipScore, FrameScore};

/// A score per axis, each on the raters' scale of 0 to 10.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Record)]
pub struct Scores {
    /// Production Quality: technical fidelity of the recording.
    pub pq: f32,
    /// Production Complexity: how many things sound at once.
    pub pc: f32,
    /// Content Enjoyment: how enjoyable the content is.
    pub ce: f32,
    /// Content Usefulness: how useful it is as material for other content.
    pub cu: f32,
}

/// The scores of one step of 160 ms.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Record)]
pub struct Frame {
    /// When it begins, in seconds from the start of the clip.
    pub start_s: f64,
    /// How long it is, in seconds: 0.16.
    pub duration_s: f64,
    /// Its scores.
    pub scores: Scores,
    /// Lost audio lies in what the network saw for this frame.
    pub has_gap: bool,
    /// The frame itself touches lost audio: its scores are no part of the clip's.
    pub is_lost: bool,
}

/// The scores of a clip: the mean of its frames', but for lost ones.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Record)]
pub struct Clip {
    /// The clip's scores.
    pub scores: Scores,
    /// How many frames they are the mean of.
    pub num_frames: i64,
}

/// What a model says of itself.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct ModelInfo {
    /// Short name, such as `starter`.
    pub id: String,
    /// Version of the weights.
    pub version: String,
    /// What it learned from: `human` ratings, or `proxy` (computed stand-ins: compare, do not quote).
    pub labels: String,
    /// What runs it: `native` or `tract`.
    pub engine: String,
    /// How it hears a clip: `windowed` or `chunked`.
    pub policy: String,
    /// The longest window or chunk, in seconds.
    pub window_s: f64,
}

impl From<aesa::Scores> for Scores {
    fn from(scores: aesa::Scores) -> Self {
        Self { pq: scores[Axis::Pq], pc: scores[Axis::Pc], ce: scores[Axis::Ce], cu: scores[Axis::Cu] }
    }
}

impl From<FrameScore> for Frame {
    fn from(frame: FrameScore) -> Self {
        Self {
            start_s: frame.start_s(),
            duration_s: STEP_S,
            scores: frame.scores.into(),
            has_gap: frame.has_gap,
            is_lost: frame.is_lost,
        }
    }
}

impl From<ClipScore> for Clip {
    fn from(clip: ClipScore) -> Self {
        Self { scores: clip.scores.into(), num_frames: clip.num_steps as i64 }
    }
}
