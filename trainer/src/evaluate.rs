//! Scores the clips of a corpus or a table with a model.

use std::collections::BTreeMap;
use std::path::Path;

use aesa::encoder::Network;
use aesa::fbank::NUM_MEL_BINS;
use aesa::score::{Axis, FRAMES_PER_STEP, NUM_AXES, Scores};
use aesa_corpus::manifest::{self, LadderClip};
use aesa_runtime::Model as ModelFile;
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::chunking::Chunking;
use crate::config::{DeviceName, TrainConfig};
use crate::dataset::{self, Clip, num_steps};
use crate::metrics::mean;
use crate::model::AesaNet;
use crate::predict::Policy;
use crate::report::Scored;
use crate::run::RunFolder;
use crate::{predict, progress};

/// A trained model, from a run folder or an exported file.
#[derive(Debug)]
pub enum Model {
    /// A run folder's best weights, run by libtorch.
    Run {
        /// The network.
        net: Box<AesaNet>,
        /// How it scores.
        policy: Policy,
        /// The left context that it was trained for, should it score in chunks.
        left_steps: usize,
    },
    /// An exported model, run as `aesa score` does: ONNX by tract, `model.aesa` by the native engine.
    File(ModelFile),
}

impl Model {
    /// Loads a run folder, or a model file.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn load(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let run = RunFolder::open(path);
            let TrainConfig { window_steps, chunks, .. } = run.config()?;
            return Ok(Self::Run {
                net: Box::new(run.network()?),
                policy: Policy::Windowed { window_steps },
                left_steps: chunks.left_steps,
            });
        }
        let model =
            ModelFile::open(path).with_context(|| format!("cannot load the model {}", path.display()))?;
        Ok(Self::File(model))
    }

    /// The same model on a device.
    ///
    /// # Errors
    /// Where the device is not there, or is a GPU for a model file.
    pub fn on(mut self, device: DeviceName) -> Result<Self> {
        match &mut self {
            Self::Run { net, .. } => net.store.set_device(device.find()?),
            Self::File(_) if device != DeviceName::Cpu => {
                bail!("a model file is scored by the processor: give the run folder to score it on a GPU")
            }
            Self::File(_) => {}
        }
        Ok(self)
    }

    /// The same model, scoring in chunks of so many steps; the left context is the run's unless it is given.
    ///
    /// # Errors
    /// Where `steps` is 0, or the model is a file.
    pub fn chunked(self, steps: usize, left_steps: Option<usize>) -> Result<Self> {
        ensure!(steps > 0, "a chunk has at least one step");
        match self {
            Self::Run { net, left_steps: own, .. } => {
                let left_steps = left_steps.unwrap_or(own);
                let policy = Policy::Chunked(Chunking { steps, left_steps });
                Ok(Self::Run { net, policy, left_steps })
            }
            Self::File(_) => {
                bail!("a model file has its own policy: give the run folder to score it in other chunks")
            }
        }
    }

    /// How it scores clips.
    pub fn policy(&self) -> Policy {
        match self {
            Self::Run { policy, .. } => *policy,
            Self::File(model) => model.info().policy.into(),
        }
    }

    /// Clip scores, 0 to 10, of features `[F, 128]`.
    ///
    /// # Errors
    /// Where the network fails.
    pub fn clip_scores(&self, clips: &[&Tensor]) -> Result<Vec<[f64; NUM_AXES]>> {
        match self {
            Self::Run { net, policy, .. } => {
                let of_clip = |clip: &&Tensor| num_steps(clip).div_ceil(policy.window_steps());
                let windows = clips.iter().map(of_clip).sum::<usize>();
                let bar = progress::bar(windows as u64, "scores");
                let scores = predict::clip_scores(net, clips, *policy, |n| bar.inc(n as u64));
                bar.finish_and_clear();
                Ok(scores)
            }
            Self::File(model) => {
                let bar = progress::bar(clips.len() as u64, "scores");
                let features: Vec<Vec<f32>> = clips
                    .iter()
                    .map(|c| Vec::try_from(c.to_kind(Kind::Float).flatten(0, 1)))
                    .collect::<Result<_, _>>()?;
                let score = |features: Vec<f32>| {
                    let scores = frame_scores(&mut model.session(), &features)?;
                    bar.inc(1);
                    let of =
                        |axis| mean(&scores.iter().map(|s: &Scores| f64::from(s[axis])).collect::<Vec<_>>());
                    Ok(Axis::ALL.map(of))
                };
                let scores = features.into_par_iter().map(score).collect();
                bar.finish_and_clear();
                scores
            }
        }
    }
}

