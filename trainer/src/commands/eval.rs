//! `aesa-trainer eval`

use std::fs;
use std::path::{Path, PathBuf};

use aesa_trainer::evaluate::{
    LadderReport, Model, Report, Scored, compare_files, score_ladders, score_split,
};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;

/// Measures a model on a corpus, or anyone's predictions against labels.
///
/// Gives MSE, LCC (Pearson), SRCC (Spearman) and KTAU (Kendall's tau-b) per axis, over all clips and per
/// domain, for single clips (utterance) and for the means of each system. `--split ladders` takes the
/// corpus's gradually degraded clips and tells for how many of them PQ falls at every step.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  aesa-trainer eval --model runs/starter-1 --corpus corpus/starter --split test
  aesa-trainer eval --model models/starter/model.onnx --corpus corpus/starter --split ladders --json ladders.json
  aesa-trainer eval --truth audiomos2025_track2_human_annotations.jsonl --predictions mine.csv --json out.json

For a run folder the results are also saved in it, as eval-SPLIT.json, eval-SPLIT.csv and predictions-SPLIT.csv.
A predictions file has the columns sample_id, PQ, PC, CE, CU, in any order; others are ignored.")]
pub(crate) struct Arguments {
    /// Run folder, or an exported model.onnx
    #[arg(long, value_name = "MODEL", requires = "corpus", required_unless_present = "truth")]
    model: Option<PathBuf>,
    /// Corpus folder
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Part of the corpus
    #[arg(long, value_enum, default_value = "validation")]
    split: Split,
    /// Labels: the challenge's CSV or JSONL
    #[arg(long, value_name = "LABELS", requires = "predictions", conflicts_with = "model")]
    truth: Option<PathBuf>,
    /// Predictions for the clips in --truth
    #[arg(long, value_name = "FILE.csv", requires = "truth")]
    predictions: Option<PathBuf>,
    /// Where to save the metrics as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to save the metrics as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Where to save the scores of each clip as CSV
    #[arg(long, value_name = "FILE", conflicts_with = "truth")]
    save_predictions: Option<PathBuf>,
    /// Threads; 0 takes all
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// A table of the corpus.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Split {
    Train,
    Validation,
    Test,
    Ladders,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    aesa_trainer::train::set_threads(arguments.threads);
    if let (Some(truth), Some(predictions)) = (&arguments.truth, &arguments.predictions) {
        return save_report(
            &compare_files(truth, predictions)?,
            arguments.json.as_deref(),
            arguments.csv.as_deref(),
        );
    }
    let (Some(model), Some(corpus)) = (&arguments.model, &arguments.corpus) else {
        bail!("give either --model and --corpus, or --truth and --predictions");
    };
    let split = match arguments.split {
        Split::Train => "train",
        Split::Validation => "validation",
        Split::Test => "test",
        Split::Ladders => "ladders",
    };
    let in_run = |name: String| model.is_dir().then(|| model.join(name));
    let json = arguments.json.clone().or_else(|| in_run(format!("eval-{split}.json")));
    let csv = arguments.csv.clone().or_else(|| in_run(format!("eval-{split}.csv")));
    let loaded = Model::load(model)?;
    if arguments.split == Split::Ladders {
        return save_ladders(&score_ladders(&loaded, corpus)?, json.as_deref(), csv.as_deref());
    }
    let scored = score_split(&loaded, corpus, split)?;
    if let Some(path) =
        arguments.save_predictions.clone().or_else(|| in_run(format!("predictions-{split}.csv")))
    {
        save_predictions(&scored, &path)?;
    }
    let description = format!("{} on {split} of {}", model.display(), corpus.display());
    save_report(&Report::of(description, &scored), json.as_deref(), csv.as_deref())
}

fn save_report(report: &Report, json: Option<&Path>, csv: Option<&Path>) -> Result<()> {
    print!("{}", report.table());
    save_json(report, json)?;
    save_csv(&report.rows(), csv)
}

fn save_ladders(reports: &[LadderReport], json: Option<&Path>, csv: Option<&Path>) -> Result<()> {
    /// One step of a ladder.
    #[derive(Serialize)]
    struct Row<'a> {
        ladder: &'a str,
        step: usize,
        value: f64,
        mean_pq: f64,
        share_falling: Option<f64>,
    }
    let mut rows = Vec::new();
    for report in reports {
        println!(
            "{}: PQ falls at every step in {:.1} % of {} clips",
            report.ladder,
            100.0 * report.share_falling_throughout,
            report.num_clips
        );
        for (step, (&value, &mean_pq)) in report.values.iter().zip(&report.mean_pq).enumerate() {
            let share_falling = step.checked_sub(1).map(|n| report.share_falling[n]);
            let falling = share_falling.map_or(String::new(), |s| format!("  falls in {:5.1} %", 100.0 * s));
            println!("  step {step} ({value:>6}): mean PQ {mean_pq:.3}{falling}");
            rows.push(Row { ladder: &report.ladder, step, value, mean_pq, share_falling });
        }
    }
    save_json(reports, json)?;
    save_csv(&rows, csv)
}

fn save_predictions(scored: &[Scored], path: &Path) -> Result<()> {
    /// One clip's scores.
    #[derive(Serialize)]
    #[serde(rename_all = "UPPERCASE")]
    struct Row<'a> {
        #[serde(rename = "sample_id")]
        id: &'a str,
        pq: f64,
        pc: f64,
        ce: f64,
        cu: f64,
    }
    let rows = scored.iter().map(|s| {
        let [pq, pc, ce, cu] = s.prediction;
        Row { id: &s.id, pq, pc, ce, cu }
    });
    save_csv(&rows.collect::<Vec<_>>(), Some(path))
}

fn save_json<T: Serialize + ?Sized>(value: &T, path: Option<&Path>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(value)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn save_csv<T: Serialize>(rows: &[T], path: Option<&Path>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let mut writer =
        csv::Writer::from_path(path).with_context(|| format!("cannot write {}", path.display()))?;
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(writer.flush()?)
}
