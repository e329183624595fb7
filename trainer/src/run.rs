//! The run folder: what was run, how it went, and the best weights.
//!
//! `config.toml` (complete), `run.json` (targets' scale, hash, best epoch, command, what was read), `metrics.csv` (one row per
//! epoch), the same in `tensorboard/`, `curves.svg`, `best.safetensors`; until the run is finished also `last.safetensors`, from which it goes on;
//! `missing.txt` where the run had to do without some clips. Each file is written whole or not at all, but TensorBoard's,
//! which grows at its end.

use std::fs;
use std::path::{Path, PathBuf};

use aesa::score::{Axis, NUM_AXES};
use anyhow::{Context, Result, ensure};
use plotters::coord::Shift;
use plotters::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::TrainConfig;
use crate::environment;
use crate::inputs::Heard;
use crate::loss::TargetScale;
use crate::metrics::{Metrics, nan_from_null};
use crate::model::AesaNet;
use crate::tensorboard;
use crate::weights::{self, NamedTensors};

/// A folder that a training run writes to, or wrote.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    epochs: Vec<EpochRecord>,
}

/// Facts of a run that its config does not hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Mean and deviation of the training targets.
    pub target_scale: TargetScale,
    /// See [`run_hash`]; hexadecimal.
    pub run_hash: String,
    /// Parameters that learn, and all of them.
    pub num_parameters: [usize; 2],
    /// Epoch of the weights that are kept, from 1; 0 before the first, and of a mean of runs.
    pub best_epoch: usize,
    /// Validation MSE of these weights, in z.
    #[serde(deserialize_with = "nan_from_null")]
    pub best_validation_mse: f64,
    /// What the network hears of the training clips, then of the validation clips. Runs of earlier versions do not tell.
    #[serde(default)]
    pub heard: Option<[Heard; 2]>,
    /// Whether the run came to its end.
    #[serde(default)]
    pub finished: bool,
    /// What it was made from, beside its config. Runs of earlier versions have none.
    #[serde(default)]
    pub origin: Origin,
}

/// What it takes to make a run again, beside its config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Version of the trainer.
    pub version: String,
    /// The commit that it was built from, and whether its sources had changed since; `unknown` where git did not tell.
    #[serde(default)]
    pub commit: String,
    /// Version of libtorch.
    #[serde(default)]
    pub libtorch: String,
    /// CPU threads that libtorch took; 0 in runs of earlier versions.
    #[serde(default)]
    pub threads: usize,
    /// The command line; of a run that was interrupted, the last one.
    pub command: Vec<String>,
    /// All that it read but audio: tables, a teacher's weights, weights to start from.
    pub files: Vec<SourceFile>,
}

/// A file and what was in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Where it lay.
    pub path: PathBuf,
    /// Hexadecimal.
    pub sha256: String,
}

impl Origin {
    /// This process and the files of a run.
    ///
    /// # Errors
    /// Where one of them cannot be read.
    pub fn of(config: &TrainConfig, tables: &[PathBuf]) -> Result<Self> {
        let starts = [&config.init, &config.init_encoder].into_iter().flatten();
        let starts = starts.map(|start| weights_file(Path::new(start)));
        Self::of_files(tables.iter().cloned().chain(starts))
    }

    /// This process and files that it read.
    ///
    /// # Errors
    /// Where one of them cannot be read.
    pub fn of_files(files: impl Iterator<Item = PathBuf>) -> Result<Self> {
        let source =
            |path: PathBuf| Ok(SourceFile { sha256: hex::encode(Sha256::digest(read(&path)?)), path });
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("AESA_COMMIT").to_owned(),
            libtorch: environment::libtorch_version(),
            threads: tch::get_num_threads() as usize,
            command: std::env::args_os().map(|part| part.to_string_lossy().into_owned()).collect(),
            files: files.map(source).collect::<Result<_>>()?,
        })
    }
}

/// Losses that an epoch reports.
pub const NUM_LOSSES: usize = 6;

