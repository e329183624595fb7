//! Does the triplet loss help? Many heads on one frozen encoder, the same but for the triplet loss and the seed.
//!
//! ```text
//! corpus --> hidden states of the frozen encoder, once --> per setting and seed: a fresh head --> scores of the test clips
//!                                                          OUT/runs/NAME/{config.toml, predictions.csv}
//! all runs --> results.csv, differences.csv, table.md: paired differences from alpha = 0 over the seeds
//! study.json: the command, and what was read
//! ```
//! Heads of one seed begin with the same weights and the same order of clips, whatever their setting, so that
//! differences are taken seed by seed. Each learns for all its epochs and keeps the last weights: there is no validation.

use core::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use tch::Kind;

use crate::cache::States;
use crate::config::{TrainConfig, TripletConfig};
use crate::dataset::{self, Clip};
use crate::inputs::Inputs;
use crate::loss::TargetScale;
use crate::predictions::{self, Predictions};
use crate::report::{Agreement, Scored};
use crate::run::{Origin, run_hash};
use crate::study_table::{self, Outcome};
use crate::{predict, train, weights};

/// The settings and seeds of a study.
#[derive(Clone, Debug)]
pub struct Grid {
    /// Weights of the triplet loss, beside 0.
    pub alphas: Vec<f64>,
    /// Clips in the buffer.
    pub capacities: Vec<usize>,
    /// How close targets are alike, in standard deviations.
    pub eps: Vec<f64>,
    /// Seeds, the same for each setting.
    pub seeds: Vec<u64>,
}

impl Grid {
    /// Every setting once, the one without triplet loss first.
    fn settings(&self, base: &TripletConfig) -> Vec<TripletConfig> {
        let mut settings = vec![TripletConfig { alpha: 0.0, ..base.clone() }];
        for &alpha in self.alphas.iter().filter(|alpha| **alpha != 0.0) {
            for &capacity in &self.capacities {
                settings.extend(self.eps.iter().map(|&eps| TripletConfig {
                    alpha,
                    capacity,
                    eps,
                    ..base.clone()
                }));
            }
        }
        settings
    }
}

/// What a study is made on.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    /// Corpus folder: heads learn from `train.csv` and are measured on `test.csv`.
    pub corpus: &'a Path,
    /// Only the first clips of `train.csv`; 0 takes all.
    pub num_clips: usize,
    /// Folder that keeps the hidden states.
    pub cache: Option<&'a Path>,
}

/// Makes the runs that are not there yet, then the tables of all; gives the table for people.
///
/// # Errors
/// Where the config does not fit a study, the corpus or the starting weights cannot be read, the folder holds another
/// study, or it cannot be written.
pub fn run(config: &TrainConfig, grid: &Grid, material: Material<'_>, out: &Path) -> Result<String> {
    check(config, grid)?;
    train::set_threads(config.threads);
    claim(config, material, out)?;
    let settings = grid.settings(&config.triplet);
    let runs: Vec<TrainConfig> = grid
        .seeds
        .iter()
        .flat_map(|&seed| settings.iter().map(move |triplet| (seed, triplet.clone())))
        .map(|(seed, triplet)| TrainConfig { seed, triplet, ..config.clone() })
        .collect();
    let is_missing = |run: &&TrainConfig| !folder(out, run).join(PREDICTIONS).exists();
    let missing: Vec<&TrainConfig> = runs.iter().filter(is_missing).collect();
    eprintln!("{} of {} runs are there already", runs.len() - missing.len(), runs.len());
    if !missing.is_empty() {
        let bench = Bench::new(config, material)?;
        for (n, run) in missing.iter().enumerate() {
            let started = Instant::now();
            bench.make(run, &folder(out, run))?;
            eprintln!(
                "{} of {}: {}, {:.1} s",
                n + 1,
                missing.len(),
                name(run),
                started.elapsed().as_secs_f64()
            );
        }
    }
    let outcome = |run: &TrainConfig| -> Result<Outcome> {
        let clips = Predictions::read(&folder(out, run).join(PREDICTIONS))?.into_scored()?;
        Ok(Outcome { triplet: run.triplet.clone(), seed: run.seed, agreement: Agreement::of(&clips) })
    };
    let outcomes = runs.iter().map(outcome).collect::<Result<Vec<_>>>()?;
    let table = study_table::markdown(&outcomes);
    for (name, bytes) in [
        ("results.csv", study_table::results_csv(&outcomes)?),
        ("differences.csv", study_table::differences_csv(&outcomes)?),
        ("table.md", table.clone().into_bytes()),
    ] {
        weights::replace(&out.join(name), |path| Ok(fs::write(path, &bytes)?))?;
    }
    Ok(table)
}

