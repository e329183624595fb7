//! Measures a model, or anyone's predictions, against labels.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use aesa::encoder::Network;
use aesa::fbank::NUM_MEL_BINS;
use aesa::score::{Axis, FRAMES_PER_STEP, NUM_AXES, Scores};
use aesa_corpus::labels::read_ratings;
use aesa_corpus::manifest::{self, LadderClip};
use aesa_tract::{TractModel, TractSession};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::dataset::{self, num_steps};
use crate::metrics::{Levels, Metrics, mean};
use crate::model::AesaNet;
use crate::run::RunFolder;
use crate::{predict, progress};

/// A trained model, from a run folder or an ONNX file.
#[derive(Debug)]
pub enum Model {
    /// A run folder's best weights, run by libtorch.
    Run {
        /// The network.
        net: Box<AesaNet>,
        /// Its window.
        window_steps: usize,
    },
    /// An exported model, run by tract as `aesa score` does.
    Onnx(TractSession),
}

impl Model {
    /// Loads a run folder, or an `.onnx` file.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn load(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let run = RunFolder::open(path);
            return Ok(Self::Run { window_steps: run.config()?.window_steps, net: Box::new(run.network()?) });
        }
        let model =
            TractModel::load(path).with_context(|| format!("cannot load the model {}", path.display()))?;
        Ok(Self::Onnx(model.session()))
    }

    /// Clip scores, 0 to 10, of features `[F, 128]`.
    ///
    /// # Errors
    /// Where the network fails.
    pub fn clip_scores(&self, clips: &[&Tensor]) -> Result<Vec<[f64; NUM_AXES]>> {
        match self {
            Self::Run { net, window_steps } => {
                let windows = clips.iter().map(|c| num_steps(c).div_ceil(*window_steps)).sum::<usize>();
                let bar = progress::bar(windows as u64, "scores");
                let scores = predict::clip_scores(net, clips, *window_steps, |n| bar.inc(n as u64));
                bar.finish_and_clear();
                Ok(scores)
            }
            Self::Onnx(session) => {
                let bar = progress::bar(clips.len() as u64, "scores");
                let features: Vec<Vec<f32>> = clips
                    .iter()
                    .map(|c| Vec::try_from(c.to_kind(Kind::Float).flatten(0, 1)))
                    .collect::<Result<_, _>>()?;
                let score = |features: Vec<f32>| {
                    let scores = frame_scores(&mut session.clone(), &features)?;
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

/// Frame scores of a clip's features (`[F, 128]`, flat), window by window.
///
/// # Errors
/// Where the network fails.
pub fn frame_scores(session: &mut TractSession, features: &[f32]) -> Result<Vec<Scores>> {
    let step = FRAMES_PER_STEP * NUM_MEL_BINS;
    let mut scores = vec![Scores::default(); features.len() / step];
    let window_steps = session.info().window_steps;
    for (features, scores) in features.chunks(window_steps * step).zip(scores.chunks_mut(window_steps)) {
        session.score_window(&features[..scores.len() * step], scores)?;
    }
    Ok(scores)
}

/// Metrics per axis over all clips, and per domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was compared.
    pub description: String,
    /// Over all clips, by axis.
    pub axes: BTreeMap<String, Levels>,
    /// By domain, then by axis; empty where the labels name no domain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<String, BTreeMap<String, Levels>>,
}

/// One clip's scores and labels.
#[derive(Clone, Debug)]
pub struct Scored {
    /// Its id.
    pub id: String,
    /// The system that made it.
    pub system: Option<String>,
    /// Its domain's name.
    pub domain: Option<String>,
    /// Scores of the model, 0 to 10.
    pub prediction: [f64; NUM_AXES],
    /// Labels, 0 to 10.
    pub truth: [f64; NUM_AXES],
}

impl Report {
    /// Compares clips with their labels.
    pub fn of(description: String, clips: &[Scored]) -> Self {
        let all: Vec<&Scored> = clips.iter().collect();
        let mut by_domain: BTreeMap<String, Vec<&Scored>> = BTreeMap::new();
        for clip in clips {
            if let Some(domain) = &clip.domain {
                by_domain.entry(domain.clone()).or_default().push(clip);
            }
        }
        let domains = by_domain.into_iter().map(|(name, clips)| (name, axes(&clips))).collect();
        Self { description, axes: axes(&all), domains }
    }

    /// One row per domain (first `all`), axis and level.
    pub fn rows(&self) -> Vec<Row> {
        let all = [("all", &self.axes)];
        let domains = all.into_iter().chain(self.domains.iter().map(|(name, axes)| (name.as_str(), axes)));
        let of_domain = |(domain, axes): (&str, &BTreeMap<String, Levels>)| {
            let of_axis = |axis: Axis| {
                let levels = &axes[axis.short_name()];
                let named = [("utterance", Some(levels.utterance)), ("system", levels.system)];
                let row = |(level, m): (&str, Option<Metrics>)| {
                    let Metrics { mse, lcc, srcc, ktau, .. } = m?;
                    let (domain, axis, level) = (domain.to_string(), axis.to_string(), level.to_string());
                    Some(Row { domain, axis, level, mse, lcc, srcc, ktau })
                };
                named.into_iter().filter_map(row).collect::<Vec<_>>()
            };
            Axis::ALL.into_iter().flat_map(of_axis).collect::<Vec<_>>()
        };
        domains.flat_map(of_domain).collect()
    }

    /// A table for people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:8} {:4} {:9} {:>8} {:>7} {:>7} {:>7}\n",
            "domain", "axis", "level", "MSE", "LCC", "SRCC", "KTAU"
        );
        for r in self.rows() {
            text += &format!(
                "{:8} {:4} {:9} {:8.4} {:7.4} {:7.4} {:7.4}\n",
                r.domain, r.axis, r.level, r.mse, r.lcc, r.srcc, r.ktau
            );
        }
        text
    }
}

/// One line of a report as a table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `all`, or a domain.
    pub domain: String,
    /// Short name of the axis.
    pub axis: String,
    /// `utterance` or `system`.
    pub level: String,
    /// See [`Metrics`].
    pub mse: f64,
    /// See [`Metrics`].
    pub lcc: f64,
    /// See [`Metrics`].
    pub srcc: f64,
    /// See [`Metrics`].
    pub ktau: f64,
}

