//! A JSON line per frame, and one for the clip.

use std::io::{self, Write};

use aesa::{ClipScore, FrameScore, WindowPolicy};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::output::Provenance;
use crate::output::json::{self, Named, model, named};

#[derive(Serialize)]
struct FrameLine {
    start_s: f64,
    end_s: f64,
    #[serde(flatten)]
    scores: Named,
    /// Lost audio in what the network saw.
    gap: bool,
    /// Lost audio in the frame itself, which is no part of the clip score.
    lost: bool,
}

#[derive(Serialize)]
struct ClipLine<'a> {
    scores: Named,
    num_frames: u64,
    num_lost_frames: u64,
    duration_s: f64,
    engine: Value,
    model: Value,
    policy: Map<String, Value>,
    note: Option<&'a str>,
}

/// What a whole stream came to.
pub(super) struct Summary {
    pub(super) clip: ClipScore,
    /// All frames, lost ones included.
    pub(super) num_frames: u64,
    pub(super) duration_s: f64,
}

/// Writes a frame's line and flushes it.
pub(super) fn write_frame(out: &mut dyn Write, frame: &FrameScore) -> io::Result<()> {
    let line = FrameLine {
        start_s: frame.start_s(),
        end_s: frame.end_s(),
        scores: named(&frame.scores),
        gap: frame.has_gap,
        lost: frame.is_lost,
    };
    write_line(out, &line)
}

/// Writes the clip's line and flushes it; `windows` is how they followed one another, if there were any.
pub(super) fn write_clip(
    out: &mut dyn Write,
    summary: &Summary,
    provenance: &Provenance,
    windows: Option<WindowPolicy>,
) -> io::Result<()> {
    let mut policy = json::policy(provenance.policy);
    if let Some(windows) = windows {
        policy.insert("hop_s".into(), windows.hop_s().into());
        policy.insert("look_ahead_s".into(), windows.look_ahead_s().into());
    }
    let line = ClipLine {
        scores: named(&summary.clip.scores),
        num_frames: summary.num_frames,
        num_lost_frames: summary.num_frames - summary.clip.num_steps,
        duration_s: summary.duration_s,
        engine: json::engine(provenance),
        model: model(provenance),
        policy,
        note: provenance.note(),
    };
    write_line(out, &line)
}

fn write_line(out: &mut dyn Write, line: &impl Serialize) -> io::Result<()> {
    // In one piece, so that a reader never sees half a line.
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use aesa::{Labels, Policy, Scores};
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_say_when_what_and_from_where() {
        let mut out = Vec::new();
        let scores = Scores([1.5, 2.0, 3.0, 4.5]);
        write_frame(&mut out, &FrameScore { index: 2, scores, has_gap: true, is_lost: false }).unwrap();
        let mut provenance = Provenance {
            runtime: "tract",
            weights: None,
            id: "tiny".into(),
            version: "3".into(),
            run_hash: "ab".into(),
            policy: Policy::Windowed { window_steps: 62 },
            labels: Labels::Proxy,
        };
        let summary = Summary { clip: ClipScore { scores, num_steps: 9 }, num_frames: 11, duration_s: 1.8 };
        let policy = WindowPolicy { hop_steps: 6, look_ahead_steps: 1 };
        write_clip(&mut out, &summary, &provenance, Some(policy)).unwrap();
        provenance.policy = Policy::Chunked { chunk_steps: 6, left_steps: 12 };
        write_clip(&mut out, &summary, &provenance, None).unwrap();
        let text = String::from_utf8(out).unwrap();
        let [frame, clip, chunked] = text.lines().collect::<Vec<_>>().try_into().unwrap();
        let expected =
            r#"{"start_s":0.32,"end_s":0.48,"PQ":1.5,"PC":2.0,"CE":3.0,"CU":4.5,"gap":true,"lost":false}"#;
        assert_eq!(frame, expected);
        let clip: Value = serde_json::from_str(clip).unwrap();
        assert_eq!((&clip["scores"]["CU"], &clip["num_frames"]), (&json!(4.5), &json!(11)));
        assert_eq!((&clip["num_lost_frames"], &clip["model"]["id"]), (&json!(2), &json!("tiny")));
        assert_eq!((&clip["policy"]["hop_s"], &clip["policy"]["look_ahead_s"]), (&json!(0.96), &json!(0.16)));
        assert_eq!(clip["engine"]["runtime"], "tract");
        let chunked: Value = serde_json::from_str(chunked).unwrap();
        let policy = json!({ "name": "chunked", "chunk_steps": 6, "left_steps": 12, "step_s": 0.16 });
        assert_eq!(chunked["policy"], policy);
        assert!(clip["note"].as_str().unwrap().contains("labels: proxy"));
    }
}