fn check(config: &TrainConfig, grid: &Grid) -> Result<()> {
    ensure!(config.init.is_some(), "a study needs an encoder: --init RUN, or the key init");
    ensure!(config.freeze_encoder, "a study's encoder stays as it is: freeze_encoder = true");
    ensure!(config.patience == 0, "a study's runs have no validation that could end them: patience = 0");
    ensure!(grid.seeds.len() > 1, "an interval over seeds needs two of them or more");
    ensure!(
        grid.alphas.iter().any(|alpha| *alpha != 0.0) && !grid.capacities.is_empty() && !grid.eps.is_empty(),
        "a study needs an alpha that is not 0, a capacity and an eps"
    );
    ensure!(
        grid.alphas.iter().chain(&grid.eps).all(|v| v.is_finite() && *v >= 0.0),
        "alpha and eps must be numbers of 0 or more"
    );
    ensure!(grid.capacities.iter().all(|capacity| *capacity > 1), "a capacity must be at least 2");
    once("--alpha", &grid.alphas)?;
    once("--capacity", &grid.capacities)?;
    once("--eps", &grid.eps)?;
    once("--seeds", &grid.seeds)
}

/// Refuses a value that is there twice: its run would count twice, and intervals would come out too narrow.
fn once<T: PartialEq + Display>(option: &str, values: &[T]) -> Result<()> {
    let repeated = values.iter().enumerate().find(|(n, value)| values[..*n].contains(value));
    match repeated {
        Some((_, value)) => bail!("{option} names {value} twice"),
        None => Ok(()),
    }
}

/// Makes the study's folder, or sees that it is of the same study: any grid, but the same training and clips.
fn claim(config: &TrainConfig, material: Material<'_>, out: &Path) -> Result<()> {
    let triplet = fixed(&config.triplet);
    let base = TrainConfig { seed: 0, threads: 0, triplet, ..config.clone() };
    let files = ["train.csv", "test.csv"].map(|name| material.corpus.join(name));
    let hash = run_hash(&base, &files, &[format!("{} clips", material.num_clips)])?;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let path = out.join("study.sha256");
    if path.exists() {
        let found = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            found.trim() == hash,
            "{} holds another study: its training config, clips or encoder differ",
            out.display()
        );
    }
    weights::replace(&path, |path| Ok(fs::write(path, format!("{hash}\n"))?))?;
    let origin = serde_json::to_string_pretty(&Origin::of(config, &files)?)? + "\n";
    weights::replace(&out.join("study.json"), |path| Ok(fs::write(path, origin)?))
}

/// The keys of the triplet loss that a grid does not set.
fn fixed(triplet: &TripletConfig) -> TripletConfig {
    TripletConfig { alpha: 0.0, eps: 0.0, capacity: 0, ..triplet.clone() }
}

/// Where a run's files lie.
fn folder(out: &Path, run: &TrainConfig) -> PathBuf {
    out.join("runs").join(name(run))
}

fn name(run: &TrainConfig) -> String {
    let TripletConfig { alpha, capacity, eps, .. } = run.triplet;
    match alpha {
        0.0 => format!("alpha0-seed{}", run.seed),
        _ => format!("alpha{alpha}-capacity{capacity}-eps{eps}-seed{}", run.seed),
    }
}

