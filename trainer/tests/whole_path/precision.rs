//! Training in bf16, and with a learning rate that no precision stands.

use std::fs;
use std::path::Path;

use super::{CONFIG, fail, kill_after_three_epochs, read_json, succeed, write_corpus};

#[test]
fn a_run_in_bfloat16_learns_and_is_measured_in_float32() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (config, corpus) = (path("config.toml"), path("."));
    let train = |name: &str, precision: &str| {
        let key = format!("precision={precision}");
        succeed(&["train", "--config", &config, "--corpus", &corpus, "--out", &path(name), "--set", &key]);
        read_json(&folder.path().join(name).join("run.json"))["best_validation_mse"].as_f64().unwrap()
    };
    let (exact, coarse) = (train("exact", "float32"), train("coarse", "bfloat16"));
    assert!(exact < 0.5 && coarse < 0.5 && exact != coarse, "{exact} {coarse}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("coarse/config.toml").contains("precision = \"bfloat16\""));
    assert!(read("exact/config.toml").contains("precision = \"float32\""));
    // `eval` knows no precision: it finds in the weights what the run's own validation found.
    let run = path("coarse");
    succeed(&["eval", "--model", &run, "--corpus", &corpus, "--split", "validation"]);
    let report = read_json(&folder.path().join("coarse/eval-validation.json"));
    let best = read_json(&folder.path().join("coarse/run.json"))["best_epoch"].as_u64().unwrap();
    let mut metrics = csv::Reader::from_path(folder.path().join("coarse/metrics.csv")).unwrap();
    let column = metrics.headers().unwrap().iter().position(|name| name == "validation_PQ_mse").unwrap();
    let row = metrics.records().nth(best as usize - 1).unwrap().unwrap();
    let mse = report["axes"]["PQ"]["utterance"]["mse"].as_f64().unwrap();
    assert!((mse - row[column].parse::<f64>().unwrap()).abs() < 1e-5, "{mse} {row:?}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (config, corpus, run) = (path("config.toml"), path("."), path("run"));
    // The second batch is the first to see the weights of a first step; where a batch holds all clips, validation is.
    for (batch_size, words) in
        [("8", "the loss is NaN in batch"), ("48", "the validation MSE of epoch 1 is NaN")]
    {
        let (out, batch_size) = (format!("{run}-{batch_size}"), format!("batch_size={batch_size}"));
        let start = ["train", "--resume", "--config", &config, "--corpus", &corpus, "--out", &out];
        let keys = ["--set", "learning_rate=1e30", "--set", "crop_steps=0", "--set", &batch_size];
        // Nothing is there that a second try could stumble over.
        for _ in 0..2 {
            let error = fail(&[&start[..], &keys].concat());
            assert!(error.contains(words) && error.contains("lower learning_rate"), "{error}");
            let entries = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name());
            assert_eq!(entries.collect::<Vec<_>>(), ["config.toml"]);
        }
    }
}

/// The state of an interrupted run whose optimiser has gone wild: its next step leads to weights that are no numbers.
fn with_a_wild_optimiser(state: &[u8]) -> Vec<u8> {
    let file = safetensors::SafeTensors::deserialize(state).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, tensor)| {
        let bytes = match name.starts_with("optimiser.mean.") {
            true => 3e38_f32.to_le_bytes().repeat(tensor.data().len() / 4),
            false => tensor.data().to_vec(),
        };
        (name, tensor.dtype(), tensor.shape().to_vec(), bytes)
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn an_epoch_that_ends_in_no_numbers_leaves_the_earlier_ones() {
    const EPOCHS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (config, corpus, whole, killed) = (path("config.toml"), path("."), path("whole"), path("killed"));
    let epochs = format!("epochs={EPOCHS}");
    let train = |out| {
        let start = ["train", "--resume", "--config", &config, "--corpus", &corpus, "--out", out];
        // One step per epoch, after which only validation sees its weights.
        [&start[..], &["--set", "batch_size=48", "--set", &epochs]].concat()
    };
    succeed(&train(&whole));
    let run = folder.path().join("killed");
    kill_after_three_epochs(&train(&killed), &run, EPOCHS);

    let names = ["last.safetensors", "best.safetensors", "run.json", "metrics.csv"];
    let read = || names.map(|name| fs::read(run.join(name)).unwrap());
    let state = fs::read(run.join("last.safetensors")).unwrap();
    fs::write(run.join("last.safetensors"), with_a_wild_optimiser(&state)).unwrap();
    let before = read();
    let error = fail(&train(&killed));
    assert!(error.contains("the validation MSE of epoch ") && error.contains("is NaN"), "{error}");
    assert!(read() == before);

    fs::write(run.join("last.safetensors"), state).unwrap();
    succeed(&train(&killed));
    let best = |run: &str| fs::read(Path::new(run).join("best.safetensors")).unwrap();
    assert!(best(&killed) == best(&whole));
}