/// One epoch's row in `metrics.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// Time of training, then of validation.
    pub seconds: [f64; 2],
    /// The head's learning rate at the epoch's end.
    pub learning_rate: f64,
    /// Mean training loss: total, clip MSE, token MSE, triplet, ranking, difference from a teacher's hidden states.
    pub train: [f64; NUM_LOSSES],
    /// Validation MSE over all axes, in z; it decides which epoch is best.
    #[serde(deserialize_with = "nan_from_null")]
    pub validation_mse: f64,
    /// Validation metrics per axis, at utterance level, on the scale of 0 to 10.
    pub validation: [Metrics; NUM_AXES],
}

impl RunFolder {
    /// Makes the folder, or clears one of what a dead process left half written.
    ///
    /// # Errors
    /// Where the folder cannot be made, or holds a finished or interrupted run already.
    pub fn create(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let run = Self::open(path);
        ensure!(
            !run.weights_path().exists() && !run.is_interrupted(),
            "{} holds a run already; --resume goes on with it, another --out begins a new one",
            path.display()
        );
        weights::remove_leftovers(path)?;
        Ok(run)
    }

    /// Writes the config.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn write_config(&self, config: &TrainConfig) -> Result<()> {
        self.replace("config.toml", &config.to_toml()?)
    }

    /// Opens an interrupted run to go on with, cleared of what a dead process left half written, or makes the folder where
    /// there is none.
    ///
    /// # Errors
    /// Where the run is finished, was begun with another config, or the folder cannot be made.
    pub fn resume(path: &Path, config: &TrainConfig) -> Result<Self> {
        let run = Self::open(path);
        if !path.join("config.toml").exists() {
            return Self::create(path);
        }
        ensure!(
            run.config()? == *config,
            "the run in {} was begun with another config: see its config.toml",
            path.display()
        );
        ensure!(!run.info().is_ok_and(|info| info.finished), "the run in {} is finished", path.display());
        weights::remove_leftovers(path)?;
        Ok(run)
    }

    /// Whether it holds the state of a run that did not end.
    pub fn is_interrupted(&self) -> bool {
        self.state_path().exists()
    }

    /// Where the state lies from which an interrupted run goes on.
    pub fn state_path(&self) -> PathBuf {
        self.file("last.safetensors")
    }

    /// Writes the facts of the finished run and removes what it would go on from.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn finish(&self, info: &RunInfo) -> Result<()> {
        self.write_info(info)?;
        fs::remove_file(self.state_path()).context("cannot remove the state of the finished run")
    }

    /// Opens a run to read from.
    pub fn open(path: &Path) -> Self {
        Self { path: path.to_path_buf(), epochs: Vec::new() }
    }

    /// The run's config.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn config(&self) -> Result<TrainConfig> {
        TrainConfig::read(&self.file("config.toml"), &[])
    }

    /// The run's facts.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn info(&self) -> Result<RunInfo> {
        let path = self.file("run.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The network with the run's best weights.
    ///
    /// # Errors
    /// Where config or weights cannot be read or do not fit each other.
    pub fn network(&self) -> Result<AesaNet> {
        let mut net = AesaNet::new(&self.config()?.model);
        weights::load(&mut net.store, &self.weights()?, "")?;
        Ok(net)
    }

    /// The run's best weights.
    ///
    /// # Errors
    /// Where there are none yet, or they cannot be read.
    pub fn weights(&self) -> Result<NamedTensors> {
        let file = self.weights_path();
        ensure!(
            file.exists() || !self.file("config.toml").exists(),
            "the run in {} has no weights yet: its first epoch is not finished",
            self.path.display()
        );
        weights::read(&file)
    }

    /// Where the best weights lie.
    pub fn weights_path(&self) -> PathBuf {
        self.file("best.safetensors")
    }

    /// Writes the facts of the run.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn write_info(&self, info: &RunInfo) -> Result<()> {
        self.replace("run.json", &(serde_json::to_string_pretty(info)? + "\n"))
    }

    /// Takes over the epochs of an interrupted run.
    pub fn restore(&mut self, records: Vec<EpochRecord>) {
        self.epochs = records;
    }

    /// The epochs so far.
    pub fn records(&self) -> &[EpochRecord] {
        &self.epochs
    }

    /// Adds an epoch to `metrics.csv`, `curves.svg` and TensorBoard's event file.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn record(&mut self, record: EpochRecord) -> Result<()> {
        self.epochs.push(record);
        self.write_metrics()?;
        let curves = self.curves().context("cannot draw curves.svg")?;
        self.replace("curves.svg", &curves)?;
        let tags: Vec<String> = columns().iter().map(|column| tag(column)).collect();
        let epochs: Vec<Vec<f64>> = self.epochs.iter().map(values).collect();
        tensorboard::write_epochs(&self.file("tensorboard"), &tags[1..], &epochs)
    }

    /// Writes a file whole or not at all.
    fn replace(&self, name: &str, text: &str) -> Result<()> {
        weights::replace(&self.file(name), |path| Ok(fs::write(path, text)?))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn write_metrics(&self) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(columns())?;
        for epoch in &self.epochs {
            let text = |(n, value): (usize, f64)| match n {
                0 | 1 => format!("{value:.2}"),
                2 => value.to_string(),
                _ => format!("{value:.6}"),
            };
            let values = values(epoch).into_iter().enumerate().map(text);
            writer.write_record([epoch.epoch.to_string()].into_iter().chain(values))?;
        }
        self.replace("metrics.csv", &String::from_utf8(writer.into_inner()?)?)
    }

    fn curves(&self) -> Result<String> {
        let mut svg = String::new();
        self.draw_curves(&mut svg)?;
        Ok(svg)
    }

    fn draw_curves(&self, svg: &mut String) -> Result<()> {
        let root = SVGBackend::with_string(svg, (900, 400)).into_drawing_area();
        root.fill(&WHITE)?;
        let (left, right) = root.split_horizontally(450);
        let of = |pick: &dyn Fn(&EpochRecord) -> f64| self.epochs.iter().map(pick).collect::<Vec<f64>>();
        let clip = of(&|e| e.train[1]);
        let validation = of(&|e| e.validation_mse);
        let top = clip.iter().chain(&validation).fold(0.1_f64, |a, b| a.max(*b));
        draw_lines(
            &left,
            "clip MSE (z)",
            0.0..top * 1.05,
            &[("training", clip), ("validation", validation)],
        )?;
        let srcc = |axis: Axis| (axis.short_name(), of(&|e| e.validation[axis as usize].srcc));
        draw_lines(&right, "validation SRCC, utterances", -0.1..1.0, &Axis::ALL.map(srcc))?;
        Ok(root.present()?)
    }
}

