//! Training in bf16, and with a learning rate that no precision stands.

use std::fs;
use std::path::Path;

use super::{CONFIG, fail, read_json, succeed, write_corpus};

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
    // A config says only what differs, so that a run in float32 has the hash it always had.
    assert!(read("coarse/config.toml").contains("precision = \"bfloat16\""));
    assert!(!read("exact/config.toml").contains("precision"));
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
    // The second batch is the first to see the weights of a first step; a batch of all clips sees them in the second epoch.
    for (batch_size, epochs_done) in [("8", 0), ("48", 1)] {
        let (out, batch_size) = (format!("{run}-{batch_size}"), format!("batch_size={batch_size}"));
        let start = ["train", "--config", &config, "--corpus", &corpus, "--out", &out];
        let keys = ["--set", "learning_rate=1e30", "--set", "crop_steps=0", "--set", &batch_size];
        let error = fail(&[&start[..], &keys].concat());
        assert!(
            error.contains("the loss is NaN in batch") && error.contains("lower learning_rate"),
            "{error}"
        );
        let folder = Path::new(&out);
        assert!(!folder.join("best.safetensors").exists());
        assert_eq!(folder.join("metrics.csv").exists(), epochs_done > 0);
    }
}
