//! CSV: one row per clip, or one per frame.

use std::io::Write;

use aesa::{Axis, FrameScore, Scores};

use super::{Outcome, Provenance};

/// The row of names.
pub(super) fn write_header(out: &mut dyn Write, has_frames: bool) -> anyhow::Result<()> {
    let time: &[&str] = if has_frames { &["frame_start_s", "frame_end_s"] } else { &["duration_s"] };
    let axes = Axis::ALL.map(Axis::short_name);
    let columns =
        [&["path", "start_time", "end_time"], time, &axes, &["model", "policy", "labels", "error"]].concat();
    write_row(out, columns)
}

/// The rows of one input; a failed one has a row with the reason.
pub(super) fn write(
    out: &mut dyn Write,
    outcome: &Outcome,
    has_frames: bool,
    provenance: &Provenance,
) -> anyhow::Result<()> {
    let optional = |time_s: Option<f64>| time_s.map(|s| s.to_string()).unwrap_or_default();
    let input = &outcome.input;
    let mut row = |time: Vec<String>, scores: Option<&Scores>, error: &str| {
        let scores = Axis::ALL.map(|axis| scores.map(|s| s[axis].to_string()).unwrap_or_default());
        let model = format!("{} {}", provenance.id, provenance.version);
        let columns = [
            vec![input.name.clone(), optional(input.start_s), optional(input.end_s)],
            time,
            scores.to_vec(),
            vec![
                model,
                provenance.policy.name().to_string(),
                provenance.labels.name().to_string(),
                error.to_string(),
            ],
        ];
        write_row(out, columns.concat())
    };
    match &outcome.result {
        Ok(clip) if has_frames => {
            clip.frames.iter().try_for_each(|f| row(frame_times(f), Some(&f.scores), ""))
        }
        Ok(clip) => row(vec![clip.duration_s.to_string()], Some(&clip.score.scores), ""),
        Err(error) => row(vec![String::new(); 1 + usize::from(has_frames)], None, error),
    }
}

fn frame_times(frame: &FrameScore) -> Vec<String> {
    // Steps of 160 ms: two decimals are exact.
    vec![format!("{:.2}", frame.start_s()), format!("{:.2}", frame.end_s())]
}

fn write_row<T: AsRef<[u8]>>(out: &mut dyn Write, columns: Vec<T>) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(columns)?;
    Ok(writer.flush()?)
}
