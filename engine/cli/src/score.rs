//! `aesa score`: from inputs to scores, several clips at a time, written in the order of the inputs.

use core::num::NonZeroUsize;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{BufWriter, IsTerminal, Write, stdout};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use aesa_runtime::Model;
use anyhow::Context;
use clap::Args;

use crate::EXIT_SOME_FAILED;
use crate::atomic_file::AtomicFile;
use crate::clip::{self, Clip};
use crate::inputs::{self, Input};
use crate::model;
use crate::output::{Format, Outcome, Provenance, Report};
use crate::plot::{self, Plot};
use crate::progress::Progress;

/// Arguments of `aesa score`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ScoreArgs {
    /// Audio files (WAV, AIFF, FLAC, MP3, OGG/Vorbis, AAC/M4A), folders (searched for such files), or .jsonl manifests.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Model file, ONNX or model.aesa; the starter model inside this program if none is given.
    #[arg(short, long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Output format; by default what the name of --output says, else a table on a terminal and jsonl elsewhere.
    #[arg(short, long, value_enum)]
    format: Option<Format>,
    /// Also give the scores of every frame of 160 ms, with its start and end.
    #[arg(long)]
    frames: bool,
    /// Draw the frame scores over the spectrogram: an SVG file, or for several clips a folder of them.
    #[arg(long, value_name = "PATH")]
    plot: Option<PathBuf>,
    /// Clips to score at the same time, each on a thread of its own; any number gives the same scores [default: one per processor, less
    /// what --threads adds].
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Threads for one window or chunk of a model.aesa: the clip's own, and N - 1 more that help all clips in turns; any number gives the
    /// same scores. For one clip, or a few, and a large model; for many clips -j alone is faster.
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    /// Write to a file, whole or not at all, instead of to standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// No progress bar and no notes; errors are still told.
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "Examples:
  aesa score talk.wav song.flac               a table of four scores per file
  aesa score --format csv -o all.csv music/   every audio file in a folder and below
  aesa score --frames --format json talk.wav  a score for each 160 ms
  aesa score --plot talk.svg talk.wav         the scores over time, drawn over the spectrogram
  aesa score -j 1 --threads 4 --model large.aesa talk.wav   one clip at a time, four threads for it
  aesa score list.jsonl > scores.jsonl        a manifest; one line of CE, CU, PC, PQ per line of it

A manifest has one JSON object per line: {\"path\": \"a.wav\", \"start_time\": 0, \"end_time\": 5.5}, times in seconds and
optional, relative paths from the manifest's folder or else from the current one.

-j M and --threads N together take M + N - 1 threads.

Scores are 0 to 10: PQ production quality, PC production complexity, CE content enjoyment, CU content usefulness.
Files are read and scored as a stream, so their length does not matter. The shortest clip is 0.175 s.

Exit code: 0 if everything was scored, 1 if some inputs failed (each is named with its reason on standard error), 2 if
nothing could be done (wrong use, no model, output not writable).";

/// Runs the command.
pub(crate) fn run(args: &ScoreArgs) -> anyhow::Result<ExitCode> {
    let inputs = inputs::expand(&args.inputs)?;
    let plots = plot_paths(args.plot.as_deref(), &inputs)?;
    let model = model::with_threads(model::load(args.model.as_deref())?, args.threads)?;
    let provenance = Provenance::new(&model);
    let format = args.format();
    let mut file = args.output.as_deref().map(AtomicFile::create).transpose()?;
    let out: Box<dyn Write + '_> = match &mut file {
        Some(file) => Box::new(file),
        None => Box::new(BufWriter::new(stdout())),
    };
    let report = Report::new(format, args.frames, &provenance, out)?;
    let progress = Progress::new(inputs.len(), args.quiet);
    if !args.quiet && format != Format::Table {
        progress.line(&format!("aesa: {}", provenance.line()));
        provenance.note().into_iter().for_each(|note| progress.line(&format!("aesa: {note}")));
    }
    let job = Job {
        model: &model,
        subtitle: provenance.line(),
        keeps_frames: args.frames || args.plot.is_some(),
        plots: &plots,
        progress: &progress,
    };
    let num_failed = score_all(&job, inputs, args.num_jobs(), report)?;
    if let Some(file) = file {
        file.commit()?;
    }
    Ok(ExitCode::from(if num_failed > 0 { EXIT_SOME_FAILED } else { 0 }))
}

impl ScoreArgs {
    fn format(&self) -> Format {
        let by_name = || self.output.as_deref().and_then(Format::from_extension);
        let is_for_people = self.output.is_none() && stdout().is_terminal();
        let by_place = if is_for_people { Format::Table } else { Format::Jsonl };
        self.format.or_else(by_name).unwrap_or(by_place)
    }

    fn num_jobs(&self) -> usize {
        let num_helpers = self.threads.get() - 1;
        let for_clips = |processors: NonZeroUsize| processors.get().saturating_sub(num_helpers).max(1);
        self.jobs.map_or_else(|| thread::available_parallelism().map_or(1, for_clips), NonZeroUsize::get)
    }
}