/// Names of the columns of `metrics.csv`.
fn columns() -> Vec<String> {
    let of_axis = |axis: Axis| METRICS.map(|metric| format!("validation_{axis}_{metric}"));
    COLUMNS.map(str::to_string).into_iter().chain(Axis::ALL.into_iter().flat_map(of_axis)).collect()
}

/// An epoch's values, one per column but the first.
fn values(record: &EpochRecord) -> Vec<f64> {
    let metrics = record.validation.iter().flat_map(|m| [m.mse, m.lcc, m.srcc, m.ktau]);
    let start = record.seconds.into_iter().chain([record.learning_rate]);
    start.chain(record.train).chain([record.validation_mse]).chain(metrics).collect()
}

/// What TensorBoard calls a column: what stands before a slash groups its charts.
fn tag(column: &str) -> String {
    let group = ["train", "validation"].into_iter().find(|group| column.starts_with(group));
    group.map_or(column.to_owned(), |group| format!("{group}/{}", &column[group.len() + 1..]))
}

/// SHA-256 of all that decides a run's data and settings: the config, the weights it starts from, every table (and a
/// teacher's weights), and notes: clips that the tables name and the run had to do without, or files that no table
/// names. Where the weights lie is no part of it.
///
/// # Errors
/// Where a table or the weights to start from cannot be read.
pub fn run_hash(config: &TrainConfig, tables: &[PathBuf], notes: &[String]) -> Result<String> {
    let mut config = config.clone();
    for start in [&mut config.init, &mut config.init_encoder].into_iter().flatten() {
        *start = hex::encode(Sha256::digest(read(&weights_file(Path::new(start)))?));
    }
    let mut hash = Sha256::new();
    hash.update(config.to_hashed_toml()?);
    for table in tables {
        hash.update(read(table)?);
    }
    for note in notes {
        hash.update(format!("\n{note}"));
    }
    Ok(hex::encode(hash.finalize()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The weights that a path means: those of a run folder, or the file itself.
pub fn weights_file(path: &Path) -> PathBuf {
    if path.is_dir() { RunFolder::open(path).weights_path() } else { path.to_path_buf() }
}

/// One chart with a line per series over the epochs.
fn draw_lines(
    area: &DrawingArea<SVGBackend, Shift>,
    title: &str,
    y: core::ops::Range<f64>,
    series: &[(&str, Vec<f64>)],
) -> Result<()> {
    let last = series[0].1.len().max(2) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(45)
        .build_cartesian_2d(1.0..last, y)?;
    chart.configure_mesh().x_desc("epoch").light_line_style(TRANSPARENT).draw()?;
    for (n, (name, values)) in series.iter().enumerate() {
        let colour = Palette99::pick(n).to_rgba();
        let points =
            values.iter().enumerate().filter(|(_, v)| v.is_finite()).map(|(e, v)| (e as f64 + 1.0, *v));
        let line = chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        line.label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 15, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}

/// Metrics of an axis.
const METRICS: [&str; 4] = ["mse", "lcc", "srcc", "ktau"];

const COLUMNS: [&str; 11] = [
    "epoch",
    "train_seconds",
    "validation_seconds",
    "learning_rate",
    "train_loss",
    "train_clip_mse",
    "train_frame_mse",
    "train_triplet",
    "train_rank",
    "train_hidden",
    "validation_mse",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_no_number_is_read_back() {
        let record = EpochRecord {
            epoch: 1,
            seconds: [1.0; 2],
            learning_rate: 1e-4,
            train: [1.0; NUM_LOSSES],
            validation_mse: f64::NAN,
            validation: [Metrics::from_values([f64::NAN; 6]); NUM_AXES],
        };
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains("\"validation_mse\":null"), "{text}");
        let read: EpochRecord = serde_json::from_str(&text).unwrap();
        assert!(read.validation_mse.is_nan() && read.validation[0].mse.is_nan());

        let info = r#"{"target_scale": {"mean": [5.0, 5.0, 5.0, 5.0], "std": [1.0, 1.0, 1.0, 1.0]}, "run_hash": "ab",
            "num_parameters": [1, 2], "best_epoch": 0, "best_validation_mse": null}"#;
        let read: RunInfo = serde_json::from_str(info).unwrap();
        assert!(read.best_validation_mse.is_nan());
    }

    #[test]
    fn the_hash_knows_the_first_weights_by_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let hash = |name: &str, bytes: &[u8]| {
            let file = folder.path().join(name);
            fs::write(&file, bytes).unwrap();
            let init = Some(file.to_str().unwrap().to_owned());
            run_hash(&TrainConfig { init, ..TrainConfig::default() }, &[], &[]).unwrap()
        };
        assert_eq!(hash("a", b"weights"), hash("b", b"weights"));
        assert_ne!(hash("a", b"weights"), hash("a", b"others"));
        let gone = TrainConfig { init: Some("gone".to_owned()), ..TrainConfig::default() };
        assert!(run_hash(&gone, &[], &[]).unwrap_err().to_string().contains("cannot read gone"));
    }
}
