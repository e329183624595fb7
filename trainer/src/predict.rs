//! Clip scores of whole clips, by the same windows or chunks as the engine's.

use core::fmt;

use aesa::score::{FRAMES_PER_STEP, NUM_AXES};
use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::cache::States;
use crate::chunking::Chunking;
use crate::dataset::num_steps;
use crate::dropout::Dropout;
use crate::model::AesaNet;

/// How a clip of any length is scored; see `docs/SPEC.md`, "Windows and streams".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// In windows, each by itself.
    Windowed {
        /// Steps of a window; the last may be shorter.
        window_steps: usize,
    },
    /// As one sequence, cut into chunks that hear each other's past.
    Chunked(Chunking),
}

impl Policy {
    /// Chunks, or windows where there are none.
    pub fn new(chunks: Option<Chunking>, window_steps: usize) -> Self {
        chunks.map_or(Self::Windowed { window_steps }, Self::Chunked)
    }

    /// Longest part of a clip that the network is given at once, in steps.
    pub const fn window_steps(self) -> usize {
        match self {
            Self::Windowed { window_steps } => window_steps,
            Self::Chunked(_) => usize::MAX,
        }
    }

    /// What a token may hear of a clip; all of its window without it.
    pub(crate) const fn chunking(self) -> Option<Chunking> {
        match self {
            Self::Windowed { .. } => None,
            Self::Chunked(chunking) => Some(chunking),
        }
    }
}

impl From<aesa::Policy> for Policy {
    /// A model file's policy.
    fn from(policy: aesa::Policy) -> Self {
        match policy {
            aesa::Policy::Windowed { window_steps } => Self::Windowed { window_steps },
            aesa::Policy::Chunked { chunk_steps, left_steps } => {
                Self::Chunked(Chunking { steps: chunk_steps, left_steps })
            }
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Windowed { window_steps } => write!(f, "windowed, {window_steps} steps"),
            Self::Chunked(chunking) => chunking.fmt(f),
        }
    }
}

/// Scores clips on the scale of 0 to 10; each is `[F, 128]`, one step or longer.
///
/// In windows, the score of a clip longer than one is the mean of its windows' weighted by length. Windows of one
/// length are run together, up to `MAX_BATCH` at once, long whole clips fewer; `on_done` hears how many windows
/// were scored.
pub fn clip_scores(
    net: &AesaNet,
    clips: &[&Tensor],
    policy: Policy,
    mut on_done: impl FnMut(usize),
) -> Vec<[f64; NUM_AXES]> {
    let mut windows = windows(clips, policy.window_steps());
    windows.sort_by_key(|w| (w.steps, w.clip, w.start));
    let mut scores = vec![[0.0; NUM_AXES]; clips.len()];
    for same_length in windows.chunk_by(|a, b| a.steps == b.steps) {
        for batch in same_length.chunks(batch_size(same_length[0].steps)) {
            let parts: Vec<Tensor> = batch.iter().map(|w| w.of(clips[w.clip])).collect();
            let features = Tensor::stack(&parts, 0).to_kind(Kind::Float).to_device(net.device()); // (B, F, 128)
            let means =
                tch::no_grad(|| net.forward(&features, None, policy.chunking(), Dropout::Off)).clip_scores(); // (B, A)
            for (window, means) in batch.iter().zip(read_scores(&means)) {
                let weight = window.steps as f64 / num_steps(clips[window.clip]) as f64;
                for (score, mean) in scores[window.clip].iter_mut().zip(means) {
                    *score += 10.0 * weight * mean;
                }
            }
            on_done(batch.len());
        }
    }
    scores
}

/// Clip scores, 0 to 10, of what a frozen encoder made of clips, window by window.
///
/// # Errors
/// Those of [`States::tensor`].
pub fn head_scores(net: &AesaNet, clips: &[Vec<States>]) -> Result<Vec<[f64; NUM_AXES]>> {
    let tokens = States::num_tokens;
    let mut windows: Vec<(usize, &States)> =
        clips.iter().enumerate().flat_map(|(clip, windows)| windows.iter().map(move |w| (clip, w))).collect();
    windows.sort_by_key(|(_, states)| tokens(states));
    let mut scores = vec![[0.0; NUM_AXES]; clips.len()];
    for same_length in windows.chunk_by(|a, b| tokens(a.1) == tokens(b.1)) {
        for batch in same_length.chunks(MAX_BATCH) {
            let parts = batch.iter().map(|(_, states)| states.tensor()).collect::<Result<Vec<_>>>()?;
            let states = Tensor::stack(&parts, 1).to_device(net.device()).to_kind(Kind::Float); // (layers, B, T, D)
            let means = tch::no_grad(|| net.head.forward(&states.unbind(0), None, None, Dropout::Off))
                .clip_scores()
                * 10.0; // (B, A)
            for ((clip, states), means) in batch.iter().zip(read_scores(&means)) {
                let total: i64 = clips[*clip].iter().map(tokens).sum();
                let weight = tokens(states) as f64 / total as f64;
                for (score, mean) in scores[*clip].iter_mut().zip(means) {
                    *score += weight * mean;
                }
            }
        }
    }
    Ok(scores)
}