/// What every worker needs.
struct Job<'a> {
    model: &'a Model,
    subtitle: String,
    keeps_frames: bool,
    /// Where each clip's plot goes; empty if there are none.
    plots: &'a [PathBuf],
    progress: &'a Progress,
}

/// Scores all inputs with `num_jobs` workers and reports them in order; returns how many failed.
fn score_all(
    job: &Job<'_>,
    inputs: Vec<Input>,
    num_jobs: usize,
    mut report: Report<'_>,
) -> anyhow::Result<usize> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let num_failed = thread::scope(|scope| {
        for _ in 0..num_jobs.min(inputs.len()) {
            let (sender, next, inputs) = (sender.clone(), &next, &inputs);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(input) = inputs.get(index) else { break };
                    // Nobody listens any more once writing has failed.
                    if sender.send((index, score_input(job, index, input))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        report_in_order(job, &inputs, &receiver, &mut report)
            .inspect_err(|_| next.store(inputs.len(), Ordering::Relaxed))
    })?;
    job.progress.finish();
    report.finish()?;
    Ok(num_failed)
}

/// Hands outcomes to the report as soon as all before them are there; returns how many failed.
fn report_in_order(
    job: &Job<'_>,
    inputs: &[Input],
    receiver: &mpsc::Receiver<(usize, Result<Clip, String>)>,
    report: &mut Report<'_>,
) -> anyhow::Result<usize> {
    let mut early = BTreeMap::new();
    let (mut next, mut num_failed) = (0, 0);
    for (index, result) in receiver {
        job.progress.clip_done();
        early.insert(index, result);
        while let Some(result) = early.remove(&next) {
            let input = inputs[next].clone();
            if let Err(error) = &result {
                num_failed += 1;
                job.progress.line(&format!("aesa: {}: {error}", input.name));
            }
            job.progress.suspended(|| report.push(Outcome { input, result }))?;
            next += 1;
        }
    }
    Ok(num_failed)
}

/// One input, start to end; a failure of any kind stays with it.
fn score_input(job: &Job<'_>, index: usize, input: &Input) -> Result<Clip, String> {
    let work = || -> anyhow::Result<Clip> {
        let progress = |done_s: f64, total_s: Option<f64>| job.progress.clip_at(done_s, total_s);
        let clip = clip::score(job.model, input, job.keeps_frames, &progress)?;
        if let Some(path) = job.plots.get(index) {
            write_plot(path, job, input, &clip)?;
        }
        Ok(clip)
    };
    // A decoder's bug on a broken file must not take the other files down.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err("an internal error while decoding or scoring it".to_string()),
    }
}

fn write_plot(path: &Path, job: &Job<'_>, input: &Input, clip: &Clip) -> anyhow::Result<()> {
    let plot = Plot {
        title: &input
            .path
            .file_name()
            .map_or_else(|| input.name.clone().into(), |name| name.to_string_lossy()),
        subtitle: &job.subtitle,
        clip_scores: clip.score.scores,
        frames: &clip.frames,
        spectrogram: &clip::spectrogram(input)?,
    };
    let mut file = AtomicFile::create(path)?;
    file.write_all(plot::svg(&plot).as_bytes())?;
    file.commit()
}

/// Where each input's plot goes: the path itself for one input, files in a folder of that name for several.
fn plot_paths(plot: Option<&Path>, inputs: &[Input]) -> anyhow::Result<Vec<PathBuf>> {
    let Some(plot) = plot else { return Ok(Vec::new()) };
    if inputs.len() == 1 && !plot.is_dir() {
        return Ok(vec![plot.to_path_buf()]);
    }
    fs::create_dir_all(plot)
        .with_context(|| format!("cannot make the folder {} for plots", plot.display()))?;
    let mut taken = HashSet::new();
    Ok(inputs.iter().map(|input| plot.join(free_name(&input.path, &mut taken))).collect())
}

/// `NAME.svg`, or `NAME-2.svg` and so on where that is taken.
fn free_name(path: &Path, taken: &mut HashSet<String>) -> String {
    let stem = path.file_stem().map_or_else(|| "clip".into(), |stem| stem.to_string_lossy());
    let names = (1..).map(|i| if i == 1 { format!("{stem}.svg") } else { format!("{stem}-{i}.svg") });
    let mut free = names.filter(|name| taken.insert(name.clone()));
    free.next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_of_clips_with_one_name_are_kept_apart() {
        let mut taken = HashSet::new();
        let names =
            ["a/x.wav", "b/x.mp3", "y.wav", "x-2.wav", "x.ogg"].map(|p| free_name(Path::new(p), &mut taken));
        assert_eq!(names, ["x.svg", "x-2.svg", "y.svg", "x-2-2.svg", "x-3.svg"]);
    }
}
