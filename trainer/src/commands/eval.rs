//! `aesa-trainer eval`

use std::fs;
use std::path::{Path, PathBuf};

use aesa_corpus::roots::Root;
use aesa_trainer::bootstrap::Bootstrap;
use aesa_trainer::ceiling::{Raters, Splits};
use aesa_trainer::config::DeviceName;
use aesa_trainer::dataset::Clip;
use aesa_trainer::evaluate::{Ladders, Model, score_clips, score_ladders, score_split};
use aesa_trainer::listing::Listing;
use aesa_trainer::predictions::{self, Predictions};
use aesa_trainer::report::{Report, Scored};
use aesa_trainer::run::{Origin, weights_file};
use aesa_trainer::{scatter, tables, truth, weights};
use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;

/// Measures a model on a corpus or on rated tables, or anyone's predictions against labels.
///
/// Prints the paper's Table I (domain x axis) and Table II (axis x metric): MSE, LCC (Pearson), SRCC
/// (Spearman) and KTAU (Kendall's tau-b), for single clips (utterance) and for the means of each system, and
/// MSE*, the MSE after taking off the mean error. Each number has a bootstrap interval; where the labels hold
/// every rater's scores, the agreement of half the raters with the other half stands beside it.
///
/// `--table` reads the tables that `train` reads (the challenge's CSV and JSONL, CSV or Parquet of your own, also parts of
/// files), finds their audio by `--root` as `train` does, and reports per corpus what is missing.
///
/// `--split ladders` takes the corpus's gradually degraded clips instead, and tells for how many of them PQ
/// falls at every step.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  a model on a corpus:
    aesa-trainer eval --model runs/starter-1 --corpus corpus/starter --split test
    aesa-trainer eval --model models/starter/model.onnx --corpus corpus/starter --split ladders
  a run's scores in chunks of 1.92 s, as a stream would be scored:
    aesa-trainer eval --model runs/starter-1 --corpus corpus/starter --split test --chunk-steps 12
  a model on the challenge's lists, or on ratings of your own:
    aesa-trainer eval --model runs/paper --table audiomos2025-track2-dev_list.csv --root your_path=/data
    aesa-trainer eval --model model.onnx --table mine-test.parquet --out mine-test
  another system's answer to the challenge, with the raters' ceiling, and domains for Table I:
    aesa-trainer eval --predictions answer.csv --truth audiomos2025_track2_human_annotations.jsonl \\
        --domains domains.csv --out answer
  another system's answer on a corpus:
    aesa-trainer eval --predictions answer.csv --corpus corpus/starter --split test
  the same numbers again, from what an evaluation left behind:
    aesa-trainer eval --predictions runs/starter-1/eval-test/predictions.csv

Files in --out DIR (for a run folder: eval-SPLIT in it, unless --out names another):
  table1.md, table1.csv     domain x axis
  table2.md, table2.csv     axis x metric
  metrics.json, metrics.csv every metric, interval and ceiling of every domain, axis and level; the JSON also tells the
                            command and the SHA-256 of model and labels
  scatter.svg               predictions over labels, one panel per axis
  predictions.csv           each clip's scores, labels, system and domain; of ladders, each step's scores
  raters.jsonl              every rater's scores, where the labels hold them: --raters for the same ceiling again
A run folder also gets eval-SPLIT.json, eval-SPLIT.csv and predictions-SPLIT.csv, for scripts. For tables, SPLIT is
the name of the first one without its ending. In chunks, it is followed by -chunkN, and by -leftM where
--chunk-left-steps is given. metrics.json and predictions.csv hold the policy.

A predictions file is CSV with the columns sample_id (or id, data_path, path; a file's name will
do), PQ, PC, CE, CU (or Production_Quality, ...), in any order; others are ignored. Every clip needs
a prediction, every prediction a clip. `aesa score --format csv` writes such files.