/// `[B, A]` in main memory, read at once: the device is waited for once, not for every number.
pub(crate) fn read_scores(scores: &Tensor) -> Vec<[f64; NUM_AXES]> {
    let scores = scores.to_device(Device::Cpu).to_kind(Kind::Double).contiguous();
    let mut rows = vec![[0.0; NUM_AXES]; scores.size()[0] as usize];
    scores.copy_data(rows.as_flattened_mut(), scores.numel());
    rows
}

/// A window of a clip, in steps.
struct Window {
    clip: usize,
    start: usize,
    steps: usize,
}

impl Window {
    fn of(&self, features: &Tensor) -> Tensor {
        features.narrow(0, (self.start * FRAMES_PER_STEP) as i64, (self.steps * FRAMES_PER_STEP) as i64)
    }
}

fn windows(clips: &[&Tensor], window_steps: usize) -> Vec<Window> {
    let of_clip = |(clip, features): (usize, &&Tensor)| {
        let total = num_steps(features);
        let starts = (0..total).step_by(window_steps);
        starts
            .map(move |start| Window { clip, start, steps: window_steps.min(total - start) })
            .collect::<Vec<_>>()
    };
    clips.iter().enumerate().flat_map(of_clip).collect()
}

/// Windows of a length that are run at once; attention's memory grows with the square of the length.
fn batch_size(steps: usize) -> usize {
    (MAX_BATCH * 100 * 100 / (steps * steps).max(1)).clamp(1, MAX_BATCH)
}

/// More do not run faster on a CPU, and memory grows.
const MAX_BATCH: usize = 16;

#[cfg(test)]
mod tests {
    use aesa_export::ModelConfig;

    use super::*;

    #[test]
    fn chunks_cut_a_clip_but_do_not_part_it() {
        let net = AesaNet::new(&ModelConfig::tiny());
        let clips = [7, 3].map(|steps| Tensor::randn([16 * steps, 128], (Kind::Float, Device::Cpu)));
        let chunking = Chunking { steps: 2, left_steps: 2 };
        let scores = clip_scores(&net, &[&clips[0], &clips[1]], Policy::Chunked(chunking), |_| ());
        for (clip, scores) in clips.iter().zip(scores) {
            let whole = net.forward(&clip.unsqueeze(0), None, Some(chunking), Dropout::Off).clip_scores();
            for (axis, score) in scores.into_iter().enumerate() {
                assert!((score - 10.0 * whole.double_value(&[0, axis as i64])).abs() < 1e-6, "{axis}");
            }
        }
    }

    #[test]
    fn kept_hidden_states_score_as_features() {
        let net = AesaNet::new(&ModelConfig::tiny());
        let clips = [7, 3, 7].map(|steps| Tensor::randn([16 * steps, 128], (Kind::Float, Device::Cpu)));
        let encode = |window: Tensor| {
            let encoded = tch::no_grad(|| net.beats.forward(&window.unsqueeze(0), None, None, Dropout::Off));
            States::Memory(Tensor::cat(&encoded.hidden[1..], 0))
        };
        // Windows of four steps, one shorter at the end.
        let hidden = clips.each_ref().map(|clip| clip.split(16 * 4, 0).into_iter().map(encode).collect());
        let policy = Policy::Windowed { window_steps: 4 };
        let expected = clip_scores(&net, &clips.each_ref(), policy, |_| ());
        for (scores, expected) in head_scores(&net, &hidden).unwrap().iter().zip(&expected) {
            let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-4;
            assert!(scores.iter().zip(expected).all(close), "{scores:?} {expected:?}");
        }
    }

    #[test]
    fn fewer_of_longer_clips_are_run_together() {
        assert_eq!([1, 62, 100, 200, 100_000].map(batch_size), [16, 16, 16, 4, 1]);
    }

    #[test]
    fn long_clips_are_the_weighted_mean_of_windows() {
        let net = AesaNet::new(&ModelConfig::tiny());
        let clip = Tensor::randn([16 * 7, 128], (Kind::Float, Device::Cpu));
        let policy = Policy::Windowed { window_steps: 4 };
        let whole = clip_scores(&net, &[&clip], policy, |_| ())[0];
        let parts = clip_scores(&net, &[&clip.narrow(0, 0, 64), &clip.narrow(0, 64, 48)], policy, |_| ());
        for axis in 0..NUM_AXES {
            let expected = (parts[0][axis] * 4.0 + parts[1][axis] * 3.0) / 7.0;
            assert!((whole[axis] - expected).abs() < 1e-5, "{axis}");
        }
    }
}
