//! What crosses the border: plain structs, all sizes fixed.

use core::ffi::c_char;

use aesa::score::{NUM_AXES, STEP_S};
use aesa::{ClipScore, FrameScore};

/// Which of the scores is which.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AesaAxis {
    /// Production Quality: technical fidelity of the recording.
    Pq = 0,
    /// Production Complexity: how many things sound at once.
    Pc = 1,
    /// Content Enjoyment: how enjoyable the content is.
    Ce = 2,
    /// Content Usefulness: how useful it is as material for other content.
    Cu = 3,
}

/// Bits of a frame's flags.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AesaFrameFlag {
    /// Lost audio lies in what the network saw for this frame.
    Gap = 1,
    /// The frame itself touches lost audio: its scores are no part of the clip's.
    Lost = 2,
}

/// How the audio is laid out, and how soon scores are wanted. What is not set has to be 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct AesaAudio {
    /// Samples per second and channel: 4000 and up.
    pub sample_rate_hz: u32,
    /// Interleaved channels, at least 1; they are averaged.
    pub num_channels: u32,
    /// Steps of 160 ms from one window to the next; 0 for windows (or chunks) one after another.
    pub hop_steps: u32,
    /// Steps of 160 ms that a window hears after a step before it gives its score; only with a hop.
    pub look_ahead_steps: u32,
    /// For later versions: 0.
    pub reserved: [u32; 4],
}

/// The scores of one step of 160 ms.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AesaFrame {
    /// When it begins, in seconds from the start of the clip.
    pub start_s: f64,
    /// How long it is, in seconds: 0.16.
    pub duration_s: f64,
    /// 0 to 10, in the order of AesaAxis.
    pub scores: [f32; 4],
    /// Bits of AesaFrameFlag.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

/// The scores of a clip: the mean of its frames', but for lost ones.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AesaClip {
    /// How many frames they are the mean of.
    pub num_frames: u64,
    /// 0 to 10, in the order of AesaAxis.
    pub scores: [f32; 4],
}

/// What a model says of itself. The texts live as long as the model's handle.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AesaModelInfo {
    /// Short name, such as `starter`.
    pub id: *const c_char,
    /// Version of the weights.
    pub version: *const c_char,
    /// What it learned from: `human` ratings, or `proxy` (computed stand-ins: compare, do not quote).
    pub labels: *const c_char,
    /// What runs it: `native` or `tract`.
    pub runtime: *const c_char,
    /// How it hears a clip: `windowed` or `chunked`.
    pub policy: *const c_char,
    /// Steps of 160 ms in a window or chunk.
    pub max_steps: u32,
}

// The number is spelled out above for cbindgen.
const _: () = assert!(NUM_AXES == 4);

impl From<FrameScore> for AesaFrame {
    fn from(frame: FrameScore) -> Self {
        let flag = |is_set: bool, flag: AesaFrameFlag| if is_set { flag as u32 } else { 0 };
        Self {
            start_s: frame.start_s(),
            duration_s: STEP_S,
            scores: frame.scores.0,
            flags: flag(frame.has_gap, AesaFrameFlag::Gap) | flag(frame.is_lost, AesaFrameFlag::Lost),
            reserved: 0,
        }
    }
}

impl From<ClipScore> for AesaClip {
    fn from(clip: ClipScore) -> Self {
        Self { num_frames: clip.num_steps, scores: clip.scores.0 }
    }
}
