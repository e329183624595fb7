//! Results in the format asked for.

mod csv_rows;
pub(crate) mod json;
mod table;

use std::io::{self, Write};
use std::path::Path;

use aesa::{Labels, Policy};
use aesa_runtime::Model;
use clap::ValueEnum;

use crate::clip::Clip;
use crate::inputs::Input;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One document with everything: model, clips, frames, errors.
    Json,
    /// One line per input with the keys CE, CU, PC, PQ, as the official Audiobox Aesthetics tool writes them.
    Jsonl,
    /// One row per clip (with --frames: per frame).
    Csv,
}

impl Format {
    /// The format that a file name asks for.
    pub(crate) fn from_extension(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "json" => Some(Self::Json),
            "jsonl" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "txt" => Some(Self::Table),
            _ => None,
        }
    }
}

/// What happened to one input.
pub(crate) struct Outcome {
    pub(crate) input: Input,
    /// The clip, or why there is none.
    pub(crate) result: Result<Clip, String>,
}

/// Which engine, model, policy and labels made the scores.
pub(crate) struct Provenance {
    /// What ran the network: `tract` or `native`.
    pub(crate) runtime: &'static str,
    /// What kind of numbers it was computed in, where that is known.
    pub(crate) weights: Option<&'static str>,
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) run_hash: String,
    pub(crate) policy: Policy,
    pub(crate) labels: Labels,
}

impl Provenance {
    pub(crate) fn new(model: &Model) -> Self {
        let info = model.info();
        Self {
            runtime: model.engine().name(),
            weights: model.engine().weights(),
            id: info.id.clone(),
            version: info.version.clone(),
            run_hash: info.run_hash.clone(),
            policy: info.policy,
            labels: info.labels,
        }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let Self { id, version, policy, labels, .. } = self;
        let engine = self.weights.map(|weights| format!(" ({} engine, {weights})", self.runtime));
        let engine = engine.unwrap_or_default();
        format!("model: {id} {version}{engine} · policy: {policy} · labels: {}", labels.name())
    }

    /// What to keep in mind about the labels, if anything.
    pub(crate) fn note(&self) -> Option<&'static str> {
        match self.labels {
            Labels::Human => None,
            Labels::Proxy => Some(
                "labels: proxy - this model learned from computed stand-ins, not from listeners: compare, do not quote",
            ),
        }
    }
}