/// Frame scores of a clip's features (`[F, 128]`, flat), window by window or chunk by chunk.
///
/// # Errors
/// Where the network fails.
pub fn frame_scores<N>(session: &mut N, features: &[f32]) -> Result<Vec<Scores>>
where
    N: Network<Error: Send + Sync + 'static>,
{
    let step = FRAMES_PER_STEP * NUM_MEL_BINS;
    let mut scores = vec![Scores::default(); features.len() / step];
    let max_steps = session.info().policy.max_steps();
    session.reset();
    for (features, scores) in features.chunks(max_steps * step).zip(scores.chunks_mut(max_steps)) {
        session.score_window(&features[..scores.len() * step], scores)?;
    }
    Ok(scores)
}

/// Scores a split of a corpus.
///
/// # Errors
/// Where the corpus cannot be read, the network fails, or a score is no number.
pub fn score_split(model: &Model, corpus: &Path, split: &str) -> Result<Vec<Scored>> {
    score_clips(model, dataset::load(corpus, split, Kind::Float)?)
}

/// Scores clips.
///
/// # Errors
/// Where the network fails, or a score is no number.
pub fn score_clips(model: &Model, clips: Vec<Clip>) -> Result<Vec<Scored>> {
    let scores = model.clip_scores(&clips.iter().map(|c| &c.features).collect::<Vec<_>>())?;
    let scored = clips.into_iter().zip(scores).map(|(clip, prediction)| Scored {
        id: clip.id,
        system: clip.system,
        domain: clip.domain.map(|d| d.name().to_string()),
        prediction,
        truth: clip.targets,
    });
    let scored: Vec<Scored> = scored.collect();
    if let Some(clip) = scored.iter().find(|c| c.prediction.iter().any(|p| !p.is_finite())) {
        bail!("the model's scores of {} are not all numbers: {:?}", clip.id, clip.prediction);
    }
    Ok(scored)
}

/// What a model says of clips that are degraded step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LadderReport {
    /// `noise`, `lowpass` or `mp3`.
    pub ladder: String,
    /// How the model scored: windows or chunks.
    #[serde(default)]
    pub policy: String,
    /// How many clips were degraded.
    pub num_clips: usize,
    /// The setting of each step, least degraded first.
    pub values: Vec<f64>,
    /// Mean PQ of each step.
    pub mean_pq: Vec<f64>,
    /// Share of clips whose PQ falls from each step to the next.
    pub share_falling: Vec<f64>,
    /// Share of clips whose PQ falls at every step.
    pub share_falling_throughout: f64,
}

/// A corpus's ladders, scored.
#[derive(Debug)]
pub struct Ladders {
    /// The degraded clips.
    pub rows: Vec<LadderClip>,
    /// Their scores, 0 to 10.
    pub scores: Vec<[f64; NUM_AXES]>,
    /// What the scores say.
    pub reports: Vec<LadderReport>,
}