/// Scores a split of a corpus.
///
/// # Errors
/// Where the corpus cannot be read or the network fails.
pub fn score_split(model: &Model, corpus: &Path, split: &str) -> Result<Vec<Scored>> {
    let clips = dataset::load(corpus, split, Kind::Float)?;
    let scores = model.clip_scores(&clips.iter().map(|c| &c.features).collect::<Vec<_>>())?;
    let scored = clips.into_iter().zip(scores).map(|(clip, prediction)| Scored {
        id: clip.id,
        system: clip.system,
        domain: clip.domain.map(|d| d.name().to_string()),
        prediction,
        truth: clip.targets,
    });
    Ok(scored.collect())
}

/// What a model says of clips that are degraded step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LadderReport {
    /// `noise`, `lowpass` or `mp3`.
    pub ladder: String,
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

/// Scores a corpus's ladders.
///
/// # Errors
/// Where the corpus cannot be read, a ladder misses steps, or the network fails.
pub fn score_ladders(model: &Model, corpus: &Path) -> Result<Vec<LadderReport>> {
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
    ladder_reports(&rows, &scores.iter().map(|s| s[Axis::Pq as usize]).collect::<Vec<_>>())
}

/// One degraded version of a clip, with its PQ.
#[derive(Clone)]
struct Rung {
    step: usize,
    value: f64,
    pq: f64,
}

fn ladder_reports(rows: &[LadderClip], pq: &[f64]) -> Result<Vec<LadderReport>> {
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
            num_clips: clips.len(),
            values: first.iter().map(|rung| rung.value).collect(),
            mean_pq: (0..first.len()).map(|step| mean(&at(step))).collect(),
            share_falling: (1..first.len()).map(|n| share(&|steps| steps[n].pq < steps[n - 1].pq)).collect(),
            share_falling_throughout: share(&|steps| steps.windows(2).all(|pair| pair[1].pq < pair[0].pq)),
        });
    }
    Ok(reports)
}

