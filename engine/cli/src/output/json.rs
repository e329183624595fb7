//! JSON documents and lines.

use std::io::Write;

use aesa::score::STEP_S;
use aesa::{Axis, FrameScore, Policy, Scores};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Outcome, Provenance};

/// The official tool's line: keys in its order, and nothing else.
#[derive(Serialize)]
struct Line {
    #[serde(rename = "CE")]
    ce: f32,
    #[serde(rename = "CU")]
    cu: f32,
    #[serde(rename = "PC")]
    pc: f32,
    #[serde(rename = "PQ")]
    pq: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<Vec<Frame>>,
}

#[derive(Serialize)]
struct Frame {
    start_s: f64,
    end_s: f64,
    #[serde(flatten)]
    scores: Named,
}

/// Scores under their axes' short names.
#[derive(Serialize)]
pub(crate) struct Named {
    #[serde(rename = "PQ")]
    pq: f32,
    #[serde(rename = "PC")]
    pc: f32,
    #[serde(rename = "CE")]
    ce: f32,
    #[serde(rename = "CU")]
    cu: f32,
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    path: &'a str,
    error: &'a str,
}

#[derive(Serialize)]
struct ClipEntry<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_frames: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<Vec<Frame>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// One line for one input.
pub(super) fn write_line(out: &mut dyn Write, outcome: &Outcome, has_frames: bool) -> anyhow::Result<()> {
    match &outcome.result {
        Ok(clip) => {
            let Named { pq, pc, ce, cu } = named(&clip.score.scores);
            let frames = has_frames.then(|| frames(&clip.frames));
            serde_json::to_writer(&mut *out, &Line { ce, cu, pc, pq, frames })?;
        }
        Err(error) => serde_json::to_writer(&mut *out, &ErrorLine { path: &outcome.input.name, error })?,
    }
    Ok(writeln!(out)?)
}

/// Everything in one document.
pub(super) fn write_document(
    out: &mut dyn Write,
    outcomes: &[Outcome],
    has_frames: bool,
    provenance: &Provenance,
) -> anyhow::Result<()> {
    let mut document = Map::new();
    document.insert("engine".into(), engine(provenance));
    document.insert("model".into(), model(provenance));
    document.insert("policy".into(), policy(provenance.policy).into());
    document.insert("note".into(), provenance.note().map_or(Value::Null, Value::from));
    let axes: Map<String, Value> =
        Axis::ALL.iter().map(|axis| (axis.short_name().to_string(), Value::from(axis.name()))).collect();
    document.insert("axes".into(), axes.into());
    let clips: Vec<ClipEntry<'_>> = outcomes.iter().map(|outcome| entry(outcome, has_frames)).collect();
    document.insert("clips".into(), serde_json::to_value(clips)?);
    serde_json::to_writer_pretty(&mut *out, &document)?;
    Ok(writeln!(out)?)
}

fn entry(outcome: &Outcome, has_frames: bool) -> ClipEntry<'_> {
    let clip = outcome.result.as_ref().ok();
    ClipEntry {
        path: &outcome.input.name,
        start_time: outcome.input.start_s,
        end_time: outcome.input.end_s,
        duration_s: clip.map(|clip| clip.duration_s),
        num_frames: clip.map(|clip| clip.score.num_steps),
        scores: clip.map(|clip| named(&clip.score.scores)),
        frames: clip.filter(|_| has_frames).map(|clip| frames(&clip.frames)),
        error: outcome.result.as_ref().err().map(String::as_str),
    }
}

fn frames(frames: &[FrameScore]) -> Vec<Frame> {
    let frame = |f: &FrameScore| Frame { start_s: f.start_s(), end_s: f.end_s(), scores: named(&f.scores) };
    frames.iter().map(frame).collect()
}

/// What made the scores.
pub(crate) fn engine(provenance: &Provenance) -> Value {
    let mut engine = Map::new();
    engine.insert("name".into(), "aesa".into());
    engine.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    engine.insert("runtime".into(), provenance.runtime.into());
    engine.extend(provenance.weights.map(|weights| ("weights".into(), weights.into())));
    engine.into()
}

/// How the model heard, in the keys that files and streams have in common.
pub(crate) fn policy(policy: Policy) -> Map<String, Value> {
    let mut keys = Map::new();
    keys.insert("name".into(), policy.name().into());
    match policy {
        Policy::Windowed { window_steps } => {
            keys.insert("window_steps".into(), window_steps.into());
        }
        Policy::Chunked { chunk_steps, left_steps } => {
            keys.insert("chunk_steps".into(), chunk_steps.into());
            keys.insert("left_steps".into(), left_steps.into());
        }
    }
    keys.insert("step_s".into(), STEP_S.into());
    keys
}

/// Which model it was.
pub(crate) fn model(provenance: &Provenance) -> Value {
    json!({
        "id": provenance.id,
        "version": provenance.version,
        "labels": provenance.labels.name(),
        "run_hash": provenance.run_hash,
    })
}

pub(crate) fn named(scores: &Scores) -> Named {
    Named { pq: scores[Axis::Pq], pc: scores[Axis::Pc], ce: scores[Axis::Ce], cu: scores[Axis::Cu] }
}