Intervals: systems are drawn with replacement, as many as there are, with all their clips; clips that
name no system are drawn one by one. A resample in which a metric is undefined does not count for it.")]
#[command(group(clap::ArgGroup::new("clips").args(["corpus", "table"])))]
pub(crate) struct Arguments {
    /// Run folder, or an exported model.onnx or model.aesa
    #[arg(
        long,
        value_name = "MODEL",
        requires = "clips",
        required_unless_present = "predictions",
        conflicts_with_all = ["predictions", "truth"]
    )]
    model: Option<PathBuf>,
    /// Anyone's scores; compared with --truth, with a --corpus, or with the labels they hold themselves
    #[arg(long, value_name = "FILE.csv")]
    predictions: Option<PathBuf>,
    /// Corpus folder
    #[arg(long, value_name = "DIR", conflicts_with = "truth")]
    corpus: Option<PathBuf>,
    /// Tables of rated clips that --model scores: the challenge's CSV or JSONL, or CSV or Parquet of your own
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "model")]
    table: Vec<PathBuf>,
    /// Where a corpus lies that the tables name; see `train --help`. May be repeated
    #[arg(long = "root", value_name = "NAME=DIR", requires = "table")]
    roots: Vec<Root>,
    /// Measures without the clips of the tables that are missing or cannot be decoded
    #[arg(long, requires = "table")]
    allow_missing: bool,
    /// Part of the corpus
    #[arg(long, value_enum, default_value = "validation", conflicts_with = "table")]
    split: Split,
    /// Labels: the challenge's CSV or JSONL
    #[arg(long, value_name = "LABELS", requires = "predictions")]
    truth: Option<PathBuf>,
    /// Every rater's scores (the challenge's JSONL), for the ceiling; --truth has them where it is JSONL
    #[arg(long, value_name = "LABELS")]
    raters: Option<PathBuf>,
    /// Domains of the clips: CSV with the columns system (or sample_id) and domain (speech, music, sound)
    #[arg(long, value_name = "FILE.csv")]
    domains: Option<PathBuf>,
    /// Scores each clip as one stream in chunks of so many steps (160 ms each), in place of windows
    #[arg(long, value_name = "N", requires = "model", value_parser = parse_steps)]
    chunk_steps: Option<usize>,
    /// A chunk hears at least so many steps before it, rounded up to whole chunks [default: the run's chunks.left_steps]
    #[arg(long, value_name = "M", requires = "chunk_steps")]
    chunk_left_steps: Option<usize>,
    /// Where a run folder's network scores: cpu, cuda or cuda:N; cuda was not tried on a GPU yet
    #[arg(long, requires = "model", default_value = "cpu", value_parser = parse_device)]
    device: DeviceName,
    /// Resamples for the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = Bootstrap::default().num_resamples)]
    bootstrap: usize,
    /// Random splits of the raters for the ceiling; 0 for none
    #[arg(long, value_name = "N", default_value_t = Splits::default().num_splits)]
    rater_splits: usize,
    /// Decides resamples and splits
    #[arg(long, default_value_t = Bootstrap::default().seed)]
    seed: u64,
    /// Print every metric of every domain, axis and level instead of the two tables
    #[arg(long)]
    detailed: bool,
    /// Folder for tables, metrics, plot and predictions
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where to save the metrics as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to save the metrics as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Where to save the scores of each clip as CSV
    #[arg(long, value_name = "FILE")]
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

impl Split {
    const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::Ladders => "ladders",
        }
    }
}

/// What is compared.
struct Compared {
    description: String,
    clips: Vec<Scored>,
    raters: Raters,
    /// How the model scored, where that is known.
    policy: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    aesa_trainer::train::set_threads(arguments.threads);
    let files = files_of(arguments);
    let in_run = |name: String| arguments.model.as_deref().filter(|m| m.is_dir()).map(|m| m.join(name));
    let json = arguments.json.clone().or_else(|| in_run(format!("eval-{files}.json")));
    let csv = arguments.csv.clone().or_else(|| in_run(format!("eval-{files}.csv")));
    if arguments.split == Split::Ladders {
        let (Some(model), Some(corpus)) = (&arguments.model, &arguments.corpus) else {
            bail!("ladders have no labels: give --model and --corpus");
        };
        let out = arguments.out.as_deref();
        let ladders = score_ladders(&load(arguments, model)?, corpus)?;
        let predictions = in_run(format!("predictions-{files}.csv"));
        let name = |file: &str| out.map(|o| o.join(file));
        let files = [
            (json, name("metrics.json")),
            (csv, name("metrics.csv")),
            (predictions, name("predictions.csv")),
        ];
        return save_ladders(&ladders, &files.map(|(a, b)| [a, b].into_iter().flatten().collect::<Vec<_>>()));
    }
    let out = arguments.out.clone().or_else(|| in_run(format!("eval-{files}")));
    let compared = compare(arguments, out.as_deref())?;
    let report = report(arguments, &compared)?;
    if arguments.detailed {
        print!("{}", report.detailed_table());
    } else {
        print!("{}\n{}", tables::domains(&report).text(), tables::metrics(&report).text());
    }
    let predictions =
        arguments.save_predictions.clone().or_else(|| in_run(format!("predictions-{files}.csv")));
    let single = [(json, "metrics.json"), (csv, "metrics.csv"), (predictions, "predictions.csv")];
    save(&compared, &report, out.as_deref(), &single)
}