/// Takes outcomes in the order of the inputs and writes them in one format.
pub(crate) struct Report<'a> {
    format: Format,
    has_frames: bool,
    provenance: &'a Provenance,
    out: Box<dyn Write + 'a>,
    /// Outcomes of formats that are written at the end.
    kept: Vec<Outcome>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(
        format: Format,
        has_frames: bool,
        provenance: &'a Provenance,
        out: Box<dyn Write + 'a>,
    ) -> anyhow::Result<Self> {
        let mut report = Self { format, has_frames, provenance, out, kept: Vec::new() };
        if format == Format::Csv {
            csv_rows::write_header(&mut report.out, has_frames)?;
        }
        Ok(report)
    }

    /// The next outcome.
    pub(crate) fn push(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        match self.format {
            Format::Jsonl => json::write_line(&mut self.out, &outcome, self.has_frames)?,
            Format::Csv => csv_rows::write(&mut self.out, &outcome, self.has_frames, self.provenance)?,
            Format::Table | Format::Json => self.kept.push(outcome),
        }
        Ok(self.flush()?)
    }

    /// Writes what is left.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        match self.format {
            Format::Table => table::write(&mut self.out, &self.kept, self.has_frames, self.provenance)?,
            Format::Json => {
                json::write_document(&mut self.out, &self.kept, self.has_frames, self.provenance)?
            }
            Format::Jsonl | Format::Csv => {}
        }
        Ok(self.flush()?)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use aesa::{ClipScore, FrameScore, Scores};
    use serde_json::json;

    use super::*;

    fn outcomes() -> Vec<Outcome> {
        let input = |name: &str| Input { path: name.into(), name: name.to_string(), ..Input::default() };
        let frame = |index, pq| FrameScore {
            index,
            scores: Scores([pq, 2.0, 3.0, 4.5]),
            has_gap: false,
            is_lost: false,
        };
        let clip = Clip {
            duration_s: 0.5,
            score: ClipScore { scores: Scores([1.5, 2.0, 3.0, 4.5]), num_steps: 2 },
            frames: vec![frame(0, 1.0), frame(1, 2.0)],
        };
        let segment = Input { start_s: Some(1.0), end_s: Some(1.5), ..input("a, \"b\".wav") };
        vec![
            Outcome { input: segment, result: Ok(clip) },
            Outcome { input: input("broken.mp3"), result: Err("the file is empty (0 bytes)".to_string()) },
        ]
    }

    fn provenance(policy: Policy) -> Provenance {
        let windowed = matches!(policy, Policy::Windowed { .. });
        Provenance {
            runtime: if windowed { "tract" } else { "native" },
            weights: (!windowed).then_some("int8"),
            id: "tiny".into(),
            version: "3".into(),
            run_hash: "ab".into(),
            policy,
            labels: Labels::Proxy,
        }
    }

    fn written(format: Format, has_frames: bool) -> String {
        written_by(&provenance(Policy::Windowed { window_steps: 62 }), format, has_frames)
    }

    fn written_by(provenance: &Provenance, format: Format, has_frames: bool) -> String {
        let mut bytes = Vec::new();
        let mut report = Report::new(format, has_frames, provenance, Box::new(&mut bytes)).unwrap();
        outcomes().into_iter().for_each(|outcome| report.push(outcome).unwrap());
        report.finish().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn jsonl_is_the_official_layout() {
        let expected = "{\"CE\":3.0,\"CU\":4.5,\"PC\":2.0,\"PQ\":1.5}\n\
                        {\"path\":\"broken.mp3\",\"error\":\"the file is empty (0 bytes)\"}\n";
        assert_eq!(written(Format::Jsonl, false), expected);
        let frames = written(Format::Jsonl, true);
        let line: serde_json::Value = serde_json::from_str(frames.lines().next().unwrap()).unwrap();
        assert_eq!(line["frames"][1]["start_s"], 0.16);
        assert_eq!(line["frames"][1]["PQ"], 2.0);
    }

    #[test]
    fn json_says_where_the_scores_come_from() {
        let document: serde_json::Value = serde_json::from_str(&written(Format::Json, true)).unwrap();
        assert_eq!(document["model"]["id"], "tiny");
        assert_eq!(document["model"]["labels"], "proxy");
        assert_eq!(document["engine"]["runtime"], "tract");
        assert_eq!(document["policy"], json!({ "name": "windowed", "window_steps": 62, "step_s": 0.16 }));
        assert_eq!(document["clips"][0]["scores"]["CU"], 4.5);
        assert_eq!(document["clips"][0]["start_time"], 1.0);
        assert_eq!(document["clips"][0]["frames"].as_array().unwrap().len(), 2);
        assert_eq!(document["clips"][1]["error"], "the file is empty (0 bytes)");
        let without: serde_json::Value = serde_json::from_str(&written(Format::Json, false)).unwrap();
        assert!(without["clips"][0].get("frames").is_none());
    }

    #[test]
    fn chunks_and_the_engine_that_heard_them_are_named() {
        let provenance = provenance(Policy::Chunked { chunk_steps: 6, left_steps: 12 });
        let document = written_by(&provenance, Format::Json, false);
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(document["engine"]["runtime"], "native");
        assert_eq!(document["engine"]["weights"], "int8");
        let policy = json!({ "name": "chunked", "chunk_steps": 6, "left_steps": 12, "step_s": 0.16 });
        assert_eq!(document["policy"], policy);
        let line = "model: tiny 3 (native engine, int8) · policy: chunked, 6 steps of 160 ms and 12 before them · \
                    labels: proxy\n";
        assert!(written_by(&provenance, Format::Table, false).contains(line));
        assert!(written_by(&provenance, Format::Csv, false).contains(",chunked,proxy,"));
    }

    #[test]
    fn csv_has_a_row_per_clip_or_per_frame() {
        let clips = written(Format::Csv, false);
        let mut reader = csv::Reader::from_reader(clips.as_bytes());
        let headers: Vec<String> = reader.headers().unwrap().iter().map(str::to_string).collect();
        assert_eq!(headers[..4], ["path", "start_time", "end_time", "duration_s"]);
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(
            rows[0].iter().take(8).collect::<Vec<_>>(),
            ["a, \"b\".wav", "1", "1.5", "0.5", "1.5", "2", "3", "4.5"]
        );
        assert_eq!(&rows[1][headers.len() - 1], "the file is empty (0 bytes)");
        assert_eq!(written(Format::Csv, true).lines().count(), 1 + 2 + 1);
    }

    #[test]
    fn the_table_names_model_and_labels() {
        let table = written(Format::Table, false);
        for text in ["PQ", "1.50", "4.50", "tiny 3", "windowed", "labels: proxy", "broken.mp3"] {
            assert!(table.contains(text), "{text} is missing in\n{table}");
        }
        assert!(written(Format::Table, true).contains("0.16"));
    }
}