/// Compares a table of predictions with a labels file.
///
/// # Errors
/// Where a file cannot be read or a labelled clip has no prediction.
pub fn compare_files(truth: &Path, predictions: &Path) -> Result<Report> {
    let ratings = read_ratings(truth)?;
    let predicted = read_predictions(predictions)?;
    let missing: Vec<&str> =
        ratings.iter().map(|r| r.sample_id.as_str()).filter(|id| !predicted.contains_key(*id)).collect();
    if let Some(first) = missing.first() {
        bail!(
            "{} has no prediction for {} of the {} clips in {}, the first being {first}",
            predictions.display(),
            missing.len(),
            ratings.len(),
            truth.display()
        );
    }
    let scored = ratings.into_iter().map(|rating| Scored {
        prediction: predicted[&rating.sample_id],
        id: rating.sample_id,
        system: rating.system,
        domain: rating.domain.map(|d| d.name().to_string()),
        truth: rating.scores,
    });
    let description = format!("{} against {}", file_name(predictions), file_name(truth));
    Ok(Report::of(description, &scored.collect::<Vec<_>>()))
}

/// Predictions by sample id, from a CSV file with columns for the id and the four axes, found by their names.
fn read_predictions(path: &Path) -> Result<HashMap<String, [f64; NUM_AXES]>> {
    let mut reader =
        csv::Reader::from_path(path).with_context(|| format!("cannot read {}", path.display()))?;
    let headers: Vec<String> =
        reader.headers()?.iter().map(|h| h.trim().to_lowercase().replace([' ', '-'], "_")).collect();
    let column = |names: &[String]| {
        let found = headers.iter().position(|h| names.contains(h));
        found.with_context(|| format!("{} has no column {}", path.display(), names[0]))
    };
    let id = column(&["sample_id".to_string(), "id".to_string()])?;
    let mut columns = [0; NUM_AXES];
    for (place, axis) in columns.iter_mut().zip(Axis::ALL) {
        *place = column(&[axis.short_name().to_lowercase(), axis.name().to_lowercase().replace(' ', "_")])?;
    }
    let mut predictions = HashMap::new();
    for (number, record) in reader.records().enumerate() {
        let record = record?;
        let mut scores = [0.0; NUM_AXES];
        for (score, column) in scores.iter_mut().zip(columns) {
            let text = record[column].trim();
            let value = text.parse::<f64>().ok().filter(|v| v.is_finite());
            *score = value
                .with_context(|| format!("{}: row {}: {text:?} is no score", path.display(), number + 2))?;
        }
        let id = record[id].trim().to_string();
        ensure!(predictions.insert(id.clone(), scores).is_none(), "{}: {id} occurs twice", path.display());
    }
    Ok(predictions)
}

fn axes(clips: &[&Scored]) -> BTreeMap<String, Levels> {
    let systems: Vec<Option<&str>> = clips.iter().map(|c| c.system.as_deref()).collect();
    let of_axis = |axis: Axis| {
        let prediction: Vec<f64> = clips.iter().map(|c| c.prediction[axis as usize]).collect();
        let truth: Vec<f64> = clips.iter().map(|c| c.truth[axis as usize]).collect();
        (axis.to_string(), Levels::of(&prediction, &truth, &systems))
    };
    Axis::ALL.into_iter().map(of_axis).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
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
        let reports = ladder_reports(&rows, &[4.0, 5.0, 3.0, 7.0, 6.0, 6.5]).unwrap();
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].values, [40.0, 39.0, 38.0]);
        assert_eq!(reports[0].mean_pq, [6.0, 5.0, 4.75]);
        assert_eq!(reports[0].share_falling, [1.0, 0.5]);
        assert_eq!(reports[0].share_falling_throughout, 0.5);
        assert!(ladder_reports(&rows[..5], &[4.0, 5.0, 3.0, 7.0, 6.0]).is_err());
    }

    #[test]
    fn a_constant_is_not_falling() {
        let rows = [row("a", 0), row("a", 1)];
        assert_eq!(ladder_reports(&rows, &[5.0, 5.0]).unwrap()[0].share_falling_throughout, 0.0);
    }

    #[test]
    fn predictions_are_found_by_column_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "CE,Sample ID,extra,cu,Production_Complexity,PQ\n3,a,x,4,2,1\n").unwrap();
        assert_eq!(read_predictions(file.path()).unwrap()["a"], [1.0, 2.0, 3.0, 4.0]);
        for text in [
            "sample_id,PQ,PC,CE\na,1,2,3\n",
            "sample_id,PQ,PC,CE,CU\na,1,2,3,x\n",
            "id,PQ,PC,CE,CU\na,1,2,3,4\na,1,2,3,4\n",
        ] {
            std::fs::write(file.path(), text).unwrap();
            assert!(read_predictions(file.path()).is_err(), "{text}");
        }
    }
}