impl Arguments {
    /// What names the files in a run folder.
    fn split_name(&self) -> String {
        let table = self.table.first().and_then(|table| table.file_stem());
        table.map_or(self.split.name().to_string(), |stem| stem.to_string_lossy().into_owned())
    }
}

/// Scores the clips, or reads their scores; `out` is where missing clips are listed.
fn compare(arguments: &Arguments, out: Option<&Path>) -> Result<Compared> {
    let split = arguments.split.name();
    // Before the work of scoring, so that a wrong file shows at once.
    let asked = arguments.raters.as_deref().map(read_raters).transpose()?;
    let policy;
    let (description, mut clips, raters) = match (&arguments.model, &arguments.predictions) {
        (Some(model), _) if !arguments.table.is_empty() => {
            let names: Vec<String> = arguments.table.iter().map(|table| file_name(table)).collect();
            let description = format!("{} on {}", model.display(), names.join(", "));
            let model = load(arguments, model)?;
            policy = Some(model.policy().to_string());
            let listing = Listing::of_measured(&arguments.table, &arguments.roots)?;
            let (clips, raters) = listing.read_measured(arguments.allow_missing, out)?;
            let has_raters = |clip: &Clip| raters.get(&clip.id).is_some_and(|scores| scores.len() > 1);
            let is_rated = clips.iter().all(has_raters);
            if !raters.is_empty() && !is_rated {
                eprintln!("no ceiling: some clips do not have the scores of two raters");
            }
            (description, score_clips(&model, clips)?, if is_rated { raters } else { Raters::new() })
        }
        (Some(model), _) => {
            let corpus = arguments.corpus.as_deref().context("--model needs a --corpus or a --table")?;
            let description = format!("{} on {split} of {}", model.display(), corpus.display());
            let model = load(arguments, model)?;
            policy = Some(model.policy().to_string());
            (description, score_split(&model, corpus, split)?, Raters::new())
        }
        (None, Some(predictions)) => {
            let name = file_name(predictions);
            let predictions = Predictions::read(predictions)?;
            policy = predictions.policy().map(str::to_string);
            match (&arguments.truth, &arguments.corpus) {
                (Some(labels), _) => {
                    let description = format!("{name} against {}", file_name(labels));
                    let (truth, raters) = truth::read_labels(labels)?;
                    (description, predictions.join(&truth, &labels.display().to_string())?, raters)
                }
                (None, Some(corpus)) => {
                    let truth = truth::read_split(corpus, split)?;
                    let labels = format!("{split} of {}", corpus.display());
                    let clips = predictions.join(&truth, &labels)?;
                    (format!("{name} against {labels}"), clips, Raters::new())
                }
                (None, None) => (name, predictions.into_scored()?, Raters::new()),
            }
        }
        (None, None) => bail!("give --model and --corpus or --table, or --predictions"),
    };
    if let Some(domains) = &arguments.domains {
        truth::assign_domains(&mut clips, domains)?;
    }
    let is_outside = |clip: &&Scored| clip.prediction.iter().any(|score| !(0.0..=10.0).contains(score));
    let num_outside = clips.iter().filter(is_outside).count();
    if num_outside > 0 {
        eprintln!("note: {num_outside} of {} clips have scores outside 0 to 10", clips.len());
    }
    Ok(Compared { description, clips, raters: asked.unwrap_or(raters), policy })
}

/// The model, in chunks where they were asked for.
fn load(arguments: &Arguments, path: &Path) -> Result<Model> {
    let model = Model::load(path)?.on(arguments.device)?;
    match arguments.chunk_steps {
        Some(steps) => model.chunked(steps, arguments.chunk_left_steps),
        None => Ok(model),
    }
}

/// All that is read but audio.
fn sources(arguments: &Arguments) -> Vec<PathBuf> {
    let Arguments { model, predictions, table, corpus, truth, raters, domains, .. } = arguments;
    let split = corpus.as_ref().map(|corpus| corpus.join(format!("{}.csv", arguments.split.name())));
    let rest = [predictions, &split, truth, raters, domains].into_iter().flatten();
    model.iter().map(|model| weights_file(model)).chain(table.iter().chain(rest).cloned()).collect()
}

/// What an evaluation's files in a run folder are named after: the split, and the chunks.
fn files_of(arguments: &Arguments) -> String {
    let chunk = arguments.chunk_steps.map(|steps| format!("-chunk{steps}"));
    let left = arguments.chunk_left_steps.map(|steps| format!("-left{steps}"));
    [Some(arguments.split_name()), chunk, left].into_iter().flatten().collect()
}

/// A number of steps, at least one.
fn parse_steps(text: &str) -> Result<usize> {
    let steps = text.parse()?;
    ensure!(steps > 0, "a chunk has at least one step");
    Ok(steps)
}

