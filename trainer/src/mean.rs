//! The mean of several runs' weights, as a run folder of its own.
//!
//! Runs that began with the same weights end near one another; where each errs in its own way, their mean errs less. Source: model soups
//! (Wortsman et al. 2022).

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use crate::run::{Origin, RunFolder, RunInfo};
use crate::weights::{self, NamedTensors};

/// Makes the run folder `out` with the mean of the weights that `runs` kept. Config and scale of the targets are the first run's; the command
/// and the weights' hashes are in `run.json`.
///
/// # Errors
/// Where there are fewer than two runs, one of them cannot be read or is another model than the first, or `out` holds a run already.
pub fn mean(runs: &[PathBuf], out: &Path) -> Result<RunInfo> {
    ensure!(runs.len() >= 2, "a mean takes two runs or more");
    let folders: Vec<RunFolder> = runs.iter().map(|path| RunFolder::open(path)).collect();
    let (config, first) = (folders[0].config()?, folders[0].info()?);
    let mut hash = Sha256::new();
    let mut sums = NamedTensors::new();
    for (folder, path) in folders.iter().zip(runs) {
        let other = folder.config()?;
        for (is_same, what) in [
            (other.model == config.model, "sizes"),
            (other.id == config.id && other.version == config.version, "name"),
            (other.labels == config.labels, "kind of labels"),
            (other.window_steps == config.window_steps, "windows"),
        ] {
            ensure!(is_same, "{} and {} have not the same {what}", runs[0].display(), path.display());
        }
        hash.update(folder.info()?.run_hash);
        for (name, tensor) in folder.weights()? {
            let tensor = tensor.to_kind(Kind::Double);
            let sum = sums.remove(&name).map_or(tensor.shallow_clone(), |sum| sum + tensor);
            sums.insert(name, sum);
        }
    }
    let of_runs = |(name, sum): (String, Tensor)| (name, (sum / runs.len() as f64).to_kind(Kind::Float));
    let means: NamedTensors = sums.into_iter().map(of_runs).collect();
    let info = RunInfo {
        run_hash: hex::encode(hash.finalize()),
        best_epoch: 0,
        best_validation_mse: f64::NAN,
        heard: None,
        finished: true,
        origin: Origin::of_files(folders.iter().map(RunFolder::weights_path))?,
        ..first
    };
    let run = RunFolder::create(out)?;
    run.write_config(&config)?;
    run.write_info(&info)?;
    weights::write(&run.weights_path(), &means)?;
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrainConfig;
    use crate::loss::TargetScale;
    use crate::model::AesaNet;
    use aesa_export::ModelConfig;

    /// A run of a tiny model whose parameters are all `value`.
    fn run(folder: &Path, config: &TrainConfig, value: f64) -> PathBuf {
        let path = folder.join(format!("run{value}"));
        let run = RunFolder::create(&path).unwrap();
        run.write_config(config).unwrap();
        run.write_info(&RunInfo {
            target_scale: TargetScale { mean: [value; 4], std: [1.0; 4] },
            run_hash: format!("hash{value}"),
            num_parameters: [1, 2],
            best_epoch: 3,
            best_validation_mse: 0.5,
            heard: None,
            finished: true,
            origin: Origin::default(),
        })
        .unwrap();
        let parameters = weights::snapshot(&AesaNet::new(&config.model).store);
        let filled = |(name, tensor): (String, Tensor)| (name, tensor.full_like(value));
        weights::write(&run.weights_path(), &parameters.into_iter().map(filled).collect()).unwrap();
        path
    }

    #[test]
    fn a_mean_is_a_run_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainConfig { model: ModelConfig::tiny(), ..TrainConfig::default() };
        let runs = [1.0, 2.0, 6.0].map(|value| run(folder.path(), &config, value));
        let out = folder.path().join("mean");
        let info = mean(&runs, &out).unwrap();
        let made = RunFolder::open(&out);
        assert_eq!((made.config().unwrap(), made.info().unwrap().run_hash), (config, info.run_hash));
        assert_eq!((info.target_scale.mean, info.origin.files.len()), ([1.0; 4], 3));
        let weights = made.weights().unwrap();
        assert_eq!(weights.len(), RunFolder::open(&runs[0]).weights().unwrap().len());
        assert!(weights.values().all(|tensor| *tensor == tensor.full_like(3.0)));
        made.network().unwrap();
        let error = mean(&runs, &out).unwrap_err().to_string();
        assert!(error.contains("holds a run already"), "{error}");
    }

    #[test]
    fn models_of_two_kinds_have_no_mean() {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainConfig { model: ModelConfig::tiny(), ..TrainConfig::default() };
        let first = run(folder.path(), &config, 1.0);
        let mut wider = config.clone();
        wider.model.head.adapter_dim *= 2;
        let others = [
            (wider, "sizes"),
            (TrainConfig { id: "another".into(), ..config.clone() }, "name"),
            (TrainConfig { window_steps: 31, ..config }, "windows"),
        ];
        for (n, (other, what)) in others.into_iter().enumerate() {
            let other = run(folder.path(), &other, 2.0 + n as f64);
            let error = mean(&[first.clone(), other], &folder.path().join("mean")).unwrap_err().to_string();
            assert!(error.contains("run1 and") && error.contains(what), "{error}");
        }
        assert!(mean(&[first], &folder.path().join("mean")).unwrap_err().to_string().contains("two runs"));
        assert!(!folder.path().join("mean").exists());
    }
}