/// Scores a corpus's ladders.
///
/// # Errors
/// Where the corpus cannot be read, a ladder misses steps, or the network fails.
pub fn score_ladders(model: &Model, corpus: &Path) -> Result<Ladders> {
    let rows = manifest::read_ladders(corpus.join("ladders.csv"))?;
    let bar = progress::bar(rows.len() as u64, "ladders: features");
    let features: Vec<Tensor> = rows
        .par_iter()
        .map(|row| {
            bar.inc(1);
            dataset::read_features(&corpus.join(&row.path), Kind::Float)
        })
        .collect::<Result<_>>()?;
    bar.finish_and_clear();
    let scores = model.clip_scores(&features.iter().collect::<Vec<_>>())?;
    let pq: Vec<f64> = scores.iter().map(|s| s[Axis::Pq as usize]).collect();
    let reports = ladder_reports(&rows, &pq, &model.policy().to_string())?;
    Ok(Ladders { rows, scores, reports })
}

/// One degraded version of a clip, with its PQ.
#[derive(Clone)]
struct Rung {
    step: usize,
    value: f64,
    pq: f64,
}

fn ladder_reports(rows: &[LadderClip], pq: &[f64], policy: &str) -> Result<Vec<LadderReport>> {
    let mut ladders: BTreeMap<&str, BTreeMap<&str, Vec<Rung>>> = BTreeMap::new();
    for (row, pq) in rows.iter().zip(pq) {
        let clip = ladders.entry(&row.ladder).or_default().entry(&row.clip).or_default();
        clip.push(Rung { step: row.step, value: row.value, pq: *pq });
    }
    let mut reports = Vec::new();
    for (ladder, mut clips) in ladders {
        clips.values_mut().for_each(|steps| steps.sort_by_key(|rung| rung.step));
        let Some(first) = clips.values().next().cloned() else { continue };
        for (clip, steps) in &clips {
            let is_whole = steps.iter().map(|rung| rung.step).eq(0..first.len());
            ensure!(is_whole, "ladder {ladder} of clip {clip} does not have steps 0 to {}", first.len() - 1);
        }
        let share = |falls: &dyn Fn(&[Rung]) -> bool| {
            clips.values().filter(|steps| falls(steps)).count() as f64 / clips.len() as f64
        };
        let at = |step: usize| clips.values().map(|steps| steps[step].pq).collect::<Vec<_>>();
        reports.push(LadderReport {
            ladder: ladder.to_string(),
            policy: policy.to_string(),
            num_clips: clips.len(),
            values: first.iter().map(|rung| rung.value).collect(),
            mean_pq: (0..first.len()).map(|step| mean(&at(step))).collect(),
            share_falling: (1..first.len()).map(|n| share(&|steps| steps[n].pq < steps[n - 1].pq)).collect(),
            share_falling_throughout: share(&|steps| steps.windows(2).all(|pair| pair[1].pq < pair[0].pq)),
        });
    }
    Ok(reports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(clip: &str, step: usize) -> LadderClip {
        LadderClip {
            ladder: "noise".into(),
            clip: clip.into(),
            step,
            value: 40.0 - step as f64,
            path: String::new(),
        }
    }

    #[test]
    fn ladders_count_clips_that_always_fall() {
        let rows = [row("a", 1), row("a", 0), row("a", 2), row("b", 0), row("b", 1), row("b", 2)];
        let reports = ladder_reports(&rows, &[4.0, 5.0, 3.0, 7.0, 6.0, 6.5], "").unwrap();
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].values, [40.0, 39.0, 38.0]);
        assert_eq!(reports[0].mean_pq, [6.0, 5.0, 4.75]);
        assert_eq!(reports[0].share_falling, [1.0, 0.5]);
        assert_eq!(reports[0].share_falling_throughout, 0.5);
        assert!(ladder_reports(&rows[..5], &[4.0, 5.0, 3.0, 7.0, 6.0], "").is_err());
    }

    #[test]
    fn a_constant_is_not_falling() {
        let rows = [row("a", 0), row("a", 1)];
        assert_eq!(ladder_reports(&rows, &[5.0, 5.0], "").unwrap()[0].share_falling_throughout, 0.0);
    }
}