/// A device's name.
fn parse_device(text: &str) -> Result<DeviceName, String> {
    text.to_owned().try_into()
}

fn read_raters(labels: &Path) -> Result<Raters> {
    let (_, raters) = truth::read_labels(labels)?;
    ensure!(!raters.is_empty(), "{} holds only means, not the raters' scores", labels.display());
    Ok(raters)
}

fn report(arguments: &Arguments, compared: &Compared) -> Result<Report> {
    let Compared { description, clips, raters, policy } = compared;
    let mut report = Report::of(description.clone(), clips);
    report.policy = policy.clone();
    report.origin = Some(Origin::of_files(sources(arguments).into_iter())?);
    let bootstrap = Bootstrap { num_resamples: arguments.bootstrap, seed: arguments.seed };
    report.bootstrap = bootstrap.intervals(clips, &report.agreement);
    let splits = Splits { num_splits: arguments.rater_splits, seed: arguments.seed };
    // A single rating per clip is a label like any other; a file of raters that was asked for must serve.
    if arguments.raters.is_some() || raters.values().any(|scores| scores.len() > 1) {
        let ceiling = splits.ceiling(clips, raters);
        report.raters = ceiling.context("no ceiling of the raters (--rater-splits 0 leaves it out)")?;
    }
    Ok(report)
}

/// Writes the folder `out` and the single files: all of them, or none.
fn save(
    compared: &Compared,
    report: &Report,
    out: Option<&Path>,
    single: &[(Option<PathBuf>, &str)],
) -> Result<()> {
    let Compared { clips, raters, .. } = compared;
    let (domains, metrics) = (tables::domains(report), tables::metrics(report));
    let mut files = vec![
        ("table1.md", domains.markdown().into_bytes()),
        ("table1.csv", domains.csv()?),
        ("table2.md", metrics.markdown().into_bytes()),
        ("table2.csv", metrics.csv()?),
        ("metrics.json", (serde_json::to_string_pretty(report)? + "\n").into_bytes()),
        ("metrics.csv", report.csv()?),
        ("scatter.svg", scatter::svg(clips, report)?.into_bytes()),
        ("predictions.csv", predictions::to_csv(clips, report.policy.as_deref())?),
    ];
    if report.raters.is_some() {
        files.push(("raters.jsonl", truth::raters_to_jsonl(raters)?));
    }
    let in_out = out.map(|out| files.iter().map(|(name, bytes)| (out.join(name), &bytes[..])));
    let alone = single.iter().filter_map(|(path, name)| {
        let (_, bytes) = files.iter().find(|(of, _)| of == name)?;
        Some((path.clone()?, &bytes[..]))
    });
    write(&in_out.into_iter().flatten().chain(alone).collect::<Vec<_>>())
}

/// Prints what the ladders say, and writes it and each step's scores.
fn save_ladders(ladders: &Ladders, [json, csv, predictions]: &[Vec<PathBuf>; 3]) -> Result<()> {
    /// One step of a ladder.
    #[derive(Serialize)]
    struct Row<'a> {
        ladder: &'a str,
        step: usize,
        value: f64,
        mean_pq: f64,
        share_falling: Option<f64>,
    }
    let mut rows = csv::Writer::from_writer(Vec::new());
    for report in &ladders.reports {
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
            rows.serialize(Row { ladder: &report.ladder, step, value, mean_pq, share_falling })?;
        }
    }
    let text = serde_json::to_string_pretty(&ladders.reports)? + "\n";
    let (rows, scores) = (rows.into_inner()?, ladder_scores(ladders)?);
    let kinds = [(json, text.as_bytes()), (csv, &rows[..]), (predictions, &scores[..])];
    let files = kinds.iter().flat_map(|(paths, bytes)| paths.iter().map(|path| (path.clone(), *bytes)));
    write(&files.collect::<Vec<_>>())
}

/// One row for each degraded clip: ladder, clip, step, value and its scores.
fn ladder_scores(ladders: &Ladders) -> Result<Vec<u8>> {
    let mut rows = csv::Writer::from_writer(Vec::new());
    rows.write_record(["ladder", "clip", "step", "value", "PQ", "PC", "CE", "CU"])?;
    for (row, scores) in ladders.rows.iter().zip(&ladders.scores) {
        let numbers =
            [row.step as f64, row.value].into_iter().chain(*scores).map(|number| number.to_string());
        rows.write_record([row.ladder.clone(), row.clip.clone()].into_iter().chain(numbers))?;
    }
    Ok(rows.into_inner()?)
}

/// Writes all files, whole, or none.
fn write(files: &[(PathBuf, &[u8])]) -> Result<()> {
    for folder in files.iter().filter_map(|(path, _)| path.parent()) {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    weights::replace_all(files)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