const PREDICTIONS: &str = "predictions.csv";

/// What all runs share: clips and their hidden states.
struct Bench {
    train: Vec<Clip>,
    inputs: Inputs,
    test: Vec<Clip>,
    test_hidden: Vec<Vec<States>>,
    scale: TargetScale,
}

impl Bench {
    fn new(config: &TrainConfig, material: Material<'_>) -> Result<Self> {
        let first = match material.num_clips {
            0 => usize::MAX,
            count => count,
        };
        let train = dataset::load_first(material.corpus, "train", Kind::Half, first)?;
        let test = dataset::load(material.corpus, "test", Kind::Half)?;
        let scale = TargetScale::of(&train.iter().map(|clip| clip.targets).collect::<Vec<_>>());
        let net = train::fresh(config, &scale)?;
        let hidden = |clips: &[Clip]| -> Result<Inputs> {
            let inputs = Inputs::new(config, &net, clips, material.cache)?;
            ensure!(
                matches!(inputs, Inputs::Hidden { .. }),
                "the hidden states of all clips must be kept: --cache DIR keeps them on disk; the encoder is frozen, nothing is cut \
                 into chunks, and training clips stay as they are (gain_db, filter_db, mel_shift, time_mask and mel_mask are 0)"
            );
            Ok(inputs)
        };
        let inputs = hidden(&train)?;
        let Inputs::Hidden { states: test_hidden, .. } = hidden(&test)? else { unreachable!("just seen") };
        Ok(Self { train, inputs, test, test_hidden, scale })
    }

    /// Trains one head and writes its config and its scores of the test clips; the scores last, all at once.
    fn make(&self, config: &TrainConfig, folder: &Path) -> Result<()> {
        let net = train::fresh(config, &self.scale)?;
        train::learn(config, &net, &self.inputs, &self.train, self.scale)?;
        let scores = predict::head_scores(&net, &self.test_hidden)?;
        let scored = self.test.iter().zip(scores).map(|(clip, prediction)| Scored {
            id: clip.id.clone(),
            system: clip.system.clone(),
            domain: clip.domain.map(|d| d.name().to_string()),
            prediction,
            truth: clip.targets,
        });
        let bytes = predictions::to_csv(&scored.collect::<Vec<_>>(), None)?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let text = config.to_toml()?;
        weights::replace(&folder.join("config.toml"), |path| Ok(fs::write(path, &text)?))?;
        weights::replace(&folder.join(PREDICTIONS), |path| Ok(fs::write(path, &bytes)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_once() {
        let config = TrainConfig { init: Some("run".into()), patience: 0, ..TrainConfig::default() };
        let grid = Grid { alphas: vec![0.1, 0.5], capacities: vec![64], eps: vec![0.5], seeds: vec![1, 2] };
        check(&config, &grid).unwrap();
        for (grid, expected) in [
            (Grid { seeds: vec![1, 2, 1], ..grid.clone() }, "--seeds names 1 twice"),
            (Grid { alphas: vec![0.1, 0.10], ..grid.clone() }, "--alpha names 0.1 twice"),
            (Grid { capacities: vec![64, 32, 64], ..grid.clone() }, "--capacity names 64 twice"),
            (Grid { eps: vec![0.5, 0.5], ..grid }, "--eps names 0.5 twice"),
        ] {
            assert_eq!(check(&config, &grid).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn the_setting_without_triplets_is_there_once() {
        let grid = Grid {
            alphas: vec![0.0, 0.1, 0.5],
            capacities: vec![64, 256],
            eps: vec![0.5],
            seeds: vec![1, 2],
        };
        let settings = grid.settings(&TripletConfig::default());
        let found: Vec<_> = settings.iter().map(|t| (t.alpha, t.capacity, t.eps)).collect();
        assert_eq!(
            found,
            [(0.0, 256, 0.5), (0.1, 64, 0.5), (0.1, 256, 0.5), (0.5, 64, 0.5), (0.5, 256, 0.5)]
        );
    }
}
